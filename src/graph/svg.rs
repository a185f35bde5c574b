//! The picture of a diagram.

use super::diagram::{COLORS, Diagram, GraphKernel, NodeKind, grid};
use super::layout::{Gaps, Item, Layout, Pin, layout};
use std::collections::HashMap;
use std::fmt::Write;

/// Size of all text, and the width of one of its (monospaced) letters: 0.602 of it, and a little for other fonts.
const FONT: f64 = 11.0;
const LETTER: f64 = 6.9;
const LINE: f64 = 14.0;
/// Between a box's side and its text, a frame's side and its boxes, the picture's edge and all else.
const PADDING: f64 = 8.0;
const MARGIN: f64 = 16.0;
/// Letters of a frame's title at most, however narrow the frame is without it; the table below has all of it.
const TITLE: usize = 44;
/// The narrowest picture: the table needs room.
const MIN_WIDTH: f64 = 640.0;

const INNER: Gaps = Gaps { across: 14.0, down: 20.0 };
const OUTER: Gaps = Gaps { across: 28.0, down: 44.0 };

/// A kernel with its nodes, or a node alone.
struct Frame {
    kernel: Option<usize>,
    nodes: Vec<usize>,
    /// Nodes outside that it reads, in the order of their places at the upper side.
    from: Vec<usize>,
    /// Nodes inside that others read, in the order of their places at the lower side.
    to: Vec<usize>,
    inside: Layout,
    edges: Vec<(usize, usize)>,
    sizes: Vec<Item>,
    title: String,
    width: f64,
    height: f64,
}

fn width_of(text: &str) -> f64 {
    LETTER * text.chars().count() as f64
}

/// At most so many letters.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    text.chars().take(most.saturating_sub(3)).chain("...".chars()).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The lines of text in a node's box.
fn label(diagram: &Diagram, n: usize) -> Vec<String> {
    let node = &diagram.nodes()[n];
    let mut name = node.name.clone();
    let numbers: Vec<Option<&str>> = node.inputs.iter().map(|&i| diagram.scalar(i)).collect();
    if numbers.iter().any(Option::is_some) {
        let list: Vec<&str> = numbers.iter().map(|number| number.unwrap_or("_")).collect();
        name = format!("{name}({})", list.join(", "));
    }
    let mut lines = vec![name, format!("{} {}", node.dtype, node.shape)];
    lines.extend(node.results.iter().map(|r| format!("= {r}")));
    if node.kernels.len() > 1 {
        let others: Vec<String> = node.kernels[1..].iter().take(6).map(usize::to_string).collect();
        let more = if node.kernels.len() > 7 { ", ..." } else { "" };
        lines.push(format!("also in {}{more}", others.join(", ")));
    }
    lines
}

/// Whether it is an operation of the CPU that makes nothing but a number.
fn is_number(diagram: &Diagram, kernel: &GraphKernel) -> bool {
    kernel.grid == [0; 3] && kernel.nodes.iter().all(|&n| diagram.scalar(n).is_some())
}

/// Nodes that get a box: all but numbers, which stand within the boxes of their users.
fn visible(diagram: &Diagram) -> Vec<bool> {
    let mut shown: Vec<bool> = (0..diagram.nodes().len())
        .map(|n| diagram.scalar(n).is_none() || !diagram.nodes()[n].results.is_empty())
        .collect();
    // A kernel that fills a buffer with a number has nothing else to show.
    for (k, kernel) in diagram.kernels().iter().enumerate().filter(|(_, k)| !is_number(diagram, k)) {
        let mut mine =
            kernel.nodes.iter().copied().filter(|&n| diagram.nodes()[n].kernels.first() == Some(&k));
        if let Some(last) = mine.clone().next_back().filter(|_| !mine.any(|n| shown[n])) {
            shown[last] = true;
        }
    }
    shown
}

pub(super) fn draw(diagram: &Diagram) -> String {
    let nodes = diagram.nodes();
    let shown = visible(diagram);
    let labels: Vec<Vec<String>> = (0..nodes.len()).map(|n| label(diagram, n)).collect();
    let size = |n: usize| -> (f64, f64) {
        let width = labels[n].iter().map(|l| width_of(l)).fold(0.0, f64::max);
        (width + 2.0 * PADDING, LINE * labels[n].len() as f64 + PADDING)
    };
    // Frames: kernels in order, then single nodes.
    let mut members: Vec<(Option<usize>, Vec<usize>)> = Vec::new();
    for (k, kernel) in diagram.kernels().iter().enumerate() {
        let mine = kernel.nodes.iter().copied().filter(|&n| shown[n] && nodes[n].kernels.first() == Some(&k));
        members.push((Some(k), mine.collect()));
    }
    members.retain(|m| !m.1.is_empty());
    members.extend(
        (0..nodes.len()).filter(|&n| shown[n] && nodes[n].kernels.is_empty()).map(|n| (None, vec![n])),
    );
    let mut frame_of = vec![None; nodes.len()];
    for (f, (_, list)) in members.iter().enumerate() {
        for &n in list {
            frame_of[n] = Some(f);
        }
    }
    let reads = |n: usize| {
        let mut inputs: Vec<usize> = nodes[n].inputs.iter().copied().filter(|&i| shown[i]).collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    };
    let mut read_outside = vec![false; nodes.len()];
    for n in (0..nodes.len()).filter(|&n| shown[n]) {
        for i in reads(n) {
            read_outside[i] |= frame_of[i] != frame_of[n];
        }
    }
    let mut frames: Vec<Frame> = Vec::new();
    for (kernel, list) in members {
        let at: HashMap<usize, usize> = list.iter().enumerate().map(|(i, &n)| (n, i)).collect();
        let mut sizes: Vec<Item> =
            list.iter().map(|&n| Item { width: size(n).0, height: size(n).1, pin: Pin::Free }).collect();
        let mut edges = Vec::new();
        let mut from: Vec<usize> = Vec::new();
        let port = |pin| Item { width: 0.0, height: 0.0, pin };
        for (i, &n) in list.iter().enumerate() {
            for input in reads(n) {
                if let Some(&inner) = at.get(&input) {
                    edges.push((inner, i));
                    continue;
                }
                let place = from.iter().position(|&f| f == input).unwrap_or_else(|| {
                    from.push(input);
                    from.len() - 1
                });
                edges.push((usize::MAX - place, i));
            }
        }
        sizes.extend(from.iter().map(|_| port(Pin::Top)));
        for edge in &mut edges {
            if edge.0 > usize::MAX / 2 {
                edge.0 = list.len() + (usize::MAX - edge.0);
            }
        }
        let to: Vec<usize> = list.iter().copied().filter(|&n| read_outside[n]).collect();
        for n in &to {
            edges.push((at[n], sizes.len()));
            sizes.push(port(Pin::Bottom));
        }
        let inside = layout(&sizes, &edges, INNER);
        let name = kernel.map(|k| format!("{k}: {}", diagram.kernels()[k].name)).unwrap_or_default();
        let letters = ((inside.width / LETTER) as usize).max(TITLE.min(name.chars().count()));
        let title = shortened(&name, letters);
        let (width, height) = match kernel {
            Some(_) => {
                (inside.width.max(width_of(&title)) + 2.0 * PADDING, inside.height + LINE + 2.0 * PADDING)
            }
            None => size(list[0]),
        };
        frames.push(Frame { kernel, nodes: list, from, to, inside, edges, sizes, title, width, height });
    }
    let mut outer_edges: Vec<(usize, usize)> = Vec::new();
    // (node, frame that reads it) of each outer edge
    let mut carried: Vec<(usize, usize)> = Vec::new();
    for (f, frame) in frames.iter().enumerate() {
        for &input in &frame.from {
            if let Some(source) = frame_of[input] {
                outer_edges.push((source, f));
                carried.push((input, f));
            }
        }
    }
    let boxes: Vec<Item> =
        frames.iter().map(|f| Item { width: f.width, height: f.height, pin: Pin::Free }).collect();
    let outside = layout(&boxes, &outer_edges, OUTER);
    // Upper left corner of what is laid out inside of a frame.
    let origin = |f: usize| {
        let (x, y) = outside.corners[f];
        let frame = &frames[f];
        match frame.kernel {
            Some(_) => (x + (frame.width - frame.inside.width) / 2.0, y + LINE + PADDING),
            None => (x, y + (frame.height - frame.inside.height) / 2.0),
        }
    };
    let table = table(diagram, outside.width.max(MIN_WIDTH));
    let key_height = LINE + PADDING;
    let width = outside.width.max(MIN_WIDTH) + 2.0 * MARGIN;
    let table_top = MARGIN + key_height + outside.height + 2.0 * MARGIN;
    let table_lines: usize = table.iter().map(|t| t.1.len()).sum();
    let height = table_top + LINE * (table_lines as f64 + 1.0) + MARGIN;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} \
         {height:.0}\" font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"{FONT}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    key(&mut out);
    let _ = writeln!(out, "<g transform=\"translate({MARGIN} {:.1})\">", MARGIN + key_height);
    for (f, frame) in frames.iter().enumerate() {
        let (x, y) = outside.corners[f];
        if let Some(k) = frame.kernel {
            let color = COLORS[k % COLORS.len()];
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"6\" fill=\"{color}\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" font-weight=\"bold\">{}</text>",
                frame.width,
                frame.height,
                x + PADDING,
                y + LINE,
                escape(&frame.title)
            );
        }
    }
    // Lines below boxes: where one passes a box closely, the text stays readable.
    let _ = writeln!(out, "<g fill=\"none\" stroke=\"#555555\">");
    for (e, &(node, reader)) in carried.iter().enumerate() {
        let source = outer_edges[e].0;
        let mut line = Vec::new();
        // From the node to the lower side of its frame, ...
        let frame = &frames[source];
        let (ox, oy) = origin(source);
        if frame.kernel.is_some()
            && let Some(place) = frame.to.iter().position(|&n| n == node)
        {
            let port = frame.sizes.len() - frame.to.len() + place;
            let inner = frame.edges.iter().position(|&(_, v)| v == port);
            line.extend(inner.iter().flat_map(|&i| &frame.inside.lines[i]).map(|&(x, y)| (x + ox, y + oy)));
            // ... and from there on.
            let side = outside.corners[source].1 + frame.height;
            let x = line.last().map_or(ox, |p| p.0);
            let below = outside.lines[e][1].1;
            line.extend([(x, side), (x, below)]);
            line.extend(outside.lines[e][2..].iter());
        } else {
            line.extend(outside.lines[e].iter());
        }
        let frame = &frames[reader];
        if frame.kernel.is_some() {
            // It enters where its place at the upper side is.
            let place = frame.from.iter().position(|&n| n == node).unwrap_or(0);
            let (ox, _) = origin(reader);
            let x = ox + frame.inside.corners[frame.nodes.len() + place].0;
            let count = line.len();
            for point in &mut line[count - 2..] {
                point.0 = x;
            }
        }
        path(&mut out, &line, frame.kernel.is_none());
    }
    for (f, frame) in frames.iter().enumerate().filter(|(_, f)| f.kernel.is_some()) {
        let (ox, oy) = origin(f);
        let top = outside.corners[f].1;
        for (e, &(u, v)) in frame.edges.iter().enumerate() {
            if v >= frame.sizes.len() - frame.to.len() && !frame.to.is_empty() {
                continue; // drawn already, as a part of the line that leaves
            }
            let mut line: Vec<(f64, f64)> =
                frame.inside.lines[e].iter().map(|&(x, y)| (x + ox, y + oy)).collect();
            if u >= frame.nodes.len() {
                line.insert(0, (line[0].0, top));
            }
            path(&mut out, &line, true);
        }
    }
    out.push_str("</g>\n");
    for (f, frame) in frames.iter().enumerate() {
        let (ox, oy) = origin(f);
        for (i, &n) in frame.nodes.iter().enumerate() {
            let (x, y) = match frame.kernel {
                Some(_) => (ox + frame.inside.corners[i].0, oy + frame.inside.corners[i].1),
                None => outside.corners[f],
            };
            let fill = match nodes[n].kind {
                NodeKind::Operation => "white",
                kind => color_of(kind),
            };
            let (w, h) = size(n);
            let dash = if frame.kernel.is_none() && nodes[n].kind == NodeKind::Operation {
                " stroke-dasharray=\"4 3\""
            } else {
                ""
            };
            let stroke = if nodes[n].results.is_empty() { "1" } else { "2.5" };
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"4\" fill=\"{fill}\" \
                 stroke=\"#333333\" stroke-width=\"{stroke}\"{dash}/>"
            );
            for (l, text) in labels[n].iter().enumerate() {
                let weight = if l == 0 { " font-weight=\"bold\"" } else { "" };
                let _ = writeln!(
                    out,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\"{weight}>{}</text>",
                    x + w / 2.0,
                    y + LINE * (l as f64 + 1.0),
                    escape(text)
                );
            }
        }
    }
    out.push_str("</g>\n");
    let mut y = table_top + LINE;
    for (k, lines) in table {
        let color = COLORS[k % COLORS.len()];
        let _ = writeln!(
            out,
            "<rect x=\"{MARGIN}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{color}\" stroke=\"#333333\" stroke-width=\"0.5\"/>",
            y - 10.0
        );
        for text in lines {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{y:.1}\" xml:space=\"preserve\">{}</text>",
                MARGIN + 20.0,
                escape(&text)
            );
            y += LINE;
        }
    }
    out.push_str("</svg>\n");
    out
}

fn color_of(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Input(_) => "#b6d7a8",
        NodeKind::Variable(_) => "#ffd966",
        NodeKind::Constant => "#eeeeee",
        NodeKind::Operation => "white",
    }
}

/// What colours and lines mean, above the picture.
fn key(out: &mut String) {
    let entries = [
        (color_of(NodeKind::Input(0)), "", "input"),
        (color_of(NodeKind::Variable(0)), "", "variable"),
        (color_of(NodeKind::Constant), "", "constant"),
        (COLORS[0], "", "kernel"),
        ("white", " stroke-dasharray=\"4 3\"", "view, read in place"),
        ("white", " stroke-width=\"2.5\"", "result"),
    ];
    let mut x = MARGIN;
    for (fill, style, text) in entries {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{MARGIN}\" width=\"18\" height=\"12\" rx=\"3\" fill=\"{fill}\" stroke=\"#333333\"{style}/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            x + 24.0,
            MARGIN + 10.0
        );
        x += 24.0 + width_of(text) + 20.0;
    }
}

/// The kernels, one or more lines each.
fn table(diagram: &Diagram, width: f64) -> Vec<(usize, Vec<String>)> {
    let letters = ((width - 20.0) / LETTER) as usize;
    let entry = |(k, kernel): (usize, &GraphKernel)| {
        let pass = if kernel.nodes.is_empty() { "  (first of two passes)" } else { "" };
        let text = format!("{k:>3}  {}{}{pass}", kernel.name, grid(kernel.grid));
        let mut lines = vec![String::new()];
        for word in text.split_inclusive(' ') {
            let last = lines.len() - 1;
            if lines[last].chars().count() + word.chars().count() > letters {
                lines.push("     ".to_string());
            }
            let last = lines.len() - 1;
            lines[last].push_str(word);
        }
        (k, lines)
    };
    let listed = diagram.kernels().iter().enumerate().filter(|(_, k)| !is_number(diagram, k));
    listed.map(entry).collect()
}

/// A line through these points: straight down, and curved where it goes sideways.
fn path(out: &mut String, points: &[(f64, f64)], arrow: bool) {
    let Some(&(x, y)) = points.first() else { return };
    let _ = write!(out, "<path d=\"M{x:.1} {y:.1}");
    for pair in points.windows(2) {
        let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
        if (ax - bx).abs() < 0.5 {
            let _ = write!(out, " L{bx:.1} {by:.1}");
        } else {
            let middle = (ay + by) / 2.0;
            let _ = write!(out, " C{ax:.1} {middle:.1} {bx:.1} {middle:.1} {bx:.1} {by:.1}");
        }
    }
    if let Some(&(x, y)) = points.last().filter(|_| arrow) {
        let (left, right, top) = (x - 3.0, x + 3.0, y - 5.0);
        let _ = write!(out, " M{left:.1} {top:.1} L{x:.1} {y:.1} L{right:.1} {top:.1}");
    }
    out.push_str("\"/>\n");
}

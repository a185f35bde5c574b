//! The picture of a diagram.

use super::diagram::{COLORS, Diagram, GraphKernel, NodeKind, grid};
use super::layout::{Edge, Gaps, Layout, Pin, Vertex, layout};
use crate::error::Result;
use crate::files::write_whole;
use std::fmt::Write;
use std::path::Path;

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
    /// Lines between nodes (in the order of `nodes`), then places where lines enter, then such where they leave.
    edges: Vec<Edge>,
    first_exit: usize,
    title: String,
    width: f64,
    height: f64,
}

impl Diagram {
    /// The graph as a picture (SVG), drawn without any other program: layers from top to bottom, a coloured frame around the
    /// nodes of each kernel, and a table of all kernels below. Numbers from the host stand within the boxes that use them.
    pub fn to_svg(&self) -> String {
        draw(self)
    }

    /// Writes [`to_svg`](Self::to_svg) to a file; whole or not at all.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn save_svg(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), self.to_svg().as_bytes())
    }
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

/// All that is drawn, in its place.
struct Picture<'d> {
    diagram: &'d Diagram,
    /// Nodes that have a box of their own.
    shown: Vec<bool>,
    labels: Vec<Vec<String>>,
    frames: Vec<Frame>,
    /// Lines from frame to frame; their values are nodes.
    edges: Vec<Edge>,
    outside: Layout,
}

impl<'d> Picture<'d> {
    fn of(diagram: &'d Diagram) -> Picture<'d> {
        let nodes = diagram.nodes();
        let empty = layout(&[], &[], OUTER);
        let labels = (0..nodes.len()).map(|n| label(diagram, n)).collect();
        let shown = visible(diagram);
        let mut picture =
            Picture { diagram, shown, labels, frames: Vec::new(), edges: Vec::new(), outside: empty };
        // Kernels in order, then single nodes.
        let mut members: Vec<(Option<usize>, Vec<usize>)> = Vec::new();
        for (k, kernel) in diagram.kernels().iter().enumerate() {
            let mine = |n: &usize| picture.shown[*n] && nodes[*n].kernels.first() == Some(&k);
            members.push((Some(k), kernel.nodes.iter().copied().filter(mine).collect()));
        }
        members.retain(|m| !m.1.is_empty());
        let alone = |n: &usize| picture.shown[*n] && nodes[*n].kernels.is_empty();
        members.extend((0..nodes.len()).filter(alone).map(|n| (None, vec![n])));
        let mut frame_of = vec![usize::MAX; nodes.len()];
        for (f, (_, list)) in members.iter().enumerate() {
            list.iter().for_each(|&n| frame_of[n] = f);
        }
        let mut leaves_frame = vec![false; nodes.len()];
        for n in (0..nodes.len()).filter(|&n| picture.shown[n]) {
            for input in picture.reads(n) {
                leaves_frame[input] |= frame_of[input] != frame_of[n];
            }
        }
        picture.frames = members.into_iter().map(|(k, list)| picture.frame(k, list, &leaves_frame)).collect();
        for (f, frame) in picture.frames.iter().enumerate() {
            let edge = |&node: &usize| Edge { from: frame_of[node], to: f, value: node };
            picture.edges.extend(frame.from.iter().map(edge));
        }
        let boxes: Vec<Vertex> = picture
            .frames
            .iter()
            .map(|f| Vertex { width: f.width, height: f.height, pin: Pin::Free })
            .collect();
        picture.outside = layout(&boxes, &picture.edges, OUTER);
        picture
    }

    /// Nodes with a box that a node reads, each once.
    fn reads(&self, n: usize) -> Vec<usize> {
        let mut inputs: Vec<usize> =
            self.diagram.nodes()[n].inputs.iter().copied().filter(|&i| self.shown[i]).collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    }

    /// Width and height of a node's box.
    fn size(&self, n: usize) -> (f64, f64) {
        let width = self.labels[n].iter().map(|l| width_of(l)).fold(0.0, f64::max);
        (width + 2.0 * PADDING, LINE * self.labels[n].len() as f64 + PADDING)
    }

    /// Lays out the nodes of a frame. Lines enter and leave it through places without extent.
    fn frame(&self, kernel: Option<usize>, nodes: Vec<usize>, leaves_frame: &[bool]) -> Frame {
        let place = |n: usize| nodes.iter().position(|&m| m == n);
        let mut from: Vec<usize> = Vec::new();
        for input in nodes.iter().flat_map(|&n| self.reads(n)) {
            if place(input).is_none() && !from.contains(&input) {
                from.push(input);
            }
        }
        let to: Vec<usize> = nodes.iter().copied().filter(|&n| leaves_frame[n]).collect();
        let mut items: Vec<Vertex> = Vec::new();
        for (width, height) in nodes.iter().map(|&n| self.size(n)) {
            items.push(Vertex { width, height, pin: Pin::Free });
        }
        items.extend(from.iter().map(|_| Vertex { width: 0.0, height: 0.0, pin: Pin::Top }));
        items.extend(to.iter().map(|_| Vertex { width: 0.0, height: 0.0, pin: Pin::Bottom }));
        let mut edges: Vec<Edge> = Vec::new();
        for (at, &n) in nodes.iter().enumerate() {
            for input in self.reads(n) {
                let entry = || from.iter().position(|&f| f == input).map(|i| nodes.len() + i);
                edges.extend(place(input).or_else(entry).map(|from| Edge { from, to: at, value: from }));
            }
        }
        let first_exit = nodes.len() + from.len();
        let exit = |(i, &n)| place(n).map(|from| Edge { from, to: first_exit + i, value: from });
        edges.extend(to.iter().enumerate().filter_map(exit));
        let inside = layout(&items, &edges, INNER);
        let name = kernel.map(|k| format!("{k}: {}", self.diagram.kernels()[k].name)).unwrap_or_default();
        let room = ((inside.width / LETTER) as usize).max(TITLE.min(name.chars().count()));
        let title = shortened(&name, room);
        let (width, height) = match (kernel, nodes.first()) {
            (None, Some(&n)) => self.size(n),
            _ => (inside.width.max(width_of(&title)) + 2.0 * PADDING, inside.height + LINE + 2.0 * PADDING),
        };
        Frame { kernel, nodes, from, to, inside, edges, first_exit, title, width, height }
    }

    /// Upper left corner of what is laid out inside of a frame.
    fn origin(&self, f: usize) -> (f64, f64) {
        let (x, y) = self.outside.corners[f];
        let frame = &self.frames[f];
        (x + (frame.width - frame.inside.width) / 2.0, y + LINE + PADDING)
    }

    fn draw_frames(&self, out: &mut String) {
        for (frame, (x, y)) in self.frames.iter().zip(&self.outside.corners) {
            if let Some(k) = frame.kernel {
                let (w, h, color) = (frame.width, frame.height, COLORS[k % COLORS.len()]);
                let _ = writeln!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"6\" fill=\"{color}\"/>"
                );
            }
        }
    }

    /// Titles of frames: above the lines, which go on behind them.
    fn draw_titles(&self, out: &mut String) {
        for (frame, (x, y)) in self.frames.iter().zip(&self.outside.corners) {
            if let Some(k) = frame.kernel {
                let color = COLORS[k % COLORS.len()];
                let (left, top, width) = (x + PADDING / 2.0, y + 3.0, width_of(&frame.title) + PADDING);
                let _ = writeln!(
                    out,
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{LINE}\" fill=\"{color}\"/>\n\
                     <text x=\"{:.1}\" y=\"{:.1}\" font-weight=\"bold\">{}</text>",
                    x + PADDING,
                    y + LINE,
                    escape(&frame.title)
                );
            }
        }
    }

    fn draw_lines(&self, out: &mut String) {
        let _ = writeln!(out, "<g fill=\"none\" stroke=\"#555555\">");
        for (edge, between) in self.edges.iter().zip(&self.outside.lines) {
            let Edge { from: source, to: reader, value: node } = *edge;
            let mut line: Vec<(f64, f64)> = Vec::new();
            let frame = &self.frames[source];
            let exit = frame.to.iter().position(|&n| n == node).map(|i| frame.first_exit + i);
            let inner = frame.edges.iter().position(|e| Some(e.to) == exit);
            match inner.filter(|_| frame.kernel.is_some()) {
                // From the node to the lower side of its frame, and from there on.
                Some(inner) => {
                    let (ox, oy) = self.origin(source);
                    line.extend(frame.inside.lines[inner].iter().map(|&(x, y)| (x + ox, y + oy)));
                    let x = line.last().map_or(ox, |p| p.0);
                    let side = self.outside.corners[source].1 + frame.height;
                    line.extend([(x, side), (x, between[1].1)]);
                    line.extend(&between[2..]);
                }
                None => line.extend(between),
            }
            let frame = &self.frames[reader];
            let entry = frame.from.iter().position(|&n| n == node);
            if let Some(i) = entry.filter(|_| frame.kernel.is_some()) {
                // It enters where its place at the upper side is.
                let x = self.origin(reader).0 + frame.inside.corners[frame.nodes.len() + i].0;
                let count = line.len();
                for point in &mut line[count - 2..] {
                    point.0 = x;
                }
            }
            path(out, &line, frame.kernel.is_none());
        }
        for (f, frame) in self.frames.iter().enumerate().filter(|(_, f)| f.kernel.is_some()) {
            let (ox, oy) = self.origin(f);
            // Those that leave are drawn already.
            let inner = frame.edges.iter().zip(&frame.inside.lines).filter(|(e, _)| e.to < frame.first_exit);
            for (edge, points) in inner {
                let mut line: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (x + ox, y + oy)).collect();
                if edge.from >= frame.nodes.len() {
                    line.insert(0, (line[0].0, self.outside.corners[f].1));
                }
                path(out, &line, true);
            }
        }
        out.push_str("</g>\n");
    }

    fn draw_boxes(&self, out: &mut String) {
        for (f, frame) in self.frames.iter().enumerate() {
            let (ox, oy) = self.origin(f);
            for (&n, &(ix, iy)) in frame.nodes.iter().zip(&frame.inside.corners) {
                let node = &self.diagram.nodes()[n];
                let (x, y) = match frame.kernel {
                    Some(_) => (ox + ix, oy + iy),
                    None => self.outside.corners[f],
                };
                let (w, h) = self.size(n);
                let view = frame.kernel.is_none() && node.kind == NodeKind::Operation;
                let dash = if view { VIEW } else { "" };
                let thick = if node.results.is_empty() { "" } else { RESULT };
                let fill = color_of(node.kind);
                let _ = writeln!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"4\" fill=\"{fill}\" \
                     stroke=\"#333333\"{thick}{dash}/>"
                );
                for (l, text) in self.labels[n].iter().enumerate() {
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
    }
}

pub(super) fn draw(diagram: &Diagram) -> String {
    let picture = Picture::of(diagram);
    let inner = picture.outside.width.max(MIN_WIDTH);
    let table = table(diagram, inner);
    let top = MARGIN + LINE + PADDING;
    let mut y = top + picture.outside.height + 2.0 * MARGIN;
    let lines: usize = table.iter().map(|t| t.1.len()).sum();
    let (width, height) = (inner + 2.0 * MARGIN, y + LINE * lines as f64 + MARGIN);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} \
         {height:.0}\" font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"{FONT}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    key(&mut out);
    let left = MARGIN + (inner - picture.outside.width) / 2.0;
    let _ = writeln!(out, "<g transform=\"translate({left:.1} {top:.1})\">");
    picture.draw_frames(&mut out);
    picture.draw_lines(&mut out);
    picture.draw_titles(&mut out);
    picture.draw_boxes(&mut out);
    out.push_str("</g>\n");
    for (k, lines) in table {
        let color = COLORS[k % COLORS.len()];
        let _ = writeln!(
            out,
            "<rect x=\"{MARGIN}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{color}\" stroke=\"#333333\" \
             stroke-width=\"0.5\"/>",
            y - 10.0
        );
        for text in lines {
            let x = MARGIN + 20.0;
            let text = escape(&text);
            let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" xml:space=\"preserve\">{text}</text>");
            y += LINE;
        }
    }
    out.push_str("</svg>\n");
    out
}

/// How the boxes of views that are read in place look, and of results.
const VIEW: &str = " stroke-dasharray=\"4 3\"";
const RESULT: &str = " stroke-width=\"2.5\"";

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
        ("white", VIEW, "view, read in place"),
        ("white", RESULT, "result"),
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

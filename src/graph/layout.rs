//! A layered layout (Sugiyama, Tagawa and Toda, 1981): ranks by depth, order within a rank by barycentres, positions by
//! least squares.

use std::collections::HashMap;

/// Where a box has to stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pin {
    Free,
    /// In the first rank.
    Top,
    /// In the last rank.
    Bottom,
}

/// A box to be placed.
#[derive(Clone, Copy)]
pub(super) struct Vertex {
    pub width: f64,
    pub height: f64,
    pub pin: Pin,
}

/// A line from one box down to another.
#[derive(Clone, Copy)]
pub(super) struct Edge {
    pub from: usize,
    pub to: usize,
    /// What it carries: lines that carry the same share their way over several ranks.
    pub value: usize,
}

/// Distances between neighbours of a rank and between ranks.
#[derive(Clone, Copy)]
pub(super) struct Gaps {
    pub across: f64,
    pub down: f64,
}

/// Boxes in their places. All coordinates begin at 0.
pub(super) struct Layout {
    /// Upper left corners.
    pub corners: Vec<(f64, f64)>,
    /// For each edge, a line from the lower side of its first box to the upper side of its second.
    pub lines: Vec<Vec<(f64, f64)>>,
    pub width: f64,
    pub height: f64,
}

/// A box, or the place where a line passes through a rank.
struct Cell {
    width: f64,
    rank: usize,
    /// Cells of the rank above that it is joined to, and of the rank below.
    above: Vec<usize>,
    below: Vec<usize>,
    center: f64,
}

const SWEEPS: usize = 12;
/// How much more a line wants to be straight than a box wants to stand in the middle of its neighbours.
const STRAIGHT: f64 = 8.0;
/// How much a box without inputs draws its users to itself.
const LEAF: f64 = 0.05;

/// Longest path from the sources; sources stand just above their first user.
fn ranks(items: &[Vertex], edges: &[Edge]) -> Vec<usize> {
    let n = items.len();
    let pinned = items.iter().any(|i| i.pin == Pin::Top);
    let mut waits = vec![0usize; n];
    let mut users = vec![Vec::new(); n];
    for e in edges {
        waits[e.to] += 1;
        users[e.from].push(e.to);
    }
    let source: Vec<bool> = waits.iter().map(|&w| w == 0).collect();
    let mut rank: Vec<usize> = items.iter().map(|i| (pinned && i.pin != Pin::Top) as usize).collect();
    let mut ready: Vec<usize> = (0..n).filter(|&i| waits[i] == 0).collect();
    while let Some(u) = ready.pop() {
        for &v in &users[u] {
            rank[v] = rank[v].max(rank[u] + 1);
            waits[v] -= 1;
            if waits[v] == 0 {
                ready.push(v);
            }
        }
    }
    for u in (0..n).filter(|&u| source[u] && items[u].pin == Pin::Free) {
        if let Some(first) = users[u].iter().map(|&v| rank[v]).min() {
            rank[u] = rank[u].max(first.saturating_sub(1));
        }
    }
    let free = (0..n).filter(|&i| items[i].pin != Pin::Bottom);
    let last = free.map(|i| rank[i]).max().map_or(0, |r| r + 1);
    for i in (0..n).filter(|&i| items[i].pin == Pin::Bottom) {
        rank[i] = last;
    }
    rank
}

/// How often lines between two ranks cross.
fn crossings(cells: &[Cell], order: &[Vec<usize>]) -> usize {
    let mut place = vec![0usize; cells.len()];
    for rank in order {
        for (i, &c) in rank.iter().enumerate() {
            place[c] = i;
        }
    }
    let mut count = 0;
    for rank in order {
        let mut lines: Vec<(usize, usize)> = Vec::new();
        for &c in rank {
            lines.extend(cells[c].below.iter().map(|&b| (place[c], place[b])));
        }
        for (i, a) in lines.iter().enumerate() {
            count += lines[i + 1..]
                .iter()
                .filter(|b| (a.0 < b.0 && a.1 > b.1) || (a.0 > b.0 && a.1 < b.1))
                .count();
        }
    }
    count
}

/// Orders each rank by the mean place of the neighbours in the one before.
fn sweep(cells: &[Cell], order: &mut [Vec<usize>], down: bool) {
    let mut place = vec![0.0; cells.len()];
    for rank in order.iter() {
        for (i, &c) in rank.iter().enumerate() {
            place[c] = i as f64;
        }
    }
    let count = order.len();
    for step in 0..count {
        let rank = if down { step } else { count - 1 - step };
        let mut keyed: Vec<(f64, usize)> = order[rank]
            .iter()
            .map(|&c| {
                let near = if down { &cells[c].above } else { &cells[c].below };
                let mean = near.iter().map(|&x| place[x]).sum::<f64>() / near.len() as f64;
                (if near.is_empty() { place[c] } else { mean }, c)
            })
            .collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        order[rank] = keyed.into_iter().map(|k| k.1).collect();
        for (i, &c) in order[rank].iter().enumerate() {
            place[c] = i as f64;
        }
    }
}

/// The places nearest to what each cell of a rank wants that keep order and distances: weighted least squares under an
/// order, by pooling adjacent violators.
fn place_rank(cells: &mut [Cell], rank: &[usize], wanted: &[f64], across: f64) {
    // Without the room that the cells before it need, each place is at least the one before.
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(rank.len());
    let mut pools: Vec<(f64, f64, usize)> = Vec::new(); // weight, weighted sum, cells
    for (i, (&c, want)) in rank.iter().zip(wanted).enumerate() {
        if i > 0 {
            offset += (cells[rank[i - 1]].width + cells[c].width) / 2.0 + across;
        }
        offsets.push(offset);
        let weight = if cells[c].width < 1.0 { STRAIGHT } else { 1.0 };
        let mut pool = (weight, weight * (want - offset), 1);
        while let Some(last) = pools.last().filter(|p| p.1 / p.0 > pool.1 / pool.0) {
            pool = (pool.0 + last.0, pool.1 + last.1, pool.2 + last.2);
            pools.pop();
        }
        pools.push(pool);
    }
    let means = pools.iter().flat_map(|p| std::iter::repeat_n(p.1 / p.0, p.2));
    for ((&c, offset), mean) in rank.iter().zip(offsets).zip(means) {
        cells[c].center = mean + offset;
    }
}

/// Places boxes so that every edge leads down.
pub(super) fn layout(items: &[Vertex], edges: &[Edge], gaps: Gaps) -> Layout {
    let rank = ranks(items, edges);
    let count = rank.iter().max().map_or(0, |r| r + 1);
    let cell =
        |width: f64, rank: usize| Cell { width, rank, above: Vec::new(), below: Vec::new(), center: 0.0 };
    let mut cells: Vec<Cell> = items.iter().zip(&rank).map(|(i, &r)| cell(i.width, r)).collect();
    // For each value the places where its lines pass through ranks.
    let mut ways: HashMap<usize, Vec<usize>> = HashMap::new();
    let link = |cells: &mut Vec<Cell>, a: usize, b: usize| {
        if !cells[a].below.contains(&b) {
            cells[a].below.push(b);
            cells[b].above.push(a);
        }
    };
    for &Edge { from: u, to: v, value } in edges {
        let way = ways.entry(value).or_default();
        let mut last = u;
        for (k, r) in (rank[u] + 1..rank[v]).enumerate() {
            if way.len() <= k {
                cells.push(cell(0.0, r));
                way.push(cells.len() - 1);
            }
            link(&mut cells, last, way[k]);
            last = way[k];
        }
        if rank[v] > rank[u] {
            link(&mut cells, last, v);
        }
    }
    let mut order: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (c, cell) in cells.iter().enumerate() {
        order[cell.rank].push(c);
    }
    let mut best = order.clone();
    let mut fewest = crossings(&cells, &order);
    for k in 0..SWEEPS {
        sweep(&cells, &mut order, k % 2 == 0);
        let now = crossings(&cells, &order);
        if now < fewest {
            (best, fewest) = (order.clone(), now);
        }
    }
    for k in 0..2 * SWEEPS {
        for step in 0..count {
            let r = if k % 2 == 0 { step } else { count - 1 - step };
            let wanted: Vec<f64> = best[r]
                .iter()
                .map(|&c| {
                    let (above, below) = (&cells[c].above, &cells[c].below);
                    // at last between both sides
                    let near: Vec<usize> = match (k + 2 >= 2 * SWEEPS, k % 2 == 0) {
                        (true, _) => above.iter().chain(below).copied().collect(),
                        (_, true) => above.clone(),
                        (_, false) => below.clone(),
                    };
                    if near.is_empty() {
                        return cells[c].center;
                    }
                    // Leaves stand where their users are, and not the other way round.
                    let weight = |x: usize| if cells[x].above.is_empty() { LEAF } else { 1.0 };
                    let sum: f64 = near.iter().map(|&x| weight(x) * cells[x].center).sum();
                    sum / near.iter().map(|&x| weight(x)).sum::<f64>()
                })
                .collect();
            place_rank(&mut cells, &best[r], &wanted, gaps.across);
        }
    }
    let left = cells.iter().map(|c| c.center - c.width / 2.0).fold(f64::INFINITY, f64::min);
    let left = if left.is_finite() { left } else { 0.0 };
    for c in &mut cells {
        c.center -= left;
    }
    // Ranks from top to bottom.
    let mut tops = vec![0.0; count];
    let mut bottoms = vec![0.0; count];
    let mut y = 0.0;
    for r in 0..count {
        let height = (0..items.len()).filter(|&i| rank[i] == r).map(|i| items[i].height).fold(0.0, f64::max);
        tops[r] = y;
        bottoms[r] = y + height;
        y += height + gaps.down;
    }
    let height = bottoms.last().copied().unwrap_or(0.0);
    let width = cells.iter().map(|c| c.center + c.width / 2.0).fold(0.0, f64::max);
    let corners: Vec<(f64, f64)> = items
        .iter()
        .enumerate()
        .map(|(i, item)| {
            let room = bottoms[rank[i]] - tops[rank[i]] - item.height;
            (cells[i].center - item.width / 2.0, tops[rank[i]] + room / 2.0)
        })
        .collect();
    // Where lines enter a box: side by side, in the order in which they come.
    let mut entering: Vec<Vec<(f64, usize)>> = vec![Vec::new(); items.len()];
    for (e, &Edge { from: u, to: v, value }) in edges.iter().enumerate() {
        let before = match rank[v].saturating_sub(rank[u]) {
            0 | 1 => u,
            k => ways[&value][k - 2],
        };
        entering[v].push((cells[before].center, e));
    }
    let mut ends = vec![0.0; edges.len()];
    for (v, list) in entering.iter_mut().enumerate() {
        list.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (i, &(_, e)) in list.iter().enumerate() {
            let share = (i as f64 + 0.5) / list.len() as f64 - 0.5;
            ends[e] = cells[v].center + 0.7 * items[v].width * share;
        }
    }
    let lines = edges
        .iter()
        .zip(ends)
        .map(|(&Edge { from: u, to: v, value }, end)| {
            let mut line =
                vec![(cells[u].center, corners[u].1 + items[u].height), (cells[u].center, bottoms[rank[u]])];
            for &way in ways[&value].iter().take(rank[v].saturating_sub(rank[u] + 1)) {
                let c = &cells[way];
                line.extend([(c.center, tops[c.rank]), (c.center, bottoms[c.rank])]);
            }
            line.extend([(end, tops[rank[v]]), (end, corners[v].1)]);
            line
        })
        .collect();
    Layout { corners, lines, width, height }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_do_not_overlap_and_edges_lead_down() {
        let mut state = 7u64;
        let mut next = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        for case in 0..40 {
            let n = 2 + next(30);
            let items: Vec<Vertex> = (0..n)
                .map(|_| Vertex {
                    width: 20.0 + next(80) as f64,
                    height: 10.0 + next(40) as f64,
                    pin: Pin::Free,
                })
                .collect();
            let pairs = (0..2 * n).map(|_| (next(n), next(n))).filter(|(u, v)| u < v);
            // each box has up to two values
            let edges: Vec<Edge> =
                pairs.map(|(from, to)| Edge { from, to, value: 2 * from + to % 2 }).collect();
            let l = layout(&items, &edges, Gaps { across: 10.0, down: 20.0 });
            let area = |i: usize| {
                let (x, y) = l.corners[i];
                (x, y, x + items[i].width, y + items[i].height)
            };
            for i in 0..n {
                let a = area(i);
                assert!(a.0 > -1e-6 && a.2 < l.width + 1e-6 && a.3 < l.height + 1e-6, "case {case}: {a:?}");
                for j in 0..i {
                    let b = area(j);
                    let apart = a.2 <= b.0 || b.2 <= a.0 || a.3 <= b.1 || b.3 <= a.1;
                    assert!(apart, "case {case}: boxes {i} {a:?} and {j} {b:?}");
                }
            }
            for (e, line) in edges.iter().zip(&l.lines) {
                assert!(area(e.from).3 < area(e.to).1, "case {case}");
                assert!(line.windows(2).all(|w| w[0].1 <= w[1].1), "case {case}: {line:?}");
            }
        }
    }

    #[test]
    fn nothing_and_a_cycle_are_no_problem() {
        let gaps = Gaps { across: 1.0, down: 1.0 };
        assert_eq!(layout(&[], &[], gaps).width, 0.0);
        let item = Vertex { width: 1.0, height: 1.0, pin: Pin::Free };
        let edges = [(0, 1), (1, 2), (2, 1)].map(|(from, to)| Edge { from, to, value: from });
        let l = layout(&[item; 3], &edges, gaps);
        assert_eq!((l.corners.len(), l.lines.len()), (3, 3));
    }
}

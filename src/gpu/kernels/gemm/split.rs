//! How the k of a product is split over workgroups. This decides the order in which terms are added, whichever loops run.

use super::super::KernelTarget;
use super::parts::ALayout;
use super::problem::Problem;

/// The longest stretch of k that one invocation sums up. lavapipe silently ends an invocation's loops after 65,535
/// iterations in all, and real GPUs (and Windows' watchdog) like short dispatches too.
pub(super) const MAX_CHUNK: usize = 32_768;
/// Iterations that all loops of an invocation may make together.
const MAX_ITERATIONS: usize = 60_000;

/// When splitting pays.
#[derive(Clone, Copy)]
pub(super) struct Work {
    /// Workgroups that keep an adapter busy.
    wanted: usize,
    /// Less k is not worth a second pass.
    least: usize,
    /// Elements of the output beyond which a second pass costs too much where it is not needed.
    small: usize,
    /// Elements of both operands that stay in a processor's cache while all tiles go through them; `None` where nobody has measured it.
    cached: Option<usize>,
}

/// The least k that a part takes for the sake of a cache: partial sums are written and read again, too.
const LEAST_CACHED: usize = 256;

/// The most partial sums there are for the sake of a cache.
const MOST_PARTIAL: usize = 1 << 22;

/// The most elements of a weight gradient that is cut for its sake: where weights are large, places are few, and partial sums of them cost
/// more than they save.
const MOST_WEIGHTS: usize = 1 << 16;

/// Of adapters that run on a CPU.
pub(super) const REGISTER_WORK: Work =
    Work { wanted: 16, least: 1024, small: 1 << 16, cached: Some(1 << 17) };

/// How k is split over workgroups.
#[derive(Clone, Copy)]
pub(super) struct Split {
    /// What each takes: segments, or k where there is one segment.
    pub chunk: usize,
    pub splits: usize,
    /// A second pass adds the parts, even where there is one.
    pub second_pass: bool,
}

/// Sizes that the batch has a part in are rounded up before a kernel is chosen by them, so that the last, smaller batch of
/// an epoch mostly needs no other pipeline.
pub(super) fn round(size: usize) -> usize {
    size.next_power_of_two()
}

impl Work {
    /// Of real GPUs: k is split until there are from one to two workgroups for each compute unit. Of products by rows none takes a
    /// second pass that it has no need of.
    pub fn tiled(t: &KernelTarget) -> Work {
        Work { wanted: t.busy(), least: 256, small: 0, cached: None }
    }

    /// How many workgroups share k, and how much of it (segments or k) each takes.
    pub fn split(
        self,
        problem: &Problem<'_>,
        tile: [usize; 2],
        segments: usize,
        multiple: usize,
        longest_k: usize,
    ) -> Split {
        let Problem { m, n, k, batches, out_len, a, a_row, pixels, .. } = *problem;
        // Both what keeps the adapter busy and what bounds the loops ask for splits; the larger number counts. The length of a
        // part is then rounded up, so there may be fewer parts than asked for, but none is empty.
        let per_segment = k / segments;
        let (total, longest) = if segments > 1 {
            (segments, MAX_ITERATIONS / (per_segment / 4 + per_segment / 64 + 7))
        } else {
            (k, longest_k)
        };
        let Work { wanted, least, small, cached } = self;
        let beside = n.div_ceil(tile[1]) * batches;
        let tiles = round(m).div_ceil(tile[0]) * beside;
        let for_work = (wanted / tiles).min(round(k) / least);
        // Rows and columns along the output: each tile goes through all k of both operands, from line to line of memory that nothing
        // fetches in advance. So all tiles take the same few k, then the next, as far as partial sums don't fill memory instead. That is
        // for several tiles and, as above, a long k.
        let several = m.div_ceil(tile[0]) * n.div_ceil(tile[1]) > 1;
        let cached = cached.filter(|_| {
            a == ALayout::AlongM
                && several
                && if pixels { out_len <= MOST_WEIGHTS } else { round(k) / least > 1 }
        });
        let for_cache = cached.map_or(1, |cached| {
            k.div_ceil((cached / (a_row + n)).max(LEAST_CACHED)).min(MOST_PARTIAL / out_len.max(1))
        });
        let splits = for_work.max(for_cache).max(total.div_ceil(longest.max(1))).clamp(1, total);
        let multiple = if segments > 1 { 1 } else { multiple };
        let chunk = total.div_ceil(splits).next_multiple_of(multiple);
        let splits = total.div_ceil(chunk);
        // What has two passes at some batches has them at all: of a batch of rows the number of tiles, of pixels k. Elsewhere
        // both are known to the model.
        let few = match a {
            ALayout::AlongM => pixels && (wanted / tiles > 1 || cached.is_some()),
            ALayout::AlongK => out_len <= small && wanted / beside > 1 && round(k) / least > 1,
        };
        Split { chunk, splits, second_pass: splits > 1 || few }
    }
}

// One pass of a stable merge sort of rows of (key, place) pairs: merges neighbouring runs. Every element finds its rank in the
// other run by bisection, so no two write to one place.

struct Sizes {
    total: u32, // pairs of all rows
    len: u32, // of a row
    run: u32, // length of the sorted runs
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> runs: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> merged: array<vec2<u32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + local;
    if i >= sizes.total {
        return;
    }
    let pair = runs[i];
    let row = i / sizes.len;
    let row_end = (row + 1u) * sizes.len;
    let base = i - ((i - row * sizes.len) & (2u * sizes.run - 1u));
    let middle = min(base + sizes.run, row_end);
    let in_left = i < middle;
    let first = select(base, middle, in_left);
    var low = first;
    var high = select(middle, min(base + 2u * sizes.run, row_end), in_left);
    // Of equals those of the left run come first: they go before equals, the right run's go after.
    let bound = select(pair.x, pair.x - 1u, in_left);
    if in_left && pair.x == 0u {
        high = low;
    }
    while low < high {
        let probe = (low + high) / 2u;
        if runs[probe].x <= bound {
            low = probe + 1u;
        } else {
            high = probe;
        }
    }
    // Its place in its own run plus its rank in the other one.
    let own = i - select(middle, base, in_left);
    merged[base + own + (low - first)] = pair;
}

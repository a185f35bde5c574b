// First pass of a stable sort of rows, for real GPUs: sorts every block of up to 1024 places of a row in the memory of a workgroup,
// which takes several blocks where they are short, by a bitonic network. Pairs are (key, place in the row).

struct Sizes {
    total: u32, // blocks of all rows
    len: u32, // of a row
    blocks: u32, // of a row
    shift: u32, // logarithm of a block's length
    float: u32,
    flip: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> elements: array<u32>;
@group(0) @binding(2) var<storage, read_write> pairs: array<vec2<u32>>;

// include: shared/sort_key.wgsl

var<workgroup> slots: array<vec2<u32>, 1024>;

fn before(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x < b.x || (a.x == b.x && a.y < b.y);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = (group.y * groups.x + group.x) << (10u - sizes.shift);
    let length = 1u << sizes.shift;
    for (var t = local; t < 1024u; t += 256u) {
        let block = first + (t >> sizes.shift);
        let row = block / sizes.blocks;
        let place = ((block - row * sizes.blocks) << sizes.shift) + (t & (length - 1u));
        // Behind all others.
        var pair = vec2<u32>(0xffffffffu, 0xffffffffu);
        if block < sizes.total && place < sizes.len {
            pair = vec2<u32>(key_of(elements[row * sizes.len + place]), place);
        }
        slots[t] = pair;
    }
    workgroupBarrier();
    for (var run = 2u; run <= length; run = run << 1u) {
        for (var step = run >> 1u; step > 0u; step = step >> 1u) {
            for (var t = local; t < 512u; t += 256u) {
                let low = ((t & ~(step - 1u)) << 1u) | (t & (step - 1u));
                let a = slots[low];
                let b = slots[low + step];
                // Runs go up and down in turn, the whole block up.
                let up = (low & (length - 1u) & run) == 0u;
                if before(b, a) == up {
                    slots[low] = b;
                    slots[low + step] = a;
                }
            }
            workgroupBarrier();
        }
    }
    for (var t = local; t < 1024u; t += 256u) {
        let block = first + (t >> sizes.shift);
        let row = block / sizes.blocks;
        let place = ((block - row * sizes.blocks) << sizes.shift) + (t & (length - 1u));
        if block < sizes.total && place < sizes.len {
            pairs[row * sizes.len + place] = slots[t];
        }
    }
}

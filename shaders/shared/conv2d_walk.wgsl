struct Walk { k: u32, d0: u32, d1: u32, d2: u32 }

fn walk_init(k: u32) -> Walk {
    let q = k / p.base0;
    let d2 = q / p.base1;
    return Walk(k, k - q * p.base0, q - d2 * p.base1, d2);
}

// k may lie up to 16 before zero, where it wraps.
fn walk_early(k: u32) -> Walk {
    let period = p.base0 * p.base1;
    let rounds = 16u / period + 1u;
    let w = walk_init(k + rounds * period);
    return Walk(k, w.d0, w.d1, w.d2 - rounds);
}

// Below its base a digit wraps when the base is taken off, and the smaller is the right one.
fn walk_add(w: Walk, k: u32, s0: u32, s1: u32, s2: u32) -> Walk {
    let d0 = w.d0 + s0;
    let d1 = w.d1 + s1 + select(0u, 1u, d0 >= p.base0);
    let d2 = w.d2 + s2 + select(0u, 1u, d1 >= p.base1);
    return Walk(w.k + k, min(d0, d0 - p.base0), min(d1, d1 - p.base1), d2);
}

fn walk_step(w: Walk) -> Walk {
    return walk_add(w, (p.step2 * p.base1 + p.step1) * p.base0 + p.step0, p.step0, p.step1, p.step2);
}

fn walk_next(w: Walk) -> Walk {
    return walk_add(w, 1u, 1u, 0u, 0u);
}

fn b_index(w: Walk, batch: Batch) -> u32 {
    return batch.b + b_offset(w);
}

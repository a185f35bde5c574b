struct Batch { a: u32, b: u32, out: u32 }

fn batch_init(z: u32) -> Batch {
    return Batch(z * p.group_a, z * p.group_b, z * p.group_out);
}

struct Place { index: u32, valid: bool }

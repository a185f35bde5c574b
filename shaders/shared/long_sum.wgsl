// A sum in the making, by sixteens and by sixteen times sixteens: the rounding errors of long sums of equal terms add up.
struct LongSum { sum: F, part: F, block: F, terms: u32 }

fn plus(s: LongSum, v: F) -> LongSum {
    var t = LongSum(s.sum, s.part, s.block + v, s.terms + 1u);
    if t.terms % 16u == 0u {
        t.part += t.block;
        t.block = F();
    }
    if t.terms % 256u == 0u {
        t.sum += t.part;
        t.part = F();
    }
    return t;
}

fn so_far(s: LongSum) -> F { return s.sum + (s.part + s.block); }

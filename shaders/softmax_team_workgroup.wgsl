// A row is shared by a workgroup of GROUP invocations (a power of two, at most 256, set by the host).
override GROUP: u32 = 256u;
override TEAM: u32 = GROUP;
var<workgroup> scratch: array<f32, 256>;

fn team_max(v: f32, lane: u32) -> f32 {
    workgroupBarrier(); // everyone has read the result of the reduction before
    scratch[lane] = v;
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            scratch[lane] = max(scratch[lane], scratch[lane + half]);
        }
    }
    workgroupBarrier();
    return scratch[0];
}

fn team_sum(v: f32, lane: u32) -> f32 {
    workgroupBarrier();
    scratch[lane] = v;
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            scratch[lane] += scratch[lane + half];
        }
    }
    workgroupBarrier();
    return scratch[0];
}

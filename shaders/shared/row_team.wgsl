// Who works on a row: here one invocation. For long rows the host puts one of softmax_team_*.wgsl in place of this block.
// team:
const GROUP = 64u; // invocations per workgroup
const TEAM = 1u; // of which so many share a row
fn team_max(v: f32, lane: u32) -> f32 { return v; }
fn team_sum(v: f32, lane: u32) -> f32 { return v; }
// end of team

fn is_infinite(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) == 0x7f800000u;
}

fn quiet_nan() -> f32 {
    var bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}

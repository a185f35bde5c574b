// A row is shared by one subgroup, which is a whole workgroup: no barriers, no workgroup memory. For adapters that run on a
// CPU, whose subgroups have a fixed size (GROUP, set by the host).
override GROUP: u32 = 8u;
override TEAM: u32 = GROUP;
fn team_max(v: f32, lane: u32) -> f32 { return subgroupMax(v); }
fn team_sum(v: f32, lane: u32) -> f32 { return subgroupAdd(v); }

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;
alias U = vec4<u32>;
fn largest(v: F) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn total(v: F) -> f32 { return v.x + v.y + (v.z + v.w); }

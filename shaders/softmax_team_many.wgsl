// A row is shared by TEAM invocations of any workgroups (set by the host), which find in `stats` what it comes down to.
const GROUP = 64u;
override TEAM: u32 = 1u;

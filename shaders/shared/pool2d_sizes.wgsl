struct Sizes {
    total: u32, // invocations
    h: u32,
    w: u32,
    c: u32, // channels, in units of F
    oh: u32,
    ow: u32,
    kh: u32,
    kw: u32,
    sh: u32, // stride
    sw: u32,
    pt: u32, // padding at the top and at the left
    pl: u32,
    h_end: u32, // height + padding at the bottom
    w_end: u32, // width + padding at the right
    include_pad: u32,
    part: u32, // places of a window, or windows of a place, that one invocation goes through
}

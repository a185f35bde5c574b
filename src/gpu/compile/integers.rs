//! WGSL functions of integers that expressions of the table call, for i32 and for u32 (bytes are computed with as u32). Types are as
//! in the other functions: INT is the integer, S and I are the signed and the unsigned one.

/// What expressions call, and its names for i32 and u32.
const NAMES: [(&str, [&str; 2]); 6] = [
    ("power", ["ipow_i32", "ipow_u32"]),
    ("fmod", ["fmod_i32", "fmod_u32"]),
    ("remainder", ["remainder_i32", "remainder_u32"]),
    ("floor_divide", ["floor_divide_i32", "floor_divide_u32"]),
    ("shl", ["shl_i32", "shl_u32"]),
    ("shr", ["shr_i32", "shr_u32"]),
];

/// The function for a type; `None` where WGSL's own does.
pub(super) fn function(name: &str, signed: bool) -> Option<&'static str> {
    NAMES.iter().find(|(called, _)| *called == name).map(|(_, [i32, u32])| if signed { *i32 } else { *u32 })
}

#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    NAMES.iter().flat_map(|(_, names)| *names).collect()
}

/// Divisors are never 0 nor, if signed, -1, by which the smallest number has no quotient: drivers need not know what is to come of
/// it. Remainders of negative numbers are made of quotients for the same reason.
pub(super) fn text(name: &str) -> Option<&'static str> {
    Some(match name {
        "fmod_u32" | "remainder_u32" => {
            "fn NAME(x: INT, y: INT) -> INT {
    return x % select(y, INT(1), y == INT(0));
}
"
        }
        "floor_divide_u32" => {
            "fn NAME(x: INT, y: INT) -> INT {
    return x / select(y, INT(1), y == INT(0));
}
"
        }
        "fmod_i32" => {
            "fn NAME(x: INT, y: INT) -> INT {
    let d = select(y, INT(1), (y == INT(0)) | (y == INT(-1)));
    return x - (x / d) * d;
}
"
        }
        "remainder_i32" => {
            "fn NAME(x: INT, y: INT) -> INT {
    let d = select(y, INT(1), (y == INT(0)) | (y == INT(-1)));
    let r = x - (x / d) * d;
    return select(r, r + y, (r != INT(0)) & ((r ^ y) < INT(0)));
}
"
        }
        "floor_divide_i32" => {
            "fn NAME(x: INT, y: INT) -> INT {
    let d = select(y, INT(1), (y == INT(0)) | (y == INT(-1)));
    let q = x / d;
    let r = x - q * d;
    let down = select(q, q - INT(1), (r != INT(0)) & ((r ^ y) < INT(0)));
    return select(down, INT(0) - x, y == INT(-1));
}
"
        }
        // WGSL takes a count modulo the width.
        "shl_i32" | "shl_u32" => {
            "fn NAME(x: INT, y: INT) -> INT {
    return select(INT(0), x << (I(y) & I(31u)), I(y) < I(32u));
}
"
        }
        "shr_i32" => {
            "fn NAME(x: INT, y: INT) -> INT {
    return x >> min(I(y), I(31u));
}
"
        }
        "shr_u32" => {
            "fn NAME(x: INT, y: INT) -> INT {
    return select(INT(0), x >> (y & I(31u)), y < I(32u));
}
"
        }
        _ => return None,
    })
}

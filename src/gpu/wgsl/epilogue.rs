//! The two functions through which a kernel sends what it stores, and how others take their place.

/// As every kernel has them: each on one line, exactly so.
const ONE: &str = "fn epilogue(v: f32, i: u32) -> f32 { return v; }";
const FOUR: &str = "fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }";

/// Both lines, for kernels that are generated.
pub(crate) const EPILOGUES: [&str; 2] = [ONE, FOUR];

/// The kernel with these declarations, which define both functions, in place of its own.
pub(super) fn splice_epilogue(source: &str, functions: &str) -> String {
    debug_assert!(EPILOGUES.iter().all(|line| source.matches(line).count() == 1), "no epilogue in {source}");
    source.replacen(ONE, functions, 1).replacen(FOUR, "", 1)
}

/// Whether a kernel calls `epilogue`, for one element, and not only `epilogue4`.
pub(super) fn scalar_epilogue_is_called(source: &str) -> bool {
    // the declaration is one
    source.matches("epilogue(").count() > 1
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_valid;
    use super::*;

    const MAIN: &str = "@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(1)
fn main() { out[0] = CALL; }
";

    #[test]
    fn other_functions_take_the_place_of_both() {
        let kernel = format!("{ONE}\n{FOUR}\n{}", MAIN.replace("CALL", "epilogue(1.0, 0u)"));
        let twice = "fn epilogue(v: f32, i: u32) -> f32 { return 2.0 * v; }\n";
        let spliced = splice_epilogue(&kernel, twice);
        assert_valid("epilogue", &spliced);
        assert!(spliced.contains(twice) && !spliced.contains("epilogue4"));
    }

    #[test]
    fn calls_are_told_from_declarations() {
        let of = |call| format!("{ONE}\n{FOUR}\n{}", MAIN.replace("CALL", call));
        assert!(scalar_epilogue_is_called(&of("epilogue(1.0, 0u)")));
        assert!(!scalar_epilogue_is_called(&of("epilogue4(vec4<f32>(), 0u).x")));
    }
}

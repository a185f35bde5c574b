//! SHA-256, where the build has it (feature `download`).

/// The SHA-256 of the concatenated `parts` as lower-case hexadecimal digits, or `None` in a build
/// without the feature `download`: there, nothing can be verified, and callers must not claim it was.
pub(super) fn sha256_hex(parts: &[&[u8]]) -> Option<String> {
    #[cfg(feature = "download")]
    {
        use ring::digest::{Context, SHA256};
        let mut sum = Context::new(&SHA256);
        parts.iter().for_each(|part| sum.update(part));
        Some(sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
    #[cfg(not(feature = "download"))]
    {
        let _ = parts;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_vector() {
        // FIPS 180-2, appendix B.1: "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = sha256_hex(&[b"a", b"", b"bc"]);
        assert_eq!(digest.as_deref(), cfg!(feature = "download").then_some(abc));
    }
}

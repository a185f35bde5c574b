//! What several kernels have in common stands once, in `shaders/shared/`, and is named where it belongs by a line
//! `// include: shared/NAME.wgsl`.

/// Begins a line that names a header.
const INCLUDE: &str = "// include: ";

macro_rules! headers {
    ($($file:literal),* $(,)?) => {
        /// All headers, by the names that lines call them by.
        pub(super) const HEADERS: &[(&str, &str)] = &[
            $(($file, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file)))),*
        ];
    };
}

headers! {
    "shared/attention_products.wgsl",
    "shared/attention_sizes.wgsl",
    "shared/attention_tile.wgsl",
    "shared/beats.wgsl",
    "shared/conv2d_batch.wgsl",
    "shared/conv2d_walk.wgsl",
    "shared/divide.wgsl",
    "shared/gemm_params.wgsl",
    "shared/long_sum.wgsl",
    "shared/natural_log.wgsl",
    "shared/pool2d_clip.wgsl",
    "shared/pool2d_extent.wgsl",
    "shared/pool2d_sizes.wgsl",
    "shared/pool2d_windows.wgsl",
    "shared/row_max_and_sum.wgsl",
    "shared/row_quads.wgsl",
    "shared/row_stats.wgsl",
    "shared/row_team.wgsl",
    "shared/scan_chunks.wgsl",
    "shared/sort_key.wgsl",
    "shared/sorted_below.wgsl",
}

/// The text with headers in the places of the lines that name them. A header names none itself.
///
/// A line that names no header that there is stays, and what the header should have declared is missing: a test goes through
/// all files.
pub(crate) fn with_headers(text: &str) -> String {
    let mut whole = String::with_capacity(2 * text.len());
    for line in text.split_inclusive('\n') {
        let name = line.strip_prefix(INCLUDE).map(str::trim_end);
        let header = name.and_then(|name| HEADERS.iter().find(|(file, _)| *file == name));
        whole.push_str(header.map_or(line, |(_, header)| header));
    }
    whole
}

/// The text of a file in `shaders/`, with its headers, as a `&'static str`: put together at its first use.
macro_rules! shader {
    ($file:literal) => {{
        static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
            $crate::gpu::wgsl::with_headers(include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/shaders/",
                $file
            )))
        });
        TEXT.as_str()
    }};
}
pub(crate) use shader;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_stand_where_they_are_named() {
        let text =
            with_headers("// a\n// include: shared/pool2d_clip.wgsl\n// include: shared/none.wgsl\nlast");
        let clip = HEADERS.iter().find(|(file, _)| file.ends_with("clip.wgsl")).unwrap().1;
        assert_eq!(text, format!("// a\n{clip}// include: shared/none.wgsl\nlast"));
    }

    #[test]
    fn a_header_names_none_itself() {
        for (file, header) in HEADERS {
            assert!(!header.contains(INCLUDE) && header.ends_with('\n'), "{file}");
        }
    }
}

//! Reductions: long loops, long sums, integers.

//! Matrix products and convolutions over long sums.

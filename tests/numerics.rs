//! Numbers that must be right on both devices, against values computed elsewhere: exact arithmetic, float64, known constants.

#[path = "common/mod.rs"]
mod common;

#[path = "numerics/accuracy.rs"]
mod accuracy;
#[path = "numerics/bounds.rs"]
mod bounds;
#[path = "numerics/functions.rs"]
mod functions;
#[path = "numerics/long.rs"]
mod long;
#[path = "numerics/losses.rs"]
mod losses;
#[path = "numerics/powers.rs"]
mod powers;
#[path = "numerics/products.rs"]
mod products;
#[path = "numerics/sums.rs"]
mod sums;
#[path = "numerics/values.rs"]
mod values;

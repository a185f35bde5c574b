//! Numbers that should be close.

use super::pass::elements;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// What [`assert_close`] compares: tensors, numbers, and slices, arrays and vectors of them, nested or flat.
pub trait Values {
    /// The shape, where there is more to it than a number of elements.
    fn shape(&self) -> Option<Shape> {
        None
    }

    /// Appends the elements in row-major order.
    ///
    /// # Errors
    ///
    /// A tensor can't be read.
    fn append_to(&self, out: &mut Vec<f64>) -> Result<()>;
}

impl Values for Tensor {
    fn shape(&self) -> Option<Shape> {
        Some(Tensor::shape(self))
    }

    fn append_to(&self, out: &mut Vec<f64>) -> Result<()> {
        out.extend(elements(self)?);
        Ok(())
    }
}

impl<V: Values + ?Sized> Values for &V {
    fn shape(&self) -> Option<Shape> {
        (**self).shape()
    }

    fn append_to(&self, out: &mut Vec<f64>) -> Result<()> {
        (**self).append_to(out)
    }
}

macro_rules! scalar {
    ($($t:ty),*) => {$(
        impl Values for $t {
            fn append_to(&self, out: &mut Vec<f64>) -> Result<()> {
                out.push(f64::from(*self));
                Ok(())
            }
        }
    )*};
}
scalar!(f32, f64, i32, u32, u8);

macro_rules! sequence {
    ($([$($generics:tt)*] $t:ty),*) => {$(
        impl<$($generics)*> Values for $t {
            fn append_to(&self, out: &mut Vec<f64>) -> Result<()> {
                self.iter().try_for_each(|v| v.append_to(out))
            }
        }
    )*};
}
sequence!([V: Values] [V], [V: Values] Vec<V>, [V: Values, const N: usize] [V; N]);

/// Fails unless every element of `got` is within `atol + rtol * |want|` of `want`'s, as NumPy's `allclose`. NaN must meet
/// NaN, and an infinity the same infinity; with both tolerances 0 all elements must be equal.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::testing::assert_close;
/// # fn main() -> Result<()> {
/// let y = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], Device::Cpu)?.sqrt()?;
/// assert_close(&y, [[1.0, 1.414214], [1.732051, 2.0]], 1e-6, 0.0)?;
/// let report = assert_close(&y, [[1.0, 1.414214], [1.75, 2.0]], 1e-6, 1e-9).unwrap_err().to_string();
/// assert!(report.contains("element 2, at [1, 0] of [2, 2]"), "{report}");
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Error::Mismatch`] names the worst element, its place, both values, their difference and what was allowed, or two
/// shapes or numbers of elements that differ. [`Error::Argument`] where a tolerance is negative or NaN. And what reading a
/// tensor gives.
pub fn assert_close(got: impl Values, want: impl Values, rtol: f64, atol: f64) -> Result<()> {
    const CHECK: &str = "assert_close";
    if !(rtol >= 0.0 && atol >= 0.0) {
        let message = format!("tolerances are at least 0, got rtol {rtol} and atol {atol}");
        return Err(Error::argument(CHECK, message));
    }
    let shapes = (got.shape(), want.shape());
    if let (Some(g), Some(w)) = shapes
        && g != w
    {
        return Err(Error::mismatch(CHECK, format!("got the shape {g}, want {w}")));
    }
    let (mut g, mut w) = (Vec::new(), Vec::new());
    got.append_to(&mut g)?;
    want.append_to(&mut w)?;
    if g.len() != w.len() {
        let message = format!("got {} elements, want {}", g.len(), w.len());
        return Err(Error::mismatch(CHECK, message));
    }
    let allowed = |want: f64| atol + rtol * want.abs();
    match worst(&g, &w, allowed) {
        None => Ok(()),
        Some(difference) => {
            let rule = format!("atol {atol:e} + rtol {rtol:e} * |want|");
            Err(Error::mismatch(CHECK, difference.report(shapes.0.or(shapes.1), &rule)))
        }
    }
}

/// The worst of some elements that differ by more than they may.
pub(super) struct Difference {
    /// How many do, of how many.
    count: usize,
    of: usize,
    place: usize,
    got: f64,
    want: f64,
    allowed: f64,
}

/// The element that is off by most beyond what is allowed there; `None` where none is.
pub(super) fn worst(got: &[f64], want: &[f64], allowed: impl Fn(f64) -> f64) -> Option<Difference> {
    let mut found: Option<(Difference, f64)> = None;
    let mut count = 0;
    for (place, (&got, &want)) in got.iter().zip(want).enumerate() {
        let (excess, allowed) = match got.is_finite() && want.is_finite() {
            true => ((got - want).abs() - allowed(want), allowed(want)),
            false if got == want || (got.is_nan() && want.is_nan()) => continue,
            false => (f64::INFINITY, 0.0),
        };
        // An allowance that is NaN allows nothing.
        if excess > 0.0 || excess.is_nan() {
            count += 1;
            if found.as_ref().is_none_or(|&(_, most)| excess > most) {
                found = Some((Difference { count, of: 0, place, got, want, allowed }, excess));
            }
        }
    }
    found.map(|(difference, _)| Difference { count, of: got.len(), ..difference })
}

impl Difference {
    pub fn report(&self, shape: Option<Shape>, rule: &str) -> String {
        let Difference { count, of, place, got, want, allowed } = *self;
        let at = match shape.filter(|s| s.rank() > 1) {
            Some(shape) => format!(", at {:?} of {shape}", coordinates(place, &shape)),
            None => String::new(),
        };
        let off = match got.is_finite() && want.is_finite() {
            true => format!("off by {:.3e}, allowed {allowed:.3e} ({rule})", (got - want).abs()),
            false => "NaN must meet NaN, and an infinity the same infinity".into(),
        };
        format!(
            "{count} of {of} elements differ; the worst is element {place}{at}: got {got:?}, want {want:?}; {off}"
        )
    }
}

fn coordinates(mut place: usize, dims: &[usize]) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    for (c, &n) in at.iter_mut().zip(dims).rev() {
        *c = place % n.max(1);
        place /= n.max(1);
    }
    at
}

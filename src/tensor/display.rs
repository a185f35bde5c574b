//! Printing, as NumPy prints: rows in brackets, columns lined up, long axes shortened.

use super::Tensor;
use crate::cpu::dispatch;
use std::fmt;

/// Tensors of more elements than this are shortened to [`EDGE`] elements at both ends of each axis.
const THRESHOLD: usize = 1000;
const EDGE: usize = 3;

/// Decimals that show every element exactly, up to four, trailing zeros cut together.
fn format_floats(values: &[f64]) -> Vec<String> {
    let finite = || values.iter().filter(|v| v.is_finite() && **v != 0.0).map(|v| v.abs());
    let (max, min) = (finite().fold(0.0, f64::max), finite().fold(f64::INFINITY, f64::min));
    if max >= 1e8 || min < 1e-4 && min.is_finite() || (min.is_finite() && max / min > 1e6) {
        return values.iter().map(|v| if v.is_finite() { format!("{v:.4e}") } else { special(*v) }).collect();
    }
    let decimals = |v: f64| {
        let text = format!("{v:.4}");
        text.trim_end_matches('0').rsplit('.').next().map_or(0, str::len)
    };
    let places = values.iter().filter(|v| v.is_finite()).map(|&v| decimals(v)).max().unwrap_or(0);
    let one = |v: &f64| {
        if !v.is_finite() {
            special(*v)
        } else if places == 0 {
            format!("{v:.0}.")
        } else {
            format!("{v:.places$}")
        }
    };
    values.iter().map(one).collect()
}

fn special(v: f64) -> String {
    if v.is_nan() {
        "nan".into()
    } else if v > 0.0 {
        "inf".into()
    } else {
        "-inf".into()
    }
}

/// Places along an axis that are shown; `None` is the gap.
fn shown(n: usize, shorten: bool) -> Vec<Option<usize>> {
    if !shorten || n <= 2 * EDGE {
        return (0..n).map(Some).collect();
    }
    (0..EDGE).map(Some).chain([None]).chain((n - EDGE..n).map(Some)).collect()
}

fn offsets(dims: &[usize], base: usize, shorten: bool, out: &mut Vec<usize>) {
    match dims {
        [] => out.push(base),
        [n, rest @ ..] => {
            let step: usize = rest.iter().product();
            for i in shown(*n, shorten).into_iter().flatten() {
                offsets(rest, base + i * step, shorten, out);
            }
        }
    }
}

fn write_rows(
    f: &mut fmt::Formatter<'_>,
    dims: &[usize],
    depth: usize,
    shorten: bool,
    cells: &mut impl Iterator<Item = String>,
) -> fmt::Result {
    let [n, rest @ ..] = dims else {
        return f.write_str(&cells.next().unwrap_or_default());
    };
    f.write_str("[")?;
    for (k, place) in shown(*n, shorten).into_iter().enumerate() {
        if k > 0 {
            match rest.len() {
                0 => f.write_str(" ")?,
                r => write!(f, "{}{}", "\n".repeat(r), " ".repeat(depth + 1))?,
            }
        }
        match place {
            Some(_) => write_rows(f, rest, depth + 1, shorten, cells)?,
            None => f.write_str("...")?,
        }
    }
    f.write_str("]")
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let array = match self.to_host().and_then(|a| a.contiguous()) {
            Ok(array) => array,
            Err(e) => return write!(f, "<{e}>"),
        };
        let shorten = self.numel() > THRESHOLD;
        let mut at = Vec::new();
        offsets(self.dims(), 0, shorten, &mut at);
        let values: Vec<f64> = dispatch!(self.dtype(), T => match array.slice::<T>() {
            Ok(data) => at.iter().map(|&i| crate::cpu::Element::to_f64(data[i])).collect(),
            Err(_) => return Err(fmt::Error),
        });
        let texts = if self.dtype().is_float() {
            format_floats(&values)
        } else {
            values.iter().map(|v| format!("{v:.0}")).collect()
        };
        let width = texts.iter().map(String::len).max().unwrap_or(0);
        let mut cells = texts.into_iter().map(|t| format!("{t:>width$}"));
        write_rows(f, self.dims(), 0, shorten, &mut cells)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pending = if self.0.has_value() { "" } else { ", pending" };
        write!(
            f,
            "Tensor({} {} on {}, {}{pending})",
            self.dtype(),
            self.shape(),
            self.device(),
            self.0.op.name()
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    #[test]
    fn prints_like_numpy() -> Result<()> {
        let t = Tensor::new([[1.0f32, -2.5], [10.0, 0.25]], Device::Cpu)?;
        assert_eq!(t.to_string(), "[[ 1.00 -2.50]\n [10.00  0.25]]");
        assert_eq!(Tensor::new(3i32, Device::Cpu)?.to_string(), "3");
        let long = Tensor::arange(0, 2000, Device::Cpu)?;
        assert_eq!(long.to_string(), "[   0    1    2 ... 1997 1998 1999]");
        let odd = Tensor::new([f32::NAN, f32::INFINITY, 1.0], Device::Cpu)?;
        assert_eq!(odd.to_string(), "[nan inf  1.]");
        assert_eq!(Tensor::zeros([0], Device::Cpu)?.to_string(), "[]");
        Ok(())
    }
}

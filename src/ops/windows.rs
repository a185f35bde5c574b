//! Where windows lie: what convolutions and pooling over two and three axes have in common.

use crate::error::{Error, Result};

/// Kernels compute coordinates in 32 bits with a sign.
pub(crate) const MOST: usize = i32::MAX as usize;

/// Places from a window's first tap to its last, both included.
pub(crate) fn reach(kernel: usize, dilation: usize) -> usize {
    dilation.saturating_mul(kernel.saturating_sub(1)).saturating_add(1)
}

/// Places before and after, with which there is a window for each stride that begins within the size.
pub(crate) fn same_border(size: usize, reach: usize, stride: usize) -> [usize; 2] {
    let last = (size.div_ceil(stride).max(1) - 1) * stride;
    let total = last.saturating_add(reach).saturating_sub(size);
    [total / 2, total - total / 2]
}

/// How many windows there are where the last one may reach beyond the border, as far as it begins before it; the padded size
/// holds at least one.
pub(crate) fn rounded_up(
    op: &str,
    size: usize,
    [before, after]: [usize; 2],
    kernel: usize,
    stride: usize,
) -> Result<usize> {
    let begin = size + before;
    let more = (begin + after - kernel).div_ceil(stride) + 1;
    // No window begins behind the last element.
    let out = if (more - 1) * stride >= begin { more - 1 } else { more };
    if out.saturating_sub(1) * stride + kernel > MOST {
        let message = format!("windows of {kernel} beyond a size of {size} are out of all proportion");
        return Err(Error::argument(op, message));
    }
    Ok(out)
}

/// A window in a few words, as in `3x3`.
pub(crate) fn extent(kernel: &[usize]) -> String {
    kernel.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// What an image or a volume is surrounded by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Border<const N: usize> {
    Valid,
    Same,
    /// Before and after, along each axis.
    Explicit([[usize; 2]; N]),
}

/// Windows over the last two or three axes before the channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows<const N: usize> {
    pub kernel: [usize; N],
    pub stride: [usize; N],
    pub dilation: [usize; N],
    pub border: Border<N>,
}

/// Places before and after, and the number of windows, along each axis.
pub(crate) type Resolved<const N: usize> = ([[usize; 2]; N], [usize; N]);

impl<const N: usize> Windows<N> {
    /// What lies along an axis.
    fn axis(d: usize) -> &'static str {
        ["slices", "rows", "columns"][3 - N + d]
    }

    fn whole() -> &'static str {
        if N == 2 { "image" } else { "volume" }
    }

    fn padding(&self) -> &'static str {
        if N == 2 { "Padding" } else { "Padding3d" }
    }

    /// An error about the smallest size that would do, where sizes are open: the sizes that it names were given by nobody.
    fn of_open(e: Error, size: [Option<usize>; N]) -> Error {
        if size.iter().all(Option::is_some) {
            return e;
        }
        let sizes = size.map(|n| n.map_or("None".to_string(), |n| n.to_string())).join(", ");
        e.within(&format!("{}s of [{sizes}], the smallest that would do", Self::whole()))
    }

    /// Padding and output sizes for one size.
    pub fn resolve(&self, op: &str, size: [usize; N]) -> Result<Resolved<N>> {
        let Windows { kernel, stride, dilation, border } = *self;
        if kernel.contains(&0) || stride.contains(&0) || dilation.contains(&0) {
            let message = format!(
                "kernel {kernel:?}, stride {stride:?} and dilation {dilation:?} must all be at least 1"
            );
            return Err(Error::argument(op, message));
        }
        let mut padding = [[0; 2]; N];
        let mut out = [0; N];
        for d in 0..N {
            let reach = reach(kernel[d], dilation[d]);
            padding[d] = match border {
                Border::Valid => [0, 0],
                Border::Same => same_border(size[d], reach, stride[d]),
                Border::Explicit(padding) => padding[d],
            };
            let [before, after] = padding[d];
            let padded = size[d].saturating_add(before).saturating_add(after);
            if padded.max(stride[d]) > MOST {
                let message = format!(
                    "stride {stride:?} or padding {:?} is out of all proportion: at most {MOST}",
                    padding.as_flattened()
                );
                return Err(Error::argument(op, message));
            }
            if padded < reach {
                let message = format!(
                    "the window covers {reach} {}, the padded {} has {padded}; use a smaller kernel or {}::Same",
                    Self::axis(d),
                    Self::whole(),
                    self.padding()
                );
                return Err(Error::shape(op, message));
            }
            out[d] = (padded - reach) / stride[d] + 1;
        }
        Ok((padding, out))
    }

    /// Output sizes for sizes that may be open (`None`): where one is, so is the output's. What fits no size at all is an error.
    pub fn resolve_open(&self, op: &str, size: [Option<usize>; N]) -> Result<[Option<usize>; N]> {
        // The smallest size that a window fits into, whatever is around it.
        let fitting = |d: usize| match self.border {
            Border::Same => 1,
            _ => reach(self.kernel[d], self.dilation[d]),
        };
        let sizes = std::array::from_fn(|d| size[d].unwrap_or_else(|| fitting(d)));
        let (_, out) = self.resolve(op, sizes).map_err(|e| Self::of_open(e, size))?;
        Ok(std::array::from_fn(|d| size[d].map(|_| out[d])))
    }

    /// As [`resolve`](Self::resolve), for pooling: with `ceil`, windows that reach beyond the border at the end count, too. What they
    /// take beyond it is no padding: kernels leave it out as they do what lies outside of the image.
    pub fn pooled(&self, op: &str, size: [usize; N], ceil: bool) -> Result<Resolved<N>> {
        let (padding, mut out) = self.resolve(op, size)?;
        for d in (0..N).filter(|_| ceil) {
            out[d] = rounded_up(op, size[d], padding[d], self.kernel[d], self.stride[d])?;
        }
        self.check_border(op)?;
        Ok((padding, out))
    }

    /// As [`pooled`](Self::pooled), for sizes that may be open.
    pub fn pooled_open(&self, op: &str, size: [Option<usize>; N], ceil: bool) -> Result<[Option<usize>; N]> {
        let out = self.resolve_open(op, size)?;
        self.check_border(op)?;
        if !ceil {
            return Ok(out);
        }
        let (_, out) = self.pooled(op, std::array::from_fn(|d| size[d].unwrap_or(self.kernel[d])), ceil)?;
        Ok(std::array::from_fn(|d| size[d].map(|_| out[d])))
    }

    /// Refuses a border as wide as the window: a window would be all border. (What `Same` adds is narrower.)
    fn check_border(&self, op: &str) -> Result<()> {
        let kernel = self.kernel;
        match self.border {
            Border::Explicit(padding) if (0..N).any(|d| padding[d].iter().any(|&p| p >= kernel[d])) => {
                let message = format!(
                    "padding {:?} is not smaller than the window {kernel:?}: a window would be all border",
                    padding.as_flattened()
                );
                Err(Error::argument(op, message))
            }
            _ => Ok(()),
        }
    }

    /// Padding of the convolution that a transposed one is the transpose of, and the output's sizes, for one size.
    pub fn transposed(&self, op: &str, size: [usize; N], extra: Option<[usize; N]>) -> Result<Resolved<N>> {
        let mut out = [0; N];
        for d in 0..N {
            let (axis, stride) = (Self::axis(d), self.stride[d]);
            if size[d] == 0 {
                return Err(Error::shape(op, format!("the {} has no {axis}", Self::whole())));
            }
            let window = reach(self.kernel[d], self.dilation[d]);
            if let Some(all) = extra.filter(|p| p[d] > 0 && p[d] >= stride) {
                let message =
                    format!("output padding {all:?} must be smaller than the stride {:?}", self.stride);
                return Err(Error::argument(op, message));
            }
            let spread = (size[d] - 1).saturating_mul(stride);
            let (full, cut) = match (self.border, extra.map(|p| p[d])) {
                (Border::Valid, Some(extra)) => (window.saturating_add(extra), 0),
                (Border::Valid, None) => (window.max(stride), 0),
                (Border::Same, Some(extra)) => (window % 2 + extra, 0),
                (Border::Same, None) => (stride, 0),
                (Border::Explicit(padding), extra) => {
                    let [before, after] = padding[d];
                    (window.saturating_add(extra.unwrap_or(0)), before.saturating_add(after))
                }
            };
            let full = spread.saturating_add(full);
            if full <= cut {
                let message = format!("of {full} {axis} the padding cuts off {cut}: nothing is left");
                return Err(Error::shape(op, message));
            }
            out[d] = full - cut;
        }
        let (padding, positions) = self.resolve(op, out)?;
        if positions != size {
            // An even window, Padding::Same and no output padding.
            let message = format!(
                "of {} {} of {size:?} it would be {out:?}, of which a convolution gives {positions:?}; with {}::Same and an \
                 even window the output padding must be at least 1",
                if N == 2 { "an" } else { "a" },
                Self::whole(),
                self.padding()
            );
            return Err(Error::argument(op, message));
        }
        Ok((padding, out))
    }

    /// As [`transposed`](Self::transposed), for sizes that may be open.
    pub fn transposed_open(
        &self,
        op: &str,
        size: [Option<usize>; N],
        extra: Option<[usize; N]>,
    ) -> Result<[Option<usize>; N]> {
        // So large that something is left of it.
        let fitting = |d: usize| match self.border {
            Border::Explicit(padding) => {
                let cut = padding[d][0].saturating_add(padding[d][1]);
                (cut / self.stride[d].max(1)).saturating_add(2)
            }
            _ => 2,
        };
        let sizes = std::array::from_fn(|d| size[d].unwrap_or_else(|| fitting(d)));
        let (_, out) = self.transposed(op, sizes, extra).map_err(|e| Self::of_open(e, size))?;
        Ok(std::array::from_fn(|d| size[d].map(|_| out[d])))
    }
}

//! Numbers as colours.

use super::color::{Color, DIVERGING, MAGENTA, along};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// From black to white.
const GREY_LEVELS: [Color; 2] = [[0; 3], [0xff; 3]];
/// From black over red and yellow to white.
const HOT: [Color; 4] = [[0; 3], [0xff, 0, 0], [0xff, 0xff, 0], [0xff; 3]];
/// Matplotlib's viridis, at nine places.
const VIRIDIS: [Color; 9] = [
    [0x44, 0x01, 0x54],
    [0x47, 0x2d, 0x7b],
    [0x3b, 0x52, 0x8b],
    [0x2c, 0x72, 0x8e],
    [0x21, 0x91, 0x8c],
    [0x28, 0xae, 0x80],
    [0x5e, 0xc9, 0x62],
    [0xad, 0xdc, 0x30],
    [0xfd, 0xe7, 0x25],
];

/// What numbers look like: of a [`Field`](super::Field), or of a tensor by [`colors`](Self::colors).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColorMap {
    /// From dark blue over green to yellow, each step as far from the last: Matplotlib's viridis.
    #[default]
    Viridis,
    /// From blue over white to red, for numbers below and above 0, which is in the middle.
    Diverging,
    /// From black over red and yellow to white: heat maps.
    Hot,
    /// From black to white.
    Grey,
}

impl ColorMap {
    /// The colour at a place from 0 to 1; magenta for what is no number.
    pub(super) fn at(self, share: f64) -> Color {
        let scale: &[Color] = match self {
            ColorMap::Viridis => &VIRIDIS,
            ColorMap::Diverging => &DIVERGING,
            ColorMap::Hot => &HOT,
            ColorMap::Grey => &GREY_LEVELS,
        };
        if share.is_finite() { along(scale, share) } else { MAGENTA }
    }

    /// Images `[.., 1]` of numbers from 0 to 1 as images `[.., 3]`, red, green and blue from 0 to 1, on the same device. Numbers beyond
    /// have the colours of the ends; what is not finite is magenta.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::plot::ColorMap;
    /// # fn main() -> Result<()> {
    /// let heat = Tensor::new([[0.0f32], [1.0 / 3.0], [2.0]], Device::Cpu)?;
    /// assert_eq!(ColorMap::Hot.colors(&heat)?.to_vec::<f32>()?, [0., 0., 0., 1., 0., 0., 1., 1., 1.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The last dimension is not 1, or the device fails.
    pub fn colors(self, values: &Tensor) -> Result<Tensor> {
        let Some((&1, others)) = values.dims().split_last() else {
            let message = format!("got {}; expected [.., 1], images of one channel", values.shape());
            return Err(Error::shape("ColorMap::colors", message));
        };
        let numbers = values.detach()?.to_device(Device::Cpu)?.cast(DType::F32)?.to_vec::<f32>()?;
        let colors = numbers.into_iter().flat_map(|v| self.at(f64::from(v)));
        let colors = colors.map(|level| f32::from(level) / 255.0).collect();
        Tensor::from_vec(colors, [others, &[3]].concat(), Device::Cpu)?.to_device(values.device())
    }
}

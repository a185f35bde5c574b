//! The elements of tensors on their way to a file: from where they are, without a copy of all of them.

use crate::cpu::{Array, dispatch};
use crate::error::Result;
use crate::tensor::Tensor;
use std::io::{self, Write};

/// A tensor's elements, computed and on the host, in row-major order.
pub(crate) struct Elements(Array);

impl Elements {
    pub fn of(tensor: &Tensor) -> Result<Elements> {
        Ok(Elements(tensor.detach()?.to_host()?.contiguous()?))
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.0.shape.numel() * self.0.dtype().size()
    }

    /// Writes them little-endian, as all formats here have them.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        dispatch!(self.0.dtype(), T => {
            let elements = self.0.slice::<T>().map_err(io::Error::other)?;
            write_little_endian(bytemuck::cast_slice(elements), size_of::<T>(), out)
        })
    }
}

fn write_little_endian(bytes: &[u8], size: usize, out: &mut impl Write) -> io::Result<()> {
    if cfg!(target_endian = "little") {
        return out.write_all(bytes);
    }
    const PIECE: usize = 1 << 16;
    for piece in bytes.chunks(PIECE) {
        let mut piece = piece.to_vec();
        piece.chunks_mut(size).for_each(<[u8]>::reverse);
        out.write_all(&piece)?;
    }
    Ok(())
}

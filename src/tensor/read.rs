//! Reading values: the only calls that wait for a device.

use super::Tensor;
use crate::backend::{download, download_async, eval};
use crate::cpu::{Array, Element, dispatch, memory};
use crate::dtype::DType;
use crate::error::{Error, Result};

fn elements<T: Element>(array: &Array) -> Result<Vec<T>> {
    if array.dtype() != T::DTYPE {
        let message =
            format!("the tensor holds {}, {} was asked for; cast it first", array.dtype(), T::DTYPE);
        return Err(Error::dtype("to_vec", message));
    }
    if array.is_contiguous() {
        return memory::copy(array.slice::<T>()?);
    }
    let mut v = memory::reserve(array.shape.numel())?;
    v.resize(array.shape.numel(), T::default());
    array.copy_to(&mut v)?;
    Ok(v)
}

/// The element of an array of one, of this type or of one that holds its numbers.
fn element<T: Element>(array: &Array) -> Result<T> {
    let (held, asked) = (array.dtype(), T::DTYPE);
    let converts = match asked {
        DType::F64 => true,
        DType::F32 => matches!(held, DType::F64 | DType::U8),
        DType::I32 | DType::U32 => held == DType::U8,
        DType::U8 => false,
    };
    if held != asked && !converts {
        let message = format!(
            "the tensor holds {held}, {asked} was asked for and does not hold all {held}; cast it first"
        );
        return Err(Error::dtype("item", message));
    }
    dispatch!(held, A => Ok(elements::<A>(array)?[0].convert::<T>()))
}

impl Tensor {
    /// Computes the value now, and lets go of what it was computed from unless gradients need it. On a GPU this queues
    /// the work without waiting for it. Values that are already there are not computed again.
    ///
    /// # Errors
    ///
    /// The value depends on an argument of a function that is being traced; the device fails or has no memory; on the CPU, values
    /// that an operation can't take, such as an index outside its axis.
    pub fn eval(&self) -> Result<()> {
        eval(&[self])
    }

    /// The values on the host.
    pub(crate) fn to_host(&self) -> Result<Array> {
        download(self)
    }

    /// All elements in row-major order. Computes them first, and waits for the device.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], Device::Cpu)?;
    /// assert_eq!((&x * 2.0)?.to_vec::<f32>()?, [2.0, 4.0, 6.0, 8.0]);
    /// assert!(x.to_vec::<f64>().is_err()); // of another type: cast it first
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor has another element type. As [`eval`](Self::eval); on a GPU also what went wrong there since it was last
    /// waited for.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        elements(&self.to_host()?)
    }

    /// As [`to_vec`](Self::to_vec), without blocking the thread while a GPU works.
    ///
    /// # Errors
    ///
    /// As [`to_vec`](Self::to_vec).
    pub async fn to_vec_async<T: Element>(&self) -> Result<Vec<T>> {
        elements(&download_async(self).await?)
    }

    /// The one element of a tensor that has one, whatever its rank: a loss, for one. Waits for the device.
    ///
    /// Unlike [`to_vec`](Self::to_vec) it reads any element as `f64` (PyTorch's `item()` gives such a number), and an f64 as `f32`, rounded
    /// to the nearest; bytes as any type.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let sum = Tensor::ones([2, 3], Device::Cpu)?.sum(.., false)?;
    /// assert_eq!((sum.item::<f32>()?, sum.item::<f64>()?), (6.0, 6.0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// There is more than one element, or none; the tensor's type is another whose numbers `T` does not hold, such as integers for
    /// `f32`; else as [`to_vec`](Self::to_vec).
    pub fn item<T: Element>(&self) -> Result<T> {
        self.check_item()?;
        element(&self.to_host()?)
    }

    /// As [`item`](Self::item), without blocking the thread while a GPU works.
    ///
    /// # Errors
    ///
    /// As [`item`](Self::item).
    pub async fn item_async<T: Element>(&self) -> Result<T> {
        self.check_item()?;
        element(&download_async(self).await?)
    }

    fn check_item(&self) -> Result<()> {
        if self.numel() == 1 {
            return Ok(());
        }
        let message = format!("the tensor has shape {} and {} elements, not one", self.shape(), self.numel());
        Err(Error::shape("item", message))
    }

    /// The values as an ndarray of the same shape (feature `ndarray`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let a = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], Device::Cpu)?.to_ndarray::<f32>()?;
    /// assert_eq!(a[[1, 0]], 3.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`to_vec`](Self::to_vec).
    #[cfg(feature = "ndarray")]
    pub fn to_ndarray<T: Element>(&self) -> Result<ndarray::ArrayD<T>> {
        let shape = ndarray::IxDyn(self.dims());
        ndarray::ArrayD::from_shape_vec(shape, self.to_vec::<T>()?)
            .map_err(|e| Error::shape("to_ndarray", e.to_string()))
    }
}

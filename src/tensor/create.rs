//! Making tensors.

use super::Tensor;
use super::node::recording;
use crate::backend::upload;
use crate::cpu::{Array, Element, dispatch, memory};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::{constant, random, view};
use crate::sealed;
use crate::shape::Shape;

/// What [`Tensor::full`] takes: a number. Rust takes a literal such as `1.0` for an f64, so that all floats become f32, the
/// element type of [`Tensor::zeros`] and [`Tensor::ones`].
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// assert_eq!(Tensor::full([2], 1.0, Device::Cpu)?.dtype(), DType::F32);
/// assert_eq!(Tensor::full([2], 1, Device::Cpu)?.dtype(), DType::I32);
/// # Ok(()) }
/// ```
pub trait FillValue: sealed::FillValue {
    /// The number, and the element type.
    fn fill_value(self) -> (f64, DType);
}

macro_rules! fill_value {
    ($($t:ty => $dtype:ident),*) => {$(
        impl sealed::FillValue for $t {}
        impl FillValue for $t {
            fn fill_value(self) -> (f64, DType) { (self.into(), DType::$dtype) }
        }
    )*};
}
fill_value!(f32 => F32, f64 => F32, i32 => I32, u32 => U32, u8 => U8);

/// A Rust scalar or nested array whose shape and elements [`Tensor::new`] takes: f32, f64, i32, u32, u8, and arrays, slices and
/// vectors of these.
pub trait NestedArray: sealed::NestedArray {
    /// The element type.
    type Elem: Element;
    /// The dimensions, outermost first.
    ///
    /// # Errors
    ///
    /// Nested vectors have different lengths.
    fn nested_shape(&self) -> Result<Vec<usize>>;
    /// Appends the elements in row-major order.
    fn flatten_into(&self, out: &mut Vec<Self::Elem>);
}

macro_rules! nested_scalar {
    ($($t:ty),*) => {$(
        impl sealed::NestedArray for $t {}
        impl NestedArray for $t {
            type Elem = $t;
            fn nested_shape(&self) -> Result<Vec<usize>> { Ok(Vec::new()) }
            fn flatten_into(&self, out: &mut Vec<$t>) { out.push(*self); }
        }
    )*};
}
nested_scalar!(f32, f64, i32, u32, u8);

fn shape_of_rows<A: NestedArray>(rows: &[A]) -> Result<Vec<usize>> {
    let mut inner = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let shape = row.nested_shape()?;
        if i > 0 && shape != inner {
            let message = format!("rows differ in shape: {inner:?} and {shape:?} (row {i})");
            return Err(Error::shape("Tensor::new", message));
        }
        inner = shape;
    }
    inner.insert(0, rows.len());
    Ok(inner)
}

macro_rules! nested_rows {
    ($([$($generics:tt)*] $t:ty),*) => {$(
        impl<$($generics)*> sealed::NestedArray for $t {}
        impl<$($generics)*> NestedArray for $t {
            type Elem = A::Elem;
            fn nested_shape(&self) -> Result<Vec<usize>> { shape_of_rows(&self[..]) }
            fn flatten_into(&self, out: &mut Vec<A::Elem>) {
                for row in self.iter() { row.flatten_into(out); }
            }
        }
    )*};
}
nested_rows!([A: NestedArray, const N: usize] [A; N], [A: NestedArray] Vec<A>, [A: NestedArray] &[A]);

impl Tensor {
    /// A tensor of a scalar, a nested array or nested vectors.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let t = Tensor::new([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]], Device::Cpu)?;
    /// assert_eq!(t.shape(), [2, 3]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Nested vectors have different lengths, there are more than [`MAX_RANK`](crate::MAX_RANK) levels, the device can't be used
    /// or has no memory for it; f64 on a GPU.
    pub fn new<A: NestedArray>(values: A, device: Device) -> Result<Tensor> {
        let shape = values.nested_shape()?;
        let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(usize::MAX);
        let mut data = memory::reserve(n)?;
        values.flatten_into(&mut data);
        Self::from_vec(data, shape, device)
    }

    /// Numbers that the host has computed in f64, each rounded to the type.
    pub(crate) fn rounded(values: &[f64], dims: &[usize], dtype: DType, device: Device) -> Result<Tensor> {
        dispatch!(dtype, T => {
            Tensor::from_vec(values.iter().map(|&v| T::from_f64(v)).collect::<Vec<T>>(), dims, device)
        })
    }

    /// A tensor of these elements in row-major order.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let pixels = [0u8, 64, 128, 255];
    /// let image = Tensor::from_slice(&pixels, [2, 2, 1], Device::Cpu)?;
    /// assert_eq!((image.shape().to_vec(), image.dtype()), (vec![2, 2, 1], DType::U8));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The shape has another number of elements, the device can't be used or has no memory for it; f64 on a GPU.
    pub fn from_slice<T: Element>(data: &[T], shape: impl AsRef<[usize]>, device: Device) -> Result<Tensor> {
        Self::from_vec(memory::copy(data)?, shape, device)
    }

    /// As [`from_slice`](Self::from_slice), taking the vector over: on the CPU nothing is copied.
    ///
    /// # Errors
    ///
    /// As [`from_slice`](Self::from_slice).
    pub fn from_vec<T: Element>(data: Vec<T>, shape: impl AsRef<[usize]>, device: Device) -> Result<Tensor> {
        let shape = Shape::new(shape.as_ref())?;
        if data.len() != shape.numel() {
            let message = format!("{} elements given, shape {shape} needs {}", data.len(), shape.numel());
            return Err(Error::shape("from_slice", message));
        }
        Self::place(Array::from_vec(data, shape), device)
    }

    /// Puts host values on a device.
    pub(crate) fn place(array: Array, device: Device) -> Result<Tensor> {
        let spec = array.spec();
        Ok(Tensor::from_value(upload(array, device)?, spec, device))
    }

    /// A tensor of an ndarray of any dimension and layout (feature `ndarray`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let array = ndarray::arr2(&[[1.0f32, 2.0], [3.0, 4.0]]);
    /// let x = Tensor::from_ndarray(&array.t(), Device::Cpu)?;
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 3.0, 2.0, 4.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// More than [`MAX_RANK`](crate::MAX_RANK) dimensions, a device that can't be used or has no memory for it; f64 on a GPU.
    #[cfg(feature = "ndarray")]
    pub fn from_ndarray<T: Element, D: ndarray::Dimension>(
        array: &ndarray::ArrayRef<T, D>,
        device: Device,
    ) -> Result<Tensor> {
        let mut data = memory::reserve(array.len())?;
        data.extend(array.iter().copied());
        Self::from_vec(data, array.shape(), device)
    }

    /// Zeros, f32. They take no memory until something needs them whole.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// assert_eq!(Tensor::zeros([2, 3], Device::Cpu)?.to_vec::<f32>()?, [0.0; 6]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The shape has more than [`MAX_RANK`](crate::MAX_RANK) dimensions or 2^32 elements or more, or the device can't be used.
    pub fn zeros(shape: impl AsRef<[usize]>, device: Device) -> Result<Tensor> {
        Self::full(shape, 0.0f32, device)
    }

    /// Ones, f32: as [`zeros`](Self::zeros).
    ///
    /// # Errors
    ///
    /// As [`zeros`](Self::zeros).
    pub fn ones(shape: impl AsRef<[usize]>, device: Device) -> Result<Tensor> {
        Self::full(shape, 1.0f32, device)
    }

    /// One value everywhere: `1.0` (and all other floats) as f32, `1` as i32, other integers in their Rust type. Takes no
    /// memory until something needs it whole.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// assert_eq!(Tensor::full([2], 0.5, Device::Cpu)?.dtype(), DType::F32);
    /// assert_eq!(Tensor::full([2], 7u8, Device::Cpu)?.to_vec::<u8>()?, [7, 7]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// A finite number that is infinite in f32. For f64 tensors there is [`full_dtype`](Self::full_dtype).
    pub fn full(shape: impl AsRef<[usize]>, value: impl FillValue, device: Device) -> Result<Tensor> {
        let (value, dtype) = value.fill_value();
        Self::full_dtype(shape, value, dtype, device)
    }

    /// One value everywhere, each element in memory: what a repeated scalar is not, and variables should be.
    pub(crate) fn filled<T: Element>(shape: Shape, value: T, device: Device) -> Result<Tensor> {
        let array = Array::build::<T>(shape, |elements| {
            elements.fill(value);
            Ok(())
        })?;
        Self::place(array, device)
    }

    /// As [`filled`](Self::filled), in the type given.
    pub(crate) fn filled_dtype(shape: Shape, value: f64, dtype: DType, device: Device) -> Result<Tensor> {
        dispatch!(dtype, T => Tensor::filled(shape, T::from_f64(value), device))
    }

    /// One value everywhere, in the type given.
    ///
    /// # Errors
    ///
    /// A number that the type doesn't hold: a fraction or one outside the range of an integer type, a finite one that is
    /// infinite in f32. f64 on a GPU.
    pub fn full_dtype(
        shape: impl AsRef<[usize]>,
        value: f64,
        dtype: DType,
        device: Device,
    ) -> Result<Tensor> {
        device.check()?;
        check_dtype("full", dtype, device)?;
        constant::check_number("full", value, dtype)?;
        if dtype == DType::F32 && value.is_finite() && !(value as f32).is_finite() {
            let message =
                format!("the number {value} is infinite in f32, whose largest is {:e}; use f64", f32::MAX);
            return Err(Error::argument("full", message));
        }
        view::full(value, Shape::new(shape.as_ref())?, dtype, device)
    }

    /// Zeros of this tensor's shape, type and device.
    ///
    /// # Errors
    ///
    /// The device can't be used.
    pub fn zeros_like(&self) -> Result<Tensor> {
        view::full(0.0, self.shape(), self.dtype(), self.device())
    }

    /// Ones of this tensor's shape, type and device.
    ///
    /// # Errors
    ///
    /// The device can't be used.
    pub fn ones_like(&self) -> Result<Tensor> {
        view::full(1.0, self.shape(), self.dtype(), self.device())
    }

    /// `start, start + 1, ..., end - 1` as i32: none where both are equal.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// assert_eq!(Tensor::arange(-1, 3, Device::Cpu)?.to_vec::<i32>()?, [-1, 0, 1, 2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The end is below the start, one of them is no i32, or the device can't be used.
    pub fn arange(start: i64, end: i64, device: Device) -> Result<Tensor> {
        if start > end || start < i32::MIN as i64 || end > i32::MAX as i64 {
            return Err(Error::argument(
                "arange",
                format!("{start}..{end} is not an ascending range of i32"),
            ));
        }
        let places = random::iota((end - start) as usize, device)?.cast(DType::I32)?;
        if start == 0 { Ok(places) } else { places + start as f64 }
    }

    /// `n` values from `start` to `end`, both included and exact, evenly spaced, as f32: computed in f64 on the host. `start`
    /// alone where `n` is 1.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// assert_eq!(Tensor::linspace(0.0, 1.0, 5, Device::Cpu)?.to_vec::<f32>()?, [0.0, 0.25, 0.5, 0.75, 1.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// An end that is not finite in f32, or more values than there is memory for.
    pub fn linspace(start: f64, end: f64, n: usize, device: Device) -> Result<Tensor> {
        Self::linspace_dtype(start, end, n, DType::F32, device)
    }

    /// As [`linspace`](Self::linspace), in a float type.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::linspace_dtype(0.0, 0.3, 4, DType::F64, Device::Cpu)?;
    /// assert_eq!(x.to_vec::<f64>()?[3], 0.3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`linspace`](Self::linspace), of the type; one that is no float; f64 on a GPU.
    pub fn linspace_dtype(start: f64, end: f64, n: usize, dtype: DType, device: Device) -> Result<Tensor> {
        const OP: &str = "linspace";
        device.check()?;
        check_float(OP, dtype, device)?;
        let finite = |v: f64| if dtype == DType::F32 { (v as f32).is_finite() } else { v.is_finite() };
        if let Some(v) = [start, end].into_iter().find(|&v| !finite(v)) {
            let message =
                format!("from {start} to {end}: {v} is not finite in {dtype}; give two finite numbers");
            return Err(Error::argument(OP, message));
        }
        let shape = Shape::new(&[n])?;
        let last = n.saturating_sub(1);
        let value = |i: usize| match i {
            0 => start,
            _ if i == last => end,
            // Never beyond the end, which the sum can pass by a rounding; shares, for a difference may be infinite.
            _ => {
                let share = i as f64 / last as f64;
                let step = (end - start) * share;
                let v = if step.is_finite() { start + step } else { start * (1.0 - share) + end * share };
                if start <= end { v.min(end) } else { v.max(end) }
            }
        };
        dispatch!(dtype, T => {
            let mut values: Vec<T> = Vec::new();
            if values.try_reserve_exact(n).is_err() {
                let bytes = n.saturating_mul(dtype.size());
                let message = format!("linspace of {n} values needs {bytes} bytes on the host");
                return Err(Error::OutOfMemory { device: "cpu".into(), message });
            }
            values.extend((0..n).map(|i| T::from_f64(value(i))));
            Self::place(Array::from_vec(values, shape), device)
        })
    }

    /// The identity matrix `[n, n]`, f32.
    ///
    /// # Errors
    ///
    /// It would have 2^32 elements or more, or the device can't be used.
    pub fn eye(n: usize, device: Device) -> Result<Tensor> {
        let places = random::iota(n, device)?;
        places.unsqueeze(1)?.eq(&places)?.cast(DType::F32)
    }

    /// Integer labels as rows of zeros with a one (f32): `[..] -> [.., classes]`. A label that is none of the classes has no one
    /// in its row.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let labels = Tensor::new([2u32, 0], Device::Cpu)?;
    /// assert_eq!(labels.one_hot(3)?.to_vec::<f32>()?, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Floats: cast them to u32.
    pub fn one_hot(&self, classes: usize) -> Result<Tensor> {
        if self.dtype().is_float() {
            return Err(Error::dtype("one_hot", format!("labels are {}, integers are needed", self.dtype())));
        }
        let places = random::iota(classes, self.device())?;
        self.cast(DType::U32)?.unsqueeze(-1)?.eq(&places)?.cast(DType::F32)
    }

    /// A copy on another device, computed and moved now; on the same device the tensor itself. Gradients flow back.
    ///
    /// ```no_run
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::rand([2, 3], Device::Cpu, 1)?.to_device(Device::Gpu)?;
    /// assert_eq!(x.device(), Device::Gpu);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The device can't be used or has no memory for it, the value can't be computed; f64 on a GPU.
    pub fn to_device(&self, device: Device) -> Result<Tensor> {
        if self.device() == device {
            return Ok(self.clone());
        }
        check_dtype("to_device", self.dtype(), device)?;
        let array = self.to_host()?;
        let moved = Tensor::place(array, device)?;
        if !self.is_tracked() || !recording() {
            return Ok(moved);
        }
        let shape = self.shape();
        let tracked = Tensor::from_op(view::ToDevice, vec![self.clone()], shape, self.dtype(), device)?;
        if let Some(value) = moved.0.value() {
            tracked.0.set_value(value);
        }
        Ok(tracked)
    }
}

/// That a device has a float type.
pub(crate) fn check_float(op: &str, dtype: DType, device: Device) -> Result<()> {
    if !dtype.is_float() {
        return Err(Error::dtype(op, format!("expected a float type, f32 or f64, got {dtype}")));
    }
    if dtype == DType::F64 && device != Device::Cpu {
        let message = "f64 exists on Device::Cpu only (WGSL has no 64-bit floats); take f32, or the CPU";
        return Err(Error::dtype(op, message));
    }
    Ok(())
}

fn check_dtype(op: &str, dtype: DType, device: Device) -> Result<()> {
    if dtype == DType::F64 && device != Device::Cpu {
        let message = "f64 exists on Device::Cpu only (WGSL has no 64-bit floats); cast to f32 first";
        return Err(Error::dtype(op, message));
    }
    Ok(())
}

//! What fields of models of one's own may be.

use super::{Module, Parameters};
use crate::variable::Variable;
use std::collections::BTreeMap;

/// What a field of a struct with [`#[derive(Module)]`](macro@super::Module) may be.
///
/// | field | names of its parameters |
/// | --- | --- |
/// | [`Variable`] | `scale` |
/// | a module: [`Built`](super::Built), [`Model`](super::Model), a struct of your own, `Box<dyn Module>`, `Arc<M>` | `head.weight` |
/// | `Vec<F>`, `[F; N]`, tuples | `blocks.0.weight`, `blocks.1.weight` |
/// | `BTreeMap<String, F>` | `heads.digit.weight` |
/// | `Option<F>` | as those of `F`, or none |
/// | numbers, `bool`, text, [`Device`](crate::Device), [`DType`](crate::DType), [`Activation`](super::Activation), [`Padding`](crate::Padding) | none |
///
/// with `F` any of these. All other fields say `#[module(skip)]`.
///
/// ```
/// use wgrad::nn::{Build, Built, Context};
/// use wgrad::prelude::*;
///
/// #[derive(Module)]
/// struct Block<const N: usize> {
///     layers: [Built; N],
///     gate: Option<Variable>,
///     activation: Activation,
/// }
///
/// impl<const N: usize> Block<N> {
///     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
///         let mut x = x.clone();
///         for layer in &self.layers {
///             x = self.activation.apply(&layer.forward(&x, cx)?)?;
///         }
///         match &self.gate {
///             Some(gate) => x * gate,
///             None => Ok(x),
///         }
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let mut cx = Build::new(Device::Cpu, 1);
/// let layers = [cx.layer(Dense::new(3), [3])?, cx.layer(Dense::new(3), [3])?];
/// let block = Block { layers, gate: Some(cx.full([3], 1.0)?), activation: Activation::Tanh };
/// let names: Vec<String> = block.parameters().into_iter().map(|p| p.name).collect();
/// assert_eq!(names, ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "gate"]);
/// # Ok(()) }
/// ```
///
/// Anything else is an error that says so, in the line of the field:
///
/// ```compile_fail
/// use wgrad::prelude::*;
/// #[derive(Module)]
/// #[module(no_forward)]
/// struct Cached {
///     last: Tensor, // is this a parameter? `#[module(skip)]` says no, a `Variable` is one
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a field of a model",
    note = "a field with parameters is a `Variable`, a `Module`, or a `Vec`, `Option`, array or tuple of such",
    note = "write `#[module(skip)]` above a field that has no parameters"
)]
pub trait Field {
    /// Shows all parameters, whose names begin with the field's.
    fn show(&self, name: &str, parameters: &mut Parameters<'_>);
}

impl<M: Module> Field for M {
    fn show(&self, name: &str, parameters: &mut Parameters<'_>) {
        parameters.module(name, self);
    }
}

impl Field for Variable {
    fn show(&self, name: &str, parameters: &mut Parameters<'_>) {
        parameters.weight(name, self);
    }
}

impl<F: Field> Field for Option<F> {
    fn show(&self, name: &str, parameters: &mut Parameters<'_>) {
        if let Some(field) = self {
            field.show(name, parameters);
        }
    }
}

impl<F: Field> Field for [F] {
    fn show(&self, name: &str, parameters: &mut Parameters<'_>) {
        parameters.within(name, |parameters| {
            for (i, field) in self.iter().enumerate() {
                field.show(&i.to_string(), parameters);
            }
        });
    }
}

impl<F: Field> Field for Vec<F> {
    fn show(&self, name: &str, parameters: &mut Parameters<'_>) {
        self.as_slice().show(name, parameters);
    }
}

impl<F: Field, const N: usize> Field for [F; N] {
    fn show(&self, name: &str, parameters: &mut Parameters<'_>) {
        self.as_slice().show(name, parameters);
    }
}

impl<F: Field> Field for BTreeMap<String, F> {
    fn show(&self, name: &str, parameters: &mut Parameters<'_>) {
        parameters.within(name, |parameters| {
            for (key, field) in self {
                field.show(key, parameters);
            }
        });
    }
}

macro_rules! tuples {
    ($(($($field:ident $place:tt),+);)*) => {$(
        impl<$($field: Field),+> Field for ($($field,)+) {
            fn show(&self, name: &str, parameters: &mut Parameters<'_>) {
                parameters.within(name, |parameters| {
                    $(self.$place.show(stringify!($place), parameters);)+
                });
            }
        }
    )*};
}
tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
}

macro_rules! settings {
    ($($type:ty),* $(,)?) => {$(
        impl Field for $type {
            fn show(&self, _name: &str, _parameters: &mut Parameters<'_>) {}
        }
    )*};
}
settings! {
    bool, char, f32, f64, i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, String, &'static str, (),
    crate::device::Device, crate::dtype::DType, crate::ops::conv2d::Padding, super::Initializer, super::Regularizer,
}

impl<T: ?Sized> Field for std::marker::PhantomData<T> {
    fn show(&self, _name: &str, _parameters: &mut Parameters<'_>) {}
}

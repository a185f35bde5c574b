//! `#[derive(Module)]` of wgrad, which hands it on as `wgrad::nn::Module`: its documentation is there.

mod attributes;
mod expand;

use proc_macro::TokenStream;

/// A struct of modules and variables as a module whose parameters are named by field.
///
/// ```text
/// #[derive(Module)]
/// struct Net {
///     encoder: Vec<Built>, // encoder.0.weight, encoder.0.bias, encoder.1.weight ...
///     scale: Variable,     // scale
/// }
///
/// impl Net {
///     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
///         ...
///     }
/// }
/// ```
///
/// A field may be whatever implements `Field`: a `Variable`, a module (a struct that derives this, a layer that `Build::layer`
/// made, a `Box<dyn Module>`), `Vec`, `Option`, arrays, tuples and maps of such, and plain settings such as numbers and text, which
/// have no parameters. Type parameters without bounds of their own are modules.
///
/// The function `forward` stands in an `impl` of the struct, as above.
///
/// Of fields:
///
/// - `#[module(skip)]`: it has no parameters, whatever it is;
/// - `#[module(buffer)]`: it is state that is never trained, such as a running mean: saved and loaded with the weights. Make its
///   variable with `Variable::not_trainable`. (Modules that are never trained are held in `Frozen`.)
/// - `#[module(name = "head")]`: its parameters have this name, not the field's.
///
/// Of the struct:
///
/// - `#[module(no_forward)]`: there is no `forward`; the module is a collection of others, such as the two networks of a GAN.
/// - `#[module(forward_all)]`: it takes or gives several tensors. In place of `forward` there is `fn forward_all(&self, inputs:
///   &[Tensor], cx: &Context) -> Result<Vec<Tensor>>`.
/// - `#[module(outputs("digit", "odd"))]`: the names of its outputs.
/// - `#[module(integers)]`: integers reach it as they are: words and categories that it looks up. (Bytes are otherwise given to it
///   as f32 by a `Trainer`.)
/// - `#[module(crate = "path::to::wgrad")]`: where wgrad is, if not at `::wgrad`.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    expand::module(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

//! What stands in `#[module(..)]`.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Error, LitStr, Path, Result};

/// Of the struct.
pub struct Of {
    /// Where wgrad is.
    pub wgrad: Path,
    pub forward: Forward,
    pub outputs: Option<Vec<LitStr>>,
    pub integers: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Forward {
    One,
    All,
    None,
}

impl Of {
    pub fn read(attributes: &[Attribute]) -> Result<Of> {
        let mut of =
            Of { wgrad: syn::parse_str("::wgrad")?, forward: Forward::One, outputs: None, integers: false };
        each(attributes, |meta| {
            let forward = match of.forward {
                Forward::One => Ok(()),
                _ => {
                    Err(meta.error("no_forward and forward_all are given; one of them says how it is called"))
                }
            };
            if meta.path.is_ident("no_forward") {
                of.forward = forward.map(|()| Forward::None)?;
            } else if meta.path.is_ident("forward_all") {
                of.forward = forward.map(|()| Forward::All)?;
            } else if meta.path.is_ident("integers") {
                of.integers = true;
            } else if meta.path.is_ident("outputs") {
                let mut names: Vec<LitStr> = Vec::new();
                let list;
                syn::parenthesized!(list in meta.input);
                for name in list.parse_terminated(<LitStr as syn::parse::Parse>::parse, syn::Token![,])? {
                    if names.iter().any(|other| other.value() == name.value()) {
                        return Err(Error::new(
                            name.span(),
                            "two outputs have this name; names must be unique",
                        ));
                    }
                    names.push(name);
                }
                if names.is_empty() {
                    return Err(meta.error("expected the names of the outputs: outputs(\"digit\", \"odd\")"));
                }
                of.outputs = Some(names);
            } else if meta.path.is_ident("crate") {
                of.wgrad = meta.value()?.parse::<LitStr>()?.parse()?;
            } else {
                return Err(unknown(
                    &meta,
                    "no_forward, forward_all, outputs(\"a\", \"b\"), integers and crate = \"path\"; skip, buffer and name = \"..\" \
                     stand at fields",
                ));
            }
            Ok(())
        })?;
        Ok(of)
    }
}

/// Of a field.
#[derive(Default)]
pub struct OfField {
    pub skip: bool,
    pub buffer: bool,
    pub name: Option<LitStr>,
}

impl OfField {
    pub fn read(attributes: &[Attribute]) -> Result<OfField> {
        let mut of = OfField::default();
        let mut at = Span::call_site();
        each(attributes, |meta| {
            at = meta.path.span();
            if meta.path.is_ident("skip") {
                of.skip = true;
            } else if meta.path.is_ident("buffer") {
                of.buffer = true;
            } else if meta.path.is_ident("name") {
                let name: LitStr = meta.value()?.parse()?;
                if name.value().is_empty() || name.value().contains('.') {
                    let message = "a name is not empty and has no dot: dots are between the names of modules";
                    return Err(Error::new(name.span(), message));
                }
                of.name = Some(name);
            } else if meta.path.is_ident("frozen") {
                let message = "a field can't be frozen by an attribute: make its type Frozen<..>, or call set_trainable(false) on it";
                return Err(meta.error(message));
            } else {
                return Err(unknown(&meta, "skip, buffer and name = \"..\""));
            }
            Ok(())
        })?;
        if of.skip && (of.buffer || of.name.is_some()) {
            return Err(Error::new(at, "the field is skipped: nothing else can be said of it"));
        }
        Ok(of)
    }
}

/// Calls `read` with all that stands in attributes `module`.
fn each(attributes: &[Attribute], mut read: impl FnMut(ParseNestedMeta<'_>) -> Result<()>) -> Result<()> {
    for attribute in attributes.iter().filter(|a| a.path().is_ident("module")) {
        attribute.parse_nested_meta(&mut read)?;
    }
    Ok(())
}

fn unknown(meta: &ParseNestedMeta<'_>, known: &str) -> Error {
    let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
    meta.error(format!("derive(Module) knows no `{name}` here; it knows {known}"))
}

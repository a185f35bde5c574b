//! From a struct to its implementation of `Module`.

use crate::attributes::{Forward, Of, OfField};
use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use std::collections::BTreeMap;
use syn::{Data, DeriveInput, Error, Fields, GenericParam, Generics, Ident, Index, LitStr, Member, Result};

pub fn module(input: &DeriveInput) -> Result<TokenStream> {
    let fields = match &input.data {
        Data::Struct(data) => &data.fields,
        Data::Enum(_) => {
            let message = "derive(Module) takes a struct: the parameters of a model are the same whatever its value; hold the enum's \
                           variants in fields of a struct, as Options say, or implement Module by hand";
            return Err(Error::new_spanned(&input.ident, message));
        }
        Data::Union(_) => {
            return Err(Error::new_spanned(&input.ident, "derive(Module) takes a struct, not a union"));
        }
    };
    let of = Of::read(&input.attrs)?;
    let wgrad = &of.wgrad;
    let (shown, of_modules) = show(fields, &of)?;
    let generics = bounded(&input.generics, &of_modules, &of);
    let (implementation, types, conditions) = generics.split_for_impl();
    let name = &input.ident;
    let text = name.to_string();
    let forward = forward(name, &of);
    let outputs = of.outputs.as_ref().map(|names| {
        quote! {
            fn output_names(&self) -> ::std::vec::Vec<::std::string::String> {
                ::std::vec![#(::std::string::String::from(#names)),*]
            }
        }
    });
    let integers = of.integers.then(|| {
        quote! {
            fn takes_integers(&self) -> bool {
                true
            }
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl #implementation #wgrad::nn::Module for #name #types #conditions {
            #forward
            #outputs
            #integers
            fn visit(&self, parameters: &mut #wgrad::nn::Parameters<'_>) {
                parameters.describe(#text, ::std::option::Option::None);
                #shown
            }
        }
    })
}

/// The calls that show fields, and the types of these.
fn show(fields: &Fields, of: &Of) -> Result<(TokenStream, TokenStream)> {
    let wgrad = &of.wgrad;
    let (mut calls, mut types) = (TokenStream::new(), TokenStream::new());
    let mut taken: BTreeMap<String, ()> = BTreeMap::new();
    for (place, field) in fields.iter().enumerate() {
        let how = OfField::read(&field.attrs)?;
        if how.skip {
            continue;
        }
        let member = match &field.ident {
            Some(ident) => Member::Named(ident.clone()),
            None => Member::Unnamed(Index::from(place)),
        };
        let name = match (how.name, &field.ident) {
            (Some(name), _) => name.value(),
            (None, Some(ident)) => syn::ext::IdentExt::unraw(ident).to_string(),
            (None, None) => place.to_string(),
        };
        if taken.insert(name.clone(), ()).is_some() {
            let message = format!("two fields are named {name}; names must be unique");
            return Err(Error::new_spanned(field, message));
        }
        let name = LitStr::new(&name, proc_macro2::Span::call_site());
        let ty = &field.ty;
        // With the place of the type, so that an error about it is told there.
        let span =
            ty.to_token_stream().into_iter().next().map_or_else(proc_macro2::Span::call_site, |t| t.span());
        let call = quote_spanned!(span=> #wgrad::nn::Field::show(&self.#member, #name, parameters));
        calls.extend(match how.buffer {
            true => quote! { parameters.buffers(|parameters| #call); },
            false => quote! { #call; },
        });
        types.extend(ty.to_token_stream());
    }
    Ok((calls, types))
}

/// Type parameters that fields with parameters have, and of which nothing is said, are modules.
fn bounded(generics: &Generics, types: &TokenStream, of: &Of) -> Generics {
    let wgrad = &of.wgrad;
    let mut out = generics.clone();
    let with_conditions: Vec<String> =
        generics.where_clause.iter().flat_map(|w| mentioned(&w.predicates)).collect();
    let in_fields = mentioned(types);
    for parameter in &mut out.params {
        if let GenericParam::Type(parameter) = parameter {
            let name = parameter.ident.to_string();
            if parameter.bounds.is_empty() && in_fields.contains(&name) && !with_conditions.contains(&name) {
                parameter.bounds.push(syn::parse_quote!(#wgrad::nn::Module));
            }
        }
    }
    out
}

/// The identifiers in some code.
fn mentioned(code: &impl ToTokens) -> Vec<String> {
    fn walk(code: TokenStream, names: &mut Vec<String>) {
        for token in code {
            match token {
                TokenTree::Ident(ident) => names.push(ident.to_string()),
                TokenTree::Group(group) => walk(group.stream(), names),
                _ => {}
            }
        }
    }
    let mut names = Vec::new();
    walk(code.to_token_stream(), &mut names);
    names
}

/// The methods that hand a batch on to the function of the struct's own.
fn forward(name: &Ident, of: &Of) -> TokenStream {
    let wgrad = &of.wgrad;
    let one = quote! {
        fn forward(&self, x: &#wgrad::Tensor, cx: &#wgrad::nn::Context) -> #wgrad::Result<#wgrad::Tensor>
    };
    let all = quote! {
        fn forward_all(
            &self,
            inputs: &[#wgrad::Tensor],
            cx: &#wgrad::nn::Context,
        ) -> #wgrad::Result<::std::vec::Vec<#wgrad::Tensor>>
    };
    // Where the struct has no such function, the call would be one of the trait's method, for ever. A second trait with that method
    // makes it an error, which says the name of the trait. Functions of the struct go before those of traits.
    let own = |method: &str, signature: &TokenStream, call: TokenStream| {
        let missing = format_ident!("Write_fn_{method}_in_an_impl_of_{name}_or_say_module_no_forward");
        quote! {
            #[allow(non_camel_case_types, dead_code, unused_variables)]
            trait #missing {
                #signature;
            }
            impl<T: ?::std::marker::Sized> #missing for T {
                #signature {
                    ::std::unreachable!()
                }
            }
            #[allow(unused_imports)]
            use #wgrad::nn::Module as _;
            #call
        }
    };
    match of.forward {
        Forward::One => {
            let body = own("forward", &one, quote!(self.forward(x, cx)));
            quote! { #[allow(unused_variables)] #one { #body } }
        }
        Forward::All => {
            let body = own("forward_all", &all, quote!(self.forward_all(inputs, cx)));
            quote! {
                #one {
                    #wgrad::nn::derived::one_of(
                        #wgrad::nn::Module::forward_all(self, ::std::slice::from_ref(x), cx)?,
                        &#wgrad::nn::Module::output_names(self),
                    )
                }
                #[allow(unused_variables)]
                #all { #body }
            }
        }
        Forward::None => {
            let text = name.to_string();
            quote! {
                #[allow(unused_variables)]
                #one {
                    ::std::result::Result::Err(#wgrad::nn::derived::no_forward(#text))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(code: &str) -> String {
        let input = syn::parse_str(code).unwrap();
        match module(&input) {
            Ok(code) => code.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn errors_say_what_is_wrong_and_what_to_do() {
        let cases = [
            ("enum A { B }", "derive(Module) takes a struct: the parameters"),
            ("union A { b: u32 }", "derive(Module) takes a struct, not a union"),
            (
                "struct A { #[module(skp)] b: B }",
                "knows no `skp` here; it knows skip, buffer and name = \"..\"",
            ),
            ("struct A { #[module(frozen)] b: B }", "make its type Frozen<..>, or call set_trainable(false)"),
            ("struct A { #[module(skip, buffer)] b: B }", "the field is skipped: nothing else"),
            ("struct A { #[module(name = \"a.b\")] b: B }", "a name is not empty and has no dot"),
            ("struct A { #[module(name = \"c\")] b: B, c: B }", "two fields are named c"),
            ("#[module(skip)] struct A;", "knows no `skip` here; it knows no_forward, forward_all"),
            ("#[module(no_forward, forward_all)] struct A;", "one of them says how it is called"),
            ("#[module(outputs())] struct A;", "expected the names of the outputs"),
            ("#[module(outputs(\"a\", \"a\"))] struct A;", "two outputs have this name"),
        ];
        for (code, expected) in cases {
            let found = expanded(code);
            assert!(
                found.starts_with("error: ") && found.contains(expected),
                "{code}\n{found}\nexpected: {expected}"
            );
        }
    }

    #[test]
    fn parameters_of_types_are_modules_unless_something_else_is_said() {
        let has = |code: &str, part: &str| {
            let found = expanded(code);
            assert!(found.contains(part), "{code}\n{found}\nexpected: {part}");
        };
        has(
            "struct A<M> { m: Vec<M> }",
            "impl < M : :: wgrad :: nn :: Module > :: wgrad :: nn :: Module for A < M > {",
        );
        has("struct A<M: Other> { m: M }", "impl < M : Other > :: wgrad :: nn :: Module for A < M > {");
        has(
            "struct A<M> where M: Other { m: M }",
            "impl < M > :: wgrad :: nn :: Module for A < M > where M : Other {",
        );
        has("struct A<M> { #[module(skip)] m: M }", "impl < M > :: wgrad :: nn :: Module for A < M > {");
        has("struct A<const N: usize> { m: [B; N] }", "impl < const N : usize >");
        has("#[module(crate = \"other::way\")] struct A;", "impl other :: way :: nn :: Module for A {");
        has("struct A { r#type: B }", "(& self . r#type , \"type\" , parameters)");
        has(
            "struct A(B, #[module(skip)] C, #[module(buffer)] D);",
            "show (& self . 2 , \"2\" , parameters))",
        );
    }
}

//! What can't be done is told with what was given, and what to do.

use wgrad::prelude::*;

fn says(result: Result<impl Sized>, parts: &[&str]) {
    let Err(error) = result else { panic!("no error; expected one that says {parts:?}") };
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, Device::Cpu).unwrap()
}

#[test]
fn of_arrangement() {
    let x = ones(&[6, 4]);
    says(x.roll(1, 2), &["roll: axis 2 is outside"]);
    says(x.repeat(2, -3), &["repeat: axis -3 is outside"]);
    says(x.repeat(1 << 31, 0), &["repeat: ", "2^32"]);
    says(x.repeat(usize::MAX, 0), &["repeat: ", "2^32"]);
    says(x.tile([usize::MAX, 2]), &["tile: ", "2^32"]);
    says(x.tile([1; 9]), &["tile: 9 dimensions"]);
    says(
        x.split(4, 0),
        &["split: axis 0 of [6, 4] has length 6, which 4 parts don't divide (1, 2, 3, 6 do)", "chunk"],
    );
    says(x.split(0, 0), &["split: ", "0 parts don't divide"]);
    says(ones(&[0]).split(0, 0), &["split: ", "0 parts"]);
    says(ones(&[0]).split(usize::MAX, 0), &["split: ", "parts of no elements"]);
    says(x.split([2, 3], 0), &["split: the lengths [2, 3] add up to 5, but axis 0 of [6, 4] has length 6"]);
    says(x.split([usize::MAX, 3], 0), &["split: the lengths"]);
    says(x.split(2, 2), &["split: axis 2"]);
    says(x.split_into::<4>(0), &["split: ", "4 parts don't divide"]);
    says(x.split_into::<2>(2), &["split: axis 2"]);
    says(x.split_into::<0>(0), &["split: ", "0 parts don't divide"]);
    says(x.chunk(0, 0), &["chunk: 0 chunks"]);
    says(x.chunk(2, 5), &["chunk: axis 5"]);
    says(ones(&[3]).tril(0), &["tril: shape [3] has no two last axes"]);
    says(ones(&[]).triu(0), &["triu: shape []"]);
    says(ones(&[3]).trace(), &["trace: shape [3]"]);
    says(x.diagonal(0, 1, -1), &["diagonal: axes 1 and -1 of [6, 4] are the same"]);
    says(x.diagonal(0, 0, 2), &["diagonal: axis 2"]);
    says(ones(&[2, 2, 2]).diag(0), &["diag: shape [2, 2, 2] is neither", "diagonal"]);
    says(ones(&[3]).diag(isize::MAX), &["diag: ", "2^32"]);
    says(ones(&[3]).diag(isize::MIN), &["diag: ", "2^32"]);
    says(Tensor::meshgrid(&[&ones(&[2]), &x]), &["meshgrid: tensor 1 has shape [6, 4]; expected vectors"]);
    let long = ones(&[65_536]);
    says(Tensor::meshgrid(&[&long, &long]), &["meshgrid: ", "2^32"]);
    // What is odd, but no error.
    assert!(x.diagonal(isize::MAX, 0, 1).is_ok_and(|d| d.shape() == [0]));
    assert!(x.diagonal(isize::MIN, 0, 1).is_ok_and(|d| d.shape() == [0]));
    assert!(x.tril(isize::MIN).and_then(|t| t.sum(.., false)?.item::<f32>()).is_ok_and(|s| s == 0.0));
    assert!(x.triu(isize::MIN).and_then(|t| t.sum(.., false)?.item::<f32>()).is_ok_and(|s| s == 24.0));
    assert!(x.tril(isize::MAX).and_then(|t| t.sum(.., false)?.item::<f32>()).is_ok_and(|s| s == 24.0));
    assert!(x.roll(isize::MIN, 0).is_ok() && x.roll(isize::MAX, 0).is_ok());
}

#[test]
fn of_equations() {
    let (x, y) = (ones(&[2, 3]), ones(&[4, 5]));
    let two = |equation| Tensor::einsum(equation, &[&x, &y]);
    says(
        two("ij,jk->ik"),
        &["einsum: 'j' has length 3 in tensor 0, of shape [2, 3], and 4 in tensor 1, of shape [4, 5]"],
    );
    says(two("ij->ij"), &["einsum: \"ij->ij\": names the axes of 1 tensors, but 2 are given"]);
    says(two("ij,jk,kl"), &["names the axes of 3 tensors, but 2"]);
    says(
        two("ij,k"),
        &["tensor 1 has shape [4, 5], but 1 of its axes are named; '...' stands for further axes"],
    );
    says(two("ij,klm"), &["tensor 1 has shape [4, 5], but 3 of its axes are named"]);
    says(two("ij,klm..."), &["tensor 1 has shape [4, 5], but 3 of its axes are named"]);
    says(two("ij,kl->iikl"), &["the result has 'i' twice"]);
    says(two("ij,kl->ijz"), &["the result has 'z', which no tensor has"]);
    says(two("i1,kl"), &["'1' in 'i1' is no axis"]);
    says(two("i..,kl"), &["'.' in 'i..' is no axis"]);
    says(two("é,kl"), &["'é' in 'é' is no axis"]);
    says(two("ij,kl->i->j"), &["'-' in 'i->j' is no axis"]);
    says(two("......,kl"), &["'...' stands twice"]);
    says(two("i...,kl->kl"), &["'...' stands for 1 axes, but not in the result"]);
    says(two("...j,...k->...jk"), &["axis -1 of '...' has length 2 in tensor 0"]);
    says(Tensor::einsum("", &[]), &["names the axes of 1 tensors, but 0 are given"]);
    says(
        Tensor::einsum("ii", &[&x]),
        &["'i' stands for two axes of tensor 0, of shape [2, 3], whose lengths differ: 2 and 3"],
    );
    let whole = x.cast(DType::I32).unwrap();
    says(Tensor::einsum("ij,ij", &[&x, &whole]), &["einsum: element types differ"]);
    let wide = ones(&[1, 1, 1, 1, 1, 1]);
    says(
        Tensor::einsum("abcdef,ghijkl->abcdefghi", &[&wide, &wide]),
        &["einsum: ", "the result has 9 axes; at most 8"],
    );
    let long = ones(&[70_000]);
    says(Tensor::einsum("i,j->ij", &[&long, &long]), &["einsum: ", "2^32"]);
}

#[test]
fn of_products() {
    let (x, y) = (ones(&[2, 3]), ones(&[4, 5]));
    says(x.tensordot(&y, [1], []), &["tensordot: axes [1] and [] are no pairs"]);
    says(
        x.tensordot(&y, [1], [0]),
        &["tensordot: axis 1 of [2, 3] has length 3, and axis 0 of [4, 5] has length 4"],
    );
    says(x.tensordot(&x, [1, -1], [1, 0]), &["tensordot: an axis is given twice"]);
    says(x.tensordot(&y, [2], [0]), &["tensordot: axis 2 is outside"]);
    let wide = ones(&[1, 1, 1, 1, 1, 1]);
    says(wide.tensordot(&wide, [0], [0]), &["tensordot: ", "10 axes; at most 8"]);
    says(ones(&[70_000]).outer(&ones(&[70_000])), &["2^32"]);
    says(x.dot(&x), &["dot: shapes [2, 3] and [2, 3]: expected two vectors"]);
    says(ones(&[2]).dot(&ones(&[3])), &["dot: shapes [2] and [3]"]);
    says(x.addmm(&x, &x), &["addmm: inner dimensions differ"]);
    says(ones(&[3, 3]).addmm(&x, ones(&[3, 3])), &["addmm: shape [3, 3] does not broadcast to [2, 3]"]);
    says(x.lerp(&y, 0.5), &["lerp: shapes [4, 5] and [2, 3] don't broadcast"]);
    let whole = x.cast(DType::I32).unwrap();
    says(whole.lerp(&whole, 0), &["lerp: the start is i32"]);
    says(x.lerp(&whole, 0.5), &["lerp: element types differ"]);
    says(x.lerp(&x, &whole), &["lerp: element types differ"]);
}

#[test]
fn of_statistics_and_logic() {
    let x = ones(&[2, 3]);
    let whole = x.cast(DType::I32).unwrap();
    says(x.any(2, false), &["any: axis 2"]);
    says(x.all([0, 0], false), &["all: axis 0 is given twice"]);
    says(x.count_nonzero(-3, false), &["count_nonzero: axis -3"]);
    says(whole.logsumexp(0, false), &["logsumexp: the input is i32"]);
    says(x.logsumexp(2, false), &["logsumexp: axis 2"]);
    says(whole.norm_p(1.0, 0, false), &["norm_p: the input is i32"]);
    says(x.norm_p(f64::NAN, 0, false), &["norm_p: the order is NaN"]);
    says(ones(&[2, 0]).norm_p(f64::INFINITY, 1, false), &["norm_p: no elements to choose from"]);
    says(ones(&[2, 0]).norm_p(-1.0, 1, false), &["norm_p: no elements to choose from"]);
    says(x.bincount(0), &["bincount: the numbers are f32"]);
    says(whole.neg().and_then(|x| x.bincount(0)), &["bincount: -1 is among the numbers"]);
    says(x.logical_and(ones(&[2])), &["logical_and: shapes [2, 3] and [2] don't broadcast"]);
    says(x.logical_or(ones(&[2])), &["logical_or: shapes"]);
    says(x.logical_xor(ones(&[2])), &["logical_xor: shapes"]);
    says(x.masked_fill(&x, 0.0), &["masked_fill: the condition is f32, not u8"]);
    let mask = ones(&[4, 2, 3]).cast(DType::U8).unwrap();
    says(
        x.masked_fill(&mask, 0.0),
        &["masked_fill: the mask has shape [4, 2, 3], which does not broadcast to [2, 3]"],
    );
    says(x.masked_fill(&x.gt(0.0).unwrap(), ones(&[7])), &["masked_fill: the value has shape [7]"]);
    says(whole.masked_fill(&x.gt(0.0).unwrap(), 0.5), &["the number 0.5 is not a i32"]);
    for (name, f) in [
        ("rsqrt", Tensor::rsqrt as fn(&Tensor) -> Result<Tensor>),
        ("exp2", Tensor::exp2),
        ("log2", Tensor::log2),
        ("log10", Tensor::log10),
        ("sinh", Tensor::sinh),
        ("cosh", Tensor::cosh),
    ] {
        says(f(&whole), &[&format!("{name}: the input is i32")]);
    }
}

//! Products that sum over axes named by the caller: `einsum`, `tensordot`, and those of vectors. Each is a chain of matrix
//! products of two tensors: nothing is repeated to the size of all axes together.

use super::equation::{Equation, Label};
use super::{IntoOperand, Tensor};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::{require_float, same_device, same_dtype};
use crate::shape::{MAX_RANK, Shape};

/// A tensor whose axes have labels, each another.
#[derive(Clone)]
struct Factor {
    tensor: Tensor,
    labels: Vec<Label>,
}

impl Factor {
    fn has(&self, label: &Label) -> bool {
        self.labels.contains(label)
    }

    fn size(&self, label: &Label) -> usize {
        self.labels.iter().position(|l| l == label).map_or(1, |at| self.tensor.shape()[at])
    }

    /// The axes in this order, each label of which is one of the factor's.
    fn ordered(&self, labels: &[Label]) -> Result<Tensor> {
        let place = |label| self.labels.iter().position(|l| l == label).map(|at| at as isize);
        self.tensor.permute(labels.iter().filter_map(place).collect::<Vec<_>>())
    }

    /// Sums over the axes that nobody wants.
    fn summed(self, wanted: impl Fn(&Label) -> bool) -> Result<Factor> {
        let axes: Vec<isize> =
            (0..self.labels.len()).filter(|&d| !wanted(&self.labels[d])).map(|d| d as isize).collect();
        if axes.is_empty() {
            return Ok(self);
        }
        let tensor = self.tensor.sum(axes, false)?;
        Ok(Factor { tensor, labels: self.labels.into_iter().filter(|l| wanted(l)).collect() })
    }

    /// Without axes of length 1 where the label is longer elsewhere: the factor is the same all along it.
    fn without_repeated(mut self, size: impl Fn(&Label) -> usize) -> Result<Factor> {
        for d in (0..self.labels.len()).rev() {
            if self.tensor.shape()[d] == 1 && size(&self.labels[d]) != 1 {
                self.tensor = self.tensor.squeeze(d as isize)?;
                self.labels.remove(d);
            }
        }
        Ok(self)
    }
}

/// The labels that occur in both, in the order of the first.
fn common(a: &Factor, b: &Factor, filter: impl Fn(&Label) -> bool) -> Vec<Label> {
    a.labels.iter().filter(|l| b.has(l) && filter(l)).copied().collect()
}

fn elements(factor: &Factor, labels: &[Label]) -> usize {
    labels.iter().map(|l| factor.size(l)).product()
}

/// The product of two factors, summed over what both have and nobody wants.
fn product(a: &Factor, b: &Factor, wanted: &dyn Fn(&Label) -> bool) -> Result<Factor> {
    let batch = common(a, b, wanted);
    let summed = common(a, b, |l| !wanted(l));
    let left: Vec<Label> = a.labels.iter().filter(|l| !b.has(l)).copied().collect();
    let right: Vec<Label> = b.labels.iter().filter(|l| !a.has(l)).copied().collect();
    let labels: Vec<Label> = [&batch[..], &left, &right].concat();
    let dims: Vec<usize> = labels.iter().map(|l| if a.has(l) { a.size(l) } else { b.size(l) }).collect();
    Shape::new(&dims)?;
    let float = a.tensor.dtype().is_float();
    if summed.is_empty() || (left.is_empty() && right.is_empty()) || !float {
        // Element by element: nothing to sum, or no matrix to make of what is summed. (There are no products of matrices of
        // integers.)
        let all = [&labels[..], &summed].concat();
        let aligned = |f: &Factor| -> Result<Tensor> {
            let own: Vec<Label> = all.iter().filter(|l| f.has(l)).copied().collect();
            let dims: Vec<usize> = all.iter().map(|l| f.size(l)).collect();
            f.ordered(&own)?.reshape(dims)
        };
        if all.len() > MAX_RANK {
            // More axes than there are before the sum: those of each kind as one.
            let merged = |f: &Factor, groups: [&[Label]; 4]| -> Result<Tensor> {
                f.ordered(&groups.concat())?.reshape(groups.map(|group| elements(f, group)))
            };
            let (a, b) =
                (merged(a, [&batch, &left, &[], &summed])?, merged(b, [&batch, &[], &right, &summed])?);
            return Ok(Factor { tensor: (a * b)?.sum(-1, false)?.reshape(dims)?, labels });
        }
        let tensor = (aligned(a)? * aligned(b)?)?;
        return Factor { tensor, labels: all }.summed(|l| !summed.contains(l));
    }
    // Axes of a batch stay as they are where there is room, so that no copy is made to merge them.
    let batched = match batch.len() {
        n if n + 2 > MAX_RANK => vec![elements(a, &batch)],
        _ => batch.iter().map(|l| a.size(l)).collect(),
    };
    let (m, k, n) = (elements(a, &left), elements(a, &summed), elements(b, &right));
    let rows =
        a.ordered(&[&batch[..], &left, &summed].concat())?.reshape([&batched[..], &[m, k]].concat())?;
    let columns =
        b.ordered(&[&batch[..], &summed, &right].concat())?.reshape([&batched[..], &[k, n]].concat())?;
    Ok(Factor { tensor: rows.matmul(&columns)?.reshape(dims)?, labels })
}

/// What the product of two factors costs, to choose the next pair by: by how much it has more elements than the two, then
/// multiplications. None where it would have too many axes.
fn cost(a: &Factor, b: &Factor, wanted: &dyn Fn(&Label) -> bool) -> Option<(i128, u128)> {
    let only_b = b.labels.iter().filter(|l| !a.has(l));
    let union: Vec<(&Label, usize)> =
        a.labels.iter().map(|l| (l, a.size(l))).chain(only_b.map(|l| (l, b.size(l)))).collect();
    let size = |kept: &dyn Fn(&Label) -> bool| -> u128 {
        let sizes = union.iter().filter(|(l, _)| kept(l)).map(|&(_, n)| n as u128);
        sizes.fold(1, |product, n| product.saturating_mul(n))
    };
    let rank = union.iter().filter(|(l, _)| wanted(l)).count();
    let result = size(wanted);
    if rank > MAX_RANK || result > u32::MAX as u128 {
        return None;
    }
    let parts = a.tensor.numel() as i128 + b.tensor.numel() as i128;
    Some((result as i128 - parts, size(&|_| true)))
}

/// The sum over all labels that are not in `output` of the product of all factors, pair by pair.
fn contract(op: &str, factors: Vec<Factor>, output: &[Label]) -> Result<Tensor> {
    let first: Vec<&Tensor> = factors.iter().map(|f| &f.tensor).collect();
    same_device(op, &first)?;
    for t in &first {
        same_dtype(op, first[0], t)?;
    }
    // Sums of u8 are u32, and so are those of products.
    let widened = |mut f: Factor| -> Result<Factor> {
        if f.tensor.dtype() == DType::U8 {
            f.tensor = f.tensor.cast(DType::U32)?;
        }
        Ok(f)
    };
    let mut factors = factors.into_iter().map(widened).collect::<Result<Vec<_>>>()?;
    let sizes = sizes(op, &factors)?;
    let size = |label: &Label| sizes.iter().find(|(l, _)| l == label).map_or(1, |s| s.1);
    factors = factors.into_iter().map(|f| f.without_repeated(size)).collect::<Result<_>>()?;
    while factors.len() > 1 {
        let wanted = |without: [usize; 2], label: &Label| {
            let others = factors.iter().enumerate().filter(|(at, _)| !without.contains(at));
            output.contains(label) || others.map(|o| o.1).any(|f| f.has(label))
        };
        // What one factor alone has is summed before it is multiplied.
        let alone = (0..factors.len())
            .map(|at| factors[at].clone().summed(|l| wanted([at, at], l)))
            .collect::<Result<Vec<_>>>()?;
        let mut best: Option<((i128, u128), [usize; 2])> = None;
        for i in 0..alone.len() {
            for j in i + 1..alone.len() {
                let Some(cost) = cost(&alone[i], &alone[j], &|l| wanted([i, j], l)) else { continue };
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, [i, j]));
                }
            }
        }
        let Some((_, [i, j])) = best else {
            let message = format!(
                "any two of the tensors multiply to more than {MAX_RANK} axes or 2^32 - 1 elements; multiply them in steps"
            );
            return Err(Error::shape(op, message));
        };
        let joined = product(&alone[i], &alone[j], &|l| wanted([i, j], l)).map_err(|e| e.named(op))?;
        factors = alone;
        factors.remove(j);
        factors[i] = joined;
    }
    let Some(last) = factors.pop() else {
        return Err(Error::internal("a contraction of no tensors"));
    };
    last.summed(|l| output.contains(l))?.ordered(output)
}

/// The length of each label: that of the axes which have it, but for those of length 1, which are repeated.
fn sizes(op: &str, factors: &[Factor]) -> Result<Vec<(Label, usize)>> {
    let mut sizes: Vec<(Label, usize, usize)> = Vec::new();
    for (number, factor) in factors.iter().enumerate() {
        for (label, &n) in factor.labels.iter().zip(factor.tensor.shape().iter()) {
            match sizes.iter_mut().find(|(l, _, _)| l == label) {
                None => sizes.push((*label, n, number)),
                Some((_, known, _)) if *known == n || n == 1 => {}
                Some(known) if known.1 == 1 => *known = (*label, n, number),
                Some((_, known, other)) => {
                    let message = format!(
                        "{label} has length {known} in tensor {other}, of shape {}, and {n} in tensor {number}, of shape {}; \
                         they must be equal, or one of them 1",
                        factors[*other].tensor.shape(),
                        factor.tensor.shape()
                    );
                    return Err(Error::shape(op, message));
                }
            }
        }
    }
    Ok(sizes.into_iter().map(|(label, n, _)| (label, n)).collect())
}

/// The diagonals of labels that one tensor has several times.
fn without_twins(op: &str, number: usize, tensor: &Tensor, labels: &[Label]) -> Result<Factor> {
    let mut factor = Factor { tensor: tensor.clone(), labels: labels.to_vec() };
    let twin = |labels: &[Label]| {
        let second = (1..labels.len()).find(|&d| labels[..d].contains(&labels[d]))?;
        labels.iter().position(|l| *l == labels[second]).map(|first| (first, second))
    };
    while let Some((first, second)) = twin(&factor.labels) {
        let label = factor.labels[first];
        let (m, n) = (factor.tensor.shape()[first], factor.tensor.shape()[second]);
        if m != n {
            let message = format!(
                "{label} stands for two axes of tensor {number}, of shape {}, whose lengths differ: {m} and {n}",
                tensor.shape()
            );
            return Err(Error::shape(op, message));
        }
        factor.tensor = factor.tensor.diagonal(0, first as isize, second as isize)?;
        factor.labels.remove(second);
        factor.labels.remove(first);
        factor.labels.push(label);
    }
    Ok(factor)
}

/// Products with sums. Each operand is multiplied with another as a product of matrices, so that results are as exact, and
/// gradients of any order as fast, as those of [`matmul`](Tensor::matmul).
impl Tensor {
    /// A product of tensors by Einstein's convention, NumPy's `einsum`: each axis has a letter, axes of one letter run together,
    /// and what the result does not name is summed over.
    ///
    /// - `"ij,jk->ik"`: axes of the operands, separated by commas, then those of the result. A letter is any of `a` to `z` and
    ///   `A` to `Z`; spaces are skipped.
    /// - Without `->` the result has the letters that occur once, in alphabetical order, capitals first.
    /// - A letter twice in an operand is a diagonal: `"ii->i"`; `"ii->"` is the trace.
    /// - `...` stands for further axes, which broadcast and come first in a result without `->`: `"...ij,...jk->...ik"`.
    /// - An axis of length 1 is repeated to the length that others of its letter have.
    ///
    /// Of more than two operands those two are multiplied first whose product is smallest, compared with what it is made of; then
    /// the next. Results of u8 are u32, as sums are. Integers are multiplied element by element, which takes the memory of all
    /// letters of two operands together.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let a = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], Device::Cpu)?;
    /// let v = Tensor::new([1.0f32, 10.0], Device::Cpu)?;
    /// assert_eq!(Tensor::einsum("ij,j->i", &[&a, &v])?.to_vec::<f32>()?, [21.0, 43.0]);
    /// assert_eq!(Tensor::einsum("ji", &[&a])?.to_vec::<f32>()?, [1.0, 3.0, 2.0, 4.0]);
    /// assert_eq!(Tensor::einsum("i,ij,j->", &[&v, &a, &v])?.item::<f32>()?, 451.0);
    /// // scores of attention: batch, time and heads, features
    /// let (q, k) = (Tensor::ones([2, 5, 3, 4], Device::Cpu)?, Tensor::ones([2, 7, 3, 4], Device::Cpu)?);
    /// assert_eq!(Tensor::einsum("bthd,bshd->bhts", &[&q, &k])?.shape(), [2, 3, 5, 7]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// An equation that is none, as many operands as it has, or with as many axes; one letter's lengths that differ; a product
    /// of more than [`MAX_RANK`](crate::MAX_RANK) axes or 2^32 elements or more; tensors of different types or devices.
    pub fn einsum(equation: &str, operands: &[&Tensor]) -> Result<Tensor> {
        const OP: &str = "einsum";
        let shapes: Vec<Shape> = operands.iter().map(|t| t.shape()).collect();
        let Equation { inputs, output } = Equation::parse(equation, &shapes)?;
        let factors = inputs.iter().zip(operands).enumerate();
        let factors = factors
            .map(|(number, (labels, tensor))| without_twins(OP, number, tensor, labels))
            .collect::<Result<_>>()?;
        contract(OP, factors, &output)
    }

    /// The product of two tensors, summed over pairs of axes: axis `axes[i]` of this one and `other_axes[i]` of the other. The
    /// result has the other axes of this tensor, then those of the other. NumPy's `tensordot`. Integers as in
    /// [`einsum`](Self::einsum).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (x, w) = (Tensor::ones([2, 3, 4, 5], Device::Cpu)?, Tensor::ones([5, 4, 7], Device::Cpu)?);
    /// let y = x.tensordot(&w, [-1, -2], [0, 1])?; // sums over 5 and 4
    /// assert_eq!((y.shape().to_vec(), y.to_vec::<f32>()?[0]), (vec![2, 3, 7], 20.0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As many axes of one as of the other are not given, a tensor lacks one of them or has it twice, lengths of a pair that differ;
    /// as [`einsum`](Self::einsum).
    pub fn tensordot(
        &self,
        other: &Tensor,
        axes: impl AsRef<[isize]>,
        other_axes: impl AsRef<[isize]>,
    ) -> Result<Tensor> {
        const OP: &str = "tensordot";
        let (axes, other_axes) = (axes.as_ref(), other_axes.as_ref());
        if axes.len() != other_axes.len() {
            let message = format!("axes {axes:?} and {other_axes:?} are no pairs: give as many of both");
            return Err(Error::argument(OP, message));
        }
        let labels = |start: usize, rank: usize| (start..start + rank).map(Label::Axis).collect::<Vec<_>>();
        let (own, mut others) = (labels(0, self.rank()), labels(self.rank(), other.rank()));
        let (mut seen, mut seen_of_other) = (Vec::new(), Vec::new());
        for (&a, &b) in axes.iter().zip(other_axes) {
            let (x, y) = (self.shape().axis(OP, a)?, other.shape().axis(OP, b)?);
            if seen.contains(&x) || seen_of_other.contains(&y) {
                let message = format!("an axis is given twice in {axes:?} or {other_axes:?}");
                return Err(Error::argument(OP, message));
            }
            let (m, n) = (self.shape()[x], other.shape()[y]);
            if m != n {
                let message = format!(
                    "axis {a} of {} has length {m}, and axis {b} of {} has length {n}; they must be equal",
                    self.shape(),
                    other.shape()
                );
                return Err(Error::shape(OP, message));
            }
            seen.push(x);
            seen_of_other.push(y);
            others[y] = own[x];
        }
        let free = |labels: &[Label], other: &[Label]| -> Vec<Label> {
            labels.iter().filter(|l| !other.contains(l)).copied().collect()
        };
        let output = [free(&own, &others), free(&others, &own)].concat();
        if output.len() > MAX_RANK {
            let message = format!(
                "the product of {} and {} over {} pairs of axes has {} axes; at most {MAX_RANK} are supported",
                self.shape(),
                other.shape(),
                axes.len(),
                output.len()
            );
            return Err(Error::shape(OP, message));
        }
        let factors = vec![
            Factor { tensor: self.clone(), labels: own },
            Factor { tensor: other.clone(), labels: others },
        ];
        contract(OP, factors, &output)
    }

    /// All products of an element of this tensor and one of the other: `[m] x [n]` to `[m, n]`. Other tensors are flattened.
    /// NumPy's `outer`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (x, y) = (Tensor::new([1, 2], Device::Cpu)?, Tensor::new([3, 4, 5], Device::Cpu)?);
    /// assert_eq!(x.outer(&y)?.to_vec::<i32>()?, [3, 4, 5, 6, 8, 10]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Tensors of different types or devices, or 2^32 products or more.
    pub fn outer(&self, other: &Tensor) -> Result<Tensor> {
        const OP: &str = "outer";
        let (column, row) = (self.reshape([self.numel(), 1])?, other.reshape([1, other.numel()])?);
        (column * row).map_err(|e| e.named(OP))
    }

    /// The scalar product of two vectors, the sum of products of their elements: NumPy's `dot` of vectors. For matrices there is
    /// [`matmul`](Self::matmul). That of u8 is u32.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (x, y) = (Tensor::new([1, 2, 3], Device::Cpu)?, Tensor::new([4, 5, 6], Device::Cpu)?);
    /// assert_eq!(x.dot(&y)?.item::<i32>()?, 32);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensors are no vectors of one length, or of different types or devices.
    pub fn dot(&self, other: &Tensor) -> Result<Tensor> {
        const OP: &str = "dot";
        if self.rank() != 1 || self.shape() != other.shape() {
            let message = format!(
                "shapes {} and {}: expected two vectors of one length; matmul is for matrices",
                self.shape(),
                other.shape()
            );
            return Err(Error::shape(OP, message));
        }
        let labels = vec![Label::Axis(0)];
        let factor = |t: &Tensor| Factor { tensor: t.clone(), labels: labels.clone() };
        contract(OP, vec![factor(self), factor(other)], &[])
    }

    /// This tensor plus the matrix product of two others, `self + a b`, as one kernel on a GPU: PyTorch's `addmm`, of any shapes
    /// that [`matmul`](Self::matmul) takes, to whose product this tensor broadcasts.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (bias, w) = (Tensor::new([1.0f32, 2.0], Device::Cpu)?, Tensor::eye(2, Device::Cpu)?);
    /// let x = Tensor::new([[3.0f32, 4.0], [5.0, 6.0]], Device::Cpu)?;
    /// assert_eq!(bias.addmm(&x, &w)?.to_vec::<f32>()?, [4.0, 6.0, 6.0, 8.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`matmul`](Self::matmul), or this tensor does not broadcast to the product.
    pub fn addmm(&self, a: impl IntoOperand, b: impl IntoOperand) -> Result<Tensor> {
        const OP: &str = "addmm";
        let (a, b) = (a.into_operand(self)?, b.into_operand(self)?);
        let product = a.matmul(&b).map_err(|e| e.named(OP))?;
        if !self.shape().broadcasts_to(&product.shape()) {
            let message = format!(
                "shape {} does not broadcast to {}, the product of {} and {}",
                self.shape(),
                product.shape(),
                a.shape(),
                b.shape()
            );
            return Err(Error::shape(OP, message));
        }
        (product + self).map_err(|e| e.named(OP))
    }

    /// From this tensor to `end`, `weight` of the way: `self + weight * (end - self)`, exactly this one at 0 and `end` at 1 where
    /// their difference is finite. The weight is a number or a tensor, and may lie outside of 0 to 1. Gradients flow to all three. PyTorch's `lerp`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (start, end) = (Tensor::new([0.0f32, 10.0], Device::Cpu)?, Tensor::new([4.0f32, 20.0], Device::Cpu)?);
    /// assert_eq!(start.lerp(&end, 0.25)?.to_vec::<f32>()?, [1.0, 12.5]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32. Shapes that don't broadcast, tensors of different types or devices.
    pub fn lerp(&self, end: impl IntoOperand, weight: impl IntoOperand) -> Result<Tensor> {
        const OP: &str = "lerp";
        require_float(OP, "the start", self)?;
        let (end, weight) = (end.into_operand(self)?, weight.into_operand(self)?);
        same_device(OP, &[self, &end, &weight])?;
        same_dtype(OP, self, &end)?;
        same_dtype(OP, self, &weight)?;
        let way = (&end - self).map_err(|e| e.named(OP))?;
        // From the nearer end, so that rounding leaves both ends what they are.
        let near = weight.abs()?.lt(0.5)?;
        let anchor = near.select(self, &end).map_err(|e| e.named(OP))?;
        let share = near.select(&weight, (&weight - 1.0)?)?;
        (anchor + (share * way)?).map_err(|e| e.named(OP))
    }
}

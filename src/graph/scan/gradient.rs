//! The gradient of a loop is a loop the other way round. Its turns are given the gradients of what the turn handed on and kept, and
//! give those of what the turn was given; gradients of what is the same in all turns are added up on the way.
//!
//! What it needs of a turn comes from the forward loop, which stores it: either what each turn was given, and the turn is computed once
//! more, or also the results of kernels that gradients are made of.

use super::body::Body;
use super::needs::{Needed, Outside, Outsides, Rows, ScanMemory, Stores, terms, tops};
use super::operation::{Layout, Problem, Region, Section, with_turns};
use crate::autograd::vjp;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::join::pack;
use crate::ops::pieces::Piece;
use crate::ops::view::full;
use crate::shape::{Shape, Spec};
use crate::tensor::{Gradient, Grads, IdMap, Looped, Placeholder, Tensor, Vjp, next_id};
use std::sync::Arc;

/// How the gradient of one loop is computed.
#[derive(Debug)]
pub(super) struct Backward {
    /// The element type of all that has a gradient.
    dtype: DType,
    /// Values of the body that the forward loop stores, by their element types; that of the gradients first.
    stored: Vec<(DType, Vec<u32>)>,
    body: Arc<Body>,
    /// The carried tensors whose gradients are carried, and what is the same in every turn and has a gradient.
    carries: Vec<usize>,
    sums: Vec<usize>,
    /// Results of turns whose gradients are read; leaves that are read again.
    ys: Vec<usize>,
    rows: Vec<usize>,
    whole: Vec<usize>,
    captured: Vec<Tensor>,
    /// Rows that have a gradient.
    row_grads: Vec<usize>,
    /// Gradients of what is the same in every turn, computed of all turns at once when the loop is over.
    outside: Vec<(usize, Outside)>,
}

impl Backward {
    /// Of a loop with these inputs; `None` where nothing has a gradient.
    pub fn of(problem: &Problem, inputs: &[Tensor], memory: ScanMemory) -> Result<Option<Backward>> {
        let Problem { body, carries, rows, whole, .. } = problem;
        let (carries, device) = (*carries, body.device);
        let results: Vec<Spec> = body.results().collect();
        let Some(dtype) = results.iter().map(|s| s.dtype).find(|d| d.is_float()) else { return Ok(None) };
        let first = next_id();
        let tracked_input = |i: usize| inputs.get(i).is_some_and(Tensor::is_tracked);
        let leaf = |spec: &Spec, tracked: bool| -> Result<Tensor> {
            if tracked && spec.dtype != dtype {
                let message = format!(
                    "gradients of {dtype} and of {} in one loop; cast what is given to it to one type",
                    spec.dtype
                );
                return Err(Error::dtype("scan", message));
            }
            Ok(Tensor::symbolic(Placeholder::Input, *spec, device, tracked, None))
        };
        let mut leaves: Vec<Tensor> = Vec::with_capacity(body.leaves.len());
        for (i, spec) in body.leaves.iter().enumerate() {
            let tracked = spec.dtype.is_float()
                && match (i.checked_sub(carries), i.checked_sub(carries + rows.len())) {
                    (None, _) => true,
                    (Some(row), None) => tracked_input(rows[row].input),
                    (_, Some(w)) => tracked_input(whole[w]),
                };
            leaves.push(leaf(spec, tracked)?);
        }
        let built = body.build(leaves.clone())?;
        // Gradients of the results, as leaves.
        let mut upstream: Vec<(usize, Tensor)> = Vec::new();
        for (i, spec) in results.iter().enumerate() {
            if i < carries && spec.dtype.is_float() || built[body.results[i] as usize].is_tracked() {
                upstream.push((i, leaf(spec, true)?));
            }
        }
        let result = |i: usize| &built[body.results[i] as usize];
        let pairs: Vec<(&Tensor, &Tensor)> =
            upstream.iter().map(|(i, g)| (result(*i), g)).filter(|(y, _)| y.is_tracked()).collect();
        let grads = vjp(&pairs, &leaves)?;
        let upstream_of = |range: std::ops::Range<usize>| {
            upstream.iter().filter(move |u| range.contains(&u.0)).map(|u| u.0).collect::<Vec<usize>>()
        };
        let carried = upstream_of(0..carries);
        let ys: Vec<usize> = upstream_of(carries..results.len()).into_iter().map(|i| i - carries).collect();
        let wanted = |range: std::ops::Range<usize>| {
            let start = range.start;
            range.filter(|&i| grads[i].is_some()).map(|i| i - start).collect::<Vec<usize>>()
        };
        let row_grads = wanted(carries..carries + rows.len());
        let mut sums = wanted(carries + rows.len()..leaves.len());
        if row_grads.is_empty() && sums.is_empty() && carried.iter().all(|&i| grads[i].is_none()) {
            return Ok(None);
        }
        // Results of the backward body.
        let mut made: Vec<Tensor> = Vec::new();
        for &i in &carried {
            made.push(match &grads[i] {
                Some(grad) => grad.clone(),
                None => full(0.0, body.leaves[i].shape, dtype, device)?,
            });
        }
        let forward: IdMap<u32> = built.iter().zip(0..).map(|(t, at)| (t.0.id, at)).collect();
        let stores = Stores { memory, tops: tops(problem, &built), forward };
        let kept: Vec<Tensor> = row_grads.iter().filter_map(|&r| grads[carries + r].clone()).collect();
        let mut outside = Outsides { kept, read: Vec::new(), stores: &stores, problem };
        let mut found: Vec<(usize, Outside)> = Vec::new();
        let mut so_far = Vec::new();
        let mut inside = Vec::new();
        for &w in &sums {
            let i = carries + rows.len() + w;
            let mut rest: Option<Tensor> = None;
            for term in grads[i].iter().flat_map(|grad| terms(grad, first)) {
                if let Some(of_all) = outside.find(&term)? {
                    found.push((w, of_all));
                } else {
                    rest = Some(match rest {
                        Some(rest) => (rest + term)?,
                        None => term,
                    });
                }
            }
            if let Some(rest) = rest {
                let sum = leaf(&body.leaves[i], true)?;
                made.push((&sum + rest)?);
                so_far.push(sum);
                inside.push(w);
            }
        }
        sums = inside;
        // What they are made of.
        let Outsides { kept, read, .. } = outside;
        made.extend(kept);
        let all: Vec<Tensor> = made.iter().chain(&read).cloned().collect();
        let needed = Needed::of(&all, &stores, problem, first);
        let mut stored: Vec<(DType, Vec<u32>)> = vec![(dtype, Vec::new())];
        for &at in &needed.stored {
            let d = body.spec(at).dtype;
            match stored.iter_mut().find(|s| s.0 == d) {
                Some(group) => group.1.push(at),
                None => stored.push((d, vec![at])),
            }
        }
        let of_results = |i: &usize| upstream.iter().find(|u| u.0 == *i).map(|u| u.1.clone());
        let mut order: Vec<Tensor> = carried.iter().filter_map(of_results).collect();
        order.extend(so_far);
        order.extend(ys.iter().filter_map(|y| of_results(&(carries + y))));
        order.extend(stored.iter().flat_map(|s| &s.1).map(|&at| built[at as usize].clone()));
        order.extend(needed.rows.iter().map(|&r| built[carries + r].clone()));
        order.extend(needed.whole.iter().map(|&w| built[carries + rows.len() + w].clone()));
        let places: IdMap<usize> = order.iter().enumerate().map(|(at, t)| (t.0.id, at)).collect();
        let specs = order.iter().map(|t| t.0.spec).collect();
        let (body, captured) = Body::of(&made, specs, &places, first, device)?;
        let Needed { rows, whole, .. } = needed;
        Ok(Some(Backward {
            dtype,
            stored,
            body: Arc::new(body),
            carries: carried,
            sums,
            ys,
            rows,
            whole,
            captured,
            row_grads,
            outside: found,
        }))
    }

    /// The element type of all that has a gradient.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The values that the output of an element type has to hold for this.
    pub fn stored(&self, dtype: DType) -> &[u32] {
        self.stored.iter().find(|s| s.0 == dtype).map_or(&[], |s| &s.1)
    }
}

/// The gradient rule of a loop.
#[derive(Debug)]
pub(super) struct Rule {
    pub problem: Problem,
    pub dtype: DType,
    pub memory: ScanMemory,
    /// What it computes, where the loop's output holds what that needs.
    pub backward: Option<Arc<Backward>>,
}

impl Gradient for Rule {
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let stored = self.backward.as_ref().map_or(&[][..], |b| b.stored(self.dtype));
        let layout = self.problem.layout(self.dtype, stored)?;
        let head = layout.head;
        let mut upstream = Upstream { grad: cx.grad.clone(), carries: layout.carries, ys: layout.ys };
        if let Some(backward) = &self.backward
            && let Some(grad) = visible(cx.grad, layout.visible, layout.len)
        {
            upstream.grad = grad;
            let upstream = upstream.without_rows(head)?;
            return self.grads(cx, &self.problem, backward, cx.output, &upstream);
        }
        // A gradient of a gradient, which may have read what was stored: these are results like others. The loop is computed once
        // more, and stores what its gradient needs.
        upstream.ys.extend(layout.stored.into_iter().map(Some));
        let upstream = upstream.without_rows(head)?;
        let problem = self.problem.keeping(stored);
        match Backward::of(&problem, cx.inputs, self.memory)?.filter(|b| b.dtype == self.dtype) {
            None => Ok(vec![None; cx.inputs.len()]),
            Some(backward) => {
                let backward = Arc::new(backward);
                let output = self.again(&problem, cx.inputs, self.dtype, &backward)?;
                self.grads(cx, &problem, &backward, &output, &upstream)
            }
        }
    }

    fn storing_nothing(&self) -> Result<Option<(Looped, usize)>> {
        if self.backward.as_ref().is_none_or(|b| b.stored(self.dtype).is_empty()) {
            return Ok(None);
        }
        let problem = self.problem.storing_nothing()?;
        let layout = problem.layout(self.dtype, &[])?;
        let looped = problem.looped(self.dtype, &[], &layout)?;
        let rule = Rule { problem, dtype: self.dtype, memory: self.memory, backward: None };
        Ok(Some((Looped::new(looped, Box::new(rule)), layout.len)))
    }
}

/// The gradient of a loop's output, and where in it are those of what was carried and of what was kept.
struct Upstream {
    grad: Tensor,
    carries: Vec<Option<usize>>,
    ys: Vec<Option<Section>>,
}

impl Upstream {
    /// The same without zeros for all rows, where nobody has used what was kept of the turns: one row of them, and all turns are
    /// given that. `head`: elements that what was carried takes.
    fn without_rows(self, head: usize) -> Result<Upstream> {
        let Upstream { grad, carries, ys } = self;
        let zeros = ys.iter().flatten().map(Section::stride).max().unwrap_or(0);
        let Some(Piece { axis: 0, start, part }) = Piece::of(&grad) else {
            return Ok(Upstream { grad, carries, ys });
        };
        let end = start + part.numel();
        if end > head || head + zeros >= grad.numel() {
            return Ok(Upstream { grad, carries, ys });
        }
        let grad = part.pad([(start, head + zeros - end)], 0.0)?;
        let ys = ys.into_iter().map(|section| Some(section?.of_one_row(head))).collect();
        Ok(Upstream { grad, carries, ys })
    }
}

/// A loop's output, and what is where in it.
struct Made {
    output: Tensor,
    layout: Layout,
}

impl Rule {
    fn grads(
        &self,
        cx: &Vjp<'_>,
        problem: &Problem,
        backward: &Arc<Backward>,
        output: &Tensor,
        upstream: &Upstream,
    ) -> Result<Grads> {
        let mut grads: Grads = vec![None; cx.inputs.len()];
        let made = self.run(problem, backward, cx.inputs, output, upstream)?;
        // The gradients of what was carried begin the vector, in the places that the carried tensors themselves had.
        let groups = problem.groups();
        if let Some(g) = groups.iter().position(|g| g.0 == self.dtype) {
            let head = cx.inputs[g].numel();
            grads[g] = Some(made.output.slice(0, 0, head)?);
        }
        let add = |grads: &mut Grads, input: usize, grad: Tensor| -> Result<()> {
            grads[input] = Some(match grads[input].take() {
                Some(old) => (old + grad)?,
                None => grad,
            });
            Ok(())
        };
        for (k, &w) in backward.sums.iter().enumerate() {
            let input = problem.whole[w];
            if let (true, Some(at)) = (cx.needs[input], made.layout.carries[backward.carries.len() + k]) {
                let shape = cx.inputs[input].shape();
                add(&mut grads, input, made.output.slice(0, at, shape.numel())?.reshape(shape)?)?;
            }
        }
        for (w, outside) in &backward.outside {
            let input = problem.whole[*w];
            if cx.needs[input] {
                let rows = |rows: Rows| self.all_turns(rows, problem, backward, cx.inputs, output, &made);
                let sum = match outside {
                    Outside::Product(a, b) => {
                        let flat = |t: Tensor| {
                            let [turns, k, n] = [t.shape()[0], t.shape()[1], t.shape()[2]];
                            t.reshape([turns * k, n])
                        };
                        flat(rows(*a)?)?.transpose()?.matmul(flat(rows(*b)?)?)?
                    }
                    Outside::Sum(x, axes) => {
                        rows(*x)?.sum(axes.iter().copied().chain([0]).collect::<Vec<_>>(), false)?
                    }
                };
                add(&mut grads, input, sum.reshape(cx.inputs[input].shape())?)?;
            }
        }
        for (k, &r) in backward.row_grads.iter().enumerate() {
            let region = problem.rows[r];
            if let (true, Some(section)) = (cx.needs[region.input], made.layout.ys[k]) {
                let n = problem.body.leaves[problem.carries + r].shape.numel();
                let part = section.rows(&made.output, problem.turns, n)?;
                add(&mut grads, region.input, spread(&part, region, &cx.inputs[region.input].shape())?)?;
            }
        }
        for (grad, needed) in grads.iter_mut().zip(cx.needs) {
            *grad = grad.take().filter(|_| *needed);
        }
        Ok(grads)
    }

    /// The values of all turns, `[turns, ..]`.
    fn all_turns(
        &self,
        rows: Rows,
        problem: &Problem,
        backward: &Backward,
        inputs: &[Tensor],
        output: &Tensor,
        made: &Made,
    ) -> Result<Tensor> {
        let missing = || Error::internal("the rows of a loop's gradient have no place");
        let (from, section, shape) = match rows {
            Rows::Given(r) => {
                let shape = problem.body.leaves[problem.carries + r].shape;
                let all =
                    problem.rows[r].rows(&inputs[problem.rows[r].input], problem.turns, shape.numel())?;
                return all.reshape(with_turns(problem.turns, &shape));
            }
            Rows::Stored(at) => {
                let list = backward.stored(self.dtype);
                let k = list.iter().position(|&s| s == at).ok_or_else(missing)?;
                let section = *problem.layout(self.dtype, list)?.stored.get(k).ok_or_else(missing)?;
                (output, section, problem.body.spec(at).shape)
            }
            Rows::Kept(y, shape) => {
                (&made.output, made.layout.ys.get(y).copied().flatten().ok_or_else(missing)?, shape)
            }
        };
        section.rows(from, problem.turns, shape.numel())?.reshape(with_turns(problem.turns, &shape))
    }

    /// The loop once more, storing what a gradient needs.
    fn again(
        &self,
        problem: &Problem,
        inputs: &[Tensor],
        dtype: DType,
        backward: &Arc<Backward>,
    ) -> Result<Tensor> {
        let rule = Rule {
            problem: problem.clone(),
            dtype,
            memory: self.memory,
            backward: (dtype == backward.dtype).then(|| backward.clone()),
        };
        problem.node(inputs.to_vec(), dtype, backward.stored(dtype), Box::new(rule))
    }

    /// The backward loop.
    fn run(
        &self,
        problem: &Problem,
        backward: &Arc<Backward>,
        inputs: &[Tensor],
        output: &Tensor,
        upstream: &Upstream,
    ) -> Result<Made> {
        let Backward { body, carries, sums, ys, captured, .. } = &**backward;
        let (dtype, device) = (self.dtype, body.device);
        let mut initial: Vec<Tensor> = Vec::new();
        for &i in carries {
            let shape = problem.body.leaves[i].shape;
            let at = upstream.carries[i].ok_or_else(|| Error::internal("a carried tensor has no place"))?;
            initial.push(upstream.grad.slice(0, at, shape.numel())?.reshape(shape)?);
        }
        for &w in sums {
            initial.push(full(0.0, inputs[problem.whole[w]].shape(), dtype, device)?);
        }
        let mut given: Vec<Tensor> = Vec::new();
        if !initial.is_empty() {
            given.push(pack(&initial)?);
        }
        let mut add = |tensor: &Tensor| {
            given.push(tensor.clone());
            given.len() - 1
        };
        let mut regions: Vec<Region> = Vec::new();
        if !ys.is_empty() {
            let input = add(&upstream.grad);
            for &y in ys {
                let section = upstream.ys[y].ok_or_else(|| Error::internal("a kept result has no place"))?;
                regions.push(section.of(input));
            }
        }
        for (d, list) in backward.stored.iter().filter(|s| !s.1.is_empty()) {
            // What is of another type is stored by a loop of its own.
            let other = if *d == dtype { None } else { Some(self.again(problem, inputs, *d, backward)?) };
            let input = add(other.as_ref().unwrap_or(output));
            regions.extend(problem.layout(*d, list)?.stored.iter().map(|s| s.of(input)));
        }
        for &r in &backward.rows {
            let region = problem.rows[r];
            regions.push(Region { input: add(&inputs[region.input]), ..region });
        }
        let mut whole: Vec<usize> = backward.whole.iter().map(|&w| add(&inputs[problem.whole[w]])).collect();
        whole.extend(captured.iter().map(&mut add));
        let turned = Problem {
            body: body.clone(),
            carries: carries.len() + sums.len(),
            rows: regions,
            whole,
            turns: problem.turns,
            reverse: !problem.reverse,
        };
        let layout = turned.layout(dtype, &[])?;
        let rule = Rule { problem: turned.clone(), dtype, memory: self.memory, backward: None };
        Ok(Made { output: turned.node(given, dtype, &[], Box::new(rule))?, layout })
    }
}

/// The first `len` elements of a gradient of `all`, if the others can be seen to be zeros.
fn visible(grad: &Tensor, len: usize, all: usize) -> Option<Tensor> {
    if len == all {
        return Some(grad.clone());
    }
    match Piece::of(grad)? {
        Piece { axis: 0, start: 0, part } if part.numel() == len => Some(part),
        _ => None,
    }
}

/// The gradient of an input, from that of rows of it: zeros elsewhere.
fn spread(rows: &Tensor, region: Region, shape: &Shape) -> Result<Tensor> {
    let Region { offset, stride, .. } = region;
    let (turns, n) = (rows.shape()[0], rows.shape()[1]);
    let len = shape.numel();
    if n == 0 {
        return full(0.0, *shape, rows.dtype(), rows.device());
    }
    if stride == 0 {
        return rows.sum([0], false)?.pad([(offset, len - offset - n)], 0.0)?.reshape(*shape);
    }
    let flat = rows.pad([(0, 0), (0, stride - n)], 0.0)?.reshape([turns * stride])?;
    let flat = flat.slice(0, 0, (turns * stride).min(len - offset))?;
    let after = len - offset - flat.numel();
    flat.pad([(offset, after)], 0.0)?.reshape(*shape)
}

//! [`Graph`]: a function with the traces that were made of it.

use super::diagram::Diagram;
use super::spec::TensorSpec;
use super::trace::Trace;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, recording};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Function<'f> = Box<dyn Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + Sync + 'f>;

/// A function of tensors, traced once for each signature and called many times.
///
/// ```
/// use wgrad::{Graph, TensorSpec};
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::new([[1.0f32], [2.0]], Device::Cpu)?);
/// // The loss of a linear model, and its gradient with respect to w.
/// let f = Graph::trace(&[TensorSpec::f32([3, 2], Device::Cpu)?], |x| {
///     let loss = x[0].matmul(&w)?.square()?.mean(.., false)?;
///     let grads = loss.backward()?;
///     Ok(vec![grads.get(&w)?, loss])
/// })?;
/// for _ in 0..2 {
///     let out = f.call(&[&Tensor::ones([3, 2], Device::Cpu)?])?; // the closure does not run again
///     w.set(w.value() - (&out[0] * 0.1)?)?; // the next call reads the new value
/// }
/// assert_eq!(f.traces(), 1);
/// f.call(&[&Tensor::ones([5, 2], Device::Cpu)?])?; // another shape: traced once more, and kept
/// assert_eq!(f.traces(), 2);
/// println!("{f}"); // the nodes, their shapes, and which kernel computes them
/// # Ok(()) }
/// ```
///
/// # What a trace holds
///
/// The closure runs once for each signature: shapes, types and devices of the arguments, whether gradients flow to them,
/// and whether gradients are recorded at all ([`no_grad`](crate::no_grad)). What it does besides tensor operations, such as
/// printing, happens then and not in calls.
///
/// - **A [`Variable`](crate::Variable) is read at each call**, and set at each call where the closure
///   [`set`](crate::Variable::set)s it (so BatchNorm's averages move). Frozen or released variables are noticed, and those of
///   another type ([`to_dtype`](crate::nn::Module::to_dtype)); the function is then traced anew.
/// - **Gradients** can be taken within the closure and returned, and flow through a call from its outputs to its arguments
///   and to the variables that it reads. Within, the gradient with respect to an argument is that of `x[0].watch()?`.
/// - **Frozen** is all else: numbers (give a learning rate that changes as an argument, `Tensor::new(rate, device)?`), tensors
///   that the closure captures, Rust's `if` and `for`, and the seeds of random numbers: [`call`](Self::call) draws the same
///   numbers each time, as the closure itself would, and [`call_seeded`](Self::call_seeded) others.
/// - **An optimizer can't step inside**, since it keeps state of its own; return the gradients, or the loss, and step after
///   the call: the step and the call are computed as one plan all the same.
/// - **At most 256 signatures are kept**, and as many as 64 MiB hold (the recorded nodes, and the values that the closure makes
///   itself, such as a mask of the argument's length). Beyond, the least recently called is forgotten; called again, it is
///   traced again.
/// - **Values can't be read inside**: `item`, `to_vec` and `eval` of what depends on an argument or a variable give an error.
///
/// # Cost
///
/// Calling a graph makes its nodes anew and leaves them lazy, so that calls compose and are fused with what surrounds them;
/// like any other nodes they are found in the plan cache when they are evaluated. What a call saves is the closure itself:
/// shape checks and the building of gradients. Building the loss and all gradients of the seed's CNN (68 operations) took the
/// host 8 to 10 microseconds by a call and 18 to 22 by the closure; four operations on 64 columns 0.5 and 0.7 (2 cores,
/// release, quiet). The look-up of the plan, the submission and the kernels are the same with and without a graph, so a
/// training step of some milliseconds gains ten microseconds: the plan cache has done the work that graphs are traced for
/// elsewhere. Trace a function for its picture, for one that must not plan anew ([`fixed`](Self::fixed)), or where the
/// closure itself is slow.
pub struct Graph<'f> {
    f: Function<'f>,
    first: Vec<TensorSpec>,
    /// Whether other shapes than the first may be given.
    fixed: bool,
    state: Mutex<State>,
}

/// Traces that a graph keeps, and the bytes of all of them (see [`Trace::bytes`]); beyond, the least recently called goes, but
/// never the newest.
const MAX_TRACES: usize = 256;
const MAX_TRACE_BYTES: usize = 64 << 20;

#[derive(Default)]
struct State {
    /// The newest last.
    traces: Vec<Kept>,
    /// Traces made, those that were replaced or forgotten among them.
    count: usize,
    /// Calls so far.
    clock: u64,
}

struct Kept {
    trace: Arc<Trace>,
    /// The latest call that used it.
    used: u64,
}

impl State {
    /// The trace for these arguments, if there is one.
    fn find(&mut self, signature: &[TensorSpec], tracked: &[bool]) -> Option<Arc<Trace>> {
        self.clock += 1;
        let found = self.traces.iter_mut().rev().find(|k| k.trace.fits(signature, tracked))?;
        found.used = self.clock;
        Some(found.trace.clone())
    }

    /// Adds a trace in the place of one that is out of date, and gives what goes: the caller drops it without the lock.
    fn add(&mut self, trace: Arc<Trace>) -> Vec<Kept> {
        let mut gone: Vec<Kept> = self.traces.extract_if(.., |k| k.trace.is_of(&trace)).collect();
        self.count += 1;
        let mut bytes = trace.bytes + self.traces.iter().map(|k| k.trace.bytes).sum::<usize>();
        while self.traces.len() >= MAX_TRACES || bytes > MAX_TRACE_BYTES {
            let oldest = self.traces.iter().enumerate().min_by_key(|(_, k)| k.used);
            let Some((oldest, _)) = oldest else { break };
            let kept = self.traces.remove(oldest);
            bytes -= kept.trace.bytes;
            gone.push(kept);
        }
        self.traces.push(Kept { trace, used: self.clock });
        gone
    }
}

impl<'f> Graph<'f> {
    /// Traces a function for arguments of this signature (from tensors: `&[(&x).into()]`).
    ///
    /// # Errors
    ///
    /// What the function returns; also where it reads a value that is known only when the graph is called, has an
    /// optimizer step, or uses a tensor of another trace.
    pub fn trace(
        signature: &[TensorSpec],
        f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + Sync + 'f,
    ) -> Result<Graph<'f>> {
        let graph = Graph {
            f: Box::new(f),
            first: signature.to_vec(),
            fixed: false,
            state: Mutex::new(State::default()),
        };
        graph.find(signature, vec![false; signature.len()])?;
        Ok(graph)
    }

    /// The same, but other shapes than that of the signature are an error rather than traced: for a program that must not
    /// plan anything anew.
    pub fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    /// What a tensor that is not computed yet will compute, and how: see [`Diagram`]. Nothing is computed.
    ///
    /// ```
    /// use wgrad::Graph;
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::ones([2, 3], Device::Cpu)?;
    /// let y = (x.exp()? + 1.0)?.log()?;
    /// let diagram = Graph::of(&[&y])?;
    /// println!("{diagram}");
    /// assert!(diagram.to_dot().starts_with("digraph"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The device can't be used, or the graph can't be computed on it.
    pub fn of(roots: &[&Tensor]) -> Result<Diagram> {
        Diagram::of_pending(roots)
    }

    /// Runs the function. The outputs are lazy, as those of any operation are.
    ///
    /// # Errors
    ///
    /// Another number of arguments than in the signature, another rank, type or device; what the closure returns where it is
    /// traced for a new shape.
    pub fn call(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        self.run(inputs, None)
    }

    /// As [`call`](Self::call), with other random numbers: each seed within the function is mixed with this one. The same
    /// seed gives the same numbers again.
    ///
    /// ```
    /// use wgrad::{Graph, TensorSpec};
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let noisy = Graph::trace(&[TensorSpec::f32([4], Device::Cpu)?], |x| {
    ///     Ok(vec![(&x[0] + Tensor::randn([4], Device::Cpu, 7)?)?])
    /// })?;
    /// let x = Tensor::zeros([4], Device::Cpu)?;
    /// let draw = |step| noisy.call_seeded(&[&x], step)?[0].to_vec::<f32>();
    /// assert_ne!(draw(1)?, draw(2)?);
    /// assert_eq!(draw(1)?, draw(1)?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn call_seeded(&self, inputs: &[&Tensor], seed: u64) -> Result<Vec<Tensor>> {
        self.run(inputs, Some(seed))
    }

    fn run(&self, inputs: &[&Tensor], seed: Option<u64>) -> Result<Vec<Tensor>> {
        self.check(inputs)?;
        let signature: Vec<TensorSpec> = inputs.iter().map(|&t| t.into()).collect();
        let recording = recording();
        let tracked = inputs.iter().map(|t| recording && t.is_tracked()).collect();
        self.find(&signature, tracked)?.replay(inputs, seed)
    }

    fn check(&self, inputs: &[&Tensor]) -> Result<()> {
        let op = "Graph::call";
        let count = self.first.len();
        if inputs.len() != count {
            let message = format!("{} arguments given, the signature has {count}", inputs.len());
            return Err(Error::argument(op, message));
        }
        for (i, (given, want)) in inputs.iter().zip(&self.first).enumerate() {
            let problem = |hint: &str| {
                let given = TensorSpec::from(*given);
                format!("argument {i} (of {count}, counted from 0) is {given}, expected {want}; {hint}")
            };
            if given.device() != want.device {
                return Err(Error::argument(op, problem("move it with to_device, or trace for that device")));
            }
            if given.dtype() != want.spec.dtype {
                return Err(Error::dtype(op, problem("cast it, or trace for that type")));
            }
            if given.rank() != want.spec.shape.rank() {
                return Err(Error::shape(op, problem("only the lengths of its dimensions may differ")));
            }
            if self.fixed && given.shape() != want.spec.shape {
                return Err(Error::shape(op, problem("the graph is fixed to that shape")));
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every update is whole: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The trace for these arguments, made now where there is none.
    fn find(&self, signature: &[TensorSpec], tracked: Vec<bool>) -> Result<Arc<Trace>> {
        if let Some(found) = self.state().find(signature, &tracked) {
            return Ok(found);
        }
        // Not under the lock: the function may call the graph itself, for other shapes. Where two threads meet a new
        // signature at the same time the function runs twice, and one of the traces is kept.
        let trace = Arc::new(Trace::of(signature, tracked.clone(), &self.f)?);
        let mut state = self.state();
        if let Some(found) = state.find(signature, &tracked) {
            return Ok(found);
        }
        let gone = state.add(trace.clone());
        // What a trace holds may be a value whose drop takes its time, or something of the caller's that calls the graph.
        drop(state);
        drop(gone);
        Ok(trace)
    }

    /// How often the function was traced, also for signatures that were forgotten since.
    pub fn traces(&self) -> usize {
        self.state().count
    }

    /// The signatures whose traces are kept, the latest last.
    pub fn signatures(&self) -> Vec<Vec<TensorSpec>> {
        self.state().traces.iter().map(|k| k.trace.signature.clone()).collect()
    }

    /// The nodes and kernels of the latest trace.
    ///
    /// # Errors
    ///
    /// The device can't be used, or the graph can't be computed on it.
    pub fn diagram(&self) -> Result<Diagram> {
        let Some(trace) = self.state().traces.last().map(|k| k.trace.clone()) else {
            return Err(Error::argument("Graph::diagram", "the function was not traced"));
        };
        Diagram::of_trace(&trace)
    }

    /// The latest trace in Graphviz's language: see [`Diagram::to_dot`].
    ///
    /// # Errors
    ///
    /// As [`diagram`](Self::diagram).
    pub fn to_dot(&self) -> Result<String> {
        Ok(self.diagram()?.to_dot())
    }

    /// The latest trace as a picture: see [`Diagram::to_svg`].
    ///
    /// # Errors
    ///
    /// As [`diagram`](Self::diagram).
    pub fn to_svg(&self) -> Result<String> {
        Ok(self.diagram()?.to_svg())
    }

    /// Writes [`to_dot`](Self::to_dot) to a file.
    ///
    /// # Errors
    ///
    /// As [`diagram`](Self::diagram); or the file can't be written.
    pub fn save_dot(&self, path: impl AsRef<Path>) -> Result<()> {
        self.diagram()?.save_dot(path)
    }

    /// Writes [`to_svg`](Self::to_svg) to a file.
    ///
    /// # Errors
    ///
    /// As [`diagram`](Self::diagram); or the file can't be written.
    pub fn save_svg(&self, path: impl AsRef<Path>) -> Result<()> {
        self.diagram()?.save_svg(path)
    }
}

/// The listing of the latest trace, see [`Diagram`].
impl fmt::Display for Graph<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.diagram() {
            Ok(diagram) => diagram.fmt(f),
            Err(e) => write!(f, "<{e}>"),
        }
    }
}

impl fmt::Debug for Graph<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |s: &Vec<TensorSpec>| s.iter().map(TensorSpec::to_string).collect::<Vec<_>>().join(", ");
        let signatures: Vec<String> = self.signatures().iter().map(list).collect();
        write!(f, "Graph(traced for {})", signatures.join("; "))
    }
}

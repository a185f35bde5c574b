//! The one error type: a variant for each thing that a caller can act on, and a way to say what was being done.

use crate::sealed;
use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;

/// What every fallible call of the crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Each message names the operation, what was given, what was expected, and the likely fix.
///
/// An error that crossed something with a name of its own, a layer or a callback, comes in a [`Context`](Error::Context): match on
/// its [`root`](Error::root).
///
/// ```
/// use wgrad::Error;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let (a, b) = (Tensor::zeros([2, 3], Device::Cpu)?, Tensor::zeros([2, 3], Device::Cpu)?);
/// match a.matmul(&b) {
///     Ok(_) => unreachable!(),
///     Err(e) if matches!(e.root(), Error::Shape { .. }) => println!("{e}"), // ... did you mean rhs.transpose()?
///     Err(e) => return Err(e),
/// }
/// # Ok(()) }
/// ```
#[non_exhaustive]
pub enum Error {
    /// Shapes that don't go together.
    #[non_exhaustive]
    Shape {
        /// The operation or layer that was asked for.
        op: String,
        /// What was given, what was expected, what to do.
        message: String,
    },
    /// An element type that the operation or the device does not take.
    #[non_exhaustive]
    DType {
        /// The operation that was asked for.
        op: String,
        /// What was given, what was expected, what to do.
        message: String,
    },
    /// An argument outside its range, an index outside its axis, a name that nothing has.
    #[non_exhaustive]
    Argument {
        /// The operation that was asked for.
        op: String,
        /// What was given, what was expected, what to do.
        message: String,
    },
    /// Tensors of one operation live on different devices.
    #[non_exhaustive]
    DeviceMismatch {
        /// The operation that was asked for.
        op: String,
        /// Device of the first input.
        left: String,
        /// Device of the offending input.
        right: String,
    },
    /// No adapter answers to what was asked for.
    #[non_exhaustive]
    NoAdapter {
        /// What was asked for, what there is, and how to get one.
        message: String,
    },
    /// The device stopped answering (driver reset, unplugged, timed out); tensors on it are gone.
    #[non_exhaustive]
    DeviceLost {
        /// Adapter name.
        device: String,
        /// The driver's words.
        reason: String,
    },
    /// The device has no room for a buffer.
    #[non_exhaustive]
    OutOfMemory {
        /// Adapter name, or `cpu`.
        device: String,
        /// How much was asked for.
        message: String,
    },
    /// The driver or the shader compiler refused something.
    #[non_exhaustive]
    Gpu {
        /// Adapter name.
        device: String,
        /// What was refused, in the driver's words.
        message: String,
    },
    /// What only a bug in wgrad can cause.
    #[non_exhaustive]
    Internal {
        /// What was found instead of what must be.
        message: String,
    },
    /// Training went astray: the loss or a parameter is infinite or not a number.
    #[non_exhaustive]
    Diverged {
        /// Number of the epoch; 1 for the first.
        epoch: usize,
        /// The loss: infinite or NaN, unless the last step is what broke a parameter.
        loss: f64,
        /// The name of the first parameter that has an element that is infinite or NaN.
        parameter: Option<String>,
    },
    /// A check of [`testing`](crate::testing) has found a difference.
    #[non_exhaustive]
    Mismatch {
        /// The check.
        check: String,
        /// What differs, where, by how much, and what was allowed.
        message: String,
    },
    /// A rank of a distributed run can't go on, or isn't set up as the others: see [`distributed`](crate::distributed).
    #[non_exhaustive]
    Rank {
        /// Its number, from 0.
        rank: usize,
        /// What it has, or what ended it.
        message: String,
    },
    /// A data file or data set that isn't what it should be.
    #[non_exhaustive]
    Data {
        /// The file or data set.
        name: String,
        /// What was expected and what was found.
        message: String,
    },
    /// Reading or writing a file failed.
    #[non_exhaustive]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// An error of the caller's own, from a callback, a layer or a data source: see [`Error::other`].
    Other(Box<dyn StdError + Send + Sync>),
    /// An error, and what was being done: see [`ResultExt`].
    #[non_exhaustive]
    Context {
        /// The layer, callback or file at which it happened.
        context: String,
        /// What happened.
        source: Box<Error>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Shape { op, message } | Error::DType { op, message } | Error::Argument { op, message } => {
                write!(f, "{op}: {message}")
            }
            Error::DeviceMismatch { op, left, right } => {
                write!(
                    f,
                    "{op}: inputs are on different devices ({left} and {right}); move one with to_device"
                )
            }
            Error::NoAdapter { message } => f.write_str(message),
            Error::DeviceLost { device, reason } => write!(
                f,
                "device {device} was lost: {reason}; what was on it is gone: make it anew (training goes on from its last \
                 checkpoint), on the same device, which is opened again when it is next used, or on another"
            ),
            Error::OutOfMemory { device, message } => write!(f, "out of memory on {device}: {message}"),
            Error::Gpu { device, message } => write!(f, "{device}: {message}"),
            Error::Internal { message } => {
                write!(f, "{message}; this is a bug in wgrad: please report it with what led to it")
            }
            Error::Diverged { epoch, loss, parameter } => {
                write!(f, "Trainer::fit: the mean loss of epoch {epoch} is {loss}")?;
                if let Some(name) = parameter {
                    write!(f, ", and {name} is not finite")?;
                }
                f.write_str(
                    "; lower the learning rate, and check the data (features that are not finite, labels outside the classes)",
                )
            }
            Error::Mismatch { check: what, message } | Error::Data { name: what, message } => {
                write!(f, "{what}: {message}")
            }
            Error::Rank { rank, message } => write!(f, "rank {rank}: {message}"),
            Error::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Error::Other(error) => error.fmt(f),
            Error::Context { context, source } => write!(f, "{context}: {source}"),
        }
    }
}

/// The message: a `main` that returns an error prints this to people.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// By hand, so that `source` is the error itself and not the box around it: who walks the chain may downcast.
impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Other(error) => Some(&**error),
            Error::Context { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

impl Error {
    /// Shapes that don't go together.
    pub fn shape(op: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Shape { op: op.into(), message: message.into() }
    }

    /// An element type that is not taken.
    pub fn dtype(op: impl Into<String>, message: impl Into<String>) -> Self {
        Error::DType { op: op.into(), message: message.into() }
    }

    /// An argument outside its range.
    pub fn argument(op: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Argument { op: op.into(), message: message.into() }
    }

    /// A check that found a difference.
    pub fn mismatch(check: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Mismatch { check: check.into(), message: message.into() }
    }

    /// A data file or data set that isn't what it should be.
    pub fn data(name: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Data { name: name.into(), message: message.into() }
    }

    /// A rank that can't go on, or isn't set up as the others.
    pub fn rank(rank: usize, message: impl Into<String>) -> Self {
        Error::Rank { rank, message: message.into() }
    }

    /// A file that can't be read or written.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }

    /// An error of one's own, or a message. One of wgrad's stays what it is. There is no `From` that would do it unasked: with a
    /// second one, closures that use `?` would have to spell out their error type.
    ///
    /// ```
    /// use wgrad::Error;
    /// let error = "seven".parse::<u8>().map_err(Error::other).unwrap_err();
    /// assert_eq!(error.to_string(), "invalid digit found in string");
    /// assert!(matches!(Error::other("the sensor is off"), Error::Other(_)));
    /// ```
    pub fn other(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        match error.into().downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Error::Other(other),
        }
    }

    /// The same error with what was being done before its message: a layer, a callback, a file.
    #[must_use]
    pub fn context(self, context: impl Into<String>) -> Self {
        Error::Context { context: context.into(), source: Box::new(self) }
    }

    /// The error without what was being done when it happened: what a `match` is for.
    ///
    /// ```
    /// use wgrad::Error;
    /// let error = Error::shape("matmul", "inner dimensions differ").context("layer 2").context("model");
    /// assert_eq!(error.to_string(), "model: layer 2: matmul: inner dimensions differ");
    /// assert!(matches!(error.root(), Error::Shape { .. }));
    /// ```
    #[must_use]
    pub fn root(&self) -> &Error {
        let mut error = self;
        while let Error::Context { source, .. } = error {
            error = source;
        }
        error
    }

    /// What only a bug can cause.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Error::Internal { message: message.into() }
    }

    /// What a driver refused.
    pub(crate) fn gpu(device: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Gpu { device: device.into(), message: message.into() }
    }

    /// The same error with the name of the file that is being read, where it has none.
    pub(crate) fn of_file(self, name: &str) -> Error {
        match self {
            Error::Shape { op, message } | Error::DType { op, message } | Error::Argument { op, message } => {
                Error::data(name, format!("{op}: {message}"))
            }
            Error::OutOfMemory { device, message } => {
                Error::OutOfMemory { device, message: format!("{message} for {name}") }
            }
            named @ (Error::Io { .. } | Error::Data { .. }) => named,
            other => other.context(name),
        }
    }

    /// The same error with a place before its message.
    pub(crate) fn within(self, place: &str) -> Error {
        match self {
            Error::Shape { op, message } => Error::Shape { op, message: format!("{place}: {message}") },
            Error::DType { op, message } => Error::DType { op, message: format!("{place}: {message}") },
            Error::Argument { op, message } => Error::Argument { op, message: format!("{place}: {message}") },
            Error::OutOfMemory { device, message } => {
                Error::OutOfMemory { device, message: format!("{place}: {message}") }
            }
            other => other.context(place),
        }
    }

    /// The same error under another operation's name.
    pub(crate) fn named(self, op: &str) -> Error {
        match self {
            Error::Shape { message, .. } => Error::shape(op, message),
            Error::DType { message, .. } => Error::dtype(op, message),
            Error::Argument { message, .. } => Error::argument(op, message),
            other => other,
        }
    }
}

impl<T, E> sealed::ResultExt for Result<T, E> {}

/// Says what was being done when something failed: wgrad's errors and all others become an [`Error::Context`].
///
/// ```
/// use wgrad::{Error, Result, ResultExt};
///
/// fn threshold(path: &str) -> Result<f64> {
///     let text = std::fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
///     text.trim().parse::<f64>().context("the threshold")
/// }
///
/// let error = threshold("/no/such/file").unwrap_err();
/// assert!(error.to_string().starts_with("reading /no/such/file: "));
/// let cause = std::error::Error::source(error.root()).unwrap();
/// assert!(cause.is::<std::io::Error>());
/// ```
pub trait ResultExt<T>: sealed::ResultExt {
    /// The same result; an error with this before its message.
    ///
    /// # Errors
    ///
    /// The result's, in its context.
    fn context(self, context: impl Into<String>) -> Result<T>;

    /// As [`context`](Self::context), written only where there is an error.
    ///
    /// # Errors
    ///
    /// The result's, in its context.
    fn with_context(self, context: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> ResultExt<T> for Result<T, E> {
    fn context(self, context: impl Into<String>) -> Result<T> {
        self.map_err(|e| Error::other(e).context(context))
    }

    fn with_context(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::other(e).context(context()))
    }
}

/// What somebody's code said when it panicked.
pub(crate) fn words_of_panic(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|s| s.to_string());
    words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let gpu = Error::gpu("llvmpipe", "Parent device is lost");
        assert_eq!(gpu.to_string(), "llvmpipe: Parent device is lost");
        let internal = Error::internal("a plan was lost").to_string();
        assert!(internal.starts_with("a plan was lost; ") && internal.contains("bug in wgrad"), "{internal}");
        let missing = Error::NoAdapter { message: "no GPU adapter: tried Vulkan".into() };
        assert_eq!(format!("{missing:?}"), "no GPU adapter: tried Vulkan");
        let diverged = |parameter: Option<&str>| {
            Error::Diverged { epoch: 2, loss: f64::NAN, parameter: parameter.map(String::from) }.to_string()
        };
        assert!(diverged(None).contains("epoch 2 is NaN; lower the learning rate"));
        assert!(diverged(Some("dense.bias")).contains("is NaN, and dense.bias is not finite; lower"));
    }

    #[test]
    fn the_chain_of_sources_can_be_walked_and_downcast() {
        let read = std::io::Error::new(std::io::ErrorKind::NotFound, "gone");
        let error =
            Err::<(), _>(Error::io("a.csv", read)).context("callback 1").context("epoch 3").unwrap_err();
        assert_eq!(error.to_string(), "epoch 3: callback 1: a.csv: gone");
        assert!(matches!(error.root(), Error::Io { .. }));
        let mut chain = vec![&error as &dyn StdError];
        while let Some(source) = chain[chain.len() - 1].source() {
            chain.push(source);
        }
        assert_eq!(chain.len(), 4);
        assert!(chain[..3].iter().all(|e| e.is::<Error>()) && chain[3].is::<std::io::Error>());
    }

    #[test]
    fn errors_of_others_are_kept() {
        let parse = "x".parse::<i32>().unwrap_err();
        let error = Error::other(parse.clone());
        assert_eq!(error.to_string(), parse.to_string());
        let Error::Other(inner) = &error else { panic!("{error}") };
        assert_eq!(inner.downcast_ref(), Some(&parse));
        assert!(error.source().is_some_and(|e| e.is::<std::num::ParseIntError>()));
        // through a box, an error of the crate is what it was
        let boxed: Box<dyn StdError + Send + Sync> = Box::new(Error::argument("pow", "negative"));
        assert!(matches!(Error::other(boxed), Error::Argument { .. }));
    }

    #[test]
    fn files_and_layers_are_named_once() {
        let of_file = |e: Error| e.of_file("a.npy").to_string();
        assert_eq!(of_file(Error::shape("from_vec", "3 elements")), "a.npy: from_vec: 3 elements");
        assert_eq!(of_file(Error::data("a.npy", "is cut off")), "a.npy: is cut off");
        assert_eq!(of_file(Error::other("no reader")), "a.npy: no reader");
        let layer = |e: Error| e.within("layer 2 (Dense)").named("build").to_string();
        assert_eq!(
            layer(Error::shape("Dense", "expects [features]")),
            "build: layer 2 (Dense): expects [features]"
        );
        assert_eq!(layer(Error::other("no such word")), "layer 2 (Dense): no such word");
    }
}

//! The one error type: a variant for each thing that a caller can act on.

use std::path::PathBuf;

/// What every fallible call of the crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Each message names the operation, what was given, what was expected, and the likely fix.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes that don't go together.
    #[error("{op}: {message}")]
    Shape {
        /// The operation or layer that was asked for.
        op: String,
        /// What was given, what was expected, what to do.
        message: String,
    },
    /// An element type that the operation or the device does not take.
    #[error("{op}: {message}")]
    DType {
        /// The operation that was asked for.
        op: String,
        /// What was given, what was expected, what to do.
        message: String,
    },
    /// An argument outside its range, an index outside its axis, a name that nothing has.
    #[error("{op}: {message}")]
    Argument {
        /// The operation that was asked for.
        op: String,
        /// What was given, what was expected, what to do.
        message: String,
    },
    /// Tensors of one operation live on different devices.
    #[error("{op}: inputs are on different devices ({left} and {right}); move one with to_device")]
    DeviceMismatch {
        /// The operation that was asked for.
        op: String,
        /// Device of the first input.
        left: String,
        /// Device of the offending input.
        right: String,
    },
    /// No adapter answers to what was asked for.
    #[error("{0}")]
    NoAdapter(String),
    /// The device stopped answering (driver reset, unplugged, timed out); tensors on it are gone.
    #[error(
        "device {device} was lost: {reason}; what was on it is gone: make it anew (training goes on from its last checkpoint), on \
         the same device, which is opened again when it is next used, or on another"
    )]
    DeviceLost {
        /// Adapter name.
        device: String,
        /// The driver's words.
        reason: String,
    },
    /// The device has no room for a buffer.
    #[error("out of memory on {device}: {message}")]
    OutOfMemory {
        /// Adapter name, or `cpu`.
        device: String,
        /// How much was asked for.
        message: String,
    },
    /// The driver or the shader compiler refused something; a bug in wgrad or in the driver.
    #[error("gpu: {0}")]
    Gpu(String),
    /// Training went astray: the loss or a parameter is infinite or not a number.
    #[error(
        "Trainer::fit: the mean loss of epoch {epoch} is {loss}{}; lower the learning rate, and check the data (features that \
         are not finite, labels outside the classes)",
        .parameter.as_ref().map(|name| format!(", and {name} is not finite")).unwrap_or_default()
    )]
    Diverged {
        /// Number of the epoch; 1 for the first.
        epoch: usize,
        /// The loss: infinite or NaN, unless the last step is what broke a parameter.
        loss: f64,
        /// The name of the first parameter that has an element that is infinite or NaN.
        parameter: Option<String>,
    },
    /// A check of [`testing`](crate::testing) has found a difference.
    #[error("{check}: {message}")]
    Mismatch {
        /// The check.
        check: String,
        /// What differs, where, by how much, and what was allowed.
        message: String,
    },
    /// A data file or data set that isn't what it should be.
    #[error("{name}: {message}")]
    Data {
        /// The file or data set.
        name: String,
        /// What was expected and what was found.
        message: String,
    },
    /// Reading or writing a file failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// The message: a `main` that returns an error prints this to people.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
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

    /// The same error with the name of the file that is being read, where it has none.
    pub(crate) fn of_file(self, name: &str) -> Error {
        match self {
            Error::Shape { op, message } | Error::DType { op, message } | Error::Argument { op, message } => {
                Error::data(name, format!("{op}: {message}"))
            }
            Error::OutOfMemory { device, message } => {
                Error::OutOfMemory { device, message: format!("{message} for {name}") }
            }
            other => other,
        }
    }

    /// The message without the operation's name, where the error has one.
    fn into_message(self) -> String {
        match self {
            Error::Shape { message, .. } | Error::Argument { message, .. } | Error::DType { message, .. } => {
                message
            }
            other => other.to_string(),
        }
    }

    /// The same error with a place before its message; a device's or a file's error stays as it is.
    pub(crate) fn within(self, place: &str) -> Error {
        match self {
            Error::Shape { op, message } => Error::Shape { op, message: format!("{place}: {message}") },
            Error::DType { op, message } => Error::DType { op, message: format!("{place}: {message}") },
            Error::Argument { op, message } => Error::Argument { op, message: format!("{place}: {message}") },
            other => other,
        }
    }

    /// The same error under another operation's name.
    pub(crate) fn named(self, op: &str) -> Error {
        match self {
            Error::Shape { .. } => Error::shape(op, self.into_message()),
            Error::DType { .. } => Error::dtype(op, self.into_message()),
            Error::Argument { .. } => Error::argument(op, self.into_message()),
            other => other,
        }
    }

    /// A file that can't be read or written.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }
}

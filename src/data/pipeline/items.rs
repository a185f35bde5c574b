//! What flows through a pipeline, and what its stages share.

use crate::error::{Error, Result, words_of_panic};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The elements of one pass through a [`Pipeline`](super::Pipeline). After an error it may go on with the next element.
pub type Items<T> = Box<dyn Iterator<Item = Result<T>> + Send>;

/// What an endless pipeline can fill or pass by in a reasonable time, and a stage of it drop without giving one element.
pub(super) const LONGEST_WAIT: usize = 1 << 22;

/// Runs what a caller gave; a panic in it becomes an error.
pub(super) fn guard<R>(stage: &str, f: impl FnOnce() -> Result<R>) -> Result<R> {
    // What a panic leaves half-done is the caller's own; nothing of the pipeline is touched in there.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let message = format!("the closure panicked: {}", words_of_panic(&*panic));
        Err(Error::argument(format!("Pipeline::{stage}"), message))
    })
}

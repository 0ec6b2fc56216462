//! One error type for the whole library: a public kind and a private detail.
//!
//! The kind maps one to one to a C status (`ffi::status`); the detail is the
//! text that `inferno_last_error` shows. A good detail says what was wrong,
//! what was expected, and where (node, input, byte).

use std::fmt;

/// What went wrong, in the terms a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// An argument is NULL, out of range or contradicts another one.
    InvalidArgument,
    /// A handle is NULL, stale, foreign or of another kind.
    InvalidHandle,
    /// Another thread is inside this session, or a run in slices is under way there.
    Busy,
    /// No file, input, output or metadata entry has that name or index.
    NotFound,
    /// The operating system or the host's reader failed.
    Io,
    /// The bytes are not a model, or the model contradicts itself.
    InvalidModel,
    /// The model is well formed and asks for something we do not do.
    Unsupported,
    /// A tensor's dtype is not the one expected.
    DtypeMismatch,
    /// A tensor's rank or dims are not the ones expected.
    ShapeMismatch,
    /// A buffer is smaller or larger than its tensor needs.
    SizeMismatch,
    /// Something must be set or run first.
    NotReady,
    /// Memory could not be had.
    OutOfMemory,
    /// A documented limit is exceeded.
    LimitExceeded,
    /// An operator refused the values it was given.
    RunFailed,
    /// A defect of ours, caught at the boundary.
    Internal,
    /// The time for a call is over.
    DeadlineExceeded,
    /// It would go past a memory budget.
    OutOfBudget,
    /// It was asked to end early.
    Cancelled,
    /// A queue has no room for another job.
    QueueFull,
    /// It takes no jobs now: it is shut down, or failed too often lately.
    Unavailable,
}

/// An error: what kind, and the text for a person.
///
/// It is one pointer, so that a [`Result`] of nothing else is one, too: entries and
/// steps hand it on in a register.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.detail)]
pub struct Error(Box<Told>);

#[derive(Debug, Clone)]
struct Told {
    kind: Kind,
    detail: Box<str>,
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with its text.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Error(Box::new(Told { kind, detail: detail.into().into_boxed_str() }))
    }

    /// What kind of error this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The text for a person.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The same error with `place` put before its text.
    pub fn at(self, place: impl fmt::Display) -> Self {
        Error::new(self.kind(), format!("{place}: {}", self.detail()))
    }
}

/// Shorthand constructors, one a kind: `error::invalid_model(format!(…))`.
macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        $(
            #[doc = concat!("An error of kind [`Kind::", stringify!($kind), "`].")]
            pub fn $name(detail: impl Into<String>) -> Error {
                Error::new(Kind::$kind, detail)
            }
        )*
    };
}

constructors! {
    invalid_argument => InvalidArgument,
    invalid_handle => InvalidHandle,
    busy => Busy,
    not_found => NotFound,
    io => Io,
    invalid_model => InvalidModel,
    unsupported => Unsupported,
    dtype_mismatch => DtypeMismatch,
    shape_mismatch => ShapeMismatch,
    size_mismatch => SizeMismatch,
    not_ready => NotReady,
    out_of_memory => OutOfMemory,
    limit_exceeded => LimitExceeded,
    run_failed => RunFailed,
    internal => Internal,
    deadline_exceeded => DeadlineExceeded,
    out_of_budget => OutOfBudget,
    cancelled => Cancelled,
    queue_full => QueueFull,
    unavailable => Unavailable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_small_and_says_where() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
        let e = invalid_model("no graph").at("policy.onnx");
        assert_eq!(e.kind(), Kind::InvalidModel);
        assert_eq!(e.to_string(), "policy.onnx: no graph");
    }
}

//! The kinds of errors, for every crate.

use std::fmt;

/// The kind of an error, which shows who can fix it. The error type of every crate has a method `kind` that returns
/// one.
///
/// There is one mapping to HTTP statuses (in `lorank-http`) and one to exit statuses (in `lorank-cli`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input cannot be parsed.
    Malformed,
    /// The input can be parsed, and has a value that is not allowed.
    Invalid,
    /// The input is larger than a limit allows.
    TooLarge,
    /// The input has a format that is not supported.
    UnsupportedFormat,
    /// The operation does not exist for this resource.
    UnsupportedOperation,
    /// The caller did not authenticate.
    Unauthenticated,
    /// The caller is not permitted to do this.
    Forbidden,
    /// What the input names does not exist.
    NotFound,
    /// The state of the resource does not allow the operation.
    Conflict,
    /// The client took too long to send its request.
    ClientTimeout,
    /// Too many requests; a later one may succeed.
    Overloaded,
    /// The deadline passed before there was an answer.
    DeadlineExceeded,
    /// A required part is missing, not ready or not reachable.
    Unavailable,
    /// A bug, or a failure of the system.
    Internal,
}

impl ErrorKind {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::Invalid,
        Self::TooLarge,
        Self::UnsupportedFormat,
        Self::UnsupportedOperation,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::ClientTimeout,
        Self::Overloaded,
        Self::DeadlineExceeded,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The name in snake case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::UnsupportedFormat => "unsupported_format",
            Self::UnsupportedOperation => "unsupported_operation",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::ClientTimeout => "client_timeout",
            Self::Overloaded => "overloaded",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_distinct() {
        let names: BTreeSet<&str> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }
}

//! Errors of addresses and settings.

use lorank_core::{BoxError, ErrorKind};

/// An invalid address or setting of a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A scheme that is not known.
    #[error(
        "`{scheme}` is not a known scheme of a registry; use a folder, `file:///FOLDER`, `s3://BUCKET/PREFIX`, \
         `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`"
    )]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// An invalid address. It is not shown, because it may have a secret.
    #[error("the address of the registry {problem}; it must be such as `{scheme}://BUCKET/PREFIX`")]
    Address {
        /// The scheme.
        scheme: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A folder that is not one.
    #[error("the registry's folder {problem}; it must be such as `adapters` or `file:///srv/adapters`")]
    Folder {
        /// What is wrong.
        problem: &'static str,
    },
    /// A file of certificates that cannot be used.
    #[error("the certificates of authorities for the registry {problem}; the file must have certificates in PEM form")]
    Certificates {
        /// What is wrong.
        problem: String,
    },
    /// A contradictory or incomplete configuration of the store.
    #[error("the registry at `{location}` cannot be used; check the environment variables of its store")]
    Configuration {
        /// The registry's address.
        location: String,
        /// The cause.
        source: BoxError,
    },
    /// The system refuses a thread.
    #[error("could not start a thread for the registry at `{location}`")]
    Thread {
        /// The registry's address.
        location: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl Error {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Scheme { .. }
            | Self::Address { .. }
            | Self::Folder { .. }
            | Self::Certificates { .. }
            | Self::Configuration { .. } => ErrorKind::Invalid,
            Self::Thread { .. } => ErrorKind::Unavailable,
        }
    }
}

/// The text of an error of `object_store`, which has its causes already.
pub(crate) fn flat(error: &object_store::Error) -> BoxError {
    error.to_string().into()
}

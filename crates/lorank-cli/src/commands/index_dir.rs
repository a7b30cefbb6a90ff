//! The index that a command works on.

use std::path::PathBuf;

use clap::Args;

/// The index that a command works on.
#[derive(Debug, Args)]
pub(crate) struct IndexDir {
    /// The folder of the index
    #[arg(long = "index", value_name = "DIR", env = "LORANK_INDEX")]
    pub dir: PathBuf,
}

//! The index argument of commands.

use std::path::PathBuf;

use clap::Args;

/// The index argument.
#[derive(Debug, Args)]
pub(crate) struct IndexDir {
    /// Folder of the index
    #[arg(long = "index", value_name = "DIR", env = "LORANK_INDEX")]
    pub dir: PathBuf,
}

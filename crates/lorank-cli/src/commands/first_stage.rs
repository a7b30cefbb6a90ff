//! The first stage of commands: an index on disk, or a search engine.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use lorank_elastic::ElasticFirstStage;
use lorank_server::{FirstStageKind, ServedFirstStage};
use lorank_tantivy::{Bm25FirstStage, Index};

use crate::environment;
use crate::failure::WrongUsage;
use crate::flags::FirstStageFlags;

/// The arguments for the first stage.
#[derive(Debug, Args)]
pub(crate) struct FirstStageArgs {
    /// Folder of the index
    #[arg(long, value_name = "DIR", env = "LORANK_INDEX", required_unless_present = "first_stage")]
    index: Option<PathBuf>,
    #[command(flatten)]
    flags: FirstStageFlags,
}

impl FirstStageArgs {
    /// Opens the index, or the search engine. Does not connect to the latter.
    pub(crate) fn open(&self) -> anyhow::Result<ServedFirstStage> {
        match (engine(&self.flags)?, &self.index) {
            (Some(_), Some(_)) => Err(both()),
            (Some(engine), None) => Ok(ServedFirstStage::Elastic(Arc::new(engine))),
            (None, Some(dir)) => Ok(ServedFirstStage::Tantivy(Bm25FirstStage::new(Index::open(dir)?))),
            (None, None) => {
                Err(WrongUsage("--index DIR is missing; a search engine needs --first-stage elastic".to_owned()).into())
            }
        }
    }
}

/// The search engine of the flags, if the first stage is one.
pub(crate) fn engine(flags: &FirstStageFlags) -> anyhow::Result<Option<ElasticFirstStage>> {
    let config = flags.config()?;
    let is_given = config.elastic != lorank_server::ElasticSection::default();
    match config.first_stage {
        FirstStageKind::Elastic => Ok(Some(config.elastic.open(&environment::elastic_secrets()?)?)),
        FirstStageKind::Tantivy if is_given => {
            Err(WrongUsage("flags of --elastic-... need --first-stage elastic".to_owned()).into())
        }
        FirstStageKind::Tantivy => Ok(None),
    }
}

/// The error for two first stages.
pub(crate) fn both() -> anyhow::Error {
    let message = "--index cannot be used with --first-stage elastic, whose index is --elastic-index; unset LORANK_INDEX if it \
                   is set";
    WrongUsage(message.to_owned()).into()
}

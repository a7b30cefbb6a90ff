//! The data folder with adapters and experiments.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use lorank_server::{DataFolder, ServerConfig};

use crate::environment;
use crate::flags::DataFlag;

/// The data folder argument.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DataArgs {
    #[command(flatten)]
    data: DataFlag,
}

impl DataArgs {
    /// The named folder, or the user's default folder.
    pub(crate) fn folder(&self) -> anyhow::Result<DataFolder> {
        Ok(DataFolder::new(named_or_own(self.data.config()?.data)?))
    }
}

/// The configuration with the user's default data folder, unless it names one.
pub(crate) fn with_data(config: ServerConfig) -> anyhow::Result<ServerConfig> {
    let data = named_or_own(config.data.clone())?;
    Ok(ServerConfig { data: Some(data), ..config })
}

fn named_or_own(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let own = || environment::data_home().map(|home| home.join("lorank"));
    named.or_else(own).context("this user has no home folder for data; name a folder with --data")
}

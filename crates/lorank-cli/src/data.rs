//! The folder in which adapters and experiments are kept.

use anyhow::Context;
use clap::Args;
use lorank_server::{DataFolder, ServerConfig};

use crate::environment;
use crate::flags::DataFlag;

/// Where adapters and experiments are kept.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DataArgs {
    #[command(flatten)]
    data: DataFlag,
}

impl DataArgs {
    /// The folder that was named, or the user's own.
    pub(crate) fn folder(&self) -> anyhow::Result<DataFolder> {
        let config = with_data(self.data.config()?)?;
        config.data.map(DataFolder::new).context("a folder for data was just set")
    }
}

/// The configuration, with the user's own folder for data where it names none.
pub(crate) fn with_data(config: ServerConfig) -> anyhow::Result<ServerConfig> {
    if config.data.is_some() {
        return Ok(config);
    }
    let missing = "this user has no home folder to keep data in; name a folder with --data";
    let data = environment::data_home().context(missing)?.join("lorank");
    Ok(ServerConfig { data: Some(data), ..config })
}

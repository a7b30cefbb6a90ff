//! The data folder with adapters and experiments, and the database with experiments.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use lorank_server::{DataFolder, RegistrySettings, ServerConfig};

use crate::environment;
use crate::flags::{DataFlags, StoreFlags};

/// The arguments of the data folder and of the registry of adapters.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DataArgs {
    #[command(flatten)]
    data: DataFlags,
}

impl DataArgs {
    /// The named folder, or the user's default folder.
    pub(crate) fn folder(&self) -> anyhow::Result<DataFolder> {
        let config = self.data.config()?;
        let registry = RegistrySettings::of(&config, environment::registry_options());
        Ok(DataFolder::new(named_or_own(config.data)?).with_registry(registry))
    }
}

/// The arguments of the data folder and of the database with experiments, for commands that use experiments.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct StoreArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    store: StoreFlags,
}

impl StoreArgs {
    /// The named folder, or the user's default folder, with the database if one is given.
    pub(crate) fn folder(&self) -> anyhow::Result<DataFolder> {
        let ServerConfig { store, store_ca_file, .. } = self.store.config()?;
        if store.is_none() && store_ca_file.is_some() {
            return Err(lorank_server::Error::StoreCaWithoutUrl.into());
        }
        Ok(self.data.folder()?.with_store(store, store_ca_file))
    }
}

/// The configuration with the user's default data folder, unless it names one.
pub(crate) fn with_data(config: ServerConfig) -> anyhow::Result<ServerConfig> {
    let data = named_or_own(config.data.clone())?;
    Ok(ServerConfig { data: Some(data), ..config })
}

/// The data folder of commands that name none: that of the variable LORANK_DATA, else the user's default folder; `None` without a
/// home folder.
pub fn default_data() -> Option<DataFolder> {
    let named = std::env::var_os("LORANK_DATA").filter(|path| !path.is_empty());
    named_or_own(named.map(PathBuf::from)).ok().map(DataFolder::new)
}

fn named_or_own(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let own = || environment::data_home().map(|home| home.join("lorank"));
    named.or_else(own).context("this user has no home folder for data; name a folder with --data")
}

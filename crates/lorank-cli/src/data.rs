//! The folder in which adapters and experiments are kept.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use lorank_adapters::Registry;
use lorank_experiment_store::{ExperimentStore, StoreConfig};

use crate::environment;

/// Where adapters and experiments are kept.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct DataArgs {
    /// The folder of adapters and experiments [default: lorank in $XDG_DATA_HOME, or in ~/.local/share]
    #[arg(long = "data", value_name = "DIR", env = "LORANK_DATA", global = true)]
    pub dir: Option<PathBuf>,
}

/// The folder that was named, or the user's own. It need not be there yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DataFolder(PathBuf);

impl DataArgs {
    /// The folder.
    pub(crate) fn folder(&self) -> anyhow::Result<DataFolder> {
        let default = || environment::data_home().map(|home| home.join("lorank"));
        let missing = "this user has no home folder to keep data in; name a folder with --data";
        self.dir.clone().or_else(default).map(DataFolder).context(missing)
    }
}

impl DataFolder {
    /// The registry of adapters. A folder that is not there is an empty registry, and is made by the first change.
    pub(crate) fn registry(&self) -> anyhow::Result<Registry> {
        Ok(Registry::open(self.0.join("adapters"))?)
    }

    /// The store of experiments, which is made where it is not there.
    pub(crate) fn experiments(&self, config: StoreConfig) -> anyhow::Result<ExperimentStore> {
        Ok(ExperimentStore::open(&self.experiments_folder(), config)?)
    }

    /// The store of experiments, if there is one: whoever only reads leaves nothing behind.
    pub(crate) fn existing_experiments(&self) -> anyhow::Result<Option<ExperimentStore>> {
        let is_there = ExperimentStore::is_in(&self.experiments_folder());
        is_there.then(|| self.experiments(StoreConfig::default())).transpose()
    }

    /// How messages name it.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn experiments_folder(&self) -> PathBuf {
        self.0.join("experiments")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataArgs { dir: Some(folder.path().join("data")) }.folder().unwrap();
        assert_eq!(data.registry().unwrap().state().adapters().len(), 0);
        assert!(data.existing_experiments().unwrap().is_none());
        assert!(!data.path().exists());

        drop(data.experiments(StoreConfig::default()).unwrap());
        assert!(data.existing_experiments().unwrap().is_some());
    }
}

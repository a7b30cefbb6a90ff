//! The folder in which adapters and experiments are kept.

use std::path::{Path, PathBuf};

use lorank_adapters::Registry;
use lorank_experiment_store::{ExperimentStore, StoreConfig};

use crate::Error;

/// The folder in which adapters and experiments are kept. It need not be there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// The folder at a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The registry of adapters. A folder that is not there is an empty registry, and is made by the first change.
    ///
    /// # Errors
    /// A registry that cannot be read.
    pub fn registry(&self) -> Result<Registry, Error> {
        Ok(Registry::open(self.0.join("adapters"))?)
    }

    /// The store of experiments, which is made where it is not there.
    ///
    /// # Errors
    /// A store that cannot be opened or made.
    pub fn experiments(&self, config: StoreConfig) -> Result<ExperimentStore, Error> {
        Ok(ExperimentStore::open(&self.experiments_folder(), config)?)
    }

    /// The store of experiments, if there is one: whoever only reads leaves nothing behind.
    ///
    /// # Errors
    /// A store that cannot be opened.
    pub fn existing_experiments(&self) -> Result<Option<ExperimentStore>, Error> {
        let is_there = ExperimentStore::is_in(&self.experiments_folder());
        is_there.then(|| self.experiments(StoreConfig::default())).transpose()
    }

    /// The folder of the index that a server searches which is given no other.
    pub fn index(&self) -> PathBuf {
        self.0.join("index")
    }

    /// Its path.
    pub fn path(&self) -> &Path {
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
        let data = DataFolder::new(folder.path().join("data"));
        assert_eq!(data.registry().unwrap().state().adapters().len(), 0);
        assert!(data.existing_experiments().unwrap().is_none());
        assert!(!data.path().exists());

        drop(data.experiments(StoreConfig::default()).unwrap());
        assert!(data.existing_experiments().unwrap().is_some());
    }
}

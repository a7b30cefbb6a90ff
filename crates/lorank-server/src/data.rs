//! The data folder, which holds adapters and experiments.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lorank_adapters::Registry;
use lorank_experiment_store::{ExperimentStore, StoreConfig};
use lorank_pipeline::NamedRankBy;

use crate::Error;
use crate::alias_rank_by::AliasRankBys;

/// The data folder, which holds adapters and experiments. It need not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// The data folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Opens the registry of adapters. A missing folder is an empty registry; the first change creates it.
    ///
    /// # Errors
    /// The registry cannot be read.
    pub fn registry(&self) -> Result<Registry, Error> {
        Ok(Registry::open(self.0.join("adapters"))?)
    }

    /// Opens the store of experiments, and creates it if it does not exist.
    ///
    /// # Errors
    /// The store cannot be opened or created.
    pub fn experiments(&self, config: StoreConfig) -> Result<ExperimentStore, Error> {
        Ok(ExperimentStore::open(&self.experiments_folder(), config)?)
    }

    /// Opens the store of experiments if it exists. Commands that only read use this, so that they create no files.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub fn existing_experiments(&self) -> Result<Option<ExperimentStore>, Error> {
        let is_there = ExperimentStore::is_in(&self.experiments_folder());
        is_there.then(|| self.experiments(StoreConfig::default())).transpose()
    }

    /// What orders the answers of the registry's aliases, as it stands at each search.
    ///
    /// # Errors
    /// A registry that cannot be read.
    pub fn alias_rank_by(&self) -> Result<Arc<dyn NamedRankBy>, Error> {
        Ok(Arc::new(AliasRankBys(Arc::new(self.registry()?))))
    }

    /// The default folder of the index.
    pub fn index(&self) -> PathBuf {
        self.0.join("index")
    }

    /// The folder's path.
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

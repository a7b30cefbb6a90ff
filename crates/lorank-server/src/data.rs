//! The data folder, which holds adapters, experiments and measurements.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lorank_adapters::Registry;
use lorank_experiment_store::{ExperimentStore, StoreConfig};
use lorank_model::{Int8Ranking, Int8Rankings};
use lorank_pipeline::NamedRankBy;

use crate::Error;
use crate::alias_rank_by::AliasRankBys;

/// The data folder, which holds adapters, experiments and measurements. It need not exist yet.
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

    /// The measurements of how int8 ranks that were made on this machine. A file that cannot be read is left out, with a
    /// warning.
    pub fn int8_rankings(&self) -> Int8Rankings {
        let folder = self.int8_folder();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Int8Rankings::default(),
            Err(error) => {
                tracing::warn!("could not read `{}`, so int8's measurements do not count: {error}", folder.display());
                return Int8Rankings::default();
            }
            Ok(entries) => entries,
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        let read = |path: &PathBuf| {
            let ranking = fs::read(path).map_err(|error| error.to_string());
            let ranking = ranking.and_then(|json| serde_json::from_slice(&json).map_err(|error| error.to_string()));
            let warn = |why: &String| {
                let path = path.display();
                tracing::warn!("`{path}` does not count ({why}); `lorank bench --ranking` measures again");
            };
            ranking.inspect_err(warn).ok()
        };
        Int8Rankings::new(paths.iter().filter_map(read).collect())
    }

    /// Keeps a measurement of how int8 ranks, in place of an earlier one of the same model with the same vector
    /// instructions. Returns the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_int8_ranking(&self, ranking: &Int8Ranking) -> Result<PathBuf, Error> {
        let folder = self.int8_folder();
        let adapter = ranking.adapter_digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
        let (base, merged) = (ranking.base_digest, if ranking.merged { "-merged" } else { "" });
        let path = folder.join(format!("{base}-{adapter}{merged}-{}.json", ranking.instruction_set));
        let write = || {
            fs::create_dir_all(&folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            file.write_all(&serde_json::to_vec_pretty(ranking)?)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|source| Error::KeepInt8Ranking { path: path.clone(), source })?;
        Ok(path)
    }

    fn int8_folder(&self) -> PathBuf {
        self.0.join("int8")
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

//! The data folder, which holds adapters, measurements and, unless they are in a database, experiments.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lorank_adapters::Registry;
use lorank_experiment_store::{Copied, ExperimentStore, StoreConfig, StoreUrl};
use lorank_model::{Int8Ranking, Int8Rankings};
use lorank_pipeline::NamedRankBy;

use crate::Error;
use crate::alias_rank_by::AliasRankBys;
use crate::registry_settings::RegistrySettings;

/// The data folder, which holds adapters, measurements and, unless they are in a database, experiments. It need not exist
/// yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFolder {
    path: PathBuf,
    store: Option<(StoreUrl, Option<PathBuf>)>,
    registry: RegistrySettings,
}

impl DataFolder {
    /// The data folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), store: None, registry: RegistrySettings::default() }
    }

    /// The folder with its experiments in a database of PostgreSQL, if one is given, and with the file of the authorities
    /// that sign its certificate.
    #[must_use]
    pub fn with_store(self, store: Option<StoreUrl>, ca_file: Option<PathBuf>) -> Self {
        Self { store: store.map(|url| (url, ca_file)), ..self }
    }

    /// The folder with its registry of adapters in another place.
    #[must_use]
    pub fn with_registry(self, registry: RegistrySettings) -> Self {
        Self { registry, ..self }
    }

    /// Opens the registry of adapters for a command. A missing folder is an empty registry; the first change creates it.
    /// Of a registry in a store, the files of adapters are downloaded when they are needed.
    ///
    /// # Errors
    /// The registry cannot be read.
    pub fn registry(&self) -> Result<Registry, Error> {
        self.registry.view(&self.path)
    }

    /// Opens the registry of adapters for a server. Of a registry in a store, all adapters are downloaded first.
    ///
    /// # Errors
    /// The registry cannot be read, and there is no copy of it.
    pub fn served_registry(&self) -> Result<Registry, Error> {
        self.registry.follow(&self.path)
    }

    /// Opens the store of experiments, and creates it if it does not exist.
    ///
    /// # Errors
    /// The store cannot be opened or created.
    pub fn experiments(&self, config: StoreConfig) -> Result<ExperimentStore, Error> {
        match &self.store {
            None => Ok(ExperimentStore::open(&self.experiments_folder(), config)?),
            Some((url, ca_file)) => Ok(ExperimentStore::connect(url, read_ca(ca_file.as_deref())?.as_deref(), config)?),
        }
    }

    /// Opens the store of experiments if it exists. Commands that only read use this, so that they create no files.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub fn existing_experiments(&self) -> Result<Option<ExperimentStore>, Error> {
        let is_there = self.store.is_some() || ExperimentStore::is_in(&self.experiments_folder());
        is_there.then(|| self.experiments(StoreConfig::default())).transpose()
    }

    /// Copies the experiments in the folder into the database, with their records. `None` if the folder has none.
    ///
    /// # Errors
    /// No database is given, one of both fails, or the database has an experiment of the same name.
    pub fn copy_experiments(&self) -> Result<Option<Copied>, Error> {
        let (url, ca_file) = self.store.as_ref().ok_or(Error::NoStore)?;
        let folder = self.experiments_folder();
        if !ExperimentStore::is_in(&folder) {
            return Ok(None);
        }
        let file = ExperimentStore::open(&folder, StoreConfig::default())?;
        Ok(Some(file.copy_to(url, read_ca(ca_file.as_deref())?.as_deref())?))
    }

    /// Where the experiments are, for people.
    pub fn experiments_place(&self) -> String {
        self.store.as_ref().map_or_else(|| self.path.display().to_string(), |(url, _)| url.to_string())
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
        self.path.join("int8")
    }

    /// The default folder of the index.
    pub fn index(&self) -> PathBuf {
        self.path.join("index")
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn experiments_folder(&self) -> PathBuf {
        self.path.join("experiments")
    }
}

fn read_ca(path: Option<&Path>) -> Result<Option<Vec<u8>>, Error> {
    let read = |path: &Path| std::fs::read(path).map_err(|source| Error::StoreFile { path: path.to_owned(), source });
    path.map(read).transpose()
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

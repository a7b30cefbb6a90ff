//! Facts about an adapter, from its files alone.

use lorank_core::Digest;

use crate::files::{FileContents, Files};
use crate::peft::PeftConfig;
use crate::{ModelError, alone, lora};

/// An adapter as described by its files. The files are checked for consistency;
/// [`ModelReranker::add_adapter`](crate::ModelReranker::add_adapter) checks whether they fit a base model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterFacts {
    /// The base model that it was trained on, if the configuration names it.
    pub trained_on: Option<String>,
    /// Its rank, except for modules with a rank pattern.
    pub rank: usize,
    /// The target modules as in `adapter_config.json`: names, a regular expression, or `all-linear`.
    pub targets: Vec<String>,
    /// The number of parameters, from the header of its tensors.
    pub n_parameters: usize,
    /// The hash of its files, which identifies it in scores and caches.
    pub digest: Digest,
    /// Its files. A copy with the same file names has the same digest.
    pub files: Vec<AdapterFile>,
}

/// A file of an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterFile {
    /// The file name.
    pub name: &'static str,
    /// The file's contents.
    pub contents: FileContents,
}

impl AdapterFacts {
    /// Reads the configuration and the tensors, and checks them without a base model: complete updates with the
    /// configured ranks, finite numbers, no tensors of modules that the configuration does not name, and the named
    /// head.
    ///
    /// ```
    /// use lorank_model::{AdapterFacts, Files};
    ///
    /// # let folder = lorank_testing::fixture("tiny-bert/adapter-a");
    /// let facts = AdapterFacts::read(&Files::folder(folder)?)?;
    /// assert_eq!(facts.trained_on.as_deref(), Some("tiny-bert-fixture/base"));
    /// # Ok::<(), lorank_model::ModelError>(())
    /// ```
    ///
    /// # Errors
    /// A [`ModelError`] that describes why the files are not a valid adapter.
    pub fn read(files: &Files) -> Result<Self, ModelError> {
        let config = PeftConfig::read(files)?;
        let n_parameters = alone::check(files, &config)?;
        let file = |name| Ok(files.contents(name)?.map(|contents| AdapterFile { name, contents }));
        let present: Result<Vec<Option<AdapterFile>>, ModelError> =
            lora::file_names(files).into_iter().map(file).collect();
        Ok(Self {
            rank: config.rank,
            targets: config.targets_as_given(),
            n_parameters,
            digest: lora::digest(files)?,
            files: present?.into_iter().flatten().collect(),
            trained_on: config.trained_on,
        })
    }
}

#[cfg(test)]
mod tests {
    use lorank_testing::{changed_copy, edit_json, fixture, truncate};

    use super::*;
    use crate::{LoadOptions, ModelReranker};

    fn read(adapter: &str) -> AdapterFacts {
        AdapterFacts::read(&Files::folder(fixture(adapter)).unwrap()).unwrap()
    }

    /// The facts of a fixture's adapter with another `target_modules`.
    fn targets(given: serde_json::Value) -> Vec<String> {
        let folder = changed_copy("tiny-llama/adapter-a", |folder| {
            edit_json(folder, "adapter_config.json", |config| config["target_modules"] = given);
        });
        AdapterFacts::read(&Files::folder(folder.path()).unwrap()).unwrap().targets
    }

    #[test]
    fn facts_are_those_of_the_loaded_adapter() {
        for base in ["tiny-llama", "tiny-bert"] {
            let files = Files::folder(fixture(&format!("{base}/base"))).unwrap();
            let reranker = ModelReranker::load(&files, LoadOptions::default()).unwrap();
            for adapter in ["adapter-a", "adapter-b"] {
                let files = Files::folder(fixture(&format!("{base}/{adapter}"))).unwrap();
                let loaded = reranker.add_adapter(adapter.parse().unwrap(), &files).unwrap();
                let facts = AdapterFacts::read(&files).unwrap();
                assert_eq!(
                    (facts.trained_on, facts.rank, facts.n_parameters, facts.digest),
                    (loaded.trained_on, loaded.rank, loaded.n_parameters, loaded.version.digest),
                    "{base}/{adapter}"
                );
            }
        }
    }

    #[test]
    fn targets_are_as_the_file_has_them() {
        let names = ["v_proj", "q_proj", "up_proj", "k_proj", "o_proj", "gate_proj", "down_proj"];
        assert_eq!(targets(serde_json::json!(names)), names);
        assert_eq!(targets(serde_json::json!("all-linear")), ["all-linear"]);
        assert_eq!(targets(serde_json::json!(".*[a-z]_proj")), [".*[a-z]_proj"]);
    }

    #[test]
    fn a_copy_of_its_files_is_the_same_adapter() {
        let names = |facts: &AdapterFacts| facts.files.iter().map(|file| file.name).collect::<Vec<_>>();
        let facts = read("tiny-llama/adapter-a");
        assert_eq!(names(&facts), ["adapter_config.json", "adapter_model.safetensors"]);
        assert_eq!(names(&read("smollm2/adapter"))[2], "lorank.json");

        let copy = tempfile::tempdir().unwrap();
        for file in &facts.files {
            let FileContents::Path(path) = &file.contents else { panic!("a folder's files are paths") };
            std::fs::copy(path, copy.path().join(file.name)).unwrap();
        }
        assert_eq!(AdapterFacts::read(&Files::folder(copy.path()).unwrap()).unwrap().digest, facts.digest);
    }

    #[test]
    fn the_starters_adapters_have_facts() {
        for adapter in lorank_starter::adapters() {
            let files = Files::embedded(adapter.id, adapter.files.iter().map(|file| (file.name, file.bytes)));
            let facts = AdapterFacts::read(&files).unwrap();
            let is_embedded = |file: &AdapterFile| matches!(file.contents, FileContents::Bytes(_));
            assert!(facts.n_parameters > 0 && facts.files.iter().all(is_embedded), "{}", adapter.id);
        }
    }

    #[test]
    fn what_is_no_adapter_is_refused() {
        let error = |change: &dyn Fn(&std::path::Path)| {
            let folder = changed_copy("tiny-llama/adapter-a", change);
            AdapterFacts::read(&Files::folder(folder.path()).unwrap()).unwrap_err().to_string()
        };
        let without = |file: &'static str| error(&|folder| std::fs::remove_file(folder.join(file)).unwrap());
        assert!(without("adapter_config.json").contains("has no `adapter_config.json`"));
        assert!(without("adapter_model.safetensors").contains("has no `adapter_model.safetensors`"));
        let pickled = error(&|folder| {
            let weights = folder.join("adapter_model.safetensors");
            std::fs::rename(weights, folder.join("adapter_model.bin")).unwrap();
        });
        assert!(pickled.contains("pickle"), "{pickled}");
        let cut = error(&|folder| truncate(folder, "adapter_model.safetensors", 100));
        assert!(cut.contains("is not a valid safetensors file"), "{cut}");
    }
}

//! Finds base models and adapters (built in, in a folder, on the hub) and loads them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use lorank_adapters::{Registry, RegistryError};
use lorank_core::{AdapterId, Digest};
use lorank_model::{
    BaseModels, BaseToName, Files, ForwardPass, GpuOptions, Hub, HubRepository, Int8Rankings, LoadOptions, ModelError,
    ModelReranker, NamedBase, Source,
};

use crate::config::ModelSection;
use crate::per_model::PerModel;
use crate::source::{AdapterSpec, BaseSpec, ModelSource};
use crate::{Error, starter};

/// Finds and loads models. By default, access to the hub is disabled and no progress is reported.
#[derive(Clone, Default)]
pub struct ModelLoader {
    /// The hub. If `None`, a model on the hub is an error.
    pub hub: Option<Hub>,
    /// A registry whose adapters and aliases can be named, after built-in names and folders.
    pub registry: Option<Arc<Registry>>,
    /// Measurements of how int8 ranks, by which the precision `auto` decides.
    pub int8_rankings: Int8Rankings,
    /// Where a GPU's libraries are, besides the system's folders, and where its compiled kernels are kept.
    pub gpu: GpuOptions,
    /// Called with the progress of loading, on the loading thread.
    pub on_event: Option<OnLoadEvent>,
}

/// A callback for the progress of loading.
pub type OnLoadEvent = Arc<dyn Fn(&LoadEvent<'_>) + Send + Sync>;

/// The progress of loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadEvent<'a> {
    /// A repository is being looked up on the hub.
    AskingHub {
        /// `owner/name`.
        repository: &'a str,
    },
    /// A file of a repository is being downloaded.
    Fetching {
        /// `owner/name`.
        repository: &'a str,
        /// The file name.
        file: &'a str,
        /// The number of bytes downloaded so far.
        n_bytes_done: u64,
        /// The file size, in bytes.
        n_bytes: u64,
    },
    /// All files are available, and are being loaded.
    Loading,
    /// An adapter was merged into a copy of the base model's weights.
    Merged {
        /// The adapter id.
        adapter: &'a AdapterId,
        /// The memory of the copy, in bytes.
        n_bytes: usize,
    },
}

/// Loaded base models with their adapters.
#[derive(Debug)]
pub struct LoadedModels {
    /// The base models with their adapters.
    pub bases: BaseModels,
    /// The ids of the adapters, or names of bare base models, in the given order; `None` is the bare default base model.
    pub adapters: Vec<Option<AdapterId>>,
}

impl LoadedModels {
    /// What ranks: the adapters in the given order, or the bare base models if none was given. Of several base models, the
    /// default one has its name, too.
    pub fn rankers(&self) -> Vec<Option<AdapterId>> {
        let named = |base: &NamedBase| base.name().parse().ok();
        match (self.adapters.is_empty(), self.bases.is_one()) {
            (false, _) => self.adapters.clone(),
            (true, true) => vec![None],
            (true, false) => self.bases.iter().map(named).collect(),
        }
    }

    /// Loads an adapter on its base model, to check that it fits: on the one with the digest, else the one that it is for.
    /// Returns the place of the base model.
    ///
    /// # Errors
    /// The adapter fits none of the base models, or several of them.
    pub fn fit(&self, id: &AdapterId, files: &Files, base_digest: Option<&Digest>) -> Result<usize, Error> {
        let failed = |source: ModelError| Error::LoadAdapter { source: source.into() };
        let recorded = base_digest.and_then(|digest| self.bases.place_of_digest(digest));
        let place = recorded.map_or_else(|| self.bases.place_for(id, files), Ok).map_err(failed)?;
        self.bases.at(place).reranker().add_adapter(id.clone(), files).map_err(failed)?;
        Ok(place)
    }

    /// The first adapter given, or `None` for the bare base model if none was given.
    pub fn default_adapter(&self) -> Option<AdapterId> {
        self.adapters.first().cloned().flatten()
    }
}

/// An adapter's files and their source.
#[derive(Debug)]
pub struct FoundAdapter {
    /// The files.
    pub files: Files,
    /// `starter:NAME`, a folder's absolute path, or `hf://owner/name`.
    pub source: String,
    /// The commit, for an adapter from the hub.
    pub revision: Option<String>,
}

impl ModelSection {
    /// The base models of the section, or the built-in one if the section sets none; at least one.
    ///
    /// # Errors
    /// The section sets no base model, and the build has no built-in one.
    pub fn base_specs(&self) -> Result<Vec<BaseSpec>, Error> {
        let starter = || starter::BASE.map(|name| ModelSource::Word(name.to_owned()).into());
        match self.base.is_empty() {
            true => Ok(vec![starter().ok_or(Error::NoBaseModel)?]),
            false => Ok(self.base.clone()),
        }
    }

    /// The section with all other built-in adapters added if the built-in base model is one of its base models. If the
    /// section names no adapter, the bare base model stays the default.
    #[must_use]
    pub fn with_starter_adapters(mut self) -> Self {
        let is_starter =
            |base: &BaseSpec| matches!(&base.source, ModelSource::Word(word) if starter::base(word).is_some());
        if self.base_specs().is_ok_and(|bases| bases.iter().any(is_starter)) {
            let more: Vec<AdapterSpec> = starter::adapter_names().into_iter().map(AdapterSpec::of_starter).collect();
            let is_new = |spec: &AdapterSpec| self.adapters.iter().all(|given| given.given_id() != spec.given_id());
            let more: Vec<AdapterSpec> = more.into_iter().filter(is_new).collect();
            if self.adapters.is_empty() {
                self.adapters.push(AdapterSpec::None);
            }
            self.adapters.extend(more);
        }
        self
    }

    /// The options of a base model.
    fn load_options(&self, base: &BaseSpec, pass: ForwardPass) -> LoadOptions {
        let is_base = |name: &AdapterId| base.goes_by(name.as_str());
        let of_base = |lengths: &PerModel<usize>| lengths.own(is_base).copied().or(lengths.all);
        LoadOptions {
            device: self.device.clone(),
            precision: self.precision.own(is_base).copied().or(self.precision.all).unwrap_or_default(),
            adapter_precisions: self.precision.named.iter().cloned().collect(),
            max_length: self.max_length.as_ref().and_then(of_base),
            other_base: self.on_base_mismatch.into(),
            tokens_max: self.tokens_max,
            pass,
            ..LoadOptions::default()
        }
    }

    /// Sets the size of rayon's global pool. Only the first call in a process, before the pool is used, has an effect.
    fn start_threads(&self) {
        let Some(threads) = self.threads else { return };
        if let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global() {
            tracing::debug!("the thread pool exists already and keeps its size: {error}");
        }
    }
}

impl ModelLoader {
    /// Loads the base models and the adapters of a section.
    ///
    /// # Errors
    /// Files that are missing or cannot be used, two adapters with the same id, or an adapter to merge that is not
    /// loaded.
    pub fn load(&self, section: &ModelSection) -> Result<LoadedModels, Error> {
        let pass = if section.reference { ForwardPass::Reference } else { ForwardPass::Fast };
        self.load_with(section, pass)
    }

    /// Loads the base models and the adapters of a section for training: [`ModelReranker::trainable`] gives the model.
    ///
    /// # Errors
    /// As [`load`](Self::load); also a device or precision that training does not support.
    pub fn load_for_training(&self, section: &ModelSection) -> Result<LoadedModels, Error> {
        let pass = if section.reference { ForwardPass::TrainReference } else { ForwardPass::Train };
        self.load_with(section, pass)
    }

    fn load_with(&self, section: &ModelSection, pass: ForwardPass) -> Result<LoadedModels, Error> {
        section.start_threads();
        let specs = section.base_specs()?;
        if let Some(name) =
            section.max_length.iter().flat_map(PerModel::names).find(|name| !BaseSpec::one_goes_by(&specs, name))
        {
            return Err(Error::UnknownMaxLength { name: name.clone() });
        }
        let bases = self.load_bases(&specs, section, pass)?;
        let mut adapters: Vec<Option<AdapterId>> = Vec::new();
        for spec in &section.adapters {
            let adapter = self.load_spec(&bases, spec, &section.merge)?;
            if let Some(id) = adapter.as_ref().filter(|id| adapters.contains(&Some((*id).clone()))) {
                return Err(Error::DuplicateAdapter { id: id.clone() });
            }
            adapters.push(adapter);
        }
        if let Some(id) = section.merge.iter().find(|id| bases.place_of_adapter(id).is_none()) {
            return Err(Error::UnknownMerge { id: id.clone() });
        }
        self.check_precisions(section, &specs, &bases)?;
        for base in bases.iter() {
            let reranker = base.reranker();
            tracing::info!(
                base_model = base.name(),
                device = reranker.device(),
                engine = reranker.engine(),
                precision = %reranker.precision(),
                n_adapters = reranker.adapters().len(),
                "loaded"
            );
        }
        Ok(LoadedModels { bases, adapters })
    }

    /// Checks that each named precision is that of a base model or an adapter. An adapter may be added to a registry later.
    fn check_precisions(&self, section: &ModelSection, specs: &[BaseSpec], bases: &BaseModels) -> Result<(), Error> {
        let state = self.registry.as_ref().map(|registry| registry.state());
        let is_registered =
            |name: &AdapterId| state.iter().any(|state| state.adapters().any(|entry| entry.id == *name));
        let is_known = |name: &AdapterId| {
            BaseSpec::one_goes_by(specs, name) || bases.place_of_adapter(name).is_some() || is_registered(name)
        };
        for name in section.precision.names().filter(|name| !is_known(name)) {
            if state.is_none() {
                return Err(Error::UnknownPrecision { name: name.clone() });
            }
            tracing::warn!("the precision of `{name}` has no effect until the registry has an adapter with this id");
        }
        Ok(())
    }

    fn load_bases(&self, specs: &[BaseSpec], section: &ModelSection, pass: ForwardPass) -> Result<BaseModels, Error> {
        let mut bases = Vec::with_capacity(specs.len());
        for spec in specs {
            if let Some(name) = spec.name.as_ref().filter(|name| RESERVED.contains(&name.as_str())) {
                return Err(Error::ReservedBaseName { name: name.clone() });
            }
            let files = self.find(&spec.source, Kind::Base)?;
            self.report(LoadEvent::Loading);
            let (int8_rankings, gpu) = (self.int8_rankings.clone(), self.gpu.clone());
            let options = LoadOptions { int8_rankings, gpu, ..section.load_options(spec, pass) };
            let reranker =
                ModelReranker::load(&files, options).map_err(|source| Error::LoadBase { source: source.into() })?;
            bases.push(BaseToName { given: spec.name.clone(), also: spec.names_of_source(), reranker });
        }
        BaseModels::new(bases).map_err(|source| Error::Bases { source: source.into() })
    }

    /// Loads one more adapter on its base model, and returns its id; `None` for the bare base model.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn add_adapter(&self, bases: &BaseModels, spec: &AdapterSpec) -> Result<Option<AdapterId>, Error> {
        self.load_spec(bases, spec, &[])
    }

    /// Loads an adapter on its base model, and returns its id; the name of a bare base model is returned as it is.
    fn load_spec(
        &self,
        bases: &BaseModels,
        spec: &AdapterSpec,
        merge: &[AdapterId],
    ) -> Result<Option<AdapterId>, Error> {
        let AdapterSpec::Adapter { id, base, source } = spec else { return Ok(None) };
        // With one base model, a word is never its name, because `none` is.
        let is_base = |name: &AdapterId| !bases.is_one() && bases.place_of_name(name).is_some();
        if let (None, ModelSource::Word(word)) = (id, source)
            && let Some(name) = word.parse().ok().filter(is_base)
        {
            return Ok(Some(name));
        }
        let files = self.find(source, Kind::Adapter)?;
        let id = id.clone().map_or_else(|| id_of(files.name()), Ok)?;
        if ["none", "first-stage"].contains(&id.as_str()) {
            return Err(Error::ReservedAdapter { id });
        }
        if is_base(&id) {
            return Err(Error::AdapterNamedAsBase { id });
        }
        // An adapter of this name on another base model is a duplicate, too.
        if bases.place_of_adapter(&id).is_some() {
            return Err(Error::DuplicateAdapter { id });
        }
        let place = match base {
            Some(base) => bases.place_named(base),
            None => bases.place_for(&id, &files),
        };
        let place = place.map_err(|source| Error::LoadAdapter { source: source.into() })?;
        self.load_adapter(bases.at(place).reranker(), &id, &files, merge.contains(&id))?;
        Ok(Some(id))
    }

    fn load_adapter(&self, reranker: &ModelReranker, id: &AdapterId, files: &Files, merge: bool) -> Result<(), Error> {
        if merge {
            let summary = reranker
                .add_merged_adapter(id.clone(), files)
                .map_err(|source| Error::MergeAdapter { source: source.into() })?;
            let n_bytes = summary.merged_bytes.unwrap_or_default();
            self.report(LoadEvent::Merged { adapter: id, n_bytes });
        } else {
            reranker.add_adapter(id.clone(), files).map_err(|source| Error::LoadAdapter { source: source.into() })?;
        }
        Ok(())
    }

    /// Finds an adapter's files, and downloads them from the hub if necessary.
    ///
    /// # Errors
    /// The files cannot be found.
    pub fn find_adapter(&self, source: &ModelSource) -> Result<FoundAdapter, Error> {
        let files = self.find(source, Kind::Adapter)?;
        let folder = files.path();
        let (source, revision) = match (source, folder) {
            // Files from the hub are in a folder named after their commit.
            (ModelSource::Source(Source::Hub(repository)), Some(folder)) => {
                let commit = folder.file_name().map(|name| name.to_string_lossy().into_owned());
                (format!("hf://{}", repository.name()), commit)
            }
            (_, Some(folder)) => {
                let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
                (whole.display().to_string(), None)
            }
            (_, None) => (format!("starter:{}", files.name()), None),
        };
        Ok(FoundAdapter { files, source, revision })
    }

    fn find(&self, source: &ModelSource, kind: Kind) -> Result<Files, Error> {
        match source {
            ModelSource::Word(word) => match kind {
                Kind::Base => starter::base(word),
                Kind::Adapter => starter::adapter(word),
            }
            .map_or_else(|| self.named(word, kind), Ok),
            ModelSource::Source(Source::Folder(path)) => Files::folder(path).map_err(|source| not_there(path, source)),
            ModelSource::Source(Source::Hub(repository)) => self.fetch(repository, kind),
        }
    }

    /// The files of the folder `word`, else of the registry's adapter `word`.
    fn named(&self, word: &str, kind: Kind) -> Result<Files, Error> {
        let no_folder = match Files::folder(word) {
            Ok(files) => return Ok(files),
            Err(error) => error,
        };
        let registry = self.registry.as_ref().filter(|_| matches!(kind, Kind::Adapter));
        let state = registry.map(|registry| (registry, registry.state()));
        if let Some((registry, state)) = &state
            && let Ok(name) = word.parse::<AdapterId>()
        {
            match state.resolve(&name) {
                Ok(entry) => return Ok(Files::folder(registry.fetch(entry)?)?.with_name(word)),
                Err(RegistryError::IsBaseAlias { name, base }) => return Err(Error::BaseAlias { alias: name, base }),
                Err(_) => {}
            }
        }
        let starter = match kind {
            Kind::Base => starter::BASE.into_iter().map(str::to_owned).collect(),
            Kind::Adapter => starter::adapter_names().into_iter().map(str::to_owned).collect(),
        };
        let registered = state.map_or_else(Vec::new, |(_, state)| {
            let ids = state.adapters().map(|entry| entry.id.to_string());
            ids.chain(state.aliases().map(|(name, _)| name.to_string())).collect()
        });
        Err(Error::UnknownWord { word: word.to_owned(), starter, registered, source: no_folder.into() })
    }

    fn fetch(&self, repository: &HubRepository, kind: Kind) -> Result<Files, Error> {
        let hub = self.hub.as_ref().ok_or_else(|| Error::NoHub { repository: repository.to_string() })?;
        let name = repository.name();
        self.report(LoadEvent::AskingHub { repository: name });
        let on_progress = |file: &str, n_bytes_done: u64, n_bytes: u64| {
            self.report(LoadEvent::Fetching { repository: name, file, n_bytes_done, n_bytes });
        };
        let folder = match kind {
            Kind::Base => hub.fetch_base(repository, &on_progress)?,
            Kind::Adapter => hub.fetch_adapter(repository, &on_progress)?,
        };
        self.report(LoadEvent::Loading);
        Ok(Files::folder(folder)?.with_name(name))
    }

    fn report(&self, event: LoadEvent<'_>) {
        if let Some(on_event) = &self.on_event {
            on_event(&event);
        }
    }
}

impl fmt::Debug for ModelLoader {
    /// Omits the hub's token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelLoader").field("has_hub", &self.hub.is_some()).finish_non_exhaustive()
    }
}

/// The names that no base model can have.
const RESERVED: [&str; 3] = ["none", "first-stage", "default"];

#[derive(Clone, Copy)]
enum Kind {
    Base,
    Adapter,
}

/// The error for a missing folder. A name that looks like a repository on the hub gets a hint.
fn not_there(path: &Path, source: ModelError) -> Error {
    let text = path.to_string_lossy();
    let hub = format!("hf://{text}");
    let is_name = !text.starts_with(['.', '/', '~']) && text.matches('/').count() == 1 && hub.parse::<Source>().is_ok();
    if is_name && !path.exists() { Error::LikeHub { hub, source: source.into() } } else { source.into() }
}

/// An adapter id from the name of a folder or repository.
fn id_of(name: &str) -> Result<AdapterId, Error> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let plain: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
    let id = plain.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    id.parse().map_err(|_| Error::UnnamedAdapter { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use lorank_core::Reranker as _;

    use super::*;

    #[test]
    #[cfg(feature = "starter")]
    fn the_starter_brings_its_adapters() {
        let names = |base: Option<&str>, adapters: &[&str]| {
            let section = ModelSection {
                base: base.iter().map(|base| base.parse().unwrap()).collect(),
                adapters: adapters.iter().map(|text| text.parse().unwrap()).collect(),
                ..ModelSection::default()
            };
            let all = section.with_starter_adapters().adapters;
            all.iter().map(|spec| spec.given_id().unwrap_or("none").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(None, &[]), ["none", "minilm-qa", "minilm-science"]);
        assert_eq!(names(Some("minilm"), &["minilm-science"]), ["minilm-science", "minilm-qa"]);
        assert_eq!(names(None, &["minilm-qa=./mine"]), ["minilm-qa", "minilm-science"]);
        assert_eq!(names(Some("./other"), &["qa=./mine"]), ["qa"]);
    }

    #[test]
    fn names_make_ids() {
        for (name, id) in [("owner/dear-3b", "dear-3b"), ("my adapter", "my-adapter"), ("_v1", "v1")] {
            assert_eq!(id_of(name).unwrap().as_str(), id);
        }
        assert!(id_of("東京").is_err());
    }

    #[test]
    fn a_section_that_cannot_be_loaded_is_refused() {
        let base = lorank_testing::fixture("tiny-bert/base").display().to_string();
        let adapter = lorank_testing::fixture("tiny-bert/adapter-a").display().to_string();
        let check = |adapters: &[String], merge: &[&str], part: &str| {
            let section = ModelSection {
                base: vec![base.parse().unwrap()],
                adapters: adapters.iter().map(|text| text.parse().unwrap()).collect(),
                merge: merge.iter().map(|id| id.parse().unwrap()).collect(),
                ..ModelSection::default()
            };
            let error = ModelLoader::default().load(&section).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(&[format!("qa={adapter}"), format!("qa={adapter}")], &[], "two adapters have the id `qa`");
        check(&[format!("qa={adapter}")], &["other"], "cannot merge adapter `other`");
        for word in ["none", "first-stage"] {
            check(&[format!("{word}={adapter}")], &[], &format!("`{word}` is reserved"));
        }
        check(&["hf://owner/name".to_owned()], &[], "`hf://owner/name@main` is on the hub");
        check(&["owner/name".to_owned()], &[], "write `hf://owner/name`");
        check(&["minilm-qaa".to_owned()], &[], "`minilm-qaa` is neither a folder");
    }

    #[test]
    fn models_may_have_their_own_precision_and_length() {
        let base = lorank_testing::fixture("tiny-bert/base").display().to_string();
        let adapter = lorank_testing::fixture("tiny-bert/adapter-a").display().to_string();
        let section = |precision: &str, max_length: &str| ModelSection {
            base: vec![format!("wide={base}").parse().unwrap()],
            adapters: vec!["none".parse().unwrap(), format!("qa={adapter}").parse().unwrap()],
            precision: precision.parse().unwrap(),
            max_length: Some(max_length.parse().unwrap()),
            ..ModelSection::default()
        };
        let loaded = |precision: &str, max_length: &str| {
            let models = ModelLoader::default().load(&section(precision, max_length)).unwrap();
            let names: [Option<AdapterId>; 2] = [None, Some("qa".parse().unwrap())];
            let precisions = names.map(|name| models.bases.resolve(name.as_ref()).unwrap().precision.name());
            (precisions, models.bases.first().base().max_length)
        };
        assert_eq!(loaded("bf16", "20"), (["bf16", "bf16"], 20));
        assert_eq!(loaded("bf16,wide=f32", "20,wide=24"), (["f32", "f32"], 24));
        assert_eq!(loaded("bf16,qa=f32", "24"), (["bf16", "f32"], 24));
        assert_eq!(loaded("wide=int8,qa=f32", "wide=24"), (["int8", "f32"], 24));
        let refused = |precision: &str, max_length: &str| {
            ModelLoader::default().load(&section(precision, max_length)).unwrap_err().to_string()
        };
        let error = refused("qaa=f32", "24");
        assert!(error.contains("`qaa`, which is neither a base model nor an adapter"), "{error}");
        let error = refused("auto", "qa=24");
        assert!(error.contains("`qa`, which is not the name of a base model"), "{error}");
    }
}

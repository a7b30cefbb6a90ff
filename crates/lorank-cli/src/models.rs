//! Which base model and which adapters, and where they come from.

use std::num::NonZeroUsize;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use lorank_core::{AdapterId, ModelVersion, Reranker};
use lorank_model::{
    DeviceChoice, Files, ForwardPass, Hub, HubRepository, LoadOptions, ModelError, ModelReranker, OtherBase,
    PrecisionChoice, Source,
};

use crate::output::progress;
use crate::{environment, starter};

/// The base model and how it runs.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Model options")]
pub(crate) struct ModelArgs {
    /// The base model: a starter's name, a folder, or hf://owner/name[@revision] [default: the starter, minilm]
    #[arg(long, value_name = "BASE", env = "LORANK_BASE")]
    pub base: Option<Place>,
    /// Where the model runs: auto, cpu, cuda:N or metal [default: auto]
    #[arg(long, value_name = "DEVICE", env = "LORANK_DEVICE")]
    pub device: Option<DeviceChoice>,
    /// The arithmetic: auto, f32, bf16 or int8 [default: auto, the fastest whose ranking holds: int8 on a CPU, f32 elsewhere]
    #[arg(long, value_name = "PRECISION", env = "LORANK_PRECISION")]
    pub precision: Option<PrecisionChoice>,
    /// The most tokens of a query and a document together [default: the adapter's or the model's own]
    #[arg(long, value_name = "N", env = "LORANK_MAX_LENGTH")]
    pub max_length: Option<usize>,
    /// What to do with an adapter that was trained on another base model [default: warn]
    #[arg(long, value_name = "ACTION", env = "LORANK_ON_BASE_MISMATCH", value_enum)]
    pub on_base_mismatch: Option<OnBaseMismatch>,
    /// The most tokens that go through the model at once; no score depends on it [default: 256 for each thread of a CPU, 16384 on a GPU]
    #[arg(long, value_name = "N", env = "LORANK_TOKENS_MAX")]
    pub tokens_max: Option<NonZeroUsize>,
    /// How many threads compute [default: one a core]
    #[arg(long, value_name = "N", env = "LORANK_THREADS")]
    pub threads: Option<NonZeroUsize>,
    /// Merge this adapter into a copy of the base model's weights: as fast as the bare base, for the memory of the copy;
    /// repeatable
    #[arg(long, value_name = "ID", env = "LORANK_MERGE", value_delimiter = ',')]
    pub merge: Vec<AdapterId>,
    /// Compute with the reference pass: exact, one pair at a time, slow
    #[arg(long)]
    pub reference: bool,
}

/// What to do with an adapter for another base model, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnBaseMismatch {
    /// Load it if its shapes fit, and warn
    Warn,
    /// Refuse it
    Refuse,
}

/// Where a base model or an adapter is: in the starter, in a folder, or on the hub.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Place {
    /// A bare word that the starter may know; else a folder.
    Word(String),
    Source(Source),
}

impl FromStr for Place {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let is_word = !text.is_empty() && !text.contains(['/', '\\']);
        if is_word { Ok(Self::Word(text.to_owned())) } else { text.parse().map(Self::Source) }
    }
}

/// An adapter's files, and where they came from.
pub(crate) struct Found {
    pub files: Files,
    /// `starter:NAME`, a folder's whole path, or `hf://owner/name`.
    pub source: String,
    /// The commit, where it is one of the hub's.
    pub revision: Option<String>,
}

impl Place {
    /// Brings an adapter's files to hand, from the hub where need be.
    pub(crate) fn find_adapter(&self, is_quiet: bool) -> anyhow::Result<Found> {
        let mut finder = Finder { progress: progress::spinner("finding the adapter", is_quiet), hub: None };
        let files = finder.find(self, Kind::Adapter)?;
        finder.progress.finish_and_clear();
        let folder = files.path();
        let (source, revision) = match (self, folder) {
            // What the hub gave lies in a folder that is called by its commit.
            (Self::Source(Source::Hub(repository)), Some(folder)) => {
                let commit = folder.file_name().map(|name| name.to_string_lossy().into_owned());
                (format!("hf://{}", repository.name()), commit)
            }
            (_, Some(folder)) => {
                let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
                (whole.display().to_string(), None)
            }
            (_, None) => (format!("starter:{}", files.name()), None),
        };
        Ok(Found { files, source, revision })
    }
}

/// An adapter to load: `[ID=]SOURCE`, or `none` for the bare base model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AdapterArg {
    None,
    Adapter { id: Option<AdapterId>, place: Place },
}

impl FromStr for AdapterArg {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        if text == "none" {
            return Ok(Self::None);
        }
        // A path may hold `=` too; what stands before it is an id only if it can be one.
        let named = text.split_once('=').and_then(|(id, place)| Some((id.parse().ok()?, place)));
        let (id, place) = named.map_or((None, text), |(id, place)| (Some(id), place));
        Ok(Self::Adapter { id, place: place.parse()? })
    }
}

impl AdapterArg {
    fn of_starter(name: &str) -> Self {
        Self::Adapter { id: None, place: Place::Word(name.to_owned()) }
    }

    /// The name under which it is loaded, as far as it shows before it is loaded.
    fn given_id(&self) -> Option<&str> {
        match self {
            Self::Adapter { id: Some(id), .. } => Some(id.as_str()),
            Self::Adapter { id: None, place: Place::Word(word) } => Some(word),
            _ => None,
        }
    }
}

impl ModelArgs {
    fn load_options(&self) -> LoadOptions {
        LoadOptions {
            device: self.device.unwrap_or_default(),
            precision: self.precision.unwrap_or_default(),
            max_length: self.max_length,
            other_base: match self.on_base_mismatch.unwrap_or(OnBaseMismatch::Warn) {
                OnBaseMismatch::Warn => OtherBase::Warn,
                OnBaseMismatch::Refuse => OtherBase::Refuse,
            },
            tokens_max: self.tokens_max,
            pass: if self.reference { ForwardPass::Reference } else { ForwardPass::Fast },
        }
    }

    /// Starts as many threads as were asked for. Only the first call has an effect, and nothing has computed before it.
    fn start_threads(&self) {
        let Some(threads) = self.threads else { return };
        if let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global() {
            tracing::debug!("the number of threads stays: {error}");
        }
    }

    fn base(&self) -> anyhow::Result<Place> {
        let starter = || starter::BASE.map(|name| Place::Word(name.to_owned()));
        self.base.clone().or_else(starter).context("this build carries no base model, so name one with --base")
    }

    /// The adapters, and where the base model is the starter's, all of the starter's adapters that are not among them.
    /// Where none was named, the bare base model stays the default.
    pub(crate) fn with_starter_adapters(&self, adapters: &[AdapterArg]) -> Vec<AdapterArg> {
        let mut all = adapters.to_vec();
        if matches!(self.base(), Ok(Place::Word(word)) if starter::base(&word).is_some()) {
            if all.is_empty() {
                all.push(AdapterArg::None);
            }
            let more = starter::adapter_names().into_iter().map(AdapterArg::of_starter);
            all.extend(more.filter(|one| adapters.iter().all(|given| given.given_id() != one.given_id())));
        }
        all
    }

    /// Loads the base model and the adapters; the id of each, in their order, `None` for the bare base.
    pub(crate) fn load(&self, adapters: &[AdapterArg], is_quiet: bool) -> anyhow::Result<Models> {
        self.start_threads();
        let progress = progress::spinner("loading the model", is_quiet);
        let mut finder = Finder { progress, hub: None };
        let files = finder.find(&self.base()?, Kind::Base)?;
        let reranker = ModelReranker::load(&files, self.load_options()).context("could not load the base model")?;
        let mut ids: Vec<Option<AdapterId>> = Vec::new();
        for adapter in adapters {
            let AdapterArg::Adapter { id, place } = adapter else {
                ids.push(None);
                continue;
            };
            let files = finder.find(place, Kind::Adapter)?;
            let id = id.clone().map_or_else(|| id_of(files.name()), Ok)?;
            if ids.contains(&Some(id.clone())) {
                bail!("two adapters are named `{id}`; tell them apart with `--adapter ID=SOURCE`");
            }
            if self.merge.contains(&id) {
                let summary = reranker.add_merged_adapter(id.clone(), &files).context("could not merge the adapter")?;
                let n_bytes = indicatif::HumanBytes(summary.merged_bytes.unwrap_or_default() as u64);
                if !is_quiet {
                    finder
                        .progress
                        .suspend(|| eprintln!("`{id}` is merged into a copy of the weights: {n_bytes} of memory"));
                }
            } else {
                reranker.add_adapter(id.clone(), &files).context("could not load the adapter")?;
            }
            ids.push(Some(id));
        }
        finder.progress.finish_and_clear();
        if let Some(id) = self.merge.iter().find(|id| !ids.contains(&Some((*id).clone()))) {
            bail!("`--merge {id}` names no adapter that is loaded; load it with `--adapter`");
        }
        let base = reranker.base();
        tracing::info!(
            base_model = base.name,
            device = reranker.device(),
            engine = reranker.engine(),
            precision = %reranker.precision(),
            n_adapters = reranker.adapters().len(),
            "loaded"
        );
        Ok(Models { reranker, adapters: ids })
    }
}

/// A loaded base model with its adapters.
pub(crate) struct Models {
    pub reranker: ModelReranker,
    /// The adapters in the order they were given; `None` is the bare base model.
    pub adapters: Vec<Option<AdapterId>>,
}

impl Models {
    /// The adapter that was given first; the bare base model where none was.
    pub(crate) fn default_adapter(&self) -> Option<AdapterId> {
        self.adapters.first().cloned().flatten()
    }

    /// The exact model of the default adapter.
    pub(crate) fn resolve_default(&self) -> anyhow::Result<ModelVersion> {
        self.reranker.resolve(self.default_adapter().as_ref()).map_err(|error| anyhow!(error))
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Base,
    Adapter,
}

/// Brings the files of a place to hand, from the hub where need be.
struct Finder {
    progress: ProgressBar,
    hub: Option<Hub>,
}

impl Finder {
    fn find(&mut self, place: &Place, kind: Kind) -> anyhow::Result<Files> {
        match place {
            Place::Word(word) => match kind {
                Kind::Base => starter::base(word),
                Kind::Adapter => starter::adapter(word),
            }
            .map_or_else(|| folder_named(word, kind), Ok),
            Place::Source(Source::Folder(path)) => Ok(Files::folder(path)?),
            Place::Source(Source::Hub(repository)) => self.fetch(repository, kind),
        }
    }

    fn fetch(&mut self, repository: &HubRepository, kind: Kind) -> anyhow::Result<Files> {
        let hub = self.hub.get_or_insert_with(environment::hub);
        self.progress.set_message(format!("asking the hub for {}", repository.name()));
        let report = |file: &str, done: u64, total: u64| {
            let (done, total) = (indicatif::HumanBytes(done), indicatif::HumanBytes(total));
            self.progress.set_message(format!("fetching {file} of {}: {done} of {total}", repository.name()));
        };
        let folder = match kind {
            Kind::Base => hub.fetch_base(repository, &report)?,
            Kind::Adapter => hub.fetch_adapter(repository, &report)?,
        };
        self.progress.set_message("loading the model");
        Ok(Files::folder(folder)?.with_name(repository.name()))
    }
}

fn folder_named(word: &str, kind: Kind) -> anyhow::Result<Files> {
    let known = match kind {
        Kind::Base => starter::BASE.into_iter().collect(),
        Kind::Adapter => starter::adapter_names(),
    };
    Files::folder(word).with_context(|| match known.as_slice() {
        [] => format!("`{word}` is no folder, and this build has no starter"),
        known => format!("`{word}` is neither a folder nor one of the starter's ({})", known.join(", ")),
    })
}

/// An id made of a folder's or a repository's name.
fn id_of(name: &str) -> anyhow::Result<AdapterId> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let plain: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
    let id = plain.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    id.parse().with_context(|| format!("the name `{name}` makes no adapter id; give one with `--adapter ID=SOURCE`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, id: Option<&str>, place: &str) {
        let id = id.map(|id| id.parse().unwrap());
        let expected = AdapterArg::Adapter { id, place: place.parse().unwrap() };
        assert_eq!(text.parse::<AdapterArg>().unwrap(), expected, "{text}");
    }

    #[test]
    fn adapters_are_named_or_not() {
        assert_eq!("none".parse::<AdapterArg>().unwrap(), AdapterArg::None);
        check("minilm-qa", None, "minilm-qa");
        check("qa=adapters/mine", Some("qa"), "adapters/mine");
        check("qa=hf://owner/name@v1", Some("qa"), "hf://owner/name@v1");
        check("./lr=2e-5", None, "./lr=2e-5");
        assert!("qa=hf://name".parse::<AdapterArg>().is_err());
        assert!("".parse::<AdapterArg>().is_err());
    }

    #[test]
    #[cfg(feature = "starter")]
    fn the_starter_brings_its_adapters() {
        let names = |base: Option<&str>, adapters: &[&str]| {
            let args = ModelArgs { base: base.map(|base| base.parse().unwrap()), ..ModelArgs::default() };
            let adapters: Vec<AdapterArg> = adapters.iter().map(|text| text.parse().unwrap()).collect();
            let all = args.with_starter_adapters(&adapters);
            all.iter().map(|one| one.given_id().unwrap_or("none").to_owned()).collect::<Vec<_>>()
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
}

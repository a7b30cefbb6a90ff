//! Sources of model folders: a path, or a repository on the Hugging Face Hub.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use crate::ModelError;
use crate::files::{Files, is_gguf};
use crate::lorank_file::LORANK_FILE;
use crate::weights::{SHARD_INDEX, ShardIndex};
use crate::{tokenize, tokenizer_config};

/// A model source in text form: a folder's path, or `hf://owner/name[@revision]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder.
    Folder(PathBuf),
    /// A repository on the hub.
    Hub(HubRepository),
}

/// A repository on the hub at a revision (a branch, tag or commit).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRepository {
    name: String,
    revision: String,
}

impl HubRepository {
    /// `owner/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn at(&self, revision: &str) -> Repo {
        Repo::with_revision(self.name.clone(), RepoType::Model, revision.to_owned())
    }
}

impl fmt::Display for HubRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}@{}", self.name, self.revision)
    }
}

impl FromStr for Source {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let error = || ModelError::Source { found: text.to_owned() };
        let Some(repository) = text.strip_prefix("hf://") else {
            return if text.is_empty() || text.contains("://") { Err(error()) } else { Ok(Self::Folder(text.into())) };
        };
        let (name, revision) = repository.split_once('@').unwrap_or((repository, "main"));
        let is_part = |part: &str| {
            let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
            plain && !part.is_empty() && !part.starts_with('.')
        };
        let is_name = name.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name));
        if !is_name || !revision.split('/').all(is_part) {
            return Err(error());
        }
        Ok(Self::Hub(HubRepository { name: name.to_owned(), revision: revision.to_owned() }))
    }
}

/// Access to the hub. The library does not read environment variables; programs pass the values.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The cache folder, in the layout of Python's `huggingface_hub` (`HF_HOME/hub`).
    pub cache: PathBuf,
    /// The access token for gated and private repositories (`HF_TOKEN`).
    pub token: Option<String>,
    /// Another server than the public hub (`HF_ENDPOINT`).
    pub endpoint: Option<String>,
    /// Use cached files only, without network access (`HF_HUB_OFFLINE`).
    pub offline: bool,
}

/// Called during downloads with the file name, the bytes downloaded so far, and the file size in bytes.
pub type OnProgress<'a> = &'a dyn Fn(&str, u64, u64);

/// The kind of a folder, which decides on its required files.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Base,
    Adapter,
}

const SINGLE_FILE: &str = "model.safetensors";

impl Hub {
    /// The local folder of a base model, downloaded if necessary.
    ///
    /// # Errors
    /// [`ModelError::Hub`] with the file that could not be downloaded; [`ModelError::PickleRefused`] for a repository
    /// with its weights as pickles only.
    pub fn fetch_base(&self, repository: &HubRepository, on_progress: OnProgress<'_>) -> Result<PathBuf, ModelError> {
        self.fetch(repository, Kind::Base, on_progress)
    }

    /// The local folder of an adapter, downloaded if necessary.
    ///
    /// # Errors
    /// As [`fetch_base`](Self::fetch_base).
    pub fn fetch_adapter(
        &self,
        repository: &HubRepository,
        on_progress: OnProgress<'_>,
    ) -> Result<PathBuf, ModelError> {
        self.fetch(repository, Kind::Adapter, on_progress)
    }

    fn fetch(
        &self,
        repository: &HubRepository,
        kind: Kind,
        on_progress: OnProgress<'_>,
    ) -> Result<PathBuf, ModelError> {
        let cached =
            self.cached(repository).ok_or("config.json").and_then(|folder| kind.complete(&folder).map(|()| folder));
        match cached {
            Ok(folder) => Ok(folder),
            Err(missing) if self.offline => Err(ModelError::Hub {
                repository: repository.to_string(),
                file: missing.to_owned(),
                hint: "it is not in the cache, and access to the hub is disabled (HF_HUB_OFFLINE)",
                source: None,
            }),
            Err(_) => self.download(repository, kind, on_progress),
        }
    }

    /// The cached snapshot of the revision.
    fn cached(&self, repository: &HubRepository) -> Option<PathBuf> {
        let folder = self.cache.join(repository.at("main").folder_name());
        let commit = std::fs::read_to_string(folder.join("refs").join(&repository.revision));
        // A commit needs no reference to it.
        let commit = commit.unwrap_or_else(|_| repository.revision.clone());
        Some(folder.join("snapshots").join(commit.trim())).filter(|snapshot| snapshot.is_dir())
    }

    /// Downloads missing files, all at the revision's current commit.
    fn download(
        &self,
        repository: &HubRepository,
        kind: Kind,
        on_progress: OnProgress<'_>,
    ) -> Result<PathBuf, ModelError> {
        let failed = |file: &str, source: ApiError| ModelError::Hub {
            repository: repository.to_string(),
            file: file.to_owned(),
            hint: hint(&source),
            source: Some(source),
        };
        let cache = std::path::absolute(&self.cache).unwrap_or_else(|_| self.cache.clone());
        let cache = Cache::new(cache);
        let api = self.api(&cache).map_err(|source| failed("", source))?;
        let info = api
            .repo(repository.at(&repository.revision))
            .info()
            .map_err(|source| failed("the list of files", source))?;
        let offered: BTreeSet<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
        let pinned = repository.at(&info.sha);
        let get = |file: &str| match cache.repo(pinned.clone()).get(file) {
            Some(path) => Ok(path),
            None => download_file(&api, pinned.clone(), file, on_progress).map_err(|source| failed(file, source)),
        };
        let mut files = kind.wanted(&offered, repository)?;
        if files.contains(SHARD_INDEX) {
            files.extend(get(SHARD_INDEX)?.parent().map(shards).transpose()?.unwrap_or_default());
        }
        let mut folder = None;
        for file in &files {
            folder = get(file)?.parent().map(Path::to_owned);
        }
        // Lets the next start find the commit by the revision's name, even offline.
        cache
            .repo(repository.at(&repository.revision))
            .create_ref(&info.sha)
            .map_err(|error| failed("refs", error.into()))?;
        Ok(folder.expect("every kind has a required file, and every file is in a folder"))
    }

    fn api(&self, cache: &Cache) -> Result<Api, ApiError> {
        let builder =
            ApiBuilder::from_cache(cache.clone()).with_progress(false).with_retries(3).with_token(self.token.clone());
        match &self.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint.trim_end_matches('/').to_owned()).build(),
            None => builder.build(),
        }
    }
}

impl Kind {
    /// The files to download, of those in the repository.
    fn wanted(self, offered: &BTreeSet<String>, repository: &HubRepository) -> Result<BTreeSet<String>, ModelError> {
        let required: &[&str] = match self {
            Self::Base => &["config.json", tokenize::TOKENIZER_FILE],
            Self::Adapter => &["adapter_config.json"],
        };
        // An adapter may have its own tokenizer.
        let optional = [tokenize::TOKENIZER_FILE, LORANK_FILE].into_iter().chain(tokenizer_config::FILES);
        let weights = match self {
            Self::Base if offered.contains(SHARD_INDEX) && !offered.contains(SINGLE_FILE) => SHARD_INDEX,
            Self::Base => SINGLE_FILE,
            Self::Adapter => "adapter_model.safetensors",
        };
        let gguf = offered.iter().find(|file| is_gguf(file));
        if let (false, Some(file)) = (offered.contains(weights), gguf) {
            return Err(ModelError::GgufRefused { folder: repository.to_string(), file: file.clone() });
        }
        let pickle = offered.iter().find(|file| file.ends_with(".bin"));
        if let (false, Some(file)) = (offered.contains(weights), pickle) {
            return Err(ModelError::PickleRefused { folder: repository.to_string(), file: file.clone() });
        }
        let optional = optional.filter(|file| offered.contains(*file));
        let modules =
            offered.iter().filter(|file| matches!(self, Self::Base) && is_of_module(file)).map(String::as_str);
        Ok(required.iter().copied().chain(optional).chain(modules).chain([weights]).map(str::to_owned).collect())
    }

    /// Checks that a folder has all required files; the error is a missing file.
    fn complete(self, folder: &Path) -> Result<(), &'static str> {
        let has = |file: &str| folder.join(file).is_file();
        let required: &[&'static str] = match self {
            Self::Base => &["config.json", "tokenizer.json"],
            Self::Adapter => &["adapter_config.json", "adapter_model.safetensors"],
        };
        if let Some(missing) = required.iter().find(|file| !has(file)) {
            return Err(missing);
        }
        let whole = match self {
            Self::Adapter => true,
            Self::Base if has(SINGLE_FILE) => true,
            Self::Base => shards(folder).is_ok_and(|shards| shards.iter().all(|shard| has(shard))),
        };
        if whole { Ok(()) } else { Err(SINGLE_FILE) }
    }
}

/// Whether a file belongs to a module of sentence-transformers: `2_Dense/config.json` or `2_Dense/model.safetensors`.
fn is_of_module(file: &str) -> bool {
    let Some((folder, name)) = file.split_once('/') else { return false };
    let is_numbered = folder.split_once('_').is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    is_numbered && ["config.json", SINGLE_FILE].contains(&name)
}

/// The files in a folder's shard index.
fn shards(folder: &Path) -> Result<BTreeSet<String>, ModelError> {
    let files = Files::folder(folder)?;
    files.read_json::<ShardIndex>(SHARD_INDEX)?.map_or_else(|| Ok(BTreeSet::new()), |index| index.shards(files.name()))
}

fn download_file(api: &Api, repo: Repo, file: &str, on_progress: OnProgress<'_>) -> Result<PathBuf, ApiError> {
    let total = Cell::new(0);
    let path = api
        .repo(repo)
        .download_with_progress(file, Forward { on_progress, file: file.to_owned(), done: 0, total: &total })?;
    // A connection that closes early looks like the end of the file.
    let found = std::fs::metadata(&path)?.len();
    if found != total.get() {
        if let Ok(blob) = path.canonicalize() {
            let _ = std::fs::remove_file(blob);
        }
        let _ = std::fs::remove_file(&path);
        let message = format!("received {found} of {} bytes", total.get());
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, message).into());
    }
    Ok(path)
}

/// Reports the progress of one file.
struct Forward<'a> {
    on_progress: OnProgress<'a>,
    file: String,
    done: u64,
    total: &'a Cell<u64>,
}

impl Progress for Forward<'_> {
    fn init(&mut self, size: usize, _filename: &str) {
        self.done = 0;
        self.total.set(size as u64);
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        (self.on_progress)(&self.file, self.done, self.total.get());
    }

    fn finish(&mut self) {}
}

fn hint(error: &ApiError) -> &'static str {
    let text = error.to_string();
    if text.contains("401") || text.contains("403") {
        "the repository is gated or private: request access and set HF_TOKEN"
    } else if text.contains("404") {
        "check the repository's name, revision and files"
    } else {
        "check the network, or use a local folder"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_paths_or_repositories() {
        let hub =
            |name: &str, revision: &str| Source::Hub(HubRepository { name: name.into(), revision: revision.into() });
        let check = |text: &str, expected: Source| assert_eq!(text.parse::<Source>().unwrap(), expected);
        check("models/llama", Source::Folder("models/llama".into()));
        check("/a b/c@d", Source::Folder("/a b/c@d".into()));
        check("hf://owner/name", hub("owner/name", "main"));
        check("hf://owner/na.me-1@refs/pr/2", hub("owner/na.me-1", "refs/pr/2"));
        for bad in [
            "",
            "hf://",
            "hf://name",
            "hf://a/b/c",
            "hf://a/b@",
            "hf://../b",
            "hf://a/..",
            "hf://a/b@../../x",
            "https://a/b",
        ] {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }
}

//! The configuration file, `lorank.toml`. Flags and the environment win over it; what it leaves out has a default.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use lorank_core::AdapterId;
use lorank_http::{HttpConfig, Key, Role};
use lorank_model::{DeviceChoice, PrecisionChoice};
use lorank_pipeline::PipelineConfig;
use serde::{Deserialize, Deserializer};

use crate::host::AllowedSource;
use crate::limits::{LimitArgs, ServerSection};
use crate::models::{AdapterArg, ModelArgs, OnBaseMismatch, Place};
use crate::shadows::ShadowArg;

/// The file as it is written. `examples/lorank.toml` explains each value.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConfigFile {
    pub index: Option<PathBuf>,
    pub data: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    #[serde(deserialize_with = "all_parsed")]
    pub adapter_sources: Vec<AllowedSource>,
    pub model: ModelSection,
    pub search: SearchSection,
    pub cache: CacheSection,
    pub queue: QueueSection,
    pub server: ServerSection,
    #[serde(deserialize_with = "aliases")]
    pub aliases: BTreeMap<AdapterId, AdapterId>,
    #[serde(deserialize_with = "all_parsed")]
    pub shadows: Vec<ShadowArg>,
    pub keys: Vec<KeySection>,
}

/// A key that a server knows.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeySection {
    name: String,
    #[serde(deserialize_with = "one_parsed")]
    role: Role,
    hash: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ModelSection {
    #[serde(deserialize_with = "some_parsed")]
    base: Option<Place>,
    #[serde(deserialize_with = "all_parsed")]
    pub adapters: Vec<AdapterArg>,
    #[serde(deserialize_with = "some_parsed")]
    device: Option<DeviceChoice>,
    #[serde(deserialize_with = "some_parsed")]
    precision: Option<PrecisionChoice>,
    max_length: Option<usize>,
    on_base_mismatch: Option<OnBaseMismatch>,
    tokens_max: Option<NonZeroUsize>,
    threads: Option<NonZeroUsize>,
    #[serde(deserialize_with = "all_parsed")]
    merge: Vec<AdapterId>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SearchSection {
    depth: Option<NonZeroUsize>,
    depth_max: Option<NonZeroUsize>,
    top_k: Option<NonZeroUsize>,
    page_end_max: Option<NonZeroUsize>,
    query_bytes_max: Option<usize>,
    deadline_millis: Option<u64>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CacheSection {
    entries_max: Option<usize>,
    bytes_max: Option<usize>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueueSection {
    requests_max: Option<NonZeroUsize>,
    pairs_max: Option<NonZeroUsize>,
    tokens_max: Option<NonZeroUsize>,
    wait_micros: Option<u64>,
}

impl ConfigFile {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
        toml::from_str(&text).with_context(|| format!("`{}` is not a configuration of lorank", path.display()))
    }

    /// The pipeline's configuration as the file and the defaults have it.
    pub(crate) fn pipeline(&self) -> PipelineConfig {
        let mut config = PipelineConfig { aliases: self.aliases.clone(), ..PipelineConfig::default() };
        set(&mut config.depth, self.search.depth);
        set(&mut config.depth_max, self.search.depth_max);
        set(&mut config.top_k, self.search.top_k);
        set(&mut config.page_end_max, self.search.page_end_max);
        set(&mut config.query_bytes_max, self.search.query_bytes_max);
        set(&mut config.cache.entries_max, self.cache.entries_max);
        set(&mut config.cache.bytes_max, self.cache.bytes_max);
        set(&mut config.queue_max, self.queue.requests_max);
        set(&mut config.queue_pairs_max, self.queue.pairs_max);
        set(&mut config.tokens_max, self.queue.tokens_max);
        set(&mut config.wait_micros, self.queue.wait_micros);
        config.deadline = self.search.deadline_millis.map(Duration::from_millis);
        config
    }

    /// The server's configuration as the flags, the file and the defaults have it.
    pub(crate) fn server(&self, flags: &LimitArgs) -> anyhow::Result<HttpConfig> {
        let mut config = self.server.under(flags).config();
        let key = |key: &KeySection| {
            Key::new(&key.name, key.role, &key.hash).map_err(|why| anyhow!("the key `{}`: {why}", key.name))
        };
        config.access.keys = self.keys.iter().map(key).collect::<anyhow::Result<_>>()?;
        Ok(config)
    }
}

impl ModelSection {
    /// The flags, and the file's values where there are none.
    pub(crate) fn under(&self, flags: &ModelArgs) -> ModelArgs {
        ModelArgs {
            base: flags.base.clone().or_else(|| self.base.clone()),
            device: flags.device.or(self.device),
            precision: flags.precision.or(self.precision),
            max_length: flags.max_length.or(self.max_length),
            on_base_mismatch: flags.on_base_mismatch.or(self.on_base_mismatch),
            tokens_max: flags.tokens_max.or(self.tokens_max),
            threads: flags.threads.or(self.threads),
            merge: if flags.merge.is_empty() { self.merge.clone() } else { flags.merge.clone() },
            reference: flags.reference,
        }
    }
}

pub(crate) fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn parsed<T: FromStr<Err: Display>, E: serde::de::Error>(text: &str) -> Result<T, E> {
    text.parse().map_err(E::custom)
}

fn one_parsed<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    parsed(&String::deserialize(deserializer)?)
}

fn some_parsed<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    parsed(&String::deserialize(deserializer)?).map(Some)
}

pub(crate) fn all_parsed<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Vec::<String>::deserialize(deserializer)?.iter().map(|text| parsed(text)).collect()
}

fn aliases<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<AdapterId, AdapterId>, D::Error> {
    let aliases = BTreeMap::<String, String>::deserialize(deserializer)?;
    aliases.iter().map(|(alias, adapter)| Ok((parsed(alias)?, parsed(adapter)?))).collect()
}

#[cfg(test)]
mod tests {
    use lorank_registry_reranker::RegistryReranker;

    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn the_example_says_what_the_defaults_are() {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/lorank.toml");
        let file = ConfigFile::read(Path::new(example)).unwrap();
        // `Debug` stands in for an equality that the configuration has no other use for.
        let without_aliases = PipelineConfig { aliases: BTreeMap::new(), ..file.pipeline() };
        assert_eq!(format!("{without_aliases:?}"), format!("{:?}", PipelineConfig::default()));
        assert_eq!(file.server(&LimitArgs::default()).unwrap(), HttpConfig::default());
        assert_eq!(file.server.adapter_bytes_max, Some(RegistryReranker::BYTES_MAX));
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = parse("[model]\nbase = 'minilm'\ndevice = 'cpu'\nmax_length = 64").unwrap();
        let flags = ModelArgs { base: Some("./other".parse().unwrap()), ..ModelArgs::default() };
        let merged = file.model.under(&flags);
        assert_eq!(merged.base, flags.base);
        assert_eq!((merged.device, merged.max_length), (Some(DeviceChoice::Cpu), Some(64)));
    }

    #[test]
    fn what_the_file_cannot_say_is_refused() {
        for (text, part_of_why) in [
            ("indx = 'a'", "unknown field `indx`"),
            ("[search]\ndepth = 0", "nonzero"),
            ("[model]\ndevice = 'gpu'", "`gpu` is not a device"),
            ("[model]\nprecision = 'fp8'", "`fp8` is not a precision"),
            ("[model]\nadapters = ['hf://x']", "`hf://x` is not a model source"),
            ("[aliases]\n'a b' = 'x'", "`a b` is not an adapter id"),
            ("shadows = ['qa:2']", "give a share above 0 and up to 1"),
            ("[[keys]]\nname = 'x'\nrole = 'root'\nhash = ''", "`root` is not a role"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part_of_why), "{why}");
        }
    }
}

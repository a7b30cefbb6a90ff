//! The configuration of a server: plain data, and the form of the file `lorank.toml` at the same time.
//!
//! Each setting is declared here once, and nowhere else: see [`settings!`](crate::settings). What it is called by the crate that
//! it is for, [`ServerConfig::pipeline`] and [`ServerConfig::http`] say.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lorank_core::AdapterId;
use lorank_http::{Access, AllowedHost, ConnectionLimits, CorsOrigin, HttpConfig, Key};
use lorank_model::{DeviceChoice, PrecisionChoice};
use lorank_pipeline::{CacheConfig, PipelineConfig, RankBy};
use lorank_registry_reranker::RegistryReranker;
use serde_json::Value;

use crate::allowed_source::AllowedSource;
use crate::index_spec::IndexSpec;
use crate::settings::{Setting, settings};
use crate::shadow::ShadowSpec;
use crate::source::{AdapterSpec, ModelSource, OnBaseMismatch};
use crate::text;

settings! {
    /// The configuration of a server. As a file it is TOML, and `examples/lorank.toml` explains each key; what a file leaves out
    /// has the default.
    ///
    /// A folder for data has to be named.
    pub struct ServerConfig, keys "" {
        /// The folder of an index, with a name where it is not `default`: each is served below `/v1/indexes/NAME`, `default` at
        /// `/v1/search` and `/v1/documents` too; repeatable. One that is not there is made, without documents
        #[serde(with = "text::one_or_list")]
        index: Vec<IndexSpec> = Vec::new(), flag "index" "[NAME=]DIR", unset "index in the folder of data";
        /// The folder of adapters and experiments
        data: Option<PathBuf> = None, flag "data" "DIR", unset "lorank in $XDG_DATA_HOME, or in ~/.local/share";
        /// The address to listen on; port 0 takes a free port
        listen: SocketAddr = default_listen(), flag "listen" "ADDRESS";
        /// Where adapters may be added from over HTTP: a folder and all below it, hf:// or hf://owner; repeatable. By default
        /// nowhere
        #[serde(with = "text::list")]
        adapter_sources: Vec<AllowedSource> = Vec::new(), flag "adapter-source" "SOURCE";
        /// Rank a share of the answers once more with this adapter, unseen, when the model has nothing else to do, and record
        /// how far the rankings agree (GET /v1/shadows); repeatable
        #[serde(with = "text::list")]
        shadows: Vec<ShadowSpec> = Vec::new(), flag "shadow" "ADAPTER[:SHARE]";
        /// Listen beyond this machine without keys, where something else keeps strangers out
        no_keys: bool = false, flag "no-keys" "";
        /// Other names for adapters
        #[serde(with = "text::map")]
        aliases: BTreeMap<AdapterId, AdapterId> = BTreeMap::new(), unset "none";
        /// The keys of clients, each with a name, a role and the hash of its text
        #[serde(with = "text::keys")]
        keys: Vec<Key> = Vec::new(), unset "none", live true;
    }
    sections {
        /// The base model and its adapters.
        model: ModelSection,
        /// What a search gets, and the most that it may ask for.
        search: SearchSection,
        /// The score cache.
        cache: CacheSection,
        /// The queue before the model.
        queue: QueueSection,
        /// The limits on clients.
        server: ServerSection,
    }
}

settings! {
    /// The base model, its adapters, and how they run.
    pub struct ModelSection, keys "model." {
        /// The base model: a starter's name, a folder, or `hf://owner/name[@revision]`
        #[serde(with = "text::option")]
        base: Option<ModelSource> = None, flag "base" "BASE", unset "the starter, minilm, where the build has it";
        /// An adapter: a starter's name, a folder, or `hf://owner/name[@revision]`; repeatable. The first one answers requests
        /// that name none; none is the bare base model
        #[serde(with = "text::list")]
        adapters: Vec<AdapterSpec> = Vec::new(), flag "adapter" "[ID=]ADAPTER";
        /// Where the model runs: auto, cpu, cuda:N or metal
        #[serde(with = "text")]
        device: DeviceChoice = DeviceChoice::default(), flag "device" "DEVICE";
        /// The arithmetic: auto, f32, bf16 or int8; auto is the fastest whose ranking holds (on a CPU int8 for a BERT,
        /// bf16 or f32 for a Llama; on a GPU bf16 or f32), and `lorank info` says why
        #[serde(with = "text")]
        precision: PrecisionChoice = PrecisionChoice::default(), flag "precision" "PRECISION";
        /// The most tokens of a query and a document together
        max_length: Option<usize> = None, flag "max-length" "N", unset "the adapter's or the model's own";
        /// What to do with an adapter that was trained on another base model: warn or refuse
        #[serde(with = "text")]
        on_base_mismatch: OnBaseMismatch = OnBaseMismatch::default(), flag "on-base-mismatch" "ACTION";
        /// The most tokens that go through the model at once; no score depends on it
        tokens_max: Option<NonZeroUsize> = None, flag "tokens-max" "N",
            unset "256 for each thread of a CPU, 16384 on a GPU";
        /// The number of threads that compute
        threads: Option<NonZeroUsize> = None, flag "threads" "N", unset "one a core";
        /// Merge this adapter into a copy of the base model's weights: as fast as the bare base, for the memory of the copy;
        /// repeatable
        #[serde(with = "text::list")]
        merge: Vec<AdapterId> = Vec::new(), flag "merge" "ID";
        /// Compute with the reference pass: exact, one pair at a time, slow
        reference: bool = false, flag "reference" "";
    }
}

settings! {
    /// What a search gets that does not say otherwise, and the most that it may ask for.
    pub struct SearchSection, keys "search." {
        /// How many candidates are reranked
        depth: NonZeroUsize = PipelineConfig::default().depth, flag "depth" "N";
        /// The largest depth that a request may ask for
        depth_max: NonZeroUsize = PipelineConfig::default().depth_max;
        /// How many hits are returned
        top_k: NonZeroUsize = PipelineConfig::default().top_k, flag "top-k" "N";
        /// Order reranked candidates by this expression and not by their rerank scores, as in
        /// `sigmoid(rerank_score) * exp_decay(age_days(published), 30)`; a request's `rank_by`, `blend_weight` or `sort` wins
        #[serde(with = "text::option")]
        rank_by: Option<RankBy> = None, flag "rank-by" "EXPRESSION", unset "none: rerank scores order";
        /// The same for requests that are ranked by an adapter or alias of this name; `default` is for those that name none
        #[serde(with = "text::map")]
        rank_by_adapter: BTreeMap<AdapterId, RankBy> = BTreeMap::new(), unset "none";
        /// The largest offset + top_k that a request may ask for
        page_end_max: NonZeroUsize = PipelineConfig::default().page_end_max;
        /// The longest query, in bytes
        query_bytes_max: usize = PipelineConfig::default().query_bytes_max;
        /// Answer in first-stage order where a request takes longer than this
        deadline_millis: Option<u64> = PipelineConfig::default().deadline.map(millis), flag "deadline-millis" "N",
            unset "none: requests wait";
    }
}

settings! {
    /// The score cache. The smaller limit counts; zero switches the cache off.
    pub struct CacheSection, keys "cache." {
        /// The most scores
        entries_max: usize = PipelineConfig::default().cache.entries_max;
        /// The most memory, in bytes
        bytes_max: usize = PipelineConfig::default().cache.bytes_max;
    }
}

settings! {
    /// The queue before the model.
    pub struct QueueSection, keys "queue." {
        /// How many requests may wait for the model; one more is answered with status 429
        requests_max: NonZeroUsize = PipelineConfig::default().queue_max, flag "queue-max" "N";
        /// How many pairs of query and document may wait for the model, over all requests
        pairs_max: NonZeroUsize = PipelineConfig::default().queue_pairs_max;
        /// How many tokens the model gets at most at once, from all the requests that wait
        tokens_max: Option<NonZeroUsize> = None, flag "batch-tokens-max" "N",
            unset "4096 on a CPU, 16384 on a GPU";
        /// How many microseconds an idle model waits, once a request has come, for others to fill its batch
        wait_micros: u64 = PipelineConfig::default().wait_micros, flag "wait-micros" "N";
        /// Refuse a request at once that would miss its deadline at the measured tokens per second
        admits_by_estimate: bool = PipelineConfig::default().admits_by_estimate;
    }
}

settings! {
    /// The limits on clients. All but the memory of adapters can change while the server runs.
    pub struct ServerSection, keys "server." {
        /// How many searches may run at once; one more is answered with status 429
        n_searches_max: NonZeroUsize = HttpConfig::default().n_searches_max, flag "n-searches-max" "N", live true;
        /// The longest body of a request
        body_bytes_max: usize = HttpConfig::default().body_bytes_max, flag "body-bytes-max" "BYTES", live true;
        /// The most bytes that the bodies of all requests may have together, and at most an eighth of the memory; one beyond is
        /// answered with status 429
        bodies_bytes_max: usize = HttpConfig::default().bodies_bytes_max, flag "bodies-bytes-max" "BYTES", live true;
        /// The most documents in a rerank request
        n_documents_max: NonZeroUsize = HttpConfig::default().n_documents_max, flag "n-documents-max" "N", live true;
        /// The longest body of documents to add
        bulk_bytes_max: usize = HttpConfig::default().bulk_bytes_max, flag "bulk-bytes-max" "BYTES", live true;
        /// The time for a client to send a body of documents to add, in milliseconds
        bulk_read_millis: u64 = millis(HttpConfig::default().bulk_read), flag "bulk-read-millis" "N", live true;
        /// The fewest bytes per second of such a body, once the time for other bodies is over; 0 for no least rate
        bulk_rate_min: usize = HttpConfig::default().bulk_rate_min, flag "bulk-rate-min" "BYTES", live true;
        /// The most documents in a body of documents to add
        bulk_lines_max: NonZeroUsize = HttpConfig::default().bulk_lines_max, flag "bulk-lines-max" "N", live true;
        /// How many changes of documents may run at once; one more is answered with status 429
        n_changes_max: NonZeroUsize = HttpConfig::default().n_changes_max, flag "n-changes-max" "N", live true;
        /// How many connections may be open; a new one closes the one that has waited longest for its client
        n_connections_max: NonZeroUsize = ConnectionLimits::default().n_connections_max,
            flag "n-connections-max" "N", live true;
        /// The time for a client to send the head of a request, in milliseconds
        header_read_millis: u64 = millis(ConnectionLimits::default().header_read),
            flag "header-read-millis" "N", live true;
        /// The time for a client to send a body, in milliseconds
        body_read_millis: u64 = millis(HttpConfig::default().body_read), flag "body-read-millis" "N", live true;
        /// The time for which a client may read nothing of its answer, in milliseconds
        write_millis: u64 = millis(ConnectionLimits::default().write), flag "write-millis" "N", live true;
        /// The time for which a connection is kept open for the next request, in milliseconds
        keep_alive_millis: u64 = millis(ConnectionLimits::default().keep_alive),
            flag "keep-alive-millis" "N", live true;
        /// The time for requests to finish at shutdown, before they are cut off, in milliseconds
        shutdown_millis: u64 = millis(ConnectionLimits::default().shutdown), flag "shutdown-millis" "N", live true;
        /// An origin whose pages may read answers in a browser, as in `https://shop.example`, or *; repeatable. By default none
        #[serde(with = "text::list")]
        cors_origins: Vec<CorsOrigin> = HttpConfig::default().cors_origins, flag "cors-origin" "ORIGIN", live true;
        /// A host by which clients may address a server without keys, beside localhost and the address that it listens on: a
        /// name or an address without a port, or *; repeatable
        #[serde(with = "text::list")]
        allowed_hosts: Vec<AllowedHost> = HttpConfig::default().allowed_hosts, flag "allowed-host" "HOST", live true;
        /// The most memory of the registry's adapters that are not in use, in bytes
        adapter_bytes_max: u64 = RegistryReranker::BYTES_MAX, flag "adapter-bytes-max" "BYTES";
    }
}

impl ServerConfig {
    /// The defaults, with an index and a folder for data.
    pub fn new(index: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Self {
        Self { index: vec![IndexSpec::unnamed(index)], data: Some(data.into()), ..Self::default() }
    }

    /// Every setting, section by section.
    pub fn all_settings() -> impl Iterator<Item = &'static Setting> {
        let sections = [
            Self::SETTINGS,
            ModelSection::SETTINGS,
            SearchSection::SETTINGS,
            CacheSection::SETTINGS,
            QueueSection::SETTINGS,
            ServerSection::SETTINGS,
        ];
        sections.into_iter().flatten()
    }

    /// The values by key, as the file would have them; `null` where a value is unset. Keys of clients are without their hashes.
    pub fn values(&self) -> BTreeMap<&'static str, Value> {
        let tree = serde_json::to_value(self).unwrap_or_default();
        let value =
            |key: &str| key.split('.').try_fold(&tree, |tree, part| tree.get(part)).cloned().unwrap_or_default();
        Self::all_settings().map(|setting| (setting.key, value(setting.key))).collect()
    }

    /// The keys of the settings that have another value in `other`, and that a running server cannot take.
    pub(crate) fn changes_that_need_restart(&self, other: &Self) -> Vec<&'static str> {
        let (values, others) = (self.values(), other.values());
        let is_changed = |setting: &&Setting| !setting.is_live && values.get(setting.key) != others.get(setting.key);
        Self::all_settings().filter(is_changed).map(|setting| setting.key).collect()
    }

    /// What the pipeline is to do. Requests that name no adapter get the one that the registry calls `default`.
    pub(crate) fn pipeline(&self) -> PipelineConfig {
        let Self { search, cache, queue, .. } = self;
        PipelineConfig {
            depth: search.depth,
            depth_max: search.depth_max,
            top_k: search.top_k,
            page_end_max: search.page_end_max,
            query_bytes_max: search.query_bytes_max,
            deadline: search.deadline_millis.map(Duration::from_millis),
            rank_by: search.rank_by.clone().map(Arc::new),
            rank_by_adapter: search.rank_by_adapter.iter().map(|(id, it)| (id.clone(), Arc::new(it.clone()))).collect(),
            default_adapter: Some(RegistryReranker::default_name()),
            aliases: self.aliases.clone(),
            cache: CacheConfig { entries_max: cache.entries_max, bytes_max: cache.bytes_max },
            queue_max: queue.requests_max,
            queue_pairs_max: queue.pairs_max,
            tokens_max: queue.tokens_max.unwrap_or(PipelineConfig::default().tokens_max),
            wait_micros: queue.wait_micros,
            admits_by_estimate: queue.admits_by_estimate,
        }
    }

    /// What the HTTP service is to do.
    pub(crate) fn http(&self) -> HttpConfig {
        let limits = &self.server;
        // Loopback addresses need no mention.
        let own_host = Some(self.listen.ip()).filter(|ip| !ip.is_loopback()).map(AllowedHost::Address);
        HttpConfig {
            n_searches_max: limits.n_searches_max,
            body_bytes_max: limits.body_bytes_max,
            bodies_bytes_max: limits.bodies_bytes_max,
            body_read: Duration::from_millis(limits.body_read_millis),
            n_documents_max: limits.n_documents_max,
            bulk_bytes_max: limits.bulk_bytes_max,
            bulk_read: Duration::from_millis(limits.bulk_read_millis),
            bulk_rate_min: limits.bulk_rate_min,
            bulk_lines_max: limits.bulk_lines_max,
            n_changes_max: limits.n_changes_max,
            access: Access { keys: self.keys.clone() },
            cors_origins: limits.cors_origins.clone(),
            allowed_hosts: limits.allowed_hosts.iter().cloned().chain(own_host).collect(),
            connections: ConnectionLimits {
                n_connections_max: limits.n_connections_max,
                header_read: Duration::from_millis(limits.header_read_millis),
                keep_alive: Duration::from_millis(limits.keep_alive_millis),
                write: Duration::from_millis(limits.write_millis),
                shutdown: Duration::from_millis(limits.shutdown_millis),
            },
        }
    }
}

fn default_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 7788).into()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn parse(text: &str) -> Result<ServerConfig, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn the_defaults_are_those_of_the_crates_that_they_are_for() {
        let config = ServerConfig::default();
        assert_eq!(config.http(), HttpConfig::default());
        // `Debug` stands in for an equality that the pipeline's configuration has no other use for.
        let expected =
            PipelineConfig { default_adapter: Some(RegistryReranker::default_name()), ..PipelineConfig::default() };
        assert_eq!(format!("{:?}", config.pipeline()), format!("{expected:?}"));
        assert_eq!(parse("").unwrap(), config);
    }

    #[test]
    fn every_key_that_a_file_may_have_is_a_setting() {
        // The keys that a section takes, from the error that names one that it does not take.
        let keys_of = |section: &str| -> BTreeSet<String> {
            let message = parse(&format!("{section}\nno_such_key = 1")).unwrap_err();
            let (_, keys) = message.split_once("expected").unwrap_or_else(|| panic!("{message}"));
            keys.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let mut keys = keys_of("");
        for section in ["model", "search", "cache", "queue", "server"] {
            assert!(keys.remove(section), "{section}");
            keys.extend(keys_of(&format!("[{section}]")).iter().map(|key| format!("{section}.{key}")));
        }
        let settings: BTreeSet<String> = ServerConfig::all_settings().map(|setting| setting.key.to_owned()).collect();
        assert_eq!(keys, settings);
    }

    #[test]
    fn a_setting_without_a_default_says_what_it_is_then() {
        let values = ServerConfig::default().values();
        for setting in ServerConfig::all_settings() {
            let is_unset = matches!(&values[setting.key], Value::Null);
            assert!(!is_unset || setting.unset.is_some(), "{} has neither a default nor words for none", setting.key);
            assert!(setting.help.len() > 5 && !setting.help.ends_with('.'), "{}: {}", setting.key, setting.help);
        }
    }

    #[test]
    fn flags_have_names_of_their_own_and_read_what_the_file_reads() {
        let flags: Vec<_> = ServerConfig::all_settings().filter_map(|setting| setting.flag).collect();
        let names: BTreeSet<&str> = flags.iter().map(|flag| flag.name).collect();
        assert_eq!(names.len(), flags.len());
        for (name, text, value) in [
            ("depth", "7", Ok(Value::from(7))),
            ("depth", "0", Err("number would be zero for non-zero type")),
            ("device", "gpu", Err("`gpu` is not a device")),
            ("cors-origin", "shop", Err("`shop` is not an origin")),
            ("adapter", "qa=./mine", Ok(Value::from("qa=./mine"))),
        ] {
            let flag = flags.iter().find(|flag| flag.name == name).unwrap();
            match ((flag.parse)(text), value) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                (found, _) => panic!("--{name} {text}: {found:?}"),
            }
        }
        let flag = flags.iter().find(|flag| flag.name == "n-searches-max").unwrap();
        assert_eq!(flag.variable, "LORANK_N_SEARCHES_MAX");
    }

    /// Each key once, under its section, as a value or in a comment.
    #[test]
    fn the_example_file_names_every_key_with_its_default() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/lorank.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let mut section = String::new();
        let mut named = BTreeSet::new();
        for line in text.lines() {
            let line = line.strip_prefix("# ").unwrap_or(line);
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                let name = name.trim_matches(['[', ']']);
                named.insert(name.to_owned());
                section = format!("{name}.");
            } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
                assert!(named.insert(format!("{section}{key}")), "{section}{key} stands there twice");
            }
        }
        let keys: BTreeSet<String> = ServerConfig::all_settings().map(|setting| setting.key.to_owned()).collect();
        assert_eq!(keys.difference(&named).collect::<Vec<_>>(), [""; 0]);
        // What is not in a comment is the default.
        assert_eq!(parse(&text).unwrap(), ServerConfig::default());
    }

    #[test]
    fn what_a_file_cannot_say_is_refused() {
        for (text, part_of_why) in [
            ("indx = 'a'", "unknown field `indx`"),
            ("[search]\ndepth = 0", "nonzero"),
            ("[model]\ndevice = 'gpu'", "`gpu` is not a device"),
            ("[model]\nprecision = 'fp8'", "`fp8` is not a precision"),
            ("[model]\nadapters = ['hf://x']", "`hf://x` is not a model source"),
            ("[model]\non_base_mismatch = 'ask'", "`ask` is neither `warn` nor `refuse`"),
            ("[aliases]\n'a b' = 'x'", "`a b` is not an adapter id"),
            ("shadows = ['qa:2']", "give a share above 0 and up to 1"),
            ("[[keys]]\nname = 'x'\nrole = 'root'\nhash = ''", "`root` is not a role"),
            ("[[keys]]\nname = 'x'\nrole = 'search'\nhash = '12'", "the key `x`"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part_of_why), "{why}");
        }
    }

    #[test]
    fn changes_that_need_a_restart_are_named() {
        let before = parse("index = 'a'\n[server]\nn_searches_max = 2\n[search]\ndepth = 5\n").unwrap();
        let after = parse("index = 'b'\n[server]\nn_searches_max = 3\n").unwrap();
        assert_eq!(before.changes_that_need_restart(&after), ["index", "search.depth"]);
        assert_eq!(before.changes_that_need_restart(&before), [""; 0]);
    }
}

//! The configuration of a server: plain data, which also defines the form of the file `lorank.toml`.
//!
//! Each setting is declared here once; see [`settings!`](crate::settings). [`ServerConfig::pipeline`] and
//! [`ServerConfig::http`] map the settings to the configurations of the crates that use them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lorank_cache::RedisUrl;
use lorank_core::{AdapterId, PassageOptions, PassageRule, RerankStages};
use lorank_elastic::{ElasticConfig, IndexPattern, NodeUrl, SearchField};
use lorank_experiment_store::StoreUrl;
use lorank_http::{Access, AllowedHost, ConnectionLimits, CorsOrigin, HttpConfig, Key, ModelAlias};
use lorank_model::{DeviceChoice, PrecisionChoice};
use lorank_object_registry::RegistryLocation;
use lorank_pipeline::{CacheConfig, PipelineConfig, RankBy};
use lorank_registry_reranker::RegistryReranker;
use serde_json::Value;

use crate::allowed_source::AllowedSource;
use crate::first_stage_kind::FirstStageKind;
use crate::index_spec::IndexSpec;
use crate::per_model::PerModel;
use crate::settings::{Setting, settings};
use crate::shadow::ShadowSpec;
use crate::source::{AdapterSpec, BaseSpec, OnBaseMismatch};
use crate::text;

settings! {
    /// The configuration of a server. The file form is TOML; `examples/lorank.toml` explains each key. Settings that a
    /// file omits have their defaults.
    ///
    /// [`data`](Self::data) must be set.
    pub struct ServerConfig, keys "" {
        /// Index folder, with an optional name (default: `default`); repeatable. Each index is served below
        /// `/v1/indexes/NAME`, `default` also at `/v1/search` and `/v1/documents`. A missing index is created empty
        #[serde(with = "text::one_or_list")]
        index: Vec<IndexSpec> = Vec::new(), flag "index" "[NAME=]DIR", unset "`index` in the data folder";
        /// First stage: `tantivy`, for indexes on disk, or `elastic`, for an index of OpenSearch, Elasticsearch or Quickwit
        #[serde(with = "text")]
        first_stage: FirstStageKind = FirstStageKind::default(), flag "first-stage" "ENGINE";
        /// Folder for adapters and experiments
        data: Option<PathBuf> = None, flag "data" "DIR", unset "`$XDG_DATA_HOME/lorank`, or `~/.local/share/lorank`";
        /// Database of PostgreSQL for experiments, which several servers share: `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE`
        #[serde(with = "text::option")]
        store: Option<StoreUrl> = None, flag "store" "URL", unset "SQLite in the data folder";
        /// File with the certificates (PEM) of the authorities that sign PostgreSQL's certificate
        store_ca_file: Option<PathBuf> = None, flag "store-ca" "FILE", unset "the public authorities";
        /// Longest time that a change or a submission waits until the store of experiments confirms it, in milliseconds. Then the
        /// status is 503 with `Retry-After`; events can be sent again with the same ids, and count once
        store_wait_millis: NonZeroUsize = non_zero(15_000), flag "store-wait-millis" "N";
        /// Registry of adapters: a folder, or a store of objects that several servers share, `s3://BUCKET[/PREFIX]`,
        /// `gs://BUCKET[/PREFIX]` or `az://CONTAINER[/PREFIX]`, with credentials in the variables AWS_*, GOOGLE_* or AZURE_*
        #[serde(with = "text::option")]
        registry: Option<RegistryLocation> = None, flag "registry" "URL", unset "`adapters` in the data folder";
        /// Folder for the copy of a registry in a store of objects
        registry_copy: Option<PathBuf> = None, flag "registry-copy" "DIR", unset "one in `registries` in the data folder";
        /// File with the certificates (PEM) of the authorities that sign the certificate of the registry's store
        registry_ca_file: Option<PathBuf> = None, flag "registry-ca" "FILE", unset "the public authorities";
        /// Address to listen on; port 0 selects a free port
        listen: SocketAddr = default_listen(), flag "listen" "ADDRESS";
        /// Source from which adapters may be added over HTTP: a folder (with its subfolders), `hf://` or `hf://owner`;
        /// repeatable. By default, adapters cannot be added over HTTP
        #[serde(with = "text::list")]
        adapter_sources: Vec<AllowedSource> = Vec::new(), flag "adapter-source" "SOURCE";
        /// Shadow adapter: reranks a share of the searches again when the model is idle, without changing the answers,
        /// and records the agreement of the rankings (`GET /v1/shadows`); repeatable
        #[serde(with = "text::list")]
        shadows: Vec<ShadowSpec> = Vec::new(), flag "shadow" "ADAPTER[:SHARE]";
        /// Accept connections from other machines without API keys; use only if a proxy or a firewall restricts access
        no_keys: bool = false, flag "no-keys" "";
        /// Aliases for adapters
        #[serde(with = "text::map")]
        aliases: BTreeMap<AdapterId, AdapterId> = BTreeMap::new(), unset "none";
        /// API keys, each with a name, a role and the hash of the key
        #[serde(with = "text::keys")]
        keys: Vec<Key> = Vec::new(), unset "none", live true;
    }
    sections {
        /// The search engine that is the first stage.
        elastic: ElasticSection,
        /// The base model and its adapters.
        model: ModelSection,
        /// Search defaults and limits.
        search: SearchSection,
        /// The score cache.
        cache: CacheSection,
        /// The queue in front of the model.
        queue: QueueSection,
        /// Client limits.
        server: ServerSection,
    }
}

settings! {
    /// The base model, its adapters, and how they run.
    pub struct ModelSection, keys "model." {
        /// Base model: the name of a built-in model, a folder, or `hf://owner/name[@revision]`, with an optional name;
        /// repeatable. The first one is the default; requests choose another one, or an adapter on it, by name
        #[serde(with = "text::one_if_one")]
        base: Vec<BaseSpec> = Vec::new(), flag "base" "[NAME=]BASE", unset "the built-in model `minilm`, if included";
        /// Adapter to load: the name of a built-in adapter, a folder, or `hf://owner/name[@revision]`; repeatable.
        /// `none` is the bare base model. The first one is the default for requests that name no adapter. Of several
        /// base models, an adapter gets the one that it was trained on, or the one that `@BASE` names
        #[serde(with = "text::list")]
        adapters: Vec<AdapterSpec> = Vec::new(), flag "adapter" "[ID[@BASE]=]ADAPTER";
        /// Device: auto, cpu, cuda:N or metal; or several GPUs, as `cuda:0,cuda:1`, which divide each batch among them
        #[serde(with = "text")]
        device: DeviceChoice = DeviceChoice::default(), flag "device" "DEVICE";
        /// Numeric precision: auto, f32, bf16, int8 or fp8. `auto` selects the fastest precision that preserves the ranking: on a
        /// CPU, int8 for base models and adapters for which `lorank bench --ranking` or `lorank adapters add` measured that it
        /// does, otherwise bf16 or f32; on a GPU, bf16 or f32. fp8 needs an NVIDIA GPU of compute capability 8.9 and is never
        /// selected by `auto`. `lorank info` shows the choice and its reason. A base model (with
        /// its adapters) or an adapter may have its own, as in `auto,minilm-qa=f32`
        precision: PerModel<PrecisionChoice> = PrecisionChoice::default().into(), flag "precision" "PRECISION[,NAME=PRECISION]";
        /// Maximum length of a query and a document together, in tokens; longer documents are truncated. A base model may
        /// have its own, as in `256,ettin=1024`; an adapter has it in its `lorank.json`
        max_length: Option<PerModel<usize>> = None, flag "max-length" "N[,BASE=N]", unset "the adapter's or the model's limit";
        /// What to do with an adapter that was trained on another base model: warn or refuse
        #[serde(with = "text")]
        on_base_mismatch: OnBaseMismatch = OnBaseMismatch::default(), flag "on-base-mismatch" "ACTION";
        /// Maximum tokens per forward pass; does not affect scores
        tokens_max: Option<NonZeroUsize> = None, flag "tokens-max" "N",
            unset "256 per CPU thread, 8192 on a GPU (16384 with candle)";
        /// Number of compute threads
        threads: Option<NonZeroUsize> = None, flag "threads" "N", unset "one per core";
        /// Merge this adapter into a copy of the base model's weights: as fast as the bare base model, at the cost of
        /// memory for the copy; repeatable
        #[serde(with = "text::list")]
        merge: Vec<AdapterId> = Vec::new(), flag "merge" "ID";
        /// Use the reference forward pass: exact, one pair at a time, slow
        reference: bool = false, flag "reference" "";
    }
}

settings! {
    /// The search engine that is the first stage, with `first_stage = "elastic"`: OpenSearch, Elasticsearch or Quickwit.
    pub struct ElasticSection, keys "elastic." {
        /// Address of a node of the search engine, such as `http://localhost:9200`; for Quickwit, with the path
        /// `/api/v1/_elastic`; repeatable, for several nodes of one cluster
        #[serde(with = "text::one_or_list")]
        urls: Vec<NodeUrl> = Vec::new(), flag "elastic-url" "URL";
        /// Index, alias or pattern to search, which is served as the index `default`
        #[serde(with = "text::option")]
        index: Option<IndexPattern> = None, flag "elastic-index" "NAME", unset "none";
        /// Field that the default query searches (`title` and `text` by default), with an optional boost; repeatable
        #[serde(with = "text::list")]
        search_fields: Vec<SearchField> = ElasticConfig::default_search_fields(), flag "elastic-field" "FIELD[^BOOST]";
        /// Field with the title that the reranker reads
        title_field: Option<String> = None, flag "elastic-title" "FIELD", unset "`title`";
        /// Field with the text that the reranker reads (`text` by default); repeatable, for texts that are joined
        text_fields: Vec<String> = default_elastic().text_fields, flag "elastic-text" "FIELD";
        /// Field to return with hits (all by default), besides the title and the text; repeatable
        source_fields: Vec<String> = Vec::new(), flag "elastic-source" "FIELD";
        /// Field with the document's id; Quickwit needs it
        id_field: Option<String> = None, flag "elastic-id" "FIELD", unset "`_id`";
        /// File with a search request as JSON to send instead of the default query; `{{query}}` in its strings is the
        /// query's text, `"{{filters}}"` an array of filters, `"{{depth}}"` the number of candidates
        query_file: Option<PathBuf> = None, flag "elastic-query" "FILE", unset "`multi_match` over the searched fields";
        /// User name for the search engine; the password is in `elastic.password_file` or LORANK_ELASTIC_PASSWORD
        user: Option<String> = None, flag "elastic-user" "NAME", unset "none";
        /// File with the password of the user
        password_file: Option<PathBuf> = None, flag "elastic-password-file" "FILE", unset "none";
        /// File with a bearer token for the search engine; the variable LORANK_ELASTIC_BEARER holds the token itself
        bearer_file: Option<PathBuf> = None, flag "elastic-bearer-file" "FILE", unset "none";
        /// File with an API key of Elasticsearch, encoded; the variable LORANK_ELASTIC_API_KEY holds the key itself
        api_key_file: Option<PathBuf> = None, flag "elastic-api-key-file" "FILE", unset "none";
        /// File with the certificates (PEM) of the authorities that sign the nodes' certificates
        ca_file: Option<PathBuf> = None, flag "elastic-ca" "FILE", unset "the public authorities";
        /// Time limit of a request to the search engine, in milliseconds; a search's own deadline may be shorter
        timeout_millis: u64 = millis(default_elastic().timeout), flag "elastic-timeout-millis" "N";
        /// Time limit for connecting to a node, in milliseconds
        connect_millis: u64 = millis(default_elastic().connect_timeout), flag "elastic-connect-millis" "N";
        /// Maximum size of an answer of the search engine, in bytes
        answer_bytes_max: u64 = default_elastic().answer_bytes_max;
        /// Maximum number of idle connections per node
        connections_max: NonZeroUsize = default_elastic().connections_max;
        /// Number of matching documents up to which they are counted exactly
        total_hits_max: usize = default_elastic().total_hits_max;
    }
}

settings! {
    /// Search defaults and limits.
    pub struct SearchSection, keys "search." {
        /// Number of candidates to rerank
        depth: NonZeroUsize = PipelineConfig::default().depth, flag "depth" "N";
        /// Maximum depth that a request may set
        depth_max: NonZeroUsize = PipelineConfig::default().depth_max;
        /// Rerank stages of searches that name no adapter, depth or stages: `ADAPTER[@BASE]:DEPTH[:SHARE]`, with commas between
        /// stages, such as `none@minilm:1000:0.4,qa:50`. Each stage reranks the first DEPTH candidates of the stage before
        /// it; SHARE is its share of the time left before the deadline, with a decimal point
        #[serde(with = "text::option")]
        stages: Option<RerankStages> = None, flag "stages" "STAGES", unset "one stage with the default adapter and `depth`";
        /// Number of hits to return
        top_k: NonZeroUsize = PipelineConfig::default().top_k, flag "top-k" "N";
        /// Rank candidates by this expression instead of the rerank score, for example
        /// `sigmoid(rerank_score) * exp_decay(age_days(published), 30)`. `rank_by`, `blend_weight` and `sort` in a request override it
        #[serde(with = "text::option")]
        rank_by: Option<RankBy> = None, flag "rank-by" "EXPRESSION", unset "none (rank by rerank score)";
        /// Expressions by adapter or alias; `default` applies to requests that name no adapter
        #[serde(with = "text::map")]
        rank_by_adapter: BTreeMap<AdapterId, RankBy> = BTreeMap::new(), unset "none";
        /// How a document that is longer than the model's limit is scored: `first` truncates it; `max` cuts it into
        /// overlapping passages and takes the score of the best one, `mean-top-3` the mean of the three best, and so on
        #[serde(with = "text::option")]
        passages: Option<PassageRule> = None, flag "passages" "RULE", unset "the adapter's or the model's setting, else first";
        /// Length of a passage in tokens, if documents are cut into passages; at least 16, and at most what the model reads
        /// beside the query and the title
        passage_tokens: Option<NonZeroUsize> = None, flag "passage-tokens" "N",
            unset "the adapter's or the model's setting, else as many as the model reads";
        /// Number of tokens from the start of a passage to the start of the next one, at most its length
        stride: Option<NonZeroUsize> = None, flag "stride" "N",
            unset "the adapter's or the model's setting, else half of a passage";
        /// Maximum number of passages per document; the answer says where the end of a document was not scored
        passages_max: NonZeroUsize = PipelineConfig::default().passages_max, flag "passages-max" "N";
        /// Maximum value of offset + top_k in a request
        page_end_max: NonZeroUsize = PipelineConfig::default().page_end_max;
        /// Maximum query length, in bytes
        query_bytes_max: usize = PipelineConfig::default().query_bytes_max;
        /// Deadline of a search, in milliseconds; a search that takes longer returns hits in first-stage order
        deadline_millis: Option<u64> = PipelineConfig::default().deadline.map(millis), flag "deadline-millis" "N",
            unset "none";
    }
}

impl SearchSection {
    /// How long documents are scored.
    pub fn passages(&self) -> PassageOptions {
        PassageOptions { rule: self.passages, tokens: self.passage_tokens, stride: self.stride }
    }
}

settings! {
    /// The score cache in memory, and a store behind it that several servers share. Whichever limit in memory is reached
    /// first applies; 0 disables the cache in memory.
    pub struct CacheSection, keys "cache." {
        /// Maximum number of scores
        entries_max: usize = PipelineConfig::default().cache.entries_max;
        /// Maximum memory, in bytes
        bytes_max: usize = PipelineConfig::default().cache.bytes_max;
        /// Valkey or Redis behind the score cache, which several servers share: `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`,
        /// or `rediss://` for TLS. Without an answer, searches go on without it
        #[serde(with = "text::option")]
        url: Option<RedisUrl> = None, flag "cache-url" "URL", unset "none";
        /// Whether the address is that of a node of a cluster
        cluster: bool = false, flag "cache-cluster" "";
        /// File with the password for Valkey or Redis, if it is not in the address
        password_file: Option<PathBuf> = None, flag "cache-password-file" "FILE", unset "none";
        /// File with the certificates (PEM) of the authorities that sign the certificate of Valkey or Redis
        ca_file: Option<PathBuf> = None, flag "cache-ca" "FILE", unset "the public authorities";
        /// How long Valkey or Redis keeps a score, in seconds
        ttl_seconds: NonZeroUsize = non_zero(604_800), flag "cache-ttl-seconds" "N";
        /// Time limit of a lookup in Valkey or Redis, in milliseconds; a search with a deadline waits at most for a quarter
        /// of the time before it
        timeout_millis: NonZeroUsize = non_zero(100), flag "cache-timeout-millis" "N";
    }
}

settings! {
    /// The queue in front of the model.
    pub struct QueueSection, keys "queue." {
        /// Maximum number of requests waiting for the model; further requests get status 429
        requests_max: NonZeroUsize = PipelineConfig::default().queue_max, flag "queue-max" "N";
        /// Maximum number of query-document pairs waiting for the model, over all requests
        pairs_max: NonZeroUsize = PipelineConfig::default().queue_pairs_max;
        /// Maximum tokens per batch, over all waiting requests
        tokens_max: Option<NonZeroUsize> = None, flag "batch-tokens-max" "N",
            unset "4096 on a CPU, 8192 on a GPU (16384 with candle)";
        /// How long an idle model waits for more requests to fill a batch, in microseconds
        wait_micros: u64 = PipelineConfig::default().wait_micros, flag "wait-micros" "N";
        /// Reject a request immediately if it would miss its deadline at the measured throughput
        admits_by_estimate: bool = PipelineConfig::default().admits_by_estimate;
    }
}

settings! {
    /// Client limits. All except `adapter_bytes_max` can change while the server runs.
    pub struct ServerSection, keys "server." {
        /// Maximum number of concurrent searches; further searches get status 429
        n_searches_max: NonZeroUsize = HttpConfig::default().n_searches_max, flag "n-searches-max" "N", live true;
        /// Maximum size of a request body, in bytes
        body_bytes_max: usize = HttpConfig::default().body_bytes_max, flag "body-bytes-max" "BYTES", live true;
        /// Maximum size of all request bodies in memory together, in bytes, capped at an eighth of the available
        /// memory; further requests get status 429
        bodies_bytes_max: usize = HttpConfig::default().bodies_bytes_max, flag "bodies-bytes-max" "BYTES", live true;
        /// Maximum number of documents in a rerank request
        n_documents_max: NonZeroUsize = HttpConfig::default().n_documents_max, flag "n-documents-max" "N", live true;
        /// Additional model name that rerank requests may use, as in `rerank-v3.5`: a name of the default adapter, or of
        /// an adapter or alias with `=ADAPTER`; `*` is any name that is otherwise unknown, and the answer says which
        /// model answered; repeatable
        #[serde(with = "text::list")]
        model_aliases: Vec<ModelAlias> = HttpConfig::default().model_aliases, flag "model-alias" "NAME[=ADAPTER]", live true;
        /// Maximum size of a body of documents to add, in bytes
        bulk_bytes_max: usize = HttpConfig::default().bulk_bytes_max, flag "bulk-bytes-max" "BYTES", live true;
        /// Time limit for receiving a body of documents to add, in milliseconds
        bulk_read_millis: u64 = millis(HttpConfig::default().bulk_read), flag "bulk-read-millis" "N", live true;
        /// Minimum transfer rate of a body of documents once `body_read_millis` has passed, in bytes per second; 0
        /// disables the check
        bulk_rate_min: usize = HttpConfig::default().bulk_rate_min, flag "bulk-rate-min" "BYTES", live true;
        /// Maximum number of documents in one body of documents to add
        bulk_lines_max: NonZeroUsize = HttpConfig::default().bulk_lines_max, flag "bulk-lines-max" "N", live true;
        /// Maximum number of concurrent document changes; further changes get status 429
        n_changes_max: NonZeroUsize = HttpConfig::default().n_changes_max, flag "n-changes-max" "N", live true;
        /// Maximum number of open connections; a new connection beyond it closes the one that has waited longest for
        /// its client
        n_connections_max: NonZeroUsize = ConnectionLimits::default().n_connections_max,
            flag "n-connections-max" "N", live true;
        /// Time limit for receiving a request head, in milliseconds
        header_read_millis: u64 = millis(ConnectionLimits::default().header_read),
            flag "header-read-millis" "N", live true;
        /// Time limit for receiving a request body, in milliseconds
        body_read_millis: u64 = millis(HttpConfig::default().body_read), flag "body-read-millis" "N", live true;
        /// How long a client may stop reading its response before the connection is closed, in milliseconds
        write_millis: u64 = millis(ConnectionLimits::default().write), flag "write-millis" "N", live true;
        /// How long an idle connection is kept open, in milliseconds
        keep_alive_millis: u64 = millis(ConnectionLimits::default().keep_alive),
            flag "keep-alive-millis" "N", live true;
        /// How long the server still accepts requests at shutdown while `/ready` answers with status 503, in milliseconds, so that a
        /// load balancer chooses other servers first; more than the balancer needs to see it
        drain_millis: u64 = millis(ConnectionLimits::default().drain), flag "drain-millis" "N", live true;
        /// Grace period for requests in progress at shutdown, in milliseconds
        shutdown_millis: u64 = millis(ConnectionLimits::default().shutdown), flag "shutdown-millis" "N", live true;
        /// Origin whose pages may read responses in a browser, for example `https://shop.example`, or `*`; repeatable
        #[serde(with = "text::list")]
        cors_origins: Vec<CorsOrigin> = HttpConfig::default().cors_origins, flag "cors-origin" "ORIGIN", live true;
        /// Additional host name by which clients may reach a server without API keys, besides localhost and the listen
        /// address: a name or an address without a port, or `*`; repeatable
        #[serde(with = "text::list")]
        allowed_hosts: Vec<AllowedHost> = HttpConfig::default().allowed_hosts, flag "allowed-host" "HOST", live true;
        /// Maximum memory for registry adapters that are not in use, in bytes
        adapter_bytes_max: u64 = RegistryReranker::BYTES_MAX, flag "adapter-bytes-max" "BYTES";
    }
}

impl ServerConfig {
    /// The defaults, with an index folder and a data folder.
    pub fn new(index: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Self {
        Self { index: vec![IndexSpec::unnamed(index)], data: Some(data.into()), ..Self::default() }
    }

    /// Every setting, section by section.
    pub fn all_settings() -> impl Iterator<Item = &'static Setting> {
        let sections = [
            Self::SETTINGS,
            ElasticSection::SETTINGS,
            ModelSection::SETTINGS,
            SearchSection::SETTINGS,
            CacheSection::SETTINGS,
            QueueSection::SETTINGS,
            ServerSection::SETTINGS,
        ];
        sections.into_iter().flatten()
    }

    /// The values by key, as in the configuration file; `null` for unset values. API keys are included without their
    /// hashes.
    pub fn values(&self) -> BTreeMap<&'static str, Value> {
        let tree = serde_json::to_value(self).unwrap_or_default();
        let value =
            |key: &str| key.split('.').try_fold(&tree, |tree, part| tree.get(part)).cloned().unwrap_or_default();
        Self::all_settings().map(|setting| (setting.key, value(setting.key))).collect()
    }

    /// The keys of the settings that differ in `other` and need a restart to take effect.
    pub(crate) fn changes_that_need_restart(&self, other: &Self) -> Vec<&'static str> {
        let (values, others) = (self.values(), other.values());
        let is_changed = |setting: &&Setting| !setting.is_live && values.get(setting.key) != others.get(setting.key);
        Self::all_settings().filter(is_changed).map(|setting| setting.key).collect()
    }

    /// The pipeline's configuration. Requests that name no adapter get the registry's alias `default`.
    pub(crate) fn pipeline(&self) -> PipelineConfig {
        let Self { search, cache, queue, .. } = self;
        PipelineConfig {
            depth: search.depth,
            depth_max: search.depth_max,
            stages: search.stages.clone(),
            top_k: search.top_k,
            page_end_max: search.page_end_max,
            query_bytes_max: search.query_bytes_max,
            deadline: search.deadline_millis.map(Duration::from_millis),
            rank_by: search.rank_by.clone().map(Arc::new),
            rank_by_adapter: search.rank_by_adapter.iter().map(|(id, it)| (id.clone(), Arc::new(it.clone()))).collect(),
            rank_by_names: None,
            passages: search.passages(),
            passages_max: search.passages_max,
            default_adapter: Some(RegistryReranker::default_name()),
            aliases: self.aliases.clone(),
            cache: CacheConfig { entries_max: cache.entries_max, bytes_max: cache.bytes_max },
            shared_scores: None,
            queue_max: queue.requests_max,
            queue_pairs_max: queue.pairs_max,
            tokens_max: queue.tokens_max.unwrap_or(PipelineConfig::default().tokens_max),
            wait_micros: queue.wait_micros,
            admits_by_estimate: queue.admits_by_estimate,
        }
    }

    /// The HTTP service's configuration.
    pub(crate) fn http(&self) -> HttpConfig {
        let limits = &self.server;
        // Loopback addresses are always allowed.
        let own_host = Some(self.listen.ip()).filter(|ip| !ip.is_loopback()).map(AllowedHost::Address);
        HttpConfig {
            n_searches_max: limits.n_searches_max,
            body_bytes_max: limits.body_bytes_max,
            bodies_bytes_max: limits.bodies_bytes_max,
            body_read: Duration::from_millis(limits.body_read_millis),
            n_documents_max: limits.n_documents_max,
            model_aliases: limits.model_aliases.clone(),
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
                drain: Duration::from_millis(limits.drain_millis),
                shutdown: Duration::from_millis(limits.shutdown_millis),
            },
        }
    }
}

/// The defaults of the crate that searches.
fn default_elastic() -> ElasticConfig {
    ElasticConfig::new(Vec::new(), "index".parse().expect("a name"))
}

fn default_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 7788).into()
}

fn non_zero(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("the defaults are not zero")
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
        for section in ["elastic", "model", "search", "cache", "queue", "server"] {
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
            ("[model]\nprecision = 'fp4'", "`fp4` is not a precision"),
            ("[model]\nbase = ['a=hf://x']", "`hf://x` is not a model source"),
            ("[model]\nadapters = ['hf://x']", "`hf://x` is not a model source"),
            ("[model]\non_base_mismatch = 'ask'", "`ask` is neither `warn` nor `refuse`"),
            ("[aliases]\n'a b' = 'x'", "`a b` is not an adapter id"),
            ("shadows = ['qa:2']", "the share must be above 0 and at most 1"),
            ("[[keys]]\nname = 'x'\nrole = 'root'\nhash = ''", "`root` is not a role"),
            ("[[keys]]\nname = 'x'\nrole = 'search'\nhash = '12'", "invalid key `x`"),
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

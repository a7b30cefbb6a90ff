//! OpenSearch, Elasticsearch and Quickwit as lorank's first stage.
//!
//! Where a collection outgrows one machine, its first stage is an engine that is a cluster already. [`ElasticFirstStage`]
//! sends each search to `_search` of OpenSearch 2 and 3, Elasticsearch 8 and 9, or Quickwit's Elasticsearch API, and
//! returns the hits as candidates; the pipeline reranks them.
//!
//! [`RerankPipeline`] is the other way round: it makes OpenSearch ask lorank, in its own search pipeline.
//!
//! The crate is *not* a client of these engines: it searches, and adds no documents.
//!
//! ```
//! use lorank_elastic::{ElasticConfig, ElasticFirstStage};
//!
//! let nodes = vec!["http://10.0.0.1:9200".parse()?, "http://10.0.0.2:9200".parse()?];
//! let config = ElasticConfig {
//!     search_fields: vec!["title^2".parse()?, "body".parse()?],
//!     text_fields: vec!["body".to_owned()],
//!     ..ElasticConfig::new(nodes, "articles".parse()?)
//! };
//! let first_stage = ElasticFirstStage::new(config)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod client;
mod config;
mod engine_error;
mod error;
mod facets;
mod field_types;
mod filter;
mod first_stage;
mod jitter;
mod nodes;
mod paths;
mod request;
mod rerank_pipeline;
mod snippet;
mod template;
mod values;

pub use config::{Auth, ElasticConfig, IndexPattern, NodeUrl, SearchField, Secret};
pub use error::Error;
pub use first_stage::{ElasticField, ElasticFirstStage, ElasticStats};
pub use rerank_pipeline::{CreatedPipeline, RerankPipeline, SetupRequest};
pub use template::QueryTemplate;

//! The first stage over a cluster.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

use lorank_core::{
    BoxError, Candidate, Deadline, DocumentId, Fields, Filter, FirstStage, Query, QuerySyntax, Retrieval, Retrieved,
    Score, Snippet, Test,
};
use serde::Deserialize;
use ureq::http::Method;

use crate::client::{Call, Client};
use crate::engine_error::CallersParts;
use crate::field_types::{self, FieldTypes, ID, Kind};
use crate::paths::encode;
use crate::snippet::SNIPPET_CHARS;
use crate::{ElasticConfig, Error, answer, request};

/// The search of an OpenSearch or Elasticsearch cluster, or of Quickwit's Elasticsearch API, as the first stage of a
/// pipeline. See the [crate's page](crate).
///
/// A candidate's score is the engine's, and the order is the engine's. [Plain](QuerySyntax::Plain) queries are a
/// `multi_match` over the configured fields, or the user's own request; [advanced](QuerySyntax::Advanced) ones a
/// `query_string`. `Fuzzy::On` is refused, because exact words would not come first.
///
/// An invalid search is an [`InvalidQuery`](lorank_core::InvalidQuery); a failure of the engine is a
/// [`FirstStageFailure`](lorank_core::FirstStageFailure).
#[derive(Debug)]
pub struct ElasticFirstStage {
    config: ElasticConfig,
    client: Client,
    types: FieldTypes,
    /// Whether the configured fields are known to exist.
    is_checked: AtomicBool,
}

/// The size of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ElasticStats {
    /// The number of documents.
    pub n_documents: u64,
    /// The number of index segments, of primary shards.
    pub n_segments: u64,
    /// The size of the primary shards, in bytes.
    pub bytes_on_disk: u64,
}

/// A field of an index.
#[derive(Debug, Clone, PartialEq)]
pub struct ElasticField {
    /// The name, with dots for nested objects.
    pub name: String,
    /// The type of its values for filters, sorting and facets: `booleans`, `numbers`, `dates` or `texts`; `None` for
    /// analyzed text.
    pub values: Option<&'static str>,
}

impl ElasticFirstStage {
    /// A first stage over an index. Does not connect: an engine that is down is an error of each search.
    ///
    /// # Errors
    /// An invalid configuration.
    pub fn new(config: ElasticConfig) -> Result<Self, Error> {
        if config.text_fields.is_empty() {
            let problem = "is empty; name a field with the text to rerank".to_owned();
            return Err(Error::Config { setting: "elastic.text_fields", problem });
        }
        if config.search_fields.is_empty() && config.query.is_none() {
            let problem = "is empty; name a field to search, or set `elastic.query_file`".to_owned();
            return Err(Error::Config { setting: "elastic.search_fields", problem });
        }
        let client = Client::new(&config)?;
        Ok(Self { config, client, types: FieldTypes::default(), is_checked: AtomicBool::new(false) })
    }

    /// The configuration.
    pub fn config(&self) -> &ElasticConfig {
        &self.config
    }

    /// The document with this id as a candidate with a score from elsewhere; `None` if the index has no such document.
    ///
    /// # Errors
    /// The engine fails.
    pub fn candidate(&self, id: &DocumentId, first_stage_score: Score) -> Result<Option<Candidate>, Error> {
        let field = self.config.id_field.clone().unwrap_or_else(|| ID.to_owned());
        let by_id = Filter { field, test: Test::AnyOf(vec![id.as_str().into()]) };
        let query = Query { syntax: QuerySyntax::MatchAll, filters: vec![by_id], ..Query::new("") };
        let found = self.find(&Retrieval::new(&query, NonZeroUsize::MIN))?;
        Ok(found.candidates.into_iter().next().map(|candidate| Candidate { first_stage_score, ..candidate }))
    }

    /// The stored fields of a document; `None` if the index has no such document.
    ///
    /// # Errors
    /// As [`candidate`](Self::candidate).
    pub fn document(&self, id: &DocumentId) -> Result<Option<Fields>, Error> {
        let zero = Score::new(0.0).expect("zero is finite");
        Ok(self.candidate(id, zero)?.map(|candidate| candidate.fields))
    }

    /// The size of the index.
    ///
    /// # Errors
    /// The engine fails.
    pub fn stats(&self) -> Result<ElasticStats, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "_all")]
            all: All,
        }
        #[derive(Deserialize)]
        struct All {
            primaries: Primaries,
        }
        #[derive(Deserialize)]
        struct Primaries {
            docs: Docs,
            #[serde(default)]
            store: Store,
            #[serde(default)]
            segments: Segments,
        }
        #[derive(Deserialize)]
        struct Docs {
            count: u64,
        }
        #[derive(Deserialize, Default)]
        struct Store {
            size_in_bytes: u64,
        }
        #[derive(Deserialize, Default)]
        struct Segments {
            count: u64,
        }
        let path = format!("/{}/_stats", encode(self.config.index.as_str()));
        let body = self.client.send(&Call::get(&path))?.checked(self.config.index.as_str(), CallersParts::default())?;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|error| Error::BadAnswer { problem: format!("_stats: {error}") })?;
        let Primaries { docs, store, segments } = answer.all.primaries;
        Ok(ElasticStats { n_documents: docs.count, n_segments: segments.count, bytes_on_disk: store.size_in_bytes })
    }

    /// The fields of the index, in the order of their names.
    ///
    /// # Errors
    /// The engine fails.
    pub fn fields(&self) -> Result<Vec<ElasticField>, Error> {
        let fields = field_types::all(&self.client, &self.config.index, None)?.into_iter();
        let values = |kind| match kind {
            Kind::Text => None,
            Kind::Keyword => Some("texts"),
            Kind::Number => Some("numbers"),
            Kind::Date => Some("dates"),
            Kind::Boolean => Some("booleans"),
        };
        Ok(fields.map(|(name, kind)| ElasticField { name, values: values(kind) }).collect())
    }

    fn find(&self, retrieval: &Retrieval<'_>) -> Result<Retrieved, Error> {
        let deadline = self.client.deadline(retrieval.deadline);
        self.check_fields(deadline)?;
        let index = &self.config.index;
        let types = self.types.of(&request::typed_fields(retrieval), &self.client, index, Some(deadline))?;
        let body = request::body(&self.config, retrieval, &types, deadline)?;
        let body = serde_json::to_vec(&body).expect("the keys of a request are texts");
        // The same query goes to the same copies of the shards, whose scores may differ in their last digits.
        let path =
            format!("/{}/_search?preference=lorank-{:016x}", encode(index.as_str()), hash(&retrieval.query.text));
        let call =
            Call { method: Method::POST, path: &path, body: Some(body), is_read: true, deadline: Some(deadline) };
        let callers = CallersParts {
            syntax: retrieval.query.syntax == QuerySyntax::Advanced,
            filters: !retrieval.query.filters.is_empty(),
            sort: !retrieval.sort.is_empty(),
            facets: !retrieval.facets.is_empty(),
        };
        let body = self.client.send(&call)?.checked(index.as_str(), callers)?;
        let retrieved = answer::read(&body, retrieval, &types, &self.config)?;
        for problem in &retrieved.problems {
            tracing::warn!(index = %index, "{problem}");
        }
        Ok(retrieved)
    }

    /// Checks once that the index has the configured fields, because the engine finds nothing in a field that does not
    /// exist, without an error.
    fn check_fields(&self, deadline: Deadline) -> Result<(), Error> {
        if self.is_checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let config = &self.config;
        let is_default = config.search_fields == ElasticConfig::default_search_fields();
        // A pattern may match no field. One of the default fields may be missing.
        let searched = config.search_fields.iter().map(|field| field.name.as_str()).filter(|name| !name.contains('*'));
        let searched =
            searched.filter(|_| config.query.is_none() && !is_default).map(|name| (name, "elastic.search_fields"));
        let read = config.text_fields.iter().map(|name| (name.as_str(), "elastic.text_fields"));
        let title = config.title_field.iter().filter(|name| *name != "title");
        let title = title.map(|name| (name.as_str(), "elastic.title_field"));
        let named: Vec<(&str, &'static str)> = searched.chain(read).chain(title).collect();
        let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        let types = self.types.of(&names, &self.client, &config.index, Some(deadline))?;
        if let Some((field, setting)) = named.iter().find(|(name, _)| !types.contains_key(*name)) {
            // An index without documents may have no fields yet.
            if field_types::all(&self.client, &config.index, Some(deadline))?.is_empty() {
                return Ok(());
            }
            let (index, field) = (config.index.to_string(), (*field).to_owned());
            return Err(Error::NoField { index, field, setting });
        }
        self.is_checked.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl FirstStage for ElasticFirstStage {
    fn retrieve(&self, query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
        Ok(self.search(&Retrieval::new(query, depth))?.candidates)
    }

    /// The number of matching documents is exact up to `total_hits_max`. Failed shards, and an engine that stopped at the
    /// deadline, are problems of the result.
    fn search(&self, retrieval: &Retrieval<'_>) -> Result<Retrieved, BoxError> {
        self.find(retrieval).map_err(Error::into_seam)
    }

    /// Snippets are the engine's highlights, which the search brought along; where it has none, the start of the text.
    fn snippets(&self, _query: &Query, candidates: &[&Candidate]) -> Result<Vec<Option<Snippet>>, BoxError> {
        let snippet = |candidate: &&Candidate| {
            candidate.snippet.clone().or_else(|| Snippet::beginning_of(&candidate.text, SNIPPET_CHARS))
        };
        Ok(candidates.iter().map(snippet).collect())
    }
}

/// FNV-1a, because the hash must be the same in all processes.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

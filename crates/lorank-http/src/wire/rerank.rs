//! Rerank requests and answers in the shapes of other services: text-embeddings-inference, Cohere (which Jina and vLLM follow),
//! and vLLM's scores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// `POST /rerank` as text-embeddings-inference has it.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub(crate) struct TeiRerank {
    /// What is searched for.
    pub query: String,
    /// The passages.
    pub texts: Vec<String>,
    /// Whether scores are the model's own; otherwise they are their sigmoid.
    #[serde(default)]
    pub raw_scores: bool,
    /// Whether each entry carries its passage.
    #[serde(default)]
    pub return_text: bool,
    /// Whether what is too long is cut. It always is, as with that service's `--auto-truncate`.
    pub truncate: Option<bool>,
    /// From which end it is cut: `Right` alone.
    pub truncation_direction: Option<String>,
    /// The adapter or alias; an addition of lorank's.
    pub model: Option<String>,
}

/// An entry of its answer, best first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct TeiRank {
    /// The passage's place in the request.
    pub index: usize,
    /// Its score.
    pub score: f32,
    /// The passage, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// `POST /v1/rerank` and `/v2/rerank` as Cohere, Jina and vLLM have them. Keys that none of them means anything by here are
/// taken and left aside, as those services do.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub(crate) struct Rerank {
    /// The adapter or alias; the default one where it is missing.
    pub model: Option<String>,
    /// What is searched for.
    pub query: String,
    /// The documents.
    pub documents: Vec<RerankDocument>,
    /// How many entries are wanted, best first; all by default.
    #[schema(minimum = 1)]
    pub top_n: Option<usize>,
    /// The fields of object documents that are read, in this order; by default `text`, else all.
    pub rank_fields: Option<Vec<String>>,
    /// Whether each entry carries its document.
    pub return_documents: Option<bool>,
    /// About how many tokens of each document are read at most.
    pub max_tokens_per_doc: Option<usize>,
}

/// A document: a text, or an object with fields.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a text or an object with fields")]
pub(crate) enum RerankDocument {
    /// A text.
    Text(String),
    /// An object. Its `text` is read, or the fields that the request names.
    Fields(Map<String, Json>),
}

/// The answer. It has the keys of all three services, so that each one's clients find theirs.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Reranked {
    /// The id of the request.
    pub id: String,
    /// Always `list`.
    pub object: &'static str,
    /// The adapter that scored; the base model's name where there was none.
    pub model: String,
    /// The entries, best first.
    pub results: Vec<RerankedDocument>,
    /// What it cost.
    pub usage: Usage,
    /// What it cost, in Cohere's words.
    #[schema(value_type = Object)]
    pub meta: Json,
}

/// An entry of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct RerankedDocument {
    /// The document's place in the request.
    pub index: usize,
    /// The sigmoid of the model's score.
    pub relevance_score: f32,
    /// The document, where it was asked for; a text as `{"text": ...}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub document: Option<Map<String, Json>>,
}

/// About how many tokens were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Of queries and documents.
    pub prompt_tokens: usize,
    /// The same: nothing is written.
    pub total_tokens: usize,
}

/// `POST /score` and `/v1/score` as vLLM has them.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[schema(as = ScorePairs)]
pub(crate) struct ScoreBody {
    /// The adapter or alias; the default one where it is missing.
    pub model: Option<String>,
    /// One query, or as many as there are texts in `text_2`.
    #[serde(alias = "queries", alias = "data_1")]
    pub text_1: OneOrMany,
    /// One passage or more.
    #[serde(alias = "documents", alias = "data_2")]
    pub text_2: OneOrMany,
}

/// A text or a list of texts.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub(crate) enum OneOrMany {
    /// A text.
    One(String),
    /// Texts.
    Many(Vec<String>),
}

/// The answer to a [`ScoreBody`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Scored {
    /// The id of the request.
    pub id: String,
    /// Always `list`.
    pub object: &'static str,
    /// When, in seconds since 1970.
    pub created: i64,
    /// The adapter that scored; the base model's name where there was none.
    pub model: String,
    /// A score for each pair, in their order.
    pub data: Vec<ScoredPair>,
    /// What it cost.
    pub usage: Usage,
}

/// The score of one pair.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ScoredPair {
    /// The pair's place.
    pub index: usize,
    /// Always `score`.
    pub object: &'static str,
    /// The sigmoid of the model's score.
    pub score: f32,
}

impl PartialSchema for RerankDocument {
    fn schema() -> RefOr<Schema> {
        let of_type = |kind| ObjectBuilder::new().schema_type(kind);
        let either = OneOfBuilder::new().item(of_type(Type::String)).item(of_type(Type::Object));
        let description = "A text, or an object with fields: its `text` is read, or the fields that the request names.";
        either.description(Some(description)).into()
    }
}

impl ToSchema for RerankDocument {}

impl RerankDocument {
    /// What the model reads: the text; of an object the named fields on lines of `name: value`, as Cohere's guide writes them.
    pub(crate) fn text(&self, rank_fields: Option<&[String]>) -> String {
        let fields = match self {
            Self::Text(text) => return text.clone(),
            Self::Fields(fields) => fields,
        };
        match (rank_fields, fields.get("text")) {
            (None, Some(Json::String(text))) => text.clone(),
            (Some([one]), _) if fields.get(one).is_some_and(Json::is_string) => plain(&fields[one]),
            (Some(names), _) => lines(names.iter().filter_map(|name| Some((name.as_str(), fields.get(name)?)))),
            (None, _) => lines(fields.iter().map(|(name, value)| (name.as_str(), value))),
        }
    }

    /// The document as it goes back.
    pub(crate) fn into_object(self) -> Map<String, Json> {
        match self {
            Self::Text(text) => Map::from_iter([("text".to_owned(), text.into())]),
            Self::Fields(fields) => fields,
        }
    }
}

fn lines<'a>(fields: impl Iterator<Item = (&'a str, &'a Json)>) -> String {
    fields.map(|(name, value)| format!("{name}: {}", plain(value))).collect::<Vec<_>>().join("\n")
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `GET /info` as text-embeddings-inference has it, as far as lorank has what it tells.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Info {
    /// The base model's name.
    pub model_id: String,
    /// The hash of its files.
    pub model_sha: String,
    /// The arithmetic.
    pub model_dtype: &'static str,
    /// `{"reranker": ...}`.
    #[schema(value_type = Object)]
    pub model_type: BTreeMap<&'static str, Json>,
    /// How many searches may be under way.
    pub max_concurrent_requests: usize,
    /// The most tokens of a pair; null where the service does not know.
    pub max_input_length: Option<usize>,
    /// The most documents of a request.
    pub max_client_batch_size: usize,
    /// Whether what is too long is cut: it is.
    pub auto_truncate: bool,
    /// The program's version.
    pub version: &'static str,
}

/// `GET /v1/models` as OpenAI has it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// Always `list`.
    pub object: &'static str,
    /// What `model` may say.
    pub data: Vec<ListedModel>,
}

/// A base model, an adapter or an alias.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ListedModel {
    /// Its name.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// Always 0: a name has no age.
    pub created: i64,
    /// Always `lorank`.
    pub owned_by: &'static str,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_read_by_their_text_or_by_the_fields_that_are_named() {
        let check = |document: Json, rank_fields: Option<&[&str]>, expected: &str| {
            let document: RerankDocument = serde_json::from_value(document).unwrap();
            let rank_fields = rank_fields.map(|names| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
            assert_eq!(document.text(rank_fields.as_deref()), expected);
        };
        check(json!("plain"), None, "plain");
        check(json!("plain"), Some(&["title"]), "plain");
        check(json!({"text": "a", "title": "b"}), None, "a");
        check(json!({"text": "a", "title": "b"}), Some(&["title"]), "b");
        check(json!({"text": "a", "title": "b"}), Some(&["title", "text", "gone"]), "title: b\ntext: a");
        check(json!({"title": "b", "year": 3}), None, "title: b\nyear: 3");
    }
}

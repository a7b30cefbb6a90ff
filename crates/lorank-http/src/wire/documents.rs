//! Documents, and the outcome of changes to them.

use std::time::Duration;

use lorank_core::QuerySyntax;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use super::{FieldsJson, SyntaxJson, filters};
use crate::{DocumentOutcome, DocumentSelection, LineOutcome, RequestId, ServerError, excerpt, wire_word};

/// A stored document.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct StoredDocument<'a> {
    /// The id.
    pub id: &'a str,
    /// The stored fields except the id.
    #[schema(value_type = Object)]
    pub fields: FieldsJson<'a>,
}

/// The outcome of adding documents. All changes are on disk, and every later search sees them.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct BulkAnswer<'a> {
    /// The number of added documents.
    pub n_added: usize,
    /// The number of documents that replaced one with the same id.
    pub n_replaced: usize,
    /// The number of lines or array elements that are not valid documents.
    pub n_refused: usize,
    /// The number of documents in the index now.
    pub n_documents: u64,
    /// The outcome of each line that is not blank, or of each array element, in their order.
    pub lines: Vec<LineJson<'a>>,
    /// The duration in milliseconds.
    pub took_millis: f64,
    /// The request id.
    pub request_id: String,
}

/// The outcome of a line or array element.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Line)]
pub(crate) struct LineJson<'a> {
    /// The line number on which it begins, from 1. Blank lines count.
    pub line: u64,
    /// The number of the array element, from 1. Not present for JSON Lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<u64>,
    /// The id of the document; null if the line is not a valid document.
    pub id: Option<&'a str>,
    /// The outcome.
    pub outcome: OutcomeJson,
    /// The error of a refused line; null otherwise.
    pub error: Option<LineErrorJson>,
}

/// The outcome of a line or array element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = LineOutcome)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutcomeJson {
    /// A new document.
    Added,
    /// The document replaced one with the same id.
    Replaced,
    /// Not a valid document. The others are not affected.
    Refused,
}

/// The error of a line.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = LineError)]
pub(crate) struct LineErrorJson {
    /// The kind as a constant for programs, as in the errors of requests.
    pub kind: &'static str,
    /// The error message.
    pub message: String,
}

/// A selection of documents to delete. Unknown keys are rejected.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
#[schema(as = Deletion)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteBody {
    /// Deletes documents that match this query. A plain query matches documents with any of its words.
    pub query: Option<String>,
    /// The syntax of `query`. Default: `plain`.
    pub syntax: Option<SyntaxJson>,
    /// Deletes documents that match these filters, as in a search.
    #[schema(value_type = Option<Object>)]
    pub filters: Option<Map<String, Json>>,
    /// Deletes all documents. Only without `query` and `filters`.
    #[serde(default)]
    pub all: bool,
}

/// The outcome of deleting documents by query.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct DeleteAnswer {
    /// The number of deleted documents.
    pub n_deleted: u64,
    /// The number of documents in the index now.
    pub n_documents: u64,
    /// The request id.
    pub request_id: String,
}

impl<'a> BulkAnswer<'a> {
    pub(crate) fn new(outcomes: &'a [LineOutcome], n_documents: u64, took: Duration, request_id: &RequestId) -> Self {
        let lines: Vec<LineJson<'a>> = outcomes.iter().map(LineJson::from).collect();
        let count = |outcome| lines.iter().filter(|line| line.outcome == outcome).count();
        Self {
            n_added: count(OutcomeJson::Added),
            n_replaced: count(OutcomeJson::Replaced),
            n_refused: count(OutcomeJson::Refused),
            n_documents,
            lines,
            took_millis: took.as_micros() as f64 / 1_000.0,
            request_id: request_id.to_string(),
        }
    }
}

impl<'a> From<&'a LineOutcome> for LineJson<'a> {
    fn from(LineOutcome { line, item, outcome }: &'a LineOutcome) -> Self {
        let (id, outcome, error) = match outcome {
            DocumentOutcome::Added(id) => (Some(id), OutcomeJson::Added, None),
            DocumentOutcome::Replaced(id) => (Some(id), OutcomeJson::Replaced, None),
            DocumentOutcome::Refused { kind, message } => {
                let message = excerpt::message(message.clone());
                (None, OutcomeJson::Refused, Some(LineErrorJson { kind: wire_word(*kind), message }))
            }
        };
        Self { line: *line, item: *item, id: id.map(|id| id.as_str()), outcome, error }
    }
}

impl DeleteBody {
    /// The selected documents.
    pub(crate) fn into_selection(self) -> Result<DocumentSelection, ServerError> {
        let invalid = |field: &str, problem: &str| ServerError::InvalidValue {
            field: field.to_owned(),
            problem: problem.to_owned(),
        };
        let filters = filters::read(self.filters.unwrap_or_default())?;
        let is_open = self.query.is_none() && filters.is_empty();
        if self.all && !is_open {
            return Err(invalid("all", "selects every document; remove it, or remove `query` and `filters`"));
        }
        if is_open && !self.all {
            return Err(invalid(
                "query",
                "is missing, and so are `filters`; use `\"all\": true` to delete every document",
            ));
        }
        if self.syntax.is_some() && self.query.is_none() {
            return Err(invalid("syntax", "has no effect without a `query`; remove it"));
        }
        let syntax = self.syntax.map_or(QuerySyntax::Plain, QuerySyntax::from);
        Ok(DocumentSelection { words: self.query.map(|text| (text, syntax)), filters })
    }
}

//! Documents, and what becomes of them.

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
    /// Its id.
    pub id: &'a str,
    /// Its other fields.
    #[schema(value_type = Object)]
    pub fields: FieldsJson<'a>,
}

/// What became of a bulk request. By then it is on the disk, and every search that begins later sees it.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct BulkAnswer<'a> {
    /// How many documents were added.
    pub n_added: usize,
    /// How many took the place of one with the same id.
    pub n_replaced: usize,
    /// How many lines, or elements of the array, are no documents.
    pub n_refused: usize,
    /// How many documents there are now.
    pub n_documents: u64,
    /// Each line that is not blank, or each element of the array, in their order.
    pub lines: Vec<LineJson<'a>>,
    /// How long it took.
    pub took_millis: f64,
    /// The id of the request.
    pub request_id: String,
}

/// What became of a line.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Line)]
pub(crate) struct LineJson<'a> {
    /// The number of the line on which it begins, from 1; blank lines count.
    pub line: u64,
    /// The number of the document in its array, from 1. JSON lines have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<u64>,
    /// The document's id; null where the line is no document.
    pub id: Option<&'a str>,
    /// What became of it.
    pub outcome: OutcomeJson,
    /// Why it was refused; null otherwise.
    pub error: Option<LineErrorJson>,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = LineOutcome)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutcomeJson {
    /// There was no document with its id.
    Added,
    /// It took the place of one.
    Replaced,
    /// It is no document. The others stand.
    Refused,
}

/// Why a line was refused.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = LineError)]
pub(crate) struct LineErrorJson {
    /// One word for machines, as in the errors of requests.
    pub kind: &'static str,
    /// What is wrong, for people.
    pub message: String,
}

/// The documents to delete. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
#[schema(as = Deletion)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteBody {
    /// Those that this matches: with the plain syntax, those that have any of its words.
    pub query: Option<String>,
    /// How `query` is read; `plain` by default.
    pub syntax: Option<SyntaxJson>,
    /// Those for which these conditions hold, as in a search.
    #[schema(value_type = Option<Object>)]
    pub filters: Option<Map<String, Json>>,
    /// Said where all documents are meant, without `query` and `filters`.
    #[serde(default)]
    pub all: bool,
}

/// What a deletion by query did.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct DeleteAnswer {
    /// How many documents were deleted.
    pub n_deleted: u64,
    /// How many there are now.
    pub n_documents: u64,
    /// The id of the request.
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
    /// The documents that are meant.
    pub(crate) fn into_selection(self) -> Result<DocumentSelection, ServerError> {
        let invalid = |field: &str, problem: &str| ServerError::InvalidValue {
            field: field.to_owned(),
            problem: problem.to_owned(),
        };
        let filters = filters::read(self.filters.unwrap_or_default())?;
        let is_open = self.query.is_none() && filters.is_empty();
        if self.all && !is_open {
            return Err(invalid("all", "is for every document; leave it out, or leave out `query` and `filters`"));
        }
        if is_open && !self.all {
            return Err(invalid(
                "query",
                "is missing, and so are `filters`; say `\"all\": true` to delete every document",
            ));
        }
        if self.syntax.is_some() && self.query.is_none() {
            return Err(invalid("syntax", "is of no use without a `query`"));
        }
        let syntax = self.syntax.map_or(QuerySyntax::Plain, QuerySyntax::from);
        Ok(DocumentSelection { words: self.query.map(|text| (text, syntax)), filters })
    }
}

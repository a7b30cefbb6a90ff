//! Judgments of documents for queries.

use std::collections::HashMap;

use lorank_experiment_store::{Judgment, JudgmentCounts};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ServerError;

/// Judgments, either as `judgments`, or as `qrels` with the texts of their `queries`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewJudgments)]
#[serde(deny_unknown_fields)]
pub(crate) struct JudgmentsBody {
    /// The judgments. Of several for the same query and document, the last one counts.
    pub judgments: Option<Vec<JudgmentJson>>,
    /// TREC qrels with lines `QUERY 0 DOCUMENT GRADE`, or BEIR's table. `QUERY` is an id in `queries`. Grades below 0 count as 0.
    pub qrels: Option<String>,
    /// The texts of the queries of `qrels`, by id.
    pub queries: Option<HashMap<String, String>>,
}

/// The relevance of a document to a query.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Judgment)]
#[serde(deny_unknown_fields)]
pub(crate) struct JudgmentJson {
    /// The query text, as in searches.
    #[schema(min_length = 1)]
    pub query: String,
    /// The id of the document.
    #[schema(min_length = 1)]
    pub document: String,
    /// The grade, from 0 for not relevant. It is the gain of nDCG.
    pub grade: u32,
}

/// The judgments.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `lorank-experiment-store` writes")]
pub(crate) struct JudgmentList {
    /// The judgments in the order of queries and documents.
    pub judgments: Vec<JudgmentJson>,
}

/// The number of stored judgments.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JudgmentCounts)]
pub(crate) struct JudgmentCountsJson {
    /// The number of judgments.
    pub n_judgments: u64,
    /// The number of judged queries.
    pub n_queries: u64,
}

impl JudgmentsBody {
    /// The judgments for the store.
    ///
    /// # Errors
    /// Both forms or neither, a judgment without a query or document, or an invalid line of qrels.
    pub(crate) fn into_judgments(self) -> Result<Vec<Judgment>, ServerError> {
        match (self.judgments, self.qrels, self.queries) {
            (Some(judgments), None, None) => judgments.into_iter().enumerate().map(JudgmentJson::checked).collect(),
            (None, Some(qrels), Some(queries)) => Ok(Judgment::from_qrels(&qrels, &queries)?),
            (Some(_), Some(_), _) => Err(invalid("qrels", "cannot be combined with `judgments`; send one of them")),
            (Some(_), None, Some(_)) => {
                Err(invalid("queries", "is only for `qrels`; `judgments` have the texts of their queries"))
            }
            (None, Some(_), None) => {
                Err(invalid("queries", "is missing; send the texts of the queries of `qrels`, by id"))
            }
            (None, None, _) => Err(invalid("judgments", "is missing; send them, or `qrels` with `queries`")),
        }
    }
}

impl JudgmentJson {
    fn checked((n, one): (usize, Self)) -> Result<Judgment, ServerError> {
        let Self { query, document, grade } = one;
        for (name, text) in [("query", &query), ("document", &document)] {
            if text.is_empty() {
                return Err(invalid(&format!("judgments[{n}].{name}"), "is empty"));
            }
        }
        Ok(Judgment { query, document, grade })
    }
}

fn invalid(field: &str, problem: &str) -> ServerError {
    ServerError::InvalidValue { field: field.to_owned(), problem: problem.to_owned() }
}

impl From<JudgmentCounts> for JudgmentCountsJson {
    fn from(JudgmentCounts { n_judgments, n_queries }: JudgmentCounts) -> Self {
        Self { n_judgments, n_queries }
    }
}

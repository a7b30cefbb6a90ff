//! Judgments of documents for queries.

use std::collections::HashMap;

use lorank_experiment_store::{Judgment, JudgmentCounts};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ServerError;

/// Judgments: `judgments`, or `qrels` with the texts of their `queries`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewJudgments)]
#[serde(deny_unknown_fields)]
pub(crate) struct JudgmentsBody {
    /// The judgments. Of two for one query and document the last one counts.
    pub judgments: Option<Vec<JudgmentJson>>,
    /// TREC qrels, a line `QUERY 0 DOCUMENT GRADE` each, or BEIR's table; a query is named by its id in `queries`. A grade below 0
    /// counts as 0.
    pub qrels: Option<String>,
    /// The texts of the queries of `qrels` by their ids.
    pub queries: Option<HashMap<String, String>>,
}

/// How relevant a document is to a query.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Judgment)]
#[serde(deny_unknown_fields)]
pub(crate) struct JudgmentJson {
    /// The text of the query, as it is searched for.
    #[schema(min_length = 1)]
    pub query: String,
    /// The id of the document.
    #[schema(min_length = 1)]
    pub document: String,
    /// 0 for not relevant; more is better. It is the gain of nDCG.
    pub grade: u32,
}

/// The judgments.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `lorank-experiment-store` writes")]
pub(crate) struct JudgmentList {
    /// All of them, by query and document.
    pub judgments: Vec<JudgmentJson>,
}

/// How many judgments there are now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JudgmentCounts)]
pub(crate) struct JudgmentCountsJson {
    /// All of them.
    pub n_judgments: u64,
    /// The queries that they are about.
    pub n_queries: u64,
}

impl JudgmentsBody {
    /// The judgments as the store takes them.
    ///
    /// # Errors
    /// Both forms or neither; a judgment without a query or a document; a line of qrels that cannot be understood.
    pub(crate) fn into_judgments(self) -> Result<Vec<Judgment>, ServerError> {
        match (self.judgments, self.qrels, self.queries) {
            (Some(judgments), None, None) => judgments.into_iter().enumerate().map(JudgmentJson::checked).collect(),
            (None, Some(qrels), Some(queries)) => Ok(Judgment::from_qrels(&qrels, &queries)?),
            (Some(_), Some(_), _) => Err(invalid("qrels", "stands beside `judgments`; send one of them")),
            (Some(_), None, Some(_)) => {
                Err(invalid("queries", "belongs to `qrels`; `judgments` have their queries' texts"))
            }
            (None, Some(_), None) => {
                Err(invalid("queries", "is missing: the texts of the queries of `qrels` by their ids"))
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

//! What a candidate would have done: the records of shadows, and what they come to.

use lorank_core::AdapterId;
use rusqlite::{Connection, Row, params};

use crate::ExperimentError;

/// One answer that a candidate adapter ranked too, unseen.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowRecord {
    /// The request id of the answer that went out.
    pub request_id: String,
    /// The name of the shadow, or of the experiment that it belongs to.
    pub name: String,
    /// The adapter that ranked unseen.
    pub candidate: AdapterId,
    /// What came of it.
    pub outcome: ShadowOutcome,
    /// How long the candidate took.
    pub latency_micros: u64,
    /// When, in milliseconds since 1970.
    pub at_millis: i64,
}

/// What came of a candidate's ranking.
#[derive(Debug, Clone, PartialEq)]
pub enum ShadowOutcome {
    /// It ranked, and agreed so much with the answer that went out.
    Ranked {
        /// Rank-biased overlap.
        rbo: f64,
        /// Kendall's tau, from -1 to 1; `None` where fewer than two hits leave it undefined.
        kendall_tau: Option<f64>,
        /// The share of the first ten hits that both have.
        overlap_at_10: f64,
    },
    /// It failed, and why.
    Failed(String),
}

/// What the records of one shadow come to. Means are over the answers that were ranked, `None` without one.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowSummary {
    /// The name of the shadow.
    pub name: String,
    /// The adapter that ranked unseen.
    pub candidate: String,
    /// How many answers it was to rank.
    pub n_answers: u64,
    /// How many of them failed.
    pub n_failures: u64,
    /// The mean rank-biased overlap.
    pub mean_rbo: Option<f64>,
    /// The mean of Kendall's tau.
    pub mean_kendall_tau: Option<f64>,
    /// The mean share of the first ten hits that both have.
    pub mean_overlap_at_10: Option<f64>,
    /// The mean time that the candidate took.
    pub mean_latency_micros: Option<f64>,
}

impl ShadowOutcome {
    fn columns(&self) -> (Option<f64>, Option<f64>, Option<f64>, Option<&str>) {
        match self {
            Self::Ranked { rbo, kendall_tau, overlap_at_10 } => (Some(*rbo), *kendall_tau, Some(*overlap_at_10), None),
            Self::Failed(why) => (None, None, None, Some(why)),
        }
    }
}

pub(super) fn insert(connection: &Connection, record: &ShadowRecord) -> rusqlite::Result<usize> {
    let (rbo, kendall_tau, overlap, failure) = record.outcome.columns();
    let mut statement = connection.prepare_cached(
        "INSERT INTO shadows (request_id, name, candidate, rbo, kendall_tau, overlap_at_10, failure, latency_micros, at_millis)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
    )?;
    let latency = super::clamped(record.latency_micros);
    let (request_id, candidate) = (&record.request_id, record.candidate.as_str());
    let name = &record.name;
    statement.execute(params![
        request_id,
        name,
        candidate,
        rbo,
        kendall_tau,
        overlap,
        failure,
        latency,
        record.at_millis
    ])
}

/// The summaries of all shadows, by name and candidate.
pub(super) fn summaries(connection: &Connection) -> Result<Vec<ShadowSummary>, ExperimentError> {
    let read = || -> rusqlite::Result<Vec<ShadowSummary>> {
        let mut statement = connection.prepare(
            "SELECT name, candidate, count(*), count(failure), avg(rbo), avg(kendall_tau), avg(overlap_at_10),
                    avg(latency_micros) FILTER (WHERE failure IS NULL)
             FROM shadows GROUP BY name, candidate ORDER BY name, candidate",
        )?;
        statement.query_map([], summary)?.collect()
    };
    read().map_err(ExperimentError::database("read the shadows"))
}

fn summary(row: &Row<'_>) -> rusqlite::Result<ShadowSummary> {
    Ok(ShadowSummary {
        name: row.get(0)?,
        candidate: row.get(1)?,
        n_answers: row.get(2)?,
        n_failures: row.get(3)?,
        mean_rbo: row.get(4)?,
        mean_kendall_tau: row.get(5)?,
        mean_overlap_at_10: row.get(6)?,
        mean_latency_micros: row.get(7)?,
    })
}

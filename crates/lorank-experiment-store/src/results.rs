//! What the store answers, as plain values: another store could give the same.

use std::sync::Arc;

use lorank_experiments::{QueryRecord, Report};
use serde::Serialize;

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    /// How many were new, and are kept for good.
    pub accepted: usize,
    /// How many were known already.
    pub duplicates: usize,
    /// How many of the new events are kept and belong to no answer.
    pub unattributed: Unattributed,
}

/// New events that are kept and belong to no answer, by the reason. An answer that comes later still gets its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unattributed {
    /// Their `query_id` is missing, or that of no answer so far.
    pub n_unknown_query: usize,
    /// Their object, or the rank that stands for it, is none of the answer's hits.
    pub n_unknown_object: usize,
    /// They are before their answer, by more than clocks may be off.
    pub n_before_answer: usize,
}

impl Unattributed {
    /// All of them.
    pub fn n(&self) -> usize {
        self.n_unknown_query + self.n_unknown_object + self.n_before_answer
    }
}

impl std::ops::AddAssign for Unattributed {
    fn add_assign(&mut self, other: Self) {
        self.n_unknown_query += other.n_unknown_query;
        self.n_unknown_object += other.n_unknown_object;
        self.n_before_answer += other.n_before_answer;
    }
}

/// An experiment's answers with their clicks.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    /// The answers, oldest first.
    pub records: Vec<QueryRecord>,
    /// What was joined, and what was not.
    pub counts: JoinCounts,
}

/// What an experiment has shown by now.
#[derive(Debug, Clone, PartialEq)]
pub struct CurrentReport {
    /// The report.
    pub report: Arc<Report>,
    /// Two reports of one revision are the same. No other process gives the same revisions, except by a chance of one in 2^64.
    pub revision: u64,
}

/// How relevant a document is to a query, by somebody's judgment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgment {
    /// The text of the query, as it is searched for.
    pub query: String,
    /// The id of the document.
    pub document: String,
    /// 0 for not relevant; more is better.
    pub grade: u32,
}

/// How many judgments there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgmentCounts {
    /// All of them.
    pub n_judgments: u64,
    /// The queries that they are about.
    pub n_queries: u64,
}

/// What was joined to an experiment's answers, and what was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JoinCounts {
    /// The queries: answers, where pages of one query are one.
    pub n_records: u64,
    /// The clicks on their hits.
    pub n_clicks: u64,
    /// Clicks that named one of these answers but none of its hits, or are before it by more than clocks may be off. They are kept,
    /// and in no record.
    pub n_clicks_outside: u64,
    /// Events, over all the store, whose `query_id` is that of no exposure, or missing. They are kept.
    pub n_unknown_events: u64,
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

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// The exposures.
    pub n_exposures: u64,
    /// The events.
    pub n_events: u64,
    /// Those of them whose `query_id` is that of no exposure, or missing.
    pub n_unknown_events: u64,
    /// The shadows' records.
    pub n_shadows: u64,
    /// Exposures and shadows' records that were dropped since the store was opened, mostly since the queue was full.
    pub n_dropped: u64,
    /// Exposures and shadows' records that could not be written since the store was opened.
    pub n_lost: u64,
}

/// How much was deleted because of its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// The exposures.
    pub n_exposures: usize,
    /// The events.
    pub n_events: usize,
    /// The shadows' records.
    pub n_shadows: usize,
}

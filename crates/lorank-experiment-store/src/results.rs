//! The results of the store, as plain values that another store can return too.

use std::sync::Arc;

use lorank_experiments::{QueryRecord, Report};
use serde::Serialize;

/// The result of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    /// The number of new records, which are stored.
    pub accepted: usize,
    /// The number of records that were stored before.
    pub duplicates: usize,
    /// The number of new events that are stored but belong to no answer.
    pub unattributed: Unattributed,
}

/// New events that are stored but belong to no answer, by reason. They count for an answer that is stored later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unattributed {
    /// Their `query_id` is missing or unknown so far.
    pub n_unknown_query: usize,
    /// Their object or rank is not among the answer's hits.
    pub n_unknown_object: usize,
    /// They are before their answer by more than the tolerance for wrong clocks.
    pub n_before_answer: usize,
}

impl Unattributed {
    /// The total number.
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
    /// The numbers of joined and unjoined events.
    pub counts: JoinCounts,
}

/// The current report of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct CurrentReport {
    /// The report.
    pub report: Arc<Report>,
    /// Reports with the same revision are equal. Revisions of different processes differ, except with a probability of 2^-64.
    pub revision: u64,
}

/// A logged search with its clicks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedSearch {
    /// The query text.
    pub query: String,
    /// The ids of the hits, from rank 1.
    pub hits: Vec<String>,
    /// The ranks of the clicks, from 1, in the order of time.
    pub clicked: Vec<usize>,
    /// The time of the answer, in milliseconds since 1970.
    pub at_millis: i64,
}

/// A relevance judgment of a document for a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgment {
    /// The query text.
    pub query: String,
    /// The id of the document.
    pub document: String,
    /// The grade; 0 means not relevant.
    pub grade: u32,
}

/// The number of judgments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgmentCounts {
    /// All of them.
    pub n_judgments: u64,
    /// The number of judged queries.
    pub n_queries: u64,
}

/// The numbers of events that were joined to an experiment's answers, and of those that were not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JoinCounts {
    /// The queries: answers, where pages of one query are one.
    pub n_records: u64,
    /// The clicks on their hits.
    pub n_clicks: u64,
    /// Clicks on one of these answers but on none of its hits, or before the answer by more than the tolerance for wrong clocks. They
    /// are stored, but in no record.
    pub n_clicks_outside: u64,
    /// Events in the whole store whose `query_id` is missing or unknown. They are stored.
    pub n_unknown_events: u64,
}

/// The summary of a shadow's results. Means are over the ranked answers; `None` without any.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowSummary {
    /// The name of the shadow.
    pub name: String,
    /// The candidate adapter.
    pub candidate: String,
    /// The number of answers to rank.
    pub n_answers: u64,
    /// The number of failures.
    pub n_failures: u64,
    /// The mean rank-biased overlap.
    pub mean_rbo: Option<f64>,
    /// The mean of Kendall's tau.
    pub mean_kendall_tau: Option<f64>,
    /// The mean share of common hits among the first ten.
    pub mean_overlap_at_10: Option<f64>,
    /// The mean latency of the candidate.
    pub mean_latency_micros: Option<f64>,
}

/// The contents of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// The exposures.
    pub n_exposures: u64,
    /// The events.
    pub n_events: u64,
    /// The events whose `query_id` is missing or unknown.
    pub n_unknown_events: u64,
    /// The shadow results.
    pub n_shadows: u64,
    /// Exposures and shadow results that were dropped since the store was opened, usually because the queue was full.
    pub n_dropped: u64,
    /// Exposures and shadow results that could not be written since the store was opened.
    pub n_lost: u64,
}

/// The numbers of records that were copied into another store. What was there already is not counted, except for judgments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// The experiments.
    pub n_experiments: u64,
    /// The exposures.
    pub n_exposures: u64,
    /// The events.
    pub n_events: u64,
    /// The shadow results.
    pub n_shadows: u64,
    /// The judgments.
    pub n_judgments: u64,
}

/// The numbers of records deleted because of their age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// The exposures.
    pub n_exposures: usize,
    /// The events.
    pub n_events: usize,
    /// The shadow results.
    pub n_shadows: usize,
}

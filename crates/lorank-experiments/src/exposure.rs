//! Exposures: one record for each answered search.

use serde::{Deserialize, Serialize};

use crate::{Event, ExperimentError};

/// The maximum total length in bytes of the texts of an exposure.
pub const EXPOSURE_BYTES_MAX: usize = 256 << 10;

/// The record of an answered search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The answer's request id, which clients send back as `query_id`.
    pub request_id: String,
    /// The name of the index that was searched.
    pub index: String,
    /// The text of the query.
    pub query: String,
    /// The unit in the request. It is also stored for answers outside of experiments, as the unit's past.
    pub unit_id: Option<String>,
    /// The experiment that chose the ranking; `None` for answers outside of experiments.
    pub assigned: Option<Assigned>,
    /// The ids of the hits from rank 1 to the last returned hit.
    pub hits: Vec<String>,
    /// The rank of the first returned hit, from 1; above 1 for later pages of a query.
    pub first_rank: usize,
    /// The duration of the search in microseconds.
    pub latency_micros: u64,
    /// The reason if the answer fell back to first-stage order.
    pub fallback: Option<String>,
    /// The exact model that ranked, as the digests of its version. `None` for the first stage.
    pub model: Option<String>,
    /// The time of the answer, in milliseconds since 1970.
    pub at_millis: i64,
}

/// How an answer took part in an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The experiment.
    pub experiment: String,
    /// The assigned unit.
    pub unit: String,
    /// The index of the arm in [`Experiment::arms`](crate::Experiment::arms); 0 for interleaved answers.
    pub arm: usize,
    /// The name of the arm; empty for interleaved answers.
    pub arm_name: String,
    /// Whether the request named the arm or its adapter.
    pub forced: bool,
    /// For interleaved answers, the arm that contributed the hit at each rank, from rank 1; otherwise empty.
    pub teams: Vec<u8>,
    /// For interleaved answers, the rankings of the arms in their order; otherwise empty.
    pub arms: Vec<InterleavedArm>,
}

/// The ranking of an arm for an interleaved answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterleavedArm {
    /// The exact model that ranked, as in [`Exposure::model`].
    pub model: Option<String>,
    /// Its ranking in comparison with the control's.
    pub ranking: ArmRanking,
}

/// An arm's ranking in comparison with the control's, down to the last returned hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmRanking {
    /// The same hits in the same order, so clicks cannot distinguish the two. Always the value of the control.
    Same,
    /// Different hits or a different order.
    Different,
    /// The arm or the control failed.
    Missing,
}

impl Exposure {
    /// Checks that it has a request id, a team for each hit or none, and a bounded size.
    pub fn check(&self) -> Result<(), ExperimentError> {
        let error = |field, why: String| Err(ExperimentError::Record { record: "exposure", field, why });
        if self.request_id.is_empty() {
            return error("request_id", "is empty; set the answer's request id".into());
        }
        let n_teams = self.assigned.as_ref().map_or(0, |assigned| assigned.teams.len());
        if n_teams != 0 && n_teams != self.hits.len() {
            return error("teams", format!("names {n_teams} teams for {} hits; give one for each", self.hits.len()));
        }
        if self.n_bytes() > EXPOSURE_BYTES_MAX {
            return error(
                "hits",
                format!("and the other texts are more than {EXPOSURE_BYTES_MAX} bytes; return fewer hits"),
            );
        }
        Ok(())
    }

    /// The rank of an event's hit, from 1; `None` if it is about none of the hits.
    ///
    /// The object's id takes precedence, because clients count ordinals from 0 or 1, by page or over all pages, and other elements
    /// between the hits have ordinals too.
    pub fn rank_of(&self, event: &Event) -> Option<usize> {
        match &event.object_id {
            Some(id) => self.hits.iter().position(|hit| hit == id).map(|at| at + 1),
            None => event.ordinal.map(|ordinal| ordinal as usize).filter(|rank| (1..=self.hits.len()).contains(rank)),
        }
    }

    /// The total length of its texts in bytes.
    pub fn n_bytes(&self) -> usize {
        let assigned = self.assigned.as_ref();
        let assigned = assigned.map_or(0, |a| a.experiment.len() + a.unit.len() + a.arm_name.len() + a.teams.len());
        let texts = [&self.fallback, &self.model].into_iter().flatten().map(String::len).sum::<usize>();
        let hits = self.hits.iter().map(String::len).sum::<usize>();
        let arms = self.assigned.iter().flat_map(|assigned| &assigned.arms);
        let arms = arms.map(|arm| arm.model.as_ref().map_or(0, String::len) + size_of::<InterleavedArm>());
        let unit = self.unit_id.as_ref().map_or(0, String::len);
        self.request_id.len()
            + self.index.len()
            + self.query.len()
            + unit
            + assigned
            + arms.sum::<usize>()
            + texts
            + hits
    }
}

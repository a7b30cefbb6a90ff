//! What was shown: one record for each answered search.

use serde::{Deserialize, Serialize};

use crate::{Event, ExperimentError};

/// The most bytes that the texts of one exposure take together.
pub const EXPOSURE_BYTES_MAX: usize = 256 << 10;

/// One answered search, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The answer's request id, which clients send back as `query_id`.
    pub request_id: String,
    /// The name of the index that was searched.
    pub index: String,
    /// The text of the query.
    pub query: String,
    /// Whom the request named as its unit. It is kept for answers that no experiment was part of, as the unit's past.
    pub unit_id: Option<String>,
    /// The experiment that chose the ranking; `None` for an answer that no experiment was part of.
    pub assigned: Option<Assigned>,
    /// The ids of the hits by rank, rank 1 first, up to the last that was returned.
    pub hits: Vec<String>,
    /// The rank of the first hit that was returned, counted from 1: above 1 for a later page of a query.
    pub first_rank: usize,
    /// How long the search took.
    pub latency_micros: u64,
    /// The reason, where the answer was in first-stage order although a model was to rerank.
    pub fallback: Option<String>,
    /// Which exact model ranked: the digests of its version, as text. `None` for the first stage.
    pub model: Option<String>,
    /// When it was answered, in milliseconds since 1970.
    pub at_millis: i64,
}

/// The part that an experiment had in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The experiment.
    pub experiment: String,
    /// What was assigned.
    pub unit: String,
    /// The place of the arm in [`Experiment::arms`](crate::Experiment::arms); for an interleaved answer 0.
    pub arm: usize,
    /// The arm's name; for an interleaved answer empty.
    pub arm_name: String,
    /// Whether the request named its arm or adapter itself.
    pub forced: bool,
    /// For interleaved answers, the arm that contributed the hit at each rank (rank 1 first); empty for others.
    pub teams: Vec<u8>,
    /// For interleaved answers, what each arm of the experiment ranked, in their order; empty for others.
    pub arms: Vec<InterleavedArm>,
}

/// What one arm had to do with an interleaved answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterleavedArm {
    /// Which exact model ranked, as in [`Exposure::model`].
    pub model: Option<String>,
    /// Its ranking beside the control's.
    pub ranking: ArmRanking,
}

/// An arm's ranking beside the control's, down to the last hit that was returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmRanking {
    /// The same hits in the same order, so that no click can tell the two apart. The control's own is.
    Same,
    /// Other hits or another order.
    Different,
    /// It could not rank, or the control could not.
    Missing,
}

impl Exposure {
    /// Checks that it can be kept and joined: it has a name, a team for each hit or none, and a bounded size.
    pub fn check(&self) -> Result<(), ExperimentError> {
        let error = |field, why: String| Err(ExperimentError::Record { record: "exposure", field, why });
        if self.request_id.is_empty() {
            return error("request_id", "is empty; give the answer's request id".into());
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

    /// The rank of the hit that an event is about, counted from 1; `None` where it is about none of them.
    ///
    /// The object's id decides where there is one: clients count ordinals from 0 or 1, by page or over all pages, and a click
    /// on something between the hits has an ordinal too.
    pub fn rank_of(&self, event: &Event) -> Option<usize> {
        match &event.object_id {
            Some(id) => self.hits.iter().position(|hit| hit == id).map(|at| at + 1),
            None => event.ordinal.map(|ordinal| ordinal as usize).filter(|rank| (1..=self.hits.len()).contains(rank)),
        }
    }

    /// The bytes that its texts take together.
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

//! The rows that wait to be written.

use lorank_experiments::{Event, Exposure, InterleavedArm, ShadowRecord};

/// Rows of one table.
#[derive(Debug)]
pub(crate) enum Rows {
    Exposures(Vec<Exposure>),
    Shadow(ShadowRecord),
    Events { events: Vec<Event>, received_millis: i64, clock_skew_millis: i64 },
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Exposures(exposures) => exposures.len(),
            Self::Shadow(_) => 1,
            Self::Events { events, .. } => events.len(),
        }
    }

    /// Their approximate memory, in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        const PER_TEXT: usize = 32;
        match self {
            Self::Exposures(rows) => rows.iter().map(|row| row.n_bytes() + PER_TEXT * (8 + row.hits.len())).sum(),
            Self::Shadow(record) => record.request_id.len() + record.name.len() + PER_TEXT * 8,
            // Callers wait for events, which are counted elsewhere.
            Self::Events { .. } => 0,
        }
    }
}

/// The rankings of the arms of an interleaved answer, as JSON.
pub(crate) fn arms_json(arms: &[InterleavedArm]) -> Option<String> {
    (!arms.is_empty()).then(|| serde_json::to_string(arms).expect("its keys are all texts"))
}

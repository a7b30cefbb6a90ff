//! The analyses that a store keeps up to date, so that a report that is asked for again reads only what came since.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lorank_experiments::{AnalysisOptions, Report};

use crate::database::Database;
use crate::live::LiveAnalysis;
use crate::{CurrentReport, ExperimentStoreError, StoreConfig, definitions};

/// How many analyses are kept.
const ANALYSES_MAX: usize = 16;

/// How many units the kept analyses may have met together: some hundred bytes each.
const UNITS_MAX: u64 = 4_000_000;

/// The analyses that were asked for lately, the last one first.
#[derive(Debug)]
pub(crate) struct Reports {
    kept: Mutex<Vec<Arc<Kept>>>,
    next_revision: AtomicU64,
}

impl Default for Reports {
    /// Revisions begin anywhere, so that none of a former process's is taken for one of this one's.
    fn default() -> Self {
        let next_revision = AtomicU64::new(RandomState::new().hash_one("the first revision"));
        Self { kept: Mutex::default(), next_revision }
    }
}

#[derive(Debug)]
struct Kept {
    id: String,
    options: AnalysisOptions,
    /// The analysis and what it came to last; none before it was made.
    state: Mutex<Option<(LiveAnalysis, CurrentReport)>>,
}

impl Reports {
    /// What an experiment has shown by now.
    pub(crate) fn report(
        &self,
        database: &dyn Database,
        config: &StoreConfig,
        id: &str,
        options: AnalysisOptions,
        now_millis: i64,
    ) -> Result<CurrentReport, ExperimentStoreError> {
        let kept = self.kept(id, options);
        let mut state = kept.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out while it is brought up to date: half an update is none.
        let (mut live, last) = match state.take() {
            Some((live, report)) => (live, Some(report)),
            None => (LiveAnalysis::new(&definitions::get(database, id)?.at(now_millis), options), None),
        };
        let is_changed = live.update(database, config, now_millis)?;
        let report = match last.filter(|_| !is_changed) {
            Some(report) => report,
            None => self.new_revision(live.analysis().report()),
        };
        let n_units = live.analysis().n_units();
        *state = Some((live, report.clone()));
        drop(state);
        self.make_room(&kept, n_units);
        Ok(report)
    }

    fn new_revision(&self, report: Report) -> CurrentReport {
        CurrentReport { report: Arc::new(report), revision: self.next_revision.fetch_add(1, Ordering::Relaxed) }
    }

    /// The kept analysis of an experiment with these options, moved to the front.
    fn kept(&self, id: &str, options: AnalysisOptions) -> Arc<Kept> {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|kept| kept.id == id && kept.options == options);
        let found = match at {
            Some(at) => all.remove(at),
            None => Arc::new(Kept { id: id.to_owned(), options, state: Mutex::new(None) }),
        };
        all.insert(0, found.clone());
        all.truncate(ANALYSES_MAX);
        found
    }

    /// Lets go of the analyses that were not asked for lately, where together they have met too many units.
    fn make_room(&self, newest: &Arc<Kept>, n_units: u64) {
        let mut n_left = UNITS_MAX.saturating_sub(n_units);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|kept| {
            // One that is being brought up to date counts once it is done.
            let n_units = kept.state.try_lock().map_or(0, |state| match state.as_ref() {
                Some((live, _)) => live.analysis().n_units(),
                None => 0,
            });
            let is_kept = Arc::ptr_eq(kept, newest) || n_units <= n_left;
            if is_kept && !Arc::ptr_eq(kept, newest) {
                n_left -= n_units;
            }
            is_kept
        });
    }
}

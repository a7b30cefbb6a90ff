//! Summaries of shadow results. Sums are kept, so that only new results are read.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::database::{Database, DatabaseError, Row};
use crate::read::snapshot;
use crate::{ExperimentStoreError, ShadowSummary};

/// The sums over the results read so far.
#[derive(Debug, Default)]
pub(crate) struct Shadows {
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    /// The last result read.
    until: i64,
    /// The number of deletions of rows, after which all results are read again.
    n_rewrites: i64,
    /// By name and candidate.
    sums: BTreeMap<(String, String), Sums>,
}

/// The sums of one shadow.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    n_answers: u64,
    n_failures: u64,
    rbo: Mean,
    kendall_tau: Mean,
    overlap_at_10: Mean,
    latency_micros: Mean,
}

/// A sum, with the number of values.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    n: u64,
    sum: f64,
}

const SUMS: &str =
    "SELECT name, candidate, count(*), count(failure), count(rbo), coalesce(sum(rbo), 0.0), count(kendall_tau),
                           coalesce(sum(kendall_tau), 0.0), count(overlap_at_10), coalesce(sum(overlap_at_10), 0.0),
                           count(latency_micros) FILTER (WHERE failure IS NULL),
                           coalesce(sum(CAST(latency_micros AS DOUBLE PRECISION)) FILTER (WHERE failure IS NULL), 0.0)
                    FROM shadows WHERE seq > ?1 AND seq <= ?2 GROUP BY name, candidate";

impl Shadows {
    /// The summaries of all shadows, by name and candidate.
    pub(crate) fn summaries(&self, database: &dyn Database) -> Result<Vec<ShadowSummary>, ExperimentStoreError> {
        let transaction = snapshot(database)?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        // A failed update must leave no partial sums.
        let mut next = std::mem::take(&mut *read);
        next.update(&*transaction).map_err(ExperimentStoreError::database("read the shadows"))?;
        *read = next;
        Ok(read.sums.iter().map(|((name, candidate), sums)| sums.summary(name, candidate)).collect())
    }
}

impl Read {
    fn update(&mut self, database: &dyn Database) -> Result<(), DatabaseError> {
        let n_rewrites = database.number("SELECT n FROM counters WHERE name = 'rewrites'", &[])?;
        if n_rewrites != self.n_rewrites {
            *self = Self { n_rewrites, ..Self::default() };
        }
        let until = database.number("SELECT coalesce(max(seq), 0) FROM shadows", &[])?;
        database.each(SUMS, &[self.until.into(), until.into()], &mut |row| {
            self.sums.entry((row.a_text(0)?, row.a_text(1)?)).or_default().add(row)
        })?;
        self.until = until;
        Ok(())
    }
}

impl Sums {
    /// Adds a row of [`SUMS`].
    fn add(&mut self, row: &dyn Row) -> Result<(), DatabaseError> {
        self.n_answers += row.a_count::<u64>(2)?;
        self.n_failures += row.a_count::<u64>(3)?;
        let means = [&mut self.rbo, &mut self.kendall_tau, &mut self.overlap_at_10, &mut self.latency_micros];
        for (mean, column) in means.into_iter().zip([4, 6, 8, 10]) {
            mean.n += row.a_count::<u64>(column)?;
            mean.sum += row.real(column + 1)?.unwrap_or(0.0);
        }
        Ok(())
    }

    fn summary(&self, name: &str, candidate: &str) -> ShadowSummary {
        let mean = |Mean { n, sum }: Mean| (n > 0).then(|| sum / n as f64);
        ShadowSummary {
            name: name.to_owned(),
            candidate: candidate.to_owned(),
            n_answers: self.n_answers,
            n_failures: self.n_failures,
            mean_rbo: mean(self.rbo),
            mean_kendall_tau: mean(self.kendall_tau),
            mean_overlap_at_10: mean(self.overlap_at_10),
            mean_latency_micros: mean(self.latency_micros),
        }
    }
}

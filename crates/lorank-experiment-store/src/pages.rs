//! Pages of a query: an answer that does not start at rank 1 continues the last previous answer that does, with the same unit, arm and
//! query. Reports count them as one query.

use std::collections::HashMap;

use crate::ExperimentStoreError;
use crate::database::{Database, DatabaseError};

const WHAT: &str = "read the pages";

/// Whether an experiment has answers that do not start at rank 1.
pub(crate) const ANY_LATER_PAGE: &str = "SELECT 1 FROM exposures WHERE experiment = ?1 AND first_rank > 1 LIMIT 1";

/// The pages of an experiment's queries.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// The request id of the first page, by the request ids of later pages.
    first_of: HashMap<String, String>,
    /// The reverse, in order of time.
    pages_of: HashMap<String, Vec<String>>,
}

impl Pages {
    /// Finds the pages. Memory grows with the queries of an experiment with pages; without pages, it only needs an index lookup.
    pub(crate) fn read(database: &dyn Database, experiment: &str) -> Result<Self, ExperimentStoreError> {
        Self::read_rows(database, experiment).map_err(ExperimentStoreError::database(WHAT))
    }

    fn read_rows(database: &dyn Database, experiment: &str) -> Result<Self, DatabaseError> {
        let params = [experiment.into()];
        if !database.exists(ANY_LATER_PAGE, &params)? {
            return Ok(Self::default());
        }
        let mut pages = Self::default();
        let mut latest: HashMap<u64, String> = HashMap::new();
        let sql = "SELECT request_id, first_rank, unit, arm, forced, query, index_name FROM exposures
                   WHERE experiment = ?1 ORDER BY at_millis, seq";
        database.each(sql, &params, &mut |row| {
            let key = (row.text(2)?, row.integer(3)?, row.integer(4)?, row.a_text(5)?, row.a_text(6)?);
            let (key, request_id, first_rank) = (hash(&key), row.a_text(0)?, row.an_integer(1)?);
            match latest.get(&key).filter(|_| first_rank > 1) {
                // The first page, or a later one whose first page is unknown.
                None => drop(latest.insert(key, request_id)),
                Some(first) => {
                    pages.first_of.insert(request_id.clone(), first.clone());
                    pages.pages_of.entry(first.clone()).or_default().push(request_id);
                }
            }
            Ok(())
        })?;
        Ok(pages)
    }

    /// Whether an answer continues another one.
    pub(crate) fn is_continuation(&self, request_id: &str) -> bool {
        self.first_of.contains_key(request_id)
    }

    /// The answers that continue one.
    pub(crate) fn after(&self, request_id: &str) -> &[String] {
        self.pages_of.get(request_id).map_or(&[], Vec::as_slice)
    }
}

/// Hashes keys to 64 bits, which suffice to distinguish the queries of an experiment.
fn hash(key: &impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

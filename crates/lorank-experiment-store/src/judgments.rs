//! Relevance judgments, and the quality of answers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write;

use lorank_experiments::{Exposure, Judged};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};
use serde::Serializer;
use serde::ser::SerializeSeq;

use crate::{ExperimentStoreError, Judgment, JudgmentCounts};

/// The number of hits that count.
const DEPTH: usize = 10;

/// The treatment of existing judgments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Keep those whose query and document are not judged again.
    Keep,
    /// Delete them.
    Replace,
}

/// Writes judgments, all or none. Of several for the same query and document, the last one counts.
pub(crate) fn write(
    connection: &mut Connection,
    judgments: &[Judgment],
    known: Known,
    max: usize,
) -> Result<JudgmentCounts, ExperimentStoreError> {
    let failed = || ExperimentStoreError::database("write the judgments");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed())?;
    if known == Known::Replace {
        transaction.execute("DELETE FROM judgments", []).map_err(failed())?;
    }
    insert(&transaction, judgments).map_err(failed())?;
    let counts = counts(&transaction)?;
    let found = usize::try_from(counts.n_judgments).unwrap_or(usize::MAX);
    if found > max {
        let hint = "judge fewer documents, or delete the judgments that are there";
        return Err(ExperimentStoreError::TooMany { what: "judgments", found, max, hint });
    }
    count_rewrite(&transaction).map_err(failed())?;
    transaction.commit().map_err(failed())?;
    Ok(counts)
}

fn insert(connection: &Connection, judgments: &[Judgment]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO judgments (query, document, grade) VALUES (?1, ?2, ?3)
               ON CONFLICT (query, document) DO UPDATE SET grade = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    for Judgment { query, document, grade } in judgments {
        statement.execute((query, document, grade))?;
    }
    Ok(())
}

/// The number of judgments.
pub(crate) fn counts(connection: &Connection) -> Result<JudgmentCounts, ExperimentStoreError> {
    let read = |row: &Row<'_>| Ok(JudgmentCounts { n_judgments: row.get(0)?, n_queries: row.get(1)? });
    let found = connection.query_row("SELECT count(*), count(DISTINCT query) FROM judgments", [], read);
    found.map_err(ExperimentStoreError::database("count the judgments"))
}

/// All judgments, by query and document.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Judgment>, ExperimentStoreError> {
    let read = || -> rusqlite::Result<Vec<Judgment>> {
        let mut statement =
            connection.prepare("SELECT query, document, grade FROM judgments ORDER BY query, document")?;
        statement
            .query_map([], |row| Ok(Judgment { query: row.get(0)?, document: row.get(1)?, grade: row.get(2)? }))?
            .collect()
    };
    read().map_err(ExperimentStoreError::database("read the judgments"))
}

/// Writes all judgments as a JSON array, by query and document.
pub(crate) fn write_json(connection: &Connection, to: impl Write) -> Result<(), ExperimentStoreError> {
    let failed = || ExperimentStoreError::database("read the judgments");
    let mut statement =
        connection.prepare("SELECT query, document, grade FROM judgments ORDER BY query, document").map_err(failed())?;
    let mut rows = statement.query([]).map_err(failed())?;
    let mut serializer = serde_json::Serializer::new(to);
    let written = |error: serde_json::Error| csv::Error::from(std::io::Error::from(error));
    let mut list = serializer.serialize_seq(None).map_err(written)?;
    while let Some(row) = rows.next().map_err(failed())? {
        let read = || Ok(Judgment { query: row.get(0)?, document: row.get(1)?, grade: row.get(2)? });
        list.serialize_element(&read().map_err(failed())?).map_err(written)?;
    }
    Ok(list.end().map_err(written)?)
}

/// Whether there are judgments.
fn are_there(connection: &Connection) -> Result<bool, ExperimentStoreError> {
    let found = connection.query_row("SELECT EXISTS (SELECT 1 FROM judgments)", [], |row| row.get(0));
    found.map_err(ExperimentStoreError::database("read the judgments"))
}

/// Invalidates the state of incremental reports.
pub(crate) fn count_rewrite(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE counters SET n = n + 1 WHERE name = 'rewrites'", []).map(drop)
}

/// Computes the quality of answers. The ideal gain of a query is computed once.
pub(crate) struct Judge<'a> {
    connection: &'a Connection,
    /// Of the queries that are judged.
    best: RefCell<HashMap<String, f64>>,
}

impl<'a> Judge<'a> {
    /// `None` where nothing is judged.
    pub(crate) fn new(connection: &'a Connection) -> Result<Option<Self>, ExperimentStoreError> {
        Ok(are_there(connection)?.then(|| Self { connection, best: RefCell::default() }))
    }

    /// The quality of an answer; `None` if its query is not judged. Only the first page counts, which has the first ten hits.
    pub(crate) fn judged(&self, exposure: &Exposure) -> Result<Option<Judged>, ExperimentStoreError> {
        self.read(exposure).map_err(ExperimentStoreError::database("read the judgments"))
    }

    fn read(&self, exposure: &Exposure) -> rusqlite::Result<Option<Judged>> {
        let best = self.best(&exposure.query)?;
        // Without a relevant document, all orders are equal.
        if best <= 0.0 {
            return Ok(None);
        }
        let sql = "SELECT grade FROM judgments WHERE query = ?1 AND document = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut grade_of =
            |hit: &String| statement.query_row([&exposure.query, hit], |row| row.get::<_, u32>(0)).optional();
        let found: Vec<Option<u32>> = exposure.hits.iter().take(DEPTH).map(&mut grade_of).collect::<Result<_, _>>()?;
        let share = found.iter().flatten().count() as f64 / found.len().max(1) as f64;
        Ok(Some(Judged { ndcg_at_10: dcg(found.into_iter().map(|grade| grade.unwrap_or(0))) / best, share }))
    }

    /// The discounted gain of the ideal order of a query's documents.
    fn best(&self, query: &str) -> rusqlite::Result<f64> {
        if let Some(best) = self.best.borrow().get(query) {
            return Ok(*best);
        }
        let sql = "SELECT grade FROM judgments WHERE query = ?1 ORDER BY grade DESC LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let grades = statement.query_map((query, DEPTH as i64), |row| row.get::<_, u32>(0))?;
        let best = dcg(grades.collect::<rusqlite::Result<Vec<_>>>()?.into_iter());
        if best > 0.0 {
            self.best.borrow_mut().insert(query.to_owned(), best);
        }
        Ok(best)
    }
}

/// Discounted cumulative gain with the grades as gains, as in trec_eval.
fn dcg(grades: impl Iterator<Item = u32>) -> f64 {
    grades.take(DEPTH).zip(1..).map(|(grade, rank)| f64::from(grade) / f64::from(rank + 1).log2()).sum()
}

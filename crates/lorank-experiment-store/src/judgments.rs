//! Relevance judgments, and the quality of answers.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;

use lorank_experiments::{Exposure, Judged};
use serde::Serializer;
use serde::ser::SerializeSeq;

use crate::database::{Database, DatabaseError, Mode, Row, Transaction};
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

const ALL: &str = "SELECT query, document, grade FROM judgments ORDER BY query, document";

/// Writes judgments, all or none. Of several for the same query and document, the last one counts.
pub(crate) fn write(
    database: &dyn Database,
    judgments: &[Judgment],
    known: Known,
    max: usize,
) -> Result<JudgmentCounts, ExperimentStoreError> {
    let failed = || ExperimentStoreError::database("write the judgments");
    let transaction = Transaction::begin(database, Mode::Write).map_err(failed())?;
    if known == Known::Replace {
        transaction.execute("DELETE FROM judgments", &[]).map_err(failed())?;
    }
    insert(&*transaction, judgments).map_err(failed())?;
    let counts = counts(&*transaction)?;
    let found = usize::try_from(counts.n_judgments).unwrap_or(usize::MAX);
    if found > max {
        let hint = "judge fewer documents, or delete the judgments that are there";
        return Err(ExperimentStoreError::TooMany { what: "judgments", found, max, hint });
    }
    count_rewrite(&*transaction).map_err(failed())?;
    transaction.commit().map_err(failed())?;
    Ok(counts)
}

fn insert(database: &dyn Database, judgments: &[Judgment]) -> Result<(), DatabaseError> {
    let sql = "INSERT INTO judgments (query, document, grade) VALUES (?1, ?2, ?3)
               ON CONFLICT (query, document) DO UPDATE SET grade = ?3";
    for Judgment { query, document, grade } in judgments {
        database.execute(sql, &[query.into(), document.into(), i64::from(*grade).into()])?;
    }
    Ok(())
}

/// The number of judgments.
pub(crate) fn counts(database: &dyn Database) -> Result<JudgmentCounts, ExperimentStoreError> {
    let read = |row: &dyn Row| Ok(JudgmentCounts { n_judgments: row.a_count(0)?, n_queries: row.a_count(1)? });
    let found = database.first("SELECT count(*), count(DISTINCT query) FROM judgments", &[], read);
    Ok(found.map_err(ExperimentStoreError::database("count the judgments"))?.expect("an aggregate has a row"))
}

fn judgment(row: &dyn Row) -> Result<Judgment, DatabaseError> {
    Ok(Judgment { query: row.a_text(0)?, document: row.a_text(1)?, grade: row.a_count(2)? })
}

/// All judgments, by query and document.
pub(crate) fn all(database: &dyn Database) -> Result<Vec<Judgment>, ExperimentStoreError> {
    database.all(ALL, &[], judgment).map_err(ExperimentStoreError::database("read the judgments"))
}

/// Writes all judgments as a JSON array, by query and document.
pub(crate) fn write_json(database: &dyn Database, to: impl Write) -> Result<(), ExperimentStoreError> {
    let mut serializer = serde_json::Serializer::new(to);
    let written = |error: serde_json::Error| csv::Error::from(std::io::Error::from(error));
    let mut list = serializer.serialize_seq(None).map_err(written)?;
    let mut unwritten = None;
    let read = database.each(ALL, &[], &mut |row| {
        let judgment = judgment(row)?;
        list.serialize_element(&judgment).map_err(|error| {
            let reason = DatabaseError::new(error.to_string());
            unwritten = Some(error);
            reason
        })
    });
    if let Some(error) = unwritten {
        return Err(written(error).into());
    }
    read.map_err(ExperimentStoreError::database("read the judgments"))?;
    Ok(list.end().map_err(written)?)
}

/// Invalidates the state of incremental reports.
pub(crate) fn count_rewrite(database: &dyn Database) -> Result<(), DatabaseError> {
    database.execute("UPDATE counters SET n = n + 1 WHERE name = 'rewrites'", &[]).map(drop)
}

/// Computes the quality of answers. The judgments of a query are read once.
pub(crate) struct Judge<'a> {
    database: &'a dyn Database,
    queries: HashSet<String>,
    /// Of the queries that were asked for.
    judged: RefCell<HashMap<String, Arc<JudgedQuery>>>,
}

/// The judgments of a query.
struct JudgedQuery {
    grades: HashMap<String, u32>,
    /// The discounted gain of the ideal order.
    best: f64,
}

impl<'a> Judge<'a> {
    /// `None` where nothing is judged.
    pub(crate) fn new(database: &'a dyn Database) -> Result<Option<Self>, ExperimentStoreError> {
        let queries = database.all("SELECT DISTINCT query FROM judgments", &[], |row| row.a_text(0));
        let queries = queries.map_err(ExperimentStoreError::database("read the judgments"))?;
        let queries: HashSet<String> = queries.into_iter().collect();
        Ok(Some(Self { database, queries, judged: RefCell::default() }).filter(|judge| !judge.queries.is_empty()))
    }

    /// The quality of an answer; `None` if its query is not judged. Only the first page counts, which has the first ten hits.
    pub(crate) fn judged(&self, exposure: &Exposure) -> Result<Option<Judged>, ExperimentStoreError> {
        if !self.queries.contains(&exposure.query) {
            return Ok(None);
        }
        let judged = self.query(&exposure.query).map_err(ExperimentStoreError::database("read the judgments"))?;
        // Without a relevant document, all orders are equal.
        if judged.best <= 0.0 {
            return Ok(None);
        }
        let hits = exposure.hits.iter().take(DEPTH);
        let found: Vec<Option<u32>> = hits.map(|hit| judged.grades.get(hit).copied()).collect();
        let share = found.iter().flatten().count() as f64 / found.len().max(1) as f64;
        let gain = dcg(found.into_iter().map(|grade| grade.unwrap_or(0)));
        Ok(Some(Judged { ndcg_at_10: gain / judged.best, share }))
    }

    fn query(&self, query: &str) -> Result<Arc<JudgedQuery>, DatabaseError> {
        if let Some(judged) = self.judged.borrow().get(query) {
            return Ok(judged.clone());
        }
        let sql = "SELECT document, grade FROM judgments WHERE query = ?1";
        let grades = self.database.all(sql, &[query.into()], |row| Ok((row.a_text(0)?, row.a_count(1)?)))?;
        let mut ideal: Vec<u32> = grades.iter().map(|(_, grade)| *grade).collect();
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        let judged = Arc::new(JudgedQuery { grades: grades.into_iter().collect(), best: dcg(ideal.into_iter()) });
        self.judged.borrow_mut().insert(query.to_owned(), judged.clone());
        Ok(judged)
    }
}

/// Discounted cumulative gain with the grades as gains, as in trec_eval.
fn dcg(grades: impl Iterator<Item = u32>) -> f64 {
    grades.take(DEPTH).zip(1..).map(|(grade, rank)| f64::from(grade) / f64::from(rank + 1).log2()).sum()
}

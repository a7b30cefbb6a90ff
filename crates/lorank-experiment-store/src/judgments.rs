//! Judgments of documents for queries, and how good answers are by them.

use lorank_experiments::{Exposure, Judged};
use rusqlite::{Connection, TransactionBehavior};

use crate::{ExperimentStoreError, Judgment};

/// How many hits count.
const DEPTH: usize = 10;

/// Puts judgments in the place of all that there were.
pub(crate) fn set(connection: &mut Connection, judgments: &[Judgment]) -> Result<(), ExperimentStoreError> {
    let write = |connection: &mut Connection| -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM judgments", [])?;
        {
            let sql = "INSERT INTO judgments (query, document, grade) VALUES (?1, ?2, ?3)
                       ON CONFLICT (query, document) DO UPDATE SET grade = ?3";
            let mut statement = transaction.prepare_cached(sql)?;
            for Judgment { query, document, grade } in judgments {
                statement.execute((query, document, grade))?;
            }
        }
        count_rewrite(&transaction)?;
        transaction.commit()
    };
    write(connection).map_err(ExperimentStoreError::database("write the judgments"))
}

/// Whether there is a judgment at all.
pub(crate) fn are_there(connection: &Connection) -> Result<bool, ExperimentStoreError> {
    let found = connection.query_row("SELECT EXISTS (SELECT 1 FROM judgments)", [], |row| row.get(0));
    found.map_err(ExperimentStoreError::database("read the judgments"))
}

/// Says to reports that what they have read is not what is there.
pub(crate) fn count_rewrite(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE counters SET n = n + 1 WHERE name = 'rewrites'", []).map(drop)
}

/// How good an answer is; `None` where its query is not judged. Only the first page counts, which has the first ten hits.
pub(crate) fn judged(connection: &Connection, exposure: &Exposure) -> Result<Option<Judged>, ExperimentStoreError> {
    let read = || -> rusqlite::Result<Vec<(String, u32)>> {
        let mut statement = connection.prepare_cached("SELECT document, grade FROM judgments WHERE query = ?1")?;
        statement.query_map([&exposure.query], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let grades = read().map_err(ExperimentStoreError::database("read the judgments"))?;
    let mut ideal: Vec<u32> = grades.iter().map(|(_, grade)| *grade).collect();
    ideal.sort_unstable_by(|a, b| b.cmp(a));
    let best = dcg(ideal.into_iter());
    // Without a relevant document no order is better than another.
    if best <= 0.0 {
        return Ok(None);
    }
    let grade_of = |hit: &String| grades.iter().find(|(document, _)| document == hit).map(|(_, grade)| *grade);
    let found: Vec<Option<u32>> = exposure.hits.iter().take(DEPTH).map(grade_of).collect();
    let share = found.iter().flatten().count() as f64 / found.len().max(1) as f64;
    Ok(Some(Judged { ndcg_at_10: dcg(found.into_iter().map(|grade| grade.unwrap_or(0))) / best, share }))
}

/// Discounted cumulative gain with the grades as gains, as trec_eval has it.
fn dcg(grades: impl Iterator<Item = u32>) -> f64 {
    grades.take(DEPTH).zip(1..).map(|(grade, rank)| f64::from(grade) / f64::from(rank + 1).log2()).sum()
}

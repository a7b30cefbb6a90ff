//! Judgments in the formats of test collections: TREC qrels and BEIR's tables, which refer to queries by id.

use std::collections::HashMap;

use crate::{ExperimentStoreError, Judgment};

/// The header of BEIR's tables.
const BEIR_HEAD: [&str; 3] = ["query-id", "corpus-id", "score"];

impl Judgment {
    /// Reads TREC qrels (`query 0 document grade`) or a table of BEIR (`query document grade`, separated by white space, with or
    /// without its header). `queries` has the query texts by id. A grade below 0 counts as 0, as in trec_eval.
    ///
    /// # Errors
    /// If a line has another format, or its query has no text.
    pub fn from_qrels(qrels: &str, queries: &HashMap<String, String>) -> Result<Vec<Self>, ExperimentStoreError> {
        let is_left_out = |line: &str, n: usize| line.trim().is_empty() || (n == 1 && is_head(line));
        let lines = qrels.lines().zip(1..).filter(|(line, n)| !is_left_out(line, *n));
        let read = |(line, n): (&str, usize)| {
            parse(line, queries).map_err(|problem| ExperimentStoreError::Qrels { line: n, problem })
        };
        lines.map(read).collect()
    }
}

fn is_head(line: &str) -> bool {
    line.split_whitespace().eq(BEIR_HEAD)
}

fn parse(line: &str, queries: &HashMap<String, String>) -> Result<Judgment, String> {
    let (id, document, grade) = match line.split_whitespace().collect::<Vec<_>>()[..] {
        [query, _, document, grade] | [query, document, grade] => (query, document, grade),
        ref columns => return Err(format!("has {} columns; a line is `QUERY 0 DOCUMENT GRADE`", columns.len())),
    };
    let grade: i64 = grade.parse().map_err(|_| format!("has the grade `{grade}`, which is not an integer"))?;
    let grade = u32::try_from(grade.max(0)).map_err(|_| format!("has the grade {grade}, which is too large"))?;
    let query = queries.get(id).ok_or_else(|| format!("names the query `{id}`, whose text is not given"))?;
    Ok(Judgment { query: query.clone(), document: document.to_owned(), grade })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(qrels: &str) -> Result<Vec<(String, String, u32)>, String> {
        let queries = [("q1", "boil an egg"), ("2", "bake bread")].map(|(id, text)| (id.to_owned(), text.to_owned()));
        let read = Judgment::from_qrels(qrels, &queries.into()).map_err(|error| error.to_string())?;
        Ok(read.into_iter().map(|judgment| (judgment.query, judgment.document, judgment.grade)).collect())
    }

    #[test]
    fn lines_are_those_of_trec_and_of_beir() {
        let egg = |document: &str, grade| ("boil an egg".to_owned(), document.to_owned(), grade);
        for (qrels, expected) in [
            ("q1 0 d1 2\n\nq1 0 d2 -2\r\n", vec![egg("d1", 2), egg("d2", 0)]),
            ("query-id\tcorpus-id\tscore\nq1\td1\t1\n", vec![egg("d1", 1)]),
            ("q1\td1\t0\n2\td9\t3", vec![egg("d1", 0), ("bake bread".to_owned(), "d9".to_owned(), 3)]),
            ("", vec![]),
        ] {
            assert_eq!(read(qrels), Ok(expected), "{qrels}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        for (qrels, part) in [
            ("q1 0 d1 1\nq1 d1\n", "line 2 of the qrels has 2 columns"),
            ("q1 0 d1 1.5", "line 1 of the qrels has the grade `1.5`"),
            ("q1 0 d1 4294967296", "which is too large"),
            ("q1 0 d1 1\n\nq7 0 d1 1", "line 3 of the qrels names the query `q7`, whose text is not given"),
            ("q1 0 d1 1\nquery-id corpus-id score", "line 2 of the qrels has the grade `score`"),
        ] {
            let error = read(qrels).unwrap_err();
            assert!(error.contains(part), "{qrels}: {error}");
        }
    }
}

//! Relevance judgments.

use std::collections::HashMap;
use std::path::Path;

use crate::EvalError;
use crate::lines::{TextFile, cells};

/// The grades of the documents that are judged for a query.
pub type Grades = HashMap<String, i32>;

/// Relevance judgments: for each query, the grades of the documents that were judged for it.
///
/// As in trec_eval, a document is relevant if its grade is at least 1, and the grade is its gain. A grade of 0 or less
/// says that a document was judged and is not relevant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Qrels {
    by_query: HashMap<String, Grades>,
    /// The queries in the order of their first judgment.
    queries: Vec<String>,
}

impl Qrels {
    /// Reads judgments: TREC's four columns (`query iteration document grade`), or BEIR's three
    /// (`query-id corpus-id score`, with or without that header). Columns are separated by tabs or by white space.
    ///
    /// # Errors
    /// If the file cannot be read, has no judgments, has a line of another form, or judges a document twice with
    /// different grades.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, EvalError> {
        let file = TextFile::read(path.as_ref())?;
        let mut qrels = Self::default();
        for (at, (number, line)) in file.lines().enumerate() {
            let (query, document, grade) = match cells(line)[..] {
                [query, _, document, grade] | [query, document, grade] => (query, document, grade),
                ref other => {
                    let n = other.len();
                    return Err(file.error(number, format!("it has {n} columns, not the 4 of TREC (query, iteration, document, grade) or the 3 of BEIR (query, document, grade)")));
                }
            };
            let Ok(parsed) = grade.parse::<i32>() else {
                // The header of BEIR's files.
                if at == 0 && query.to_ascii_lowercase().starts_with("query") {
                    continue;
                }
                return Err(file.error(number, format!("the grade `{grade}` is not a whole number")));
            };
            if query.is_empty() || document.is_empty() {
                return Err(file.error(number, "the id of the query or of the document is empty"));
            }
            if let Some(before) = qrels.insert(query, document, parsed).filter(|before| *before != parsed) {
                let problem =
                    format!("document `{document}` has the grades {before} and {parsed} for query `{query}`; keep one");
                return Err(file.error(number, problem));
            }
        }
        if qrels.queries.is_empty() {
            return Err(EvalError::unusable(file.path(), "has no judgments"));
        }
        Ok(qrels)
    }

    /// Adds a judgment. Returns the grade that the document had for this query, which is replaced.
    pub fn insert(&mut self, query: &str, document: &str, grade: i32) -> Option<i32> {
        if !self.by_query.contains_key(query) {
            self.queries.push(query.to_owned());
        }
        self.by_query.entry(query.to_owned()).or_default().insert(document.to_owned(), grade)
    }

    /// The grades of a query's judged documents; `None` if there are none.
    pub fn grades(&self, query: &str) -> Option<&Grades> {
        self.by_query.get(query)
    }

    /// The judged queries, in the order of their first judgment.
    pub fn queries(&self) -> &[String] {
        &self.queries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::file;

    #[test]
    fn the_forms_of_trec_and_beir_are_read() {
        for text in [
            "q1 0 d1 2\nq1 0 d2 0\nq2 Q0 d1 -1\n",
            "q1\t0\td1\t2\r\nq1\t0\td2\t0\r\n\r\nq2\t0\td1\t-1\r\n",
            "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t-1\n",
            "\u{feff}q1\td1\t2\nq1\td2\t0\nq2\td1\t-1",
            "q1 d1 2\nq1 d2 0\nq1 d2 0\nq2 d1 -1",
        ] {
            let qrels = Qrels::read(file(text).path()).unwrap();
            assert_eq!(qrels.queries(), ["q1", "q2"], "{text}");
            assert_eq!(qrels.grades("q1").unwrap(), &Grades::from([("d1".into(), 2), ("d2".into(), 0)]), "{text}");
            assert_eq!(qrels.grades("q2").unwrap()["d1"], -1, "{text}");
            assert_eq!(qrels.grades("q3"), None);
        }
    }

    #[test]
    fn ids_in_columns_with_tabs_may_have_spaces() {
        let qrels = Qrels::read(file("q 1\td 1\t1\n").path()).unwrap();
        assert_eq!(qrels.grades("q 1").unwrap()["d 1"], 1);
    }

    #[test]
    fn what_is_not_a_judgment_is_named() {
        for (text, expected) in [
            ("q1 0 d1 1\nq1 0 d2\tx 1\n", "line 2 of `FILE`: it has 2 columns"),
            ("q1 0 d1 1\nq1 0 d2 yes\n", "line 2 of `FILE`: the grade `yes` is not a whole number"),
            ("q1 0 d1 yes\n", "line 1 of `FILE`: the grade `yes` is not a whole number"),
            ("q1 0 d1 0.5\n", "line 1 of `FILE`: the grade `0.5` is not a whole number"),
            (
                "q1 0 d1 1\n\nq1 0 d1 2\n",
                "line 3 of `FILE`: document `d1` has the grades 1 and 2 for query `q1`; keep one",
            ),
            ("q1\t\t1\n", "line 1 of `FILE`: the id of the query or of the document is empty"),
            ("", "`FILE` has no judgments"),
            ("query-id\tcorpus-id\tscore\n", "`FILE` has no judgments"),
        ] {
            let file = file(text);
            let error =
                Qrels::read(file.path()).unwrap_err().to_string().replace(file.path().to_str().unwrap(), "FILE");
            assert!(error.starts_with(expected), "{error}");
        }
        let missing = Qrels::read("/nowhere/qrels.tsv").unwrap_err();
        assert_eq!(missing.to_string(), "could not read `/nowhere/qrels.tsv`");
    }
}

//! Runs: rankings with scores, in TREC's format.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::EvalError;
use crate::lines::{TextFile, cells};
use crate::ranking::{Scored, by_trec_eval};

/// Rankings by query. Each has its documents in trec_eval's order (see [`by_trec_eval`]).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    rankings: HashMap<String, Vec<Scored>>,
    /// The queries in the order in which they came.
    queries: Vec<String>,
}

impl Run {
    /// Reads a run in TREC's format: `query Q0 document rank score tag` on each line; the tag may be absent. As in
    /// trec_eval, the score decides and the rank is ignored.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, has a line of another form, has a score that is not a finite number, or ranks a
    /// document twice for a query.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, EvalError> {
        let file = TextFile::read(path.as_ref())?;
        let mut run = Self::default();
        let mut seen: HashSet<(&str, &str)> = HashSet::new();
        for (number, line) in file.lines() {
            let (query, document, score) = match cells(line)[..] {
                [query, _, document, _, score, _] | [query, _, document, _, score] => (query, document, score),
                ref other => {
                    let n = other.len();
                    return Err(file.error(
                        number,
                        format!("it has {n} columns, not the 6 of a run (query, Q0, document, rank, score, tag)"),
                    ));
                }
            };
            let Some(parsed) = score.parse::<f32>().ok().filter(|score| score.is_finite()) else {
                return Err(file.error(number, format!("the score `{score}` is not a finite number")));
            };
            if !seen.insert((query, document)) {
                return Err(file.error(number, format!("document `{document}` is ranked twice for query `{query}`")));
            }
            run.entry(query).push(Scored { document: document.to_owned(), score: parsed });
        }
        if run.queries.is_empty() {
            return Err(EvalError::unusable(file.path(), "has no rankings"));
        }
        run.rankings.values_mut().for_each(|ranking| by_trec_eval(ranking));
        Ok(run)
    }

    fn entry(&mut self, query: &str) -> &mut Vec<Scored> {
        if !self.rankings.contains_key(query) {
            self.queries.push(query.to_owned());
        }
        self.rankings.entry(query.to_owned()).or_default()
    }

    /// A query's ranking, best first; `None` if the run has none.
    pub fn ranking(&self, query: &str) -> Option<&[Scored]> {
        self.rankings.get(query).map(Vec::as_slice)
    }

    /// The queries, in the order in which they came.
    pub fn queries(&self) -> &[String] {
        &self.queries
    }
}

/// Writes rankings as a run in TREC's format, under this tag.
///
/// # Errors
/// If the file cannot be written, or an id has white space, which the format cannot hold.
pub fn write_run<'a>(
    path: &Path,
    tag: &str,
    rankings: impl IntoIterator<Item = (&'a str, &'a [Scored])>,
) -> Result<(), EvalError> {
    let mut text = String::new();
    let tag = tag.split_whitespace().collect::<Vec<_>>().join("-");
    for (query, ranking) in rankings {
        for (rank, Scored { document, score }) in (1..).zip(ranking) {
            if let Some(id) = [query, document].into_iter().find(|id| id.is_empty() || id.contains(char::is_whitespace))
            {
                return Err(EvalError::unusable(
                    path,
                    format!(
                        "cannot be written: the id `{id}` is empty or has white space, which separates the columns of a run"
                    ),
                ));
            }
            let _ = writeln!(text, "{query} Q0 {document} {rank} {score} {tag}");
        }
    }
    fs::write(path, text).map_err(EvalError::write(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::file;

    fn scored(document: &str, score: f32) -> Scored {
        Scored { document: document.to_owned(), score }
    }

    #[test]
    fn scores_decide_and_ties_are_trec_evals() {
        let run =
            Run::read(file("q2 Q0 a 1 0.5 x\nq1 Q0 a 1 1.5 x\nq1 Q0 c 2 2e0\nq1\tQ0\tb\t3\t1.5\tx\n").path()).unwrap();
        assert_eq!(run.queries(), ["q2", "q1"]);
        assert_eq!(run.ranking("q1").unwrap(), [scored("c", 2.0), scored("b", 1.5), scored("a", 1.5)]);
        assert_eq!(run.ranking("q3"), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.run");
        let ranking = [scored("b", 1.0 / 3.0), scored("a", f32::MIN_POSITIVE), scored("c", -1e30)];
        write_run(&path, "my tag", [("q1", &ranking[..])]).unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("q1 Q0 b 1 0.33333334 my-tag\n"));
        assert_eq!(Run::read(&path).unwrap().ranking("q1").unwrap(), ranking);
        let error = write_run(&path, "tag", [("q 1", &ranking[..])]).unwrap_err().to_string();
        assert!(error.contains("the id `q 1` is empty or has white space"), "{error}");
    }

    #[test]
    fn what_is_not_a_ranking_is_named() {
        for (text, expected) in [
            ("q1 Q0 a 1 0.5 x\nq1 a 2\n", "line 2 of `FILE`: it has 3 columns, not the 6"),
            ("q1 Q0 a 1 nan x\n", "line 1 of `FILE`: the score `nan` is not a finite number"),
            ("q1 Q0 a 1 best x\n", "line 1 of `FILE`: the score `best` is not a finite number"),
            (
                "q1 Q0 a 1 1 x\nq2 Q0 a 1 1 x\nq1 Q0 a 2 0 x\n",
                "line 3 of `FILE`: document `a` is ranked twice for query `q1`",
            ),
            ("", "`FILE` has no rankings"),
        ] {
            let file = file(text);
            let error = Run::read(file.path()).unwrap_err().to_string().replace(file.path().to_str().unwrap(), "FILE");
            assert!(error.starts_with(expected), "{error}");
        }
    }
}

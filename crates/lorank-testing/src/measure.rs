//! How good a ranking is: a small evaluator over test collections in BEIR's layout.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

/// The questions of a test collection, and how relevant each document is to each of them.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// The id and the text of each question that has a relevant document, in the order of the file.
    pub queries: Vec<(String, String)>,
    /// By question, the documents that were judged and their grades (0: not relevant).
    pub qrels: HashMap<String, HashMap<String, u32>>,
}

impl Judged {
    /// Reads `queries.jsonl` and `qrels/test.tsv` of a folder.
    ///
    /// # Panics
    /// Where the folder is not in BEIR's layout.
    pub fn read(folder: &Path) -> Self {
        let read =
            |file: &str| String::from_utf8(crate::fixtures::read(&folder.join(file))).expect("the files are UTF-8");
        let mut qrels: HashMap<String, HashMap<String, u32>> = HashMap::new();
        for line in read("qrels/test.tsv").lines().skip(1) {
            let [query, document, grade] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("not a judgment: {line}")
            };
            // trec_eval takes grades below zero for not relevant.
            let grade = grade.trim().parse::<i64>().expect("a grade is a number").max(0);
            qrels
                .entry(query.into())
                .or_default()
                .insert(document.into(), u32::try_from(grade).expect("a small grade"));
        }
        let parse = |line: &str| {
            let query: Value = serde_json::from_str(line).expect("a question is a JSON object");
            let text = |key: &str| query[key].as_str().expect("a question has an id and a text").to_owned();
            (text("_id"), text("text"))
        };
        let is_judged =
            |(id, _): &(String, String)| qrels.get(id).is_some_and(|grades| grades.values().any(|grade| *grade > 0));
        Self { queries: read("queries.jsonl").lines().map(parse).filter(is_judged).collect(), qrels }
    }

    /// nDCG@10 of one ranking of document ids.
    pub fn ndcg_at_10<'a>(&self, query: &str, ranking: impl IntoIterator<Item = &'a str>) -> f64 {
        let grades = &self.qrels[query];
        let gains: Vec<u32> = ranking.into_iter().map(|document| grades.get(document).copied().unwrap_or(0)).collect();
        let mut ideal: Vec<u32> = grades.values().copied().collect();
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        dcg_at_10(&gains) / dcg_at_10(&ideal)
    }
}

/// Discounted cumulative gain of the first ten, with linear gain, as trec_eval's `ndcg_cut` has it:
/// the sum of `grade / log2(rank + 1)` (Järvelin and Kekäläinen, 2002).
fn dcg_at_10(grades: &[u32]) -> f64 {
    let discounted = grades.iter().take(10).zip(2u32..).map(|(grade, rank)| f64::from(*grade) / f64::from(rank).log2());
    discounted.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(grades: &[(&str, u32)], ranking: &[&str], expected: f64) {
        let grades = grades.iter().map(|(id, grade)| ((*id).to_owned(), *grade)).collect();
        let judged = Judged { queries: Vec::new(), qrels: HashMap::from([("q".to_owned(), grades)]) };
        let found = judged.ndcg_at_10("q", ranking.iter().copied());
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    }

    #[test]
    fn ndcg_is_trec_evals() {
        let graded = [("a", 3), ("b", 2), ("c", 1), ("d", 0)];
        check(&graded, &["a", "b", "c", "d"], 1.0);
        check(&graded, &["d", "x", "y"], 0.0);
        check(&graded, &[], 0.0);
        // (2 + 3 / log2(3)) / (3 + 2 / log2(3) + 1 / 2)
        check(&graded, &["b", "a"], 0.817_493_5);
        check(&[("a", 1)], &["x", "y", "a"], 0.5);
        check(&[("a", 1)], &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a"], 0.0);
    }
}

//! Test collections in BEIR's layout.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{EvalError, Qrels, Topic, read_topics};

/// The split that is evaluated unless another is named.
pub const DEFAULT_SPLIT: &str = "test";

/// A test collection: queries, relevance judgments, and usually a corpus.
#[derive(Debug, Clone)]
pub struct Collection {
    /// The name of the collection's folder.
    pub name: String,
    /// The documents, as JSON lines; `None` if they are in an index.
    pub corpus: Option<PathBuf>,
    /// The judged queries, in the order of their file.
    pub topics: Vec<Topic>,
    /// The judgments.
    pub qrels: Qrels,
}

impl Collection {
    /// Opens a folder in BEIR's layout: `corpus.jsonl`, `queries.jsonl`, and `qrels/SPLIT.tsv`. `queries` and `qrels` name other
    /// files for these two.
    ///
    /// # Errors
    /// If a file is missing or damaged, or a judged query has no text.
    pub fn open(folder: &Path, split: &str, queries: Option<&Path>, qrels: Option<&Path>) -> Result<Self, EvalError> {
        let corpus = folder.join("corpus.jsonl");
        if !corpus.is_file() {
            return Err(EvalError::unusable(
                folder,
                "is not a test collection: it has no file `corpus.jsonl` (expected are `corpus.jsonl`, `queries.jsonl` and `qrels/test.tsv`, as BEIR has them)",
            ));
        }
        let queries = queries.map_or_else(|| folder.join("queries.jsonl"), Path::to_owned);
        let qrels_path = match qrels {
            Some(path) => path.to_owned(),
            None => split_path(folder, split)?,
        };
        let qrels = Qrels::read(&qrels_path)?;
        let topics = judged(read_topics(&queries)?, &qrels, &queries, &qrels_path)?;
        Ok(Self { name: name(folder), corpus: Some(corpus), topics, qrels })
    }

    /// Queries and judgments of documents that are in an index.
    ///
    /// # Errors
    /// If a file is missing or damaged, or a judged query has no text.
    pub fn without_corpus(queries: &Path, qrels_path: &Path) -> Result<Self, EvalError> {
        let qrels = Qrels::read(qrels_path)?;
        let topics = judged(read_topics(queries)?, &qrels, queries, qrels_path)?;
        Ok(Self { name: name(qrels_path), corpus: None, topics, qrels })
    }

    /// Judgments of query texts: the text, the document's id and the grade. The queries are named `q1`, `q2` and so on, in
    /// the order of their first judgment.
    pub fn of_texts<'a>(name: &str, judgments: impl IntoIterator<Item = (&'a str, &'a str, i32)>) -> Self {
        let mut collection = Self { name: name.to_owned(), corpus: None, topics: Vec::new(), qrels: Qrels::default() };
        let mut ids: HashMap<&str, String> = HashMap::new();
        for (text, document, grade) in judgments {
            let n_known = ids.len();
            let id = ids.entry(text).or_insert_with(|| {
                let topic = Topic { id: format!("q{}", n_known + 1), text: text.to_owned() };
                collection.topics.push(topic.clone());
                topic.id
            });
            collection.qrels.insert(id, document, grade);
        }
        collection
    }
}

fn split_path(folder: &Path, split: &str) -> Result<PathBuf, EvalError> {
    let path = folder.join("qrels").join(format!("{split}.tsv"));
    if path.is_file() {
        return Ok(path);
    }
    let entries = fs::read_dir(folder.join("qrels")).into_iter().flatten().flatten();
    let mut splits: Vec<String> =
        entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".tsv")?.to_owned())).collect();
    splits.sort();
    let there = match splits.is_empty() {
        true => "there is no judgment file in its folder `qrels`".to_owned(),
        false => format!("its splits are {}", splits.join(", ")),
    };
    Err(EvalError::unusable(folder, format!("has no judgments `qrels/{split}.tsv`; {there}")))
}

/// The topics with judgments.
fn judged(topics: Vec<Topic>, qrels: &Qrels, queries: &Path, qrels_path: &Path) -> Result<Vec<Topic>, EvalError> {
    let texts: HashMap<&str, &Topic> = topics.iter().map(|topic| (topic.id.as_str(), topic)).collect();
    if let Some(id) = qrels.queries().iter().find(|id| !texts.contains_key(id.as_str())) {
        let problem = format!("has no query `{id}`, which `{}` judges", qrels_path.display());
        return Err(EvalError::unusable(queries, problem));
    }
    Ok(topics.into_iter().filter(|topic| qrels.grades(&topic.id).is_some()).collect())
}

fn name(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    whole.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection(qrels: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("corpus.jsonl"), "{\"_id\": \"d1\", \"text\": \"eggs\"}\n").unwrap();
        fs::write(
            folder.path().join("queries.jsonl"),
            "{\"_id\": \"q1\", \"text\": \"egg\"}\n{\"_id\": \"q2\", \"text\": \"hen\"}\n",
        )
        .unwrap();
        fs::create_dir(folder.path().join("qrels")).unwrap();
        fs::write(folder.path().join("qrels/dev.tsv"), qrels).unwrap();
        folder
    }

    #[test]
    fn judged_queries_are_opened() {
        let folder = collection("query-id\tcorpus-id\tscore\nq2\td1\t1\n");
        let found = Collection::open(folder.path(), "dev", None, None).unwrap();
        assert_eq!(found.topics, [Topic { id: "q2".into(), text: "hen".into() }]);
        let other = folder.path().join("other.tsv");
        fs::write(&other, "q1 0 d1 1\n").unwrap();
        assert_eq!(Collection::open(folder.path(), "none", None, Some(&other)).unwrap().topics[0].id, "q1");
    }

    #[test]
    fn judgments_need_no_corpus() {
        let folder = collection("query-id\tcorpus-id\tscore\nq2\td1\t1\n");
        let (queries, qrels) = (folder.path().join("queries.jsonl"), folder.path().join("qrels/dev.tsv"));
        let found = Collection::without_corpus(&queries, &qrels).unwrap();
        assert_eq!((found.name.as_str(), found.topics.len(), found.corpus), ("dev.tsv", 1, None));
        let found = Collection::of_texts("judged", [("egg", "d1", 2), ("hen", "d1", 0), ("egg", "d2", 1)]);
        let topics: Vec<_> = found.topics.iter().map(|topic| (topic.id.as_str(), topic.text.as_str())).collect();
        assert_eq!(topics, [("q1", "egg"), ("q2", "hen")]);
        assert_eq!((found.qrels.grades("q1").unwrap().len(), found.qrels.grades("q2").unwrap()["d1"]), (2, 0));
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = collection("q3\td1\t1\n");
        let open = |folder: &Path, split: &str| Collection::open(folder, split, None, None).unwrap_err().to_string();
        let error = open(folder.path(), "dev");
        assert!(
            error.contains("queries.jsonl` has no query `q3`, which `") && error.ends_with("dev.tsv` judges"),
            "{error}"
        );
        let error = open(folder.path(), "test");
        assert!(error.ends_with("has no judgments `qrels/test.tsv`; its splits are dev"), "{error}");
        let error = open(&folder.path().join("qrels"), "test");
        assert!(error.contains("is not a test collection: it has no file `corpus.jsonl`"), "{error}");
    }
}

//! Training groups: queries with judged or scored documents, as JSON lines.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use lorank_core::{Candidate, Score, SplitMix64};
use serde::{Deserialize, Serialize};

use crate::{TrainError, json_line};

/// A query with its documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The query's id, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_id: Option<String>,
    /// What is searched for.
    pub query: String,
    /// The documents.
    pub documents: Vec<GroupDocument>,
}

/// A document of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupDocument {
    /// The document's id, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The document's title, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The document's text.
    pub text: String,
    /// The relevance: 0 for a document that is not relevant, up to [`LABEL_MAX`]; fractions are allowed.
    pub label: f64,
    /// The teacher's score, a logit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<f64>,
}

/// The greatest label. Gains are powers of two of it.
pub const LABEL_MAX: f64 = 20.0;

/// The most documents of a group.
const DOCUMENTS_MAX: usize = 1_000;

impl GroupDocument {
    /// The document as a candidate.
    pub(crate) fn candidate(&self) -> Candidate {
        let id = self.id.as_deref().unwrap_or_default();
        let mut candidate = Candidate::new(id, self.text.as_str(), Score::new(0.0).expect("zero is finite"));
        candidate.title = self.title.as_deref().map(Into::into);
        candidate
    }
}

impl Group {
    fn check(&self) -> Result<(), String> {
        if self.query.trim().is_empty() {
            return Err("the query is empty".to_owned());
        }
        if self.documents.is_empty() || self.documents.len() > DOCUMENTS_MAX {
            return Err(format!(
                "the group has {} documents; from 1 to {DOCUMENTS_MAX} are allowed",
                self.documents.len()
            ));
        }
        for (n, document) in self.documents.iter().enumerate() {
            if !(0.0..=LABEL_MAX).contains(&document.label) {
                let label = document.label;
                return Err(format!("the label {label} of document {} is not between 0 and {LABEL_MAX}", n + 1));
            }
            if document.teacher.is_some_and(|score| !score.is_finite()) {
                return Err(format!("the teacher's score of document {} is not a finite number", n + 1));
            }
        }
        let n_scored = self.documents.iter().filter(|document| document.teacher.is_some()).count();
        if n_scored > 0 && n_scored < self.documents.len() {
            return Err(format!("only {n_scored} of {} documents have a teacher's score", self.documents.len()));
        }
        Ok(())
    }
}

/// Reads groups: one JSON object a line.
///
/// # Errors
/// If the file cannot be read, has no groups, or has a line that is no group.
pub fn read_groups(path: &Path) -> Result<Vec<Group>, TrainError> {
    let file = File::open(path).map_err(TrainError::file("read", path))?;
    let (mut groups, mut ids) = (Vec::new(), HashSet::new());
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(TrainError::file("read", path))?;
        // Some editors add a byte order mark at the start of a file.
        let line = line.trim_start_matches('\u{feff}');
        if line.trim().is_empty() {
            continue;
        }
        let parsed = json_line::parse::<Group>(line).and_then(|group| group.check().map(|()| group));
        let group = parsed.map_err(|problem| TrainError::line(path, number, problem))?;
        if let Some(id) = &group.query_id
            && !ids.insert(id.clone())
        {
            return Err(TrainError::line(path, number, format!("the query `{id}` is given twice")));
        }
        groups.push(group);
    }
    if groups.is_empty() {
        return Err(TrainError::Data(format!("`{}` has no groups", path.display())));
    }
    Ok(groups)
}

/// Writes groups as JSON lines.
///
/// # Errors
/// If they cannot be written.
pub fn write_groups(groups: &[Group], to: impl Write) -> std::io::Result<()> {
    let mut to = BufWriter::new(to);
    for group in groups {
        serde_json::to_writer(&mut to, group)?;
        to.write_all(b"\n")?;
    }
    to.flush()
}

/// Divides groups into those for training and about `share` of them, at least one, that are held out. The order stays.
///
/// # Errors
/// If there are fewer than two groups.
pub fn split<T>(groups: Vec<T>, share: f64, seed: u64) -> Result<(Vec<T>, Vec<T>), TrainError> {
    let n = groups.len();
    if n < 2 {
        let problem = "there is one query; with at least two, one is held out to measure the adapter";
        return Err(TrainError::Data(problem.to_owned()));
    }
    let n_held_out = ((n as f64 * share).round() as usize).clamp(1, n - 1);
    let mut order: Vec<usize> = (0..n).collect();
    SplitMix64::new(seed).shuffle(&mut order);
    let mut is_held_out = vec![false; n];
    order[..n_held_out].iter().for_each(|at| is_held_out[*at] = true);
    let (held_out, train): (Vec<_>, Vec<_>) = groups.into_iter().zip(is_held_out).partition(|(_, held_out)| *held_out);
    let plain = |groups: Vec<(T, bool)>| groups.into_iter().map(|(group, _)| group).collect();
    Ok((plain(train), plain(held_out)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Group>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        read_groups(file.path()).map_err(|error| error.to_string().replace(&path, "FILE"))
    }

    #[test]
    fn groups_are_written_as_they_are_read() {
        let text = "{\"query_id\":\"1\",\"query\":\"egg\",\"documents\":[{\"id\":\"d\",\"title\":\"T\",\"text\":\"x\",\"label\":1.0,\"teacher\":-2.5}]}\n\
                    {\"query\":\"hen\",\"documents\":[{\"text\":\"y\",\"label\":0.5}]}\n";
        let groups = read(text).unwrap();
        let mut written = Vec::new();
        write_groups(&groups, &mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), text);
    }

    #[test]
    fn what_is_not_a_group_is_named() {
        let document = |more: &str| format!("{{\"query\": \"q\", \"documents\": [{{\"text\": \"t\", {more}}}]}}");
        for (text, expected) in [
            ("[]\n".to_owned(), "line 1 of `FILE`: it must be an object, not an array"),
            ("7\n".to_owned(), "line 1 of `FILE`: it must be an object, not `7`"),
            ("{\"query\": \"q\"}\n".to_owned(), "line 1 of `FILE`: `documents` is missing"),
            ("{\"query\": \"q\", \"documents\": 7}\n".to_owned(), "`documents` must be an array, not `7`"),
            (document("\"label\": \"1\""), "`documents[0].label` must be a number, not \"1\""),
            ("{\"query\": 'q'}\n".to_owned(), "a value is expected, at column 11; use double quotes"),
            ("{\"query\": \"q\",\n".to_owned(), "the text ends where a value is expected, at column 14; write each object on one line"),
            ("{\"query\": \"q\", \"documents\": []} x\n".to_owned(), "there is more after the end of the value"),
            ("{\"query\": \" \", \"documents\": []}\n".to_owned(), "the query is empty"),
            ("{\"query\": \"q\", \"documents\": []}\n".to_owned(), "the group has 0 documents"),
            (document("\"label\": -1"), "the label -1 of document 1 is not between 0 and 20"),
            (document("\"label\": 21"), "the label 21 of document 1 is not between 0 and 20"),
            (document("\"label\": 1, \"score\": 2"), "`documents[0].score` is unknown; the keys are"),
            ("\n".to_owned(), "`FILE` has no groups"),
            (
                "{\"query\": \"q\", \"documents\": [{\"text\": \"t\", \"label\": 1, \"teacher\": 1}, {\"text\": \"u\", \"label\": 0}]}".to_owned(),
                "only 1 of 2 documents have a teacher's score",
            ),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_share_is_held_out() {
        let (train, held_out) = split((0..20).collect::<Vec<_>>(), 0.1, 7).unwrap();
        assert_eq!((train.len(), held_out.len()), (18, 2));
        assert!(train.is_sorted() && held_out.is_sorted());
        assert_eq!(split((0..20).collect::<Vec<_>>(), 0.1, 7).unwrap().1, held_out);
        assert_eq!(split(vec![1, 2], 0.0, 7).unwrap().1.len(), 1);
        assert!(split(vec![1], 0.5, 7).unwrap_err().to_string().contains("there is one query"));
    }
}

//! The labels of score heads.
//!
//! A classifier has a logit for each of its labels, which is a row of its head's matrix. The score is the logit of one
//! label, so its row is loaded as the head.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The maximum number of labels that an error lists.
const LISTED_MAX: usize = 20;

/// The labels of a head, in the order of its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    n_labels: usize,
    /// Their names; empty if the files name none.
    names: Vec<String>,
}

/// `score_label` of a `lorank.json`: a label by its number, or by its name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected the name or the number of a label")]
pub(crate) enum NamedLabel {
    Number(usize),
    Name(String),
}

/// The row of a head's matrix that computes the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadRow {
    pub(crate) row: usize,
    pub(crate) n_rows: usize,
}

impl HeadRow {
    /// The row of a head with one label.
    pub(crate) const ONLY: Self = Self { row: 0, n_rows: 1 };
}

impl Labels {
    /// Labels without names, which transformers calls `LABEL_0`, `LABEL_1` and so on.
    pub(crate) fn numbered(n_labels: usize) -> Self {
        Self { n_labels, names: Vec::new() }
    }

    /// Labels with the names of an `id2label`. Those that it lacks have transformers' names.
    pub(crate) fn named(id2label: &Map<String, Value>) -> Self {
        let name = |n: usize| match id2label.get(&n.to_string()) {
            Some(Value::String(name)) => name.clone(),
            Some(other) => other.to_string(),
            None => numbered_name(n),
        };
        Self { n_labels: id2label.len(), names: (0..id2label.len()).map(name).collect() }
    }

    /// The number of labels; zero if the files do not tell.
    pub(crate) fn len(&self) -> usize {
        self.n_labels
    }

    /// The row of the named label, or of the only one; `None` if no label is named and there are several.
    ///
    /// # Errors
    /// Why the name stands for no label.
    pub(crate) fn row(&self, named: Option<&NamedLabel>) -> Result<Option<HeadRow>, String> {
        let row = match named {
            None if self.n_labels == 1 => 0,
            None => return Ok(None),
            Some(NamedLabel::Number(n)) if *n < self.n_labels => *n,
            Some(NamedLabel::Number(n)) => return Err(format!("there is no label {n}; {}", self.describe())),
            Some(NamedLabel::Name(name)) => match self.rows_named(name)[..] {
                [row] => row,
                [] => return Err(format!("there is no label `{name}`; {}", self.describe())),
                ref rows => return Err(format!("{} labels have the name `{name}`; use the number of one", rows.len())),
            },
        };
        Ok(Some(HeadRow { row, n_rows: self.n_labels }))
    }

    fn rows_named(&self, name: &str) -> Vec<usize> {
        if self.names.is_empty() {
            let number = name.strip_prefix("LABEL_").and_then(|number| number.parse().ok());
            return number.filter(|n| *n < self.n_labels).into_iter().collect();
        }
        (0..self.names.len()).filter(|n| self.names[*n] == name).collect()
    }

    /// The name of a label.
    pub(crate) fn name(&self, n: usize) -> String {
        self.names.get(n).cloned().unwrap_or_else(|| numbered_name(n))
    }

    /// The labels with their numbers, for an error.
    pub(crate) fn describe(&self) -> String {
        if self.n_labels == 0 {
            return "the model has no labels (`id2label`)".to_owned();
        }
        let listed = (0..self.n_labels.min(LISTED_MAX)).map(|n| format!("{n} (`{}`)", self.name(n)));
        let listed = listed.collect::<Vec<_>>().join(", ");
        let others = self.n_labels.saturating_sub(LISTED_MAX);
        let others = if others == 0 { String::new() } else { format!(" and {others} others") };
        format!("the labels are {listed}{others}")
    }
}

fn numbered_name(n: usize) -> String {
    format!("LABEL_{n}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(names: &[&str]) -> Labels {
        let map = names.iter().enumerate().map(|(n, name)| (n.to_string(), json!(name)));
        Labels::named(&map.collect())
    }

    fn check(labels: &Labels, named: Value, expected: Result<usize, &str>) {
        let found = labels.row(Some(&serde_json::from_value(named.clone()).unwrap()));
        match (found, expected) {
            (Ok(Some(HeadRow { row, n_rows })), Ok(expected)) => {
                assert_eq!((row, n_rows), (expected, labels.len()), "{named}");
            }
            (Err(why), Err(part)) => assert!(why.contains(part), "{named}: {why}"),
            (found, _) => panic!("{named}: {found:?}"),
        }
    }

    #[test]
    fn a_label_is_named_by_its_name_or_number() {
        let nli = labels(&["contradiction", "entailment", "neutral"]);
        check(&nli, json!("entailment"), Ok(1));
        check(&nli, json!(2), Ok(2));
        check(&nli, json!("1"), Err("no label `1`; the labels are 0 (`contradiction`), 1 (`entailment`), 2"));
        check(&nli, json!(3), Err("no label 3"));
        check(&labels(&["NO", "NO"]), json!("NO"), Err("2 labels have the name `NO`"));
        check(&Labels::numbered(2), json!("LABEL_1"), Ok(1));
        check(&Labels::numbered(2), json!("LABEL_2"), Err("no label `LABEL_2`"));
        check(&Labels::default(), json!("YES"), Err("no labels (`id2label`)"));
        check(&Labels::numbered(1_000_000), json!("x"), Err("19 (`LABEL_19`) and 999980 others"));
    }

    #[test]
    fn the_only_label_needs_no_name() {
        assert_eq!(labels(&["relevant"]).row(None), Ok(Some(HeadRow::ONLY)));
        assert_eq!(labels(&["NO", "YES"]).row(None), Ok(None));
        assert_eq!(Labels::default().row(None), Ok(None));
    }

    #[test]
    fn incomplete_labels_have_the_names_of_transformers() {
        let map = json!({"1": "YES", "x": 7});
        let labels = Labels::named(map.as_object().unwrap());
        assert_eq!((labels.name(0), labels.name(1)), ("LABEL_0".to_owned(), "YES".to_owned()));
    }
}

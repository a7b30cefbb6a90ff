//! Measures of a ranking, with trec_eval's names and definitions.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use lorank_core::nearest_name;
use serde::{Serialize, Serializer};

use crate::Grades;

/// A measure of a ranking against judgments, as trec_eval defines it; the greater the better.
///
/// It is written as `ndcg@10`, or as trec_eval writes it, `ndcg_cut_10`. A document is relevant if its grade is at least 1;
/// what is not judged is not relevant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Measure {
    kind: Kind,
    /// How many of the first documents count; `None` for all of them.
    cutoff: Option<NonZeroUsize>,
}

/// A family of measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// Discounted cumulative gain, divided by that of the ideal order: the gain is the grade, the discount
    /// `log2(rank + 1)` (Järvelin and Kekäläinen, 2002).
    Ndcg,
    /// The mean of the precisions at the ranks of the relevant documents, over all relevant documents.
    AveragePrecision,
    /// One over the rank of the first relevant document.
    ReciprocalRank,
    /// The share of the relevant documents that was found.
    Recall,
    /// The share of relevant documents, over the cutoff even if fewer documents were found.
    Precision,
    /// 1 if a relevant document was found, else 0.
    Success,
    /// The precision at the number of relevant documents.
    RPrecision,
    /// The share of the ranking that is judged. trec_eval has no such measure.
    Judged,
}

/// Whether a family has a cutoff.
#[derive(Clone, Copy, PartialEq)]
enum Cutoff {
    Needed,
    Allowed,
    None,
}

/// The families with the name that lorank writes, trec_eval's name with a cutoff, and other names that are read.
const FAMILIES: [(Kind, Cutoff, &str, &str, &[&str]); 8] = [
    (Kind::Ndcg, Cutoff::Allowed, "ndcg", "ndcg_cut", &["ndcg", "ndcg_cut"]),
    (Kind::AveragePrecision, Cutoff::Allowed, "map", "map_cut", &["map", "ap", "map_cut"]),
    (Kind::ReciprocalRank, Cutoff::Allowed, "mrr", "recip_rank", &["mrr", "rr", "recip_rank", "recip_rank_cut"]),
    (Kind::Recall, Cutoff::Needed, "recall", "recall", &["recall", "r"]),
    (Kind::Precision, Cutoff::Needed, "p", "P", &["p", "precision"]),
    (Kind::Success, Cutoff::Needed, "success", "success", &["success"]),
    (Kind::RPrecision, Cutoff::None, "rprec", "Rprec", &["rprec"]),
    (Kind::Judged, Cutoff::Needed, "judged", "judged", &["judged"]),
];

impl Measure {
    /// nDCG of the first ten documents.
    pub const NDCG_AT_10: Self = Self { kind: Kind::Ndcg, cutoff: NonZeroUsize::new(10) };

    /// trec_eval's name of the measure, such as `ndcg_cut_10` and `recip_rank`.
    pub fn trec_name(self) -> String {
        let (.., own, trec, _) = self.family();
        match (self.cutoff, self.kind) {
            (Some(cutoff), _) => format!("{trec}_{cutoff}"),
            (None, Kind::ReciprocalRank | Kind::RPrecision) => (*trec).to_owned(),
            (None, _) => (*own).to_owned(),
        }
    }

    /// How many of the first documents count; `None` for all of them.
    pub fn cutoff(self) -> Option<NonZeroUsize> {
        self.cutoff
    }

    /// The value for one ranking.
    pub fn of(self, ranking: &Graded) -> f64 {
        let cutoff = self.cutoff.map_or(usize::MAX, NonZeroUsize::get);
        let grades = &ranking.grades[..cutoff.min(ranking.grades.len())];
        let n_relevant = ranking.ideal.len();
        let is_relevant = |grade: &Option<i32>| grade.is_some_and(|grade| grade > 0);
        let n_found = |grades: &[Option<i32>]| grades.iter().filter(|grade| is_relevant(grade)).count() as f64;
        let share = |part: f64, whole: usize| if whole == 0 { 0.0 } else { part / whole as f64 };
        match self.kind {
            Kind::Ndcg => {
                let best = dcg(ranking.ideal.iter().copied().take(cutoff));
                let found = dcg(grades.iter().map(|grade| grade.unwrap_or(0).max(0)));
                if best > 0.0 { found / best } else { 0.0 }
            }
            Kind::AveragePrecision => {
                let relevant = (1..).zip(grades).filter(|(_, grade)| is_relevant(grade));
                let precisions = (1..).zip(relevant).map(|(n, (rank, _))| f64::from(n) / f64::from(rank));
                share(precisions.sum(), n_relevant)
            }
            Kind::ReciprocalRank => {
                let first = grades.iter().position(is_relevant);
                first.map_or(0.0, |at| 1.0 / (at + 1) as f64)
            }
            Kind::Recall => share(n_found(grades), n_relevant),
            Kind::Precision => share(n_found(grades), cutoff),
            Kind::Success => f64::from(u8::from(grades.iter().any(is_relevant))),
            Kind::RPrecision => share(n_found(&ranking.grades[..n_relevant.min(ranking.grades.len())]), n_relevant),
            Kind::Judged => share(grades.iter().flatten().count() as f64, grades.len()),
        }
    }

    fn family(self) -> &'static (Kind, Cutoff, &'static str, &'static str, &'static [&'static str]) {
        FAMILIES.iter().find(|(kind, ..)| *kind == self.kind).expect("each family is listed")
    }
}

/// Discounted cumulative gain.
fn dcg(grades: impl Iterator<Item = i32>) -> f64 {
    (1..).zip(grades).map(|(rank, grade)| f64::from(grade) / f64::from(rank + 1).log2()).sum()
}

/// The grades of a ranking's documents, and those of the ideal order.
#[derive(Debug, Clone, PartialEq)]
pub struct Graded {
    /// By rank; `None` for a document without a judgment.
    grades: Vec<Option<i32>>,
    /// The grades of the relevant documents, best first.
    ideal: Vec<i32>,
}

impl Graded {
    /// Looks the documents of a ranking up, best first.
    pub fn new<'a>(ranking: impl IntoIterator<Item = &'a str>, grades: &Grades) -> Self {
        let mut ideal: Vec<i32> = grades.values().copied().filter(|grade| *grade > 0).collect();
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        Self { grades: ranking.into_iter().map(|document| grades.get(document).copied()).collect(), ideal }
    }

    /// How many documents are relevant to the query.
    pub fn n_relevant(&self) -> usize {
        self.ideal.len()
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (.., own, _, _) = self.family();
        match self.cutoff {
            Some(cutoff) => write!(f, "{own}@{cutoff}"),
            None => f.write_str(own),
        }
    }
}

impl Serialize for Measure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A name that is no measure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoMeasure(String);

impl FromStr for Measure {
    type Err = NoMeasure;

    fn from_str(text: &str) -> Result<Self, NoMeasure> {
        let (name, cutoff) = split(text);
        let lower = name.to_ascii_lowercase();
        let found = FAMILIES.iter().find(|(.., names)| names.contains(&lower.as_str()));
        let Some((kind, rule, own, ..)) = found else { return Err(unknown(text, &lower)) };
        let cutoff = match cutoff {
            None => None,
            Some(cutoff) => Some(cutoff.parse().map_err(|_| {
                NoMeasure(format!("`{text}`: the number of documents is `{cutoff}`, not a whole number from 1 up"))
            })?),
        };
        match (rule, cutoff) {
            (Cutoff::Needed, None) => Err(NoMeasure(format!("`{text}` needs a number of documents, as in `{own}@10`"))),
            (Cutoff::None, Some(_)) => Err(NoMeasure(format!("`{own}` has no number of documents"))),
            _ => Ok(Self { kind: *kind, cutoff }),
        }
    }
}

/// The name and the cutoff: `ndcg@10`, `ndcg_cut_10`, `P_10`.
fn split(text: &str) -> (&str, Option<&str>) {
    if let Some((name, cutoff)) = text.split_once('@') {
        return (name, Some(cutoff));
    }
    match text.rsplit_once('_') {
        Some((name, cutoff)) if cutoff.bytes().all(|b| b.is_ascii_digit()) => (name, Some(cutoff)),
        _ => (text, None),
    }
}

fn unknown(text: &str, name: &str) -> NoMeasure {
    let known = || FAMILIES.iter().map(|(.., own, _, _)| *own);
    let hint = match nearest_name(name, FAMILIES.iter().flat_map(|(.., names)| names.iter().copied())) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("the measures are {}", known().collect::<Vec<_>>().join(", ")),
    };
    NoMeasure(format!("`{text}` is not a measure; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_trec_eval_and_of_other_tools_are_read() {
        for (given, own, trec) in [
            ("ndcg@10", "ndcg@10", "ndcg_cut_10"),
            ("nDCG@10", "ndcg@10", "ndcg_cut_10"),
            ("ndcg_cut_10", "ndcg@10", "ndcg_cut_10"),
            ("ndcg", "ndcg", "ndcg"),
            ("map", "map", "map"),
            ("AP@100", "map@100", "map_cut_100"),
            ("recip_rank", "mrr", "recip_rank"),
            ("MRR@10", "mrr@10", "recip_rank_10"),
            ("recall_100", "recall@100", "recall_100"),
            ("R@5", "recall@5", "recall_5"),
            ("P_10", "p@10", "P_10"),
            ("success_1", "success@1", "success_1"),
            ("Rprec", "rprec", "Rprec"),
            ("judged@10", "judged@10", "judged_10"),
        ] {
            let measure: Measure = given.parse().unwrap();
            assert_eq!((measure.to_string().as_str(), measure.trec_name().as_str()), (own, trec), "{given}");
        }
    }

    #[test]
    fn other_names_are_refused_with_what_is_meant() {
        for (given, expected) in [
            ("recall", "`recall` needs a number of documents, as in `recall@10`"),
            ("ndcg@0", "`ndcg@0`: the number of documents is `0`, not a whole number from 1 up"),
            ("ndcg@ten", "`ndcg@ten`: the number of documents is `ten`"),
            ("ndcg@-1", "`ndcg@-1`: the number of documents is `-1`"),
            ("rprec@10", "`rprec` has no number of documents"),
            ("ndgc@10", "`ndgc@10` is not a measure; did you mean `ndcg`?"),
            ("infAP", "`infAP` is not a measure; the measures are ndcg, map, mrr, recall, p, success, rprec, judged"),
            ("", "`` is not a measure; the measures are"),
        ] {
            let error = given.parse::<Measure>().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn values_are_those_computed_by_hand() {
        let grades =
            Grades::from([("a", 3), ("b", 2), ("c", 1), ("d", 0), ("e", -1)].map(|(id, g)| (id.to_owned(), g)));
        let graded = Graded::new(["b", "x", "a", "e"], &grades);
        let best = 3.0 + 2.0 / 3f64.log2() + 1.0 / 2.0;
        for (name, expected) in [
            ("ndcg@10", (2.0 + 3.0 / 2.0) / best),
            ("ndcg@1", 2.0 / 3.0),
            ("map", (1.0 + 2.0 / 3.0) / 3.0),
            ("map@2", 1.0 / 3.0),
            ("mrr", 1.0),
            ("recall@3", 2.0 / 3.0),
            ("recall@1000", 2.0 / 3.0),
            ("p@3", 2.0 / 3.0),
            ("p@10", 0.2),
            ("success@1", 1.0),
            ("rprec", 2.0 / 3.0),
            ("judged@4", 0.75),
        ] {
            let found = name.parse::<Measure>().unwrap().of(&graded);
            assert!((found - expected).abs() < 1e-12, "{name}: {found} instead of {expected}");
        }
        let none = Graded::new(["a"], &Grades::from([("a".to_owned(), 0)]));
        for name in ["ndcg@10", "map", "mrr", "recall@10", "p@10", "success@10", "rprec"] {
            assert_eq!(name.parse::<Measure>().unwrap().of(&none), 0.0, "{name}");
        }
    }
}

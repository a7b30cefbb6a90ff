//! The documents of each query with their clicks and examinations, as groups for training.

use super::{ClickLog, Examination};

/// A query with the documents that were shown for it, for training.
#[derive(Debug, Clone, PartialEq)]
pub struct ClickGroup {
    /// The query's text.
    pub query: String,
    /// The number of its searches.
    pub n_searches: u64,
    /// The documents, in the order of their first appearance.
    pub documents: Vec<ClickedDocument>,
}

/// A document that was shown for a query.
#[derive(Debug, Clone, PartialEq)]
pub struct ClickedDocument {
    /// The document's id.
    pub document: String,
    /// The number of searches that showed it.
    pub n_shown: u64,
    /// The number of these in which it was clicked.
    pub n_clicked: u64,
    /// The expected number of searches in which its rank was examined, with clipped probabilities.
    pub n_examined: f64,
}

impl ClickedDocument {
    /// The estimated probability that a user who examines the document clicks it: clicks per examination, at most 1.
    pub fn relevance(&self) -> f64 {
        if self.n_examined > 0.0 { (self.n_clicked as f64 / self.n_examined).min(1.0) } else { 0.0 }
    }
}

impl ClickLog {
    /// The documents of each query with their clicks and examinations.
    pub fn groups(&self, examination: &Examination) -> Vec<ClickGroup> {
        let counts = self.counts(|_| 1.0);
        let mut groups: Vec<ClickGroup> = self
            .queries
            .iter()
            .zip(&counts.searched)
            .map(|(query, n)| ClickGroup { query: query.text.clone(), n_searches: *n as u64, documents: Vec::new() })
            .collect();
        for pair in &self.pairs {
            let sum = |values: &[f64]| pair.cells.iter().map(|cell| values[*cell as usize]).sum::<f64>();
            groups[pair.query as usize].documents.push(ClickedDocument {
                document: pair.document.clone(),
                n_shown: sum(&counts.shown) as u64,
                n_clicked: sum(&counts.clicked) as u64,
                n_examined: self.n_examined(pair, &counts, &examination.probabilities),
            });
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clicks_are_counted_by_examination() {
        let mut log = ClickLog::default();
        log.add("q", ["a", "b"], [1, 1, 2, 7, 0]);
        log.add("q", ["b", "a"], []);
        log.add("q", ["b", "c"], [2]);
        log.add("p", ["a"], []);
        let examination = Examination { probabilities: vec![1.0, 0.5], ..Examination::default() };
        let groups = log.groups(&examination);
        let shown: Vec<_> = groups
            .iter()
            .flat_map(|group| &group.documents)
            .map(|document| (document.document.as_str(), document.n_shown, document.n_clicked, document.n_examined))
            .collect();
        assert_eq!(shown, [("a", 2, 1, 1.5), ("b", 3, 1, 2.5), ("c", 1, 1, 0.5), ("a", 1, 0, 1.0)]);
        assert_eq!(groups[0].documents[1].relevance(), 0.4);
        assert_eq!(groups[0].documents[2].relevance(), 1.0, "at most 1");
    }
}

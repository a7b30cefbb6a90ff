//! Groups from clicks: the documents that were shown for a query, with their estimated relevance as labels.

use lorank_core::Candidate;
use lorank_eval::{ClickGroup, ClickedDocument};

use crate::mining::document;
use crate::{Group, TrainError};

/// Groups that were made from clicks.
#[derive(Debug, Clone, PartialEq)]
pub struct FromClicks {
    /// A group for each query with a click.
    pub groups: Vec<Group>,
    /// The number of documents that were shown and that `read` did not find.
    pub n_missing: usize,
}

/// Makes a group for each query with a clicked document that `read` finds. Labels are clicks per examination, from 0 to 1.
///
/// Of a query's documents, the `n_documents_max` that were examined most often are taken, since their labels vary the least;
/// which documents these are does not depend on clicks.
///
/// # Errors
/// If no query has such a document, or those of `read`.
pub fn from_clicks<E>(
    queries: &[ClickGroup],
    read: impl Fn(&str) -> Result<Option<Candidate>, E>,
    n_documents_max: usize,
) -> Result<FromClicks, E>
where
    E: From<TrainError>,
{
    let mut made = FromClicks { groups: Vec::new(), n_missing: 0 };
    for query in queries {
        let mut shown: Vec<&ClickedDocument> = query.documents.iter().collect();
        shown.sort_by(|a, b| b.n_examined.total_cmp(&a.n_examined));
        let mut documents = Vec::new();
        for clicked in shown.into_iter().take(n_documents_max) {
            match read(&clicked.document)? {
                Some(found) => documents.push(document(&found, clicked.relevance())),
                None => made.n_missing += 1,
            }
        }
        if documents.iter().any(|document| document.label > 0.0) {
            made.groups.push(Group { query_id: None, query: query.query.clone(), documents });
        }
    }
    if made.groups.is_empty() {
        let problem = "no query of the log has a click on a document of the index";
        return Err(TrainError::Data(problem.to_owned()).into());
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use lorank_core::Score;
    use lorank_eval::{ClickLog, Examination};

    use super::*;

    #[test]
    fn labels_are_clicks_per_examination() {
        let mut log = ClickLog::default();
        log.add("egg", ["a", "b", "c", "gone"], [2]);
        log.add("egg", ["a", "c", "b", "gone"], []);
        log.add("hen", ["a", "b"], []);
        let examination = Examination { probabilities: vec![1.0, 0.5, 0.25, 0.2], ..Examination::default() };
        let read = |id: &str| {
            let found = Candidate::new(id, format!("text of {id}"), Score::new(0.0).unwrap());
            Ok::<_, TrainError>(Some(found).filter(|_| id != "gone"))
        };
        let made = from_clicks(&log.groups(&examination), read, 9).unwrap();
        assert_eq!((made.groups.len(), made.n_missing), (1, 1), "without the query that has no click");
        let labels: Vec<_> = made.groups[0].documents.iter().map(|it| (it.id.as_deref().unwrap(), it.label)).collect();
        assert_eq!(labels, [("a", 0.0), ("b", 1.0 / 0.75), ("c", 0.0)].map(|(id, label)| (id, f64::min(label, 1.0))));
        let raw = from_clicks(&log.groups(&Examination::uniform()), read, 9).unwrap();
        assert_eq!(raw.groups[0].documents[1].label, 0.5);
        assert_eq!(from_clicks(&log.groups(&examination), read, 2).unwrap().groups[0].documents.len(), 2);
        let error = from_clicks(&log.groups(&examination), |_| Ok::<_, TrainError>(None), 9).unwrap_err();
        assert!(error.to_string().contains("no query of the log has a click on a document"), "{error}");
    }
}

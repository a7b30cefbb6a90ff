//! Groups from judgments: relevant documents, and other hits of the first stage as negatives.

use std::num::NonZeroUsize;

use lorank_core::{Candidate, FirstStage, Query, SplitMix64};
use lorank_eval::{Qrels, Topic};

use crate::{Group, GroupDocument, LABEL_MAX, TrainError};

/// How groups are made.
#[derive(Debug, Clone, Copy)]
pub struct MiningOptions {
    /// Negatives are drawn from this many hits.
    pub depth: NonZeroUsize,
    /// The number of negatives of a group.
    pub n_negatives: usize,
    /// The most relevant documents of a group; those with the highest grades.
    pub n_positives_max: usize,
    /// The seed of the draws.
    pub seed: u64,
}

/// Makes a group for each topic with a relevant document that `read` finds. A hit without a positive grade is a negative.
///
/// # Errors
/// If the first stage fails, or no topic has a relevant document.
pub fn mine<E>(
    topics: &[Topic],
    qrels: &Qrels,
    first_stage: &dyn FirstStage,
    read: impl Fn(&str) -> Result<Option<Candidate>, E>,
    options: &MiningOptions,
) -> Result<Vec<Group>, E>
where
    E: From<TrainError>,
{
    let mut groups = Vec::new();
    for (n, topic) in topics.iter().enumerate() {
        let Some(grades) = qrels.grades(&topic.id) else { continue };
        let mut relevant: Vec<(&str, i32)> =
            grades.iter().filter(|(_, grade)| **grade > 0).map(|(id, grade)| (id.as_str(), *grade)).collect();
        relevant.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let mut documents = Vec::new();
        for (id, grade) in relevant.into_iter().take(options.n_positives_max) {
            documents.extend(read(id)?.map(|found| document(&found, f64::from(grade).min(LABEL_MAX))));
        }
        if documents.is_empty() {
            continue;
        }
        let found = first_stage.retrieve(&Query::new(topic.text.as_str()), options.depth);
        let mut found = found.map_err(|source| TrainError::FirstStage { query: topic.text.clone(), source })?;
        found.retain(|hit| grades.get(hit.id.as_str()).is_none_or(|grade| *grade <= 0));
        SplitMix64::new(options.seed.wrapping_add(n as u64)).shuffle(&mut found);
        documents.extend(found.iter().take(options.n_negatives).map(|hit| document(hit, 0.0)));
        groups.push(Group { query_id: Some(topic.id.clone()), query: topic.text.clone(), documents });
    }
    if groups.is_empty() {
        let problem = "none of the judged queries has a relevant document in the index";
        return Err(TrainError::Data(problem.to_owned()).into());
    }
    Ok(groups)
}

pub(crate) fn document(found: &Candidate, label: f64) -> GroupDocument {
    GroupDocument {
        id: Some(found.id.as_str().to_owned()),
        title: found.title.as_deref().map(str::to_owned),
        text: found.text.to_string(),
        label,
        teacher: None,
    }
}

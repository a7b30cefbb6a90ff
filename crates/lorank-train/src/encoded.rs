//! Groups as tokens.

use lorank_core::Candidate;
use lorank_model::{Pair, TrainableModel};

use crate::{Group, GroupDocument, TrainError};

/// A group whose pairs are tokens.
#[derive(Debug, Clone)]
pub struct EncodedGroup {
    pub(crate) pairs: Vec<Pair>,
    pub(crate) labels: Vec<f64>,
    pub(crate) teacher: Option<Vec<f64>>,
}

impl EncodedGroup {
    /// Encodes a group.
    ///
    /// # Errors
    /// A failure of the tokenizer.
    pub fn new(model: &TrainableModel<'_>, group: &Group) -> Result<Self, TrainError> {
        let candidates: Vec<Candidate> = group.documents.iter().map(GroupDocument::candidate).collect();
        Ok(Self {
            pairs: model.encode(&group.query, &candidates)?,
            labels: group.documents.iter().map(|document| document.label).collect(),
            teacher: group.documents.iter().map(|document| document.teacher).collect(),
        })
    }

    pub(crate) fn n_tokens(&self) -> usize {
        self.pairs.iter().map(|pair| pair.ids.len()).sum()
    }
}

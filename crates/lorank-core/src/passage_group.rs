//! Passages for programs that use a reranker alone.

use std::num::NonZeroUsize;

use crate::causes::BoxError;
use crate::group::Group;
use crate::passages::{Passage, PassageOptions, PassageRule};
use crate::stages::Reranker;
use crate::windows::Windows;
use crate::{Candidate, Deadline, Score};

/// The candidates of a group, with the texts that are scored in their place.
#[derive(Debug, Clone, PartialEq)]
pub struct PassageGroup {
    /// `None` if each candidate is scored whole.
    cut: Option<(PassageRule, Vec<Windows>)>,
    texts: Vec<Candidate>,
}

impl PassageGroup {
    /// Cuts the candidates' texts by the settings of a request, else by those of the model's author, into at most
    /// `n_max` windows each.
    ///
    /// # Errors
    /// [`InvalidPassages`](crate::InvalidPassages), or as [`Reranker::windows`].
    pub fn new(
        reranker: &(impl Reranker + ?Sized),
        group: Group<'_>,
        options: PassageOptions,
        n_max: NonZeroUsize,
        deadline: Option<Deadline>,
    ) -> Result<Self, BoxError> {
        let candidates = group.candidates;
        let Some((rule, cut)) = options.resolve(reranker.passages(group.model)?, n_max)? else {
            return Ok(Self { cut: None, texts: candidates.to_vec() });
        };
        let windows = reranker.windows(group, &cut, deadline)?;
        let fit = |(windows, candidate): (&Windows, &Candidate)| windows.fit(&candidate.text);
        if windows.len() != candidates.len() || !windows.iter().zip(candidates).all(fit) {
            return Err("the reranker returned windows that are not those of the texts".into());
        }
        let of_candidate = |(candidate, windows): (&Candidate, &Windows)| {
            let text = |span: &std::ops::Range<usize>| match *span == (0..candidate.text.len()) {
                true => candidate.clone(),
                false => Candidate { text: candidate.text[span.clone()].into(), ..candidate.clone() },
            };
            windows.spans.iter().map(text).collect::<Vec<_>>()
        };
        let texts = candidates.iter().zip(&windows).flat_map(of_candidate).collect();
        Ok(Self { cut: Some((rule, windows)), texts })
    }

    /// The texts to score, in the candidates' order.
    pub fn texts(&self) -> &[Candidate] {
        &self.texts
    }

    /// The score of each candidate from the scores of the texts, and its passage if its text was scored as windows.
    ///
    /// # Panics
    /// If the number of scores is not that of the texts.
    pub fn merge(&self, scores: &[Score]) -> Vec<(Score, Option<Passage>)> {
        assert_eq!(scores.len(), self.texts.len(), "each text has a score");
        let Some((rule, windows)) = &self.cut else { return scores.iter().map(|score| (*score, None)).collect() };
        let mut rest = scores;
        let of_candidate = |windows: &Windows| {
            let (own, after) = rest.split_at(windows.spans.len());
            rest = after;
            let (score, passage) = rule.apply(windows, own);
            (score, Some(passage))
        };
        windows.iter().map(of_candidate).collect()
    }
}

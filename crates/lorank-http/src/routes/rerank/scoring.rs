//! Scoring the texts of a request, for the formats of all services.

use std::num::NonZeroUsize;

use axum::body::Bytes;
use lorank_core::{Activation, Candidate, ModelVersion, Query, Score};
use lorank_pipeline::{AdapterChoice, Documents, Fallback, Scoring, SearchRequest};
use serde::de::DeserializeOwned;

use super::super::App;
use super::super::search::CancelOnDrop;
use super::instruction::Instruction;
use crate::ServerError;
use crate::json::{list_lengths, parse, read_object};

impl App {
    /// Parses a request with lists of texts, within the configured maximum length.
    pub(super) async fn read_lists<T: DeserializeOwned + Send + 'static, const N: usize>(
        &self,
        expected: &'static str,
        body: Bytes,
        lists: [&'static str; N],
    ) -> Result<T, ServerError> {
        let max = self.config.n_documents_max.get();
        parse(&self.lanes, body, move |body| read_with_lists(expected, body, lists, max)).await
    }

    pub(super) fn check_documents(&self, field: &'static str, found: usize) -> Result<(), ServerError> {
        let max = self.config.n_documents_max.get();
        match found {
            0 => Err(ServerError::NoDocuments { field }),
            n if n > max => Err(ServerError::TooManyDocuments { field, found, max }),
            _ => Ok(()),
        }
    }

    /// The scores of each query's texts, submitted together.
    pub(super) async fn score_groups(
        self,
        adapter: AdapterChoice,
        instruction: Option<Instruction>,
        groups: Vec<(String, Vec<String>)>,
    ) -> Result<Scoring, ServerError> {
        let request = SearchRequest { adapter, ..SearchRequest::new("") };
        let _cancel = CancelOnDrop(request.cancellation.clone());
        let work = move |app: &Self| {
            let nothing = Score::new(0.0).expect("zero is finite");
            let (mut queries, mut candidates) = (Vec::with_capacity(groups.len()), Vec::new());
            for (text, texts) in groups {
                let instruction = Instruction::text(instruction.as_ref());
                queries.push((Query { instruction, ..Query::new(text) }, texts.len()));
                let first = candidates.len();
                let numbered = texts.into_iter().zip(first..);
                candidates.extend(numbered.map(|(text, n)| Candidate::new(n.to_string(), text, nothing)));
            }
            let mut rest = candidates.as_slice();
            let documents = queries.iter().map(|(query, n_texts)| {
                let (candidates, after) = rest.split_at(*n_texts);
                rest = after;
                Documents { query, candidates }
            });
            let scoring = app.service.engine.score_each(&request, &documents.collect::<Vec<_>>());
            let scoring = scoring.map_err(|error| Instruction::name_in(error.into(), instruction.as_ref()))?;
            match scoring.scores.as_ref().err().and_then(|reason| app.overload_of(reason)) {
                Some(overload) => Err(overload),
                None => Ok(scoring),
            }
        };
        self.search_work(work).await
    }

    /// The activation of the model's own configuration.
    pub(super) fn own_activation(&self, model: &ModelVersion) -> Activation {
        self.service.adapters.as_ref().map_or_else(Activation::default, |host| host.activation(model))
    }
}

/// Parses a request with lists of at most `max` texts. The lengths are checked first, because a list of empty strings needs much
/// more memory than its JSON.
pub(crate) fn read_with_lists<T: DeserializeOwned, const N: usize>(
    expected: &'static str,
    body: &[u8],
    lists: [&'static str; N],
    max: usize,
) -> Result<T, ServerError> {
    for (field, found) in lists.into_iter().zip(list_lengths(body, lists)) {
        if let Some(found) = found.filter(|found| *found > max) {
            return Err(ServerError::TooManyDocuments { field, found, max });
        }
    }
    read_object(expected, body)
}

/// Whether a request asks for logits, by any of the keys for that.
pub(super) fn wants_logits(
    raw_scores: Option<bool>,
    use_activation: Option<bool>,
    activation: Option<bool>,
) -> Result<bool, ServerError> {
    let without = |is_on: bool| !is_on;
    let asked = [
        ("raw_scores", raw_scores),
        ("use_activation", use_activation.map(without)),
        ("activation", activation.map(without)),
    ];
    let mut asked = asked.into_iter().filter_map(|(key, wants_logits)| Some((key, wants_logits?)));
    let Some((first, wants_logits)) = asked.next() else { return Ok(false) };
    match asked.find(|(_, other)| *other != wants_logits) {
        None => Ok(wants_logits),
        Some((key, _)) => {
            let problem = format!("contradicts `{first}`; send one of them");
            Err(ServerError::InvalidValue { field: key.to_owned(), problem })
        }
    }
}

/// Truncates a text to about this many tokens of four bytes, between characters.
pub(crate) fn cut(mut text: String, n_tokens_max: Option<NonZeroUsize>) -> String {
    if let Some(bytes_max) = n_tokens_max.map(|n| n.get().saturating_mul(4)).filter(|max| *max < text.len()) {
        text.truncate((0..=bytes_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    }
    text
}

pub(super) fn scores_of(scores: Result<Vec<Score>, Fallback>) -> Result<Vec<Score>, ServerError> {
    scores.map_err(failure)
}

/// The error for missing scores.
pub(super) fn failure(fallback: Fallback) -> ServerError {
    match fallback {
        Fallback::DeadlinePassed => ServerError::DeadlinePassed,
        other => ServerError::NotScored { reason: other.reason(), message: other.to_string() },
    }
}

/// Pairs one query with all texts, or each query with one text.
pub(super) fn groups_of(
    (queries_field, queries): (&'static str, Vec<String>),
    (texts_field, texts): (&'static str, Vec<String>),
) -> Result<Vec<(String, Vec<String>)>, ServerError> {
    match queries.len() {
        0 => Err(ServerError::NoDocuments { field: queries_field }),
        1 => Ok(queries.into_iter().zip([texts]).collect()),
        n if n == texts.len() => Ok(queries.into_iter().zip(texts).map(|(query, text)| (query, vec![text])).collect()),
        n => {
            let problem =
                format!("has {n} texts, but `{texts_field}` has {}; send one, or the same number", texts.len());
            Err(ServerError::InvalidValue { field: queries_field.to_owned(), problem })
        }
    }
}

/// The name of the adapter, or of the base model if there is no adapter.
pub(super) fn name(model: &ModelVersion) -> String {
    model.adapter.as_ref().map_or_else(|| model.base_model.clone(), |adapter| adapter.id.to_string())
}

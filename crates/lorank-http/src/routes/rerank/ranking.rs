//! Ranking the documents of a request, for the formats of all services.

use std::num::NonZeroUsize;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use lorank_core::{Activation, Candidate, DocumentId, Passage, PassageOptions, Query, Score};
use lorank_experiment_pipeline::{GivenDocument, Participation, RerankAnswer, Trial};
use lorank_pipeline::{SearchRequest, Warning};

use super::super::search::{CancelOnDrop, unit_id};
use super::super::{App, now_millis};
use super::asked::{Asked, model_header};
use super::instruction::Instruction;
use super::scoring::{failure, name};
use crate::ServerError;
use crate::request_id::Arrival;
use crate::wire::{PassageJson, Usage};

/// The headers with the experiment and its arm.
const EXPERIMENT: HeaderName = HeaderName::from_static("x-experiment");
const ARM: HeaderName = HeaderName::from_static("x-experiment-arm");
/// The value instead of an arm for interleaved arms.
const INTERLEAVED: &str = "interleaved";
/// The reason for which the documents are in the order of the request, as a constant for programs.
const FALLBACK: HeaderName = HeaderName::from_static("x-fallback");
/// `model` if the scores are those of a model, `rank` if they are derived from ranks.
const SCORES: HeaderName = HeaderName::from_static("x-scores");

/// A rerank request, independent of the service's format.
pub(super) struct Job {
    pub model: Option<String>,
    pub query: String,
    pub instruction: Option<Instruction>,
    pub documents: Vec<JobDocument>,
    /// The maximum number of results.
    pub top: Option<NonZeroUsize>,
    pub activation: Activation,
    /// How long documents are scored. If it has a rule, the entries have their passages.
    pub passages: PassageOptions,
}

/// A document of a [`Job`].
pub(super) struct JobDocument {
    pub id: DocumentId,
    /// The texts that are scored. The document's score is their maximum.
    pub passages: Vec<String>,
}

/// The answer to a [`Job`].
pub(super) struct Ranking {
    /// The results in rank order.
    pub entries: Vec<Entry>,
    /// The `model` of the answer.
    pub model: String,
    pub usage: Usage,
    /// Additional headers of the answer.
    pub headers: HeaderMap,
    /// Differences between the answer and the request.
    pub warnings: Vec<String>,
}

/// A result of a [`Ranking`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The index of the document in the request.
    pub index: usize,
    /// The score on the requested scale.
    pub score: f32,
    /// The window of the document that the score comes from, if the request asks for it.
    pub passage: Option<PassageJson<'static>>,
}

impl JobDocument {
    /// A document with only a text, identified by its digest.
    pub(super) fn of_text(text: String) -> Self {
        let id = crate::wire::RerankDocument::Text(String::new()).id(&text);
        Self { id, passages: vec![text] }
    }
}

impl App {
    /// Ranks the documents of a request, by the arm of an experiment if the request takes part in one.
    pub(super) async fn rank(self, arrival: &Arrival, headers: &HeaderMap, job: Job) -> Result<Ranking, ServerError> {
        let asked = self.asked(job.model.as_deref())?;
        let unit_id = unit_id(headers)?;
        let query = Query { instruction: Instruction::text(job.instruction.as_ref()), ..Query::new(job.query) };
        let (adapter, passages) = (asked.adapter.clone(), job.passages);
        let request = SearchRequest { adapter, passages, top_k: job.top, ..SearchRequest::from_query(query) };
        let _cancel = CancelOnDrop(request.cancellation.clone());
        let trial = Trial {
            request,
            request_id: arrival.request_id.to_string(),
            unit_id,
            experiment: asked.experiment.clone(),
            arm: None,
            at_millis: now_millis(),
        };
        let (documents, instruction, top, activation) = (job.documents, job.instruction, job.top, job.activation);
        let work = move |app: &Self| {
            let documents: Vec<GivenDocument> = documents.into_iter().map(given).collect();
            let answer = app.service.engine.rerank(&trial, &documents);
            let answer = answer.map_err(|error| Instruction::name_in(error.into(), instruction.as_ref()))?;
            match answer.fallback.as_ref().and_then(|reason| app.overload_of(reason)) {
                Some(overload) => Err(overload),
                None => {
                    let passages = passages.rule.map(|_| passages_of(&answer, &documents));
                    Ok((answer, passages.unwrap_or_default()))
                }
            }
        };
        let (answer, passages) = self.search_work(work).await?;
        ranking(answer, passages, &asked, top, activation)
    }
}

fn given(document: JobDocument) -> GivenDocument {
    let nothing = Score::new(0.0).expect("zero is finite");
    let candidate = |text| Candidate::new(document.id.as_str(), text, nothing);
    GivenDocument { passages: document.passages.into_iter().map(candidate).collect(), id: document.id }
}

/// The passages of the documents, in their order.
fn passages_of(answer: &RerankAnswer, documents: &[GivenDocument]) -> Vec<Option<PassageJson<'static>>> {
    let passage = |(window, document): (&Option<(usize, Passage)>, &GivenDocument)| {
        let (text, passage) = window.as_ref()?;
        Some(PassageJson::new(passage, &document.passages.get(*text)?.text).into_owned())
    };
    answer.windows.iter().zip(documents).map(passage).collect()
}

fn ranking(
    answer: RerankAnswer,
    mut passages: Vec<Option<PassageJson<'static>>>,
    asked: &Asked,
    top: Option<NonZeroUsize>,
    activation: Activation,
) -> Result<Ranking, ServerError> {
    let RerankAnswer { order, scores, windows, model, fallback, n_tokens, participation } = answer;
    let n_cut = windows.iter().flatten().filter(|(_, passage)| !passage.is_complete).count();
    // Outside of experiments a client does better with an error than with an order that nobody made.
    let is_assigned = participation.as_ref().is_some_and(|participation| !participation.forced);
    if let Some(fallback) = fallback.as_ref().filter(|_| !is_assigned) {
        return Err(failure(fallback.clone()));
    }
    let n = order.len();
    let score = |rank: usize, index: usize| match &scores {
        Some(scores) => activation.apply(scores[index]),
        // They fall from 1 towards 0 and tell nothing beside the order.
        None => (n - rank) as f32 / n as f32,
    };
    let entry = |(rank, index): (usize, usize)| {
        let passage = passages.get_mut(index).and_then(Option::take);
        Entry { index, score: score(rank, index), passage }
    };
    let shown = top.map_or(n, NonZeroUsize::get);
    let entries = order.iter().copied().enumerate().take(shown).map(entry).collect();
    let scored_by = model.as_ref().map(name);
    let model = match (&scored_by, &participation) {
        (Some(model), _) => model.clone(),
        (None, Some(Participation { experiment, .. })) => format!("experiment:{experiment}"),
        (None, None) => String::new(),
    };
    let mut headers = model_header(&model);
    let mut say = |name: HeaderName, value: &str| {
        headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
    };
    say(SCORES, if scores.is_some() { "model" } else { "rank" });
    if let Some(Participation { experiment, arm, forced, .. }) = &participation {
        say(EXPERIMENT, experiment);
        // Of a request that chose another model, no arm is told.
        match arm {
            Some(arm) => say(ARM, arm),
            None if *forced => {}
            None => say(ARM, INTERLEAVED),
        }
    }
    if let Some(fallback) = &fallback {
        say(FALLBACK, fallback.reason());
    }
    let mut warnings: Vec<String> = asked.warning(&model).into_iter().collect();
    warnings.extend(fallback.map(|fallback| format!("the documents are in the order of the request: {fallback}")));
    warnings.extend((n_cut > 0).then(|| Warning::PassagesLimited { n_documents: n_cut }.to_string()));
    Ok(Ranking { entries, model, usage: Usage::reading(n_tokens), headers, warnings })
}

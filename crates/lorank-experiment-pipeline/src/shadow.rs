//! What a candidate would have answered: ranked unseen, when the model has nothing else to do.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use lorank_core::{AdapterId, DocumentId, FirstStage, Reranker, with_causes};
use lorank_experiment_store::ExperimentStore;
use lorank_experiments::{ShadowOutcome, ShadowRecord, agreement};
use lorank_pipeline::{AdapterChoice, Answer, Cancellation, Pipeline, PipelineError, Ranked, Ranker, SearchRequest};

use crate::ExperimentPipelineError;
use crate::trial::{ExperimentAnswer, Trial};

/// What the hash that picks requests is for. Another text follows other requests, so it keeps the crate's first name.
const CONTEXT: &str = "lorank lab 2025-11-25 requests that a shadow follows v1";

/// How likely a reader goes on to the next rank, for rank-biased overlap: 86 % of its weight lies on the first ten.
const PERSISTENCE: f64 = 0.9;

/// How many answers may wait to be followed. One more is left out, and counted.
const WAITING_MAX: usize = 64;

/// An adapter that ranks a share of the answers once more, after they were given and unseen.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowConfig {
    /// Its name in the records.
    pub name: String,
    /// The adapter or alias that ranks.
    pub adapter: AdapterId,
    /// The share of answers, above 0 and up to 1. Which ones follows from the request's id.
    pub share: f64,
}

/// What the shadows have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShadowStats {
    /// Answers that were followed.
    pub n_followed: u64,
    /// Answers that were left out because too many waited.
    pub n_dropped: u64,
}

/// The shadows and the thread on which they work.
pub(crate) struct Shadows {
    configs: Vec<ShadowConfig>,
    queue: SyncSender<Job>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    n_followed: AtomicU64,
    n_dropped: AtomicU64,
}

/// One answer to follow.
struct Job {
    request: SearchRequest,
    request_id: String,
    at_millis: i64,
    /// What ranked the answer that was given.
    given: Ranker,
    shadow: ShadowConfig,
}

impl Shadows {
    /// Starts the thread, if there is a shadow at all.
    pub(crate) fn start<F: FirstStage + 'static, R: Reranker + 'static>(
        configs: Vec<ShadowConfig>,
        pipeline: Arc<Pipeline<F, R>>,
        store: Arc<ExperimentStore>,
    ) -> Result<Option<Self>, ExperimentPipelineError> {
        if let Some(ShadowConfig { name, share, .. }) = configs.iter().find(|it| !(it.share > 0.0 && it.share <= 1.0)) {
            return Err(ExperimentPipelineError::Share { name: name.clone(), share: *share });
        }
        if configs.is_empty() {
            return Ok(None);
        }
        let (queue, waiting) = sync_channel(WAITING_MAX);
        let counts = Arc::new(Counts::default());
        let run = {
            let counts = counts.clone();
            move || run(&waiting, &pipeline, &store, &counts)
        };
        let thread = thread::Builder::new().name("lorank-shadow".to_owned());
        thread.spawn(run).map_err(|source| ExperimentPipelineError::SpawnWorker { source })?;
        Ok(Some(Self { configs, queue, counts }))
    }

    /// Leaves an answer to the shadows that follow it, and waits for nothing. Later pages and mixed answers are not followed:
    /// a shadow is held against one whole ranking. Nor are answers that no model could have ranked.
    pub(crate) fn follow(&self, trial: &Trial, answered: &ExperimentAnswer) {
        let is_mixed = answered.participation.as_ref().is_some_and(|participation| participation.arm.is_none());
        if trial.request.offset > 0 || is_mixed || !trial.request.can_be_reranked() {
            return;
        }
        for shadow in self.configs.iter().filter(|shadow| follows(shadow, &trial.request_id)) {
            let job = Job {
                request: background(&trial.request),
                request_id: trial.request_id.clone(),
                at_millis: trial.at_millis,
                given: given(&answered.answer, &trial.request.adapter),
                shadow: shadow.clone(),
            };
            if self.queue.try_send(job).is_err() {
                self.counts.n_dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn stats(&self) -> ShadowStats {
        let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
        ShadowStats { n_followed: count(&self.counts.n_followed), n_dropped: count(&self.counts.n_dropped) }
    }
}

/// What ranked an answer. A model is named by its adapter: where that has other weights by now, so has what is compared.
fn given(answer: &Answer, asked: &AdapterChoice) -> Ranker {
    match &answer.model {
        None => Ranker::FirstStage,
        Some(model) => Ranker::Model(match &model.adapter {
            None => AdapterChoice::Base,
            Some(adapter) if *asked == AdapterChoice::Default => AdapterChoice::Named(adapter.id.clone()),
            Some(_) => asked.clone(),
        }),
    }
}

fn follows(shadow: &ShadowConfig, request_id: &str) -> bool {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(shadow.name.as_bytes()).update(&[0]).update(request_id.as_bytes());
    let point = u64::from_le_bytes(*hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes"));
    (point as f64) < shadow.share * (u64::MAX as f64)
}

/// The whole ranking, whenever there is time.
fn background(request: &SearchRequest) -> SearchRequest {
    SearchRequest {
        offset: 0,
        min_rerank_score: None,
        deadline: None,
        facets: Vec::new(),
        snippets: false,
        background: true,
        cancellation: Cancellation::default(),
        ..request.clone()
    }
}

/// Which of the two rankings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    /// The one that was answered with.
    Given,
    /// The shadow's.
    Candidate,
}

fn run<F: FirstStage, R: Reranker + 'static>(
    waiting: &Receiver<Job>,
    pipeline: &Pipeline<F, R>,
    store: &ExperimentStore,
    counts: &Counts,
) {
    while let Ok(mut job) = waiting.recv() {
        job.request.top_k = Some(job.request.depth.unwrap_or(pipeline.config().depth));
        let candidate = Ranker::Model(AdapterChoice::Named(job.shadow.adapter.clone()));
        let ranked = pipeline.search_each(&job.request, [(Role::Given, job.given), (Role::Candidate, candidate)]);
        let (outcome, latency_micros) = ranked.and_then(outcome).unwrap_or_else(|error| (failed(&error), 0));
        store.record_shadow(ShadowRecord {
            request_id: job.request_id,
            name: job.shadow.name,
            candidate: job.shadow.adapter,
            outcome,
            latency_micros,
            at_millis: job.at_millis,
        });
        counts.n_followed.fetch_add(1, Ordering::Relaxed);
    }
}

fn failed(error: &PipelineError) -> ShadowOutcome {
    ShadowOutcome::Failed(with_causes(error))
}

/// How far the candidate's ranking agrees, and how long the model took for it (its time in the queue left out).
fn outcome(ranked: Vec<Ranked<Role>>) -> Result<(ShadowOutcome, u64), PipelineError> {
    let mut answers = HashMap::new();
    for Ranked { key, answer } in ranked {
        answers.insert(key, answer?);
    }
    let (given, candidate) = (&answers[&Role::Given], &answers[&Role::Candidate]);
    if let Some(fallback) = given.fallback.iter().chain(&candidate.fallback).next() {
        return Ok((ShadowOutcome::Failed(fallback.to_string()), 0));
    }
    let (one, other): (&[DocumentId], &[DocumentId]) = (&given.ranking, &candidate.ranking);
    let took = candidate.timings.cache + candidate.timings.rerank.saturating_sub(candidate.timings.queue);
    let ranked = ShadowOutcome::Ranked {
        rbo: agreement::rank_biased_overlap(one, other, PERSISTENCE),
        kendall_tau: agreement::kendall_tau(one, other),
        overlap_at_10: agreement::overlap_at(10, one, other),
    };
    Ok((ranked, u64::try_from(took.as_micros()).unwrap_or(u64::MAX)))
}

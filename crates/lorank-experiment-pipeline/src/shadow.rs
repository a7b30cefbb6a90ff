//! Shadows: rank searches again with a candidate adapter when the model is idle.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use lorank_core::{
    AdapterId, DocumentId, FirstStage, ModelVersion, RankerSettings, RerankStage, RerankStages, Reranker, with_causes,
};
use lorank_experiment_store::ExperimentStore;
use lorank_experiments::{Arm, ShadowOutcome, ShadowRecord, agreement};
use lorank_pipeline::{
    AdapterChoice, Answer, Cancellation, Contestant, Pipeline, PipelineError, Ranked, Ranker, SearchRequest,
};

use crate::ExperimentPipelineError;
use crate::trial::{ExperimentAnswer, Trial};

/// The context of the hash that selects requests. Another text would select other requests, so it keeps the crate's old
/// name.
const CONTEXT: &str = "lorank lab 2025-11-25 requests that a shadow follows v1";

/// The persistence of rank-biased overlap: 86 % of its weight is on the first ten ranks.
const PERSISTENCE: f64 = 0.9;

/// The maximum number of waiting answers. Further ones are dropped and counted.
const WAITING_MAX: usize = 64;

/// An adapter that ranks a share of the searches again in the background.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowConfig {
    /// The shadow's name in the records.
    pub name: String,
    /// The adapter or alias.
    pub adapter: AdapterId,
    /// The share of the searches, above 0 and at most 1. The request id decides which ones.
    pub share: f64,
}

/// The counters of the shadows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShadowStats {
    /// Answers that were ranked again.
    pub n_followed: u64,
    /// Answers that were dropped because too many were waiting.
    pub n_dropped: u64,
}

/// The shadows and their thread.
pub(crate) struct Shadows {
    configs: Vec<ShadowConfig>,
    base_of: BaseOf,
    queue: SyncSender<Job>,
    counts: Arc<Counts>,
}

/// Chooses the bare base model of a version.
type BaseOf = Box<dyn Fn(&ModelVersion) -> AdapterChoice + Send + Sync>;

#[derive(Default)]
struct Counts {
    n_followed: AtomicU64,
    n_dropped: AtomicU64,
}

/// An answer to rank again.
struct Job {
    request: SearchRequest,
    request_id: String,
    at_millis: i64,
    /// The ranker of the original answer.
    given: Ranker,
    /// Its stages, if it listed any. The shadow takes the place of the last stage's model.
    stages: Option<RerankStages>,
    shadow: ShadowConfig,
}

impl Shadows {
    /// Starts the thread, if there are any shadows.
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
        let base_of: BaseOf = {
            let pipeline = pipeline.clone();
            Box::new(move |version| bare_base(&pipeline, version))
        };
        let run = {
            let counts = counts.clone();
            move || run(&waiting, &pipeline, &store, &counts)
        };
        let thread = thread::Builder::new().name("lorank-shadow".to_owned());
        thread.spawn(run).map_err(|source| ExperimentPipelineError::SpawnWorker { source })?;
        Ok(Some(Self { configs, base_of, queue, counts }))
    }

    /// Queues an answer for its shadows without waiting. Excluded are later pages and interleaved answers, because a
    /// shadow is compared with one whole ranking, and answers that no model could have ranked. The shadow ranks with the
    /// settings of the arm that ranked, so that only the models differ.
    pub(crate) fn follow(&self, trial: &Trial, answered: &ExperimentAnswer, arm: Option<&Arm>) {
        let is_mixed = answered.participation.as_ref().is_some_and(|participation| participation.arm.is_none());
        if trial.request.offset > 0 || is_mixed || !trial.request.can_be_reranked() {
            return;
        }
        for shadow in self.configs.iter().filter(|shadow| follows(shadow, &trial.request_id)) {
            let job = Job {
                request: background(match arm {
                    Some(arm) => trial.request.with_settings(&arm.settings),
                    None => trial.request.clone(),
                }),
                request_id: trial.request_id.clone(),
                at_millis: trial.at_millis,
                given: given(&answered.answer, &trial.request.adapter, &self.base_of),
                stages: given_stages(&answered.answer, &self.base_of),
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

/// The ranker of an answer. It names the model by its adapter, so the comparison uses the adapter's current weights.
fn given(answer: &Answer, asked: &AdapterChoice, base_of: &BaseOf) -> Ranker {
    match &answer.model {
        None => Ranker::FirstStage,
        Some(model) => Ranker::Model(match &model.adapter {
            None => base_of(model),
            Some(adapter) if *asked == AdapterChoice::Default => AdapterChoice::Named(adapter.id.clone()),
            Some(_) => asked.clone(),
        }),
    }
}

/// The stages of an answer with the models that reranked; `None` if it lists none, or one of them has no model.
fn given_stages(answer: &Answer, base_of: &BaseOf) -> Option<RerankStages> {
    let stages = answer.stages.iter().map(|stage| {
        let model = stage.model.as_ref()?;
        let named = model.adapter.as_ref().map(|adapter| AdapterChoice::Named(adapter.id.clone()));
        let adapter = named.unwrap_or_else(|| base_of(model));
        Some(RerankStage { adapter, base: None, depth: stage.depth, deadline_share: None })
    });
    RerankStages::new(stages.collect::<Option<Vec<_>>>()?).ok()
}

/// The stages with another model in the last one.
fn with_last(stages: &RerankStages, last: AdapterChoice) -> RerankStages {
    let before = stages[..stages.len() - 1].iter().map(|stage| stage.adapter.clone());
    stages.with_models(before.chain([last]))
}

/// The default base model, or another one by its name.
fn bare_base<F: FirstStage, R: Reranker + 'static>(pipeline: &Pipeline<F, R>, version: &ModelVersion) -> AdapterChoice {
    let is_default = pipeline.model(&AdapterChoice::Base).is_ok_and(|base| base.base_digest == version.base_digest);
    let named = version.base_model.parse().ok().filter(|_| !is_default);
    named.map_or(AdapterChoice::Base, AdapterChoice::Named)
}

fn follows(shadow: &ShadowConfig, request_id: &str) -> bool {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(shadow.name.as_bytes()).update(&[0]).update(request_id.as_bytes());
    let point = u64::from_le_bytes(*hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes"));
    (point as f64) < shadow.share * (u64::MAX as f64)
}

/// The request for the whole ranking, with low priority.
fn background(request: SearchRequest) -> SearchRequest {
    SearchRequest {
        offset: 0,
        min_rerank_score: None,
        deadline: None,
        facets: Vec::new(),
        snippets: false,
        background: true,
        cancellation: Cancellation::default(),
        ..request
    }
}

/// One of the two rankings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    /// The original ranking.
    Given,
    /// The shadow's ranking.
    Candidate,
}

fn run<F: FirstStage, R: Reranker + 'static>(
    waiting: &Receiver<Job>,
    pipeline: &Pipeline<F, R>,
    store: &ExperimentStore,
    counts: &Counts,
) {
    while let Ok(mut job) = waiting.recv() {
        let depth = job.stages.as_ref().map(|stages| stages[0].depth).or(job.request.depth);
        job.request.top_k = Some(depth.unwrap_or(pipeline.config().depth));
        let candidate = AdapterChoice::Named(job.shadow.adapter.clone());
        let contestant = |key, ranker, stages| {
            let settings = RankerSettings { stages, ..RankerSettings::default() };
            Contestant { key, ranker, settings }
        };
        let of_candidate = job.stages.as_ref().map(|stages| with_last(stages, candidate.clone()));
        let contestants = [
            contestant(Role::Given, job.given, job.stages),
            contestant(Role::Candidate, Ranker::Model(candidate), of_candidate),
        ];
        let ranked = pipeline.contest(&job.request, contestants);
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

/// The agreement of the candidate's ranking, and the model's time for it without the time in the queue.
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

//! The rerank stages of a request, one after the other: each reranks the best candidates of the order that it gets.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use lorank_core::{
    AdapterChoice, BlendWeight, Candidate, Deadline, ModelVersion, Query, Reranker, StageRank, TotalHits,
    reranked_order,
};

use crate::page::{Page, Ranked, Scored};
use crate::plan::{Order, Plan};
use crate::reranking::{Job, Reranking, Scorer};
use crate::{Answer, CacheUse, Fallback, OnOverload, PipelineError, SearchRequest, StageAnswer, Timings, Warning};

/// A stage's model, and whether it reads the request's instruction.
#[derive(Debug, Clone)]
pub(crate) struct StageModel {
    pub(crate) version: ModelVersion,
    pub(crate) is_instructed: bool,
}

/// What an error of a model does that is not the request's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnModelError {
    /// The stage falls back.
    FallBack,
    /// The ranker has no answer.
    Fail,
}

/// The rerank stages of one ranker: those that are done, and those to do.
pub(crate) struct Cascade<'a> {
    request: &'a SearchRequest,
    plan: &'a Plan,
    /// The model of each stage, or why it has none; empty without reranking.
    models: Vec<Result<StageModel, Fallback>>,
    on_model_error: OnModelError,
    /// The candidates' indices in the order that the next stage gets.
    order: Vec<usize>,
    done: Vec<DoneStage>,
    /// Why there is no answer.
    error: Option<PipelineError>,
}

/// A stage that has scored, or fallen back.
struct DoneStage {
    reranking: Reranking,
    /// The order that the stage got.
    before: Vec<usize>,
    took: Duration,
}

/// A stage that is about to score.
struct BegunStage<'a> {
    request: &'a SearchRequest,
    choice: AdapterChoice,
    model: &'a ModelVersion,
    query: Cow<'a, Query>,
    deadline: Option<Deadline>,
    candidates: Cow<'a, [Candidate]>,
}

impl<R: Reranker + 'static> Scorer<R> {
    /// Runs the stages of all cascades. The pairs of the cascades' stages with the same number enter the queue together.
    pub(crate) fn run(&self, cascades: &mut [&mut Cascade<'_>], candidates: &[Candidate]) {
        let n_stages = cascades.iter().map(|cascade| cascade.models.len()).max().unwrap_or(0);
        for n in 0..n_stages {
            let started = Instant::now();
            let begun: Vec<Option<BegunStage<'_>>> =
                cascades.iter().map(|cascade| cascade.begin(n, candidates, started)).collect();
            let jobs: Vec<Job<'_>> = begun.iter().flatten().map(BegunStage::job).collect();
            let mut rerankings = self.rerankings(&jobs).into_iter();
            let finished: Vec<Option<Result<Reranking, PipelineError>>> = begun
                .iter()
                .map(|stage| stage.as_ref().map(|_| rerankings.next().expect("each job has a reranking")))
                .collect();
            drop(begun);
            for (cascade, reranking) in cascades.iter_mut().zip(finished) {
                cascade.end(n, reranking, started.elapsed());
            }
        }
    }
}

impl<'a> Cascade<'a> {
    /// The stages of a request on so many candidates. Without models, the candidates stay in first-stage order.
    pub(crate) fn new(
        request: &'a SearchRequest,
        plan: &'a Plan,
        models: Vec<Result<StageModel, Fallback>>,
        on_model_error: OnModelError,
        n_found: usize,
    ) -> Self {
        let order = (0..n_found).collect();
        Self { request, plan, models, on_model_error, order, done: Vec::new(), error: None }
    }

    /// The stage with this number, counted from 0, if it has something to score.
    fn begin<'b>(&'b self, n: usize, candidates: &'b [Candidate], now: Instant) -> Option<BegunStage<'b>> {
        let StageModel { version, is_instructed } = self.models.get(n)?.as_ref().ok().filter(|_| !self.is_over())?;
        let stage = &self.plan.stages[n];
        let n_candidates = self.order.len().min(stage.depth.get());
        let candidates = match n {
            0 => Cow::Borrowed(&candidates[..n_candidates]),
            _ => Cow::Owned(self.order[..n_candidates].iter().map(|&at| candidates[at].clone()).collect()),
        };
        let query = &self.request.query;
        let query = match !is_instructed && query.instruction.is_some() {
            true => Cow::Owned(Query { instruction: None, ..query.clone() }),
            false => Cow::Borrowed(query),
        };
        let deadline = self.plan.stage_deadline(n, now);
        Some(BegunStage { request: self.request, choice: stage.choice(), model: version, query, deadline, candidates })
    }

    /// Notes the outcome of the stage with this number, and hands its order on. A stage that fell back hands on the order
    /// that it got.
    fn end(&mut self, n: usize, reranking: Option<Result<Reranking, PipelineError>>, took: Duration) {
        let Some(model) = self.models.get(n).filter(|_| !self.is_over()) else { return };
        let reranking = match (model, reranking) {
            (Err(fallback), _) => Reranking::failed(fallback.clone()),
            (Ok(_), None) => Reranking::none(),
            (Ok(_), Some(Ok(reranking))) => reranking,
            (Ok(_), Some(Err(error))) if self.on_model_error == OnModelError::Fail => {
                self.error = Some(error);
                return;
            }
            (Ok(_), Some(Err(error))) => match error.into_fallback() {
                Ok(fallback) => Reranking::failed(fallback),
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            },
        };
        let before = self.order.clone();
        if let Ok(scored) = &reranking.outcome {
            let scores: Vec<_> = scored.iter().map(|scored| scored.score).collect();
            self.order = reranked_order(before.len(), &scores).into_iter().map(|at| before[at]).collect();
        }
        self.done.push(DoneStage { reranking, before, took });
    }

    /// Whether no further stage is worth its work: there is no answer, or it will be replaced by an error.
    fn is_over(&self) -> bool {
        let is_overloaded = |stage: &DoneStage| stage.fallback().is_some_and(Fallback::is_overload);
        self.error.is_some()
            || self.request.on_overload == OnOverload::Refuse && self.done.last().is_some_and(is_overloaded)
    }

    /// The answer after all stages. `started` is when the candidates were available. The caller adds the first stage's other
    /// results.
    ///
    /// # Errors
    /// The error of a stage's model.
    pub(crate) fn answer(
        self,
        by: &Order,
        candidates: &[Candidate],
        started: Instant,
    ) -> Result<Answer, PipelineError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let Self { plan, models, done, .. } = self;
        // The scores of the answer are those of the last stage that has any.
        let decisive = done.iter().rposition(|stage| stage.fallback().is_none());
        let is_complete = decisive == done.len().checked_sub(1);
        // Without the scores of the last stage, the answer is in the order of the stage before.
        let by = if is_complete { by } else { &Order::Scores(BlendWeight::RERANK_ALONE) };
        let shown = decisive.unwrap_or(plan.stages.len() - 1);
        let (depth, untouched) = (plan.stages[shown].depth, (0..candidates.len()).collect::<Vec<_>>());
        let n_candidates = candidates.len().min(depth.get());
        let (before, scored): (&[usize], &[Scored]) = match decisive.map(|n| &done[n]) {
            Some(stage) => (&stage.before, stage.reranking.outcome.as_deref().unwrap_or_default()),
            None => (&untouched, &[]),
        };
        let min_rerank_score = plan.min_rerank_score.filter(|_| is_complete);
        let ranked = Ranked { before, scored, n_within_depth: n_candidates, min_rerank_score };
        let mut page = Page::of(candidates, &ranked, plan.page.clone(), by);
        let mut stages = Vec::new();
        if plan.lists_stages() {
            add_stages(&mut page, &done, candidates.len());
            let answers = done.iter().zip(&models).zip(&plan.stages);
            stages = answers.map(|((stage, model), planned)| stage.answer(model, planned.depth)).collect();
        }
        let reranked = decisive.is_some();
        let model = models.into_iter().nth(shown).and_then(Result::ok).map(|model| model.version);
        Ok(Answer {
            hits: page.hits,
            ranking: page.ranking,
            reranked,
            rank_by: match by {
                Order::RankBy(rank_by, _) => Some(rank_by.clone()),
                Order::Scores(_) => None,
            },
            fallback: done.iter().rev().find_map(|stage| stage.fallback()).cloned(),
            stages,
            warnings: done.iter().filter_map(DoneStage::warning).max_by_key(n_documents).into_iter().collect(),
            model,
            total_hits: TotalHits::AtLeast(candidates.len() as u64),
            facets: Vec::new(),
            n_candidates,
            n_left_out: page.n_left_out.filter(|_| reranked),
            depth,
            cache: done.iter().map(|stage| stage.reranking.cache).sum(),
            timings: Timings { total: started.elapsed(), ..done.iter().map(|stage| stage.reranking.timings).sum() },
        })
    }
}

impl BegunStage<'_> {
    fn job(&self) -> Job<'_> {
        let Self { request, choice, model, query, deadline, candidates } = self;
        Job { request, choice, model, query, deadline: *deadline, candidates }
    }
}

impl DoneStage {
    fn fallback(&self) -> Option<&Fallback> {
        self.reranking.outcome.as_ref().err()
    }

    fn scored(&self) -> &[Scored] {
        self.reranking.outcome.as_deref().unwrap_or_default()
    }

    fn warning(&self) -> Option<Warning> {
        Warning::of_passages(self.scored().iter().filter_map(|scored| scored.passage.as_ref()))
    }

    fn answer(&self, model: &Result<StageModel, Fallback>, depth: std::num::NonZeroUsize) -> StageAnswer {
        StageAnswer {
            model: model.as_ref().ok().map(|model| model.version.clone()),
            depth,
            n_candidates: self.before.len().min(depth.get()),
            fallback: self.fallback().cloned(),
            cache: self.reranking.cache,
            timings: Timings { total: self.took, ..self.reranking.timings },
        }
    }
}

fn n_documents(warning: &Warning) -> usize {
    match warning {
        Warning::PassagesLimited { n_documents } => *n_documents,
        _ => 0,
    }
}

/// Adds the rank and the score in each stage to the hits of a page.
fn add_stages(page: &mut Page, done: &[DoneStage], n_found: usize) {
    let places: Vec<Vec<usize>> = done.iter().map(|stage| inverse(&stage.before, n_found)).collect();
    for hit in &mut page.hits {
        let at = hit.first_stage_rank - 1;
        let rank = |(n, stage): (usize, &DoneStage)| {
            let scored = stage.scored().get(places[n][at]);
            StageRank {
                rank: places.get(n + 1).map_or(hit.rank, |places| places[at] + 1),
                rerank_score: scored.map(|scored| scored.score),
                score_origin: scored.map(|scored| scored.origin),
            }
        };
        hit.stages = done.iter().enumerate().map(rank).collect();
    }
}

/// The place of each candidate in an order.
fn inverse(order: &[usize], n_found: usize) -> Vec<usize> {
    let mut places = vec![0; n_found];
    for (place, &at) in order.iter().enumerate() {
        places[at] = place;
    }
    places
}

impl std::iter::Sum for CacheUse {
    fn sum<I: Iterator<Item = Self>>(uses: I) -> Self {
        uses.fold(Self::default(), |sum, one| Self { hits: sum.hits + one.hits, misses: sum.misses + one.misses })
    }
}

impl std::iter::Sum for Timings {
    fn sum<I: Iterator<Item = Self>>(timings: I) -> Self {
        timings.fold(Self::default(), |sum, one| Self {
            first_stage: sum.first_stage + one.first_stage,
            cache: sum.cache + one.cache,
            rerank: sum.rerank + one.rerank,
            encode: sum.encode + one.encode,
            queue: sum.queue + one.queue,
            total: sum.total + one.total,
        })
    }
}

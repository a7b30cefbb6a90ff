//! First stage, cache and reranker, one after the other.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lorank_cache::{CacheStats, KeyMaker, ScoreCache, ScoreKey};
use lorank_core::{AdapterId, Candidate, Deadline, FirstStage, Hit, ModelVersion, Reranker, Score};

use crate::queue::{Queue, Work};
use crate::{
    AdapterChoice, Answer, CacheUse, Fallback, PipelineConfig, PipelineError, QueueStats, ScoreOrigin, SearchRequest,
    Timings, order,
};

/// A first stage, a score cache and a reranker, answering searches together. See the [crate's page](crate).
///
/// Threads share it by reference. Dropping it ends its own thread as soon as the batch it is at is scored, without waiting
/// for that.
pub struct Pipeline<F, R> {
    first_stage: F,
    reranker: Arc<R>,
    cache: Arc<ScoreCache>,
    queue: Queue<R>,
    config: PipelineConfig,
}

/// The first stage of a [`Pipeline`] that only reranks what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoFirstStage;

/// A request as the pipeline will carry it out: checked, defaults filled in, model looked up.
struct Plan {
    depth: NonZeroUsize,
    /// The places of the answer's order that are returned.
    page: Range<usize>,
    model: Option<ModelVersion>,
    deadline: Option<Deadline>,
}

/// The rerank scores of the first `n_candidates`, or why there are none.
#[derive(Default)]
struct Reranking {
    scores: Vec<Score>,
    origins: Vec<ScoreOrigin>,
    fallback: Option<Fallback>,
    cache: CacheUse,
    cache_time: Duration,
    rerank_time: Duration,
    queue_time: Duration,
}

impl<R: Reranker + 'static> Pipeline<NoFirstStage, R> {
    /// A pipeline that only [reranks](Pipeline::rerank) what it is given.
    ///
    /// # Errors
    /// As for [`Pipeline::new`].
    pub fn without_first_stage(reranker: R, config: PipelineConfig) -> Result<Self, PipelineError> {
        Self::new(NoFirstStage, reranker, config)
    }
}

impl<F: FirstStage, R: Reranker + 'static> Pipeline<F, R> {
    /// Answers a search.
    ///
    /// # Errors
    /// A request beyond the limits, an adapter that is not there, a first stage that fails. A late or failing reranker
    /// is no error: the answer is then in first-stage order and says so.
    pub fn search(&self, request: &SearchRequest) -> Result<Answer, PipelineError> {
        let started = Instant::now();
        let plan = self.plan(request)?;
        let span = tracing::info_span!("search", depth = plan.depth, from = plan.page.start, to = plan.page.end);
        let _entered = span.enter();
        let first_stage_error = |task| move |source| PipelineError::of_first_stage(task, source);
        let candidates = self
            .first_stage
            .retrieve(&request.query, plan.n_retrieved())
            .map_err(first_stage_error("retrieve candidates"))?;
        let first_stage = started.elapsed();
        let mut answer = self.answer(request, &plan, candidates);
        if request.snippets {
            self.add_snippets(request, &mut answer.hits).map_err(first_stage_error("make snippets"))?;
        }
        answer.timings.first_stage = first_stage;
        answer.timings.total = started.elapsed();
        log(&answer);
        Ok(answer)
    }

    fn add_snippets(&self, request: &SearchRequest, hits: &mut [Hit]) -> Result<(), lorank_core::BoxError> {
        let candidates: Vec<&Candidate> = hits.iter().map(|hit| &hit.candidate).collect();
        let snippets = self.first_stage.snippets(&request.query, &candidates)?;
        if snippets.len() != hits.len() {
            return Err(format!("it gave {} snippets for {} hits", snippets.len(), hits.len()).into());
        }
        for (hit, snippet) in hits.iter_mut().zip(snippets) {
            hit.snippet = snippet;
        }
        Ok(())
    }
}

impl<F, R: Reranker + 'static> Pipeline<F, R> {
    /// Puts a pipeline together and starts the thread that runs the reranker.
    ///
    /// # Errors
    /// A configuration that contradicts itself, or a system that gives no more threads.
    pub fn new(first_stage: F, reranker: R, config: PipelineConfig) -> Result<Self, PipelineError> {
        config.check()?;
        let (reranker, cache) = (Arc::new(reranker), Arc::new(ScoreCache::new(config.cache)));
        let queue = Queue::start(reranker.clone(), cache.clone(), &config)?;
        Ok(Self { first_stage, reranker, cache, queue, config })
    }

    /// Answers a search over candidates that were found elsewhere, best first: the second half of a [search](Self::search).
    ///
    /// Their places are their first-stage ranks. Pages are slices of one order as long as every page's call is given the
    /// same first `depth` candidates (or all there are), and those up to the page's end. The request's `snippets` is left
    /// aside, since they are the first stage's work.
    ///
    /// # Errors
    /// A request beyond the limits, or an adapter that is not there.
    pub fn rerank(&self, request: &SearchRequest, candidates: Vec<Candidate>) -> Result<Answer, PipelineError> {
        let started = Instant::now();
        let plan = self.plan(request)?;
        let _entered = tracing::info_span!("rerank", depth = plan.depth, n_found = candidates.len()).entered();
        let mut answer = self.answer(request, &plan, candidates);
        answer.timings.total = started.elapsed();
        log(&answer);
        Ok(answer)
    }

    /// The exact model that reranks for a choice, aliases and the default followed.
    ///
    /// # Errors
    /// An adapter that the reranker does not hold.
    pub fn model(&self, choice: &AdapterChoice) -> Result<ModelVersion, PipelineError> {
        let follow = |name: &AdapterId| self.config.aliases.get(name).unwrap_or(name).clone();
        match choice {
            AdapterChoice::Default => {
                let adapter = self.config.default_adapter.as_ref().map(follow);
                self.reranker.resolve(adapter.as_ref()).map_err(|source| PipelineError::NoDefaultModel { source })
            }
            AdapterChoice::Base => self.reranker.resolve(None).map_err(|source| PipelineError::NoBareBase { source }),
            AdapterChoice::Named(name) => self
                .reranker
                .resolve(Some(&follow(name)))
                .map_err(|source| PipelineError::UnknownAdapter { adapter: name.clone(), source }),
        }
    }

    /// The first stage.
    pub fn first_stage(&self) -> &F {
        &self.first_stage
    }

    /// The reranker.
    pub fn reranker(&self) -> &R {
        &self.reranker
    }

    /// The defaults and limits.
    pub fn config(&self) -> &PipelineConfig {
        &self.config
    }

    /// What the score cache holds and has done so far.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// What waits for the model, and what the model has done so far.
    pub fn queue_stats(&self) -> QueueStats {
        self.queue.stats()
    }

    /// Checks a request against the limits and fills in what it leaves open.
    fn plan(&self, request: &SearchRequest) -> Result<Plan, PipelineError> {
        let config = &self.config;
        let depth = request.depth.unwrap_or(config.depth);
        let top_k = request.top_k.unwrap_or(config.top_k);
        let page_end = request.offset.saturating_add(top_k.get());
        let at_most = |max: usize, field, quantity, found: usize| {
            if found > max { Err(PipelineError::TooLarge { field, quantity, found, max }) } else { Ok(()) }
        };
        at_most(config.query_bytes_max, "query", "the length of `query` in bytes", request.query.text.len())?;
        at_most(config.depth_max.get(), "depth", "`depth`", depth.get())?;
        // The one to blame is the larger part of the sum.
        let page_field = if request.offset > top_k.get() { "offset" } else { "top_k" };
        at_most(config.page_end_max.get(), page_field, "`offset` + `top_k`", page_end)?;
        let model = if request.rerank { Some(self.model(&request.adapter)?) } else { None };
        let deadline = request.deadline.or_else(|| config.deadline.and_then(Deadline::after));
        Ok(Plan { depth, page: request.offset..page_end, model, deadline })
    }

    /// The answer from the candidates on. The times before and after are the caller's to add.
    fn answer(&self, request: &SearchRequest, plan: &Plan, candidates: Vec<Candidate>) -> Answer {
        let n_candidates = candidates.len().min(plan.depth.get());
        let reranking = match &plan.model {
            Some(model) => self.scores(request, model, plan.deadline, &candidates[..n_candidates]),
            None => Reranking::default(),
        };
        let timings = reranking.timings();
        let (hits, score_origins) = page(candidates, &reranking, plan.page.clone());
        Answer {
            hits,
            score_origins,
            reranked: plan.model.is_some() && reranking.fallback.is_none(),
            fallback: reranking.fallback,
            model: plan.model.clone(),
            n_candidates,
            depth: plan.depth,
            cache: reranking.cache,
            timings,
        }
    }

    /// The candidates' scores: from the cache where it holds them, else from the model, each distinct pair once.
    fn scores(
        &self,
        request: &SearchRequest,
        model: &ModelVersion,
        deadline: Option<Deadline>,
        candidates: &[Candidate],
    ) -> Reranking {
        let started = Instant::now();
        let maker = KeyMaker::new(&request.query.text, model);
        let keys: Vec<ScoreKey> =
            candidates.iter().map(|candidate| maker.key(candidate.title.as_deref(), &candidate.text)).collect();
        let cached = self.cache.get_many(&keys);
        let hits = cached.iter().flatten().count();
        let cache = CacheUse { hits, misses: keys.len() - hits };
        let blank = Reranking { cache, cache_time: started.elapsed(), ..Reranking::default() };
        if cache.misses == 0 {
            // Nothing to ask the model for: no text is copied, and the queue is left alone.
            let scores = cached.into_iter().flatten().collect();
            return Reranking { scores, origins: vec![ScoreOrigin::Cache; hits], ..blank };
        }
        let (new_keys, pairs) = distinct_misses(candidates, &keys, &cached);
        let work = Work {
            query: request.query.clone(),
            model: model.clone(),
            pairs,
            keys: new_keys.clone(),
            deadline,
            cancellation: request.cancellation.clone(),
        };
        let (outcome, queue_time) = self.queue.score(work);
        let blank = Reranking { queue_time, rerank_time: started.elapsed() - blank.cache_time, ..blank };
        match outcome {
            Err(fallback) => Reranking { fallback: Some(fallback), ..blank },
            Ok(new_scores) => blank.with_scores(&keys, &cached, &new_keys.into_iter().zip(new_scores).collect()),
        }
    }
}

impl Reranking {
    /// With the score of each key, from the cache or from the model.
    fn with_scores(self, keys: &[ScoreKey], cached: &[Option<Score>], new: &HashMap<ScoreKey, Score>) -> Self {
        let scored = keys.iter().zip(cached).map(|(key, cached)| match cached {
            Some(score) => (*score, ScoreOrigin::Cache),
            None => (new[key], ScoreOrigin::Model),
        });
        let (scores, origins) = scored.unzip();
        Self { scores, origins, ..self }
    }

    fn timings(&self) -> Timings {
        Timings { cache: self.cache_time, rerank: self.rerank_time, queue: self.queue_time, ..Timings::default() }
    }
}

impl Plan {
    /// How many candidates serve every page up to this one: all that are reranked, and all up to the page's end.
    fn n_retrieved(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.page.end).map_or(self.depth, |end| end.max(self.depth))
    }
}

/// The first candidate of each distinct pair that the cache does not hold, with its key. The stored fields stay behind:
/// no score depends on them.
fn distinct_misses(
    candidates: &[Candidate],
    keys: &[ScoreKey],
    cached: &[Option<Score>],
) -> (Vec<ScoreKey>, Vec<Candidate>) {
    let mut seen = HashSet::new();
    let misses =
        candidates.iter().zip(keys).zip(cached).filter(|((_, key), cached)| cached.is_none() && seen.insert(**key));
    let pair = |candidate: &Candidate| Candidate {
        id: candidate.id.clone(),
        title: candidate.title.clone(),
        text: candidate.text.clone(),
        first_stage_score: candidate.first_stage_score,
        fields: Vec::new(),
    };
    misses.map(|((candidate, key), _)| (*key, pair(candidate))).unzip()
}

/// The hits at the page's places of the answer's order, and where their scores come from.
fn page(candidates: Vec<Candidate>, reranking: &Reranking, page: Range<usize>) -> (Vec<Hit>, Vec<Option<ScoreOrigin>>) {
    let order = order::reranked(candidates.len(), &reranking.scores);
    let mut candidates: Vec<Option<Candidate>> = candidates.into_iter().map(Some).collect();
    let places = order.into_iter().enumerate().take(page.end).skip(page.start);
    let hits = places.map(|(at, place)| {
        let hit = Hit {
            rank: at + 1,
            rerank_score: reranking.scores.get(place).copied(),
            first_stage_rank: place + 1,
            candidate: candidates[place].take().expect("the order holds each place once"),
            snippet: None,
        };
        (hit, reranking.origins.get(place).copied())
    });
    hits.unzip()
}

fn log(answer: &Answer) {
    if let Some(fallback) = answer.fallback.as_ref().filter(|fallback| **fallback != Fallback::Cancelled) {
        tracing::warn!(reason = fallback.reason(), "answered in first-stage order: {fallback}");
    }
    tracing::debug!(
        n_hits = answer.hits.len(),
        n_candidates = answer.n_candidates,
        reranked = answer.reranked,
        cache_hits = answer.cache.hits,
        cache_misses = answer.cache.misses,
        queue = ?answer.timings.queue,
        total = ?answer.timings.total,
        "answered"
    );
}

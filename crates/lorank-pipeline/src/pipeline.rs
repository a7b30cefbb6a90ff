//! First stage, cache and reranker, one after the other.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lorank_cache::{CacheStats, KeyMaker, ScoreCache, ScoreKey};
use lorank_core::{
    AdapterId, BlendWeight, Candidate, Deadline, Digest, FirstStage, Hit, ModelVersion, Query, Reranker, Score,
};

use crate::page::Page;
use crate::queue::{Queue, Work};
use crate::{
    AdapterChoice, Answer, CacheUse, Fallback, PipelineConfig, PipelineError, QueueStats, Ranker, ScoreOrigin, Scoring,
    SearchRequest, Timings,
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

/// A request as the pipeline will carry it out: checked, defaults filled in.
pub(crate) struct Plan {
    pub depth: NonZeroUsize,
    /// The places of the answer's order that are returned.
    pub page: Range<usize>,
    pub blend_weight: BlendWeight,
    pub min_rerank_score: Option<Score>,
    deadline: Option<Deadline>,
}

/// The rerank scores of the first `n_candidates`, or why there are none.
#[derive(Default)]
pub(crate) struct Reranking {
    pub scores: Vec<Score>,
    pub origins: Vec<ScoreOrigin>,
    fallback: Option<Fallback>,
    cache: CacheUse,
    cache_time: Duration,
    rerank_time: Duration,
    queue_time: Duration,
}

/// What the cache held of a request's pairs under one model.
struct Lookup {
    keys: Vec<ScoreKey>,
    cached: Vec<Option<Score>>,
    cache: CacheUse,
    took: Duration,
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
        let model = request.rerank.then(|| self.model(&request.adapter)).transpose()?;
        let span = tracing::info_span!("search", depth = plan.depth, from = plan.page.start, to = plan.page.end);
        let _entered = span.enter();
        let candidates = self.retrieve(request, &plan)?;
        let first_stage = started.elapsed();
        let mut answer = self.answer(request, &plan, model, candidates);
        if request.snippets {
            self.add_snippets(&request.query, &mut answer.hits)?;
        }
        answer.timings.first_stage = first_stage;
        answer.timings.total = started.elapsed();
        log(&answer);
        Ok(answer)
    }

    /// Answers one search by each of several rankers, in their order. The candidates are retrieved once, and what has to be
    /// scored goes to the model together. A ranker whose model is not there leaves the others' answers standing.
    ///
    /// The request's own `adapter` and `rerank` are left aside, and its `snippets` are made for each answer.
    ///
    /// # Errors
    /// A request beyond the limits, or a first stage that fails.
    pub fn search_each(
        &self,
        request: &SearchRequest,
        rankers: &[Ranker],
    ) -> Result<Vec<Result<Answer, PipelineError>>, PipelineError> {
        let started = Instant::now();
        let plan = self.plan(request)?;
        let _entered = tracing::info_span!("search_each", depth = plan.depth, n_rankers = rankers.len()).entered();
        let model = |ranker: &Ranker| match ranker {
            Ranker::FirstStage => Ok(None),
            Ranker::Model(choice) => self.model(choice).map(Some),
        };
        let models: Vec<Result<Option<ModelVersion>, PipelineError>> = rankers.iter().map(model).collect();
        let candidates = self.retrieve(request, &plan)?;
        let first_stage = started.elapsed();
        let found: Vec<Option<ModelVersion>> = models.iter().flatten().cloned().collect();
        let mut answers = self.answers(request, &plan, found, candidates).into_iter();
        let finish = |model: Result<_, PipelineError>| {
            let mut answer = model.map(|_| answers.next().expect("there is one for each model"))?;
            if request.snippets {
                self.add_snippets(&request.query, &mut answer.hits)?;
            }
            answer.timings.first_stage = first_stage;
            answer.timings.total += first_stage;
            log(&answer);
            Ok(answer)
        };
        Ok(models.into_iter().map(finish).collect())
    }

    /// Gives hits of a query their snippets.
    ///
    /// # Errors
    /// A first stage that fails.
    pub fn add_snippets(&self, query: &Query, hits: &mut [Hit]) -> Result<(), PipelineError> {
        let failed = |source| PipelineError::of_first_stage("make snippets", source);
        let candidates: Vec<&Candidate> = hits.iter().map(|hit| &hit.candidate).collect();
        let snippets = self.first_stage.snippets(query, &candidates).map_err(failed)?;
        if snippets.len() != hits.len() {
            return Err(failed(format!("it gave {} snippets for {} hits", snippets.len(), hits.len()).into()));
        }
        for (hit, snippet) in hits.iter_mut().zip(snippets) {
            hit.snippet = snippet;
        }
        Ok(())
    }

    fn retrieve(&self, request: &SearchRequest, plan: &Plan) -> Result<Vec<Candidate>, PipelineError> {
        let _entered = tracing::info_span!("first_stage", n_wanted = plan.n_retrieved().get()).entered();
        let found = self.first_stage.retrieve(&request.query, plan.n_retrieved());
        found.map_err(|source| PipelineError::of_first_stage("retrieve candidates", source))
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
        let model = request.rerank.then(|| self.model(&request.adapter)).transpose()?;
        let _entered = tracing::info_span!("rerank", depth = plan.depth, n_found = candidates.len()).entered();
        let mut answer = self.answer(request, &plan, model, candidates);
        answer.timings.total = started.elapsed();
        log(&answer);
        Ok(answer)
    }

    /// The scores of documents for a query, in the documents' order: for callers that bring all their documents and take all
    /// the scores, however many those are. They are scored a thousand at a time, so that other requests get their share.
    ///
    /// # Errors
    /// A query beyond the limit, or an adapter that is not there. Late or failing, it is a fallback in [`Scoring::scores`].
    pub fn score(&self, request: &SearchRequest, documents: &[Candidate]) -> Result<Scoring, PipelineError> {
        const CHUNK: usize = 1_000;
        let started = Instant::now();
        self.check_query(&request.query)?;
        let deadline = self.deadline(request);
        let models = [Some(self.model(&request.adapter)?)];
        let _entered = tracing::info_span!("score", n_documents = documents.len()).entered();
        let n_tokens = documents.iter().map(|document| self.reranker.n_tokens(&request.query, document)).sum();
        let (mut scores, mut fallback) = (Vec::with_capacity(documents.len()), None);
        let mut cache = CacheUse::default();
        for chunk in documents.chunks(CHUNK) {
            let reranking =
                self.rerankings(request, &models, deadline, chunk).pop().expect("there is one for each model");
            cache.hits += reranking.cache.hits;
            cache.misses += reranking.cache.misses;
            scores.extend(reranking.scores);
            fallback = reranking.fallback;
            if fallback.is_some() {
                break;
            }
        }
        let [model] = models;
        let model = model.expect("it was put there");
        let scores = fallback.map_or(Ok(scores), Err);
        Ok(Scoring { scores, model, cache, n_tokens, took: started.elapsed() })
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

    /// How many scores of an adapter the cache holds, by the digest of its files; `None` is the bare base model.
    pub fn n_cached_scores(&self, adapter: Option<&Digest>) -> usize {
        self.cache.n_scores_of(adapter)
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
        self.check_query(&request.query)?;
        at_most(config.depth_max.get(), "depth", "`depth`", depth.get())?;
        // The one to blame is the larger part of the sum.
        let page_field = if request.offset > top_k.get() { "offset" } else { "top_k" };
        at_most(config.page_end_max.get(), page_field, "`offset` + `top_k`", page_end)?;
        let (blend_weight, min_rerank_score) = (request.blend_weight, request.min_rerank_score);
        let deadline = self.deadline(request);
        Ok(Plan { depth, page: request.offset..page_end, blend_weight, min_rerank_score, deadline })
    }

    fn check_query(&self, query: &Query) -> Result<(), PipelineError> {
        at_most(self.config.query_bytes_max, "query", "the length of `query` in bytes", query.text.len())
    }

    /// The request's own deadline, else the usual one; for background work there is none.
    fn deadline(&self, request: &SearchRequest) -> Option<Deadline> {
        let usual = self.config.deadline.filter(|_| !request.background);
        request.deadline.or_else(|| usual.and_then(Deadline::after))
    }

    fn answer(
        &self,
        request: &SearchRequest,
        plan: &Plan,
        model: Option<ModelVersion>,
        candidates: Vec<Candidate>,
    ) -> Answer {
        self.answers(request, plan, vec![model], candidates).pop().expect("there is one for each model")
    }

    /// The answer by each of the models (the first stage, where it is `None`) from the candidates on. The times before and
    /// after are the caller's to add.
    fn answers(
        &self,
        request: &SearchRequest,
        plan: &Plan,
        models: Vec<Option<ModelVersion>>,
        mut candidates: Vec<Candidate>,
    ) -> Vec<Answer> {
        let started = Instant::now();
        let n_candidates = candidates.len().min(plan.depth.get());
        let rerankings = self.rerankings(request, &models, plan.deadline, &candidates[..n_candidates]);
        let n_models = models.len();
        let answer = |(n, (model, reranking)): (usize, (Option<ModelVersion>, Reranking))| {
            // The last one may keep them.
            let own = if n + 1 == n_models { std::mem::take(&mut candidates) } else { candidates.clone() };
            let reranked = model.is_some() && reranking.fallback.is_none();
            let page = Page::of(own, &reranking, plan);
            Answer {
                hits: page.hits,
                ranking: page.ranking,
                score_origins: page.score_origins,
                blends: page.blends,
                reranked,
                timings: Timings { total: started.elapsed(), ..reranking.timings() },
                fallback: reranking.fallback,
                model,
                n_candidates,
                n_left_out: page.n_left_out.filter(|_| reranked),
                depth: plan.depth,
                cache: reranking.cache,
            }
        };
        models.into_iter().zip(rerankings).enumerate().map(answer).collect()
    }

    /// The candidates' scores under each of the models: from the cache where it holds them, else from the reranker, each
    /// distinct pair once.
    fn rerankings(
        &self,
        request: &SearchRequest,
        models: &[Option<ModelVersion>],
        deadline: Option<Deadline>,
        candidates: &[Candidate],
    ) -> Vec<Reranking> {
        let mut works = Vec::new();
        let look_up = |model: &Option<ModelVersion>| {
            let lookup = self.look_up(request, model.as_ref()?, candidates);
            if lookup.cache.misses > 0 {
                let (keys, pairs) = distinct_misses(candidates, &lookup.keys, &lookup.cached);
                works.push(Work {
                    query: request.query.clone(),
                    model: model.clone()?,
                    pairs,
                    keys,
                    deadline,
                    cancellation: request.cancellation.clone(),
                    is_background: request.background,
                });
            }
            Some(lookup)
        };
        let lookups: Vec<Option<Lookup>> = models.iter().map(look_up).collect();
        let new_keys: Vec<Vec<ScoreKey>> = works.iter().map(|work| work.keys.clone()).collect();
        let started = Instant::now();
        // With nothing to ask the model for, the queue is left alone.
        let outcomes = if works.is_empty() { Vec::new() } else { self.queue.score_all(works) };
        let rerank_time = started.elapsed();
        let mut outcomes = new_keys.into_iter().zip(outcomes);
        let finish = |lookup: Option<Lookup>| {
            let Some(lookup) = lookup else { return Reranking::default() };
            let blank = Reranking { cache: lookup.cache, cache_time: lookup.took, ..Reranking::default() };
            if lookup.cache.misses == 0 {
                return blank.with_scores(&lookup, &HashMap::new());
            }
            let (keys, (outcome, queue_time)) = outcomes.next().expect("there is one for each lookup with misses");
            let blank = Reranking { queue_time, rerank_time, ..blank };
            match outcome {
                Err(fallback) => Reranking { fallback: Some(fallback), ..blank },
                Ok(scores) => blank.with_scores(&lookup, &keys.into_iter().zip(scores).collect()),
            }
        };
        lookups.into_iter().map(finish).collect()
    }

    /// What the cache holds of the candidates' scores.
    fn look_up(&self, request: &SearchRequest, model: &ModelVersion, candidates: &[Candidate]) -> Lookup {
        let started = Instant::now();
        let maker = KeyMaker::new(&request.query.text, model);
        let keys: Vec<ScoreKey> =
            candidates.iter().map(|candidate| maker.key(candidate.title.as_deref(), &candidate.text)).collect();
        let cached = self.cache.get_many(&keys);
        let hits = cached.iter().flatten().count();
        let cache = CacheUse { hits, misses: keys.len() - hits };
        Lookup { keys, cached, cache, took: started.elapsed() }
    }
}

impl Reranking {
    /// With the score of each key, from the cache or from the model.
    fn with_scores(self, lookup: &Lookup, new: &HashMap<ScoreKey, Score>) -> Self {
        let scored = lookup.keys.iter().zip(&lookup.cached).map(|(key, cached)| match cached {
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

fn at_most(max: usize, field: &'static str, quantity: &'static str, found: usize) -> Result<(), PipelineError> {
    if found > max { Err(PipelineError::TooLarge { field, quantity, found, max }) } else { Ok(()) }
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

//! The pipeline: first stage, cache and reranker in sequence.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lorank_cache::{CacheStats, ScoreCache, SharedScores};
use lorank_core::{
    AdapterChoice, AdapterId, BlendWeight, Candidate, CandidateList, Deadline, Digest, FirstStage, Group, Hit,
    InvalidQuery, ModelVersion, Query, QuerySyntax, RankerSettings, RerankStage, Reranker, Retrieval, Retrieved, Score,
    TotalHits, fuse, with_causes,
};

use crate::cascade::{Cascade, OnModelError, StageModel};
use crate::error::at_most;
use crate::limits;
use crate::plan::{Order, Plan, StagesOf};
use crate::queue::Queue;
use crate::reranking::{Reranking, Scorer};
use crate::{
    Answer, Fallback, OnOverload, PipelineConfig, PipelineError, QueueStats, RankByChoice, Ranker, Scoring,
    SearchRequest, SharedScoresConfig, Warning,
};

/// A first stage, a score cache and a reranker that answer searches together. See the [crate's page](crate).
///
/// Threads share it by reference. Dropping it, and every pipeline that [shares its scores](Self::with_first_stage),
/// stops its thread after the current batch, without waiting for it.
pub struct Pipeline<F, R> {
    first_stage: F,
    pub(crate) scorer: Arc<Scorer<R>>,
    config: PipelineConfig,
}

impl<F, R> fmt::Debug for Pipeline<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The first stage of a [`Pipeline`] that only reranks given candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoFirstStage;

/// Documents from the caller, to be scored for one query.
#[derive(Debug, Clone, Copy)]
pub struct Documents<'a> {
    /// The query.
    pub query: &'a Query,
    /// The documents.
    pub candidates: &'a [Candidate],
}

impl<R: Reranker + 'static> Pipeline<NoFirstStage, R> {
    /// A pipeline that only [reranks](Pipeline::rerank) given candidates.
    ///
    /// # Errors
    /// As [`Pipeline::new`].
    pub fn without_first_stage(reranker: R, config: PipelineConfig) -> Result<Self, PipelineError> {
        Self::new(NoFirstStage, reranker, config)
    }
}

impl<F: FirstStage, R: Reranker + 'static> Pipeline<F, R> {
    /// Answers a search.
    ///
    /// # Errors
    /// A request that exceeds a limit, an unknown adapter, or a failing first stage. A late or failing reranker and an
    /// adapter that cannot be loaded are not errors: the answer then is in first-stage order with a fallback reason.
    pub fn search(&self, request: &SearchRequest) -> Result<Answer, PipelineError> {
        let started = Instant::now();
        let plan = self.plan(request, None)?;
        check_rerank(request, request.rerank)?;
        let order = self.order(request, &plan, None)?;
        let models = self.requested_models(request, &plan)?;
        let span = tracing::info_span!("search", depth = plan.depth(), from = plan.page.start, to = plan.page.end);
        let _entered = span.enter();
        let Retrieved { candidates, total_hits, facets, problems } =
            self.retrieve(request, &plan, plan.depth(), &[&order])?;
        let first_stage = started.elapsed();
        let mut answer = Answer { total_hits, facets, ..self.answer(request, &plan, &order, models, &candidates)? };
        answer.warnings.extend(problems.into_iter().map(Warning::Retrieval));
        if request.snippets {
            self.add_snippets(&request.query, &mut answer.hits)?;
        }
        answer.timings.first_stage = first_stage;
        answer.timings.total = started.elapsed();
        log(&answer);
        Ok(answer)
    }

    /// Adds snippets to the hits of a query: of their passages, if they were scored as several windows.
    ///
    /// # Errors
    /// The first stage fails.
    pub fn add_snippets(&self, query: &Query, hits: &mut [Hit]) -> Result<(), PipelineError> {
        let failed = |source| PipelineError::of_first_stage("create snippets", source);
        let shown: Vec<Cow<'_, Candidate>> = hits.iter().map(of_passage).collect();
        let candidates: Vec<&Candidate> = shown.iter().map(AsRef::as_ref).collect();
        let snippets = self.first_stage.snippets(query, &candidates).map_err(failed)?;
        drop(shown);
        if snippets.len() != hits.len() {
            return Err(failed(format!("it returned {} snippets for {} hits", snippets.len(), hits.len()).into()));
        }
        for (hit, snippet) in hits.iter_mut().zip(snippets) {
            hit.snippet = snippet;
        }
        Ok(())
    }

    /// The candidates of the first stage, fused with those of the request: all that are reranked, and all up to the page's
    /// end. `orders` are the orders of the answers.
    pub(crate) fn retrieve(
        &self,
        request: &SearchRequest,
        plan: &Plan,
        depth: NonZeroUsize,
        orders: &[&Order],
    ) -> Result<Retrieved, PipelineError> {
        if request.candidates.is_empty() {
            let n_retrieved = NonZeroUsize::new(plan.page.end).map_or(depth, |end| end.max(depth));
            return self.retrieve_own(request, plan, n_retrieved, orders);
        }
        // Ranks must not depend on the page, so the first stage's list always has the same length.
        let own = request.retrieves.then(|| self.retrieve_own(request, plan, depth, orders)).transpose()?;
        let Retrieved { candidates, total_hits, problems, .. } = own.unwrap_or_default();
        let first_stage = CandidateList { name: Ranker::FIRST_STAGE.into(), candidates };
        let lists = request.retrieves.then_some(first_stage).into_iter().chain(request.candidates.iter().cloned());
        let candidates = fuse(lists.collect());
        let n_fused = candidates.len() as u64;
        let total_hits = match request.retrieves {
            true => TotalHits::AtLeast(total_hits.n().max(n_fused)),
            false => TotalHits::Exactly(n_fused),
        };
        Ok(Retrieved { candidates, total_hits, facets: Vec::new(), problems })
    }

    fn retrieve_own(
        &self,
        request: &SearchRequest,
        plan: &Plan,
        depth: NonZeroUsize,
        orders: &[&Order],
    ) -> Result<Retrieved, PipelineError> {
        let _entered = tracing::info_span!("first_stage", n_wanted = depth.get()).entered();
        let SearchRequest { query, sort, facets, .. } = request;
        let numeric_fields: BTreeSet<&str> = orders.iter().flat_map(|order| order.fields()).collect();
        let numeric_fields = &numeric_fields.into_iter().collect::<Vec<_>>();
        let (deadline, snippets) = (plan.deadline, request.snippets || request.snippets_follow);
        let retrieval = Retrieval { query, depth, sort, facets, numeric_fields, deadline, snippets };
        let found = self.first_stage.search(&retrieval);
        found.map_err(|source| PipelineError::of_first_stage("retrieve candidates", source))
    }
}

impl<F, R: Reranker + 'static> Pipeline<F, R> {
    /// Creates a pipeline and starts the thread that runs the reranker.
    ///
    /// # Errors
    /// A contradictory configuration, or a thread that cannot be started.
    pub fn new(first_stage: F, reranker: R, config: PipelineConfig) -> Result<Self, PipelineError> {
        config.check()?;
        let cache = ScoreCache::new(config.cache);
        let cache = match &config.shared_scores {
            None => cache,
            Some(SharedScoresConfig { store, limit }) => {
                let shared = SharedScores::start(store.clone(), *limit);
                cache.with_shared(shared.map_err(|source| PipelineError::SpawnWorker { source })?)
            }
        };
        let (reranker, cache) = (Arc::new(reranker), Arc::new(cache));
        let queue = Queue::start(reranker.clone(), cache.clone(), &config)?;
        Ok(Self { first_stage, scorer: Arc::new(Scorer::new(reranker, cache, queue, &config)), config })
    }

    /// A pipeline over another first stage that shares this one's reranker, score cache and queue. Cached scores serve
    /// both, because scores depend on texts only.
    pub fn with_first_stage<G>(&self, first_stage: G) -> Pipeline<G, R> {
        Pipeline { first_stage, scorer: self.scorer.clone(), config: self.config.clone() }
    }

    /// Reranks candidates that the caller found, best first: the second half of a [search](Self::search).
    ///
    /// Their positions are their first-stage ranks. Pages are slices of one order if the call for every page gets the
    /// same first `depth` candidates (or all there are), and those up to the page's end. `snippets` is ignored, because
    /// only the first stage can create them, and `total_hits` is a lower bound, the number of candidates.
    ///
    /// # Errors
    /// A request that exceeds a limit or has sort keys or facets, which need the first stage; an unknown adapter.
    pub fn rerank(&self, request: &SearchRequest, candidates: Vec<Candidate>) -> Result<Answer, PipelineError> {
        let started = Instant::now();
        let plan = self.plan(request, None)?;
        for (field, is_empty) in [("sort", request.sort.is_empty()), ("facets", request.facets.is_empty())] {
            if !is_empty {
                let reason = "the candidates come from the caller, who must sort and count them";
                return Err(PipelineError::InvalidRequest { field, reason });
            }
        }
        let models = self.requested_models(request, &plan)?;
        let order = self.order(request, &plan, None)?;
        let _entered = tracing::info_span!("rerank", depth = plan.depth(), n_found = candidates.len()).entered();
        let mut answer = self.answer(request, &plan, &order, models, &candidates)?;
        answer.timings.total = started.elapsed();
        log(&answer);
        Ok(answer)
    }

    /// Scores documents for a query, in the documents' order, for callers that bring all their documents and take all
    /// the scores, without a limit on their number. Scores a thousand at a time, so that other requests get their
    /// share.
    ///
    /// # Errors
    /// A query that exceeds the limit, or an unknown adapter. A late or failing reranker is a fallback in
    /// [`Scoring::scores`].
    pub fn score(&self, request: &SearchRequest, candidates: &[Candidate]) -> Result<Scoring, PipelineError> {
        self.score_each(request, &[Documents { query: &request.query, candidates }])
    }

    /// Scores documents for several queries, in their order; see [`Pipeline::score`] for one query. All pairs enter the
    /// queue together. Ignores the request's own `query`.
    ///
    /// # Errors
    /// As [`Pipeline::score`].
    pub fn score_each(&self, request: &SearchRequest, groups: &[Documents<'_>]) -> Result<Scoring, PipelineError> {
        let started = Instant::now();
        request.passages.check()?;
        for group in groups {
            self.check_query(group.query)?;
        }
        let deadline = self.deadline(request);
        let query = groups.first().map_or(&request.query, |group| group.query);
        if groups.iter().any(|group| group.query.instruction != query.instruction) {
            let reason = "differs between queries; score the queries of each instruction together";
            return Err(PipelineError::InvalidRequest { field: "instruction", reason });
        }
        let model = self.model_for(&request.adapter, query)?;
        let pairs: Vec<(&Query, &Candidate)> =
            groups.iter().flat_map(|group| group.candidates.iter().map(|candidate| (group.query, candidate))).collect();
        let _entered = tracing::info_span!("score", n_documents = pairs.len()).entered();
        let n_tokens = pairs.iter().map(|(query, candidate)| estimated_tokens(query, candidate)).sum();
        let Reranking { outcome, cache, .. } = self.scorer.reranking_of_pairs(request, &model, deadline, &pairs)?;
        let (scores, passages) = match outcome {
            Ok(scored) => {
                let (scores, passages) = scored.into_iter().map(|scored| (scored.score, scored.passage)).unzip();
                (Ok(scores), passages)
            }
            Err(fallback) => (Err(fallback), Vec::new()),
        };
        Ok(Scoring { scores, passages, model, cache, n_tokens, took: started.elapsed() })
    }

    /// The exact model for a choice, after aliases and the default are resolved.
    ///
    /// # Errors
    /// The adapter is unknown.
    pub fn model(&self, choice: &AdapterChoice) -> Result<ModelVersion, PipelineError> {
        let follow = |name: &AdapterId| self.config.aliases.get(name).unwrap_or(name).clone();
        let adapter = match choice {
            AdapterChoice::Default => self.config.default_adapter.as_ref().map(follow),
            AdapterChoice::Base => None,
            AdapterChoice::Named(name) => Some(follow(name)),
        };
        self.scorer.reranker.resolve(adapter.as_ref()).map_err(|source| PipelineError::unusable(choice, source))
    }

    /// Checks that a model can score now, and loads its adapter if necessary: encodes one pair without scoring it.
    ///
    /// # Errors
    /// The adapter is unknown, or cannot be loaded by the deadline.
    pub fn probe_model(&self, choice: &AdapterChoice, deadline: Deadline) -> Result<(), PipelineError> {
        let model = self.model(choice)?;
        let zero = Score::new(0.0).expect("zero is finite");
        let (query, candidate) = (Query::new("probe"), Candidate::new("probe", "probe", zero));
        let group = Group { query: &query, model: &model, candidates: &[candidate] };
        let probed = self.scorer.reranker.encode(group, Some(deadline));
        probed.map(drop).map_err(|source| PipelineError::unusable(choice, source))
    }

    /// Checks as [`probe_model`](Self::probe_model) the models of requests that choose nothing themselves.
    ///
    /// # Errors
    /// As [`probe_model`](Self::probe_model).
    pub fn probe_default(&self, deadline: Deadline) -> Result<(), PipelineError> {
        match &self.config.stages {
            None => self.probe_model(&AdapterChoice::Default, deadline),
            Some(stages) => stages.iter().try_for_each(|stage| self.probe_model(&stage.choice(), deadline)),
        }
    }

    /// The model of each stage of a request, none if it is not to be reranked; or the reason why the stage falls back.
    fn requested_models(
        &self,
        request: &SearchRequest,
        plan: &Plan,
    ) -> Result<Vec<Result<StageModel, Fallback>>, PipelineError> {
        if request.rerank { self.stage_models(plan, &request.query) } else { Ok(Vec::new()) }
    }

    /// The model of each stage, or the reason why the stage falls back.
    pub(crate) fn stage_models(
        &self,
        plan: &Plan,
        query: &Query,
    ) -> Result<Vec<Result<StageModel, Fallback>>, PipelineError> {
        let model = |n| match self.stage_model(plan, n, query) {
            Ok(model) => Ok(Ok(model)),
            // The request is not responsible for the configuration.
            Err(error) if plan.stages_of == StagesOf::Configuration && error.is_of_model() => {
                Ok(Err(Fallback::RerankerFailed { message: with_causes(error.without_stage()) }))
            }
            Err(error) => error.into_fallback().map(Err),
        };
        (0..plan.stages.len()).map(model).collect()
    }

    /// The model of the stage with this number, counted from 0. An error names the stage, if the answer lists stages.
    pub(crate) fn stage_model(&self, plan: &Plan, n: usize, query: &Query) -> Result<StageModel, PipelineError> {
        let (stage, is_last) = (&plan.stages[n], n + 1 == plan.stages.len());
        let model = self.model_on_base(stage).and_then(|version| match &query.instruction {
            None => Ok(StageModel { version, is_instructed: false }),
            Some(instruction) => match self.instructed(&stage.choice(), version.clone(), instruction) {
                Ok(version) => Ok(StageModel { version, is_instructed: true }),
                // The last stage decides, so it must read the instruction; the others do if they can.
                Err(PipelineError::InvalidQuery { .. }) if !is_last => Ok(StageModel { version, is_instructed: false }),
                Err(error) => Err(error),
            },
        });
        model.map_err(|error| match plan.lists_stages() {
            true => PipelineError::InStage { stage: n + 1, source: Box::new(error) },
            false => error,
        })
    }

    /// The exact model of a stage, checked against the base model that it names.
    fn model_on_base(&self, stage: &RerankStage) -> Result<ModelVersion, PipelineError> {
        let version = self.model(&stage.choice())?;
        let Some(base) = &stage.base else { return Ok(version) };
        let expected = match stage.is_bare_base() {
            true => version.adapter.is_none().then_some(version.base_digest),
            false => Some(self.model(&AdapterChoice::Named(base.clone()))?.base_digest),
        };
        match expected {
            Some(digest) if digest == version.base_digest => Ok(version),
            Some(_) => Err(PipelineError::OnOtherBase {
                adapter: stage.choice(),
                base: base.clone(),
                found: version.base_model,
            }),
            None => Err(PipelineError::NotABase { base: base.clone() }),
        }
    }

    /// Checks that the settings of a ranker can be served: its model is known and takes the instruction, and no limit is
    /// exceeded.
    ///
    /// # Errors
    /// The reason why not; [`field`](PipelineError::field) is the key of the setting, or `adapter`.
    pub fn check_ranker(&self, ranker: &Ranker, settings: &RankerSettings) -> Result<(), PipelineError> {
        let request = SearchRequest::new("").with_settings(settings);
        let plan = self.plan(&request, Some(ranker))?;
        self.models_of(ranker, &plan, &request.query).map(drop)
    }

    /// The model of each stage of a ranker for a query; none for the first stage's order.
    pub(crate) fn models_of(
        &self,
        ranker: &Ranker,
        plan: &Plan,
        query: &Query,
    ) -> Result<Vec<StageModel>, PipelineError> {
        match ranker {
            Ranker::FirstStage => Ok(Vec::new()),
            Ranker::Model(_) => (0..plan.stages.len()).map(|n| self.stage_model(plan, n, query)).collect(),
        }
    }

    /// The exact model for a choice, with the query's instruction.
    fn model_for(&self, choice: &AdapterChoice, query: &Query) -> Result<ModelVersion, PipelineError> {
        let model = self.model(choice)?;
        match &query.instruction {
            Some(instruction) => self.instructed(choice, model, instruction),
            None => Ok(model),
        }
    }

    fn instructed(
        &self,
        choice: &AdapterChoice,
        model: ModelVersion,
        instruction: &str,
    ) -> Result<ModelVersion, PipelineError> {
        self.scorer.reranker.instructed(model, instruction).map_err(|source| match source.downcast::<InvalidQuery>() {
            Ok(source) => PipelineError::InvalidQuery { source: *source },
            Err(source) => PipelineError::unusable(choice, source),
        })
    }

    /// The first stage.
    pub fn first_stage(&self) -> &F {
        &self.first_stage
    }

    /// The reranker.
    pub fn reranker(&self) -> &R {
        &self.scorer.reranker
    }

    /// The defaults and limits.
    pub fn config(&self) -> &PipelineConfig {
        &self.config
    }

    /// The contents and counters of the score cache.
    pub fn cache_stats(&self) -> CacheStats {
        self.scorer.cache.stats()
    }

    /// The number of scores of an adapter in memory, by the digest of its files; `None` is the bare base model.
    pub fn n_cached_scores(&self, adapter: Option<&Digest>) -> usize {
        self.scorer.cache.n_scores_of(adapter)
    }

    /// The contents and counters of the queue.
    pub fn queue_stats(&self) -> QueueStats {
        self.scorer.queue.stats()
    }

    /// The throughput of the recent batches of a base model in tokens per second; `None` before its first batch.
    pub fn tokens_per_second_of(&self, base: &Digest) -> Option<f64> {
        self.scorer.queue.tokens_per_second_of(base)
    }

    /// Checks a request against the limits and fills in defaults, for the request's own ranker (`None`) or another one.
    pub(crate) fn plan(&self, request: &SearchRequest, ranker: Option<&Ranker>) -> Result<Plan, PipelineError> {
        let config = &self.config;
        let (stages, stages_of) = self.stages(request, ranker)?;
        let top_k = request.top_k.unwrap_or(config.top_k);
        let page_end = request.offset.saturating_add(top_k.get());
        self.check_query(&request.query)?;
        let (field, quantity) = match stages_of {
            StagesOf::Ranker => ("depth", "`depth`"),
            StagesOf::Request | StagesOf::Configuration => ("stages", "the depth of a stage"),
        };
        at_most(config.depth_max.get(), field, quantity, stages[0].depth.get())?;
        // The error names the larger part of the sum.
        let page_field = if request.offset > top_k.get() { "offset" } else { "top_k" };
        at_most(config.page_end_max.get(), page_field, "`offset` + `top_k`", page_end)?;
        limits::check(request, config)?;
        let min_rerank_score = request.min_rerank_score;
        let deadline = self.deadline(request);
        Ok(Plan { stages, stages_of, page: request.offset..page_end, min_rerank_score, deadline })
    }

    /// The rerank stages of a ranker: those of the request, else those of the configuration if the request chooses nothing
    /// itself, else one with the ranker's model.
    fn stages(
        &self,
        request: &SearchRequest,
        ranker: Option<&Ranker>,
    ) -> Result<(Vec<RerankStage>, StagesOf), PipelineError> {
        if let Some(stages) = &request.stages {
            if ranker.is_none() {
                limits::check_stages(request)?;
            }
            return Ok((stages.to_vec(), StagesOf::Request));
        }
        let is_free = ranker.is_none()
            && request.rerank
            && request.can_be_reranked()
            && request.adapter == AdapterChoice::Default
            && request.depth.is_none();
        if let Some(stages) = self.config.stages.as_ref().filter(|_| is_free) {
            return Ok((stages.to_vec(), StagesOf::Configuration));
        }
        let adapter = match ranker {
            None | Some(Ranker::FirstStage) => request.adapter.clone(),
            Some(Ranker::Model(adapter)) => adapter.clone(),
        };
        let depth = request.depth.unwrap_or(self.config.depth);
        Ok((vec![RerankStage { adapter, base: None, depth, deadline_share: None }], StagesOf::Ranker))
    }

    /// The order of a ranker's answer: the request's, else the expression for the ranker's adapter, else the default
    /// one, if the answer can be ordered by it. `None` is the request's own ranker.
    pub(crate) fn order(
        &self,
        request: &SearchRequest,
        plan: &Plan,
        ranker: Option<&Ranker>,
    ) -> Result<Order, PipelineError> {
        let is_blended = request.blend_weight != BlendWeight::RERANK_ALONE;
        let refused = |reason| Err(PipelineError::InvalidRequest { field: "rank_by", reason });
        let reranks = match ranker {
            None => request.rerank,
            Some(ranker) => *ranker != Ranker::FirstStage,
        };
        let last = plan.stages.last().expect("there is at least one stage");
        let rank_by = match &request.rank_by {
            RankByChoice::Expression(_) if is_blended => {
                return refused("it cannot be combined with `blend_weight`; weight the scores in the expression");
            }
            RankByChoice::Expression(_) if !request.sort.is_empty() => {
                return refused("it cannot be combined with `sort`; remove one of them");
            }
            RankByChoice::Expression(rank_by) if ranker.is_none() && !reranks && rank_by.needs_rerank_score() => {
                return refused(
                    "it uses `rerank_score`, but the search is not reranked; \
                     enable reranking, or write `coalesce(rerank_score, ...)`",
                );
            }
            RankByChoice::Expression(rank_by) => Some(rank_by.clone()),
            RankByChoice::Default if !is_blended && request.sort.is_empty() => {
                self.config.rank_by_of(&last.choice())?
            }
            RankByChoice::Default | RankByChoice::Scores => None,
        };
        let rank_by = rank_by.filter(|it| reranks || !it.needs_rerank_score());
        Ok(rank_by.map_or(Order::Scores(request.blend_weight), |it| Order::RankBy(it, now())))
    }

    fn check_query(&self, query: &Query) -> Result<(), PipelineError> {
        let (max, instruction) = (self.config.query_bytes_max, query.instruction.as_ref());
        at_most(max, "query", "the length of `query` in bytes", query.text.len())?;
        let n_bytes = instruction.map_or(0, String::len);
        at_most(max, "instruction", "the length of `instruction` in bytes", n_bytes)
    }

    /// The request's own deadline, else the default; background work has none.
    fn deadline(&self, request: &SearchRequest) -> Option<Deadline> {
        let usual = self.config.deadline.filter(|_| !request.background);
        request.deadline.or_else(|| usual.and_then(Deadline::after))
    }

    fn answer(
        &self,
        request: &SearchRequest,
        plan: &Plan,
        order: &Order,
        models: Vec<Result<StageModel, Fallback>>,
        candidates: &[Candidate],
    ) -> Result<Answer, PipelineError> {
        let started = Instant::now();
        let mut cascade = Cascade::new(request, plan, models, OnModelError::FallBack, candidates.len());
        self.scorer.run(&mut [&mut cascade], candidates);
        let answer = self.unless_refused(request, cascade.answer(order, candidates, started)?)?;
        Ok(self.with_warnings(request, candidates, answer))
    }

    /// Adds the warnings, which are the same for cached and computed scores.
    pub(crate) fn with_warnings(&self, request: &SearchRequest, candidates: &[Candidate], answer: Answer) -> Answer {
        let Some(model) = answer.model.as_ref().filter(|_| answer.reranked && !request.background) else {
            return answer;
        };
        let warnings = Warning::of_reranked(&self.scorer.reranker, &request.query, model, candidates);
        let mut answer = answer;
        answer.warnings.extend(warnings);
        answer
    }

    /// The answer, or an error if it fell back because of an overload and the request wants an error then.
    pub(crate) fn unless_refused(&self, request: &SearchRequest, answer: Answer) -> Result<Answer, PipelineError> {
        let overload = answer.fallbacks().find(|reason| reason.is_overload());
        match overload.filter(|_| request.on_overload == OnOverload::Refuse) {
            Some(reason) => Err(self.overloaded(reason.clone())),
            None => Ok(answer),
        }
    }

    /// The error that replaces a fallback because of an overload.
    fn overloaded(&self, reason: Fallback) -> PipelineError {
        let retry_after = match &reason {
            Fallback::WouldMissDeadline { retry_after } => *retry_after,
            _ => self.scorer.queue.stats().estimated_wait(),
        };
        PipelineError::Overloaded { reason, retry_after }
    }
}

/// A hit's document with the text of its passage alone, if it has several.
fn of_passage(hit: &Hit) -> Cow<'_, Candidate> {
    match hit.passage.as_ref().filter(|passage| passage.windows.len() > 1) {
        None => Cow::Borrowed(&hit.candidate),
        Some(passage) => {
            let text = passage.text(&hit.candidate.text).into();
            Cow::Owned(Candidate { text, snippet: None, ..hit.candidate.clone() })
        }
    }
}

/// The current time in seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Rejects a request to rerank an answer that no reranker can order.
pub(crate) fn check_rerank(request: &SearchRequest, reranks: bool) -> Result<(), PipelineError> {
    let refused = |field, reason| Err(PipelineError::InvalidRequest { field, reason });
    match (reranks, request.query.syntax) {
        (true, QuerySyntax::MatchAll) => {
            refused("rerank", "a search without query words cannot be reranked; disable reranking")
        }
        (true, _) if !request.sort.is_empty() => {
            refused("sort", "results are either sorted or reranked; disable reranking or remove the sort keys")
        }
        _ => Ok(()),
    }
}

/// The estimated tokens of a pair at four bytes each, which is accurate for English prose.
fn estimated_tokens(query: &Query, candidate: &Candidate) -> usize {
    (query.text.len() + candidate.title.as_deref().map_or(0, str::len) + candidate.text.len()) / 4 + 1
}

pub(crate) fn log(answer: &Answer) {
    let is_reported = |fallback: &&Fallback| **fallback != Fallback::Cancelled;
    for (n, stage) in answer.stages.iter().enumerate() {
        if let Some(fallback) = stage.fallback.as_ref().filter(is_reported) {
            tracing::warn!(reason = fallback.reason(), stage = n + 1, "a rerank stage fell back: {fallback}");
        }
    }
    if let Some(fallback) = answer.fallback.as_ref().filter(is_reported).filter(|_| !answer.reranked) {
        tracing::warn!(reason = fallback.reason(), "fell back to first-stage order: {fallback}");
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

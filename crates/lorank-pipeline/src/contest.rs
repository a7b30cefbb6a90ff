//! Several rankers that answer the same query.

use std::borrow::Cow;
use std::time::Instant;

use lorank_core::{Candidate, FirstStage, ModelVersion, RankerSettings, Reranker, Retrieved};

use crate::pipeline::{check_rerank, log};
use crate::plan::{Order, Plan};
use crate::reranking::{Job, Reranking};
use crate::{Answer, Contestant, Pipeline, PipelineError, Ranked, Ranker, SearchRequest, Warning};

/// One of several rankers of a request.
struct Contender<'a> {
    ranker: Ranker,
    /// The request with the ranker's settings.
    request: Cow<'a, SearchRequest>,
    plan: Plan,
    order: Order,
    /// Its model; `None` for the first stage.
    model: Result<Option<ModelVersion>, PipelineError>,
}

impl<F: FirstStage, R: Reranker + 'static> Pipeline<F, R> {
    /// Answers one search by each of several rankers, in their order; each answer has its ranker's key. The candidates
    /// are retrieved once, and all pairs enter the queue together. A ranker whose model is unavailable does not affect
    /// the others.
    ///
    /// Ignores the request's `adapter` and `rerank`, and creates `snippets` for each answer. With
    /// [`OnOverload::Refuse`](crate::OnOverload::Refuse), one overloaded ranker rejects the whole request.
    ///
    /// # Errors
    /// A request that exceeds a limit, a failing first stage, or an overload that the request wants reported as an
    /// error.
    pub fn search_each<K>(
        &self,
        request: &SearchRequest,
        rankers: impl IntoIterator<Item = (K, Ranker)>,
    ) -> Result<Vec<Ranked<K>>, PipelineError> {
        let plain = |(key, ranker)| Contestant { key, ranker, settings: RankerSettings::default() };
        self.contest(request, rankers.into_iter().map(plain))
    }

    /// As [`search_each`](Self::search_each), for rankers with their own settings. Each is answered as the request
    /// [with its settings](SearchRequest::with_settings) would be; settings that cannot be served are the error of their
    /// ranker alone.
    ///
    /// # Errors
    /// As [`search_each`](Self::search_each).
    pub fn contest<K>(
        &self,
        request: &SearchRequest,
        contestants: impl IntoIterator<Item = Contestant<K>>,
    ) -> Result<Vec<Ranked<K>>, PipelineError> {
        let started = Instant::now();
        let plan = self.plan(request)?;
        let (keys, rankers): (Vec<K>, Vec<_>) =
            contestants.into_iter().map(|one| (one.key, (one.ranker, one.settings))).unzip();
        check_rerank(request, rankers.iter().any(|(ranker, _)| *ranker != Ranker::FirstStage))?;
        let contenders =
            rankers.into_iter().map(|(ranker, settings)| self.contender(request, &plan, ranker, &settings));
        let contenders = contenders.collect::<Result<Vec<Contender<'_>>, _>>()?;
        let depth = contenders.iter().map(|contender| contender.plan.depth).max().unwrap_or(plan.depth);
        let plan = Plan { depth, ..plan };
        let _entered = tracing::info_span!("search_each", depth = depth.get(), n_rankers = contenders.len()).entered();
        let orders: Vec<&Order> = contenders.iter().map(|contender| &contender.order).collect();
        let Retrieved { candidates, total_hits, facets, problems } = self.retrieve(request, &plan, &orders)?;
        let first_stage = started.elapsed();
        let mut ranked = self.answers(contenders, &candidates)?;
        for answer in ranked.iter_mut().filter_map(|answer| answer.as_mut().ok()) {
            if request.snippets {
                self.add_snippets(&request.query, &mut answer.hits)?;
            }
            answer.total_hits = total_hits;
            answer.facets.clone_from(&facets);
            answer.warnings.extend(problems.iter().cloned().map(Warning::Retrieval));
            answer.timings.first_stage = first_stage;
            answer.timings.total += first_stage;
            log(answer);
        }
        Ok(keys.into_iter().zip(ranked).map(|(key, answer)| Ranked { key, answer }).collect())
    }
}

impl<F, R: Reranker + 'static> Pipeline<F, R> {
    /// A ranker with the request that its settings make of this one. Settings that cannot be served are the error of its
    /// model.
    fn contender<'a>(
        &self,
        request: &'a SearchRequest,
        plan: &Plan,
        ranker: Ranker,
        settings: &RankerSettings,
    ) -> Result<Contender<'a>, PipelineError> {
        let own = match settings.is_empty() {
            true => Cow::Borrowed(request),
            false => Cow::Owned(request.with_settings(settings)),
        };
        let order = self.order(&own, Some(&ranker))?;
        // All rankers have the same deadline.
        let (plan, model) = match self.plan(&own) {
            Ok(own_plan) => (Plan { deadline: plan.deadline, ..own_plan }, self.model_of(&ranker, &own.query)),
            Err(error) => (plan.clone(), Err(error)),
        };
        Ok(Contender { ranker, request: own, plan, order, model })
    }

    /// The answers of all rankers, from the given candidates. The caller adds the timings before and after.
    fn answers(
        &self,
        contenders: Vec<Contender<'_>>,
        candidates: &[Candidate],
    ) -> Result<Vec<Result<Answer, PipelineError>>, PipelineError> {
        let started = Instant::now();
        let jobs: Vec<Job<'_>> = contenders.iter().filter_map(|contender| contender.job(candidates)).collect();
        let mut rerankings = self.scorer.rerankings(&jobs).into_iter();
        drop(jobs);
        let answer = |contender: Contender<'_>| {
            let has_job = contender.job(candidates).is_some();
            let Contender { request, plan, order, model, .. } = contender;
            let ranked = model.and_then(|model| match has_job {
                true => Ok((model, rerankings.next().expect("each job has a reranking")?)),
                false => Ok((model, Reranking::none())),
            });
            let (model, reranking) = match ranked {
                Ok(ranked) => ranked,
                Err(error) => return Ok(Err(error)),
            };
            let answer = reranking.answer(&plan, &order, model, candidates, started);
            Ok(Ok(self.with_warnings(&request, candidates, self.unless_refused(&request, answer)?)))
        };
        contenders.into_iter().map(answer).collect()
    }
}

impl Contender<'_> {
    /// The candidates to score; `None` for the first stage's order and without a model.
    fn job<'a>(&'a self, candidates: &'a [Candidate]) -> Option<Job<'a>> {
        let (Ranker::Model(choice), Ok(Some(model))) = (&self.ranker, &self.model) else { return None };
        let candidates = &candidates[..candidates.len().min(self.plan.depth.get())];
        Some(Job { request: &self.request, choice, model, deadline: self.plan.deadline, candidates })
    }
}

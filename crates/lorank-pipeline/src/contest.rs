//! Several rankers that answer the same query.

use std::borrow::Cow;
use std::time::Instant;

use lorank_core::{Candidate, FirstStage, RankerSettings, Reranker, Retrieved};

use crate::cascade::{Cascade, OnModelError, StageModel};
use crate::pipeline::{check_rerank, log};
use crate::plan::{Order, Plan};
use crate::{Answer, Contestant, Fallback, Pipeline, PipelineError, Ranked, Ranker, SearchRequest, Warning};

/// One of several rankers of a request.
struct Contender<'a> {
    /// The request with the ranker's settings.
    request: Cow<'a, SearchRequest>,
    plan: Plan,
    order: Order,
}

/// The model of each stage of a ranker, or why the stage has none; no stages for the first stage's order. The error is that
/// of the ranker.
type Models = Result<Vec<Result<StageModel, Fallback>>, PipelineError>;

impl<F: FirstStage, R: Reranker + 'static> Pipeline<F, R> {
    /// Answers one search by each of several rankers, in their order; each answer has its ranker's key. The candidates
    /// are retrieved once, and all pairs enter the queue together. A ranker whose model is unavailable does not affect
    /// the others.
    ///
    /// Ignores the request's `adapter`, `stages` and `rerank`, and creates `snippets` for each answer. With
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
        let request = &SearchRequest { stages: None, ..request.clone() };
        let plan = self.plan(request, Some(&Ranker::FirstStage))?;
        let (keys, rankers): (Vec<K>, Vec<_>) =
            contestants.into_iter().map(|one| (one.key, (one.ranker, one.settings))).unzip();
        check_rerank(request, rankers.iter().any(|(ranker, _)| *ranker != Ranker::FirstStage))?;
        let contenders =
            rankers.into_iter().map(|(ranker, settings)| self.contender(request, &plan, ranker, &settings));
        let contenders = contenders.collect::<Result<Vec<(Contender<'_>, Models)>, _>>()?;
        let depth = contenders.iter().map(|(contender, _)| contender.plan.depth()).max().unwrap_or(plan.depth());
        let _entered = tracing::info_span!("search_each", depth = depth.get(), n_rankers = contenders.len()).entered();
        let orders: Vec<&Order> = contenders.iter().map(|(contender, _)| &contender.order).collect();
        let Retrieved { candidates, total_hits, facets, problems } = self.retrieve(request, &plan, depth, &orders)?;
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
    ) -> Result<(Contender<'a>, Models), PipelineError> {
        let own = match settings.is_empty() {
            true => Cow::Borrowed(request),
            false => Cow::Owned(request.with_settings(settings)),
        };
        // All rankers have the same deadline.
        let (plan, models) = match self.plan(&own, Some(&ranker)) {
            Ok(own_plan) => {
                let models = self.contender_models(&ranker, &own_plan, &own);
                (Plan { deadline: plan.deadline, ..own_plan }, models)
            }
            Err(error) => (plan.clone(), Err(error)),
        };
        let order = self.order(&own, &plan, Some(&ranker))?;
        Ok((Contender { request: own, plan, order }, models))
    }

    /// The models of a ranker's stages. A model that cannot be used is an error of the only stage, and a fallback of one of
    /// several stages.
    fn contender_models(&self, ranker: &Ranker, plan: &Plan, request: &SearchRequest) -> Models {
        match ranker {
            Ranker::Model(_) if plan.lists_stages() => self.stage_models(plan, &request.query),
            _ => Ok(self.models_of(ranker, plan, &request.query)?.into_iter().map(Ok).collect()),
        }
    }

    /// The answers of all rankers, from the given candidates. The caller adds the timings before and after.
    fn answers(
        &self,
        contenders: Vec<(Contender<'_>, Models)>,
        candidates: &[Candidate],
    ) -> Result<Vec<Result<Answer, PipelineError>>, PipelineError> {
        let started = Instant::now();
        let (contenders, models): (Vec<Contender<'_>>, Vec<Models>) = contenders.into_iter().unzip();
        let mut cascades: Vec<Result<Cascade<'_>, PipelineError>> = contenders
            .iter()
            .zip(models)
            .map(|(contender, models)| Ok(contender.cascade(models?, candidates.len())))
            .collect();
        self.scorer.run(&mut cascades.iter_mut().flatten().collect::<Vec<_>>(), candidates);
        let answers = contenders.iter().zip(cascades).map(|(Contender { request, order, .. }, cascade)| match cascade
            .and_then(|cascade| cascade.answer(order, candidates, started))
        {
            Ok(answer) => Ok(Ok(self.with_warnings(request, candidates, self.unless_refused(request, answer)?))),
            Err(error) => Ok(Err(error)),
        });
        answers.collect()
    }
}

impl Contender<'_> {
    /// Its stages, of which none has begun.
    fn cascade(&self, models: Vec<Result<StageModel, Fallback>>, n_found: usize) -> Cascade<'_> {
        let on_error = if self.plan.lists_stages() { OnModelError::FallBack } else { OnModelError::Fail };
        Cascade::new(&self.request, &self.plan, models, on_error, n_found)
    }
}

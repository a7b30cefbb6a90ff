//! A pipeline with experiments.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lorank_core::{BlendWeight, FirstStage, PassageOptions, Reranker};
use lorank_experiment_store::ExperimentStore;
use lorank_experiments::{Arm, ArmRanking, Assigned, Exposure, InterleavedArm, NO_TEAM};
use lorank_pipeline::{
    Answer, Contestant, ExperimentRanking, Fallback, Pipeline, PipelineError, RankByChoice, Ranked, Ranker,
    SearchRequest, Warning,
};

use crate::ExperimentPipelineError;
use crate::choice::{Choice, Chosen, choose, ranked_by_arm, ranker};
use crate::interleaving::{Mixed, mix};
use crate::pinning;
use crate::shadow::{ShadowConfig, ShadowStats, Shadows};
use crate::trial::{ExperimentAnswer, FailedArm, Participation, Trial, fallback_of};
use crate::version::version_of_answer;

/// A pipeline with experiments. See the [crate's page](crate).
pub struct ExperimentPipeline<F, R> {
    pipeline: Arc<Pipeline<F, R>>,
    store: Option<Arc<ExperimentStore>>,
    shadows: Option<Shadows>,
    /// The name of the searched index in exposures.
    index: String,
}

/// The default name of an index.
const DEFAULT_INDEX: &str = "default";

impl<F: FirstStage + 'static, R: Reranker + 'static> ExperimentPipeline<F, R> {
    /// Creates a pipeline with experiments that are recorded in a store.
    ///
    /// # Errors
    /// A shadow with an invalid share, or a thread that cannot be started.
    pub fn new(
        pipeline: Arc<Pipeline<F, R>>,
        store: Arc<ExperimentStore>,
        shadows: Vec<ShadowConfig>,
    ) -> Result<Self, ExperimentPipelineError> {
        let shadows = Shadows::start(shadows, pipeline.clone(), store.clone())?;
        Ok(Self { pipeline, store: Some(store), shadows, index: DEFAULT_INDEX.to_owned() })
    }

    /// Creates a pipeline without experiments, shadows and exposures.
    pub fn without_store(pipeline: Arc<Pipeline<F, R>>) -> Self {
        Self { pipeline, store: None, shadows: None, index: DEFAULT_INDEX.to_owned() }
    }

    /// Sets the name of the index in exposures; the default is `default`.
    #[must_use]
    pub fn for_index(self, name: impl Into<String>) -> Self {
        Self { index: name.into(), ..self }
    }

    /// Answers a trial, and queues its exposure for the store.
    ///
    /// # Errors
    /// An unknown experiment or arm, and the pipeline's errors.
    pub fn search(&self, trial: &Trial) -> Result<ExperimentAnswer, ExperimentPipelineError> {
        let running = self.store.as_ref().map_or_else(|| Arc::from([]), |store| store.running());
        let serves = |arm: &_| pinning::serves(&self.pipeline, arm, &trial.request.adapter);
        let choice = choose(&running, trial, &serves)?;
        let arm = choice.arm();
        let (answered, assigned) = match choice {
            Choice::Other(chosen) => {
                let answer = self.pipeline.search(&trial.request)?;
                let participation = Some(participation(&chosen, None, Vec::new()));
                (ExperimentAnswer { answer, participation }, Some(assigned(&chosen, "", Vec::new(), Vec::new())))
            }
            Choice::Plain => {
                let answer = self.pipeline.search(&trial.request)?;
                (ExperimentAnswer { answer, participation: None }, None)
            }
            Choice::Arm(chosen) => self.by_arm(trial, &chosen)?,
            Choice::Interleaved(chosen) => self.by_all_arms(trial, &chosen)?,
        };
        if let Some(store) = &self.store {
            store.record_exposure(exposure(&self.index, trial, &answered, arm, assigned));
        }
        if let Some(shadows) = &self.shadows {
            shadows.follow(trial, &answered, arm);
        }
        Ok(answered)
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &Arc<Pipeline<F, R>> {
        &self.pipeline
    }

    /// The store.
    pub fn store(&self) -> Option<&Arc<ExperimentStore>> {
        self.store.as_ref()
    }

    /// The counters of the shadows.
    pub fn shadow_stats(&self) -> ShadowStats {
        self.shadows.as_ref().map(Shadows::stats).unwrap_or_default()
    }

    fn by_arm(
        &self,
        trial: &Trial,
        chosen: &Chosen<'_>,
    ) -> Result<(ExperimentAnswer, Option<Assigned>), ExperimentPipelineError> {
        let (arm, request) = (&chosen.experiment.arms[chosen.arm], &trial.request);
        let ranker = ranker(arm);
        let warnings = match ranker {
            Ranker::FirstStage => warnings_of_first_stage(request),
            Ranker::Model(_) => warnings_of_settings([arm], request),
        };
        let own = match &ranker {
            Ranker::FirstStage => SearchRequest { rerank: false, rank_by: without_scores(request), ..request.clone() },
            Ranker::Model(adapter) => ranked_by_arm(request, arm, adapter.clone()),
        };
        let is_own_choice = trial.arm.is_none() && chosen.forced;
        let ranked = || {
            self.check_pin(trial, chosen, chosen.arm)?;
            self.pipeline.search(&own)
        };
        // The searcher is responsible neither for a model that an experiment names, nor for an arm's settings.
        let mut answer = match self.check_settings(arm, &ranker).map(|()| ranked()) {
            Err(error) => self.without_model(request, &error)?,
            Ok(Err(error)) if is_missing_model(&error) && !is_own_choice => self.without_model(request, &error)?,
            Ok(answer) => answer?,
        };
        answer.warnings.extend(warnings);
        let participation = participation(chosen, Some(arm.name.clone()), Vec::new());
        Ok((
            ExperimentAnswer { answer, participation: Some(participation) },
            Some(assigned(chosen, &arm.name, Vec::new(), Vec::new())),
        ))
    }

    fn by_all_arms(
        &self,
        trial: &Trial,
        chosen: &Chosen<'_>,
    ) -> Result<(ExperimentAnswer, Option<Assigned>), ExperimentPipelineError> {
        let request = &trial.request;
        let top_k = request.top_k.unwrap_or(self.pipeline.config().top_k);
        let page_end = NonZeroUsize::new(request.offset.saturating_add(top_k.get()));
        // Scores of different arms are not comparable: one minimum score would drop more hits of one arm than of
        // another.
        let whole = SearchRequest {
            offset: 0,
            top_k: page_end,
            min_rerank_score: None,
            snippets: false,
            snippets_follow: request.snippets,
            ..request.clone()
        };
        let arms = &chosen.experiment.arms;
        let pins: Vec<Result<(), PipelineError>> =
            (0..arms.len()).map(|arm| self.check_pin(trial, chosen, arm)).collect();
        let contestant = |arm| Contestant { key: arm, ranker: ranker(arm), settings: arm.served_settings() };
        let pinned = arms.iter().zip(&pins).filter(|(_, pin)| pin.is_ok());
        let mut ranked = self.pipeline.contest(&whole, pinned.map(|(arm, _)| contestant(arm)))?.into_iter();
        let answers = arms.iter().zip(pins).filter_map(|(arm, pin)| match pin {
            Ok(()) => ranked.next(),
            Err(error) => Some(Ranked { key: arm, answer: Err(error) }),
        });
        let mixed = mix(chosen, &request.query.text, answers.collect(), request.offset);
        let Mixed { mut answer, teams, arms, failed } = match mixed {
            Ok(mixed) => mixed,
            Err(failed) => self.without_arms(request, failed)?,
        };
        // In first-stage order, `fallback` is the reason.
        if answer.fallback.is_none() {
            let ranking = ExperimentRanking::Interleaved;
            let key = request.min_rerank_score.map(|_| "min_rerank_score");
            answer.warnings.extend(key.map(|key| Warning::KeyWithoutEffect { key, ranking }));
            answer.warnings.extend(warnings_of_settings(&chosen.experiment.arms, request));
        }
        if request.snippets {
            self.pipeline.add_snippets(&request.query, &mut answer.hits)?;
        }
        let participation = participation(chosen, None, failed);
        Ok((ExperimentAnswer { answer, participation: Some(participation) }, Some(assigned(chosen, "", teams, arms))))
    }

    /// Checks that this server can serve an arm's settings, which its limits or another version of the model may not allow.
    pub(crate) fn check_settings(&self, arm: &Arm, ranker: &Ranker) -> Result<(), PipelineError> {
        if arm.settings.is_empty() { Ok(()) } else { self.pipeline.check_ranker(ranker, &arm.served_settings()) }
    }

    /// Checks that an arm still serves the version that it was pinned to.
    pub(crate) fn check_pin(&self, trial: &Trial, chosen: &Chosen<'_>, arm: usize) -> Result<(), PipelineError> {
        pinning::check(&self.pipeline, self.store.as_deref(), chosen.experiment, arm, trial.at_millis)
    }

    /// First-stage order without credit for any arm, because no arm could rank.
    fn without_arms(&self, request: &SearchRequest, failed: Vec<FailedArm>) -> Result<Mixed, ExperimentPipelineError> {
        let plain =
            SearchRequest { snippets: false, snippets_follow: request.snippets, ..in_first_stage_order(request) };
        let answer = self.pipeline.search(&plain)?;
        let messages: Vec<String> = failed.iter().map(|arm| format!("arm `{}`: {}", arm.arm, arm.message)).collect();
        let fallback = Some(Fallback::RerankerFailed { message: messages.join("; ") });
        let teams = vec![NO_TEAM; answer.ranking.len()];
        let arms = vec![InterleavedArm { model: None, ranking: ArmRanking::Missing }; failed.len()];
        Ok(Mixed { answer: Answer { fallback, ..answer }, teams, arms, failed })
    }

    /// First-stage order, with the reason.
    fn without_model(&self, request: &SearchRequest, error: &PipelineError) -> Result<Answer, ExperimentPipelineError> {
        let fallback = fallback_of(error);
        tracing::warn!("fell back to first-stage order: {fallback}");
        let answer = self.pipeline.search(&in_first_stage_order(request))?;
        Ok(Answer { fallback: Some(fallback), ..answer })
    }
}

impl<F, R> std::fmt::Debug for ExperimentPipeline<F, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExperimentPipeline").field("store", &self.store).finish_non_exhaustive()
    }
}

/// The request in first-stage order: neither reranked nor ordered by an expression.
fn in_first_stage_order(request: &SearchRequest) -> SearchRequest {
    SearchRequest { rerank: false, stages: None, rank_by: RankByChoice::Scores, ..request.clone() }
}

/// The order of the first stage's arm: without expressions that need rerank scores, which it does not have.
fn without_scores(request: &SearchRequest) -> RankByChoice {
    match &request.rank_by {
        RankByChoice::Expression(rank_by) if rank_by.needs_rerank_score() => RankByChoice::Scores,
        choice => choice.clone(),
    }
}

/// The keys of a request that have no effect where its arm is the first stage.
fn warnings_of_first_stage(request: &SearchRequest) -> Vec<Warning> {
    let needs_scores = matches!(&request.rank_by, RankByChoice::Expression(rank_by) if rank_by.needs_rerank_score());
    let keys = [
        ("blend_weight", request.blend_weight != BlendWeight::RERANK_ALONE),
        ("rank_by", needs_scores),
        ("min_rerank_score", request.min_rerank_score.is_some()),
        ("instruction", request.query.instruction.is_some()),
        ("passages", request.passages != PassageOptions::default()),
    ];
    let without_effect = keys.into_iter().filter(|(_, is_given)| *is_given);
    without_effect.map(|(key, _)| Warning::KeyWithoutEffect { key, ranking: ExperimentRanking::FirstStage }).collect()
}

/// The keys of a request that have no effect because one of the arms that rank sets them.
fn warnings_of_settings<'a>(arms: impl IntoIterator<Item = &'a Arm>, request: &SearchRequest) -> Vec<Warning> {
    let mut keys: Vec<&str> = Vec::new();
    for key in arms.into_iter().flat_map(|arm| request.keys_replaced_by(&arm.settings)) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let ranking = ExperimentRanking::SetByArm;
    keys.into_iter().map(|key| Warning::KeyWithoutEffect { key, ranking }).collect()
}

pub(crate) fn is_missing_model(error: &PipelineError) -> bool {
    matches!(error.without_stage(), PipelineError::UnknownAdapter { .. } | PipelineError::NoBareBase { .. })
}

pub(crate) fn participation(chosen: &Chosen<'_>, arm: Option<String>, failed_arms: Vec<FailedArm>) -> Participation {
    let (experiment, method) = (chosen.experiment.id.clone(), chosen.experiment.method);
    Participation { experiment, method, arm, forced: chosen.forced, failed_arms }
}

pub(crate) fn assigned(chosen: &Chosen<'_>, arm_name: &str, teams: Vec<u8>, arms: Vec<InterleavedArm>) -> Assigned {
    Assigned {
        experiment: chosen.experiment.id.clone(),
        unit: chosen.unit.to_owned(),
        arm: chosen.arm,
        arm_name: arm_name.to_owned(),
        forced: chosen.forced,
        teams,
        arms,
    }
}

fn exposure(
    index: &str,
    trial: &Trial,
    answered: &ExperimentAnswer,
    arm: Option<&Arm>,
    assigned: Option<Assigned>,
) -> Exposure {
    let answer = &answered.answer;
    let failed_arm = || answered.participation.as_ref()?.failed_arms.first().map(|arm| arm.reason.clone());
    Exposure {
        request_id: trial.request_id.clone(),
        index: index.to_owned(),
        query: trial.request.query.text.clone(),
        unit_id: trial.unit_id.clone(),
        assigned,
        hits: answer.ranking.iter().map(|id| id.as_str().to_owned()).collect(),
        first_rank: trial.request.offset.saturating_add(1),
        latency_micros: u64::try_from(answer.timings.total.as_micros()).unwrap_or(u64::MAX),
        fallback: answer.fallback.as_ref().map(|fallback| fallback.reason().to_owned()).or_else(failed_arm),
        model: version_of_answer(answer, arm),
        at_millis: trial.at_millis,
    }
}

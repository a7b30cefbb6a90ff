//! Documents that a caller brings, ordered by whoever an experiment chooses.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lorank_core::{Candidate, Deadline, DocumentId, FirstStage, ModelVersion, Passage, Reranker, Score};
use lorank_experiments::{Arm, Assigned, Experiment, Exposure, InterleavedArm, NO_TEAM, team_draft};
use lorank_pipeline::{Fallback, PipelineError, Ranker, SearchRequest};

use crate::choice::{Choice, Chosen, choose, ranker};
use crate::experiment_pipeline::{assigned, is_missing_model, participation};
use crate::interleaving::{beside_control, seed};
use crate::pinning;
use crate::trial::{FailedArm, Participation, Trial, fallback_of};
use crate::version::version;
use crate::{ExperimentPipeline, ExperimentPipelineError};

/// What exposures of given documents have in place of an index's name: no index was searched.
const NO_INDEX: &str = "";

/// A document that a caller brought.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenDocument {
    /// What exposures and events call it by.
    pub id: DocumentId,
    /// What the model reads of it, at least one text: the best score among them is the document's.
    pub passages: Vec<Candidate>,
}

/// The order of given documents.
#[derive(Debug, Clone, PartialEq)]
pub struct RerankAnswer {
    /// The places of all documents in the request, best first.
    pub order: Vec<usize>,
    /// The score of each document, in the request's order. `None` where the order has none: it is the request's own (by a
    /// `first-stage` arm, or a fallback), or mixed, and scores would tell whose each place is.
    pub scores: Option<Vec<Score>>,
    /// The window that each document's score comes from, in the request's order, with the index of its text among the
    /// document's; `None` for one that was not scored as windows. Empty without scores.
    pub windows: Vec<Option<(usize, Passage)>>,
    /// The model that scored, or would have; `None` for the request's own order and for mixed ones.
    pub model: Option<ModelVersion>,
    /// Why there are no scores although a model was to give them.
    pub fallback: Option<Fallback>,
    /// About how many tokens query and documents have together, at four bytes for a token; of several arms the most.
    pub n_tokens: usize,
    /// The experiment that took part in it.
    pub participation: Option<Participation>,
}

impl<F: FirstStage + 'static, R: Reranker + 'static> ExperimentPipeline<F, R> {
    /// Orders documents that the caller brought, by the arm of an experiment or by the model that the trial names. Their places
    /// in the request are the order of the first stage.
    ///
    /// Callers opt in: experiments take part where the trial has a unit or names an experiment, and only then is the answer
    /// recorded. The exposure has the first `top_k` documents, or all.
    ///
    /// # Errors
    /// An experiment that is not there, or that compares depths or blends of searches, and what the pipeline refuses. A
    /// model that is late or fails is a fallback.
    pub fn rerank(&self, trial: &Trial, documents: &[GivenDocument]) -> Result<RerankAnswer, ExperimentPipelineError> {
        let started = Instant::now();
        if trial.unit_id.is_none() && trial.experiment.is_none() {
            return Ok(self.by_model(&trial.request, documents)?);
        }
        let running = self.store().map_or_else(|| Arc::from([]), |store| store.running());
        let suited = suited(&running, trial)?;
        let serves = |arm: &_| pinning::serves(self.pipeline(), arm, &trial.request.adapter);
        let choice = choose(&suited, trial, &serves)?;
        let arm = choice.arm();
        let (answer, assigned) = match choice {
            Choice::Other(chosen) => {
                let answer = self.by_model(&trial.request, documents)?;
                let participation = Some(participation(&chosen, None, Vec::new()));
                (RerankAnswer { participation, ..answer }, Some(assigned(&chosen, "", Vec::new(), Vec::new())))
            }
            Choice::Plain => (self.by_model(&trial.request, documents)?, None),
            Choice::Arm(chosen) => self.documents_by_arm(trial, &chosen, documents)?,
            Choice::Interleaved(chosen) => self.documents_by_all_arms(trial, &chosen, documents),
        };
        // Who is turned away for an overload comes again, and sees no order now.
        if let Some(store) = self.store().filter(|_| !answer.fallback.as_ref().is_some_and(Fallback::is_overload)) {
            store.record_exposure(exposure(trial, documents, &answer, arm, assigned, started.elapsed()));
        }
        Ok(answer)
    }

    fn documents_by_arm(
        &self,
        trial: &Trial,
        chosen: &Chosen<'_>,
        documents: &[GivenDocument],
    ) -> Result<(RerankAnswer, Option<Assigned>), ExperimentPipelineError> {
        let arm = &chosen.experiment.arms[chosen.arm];
        let is_own_choice = trial.arm.is_none() && chosen.forced;
        let ranked = || {
            self.check_pin(trial, chosen, chosen.arm)?;
            self.by_definition(&trial.request, arm, documents)
        };
        let answer = match self.check_settings(arm, &ranker(arm)).map(|()| ranked()) {
            Err(error) => given_order(documents, Some(fallback_of(&error))),
            // The caller can do nothing for a model that an experiment's author named, or that cannot be loaded.
            Ok(Err(error)) if is_missing_model(&error) && !is_own_choice || is_unusable_model(&error) => {
                given_order(documents, Some(fallback_of(&error)))
            }
            Ok(answer) => answer?,
        };
        let participation = Some(participation(chosen, Some(arm.name.clone()), Vec::new()));
        Ok((RerankAnswer { participation, ..answer }, Some(assigned(chosen, &arm.name, Vec::new(), Vec::new()))))
    }

    fn documents_by_all_arms(
        &self,
        trial: &Trial,
        chosen: &Chosen<'_>,
        documents: &[GivenDocument],
    ) -> (RerankAnswer, Option<Assigned>) {
        // One deadline for all arms, which are scored one after the other.
        let usual = self.pipeline().config().deadline.and_then(Deadline::after);
        let request = SearchRequest { deadline: trial.request.deadline.or(usual), ..trial.request.clone() };
        let (mut failed, mut answers) = (Vec::new(), Vec::new());
        for (n, arm) in chosen.experiment.arms.iter().enumerate() {
            let answer = self.answer_of(&Trial { request: request.clone(), ..trial.clone() }, chosen, n, documents);
            failed.extend(answer.as_ref().err().map(|fallback| FailedArm::new(&arm.name, fallback)));
            answers.push(answer.ok());
        }
        let n_tokens = answers.iter().flatten().map(|answer| answer.n_tokens).max().unwrap_or(0);
        let standing: Vec<Option<&[usize]>> =
            answers.iter().map(|answer| answer.as_ref().map(|answer| answer.order.as_slice())).collect();
        let (answer, teams) = if standing.iter().all(Option::is_none) {
            let messages: Vec<String> =
                failed.iter().map(|arm| format!("arm `{}`: {}", arm.arm, arm.message)).collect();
            let fallback = Fallback::RerankerFailed { message: messages.join("; ") };
            (given_order(documents, Some(fallback)), vec![NO_TEAM; documents.len()])
        } else {
            let drafted = team_draft(&seed(chosen, &trial.request.query.text), &standing, documents.len());
            let teams = drafted.iter().map(|place| place.team).collect();
            let order = drafted.into_iter().map(|place| place.id).collect();
            (RerankAnswer { order, n_tokens, ..given_order(documents, None) }, teams)
        };
        let participation = Some(participation(chosen, None, failed));
        let arms = interleaved_arms(&chosen.experiment.arms, &answers, n_shown(trial, documents));
        (RerankAnswer { participation, ..answer }, Some(assigned(chosen, "", teams, arms)))
    }

    /// An arm's order, or why it has none.
    fn answer_of(
        &self,
        trial: &Trial,
        chosen: &Chosen<'_>,
        arm: usize,
        documents: &[GivenDocument],
    ) -> Result<RerankAnswer, Fallback> {
        let definition = &chosen.experiment.arms[arm];
        let is_usable =
            self.check_settings(definition, &ranker(definition)).and_then(|()| self.check_pin(trial, chosen, arm));
        let answer = is_usable.and_then(|()| self.by_definition(&trial.request, definition, documents));
        let answer = answer.map_err(|error| fallback_of(&error))?;
        answer.fallback.clone().map_or(Ok(answer), Err)
    }

    /// The order by an arm, with its settings.
    fn by_definition(
        &self,
        request: &SearchRequest,
        arm: &Arm,
        documents: &[GivenDocument],
    ) -> Result<RerankAnswer, PipelineError> {
        match ranker(arm) {
            Ranker::FirstStage => Ok(given_order(documents, None)),
            Ranker::Model(adapter) => {
                self.by_model(&SearchRequest { adapter, ..request.with_settings(&arm.settings) }, documents)
            }
        }
    }

    /// The order by the model that the request names: best first, of equals the earlier one.
    fn by_model(&self, request: &SearchRequest, documents: &[GivenDocument]) -> Result<RerankAnswer, PipelineError> {
        let passages: Vec<Candidate> = documents.iter().flat_map(|document| &document.passages).cloned().collect();
        let scoring = self.pipeline().score(request, &passages)?;
        let (model, n_tokens) = (Some(scoring.model), scoring.n_tokens);
        let (scores, windows) = match scoring.scores {
            Ok(scores) => best_of_each(&scores, scoring.passages, documents),
            Err(fallback) => return Ok(RerankAnswer { model, n_tokens, ..given_order(documents, Some(fallback)) }),
        };
        let mut order: Vec<usize> = (0..documents.len()).collect();
        order.sort_by(|&a, &b| scores[b].cmp(&scores[a]).then(a.cmp(&b)));
        Ok(RerankAnswer { order, scores: Some(scores), windows, model, fallback: None, n_tokens, participation: None })
    }
}

/// The running experiments that given documents can take part in: those whose arms set nothing that only searches have.
fn suited<'a>(running: &'a [Experiment], trial: &Trial) -> Result<Cow<'a, [Experiment]>, ExperimentPipelineError> {
    let named = |experiment: &&Experiment| trial.experiment.as_ref() == Some(&experiment.id);
    if let Some((experiment, (arm, key))) = running.iter().find(named).and_then(|one| Some((one, of_searches(one)?))) {
        let (experiment, arm) = (experiment.id.clone(), arm.name.clone());
        return Err(ExperimentPipelineError::SearchesOnly { experiment, arm, key });
    }
    let is_suited = |experiment: &&Experiment| of_searches(experiment).is_none();
    Ok(match running.iter().all(|experiment| is_suited(&experiment)) {
        true => Cow::Borrowed(running),
        false => running.iter().filter(is_suited).cloned().collect(),
    })
}

/// An arm with a setting that is about the candidates of a search.
fn of_searches(experiment: &Experiment) -> Option<(&Arm, &'static str)> {
    experiment.arms.iter().find_map(|arm| {
        let key =
            arm.settings.entries().map(|(key, _)| key).find(|key| ["depth", "stages", "blend_weight"].contains(key))?;
        Some((arm, key))
    })
}

fn is_unusable_model(error: &PipelineError) -> bool {
    matches!(error.without_stage(), PipelineError::UnusableAdapter { .. } | PipelineError::NoDefaultModel { .. })
}

/// The best score among each document's passages, and the window that it comes from.
fn best_of_each(
    scores: &[Score],
    windows: Vec<Option<Passage>>,
    documents: &[GivenDocument],
) -> (Vec<Score>, Vec<Option<(usize, Passage)>>) {
    let mut rest = scores;
    let mut windows = windows.into_iter();
    let best = documents.iter().map(|document| {
        let (own, after) = rest.split_at(document.passages.len());
        rest = after;
        let mut windows: Vec<Option<Passage>> = windows.by_ref().take(own.len()).collect();
        let best = (0..own.len()).rev().max_by_key(|&at| own[at]).expect("a document has a passage");
        let window = if best < windows.len() { windows.swap_remove(best) } else { None };
        (own[best], window.map(|window| (best, window)))
    });
    best.unzip()
}

/// The documents as they came.
fn given_order(documents: &[GivenDocument], fallback: Option<Fallback>) -> RerankAnswer {
    let order = (0..documents.len()).collect();
    RerankAnswer { order, scores: None, windows: Vec::new(), model: None, fallback, n_tokens: 0, participation: None }
}

/// How many documents come back.
fn n_shown(trial: &Trial, documents: &[GivenDocument]) -> usize {
    trial.request.top_k.map_or(documents.len(), |top_k| top_k.get().min(documents.len()))
}

/// What each arm ranked, compared with the control down to the last document that comes back.
fn interleaved_arms(arms: &[Arm], answers: &[Option<RerankAnswer>], n_shown: usize) -> Vec<InterleavedArm> {
    let shown = |answer: &'_ RerankAnswer| answer.order[..n_shown].to_vec();
    let rankings: Vec<Option<Vec<usize>>> = answers.iter().map(|answer| answer.as_ref().map(shown)).collect();
    let arm = |((arm, answer), ranking): ((&Arm, &Option<RerankAnswer>), &Option<Vec<usize>>)| InterleavedArm {
        model: answer.as_ref().and_then(|answer| answer.model.as_ref()).map(|model| version(model, Some(arm))),
        ranking: beside_control(ranking.as_deref(), rankings[0].as_deref()),
    };
    arms.iter().zip(answers).zip(&rankings).map(arm).collect()
}

fn exposure(
    trial: &Trial,
    documents: &[GivenDocument],
    answer: &RerankAnswer,
    arm: Option<&Arm>,
    assigned: Option<Assigned>,
    took: Duration,
) -> Exposure {
    let shown = n_shown(trial, documents);
    let assigned = assigned.map(|mut assigned| {
        assigned.teams.truncate(shown);
        assigned
    });
    let failed_arm = || answer.participation.as_ref()?.failed_arms.first().map(|arm| arm.reason.clone());
    Exposure {
        request_id: trial.request_id.clone(),
        index: NO_INDEX.to_owned(),
        query: trial.request.query.text.clone(),
        unit_id: trial.unit_id.clone(),
        assigned,
        hits: answer.order[..shown].iter().map(|&place| documents[place].id.as_str().to_owned()).collect(),
        first_rank: 1,
        latency_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        fallback: answer.fallback.as_ref().map(|fallback| fallback.reason().to_owned()).or_else(failed_arm),
        model: answer.model.as_ref().map(|model| version(model, arm)),
        at_millis: trial.at_millis,
    }
}

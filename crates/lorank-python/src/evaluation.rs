//! The function `evaluate` of the native module: rankers on a test collection, with the numbers of `lorank eval`.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use lorank_core::{Candidate, DocumentId, FirstStage, Fuzzy, PassageOptions, Query, Score};
use lorank_eval::{
    Evaluation, EvaluationOptions, FIRST_STAGE, Measure, Qrels, RankerInfo, Scored, ScoredQuery, Topic, by_trec_eval,
    ranking,
};
use lorank_pipeline::AdapterChoice;
use pyo3::exceptions::{PyLookupError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use serde_json::{Map, Value, json};

use crate::call;
use crate::engine::{Models, Scoring};
use crate::errors;
use crate::index::{Index, Searched};
use crate::inputs::Asked;
use crate::parse::{self, parsed};
use crate::reranker::Engine;

/// Judgments or a run as a list: queries with their documents and grades or scores.
type ByQuery<T> = Vec<(String, Vec<(String, T)>)>;

/// Where the candidates come from, and which rankers score them.
struct Task {
    name: String,
    topics: Vec<Topic>,
    qrels: Qrels,
    run: Option<HashMap<String, Vec<Scored>>>,
    index: Option<Arc<Searched>>,
    models: Option<Arc<Models>>,
    rankers: Vec<AdapterChoice>,
    scoring: Scoring,
    fuzzy: Fuzzy,
    depth: NonZeroUsize,
    options: EvaluationOptions,
    progress: Option<Py<PyAny>>,
}

/// The evaluation as JSON, with the rankings of each ranker if they are asked for.
#[pyfunction]
#[pyo3(signature = (*, name, index, run, queries, qrels, engine, adapters, measures, depth, depths, ties, baseline, fuzzy, instruction,
    passages, runs, progress))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
pub(crate) fn evaluate(
    py: Python<'_>,
    name: String,
    index: Option<Py<Index>>,
    run: Option<ByQuery<f64>>,
    queries: Vec<(String, String)>,
    qrels: ByQuery<i32>,
    engine: Option<Py<Engine>>,
    adapters: Vec<String>,
    measures: Vec<String>,
    depth: NonZeroUsize,
    depths: Vec<NonZeroUsize>,
    ties: &str,
    baseline: String,
    fuzzy: &str,
    instruction: Option<String>,
    passages: Option<&str>,
    runs: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let qrels = judgments(&qrels);
    let mut sorted_depths: Vec<usize> = depths.iter().map(|depth| depth.get()).collect();
    sorted_depths.sort_unstable();
    sorted_depths.dedup();
    let cancellation = lorank_pipeline::Cancellation::default();
    let task = Task {
        name,
        topics: topics(queries, &qrels)?,
        qrels,
        run: run.map(rankings).transpose()?,
        index: index.map(|index| index.get().searched()),
        models: engine.map(|engine| engine.get().models()),
        rankers: adapters.iter().map(|name| parsed("adapters", name)).collect::<PyResult<_>>()?,
        scoring: Scoring {
            adapter: AdapterChoice::Default,
            activation: None,
            instruction,
            passages: PassageOptions { rule: parse::rule(passages)?, ..PassageOptions::default() },
            cancellation: cancellation.clone(),
        },
        fuzzy: parse::fuzzy(fuzzy)?,
        depth: depths.into_iter().fold(depth, NonZeroUsize::max),
        options: EvaluationOptions {
            measures: measures.iter().map(|name| parsed::<Measure>("measures", name)).collect::<PyResult<_>>()?,
            depth: depth.get(),
            depths: sorted_depths,
            ties: parse::ties(ties)?,
            baseline,
        },
        progress,
    };
    call::run(py, &cancellation, move || task.evaluation(runs))
}

impl Task {
    /// Retrieves and scores the candidates of each query, and measures the rankings.
    fn evaluation(self, runs: bool) -> PyResult<String> {
        let infos = self.infos()?;
        let mut seconds = vec![0.0; infos.len()];
        let mut queries = Vec::with_capacity(self.topics.len());
        for topic in &self.topics {
            queries.push(self.scored(topic, &mut seconds)?);
            if let Some(progress) = &self.progress {
                Python::attach(|py| progress.call0(py).map(drop))?;
            }
        }
        let n_queries = queries.len().max(1) as f64;
        let infos: Vec<RankerInfo> = infos
            .into_iter()
            .zip(seconds)
            .map(|(info, seconds)| RankerInfo { seconds_per_query: Some(seconds / n_queries), ..info })
            .collect();
        let evaluation = Evaluation::new(&self.name, &infos, &queries, &self.qrels, &self.options);
        let failed = |error: serde_json::Error| PyRuntimeError::new_err(error.to_string());
        let mut answer = serde_json::to_value(&evaluation).map_err(failed)?;
        if let Some(models) = &self.models {
            let base = models.base();
            answer["base_model"] = base.base().name.clone().into();
            answer["precision"] = base.precision().name().into();
        }
        if runs {
            answer["runs"] = self.runs(&infos, &queries);
        }
        Ok(answer.to_string())
    }

    /// The rankers, the first stage first, if the baseline is one of them and their names differ.
    fn infos(&self) -> PyResult<Vec<RankerInfo>> {
        let none = |name: String| RankerInfo { name, adapter_digest: None, seconds_per_query: None };
        let mut infos = vec![none(FIRST_STAGE.to_owned())];
        for ranker in &self.rankers {
            let name = ranker.to_string();
            if infos.iter().any(|info| info.name == name) {
                return Err(PyValueError::new_err(format!(
                    "`adapters` names `{name}` twice; evaluate different adapters"
                )));
            }
            let models = self.models.as_ref().ok_or_else(|| PyValueError::new_err("`adapters` needs a `reranker`"))?;
            let version = models.pipeline.model(ranker).map_err(|error| errors::of_pipeline(&error))?;
            let adapter_digest = version.adapter.map(|adapter| adapter.digest.to_string());
            infos.push(RankerInfo { adapter_digest, ..none(name) });
        }
        let baseline = &self.options.baseline;
        if infos.iter().all(|info| info.name != *baseline) {
            let names = infos.iter().map(|info| info.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(PyValueError::new_err(format!("`baseline` `{baseline}` is not evaluated; it can be {names}")));
        }
        Ok(infos)
    }

    /// A query's candidates with the scores of each ranker. Adds the times of retrieving and scoring.
    fn scored(&self, topic: &Topic, seconds: &mut [f64]) -> PyResult<ScoredQuery> {
        let started = Instant::now();
        let (candidates, documents) = self.candidates(topic)?;
        seconds[0] += started.elapsed().as_secs_f64();
        let mut scores = Vec::with_capacity(self.rankers.len());
        for (ranker, seconds) in self.rankers.iter().zip(&mut seconds[1..]) {
            let started = Instant::now();
            let models = self.models.as_ref().expect("rankers are those of models");
            let scoring = Scoring { adapter: ranker.clone(), ..self.scoring.clone() };
            let mut asked = [Asked { query: Query::new(topic.text.as_str()), documents: documents.clone() }];
            scores.push(models.score(&mut asked, &scoring)?.into_iter().map(Score::get).collect());
            *seconds += started.elapsed().as_secs_f64();
        }
        Ok(ScoredQuery { topic: topic.clone(), candidates, scores, orders: Vec::new() })
    }

    /// The candidates of the run, else those of the index, and their documents if they are scored.
    fn candidates(&self, topic: &Topic) -> PyResult<(Vec<Scored>, Vec<Candidate>)> {
        let Some(run) = &self.run else {
            let index = self.index.as_ref().expect("without a run there is an index");
            let query = Query { fuzzy: self.fuzzy, ..Query::new(topic.text.as_str()) };
            let found = index.first_stage.retrieve(&query, self.depth);
            let found = found.map_err(|error| PyRuntimeError::new_err(lorank_core::with_causes(&*error)))?;
            let scored = |candidate: &Candidate| Scored {
                document: candidate.id.as_str().to_owned(),
                score: candidate.first_stage_score.get(),
            };
            return Ok((found.iter().map(scored).collect(), found));
        };
        let ranked: Vec<Scored> =
            run.get(&topic.id).map_or(&[][..], Vec::as_slice).iter().take(self.depth.get()).cloned().collect();
        let mut documents = Vec::new();
        if let Some(index) = self.index.as_ref().filter(|_| !self.rankers.is_empty()) {
            for scored in &ranked {
                let (id, score) =
                    (DocumentId::new(scored.document.as_str()), Score::new(scored.score).expect("it is finite"));
                let found = index.first_stage.candidate(&id, score).map_err(|error| errors::of_index(&error))?;
                documents.push(found.ok_or_else(|| {
                    let problem = format!(
                        "the run ranks the document `{id}` for query `{}`, and the index has no such document",
                        topic.id
                    );
                    PyLookupError::new_err(problem)
                })?);
            }
        }
        Ok((ranked, documents))
    }

    /// Each ranker's run: queries with their documents and scores.
    fn runs(&self, infos: &[RankerInfo], queries: &[ScoredQuery]) -> Value {
        let of_query = |query: &ScoredQuery, n: usize| -> Value {
            let ranking = ranking(query, n, self.options.depth, self.options.ties).into_iter();
            ranking.map(|scored| (scored.document, json!(scored.score))).collect::<Map<_, _>>().into()
        };
        let of_ranker = |(n, info): (usize, &RankerInfo)| {
            let queries = queries.iter().map(|query| (query.topic.id.clone(), of_query(query, n)));
            (info.name.clone(), Value::from(queries.collect::<Map<_, _>>()))
        };
        infos.iter().enumerate().map(of_ranker).collect::<Map<_, _>>().into()
    }
}

fn judgments(grades: &ByQuery<i32>) -> Qrels {
    let mut qrels = Qrels::default();
    for (query, documents) in grades {
        for (document, grade) in documents {
            qrels.insert(query, document, *grade);
        }
    }
    qrels
}

/// The judged queries in their order, each of which has a text.
fn topics(queries: Vec<(String, String)>, qrels: &Qrels) -> PyResult<Vec<Topic>> {
    if qrels.queries().is_empty() {
        return Err(PyValueError::new_err("`qrels` has no judgments"));
    }
    let topics = queries.into_iter().map(|(id, text)| Topic { id, text });
    let topics: Vec<Topic> = topics.filter(|topic| qrels.grades(&topic.id).is_some()).collect();
    let known: HashSet<&str> = topics.iter().map(|topic| topic.id.as_str()).collect();
    match qrels.queries().iter().find(|id| !known.contains(id.as_str())) {
        Some(id) => Err(PyValueError::new_err(format!("`queries` has no query `{id}`, which `qrels` judges"))),
        None => Ok(topics),
    }
}

/// The rankings of a run in trec_eval's order.
fn rankings(run: ByQuery<f64>) -> PyResult<HashMap<String, Vec<Scored>>> {
    let ranking = |(query, documents): (String, Vec<(String, f64)>)| {
        let scored = documents.into_iter().map(|(document, score)| match score as f32 {
            finite if finite.is_finite() => Ok(Scored { document, score: finite }),
            _ => Err(PyValueError::new_err(format!(
                "`run` has the score {score} for document `{document}` of query `{query}`"
            ))),
        });
        let mut scored = scored.collect::<PyResult<Vec<_>>>()?;
        by_trec_eval(&mut scored);
        Ok((query, scored))
    };
    run.into_iter().map(ranking).collect()
}

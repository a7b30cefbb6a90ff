//! Measures how int8 ranks, compared with f32.

use anyhow::{anyhow, bail};
use lorank_core::{AdapterId, Candidate, Group, ModelVersion, Precision, Query, Reranker, Score, score_groups};
use lorank_model::{Int8Ranking, ScoresToCompare};
use lorank_server::LoadedModels;

use crate::commands::candidates::Candidates;
use crate::output::progress;

/// A query with its documents.
pub(crate) struct Request {
    pub(crate) query: Query,
    pub(crate) candidates: Vec<Candidate>,
}

/// The measurement of a ranker.
pub(crate) struct Measured {
    /// `None` for the bare base model.
    pub(crate) adapter: Option<AdapterId>,
    pub(crate) ranking: Int8Ranking,
}

/// Scores the requests with each ranker in f32 and in int8, one after the other, and compares the scores. `load` loads the
/// same base model, with the same adapters, in a precision.
pub(crate) fn measure(
    requests: &[Request],
    is_quiet: bool,
    load: impl Fn(Precision) -> anyhow::Result<LoadedModels>,
) -> anyhow::Result<Vec<Measured>> {
    check_size(requests)?;
    let models = load(Precision::F32)?;
    let rankers = models.rankers();
    let bar = progress::of((2 * rankers.len() * requests.len()) as u64, "queries", is_quiet);
    let of_f32 = score(&models, &rankers, requests, &bar)?;
    // One copy of the weights at a time.
    drop(models);
    let models = load(Precision::Int8)?;
    let of_int8 = score(&models, &rankers, requests, &bar)?;
    bar.finish_and_clear();
    let measured = rankers.into_iter().zip(of_f32.into_iter().zip(of_int8)).map(|(adapter, (f32, int8))| {
        let (model, reranker) = (resolve(&models, adapter.as_ref())?, models.bases.first());
        let queries = f32.into_iter().zip(int8).map(|(f32, int8)| ScoresToCompare { f32, int8 });
        let ranking = reranker.compare_int8(&model, &queries.collect::<Vec<_>>());
        Ok(Measured { adapter, ranking })
    });
    measured.collect()
}

/// The scores of each ranker, for each request.
fn score(
    models: &LoadedModels,
    rankers: &[Option<AdapterId>],
    requests: &[Request],
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<Vec<Vec<Vec<Score>>>> {
    let of_ranker = |adapter: &Option<AdapterId>| {
        let model = resolve(models, adapter.as_ref())?;
        let of_request = |Request { query, candidates }: &Request| {
            let group = Group { query, model: &model, candidates };
            let scores = score_groups(&models.bases, &[group]).remove(0).map_err(|error| anyhow!(error))?;
            bar.inc(1);
            Ok(scores)
        };
        requests.iter().map(of_request).collect()
    };
    rankers.iter().map(of_ranker).collect()
}

fn resolve(models: &LoadedModels, adapter: Option<&AdapterId>) -> anyhow::Result<ModelVersion> {
    models.bases.resolve(adapter).map_err(|error| anyhow!(error))
}

/// Checks that a measurement of the requests would count.
fn check_size(requests: &[Request]) -> anyhow::Result<()> {
    let (n_queries, n_candidates) = (Int8Ranking::QUERIES_MIN, Int8Ranking::CANDIDATES_MIN);
    let fewest = requests.iter().map(|request| request.candidates.len()).min().unwrap_or(0);
    if requests.len() < n_queries || fewest < n_candidates {
        bail!(
            "there are {} queries, the smallest with {fewest} candidates; how int8 ranks is measured on at least {n_queries} \
             queries with {n_candidates} candidates each",
            requests.len()
        );
    }
    Ok(())
}

/// Questions of the built-in corpus with BM25's first passages.
#[cfg(feature = "starter")]
pub(crate) fn starter_requests(n_queries: usize, n_candidates: usize, is_quiet: bool) -> anyhow::Result<Vec<Request>> {
    use anyhow::Context;

    let folder = tempfile::tempdir().context("could not make a temporary folder for the built-in corpus")?;
    let corpus = lorank_starter::corpus();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).with_context(|| format!("could not write `{}`", path.display()))?;
        anyhow::Ok(path)
    };
    let passages = write("corpus.jsonl", corpus.passages.bytes)?;
    let questions = lorank_eval::read_topics(write("queries.jsonl", corpus.questions.bytes)?)?;
    let candidates = Candidates::open(None, Some(&passages), None, lorank_core::Fuzzy::default(), is_quiet)?;
    requests_of(&candidates, &questions, n_queries, n_candidates)
}

#[cfg(not(feature = "starter"))]
pub(crate) fn starter_requests(_: usize, _: usize, _: bool) -> anyhow::Result<Vec<Request>> {
    bail!("this build has no built-in passages; name pairs with --pairs, or an index with --index and --queries")
}

/// The first topics with enough candidates, spread over all topics.
pub(crate) fn requests_of(
    candidates: &Candidates,
    topics: &[lorank_eval::Topic],
    n_queries: usize,
    n_candidates: usize,
) -> anyhow::Result<Vec<Request>> {
    let depth = std::num::NonZeroUsize::new(n_candidates).unwrap_or(std::num::NonZeroUsize::MIN);
    let mut requests = Vec::with_capacity(n_queries);
    // Neighbors are often about the same passage: take every k-th first, then those between.
    let step = (topics.len() / n_queries.max(1)).max(1);
    let order = (0..step).flat_map(|offset| topics.iter().skip(offset).step_by(step));
    for topic in order {
        if requests.len() == n_queries {
            break;
        }
        let found = candidates.of(topic, depth)?;
        if found.len() == n_candidates {
            requests.push(Request { query: Query::new(topic.text.as_str()), candidates: found });
        }
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_queries_or_candidates_are_refused() {
        let requests = |n_queries: usize, n_candidates: usize| -> Vec<Request> {
            let candidate = Candidate::new("1", "text", Score::new(0.0).unwrap());
            let request = || Request { query: Query::new("q"), candidates: vec![candidate.clone(); n_candidates] };
            (0..n_queries).map(|_| request()).collect()
        };
        assert!(check_size(&requests(10, 20)).is_ok());
        for (n_queries, n_candidates) in [(9, 20), (10, 19), (0, 0)] {
            let error = check_size(&requests(n_queries, n_candidates)).unwrap_err().to_string();
            assert!(error.contains(&format!("{n_queries} queries, the smallest with {n_candidates} cand")), "{error}");
        }
    }
}

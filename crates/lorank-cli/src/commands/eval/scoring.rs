//! Scores of candidates by several rankers, kept as they come.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::{Context, anyhow};
use lorank_cache::{KeyMaker, ScoreFile, ScoreKey};
use lorank_core::{
    Candidate, Digest, Group, ModelVersion, PassageGroup, PassageOptions, Precision, Query, Score, score_groups,
};
use lorank_eval::{Scored, ScoredQuery, Topic};
use lorank_model::BaseModels;

use super::{Cascade, RankedBy};

/// Scores candidates by several rankers, those on one base model in one precision in the same batches, and ranks them by cascades.
pub(super) struct Scorer<'a> {
    reranker: &'a BaseModels,
    rankers: &'a [RankedBy],
    cascades: &'a [Cascade],
    asked: Asked,
    file: ScoreFile,
    /// The number of pairs of each ranker.
    n_pairs: Vec<usize>,
    /// The number of pairs of each stage of each cascade.
    n_pairs_of_stages: Vec<Vec<usize>>,
    n_kept: usize,
    /// The number of documents whose end was not scored, over all queries and rankers.
    n_cut_off: usize,
    /// The new pairs of each base model.
    by_copy: HashMap<BaseCopy, NewPairs>,
}

/// The pairs that a base model scored.
#[derive(Debug, Clone, Copy, Default)]
struct NewPairs {
    n: usize,
    /// The total time of scoring them.
    seconds: f64,
}

/// What the queries ask of the models.
pub(super) struct Asked {
    pub(super) instruction: Option<String>,
    /// How long documents are scored, and the maximum number of passages of a document.
    pub(super) passages: (PassageOptions, NonZeroUsize),
}

/// The scores of a query's candidates by several rankers.
struct ByRanker {
    /// For each ranker, in the order of the candidates.
    scores: Vec<Vec<f32>>,
    n_pairs: Vec<usize>,
    /// The number of pairs that had no score yet.
    n_new: usize,
}

/// A pair that has no score yet.
struct Missing {
    ranker: usize,
    /// The index of the text in the ranker's group.
    text: usize,
    key: ScoreKey,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(
        reranker: &'a BaseModels,
        rankers: &'a [RankedBy],
        cascades: &'a [Cascade],
        asked: Asked,
        file: ScoreFile,
    ) -> Self {
        Self {
            reranker,
            rankers,
            cascades,
            asked,
            file,
            n_pairs: vec![0; rankers.len()],
            n_pairs_of_stages: cascades.iter().map(|cascade| vec![0; cascade.stages.len()]).collect(),
            n_kept: 0,
            n_cut_off: 0,
            by_copy: HashMap::new(),
        }
    }

    /// The maximum number of pairs of a query, if the rankers score `depth` candidates.
    pub(super) fn n_pairs_of_query(&self, depth: usize) -> usize {
        let stages = self.cascades.iter().flat_map(|cascade| &cascade.stages);
        depth * self.rankers.len() + stages.map(|(_, depth)| depth.get()).sum::<usize>()
    }

    /// How many candidates are needed, if the rankers score `depth`.
    pub(super) fn deepest(&self, depth: NonZeroUsize) -> NonZeroUsize {
        let stages = self.cascades.iter().flat_map(|cascade| &cascade.stages);
        stages.map(|(_, of_stage)| *of_stage).fold(depth, NonZeroUsize::max)
    }

    /// The number of scores known from earlier evaluations.
    pub(super) fn n_kept(&self) -> usize {
        self.n_kept
    }

    /// The number of documents whose end was not scored, because they have more passages than the limit.
    pub(super) fn n_cut_off(&self) -> usize {
        self.n_cut_off
    }

    /// The mean time of a ranker for a query. A batch has pairs of all rankers on a base model in one
    /// precision, which share its time equally.
    pub(super) fn seconds_per_query(&self, ranker: usize, n_queries: usize) -> Option<f64> {
        Some(self.seconds(&self.rankers[ranker], self.n_pairs[ranker])? / n_queries.max(1) as f64)
    }

    /// The mean time of a cascade for a query: the sum of its stages.
    pub(super) fn seconds_per_query_of_cascade(&self, cascade: usize, n_queries: usize) -> Option<f64> {
        let stages = self.cascades[cascade].stages.iter().zip(&self.n_pairs_of_stages[cascade]);
        let seconds = stages.map(|((stage, _), n_pairs)| self.seconds(stage, *n_pairs)).sum::<Option<f64>>()?;
        Some(seconds / n_queries.max(1) as f64)
    }

    fn seconds(&self, ranker: &RankedBy, n_pairs: usize) -> Option<f64> {
        let new = self.by_copy.get(&copy_of(&ranker.model))?;
        let seconds_per_pair = (new.n > 0).then(|| new.seconds / new.n as f64)?;
        Some(seconds_per_pair * n_pairs as f64)
    }

    /// Scores the first `depth` of a query's candidates by each ranker, and ranks the candidates by each cascade. Also returns the
    /// number of newly scored pairs.
    pub(super) fn score(
        &mut self,
        topic: &Topic,
        candidates: &[Candidate],
        depth: NonZeroUsize,
    ) -> anyhow::Result<(ScoredQuery, usize)> {
        let query = Query { instruction: self.asked.instruction.clone(), ..Query::new(topic.text.as_str()) };
        let first = &candidates[..candidates.len().min(depth.get())];
        let of_rankers = self.score_by(self.rankers, &query, first)?;
        for (sum, n_pairs) in self.n_pairs.iter_mut().zip(of_rankers.n_pairs) {
            *sum += n_pairs;
        }
        let (mut orders, mut n_new) = (Vec::new(), of_rankers.n_new);
        for n in 0..self.cascades.len() {
            let (order, n_new_of_cascade) = self.order_by(n, &query, candidates)?;
            orders.push(order);
            n_new += n_new_of_cascade;
        }
        let scored = |candidate: &Candidate| Scored {
            document: candidate.id.as_str().to_owned(),
            score: candidate.first_stage_score.get(),
        };
        let query = ScoredQuery {
            topic: topic.clone(),
            candidates: candidates.iter().map(scored).collect(),
            scores: of_rankers.scores,
            orders,
        };
        Ok((query, n_new))
    }

    /// The order of a query's candidates by a cascade, as of a search with these stages and without a deadline. Also returns the
    /// number of newly scored pairs.
    fn order_by(
        &mut self,
        cascade: usize,
        query: &Query,
        candidates: &[Candidate],
    ) -> anyhow::Result<(Vec<usize>, usize)> {
        let (mut order, mut n_new): (Vec<usize>, _) = ((0..candidates.len()).collect(), 0);
        let cascades = self.cascades;
        for (n, (stage, depth)) in cascades[cascade].stages.iter().enumerate() {
            let reranked = &mut order[..depth.get().min(candidates.len())];
            let first: Vec<Candidate> = reranked.iter().map(|at| candidates[*at].clone()).collect();
            let mut found = self.score_by(std::slice::from_ref(stage), query, &first)?;
            let scores = found.scores.remove(0);
            // The sort is stable: ties are in the order of the stage before.
            let mut by_score: Vec<(usize, f32)> = reranked.iter().copied().zip(scores).collect();
            by_score.sort_by(|one, other| other.1.total_cmp(&one.1));
            reranked.iter_mut().zip(by_score).for_each(|(place, (at, _))| *place = at);
            self.n_pairs_of_stages[cascade][n] += found.n_pairs[0];
            n_new += found.n_new;
        }
        Ok((order, n_new))
    }

    /// The scores of a query's candidates by each of these rankers.
    fn score_by(&mut self, rankers: &[RankedBy], query: &Query, candidates: &[Candidate]) -> anyhow::Result<ByRanker> {
        let groups = self.cut(rankers, query, candidates)?;
        let mut scores: Vec<Vec<Option<Score>>> = Vec::with_capacity(rankers.len());
        let (mut missing, mut n_pairs) = (Vec::new(), Vec::with_capacity(rankers.len()));
        for (n, (ranker, group)) in rankers.iter().zip(&groups).enumerate() {
            let keys = KeyMaker::new(&query.text, &ranker.model);
            let of_ranker = group.texts().iter().enumerate().map(|(at, candidate)| {
                let key = keys.key(candidate.title.as_deref(), &candidate.text);
                let known = self.file.get(&key);
                if known.is_none() {
                    missing.push(Missing { ranker: n, text: at, key });
                }
                known
            });
            scores.push(of_ranker.collect());
            n_pairs.push(group.texts().len());
        }
        let n_new = missing.len();
        for (pair, score) in missing.iter().zip(self.score_missing(rankers, query, &groups, &missing)?) {
            scores[pair.ranker][pair.text] = Some(score);
        }
        self.n_kept += scores.iter().map(Vec::len).sum::<usize>() - n_new;
        let n_cut_off = &mut self.n_cut_off;
        let all = |(scores, group): (Vec<Option<Score>>, &PassageGroup)| {
            let scores: Vec<Score> = scores.into_iter().flatten().collect();
            let merged = group.merge(&scores);
            *n_cut_off +=
                merged.iter().filter_map(|(_, passage)| passage.as_ref()).filter(|it| !it.is_complete).count();
            merged.into_iter().map(|(score, _)| score.get()).collect()
        };
        Ok(ByRanker { scores: scores.into_iter().zip(&groups).map(all).collect(), n_pairs, n_new })
    }

    /// The texts that each ranker scores.
    fn cut(
        &mut self,
        rankers: &[RankedBy],
        query: &Query,
        candidates: &[Candidate],
    ) -> anyhow::Result<Vec<PassageGroup>> {
        let (options, n_max) = self.asked.passages;
        let mut groups = Vec::with_capacity(rankers.len());
        for RankedBy { name, model } in rankers {
            let started = Instant::now();
            let group = Group { query, model, candidates };
            let cut = PassageGroup::new(self.reranker, group, options, n_max, None);
            let cut =
                cut.map_err(|error| anyhow!(error)).with_context(|| format!("`{name}` could not cut the documents"))?;
            groups.push(cut);
            self.by_copy.entry(copy_of(model)).or_default().seconds += started.elapsed().as_secs_f64();
        }
        Ok(groups)
    }

    /// Scores pairs of all rankers, in one batch per base model and precision, and keeps the scores. `missing` is ordered by ranker.
    fn score_missing(
        &mut self,
        rankers: &[RankedBy],
        query: &Query,
        groups: &[PassageGroup],
        missing: &[Missing],
    ) -> anyhow::Result<Vec<Score>> {
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let of_ranker = |(n, group): (usize, &PassageGroup)| -> Vec<Candidate> {
            missing.iter().filter(|pair| pair.ranker == n).map(|pair| group.texts()[pair.text].clone()).collect()
        };
        let chosen: Vec<Vec<Candidate>> = groups.iter().enumerate().map(of_ranker).collect();
        let mut scores: Vec<Vec<Score>> = vec![Vec::new(); rankers.len()];
        for copy in distinct_copies(rankers) {
            let on_copy: Vec<usize> = (0..rankers.len()).filter(|n| copy_of(&rankers[*n].model) == copy).collect();
            let groups: Vec<Group<'_>> =
                on_copy.iter().map(|&n| Group { query, model: &rankers[n].model, candidates: &chosen[n] }).collect();
            let started = Instant::now();
            for (&n, of_group) in on_copy.iter().zip(score_groups(self.reranker, &groups)) {
                scores[n] = of_group
                    .map_err(|error| anyhow!(error))
                    .with_context(|| format!("could not score `{}`", query.text))?;
            }
            let new = self.by_copy.entry(copy).or_default();
            new.seconds += started.elapsed().as_secs_f64();
            new.n += on_copy.iter().map(|&n| scores[n].len()).sum::<usize>();
        }
        let scores: Vec<Score> = scores.into_iter().flatten().collect();
        let kept: Vec<(ScoreKey, Score)> =
            missing.iter().zip(&scores).map(|(pair, score)| (pair.key, *score)).collect();
        self.file.put(&kept)?;
        Ok(scores)
    }
}

/// A base model in a precision, which has a speed of its own.
type BaseCopy = (Digest, Precision);

fn copy_of(model: &ModelVersion) -> BaseCopy {
    (model.base_digest, model.precision)
}

/// The base models of the rankers, each once in a precision.
fn distinct_copies(rankers: &[RankedBy]) -> Vec<BaseCopy> {
    let mut copies = Vec::new();
    for RankedBy { model, .. } in rankers {
        if !copies.contains(&copy_of(model)) {
            copies.push(copy_of(model));
        }
    }
    copies
}

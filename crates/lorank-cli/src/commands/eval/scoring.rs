//! Scores of candidates by several rankers, kept as they come.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::{Context, anyhow};
use lorank_cache::{KeyMaker, ScoreFile, ScoreKey};
use lorank_core::{Candidate, Digest, Group, PassageGroup, PassageOptions, Query, Score, score_groups};
use lorank_eval::{Scored, ScoredQuery, Topic};
use lorank_model::BaseModels;

use super::RankedBy;

/// Scores candidates by several rankers, those on one base model in the same batches.
pub(super) struct Scorer<'a> {
    reranker: &'a BaseModels,
    rankers: &'a [RankedBy],
    asked: Asked,
    file: ScoreFile,
    /// The number of pairs of each ranker.
    n_pairs: Vec<usize>,
    n_kept: usize,
    /// The number of documents whose end was not scored, over all queries and rankers.
    n_cut_off: usize,
    /// The new pairs of each base model.
    by_base: HashMap<Digest, NewPairs>,
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

/// A pair that has no score yet.
struct Missing {
    ranker: usize,
    /// The index of the text in the ranker's group.
    text: usize,
    key: ScoreKey,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(reranker: &'a BaseModels, rankers: &'a [RankedBy], asked: Asked, file: ScoreFile) -> Self {
        let (n_pairs, by_base) = (vec![0; rankers.len()], HashMap::new());
        Self { reranker, rankers, asked, file, n_pairs, n_kept: 0, n_cut_off: 0, by_base }
    }

    pub(super) fn n_rankers(&self) -> usize {
        self.rankers.len()
    }

    /// The number of scores known from earlier evaluations.
    pub(super) fn n_kept(&self) -> usize {
        self.n_kept
    }

    /// The number of documents whose end was not scored, because they have more passages than the limit.
    pub(super) fn n_cut_off(&self) -> usize {
        self.n_cut_off
    }

    /// The mean time of a ranker for a query. A batch has pairs of all rankers on a base model, which share its time equally.
    pub(super) fn seconds_per_query(&self, ranker: usize, n_queries: usize) -> Option<f64> {
        let new = self.by_base.get(&self.rankers[ranker].model.base_digest)?;
        let seconds_per_pair = (new.n > 0).then(|| new.seconds / new.n as f64)?;
        Some(seconds_per_pair * self.n_pairs[ranker] as f64 / n_queries.max(1) as f64)
    }

    /// Scores a query's candidates by each ranker. Also returns the number of newly scored pairs.
    pub(super) fn score(&mut self, topic: &Topic, candidates: &[Candidate]) -> anyhow::Result<(ScoredQuery, usize)> {
        let query = Query { instruction: self.asked.instruction.clone(), ..Query::new(topic.text.as_str()) };
        let groups = self.cut(&query, candidates)?;
        let mut scores: Vec<Vec<Option<Score>>> = Vec::with_capacity(self.rankers.len());
        let mut missing = Vec::new();
        for (n, (ranker, group)) in self.rankers.iter().zip(&groups).enumerate() {
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
            self.n_pairs[n] += group.texts().len();
        }
        let n_new = missing.len();
        for (pair, score) in missing.iter().zip(self.score_missing(&query, &groups, &missing)?) {
            scores[pair.ranker][pair.text] = Some(score);
        }
        self.n_kept += scores.iter().map(Vec::len).sum::<usize>() - n_new;
        let scored = |candidate: &Candidate| Scored {
            document: candidate.id.as_str().to_owned(),
            score: candidate.first_stage_score.get(),
        };
        let n_cut_off = &mut self.n_cut_off;
        let all = |(scores, group): (Vec<Option<Score>>, &PassageGroup)| {
            let scores: Vec<Score> = scores.into_iter().flatten().collect();
            let merged = group.merge(&scores);
            *n_cut_off +=
                merged.iter().filter_map(|(_, passage)| passage.as_ref()).filter(|it| !it.is_complete).count();
            merged.into_iter().map(|(score, _)| score.get()).collect()
        };
        let query = ScoredQuery {
            topic: topic.clone(),
            candidates: candidates.iter().map(scored).collect(),
            scores: scores.into_iter().zip(&groups).map(all).collect(),
        };
        Ok((query, n_new))
    }

    /// The texts that each ranker scores.
    fn cut(&mut self, query: &Query, candidates: &[Candidate]) -> anyhow::Result<Vec<PassageGroup>> {
        let (options, n_max) = self.asked.passages;
        let mut groups = Vec::with_capacity(self.rankers.len());
        for RankedBy { name, model } in self.rankers {
            let started = Instant::now();
            let group = Group { query, model, candidates };
            let cut = PassageGroup::new(self.reranker, group, options, n_max, None);
            let cut =
                cut.map_err(|error| anyhow!(error)).with_context(|| format!("`{name}` could not cut the documents"))?;
            groups.push(cut);
            self.by_base.entry(model.base_digest).or_default().seconds += started.elapsed().as_secs_f64();
        }
        Ok(groups)
    }

    /// Scores pairs of all rankers, in one batch per base model, and keeps the scores. `missing` is ordered by ranker.
    fn score_missing(
        &mut self,
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
        let mut scores: Vec<Vec<Score>> = vec![Vec::new(); self.rankers.len()];
        for base in distinct_bases(self.rankers) {
            let on_base: Vec<usize> =
                (0..self.rankers.len()).filter(|n| self.rankers[*n].model.base_digest == base).collect();
            let groups: Vec<Group<'_>> = on_base
                .iter()
                .map(|&n| Group { query, model: &self.rankers[n].model, candidates: &chosen[n] })
                .collect();
            let started = Instant::now();
            for (&n, of_group) in on_base.iter().zip(score_groups(self.reranker, &groups)) {
                scores[n] = of_group
                    .map_err(|error| anyhow!(error))
                    .with_context(|| format!("could not score `{}`", query.text))?;
            }
            let new = self.by_base.entry(base).or_default();
            new.seconds += started.elapsed().as_secs_f64();
            new.n += on_base.iter().map(|&n| scores[n].len()).sum::<usize>();
        }
        let scores: Vec<Score> = scores.into_iter().flatten().collect();
        let kept: Vec<(ScoreKey, Score)> =
            missing.iter().zip(&scores).map(|(pair, score)| (pair.key, *score)).collect();
        self.file.put(&kept)?;
        Ok(scores)
    }
}

/// The base models of the rankers, each once.
fn distinct_bases(rankers: &[RankedBy]) -> Vec<Digest> {
    let mut bases = Vec::new();
    for RankedBy { model, .. } in rankers {
        if !bases.contains(&model.base_digest) {
            bases.push(model.base_digest);
        }
    }
    bases
}

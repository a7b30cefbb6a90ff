//! From pairs to scores: divides pairs into forward passes.

use std::collections::VecDeque;
use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rayon::prelude::*;

use crate::backend::Backend;
use crate::head::Head;
use crate::network::Network;
use crate::pack::{AdaptedPair, Pack, Scored};
use crate::pass::{Pass, PassRecord, StageTimes};
use crate::tokenize::Pair;
use crate::{Measure, ModelError};

/// A pair to score, with its weights.
pub(crate) struct PairWithWeights<'a, B: Backend> {
    pub(crate) network: &'a Network<B>,
    pub(crate) head: &'a Head,
    pub(crate) entry: AdaptedPair<'a, B>,
}

impl<B: Backend> PairWithWeights<'_, B> {
    /// Identifies the weights of a pair; pairs with equal weights are adjacent in a pack.
    fn weights(&self) -> (*const Network<B>, Option<*const ()>) {
        (self.network, self.entry.adapter.map(|adapter| std::ptr::from_ref(adapter).cast()))
    }
}

/// Runs the pairs of a model.
pub(crate) struct Runner<'a, B> {
    pub(crate) backend: &'a B,
    /// Which token of a pair is scored.
    pub(crate) scored: Scored,
    pub(crate) hidden_size: usize,
    /// The divisor of the logits.
    pub(crate) temperature: f32,
    /// The maximum tokens of a pack; a longer pair gets a pack of its own.
    pub(crate) tokens_max: NonZeroUsize,
    pub(crate) measure: Measure,
    /// Counts the passes that did not fit into the memory.
    pub(crate) n_halved: &'a AtomicU64,
}

/// A pass whose operations may not be complete yet.
struct Started<B: Backend> {
    /// The states for the heads: [n_pairs, hidden].
    states: B::Rows,
    record: PassRecord<B>,
}

/// Packs with their started passes, in order.
type StartedPacks<'p, 'a, B> =
    VecDeque<(&'p Vec<&'p PairWithWeights<'a, B>>, Result<Started<B>, <B as Backend>::Error>)>;

/// The scores of a pack's pairs, and the time of its stages.
type Outcome<B> = Result<(Vec<f32>, StageTimes), <B as Backend>::Error>;

/// The maximum number of passes that a GPU has to run: it works on one while the next one is laid out. Their
/// activations do not add up, because memory is taken and given back in the order of the operations.
const PASSES_STARTED_MAX: usize = 3;

impl<B: Backend> Runner<'_, B> {
    /// The score of each pair, in their order. A pack that fails fails only its own pairs.
    pub(crate) fn scores(
        &self,
        pairs: &[&PairWithWeights<'_, B>],
        times: &mut StageTimes,
    ) -> Vec<Result<f32, ModelError>> {
        let packs = packs(pairs, self.tokens_max);
        let of_packs: Vec<Vec<&PairWithWeights<'_, B>>> =
            packs.iter().map(|indices| indices.iter().map(|index| pairs[*index]).collect()).collect();
        let outcomes: Vec<Outcome<B>> = if B::RUNS_PASSES_IN_PARALLEL {
            of_packs.par_iter().with_max_len(1).map(|of_pack| self.run(of_pack)).collect()
        } else {
            let started = Instant::now();
            let outcomes = self.run_in_turn(&of_packs);
            times.forward += started.elapsed();
            outcomes
        };
        let mut scores: Vec<Option<Result<f32, ModelError>>> = pairs.iter().map(|_| None).collect();
        for (indices, outcome) in packs.iter().zip(outcomes) {
            match outcome {
                Ok((found, pack_times)) => {
                    times.add(&pack_times);
                    indices.iter().zip(found).for_each(|(index, score)| scores[*index] = Some(Ok(score)));
                }
                Err(error) => {
                    let error: Arc<dyn Error + Send + Sync> = Arc::new(error);
                    indices.iter().for_each(|index| scores[*index] = Some(Err(ModelError::Compute(error.clone()))));
                }
            }
        }
        scores.into_iter().map(|score| score.expect("every pair is in a pack")).collect()
    }

    /// Runs a pack.
    fn run(&self, pairs: &[&PairWithWeights<'_, B>]) -> Outcome<B> {
        let started = Instant::now();
        let (scores, times) = self.finish(pairs, self.start(pairs)?)?;
        Ok((scores, StageTimes { forward: started.elapsed(), ..times }))
    }

    /// Runs packs one after another. Nothing waits for a pack before the next ones are started.
    fn run_in_turn(&self, packs: &[Vec<&PairWithWeights<'_, B>>]) -> Vec<Outcome<B>> {
        let (mut started, mut outcomes) = (VecDeque::new(), Vec::with_capacity(packs.len()));
        for pairs in packs {
            if started.len() == PASSES_STARTED_MAX {
                outcomes.extend(self.finish_first(&mut started));
            }
            started.push_back((pairs, self.start(pairs)));
        }
        while let Some(outcome) = self.finish_first(&mut started) {
            outcomes.push(outcome);
        }
        outcomes
    }

    fn finish_first(&self, started: &mut StartedPacks<'_, '_, B>) -> Option<Outcome<B>> {
        let (pairs, pass) = started.pop_front()?;
        Some(match pass.and_then(|pass| self.finish(pairs, pass)) {
            Err(error) if B::is_out_of_memory(&error) && pairs.len() > 1 => {
                self.n_halved.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("{error}; running the {} pairs in two passes", pairs.len());
                self.run_halves(pairs)
            }
            outcome => outcome,
        })
    }

    /// Runs a pack as two.
    fn run_halves(&self, pairs: &[&PairWithWeights<'_, B>]) -> Outcome<B> {
        let (first, second) = pairs.split_at(pairs.len() / 2);
        let (mut scores, mut times) = self.finish(first, self.start(first)?)?;
        let (more_scores, more_times) = self.finish(second, self.start(second)?)?;
        scores.extend(more_scores);
        times.add(&more_times);
        Ok((scores, times))
    }

    /// Runs a pass over this many tokens, in pairs of at most `length_max`.
    pub(crate) fn warm_up(
        &self,
        network: &Network<B>,
        n_tokens: NonZeroUsize,
        length_max: NonZeroUsize,
    ) -> Result<(), B::Error> {
        let ids = vec![0; n_tokens.get()];
        let pair = |ids: &[u32]| Pair { ids: ids.to_vec(), type_ids: vec![0; ids.len()] };
        let pairs: Vec<Pair> = ids.chunks(length_max.get()).map(pair).collect();
        // Each pair in a group of its own, because those of a group share the tokens that are equal.
        let entry = |(group, pair)| AdaptedPair { pair, adapter: None, group, padding: None };
        let entries: Vec<AdaptedPair<'_, B>> = pairs.iter().enumerate().map(entry).collect();
        let Started { states, .. } = self.start_pack(network, &entries.iter().collect::<Vec<_>>())?;
        self.backend.numbers(&states)?;
        Ok(())
    }

    /// Starts the pass over a pack's pairs, which share one network. On a GPU its operations are only enqueued.
    fn start(&self, pairs: &[&PairWithWeights<'_, B>]) -> Result<Started<B>, B::Error> {
        let entries: Vec<&AdaptedPair<'_, B>> = pairs.iter().map(|pair| &pair.entry).collect();
        self.start_pack(pairs[0].network, &entries)
    }

    fn start_pack(&self, network: &Network<B>, entries: &[&AdaptedPair<'_, B>]) -> Result<Started<B>, B::Error> {
        let pack = Pack::new(entries, self.scored);
        let pass = Pass::new(self.backend, &pack, self.measure);
        let states = network.scored_states(&pass)?;
        Ok(Started { states, record: pass.into_record() })
    }

    /// Waits for a pass.
    fn finish(&self, pairs: &[&PairWithWeights<'_, B>], Started { states, record }: Started<B>) -> Outcome<B> {
        let numbers = self.backend.numbers(&states)?;
        let times = record.times(self.backend)?;
        let states = numbers.chunks(self.hidden_size);
        let score = |(pair, state): (&&PairWithWeights<'_, B>, &[f32])| pair.head.score(state) / self.temperature;
        Ok((pairs.iter().zip(states).map(score).collect(), times))
    }
}

/// The indices of the pairs of each pack. Pairs with the same weights are adjacent; a pack is full if the next pair
/// does not fit.
fn packs<B: Backend>(pairs: &[&PairWithWeights<'_, B>], tokens_max: NonZeroUsize) -> Vec<Vec<usize>> {
    let mut known = Vec::new();
    let mut rank = |pair: &PairWithWeights<'_, B>| {
        let weights = pair.weights();
        known.iter().position(|one| *one == weights).unwrap_or_else(|| {
            known.push(weights);
            known.len() - 1
        })
    };
    let mut order: Vec<(usize, usize)> = pairs.iter().enumerate().map(|(index, pair)| (rank(pair), index)).collect();
    order.sort();
    let mut packs: Vec<Vec<usize>> = Vec::new();
    let (mut n_tokens, mut network) = (0, None);
    for (_, index) in order {
        let pair = pairs[index];
        let len = pair.entry.pair.ids.len();
        let fits = network == Some(std::ptr::from_ref(pair.network)) && n_tokens + len <= tokens_max.get();
        match packs.last_mut().filter(|_| fits) {
            Some(pack) => pack.push(index),
            None => {
                packs.push(vec![index]);
                n_tokens = 0;
            }
        }
        n_tokens += len;
        network = Some(pair.network);
    }
    packs
}

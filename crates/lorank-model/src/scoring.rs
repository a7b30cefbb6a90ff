//! From pairs to scores: which pairs go through the model together.

use std::num::NonZeroUsize;

use rayon::prelude::*;

use crate::ModelError;
use crate::engine::Engine;
use crate::linear::Head;
use crate::network::Network;
use crate::pack::{Entry, Pack};
use crate::pass::{Pass, PieceTimes};

/// A pair to be scored, with the model that scores it.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) network: &'a Network,
    pub(crate) head: &'a Head,
    pub(crate) entry: Entry<'a>,
}

impl Job<'_> {
    /// What tells the weights apart that jobs run on: those with equal ones stand beside each other in a pack.
    fn weights(&self) -> (*const Network, Option<*const ()>) {
        (self.network, self.entry.adapter.map(|adapter| std::ptr::from_ref(adapter).cast()))
    }
}

/// The score of each job, in their order. A pack that fails takes its own jobs with it and no others.
pub(crate) fn run(
    engine: &Engine,
    tokens_max: NonZeroUsize,
    jobs: &[Job<'_>],
    times: &mut PieceTimes,
) -> Vec<Result<f32, ModelError>> {
    let packs = packs(jobs, tokens_max);
    let run_one = |places: &Vec<usize>| {
        let some: Vec<Job<'_>> = places.iter().map(|place| jobs[*place]).collect();
        run_pack(engine, &some)
    };
    // On a CPU each thread has packs of its own as long as there are any, so that none waits for another between two layers.
    let outcomes: Vec<_> = match engine {
        Engine::Kernels { .. } => packs.par_iter().with_max_len(1).map(run_one).collect(),
        Engine::Candle { .. } => packs.iter().map(run_one).collect(),
    };
    let mut scores: Vec<Option<Result<f32, ModelError>>> = jobs.iter().map(|_| None).collect();
    for (places, outcome) in packs.iter().zip(outcomes) {
        match outcome {
            Ok((found, pack_times)) => {
                times.add(&pack_times);
                places.iter().zip(found).for_each(|(place, score)| scores[*place] = Some(Ok(score)));
            }
            Err(error) => {
                let error = std::sync::Arc::new(error);
                places.iter().for_each(|place| scores[*place] = Some(Err(ModelError::Compute(error.clone()))));
            }
        }
    }
    scores.into_iter().map(|score| score.expect("the packs hold every job")).collect()
}

/// The places of the jobs of each pack. Those of one model's weights and one group stand together; a pack is full when the
/// next job's tokens do not fit.
fn packs(jobs: &[Job<'_>], tokens_max: NonZeroUsize) -> Vec<Vec<usize>> {
    let mut known = Vec::new();
    let mut rank = |job: &Job<'_>| {
        let weights = job.weights();
        known.iter().position(|one| *one == weights).unwrap_or_else(|| {
            known.push(weights);
            known.len() - 1
        })
    };
    let mut order: Vec<(usize, usize)> = jobs.iter().enumerate().map(|(place, job)| (rank(job), place)).collect();
    order.sort();
    let mut packs: Vec<Vec<usize>> = Vec::new();
    let (mut n_tokens, mut network) = (0, None);
    for (_, place) in order {
        let job = &jobs[place];
        let len = job.entry.pair.ids.len();
        let fits = network == Some(std::ptr::from_ref(job.network)) && n_tokens + len <= tokens_max.get();
        match packs.last_mut().filter(|_| fits) {
            Some(pack) => pack.push(place),
            None => {
                packs.push(vec![place]);
                n_tokens = 0;
            }
        }
        n_tokens += len;
        network = Some(job.network);
    }
    packs
}

/// The scores of a pack's jobs, and where the time went.
fn run_pack(engine: &Engine, jobs: &[Job<'_>]) -> candle_core::Result<(Vec<f32>, PieceTimes)> {
    let entries: Vec<Entry<'_>> = jobs.iter().map(|job| job.entry).collect();
    let network = jobs[0].network;
    let pack = Pack::new(&entries, network.scored());
    let pass = Pass::new(engine, &pack);
    let states = network.scored_states(&pass)?;
    let times = PieceTimes { n_tokens: pack.n_tokens(), ..pass.times() };
    let numbers = states.numbers()?;
    let states = numbers.chunks(network.hidden_size());
    Ok((jobs.iter().zip(states).map(|(job, state)| job.head.score(state)).collect(), times))
}

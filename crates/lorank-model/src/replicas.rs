//! A base model on NVIDIA GPUs: a replica on each of them, which runs a share of every batch.
//!
//! A GPU that fails for good is taken out, and the others run its share. No later pass uses it: only a new process could.

use std::any::Any;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::thread;

use lorank_cuda::CudaError;

use crate::backend::Peaks;
use crate::model::{AdapterSource, ModelAdapter, ModelFacts, PairToScore, ScoringModel};
use crate::pass::StageTimes;
use crate::{GpuFacts, Measure, ModelError};

/// Replicas of a base model: at least one.
#[derive(Debug)]
pub(crate) struct Replicas(Vec<Replica>);

#[derive(Debug)]
struct Replica {
    model: Box<dyn ScoringModel>,
    /// The GPU, as `cuda:0`. The second replica on it is `cuda:0#2`.
    device: String,
    /// Why it was taken out.
    failure: OnceLock<String>,
}

/// An adapter on each replica; `None` on one that was out when the adapter was loaded.
struct OnEach(Vec<Option<ModelAdapter>>);

/// The places of a batch's pairs that a replica runs.
struct Share<'r> {
    place: usize,
    replica: &'r Replica,
    pairs: Vec<usize>,
}

/// The scores of a share, in the order of its pairs.
type Scores = Vec<Result<f32, ModelError>>;

impl Replicas {
    pub(crate) fn new(models: Vec<Box<dyn ScoringModel>>) -> Self {
        let mut replicas: Vec<Replica> = Vec::with_capacity(models.len());
        for model in models {
            let name = &model.facts().device_name;
            let device = match 1 + replicas.iter().filter(|other| other.model.facts().device_name == *name).count() {
                1 => name.clone(),
                n => format!("{name}#{n}"),
            };
            replicas.push(Replica { model, device, failure: OnceLock::new() });
        }
        Self(replicas)
    }

    #[cfg(test)]
    pub(crate) fn first(&self) -> &dyn ScoringModel {
        &*self.0[0].model
    }

    /// The replicas that are not taken out, with their places.
    fn left(&self) -> Vec<(usize, &Replica)> {
        self.0.iter().enumerate().filter(|(_, replica)| replica.failure.get().is_none()).collect()
    }

    fn none_left(&self) -> ModelError {
        let failure = |replica: &Replica| Some(format!("`{}`: {}", replica.device, replica.failure.get()?));
        ModelError::NoGpuLeft { failures: self.0.iter().filter_map(failure).collect::<Vec<_>>().join("; ") }
    }

    /// Loads an adapter on each replica.
    fn on_each(
        &self,
        source: &AdapterSource<'_>,
        load: impl Fn(&dyn ScoringModel) -> Result<ModelAdapter, ModelError>,
    ) -> Result<ModelAdapter, ModelError> {
        let mut adapters: Vec<Option<ModelAdapter>> = self.0.iter().map(|_| None).collect();
        for (place, replica) in self.left() {
            match load(&*replica.model) {
                Err(error) if is_lost(&error) => replica.take_out(&error),
                loaded => adapters[place] = Some(loaded?),
            }
        }
        let first = adapters.iter().flatten().next().ok_or_else(|| self.none_left())?;
        let ModelAdapter { n_parameters, n_targets, merged_bytes, .. } = *first;
        let (id, weights) = (source.id.clone(), Box::new(OnEach(adapters)));
        Ok(ModelAdapter { n_parameters, n_targets, merged_bytes, id, weights })
    }
}

impl Replica {
    fn take_out(&self, error: &ModelError) {
        let why = lorank_core::with_causes(error);
        // The first reason stays.
        if self.failure.set(why.clone()).is_ok() {
            tracing::error!("GPU `{}` is taken out, because it failed: {why}", self.device);
        }
    }
}

impl Share<'_> {
    fn run(&self, pairs: &[PairToScore<'_>], measure: Measure) -> (Scores, StageTimes) {
        let own: Vec<Result<PairToScore<'_>, ModelError>> =
            self.pairs.iter().map(|at| pair_at(&pairs[*at], self.place)).collect();
        let to_score: Vec<PairToScore<'_>> = own.iter().flatten().copied().collect();
        let mut times = StageTimes::default();
        let mut scores = self.replica.model.score(&to_score, measure, &mut times).into_iter();
        let score = |pair: Result<_, ModelError>| pair.and_then(|_| scores.next().expect("each pair has a score"));
        (own.into_iter().map(score).collect(), times)
    }
}

/// A pair with its adapter on the replica at a place.
fn pair_at<'a>(pair: &PairToScore<'a>, place: usize) -> Result<PairToScore<'a>, ModelError> {
    let Some(adapter) = pair.adapter else { return Ok(*pair) };
    let on_each = adapter.weights.downcast_ref::<OnEach>().and_then(|OnEach(on_each)| on_each.get(place)?.as_ref());
    let own = on_each.ok_or_else(|| ModelError::OtherModel { adapter: adapter.id.clone() })?;
    Ok(PairToScore { adapter: Some(own), ..*pair })
}

/// Whether the error is that of a GPU that fails for good.
fn is_lost(error: &ModelError) -> bool {
    match error {
        ModelError::Compute(source) => source.downcast_ref().is_some_and(CudaError::is_sticky),
        _ => false,
    }
}

/// The places of pairs, with the same adapter adjacent, so that a share has few adapters.
fn by_adapter(pairs: &[PairToScore<'_>]) -> Vec<usize> {
    let mut known = Vec::new();
    let mut rank = |pair: &PairToScore<'_>| {
        let adapter = pair.adapter.map(std::ptr::from_ref);
        known.iter().position(|one| *one == adapter).unwrap_or_else(|| {
            known.push(adapter);
            known.len() - 1
        })
    };
    let ranks: Vec<usize> = pairs.iter().map(&mut rank).collect();
    let mut places: Vec<usize> = (0..pairs.len()).collect();
    places.sort_by_key(|at| ranks[*at]);
    places
}

/// Divides pairs, in their order, into `n` parts of about equally many tokens: a pair is in the part that has its middle.
fn divided(pairs: &[usize], n: usize, n_tokens: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let total: usize = pairs.iter().map(|at| n_tokens(*at)).sum();
    let (mut parts, mut before) = (vec![Vec::new(); n], 0);
    for at in pairs {
        let middle_twice = 2 * before + n_tokens(*at);
        parts[(middle_twice * n / (2 * total).max(1)).min(n - 1)].push(*at);
        before += n_tokens(*at);
    }
    parts
}

/// Runs shares at the same time, the first one on this thread.
fn run_all(shares: &[Share<'_>], pairs: &[PairToScore<'_>], measure: Measure) -> Vec<(Scores, StageTimes)> {
    let Some((first, others)) = shares.split_first() else { return Vec::new() };
    thread::scope(|scope| {
        let others: Vec<_> = others.iter().map(|share| scope.spawn(move || share.run(pairs, measure))).collect();
        let first = first.run(pairs, measure);
        let joined =
            others.into_iter().map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(first).chain(joined).collect()
    })
}

impl ScoringModel for Replicas {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// Those of the replica on the GPU with the least memory, because a pair must fit into each of them.
    fn facts(&self) -> &ModelFacts {
        let facts = self.0.iter().map(|replica| replica.model.facts());
        facts.min_by_key(|facts| facts.budget.pair_tokens_max).expect("there is a replica")
    }

    fn check(&self) -> Result<(), ModelError> {
        if self.left().is_empty() { Err(self.none_left()) } else { Ok(()) }
    }

    fn batch_tokens(&self) -> NonZeroUsize {
        let n_tokens = self.0.iter().map(|replica| replica.model.batch_tokens());
        n_tokens.reduce(|sum, n| sum.saturating_add(n.get())).expect("there is a replica")
    }

    fn gpus(&self) -> Vec<GpuFacts> {
        let gpus = |replica: &Replica| {
            let named =
                |gpu| GpuFacts { device: replica.device.clone(), failure: replica.failure.get().cloned(), ..gpu };
            replica.model.gpus().into_iter().map(named).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(gpus).collect()
    }

    fn peaks(&self) -> Option<Peaks> {
        self.0[0].model.peaks()
    }

    fn load_adapter(&self, source: &AdapterSource<'_>) -> Result<ModelAdapter, ModelError> {
        self.on_each(source, |model| model.load_adapter(source))
    }

    fn merge_adapter(&self, source: &AdapterSource<'_>) -> Result<ModelAdapter, ModelError> {
        self.on_each(source, |model| model.merge_adapter(source))
    }

    /// The pairs of a GPU that fails for good are run by those that are left.
    fn score(&self, pairs: &[PairToScore<'_>], measure: Measure, times: &mut StageTimes) -> Scores {
        let mut scores: Vec<Option<Result<f32, ModelError>>> = pairs.iter().map(|_| None).collect();
        let mut waiting = by_adapter(pairs);
        while !waiting.is_empty() {
            let left = self.left();
            if left.is_empty() {
                break;
            }
            let parts = divided(&waiting, left.len(), |at| pairs[at].pair.ids.len());
            let shares = left.into_iter().zip(parts).map(|((place, replica), pairs)| Share { place, replica, pairs });
            let shares: Vec<Share<'_>> = shares.filter(|share| !share.pairs.is_empty()).collect();
            waiting.clear();
            for (share, (found, took)) in shares.iter().zip(run_all(&shares, pairs, measure)) {
                times.add(&took);
                for (at, score) in share.pairs.iter().zip(found) {
                    match score {
                        Err(error) if is_lost(&error) => {
                            share.replica.take_out(&error);
                            waiting.push(*at);
                        }
                        score => scores[*at] = Some(score),
                    }
                }
            }
        }
        scores.into_iter().map(|score| score.unwrap_or_else(|| Err(self.none_left()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_about_equally_many_tokens() {
        for (n_tokens, n, expected) in [
            (&[10, 10, 10, 10][..], 2, &[&[0, 1][..], &[2, 3]][..]),
            (&[30, 10, 10, 10], 2, &[&[0], &[1, 2, 3]]),
            (&[10, 10, 10], 3, &[&[0], &[1], &[2]]),
            (&[1, 1, 100], 2, &[&[0, 1], &[2]]),
            (&[7], 1, &[&[0]]),
            (&[], 2, &[&[], &[]]),
        ] {
            let pairs: Vec<usize> = (0..n_tokens.len()).collect();
            assert_eq!(divided(&pairs, n, |at| n_tokens[at]), expected, "{n_tokens:?} in {n}");
        }
    }
}

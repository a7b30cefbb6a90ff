//! The training loop.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lorank_core::SplitMix64;
use lorank_model::{Gradients, PackedAdapter, Pair, PassMode, TrainableModel, TrainedAdapter};

use crate::schedule::learning_rate;
use crate::state::{self, Fingerprint, Progress, digest};
use crate::workers::Workers;
use crate::{AdamW, EncodedGroup, HeldOut, Objective, TrainError, clip};

/// How an adapter is trained.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The loss.
    pub objective: Objective,
    /// How often each group is used.
    pub n_epochs: usize,
    /// The number of groups of a step. Their gradients are accumulated group by group, so it does not affect memory.
    pub groups_per_step: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// The share of steps in which the learning rate rises.
    pub warmup: f64,
    /// The weight decay of AdamW.
    pub weight_decay: f64,
    /// The greatest norm of all gradients of a step.
    pub gradient_norm_max: f64,
    /// Measure the held-out queries this many times in an epoch.
    pub evaluations_per_epoch: usize,
    /// Stop after this many measurements without a better one.
    pub patience: usize,
    /// The seed of the order of groups and of dropout.
    pub seed: u64,
    /// The number of threads.
    pub n_threads: usize,
}

/// What training reports as it goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// An interrupted training goes on.
    Resumed {
        /// The number of steps done before.
        step: usize,
        /// The number of all steps.
        n_steps: usize,
    },
    /// A step was done.
    Step {
        /// The number of steps done.
        step: usize,
        /// The number of all steps.
        n_steps: usize,
        /// The mean loss of the step's groups.
        loss: f64,
        /// The step's learning rate.
        learning_rate: f64,
        /// The norm of the gradients before clipping.
        gradient_norm: f64,
        /// The pairs of a second, over the steps so far without measurements.
        pairs_per_second: f64,
        /// The expected time until the last step, in seconds, measurements included.
        seconds_left: f64,
    },
    /// The held-out queries were measured.
    Evaluated {
        /// The number of steps done; 0 before training.
        step: usize,
        /// The mean nDCG@10.
        ndcg: f64,
        /// Whether it is the best so far, so that the adapter was saved.
        is_best: bool,
    },
}

/// Why training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// All steps were done.
    Finished,
    /// The held-out queries did not get better.
    NoImprovement,
    /// It was interrupted.
    Interrupted,
}

/// The result of training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Why training ended.
    pub reason: StopReason,
    /// The number of steps done.
    pub n_steps: usize,
    /// The held-out nDCG@10 before training.
    pub first_ndcg: f64,
    /// The held-out nDCG@10 of the saved adapter, and the number of steps before it.
    pub best_ndcg: f64,
    /// The step of the saved adapter.
    pub best_step: usize,
    /// The time of all steps, in seconds, without measurements.
    pub train_seconds: f64,
    /// The number of pairs that were trained on, repetitions included.
    pub n_pairs: usize,
}

/// An adapter's training: the model, the data and the options.
#[derive(Debug)]
pub struct Training<'a> {
    /// The base model.
    pub model: TrainableModel<'a>,
    /// The groups to learn from.
    pub groups: &'a [EncodedGroup],
    /// The queries that decide which adapter is the best.
    pub held_out: &'a HeldOut,
    /// The options.
    pub options: &'a TrainOptions,
    /// The folder of the best adapter.
    pub folder: &'a Path,
    /// Whether to go on where an interrupted training stopped, by the state that it left in the folder.
    pub is_resumed: bool,
    /// When it becomes true, the current step is the last one.
    pub is_interrupted: &'a AtomicBool,
}

impl Training<'_> {
    /// Trains an adapter, and saves it whenever the held-out queries are better than before.
    ///
    /// The same adapter, data, options and machine give the same result, whatever the number of threads and however often it was
    /// interrupted and resumed: with each measurement, the parameters and the state of the optimizer are written to the folder.
    ///
    /// # Errors
    /// If no group has anything to learn from, the teacher's scores are missing, the loss becomes infinite, the adapter cannot be
    /// written, a GPU fails, or an interrupted training had other data or options.
    pub fn run(&self, adapter: &mut TrainedAdapter, mut on_event: impl FnMut(Event)) -> Result<Outcome, TrainError> {
        let options = self.options;
        let groups = usable(self.groups, &options.objective)?;
        let workers = Workers::new(options.n_threads, self.model.runs_passes_in_parallel());
        let plan = Plan::new(groups.len(), options);
        let mut optimizer = AdamW::new(options.weight_decay);
        let mut progress = if self.is_resumed {
            let progress = state::read(self.folder, adapter, &mut optimizer, &self.fingerprint(adapter))?;
            on_event(Event::Resumed { step: progress.step, n_steps: plan.n_steps });
            progress
        } else {
            state::remove(self.folder)?;
            let first_ndcg = self.held_out.ndcg(&self.model, adapter, &workers)?;
            on_event(Event::Evaluated { step: 0, ndcg: first_ndcg, is_best: false });
            Progress::new(first_ndcg, self.fingerprint(adapter))
        };
        while progress.step < plan.n_steps {
            let started = Instant::now();
            let step = progress.step;
            let chosen: Vec<&EncodedGroup> = plan.groups_of(step, options).map(|at| groups[at]).collect();
            let rate = plan.learning_rate(step, options);
            let done = run_step(&self.model, adapter, &chosen, options, step, &workers)?;
            let (loss, gradient_norm) = apply(adapter, done, &mut optimizer, rate, options, step)?;
            progress.n_pairs += chosen.iter().map(|group| group.pairs.len()).sum::<usize>();
            progress.train_seconds += started.elapsed().as_secs_f64();
            progress.step += 1;
            let (n_steps, step) = (plan.n_steps, progress.step);
            let pairs_per_second = progress.n_pairs as f64 / progress.train_seconds;
            let seconds_left = plan.seconds_left(&progress);
            let learning_rate = rate;
            on_event(Event::Step { step, n_steps, loss, learning_rate, gradient_norm, pairs_per_second, seconds_left });

            let is_due = step % plan.steps_per_evaluation == 0 || step == n_steps;
            if is_due {
                on_event(self.measure(adapter, &mut progress, &workers)?);
            }
            if step == n_steps {
                break;
            }
            let is_interrupted = self.is_interrupted.load(Ordering::Relaxed);
            if is_due || is_interrupted {
                state::write(self.folder, adapter, &optimizer, &progress)?;
            }
            if is_interrupted {
                // Something is saved in any case. The state does not know of it, and a resumed training measures when it is due.
                if progress.best.is_none() {
                    on_event(self.measure(adapter, &mut progress, &workers)?);
                }
                return Ok(outcome(&progress, StopReason::Interrupted));
            }
            if progress.n_worse >= options.patience {
                state::remove(self.folder)?;
                return Ok(outcome(&progress, StopReason::NoImprovement));
            }
        }
        state::remove(self.folder)?;
        Ok(outcome(&progress, StopReason::Finished))
    }

    /// Digests of what decides the steps. The adapter's parameters do not count, only their shapes.
    fn fingerprint(&self, adapter: &TrainedAdapter) -> Fingerprint {
        let shapes: Vec<_> = adapter.parameters.iter().map(|parameter| (&parameter.name, &parameter.shape)).collect();
        Fingerprint {
            base: self.model.base_digest().to_string(),
            adapter: digest(&(adapter.settings(), shapes)),
            groups: digest(&self.groups),
            held_out: digest(&self.held_out.contents()),
            // The number of threads changes no step.
            options: digest(&TrainOptions { n_threads: 0, ..self.options.clone() }),
        }
    }

    /// Measures the held-out queries, and saves the adapter if they are better than before.
    fn measure(
        &self,
        adapter: &TrainedAdapter,
        progress: &mut Progress,
        workers: &Workers,
    ) -> Result<Event, TrainError> {
        let started = Instant::now();
        let step = progress.step;
        let ndcg = self.held_out.ndcg(&self.model, adapter, workers)?;
        progress.evaluation_seconds += started.elapsed().as_secs_f64();
        progress.n_evaluations += 1;
        let is_best = progress.best.is_none_or(|(best, _)| ndcg > best);
        if is_best {
            self.model.save(adapter, self.folder)?;
            progress.best = Some((ndcg, step));
        }
        progress.n_worse = if is_best { 0 } else { progress.n_worse + 1 };
        Ok(Event::Evaluated { step, ndcg, is_best })
    }
}

fn outcome(progress: &Progress, reason: StopReason) -> Outcome {
    let Progress { step: n_steps, first_ndcg, train_seconds, n_pairs, best, .. } = *progress;
    let (best_ndcg, best_step) = best.expect("the last step is measured");
    Outcome { reason, n_steps, first_ndcg, best_ndcg, best_step, train_seconds, n_pairs }
}

/// The steps of a training.
struct Plan {
    n_groups: usize,
    steps_per_epoch: usize,
    n_steps: usize,
    n_warmup: usize,
    steps_per_evaluation: usize,
}

impl Plan {
    fn new(n_groups: usize, options: &TrainOptions) -> Self {
        let steps_per_epoch = n_groups.div_ceil(options.groups_per_step.max(1));
        let n_steps = steps_per_epoch * options.n_epochs.max(1);
        Self {
            n_groups,
            steps_per_epoch,
            n_steps,
            n_warmup: (n_steps as f64 * options.warmup).round() as usize,
            steps_per_evaluation: steps_per_epoch.div_ceil(options.evaluations_per_epoch.max(1)),
        }
    }

    /// The numbers of a step's groups. Each epoch has an order of its own.
    fn groups_of(&self, step: usize, options: &TrainOptions) -> impl Iterator<Item = usize> {
        let mut order: Vec<usize> = (0..self.n_groups).collect();
        SplitMix64::new(options.seed.wrapping_add((step / self.steps_per_epoch) as u64)).shuffle(&mut order);
        let n = options.groups_per_step.max(1);
        order.into_iter().skip(step % self.steps_per_epoch * n).take(n)
    }

    /// A warm-up that started at zero would waste the first step.
    fn learning_rate(&self, step: usize, options: &TrainOptions) -> f64 {
        learning_rate(options.learning_rate, step + 1, self.n_warmup + 1, self.n_steps + 1)
    }

    /// The expected time of the other steps and measurements, in seconds.
    fn seconds_left(&self, progress: &Progress) -> f64 {
        let of_evaluation = progress.evaluation_seconds / progress.n_evaluations.max(1) as f64;
        let of_step = progress.train_seconds / progress.step as f64 + of_evaluation / self.steps_per_evaluation as f64;
        (self.n_steps - progress.step) as f64 * of_step
    }
}

/// The groups with something to learn from.
fn usable<'a>(groups: &'a [EncodedGroup], objective: &Objective) -> Result<Vec<&'a EncodedGroup>, TrainError> {
    if objective.needs_teacher() && groups.iter().any(|group| group.teacher.is_none()) {
        let problem = "the loss needs the teacher's scores, and some groups have none; name a teacher";
        return Err(TrainError::Data(problem.to_owned()));
    }
    let usable: Vec<_> = groups.iter().filter(|group| objective.can_use(&group.labels)).collect();
    if usable.is_empty() {
        let problem =
            "no group has a relevant document (a label above 0), and for losses of pairs one with a lower label";
        return Err(TrainError::Data(problem.to_owned()));
    }
    Ok(usable)
}

/// The sums of a step.
struct Step {
    loss: f64,
    gradients: Gradients,
}

/// The loss and gradients of a step's groups, each on its own thread. Long groups are first, so that no thread ends with one
/// while the others wait; sums have the order of the groups, so that they do not depend on threads.
fn run_step(
    model: &TrainableModel<'_>,
    adapter: &TrainedAdapter,
    groups: &[&EncodedGroup],
    options: &TrainOptions,
    step: usize,
    workers: &Workers,
) -> Result<Step, TrainError> {
    let packed = model.pack(adapter)?;
    let mut numbered: Vec<(usize, &EncodedGroup)> = groups.iter().copied().enumerate().collect();
    numbered.sort_by_key(|(number, group)| (std::cmp::Reverse(group.n_tokens()), *number));
    let share = 1.0 / groups.len() as f64;
    let run = |(number, group): &(usize, &EncodedGroup)| {
        let seed = SplitMix64::new(options.seed ^ ((step as u64) << 20) ^ *number as u64).draw();
        run_group(model, &packed, group, &options.objective, share, seed)
    };
    let mut sum = Step { loss: 0.0, gradients: packed.zeros() };
    for done in workers.map(&numbered, run) {
        let done = done?;
        sum.loss += done.loss;
        sum.gradients.add(&done.gradients);
    }
    Ok(sum)
}

fn run_group(
    model: &TrainableModel<'_>,
    packed: &PackedAdapter,
    group: &EncodedGroup,
    objective: &Objective,
    share: f64,
    seed: u64,
) -> Result<Step, TrainError> {
    let pairs: Vec<(&Pair, usize)> = group.pairs.iter().map(|pair| (pair, 0)).collect();
    let scored = model.score(packed, &pairs, PassMode::Train { seed })?;
    let scores: Vec<f64> = scored.scores.iter().map(|score| f64::from(*score)).collect();
    let (loss, d_scores) = objective.of(&scores, &group.labels, group.teacher.as_deref());
    let d_scores: Vec<f32> = d_scores.iter().map(|d_score| (d_score * share) as f32).collect();
    let mut gradients = packed.zeros();
    model.add_gradients(scored, &d_scores, &mut gradients)?;
    Ok(Step { loss: loss * share, gradients })
}

/// Clips the gradients and changes the parameters; returns the loss and the norm of the gradients.
fn apply(
    adapter: &mut TrainedAdapter,
    done: Step,
    optimizer: &mut AdamW,
    rate: f64,
    options: &TrainOptions,
    step: usize,
) -> Result<(f64, f64), TrainError> {
    let mut gradients = done.gradients.by_parameter(adapter);
    let norm = clip(&mut gradients, options.gradient_norm_max);
    if !done.loss.is_finite() || !norm.is_finite() {
        return Err(TrainError::NotFinite { step: step + 1 });
    }
    optimizer.step(adapter.parameters.iter_mut().map(|parameter| &mut parameter.values), &gradients, rate);
    Ok((done.loss, norm))
}

//! What training reports: lines on a terminal, or JSON lines.

use std::io::Write;

use indicatif::{HumanBytes, HumanDuration};
use lorank_train::{Event, Outcome, StopReason};
use serde::Serialize;
use serde_json::{Value, json};

use crate::output;

/// The progress of training.
pub(super) struct Reporter {
    is_json: bool,
    is_quiet: bool,
    /// Print each n-th step.
    steps_per_line: usize,
    /// The sum of the losses since the last line, and their number.
    losses: (f64, usize),
}

impl Reporter {
    pub(super) fn new(is_json: bool, is_quiet: bool, steps_per_line: usize) -> Self {
        Self { is_json, is_quiet, steps_per_line, losses: (0.0, 0) }
    }

    /// Prints an event.
    pub(super) fn report(&mut self, event: Event) {
        if self.is_json {
            // A reader that has gone away does not stop the training.
            let _ = print_line(&json_of(event));
            return;
        }
        if self.is_quiet {
            return;
        }
        match event {
            Event::Resumed { step, n_steps } => anstream::eprintln!("going on after step {step} of {n_steps}"),
            Event::Evaluated { step, ndcg, is_best } => {
                let best = if is_best { ", the best so far: saved" } else { "" };
                anstream::eprintln!("step {step}: held-out ndcg@10 {ndcg:.4}{best}");
            }
            Event::Step { step, n_steps, loss, pairs_per_second, seconds_left, .. } => {
                self.losses = (self.losses.0 + loss, self.losses.1 + 1);
                if step % self.steps_per_line == 0 || step == n_steps {
                    let loss = self.losses.0 / self.losses.1 as f64;
                    self.losses = (0.0, 0);
                    let left = HumanDuration(std::time::Duration::from_secs_f64(seconds_left));
                    let memory =
                        peak_memory().map_or(String::new(), |bytes| format!(", {} of memory", HumanBytes(bytes)));
                    anstream::eprintln!(
                        "step {step} of {n_steps}: loss {loss:.4}, {pairs_per_second:.1} pairs a second, {left} left{memory}"
                    );
                }
            }
        }
    }
}

fn json_of(event: Event) -> Value {
    match event {
        Event::Step { step, n_steps, loss, learning_rate, gradient_norm, pairs_per_second, seconds_left } => json!({
            "event": "step", "step": step, "n_steps": n_steps, "loss": loss, "learning_rate": learning_rate,
            "gradient_norm": gradient_norm, "pairs_per_second": pairs_per_second, "seconds_left": seconds_left,
            "peak_memory_bytes": peak_memory(),
        }),
        Event::Resumed { step, n_steps } => json!({"event": "resumed", "step": step, "n_steps": n_steps}),
        Event::Evaluated { step, ndcg, is_best } => {
            json!({"event": "evaluation", "step": step, "ndcg_at_10": ndcg, "is_best": is_best})
        }
    }
}

/// The last line.
pub(super) fn json_of_outcome(outcome: &Outcome, output: &str) -> Value {
    json!({
        "event": "end", "reason": reason(outcome.reason), "n_steps": outcome.n_steps,
        "first_ndcg_at_10": outcome.first_ndcg, "best_ndcg_at_10": outcome.best_ndcg, "best_step": outcome.best_step,
        "train_seconds": outcome.train_seconds, "n_pairs": outcome.n_pairs, "peak_memory_bytes": peak_memory(),
        "output": output,
    })
}

/// Why training ended.
fn reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Finished => "finished",
        StopReason::NoImprovement => "no_improvement",
        StopReason::Interrupted => "interrupted",
    }
}

/// The last lines for people.
pub(super) fn text_of_outcome(outcome: &Outcome, output: &str) -> String {
    let why = match outcome.reason {
        StopReason::Finished => "all steps were done",
        StopReason::NoImprovement => "the held-out queries did not get better",
        StopReason::Interrupted => "interrupted; the same command with --resume goes on",
    };
    let Outcome { first_ndcg, best_ndcg, best_step, train_seconds, n_pairs, n_steps, .. } = outcome;
    let verdict =
        if best_ndcg > first_ndcg { "" } else { "\nit is not better than the base model on the held-out queries" };
    let memory = peak_memory().map_or(String::new(), |bytes| format!(", peak memory {}", HumanBytes(bytes)));
    format!(
        "ended after step {n_steps}: {why}\n\
         held-out ndcg@10: {first_ndcg:.4} before training, {best_ndcg:.4} at step {best_step}{verdict}\n\
         {n_pairs} pairs in {train_seconds:.0} s ({:.1} a second){memory}\n\
         the adapter is in `{output}`; use it with `--adapter {output}`, or add it with `lorank adapters add NAME {output}`",
        *n_pairs as f64 / train_seconds
    )
}

/// Prints a JSON line.
pub(super) fn print_line(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(out, "{}", serde_json::to_string(value)?)?;
    Ok(out.flush()?)
}

/// The most memory that the process has used, in bytes. `None` outside Linux.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

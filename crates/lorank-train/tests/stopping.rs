//! When training ends before its last step, and which adapter is kept.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use lorank_core::{Candidate, Score};
use lorank_eval::Grades;
use lorank_model::{AdapterSettings, Files, ForwardPass, LoadOptions, ModelReranker};
use lorank_testing::fixture;
use lorank_train::{
    EncodedGroup, Event, Group, GroupDocument, HeldOut, Loss, Objective, Outcome, RankingLoss, StopReason, TrainError,
    TrainOptions, Training, was_interrupted,
};

/// Trains on four groups, with a measurement after each of eight steps. The held-out query has one candidate, so that its
/// measure is always 1. `on_event` sees the weights of the folder.
fn train(folder: &Path, patience: usize, on_event: impl FnMut(Event, &AtomicBool, &Path)) -> Outcome {
    let options = TrainOptions { patience, ..options() };
    run(folder, &options, &["yes", "no"], false, on_event).unwrap()
}

fn options() -> TrainOptions {
    TrainOptions {
        objective: Objective { loss: Loss::Ranking(RankingLoss::BinaryCrossEntropy), distillation: None },
        n_epochs: 2,
        groups_per_step: 1,
        learning_rate: 1e-3,
        warmup: 0.1,
        weight_decay: 0.01,
        gradient_norm_max: 1.0,
        evaluations_per_epoch: 4,
        patience: 9,
        seed: 0,
        n_threads: 1,
    }
}

/// Trains on groups with these documents, of which the first is relevant.
fn run(
    folder: &Path,
    options: &TrainOptions,
    documents: &[&str; 2],
    is_resumed: bool,
    mut on_event: impl FnMut(Event, &AtomicBool, &Path),
) -> Result<Outcome, TrainError> {
    let load = LoadOptions { pass: ForwardPass::Train, ..LoadOptions::default() };
    let reranker = ModelReranker::load(&Files::folder(fixture("tiny-bert/base")).unwrap(), load).unwrap();
    let model = reranker.trainable().unwrap();
    let rank = NonZeroUsize::new(2).unwrap();
    let settings = AdapterSettings { rank, alpha: 4.0, targets: Vec::new(), dropout: 0.1 };
    let mut adapter = model.new_adapter(&settings, 1).unwrap();
    let document =
        |text: &str, label| GroupDocument { id: None, title: None, text: text.to_owned(), label, teacher: None };
    let group = |n: usize| Group {
        query_id: None,
        query: format!("question {n}"),
        documents: vec![document(documents[0], 1.0), document(documents[1], 0.0)],
    };
    let groups: Vec<EncodedGroup> = (0..4).map(|n| EncodedGroup::new(&model, &group(n)).unwrap()).collect();
    let mut held_out = HeldOut::default();
    let candidate = Candidate::new("d", "yes", Score::new(0.0).unwrap());
    held_out.push(&model, "question", &[candidate], Grades::from([("d".to_owned(), 1)])).unwrap();
    let is_interrupted = AtomicBool::new(false);
    let (groups, held_out, is_interrupted) = (&groups, &held_out, &is_interrupted);
    let training = Training { model, groups, held_out, options, folder, is_resumed, is_interrupted };
    training.run(&mut adapter, |event| on_event(event, is_interrupted, folder))
}

fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("adapter_model.safetensors")).unwrap()
}

#[test]
fn training_ends_after_as_many_measurements_without_a_better_one() {
    for (patience, n_steps, reason) in
        [(1, 2, StopReason::NoImprovement), (3, 4, StopReason::NoImprovement), (9, 8, StopReason::Finished)]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Vec::new();
        let outcome = train(folder.path(), patience, |event, _, folder| {
            if let Event::Evaluated { step: 1, is_best, .. } = event {
                assert!(is_best, "the first adapter is the best so far");
                first = weights(folder);
            }
        });
        assert_eq!((outcome.reason, outcome.n_steps), (reason, n_steps), "patience {patience}");
        assert_eq!((outcome.best_step, outcome.best_ndcg), (1, 1.0));
        assert_eq!(weights(folder.path()), first, "later adapters are not better, so the first one is kept");
    }
}

#[test]
fn an_interrupted_training_keeps_the_best_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Vec::new();
    let outcome = train(folder.path(), 9, |event, is_interrupted, folder| match event {
        Event::Evaluated { step: 1, .. } => first = weights(folder),
        Event::Step { step: 3, .. } => is_interrupted.store(true, Ordering::Relaxed),
        _ => {}
    });
    assert_eq!((outcome.reason, outcome.n_steps, outcome.best_step), (StopReason::Interrupted, 3, 1));
    assert_eq!(weights(folder.path()), first);
}

#[test]
fn a_training_that_is_interrupted_before_the_first_measurement_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = train(folder.path(), 9, |event, is_interrupted, _| {
        if let Event::Evaluated { step: 0, .. } = event {
            is_interrupted.store(true, Ordering::Relaxed);
        }
    });
    assert_eq!((outcome.reason, outcome.n_steps, outcome.best_step), (StopReason::Interrupted, 1, 1));
    assert!(!weights(folder.path()).is_empty());
}

/// Interrupts a training after this step.
fn interrupt(after: usize) -> impl FnMut(Event, &AtomicBool, &Path) {
    move |event, is_interrupted, _| {
        if matches!(event, Event::Step { step, .. } if step == after) {
            is_interrupted.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_resumed_training_ends_with_the_adapter_of_one_that_was_not_interrupted() {
    // Measured after all steps alone, so that the last adapter is kept, and after each step, so that the first is.
    for (evaluations_per_epoch, n_epochs) in [(1, 1), (4, 2)] {
        let options = TrainOptions { evaluations_per_epoch, n_epochs, ..options() };
        let whole = tempfile::tempdir().unwrap();
        let expected = run(whole.path(), &options, &["yes", "no"], false, |_, _, _| {}).unwrap();
        assert!(!was_interrupted(whole.path()), "a finished training leaves no state");
        let folder = tempfile::tempdir().unwrap();
        let stopped = run(folder.path(), &options, &["yes", "no"], false, interrupt(1)).unwrap();
        assert_eq!((stopped.reason, stopped.n_steps), (StopReason::Interrupted, 1));
        let stopped = run(folder.path(), &options, &["yes", "no"], true, interrupt(2)).unwrap();
        assert_eq!((stopped.reason, stopped.n_steps), (StopReason::Interrupted, 2));
        assert!(was_interrupted(folder.path()) && !weights(folder.path()).is_empty());
        let mut steps = Vec::new();
        let more_threads = TrainOptions { n_threads: 2, ..options };
        let resumed = run(folder.path(), &more_threads, &["yes", "no"], true, |event, _, _| match event {
            Event::Resumed { step, .. } | Event::Step { step, .. } => steps.push(step),
            Event::Evaluated { .. } => {}
        });
        let resumed = Outcome { train_seconds: expected.train_seconds, ..resumed.unwrap() };
        assert_eq!(resumed, expected);
        assert_eq!(steps, (2..=4 * n_epochs).collect::<Vec<_>>());
        assert_eq!(weights(folder.path()), weights(whole.path()));
        assert!(!was_interrupted(folder.path()));
    }
}

#[test]
fn a_training_with_other_data_or_options_is_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |options: &TrainOptions, documents| {
        run(folder.path(), options, documents, true, |_, _, _| {}).unwrap_err().to_string()
    };
    let options = options();
    assert!(refused(&options, &["yes", "no"]).contains("no training in this folder was interrupted"));
    run(folder.path(), &options, &["yes", "no"], false, interrupt(2)).unwrap();
    let other = TrainOptions { learning_rate: 2e-3, ..options.clone() };
    assert!(refused(&other, &["yes", "no"]).contains("other options of the training"));
    assert!(refused(&options, &["no", "yes"]).contains("other groups"));
    let state = folder.path().join("training-state.safetensors");
    let bytes = fs::read(&state).unwrap();
    fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    assert!(refused(&options, &["yes", "no"]).contains("it is damaged"));
    fs::write(&state, &bytes).unwrap();
    assert!(run(folder.path(), &options, &["yes", "no"], true, |_, _, _| {}).is_ok());
}

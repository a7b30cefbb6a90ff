//! Losses, the optimizer and a whole training step, compared with PyTorch's that are recorded with the fixtures.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::fs;
use std::num::NonZeroUsize;

use lorank_core::{Candidate, Score};
use lorank_model::{AdapterSettings, Files, ForwardPass, LoadOptions, ModelReranker, Pair, PassMode};
use lorank_testing::{Tensors, fixture, read_tensors, reference};
use lorank_train::{AdamW, Distillation, Loss, Objective, RankingLoss, clip};
use serde_json::Value;

fn recorded() -> Value {
    serde_json::from_slice(&fs::read(fixture("gradients/training.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|number| number as f32).collect()
}

fn tensor(tensors: &Tensors, name: &str) -> Vec<f32> {
    tensors[name].bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn losses_and_their_gradients_are_pytorchs() {
    let recorded = recorded();
    let rows = recorded["losses"].as_array().unwrap();
    for row in rows {
        let loss = match row["loss"].as_str().unwrap() {
            "bce" => Loss::Ranking(RankingLoss::BinaryCrossEntropy),
            "ranknet" => Loss::Ranking(RankingLoss::RankNet),
            "listmle" => Loss::Ranking(RankingLoss::ListMle),
            "lambda" => Loss::Ranking(RankingLoss::Lambda),
            "margin-mse" => Loss::MarginMse,
            "mse" => Loss::Mse,
            other => panic!("{other} is no loss"),
        };
        let distillation = row["is_distilled"].as_bool().unwrap().then(Distillation::default);
        let (scores, labels, teacher) = (numbers(&row["scores"]), numbers(&row["labels"]), numbers(&row["teacher"]));
        let (value, gradient) = Objective { loss, distillation }.of(&scores, &labels, Some(&teacher));
        assert!((value - row["value"].as_f64().unwrap()).abs() < 1e-9 * value.abs().max(1.0), "{row}: {value}");
        for (found, expected) in gradient.iter().zip(numbers(&row["gradient"])) {
            assert!((found - expected).abs() < 1e-9, "{row}: {gradient:?}");
        }
    }
    assert_eq!(rows.len(), 30);
}

#[test]
fn clipping_and_adamw_are_pytorchs() {
    let recorded = &recorded()["adamw"];
    let number = |key: &str| recorded[key].as_f64().unwrap();
    let mut values = floats(&recorded["start"]);
    let mut optimizer = AdamW::new(number("weight_decay"));
    for step in recorded["steps"].as_array().unwrap() {
        let mut gradients = [floats(&step["gradient"])];
        let norm = clip(&mut gradients, number("norm_max"));
        assert!((norm - step["norm"].as_f64().unwrap()).abs() < 1e-5);
        optimizer.step([&mut values], &gradients, number("learning_rate"));
        for (found, expected) in values.iter().zip(floats(&step["values"])) {
            assert!((found - expected).abs() < 1e-6, "{values:?}, not {}", step["values"]);
        }
    }
}

/// Forward pass, binary cross-entropy, backward pass, clipping and AdamW, on tiny-bert: with the kernels, and with what a GPU runs.
#[test]
fn a_training_step_is_pytorchs() {
    check_step(ForwardPass::Train);
    check_step(ForwardPass::TrainReference);
}

fn check_step(pass: ForwardPass) {
    let recorded = &recorded()["step"];
    let number = |key: &str| recorded[key].as_f64().unwrap();
    let before = read_tensors(&fixture("gradients/tiny-bert.safetensors"));
    let after = read_tensors(&fixture("gradients/tiny-bert-stepped.safetensors"));
    let reference = reference(&fixture("tiny-bert/reference.json"));
    let options = LoadOptions { max_length: Some(reference.max_length), pass, ..LoadOptions::default() };
    let reranker = ModelReranker::load(&Files::folder(fixture("tiny-bert/base")).unwrap(), options).unwrap();
    let model = reranker.trainable().unwrap();
    let settings =
        AdapterSettings { rank: NonZeroUsize::new(2).unwrap(), alpha: 4.0, targets: Vec::new(), dropout: 0.0 };
    let mut adapter = model.new_adapter(&settings, 1).unwrap();
    for parameter in &mut adapter.parameters {
        parameter.values = tensor(&before, &format!("value.{}", parameter.name));
    }
    let labels = numbers(&recorded["labels"]);
    let encoded: Vec<Pair> = reference.pairs[..labels.len()]
        .iter()
        .map(|pair| {
            let candidate = Candidate::new("", pair.document.as_str(), Score::new(0.0).unwrap());
            model.encode(&pair.query, &[candidate]).unwrap().remove(0)
        })
        .collect();
    let pairs: Vec<(&Pair, usize)> = encoded.iter().map(|pair| (pair, 0)).collect();
    let packed = model.pack(&adapter).unwrap();
    let scored = model.score(&packed, &pairs, PassMode::Train { seed: 0 }).unwrap();
    let objective = Objective { loss: Loss::Ranking(RankingLoss::BinaryCrossEntropy), distillation: None };
    let scores: Vec<f64> = scored.scores.iter().map(|score| f64::from(*score)).collect();
    let (loss, d_scores) = objective.of(&scores, &labels, None);
    assert!((loss - number("loss")).abs() < 1e-4, "{loss}");
    let mut gradients = packed.zeros();
    let d_scores: Vec<f32> = d_scores.iter().map(|d| *d as f32).collect();
    model.add_gradients(scored, &d_scores, &mut gradients).unwrap();
    let mut gradients = gradients.by_parameter(&adapter);
    let norm = clip(&mut gradients, number("norm_max"));
    assert!((norm - number("norm")).abs() < 1e-3 * norm, "{norm}");
    let parameters = adapter.parameters.iter_mut().map(|parameter| &mut parameter.values);
    AdamW::new(number("weight_decay")).step(parameters, &gradients, number("learning_rate"));
    let mut n_checked = 0;
    for (parameter, gradient) in adapter.parameters.iter().zip(&gradients) {
        for ((found, expected), gradient) in parameter.values.iter().zip(tensor(&after, &parameter.name)).zip(gradient)
        {
            // The first step of Adam has the size of the learning rate whatever the gradient, so where that is nearly zero its sign
            // is a matter of rounding.
            if gradient.abs() > 1e-5 {
                assert!((found - expected).abs() < 1e-4, "{}: {found}, not {expected} ({gradient:e})", parameter.name);
                n_checked += 1;
            }
        }
    }
    assert!(n_checked > 3_000, "{n_checked}");
}

//! Compares the forward passes with candle-transformers' independent Llama and BERT.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{bert as their_bert, llama as their_llama};

use crate::backend::{Backend, Candle, Kernels};
use crate::bert::Bert;
use crate::config::{Architecture, BertSettings, Config, LlamaSettings, RopeScaling};
use crate::llama::Llama;
use crate::loader::Loader;
use crate::pack::{AdaptedPair, Pack, Scored};
use crate::pass::Pass;
use crate::precision::{Int8Effect, Int8Form};
use crate::tokenize::Pair;
use crate::{Files, Measure, PrecisionChoice};

/// Token ids below `vocab`, in no particular order.
fn scattered_ids(n: u32, vocab: u32) -> Vec<u32> {
    (0..n).map(|at| (at * 7919 + 31) % vocab).collect()
}

fn open(fixture: &str) -> (Files, Config, VarBuilder<'static>) {
    let folder = lorank_testing::fixture(fixture).join("base");
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let files = Files::folder(folder).unwrap();
    let (config, _) = Config::read(&files).unwrap();
    (files, config, VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu).unwrap())
}

/// The reference backend, and the kernels in f32.
fn backends() -> (Candle, Kernels) {
    let precision = PrecisionChoice::Fixed(lorank_core::Precision::F32);
    let kernels = Kernels::new(precision, Int8Effect::Unmeasured, Int8Form::Rows).unwrap();
    (Candle::new(Device::Cpu, precision, true).unwrap(), kernels)
}

fn load<B: Backend, T>(files: &Files, backend: &B, load: impl FnOnce(&mut Loader<'_, B>) -> T) -> T {
    let architecture = Config::read(files).unwrap().0.architecture;
    let mut weights = architecture.open_weights(files).unwrap();
    load(&mut Loader::new(&mut weights, backend, None))
}

/// The states of a pack of one pair.
fn run<B: Backend>(
    backend: &B,
    pair: &Pair,
    scored: Scored,
    states: impl FnOnce(&Pass<'_, B>) -> Result<B::Rows, B::Error>,
) -> Vec<f32> {
    let pack = Pack::new(&[&AdaptedPair { pair, adapter: None, group: 0, padding: None }], scored);
    let states = states(&Pass::new(backend, &pack, Measure::Total)).unwrap();
    backend.numbers(&states).unwrap().into_owned()
}

/// The state of the last token, [64].
fn llama_state<B: Backend>(files: &Files, settings: &LlamaSettings, backend: &B, ids: &[u32]) -> Vec<f32> {
    let llama = load(files, backend, |from| Llama::load(settings, from)).unwrap();
    let pair = Pair { ids: ids.to_vec(), type_ids: vec![0; ids.len()] };
    run(backend, &pair, Scored::Last, |pass| llama.scored_states(pass))
}

/// The state of the first token, which depends on all others: [hidden].
fn bert_state<B: Backend>(files: &Files, config: &BertSettings, backend: &B, pair: &Pair) -> Vec<f32> {
    let bert = load(files, backend, |from| Bert::load(config, from)).unwrap();
    run(backend, pair, Scored::First, |pass| bert.states(pass))
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn check_close(ours: &[f32], theirs: &Tensor) {
    let theirs = flat(theirs);
    assert_eq!(ours.len(), theirs.len());
    let difference = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference < 1e-4, "the largest difference is {difference}");
}

#[test]
fn llama_gives_the_logits_of_candle_transformers() {
    let (files, config, theirs) = open("tiny-llama");
    let Architecture::Llama(settings) = config.architecture else { panic!("the fixture is a Llama") };
    let RopeScaling::Llama3(rope) = settings.rope.clone() else { panic!("the fixture scales its rope") };
    let mut numbers = settings.numbers.clone();
    numbers.rope_scaling = Some(rope);
    numbers.tie_word_embeddings = Some(true);
    let their_config = numbers.into_config(false);
    let ids = scattered_ids(100, 1024);

    let embeddings = theirs.get((1024, 64), "model.embed_tokens.weight").unwrap();
    let mut cache = their_llama::Cache::new(false, DType::F32, &their_config, &Device::Cpu).unwrap();
    let model = their_llama::Llama::load(theirs, &their_config).unwrap();
    let input = Tensor::new(&ids[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let their_logits = model.forward(&input, 0, &mut cache).unwrap();

    let (reference, kernels) = backends();
    for state in [llama_state(&files, &settings, &reference, &ids), llama_state(&files, &settings, &kernels, &ids)] {
        let state = Tensor::from_vec(state, (1, 64), &Device::Cpu).unwrap();
        check_close(&flat(&state.matmul(&embeddings.t().unwrap()).unwrap()), &their_logits);
    }
}

#[test]
fn bert_gives_the_hidden_states_of_candle_transformers() {
    let (files, config, theirs) = open("tiny-bert");
    let Architecture::Bert(config) = config.architecture else { panic!("the fixture is a BERT") };
    let ids = scattered_ids(60, u32::try_from(config.vocab_size).unwrap());
    let type_ids: Vec<u32> = (0..60).map(|at| u32::from(at >= 20)).collect();

    let their_config: their_bert::Config =
        serde_json::from_slice(&std::fs::read(lorank_testing::fixture("tiny-bert/base/config.json")).unwrap()).unwrap();
    let model = their_bert::BertModel::load(theirs.pp("bert"), &their_config).unwrap();
    let row = |ids: &[u32]| Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let their_states = model.forward(&row(&ids), &row(&type_ids), None).unwrap();

    let their_states = their_states.narrow(1, 0, 1).unwrap();
    let pair = Pair { ids, type_ids };
    let (reference, kernels) = backends();
    check_close(&bert_state(&files, &config, &reference, &pair), &their_states);
    check_close(&bert_state(&files, &config, &kernels, &pair), &their_states);
}

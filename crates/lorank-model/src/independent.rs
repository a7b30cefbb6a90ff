//! The forward passes against candle-transformers' own Llama and BERT, which were written by others.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{bert as their_bert, llama as their_llama};

use crate::config::{Architecture, Config, RopeScaling};
use crate::linear::Loader;
use crate::llama::Llama;
use crate::tokenize::Pair;
use crate::weights::Weights;
use crate::{Files, bert::Bert};

/// Token ids that a model of `vocab` entries knows, without any order to them.
fn some_ids(n: u32, vocab: u32) -> Vec<u32> {
    (0..n).map(|at| (at * 7919 + 31) % vocab).collect()
}

fn open(fixture: &str) -> (Files, Config, VarBuilder<'static>) {
    let folder = lorank_testing::fixture(fixture).join("base");
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let files = Files::folder(folder).unwrap();
    let (config, _) = Config::read(&files).unwrap();
    (files, config, VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu).unwrap())
}

fn load<T>(files: &Files, load: impl FnOnce(&mut Loader<'_>) -> T) -> T {
    let mut weights = Weights::of_base(files).unwrap();
    load(&mut Loader { weights: &mut weights, device: &Device::Cpu, modules: Vec::new(), n_parameters: 0 })
}

fn check_close(ours: &Tensor, theirs: &Tensor) {
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (ours, theirs) = (flat(ours), flat(theirs));
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
    let their_config = numbers.into_config(false);
    let ids = some_ids(100, 1024);

    let embeddings = theirs.get((1024, 64), "model.embed_tokens.weight").unwrap();
    let mut cache = their_llama::Cache::new(false, DType::F32, &their_config, &Device::Cpu).unwrap();
    let model = their_llama::Llama::load(theirs, &their_config).unwrap();
    let input = Tensor::new(&ids[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let their_logits = model.forward(&input, 0, &mut cache).unwrap();

    let llama = load(&files, |from| Llama::load(settings, None, from)).unwrap();
    let state = llama.scored_state(&ids, None).unwrap();
    check_close(&state.matmul(&embeddings.t().unwrap()).unwrap(), &their_logits);
}

#[test]
fn bert_gives_the_hidden_states_of_candle_transformers() {
    let (files, config, theirs) = open("tiny-bert");
    let Architecture::Bert(config) = config.architecture else { panic!("the fixture is a BERT") };
    let ids = some_ids(60, u32::try_from(config.vocab_size).unwrap());
    let type_ids: Vec<u32> = (0..60).map(|at| u32::from(at >= 20)).collect();

    let model = their_bert::BertModel::load(theirs.pp("bert"), &config).unwrap();
    let row = |ids: &[u32]| Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let their_states = model.forward(&row(&ids), &row(&type_ids), None).unwrap();

    let bert = load(&files, |from| Bert::load(config, from)).unwrap();
    check_close(&bert.states(&Pair { ids, type_ids }, None).unwrap(), &their_states);
}

//! The forward passes against candle-transformers' own Llama and BERT, which were written by others.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{bert as their_bert, llama as their_llama};

use crate::bert::{self, Bert};
use crate::config::{Architecture, Config, RopeScaling};
use crate::engine::{Engine, Rows};
use crate::linear::Loader;
use crate::llama::Llama;
use crate::pack::{Entry, Pack, Scored};
use crate::pass::Pass;
use crate::tokenize::Pair;
use crate::weights::Weights;
use crate::{Files, PrecisionChoice};

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

/// The reference, and the kernels.
fn engines() -> [Engine; 2] {
    let precision = PrecisionChoice::Fixed(lorank_core::Precision::F32).on(&Device::Cpu, false).unwrap();
    [true, false].map(|is_reference| Engine::new(Device::Cpu, precision, is_reference))
}

fn load<T>(files: &Files, engine: &Engine, load: impl FnOnce(&mut Loader<'_>) -> T) -> T {
    let mut weights = Weights::of_base(files).unwrap();
    load(&mut Loader::new(&mut weights, engine, None))
}

/// The states of a pack of one pair.
fn run(
    engine: &Engine,
    pair: &Pair,
    scored: Scored,
    states: impl FnOnce(&Pass<'_>) -> candle_core::Result<Rows>,
) -> Vec<f32> {
    let pack = Pack::new(&[Entry { pair, adapter: None, group: 0 }], scored);
    states(&Pass::new(engine, &pack)).unwrap().numbers().unwrap().into_owned()
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
    let their_config = numbers.into_config(false);
    let ids = some_ids(100, 1024);

    let embeddings = theirs.get((1024, 64), "model.embed_tokens.weight").unwrap();
    let mut cache = their_llama::Cache::new(false, DType::F32, &their_config, &Device::Cpu).unwrap();
    let model = their_llama::Llama::load(theirs, &their_config).unwrap();
    let input = Tensor::new(&ids[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let their_logits = model.forward(&input, 0, &mut cache).unwrap();

    for engine in engines() {
        let llama = load(&files, &engine, |from| Llama::load(settings.clone(), None, from)).unwrap();
        let pair = Pair { ids: ids.clone(), type_ids: vec![0; ids.len()] };
        let state = run(&engine, &pair, llama.scored(), |pass| llama.scored_states(pass));
        let state = Tensor::from_vec(state, (1, 64), &Device::Cpu).unwrap();
        check_close(&flat(&state.matmul(&embeddings.t().unwrap()).unwrap()), &their_logits);
    }
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

    // Ours are those of the first token, which all the others have gone into.
    let their_states = their_states.narrow(1, 0, 1).unwrap();
    for engine in engines() {
        let bert = load(&files, &engine, |from| Bert::load(config.clone(), from)).unwrap();
        let pair = Pair { ids: ids.clone(), type_ids: type_ids.clone() };
        check_close(&run(&engine, &pair, bert::SCORED, |pass| bert.states(pass)), &their_states);
    }
}

//! Chooses the backend of a base model by its options, and loads it.

use candle_core::Device;
use lorank_cuda::{CudaError, Gpu, Host};

use crate::backend::{Candle, CandleTrain, Cuda, Kernels, Train};
use crate::model::{BaseModel, Model, ScoringModel};
use crate::precision::{Int8Effect, Int8Form};
use crate::replicas::Replicas;
use crate::weights::Weights;
use crate::{DeviceChoice, ForwardPass, LoadOptions, ModelError, PrecisionChoice, device};

/// The memory of the host in a GPU's place, in bytes.
const HOST_BYTES: usize = 4 << 30;

/// Loads a base model on the backend that its options choose. `int8` is what `auto` assumes of int8.
pub(crate) fn load(
    base: BaseModel,
    weights: &mut Weights,
    options: &LoadOptions,
    int8: Int8Effect<'_>,
) -> Result<Box<dyn ScoringModel>, ModelError> {
    if matches!(options.pass, ForwardPass::Train | ForwardPass::TrainReference) {
        return load_for_training(base, weights, options);
    }
    if options.pass == ForwardPass::GpuOnHost {
        return load_on_hosts(&base, weights, options);
    }
    let gpus = options.device.of_lorank_cuda();
    if options.pass == ForwardPass::Fast && !gpus.is_empty() {
        return load_on_gpus(&gpus, &base, weights, options);
    }
    match options.device.open()? {
        Device::Cpu => load_on(Device::Cpu, base, weights, options, int8),
        gpu if options.device == DeviceChoice::Auto => {
            let loaded = load_on(gpu, base.clone(), weights, options, int8);
            loaded.or_else(|error| match error {
                // Invalid files would fail on a CPU too.
                ModelError::Compute(_) | ModelError::Device { .. } => {
                    let why = device::describe(&lorank_core::with_causes(&error));
                    tracing::warn!("the model does not fit on the GPU ({why}); using the CPU");
                    load_on(Device::Cpu, base, weights, options, int8)
                }
                error => Err(error),
            })
        }
        gpu => load_on(gpu, base, weights, options, int8).map_err(|error| of_gpu(&options.device, error)),
    }
}

/// Loads a base model onto each of these NVIDIA GPUs.
fn load_on_gpus(
    ordinals: &[usize],
    base: &BaseModel,
    weights: &mut Weights,
    options: &LoadOptions,
) -> Result<Box<dyn ScoringModel>, ModelError> {
    let mut load = |ordinal: usize| {
        let options = LoadOptions { device: DeviceChoice::Cuda(ordinal), ..options.clone() };
        let named = |error: ModelError| of_gpu(&options.device, error);
        let gpu = Gpu::open(ordinal, &options.gpu).map_err(|error| named(error.into()))?;
        let loaded =
            Cuda::new(gpu, options.precision).and_then(|cuda| Model::load(cuda, base.clone(), weights, &options));
        loaded.map_err(named)
    };
    let models = ordinals.iter().map(|ordinal| load(*ordinal)).collect::<Result<_, _>>()?;
    Ok(Box::new(Replicas::new(models)))
}

/// Loads a base model onto the host in place of each GPU, or in place of one.
fn load_on_hosts(
    base: &BaseModel,
    weights: &mut Weights,
    options: &LoadOptions,
) -> Result<Box<dyn ScoringModel>, ModelError> {
    let devices: Vec<DeviceChoice> = match &options.device {
        DeviceChoice::SeveralCuda(ordinals) if !ordinals.is_empty() => {
            ordinals.iter().copied().map(DeviceChoice::Cuda).collect()
        }
        one => vec![one.clone()],
    };
    let mut load = |(place, device): (usize, DeviceChoice)| {
        let fault = options.host_faults.get(place).cloned().unwrap_or_default();
        let cuda = Cuda::new(Host::with_fault(HOST_BYTES, fault), options.precision)?;
        Model::load(cuda, base.clone(), weights, &LoadOptions { device, ..options.clone() })
    };
    let models = devices.into_iter().enumerate().map(&mut load).collect::<Result<_, _>>()?;
    Ok(Box::new(Replicas::new(models)))
}

/// Loads a base model for training: on a CPU with the kernels, on a GPU and for the reference with candle.
fn load_for_training(
    base: BaseModel,
    weights: &mut Weights,
    options: &LoadOptions,
) -> Result<Box<dyn ScoringModel>, ModelError> {
    let is_reference = options.pass == ForwardPass::TrainReference;
    match &options.device {
        DeviceChoice::Auto | DeviceChoice::Cpu if is_reference => {
            // With bf16 it rounds as a GPU does.
            let candle = Candle::new(Device::Cpu, options.precision, options.precision == PrecisionChoice::Auto)?;
            Model::load(CandleTrain::new(candle), base, weights, options)
        }
        DeviceChoice::Auto | DeviceChoice::Cpu => Model::load(Train::new(options.precision)?, base, weights, options),
        gpu => {
            let candle = Candle::new(gpu.open()?, options.precision, false)?;
            let loaded = Model::load(CandleTrain::new(candle), base, weights, options);
            loaded.map_err(|error| of_gpu(gpu, error))
        }
    }
}

/// The error of a GPU, with what to do about it.
fn of_gpu(device: &DeviceChoice, error: ModelError) -> ModelError {
    match error {
        ModelError::Compute(source) => match source.downcast_ref::<CudaError>() {
            Some(error) => {
                ModelError::Device { device: device.to_string(), hint: error.to_string().into(), source: None }
            }
            None => ModelError::Device {
                device: device.to_string(),
                hint: device::describe(&lorank_core::with_causes(&*source)).into(),
                source: Some(source.to_string().into()),
            },
        },
        error => error,
    }
}

fn load_on(
    device: Device,
    base: BaseModel,
    weights: &mut Weights,
    options: &LoadOptions,
    int8: Int8Effect<'_>,
) -> Result<Box<dyn ScoringModel>, ModelError> {
    let is_reference = options.pass == ForwardPass::Reference;
    match device {
        Device::Cpu if !is_reference => {
            let form = Int8Form::of(&base.architecture);
            Model::load(Kernels::new(options.precision, int8, form)?, base, weights, options)
        }
        device => {
            let candle = Candle::new(device, options.precision, is_reference)?.allowing_tf32();
            Model::load(candle, base, weights, options)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use lorank_core::Precision;
    use lorank_cuda::{ArenaUse, Ops};

    use super::*;
    use crate::config::Config;
    use crate::labels::{HeadRow, Labels};
    use crate::model::{AdapterSource, ModelAdapter, PairToScore};
    use crate::pass::StageTimes;
    use crate::peft::PeftConfig;
    use crate::{Files, Measure, Pair, TokensLimit};

    fn open(folder: &str) -> Files {
        Files::folder(lorank_testing::fixture("tiny-bert").join(folder)).unwrap()
    }

    fn base() -> (BaseModel, Weights) {
        let files = open("base");
        let Config { name, architecture, .. } = Config::read(&files).unwrap().0;
        let weights = architecture.open_weights(&files).unwrap();
        let (labels, head_row) = (Labels::numbered(1), Some(HeadRow::ONLY));
        let base = BaseModel { name, architecture, pad_token_id: None, score_tokens: None, labels, head_row, files };
        (base, weights)
    }

    fn model(pass: ForwardPass) -> Box<dyn ScoringModel> {
        let (base, mut weights) = base();
        let options = LoadOptions { pass, ..LoadOptions::default() };
        load(base, &mut weights, &options, Int8Effect::Assumed(true)).unwrap()
    }

    /// A model on a device with this much memory, which is warmed up.
    fn warmed_up(n_bytes: usize, precision: Precision, tokens_max: usize) -> Result<Box<dyn ScoringModel>, ModelError> {
        let (base, mut weights) = base();
        let (precision, tokens_max) = (precision.into(), NonZeroUsize::new(tokens_max));
        let options = LoadOptions { tokens_max, precision, pass: ForwardPass::GpuOnHost, ..LoadOptions::default() };
        let cuda = Cuda::new(Host::new(n_bytes), options.precision).unwrap().warming_up();
        Model::load(cuda, base, &mut weights, &options)
    }

    /// The model on the host, or the first replica there.
    fn on_host(model: &dyn ScoringModel) -> &Model<Cuda<Host>> {
        let model = model.as_any().downcast_ref().map_or(model, Replicas::first);
        model.as_any().downcast_ref().unwrap()
    }

    fn arena_use(model: &dyn ScoringModel) -> ArenaUse {
        on_host(model).backend.ops().arena_use()
    }

    fn adapter(model: &dyn ScoringModel, is_merged: bool) -> ModelAdapter {
        let (id, files) = ("adapter-a".parse().unwrap(), open("adapter-a"));
        let config = PeftConfig::read(&files).unwrap();
        let source = AdapterSource { id: &id, files: &files, config: &config, score_tokens: None, score_label: None };
        let load = if is_merged { model.merge_adapter(&source) } else { model.load_adapter(&source) };
        load.unwrap()
    }

    /// Whether a model scores a pair with an adapter. The bare pairs beside it are scored in any case.
    fn is_scored(model: &dyn ScoringModel, adapter: &ModelAdapter) -> bool {
        let pair = Pair { ids: vec![1, 7, 8, 9], type_ids: vec![0, 0, 1, 1] };
        let pairs = [None, Some(adapter), None].map(|adapter| PairToScore { pair: &pair, adapter, group: 0 });
        let scores = model.score(&pairs, Measure::Total, &mut StageTimes::default());
        let [first, adapted, last] = <[_; 3]>::try_from(scores).unwrap();
        assert_eq!(first.unwrap().to_bits(), last.unwrap().to_bits());
        match adapted {
            Ok(score) => score.is_finite(),
            Err(ModelError::OtherModel { adapter }) => {
                assert_eq!(adapter.as_str(), "adapter-a");
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_pack_that_does_not_fit_into_a_gpu_is_run_in_halves() {
        let model = model(ForwardPass::GpuOnHost);
        let pair = |n: u32| Pair { ids: (0..12).map(|at| 1 + (7 * n + at) % 50).collect(), type_ids: vec![0; 12] };
        let pairs: Vec<Pair> = (0..9).map(pair).collect();
        let pairs: Vec<_> = pairs.iter().map(|pair| PairToScore { pair, adapter: None, group: 0 }).collect();
        let score = || model.score(&pairs, Measure::Total, &mut StageTimes::default());
        let of_all: Vec<f32> = score().into_iter().map(Result::unwrap).collect();
        let ops = on_host(&*model).backend.ops();
        let peak = arena_use(&*model).peak;
        ops.reserve_arena(peak * 3 / 4).unwrap();
        let in_halves: Vec<f32> = score().into_iter().map(Result::unwrap).collect();
        assert_eq!(in_halves, of_all);
        assert_eq!(model.gpus()[0].n_passes_halved, 1);
        ops.reserve_arena(peak / 4).unwrap();
        for outcome in score() {
            let error = lorank_core::with_causes(&outcome.unwrap_err());
            assert!(error.contains("does not fit into the GPU memory"), "{error}");
        }
    }

    #[test]
    fn a_model_on_a_gpu_is_warmed_up_with_as_many_tokens_as_fit() {
        const PLENTY: usize = 64 << 20;
        for precision in [Precision::F32, Precision::Fp8] {
            let budget = warmed_up(PLENTY, precision, 700).unwrap().facts().budget;
            assert_eq!((budget.tokens_max.get(), budget.limit), (700, TokensLimit::Requested), "{precision}");
        }
        let model = warmed_up(PLENTY, Precision::Bf16, 700).unwrap();
        let (facts, gpu) = (model.facts(), model.gpus().remove(0));
        assert_eq!((facts.budget.tokens_max.get(), facts.budget.limit), (700, TokensLimit::Requested));
        assert_eq!((gpu.tokens_max, gpu.tokens_limit), (700, TokensLimit::Requested));
        let ArenaUse { size, used, peak } = arena_use(&*model);
        assert!(used == 0 && peak > size / 3, "a pass used {peak} of {size} bytes");
        // Beside the weights, there is memory for the activations of 100 tokens.
        let n_bytes = PLENTY - gpu.memory_free.unwrap() - size + size / 700 * 100 * 4 / 3;
        let model = warmed_up(n_bytes, Precision::Bf16, 700).unwrap();
        let (budget, gpu) = (model.facts().budget, model.gpus().remove(0));
        assert!((90..=110).contains(&budget.tokens_max.get()), "{budget:?}");
        assert_eq!((gpu.tokens_max, gpu.tokens_limit), (budget.tokens_max.get(), TokensLimit::Memory));
        assert_eq!(budget.pair_tokens_max, Some(budget.tokens_max));
        assert!(arena_use(&*model).peak > 0);
        let error = warmed_up(n_bytes - size / 700 * 100 * 4 / 3, Precision::Bf16, 700).unwrap_err();
        let error = lorank_core::with_causes(&error);
        assert!(error.contains("not enough GPU memory for a pass of one token"), "{error}");
    }

    #[test]
    fn few_tokens_reserve_memory_for_the_longest_pair() {
        let model = warmed_up(64 << 20, Precision::Bf16, 10).unwrap();
        let (budget, positions) = (model.facts().budget, model.facts().max_position_embeddings);
        assert_eq!((budget.tokens_max.get(), budget.pair_tokens_max.map(NonZeroUsize::get)), (10, Some(positions)));
    }

    #[test]
    fn an_adapter_is_used_with_the_model_that_loaded_it_alone() {
        let passes = [ForwardPass::Fast, ForwardPass::Fast, ForwardPass::Reference, ForwardPass::GpuOnHost];
        let models = passes.map(model);
        for (own, loader) in models.iter().enumerate() {
            for is_merged in [false, true] {
                let adapter = adapter(&**loader, is_merged);
                for (n, model) in models.iter().enumerate() {
                    assert_eq!(is_scored(&**model, &adapter), n == own, "model {n} with an adapter of model {own}");
                }
            }
        }
    }
}

//! The candle backend: for GPUs, and as the reference on a CPU.
//!
//! Weights and rows have one type, bf16 or f32. Norms, softmax and rotary positions always compute in f32.

mod attention;
mod mark;
mod padded;
mod rotary;
mod tf32;
mod train;

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{DType, Device, Error, Result, Tensor};
use candle_nn::ops;
use lorank_core::Precision;
use lorank_kernels::{Activation, Span};

use self::attention::AttentionPlan;
use self::mark::Mark;
use self::rotary::Rotary;
pub(crate) use self::train::CandleTrain;
use super::{AdjustRow, Backend, Lookup, Storage, try_map};
use crate::attention::{Angles, AttentionShape};
use crate::backend::linear::{AdapterRows, Delta, Epilogue, Linear, RowAdapters, WeightDelta};
use crate::clock::StageClock;
use crate::precision::ChosenPrecision;
use crate::weights::{Table, Weights};
use crate::{ModelError, PrecisionChoice};

/// candle on a device.
#[derive(Debug, Clone)]
pub(crate) struct Candle {
    device: Device,
    chosen: ChosenPrecision,
    /// The type of weights and rows.
    dtype: DType,
}

/// An embedding table.
#[derive(Debug)]
pub(crate) enum Embeddings {
    /// As stored in the file; rows are decoded on lookup.
    Coded(Table),
    /// In GPU memory, which avoids transferring looked-up rows.
    OnDevice(Tensor),
}

impl Candle {
    /// candle on a device. `auto` selects bf16 on an NVIDIA GPU that supports it, else f32; the reference uses f32.
    ///
    /// # Errors
    /// [`ModelError::Precision`] for an unsupported precision.
    pub(crate) fn new(
        device: Device,
        precision: PrecisionChoice,
        is_reference: bool,
    ) -> std::result::Result<Self, ModelError> {
        let chosen = match is_reference {
            true => precision.or(ChosenPrecision::new(Precision::F32, "auto: the reference pass uses f32")),
            false => precision.on_gpu(device.is_cuda() && has_bf16(&device)),
        };
        let precision = chosen.precision;
        let refused = |why| Err(ModelError::Precision { precision, why });
        let dtype = match precision {
            Precision::F32 => DType::F32,
            _ if is_reference => return refused("the reference pass uses f32"),
            Precision::Bf16 if !has_bf16(&device) => {
                return refused("this GPU has no bf16 support; use `f32` or `auto`");
            }
            Precision::Bf16 => DType::BF16,
            _ => return refused("candle supports `bf16` and `f32`; use one of them or `auto`"),
        };
        Ok(Self { device, chosen, dtype })
    }

    /// For scores alone: lets a GPU multiply f32 in TF32 if the model is in bf16.
    pub(crate) fn allowing_tf32(self) -> Self {
        if self.device.is_cuda() {
            tf32::choose(self.dtype == DType::BF16);
        }
        self
    }

    /// A tensor on the device.
    fn tensor(&self, values: Vec<f32>, shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
        Tensor::from_vec(values, shape.into(), &self.device)?.to_dtype(self.dtype)
    }

    /// A tensor of a file. Numbers in bf16 go to the device as they are in the file.
    fn read(&self, weights: &mut Weights, tensor: &str, shape: [usize; 2]) -> std::result::Result<Tensor, ModelError> {
        if self.dtype == DType::BF16 && weights.is_bf16(tensor) {
            let upload = |bytes: &[u8]| Tensor::from_raw_buffer(bytes, DType::BF16, &shape, &self.device);
            return Ok(weights.bf16(tensor, shape, upload)??);
        }
        Ok(self.tensor(weights.values(tensor, &shape)?, &shape)?)
    }

    /// The rows of a table with these ids: [ids.len(), width].
    fn rows_of(&self, (table, ids): Lookup<'_, Self>) -> Result<Tensor> {
        match table {
            Embeddings::Coded(table) => self.tensor(table.rows(ids), (ids.len(), table.width())),
            Embeddings::OnDevice(table) => table.index_select(&Tensor::new(ids, &self.device)?, 0),
        }
    }
}

impl Backend for Candle {
    type Rows = Tensor;
    type Matrix = Tensor;
    type Vector = Tensor;
    type Embeddings = Embeddings;
    type Rotary = Rotary;
    type AttentionPlan = AttentionPlan;
    type AdapterLayout = ();
    type Mark = Mark;
    type Error = Error;

    /// A GPU runs one operation at a time, and candle's own operations use all threads of a CPU.
    const RUNS_PASSES_IN_PARALLEL: bool = false;

    fn name(&self) -> String {
        "candle".to_owned()
    }

    fn device(&self) -> &'static str {
        match self.device {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Metal(_) => "metal",
        }
    }

    fn precision(&self) -> ChosenPrecision {
        self.chosen.clone()
    }

    fn synchronize(&self) -> Result<()> {
        self.device.synchronize()
    }

    fn clock(&self) -> StageClock {
        match self.device {
            Device::Cpu => StageClock::Host,
            Device::Cuda(_) => StageClock::DeviceEvents,
            Device::Metal(_) => StageClock::HostAfterWaiting,
        }
    }

    fn mark(&self) -> Result<Mark> {
        Mark::new(&self.device)
    }

    fn time_between(&self, start: &Mark, end: &Mark) -> Result<Duration> {
        start.time_until(end)
    }

    fn tokens_max(&self) -> NonZeroUsize {
        const { NonZeroUsize::new(16_384).expect("it is not zero") }
    }

    fn matrix(
        &self,
        weights: &mut Weights,
        tensor: &str,
        [n_out, n_in]: [usize; 2],
        _storage: Storage,
        adjust: Option<AdjustRow<'_>>,
    ) -> std::result::Result<Tensor, ModelError> {
        let Some(adjust) = adjust else { return self.read(weights, tensor, [n_out, n_in]) };
        let mut values = weights.values(tensor, &[n_out, n_in])?;
        values.chunks_mut(n_in).enumerate().for_each(|(row, values)| adjust(row, values));
        Ok(self.tensor(values, (n_out, n_in))?)
    }

    fn vector(&self, values: Vec<f32>) -> Result<Tensor> {
        let len = values.len();
        self.tensor(values, len)
    }

    fn embeddings(
        &self,
        weights: &mut Weights,
        tensor: &str,
        [n, width]: [usize; 2],
    ) -> std::result::Result<Embeddings, ModelError> {
        match self.device {
            Device::Cpu => weights.table(tensor, [n, width]).map(Embeddings::Coded),
            _ => self.read(weights, tensor, [n, width]).map(Embeddings::OnDevice),
        }
    }

    fn matrix_bytes(matrix: &Tensor) -> usize {
        matrix.elem_count() * matrix.dtype().size_in_bytes()
    }

    fn embeddings_bytes(embeddings: &Embeddings) -> usize {
        match embeddings {
            Embeddings::Coded(table) => table.n_bytes(),
            Embeddings::OnDevice(tensor) => Self::matrix_bytes(tensor),
        }
    }

    fn look_up(&self, first: Lookup<'_, Self>, others: &[Lookup<'_, Self>]) -> Result<Tensor> {
        others.iter().try_fold(self.rows_of(first)?, |sum, lookup| sum + self.rows_of(*lookup)?)
    }

    fn linear(
        &self,
        layer: &Linear<Self>,
        x: &Tensor,
        adapters: &RowAdapters<'_, Self>,
        epilogue: &Epilogue<'_, Self>,
    ) -> Result<Tensor> {
        let mut y = adapted(layer, x, product(x, &layer.weight, layer.bias.as_ref())?, adapters)?;
        if let Some(add) = epilogue.add {
            y = (add + y)?;
        }
        match epilogue.activation {
            None => Ok(y),
            Some(activation) => activated(&y, activation),
        }
    }

    fn linears<const N: usize>(
        &self,
        layers: [&Linear<Self>; N],
        x: &Tensor,
        adapters: &RowAdapters<'_, Self>,
    ) -> Result<[Tensor; N]> {
        try_map(layers, |layer| self.linear(layer, x, adapters, &Epilogue::NONE))
    }

    fn layer_norm(&self, x: Cow<'_, Tensor>, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
        ops::layer_norm(&x, weight, bias, eps)
    }

    fn rms_norm(&self, x: Cow<'_, Tensor>, weight: &Tensor, eps: f32) -> Result<Tensor> {
        ops::rms_norm(&x, weight, eps)
    }

    fn gated(&self, gate: Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
        activated(&gate, activation)? * up
    }

    fn rotary(&self, angles: Angles) -> Result<Rotary> {
        Rotary::new(&angles, &self.device)
    }

    fn attention_plan(
        &self,
        shape: &AttentionShape,
        spans: Vec<Span>,
        rotary: Option<&Arc<Rotary>>,
    ) -> Result<AttentionPlan> {
        AttentionPlan::new(*shape, spans, rotary, &self.device)
    }

    fn attention(&self, plan: &AttentionPlan, [q, k, v]: [Tensor; 3]) -> Result<Tensor> {
        plan.attend([&q, &k, &v])
    }

    fn gather(&self, rows: &Tensor, indices: &[usize]) -> Result<Tensor> {
        let indices: Vec<u32> = indices.iter().map(|index| *index as u32).collect();
        rows.index_select(&Tensor::new(indices, &self.device)?, 0)
    }

    fn split<const N: usize>(&self, rows: &Tensor) -> Result<[Tensor; N]> {
        let width = rows.dim(1)? / N;
        try_map(std::array::from_fn(|n| n), |n: usize| rows.narrow(1, n * width, width)?.contiguous())
    }

    /// Sums in f32, whatever the type of the rows.
    fn mean(&self, rows: &Tensor, ranges: &[Range<usize>]) -> Result<Tensor> {
        let mean = |range: &Range<usize>| {
            rows.narrow(0, range.start, range.len())?.to_dtype(DType::F32)?.mean_keepdim(0)?.to_dtype(rows.dtype())
        };
        Tensor::cat(&ranges.iter().map(mean).collect::<Result<Vec<_>>>()?, 0)
    }

    fn concat(&self, parts: Vec<Tensor>) -> Result<Tensor> {
        Tensor::cat(&parts, 0)
    }

    fn reshape(&self, rows: Tensor, width: usize) -> Result<Tensor> {
        rows.reshape(((), width))
    }

    fn scale(&self, rows: Tensor, factor: f32) -> Result<Tensor> {
        rows * f64::from(factor)
    }

    fn add_values(&self, x: Tensor, values: Vec<f32>) -> Result<Tensor> {
        let values = self.tensor(values, x.shape().clone())?;
        x + values
    }

    fn numbers<'a>(&self, rows: &'a Tensor) -> Result<Cow<'a, [f32]>> {
        rows.flatten_all()?.to_dtype(DType::F32)?.to_vec1().map(Cow::Owned)
    }
}

/// Whether a device can multiply bf16 matrices, which NVIDIA GPUs before Ampere cannot.
fn has_bf16(device: &Device) -> bool {
    let probe = || Tensor::zeros((8, 8), DType::BF16, device).and_then(|x| x.matmul(&x)?.to_device(&Device::Cpu));
    probe().is_ok()
}

/// The activation of each number.
fn activated(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
        Activation::Tanh => x.tanh(),
        Activation::Silu => ops::silu(x),
    }
}

/// x: [n, n_in], weight: [n_out, n_in], bias: [n_out]; the result: [n, n_out].
fn product(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// x: [n, n_in], y: the base model's product, [n, n_out]; returns the product with each row's adapter, [n, n_out].
fn adapted(layer: &Linear<Candle>, x: &Tensor, y: Tensor, adapters: &[AdapterRows<'_, Candle>]) -> Result<Tensor> {
    if adapters.iter().all(|rows| layer.delta(rows.adapter).is_none()) {
        return Ok(y);
    }
    let mut start = 0;
    let mut runs = Vec::new();
    for AdapterRows { n_rows, adapter } in adapters.iter().filter(|rows| rows.n_rows > 0) {
        let (x, y) = (x.narrow(0, start, *n_rows)?, y.narrow(0, start, *n_rows)?);
        runs.push(match layer.delta(*adapter) {
            None => y,
            Some(delta) => with_delta(layer, &x, y, delta)?,
        });
        start += n_rows;
    }
    Tensor::cat(&runs, 0)
}

/// x: [n, n_in], y: the base model's product, [n, n_out]; returns the product with the adapter's changes, [n, n_out].
fn with_delta(layer: &Linear<Candle>, x: &Tensor, y: Tensor, delta: &Delta<Candle>) -> Result<Tensor> {
    let bias = delta.bias.as_ref().or(layer.bias.as_ref());
    let y = match (&delta.weight, &delta.bias) {
        (WeightDelta::Replaced(weight), _) => product(x, weight, bias)?,
        (_, Some(_)) => product(x, &layer.weight, bias)?,
        (_, None) => y,
    };
    match &delta.weight {
        // The scale is applied to the low-rank product, which is the smallest.
        WeightDelta::LowRank { a, b, scale } => y + (x.matmul(&a.t()?)? * *scale)?.matmul(&b.t()?)?,
        WeightDelta::None | WeightDelta::Replaced(_) => Ok(y),
    }
}

impl From<Error> for ModelError {
    fn from(source: Error) -> Self {
        Self::Compute(Arc::new(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Files;
    use crate::weights::ADAPTER_FILE;

    fn adapter_in_bf16() -> Vec<u8> {
        std::fs::read(lorank_testing::fixture("tiny-llama/adapter-d/adapter_model.safetensors")).unwrap()
    }

    /// The weights of an adapter with these bytes, and the name and shape of its first matrix.
    fn weights(bytes: Vec<u8>) -> (Weights, String, [usize; 2]) {
        let weights = Weights::of_adapter(&Files::embedded("m", [(ADAPTER_FILE, &*bytes.leak())])).unwrap();
        let name = weights.names().next().unwrap().to_owned();
        let shape = weights.shape(&name).unwrap().try_into().unwrap();
        (weights, name, shape)
    }

    #[test]
    fn numbers_in_bf16_are_uploaded_as_they_are_in_the_file() {
        let candle = Candle::new(Device::Cpu, Precision::Bf16.into(), false).unwrap();
        let (mut direct, name, shape) = weights(adapter_in_bf16());
        assert!(direct.is_bf16(&name));
        let (mut decoded, ..) = weights(adapter_in_bf16());
        let read =
            |weights: &mut Weights, adjust| candle.matrix(weights, &name, shape, Storage::AsInFile, adjust).unwrap();
        let [a, b] = [read(&mut direct, None), read(&mut decoded, Some(&|_, _| {}))].map(|matrix| {
            assert_eq!((matrix.dtype(), matrix.dims()), (DType::BF16, &shape[..]));
            matrix.to_vec2::<half::bf16>().unwrap()
        });
        assert_eq!(a, b);
        assert_eq!(direct.digest(), decoded.digest());
    }

    #[test]
    fn an_infinite_number_in_bf16_is_refused() {
        let mut bytes = adapter_in_bf16();
        let n = bytes.len();
        bytes[n - 2..].copy_from_slice(&half::bf16::NEG_INFINITY.to_le_bytes());
        let (mut weights, ..) = weights(bytes);
        let candle = Candle::new(Device::Cpu, Precision::Bf16.into(), false).unwrap();
        let names: Vec<String> = weights.names().map(str::to_owned).collect();
        let mut read = |name: &String| {
            let shape = weights.shape(name).unwrap().try_into().unwrap();
            candle.matrix(&mut weights, name, shape, Storage::AsInFile, None).err()
        };
        let refused: Vec<ModelError> = names.iter().filter_map(&mut read).collect();
        assert!(matches!(&refused[..], [ModelError::NotFiniteWeight { .. }]), "{refused:?}");
    }

    #[test]
    fn the_reference_is_in_f32() {
        let precision =
            |choice: PrecisionChoice| Candle::new(Device::Cpu, choice, true).map(|candle| candle.precision().precision);
        assert_eq!(precision(PrecisionChoice::Auto).ok(), Some(Precision::F32));
        for refused in [Precision::Bf16, Precision::Int8] {
            let error = precision(refused.into()).unwrap_err().to_string();
            assert!(error.contains(refused.name()) && error.contains("reference"), "{error}");
        }
    }
}

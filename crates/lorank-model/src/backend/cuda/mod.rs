//! The backend over `lorank-cuda`: an NVIDIA GPU, or the host in its place to test everything here.
//!
//! Weights and rows have one format, bf16 or f32; sums are in f32. Layers with the same input are one product, and so are a layer
//! and its adapters ([`linear`]).
//!
//! In FP8, the base model's linear layers have their weights in e4m3, and quantize their inputs; everything else, and all rows
//! between operations, are as in bf16.

mod activations;
mod attention;
mod linear;
mod slots;

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lorank_core::Precision;
use lorank_cuda::{CudaError, DeviceInfo, Format, Indices, Mark, Op, Ops, Vector};
use lorank_kernels::{Activation, Span};

pub(crate) use self::activations::Activations;
use self::attention::{AttentionPlan, Rotary};
use self::linear::{AdapterLayout, Input, Matrix, MatrixKind, Numbers, is_changed};
use self::slots::{N_SLOTS, SPARE_COLUMNS, Slots};
use super::{AdjustRow, Backend, Lookup, Storage, try_map};
use crate::attention::{Angles, AttentionShape};
use crate::backend::linear::{Epilogue, Linear, Modules, RowAdapters};
use crate::budget::PassBudget;
use crate::clock::StageClock;
use crate::gpu_facts::GpuFacts;
use crate::precision::ChosenPrecision;
use crate::weights::Weights;
use crate::{ModelError, PrecisionChoice};

/// The memory that stays free for the library of products, tables of positions, and other programs, in bytes.
const RESERVE_BYTES: usize = 512 << 20;

/// A device.
#[derive(Debug)]
pub(crate) struct Cuda<O> {
    ops: O,
    /// Whether the device is a GPU, and not the host in its place.
    is_gpu: bool,
    chosen: ChosenPrecision,
    /// Of rows, and of the weights that are not quantized.
    format: Format,
    /// Whether the weights of linear layers are quantized.
    is_fp8: bool,
    slots: Mutex<Slots>,
    warms_up: bool,
    /// Has a clone in each matrix of an update in memory, and in a warm-up.
    updates: Arc<()>,
}

impl<O: Ops> Cuda<O> {
    /// `auto` selects bf16.
    ///
    /// # Errors
    /// [`ModelError::Precision`] for an unsupported precision, [`CudaError::NoE4m3`] for FP8 on a GPU without it.
    pub(crate) fn new(ops: O, precision: PrecisionChoice) -> Result<Self, ModelError> {
        let chosen = precision.on_gpu(true);
        let info = ops.info();
        let format = match chosen.precision {
            Precision::F32 => Format::F32,
            Precision::Fp8 if !info.has_e4m3 => return Err(CudaError::NoE4m3 { name: info.name }.into()),
            Precision::Bf16 | Precision::Fp8 => Format::Bf16,
            precision => {
                return Err(ModelError::Precision { precision, why: "a GPU supports `fp8`, `bf16` and `f32`" });
            }
        };
        let (is_fp8, is_gpu) = (chosen.precision == Precision::Fp8, info.compute_capability.is_some());
        let warms_up = is_gpu;
        Ok(Self { ops, is_gpu, chosen, format, is_fp8, slots: Mutex::default(), warms_up, updates: Arc::default() })
    }

    /// Warms up as a GPU does. The host in its place does not, because it is slow.
    #[cfg(test)]
    pub(crate) fn warming_up(self) -> Self {
        Self { warms_up: true, ..self }
    }

    #[cfg(test)]
    pub(crate) fn ops(&self) -> &O {
        &self.ops
    }

    /// Rows that are read by linear layers, of undefined numbers.
    fn input(&self, n: usize, width: usize) -> Result<Activations, CudaError> {
        // Quantized matrices have their spare columns apart.
        let has_updates = !self.is_fp8 && Arc::strong_count(&self.updates) > 1;
        Activations::new(&self.ops, [n, width], self.format, if has_updates { SPARE_COLUMNS } else { 0 })
    }

    /// Other rows of undefined numbers.
    fn rows(&self, n: usize, width: usize) -> Result<lorank_cuda::Rows, CudaError> {
        self.ops.rows(n, width, self.format)
    }

    /// Reads a matrix of a file. Numbers in bf16 go to the device as they are in the file.
    fn read(&self, weights: &mut Weights, tensor: &str, to: &lorank_cuda::Rows) -> Result<(), ModelError> {
        let shape = [to.n_rows(), to.width()];
        if self.format == Format::Bf16 && weights.is_bf16(tensor) {
            return Ok(weights.bf16(tensor, shape, |bytes| self.ops.write_encoded(to, bytes))??);
        }
        Ok(self.ops.write(to, &weights.values(tensor, &shape)?)?)
    }

    /// Whether a matrix of a linear layer, [n_out, n_in], is quantized. Tensor cores multiply 16 numbers of e4m3 at once.
    fn quantizes(&self, shape: [usize; 2]) -> bool {
        self.is_fp8 && shape.iter().all(|n| n.is_multiple_of(16))
    }

    /// `x Wᵀ + bias + add`, with the adapters' changes: [n, n_out].
    fn layer(
        &self,
        layer: &Linear<Self>,
        x: &Input,
        adapters: &RowAdapters<'_, Self>,
        add: Option<&lorank_cuda::Rows>,
    ) -> Result<Activations, CudaError> {
        let out = self.rows(x.n_rows(), layer.weight.n_out())?;
        self.product(layer, x, adapters, add, &out)?;
        Ok(out.into())
    }

    /// Several layers in one product; `None` if their weights are not next to each other, or adapters change one.
    fn fused<const N: usize>(
        &self,
        layers: [&Linear<Self>; N],
        x: &Input,
        adapters: &RowAdapters<'_, Self>,
    ) -> Result<Option<[Activations; N]>, CudaError> {
        if layers.iter().any(|layer| is_changed(layer, adapters)) {
            return Ok(None);
        }
        let Some(weight) = Numbers::stacked(&layers.map(|layer| &layer.weight.numbers)) else { return Ok(None) };
        let biases: Vec<&Vector> = layers.iter().filter_map(|layer| layer.bias.as_ref()).collect();
        let bias = Vector::joined(&biases);
        if !(biases.is_empty() || (biases.len() == N && bias.is_some())) {
            return Ok(None);
        }
        let out = self.rows(x.n_rows(), weight.n_out())?;
        let bias = bias.as_ref().filter(|_| !biases.is_empty());
        self.multiply(x, &weight, bias, None, &out)?;
        Ok(Some(out.split(layers.map(|layer| layer.weight.n_out())).map(Activations::from)))
    }
}

impl From<CudaError> for ModelError {
    fn from(source: CudaError) -> Self {
        Self::Compute(Arc::new(source))
    }
}

impl<O: Ops> Backend for Cuda<O> {
    type Rows = Activations;
    type Matrix = Matrix;
    type Vector = Vector;
    /// [n_rows, width]
    type Embeddings = lorank_cuda::Rows;
    type Rotary = Rotary;
    type AttentionPlan = AttentionPlan;
    type AdapterLayout = AdapterLayout;
    type Mark = Mark;
    type Error = CudaError;

    /// Operations run in order on one stream.
    const RUNS_PASSES_IN_PARALLEL: bool = false;

    fn name(&self) -> String {
        "lorank-cuda".to_owned()
    }

    fn gpu(&self, budget: &PassBudget) -> Option<GpuFacts> {
        let DeviceInfo { name, compute_capability, driver, cublaslt, nvrtc, has_compiled, kernels_millis, .. } =
            self.ops.info();
        let memory = self.ops.memory().ok();
        Some(GpuFacts {
            name,
            compute_capability,
            driver,
            cublaslt,
            nvrtc,
            kernels_millis,
            has_compiled,
            memory_total: memory.map(|memory| memory.total),
            memory_free: memory.map(|memory| memory.free),
            activation_bytes: self.ops.arena_use().size,
            tokens_max: budget.tokens_max.get(),
            tokens_limit: budget.limit,
            adapter_slots: N_SLOTS,
            adapter_slots_used: self.slots.lock().unwrap_or_else(PoisonError::into_inner).n_used(),
            ..GpuFacts::default()
        })
    }

    fn device(&self) -> &'static str {
        if self.is_gpu { "cuda" } else { "cpu" }
    }

    fn precision(&self) -> ChosenPrecision {
        self.chosen.clone()
    }

    fn synchronize(&self) -> Result<(), CudaError> {
        self.ops.synchronize()
    }

    fn clock(&self) -> StageClock {
        if self.is_gpu { StageClock::DeviceEvents } else { StageClock::Host }
    }

    fn mark(&self) -> Result<Mark, CudaError> {
        self.ops.mark()
    }

    fn time_between(&self, start: &Mark, end: &Mark) -> Result<Duration, CudaError> {
        start.time_until(end)
    }

    fn tokens_max(&self) -> NonZeroUsize {
        // With 16,384, the activations of Llama-3.2-3B would take 1.5 GB, to read the weights two times instead of three.
        const { NonZeroUsize::new(8_192).expect("it is not zero") }
    }

    fn before_reading(&self, matrices: &[[usize; 2]], storage: Storage) -> Result<(), CudaError> {
        let is_base = storage == Storage::Precision;
        let (step, n_spare) = (16 / self.format.n_bytes(), if is_base { SPARE_COLUMNS } else { 0 });
        let (quantized, plain): (Vec<[usize; 2]>, Vec<[usize; 2]>) =
            matrices.iter().partition(|shape| is_base && self.quantizes(**shape));
        let n_numbers = |[n_rows, width]: &[usize; 2]| n_rows * (width + n_spare).next_multiple_of(step);
        let n_bytes = plain.iter().map(n_numbers).sum::<usize>() * self.format.n_bytes();
        self.ops.reserve_weights(n_bytes + quantized.iter().map(|[n_rows, width]| n_rows * width).sum::<usize>())?;
        match quantized.iter().map(|[n_rows, _]| n_rows).sum() {
            0 => Ok(()),
            n_rows => self.ops.reserve_scales(n_rows),
        }
    }

    fn before_passes(&self, modules: &Modules, wanted: NonZeroUsize) -> Result<Option<NonZeroUsize>, CudaError> {
        self.ops.close_slabs();
        let bytes_of_token = bytes_of_token(modules, self.format, self.is_fp8);
        let free = self.ops.memory()?.free;
        let available = free.saturating_sub(RESERVE_BYTES.min(free / 4));
        let n_tokens = wanted.get().min(available / bytes_of_token);
        let Some(fitting) = NonZeroUsize::new(n_tokens) else {
            return Err(CudaError::OutOfMemory { purpose: "a pass of one token", needed: bytes_of_token, free });
        };
        self.ops.reserve_arena(fitting.get() * bytes_of_token)?;
        Ok(Some(fitting))
    }

    fn warm_up(&self) -> Option<Arc<()>> {
        self.warms_up.then(|| self.updates.clone())
    }

    fn is_out_of_memory(error: &CudaError) -> bool {
        error.is_out_of_memory()
    }

    fn matrix(
        &self,
        weights: &mut Weights,
        tensor: &str,
        shape: [usize; 2],
        storage: Storage,
        adjust: Option<AdjustRow<'_>>,
    ) -> Result<Matrix, ModelError> {
        let kind = match storage {
            Storage::AsInFile => MatrixKind::Update(self.format, self.updates.clone()),
            Storage::Precision if self.quantizes(shape) => MatrixKind::QuantizedBase,
            Storage::Precision => MatrixKind::Base(self.format),
        };
        let matrix = Matrix::new(&self.ops, shape, kind)?;
        if let (Numbers::Plain(rows), None) = (&matrix.numbers, adjust) {
            self.read(weights, tensor, rows)?;
            return Ok(matrix);
        }
        let mut values = weights.values(tensor, &shape)?;
        if let Some(adjust) = adjust {
            values.chunks_mut(shape[1]).enumerate().for_each(|(row, values)| adjust(row, values));
        }
        match &matrix.numbers {
            Numbers::Plain(rows) => self.ops.write(rows, &values)?,
            Numbers::Quantized(rows) => self.ops.write_quantized(rows, &values)?,
        }
        Ok(matrix)
    }

    fn vector(&self, values: Vec<f32>) -> Result<Vector, CudaError> {
        self.ops.vector(&values)
    }

    fn embeddings(
        &self,
        weights: &mut Weights,
        tensor: &str,
        shape: [usize; 2],
    ) -> Result<lorank_cuda::Rows, ModelError> {
        let table = self.ops.weights_apart(shape, self.format)?;
        self.read(weights, tensor, &table)?;
        Ok(table)
    }

    fn matrix_bytes(matrix: &Matrix) -> usize {
        matrix.n_bytes()
    }

    fn embeddings_bytes(embeddings: &lorank_cuda::Rows) -> usize {
        embeddings.n_bytes()
    }

    fn look_up(&self, first: Lookup<'_, Self>, others: &[Lookup<'_, Self>]) -> Result<Activations, CudaError> {
        let lookups = || std::iter::once(&first).chain(others);
        let ids = lookups().map(|(_, ids)| self.ops.indices(ids)).collect::<Result<Vec<Indices>, _>>()?;
        let tables: Vec<_> = lookups().map(|(table, _)| *table).zip(&ids).collect();
        let out = self.rows(first.1.len(), first.0.width())?;
        self.ops.run(Op::Embed { tables: &tables, out: &out })?;
        Ok(out.into())
    }

    fn linear(
        &self,
        layer: &Linear<Self>,
        x: &Activations,
        adapters: &RowAdapters<'_, Self>,
        epilogue: &Epilogue<'_, Self>,
    ) -> Result<Activations, CudaError> {
        let x = self.input_of(&[layer], x)?;
        let add = epilogue.add.map(Activations::rows);
        let Some(activation) = epilogue.activation else { return self.layer(layer, &x, adapters, add) };
        let out = self.input(x.n_rows(), layer.weight.n_out())?;
        self.product(layer, &x, adapters, add, out.rows())?;
        self.ops.run(Op::Activate { x: out.rows(), activation: converted(activation), out: out.rows() })?;
        Ok(out)
    }

    fn linears<const N: usize>(
        &self,
        layers: [&Linear<Self>; N],
        x: &Activations,
        adapters: &RowAdapters<'_, Self>,
    ) -> Result<[Activations; N], CudaError> {
        let x = self.input_of(&layers, x)?;
        match self.fused(layers, &x, adapters)? {
            Some(all) => Ok(all),
            None => try_map(layers, |layer| self.layer(layer, &x, adapters, None)),
        }
    }

    fn layer_norm(
        &self,
        x: Cow<'_, Activations>,
        weight: &Vector,
        bias: &Vector,
        eps: f32,
    ) -> Result<Activations, CudaError> {
        let out = self.input(x.rows().n_rows(), x.rows().width())?;
        self.ops.run(Op::LayerNorm { x: x.rows(), weight, bias, eps, out: out.rows() })?;
        Ok(out)
    }

    fn rms_norm(&self, x: Cow<'_, Activations>, weight: &Vector, eps: f32) -> Result<Activations, CudaError> {
        let out = self.input(x.rows().n_rows(), x.rows().width())?;
        self.ops.run(Op::RmsNorm { x: x.rows(), weight, eps, out: out.rows() })?;
        Ok(out)
    }

    fn gated(&self, gate: Activations, up: &Activations, activation: Activation) -> Result<Activations, CudaError> {
        let out = self.input(gate.rows().n_rows(), gate.rows().width())?;
        let activation = converted(activation);
        self.ops.run(Op::Gated { gate: gate.rows(), up: up.rows(), activation, out: out.rows() })?;
        Ok(out)
    }

    fn rotary(&self, angles: Angles) -> Result<Rotary, CudaError> {
        Rotary::new(&self.ops, &angles)
    }

    fn attention_plan(
        &self,
        shape: &AttentionShape,
        spans: Vec<Span>,
        rotary: Option<&Arc<Rotary>>,
    ) -> Result<AttentionPlan, CudaError> {
        AttentionPlan::new(&self.ops, shape, &spans, rotary)
    }

    fn attention(&self, plan: &AttentionPlan, qkv: [Activations; 3]) -> Result<Activations, CudaError> {
        self.attend(plan, qkv)
    }

    fn gather(&self, rows: &Activations, indices: &[usize]) -> Result<Activations, CudaError> {
        let indices: Vec<u32> = indices.iter().map(|index| *index as u32).collect();
        let (out, indices) = (self.input(indices.len(), rows.rows().width())?, self.ops.indices(&indices)?);
        self.ops.run(Op::Gather { x: rows.rows(), rows: &indices, out: out.rows() })?;
        Ok(out)
    }

    fn split<const N: usize>(&self, rows: &Activations) -> Result<[Activations; N], CudaError> {
        let width = rows.rows().width() / N;
        Ok(rows.rows().split([width; N]).map(Activations::from))
    }

    fn mean(&self, rows: &Activations, ranges: &[Range<usize>]) -> Result<Activations, CudaError> {
        let out = self.input(ranges.len(), rows.rows().width())?;
        let ends: Vec<u32> = ranges.iter().flat_map(|range| [range.start as u32, range.end as u32]).collect();
        self.ops.run(Op::Mean { x: rows.rows(), ranges: &self.ops.indices(&ends)?, out: out.rows() })?;
        Ok(out)
    }

    fn concat(&self, parts: Vec<Activations>) -> Result<Activations, CudaError> {
        let n: usize = parts.iter().map(|part| part.rows().n_rows()).sum();
        let out = self.input(n, parts.first().map_or(0, |part| part.rows().width()))?;
        let mut start = 0;
        for part in &parts {
            let end = start + part.rows().n_rows();
            self.ops.run(Op::Copy { x: part.rows(), out: &out.rows().slice(start..end) })?;
            start = end;
        }
        Ok(out)
    }

    fn reshape(&self, rows: Activations, width: usize) -> Result<Activations, CudaError> {
        let rows = rows.contiguous(&self.ops)?;
        Ok(rows.reshaped(width).expect("the rows have no gaps, and divide evenly").into())
    }

    fn scale(&self, rows: Activations, factor: f32) -> Result<Activations, CudaError> {
        let out = self.rows(rows.rows().n_rows(), rows.rows().width())?;
        self.ops.run(Op::Scale { x: rows.rows(), factor, out: &out })?;
        Ok(out.into())
    }

    fn add_values(&self, x: Activations, values: Vec<f32>) -> Result<Activations, CudaError> {
        let (n, width) = (x.rows().n_rows(), x.rows().width());
        let added = self.ops.rows(n, width, Format::F32)?;
        self.ops.write(&added, &values)?;
        let out = self.rows(n, width)?;
        self.ops.run(Op::Add { x: x.rows(), y: &added, out: &out })?;
        Ok(out.into())
    }

    fn numbers<'a>(&self, rows: &'a Activations) -> Result<Cow<'a, [f32]>, CudaError> {
        self.ops.read(rows.rows()).map(Cow::Owned)
    }
}

/// The most memory that a token of a pass takes, in bytes: the layers' inputs and outputs that are in memory at once, their spare
/// columns, indices, and a quarter more for gaps between blocks.
fn bytes_of_token(modules: &Modules, format: Format, is_fp8: bool) -> usize {
    let widest =
        |width: fn(&crate::backend::linear::Module) -> usize| modules.linears.iter().map(width).max().unwrap_or(0);
    let hidden = modules.tables.iter().map(|table| table.width).max().unwrap_or(0);
    let hidden = hidden.max(widest(|module| module.n_in.min(module.n_out)));
    // The states, their norm, and a gated network: its two layers in one product, and its result.
    let n_numbers = 2 * widest(|module| module.n_out) + widest(|module| module.n_in) + 4 * (hidden + SPARE_COLUMNS);
    // A quantized input with its scale, and a product before it gets its scales, where cublasLt has no product with scales of rows.
    let scaled = widest(|module| module.n_in) + size_of::<f32>() + 2 * widest(|module| module.n_out) * format.n_bytes();
    const INDEX_BYTES: usize = 64;
    (n_numbers * format.n_bytes() + if is_fp8 { scaled } else { 0 } + INDEX_BYTES) * 5 / 4
}

fn converted(activation: Activation) -> lorank_cuda::Activation {
    match activation {
        Activation::Gelu => lorank_cuda::Activation::Gelu,
        Activation::GeluTanh => lorank_cuda::Activation::GeluTanh,
        Activation::Relu => lorank_cuda::Activation::Relu,
        Activation::Tanh => lorank_cuda::Activation::Tanh,
        Activation::Silu => lorank_cuda::Activation::Silu,
    }
}

#[cfg(test)]
mod tests {
    use lorank_cuda::Host;

    use super::*;
    use crate::Files;
    use crate::backend::linear::AdapterRows;
    use crate::config::Config;
    use crate::loader::{Bias, Loader};

    /// Layers with the same input of 64 numbers are one product with the results of each.
    fn check_fused(fixture: &str, layers: [(&str, usize); 3], bias: Bias) {
        let files = Files::folder(lorank_testing::fixture(fixture).join("base")).unwrap();
        let mut weights = Config::read(&files).unwrap().0.architecture.open_weights(&files).unwrap();
        for precision in [Precision::F32, Precision::Bf16, Precision::Fp8] {
            let cuda = Cuda::new(Host::new(1 << 28), precision.into()).unwrap();
            cuda.before_reading(&weights.matrices(|_| true), Storage::Precision).unwrap();
            cuda.ops.reserve_arena(1 << 20).unwrap();
            let mut loader = Loader::new(&mut weights, &cuda, None);
            let layers = layers.map(|(name, n_out)| loader.linear(name, [n_out, 64], bias).unwrap());
            let layers = layers.each_ref();
            let x = cuda.rows(3, 64).unwrap();
            cuda.ops.write(&x, &(0..3 * 64).map(|n| (n as f32).sin()).collect::<Vec<_>>()).unwrap();
            let x = cuda.input_of(&layers, &x.into()).unwrap();
            let adapters = RowAdapters::new(vec![AdapterRows { n_rows: 3, adapter: None }]);
            let fused = cuda.fused(layers, &x, &adapters).unwrap().expect("the weights are next to each other");
            for (layer, part) in layers.into_iter().zip(&fused) {
                let alone = cuda.layer(layer, &x, &adapters, None).unwrap();
                assert_eq!(cuda.numbers(part).unwrap(), cuda.numbers(&alone).unwrap(), "{fixture} in {precision}");
            }
        }
    }

    #[test]
    fn layers_that_are_read_one_after_another_are_one_product() {
        let of_llama = |name| ["model.layers.0.self_attn.", name].concat();
        let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(of_llama);
        check_fused("tiny-llama", [(&q, 64), (&k, 32), (&v, 32)], Bias::None);
        let of_bert = |name| ["bert.encoder.layer.0.attention.self.", name].concat();
        let [q, k, v] = ["query", "key", "value"].map(of_bert);
        check_fused("tiny-bert", [(&q, 64), (&k, 64), (&v, 64)], Bias::Given);
    }

    /// The weights of each output, and the rows, are of other sizes than their neighbors.
    #[test]
    fn quantized_weights_and_rows_have_their_scales() {
        let (n, n_in, n_out) = (5, 64, 48);
        let size = |row: usize| 10.0_f32.powi(row as i32 % 7 - 3);
        let values = |n_rows: usize, width: usize| -> Vec<f32> {
            (0..n_rows * width).map(|at| size(at / width) * ((at * at) as f32).sin()).collect()
        };
        let cuda = Cuda::new(Host::new(1 << 26), Precision::Fp8.into()).unwrap();
        cuda.ops.reserve_arena(1 << 20).unwrap();
        let weight = Matrix::new(&cuda.ops, [n_out, n_in], MatrixKind::QuantizedBase).unwrap();
        assert_eq!(weight.n_bytes(), n_out * (n_in + size_of::<f32>() + 2 * SPARE_COLUMNS));
        let Numbers::Quantized(numbers) = &weight.numbers else { panic!("the weights are quantized") };
        let (w, x) = (values(n_out, n_in), values(n, n_in));
        cuda.ops.write_quantized(numbers, &w).unwrap();
        let layer = Linear { slot: 0, weight, n_weights: n_out * n_in, bias: None };
        let rows = cuda.rows(n, n_in).unwrap();
        cuda.ops.write(&rows, &x).unwrap();
        let adapters = RowAdapters::new(vec![AdapterRows { n_rows: n, adapter: None }]);
        let out = cuda.linear(&layer, &rows.into(), &adapters, &Epilogue::NONE).unwrap();
        let found = cuda.numbers(&out).unwrap();
        let norm = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
        for (x, found) in x.chunks(n_in).zip(found.chunks(n_out)) {
            for (w, found) in w.chunks(n_in).zip(found) {
                let expected: f32 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                let error = (found - expected).abs() / (norm(x) * norm(w));
                assert!(error < 0.03, "{found}, not {expected}");
            }
        }
    }

    #[test]
    fn fp8_needs_a_gpu_that_has_it_and_is_never_chosen_by_auto() {
        let error = Cuda::new(Host::new(0).without_e4m3(), Precision::Fp8.into()).unwrap_err();
        let error = lorank_core::with_causes(&error);
        assert!(error.contains("compute capability 8.9") && error.contains("`--precision bf16`"), "{error}");
        let auto = Cuda::new(Host::new(0), PrecisionChoice::Auto).unwrap();
        assert_eq!(auto.precision().precision, Precision::Bf16);
        let int8 = Cuda::new(Host::new(0), Precision::Int8.into()).unwrap_err();
        assert!(int8.to_string().contains("`int8` cannot be used: a GPU supports `fp8`, `bf16` and `f32`"), "{int8}");
    }
}

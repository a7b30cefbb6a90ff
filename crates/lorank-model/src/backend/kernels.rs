//! The CPU backend, over this project's packed kernels.

use std::borrow::Cow;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lorank_core::Precision;
use lorank_kernels::{
    Activation, Attention, Format, Input, Isa, LeftOut, LowRank, PackedMatrix, Rotary, Segment, Span,
};

use super::{AdjustRow, Backend, Halves, Lookup, Peaks, Storage};
use crate::attention::{Angles, AttentionShape};
use crate::backend::linear::{AdapterRows, Delta, Epilogue, Linear, RowAdapters, WeightDelta};
use crate::precision::{ChosenPrecision, CpuProducts, Int8Effect, Int8Form};
use crate::weights::{Table, Weights};
use crate::{ModelError, PrecisionChoice};

/// The kernels, with the vector instructions of this CPU.
#[derive(Debug)]
pub(crate) struct Kernels {
    isa: Isa,
    chosen: ChosenPrecision,
    /// The format of the base model's linear layers.
    format: Format,
}

/// Activations.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// [n_rows, width], row by row.
    numbers: Vec<f32>,
    width: usize,
}

/// Attention needs no layout: the kernels accept sequences of any lengths.
#[derive(Debug)]
pub(crate) struct AttentionPlan {
    shape: AttentionShape,
    spans: Vec<Span>,
    angles: Option<Arc<Angles>>,
}

impl Kernels {
    /// Detects the CPU's vector instructions, and chooses the precision by them and by what int8, in the model's form, does
    /// to the model.
    ///
    /// # Errors
    /// [`ModelError::Precision`] for a precision without kernels.
    pub(crate) fn new(precision: PrecisionChoice, int8: Int8Effect<'_>, form: Int8Form) -> Result<Self, ModelError> {
        let isa = Isa::detect();
        for LeftOut { set, why } in Isa::left_out() {
            tracing::warn!("this CPU's `{set}` instructions are not used, because they compute wrong results: {why}");
        }
        let chosen = precision.on_cpu(int8, CpuProducts::of(isa, form));
        let precision = chosen.precision;
        let format = match precision {
            Precision::F32 => Format::F32,
            Precision::Bf16 => Format::Bf16,
            Precision::Int8 => form.format(),
            _ => {
                return Err(ModelError::Precision {
                    precision,
                    why: "a CPU supports `f32`, `bf16` and `int8`; `fp8` needs an NVIDIA GPU",
                });
            }
        };
        Ok(Self { isa, chosen, format })
    }

    /// Attention of rows with gaps of as many numbers between them.
    fn attend(&self, plan: &AttentionPlan, [q, k, v]: [&[f32]; 3], gap: usize) -> Rows {
        let AttentionShape { n_heads, n_kv_heads, head_dim, mask } = plan.shape;
        let attention = Attention {
            q,
            k,
            v,
            n_heads,
            n_kv_heads,
            head_dim,
            mask,
            rotary: plan.angles.as_ref().map(|angles| Rotary { cos: &angles.cos, sin: &angles.sin }),
            q_gap: gap,
            kv_gap: gap,
            spans: &plan.spans,
        };
        let numbers = match self.format {
            Format::F32 => attention.run(self.isa),
            Format::Bf16 | Format::Int8 | Format::Int8Groups => attention.run_in_bf16(self.isa),
        };
        Rows { numbers, width: n_heads * head_dim }
    }

    /// Prepares rows as input of the base model's linear layers.
    fn input<'a>(&self, x: &'a Rows) -> Input<'a> {
        Input::new(&x.numbers, x.width, self.format, self.isa)
    }
}

/// The numbers of all parts, which are copied part by part: an iterator over numbers would copy them one at a time.
pub(super) fn joined<'a>(parts: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
    parts.collect::<Vec<_>>().concat()
}

/// Packs a tensor of [n_out, n_in], each row after `adjust`.
pub(super) fn packed(
    weights: &mut Weights,
    tensor: &str,
    [n_out, n_in]: [usize; 2],
    format: Format,
    isa: Isa,
    adjust: Option<AdjustRow<'_>>,
) -> Result<PackedMatrix, ModelError> {
    weights.matrix(tensor, [n_out, n_in], |read| {
        PackedMatrix::pack(format, isa, n_out, n_in, |row, values| {
            read(row, values);
            if let Some(adjust) = adjust {
                adjust(row, values);
            }
        })
    })
}

impl Backend for Kernels {
    type Rows = Rows;
    type Matrix = PackedMatrix;
    type Vector = Vec<f32>;
    type Embeddings = Table;
    type Rotary = Angles;
    type AttentionPlan = AttentionPlan;
    type AdapterLayout = ();
    type Mark = Instant;
    type Error = Infallible;

    /// With passes in parallel, no thread waits for another one between two layers.
    const RUNS_PASSES_IN_PARALLEL: bool = true;

    fn name(&self) -> String {
        format!("kernels ({})", self.isa)
    }

    fn device(&self) -> &'static str {
        "cpu"
    }

    fn precision(&self) -> ChosenPrecision {
        self.chosen.clone()
    }

    fn peaks(&self) -> Option<Peaks> {
        let of_attention = if self.isa.has_tiles() && self.format != Format::F32 { Format::Bf16 } else { Format::F32 };
        let linear = self.isa.peak(self.format)?;
        let attention = if of_attention == self.format { linear } else { self.isa.peak(of_attention)? };
        Some(Peaks { linear, attention })
    }

    fn synchronize(&self) -> Result<(), Infallible> {
        Ok(())
    }

    fn mark(&self) -> Result<Instant, Infallible> {
        Ok(Instant::now())
    }

    fn time_between(&self, start: &Instant, end: &Instant) -> Result<Duration, Infallible> {
        Ok(*end - *start)
    }

    /// More rows would not fit in a thread's caches.
    fn tokens_max(&self) -> NonZeroUsize {
        const { NonZeroUsize::new(256).expect("it is not zero") }
    }

    fn matrix(
        &self,
        weights: &mut Weights,
        tensor: &str,
        shape: [usize; 2],
        storage: Storage,
        adjust: Option<AdjustRow<'_>>,
    ) -> Result<PackedMatrix, ModelError> {
        let format = match storage {
            Storage::Precision => self.format,
            // The products of an update in f32 would take longer than those of the base model in tiles of bf16 or int8.
            Storage::AsInFile if self.isa.has_tiles() && self.format != Format::F32 => Format::Bf16,
            Storage::AsInFile if weights.is_bf16(tensor) => Format::Bf16,
            Storage::AsInFile => Format::F32,
        };
        packed(weights, tensor, shape, format, self.isa, adjust)
    }

    fn vector(&self, values: Vec<f32>) -> Result<Vec<f32>, Infallible> {
        Ok(values)
    }

    /// The table stays as stored in the file; rows are decoded on lookup.
    fn embeddings(&self, weights: &mut Weights, tensor: &str, shape: [usize; 2]) -> Result<Table, ModelError> {
        weights.table(tensor, shape)
    }

    fn matrix_bytes(matrix: &PackedMatrix) -> usize {
        matrix.n_bytes()
    }

    fn embeddings_bytes(embeddings: &Table) -> usize {
        embeddings.n_bytes()
    }

    fn look_up(&self, (table, ids): Lookup<'_, Self>, others: &[Lookup<'_, Self>]) -> Result<Rows, Infallible> {
        let width = table.width();
        let mut numbers = table.rows(ids);
        let mut addend = vec![0.0; width];
        for (table, ids) in others {
            for (id, row) in ids.iter().zip(numbers.chunks_mut(width)) {
                table.read(*id as usize, &mut addend);
                row.iter_mut().zip(&addend).for_each(|(x, y)| *x += y);
            }
        }
        Ok(Rows { numbers, width })
    }

    fn linear(
        &self,
        layer: &Linear<Self>,
        x: &Rows,
        adapters: &RowAdapters<'_, Self>,
        epilogue: &Epilogue<'_, Self>,
    ) -> Result<Rows, Infallible> {
        Ok(linear(layer, &self.input(x), adapters, epilogue))
    }

    fn linears<const N: usize>(
        &self,
        layers: [&Linear<Self>; N],
        x: &Rows,
        adapters: &RowAdapters<'_, Self>,
    ) -> Result<[Rows; N], Infallible> {
        let x = self.input(x);
        Ok(layers.map(|layer| linear(layer, &x, adapters, &Epilogue::NONE)))
    }

    fn layer_norm(&self, x: Cow<'_, Rows>, weight: &Vec<f32>, bias: &Vec<f32>, eps: f32) -> Result<Rows, Infallible> {
        let mut x = x.into_owned();
        lorank_kernels::layer_norm(&mut x.numbers, weight, bias, eps, self.isa);
        Ok(x)
    }

    fn rms_norm(&self, x: Cow<'_, Rows>, weight: &Vec<f32>, eps: f32) -> Result<Rows, Infallible> {
        let mut x = x.into_owned();
        lorank_kernels::rms_norm(&mut x.numbers, weight, eps, self.isa);
        Ok(x)
    }

    fn gated(&self, mut gate: Rows, up: &Rows, activation: Activation) -> Result<Rows, Infallible> {
        lorank_kernels::gated(&mut gate.numbers, &up.numbers, activation, self.isa);
        Ok(gate)
    }

    fn rotary(&self, angles: Angles) -> Result<Angles, Infallible> {
        Ok(angles)
    }

    fn attention_plan(
        &self,
        shape: &AttentionShape,
        spans: Vec<Span>,
        rotary: Option<&Arc<Angles>>,
    ) -> Result<AttentionPlan, Infallible> {
        Ok(AttentionPlan { shape: *shape, spans, angles: rotary.cloned() })
    }

    fn attention(&self, plan: &AttentionPlan, [q, k, v]: [Rows; 3]) -> Result<Rows, Infallible> {
        Ok(self.attend(plan, [&q.numbers, &k.numbers, &v.numbers], 0))
    }

    /// Reads the parts of the rows where they are.
    fn joint_attention(&self, plan: &AttentionPlan, qkv: Rows) -> Result<Rows, Infallible> {
        let (numbers, width) = (qkv.numbers.as_slice(), qkv.width / 3);
        let part = |n: usize| &numbers[n * width..numbers.len() - (2 - n) * width];
        Ok(self.attend(plan, [part(0), part(1), part(2)], 2 * width))
    }

    fn gated_halves(&self, both: &Rows, order: Halves, activation: Activation) -> Result<Rows, Infallible> {
        let (width, gate_is_first) = (both.width / 2, order == Halves::GateFirst);
        let numbers = lorank_kernels::gated_halves(&both.numbers, width, gate_is_first, activation, self.isa);
        Ok(Rows { numbers, width })
    }

    fn gather(&self, rows: &Rows, indices: &[usize]) -> Result<Rows, Infallible> {
        let width = rows.width;
        let parts = indices.iter().map(|index| &rows.numbers[index * width..][..width]);
        Ok(Rows { numbers: joined(parts), width })
    }

    fn split<const N: usize>(&self, rows: &Rows) -> Result<[Rows; N], Infallible> {
        let width = rows.width / N;
        let part = |n: usize| {
            let parts = rows.numbers.chunks_exact(rows.width).map(|row| &row[n * width..][..width]);
            Rows { numbers: joined(parts), width }
        };
        Ok(std::array::from_fn(part))
    }

    fn mean(&self, rows: &Rows, ranges: &[Range<usize>]) -> Result<Rows, Infallible> {
        let width = rows.width;
        let mut numbers = Vec::with_capacity(ranges.len() * width);
        for range in ranges {
            let mut sums = vec![0.0_f64; width];
            for row in rows.numbers[range.start * width..range.end * width].chunks_exact(width) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            numbers.extend(sums.into_iter().map(|sum| (sum / range.len() as f64) as f32));
        }
        Ok(Rows { numbers, width })
    }

    fn concat(&self, parts: Vec<Rows>) -> Result<Rows, Infallible> {
        let width = parts.first().map_or(0, |part| part.width);
        Ok(Rows { numbers: joined(parts.iter().map(|part| part.numbers.as_slice())), width })
    }

    fn reshape(&self, rows: Rows, width: usize) -> Result<Rows, Infallible> {
        Ok(Rows { width, ..rows })
    }

    fn scale(&self, mut rows: Rows, factor: f32) -> Result<Rows, Infallible> {
        rows.numbers.iter_mut().for_each(|x| *x *= factor);
        Ok(rows)
    }

    fn add_values(&self, mut x: Rows, values: Vec<f32>) -> Result<Rows, Infallible> {
        x.numbers.iter_mut().zip(values).for_each(|(x, value)| *x += value);
        Ok(x)
    }

    fn numbers<'a>(&self, rows: &'a Rows) -> Result<Cow<'a, [f32]>, Infallible> {
        Ok(Cow::Borrowed(&rows.numbers))
    }
}

/// x: [n, n_in]; the result: [n, n_out].
fn linear(
    layer: &Linear<Kernels>,
    x: &Input<'_>,
    adapters: &[AdapterRows<'_, Kernels>],
    epilogue: &Epilogue<'_, Kernels>,
) -> Rows {
    let width = layer.weight.n_out();
    let (add, activation) = (epilogue.add.map(|rows| rows.numbers.as_slice()), epilogue.activation);
    let segments: Vec<Segment<'_>> =
        adapters.iter().map(|rows| Segment { n_rows: rows.n_rows, update: update(layer, rows) }).collect();
    let bias = layer.bias.as_deref();
    let mut numbers = layer.weight.linear(x, &segments, &lorank_kernels::Epilogue { bias, add, activation });
    let mut start = 0;
    for AdapterRows { n_rows, adapter } in adapters {
        let rows = start..start + n_rows;
        start = rows.end;
        let Some(delta) = layer.delta(*adapter) else { continue };
        let weight = match (&delta.weight, &delta.bias) {
            (WeightDelta::Replaced(weight), _) => weight,
            (_, Some(_)) => &layer.weight,
            (_, None) => continue,
        };
        let replaced = rows.start * width..rows.end * width;
        let (bias, add) = (delta.bias.as_deref().or(bias), add.map(|add| &add[replaced.clone()]));
        let epilogue = lorank_kernels::Epilogue { bias, add, activation };
        let segment = Segment { n_rows: *n_rows, update: low_rank(delta) };
        let own = weight.linear(&input_rows(x, rows), &[segment], &epilogue);
        numbers[replaced].copy_from_slice(&own);
    }
    Rows { numbers, width }
}

/// The low-rank update of a layer's product, if the adapter has one.
fn update<'a>(layer: &Linear<Kernels>, rows: &AdapterRows<'a, Kernels>) -> Option<LowRank<'a>> {
    low_rank(layer.delta(rows.adapter)?)
}

fn low_rank(delta: &Delta<Kernels>) -> Option<LowRank<'_>> {
    match &delta.weight {
        WeightDelta::LowRank { a, b, scale } => Some(LowRank { a, b, scale: *scale as f32 }),
        WeightDelta::None | WeightDelta::Replaced(_) => None,
    }
}

/// A range of the rows of a prepared input.
fn input_rows<'a>(x: &Input<'a>, rows: std::ops::Range<usize>) -> Input<'a> {
    x.rows(rows)
}

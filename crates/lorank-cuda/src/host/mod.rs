//! A device on the CPU, which shows without a GPU what a forward pass computes.

mod fault;
mod math;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use self::fault::HostFault;
use self::math::{activated, dot};
use crate::memory::{DeviceId, Pools, Region};
use crate::ops::{scale_of, sealed};
use crate::{
    AttentionShape, CudaError, DeviceInfo, DeviceMemory, Indices, Mark, Op, Ops, Quantized, Rows, Span, Vector,
};

/// A device on the CPU: plain loops in f32 over numbers that are stored, and so rounded, as on a GPU.
#[derive(Debug)]
pub struct Host {
    device: DeviceId,
    pools: Pools,
    /// In bytes.
    total: usize,
    /// In bytes.
    n_used: Arc<AtomicUsize>,
    has_e4m3: bool,
    fault: HostFault,
}

impl Host {
    /// A device with this many bytes of memory.
    pub fn new(total: usize) -> Self {
        Self::with_fault(total, HostFault::default())
    }

    /// The same, which fails when the fault says so.
    pub fn with_fault(total: usize, fault: HostFault) -> Self {
        Self { device: DeviceId::new(), pools: Pools::default(), total, n_used: Arc::default(), has_e4m3: true, fault }
    }

    /// The device in place of a GPU without products in [`Format::E4m3`](crate::Format::E4m3).
    #[must_use]
    pub fn without_e4m3(self) -> Self {
        Self { has_e4m3: false, ..self }
    }
}

impl sealed::Memory for Host {
    fn device(&self) -> DeviceId {
        self.device
    }

    fn pools(&self) -> &Pools {
        &self.pools
    }

    fn allocate(&self, n_bytes: usize, purpose: &'static str) -> Result<Region, CudaError> {
        self.fault.check()?;
        let free = self.total.saturating_sub(self.n_used.load(Ordering::Relaxed));
        if n_bytes > free {
            return Err(CudaError::OutOfMemory { purpose, needed: n_bytes, free });
        }
        Ok(Region::of_host(self.device, n_bytes, &self.n_used))
    }

    fn write_bytes(&self, to: &Rows, bytes: &[u8]) -> Result<(), CudaError> {
        assert!(to.device() == self.device, "the memory belongs to another device");
        assert_eq!(bytes.len(), to.n_bytes(), "bytes for each number");
        self.fault.check()?;
        if to.is_empty() {
            return Ok(());
        }
        let mut region = to.region().host();
        for (row, bytes) in bytes.chunks_exact(to.width() * to.format().n_bytes()).enumerate() {
            region[to.bytes_of_row(row)].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn read_bytes(&self, from: &Rows) -> Result<Vec<u8>, CudaError> {
        assert!(from.device() == self.device, "the memory belongs to another device");
        self.fault.check()?;
        let mut bytes = Vec::with_capacity(from.n_bytes());
        if !from.is_empty() {
            let region = from.region().host();
            (0..from.n_rows()).for_each(|row| bytes.extend_from_slice(&region[from.bytes_of_row(row)]));
        }
        Ok(bytes)
    }
}

impl Ops for Host {
    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            name: "host".to_owned(),
            compute_capability: None,
            driver: None,
            cublaslt: None,
            nvrtc: None,
            has_compiled: false,
            kernels_millis: 0,
            has_e4m3: self.has_e4m3,
        }
    }

    fn memory(&self) -> Result<DeviceMemory, CudaError> {
        self.fault.check()?;
        let free = self.total.saturating_sub(self.n_used.load(Ordering::Relaxed));
        Ok(DeviceMemory { free, total: self.total })
    }

    fn run(&self, op: Op<'_>) -> Result<(), CudaError> {
        op.check(self.device);
        self.fault.count()?;
        match op {
            Op::Embed { tables, out } => self.embed(tables, out),
            Op::Gather { x, rows, out } => {
                let row = |index: &u32| self.read_row(x, *index as usize);
                let gathered: Result<Vec<Vec<f32>>, CudaError> = rows.values().iter().map(row).collect();
                self.write(out, &gathered?.concat())
            }
            Op::Copy { x, out } => self.map(x, out, |x| x),
            Op::Gemm { x, w, bias, add, out } => {
                let product = product(&self.read(x)?, &self.read(w)?, x.width(), out.n_rows() * out.width());
                self.finish_product(product, bias, add, out)
            }
            Op::ScaledGemm { .. } if !self.has_e4m3 => Err(CudaError::NoE4m3 { name: self.info().name }),
            Op::ScaledGemm { x, w, bias, add, out } => {
                let n_results = out.n_rows() * out.width();
                let mut product = product(&self.read(&x.numbers)?, &self.read(&w.numbers)?, x.width(), n_results);
                let (x_scales, w_scales) = (self.read(&x.scales)?, self.read(&w.scales)?);
                for (row, x_scale) in product.chunks_mut(out.width().max(1)).zip(x_scales) {
                    row.iter_mut().zip(&w_scales).for_each(|(y, w_scale)| *y *= x_scale * w_scale);
                }
                self.finish_product(product, bias, add, out)
            }
            Op::Quantize { x, out } => self.quantize(x, out),
            Op::KeepColumns { x, ranges } => {
                let mut range = ranges.values().chunks(2);
                self.map_rows(x, x, |row| {
                    let range = range.next().expect("a range for each row");
                    row[..range[0] as usize].fill(0.0);
                    row[range[1] as usize..].fill(0.0);
                })
            }
            Op::RmsNorm { x, weight, eps, out } => {
                let weight = self.read(&weight.exact)?;
                self.map_rows(x, out, |row| {
                    let factor = (dot(row, row) / row.len() as f32 + eps).sqrt().recip();
                    row.iter_mut().zip(&weight).for_each(|(x, weight)| *x *= factor * weight);
                })
            }
            Op::LayerNorm { x, weight, bias, eps, out } => {
                let (weight, bias) = (self.read(&weight.exact)?, self.read(&bias.exact)?);
                self.map_rows(x, out, |row| layer_norm(row, &weight, &bias, eps))
            }
            Op::Rope { x, head_dim, table, positions } => {
                let table = self.read(table)?;
                let mut positions = positions.values().iter();
                self.map_rows(x, x, |row| {
                    let position = *positions.next().expect("a position for each row") as usize;
                    let (cos, sin) = table[position * head_dim..][..head_dim].split_at(head_dim / 2);
                    row.chunks_mut(head_dim).for_each(|head| rotate(head, cos, sin));
                })
            }
            Op::Activate { x, activation, out } => self.map(x, out, |x| activated(activation, x)),
            Op::Gated { gate, up, activation, out } => {
                let up = self.read(up)?;
                let gated = self
                    .read(gate)?
                    .iter()
                    .zip(up)
                    .map(|(gate, up)| activated(activation, *gate) * up)
                    .collect::<Vec<_>>();
                self.write(out, &gated)
            }
            Op::Attention { q, k, v, shape, spans, out } => {
                let [q, k, v] = [self.read(q)?, self.read(k)?, self.read(v)?];
                self.write(out, &attention([&q, &k, &v], &shape, spans.list()))
            }
            Op::Mean { x, ranges, out } => self.mean(x, ranges, out),
            Op::Scale { x, factor, out } => self.map(x, out, |x| x * factor),
            Op::Add { x, y, out } => {
                let sums: Vec<f32> = self.read(x)?.iter().zip(self.read(y)?).map(|(x, y)| x + y).collect();
                self.write(out, &sums)
            }
        }
    }

    fn synchronize(&self) -> Result<(), CudaError> {
        self.fault.check()
    }

    fn mark(&self) -> Result<Mark, CudaError> {
        self.fault.check()?;
        Ok(Mark::now())
    }
}

impl Host {
    fn read_row(&self, rows: &Rows, row: usize) -> Result<Vec<f32>, CudaError> {
        self.read(&rows.slice(row..row + 1))
    }

    fn map(&self, x: &Rows, out: &Rows, change: impl Fn(f32) -> f32) -> Result<(), CudaError> {
        let changed: Vec<f32> = self.read(x)?.into_iter().map(change).collect();
        self.write(out, &changed)
    }

    fn map_rows(&self, x: &Rows, out: &Rows, change: impl FnMut(&mut [f32])) -> Result<(), CudaError> {
        let mut numbers = self.read(x)?;
        numbers.chunks_mut(x.width().max(1)).for_each(change);
        self.write(out, &numbers)
    }

    fn embed(&self, tables: &[(&Rows, &Indices)], out: &Rows) -> Result<(), CudaError> {
        let mut sums = vec![0.0; out.n_rows() * out.width()];
        for (table, ids) in tables {
            for (sum, id) in sums.chunks_mut(out.width().max(1)).zip(ids.values()) {
                let row = self.read_row(table, *id as usize)?;
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
        }
        self.write(out, &sums)
    }

    /// Adds bias and residual to a product, and writes it.
    fn finish_product(
        &self,
        mut product: Vec<f32>,
        bias: Option<&Vector>,
        add: Option<&Rows>,
        out: &Rows,
    ) -> Result<(), CudaError> {
        if let Some(bias) = bias {
            let bias = self.read(bias.of(out.format()))?;
            product.chunks_mut(bias.len().max(1)).for_each(|row| row.iter_mut().zip(&bias).for_each(|(y, b)| *y += b));
        }
        if let Some(add) = add {
            product.iter_mut().zip(self.read(add)?).for_each(|(y, x)| *y += x);
        }
        self.write(out, &product)
    }

    fn quantize(&self, x: &Rows, out: &Quantized) -> Result<(), CudaError> {
        let mut scales = Vec::with_capacity(x.n_rows());
        self.map_rows(x, &out.numbers, |row| {
            let scale = scale_of(row);
            row.iter_mut().for_each(|x| *x /= scale);
            scales.push(scale);
        })?;
        scales.resize(x.n_rows(), 1.0);
        self.write(&out.scales, &scales)
    }

    fn mean(&self, x: &Rows, ranges: &Indices, out: &Rows) -> Result<(), CudaError> {
        let mut means = vec![0.0; out.n_rows() * out.width()];
        for (mean, range) in means.chunks_mut(out.width().max(1)).zip(ranges.values().chunks(2)) {
            let rows = self.read(&x.slice(range[0] as usize..range[1] as usize))?;
            rows.chunks(x.width()).for_each(|row| mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x));
            mean.iter_mut().for_each(|sum| *sum /= (range[1] - range[0]) as f32);
        }
        self.write(out, &means)
    }
}

/// `x wᵀ`: x is [n, n_in], w is [n_out, n_in].
fn product(x: &[f32], w: &[f32], n_in: usize, n_results: usize) -> Vec<f32> {
    if n_in == 0 {
        return vec![0.0; n_results];
    }
    x.chunks(n_in).flat_map(|x| w.chunks(n_in).map(move |w| dot(x, w))).collect()
}

fn layer_norm(row: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    let n = row.len() as f32;
    let mean = row.iter().sum::<f32>() / n;
    row.iter_mut().for_each(|x| *x -= mean);
    let factor = (dot(row, row) / n + eps).sqrt().recip();
    for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
        *x = *x * factor * weight + bias;
    }
}

fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

fn attention([q, k, v]: [&[f32]; 3], shape: &AttentionShape, spans: &[Span]) -> Vec<f32> {
    let AttentionShape { n_heads, n_kv_heads, head_dim, mask } = *shape;
    let head = |rows: &[f32], row: usize, n_heads: usize, head: usize| (row * n_heads + head) * head_dim..rows.len();
    let mut out = vec![0.0; q.len()];
    for span in spans {
        for (n, row) in span.queries.clone().enumerate() {
            let seen = mask.seen(span.first_position + n, span.n_keys());
            for h in 0..n_heads {
                let kv_head = h / (n_heads / n_kv_heads);
                let query = &q[head(q, row, n_heads, h)][..head_dim];
                let score = |at: usize| dot(query, &k[head(k, span.key_row(at), n_kv_heads, kv_head)][..head_dim]);
                let scores: Vec<f32> = seen.clone().map(|at| score(at) / (head_dim as f32).sqrt()).collect();
                let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weights: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
                let sum: f32 = weights.iter().sum();
                let result = &mut out[(row * n_heads + h) * head_dim..][..head_dim];
                for (at, weight) in seen.clone().zip(weights) {
                    let value = &v[head(v, span.key_row(at), n_kv_heads, kv_head)][..head_dim];
                    result.iter_mut().zip(value).for_each(|(y, value)| *y += weight / sum * value);
                }
            }
        }
    }
    out
}

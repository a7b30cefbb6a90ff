//! The trait of a device.

use std::fmt;
use std::sync::Arc;

use crate::attention::tiles;
use crate::format::E4M3_MAX;
use crate::memory::{ArenaUse, Block, DeviceId, Kind, Pools, Region};
use crate::{CudaError, Format, Indices, Mark, Op, Quantized, Rows, Span, Spans, Vector};

/// A device: its memory, and [operations](Op) over it.
///
/// Operations run in the order of their calls, whatever thread calls, and may still run after the call has returned;
/// [`read`](Ops::read) and [`synchronize`](Ops::synchronize) wait. Activations come from one
/// [arena](Ops::reserve_arena), so nothing is allocated during a pass; what was in them before is undefined. Weights
/// are in slabs, one after another in the order of calls.
///
/// The trait is sealed: `Host` and `Gpu` implement it.
///
/// # Panics
/// All methods, if shapes disagree or memory belongs to another device.
pub trait Ops: fmt::Debug + Send + Sync + 'static + sealed::Memory {
    /// What the device is.
    fn info(&self) -> DeviceInfo;

    /// The device's memory, as other programs see it too.
    ///
    /// # Errors
    /// [`CudaError::Failed`]
    fn memory(&self) -> Result<DeviceMemory, CudaError>;

    /// Starts an operation.
    ///
    /// # Errors
    /// [`CudaError::Failed`], also because of earlier operations, or an error for memory that the operation needs for
    /// itself.
    fn run(&self, op: Op<'_>) -> Result<(), CudaError>;

    /// Waits for all operations.
    ///
    /// # Errors
    /// [`CudaError::Failed`] if one has failed.
    fn synchronize(&self) -> Result<(), CudaError>;

    /// Marks the end of the operations that have been started so far.
    ///
    /// # Errors
    /// [`CudaError::Failed`]
    fn mark(&self) -> Result<Mark, CudaError>;

    /// Allocates the arena, of which [`rows`](Ops::rows) and [`indices`](Ops::indices) are parts; in place of the
    /// former one, if there is one. Call it when the weights are loaded: what remains of the device's memory is known
    /// then.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`]
    fn reserve_arena(&self, n_bytes: usize) -> Result<(), CudaError> {
        self.pools().reserve_arena(n_bytes, &|n_bytes, purpose| self.allocate(n_bytes, purpose))
    }

    /// How full the arena is.
    fn arena_use(&self) -> ArenaUse {
        self.pools().arena_use()
    }

    /// Allocates room for this many bytes of matrices at once, so that those which are read one after another are next
    /// to each other. Without it, or after it is full, slabs of 64 MiB are allocated as needed.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`]
    fn reserve_weights(&self, n_bytes: usize) -> Result<(), CudaError> {
        self.pools().reserve(Kind::Matrix, n_bytes, &|n_bytes, purpose| self.allocate(n_bytes, purpose))
    }

    /// The same for the scales of quantized matrices with this many rows in all.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`]
    fn reserve_scales(&self, n_rows: usize) -> Result<(), CudaError> {
        let n_bytes = n_rows * Format::F32.n_bytes();
        self.pools().reserve(Kind::Scales, n_bytes, &|n_bytes, purpose| self.allocate(n_bytes, purpose))
    }

    /// Ends the current slabs, after a model is loaded: its memory is free when it is dropped, and no later model
    /// shares it.
    fn close_slabs(&self) {
        self.pools().close_slabs();
    }

    /// Activations of undefined numbers, without gaps: `[n_rows, width]`.
    ///
    /// # Errors
    /// [`CudaError::ArenaFull`]
    fn rows(&self, n_rows: usize, width: usize, format: Format) -> Result<Rows, CudaError> {
        let block = self.pools().take(n_rows * width * format.n_bytes())?;
        Ok(Rows::new(Arc::new(block), 0, format, [n_rows, width], width))
    }

    /// Quantized activations of undefined numbers: `[n_rows, width]`.
    ///
    /// # Errors
    /// [`CudaError::ArenaFull`]
    fn quantized_rows(&self, n_rows: usize, width: usize) -> Result<Quantized, CudaError> {
        let numbers = self.rows(n_rows, width, Format::E4m3)?;
        Ok(Quantized { numbers, scales: self.rows(n_rows, 1, Format::F32)? })
    }

    /// A matrix of undefined numbers that is not a part of the arena: `[n_rows, width]`. Rows begin at multiples of 16
    /// bytes.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`]
    fn weights(&self, shape: [usize; 2], format: Format) -> Result<Rows, CudaError> {
        weights(self, Kind::Matrix, shape, format)
    }

    /// The same apart from other matrices: an embedding table, for example, between two matrices that are to be next to each
    /// other.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`]
    fn weights_apart(&self, shape: [usize; 2], format: Format) -> Result<Rows, CudaError> {
        weights(self, Kind::Apart, shape, format)
    }

    /// As [`weights`](Ops::weights), quantized.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`]
    fn quantized_weights(&self, [n_rows, width]: [usize; 2]) -> Result<Quantized, CudaError> {
        let numbers = weights(self, Kind::Matrix, [n_rows, width], Format::E4m3)?;
        let scales = weights(self, Kind::Scales, [1, n_rows], Format::F32)?;
        let scales = scales.reshaped(1).expect("one row has no gaps");
        Ok(Quantized { numbers, scales })
    }

    /// A vector with these values.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], [`CudaError::Failed`]
    fn vector(&self, values: &[f32]) -> Result<Vector, CudaError> {
        let exact = weights(self, Kind::Vector, [1, values.len()], Format::F32)?;
        let rounded = weights(self, Kind::RoundedVector, [1, values.len()], Format::Bf16)?;
        self.write(&exact, values)?;
        self.write(&rounded, values)?;
        Ok(Vector { exact, rounded })
    }

    /// Copies numbers to the device.
    ///
    /// # Errors
    /// [`CudaError::ArenaFull`], [`CudaError::Failed`]
    fn indices(&self, values: &[u32]) -> Result<Indices, CudaError> {
        let data = self.rows(values.len(), 1, Format::F32)?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.write_bytes(&data, &bytes)?;
        Ok(Indices::new(values.into(), data))
    }

    /// Lays out the sequences of a pass.
    ///
    /// # Errors
    /// [`CudaError::ArenaFull`], [`CudaError::Failed`]
    ///
    /// # Panics
    /// If the spans' queries do not follow each other from 0, a range is reversed, a sequence has 2^30 tokens or more,
    /// or a query has no key at its position.
    fn spans(&self, spans: &[Span]) -> Result<Spans, CudaError> {
        let tiles = self.indices(&tiles(spans))?;
        let ends = |span: &Span| [&span.prefix, &span.own].map(|keys| if keys.is_empty() { 0 } else { keys.end });
        let keys_end = spans.iter().flat_map(ends).max().unwrap_or(0);
        let n_queries = spans.last().map_or(0, |span| span.queries.end);
        Ok(Spans { list: spans.into(), n_queries, keys_end, tiles })
    }

    /// Writes numbers, row by row, rounded to the format of the rows.
    ///
    /// # Errors
    /// [`CudaError::Failed`]
    fn write(&self, to: &Rows, values: &[f32]) -> Result<(), CudaError> {
        let mut bytes = Vec::with_capacity(to.n_bytes());
        to.format().encode(values, &mut bytes);
        self.write_bytes(to, &bytes)
    }

    /// Writes numbers that have the format of the rows already, as in a file: little-endian, row by row.
    ///
    /// # Errors
    /// [`CudaError::Failed`]
    fn write_encoded(&self, to: &Rows, bytes: &[u8]) -> Result<(), CudaError> {
        assert_eq!(bytes.len(), to.n_bytes(), "the bytes of each number");
        self.write_bytes(to, bytes)
    }

    /// Writes rows, each with its largest number scaled to the largest one of `E4m3`, as [`Op::Quantize`] does.
    ///
    /// # Errors
    /// [`CudaError::Failed`]
    fn write_quantized(&self, to: &Quantized, values: &[f32]) -> Result<(), CudaError> {
        assert_eq!(values.len(), to.n_rows() * to.width(), "a value for each number");
        let (mut bytes, mut scales) = (Vec::with_capacity(values.len()), Vec::with_capacity(to.n_rows()));
        for row in values.chunks(to.width().max(1)) {
            let scale = scale_of(row);
            let scaled: Vec<f32> = row.iter().map(|x| x / scale).collect();
            Format::E4m3.encode(&scaled, &mut bytes);
            scales.push(scale);
        }
        self.write_bytes(&to.numbers, &bytes)?;
        self.write(&to.scales, &scales)
    }

    /// Waits for all operations, and reads numbers, row by row.
    ///
    /// # Errors
    /// [`CudaError::Failed`]
    fn read(&self, from: &Rows) -> Result<Vec<f32>, CudaError> {
        let mut values = Vec::with_capacity(from.n_rows() * from.width());
        from.format().decode(&self.read_bytes(from)?, &mut values);
        Ok(values)
    }
}

/// The scale of a row: what its quantized numbers are multiplied by.
pub(crate) fn scale_of(row: &[f32]) -> f32 {
    let largest = row.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    if largest > 0.0 { largest / E4M3_MAX } else { 1.0 }
}

fn weights<O: Ops + ?Sized>(
    ops: &O,
    kind: Kind,
    [n_rows, width]: [usize; 2],
    format: Format,
) -> Result<Rows, CudaError> {
    let stride = width.next_multiple_of(16 / format.n_bytes());
    let n_bytes = n_rows * stride * format.n_bytes();
    let allocate = |n_bytes, purpose| ops.allocate(n_bytes, purpose);
    let (slab, start): (Arc<Block>, usize) = ops.pools().weights(kind, n_bytes, &allocate)?;
    Ok(Rows::new(slab, start, format, [n_rows, width], stride))
}

/// What a device is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The name of the GPU, or `host`.
    pub name: String,
    /// As `9.0`; `None` for the host.
    pub compute_capability: Option<String>,
    /// The newest version of CUDA that the driver supports.
    pub driver: Option<String>,
    /// The version of cublasLt.
    pub cublaslt: Option<String>,
    /// The version of NVRTC.
    pub nvrtc: Option<String>,
    /// Whether the kernels were compiled at this start, and not read from the cache.
    pub has_compiled: bool,
    /// How long it took to load the kernels, in milliseconds.
    pub kernels_millis: u64,
    /// Whether products in `E4m3` are supported.
    pub has_e4m3: bool,
}

/// In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What is free.
    pub free: usize,
    /// All of it.
    pub total: usize,
}

pub(crate) mod sealed {
    use super::{CudaError, DeviceId, Pools, Region, Rows};

    /// Memory of a device.
    pub trait Memory {
        /// Which device memory belongs to.
        fn device(&self) -> DeviceId;

        /// The parts of its memory.
        fn pools(&self) -> &Pools;

        /// Allocates a region.
        fn allocate(&self, n_bytes: usize, purpose: &'static str) -> Result<Region, CudaError>;

        /// Writes rows in their format, without gaps in `bytes`.
        fn write_bytes(&self, to: &Rows, bytes: &[u8]) -> Result<(), CudaError>;

        /// Reads rows in their format, without the gaps between them.
        fn read_bytes(&self, from: &Rows) -> Result<Vec<u8>, CudaError>;
    }
}

//! Linear layers: a packed matrix times rows, with a fused epilogue.

use std::borrow::Cow;
use std::iter::Empty;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut, Range};

use rayon::prelude::*;

use crate::groups::GROUP;
use crate::input::Form;
use crate::isa::{Computation, TaskSize, dispatch};
use crate::packed::{Numbers, padded_depth};
use crate::threads::{self, Disjoint};
use crate::tile::{
    BLOCK_ROWS_MAX, COLUMNS_MAX, DEPTH_BYTES, Entered, GroupScaling, Kernel, ROWS_STEP, RowPointers, Scaling, Tile,
    VECTORS_MAX, tiles,
};
use crate::{Activation, Format, Input, PackedMatrix};

/// Operations on each sum before it is stored: `activation(sum + bias + add)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[n_out]`
    pub bias: Option<&'a [f32]>,
    /// `[n_rows, n_out]`
    pub add: Option<&'a [f32]>,
    /// The activation, applied last.
    pub activation: Option<Activation>,
}

/// A low-rank update of a weight matrix: `scale * b a` (LoRA, arXiv 2106.09685), in f32 or bf16.
///
/// It reads rows in f32 for every format of the matrix, because the update is small compared with the weights.
#[derive(Debug, Clone, Copy)]
pub struct LowRank<'a> {
    /// `[rank, n_in]`
    pub a: &'a PackedMatrix,
    /// `[n_out, rank]`
    pub b: &'a PackedMatrix,
    /// The factor of the product.
    pub scale: f32,
}

/// Consecutive rows with the same update, or none.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// The number of rows.
    pub n_rows: usize,
    /// The update of these rows.
    pub update: Option<LowRank<'a>>,
}

impl Segment<'_> {
    /// Rows without an update.
    pub fn plain(n_rows: usize) -> Self {
        Self { n_rows, update: None }
    }
}

impl PackedMatrix {
    /// `activation(x Wᵀ + update + bias + add)`, `[n_rows, n_out]`.
    ///
    /// The segments must cover the rows of `x` in order, and `x` must be prepared for this matrix's format and
    /// instruction set.
    ///
    /// # Panics
    /// If the segments do not cover the rows of `x`, or the shapes, formats or instruction sets of `x`, the updates and
    /// the epilogue do not match the matrix.
    pub fn linear(&self, x: &Input<'_>, segments: &[Segment<'_>], epilogue: &Epilogue<'_>) -> Vec<f32> {
        let covered = segments.iter().try_fold(0_usize, |sum, segment| sum.checked_add(segment.n_rows));
        assert_eq!(covered, Some(x.n_rows()), "segments cover the rows");
        self.check(x, epilogue);
        self.computed(x, &self.prepare(x, segments), epilogue)
    }

    /// [`linear`](Self::linear) with an update of all rows, `scale * low bᵀ`, whose first product is known: `low` is
    /// `[n_rows, rank]` and `b` is `[n_out, rank]`.
    ///
    /// # Panics
    /// As `linear`, and if `low` does not have the rows of `x`.
    pub fn linear_updated(
        &self,
        x: &Input<'_>,
        (low, b, scale): (&[f32], &PackedMatrix, f32),
        epilogue: &Epilogue<'_>,
    ) -> Vec<f32> {
        assert_eq!(Some(low.len()), x.n_rows().checked_mul(b.n_in), "the update has the same rows");
        self.check(x, epilogue);
        self.check_second(b);
        let update = Update { form: Form::F32, low: Cow::Borrowed(low), b, scale };
        self.computed(x, &[PreparedSegment { rows: 0..x.n_rows(), update: Some(update) }], epilogue)
    }

    fn computed(&self, x: &Input<'_>, segments: &[PreparedSegment<'_>], epilogue: &Epilogue<'_>) -> Vec<f32> {
        // SAFETY: the tasks cover every row of every segment, and every panel of columns. The segments cover the rows, and the
        // panels the columns, so all elements are written.
        unsafe { threads::filled(x.n_rows() * self.n_out, |out| self.fill(x, segments, epilogue, out)) }
    }

    fn check(&self, x: &Input<'_>, epilogue: &Epilogue<'_>) {
        assert_eq!(x.width, self.n_in, "the rows are as wide as the matrix is deep");
        let len = x.n_rows().checked_mul(self.n_out).expect("the result fits into memory");
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == self.n_out), "a bias for each output");
        assert!(epilogue.add.is_none_or(|add| add.len() == len), "what is added has the result's shape");
        self.check_form(x);
    }

    /// Checks the second matrix of an update.
    fn check_second(&self, b: &PackedMatrix) {
        assert_eq!(b.n_out, self.n_out, "the update has the matrix's shape");
        assert_eq!(b.isa, self.isa, "both matrices are packed for one instruction set");
        assert!(b.is_float(), "updates are floats");
    }

    /// The segments' rows with the first products of their updates.
    fn prepare<'a>(&self, x: &Input<'_>, segments: &[Segment<'a>]) -> Vec<PreparedSegment<'a>> {
        let mut start = 0;
        let prepare = |segment: &Segment<'a>| {
            let rows = start..start + segment.n_rows;
            start = rows.end;
            let update = segment.update.filter(|_| !rows.is_empty()).map(|update| {
                assert_eq!(update.a.n_in, self.n_in, "the update has the matrix's shape");
                assert_eq!(update.a.n_out, update.b.n_in, "the update's parts have one rank");
                self.check_second(update.b);
                let low = self.first_product(x, &rows, update.a);
                let form = match self.takes_tiles_of(update.b) {
                    true => Form::bf16(&low, update.b.n_in, self.isa),
                    false => Form::F32,
                };
                Update { low: Cow::Owned(low), form, b: update.b, scale: update.scale }
            });
            PreparedSegment { rows, update }
        };
        segments.iter().map(prepare).collect()
    }

    /// Whether the products with a matrix of an update are in tiles of bf16: if this matrix has tiles too, because products
    /// in f32 would take longer than its own.
    fn takes_tiles_of(&self, update: &PackedMatrix) -> bool {
        self.isa.has_tiles() && self.format() != Format::F32 && update.format() == Format::Bf16
    }

    /// Rows of `x` times the first matrix of an update, `[n_rows, rank]`.
    fn first_product(&self, x: &Input<'_>, rows: &Range<usize>, a: &PackedMatrix) -> Vec<f32> {
        let product = |x: &Input<'_>| a.linear(x, &[Segment::plain(x.n_rows())], &Epilogue::default());
        if !self.takes_tiles_of(a) {
            return product(&Input::plain(&x.rows[rows.start * x.width..rows.end * x.width], x.width));
        }
        x.add_bf16(self.isa);
        if rows.len() == x.n_rows() { product(x) } else { product(&x.rows(rows.clone())) }
    }

    fn fill(
        &self,
        x: &Input<'_>,
        segments: &[PreparedSegment<'_>],
        epilogue: &Epilogue<'_>,
        out: &Disjoint<'_, MaybeUninit<f32>>,
    ) {
        self.tasks(segments).into_par_iter().with_max_len(1).for_each(|(segment, rows, panels)| {
            dispatch(self.isa, Blocks { all: Block { matrix: self, x, segment, epilogue, rows, out }, panels });
        });
    }

    /// Blocks of rows, also split by columns if there are few rows.
    fn tasks<'s, 'a>(&self, segments: &'s [PreparedSegment<'a>]) -> Vec<Task<'s, 'a>> {
        let TaskSize { n_rows, n_products } = self.isa.task_size();
        let n_blocks: usize = segments.iter().map(|segment| segment.rows.len().div_ceil(n_rows)).sum();
        // Many tasks per thread balance the load, even if the cores run at different speeds.
        let wanted = 16 * rayon::current_num_threads();
        let mut tasks = Vec::new();
        for segment in segments {
            for start in segment.rows.clone().step_by(n_rows) {
                let rows = start..(start + n_rows).min(segment.rows.end);
                let n_splits = wanted.div_ceil(n_blocks).min(rows.len() * self.n_out * self.n_in / n_products);
                let n_panels = self.n_panels().div_ceil(n_splits.clamp(1, self.n_panels()));
                for first in (0..self.n_panels()).step_by(n_panels) {
                    tasks.push((segment, rows.clone(), first..(first + n_panels).min(self.n_panels())));
                }
            }
        }
        tasks
    }

    fn check_form(&self, x: &Input<'_>) {
        let fits = match (&self.numbers, x.form(self.format())) {
            (Numbers::F32(_), Form::F32)
            | (Numbers::Int8 { .. }, Form::Int8 { .. })
            | (Numbers::Int8Groups { .. }, Form::Int8Groups { .. }) => true,
            (Numbers::Bf16(_), Form::Bf16 { .. }) => self.isa.has_bf16_products(),
            (Numbers::Bf16(_), Form::F32) => true,
            _ => false,
        };
        assert!(fits, "the rows were prepared for another format than {:?}", self.format());
    }
}

/// A task computes a range of a segment's rows and a range of panels.
type Task<'s, 'a> = (&'s PreparedSegment<'a>, Range<usize>, Range<usize>);

/// A segment with its row range, and with the first product of its update.
struct PreparedSegment<'a> {
    rows: Range<usize>,
    update: Option<Update<'a>>,
}

struct Update<'a> {
    /// The rows times `a`, `[n_rows, rank]`.
    low: Cow<'a, [f32]>,
    /// The same in the form for `b`.
    form: Form,
    b: &'a PackedMatrix,
    scale: f32,
}

/// A range of rows of a product.
struct Block<'a> {
    matrix: &'a PackedMatrix,
    x: &'a Input<'a>,
    segment: &'a PreparedSegment<'a>,
    epilogue: &'a Epilogue<'a>,
    rows: Range<usize>,
    out: &'a Disjoint<'a, MaybeUninit<f32>>,
}

/// A range of rows and of panels of a product, to be computed block by block.
struct Blocks<'a> {
    all: Block<'a>,
    panels: Range<usize>,
}

impl Computation for Blocks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        const { assert!(K::LANES * VECTORS_MAX <= COLUMNS_MAX && K::BLOCK_ROWS <= BLOCK_ROWS_MAX) };
        // SAFETY: `dispatch` runs this where the instructions are. Nothing below enters once more.
        let _entered = unsafe { Entered::<K>::new() };
        let Self { all: Block { rows, .. }, panels } = &self;
        let mut widened = [Vec::new(), Vec::new()];
        for panel in panels.clone() {
            for start in rows.clone().step_by(K::BLOCK_ROWS) {
                self.prefetch::<K>(panel + 1, start - rows.start);
                let block = Block { rows: start..(start + K::BLOCK_ROWS).min(rows.end), ..self.all };
                match block.matrix.panel_vectors(panel) {
                    1 => block.panel::<K, 1>(panel, &mut widened),
                    _ => block.panel::<K, 2>(panel, &mut widened),
                }
            }
        }
    }
}

impl Blocks<'_> {
    /// Asks for a part of a panel, so that it arrives while the previous one is multiplied: as large a part as a block is of
    /// the rows. `start` is the block's first row.
    #[inline(always)]
    fn prefetch<K: Kernel>(&self, panel: usize, start: usize) {
        if !K::PREFETCHES || panel >= self.panels.end {
            return;
        }
        let bytes = self.all.matrix.panel_bytes(panel);
        let len = bytes.len().div_ceil(self.all.rows.len().div_ceil(K::BLOCK_ROWS));
        let first = (start / K::BLOCK_ROWS * len).min(bytes.len());
        for line in bytes[first..(first + len).min(bytes.len())].chunks(DEPTH_BYTES) {
            // SAFETY: `dispatch` runs this where the instructions are.
            unsafe { K::prefetch(line.as_ptr()) }
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn panel<K: Kernel, const V: usize>(&self, panel: usize, [widened, widened_b]: &mut [Vec<f32>; 2]) {
        let n = self.rows.len() * V * K::LANES;
        let mut sums = BlockSums::new();
        self.product::<K, V>(panel, widened, &mut sums);
        // SAFETY: `product` has written all of them.
        let sums = unsafe { written(&mut sums, n) };
        if let Some(update @ Update { scale, .. }) = &self.segment.update {
            let mut terms = BlockSums::new();
            let start = self.rows.start - self.segment.rows.start;
            update.product::<K, V>(start..start + self.rows.len(), panel, widened_b, &mut terms);
            // SAFETY: `product` has written all of them.
            let terms = unsafe { written(&mut terms, n) };
            for (sum, term) in sums.iter_mut().zip(terms) {
                *sum += scale * *term;
            }
        }
        self.finish::<K, V>(panel * VECTORS_MAX * K::LANES, sums);
    }

    /// Writes the product of the block's rows and a panel's columns to the first of `sums`; what follows may be written too.
    #[inline(always)]
    fn product<K: Kernel, const V: usize>(&self, panel: usize, widened: &mut Vec<f32>, sums: &mut BlockSums) {
        let Self { matrix, x, rows, .. } = self;
        let start = matrix.panel_start(panel);
        let out = sums.as_mut_ptr().cast();
        match (&matrix.numbers, x.form(matrix.format())) {
            (Numbers::F32(_) | Numbers::Bf16(_), Form::F32) => {
                let rows = &x.rows[rows.start * x.width..rows.end * x.width];
                let n = rows.len() / x.width * V * K::LANES;
                floats::<K, V>(rows, x.width, matrix.float_panel(panel, widened), &mut sums[..n]);
            }
            (Numbers::Bf16(numbers), Form::Bf16 { values, stride }) => {
                let a = prepared_rows(values, *stride, rows);
                let depth = padded_depth(Format::Bf16, matrix.n_in);
                let w = numbers[start..][..V * K::LANES * depth].as_ptr();
                // SAFETY: `dispatch` runs this where the instructions are, and the thread has entered. The rows and the panel
                // are that deep: `check_form` has compared the matrix with its input. A block's sums have room for a multiple of
                // `ROWS_STEP` rows.
                unsafe { K::bf16::<V>(a, rows.len(), depth, w, out) }
            }
            (
                Numbers::Int8 { weights, scales, sums: column_sums },
                Form::Int8 { values, stride, scales: row_scales, minima },
            ) => {
                let a = prepared_rows(values, *stride, rows);
                let depth = padded_depth(Format::Int8, matrix.n_in);
                let w = weights[start..][..V * K::LANES * depth].as_ptr();
                let column = panel * VECTORS_MAX * K::LANES;
                let scaling = Scaling {
                    row_scales: row_scales[rows.clone()].as_ptr(),
                    row_minima: minima[rows.clone()].as_ptr(),
                    column_sums: column_sums[column..][..V * K::LANES].as_ptr(),
                    column_scales: scales[column..][..V * K::LANES].as_ptr(),
                };
                // SAFETY: as above, and there are scales for these rows and columns.
                unsafe { K::int8::<V>(a, rows.len(), depth, w, scaling, out) }
            }
            (
                Numbers::Int8Groups { weights, scales, offsets },
                Form::Int8Groups { values, stride, scales: row_scales },
            ) => {
                let a = prepared_rows(values, *stride, rows);
                let n_groups = matrix.n_in.div_ceil(GROUP);
                let len = V * K::LANES * n_groups;
                let w = weights[start..][..len * GROUP].as_ptr();
                let scaling = GroupScaling {
                    row_scales: RowPointers {
                        start: row_scales[rows.start * n_groups..rows.end * n_groups].as_ptr(),
                        stride: n_groups,
                    },
                    column_scales: scales[start / GROUP..][..len].as_ptr(),
                    offsets: offsets[start / GROUP..][..len].as_ptr(),
                };
                // SAFETY: as above, and there are scales for the groups of these rows and columns.
                unsafe { K::int8_groups::<V>(a, rows.len(), n_groups, w, scaling, out) }
            }
            _ => unreachable!("`check_form` has refused other pairs"),
        }
    }

    /// Finishes the rows of a panel and stores them.
    #[inline(always)]
    fn finish<K: Kernel, const V: usize>(&self, first_column: usize, sums: &mut [f32]) {
        if self.matrix.n_out - first_column >= V * K::LANES {
            self.finish_columns::<K, V, true>(first_column, sums);
        } else {
            self.finish_columns::<K, V, false>(first_column, sums);
        }
    }

    /// `WHOLE` if all columns of the panel are columns of the matrix.
    #[inline(always)]
    fn finish_columns<K: Kernel, const V: usize, const WHOLE: bool>(&self, first_column: usize, sums: &mut [f32]) {
        let (width, stride) = (V * K::LANES, self.matrix.n_out);
        let n_columns = if WHOLE { width } else { stride - first_column };
        let Epilogue { bias, add, activation } = self.epilogue;
        let first = self.rows.start * stride + first_column;
        let bias = bias.map(|bias| &bias[first_column..][..n_columns]);
        let add = add.map(|add| (first..).step_by(stride).map(move |start| &add[start..][..n_columns]));
        // SAFETY: every task has rows or columns of its own, since segments, blocks of rows and panels do not overlap.
        let out = unsafe { self.out.rows(first, stride, self.rows.len(), n_columns) };
        let out = out.map(|row| row.as_mut_ptr().cast());
        // SAFETY: `dispatch` runs this where the instructions are. The sums are rows of `V` vectors, as many as the block has,
        // and each row of the result has room for `n_columns` numbers.
        unsafe {
            match activation {
                None => add_rows::<K, V, WHOLE>(sums.as_ptr(), n_columns, bias, add, out),
                Some(activation) => {
                    let start = sums.as_mut_ptr();
                    let rows = (0..self.rows.len()).map(|row| start.add(row * width));
                    add_rows::<K, V, WHOLE>(start, n_columns, bias, add, rows);
                    // Over all rows, because the compiler vectorizes a long loop but not one over a few numbers.
                    activation.apply::<K>(sums);
                    add_rows::<K, V, WHOLE>(sums.as_ptr(), n_columns, None, None::<Empty<&[f32]>>, out);
                }
            }
        }
    }
}

impl Update<'_> {
    /// Writes the second product for rows of the segment and a panel's columns to the first of `terms`; what follows may be
    /// written too.
    #[inline(always)]
    fn product<K: Kernel, const V: usize>(
        &self,
        rows: Range<usize>,
        panel: usize,
        widened: &mut Vec<f32>,
        terms: &mut BlockSums,
    ) {
        let b = self.b;
        if let (Numbers::Bf16(numbers), Form::Bf16 { values, stride }) = (&b.numbers, &self.form) {
            let a = prepared_rows(values, *stride, &rows);
            let depth = padded_depth(Format::Bf16, b.n_in);
            let w = numbers[b.panel_start(panel)..][..V * K::LANES * depth].as_ptr();
            // SAFETY: `dispatch` runs this where the instructions are, and the thread has entered. The rows and the panel are
            // that deep: the first product has as many columns as `b` has rows. `terms` has room for a multiple of `ROWS_STEP` rows.
            unsafe { K::bf16::<V>(a, rows.len(), depth, w, terms.as_mut_ptr().cast()) }
        } else {
            let n = rows.len() * V * K::LANES;
            let low = &self.low[rows.start * b.n_in..rows.end * b.n_in];
            floats::<K, V>(low, b.n_in, b.float_panel(panel, widened), &mut terms[..n]);
        }
    }
}

/// A range of prepared rows, of which a multiple of [`ROWS_STEP`] can be read.
#[inline(always)]
fn prepared_rows<T>(values: &[T], stride: usize, rows: &Range<usize>) -> RowPointers<T> {
    let n_rows = rows.len().next_multiple_of(ROWS_STEP);
    RowPointers { start: values[rows.start * stride..][..n_rows * stride].as_ptr(), stride }
}

/// Writes rows of `V` vectors, plus a bias and other rows, to the rows `to`. By hand, because the compiler makes vectors of numbers
/// in different rows, which it gathers one by one.
///
/// # Safety
/// `from` has as many rows as `to`, and the CPU the instructions. `n_columns` is `V` vectors (`WHOLE`), or ends in the last of
/// them; the bias and what is added have that many numbers, and the rows `to`, which may be those of `from`, room for them.
#[inline(always)]
unsafe fn add_rows<'a, K: Kernel, const V: usize, const WHOLE: bool>(
    from: *const f32,
    n_columns: usize,
    bias: Option<&[f32]>,
    mut add: Option<impl Iterator<Item = &'a [f32]>>,
    to: impl Iterator<Item = *mut f32>,
) {
    // SAFETY: as the caller guarantees.
    unsafe {
        let bias = std::array::from_fn::<_, V, _>(|v| match bias {
            Some(bias) => load_part::<K, WHOLE>(bias.as_ptr(), v, n_columns),
            None => K::load([0.0; COLUMNS_MAX].as_ptr()),
        });
        for (row, to) in to.enumerate() {
            let from = from.add(row * V * K::LANES);
            match add.as_mut().and_then(Iterator::next) {
                None => each_vector::<K, V, WHOLE>(to, n_columns, |v| K::add(K::load(from.add(v * K::LANES)), bias[v])),
                Some(add) => each_vector::<K, V, WHOLE>(to, n_columns, |v| {
                    let sum = K::add(K::load(from.add(v * K::LANES)), bias[v]);
                    K::add(sum, load_part::<K, WHOLE>(add.as_ptr(), v, n_columns))
                }),
            }
        }
    }
}

/// Writes the vectors of a row, which has room for `n_columns` numbers. Vector by vector, because arrays of several would be kept
/// in memory.
///
/// # Safety
/// As for [`add_rows`].
#[inline(always)]
unsafe fn each_vector<K: Kernel, const V: usize, const WHOLE: bool>(
    to: *mut f32,
    n_columns: usize,
    vector: impl Fn(usize) -> K::Vector,
) {
    for v in 0..V {
        // SAFETY: as the caller guarantees.
        unsafe {
            let to = to.add(v * K::LANES);
            if WHOLE {
                K::store(vector(v), to)
            } else {
                K::store_first(vector(v), to, (n_columns - v * K::LANES).min(K::LANES))
            }
        }
    }
}

/// Reads the vector `v` of a row, of which `n_columns` numbers are there.
///
/// # Safety
/// They are; as for [`add_rows`].
#[inline(always)]
unsafe fn load_part<K: Kernel, const WHOLE: bool>(from: *const f32, v: usize, n_columns: usize) -> K::Vector {
    let start = v * K::LANES;
    // SAFETY: as the caller guarantees.
    unsafe {
        if WHOLE { K::load(from.add(start)) } else { K::load_first(from.add(start), (n_columns - start).min(K::LANES)) }
    }
}

/// Writes the product of rows and a panel of floats, both `depth` deep: initializes all of `sums`.
#[inline(always)]
pub(crate) fn floats<K: Kernel, const V: usize>(
    rows: &[f32],
    depth: usize,
    panel: &[f32],
    sums: &mut [MaybeUninit<f32>],
) {
    // The depth to process at a time, so that its weights stay in the L1 cache for all rows of the block.
    const DEPTH_MAX: usize = 256;
    let width = V * K::LANES;
    let n_rows = rows.len() / depth;
    assert!(panel.len() == depth * width && sums.len() == n_rows * width, "the operands and the result are there");
    for start in (0..depth).step_by(DEPTH_MAX) {
        // SAFETY: `dispatch` runs this where the instructions are; the lengths were just checked. Depths come in order, so
        // that those after the first find sums.
        unsafe {
            let a = RowPointers { start: rows.as_ptr().add(start), stride: depth };
            let w = panel.as_ptr().add(start * width);
            let n = DEPTH_MAX.min(depth - start);
            let out = sums.as_mut_ptr().cast();
            tiles(n_rows, K::ROWS, &Product::<K, V> { a, depth: n, w, adds: start > 0, out, kernel: PhantomData });
        }
    }
}

/// A product of floats, tile by tile.
struct Product<K, const V: usize> {
    a: RowPointers<f32>,
    depth: usize,
    w: *const f32,
    adds: bool,
    out: *mut f32,
    kernel: PhantomData<K>,
}

impl<K: Kernel, const V: usize> Tile for Product<K, V> {
    #[inline(always)]
    unsafe fn run<const M: usize>(&self, row: usize) {
        // SAFETY: the caller guarantees the instructions, the rows and their room.
        unsafe {
            let out = self.out.add(row * V * K::LANES);
            K::f32::<M, V>(self.a.from(row), self.depth, self.w, self.adds, out);
        }
    }
}

/// Room for the sums of a block, at the start of a cache line.
#[repr(C, align(64))]
pub(crate) struct BlockSums([MaybeUninit<f32>; BLOCK_ROWS_MAX * COLUMNS_MAX]);

impl BlockSums {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self([MaybeUninit::uninit(); BLOCK_ROWS_MAX * COLUMNS_MAX])
    }
}

impl Deref for BlockSums {
    type Target = [MaybeUninit<f32>];

    #[inline(always)]
    fn deref(&self) -> &[MaybeUninit<f32>] {
        &self.0
    }
}

impl DerefMut for BlockSums {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [MaybeUninit<f32>] {
        &mut self.0
    }
}

/// The first `n` numbers of a tile.
///
/// # Safety
/// They have been initialized.
#[inline(always)]
pub(crate) unsafe fn written(tile: &mut [MaybeUninit<f32>], n: usize) -> &mut [f32] {
    let tile = &mut tile[..n];
    // SAFETY: as many as the tile has, and written, as the caller guarantees.
    unsafe { std::slice::from_raw_parts_mut(tile.as_mut_ptr().cast(), n) }
}

//! Linear layers: a packed matrix times rows, and what comes right after it while the sums are still in registers' reach.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use crate::input::Form;
use crate::isa::{Work, dispatch};
use crate::packed::Numbers;
use crate::threads::{self, Disjoint};
use crate::tile::{COLUMNS_MAX, Kernel, ROWS_MAX, Rows, Scaling, VECTORS_MAX};
use crate::{Activation, Format, Input, PackedMatrix};

/// What is done to each sum before it is stored: `activation(sum + bias + add)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[n_out]`
    pub bias: Option<&'a [f32]>,
    /// `[n_rows, n_out]`
    pub add: Option<&'a [f32]>,
    /// The last step.
    pub activation: Option<Activation>,
}

/// A low-rank update of a weight matrix: `scale * b a` (LoRA, arXiv 2106.09685), in f32 or bf16.
///
/// It reads the rows in f32 whatever the matrix's own format is: what an adapter has learned is small beside the weights.
#[derive(Debug, Clone, Copy)]
pub struct LowRank<'a> {
    /// `[rank, n_in]`
    pub a: &'a PackedMatrix,
    /// `[n_out, rank]`
    pub b: &'a PackedMatrix,
    /// What the product is multiplied by.
    pub scale: f32,
}

/// Rows that stand beside each other and get the same update, or none.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// How many rows.
    pub n_rows: usize,
    /// Their update.
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
    /// The segments cover the rows of `x` in order. `x` was prepared for this matrix's format and instruction set.
    ///
    /// # Panics
    /// If the shapes or the formats disagree.
    pub fn linear(&self, x: &Input<'_>, segments: &[Segment<'_>], epilogue: &Epilogue<'_>) -> Vec<f32> {
        let n_rows = x.n_rows();
        assert_eq!(x.width, self.n_in, "the rows are as wide as the matrix is deep");
        assert_eq!(segments.iter().map(|segment| segment.n_rows).sum::<usize>(), n_rows, "segments cover the rows");
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == self.n_out), "a bias for each output");
        assert!(
            epilogue.add.is_none_or(|add| add.len() == n_rows * self.n_out),
            "what is added has the result's shape"
        );
        self.check_form(x);
        let pieces = self.pieces(x, segments);
        // SAFETY: the tasks cover every row of every segment, and every panel of columns.
        unsafe { threads::filled(n_rows * self.n_out, |out| self.fill(x, &pieces, epilogue, out)) }
    }

    /// The segments with their updates' first products.
    fn pieces<'a>(&self, x: &Input<'_>, segments: &[Segment<'a>]) -> Vec<Piece<'a>> {
        let mut start = 0;
        let piece = |segment: &Segment<'a>| {
            let rows = start..start + segment.n_rows;
            start = rows.end;
            let update = segment.update.filter(|_| !rows.is_empty()).map(|update| {
                assert_eq!(
                    (update.a.n_in, update.b.n_out),
                    (self.n_in, self.n_out),
                    "the update has the matrix's shape"
                );
                assert_eq!(update.a.n_out, update.b.n_in, "the update's parts have one rank");
                assert_eq!(update.b.isa, self.isa, "both matrices are packed for one instruction set");
                assert_ne!(update.b.format(), Format::Int8, "updates are floats");
                let rows = Input::plain(&x.rows[rows.start * x.width..rows.end * x.width], x.width);
                let low = update.a.linear(&rows, &[Segment::plain(rows.n_rows())], &Epilogue::default());
                Update { low, b: update.b, scale: update.scale }
            });
            Piece { rows, update }
        };
        segments.iter().map(piece).collect()
    }

    fn fill(&self, x: &Input<'_>, pieces: &[Piece<'_>], epilogue: &Epilogue<'_>, out: &Disjoint<'_, f32>) {
        let tasks: Vec<(&Piece<'_>, Range<usize>, Range<usize>)> = self.tasks(pieces);
        tasks.into_par_iter().with_max_len(1).for_each(|(piece, rows, panels)| {
            dispatch(self.isa, Block { matrix: self, x, piece, epilogue, rows, panels, out });
        });
    }

    /// Blocks of rows, split by columns too where there are few of them.
    fn tasks<'p, 'a>(&self, pieces: &'p [Piece<'a>]) -> Vec<(&'p Piece<'a>, Range<usize>, Range<usize>)> {
        let n_rows = BLOCK_ROWS_MAX;
        let n_blocks: usize = pieces.iter().map(|piece| piece.rows.len().div_ceil(n_rows)).sum();
        // Many tasks a thread, so that none waits long for the last one, however unevenly the cores run.
        let wanted = 16 * rayon::current_num_threads();
        let n_splits = wanted.div_ceil(n_blocks.max(1)).clamp(1, self.n_panels());
        let n_panels = self.n_panels().div_ceil(n_splits);
        let mut tasks = Vec::new();
        for piece in pieces {
            for start in piece.rows.clone().step_by(n_rows) {
                let rows = start..(start + n_rows).min(piece.rows.end);
                for first in (0..self.n_panels()).step_by(n_panels) {
                    tasks.push((piece, rows.clone(), first..(first + n_panels).min(self.n_panels())));
                }
            }
        }
        tasks
    }

    fn check_form(&self, x: &Input<'_>) {
        let fits = match (&self.numbers, &x.form) {
            (Numbers::F32(_), Form::F32) | (Numbers::Int8 { .. }, Form::Int8 { .. }) => true,
            (Numbers::Bf16(_), Form::Bf16 { .. }) => self.isa.has_bf16_products(),
            (Numbers::Bf16(_), Form::F32) => true,
            _ => false,
        };
        assert!(fits, "the rows were prepared for another format than {:?}", self.format());
    }
}

/// A segment at its place, with the first product of its update.
struct Piece<'a> {
    rows: Range<usize>,
    update: Option<Update<'a>>,
}

struct Update<'a> {
    /// The rows times `a`, `[n_rows, rank]`.
    low: Vec<f32>,
    b: &'a PackedMatrix,
    scale: f32,
}

/// The rows that a product reads, whichever of the two they are.
#[derive(Clone, Copy)]
struct Operand<'a> {
    rows: &'a [f32],
    width: usize,
    form: &'a Form,
}

/// The most rows of a block: a panel of weights is read from memory once for all of them.
const BLOCK_ROWS_MAX: usize = 48;

/// Some rows by some panels of a product.
struct Block<'a> {
    matrix: &'a PackedMatrix,
    x: &'a Input<'a>,
    piece: &'a Piece<'a>,
    epilogue: &'a Epilogue<'a>,
    rows: Range<usize>,
    panels: Range<usize>,
    out: &'a Disjoint<'a, f32>,
}

impl Work for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        const { assert!(K::ROWS <= ROWS_MAX && K::ROWS_INT8 <= ROWS_MAX && K::LANES * VECTORS_MAX <= COLUMNS_MAX) };
        let mut widened = [Vec::new(), Vec::new()];
        for panel in self.panels.clone() {
            match self.matrix.panel_vectors(panel) {
                1 => self.panel::<K, 1>(panel, &mut widened),
                _ => self.panel::<K, 2>(panel, &mut widened),
            }
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn panel<K: Kernel, const V: usize>(&self, panel: usize, [widened, widened_b]: &mut [Vec<f32>; 2]) {
        let first_column = panel * VECTORS_MAX * K::LANES;
        let n_columns = (self.matrix.n_out - first_column).min(V * K::LANES);
        let mut bias = [0.0; COLUMNS_MAX];
        if let Some(all) = self.epilogue.bias {
            bias[..n_columns].copy_from_slice(&all[first_column..][..n_columns]);
        }
        let floats = match self.x.form {
            Form::F32 => self.matrix.float_panel(panel, widened),
            Form::Bf16 { .. } | Form::Int8 { .. } => &[],
        };
        let floats_b = self.piece.update.as_ref().map_or(&[][..], |update| update.b.float_panel(panel, widened_b));
        let columns = Columns { panel, first: first_column, n: n_columns, bias, floats, floats_b };
        let mut sums = [MaybeUninit::uninit(); BLOCK_ROWS_MAX * COLUMNS_MAX];
        for depth in self.depths() {
            self.strips::<K, V>(&columns, &Step::Sum(depth), &mut sums);
        }
        self.strips::<K, V>(&columns, &Step::Finish, &mut sums);
    }

    /// The parts of the depth that are summed over one after the other: in f32 so many that their weights stay in a core's first
    /// cache for all rows of the block.
    fn depths(&self) -> impl Iterator<Item = Range<usize>> {
        const FLOATS: usize = 256;
        let depth = self.matrix.n_in;
        let step = if matches!(self.x.form, Form::F32) { FLOATS } else { depth };
        (0..depth).step_by(step).map(move |start| start..(start + step).min(depth))
    }

    /// Takes a step with all rows of the block, as many at a time as a tile has. The sums of a panel are rows of its width.
    #[inline(always)]
    fn strips<K: Kernel, const V: usize>(&self, columns: &Columns<'_>, step: &Step, sums: &mut [MaybeUninit<f32>]) {
        let most = if matches!(self.x.form, Form::Int8 { .. }) { K::ROWS_INT8 } else { K::ROWS };
        let mut row = self.rows.start;
        while row < self.rows.end {
            let left = self.rows.end - row;
            let sums = &mut sums[(row - self.rows.start) * V * K::LANES..];
            row += match left.min(most) {
                12.. if K::ROWS >= 12 => self.strip::<K, 12, V>(row, columns, step, sums),
                8.. => self.strip::<K, 8, V>(row, columns, step, sums),
                6.. => self.strip::<K, 6, V>(row, columns, step, sums),
                4.. => self.strip::<K, 4, V>(row, columns, step, sums),
                2.. => self.strip::<K, 2, V>(row, columns, step, sums),
                _ => self.strip::<K, 1, V>(row, columns, step, sums),
            };
        }
    }

    /// Takes a step with `M` rows of a panel; how many rows that were.
    #[inline(always)]
    fn strip<K: Kernel, const M: usize, const V: usize>(
        &self,
        row: usize,
        columns: &Columns<'_>,
        step: &Step,
        sums: &mut [MaybeUninit<f32>],
    ) -> usize {
        let sums = &mut sums[..M * V * K::LANES];
        let update = self.piece.update.as_ref();
        let mut tile = [MaybeUninit::uninit(); ROWS_MAX * COLUMNS_MAX];
        let (term, depth, out) = match (step, update) {
            (Step::Sum(depth), _) => {
                let x = Operand { rows: self.x.rows, width: self.x.width, form: &self.x.form };
                (Some(Term { matrix: self.matrix, x, row, floats: columns.floats }), depth.clone(), &mut *sums)
            }
            (Step::Finish, Some(Update { low, b, .. })) => {
                let x = Operand { rows: low, width: b.n_in, form: &Form::F32 };
                let row = row - self.piece.rows.start;
                (Some(Term { matrix: b, x, row, floats: columns.floats_b }), 0..b.n_in, &mut tile[..])
            }
            (Step::Finish, None) => (None, 0..0, &mut tile[..]),
        };
        // In one place, so that the innermost loops are compiled once and not once a term.
        if let Some(term) = term {
            // SAFETY: `dispatch` runs this where the instructions are. The rows are the task's own; both matrices have the
            // panel, and their operands' forms are theirs. Depths come in order, so that those after the first find sums.
            unsafe { term.write_tile::<K, M, V>(columns.panel, depth, out.as_mut_ptr().cast()) };
        }
        if matches!(step, Step::Finish) {
            // SAFETY: the steps before this one have written all of the `M * V * LANES` sums.
            let sums = unsafe { written(sums, M * V * K::LANES) };
            if let Some(update) = update {
                // SAFETY: the second term was just written.
                let updates = unsafe { written(&mut tile, M * V * K::LANES) };
                for (sum, term) in sums.iter_mut().zip(updates) {
                    *sum += update.scale * *term;
                }
            }
            self.finish::<K, V>(row, columns, sums);
        }
        M
    }

    /// Finishes the rows of a tile and stores them.
    #[inline(always)]
    fn finish<K: Kernel, const V: usize>(&self, first_row: usize, columns: &Columns<'_>, tile: &mut [f32]) {
        let width = V * K::LANES;
        let start = |m: usize| (first_row + m) * self.matrix.n_out + columns.first;
        for (m, sums) in tile.chunks_exact_mut(width).enumerate() {
            add_to(sums, &columns.bias[..width]);
            if let Some(add) = self.epilogue.add {
                add_to(sums, &add[start(m)..][..columns.n]);
            }
        }
        // Over the whole tile, since the compiler makes vector instructions of a loop over many numbers, and not of one
        // over a few.
        if let Some(activation) = self.epilogue.activation {
            activation.apply::<K>(tile);
        }
        for (m, sums) in tile.chunks_exact(width).enumerate() {
            // SAFETY: every task has rows and columns of its own.
            let out = unsafe { self.out.slice(start(m), columns.n) };
            store(out, sums);
        }
    }
}

/// How many numbers are added or stored at a time: every vector's length is a multiple of it.
const CHUNK: usize = 8;

/// Adds numbers to as many: copied out first, so that the compiler sees that they overlap with nothing.
#[inline(always)]
fn add_to(sums: &mut [f32], numbers: &[f32]) {
    let (chunks, rest) = numbers.as_chunks::<CHUNK>();
    let (sums, sums_rest) = sums.as_chunks_mut::<CHUNK>();
    for (sum, chunk) in sums.iter_mut().zip(chunks) {
        let (mut both, chunk) = (*sum, *chunk);
        both.iter_mut().zip(&chunk).for_each(|(sum, x)| *sum += x);
        *sum = both;
    }
    // A panel past the last output is cut anywhere.
    let last = sums.get_mut(chunks.len()).map_or(sums_rest, |chunk| chunk.as_mut_slice());
    last.iter_mut().zip(rest).for_each(|(sum, x)| *sum += x);
}

/// Stores the first numbers, as many as there is room for.
#[inline(always)]
fn store(out: &mut [f32], sums: &[f32]) {
    let (chunks, rest) = out.as_chunks_mut::<CHUNK>();
    let (sums, sums_rest) = sums.as_chunks::<CHUNK>();
    chunks.iter_mut().zip(sums).for_each(|(out, sums)| *out = *sums);
    let last = sums.get(chunks.len()).map_or(sums_rest, |chunk| chunk.as_slice());
    rest.iter_mut().zip(last).for_each(|(out, sum)| *out = *sum);
}

/// The first numbers of a tile.
///
/// # Safety
/// They have been written.
#[inline(always)]
unsafe fn written(tile: &mut [MaybeUninit<f32>], n: usize) -> &mut [f32] {
    let tile = &mut tile[..n];
    // SAFETY: as many as the tile has, and written, as the caller vouches.
    unsafe { std::slice::from_raw_parts_mut(tile.as_mut_ptr().cast(), n) }
}

/// What is done with the rows of a panel.
enum Step {
    /// Their sums over a part of the depth.
    Sum(Range<usize>),
    /// All that comes after the sums.
    Finish,
}

/// The columns of one panel.
struct Columns<'a> {
    panel: usize,
    first: usize,
    n: usize,
    /// Zeros where there is none.
    bias: [f32; COLUMNS_MAX],
    /// The panel's weights, where the rows are f32.
    floats: &'a [f32],
    /// Those of the update's second product.
    floats_b: &'a [f32],
}

/// One product of the sum that makes a tile.
struct Term<'a> {
    matrix: &'a PackedMatrix,
    x: Operand<'a>,
    /// The first of the operand's rows.
    row: usize,
    /// The panel's weights, where the rows are f32.
    floats: &'a [f32],
}

impl Term<'_> {
    /// Writes the product of `M` rows and a panel's columns to `out`: over a part of the depth in f32, where `out` has the sums
    /// over what comes before it; elsewhere over the whole.
    ///
    /// # Safety
    /// The instructions of `K` are enabled; the rows and the panel exist, the operand's form is that of the matrix, and
    /// `out` has room for the tile.
    #[inline(always)]
    unsafe fn write_tile<K: Kernel, const M: usize, const V: usize>(
        &self,
        panel: usize,
        depth: Range<usize>,
        out: *mut f32,
    ) {
        let Self { matrix, x, row, .. } = *self;
        let start = matrix.panel_start(panel);
        // SAFETY: the panel's numbers begin at `start` and are as deep as the matrix; `x` has the rows from `row` to
        // `row + M`, and `out` has room for them.
        unsafe {
            match (&matrix.numbers, x.form) {
                (Numbers::F32(_) | Numbers::Bf16(_), Form::F32) => {
                    let rows = Rows { start: x.rows.as_ptr().add(row * x.width + depth.start), stride: x.width };
                    let floats = &self.floats[depth.start * V * K::LANES..depth.end * V * K::LANES];
                    K::f32::<M, V>(rows, depth.len(), floats.as_ptr(), depth.start > 0, out);
                }
                (Numbers::Bf16(numbers), Form::Bf16 { values, stride }) => {
                    let rows = Rows { start: values.as_ptr().add(row * stride), stride: *stride };
                    K::bf16_products::<M, V>(rows, stride / 2, numbers.as_ptr().add(start), out);
                }
                (
                    Numbers::Int8 { weights, scales, sums },
                    Form::Int8 { values, stride, scales: row_scales, minima },
                ) => {
                    let rows = Rows { start: values.as_ptr().add(row * stride), stride: *stride };
                    let column = panel * VECTORS_MAX * K::LANES;
                    let scaling = Scaling {
                        row_scales: row_scales[row..][..M].as_ptr(),
                        row_minima: minima[row..][..M].as_ptr(),
                        column_sums: sums[column..][..V * K::LANES].as_ptr(),
                        column_scales: scales[column..][..V * K::LANES].as_ptr(),
                    };
                    K::int8::<M, V>(rows, *stride, weights.as_ptr().add(start), scaling, out);
                }
                _ => unreachable!("`check_form` has refused other pairs"),
            }
        }
    }
}

//! The operations of a forward pass, and the shapes that they accept.

use crate::attention::HEAD_DIM_MAX;
use crate::memory::DeviceId;
use crate::rows::Ranges;
use crate::{AttentionShape, Format, Indices, Quantized, Rows, Spans, Vector};

/// An operation, with the rows that it reads and the rows `out` that it writes.
///
/// All sums and functions are computed in f32, whatever the formats of rows are, and rounded once, to the format of
/// `out`. `out` may be an input itself, where this is said; otherwise it overlaps none.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Op<'a> {
    /// The sum of one row of each table: `out[i] = tables[0][ids[0][i]] + ...`, for one to three tables.
    Embed {
        /// The tables with an id for each row of `out`. Tables have one format.
        tables: &'a [(&'a Rows, &'a Indices)],
        /// `[n, width]`
        out: &'a Rows,
    },
    /// `out[i] = x[rows[i]]`, without rounding: the formats are equal.
    Gather {
        /// `[n_x, width]`
        x: &'a Rows,
        /// `[n]`
        rows: &'a Indices,
        /// `[n, width]`
        out: &'a Rows,
    },
    /// `out = x`, rounded to the format of `out`.
    Copy {
        /// `[n, width]`
        x: &'a Rows,
        /// `[n, width]`
        out: &'a Rows,
    },
    /// `out = x wᵀ + bias + add`. With the columns of `x` continued by `x Aᵀ`, and those of `w` by `scale * B`, this is
    /// a linear layer with any number of low-rank updates (arXiv 2106.09685) in one product.
    Gemm {
        /// `[n, n_in]`, `F32` or `Bf16`.
        x: &'a Rows,
        /// `[n_out, n_in]`, of the same format.
        w: &'a Rows,
        /// `[n_out]`; added in the format of `out`.
        bias: Option<&'a Vector>,
        /// `[n, n_out]`, of the format of `out`; it may be `out` itself: a residual.
        add: Option<&'a Rows>,
        /// `[n, n_out]`, of the format of `x`, or `F32`. It may be other columns of the rows that `x` has columns of.
        out: &'a Rows,
    },
    /// The same for quantized operands: each product is multiplied by the scales of its two rows.
    ScaledGemm {
        /// `[n, n_in]`
        x: &'a Quantized,
        /// `[n_out, n_in]`: multiples of 16.
        w: &'a Quantized,
        /// `[n_out]`; added in the format of `out`.
        bias: Option<&'a Vector>,
        /// `[n, n_out]`, `Bf16`; it may be `out` itself.
        add: Option<&'a Rows>,
        /// `[n, n_out]`, `Bf16`
        out: &'a Rows,
    },
    /// Divides each row by a scale, so that its largest number becomes the largest one of `E4m3`, and rounds. A row of
    /// zeros has scale 1.
    Quantize {
        /// `[n, width]`, `F32` or `Bf16`.
        x: &'a Rows,
        /// `[n, width]`
        out: &'a Quantized,
    },
    /// Sets the numbers outside of a range of columns to zero, row by row: the columns of other adapters than the row's
    /// own.
    KeepColumns {
        /// `[n, width]`; changed in place.
        x: &'a Rows,
        /// `[2 n]`: the first column of a row, and one after the last. Empty ranges are allowed.
        ranges: &'a Indices,
    },
    /// RMS norm (arXiv 1910.07467): `x / sqrt(mean(x²) + eps) * weight`.
    RmsNorm {
        /// `[n, width]`
        x: &'a Rows,
        /// `[width]`
        weight: &'a Vector,
        /// Above 0.
        eps: f32,
        /// `[n, width]`; it may be `x`.
        out: &'a Rows,
    },
    /// Layer norm (arXiv 1607.06450): `(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias`.
    LayerNorm {
        /// `[n, width]`
        x: &'a Rows,
        /// `[width]`
        weight: &'a Vector,
        /// `[width]`
        bias: &'a Vector,
        /// Above 0.
        eps: f32,
        /// `[n, width]`; it may be `x`.
        out: &'a Rows,
    },
    /// Rotary positions on halves of heads, in place (arXiv 2104.09864, as in Hugging Face's Llama).
    Rope {
        /// `[n, n_heads * head_dim]`; changed in place.
        x: &'a Rows,
        /// An even number.
        head_dim: usize,
        /// `[n_positions, head_dim]`, `F32`: the cosines of a position, then its sines.
        table: &'a Rows,
        /// `[n]`
        positions: &'a Indices,
    },
    /// A function of each number.
    Activate {
        /// `[n, width]`
        x: &'a Rows,
        /// The function.
        activation: Activation,
        /// `[n, width]`; it may be `x`.
        out: &'a Rows,
    },
    /// `activation(gate) * up` (SwiGLU and GeGLU, arXiv 2002.05202).
    Gated {
        /// `[n, width]`
        gate: &'a Rows,
        /// `[n, width]`, of the same format.
        up: &'a Rows,
        /// The function.
        activation: Activation,
        /// `[n, width]`; it may be `gate` or `up`.
        out: &'a Rows,
    },
    /// Scaled dot-product attention (arXiv 1706.03762) within each span: `softmax(q kᵀ / sqrt(head_dim)) v`.
    Attention {
        /// `[n_queries, n_heads * head_dim]`, `F32` or `Bf16`.
        q: &'a Rows,
        /// `[n_tokens, n_kv_heads * head_dim]`, of the same format.
        k: &'a Rows,
        /// `[n_tokens, n_kv_heads * head_dim]`, of the same format.
        v: &'a Rows,
        /// Heads and mask.
        shape: AttentionShape,
        /// The sequences.
        spans: &'a Spans,
        /// `[n_queries, n_heads * head_dim]`, of the same format.
        out: &'a Rows,
    },
    /// The mean of each range of rows.
    Mean {
        /// `[n_x, width]`
        x: &'a Rows,
        /// `[2 n]`: the first row of a range, and one after the last. No range is empty.
        ranges: &'a Indices,
        /// `[n, width]`
        out: &'a Rows,
    },
    /// `out = x * factor`.
    Scale {
        /// `[n, width]`
        x: &'a Rows,
        /// The factor.
        factor: f32,
        /// `[n, width]`; it may be `x`.
        out: &'a Rows,
    },
    /// `out = x + y`.
    Add {
        /// `[n, width]`
        x: &'a Rows,
        /// `[n, width]`
        y: &'a Rows,
        /// `[n, width]`; it may be `x` or `y`.
        out: &'a Rows,
    },
}

/// A function of a number. The kernels know the functions by their numbers here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x * Φ(x)` with the normal distribution Φ (arXiv 1606.08415).
    Gelu = 0,
    /// Its approximation by the hyperbolic tangent.
    GeluTanh = 1,
    /// `x / (1 + exp(-x))` (arXiv 1702.03118).
    Silu = 2,
    /// `max(x, 0)`.
    Relu = 3,
    /// The hyperbolic tangent.
    Tanh = 4,
}

/// The most tables of [`Op::Embed`].
pub(crate) const TABLES_MAX: usize = 3;

/// Whether `out` may be an input.
#[derive(Clone, Copy, PartialEq)]
enum Sharing {
    None,
    InPlace,
}

impl Op<'_> {
    /// Checks shapes, formats, indices and overlaps. What this accepts, a kernel computes within the memory of its
    /// rows.
    ///
    /// # Panics
    /// If something disagrees, or memory belongs to another device.
    pub(crate) fn check(&self, device: DeviceId) {
        match *self {
            Op::Embed { tables, out } => {
                assert!((1..=TABLES_MAX).contains(&tables.len()), "one to {TABLES_MAX} tables");
                for (table, ids) in tables {
                    assert_eq!(
                        (table.width(), table.format()),
                        (out.width(), tables[0].0.format()),
                        "tables of one shape"
                    );
                    check_indices(ids, out.n_rows(), table.n_rows(), device);
                    check_rows(&[table], out, Sharing::None, device);
                }
            }
            Op::Gather { x, rows, out } => {
                assert_eq!((x.width(), x.format()), (out.width(), out.format()), "the rows are those of `x`");
                check_indices(rows, out.n_rows(), x.n_rows(), device);
                check_rows(&[x], out, Sharing::None, device);
            }
            Op::Copy { x, out } => check_elementwise(&[x], out, Sharing::None, device),
            Op::Gemm { x, w, bias, add, out } => {
                assert!(x.format() != Format::E4m3 && x.format() == w.format(), "operands of one format");
                assert!(out.format() == x.format() || out.format() == Format::F32, "a result of the operands' format");
                check_product([x, w], bias, add, out, device);
            }
            Op::ScaledGemm { x, w, bias, add, out } => {
                assert_eq!(out.format(), Format::Bf16, "products of quantized rows are bf16");
                let is_whole = x.width().is_multiple_of(16) && w.n_rows().is_multiple_of(16);
                assert!(is_whole, "tensor cores read 16 numbers of `E4m3` at once");
                check_quantized(x, device);
                check_quantized(w, device);
                check_product([&x.numbers, &w.numbers], bias, add, out, device);
            }
            Op::Quantize { x, out } => {
                check_quantized(out, device);
                check_elementwise(&[x], &out.numbers, Sharing::None, device);
                assert!(!x.overlaps(&out.scales), "the scales overlap no input");
            }
            Op::KeepColumns { x, ranges } => {
                check_ranges(ranges, x.n_rows(), x.width(), device);
                check_rows(&[], x, Sharing::None, device);
            }
            Op::RmsNorm { x, weight, eps, out } => {
                assert!(eps > 0.0 && weight.width() == x.width(), "a weight for each column");
                check_elementwise(&[x], out, Sharing::InPlace, device);
                check_rows(&[&weight.exact], out, Sharing::None, device);
            }
            Op::LayerNorm { x, weight, bias, eps, out } => {
                let widths = (weight.width(), bias.width());
                assert!(eps > 0.0 && widths == (x.width(), x.width()), "a weight and a bias for each column");
                check_elementwise(&[x], out, Sharing::InPlace, device);
                check_rows(&[&weight.exact, &bias.exact], out, Sharing::None, device);
            }
            Op::Rope { x, head_dim, table, positions } => {
                assert!(head_dim > 0 && head_dim.is_multiple_of(2), "rotary positions turn pairs");
                assert!(x.width().is_multiple_of(head_dim) && table.width() == head_dim, "rows of whole heads");
                assert!(table.format() == Format::F32, "angles are in f32");
                check_indices(positions, x.n_rows(), table.n_rows(), device);
                check_rows(&[table], x, Sharing::None, device);
            }
            Op::Activate { x, out, .. } | Op::Scale { x, out, .. } => {
                check_elementwise(&[x], out, Sharing::InPlace, device)
            }
            Op::Gated { gate, up, out, .. } => {
                assert_eq!(gate.format(), up.format(), "gate and up are of one format");
                check_elementwise(&[gate, up], out, Sharing::InPlace, device);
            }
            Op::Add { x, y, out } => check_elementwise(&[x, y], out, Sharing::InPlace, device),
            Op::Attention { q, k, v, shape, spans, out } => check_attention([q, k, v], &shape, spans, out, device),
            Op::Mean { x, ranges, out } => {
                assert_eq!(x.width(), out.width(), "the means are as wide as the rows");
                check_ranges(ranges, out.n_rows(), x.n_rows(), device);
                assert!(ranges.ranges() == Ranges::NoneEmpty || out.n_rows() == 0, "no mean of no rows");
                check_rows(&[x], out, Sharing::None, device);
            }
        }
    }
}

fn check_rows(inputs: &[&Rows], out: &Rows, sharing: Sharing, device: DeviceId) {
    for rows in inputs.iter().chain([&out]) {
        assert!(rows.device() == device, "the memory belongs to another device");
    }
    for input in inputs {
        let is_allowed = !input.overlaps(out) || (sharing == Sharing::InPlace && input.is_same(out));
        assert!(is_allowed, "the result overlaps an input");
    }
}

fn check_elementwise(inputs: &[&Rows], out: &Rows, sharing: Sharing, device: DeviceId) {
    for input in inputs {
        assert_eq!((input.n_rows(), input.width()), (out.n_rows(), out.width()), "all have one shape");
    }
    check_rows(inputs, out, sharing, device);
}

fn check_indices(indices: &Indices, n: usize, end: usize, device: DeviceId) {
    assert_eq!(indices.values().len(), n, "one index for each row");
    assert!(indices.max().is_none_or(|max| (max as usize) < end), "an index is below {end}");
    check_rows(&[], indices.data(), Sharing::None, device);
}

fn check_ranges(ranges: &Indices, n: usize, end: usize, device: DeviceId) {
    assert_eq!(ranges.values().len(), 2 * n, "one range for each row");
    let is_within = ranges.max().is_none_or(|max| max as usize <= end);
    assert!(is_within && ranges.ranges() != Ranges::Invalid, "no range is reversed, or ends after {end}");
    check_rows(&[], ranges.data(), Sharing::None, device);
}

fn check_product([x, w]: [&Rows; 2], bias: Option<&Vector>, add: Option<&Rows>, out: &Rows, device: DeviceId) {
    assert_eq!(x.width(), w.width(), "both operands have `n_in` columns");
    assert_eq!((out.n_rows(), out.width()), (x.n_rows(), w.n_rows()), "the result is [n, n_out]");
    check_rows(&[x, w], out, Sharing::None, device);
    if let Some(bias) = bias {
        assert_eq!(bias.width(), out.width(), "a bias for each column");
        check_rows(&[bias.of(out.format())], out, Sharing::None, device);
    }
    if let Some(add) = add {
        assert_eq!(add.format(), out.format(), "what is added has the format of the result");
        check_elementwise(&[add], out, Sharing::InPlace, device);
    }
}

fn check_quantized(rows: &Quantized, device: DeviceId) {
    assert_eq!(
        (rows.numbers.n_rows(), rows.numbers.format()),
        (rows.scales.n_rows(), Format::E4m3),
        "a scale for each row"
    );
    check_rows(&[&rows.scales], &rows.numbers, Sharing::None, device);
}

fn check_attention([q, k, v]: [&Rows; 3], shape: &AttentionShape, spans: &Spans, out: &Rows, device: DeviceId) {
    let AttentionShape { n_heads, n_kv_heads, head_dim, .. } = *shape;
    assert!(n_kv_heads > 0 && n_heads > 0 && n_heads.is_multiple_of(n_kv_heads), "the heads divide evenly");
    let is_supported = head_dim > 0 && head_dim.is_multiple_of(8) && head_dim <= HEAD_DIM_MAX;
    assert!(is_supported, "a head's width is a multiple of 8, up to {HEAD_DIM_MAX}, not {head_dim}");
    assert!(q.format() != Format::E4m3 && [k, v, out].iter().all(|rows| rows.format() == q.format()), "one format");
    assert_eq!((q.width(), k.width()), (n_heads * head_dim, n_kv_heads * head_dim), "rows of whole heads");
    assert_eq!((k.n_rows(), k.width()), (v.n_rows(), v.width()), "a value for each key");
    assert_eq!(
        (out.n_rows(), out.width(), spans.n_queries),
        (q.n_rows(), q.width(), q.n_rows()),
        "a result for each query"
    );
    assert!(spans.keys_end <= k.n_rows(), "the spans' keys are rows of `k`");
    check_rows(&[q, k, v], out, Sharing::None, device);
    check_rows(&[], spans.tiles.data(), Sharing::None, device);
}

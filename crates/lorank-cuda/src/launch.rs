//! How kernels are launched: which one an operation is, its threads and its arguments.

use crate::attention::{SPAN_TOKENS_MAX, TILE_WORDS};
use crate::{Activation, AttentionShape, Format, Indices, Op, Quantized, Rows, Spans, Vector};

/// A launch of a kernel.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// The name of the function in `kernels/`.
    pub(crate) kernel: &'static str,
    pub(crate) n_blocks: usize,
    pub(crate) n_threads: usize,
    /// Shared memory whose size is known here only, in bytes.
    pub(crate) n_shared: usize,
    /// In the order of the kernel's parameters.
    pub(crate) arguments: Vec<Argument<'a>>,
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Argument<'a> {
    /// A `View`; without data, if there are no rows.
    View(Option<&'a Rows>),
    /// A pointer to the first number; null, if there are no rows.
    Pointer(Option<&'a Rows>),
    Integer(i32),
    Number(f32),
}

/// All kernels.
pub(crate) const NAMES: &[&str] = &[
    "activate",
    "add",
    "attention_32",
    "attention_64",
    "attention_128",
    "attention_any",
    "copy",
    "embed",
    "finish",
    "gated",
    "gather",
    "keep_columns",
    "layer_norm",
    "mean",
    "quantize",
    "rms_norm",
    "rope",
    "scale",
];

/// The kernels of attention on tensor cores, and the widths of their heads.
pub(crate) const ATTENTIONS: [(usize, &str); 3] = [(32, "attention_32"), (64, "attention_64"), (128, "attention_128")];

/// The most threads of a block that works on a row.
const ROW_THREADS_MAX: usize = 256;

/// The threads and keys of a block of attention, as `THREADS` and `KEYS` in `attention.cu`.
const ATTENTION_THREADS: usize = 128;
const ATTENTION_KEYS: usize = 64;

/// A window that is wider than any sequence.
const NO_WINDOW: usize = SPAN_TOKENS_MAX - 1;

impl<'a> Launch<'a> {
    /// The launch of an operation that has been checked; `None` for products, and if there is nothing to compute.
    pub(crate) fn of(op: &Op<'a>) -> Option<Self> {
        match *op {
            Op::Gemm { .. } | Op::ScaledGemm { .. } => None,
            Op::Embed { tables, out } => {
                let table = |n: usize| tables.get(n).map(|(rows, ids)| (*rows, *ids));
                let of_table = |n: usize| {
                    let ids = table(n).map(|table| table.1.data());
                    [Argument::View(table(n).map(|table| table.0)), Argument::Pointer(ids)]
                };
                by_row("embed", [&of_table(0)[..], &of_table(1), &of_table(2), &[view(out), width(out)]].concat(), out)
            }
            Op::Gather { x, rows, out } => by_row("gather", vec![view(x), ids(rows), view(out), width(out)], out),
            Op::Copy { x, out } => by_row("copy", vec![view(x), view(out), width(out)], out),
            Op::Quantize { x, out } => {
                let scales = Argument::Pointer(Some(&out.scales));
                by_row("quantize", vec![view(x), view(&out.numbers), scales, width(x)], x)
            }
            Op::KeepColumns { x, ranges } => by_row("keep_columns", vec![view(x), ids(ranges), width(x)], x),
            Op::RmsNorm { x, weight, eps, out } => {
                by_row("rms_norm", vec![view(x), values(weight), Argument::Number(eps), view(out), width(out)], out)
            }
            Op::LayerNorm { x, weight, bias, eps, out } => {
                let eps = Argument::Number(eps);
                by_row("layer_norm", vec![view(x), values(weight), values(bias), eps, view(out), width(out)], out)
            }
            Op::Rope { x, head_dim, table, positions } => {
                let (head_dim, n_pairs) = (integer(head_dim), integer(x.width() / 2));
                by_row("rope", vec![view(x), head_dim, view(table), ids(positions), n_pairs], x)
            }
            Op::Activate { x, activation, out } => {
                by_row("activate", vec![view(x), function(activation), view(out), width(out)], out)
            }
            Op::Gated { gate, up, activation, out } => {
                let arguments = vec![view(gate), view(up), function(activation), view(out), width(out)];
                by_row("gated", arguments, out)
            }
            Op::Mean { x, ranges, out } => by_row("mean", vec![view(x), ids(ranges), view(out), width(out)], out),
            Op::Scale { x, factor, out } => {
                by_row("scale", vec![view(x), Argument::Number(factor), view(out), width(out)], out)
            }
            Op::Add { x, y, out } => by_row("add", vec![view(x), view(y), view(out), width(out)], out),
            Op::Attention { q, k, v, shape, spans, out } => attention([q, k, v, out], &shape, spans),
        }
    }

    /// What follows a product that was computed without the scales of its rows, its bias or its residual.
    pub(crate) fn finish(
        product: &'a Rows,
        operands: Option<[&'a Quantized; 2]>,
        bias: Option<&'a Rows>,
        add: Option<&'a Rows>,
        out: &'a Rows,
    ) -> Option<Self> {
        let scales = |at: usize| Argument::Pointer(operands.map(|operands| &operands[at].scales));
        let (bias, add) = (Argument::View(bias), Argument::View(add));
        by_row("finish", vec![view(product), scales(0), scales(1), bias, add, view(out), width(out)], out)
    }
}

/// A block for each row, with a thread for eight columns.
fn by_row<'a>(kernel: &'static str, arguments: Vec<Argument<'a>>, rows: &Rows) -> Option<Launch<'a>> {
    let n_threads = rows.width().div_ceil(8).next_multiple_of(32).min(ROW_THREADS_MAX);
    let launch = Launch { kernel, n_blocks: rows.n_rows(), n_threads, n_shared: 0, arguments };
    (!rows.is_empty()).then_some(launch)
}

/// A block for each tile and head.
fn attention<'a>(qkv_out: [&'a Rows; 4], shape: &AttentionShape, spans: &'a Spans) -> Option<Launch<'a>> {
    let AttentionShape { n_heads, n_kv_heads, head_dim, mask } = *shape;
    let is_fast = qkv_out.iter().all(|rows| rows.format() == Format::Bf16 && is_aligned(rows));
    let fast = ATTENTIONS.iter().find(|(width, _)| is_fast && *width == head_dim);
    let [q, k, v, out] = qkv_out.map(|rows| view(rows));
    let window = integer(mask.window.unwrap_or(NO_WINDOW).min(NO_WINDOW));
    let scale = Argument::Number(1.0 / (head_dim as f32).sqrt());
    let mut arguments = vec![q, k, v, out, ids(&spans.tiles), integer(n_heads), integer(n_heads / n_kv_heads)];
    arguments.extend([scale, integer(usize::from(mask.is_causal)), window]);
    let (kernel, n_shared) = match fast {
        Some((_, kernel)) => (*kernel, shared_bytes(head_dim)),
        None => {
            arguments.push(integer(head_dim));
            ("attention_any", 0)
        }
    };
    let n_blocks = spans.tiles.values().len() / TILE_WORDS * n_heads;
    let launch = Launch { kernel, n_blocks, n_threads: ATTENTION_THREADS, n_shared, arguments };
    (n_blocks > 0).then_some(launch)
}

/// The shared memory of attention on tensor cores: two buffers of keys and two of values, with 16 bytes between rows.
pub(crate) const fn shared_bytes(head_dim: usize) -> usize {
    4 * ATTENTION_KEYS * (head_dim + 8) * Format::Bf16.n_bytes()
}

/// Whether each row begins where vectors of eight numbers, but of 16 bytes at most, may begin. A block begins at a
/// multiple of 16 bytes.
pub(crate) fn is_aligned(rows: &Rows) -> bool {
    let vector = (8 * rows.format().n_bytes()).min(16);
    rows.first_byte().is_multiple_of(vector) && (rows.stride() * rows.format().n_bytes()).is_multiple_of(vector)
}

fn view(rows: &Rows) -> Argument<'_> {
    Argument::View(Some(rows))
}

fn ids(indices: &Indices) -> Argument<'_> {
    Argument::Pointer(Some(indices.data()))
}

fn values(vector: &Vector) -> Argument<'_> {
    Argument::Pointer(Some(&vector.exact))
}

fn width(rows: &Rows) -> Argument<'static> {
    integer(rows.width())
}

fn integer(n: usize) -> Argument<'static> {
    Argument::Integer(i32::try_from(n).expect("widths, heads and windows are small"))
}

fn function(activation: Activation) -> Argument<'static> {
    Argument::Integer(activation as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_is_in_the_source_once() {
        for name in NAMES {
            let opening = match name.strip_prefix("attention_") {
                Some(head_dim) if head_dim != "any" => format!("\nATTENTION({head_dim})\n"),
                _ => format!(" {name}(\n").replace('\n', ""),
            };
            let is_definition = |line: &&str| line.contains("extern \"C\" __global__") && line.contains(&opening);
            let n = crate::gpu::SOURCE.lines().filter(is_definition).count();
            let n = if opening.starts_with('\n') { crate::gpu::SOURCE.matches(&opening).count() } else { n };
            assert_eq!(n, 1, "{name}");
        }
        let n_definitions = crate::gpu::SOURCE.matches("extern \"C\" __global__").count();
        assert_eq!(n_definitions - 1 + 3, NAMES.len(), "one macro defines three kernels");
    }
}

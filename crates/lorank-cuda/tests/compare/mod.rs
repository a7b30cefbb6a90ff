//! Every operation of a device beside that of `Host`, over shapes that reach each part of the kernels: rows that are
//! aligned and not, widths that are multiples of eight and not, results in place, sequences of several tiles.

mod numbers;

use lorank_cuda::{Activation, AttentionShape, CudaError, Format, Host, Indices, Mask, Op, Ops, Rows, Span, Vector};

use self::numbers::numbers;

type Outcome = Result<Vec<Rows>, CudaError>;

/// Compares a device with the host.
///
/// # Panics
/// If they differ by more than rounding.
pub(crate) fn compare(device: &dyn Ops, arena_bytes: usize) {
    let host = Host::new(128 << 20);
    for ops in [device, &host] {
        ops.reserve_arena(arena_bytes).expect("the memory suffices");
    }
    let mut n_compared = 0;
    let mut check_within = |slack: f32, what: &str, run: &dyn Fn(&Case<'_>) -> Outcome| {
        let results = [device, &host].map(|ops| {
            let rows = run(&Case { ops }).unwrap_or_else(|error| panic!("{what}: {error}"));
            rows.into_iter()
                .map(|rows| (rows.format(), ops.read(&rows).expect("the rows are read")))
                .collect::<Vec<_>>()
        });
        let [ours, expected] = results;
        for ((format, ours), (_, expected)) in ours.iter().zip(&expected) {
            assert_eq!(ours.len(), expected.len(), "{what}");
            for (at, (ours, expected)) in ours.iter().zip(expected).enumerate() {
                let relative = if *format == Format::F32 { 2e-5 } else { 1.0 / 100.0 };
                let allowed = relative * expected.abs() + slack * relative;
                // NaN is never close.
                let is_close = (ours - expected).abs() <= allowed;
                assert!(is_close, "{what}, {format:?} at {at}: {ours}, not {expected}");
            }
        }
        n_compared += 1;
    };
    for (has_bias, has_add) in [(false, false), (true, false), (false, true), (true, true)] {
        // The product may be rounded to bf16 before scales, bias and residual, which may cancel a part of it.
        let what = format!("quantized product, bias: {has_bias}, residual: {has_add}");
        check_within(4.0, &what, &|case| case.quantized_product(has_bias, has_add));
    }
    for layout in layouts() {
        // The same, before the bias.
        check_within(4.0, &format!("products {layout:?}"), &|case| case.products(layout));
    }
    for attention in attentions() {
        // The weights may be rounded to bf16.
        check_within(0.5, &format!("{attention:?}"), &|case| case.attention(&attention));
    }
    let mut check = |what: &str, run: &dyn Fn(&Case<'_>) -> Outcome| check_within(0.1, what, run);
    for layout in layouts() {
        check(&format!("elementwise {layout:?}"), &|case| case.elementwise(layout));
        check(&format!("lookups {layout:?}"), &|case| case.lookups(layout));
        check(&format!("norms {layout:?}"), &|case| case.norms(layout));
        check(&format!("quantized {layout:?}"), &|case| case.quantized(layout));
    }
    for format in [Format::F32, Format::Bf16] {
        check(&format!("rotations {format:?}"), &|case| case.rotations(format));
        check(&format!("adapters {format:?}"), &|case| case.adapters(format));
    }
    assert!(n_compared > 40, "{n_compared} comparisons");
}

/// Rows of a case.
#[derive(Debug, Clone, Copy)]
struct Layout {
    shape: [usize; 2],
    x: Format,
    out: Format,
    is_aligned: bool,
}

fn layouts() -> Vec<Layout> {
    let (f32, bf16) = (Format::F32, Format::Bf16);
    let layout = |(shape, x, out, is_aligned)| Layout { shape, x, out, is_aligned };
    let rows = [
        ([3, 16], f32, f32, true),
        ([2, 13], f32, f32, false),
        ([3, 16], bf16, bf16, true),
        ([2, 13], bf16, bf16, true),
        ([2, 13], bf16, f32, false),
        ([1, 530], bf16, bf16, true),
    ];
    rows.map(layout).into()
}

/// Attention of a case.
#[derive(Debug, Clone)]
struct Attention {
    format: Format,
    heads: [usize; 3],
    mask: Mask,
    /// The tokens of the shared prefix; for each sequence the tokens before its first query, and its queries.
    n_prefix: usize,
    lengths: Vec<[usize; 2]>,
    is_aligned: bool,
}

fn attentions() -> Vec<Attention> {
    let windowed = |is_causal, window| Mask { is_causal, window: Some(window) };
    let case = |format, heads, mask, n_prefix, lengths: &[[usize; 2]]| Attention {
        format,
        heads,
        mask,
        n_prefix,
        lengths: lengths.to_vec(),
        is_aligned: true,
    };
    let fast = Format::Bf16;
    let mut cases = vec![
        case(fast, [1, 1, 32], Mask::NONE, 0, &[[0, 1], [0, 70]]),
        case(fast, [3, 1, 64], Mask::CAUSAL, 5, &[[2, 3], [0, 66]]),
        case(fast, [2, 1, 128], Mask::CAUSAL, 70, &[[60, 1], [0, 9]]),
        case(fast, [1, 1, 32], windowed(false, 3), 0, &[[0, 140]]),
        case(fast, [1, 1, 64], windowed(true, 0), 3, &[[0, 5]]),
        case(fast, [1, 1, 32], windowed(true, 70), 1, &[[130, 12]]),
        case(fast, [2, 1, 40], Mask::CAUSAL, 2, &[[0, 3], [35, 2]]),
        case(Format::F32, [2, 1, 64], Mask::NONE, 30, &[[0, 5], [1, 2]]),
        case(Format::F32, [1, 1, 256], windowed(true, 33), 0, &[[33, 4]]),
        case(Format::F32, [3, 3, 8], windowed(false, 2), 0, &[[0, 6]]),
    ];
    cases.push(Attention { is_aligned: false, lengths: vec![[30, 4], [0, 2]], ..cases[1].clone() });
    cases
}

/// One side of a comparison.
struct Case<'a> {
    ops: &'a dyn Ops,
}

impl Case<'_> {
    /// Rows in the middle of wider ones: the wider ones, all filled, and the view of the middle.
    fn rows(
        &self,
        [n, width]: [usize; 2],
        format: Format,
        is_aligned: bool,
        seed: u64,
    ) -> Result<[Rows; 2], CudaError> {
        let [before, after] = if is_aligned { [16, 16 + (16 - width % 16) % 16] } else { [3, 2] };
        let wide = self.ops.rows(n, before + width + after, format)?;
        self.ops.write(&wide, &numbers(n * wide.width(), seed))?;
        let middle = wide.columns(before..before + width);
        Ok([wide, middle])
    }

    fn vector(&self, n: usize, seed: u64) -> Result<Vector, CudaError> {
        self.ops.vector(&numbers(n, seed))
    }

    fn indices(&self, n: usize, end: u32, seed: u64) -> Result<Indices, CudaError> {
        self.ops.indices(&(0..n as u32).map(|i| (i * 7 + seed as u32) % end).collect::<Vec<_>>())
    }

    fn elementwise(&self, Layout { shape, x, out, is_aligned }: Layout) -> Outcome {
        let activations =
            [Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Relu, Activation::Tanh];
        let mut results = Vec::new();
        for (seed, activation) in activations.into_iter().enumerate() {
            let [_, a] = self.rows(shape, x, is_aligned, 10)?;
            let [_, b] = self.rows(shape, x, is_aligned, 11)?;
            let [wide, to] = self.rows(shape, out, is_aligned, seed as u64)?;
            match seed % 3 {
                0 => self.ops.run(Op::Gated { gate: &a, up: &b, activation, out: &to })?,
                1 => self.ops.run(Op::Gated { gate: &a, up: &b, activation, out: &b })?,
                _ => self.ops.run(Op::Gated { gate: &a, up: &b, activation, out: &a })?,
            }
            results.extend([wide, a.clone(), b]);
            self.ops.run(Op::Activate { x: &a, activation, out: if seed % 2 == 0 { &a } else { &to } })?;
        }
        let ([_, a], [_, b]) = (self.rows(shape, x, is_aligned, 1)?, self.rows(shape, Format::F32, !is_aligned, 2)?);
        let [[sums, to_sums], [scaled, to_scaled], [copied, to_copied]] = [3, 4, 5]
            .map(|seed| self.rows(shape, out, is_aligned, seed))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?
            .try_into()
            .expect("there are three");
        self.ops.run(Op::Add { x: &a, y: &b, out: &to_sums })?;
        self.ops.run(Op::Scale { x: &a, factor: -1.25, out: &to_scaled })?;
        self.ops.run(Op::Copy { x: &a, out: &to_copied })?;
        self.ops.run(Op::Add { x: &a, y: &b, out: &b })?;
        results.extend([sums, scaled, copied, b]);
        Ok(results)
    }

    fn lookups(&self, Layout { shape: [n, width], x, out, is_aligned }: Layout) -> Outcome {
        let mut results = Vec::new();
        let tables = [1, 2, 3].map(|seed| self.rows([5, width], x, is_aligned, seed).map(|[_, rows]| rows));
        let tables: Vec<Rows> = tables.into_iter().collect::<Result<_, _>>()?;
        let ids: Vec<Indices> = [1, 2, 3].map(|seed| self.indices(n, 5, seed)).into_iter().collect::<Result<_, _>>()?;
        let with_ids: Vec<(&Rows, &Indices)> = tables.iter().zip(&ids).collect();
        for n_tables in 1..=3 {
            let [wide, to] = self.rows([n, width], out, is_aligned, 9)?;
            self.ops.run(Op::Embed { tables: &with_ids[..n_tables], out: &to })?;
            results.push(wide);
        }
        let [wide, to] = self.rows([n, width], x, !is_aligned, 9)?;
        self.ops.run(Op::Gather { x: &tables[0], rows: &ids[1], out: &to })?;
        let [means, to_means] = self.rows([2, width], out, is_aligned, 8)?;
        self.ops.run(Op::Mean { x: &tables[1], ranges: &self.ops.indices(&[0, 4, 4, 5])?, out: &to_means })?;
        let [kept, inside] = self.rows([2, width], x, is_aligned, 7)?;
        self.ops.run(Op::KeepColumns { x: &inside, ranges: &self.ops.indices(&[1, 9, 4, 4])? })?;
        results.extend([wide, means, kept]);
        Ok(results)
    }

    fn norms(&self, Layout { shape, x, out, is_aligned }: Layout) -> Outcome {
        let mut results = Vec::new();
        let (weight, bias) = (self.vector(shape[1], 1)?, self.vector(shape[1], 2)?);
        for in_place in [false, true] {
            let [wide, from] = self.rows(shape, x, is_aligned, 4)?;
            let [other, to] = self.rows(shape, out, is_aligned, 5)?;
            let to = if in_place { &from } else { &to };
            self.ops.run(Op::RmsNorm { x: &from, weight: &weight, eps: 1e-3, out: to })?;
            self.ops.run(Op::LayerNorm { x: &from, weight: &weight, bias: &bias, eps: 1e-3, out: &from })?;
            results.extend([wide, other]);
        }
        Ok(results)
    }

    fn quantized(&self, Layout { shape: [n, width], x, is_aligned, .. }: Layout) -> Outcome {
        let [_, from] = self.rows([n, width], x, is_aligned, 6)?;
        self.ops.run(Op::Scale { x: &from.slice(0..1), factor: 0.0, out: &from.slice(0..1) })?;
        let to = self.ops.quantized_rows(n, width)?;
        self.ops.run(Op::Quantize { x: &from, out: &to })?;
        Ok(vec![to.numbers().clone(), to.scales().clone()])
    }

    fn rotations(&self, format: Format) -> Outcome {
        let mut results = Vec::new();
        for head_dim in [2, 6, 64] {
            let [wide, x] = self.rows([3, 3 * head_dim], format, head_dim != 6, 1)?;
            let [_, table] = self.rows([8, head_dim], Format::F32, true, 2)?;
            self.ops.run(Op::Rope { x: &x, head_dim, table: &table, positions: &self.indices(3, 8, 3)? })?;
            results.push(wide);
        }
        Ok(results)
    }

    fn products(&self, Layout { shape: [n, width], x, out, is_aligned }: Layout) -> Outcome {
        let mut results = Vec::new();
        for (has_bias, has_add) in [(false, false), (true, false), (false, true), (true, true)] {
            let [_, from] = self.rows([n, width], x, is_aligned, 1)?;
            let w = self.ops.weights([24, width], x)?;
            self.ops.write(&w, &numbers(24 * width, 2))?;
            let [wide, to] = self.rows([n, 24], out, is_aligned, 3)?;
            let bias = self.vector(24, 4)?;
            let (bias, add) = (has_bias.then_some(&bias), has_add.then_some(&to));
            self.ops.run(Op::Gemm { x: &from, w: &w, bias, add, out: &to })?;
            results.push(wide);
        }
        Ok(results)
    }

    /// A product with columns of two adapters, of which each row keeps one or none.
    fn adapters(&self, format: Format) -> Outcome {
        let wide = self.ops.rows(3, 64 + 32, format)?;
        self.ops.write(&wide, &numbers(3 * 96, 1))?;
        let [a, w] = [[32, 64], [40, 96]].map(|shape| self.ops.weights(shape, format));
        let (a, w) = (a?, w?);
        self.ops.write(&a, &numbers(32 * 64, 2))?;
        self.ops.write(&w, &numbers(40 * 96, 3))?;
        let (x, t) = (wide.columns(0..64), wide.columns(64..96));
        self.ops.run(Op::Gemm { x: &x, w: &a, bias: None, add: None, out: &t })?;
        self.ops.run(Op::KeepColumns { x: &t, ranges: &self.ops.indices(&[0, 16, 16, 32, 0, 0])? })?;
        let [out, to] = self.rows([3, 40], format, true, 4)?;
        self.ops.run(Op::Gemm { x: &wide, w: &w, bias: None, add: Some(&to), out: &to })?;
        // The columns of adapters have been rounded, and the products of two devices are rounded to neighbours.
        self.ops.run(Op::Scale { x: &to, factor: 0.01, out: &to })?;
        Ok(vec![out, wide])
    }

    fn quantized_product(&self, has_bias: bool, has_add: bool) -> Outcome {
        let [_, from] = self.rows([5, 64], Format::Bf16, true, 1)?;
        let (x, w) = (self.ops.quantized_rows(5, 64)?, self.ops.quantized_weights([48, 64])?);
        self.ops.run(Op::Quantize { x: &from, out: &x })?;
        self.ops.write_quantized(&w, &numbers(48 * 64, 2))?;
        let [wide, to] = self.rows([5, 48], Format::Bf16, true, 3)?;
        let bias = self.vector(48, 4)?;
        let (bias, add) = (has_bias.then_some(&bias), has_add.then_some(&to));
        self.ops.run(Op::ScaledGemm { x: &x, w: &w, bias, add, out: &to })?;
        Ok(vec![wide])
    }

    fn attention(&self, attention: &Attention) -> Outcome {
        let Attention { format, heads: [n_heads, n_kv_heads, head_dim], mask, n_prefix, .. } = *attention;
        let (mut spans, mut query, mut key) = (Vec::new(), 0, n_prefix);
        for [before, n] in attention.lengths.clone() {
            let (queries, own) = (query..query + n, key..key + before + n);
            (query, key) = (queries.end, own.end);
            spans.push(Span { queries, first_position: n_prefix + before, prefix: 0..n_prefix, own });
        }
        // Queries, keys and values of one fused product, as far as their rows go.
        let width = (n_heads + 2 * n_kv_heads) * head_dim;
        let [_, fused] = self.rows([key, width], format, attention.is_aligned, 1)?;
        // Without outliers: they would cancel each other, and leave their weights' rounding.
        let values: Vec<f32> = numbers(key * width, 1).into_iter().map(|x| x.clamp(-1.0, 1.0)).collect();
        self.ops.write(&fused, &values)?;
        let [q, k, v] = fused.split([n_heads, n_kv_heads, n_kv_heads].map(|n| n * head_dim));
        let [wide, out] = self.rows([query, n_heads * head_dim], format, attention.is_aligned, 2)?;
        // Large scores: each query attends to few keys, so that one key too many is seen.
        self.ops.run(Op::Scale { x: &q, factor: 4.0, out: &q })?;
        let shape = AttentionShape { n_heads, n_kv_heads, head_dim, mask };
        let spans = self.ops.spans(&spans)?;
        self.ops.run(Op::Attention { q: &q.slice(0..query), k: &k, v: &v, shape, spans: &spans, out: &out })?;
        Ok(vec![wide])
    }
}

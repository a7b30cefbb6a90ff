//! Compares every operation of the host with a plain loop in f64, over random shapes.

#[path = "compare/numbers.rs"]
mod numbers;

use std::ops::Range;

use lorank_cuda::{Activation, AttentionShape, Format, Host, Mask, Op, Ops, Rows, Span, Vector};
use proptest::prelude::*;

use self::numbers::numbers;

/// The number of random cases per property: `PROPTEST_CASES`, if it is set.
fn cases() -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig { cases: wanted.unwrap_or(40), ..ProptestConfig::default() }
}

const FORMATS: [Format; 2] = [Format::F32, Format::Bf16];

/// Formats of operands, and of their result.
const OPERANDS_AND_RESULT: [(Format, Format); 3] =
    [(Format::F32, Format::F32), (Format::Bf16, Format::Bf16), (Format::Bf16, Format::F32)];

fn host() -> Host {
    let host = Host::new(64 << 20);
    host.reserve_arena(8 << 20).expect("the memory suffices");
    host
}

/// Rows in the middle of wider ones, with these numbers, and the numbers as stored.
fn filled(host: &Host, [n, width]: [usize; 2], format: Format, seed: u64) -> (Rows, Vec<f64>) {
    let rows = between(host, [n, width], format);
    host.write(&rows, &numbers(n * width, seed)).expect("the memory suffices");
    let stored = stored(host, &rows);
    (rows, stored)
}

/// Rows in the middle of wider ones.
fn between(host: &Host, [n, width]: [usize; 2], format: Format) -> Rows {
    host.rows(n, width + 5, format).expect("the memory suffices").columns(2..2 + width)
}

fn stored(host: &Host, rows: &Rows) -> Vec<f64> {
    host.read(rows).expect("the memory suffices").into_iter().map(f64::from).collect()
}

fn vector(host: &Host, n: usize, seed: u64) -> (Vector, Vec<f64>) {
    let values = numbers(n, seed);
    (host.vector(&values).expect("the memory suffices"), values.into_iter().map(f64::from).collect())
}

/// Compares the rows with numbers that are rounded once more, to the rows' format.
fn check(host: &Host, rows: &Rows, expected: &[f64]) -> Result<(), TestCaseError> {
    let ours = stored(host, rows);
    prop_assert_eq!(ours.len(), expected.len());
    let relative = if rows.format() == Format::F32 { 2e-6 } else { 1.0 / 256.0 };
    for (at, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        let is_close = (ours - expected).abs() <= relative * expected.abs() + 2e-5;
        prop_assert!(is_close, "{:?} at {at}: {ours}, not {expected}", rows.format());
    }
    Ok(())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `x wᵀ`: x is [n, n_in], w is [n_out, n_in].
fn product(x: &[f64], w: &[f64], n_in: usize) -> Vec<f64> {
    x.chunks(n_in).flat_map(|x| w.chunks(n_in).map(move |w| dot(x, w))).collect()
}

fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        // The normal distribution by Simpson's rule.
        Activation::Gelu => {
            let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let (steps, from) = (4000, -10.0_f64);
            let h = (x - from) / f64::from(steps);
            let term = |n: i32| density(from + f64::from(n) * h) * if n % 2 == 0 { 2.0 } else { 4.0 };
            x * (density(from) + density(x) + (1..steps).map(term).sum::<f64>()) * h / 3.0
        }
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
    }
}

const ACTIVATIONS: [Activation; 5] =
    [Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Relu, Activation::Tanh];

fn pairs(ranges: &[Range<u32>]) -> Vec<u32> {
    ranges.iter().flat_map(|range| [range.start, range.end]).collect()
}

#[test]
fn encoded_numbers_are_written_as_they_are() {
    let host = host();
    let rows = between(&host, [2, 2], Format::Bf16);
    host.write_encoded(&rows, &[0x80, 0x3f, 0x00, 0xc0, 0x00, 0x00, 0x20, 0x41]).expect("the memory suffices");
    assert_eq!(stored(&host, &rows), [1.0, -2.0, 0.0, 10.0]);
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn products(n in 1..20_usize, n_in in 1..60_usize, n_out in 1..30_usize, seed: u64, has_bias: bool, has_add: bool) {
        for (format, of_out) in OPERANDS_AND_RESULT {
            let host = host();
            let (x, x_values) = filled(&host, [n, n_in], format, seed);
            let (w, w_values) = filled(&host, [n_out, n_in], format, seed ^ 1);
            let (out, add_values) = filled(&host, [n, n_out], of_out, seed ^ 2);
            let (bias, bias_values) = vector(&host, n_out, seed ^ 3);
            let mut expected = product(&x_values, &w_values, n_in);
            for (at, y) in expected.iter_mut().enumerate() {
                let bias = bias_values[at % n_out];
                *y += if has_bias { f64::from(of_out.round(bias as f32)) } else { 0.0 };
                *y += if has_add { add_values[at] } else { 0.0 };
            }
            let (bias, add) = (has_bias.then_some(&bias), has_add.then_some(&out));
            host.run(Op::Gemm { x: &x, w: &w, bias, add, out: &out }).unwrap();
            check(&host, &out, &expected)?;
        }
    }

    /// Columns of adapters: the base model's product and that of the row's own adapter, in one product.
    #[test]
    fn adapters_are_columns(
        n in 1..12_usize, n_in in 1..40_usize, n_out in 1..20_usize, rank in 1..6_usize, seed: u64,
    ) {
        let host = host();
        let wide = host.rows(n, n_in + 2 * rank, Format::F32).unwrap();
        let x = wide.columns(0..n_in);
        host.write(&x, &numbers(n * n_in, seed)).unwrap();
        let (w, w_values) = filled(&host, [n_out, n_in + 2 * rank], Format::F32, seed ^ 1);
        let (a, a_values) = filled(&host, [2 * rank, n_in], Format::F32, seed ^ 2);
        let out = between(&host, [n, n_out], Format::F32);
        let t = wide.columns(n_in..n_in + 2 * rank);
        host.run(Op::Gemm { x: &x, w: &a, bias: None, add: None, out: &t }).unwrap();
        // Rows in turn: the first adapter, the second one, none.
        let adapter_of = |row: usize| [Some(0..rank), Some(rank..2 * rank), None][row % 3].clone().unwrap_or(0..0);
        let ranges: Vec<Range<u32>> = (0..n).map(adapter_of).map(|own| own.start as u32..own.end as u32).collect();
        host.run(Op::KeepColumns { x: &t, ranges: &host.indices(&pairs(&ranges)).unwrap() }).unwrap();
        host.run(Op::Gemm { x: &wide, w: &w, bias: None, add: None, out: &out }).unwrap();
        let x_values = stored(&host, &x);
        let mut expected = Vec::new();
        for (row, x) in x_values.chunks(n_in).enumerate() {
            let t = product(x, &a_values, n_in);
            for w in w_values.chunks(n_in + 2 * rank) {
                let own = adapter_of(row).map(|r| t[r] * w[n_in + r]).sum::<f64>();
                expected.push(dot(x, &w[..n_in]) + own);
            }
        }
        let ours = stored(&host, &out);
        for (ours, expected) in ours.iter().zip(expected) {
            prop_assert!((ours - expected).abs() < 1e-3, "{ours}, not {expected}");
        }
    }

    #[test]
    fn quantized_products(n in 1..9_usize, n_in in 1..4_usize, n_out in 1..4_usize, seed: u64) {
        let (host, n_in, n_out) = (host(), 16 * n_in, 16 * n_out);
        let (x, x_values) = filled(&host, [n, n_in], Format::Bf16, seed);
        let w_values = numbers(n_out * n_in, seed ^ 1);
        let (quantized, w) = (host.quantized_rows(n, n_in).unwrap(), host.quantized_weights([n_out, n_in]).unwrap());
        host.run(Op::Quantize { x: &x, out: &quantized }).unwrap();
        host.write_quantized(&w, &w_values).unwrap();
        let (out, add_values) = filled(&host, [n, n_out], Format::Bf16, seed ^ 2);
        host.run(Op::ScaledGemm { x: &quantized, w: &w, bias: None, add: Some(&out), out: &out }).unwrap();
        let w_values: Vec<f64> = w_values.into_iter().map(f64::from).collect();
        let magnitudes = |values: &[f64]| values.iter().map(|x| x.abs()).collect::<Vec<_>>();
        let expected = product(&x_values, &w_values, n_in);
        let bounds = product(&magnitudes(&x_values), &magnitudes(&w_values), n_in);
        for (at, ours) in stored(&host, &out).into_iter().enumerate() {
            let expected = expected[at] + add_values[at];
            // Each operand is rounded to 4 bits, or to a 512th of a 448th of the largest one.
            let allowed = 0.135 * bounds[at] + 0.01 * expected.abs() + 0.01;
            prop_assert!((ours - expected).abs() <= allowed, "{ours}, not {expected}");
        }
    }

    #[test]
    fn lookups(n in 1..20_usize, width in 1..30_usize, seed: u64, n_tables in 1..4_usize) {
        for (format, of_out) in OPERANDS_AND_RESULT {
            let host = host();
            let tables: Vec<_> = (0..n_tables).map(|t| filled(&host, [7, width], format, seed ^ t as u64)).collect();
            let ids = |t: usize| (0..n).map(|i| ((i * (t + 3)) as u64 ^ seed) as u32 % 7).collect::<Vec<u32>>();
            let indices: Vec<_> = (0..n_tables).map(|t| host.indices(&ids(t)).unwrap()).collect();
            let out = between(&host, [n, width], of_out);
            let arguments: Vec<_> = tables.iter().map(|(rows, _)| rows).zip(&indices).collect();
            host.run(Op::Embed { tables: &arguments, out: &out }).unwrap();
            let at = |t: usize, i: usize, c: usize| tables[t].1[ids(t)[i] as usize * width + c];
            let expected: Vec<f64> = (0..n * width)
                .map(|place| (0..n_tables).map(|t| at(t, place / width, place % width)).sum())
                .collect();
            check(&host, &out, &expected)?;
            let gathered = between(&host, [n, width], format);
            host.run(Op::Gather { x: &tables[0].0, rows: &indices[0], out: &gathered }).unwrap();
            let expected: Vec<f64> = (0..n * width).map(|place| at(0, place / width, place % width)).collect();
            prop_assert_eq!(stored(&host, &gathered), expected);
        }
    }

    #[test]
    fn norms(n in 1..9_usize, width in 1..70_usize, seed: u64, in_place: bool) {
        for format in FORMATS {
            let host = host();
            let ((weight, weights), (bias, biases)) = (vector(&host, width, seed ^ 1), vector(&host, width, seed ^ 2));
            for has_bias in [false, true] {
                let (x, values) = filled(&host, [n, width], format, seed);
                let out = if in_place { x.clone() } else { between(&host, [n, width], format) };
                let eps = 1e-3;
                let op = if has_bias {
                    Op::LayerNorm { x: &x, weight: &weight, bias: &bias, eps, out: &out }
                } else {
                    Op::RmsNorm { x: &x, weight: &weight, eps, out: &out }
                };
                host.run(op).unwrap();
                let mut expected = Vec::new();
                for row in values.chunks(width) {
                    let mean = if has_bias { row.iter().sum::<f64>() / width as f64 } else { 0.0 };
                    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                    let factor = (variance + f64::from(eps)).sqrt().recip();
                    let bias = |at: usize| if has_bias { biases[at] } else { 0.0 };
                    expected.extend(row.iter().enumerate().map(|(at, x)| (x - mean) * factor * weights[at] + bias(at)));
                }
                check(&host, &out, &expected)?;
            }
        }
    }

    #[test]
    fn elementwise(n in 1..9_usize, width in 1..30_usize, seed: u64, in_place: bool) {
        for format in FORMATS {
            for activation in ACTIVATIONS {
                let host = host();
                let (x, xs) = filled(&host, [n, width], format, seed);
            let (y, ys) = filled(&host, [n, width], format, seed ^ 1);
                let out = if in_place { y.clone() } else { between(&host, [n, width], format) };
                host.run(Op::Gated { gate: &x, up: &y, activation, out: &out }).unwrap();
                let expected: Vec<f64> = xs.iter().zip(&ys).map(|(x, y)| activated(activation, *x) * y).collect();
                check(&host, &out, &expected)?;
                let out = if in_place { x.clone() } else { between(&host, [n, width], Format::F32) };
                host.run(Op::Activate { x: &x, activation, out: &out }).unwrap();
                check(&host, &out, &xs.iter().map(|x| activated(activation, *x)).collect::<Vec<_>>())?;
            }
            let host = host();
            let (x, xs) = filled(&host, [n, width], format, seed);
            let (y, ys) = filled(&host, [n, width], Format::F32, seed ^ 1);
            host.run(Op::Add { x: &x, y: &y, out: &x }).unwrap();
            check(&host, &x, &xs.iter().zip(&ys).map(|(x, y)| x + y).collect::<Vec<_>>())?;
            host.run(Op::Scale { x: &y, factor: -2.5, out: &y }).unwrap();
            check(&host, &y, &ys.iter().map(|y| -2.5 * y).collect::<Vec<_>>())?;
            let copy = between(&host, [n, width], Format::Bf16);
            host.run(Op::Copy { x: &x, out: &copy }).unwrap();
            check(&host, &copy, &stored(&host, &x))?;
        }
    }

    #[test]
    fn means(n in 1..9_usize, width in 1..30_usize, seed: u64) {
        let host = host();
        let (x, values) = filled(&host, [n + 4, width], Format::F32, seed);
        let ranges: Vec<Range<u32>> = (0..n as u32).map(|start| start..start + 1 + (seed as u32 ^ start) % 4).collect();
        let out = between(&host, [n, width], Format::F32);
        host.run(Op::Mean { x: &x, ranges: &host.indices(&pairs(&ranges)).unwrap(), out: &out }).unwrap();
        let mut expected = Vec::new();
        for range in ranges {
            let sum = |c: usize| range.clone().map(|row| values[row as usize * width + c]).sum::<f64>();
            expected.extend((0..width).map(|c| sum(c) / range.len() as f64));
        }
        check(&host, &out, &expected)?;
    }

    #[test]
    fn rotations(n in 1..9_usize, n_heads in 1..4_usize, half in 1..9_usize, seed: u64) {
        for format in FORMATS {
            let (host, head_dim) = (host(), 2 * half);
            let (x, values) = filled(&host, [n, n_heads * head_dim], format, seed);
            let angles: Vec<f32> = numbers(11 * half, seed ^ 1);
            let (table, _) = filled(&host, [11, head_dim], Format::F32, 0);
            let each = |angles: &[f32], f: fn(f32) -> f32| angles.iter().map(|a| f(*a)).collect::<Vec<_>>();
            let row = |angles: &[f32]| [each(angles, f32::cos), each(angles, f32::sin)].concat();
            host.write(&table, &angles.chunks(half).flat_map(row).collect::<Vec<_>>()).unwrap();
            let positions: Vec<u32> = (0..n as u32).map(|i| (i * 3 + seed as u32 % 5) % 11).collect();
            let indices = host.indices(&positions).unwrap();
            host.run(Op::Rope { x: &x, head_dim, table: &table, positions: &indices }).unwrap();
            let mut expected = values.clone();
            for (row, position) in expected.chunks_mut(n_heads * head_dim).zip(positions) {
                for head in row.chunks_mut(head_dim) {
                    let (before, angles) = (head.to_vec(), &angles[position as usize * half..][..half]);
                    for (i, angle) in angles.iter().enumerate() {
                        // The complex number of a pair, times that of the angle.
                        let (sin, cos) = f64::from(*angle).sin_cos();
                        head[i] = before[i] * cos - before[i + half] * sin;
                        head[i + half] = before[i] * sin + before[i + half] * cos;
                    }
                }
            }
            check(&host, &x, &expected)?;
        }
    }

    #[test]
    fn attention(
        n_kv_heads in 1..3_usize, group in 1..4_usize, head_dim in 1..5_usize, seed: u64,
        lengths in prop::collection::vec((1..9_usize, 0..9_usize), 1..5), n_prefix in 0..5_usize,
        is_causal: bool, window in prop::option::of(0..6_usize),
    ) {
        let (n_heads, head_dim) = (n_kv_heads * group, 8 * head_dim);
        let mut spans = Vec::new();
        let (mut query, mut key) = (0, n_prefix);
        for (n, before) in lengths {
            let own = key..key + n + before;
            spans.push(Span { queries: query..query + n, first_position: n_prefix + before, prefix: 0..n_prefix, own });
            (query, key) = (query + n, key + n + before);
        }
        for format in FORMATS {
            let host = host();
            let (q, qs) = filled(&host, [query, n_heads * head_dim], format, seed);
            let (k, ks) = filled(&host, [key, n_kv_heads * head_dim], format, seed ^ 1);
            let (v, vs) = filled(&host, [key, n_kv_heads * head_dim], format, seed ^ 2);
            let out = between(&host, [query, n_heads * head_dim], format);
            let shape = AttentionShape { n_heads, n_kv_heads, head_dim, mask: Mask { is_causal, window } };
            let on_device = host.spans(&spans).unwrap();
            host.run(Op::Attention { q: &q, k: &k, v: &v, shape, spans: &on_device, out: &out }).unwrap();
            let mut expected = vec![0.0; qs.len()];
            for span in &spans {
                for (i, row) in span.queries.clone().enumerate() {
                    let keys: Vec<usize> = span.prefix.clone().chain(span.own.clone()).collect();
                    let position = span.first_position + i;
                    let is_seen = |at: usize| {
                        (!is_causal || at <= position) && window.is_none_or(|window| at.abs_diff(position) <= window)
                    };
                    for h in 0..n_heads {
                        let part = |rows: &[f64], row: usize, n: usize, h: usize| {
                            rows[(row * n + h) * head_dim..][..head_dim].to_vec()
                        };
                        let query = part(&qs, row, n_heads, h);
                        let product = |row: usize| dot(&query, &part(&ks, row, n_kv_heads, h / group));
                        let score = |row: usize| (product(row) / (head_dim as f64).sqrt()).exp();
                        let seen = || keys.iter().enumerate().filter(|(at, _)| is_seen(*at)).map(|(_, row)| *row);
                        let sum: f64 = seen().map(score).sum();
                        for key in seen() {
                            let value = part(&vs, key, n_kv_heads, h / group);
                            for c in 0..head_dim {
                                expected[(row * n_heads + h) * head_dim + c] += score(key) / sum * value[c];
                            }
                        }
                    }
                }
            }
            check(&host, &out, &expected)?;
        }
    }
}

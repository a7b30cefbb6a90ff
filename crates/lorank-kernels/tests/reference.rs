//! Compares every kernel with a plain loop, over random shapes, on every instruction set of the machine.

use lorank_kernels::{
    Activation, Attention, Epilogue, Format, Input, Isa, LowRank, Mask, PackedMatrix, Rotary, Segment, Span, gated,
    gated_halves, layer_norm, rms_norm,
};
use proptest::prelude::*;

/// The number of random cases per property: `PROPTEST_CASES`, if it is set, for example under slow tools.
fn cases() -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    // Under Miri there is no folder for failed cases.
    let failure_persistence = if cfg!(miri) { None } else { ProptestConfig::default().failure_persistence };
    ProptestConfig { cases: wanted.unwrap_or(60), failure_persistence, ..ProptestConfig::default() }
}

/// The upper end of a range of sizes: Miri is a thousand times slower, and uses the smaller one, which still needs
/// several tiles, panels and steps of depth.
const fn size(end: usize, end_under_miri: usize) -> usize {
    if cfg!(miri) { end_under_miri } else { end }
}

const FORMATS: [Format; 4] = [Format::F32, Format::Bf16, Format::Int8, Format::Int8Groups];

/// Numbers between -1 and 1, with some zeros and outliers.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let x = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
        match state % 50 {
            0 => 0.0,
            1 => x * 20.0,
            _ => x,
        }
    };
    (0..n).map(|_| next()).collect()
}

fn pack(format: Format, isa: Isa, n_out: usize, n_in: usize, weights: &[f32]) -> PackedMatrix {
    PackedMatrix::pack(format, isa, n_out, n_in, |n, row| row.copy_from_slice(&weights[n * n_in..][..n_in]))
}

/// `x wᵀ` in f64: x is [n, n_in], w is [n_out, n_in].
fn plain_product(x: &[f32], w: &[f32], n_in: usize) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    x.chunks(n_in).flat_map(|x| w.chunks(n_in).map(move |w| dot(x, w))).collect()
}

/// The tolerance of a product, relative to the sum of the products' magnitudes, which bounds all rounding errors.
fn tolerance(format: Format) -> f64 {
    match format {
        Format::F32 => 1e-6,
        // Both operands are rounded to 8 bits.
        Format::Bf16 => 8e-3,
        // 8 bits of a row's range, 7 to 8 bits of a matrix row's.
        Format::Int8 => 0.15,
        // 8 bits of a group's range, on both sides.
        Format::Int8Groups => 0.05,
    }
}

fn close(ours: &[f32], expected: &[f64], bound: &[f64], format: Format) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours.len(), expected.len());
    for (at, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        let allowed = tolerance(format) * bound[at] + 1e-6;
        let difference = (f64::from(*ours) - expected).abs();
        prop_assert!(difference <= allowed, "{format:?} at {at}: {ours}, not {expected} (within {allowed})");
    }
    Ok(())
}

/// The sum of the magnitudes of a product's terms; for integers every term may be off by its row's largest.
fn bounds(x: &[f32], w: &[f32], n_in: usize, format: Format) -> Vec<f64> {
    let flatten = |rows: &[f32]| -> Vec<f32> {
        let largest = |row: &[f32]| row.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        rows.chunks(n_in)
            .flat_map(|row| {
                let is_float = matches!(format, Format::F32 | Format::Bf16);
                let floor = if is_float { 0.0 } else { largest(row) / 4.0 };
                row.iter().map(move |x| x.abs().max(floor)).collect::<Vec<_>>()
            })
            .collect()
    };
    plain_product(&flatten(x), &flatten(w), n_in)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn linear_is_a_plain_product(
        n in 1..size(40, 7), n_in in 1..size(90, 40), n_out in 1..size(90, 20), seed: u64,
    ) {
        let (x, w) = (numbers(n * n_in, seed), numbers(n_out * n_in, seed ^ 1));
        let expected = plain_product(&x, &w, n_in);
        for format in FORMATS {
            let bound = bounds(&x, &w, n_in, format);
            for isa in Isa::available() {
                let matrix = pack(format, isa, n_out, n_in, &w);
                let input = Input::new(&x, n_in, format, isa);
                let y = matrix.linear(&input, &[Segment::plain(n)], &Epilogue::default());
                close(&y, &expected, &bound, format)?;
            }
        }
    }

    #[test]
    fn integers_are_the_same_on_every_instruction_set(
        n in 1..size(20, 4), n_in in 1..size(200, 70), n_out in 1..size(70, 20), seed: u64,
        // From numbers whose squares overflow to numbers without an inverse.
        (x_exponent, w_exponent) in (-46..39, -46..39),
    ) {
        let scaled = |n, seed, exponent: i32| -> Vec<f32> {
            numbers(n, seed).iter().map(|x| (f64::from(*x) * 10_f64.powi(exponent)) as f32).collect()
        };
        let (x, w) = (scaled(n * n_in, seed, x_exponent), scaled(n_out * n_in, seed ^ 1, w_exponent));
        // Compares bits, because NaN does not equal itself.
        let run = |isa| -> Vec<u32> {
            let input = Input::new(&x, n_in, Format::Int8, isa);
            let y = pack(Format::Int8, isa, n_out, n_in, &w).linear(&input, &[Segment::plain(n)], &Epilogue::default());
            y.iter().map(|y| if y.is_nan() { f32::NAN.to_bits() } else { y.to_bits() }).collect()
        };
        let plain = run(Isa::available()[0]);
        for isa in Isa::available() {
            prop_assert_eq!(&run(isa), &plain, "{}", isa);
        }
    }

    /// All sets round to the same integers, and add the same sums of groups in the same order.
    #[test]
    fn integers_in_groups_are_nearly_the_same_on_every_instruction_set(
        n in 1..size(20, 4), n_in in 1..size(300, 70), n_out in 1..size(70, 20), seed: u64,
        (x_exponent, w_exponent) in (-46..39, -46..39),
    ) {
        let scaled = |n, seed, exponent: i32| -> Vec<f32> {
            numbers(n, seed).iter().map(|x| (f64::from(*x) * 10_f64.powi(exponent)) as f32).collect()
        };
        let (x, w) = (scaled(n * n_in, seed, x_exponent), scaled(n_out * n_in, seed ^ 1, w_exponent));
        let largest = |of: &[f32]| of.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        let sum = f64::from(largest(&x)) * f64::from(largest(&w)) * n_in as f64;
        let allowed = 1e-6 * sum;
        // A group's sum of integers is at most 64 * 127 * 127. Where that many times a factor or the result are beyond
        // f32's range, one set's separate product overflows and another's fused one does not yet.
        let may_overflow = 64.0 * 127.0 * 127.0 * sum.max(largest(&x).max(largest(&w)).into()) > f64::from(f32::MAX);
        let run = |isa| {
            let input = Input::new(&x, n_in, Format::Int8Groups, isa);
            let matrix = pack(Format::Int8Groups, isa, n_out, n_in, &w);
            matrix.linear(&input, &[Segment::plain(n)], &Epilogue::default())
        };
        let plain = run(Isa::available()[0]);
        for isa in Isa::available() {
            for (ours, expected) in run(isa).into_iter().zip(&plain) {
                let is_close = (f64::from(ours) - f64::from(*expected)).abs() <= allowed;
                let both_finite = ours.is_finite() && expected.is_finite();
                prop_assert!(is_close || may_overflow && !both_finite,
                    "{isa}: {ours}, not {expected} (within {allowed})");
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_others(
        n in 2..size(30, 7), n_in in 1..size(70, 10), n_out in 1..size(70, 20), seed: u64,
    ) {
        let (x, w) = (numbers(n * n_in, seed), numbers(n_out * n_in, seed ^ 1));
        for (format, isa) in FORMATS.into_iter().flat_map(|f| Isa::available().into_iter().map(move |isa| (f, isa))) {
            let matrix = pack(format, isa, n_out, n_in, &w);
            let run = |x: &[f32]| {
                let segments = [Segment::plain(x.len() / n_in)];
                matrix.linear(&Input::new(x, n_in, format, isa), &segments, &Epilogue::default())
            };
            let all = run(&x);
            let row = seed as usize % n;
            prop_assert_eq!(&run(&x[row * n_in..]), &all[row * n_out..], "{:?} {}", format, isa);
            prop_assert_eq!(&run(&x[row * n_in..][..n_in]), &all[row * n_out..][..n_out], "{:?} {}", format, isa);
            let range = Input::new(&x, n_in, format, isa).rows(row..n);
            let of_range = matrix.linear(&range, &[Segment::plain(n - row)], &Epilogue::default());
            prop_assert_eq!(&of_range, &all[row * n_out..], "{:?} {}", format, isa);
        }
    }

    #[test]
    fn updates_are_added_to_their_rows_alone(
        counts in prop::collection::vec(0..size(9, 4), 1..4), rank in 1..size(20, 4), n_in in 1..size(50, 6),
        n_out in 1..size(50, 20),
        seed: u64,
    ) {
        let n: usize = counts.iter().sum();
        let (x, w) = (numbers(n * n_in, seed), numbers(n_out * n_in, seed ^ 1));
        let (a, b) = (numbers(rank * n_in, seed ^ 2), numbers(n_out * rank, seed ^ 3));
        for isa in Isa::available() {
            let update_format = if seed.is_multiple_of(2) { Format::F32 } else { Format::Bf16 };
            let (pa, pb) = (pack(update_format, isa, rank, n_in, &a), pack(update_format, isa, n_out, rank, &b));
            let update = LowRank { a: &pa, b: &pb, scale: 0.5 };
            // Every other segment has an update.
            let segments: Vec<Segment<'_>> = counts.iter().enumerate()
                .map(|(at, n_rows)| Segment { n_rows: *n_rows, update: (at % 2 == 1).then_some(update) }).collect();
            let matrix = pack(Format::F32, isa, n_out, n_in, &w);
            let y = matrix.linear(&Input::new(&x, n_in, Format::F32, isa), &segments, &Epilogue::default());
            let mut expected = plain_product(&x, &w, n_in);
            let mut bound = bounds(&x, &w, n_in, Format::F32);
            let mut row = 0;
            for (at, count) in counts.iter().enumerate() {
                for row in row..row + count {
                    if at % 2 == 1 {
                        let low: Vec<f32> = plain_product(&x[row * n_in..][..n_in], &a, n_in).iter().map(|x| *x as f32).collect();
                        let size: Vec<f32> = bounds(&x[row * n_in..][..n_in], &a, n_in, Format::F32).iter().map(|x| *x as f32).collect();
                        let magnitude = bounds(&size, &b, rank, Format::F32);
                        for (column, update) in plain_product(&low, &b, rank).into_iter().enumerate() {
                            expected[row * n_out + column] += 0.5 * update;
                            bound[row * n_out + column] += magnitude[column];
                        }
                    }
                }
                row += count;
            }
            close(&y, &expected, &bound, update_format)?;
        }
    }

    #[test]
    fn the_epilogue_comes_after_the_sum(
        n in 1..size(10, 7), n_in in 1..size(20, 5), n_out in 1..size(40, 20), seed: u64,
    ) {
        let (x, w) = (numbers(n * n_in, seed), numbers(n_out * n_in, seed ^ 1));
        let (bias, add) = (numbers(n_out, seed ^ 2), numbers(n * n_out, seed ^ 3));
        for isa in Isa::available() {
            let epilogue = Epilogue { bias: Some(&bias), add: Some(&add), activation: Some(Activation::Relu) };
            let input = Input::new(&x, n_in, Format::F32, isa);
            let y = pack(Format::F32, isa, n_out, n_in, &w).linear(&input, &[Segment::plain(n)], &epilogue);
            let sum = plain_product(&x, &w, n_in);
            let whole = |at: usize| (sum[at] + f64::from(bias[at % n_out]) + f64::from(add[at])).max(0.0);
            let expected: Vec<f64> = (0..n * n_out).map(whole).collect();
            let bound: Vec<f64> = bounds(&x, &w, n_in, Format::F32).into_iter().map(|bound| bound + 40.0).collect();
            close(&y, &expected, &bound, Format::F32)?;
        }
    }

    #[test]
    fn attention_is_a_plain_softmax(
        lengths in prop::collection::vec((1..size(70, 20), any::<bool>(), any::<bool>()), 1..size(4, 3)),
        prefix in 0..size(9, 3), kv_heads in 1..3_usize, group in 1..size(4, 3), half in 1..size(20, 6), is_causal: bool,
        window in prop::option::of(0..size(90, 20)), turned: bool, seed: u64,
    ) {
        let dim = 2 * half;
        // The shared prefix comes first and is also a sequence; the others use it or not, and query all tokens or the
        // last.
        let mut spans = Vec::new();
        let (mut n_queries, mut n_tokens) = (prefix, prefix);
        if prefix > 0 {
            spans.push(Span { queries: 0..prefix, first_position: 0, prefix: 0..0, own: 0..prefix });
        }
        for (len, reads_prefix, last_alone) in lengths {
            let prefix = if reads_prefix { 0..prefix } else { 0..0 };
            let asked = if last_alone { 1 } else { len };
            spans.push(Span {
                queries: n_queries..n_queries + asked,
                first_position: prefix.len() + len - asked,
                prefix,
                own: n_tokens..n_tokens + len,
            });
            n_queries += asked;
            n_tokens += len;
        }
        let n_heads = kv_heads * group;
        let q = numbers(n_queries * n_heads * dim, seed);
        let (k, v) = (numbers(n_tokens * kv_heads * dim, seed ^ 1), numbers(n_tokens * kv_heads * dim, seed ^ 2));
        let angles: Vec<f32> = (0..90 * half).map(|at| (at / half) as f32 * 0.7 / (1 + at % half) as f32).collect();
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
        let rotary = turned.then_some(Rotary { cos: &cos, sin: &sin });
        let attention = Attention {
            q: &q, k: &k, v: &v, n_heads, n_kv_heads: kv_heads, head_dim: dim, mask: Mask { is_causal, window }, rotary,
            q_gap: 0, kv_gap: 0, spans: &spans,
        };
        let expected = plain_attention(&attention);
        // The same numbers as parts of wider rows.
        let wide_q: Vec<f32> = q.chunks(n_heads * dim).flat_map(|row| [row, &[f32::NAN; 5]].concat()).collect();
        let kv_width = kv_heads * dim;
        let kv: Vec<f32> = k.chunks(kv_width).zip(v.chunks(kv_width)).flat_map(|(k, v)| [k, v].concat()).collect();
        let in_place = Attention {
            q: &wide_q[..wide_q.len() - 5], k: &kv[..kv.len() - kv_width], v: &kv[kv_width..], q_gap: 5,
            kv_gap: kv_width, ..attention
        };
        for isa in Isa::available() {
            let ours = attention.run(isa);
            prop_assert_eq!(&in_place.run(isa), &ours, "{}", isa);
            prop_assert_eq!(in_place.run_in_bf16(isa), attention.run_in_bf16(isa), "{}", isa);
            for (at, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
                prop_assert!((f64::from(*ours) - expected).abs() < 1e-3, "{isa} at {at}: {ours}, not {expected}");
            }
        }
    }

    #[test]
    fn attention_in_bf16_is_that_of_rounded_numbers(
        lengths in prop::collection::vec((1..size(150, 20), any::<bool>()), 1..size(4, 3)), kv_heads in 1..3_usize,
        group in 1..size(4, 3), half in prop_oneof![Just(2_usize), Just(8), 1..size(50, 9)], is_causal: bool, window in prop::option::of(0..size(90, 20)), seed: u64,
    ) {
        let (dim, n_heads) = (2 * half, kv_heads * group);
        let mut spans = Vec::new();
        let (mut n_queries, mut n_tokens) = (0, 0);
        for (len, last_alone) in lengths {
            let asked = if last_alone { 1 } else { len };
            let own = n_tokens..n_tokens + len;
            spans.push(Span { queries: n_queries..n_queries + asked, first_position: len - asked, prefix: 0..0, own });
            (n_queries, n_tokens) = (n_queries + asked, n_tokens + len);
        }
        // With operands that bf16 holds, only the weights are rounded.
        let rounded = |n, seed| -> Vec<f32> {
            numbers(n, seed).iter().map(|x| f32::from_bits(x.to_bits() & 0xffff_0000)).collect()
        };
        let q: Vec<f32> = rounded(n_queries * n_heads * dim, seed);
        let (k, v) = (rounded(n_tokens * kv_heads * dim, seed ^ 1), rounded(n_tokens * kv_heads * dim, seed ^ 2));
        let attention = Attention {
            q: &q, k: &k, v: &v, n_heads, n_kv_heads: kv_heads, head_dim: dim, mask: Mask { is_causal, window },
            rotary: None, q_gap: 0, kv_gap: 0, spans: &spans,
        };
        let expected = plain_attention(&attention);
        let largest = v.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        for isa in Isa::available() {
            for (at, (ours, expected)) in attention.run_in_bf16(isa).iter().zip(&expected).enumerate() {
                // Powers of 4 scale the queries exactly; else they are rounded too.
                let is_exact = dim.is_power_of_two() && dim.trailing_zeros().is_multiple_of(2);
                let allowed = f64::from(largest) * if is_exact { 4e-3 } else { 0.1 };
                prop_assert!((f64::from(*ours) - expected).abs() < allowed, "{isa} at {at}: {ours}, not {expected}");
            }
        }
    }

    #[test]
    fn norms_and_gates(n in 1..size(50, 40), width in 1..size(100, 20), seed: u64) {
        let x = numbers(n * width, seed);
        let (weight, bias) = (numbers(width, seed ^ 1), numbers(width, seed ^ 2));
        for isa in Isa::available() {
            let (mut layer, mut rms, mut gate) = (x.clone(), x.clone(), x.clone());
            layer_norm(&mut layer, &weight, &bias, 1e-5, isa);
            rms_norm(&mut rms, &weight, 1e-5, isa);
            gated(&mut gate, &layer, Activation::Silu, isa);
            for gate_is_first in [true, false] {
                let halves = |(gate, up)| if gate_is_first { [gate, up].concat() } else { [up, gate].concat() };
                let both: Vec<f32> = x.chunks(width).zip(layer.chunks(width)).flat_map(halves).collect();
                prop_assert_eq!(&gated_halves(&both, width, gate_is_first, Activation::Silu, isa), &gate, "{}", isa);
            }
            for (row, x) in x.chunks(width).enumerate() {
                let f = |x: f32| f64::from(x);
                let mean = x.iter().map(|x| f(*x)).sum::<f64>() / width as f64;
                let variance = x.iter().map(|x| (f(*x) - mean).powi(2)).sum::<f64>() / width as f64;
                let square = x.iter().map(|x| f(*x).powi(2)).sum::<f64>() / width as f64;
                for (column, x) in x.iter().enumerate() {
                    let at = row * width + column;
                    let expected = (f(*x) - mean) / (variance + 1e-5).sqrt() * f(weight[column]) + f(bias[column]);
                    prop_assert!((f(layer[at]) - expected).abs() < 1e-4, "layer norm: {} {expected}", layer[at]);
                    let expected = f(*x) / (square + 1e-5).sqrt() * f(weight[column]);
                    prop_assert!((f(rms[at]) - expected).abs() < 1e-4, "rms norm: {} {expected}", rms[at]);
                    let expected = f(*x) / (1.0 + (-f(*x)).exp()) * f(layer[at]);
                    prop_assert!((f(gate[at]) - expected).abs() < 1e-4 * expected.abs().max(1.0), "gate: {} {expected}", gate[at]);
                }
            }
        }
    }
}

fn plain_attention(of: &Attention<'_>) -> Vec<f64> {
    let (dim, half) = (of.head_dim, of.head_dim / 2);
    let turn = |x: &[f32], position: usize| -> Vec<f64> {
        let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let Some(rotary) = of.rotary else { return x };
        let angle = |of: &[f32], d: usize| f64::from(of[position * half + d]);
        let low = (0..half).map(|d| x[d] * angle(rotary.cos, d) - x[half + d] * angle(rotary.sin, d));
        let high = (0..half).map(|d| x[half + d] * angle(rotary.cos, d) + x[d] * angle(rotary.sin, d));
        low.chain(high).collect()
    };
    let mut out = vec![0.0; of.q.len()];
    for span in of.spans {
        let keys: Vec<usize> = span.prefix.clone().chain(span.own.clone()).collect();
        for (n, query) in span.queries.clone().enumerate() {
            let position = span.first_position + n;
            let is_seen = |key: usize| {
                let is_near = of.mask.window.is_none_or(|window| key.abs_diff(position) <= window);
                is_near && (key <= position || !of.mask.is_causal)
            };
            for head in 0..of.n_heads {
                let kv_head = head / (of.n_heads / of.n_kv_heads);
                let q = turn(&of.q[(query * of.n_heads + head) * dim..][..dim], position);
                let at = |row: usize| (row * of.n_kv_heads + kv_head) * dim;
                let score = |(position, row): (usize, &usize)| {
                    if !is_seen(position) {
                        return 0.0;
                    }
                    let k = turn(&of.k[at(*row)..][..dim], position);
                    (q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / (dim as f64).sqrt()).exp()
                };
                let weights: Vec<f64> = keys.iter().enumerate().map(score).collect();
                let total: f64 = weights.iter().sum();
                for d in 0..dim {
                    let mixed =
                        weights.iter().zip(&keys).map(|(w, row)| w * f64::from(of.v[at(*row) + d])).sum::<f64>();
                    out[(query * of.n_heads + head) * dim + d] = mixed / total;
                }
            }
        }
    }
    out
}

#[test]
fn what_is_not_finite_stays_so() {
    for (format, isa) in FORMATS.into_iter().flat_map(|f| Isa::available().into_iter().map(move |isa| (f, isa))) {
        let matrix = pack(format, isa, 3, 20, &numbers(60, 7));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = numbers(60, 8);
            x[25] = bad;
            let y = matrix.linear(&Input::new(&x, 20, format, isa), &[Segment::plain(3)], &Epilogue::default());
            assert!(y[3..6].iter().all(|y| !y.is_finite()), "{format:?} {isa} {bad}: {y:?}");
            assert!(y[..3].iter().chain(&y[6..]).all(|y| y.is_finite()), "{format:?} {isa} {bad}: {y:?}");
        }
    }
}

#[test]
fn a_weight_that_is_not_finite_reaches_its_output() {
    for (format, isa) in FORMATS.into_iter().flat_map(|f| Isa::available().into_iter().map(move |isa| (f, isa))) {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut weights = numbers(60, 7);
            weights[25] = bad;
            let x = numbers(20, 8);
            let input = Input::new(&x, 20, format, isa);
            let y = pack(format, isa, 3, 20, &weights).linear(&input, &[Segment::plain(1)], &Epilogue::default());
            assert!(!y[1].is_finite() && y[0].is_finite() && y[2].is_finite(), "{format:?} {isa} {bad}: {y:?}");
        }
    }
}

#[test]
fn extremes_stay_within_their_integers() {
    // All weights and inputs at their maximum, so that the sums of products are as large as possible. Equal weights are
    // the worst case for the bound: each is 15.5 steps, and rounds to 16.
    for (sign, isa) in
        [1.0_f32, -1.0].into_iter().flat_map(|sign| Isa::available().into_iter().map(move |isa| (sign, isa)))
    {
        const N_IN: usize = size(4096, 256);
        let matrix = pack(Format::Int8, isa, 17, N_IN, &vec![sign * 3.0; 17 * N_IN]);
        let mut x = vec![2.0; N_IN];
        x[0] = 0.0;
        let y = matrix.linear(&Input::new(&x, N_IN, Format::Int8, isa), &[Segment::plain(1)], &Epilogue::default());
        for y in y {
            let expected = sign * 6.0 * (N_IN - 1) as f32 * 16.0 / 15.5;
            assert!((y - expected).abs() < N_IN as f32 * 0.05, "{isa}: {y}, not {expected}");
        }
    }
}

#[test]
fn extremes_of_both_signs_stay_within_their_integers() {
    // Inputs are largest where weights are positive and smallest where they are negative, or the other way around.
    for (inputs, isa) in [[2.0, 0.0], [0.0, 2.0]]
        .into_iter()
        .flat_map(|inputs| Isa::available().into_iter().map(move |isa| (inputs, isa)))
    {
        const N_IN: usize = size(4096, 256);
        let alternating = |numbers: [f32; 2], n| numbers.into_iter().cycle().take(n).collect::<Vec<f32>>();
        let matrix = pack(Format::Int8, isa, 17, N_IN, &alternating([3.0, -3.0], 17 * N_IN));
        let x = alternating(inputs, N_IN);
        let y = matrix.linear(&Input::new(&x, N_IN, Format::Int8, isa), &[Segment::plain(1)], &Epilogue::default());
        for y in y {
            let expected = 1.5 * (inputs[0] - inputs[1]) * N_IN as f32;
            assert!((y - expected).abs() < N_IN as f32 * 0.05, "{isa}: {y}, not {expected}");
        }
    }
}

#[test]
fn zeros_give_zeros() {
    for (format, isa) in FORMATS.into_iter().flat_map(|f| Isa::available().into_iter().map(move |isa| (f, isa))) {
        let matrix = pack(format, isa, 5, 9, &[0.0; 45]);
        let input = Input::new(&[0.0; 18], 9, format, isa);
        assert_eq!(matrix.linear(&input, &[Segment::plain(2)], &Epilogue::default()), [0.0; 10]);
    }
}

#[test]
fn threads_change_nothing() {
    const N: usize = size(300, 60);
    const N_OUT: usize = size(70, 20);
    let (x, w) = (numbers(N * 40, 1), numbers(N_OUT * 40, 2));
    for (format, isa) in FORMATS.into_iter().flat_map(|f| Isa::available().into_iter().map(move |isa| (f, isa))) {
        let matrix = pack(format, isa, N_OUT, 40, &w);
        let run = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| matrix.linear(&Input::new(&x, 40, format, isa), &[Segment::plain(N)], &Epilogue::default()))
        };
        assert_eq!(run(1), run(size(7, 2)), "{format:?} {isa}");
    }
}

//! Compares the gradients of every operation with slopes of the operation, on every instruction set of the machine.

use lorank_kernels::{
    Activation, Attention, Dropout, Epilogue, Format, Input, InputUpdate, Isa, Mask, PackedMatrix, Rotary, Segment,
    Span, activate, activation_gradient, add_products, layer_norm, layer_norm_gradient, rms_norm, rms_norm_gradient,
};

/// Numbers between -1 and 1.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Checks that `gradient` is the slope of `sum(weights * f(x))` in random directions.
fn check_slopes(what: &str, x: &[f32], gradient: &[f32], weights: &[f32], f: impl Fn(&[f32]) -> Vec<f32>) {
    let value = |x: &[f32]| -> f64 { f(x).iter().zip(weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum() };
    assert_eq!(x.len(), gradient.len(), "{what}");
    let norm: f64 = gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt();
    for seed in 0..4 {
        // Along the gradient itself too, where the slope is the largest.
        let direction = if seed == 0 {
            gradient.iter().map(|g| g / norm.max(1e-9) as f32).collect()
        } else {
            let random = numbers(x.len(), seed + 100);
            let length = random.iter().map(|d| d * d).sum::<f32>().sqrt();
            random.iter().map(|d| d / length).collect::<Vec<f32>>()
        };
        let step = 1e-2;
        let moved = |by: f32| value(&x.iter().zip(&direction).map(|(x, d)| x + by * d).collect::<Vec<f32>>());
        let slope = (moved(step) - moved(-step)) / f64::from(2.0 * step);
        let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        assert!((slope - expected).abs() < 4e-3 * norm.max(0.1), "{what}: {expected}, and the slope is {slope}");
    }
}

fn pack(isa: Isa, format: Format, n_out: usize, n_in: usize, weights: &[f32]) -> PackedMatrix {
    PackedMatrix::pack(format, isa, n_out, n_in, |n, row| row.copy_from_slice(&weights[n * n_in..][..n_in]))
}

#[test]
fn inputs_of_linear_layers() {
    for isa in Isa::available() {
        for (n_rows, n_out, n_in) in [(1, 1, 1), (3, 5, 7), (50, 33, 20), (97, 16, 64), (2, 70, 300), (0, 3, 4)] {
            for format in [Format::F32, Format::Bf16] {
                let weights = numbers(n_out * n_in, 1);
                let packed = pack(isa, format, n_out, n_in, &weights);
                let dy = numbers(n_rows * n_out, 2);
                let dx = packed.transposed(&dy, 0.5, Some(vec![1.0; n_rows * n_in]));
                let new = packed.transposed(&dy, 0.5, None);
                check_equal("added or new", &dx, &new.iter().map(|dx| dx + 1.0).collect::<Vec<f32>>());
                for (row, dx) in dx.chunks(n_in).enumerate() {
                    for (column, found) in dx.iter().enumerate() {
                        let terms = (0..n_out).map(|n| dy[row * n_out + n] * weights[n * n_in + column]);
                        let expected = 1.0 + 0.5 * terms.sum::<f32>();
                        let tolerance = if format == Format::F32 { 1e-4 } else { 0.1 };
                        assert!(
                            (found - expected).abs() < tolerance,
                            "{isa} {n_rows} {n_out} {n_in}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }
}

/// The forward product, so that both directions agree.
#[test]
fn products_and_transposed_products_agree() {
    let (n_rows, n_out, n_in) = (20, 48, 40);
    for isa in Isa::available() {
        let (weights, x, dy) = (numbers(n_out * n_in, 1), numbers(n_rows * n_in, 2), numbers(n_rows * n_out, 3));
        let packed = pack(isa, Format::F32, n_out, n_in, &weights);
        let dx = packed.transposed(&dy, 1.0, None);
        let forward = |x: &[f32]| packed.linear(&Input::plain(x, n_in), &[Segment::plain(n_rows)], &Default::default());
        check_slopes("a linear layer", &x, &dx, &dy, forward);
    }
}

#[test]
fn sums_over_rows() {
    for isa in Isa::available() {
        for (n_rows, rank, width) in [(1, 1, 1), (5, 3, 7), (300, 16, 70), (9, 60, 33), (0, 2, 3)] {
            let (g, x) = (numbers(n_rows * rank, 1), numbers(n_rows * width, 2));
            let mut to = vec![1.0; rank * width];
            add_products((&g, rank), (&x, width), None, 2.0, &mut to, isa);
            for r in 0..rank {
                for column in 0..width {
                    let terms = (0..n_rows).map(|row| g[row * rank + r] * x[row * width + column]);
                    let (found, expected) = (to[r * width + column], 1.0 + 2.0 * terms.sum::<f32>());
                    assert!((found - expected).abs() < 1e-3, "{isa} {n_rows} {rank} {width}: {found} {expected}");
                }
            }
        }
    }
}

/// Every product after dropout is that of the rows whose numbers were dropped.
#[test]
fn products_after_dropout() {
    for isa in Isa::available() {
        for (n_rows, n_out, n_in, rank) in
            [(1, 1, 1, 1), (100, 40, 70, 16), (49, 20, 33, 3), (5, 7, 16, 40), (0, 3, 4, 2)]
        {
            let what = format!("{isa} {n_rows} {n_out} {n_in} {rank}");
            let dropout = Dropout::new(0.3, 7).unwrap();
            let (x, dy, low) = (numbers(n_rows * n_in, 1), numbers(n_rows * n_out, 2), numbers(n_rows * rank, 3));
            let [a, b, weights] = [(rank, n_in), (n_out, rank), (n_out, n_in)]
                .map(|(n_out, n_in)| pack(isa, Format::F32, n_out, n_in, &numbers(n_out * n_in, 4)));
            let kept = dropout.of(&x, n_in, isa);
            let first = a.linear_after(&x, Some(dropout));
            check_equal(&what, &first, &a.linear_after(&kept, None));

            let plain = [Segment::plain(n_rows)];
            let update = b.linear(&Input::plain(&low, rank), &plain, &Default::default());
            let add: Vec<f32> = update.iter().map(|update| 0.5 * update).collect();
            let epilogue = Epilogue { add: Some(&add), ..Default::default() };
            let expected = weights.linear(&Input::plain(&x, n_in), &plain, &epilogue);
            let found = weights.linear_updated(&Input::plain(&x, n_in), (&low, &b, 0.5), &Default::default());
            check_equal(&what, &found, &expected);

            let of_update = a.transposed(&low, 1.0, None);
            for dropout in [None, Some(dropout)] {
                let expected = dropout.map_or(of_update.clone(), |dropout| dropout.of(&of_update, n_in, isa));
                let expected = weights.transposed(&dy, 1.0, Some(expected));
                let update = InputUpdate { low: &low, a: &a, dropout };
                check_equal(&what, &weights.updated_transposed(&dy, &update, None), &expected);
                let ones = vec![1.0; x.len()];
                let expected: Vec<f32> = expected.iter().map(|dx| dx + 1.0).collect();
                check_equal(&what, &weights.updated_transposed(&dy, &update, Some(ones)), &expected);
            }

            let (mut expected, mut found) = (vec![0.0; rank * n_in], vec![0.0; rank * n_in]);
            add_products((&low, rank), (&kept, n_in), None, 1.0, &mut expected, isa);
            add_products((&low, rank), (&x, n_in), Some(dropout), 1.0, &mut found, isa);
            check_equal(&what, &found, &expected);
        }
    }
}

fn check_equal(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-4, "{what}: {found}, not {expected}");
    }
}

#[test]
fn norms() {
    for isa in Isa::available() {
        for width in [1, 7, 16, 33] {
            let (x, weight, bias) = (numbers(5 * width, 1), numbers(width, 2), numbers(width, 3));
            let dy = numbers(5 * width, 4);
            let mut dx = dy.clone();
            layer_norm_gradient(&mut dx, &x, &weight, 0.1, isa);
            check_slopes("layer norm", &x, &dx, &dy, |x| {
                let mut x = x.to_vec();
                layer_norm(&mut x, &weight, &bias, 0.1, isa);
                x
            });
            let mut dx = dy.clone();
            rms_norm_gradient(&mut dx, &x, &weight, 0.1, isa);
            check_slopes("RMS norm", &x, &dx, &dy, |x| {
                let mut x = x.to_vec();
                rms_norm(&mut x, &weight, 0.1, isa);
                x
            });
        }
    }
}

#[test]
fn activations() {
    let activations = [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Tanh, Activation::Silu];
    // Without numbers near zero, where ReLU has no slope.
    let x: Vec<f32> = (0..83).map(|n| (n as f32 - 41.5) * 0.2).collect();
    for isa in Isa::available() {
        for activation in activations {
            let mut gradient = vec![1.0; x.len()];
            activation_gradient(&mut gradient, &x, activation, isa);
            for (x, gradient) in x.iter().zip(gradient) {
                let mut moved = [x - 1e-2, x + 1e-2];
                activate(&mut moved, activation, isa);
                let slope = (moved[1] - moved[0]) / 2e-2;
                assert!(
                    (slope - gradient).abs() < 1e-3,
                    "{isa} {activation:?} at {x}: {gradient}, and the slope is {slope}"
                );
            }
        }
    }
}

#[test]
fn attention() {
    let angles: Vec<f32> = (0..200 * 4).map(|n| (n / 4) as f32 * 0.3 / (1 + n % 4) as f32).collect();
    let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|angle| (angle.cos(), angle.sin())).unzip();
    let span =
        |queries: std::ops::Range<usize>, first_position, prefix, own| Span { queries, first_position, prefix, own };
    let whole = |rows: std::ops::Range<usize>| span(rows.clone(), 0, 0..0, rows);
    // Sequences alone, two that share a prefix, one query at the end, and one that is longer than a block.
    let layouts = [
        vec![whole(0..5), whole(5..6), whole(6..19)],
        vec![whole(0..4), span(4..7, 4, 0..4, 4..7), span(7..9, 4, 0..4, 7..9)],
        vec![span(0..1, 6, 0..0, 0..7), span(1..2, 0, 0..0, 7..12)],
        vec![whole(0..130)],
    ];
    let masks = [Mask::NONE, Mask::CAUSAL, Mask { is_causal: false, window: Some(2) }];
    for isa in Isa::available() {
        for (spans, mask) in layouts.iter().flat_map(|spans| masks.map(|mask| (spans, mask))) {
            for (n_heads, n_kv_heads, is_rotary) in [(2, 2, false), (4, 2, true)] {
                let dim = 8;
                let n_queries = spans.iter().map(|span| span.queries.end).max().unwrap_or(0);
                let n_tokens = spans.iter().map(|span| span.own.end).max().unwrap_or(0);
                let rows = [
                    numbers(n_queries * n_heads * dim, 1),
                    numbers(n_tokens * n_kv_heads * dim, 2),
                    numbers(n_tokens * n_kv_heads * dim, 3),
                ];
                let rotary = is_rotary.then_some(Rotary { cos: &cos, sin: &sin });
                let attention = |rows: [&[f32]; 3], run: &dyn Fn(Attention<'_>) -> Vec<f32>| {
                    let [q, k, v] = rows;
                    let head_dim = dim;
                    run(Attention { q, k, v, n_heads, n_kv_heads, head_dim, mask, rotary, q_gap: 0, kv_gap: 0, spans })
                };
                let d_out = numbers(n_queries * n_heads * dim, 4);
                for at in 0..3 {
                    let of = |x: &[f32], run: &dyn Fn(Attention<'_>) -> Vec<f32>| {
                        let mut all = rows.each_ref().map(Vec::as_slice);
                        all[at] = x;
                        attention(all, run)
                    };
                    let gradient = of(&rows[at], &|attention| attention.gradients(&d_out, isa)[at].clone());
                    let what = format!("operand {at} of attention, {isa} {mask:?} {spans:?}");
                    check_slopes(&what, &rows[at], &gradient, &d_out, |x| of(x, &|attention| attention.run(isa)));
                }
            }
        }
    }
}

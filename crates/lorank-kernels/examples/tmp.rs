use lorank_kernels::*;
use std::time::Instant;
fn main() {
    let isa = Isa::detect();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(std::env::args().nth(1).map_or(1, |a| a.parse().unwrap()))
        .build()
        .unwrap();
    pool.install(|| {
        for (n_out, n_in) in [(384usize, 384usize), (1536, 384), (384, 1536)] {
            let m = PackedMatrix::pack(Format::Int8, isa, n_out, n_in, |n, row| {
                row.iter_mut().enumerate().for_each(|(i, x)| *x = ((n * 31 + i * 17) % 101) as f32 / 50. - 1.0)
            });
            for n_rows in [8usize, 48, 96, 256, 1024] {
                let x: Vec<f32> = (0..n_rows * n_in).map(|i| ((i * 7919) % 1009) as f32 / 500. - 1.0).collect();
                let input = Input::new(&x, n_in, Format::Int8, isa);
                let reps = (400_000_000 / (n_rows * n_out * n_in)).max(1);
                let mut best = [f64::MAX; 3];
                for _ in 0..5 {
                    for (k, act) in [None, Some(Activation::Gelu)].into_iter().enumerate() {
                        let bias = vec![0.1; n_out];
                        let t = Instant::now();
                        for _ in 0..reps {
                            std::hint::black_box(m.linear(
                                &input,
                                &[Segment::plain(n_rows)],
                                &Epilogue { bias: Some(&bias), activation: act, ..Default::default() },
                            ));
                        }
                        best[k] = best[k].min(t.elapsed().as_secs_f64());
                    }
                    let t = Instant::now();
                    for _ in 0..reps {
                        std::hint::black_box(Input::new(&x, n_in, Format::Int8, isa));
                    }
                    best[2] = best[2].min(t.elapsed().as_secs_f64());
                }
                let g = (reps * n_rows * n_out * n_in) as f64 / 1e9;
                println!(
                    "{n_out}x{n_in} rows {n_rows}: {:.1} GMAC/s, gelu {:.1}, quantise {:.1} %",
                    g / best[0],
                    g / best[1],
                    best[2] / best[0] * 100.0
                );
            }
        }
    });
}

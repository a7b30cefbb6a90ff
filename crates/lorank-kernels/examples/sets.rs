//! The speed of linear layers for each instruction set and number format, on one thread, with the preparation of their rows:
//! `cargo run --release -p lorank-kernels --example sets`, in billions of multiplications and additions per second.

use std::time::Instant;

use lorank_kernels::{Epilogue, Format, Input, Isa, PackedMatrix, Segment};

/// The outputs and inputs of the layers of SmolLM2-135M: queries, keys and values; the attention's output; gate and up; down.
const SHAPES: [(usize, usize); 4] = [(960, 576), (576, 576), (3072, 576), (576, 1536)];
const FORMATS: [Format; 4] = [Format::F32, Format::Bf16, Format::Int8, Format::Int8Groups];
const ROWS: usize = 256;

fn main() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    for isa in Isa::available() {
        for (n_out, n_in) in SHAPES {
            let speed = |format| pool.install(|| speed(format, isa, n_out, n_in));
            let speeds = FORMATS.map(|format| format!("{format:?} {:.0}", speed(format)));
            println!("{isa}, {n_out} by {n_in}: {}", speeds.join(", "));
        }
    }
}

/// The best of several runs.
fn speed(format: Format, isa: Isa, n_out: usize, n_in: usize) -> f64 {
    let weights = numbers(n_out * n_in, 1);
    let matrix =
        PackedMatrix::pack(format, isa, n_out, n_in, |n, row| row.copy_from_slice(&weights[n * n_in..][..n_in]));
    let x = numbers(ROWS * n_in, 2);
    let run = || {
        let start = Instant::now();
        matrix.linear(&Input::new(&x, n_in, format, isa), &[Segment::plain(ROWS)], &Epilogue::default());
        start.elapsed().as_secs_f64()
    };
    let best = (0..15).map(|_| run()).fold(f64::MAX, f64::min);
    2.0 * (ROWS * n_out * n_in) as f64 / best / 1e9
}

/// Numbers from -1 to 1.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

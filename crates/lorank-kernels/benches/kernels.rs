//! How fast the kernels are: `cargo bench -p lorank-kernels`.

use divan::{Bencher, counter::ItemsCount};
use lorank_kernels::{Activation, Epilogue, Format, Input, Isa, PackedMatrix, Segment};

fn main() {
    divan::main();
}

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

const SHAPES: [(usize, usize); 3] = [(384, 384), (1536, 384), (384, 1536)];

/// A linear layer of BERT over 512 tokens, with its bias, and with GELU or the residual; the items are multiply-adds.
#[divan::bench(args = SHAPES, consts = [0, 1, 2, 3])]
fn linear<const F: usize>(bencher: Bencher<'_, '_>, (n_out, n_in): (usize, usize)) {
    let format = [Format::F32, Format::Bf16, Format::Int8, Format::Int8Groups][F];
    let isa = Isa::detect();
    let weights = numbers(n_out * n_in, 1);
    let matrix =
        PackedMatrix::pack(format, isa, n_out, n_in, |n, row| row.copy_from_slice(&weights[n * n_in..][..n_in]));
    let x = numbers(512 * n_in, 2);
    let x = Input::new(&x, n_in, format, isa);
    let (bias, residual) = (numbers(n_out, 3), numbers(512 * n_out, 4));
    let widens = n_out > n_in;
    let epilogue = Epilogue {
        bias: Some(&bias),
        add: (!widens).then_some(&residual[..]),
        activation: widens.then_some(Activation::Gelu),
    };
    bencher.counter(ItemsCount::new(512 * n_out * n_in)).bench(|| matrix.linear(&x, &[Segment::plain(512)], &epilogue));
}

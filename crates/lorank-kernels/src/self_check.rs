//! A check of an instruction set's kernels against portable code, before they are used.
//!
//! A processor may have instructions that its hypervisor emulates wrongly, or that behave unlike those on which the kernels
//! were tested. Such a set must not score anything.

use std::sync::OnceLock;

use crate::{Attention, Epilogue, Format, Input, Isa, Mask, PackedMatrix, Segment, Span};

/// An instruction set that this CPU has, and whose results differ from those of portable code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The name of the set.
    pub set: String,
    /// What differs, and where.
    pub why: String,
}

struct Choice {
    best: Isa,
    left_out: Vec<LeftOut>,
}

impl Isa {
    /// The best instruction set of this CPU, detected at run time and checked against portable code, once per process. A set
    /// that differs is [left out](Self::left_out), and one that would be slower is [passed over](Self::is_passed_over).
    pub fn detect() -> Self {
        choice().best
    }

    /// The sets of this CPU that are better than [`detect`](Self::detect)'s, and differ from portable code.
    pub fn left_out() -> &'static [LeftOut] {
        &choice().left_out
    }
}

fn choice() -> &'static Choice {
    static CHOICE: OnceLock<Choice> = OnceLock::new();
    let used = || Isa::available().into_iter().filter(|isa| !isa.is_passed_over()).collect();
    CHOICE.get_or_init(|| alone(|| choose(used(), check)))
}

/// Runs on a thread of its own, in a pool of that thread: the check does not start a pool for the whole program, and a caller that
/// belongs to a pool does not run other work of it meanwhile, which could ask for the choice too.
fn alone<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    std::thread::scope(|scope| {
        let on_thread = || match &pool {
            Ok(pool) => pool.install(run),
            Err(_) => run(),
        };
        match scope.spawn(on_thread).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The last set that passes; the first one, portable code, is what the others are compared with.
fn choose(available: Vec<Isa>, check: impl Fn(Isa) -> Result<(), String>) -> Choice {
    let mut left_out = Vec::new();
    for isa in available[1..].iter().rev() {
        match check(*isa) {
            Ok(()) => return Choice { best: *isa, left_out },
            Err(why) => left_out.push(LeftOut { set: isa.to_string(), why }),
        }
    }
    Choice { best: available[0], left_out }
}

/// Rows, inputs and outputs of layers: not multiples of any tile, and more than one task of some sets.
const SHAPES: [(usize, usize, usize); 3] = [(1, 3, 5), (19, 70, 37), (35, 129, 65)];

/// Compares a set with portable code.
fn check(isa: Isa) -> Result<(), String> {
    for format in [Format::F32, Format::Bf16, Format::Int8, Format::Int8Groups] {
        // All sums are of multiples of 1/32 below 2^19, which f32 holds exactly; but those of groups are scaled first.
        let tolerance = if format == Format::Int8Groups { 1e-4 } else { 0.0 };
        for shape in SHAPES {
            let [ours, expected] = [isa, Isa::portable()].map(|isa| layer(format, isa, shape));
            let (rows, n_in, n_out) = shape;
            let what = || format!("a layer of {n_out} by {n_in} over {rows} rows in {format:?}");
            compare(&ours, &expected, tolerance, what)?;
        }
    }
    for (n, dim) in [(1, 8), (37, 16), (70, 64)] {
        let rows = [1, 2, 3].map(|seed| numbers(n * dim, seed));
        let expected = attend(&rows, n, dim, |attention| attention.run(Isa::portable()));
        let f32 = attend(&rows, n, dim, |attention| attention.run(isa));
        compare(&f32, &expected, 1e-5, || format!("attention of {n} tokens in f32"))?;
        let bf16 = attend(&rows, n, dim, |attention| attention.run_in_bf16(isa));
        // Weights are rounded to 8 bits, and values are at most 2.
        compare(&bf16, &expected, 2e-2, || format!("attention of {n} tokens in bf16"))?;
    }
    Ok(())
}

fn compare(ours: &[f32], expected: &[f32], tolerance: f32, what: impl Fn() -> String) -> Result<(), String> {
    let differs = |(ours, expected): (&f32, &f32)| (ours - expected).abs() > tolerance || ours.is_nan();
    match ours.iter().zip(expected).position(differs) {
        None => Ok(()),
        Some(at) => Err(format!("{} gives {} at {at}, and not {}", what(), ours[at], expected[at])),
    }
}

/// Multiples of a quarter from -2 to 2, which all formats hold exactly.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 20) % 17) as f32 / 4.0 - 2.0
    };
    (0..n).map(|_| next()).collect()
}

fn layer(format: Format, isa: Isa, (n_rows, n_in, n_out): (usize, usize, usize)) -> Vec<f32> {
    let (x, w) = (numbers(n_rows * n_in, 4), numbers(n_out * n_in, 5));
    let matrix = PackedMatrix::pack(format, isa, n_out, n_in, |n, row| row.copy_from_slice(&w[n * n_in..][..n_in]));
    matrix.linear(&Input::new(&x, n_in, format, isa), &[Segment::plain(n_rows)], &Epilogue::default())
}

/// Attention of one sequence with one head.
fn attend([q, k, v]: &[Vec<f32>; 3], n: usize, dim: usize, run: impl Fn(&Attention<'_>) -> Vec<f32>) -> Vec<f32> {
    let spans = [Span { queries: 0..n, first_position: 0, prefix: 0..0, own: 0..n }];
    run(&Attention {
        q,
        k,
        v,
        n_heads: 1,
        n_kv_heads: 1,
        head_dim: dim,
        mask: Mask::CAUSAL,
        rotary: None,
        q_gap: 0,
        kv_gap: 0,
        spans: &spans,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_this_machine_passes() {
        for isa in Isa::available() {
            assert_eq!(check(isa), Ok(()), "{isa}");
        }
        assert!(Isa::left_out().is_empty());
        assert_eq!(Some(Isa::detect()), Isa::available().into_iter().rfind(|isa| !isa.is_passed_over()));
    }

    #[test]
    fn work_of_the_callers_pool_waits() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        let order = std::sync::Mutex::new(Vec::new());
        let note = |what| order.lock().expect("no panic").push(what);
        pool.scope(|scope| {
            scope.spawn(|scope| {
                scope.spawn(|_| note("other work"));
                alone(|| note("check"));
                note("after it");
            });
        });
        assert_eq!(order.into_inner().expect("no panic"), ["check", "after it", "other work"]);
    }

    #[test]
    fn a_set_that_differs_is_left_out() {
        let available = Isa::available();
        let best = available.last().expect("the portable set").to_string();
        let but_best = |isa: Isa| if isa.to_string() == best { Err("wrong".to_owned()) } else { Ok(()) };
        let Choice { best: chosen, left_out } = choose(available.clone(), but_best);
        if available.len() == 1 {
            assert!(chosen == available[0] && left_out.is_empty());
            return;
        }
        assert_eq!(chosen, available[available.len() - 2]);
        assert_eq!(left_out, [LeftOut { set: best, why: "wrong".to_owned() }]);
        let none = choose(available.clone(), |_| Err(String::new()));
        assert_eq!((none.best, none.left_out.len()), (available[0], available.len() - 1));
    }

    #[test]
    fn differences_are_found_where_they_are() {
        let what = || "a layer".to_owned();
        assert_eq!(compare(&[1.0, 2.0], &[1.0, 2.0], 0.0, what), Ok(()));
        assert_eq!(compare(&[1.0, 2.5], &[1.0, 2.0], 0.1, what), Err("a layer gives 2.5 at 1, and not 2".to_owned()));
        assert!(compare(&[f32::NAN], &[1.0], 1.0, what).is_err());
    }
}

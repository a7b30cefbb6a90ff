//! Invalid arguments cause a panic with a message before any computation: no safe call may access memory out of bounds,
//! or write one row from two threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lorank_kernels::{
    Activation, Attention, Epilogue, Format, Input, Isa, LowRank, Mask, PackedMatrix, Rotary, Segment, Span, gated,
    layer_norm, rms_norm,
};

/// Checks that the call panics with a message that contains `expected`; an empty one means no panic.
fn check<T>(name: &str, expected: &str, call: impl FnOnce() -> T) {
    let outcome = catch_unwind(AssertUnwindSafe(|| drop(call())));
    let message = outcome.err().map(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    });
    match message {
        None => assert_eq!(expected, "", "{name} should have been refused"),
        Some(message) => assert!(!expected.is_empty() && message.contains(expected), "{name}: {message}"),
    }
}

fn span(queries: (usize, usize), first_position: usize, prefix: (usize, usize), own: (usize, usize)) -> Span {
    Span { queries: queries.0..queries.1, first_position, prefix: prefix.0..prefix.1, own: own.0..own.1 }
}

const NO_ROWS: &str = "are no rows of";

/// Six queries and six keys, with two heads of width four.
#[test]
fn spans_that_do_not_fit_are_refused() {
    let rows = [0.5; 6 * 8];
    const MAX: usize = usize::MAX;
    let whole = || span((0, 6), 0, (0, 0), (0, 6));
    for (name, spans, expected) in [
        ("one span", vec![whole()], ""),
        ("two spans", vec![span((0, 2), 0, (0, 0), (0, 2)), span((2, 6), 0, (0, 0), (2, 6))], ""),
        ("a shared prefix", vec![span((0, 2), 0, (0, 0), (0, 2)), span((2, 6), 2, (0, 2), (2, 6))], ""),
        ("a span without queries", vec![whole(), span((6, 6), 0, (0, 0), (0, 6))], ""),
        ("no spans", vec![], "the spans cover the queries"),
        ("a gap", vec![span((0, 2), 0, (0, 0), (0, 2)), span((3, 6), 0, (0, 0), (0, 6))], "in order"),
        ("an overlap", vec![span((0, 4), 0, (0, 0), (0, 6)), span((3, 6), 0, (0, 0), (0, 6))], "in order"),
        ("one span twice", vec![whole(), whole()], "in order"),
        (
            "reversed queries, which lead back to rows of another span",
            vec![whole(), span((6, 2), 0, (0, 0), (0, 6)), span((2, 6), 0, (0, 0), (0, 6))],
            NO_ROWS,
        ),
        ("queries past the end", vec![span((0, 7), 0, (0, 0), (0, 6))], NO_ROWS),
        ("queries without end", vec![span((0, MAX), 0, (0, 0), (0, 6))], NO_ROWS),
        ("too few queries", vec![span((0, 5), 0, (0, 0), (0, 6))], "the spans cover the queries"),
        ("reversed keys", vec![span((0, 6), 0, (0, 0), (6, 0))], NO_ROWS),
        ("reversed keys past the end", vec![span((0, 6), 0, (0, 6), (9, 6))], NO_ROWS),
        ("a reversed prefix", vec![span((0, 6), 0, (5, 1), (0, 6))], NO_ROWS),
        ("keys past the end", vec![span((0, 6), 0, (0, 0), (1, 7))], NO_ROWS),
        ("a prefix past the end", vec![span((0, 6), 0, (5, 7), (0, 6))], NO_ROWS),
        ("a query without a key", vec![span((0, 6), 1, (0, 0), (0, 6))], "a key at its position"),
        ("positions that overflow", vec![span((0, 6), MAX - 2, (0, 0), (0, 6))], "a key at its position"),
    ] {
        let narrow = Mask { is_causal: false, window: Some(0) };
        let masks = [Mask::NONE, Mask::CAUSAL, narrow];
        for (isa, mask) in Isa::available().into_iter().flat_map(|isa| masks.map(|mask| (isa, mask))) {
            let attention = Attention {
                q: &rows,
                k: &rows,
                v: &rows,
                n_heads: 2,
                n_kv_heads: 2,
                head_dim: 4,
                mask,
                rotary: None,
                q_gap: 0,
                kv_gap: 0,
                spans: &spans,
            };
            check(name, expected, || attention.run(isa));
        }
    }
}

#[test]
fn heads_that_do_not_fit_are_refused() {
    let rows = [0.5; 24];
    let angles = [0.5; 8];
    const HALF: usize = usize::MAX / 2 + 1;
    // The lengths of q, k and v; heads, key-value heads and their width; the lengths of the angles.
    for (name, [q, k, v], [n_heads, n_kv_heads, head_dim], rotary, expected) in [
        ("as they should be", [24, 24, 24], [2, 1, 6], None, ""),
        ("with angles", [8, 8, 8], [1, 1, 2], Some([4, 4]), ""),
        ("no heads", [24, 24, 24], [0, 1, 6], None, "there are heads"),
        ("no key-value heads", [24, 24, 24], [2, 0, 6], None, "there are heads"),
        ("heads without a width", [24, 24, 24], [2, 1, 0], None, "there are heads"),
        ("heads that do not divide", [24, 24, 24], [3, 2, 4], None, "the heads divide evenly"),
        ("fewer heads than key-value heads", [24, 24, 24], [1, 2, 6], None, "the heads divide evenly"),
        ("a width that overflows", [24, 24, 24], [HALF, 1, 2], None, "fits into memory"),
        ("half a query", [23, 24, 24], [1, 1, 6], None, "rows of whole heads"),
        ("half a key", [24, 23, 23], [1, 1, 6], None, "rows of whole heads"),
        ("fewer values than keys", [24, 24, 18], [1, 1, 6], None, "a value for each key"),
        ("angles for an odd width", [24, 24, 24], [1, 1, 3], Some([8, 8]), "turn pairs"),
        ("too few cosines", [8, 8, 8], [1, 1, 2], Some([3, 4]), "angles for each position"),
        ("too few sines", [8, 8, 8], [1, 1, 2], Some([4, 3]), "angles for each position"),
    ] {
        let width = n_heads.saturating_mul(head_dim).max(1);
        let (n, n_keys) = (q / width, k / n_kv_heads.saturating_mul(head_dim).max(1));
        let spans = [span((0, n), 0, (0, 0), (0, n_keys))];
        let (q, k, v) = (&rows[..q], &rows[..k], &rows[..v]);
        let rotary = rotary.map(|[cos, sin]| Rotary { cos: &angles[..cos], sin: &angles[..sin] });
        let (mask, spans) = (Mask::NONE, &spans);
        let attention = Attention { q, k, v, n_heads, n_kv_heads, head_dim, mask, rotary, q_gap: 0, kv_gap: 0, spans };
        for isa in Isa::available() {
            check(name, expected, || attention.run(isa));
        }
    }
}

#[test]
fn gaps_that_do_not_fit_are_refused() {
    let rows = [0.5; 22];
    const MAX: usize = usize::MAX;
    // Four rows of 4 numbers with gaps of 2.
    for (name, len, q_gap, kv_gap, expected) in [
        ("as they should be", 22, 2, 2, ""),
        ("another gap of queries", 22, 3, 2, "rows of whole heads"),
        ("another gap of keys", 22, 2, 1, "rows of whole heads"),
        ("a gap after the last row", 21, 2, 2, "rows of whole heads"),
        ("a gap of queries that overflows", 22, MAX - 10, 2, "fits into memory"),
        ("a gap of keys that overflows", 22, 2, MAX, "fits into memory"),
    ] {
        let spans = [span((0, 4), 0, (0, 0), (0, 4))];
        let (q, mask, rotary) = (&rows[..len], Mask::NONE, None);
        let attention = Attention {
            q,
            k: q,
            v: q,
            n_heads: 2,
            n_kv_heads: 2,
            head_dim: 2,
            mask,
            rotary,
            q_gap,
            kv_gap,
            spans: &spans,
        };
        for isa in Isa::available() {
            check(name, expected, || attention.run(isa));
            check(name, expected, || attention.run_in_bf16(isa));
        }
    }
}

fn matrix(format: Format, isa: Isa, n_out: usize, n_in: usize) -> PackedMatrix {
    PackedMatrix::pack(format, isa, n_out, n_in, |_, row| row.fill(0.25))
}

#[test]
fn dimensions_that_do_not_fit_are_refused() {
    const HUGE: usize = usize::MAX / 2 + 1;
    for (n_out, n_in, format, expected) in [
        (1, 1, Format::F32, ""),
        (0, 3, Format::F32, "has no weights"),
        (3, 0, Format::Bf16, "has no weights"),
        (HUGE, 2, Format::F32, "does not fit into memory"),
        (2, HUGE, Format::Bf16, "does not fit into memory"),
        (usize::MAX, 1, Format::Int8, "does not fit into memory"),
        (1, usize::MAX, Format::F32, "does not fit into memory"),
        (1 << 40, 1 << 40, Format::F32, "does not fit into memory"),
        (1, (1 << 19) + 1, Format::Int8, "overflow 32 bits"),
        (usize::MAX, 1, Format::Int8Groups, "does not fit into memory"),
    ] {
        for isa in Isa::available() {
            check(&format!("{n_out} by {n_in}"), expected, || matrix(format, isa, n_out, n_in));
        }
    }
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let numbers = [1.0; 12];
    let isa = Isa::detect();
    for format in [Format::F32, Format::Bf16, Format::Int8, Format::Int8Groups] {
        for (width, expected) in [(4, ""), (12, ""), (5, "make no rows"), (0, "make no rows"), (24, "make no rows")] {
            check(&format!("{format:?}: width {width}"), expected, || {
                Input::new(&numbers, width, format, isa).n_rows()
            });
        }
        let input = Input::new(&numbers, 4, format, isa);
        for (start, end, expected) in [
            (0, 3, ""),
            (1, 2, ""),
            (3, 3, ""),
            (0, 4, "are no rows of 3"),
            (4, 4, "are no rows of 3"),
            (2, 1, "are no rows of 3"),
            // Multiplied by the width, these are 0 and 4.
            (1 << 62, (1 << 62) + 1, "are no rows of 3"),
            (usize::MAX, 0, "are no rows of 3"),
        ] {
            check(&format!("{format:?}: rows {start}..{end}"), expected, || input.rows(start..end).n_rows());
        }
    }
}

#[test]
fn segments_that_do_not_fit_are_refused() {
    let numbers = [1.0; 3 * 8];
    for isa in Isa::available() {
        let weights = matrix(Format::F32, isa, 5, 8);
        for (name, n_rows, expected) in [
            ("one segment", &[3][..], ""),
            ("several, one of them empty", &[1, 0, 2], ""),
            ("none", &[], "segments cover the rows"),
            ("too few rows", &[1, 1], "segments cover the rows"),
            ("too many rows", &[3, 1], "segments cover the rows"),
            ("a sum that wraps around to the number of rows", &[usize::MAX, 4], "segments cover the rows"),
        ] {
            let segments: Vec<_> = n_rows.iter().map(|n| Segment::plain(*n)).collect();
            let x = Input::new(&numbers, 8, Format::F32, isa);
            check(name, expected, || weights.linear(&x, &segments, &Epilogue::default()));
        }
    }
}

#[test]
fn updates_that_do_not_fit_are_refused() {
    use Format::{Bf16, F32, Int8, Int8Groups};
    let numbers = [1.0; 3 * 8];
    let sets = Isa::available();
    for (isa, other) in sets.iter().flat_map(|isa| sets.iter().map(move |other| (*isa, *other))) {
        let weights = matrix(F32, isa, 5, 8);
        let sets_expected = if isa == other { "" } else { "one instruction set" };
        for (name, a, b, expected) in [
            ("an update", (F32, 2, 8), (F32, 5, 2), sets_expected),
            ("an update in bf16", (Bf16, 2, 8), (Bf16, 5, 2), sets_expected),
            ("an update for other inputs", (F32, 2, 7), (F32, 5, 2), "the matrix's shape"),
            ("an update for other outputs", (F32, 2, 8), (F32, 6, 2), "the matrix's shape"),
            ("an update of two ranks", (F32, 2, 8), (F32, 5, 3), "one rank"),
        ] {
            let (a, b) = (matrix(a.0, isa, a.1, a.2), matrix(b.0, other, b.1, b.2));
            let segments = [Segment { n_rows: 3, update: Some(LowRank { a: &a, b: &b, scale: 1.0 }) }];
            let x = Input::new(&numbers, 8, F32, isa);
            check(name, expected, || weights.linear(&x, &segments, &Epilogue::default()));
        }
    }
    let isa = Isa::detect();
    for (a_format, b_format, expected) in
        [(F32, Int8, "updates are floats"), (F32, Int8Groups, "updates are floats"), (Int8, F32, "another format")]
    {
        let (a, b) = (matrix(a_format, isa, 2, 8), matrix(b_format, isa, 5, 2));
        let segments = [Segment { n_rows: 3, update: Some(LowRank { a: &a, b: &b, scale: 1.0 }) }];
        let x = Input::new(&numbers, 8, F32, isa);
        let weights = matrix(F32, isa, 5, 8);
        check("an update of integers", expected, || weights.linear(&x, &segments, &Epilogue::default()));
    }
}

#[test]
fn inputs_and_epilogues_that_do_not_fit_are_refused() {
    let numbers = [1.0; 3 * 8];
    let isa = Isa::detect();
    let (weights, int8) = (matrix(Format::F32, isa, 5, 8), matrix(Format::Int8, isa, 5, 8));
    let groups = matrix(Format::Int8Groups, isa, 5, 8);
    for (name, matrix, width, format, expected) in [
        ("floats for integers", &int8, 8, Format::F32, "another format"),
        ("one scale per row for groups", &groups, 8, Format::Int8, "another format"),
        ("groups for one scale per row", &int8, 8, Format::Int8Groups, "another format"),
        ("integers for floats", &weights, 8, Format::Int8, "another format"),
        ("rows of another width", &weights, 4, Format::F32, "as wide as the matrix is deep"),
    ] {
        let x = Input::new(&numbers, width, format, isa);
        check(name, expected, || matrix.linear(&x, &[Segment::plain(x.n_rows())], &Epilogue::default()));
    }

    for (name, bias, add, expected) in [
        ("both", 5, 15, ""),
        ("a short bias", 4, 15, "a bias for each output"),
        ("a long bias", 6, 15, "a bias for each output"),
        ("too little to add", 5, 14, "the result's shape"),
        ("too much to add", 5, 20, "the result's shape"),
    ] {
        let x = Input::new(&numbers, 8, Format::F32, isa);
        let epilogue = Epilogue { bias: Some(&numbers[..bias]), add: Some(&numbers[..add]), activation: None };
        check(name, expected, || weights.linear(&x, &[Segment::plain(3)], &epilogue));
    }
}

#[test]
fn rows_of_other_widths_are_refused_by_norms_and_gates() {
    let isa = Isa::detect();
    let ones = [1.0; 12];
    for (x, weight, bias, expected) in [
        (12, 4, 4, ""),
        (0, 4, 4, ""),
        (12, 0, 0, "the width is at least 1"),
        (0, 0, 0, "the width is at least 1"),
        (11, 4, 4, "as wide"),
        (12, 4, 3, "as wide"),
    ] {
        let name = format!("{x} by {weight} and {bias}");
        check(&name, expected, || layer_norm(&mut { ones }[..x], &ones[..weight], &ones[..bias], 1e-5, isa));
        if weight == bias {
            check(&name, expected, || rms_norm(&mut { ones }[..x], &ones[..weight], 1e-5, isa));
        }
    }
    check("a gate of one shape", "", || gated(&mut { ones }, &ones, Activation::Silu, isa));
    check("a gate of another shape", "one shape", || gated(&mut { ones }, &ones[..11], Activation::Silu, isa));
}

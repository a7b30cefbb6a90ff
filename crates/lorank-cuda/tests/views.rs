//! Views of memory, what they share, and what an operation refuses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lorank_cuda::{CudaError, Format, Host, Op, Ops, Quantized, Rows, Vector};

fn host() -> Host {
    let host = Host::new(1 << 20);
    host.reserve_arena(1 << 16).expect("the memory suffices");
    host
}

#[test]
fn matrices_that_are_read_one_after_another_are_one() {
    let host = host();
    host.reserve_weights(4096).unwrap();
    let matrix = |n_rows| {
        let matrix = host.weights([n_rows, 24], Format::Bf16).unwrap();
        let bias = host.vector(&vec![n_rows as f32; n_rows]).unwrap();
        host.weights_apart([3, 8], Format::Bf16).unwrap();
        host.write(&matrix, &vec![n_rows as f32; n_rows * 24]).unwrap();
        (matrix, bias)
    };
    let [(q, q_bias), (k, k_bias), (v, v_bias)] = [16, 8, 8].map(matrix);
    let fused = Rows::stacked(&[&q, &k, &v]).unwrap();
    assert_eq!((fused.n_rows(), fused.width()), (32, 24));
    assert_eq!(host.read(&fused.slice(15..17)).unwrap(), [[16.0; 24], [8.0; 24]].concat());
    let bias = Vector::joined(&[&q_bias, &k_bias, &v_bias]).unwrap();
    assert_eq!(bias.width(), 32);
    assert!(Rows::stacked(&[&q, &v]).is_none() && Vector::joined(&[&k_bias, &q_bias]).is_none());
    // The same for a part of the columns: those without adapters.
    assert!(Rows::stacked(&[&q.columns(0..16), &k.columns(0..16)]).is_some());
    let [a, b] = [(); 2].map(|()| host.quantized_weights([4, 32]).unwrap());
    let both = Quantized::stacked(&[&a, &b]).unwrap();
    assert_eq!((both.n_rows(), both.slice(4..8).n_bytes()), (8, 4 * 36));
    assert_eq!(host.memory().unwrap().total, 1 << 20);
}

#[test]
fn quantized_matrices_of_reserved_memory_are_one() {
    let host = Host::new(8 << 20);
    // More scales than a slab has that nobody has asked for.
    let n_rows = 70_000;
    host.reserve_weights(2 * n_rows * 16).unwrap();
    host.reserve_scales(2 * n_rows).unwrap();
    let matrices = [n_rows - 16, 16, n_rows].map(|n_rows| host.quantized_weights([n_rows, 16]).unwrap());
    assert!(Quantized::stacked(&matrices.each_ref()).is_some());
}

#[test]
fn a_host_in_place_of_an_older_gpu_has_no_fp8() {
    let host = host().without_e4m3();
    assert!(!host.info().has_e4m3);
    let (x, w) = (host.quantized_rows(1, 16).unwrap(), host.quantized_weights([16, 16]).unwrap());
    let out = host.rows(1, 16, Format::Bf16).unwrap();
    let error = host.run(Op::ScaledGemm { x: &x, w: &w, bias: None, add: None, out: &out }).unwrap_err();
    assert_eq!(error, CudaError::NoE4m3 { name: "host".to_owned() });
}

#[test]
fn parts_of_a_fused_result_are_views_of_it() {
    let host = host();
    let fused = host.rows(2, 6, Format::F32).unwrap();
    host.write(&fused, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]).unwrap();
    let [q, k, v] = fused.split([3, 1, 2]);
    assert_eq!(host.read(&k).unwrap(), [3.0, 9.0]);
    assert_eq!(host.read(&v.slice(1..2)).unwrap(), [10.0, 11.0]);
    assert!(Rows::side_by_side(&[&q, &k, &v]).unwrap().is_same(&fused));
    assert!(Rows::side_by_side(&[&q, &v]).is_none());
    assert!(q.reshaped(1).is_none());
    assert_eq!(host.read(&fused.reshaped(4).unwrap().slice(2..3)).unwrap(), [8.0, 9.0, 10.0, 11.0]);
    assert!(!q.overlaps(&v) && q.overlaps(&fused) && !fused.slice(0..1).overlaps(&fused.slice(1..2)));
    assert!(!fused.is_unique());
    drop((q, k, v));
    assert!(fused.is_unique());
}

#[test]
fn memory_is_free_after_its_last_view() {
    let host = host();
    let rows = host.rows(100, 100, Format::F32).unwrap();
    let part = rows.slice(3..4);
    drop(rows);
    let full = host.rows(100, 100, Format::F32).unwrap_err();
    assert!(matches!(full, CudaError::ArenaFull { needed: 40_000, .. }) && full.is_out_of_memory());
    drop(part);
    assert_eq!(host.arena_use().used, 0);
    let rows = host.rows(100, 100, Format::F32).unwrap();
    assert!(host.read(&rows).unwrap().iter().all(|x| x.is_nan()), "undefined numbers are not taken for numbers");
    let error = host.weights([1 << 20, 1], Format::F32).unwrap_err();
    let free = host.memory().unwrap().free;
    assert_eq!(error, CudaError::OutOfMemory { purpose: "weights", needed: 16 << 20, free });
    drop(rows);
    host.reserve_arena(1 << 17).unwrap();
    assert_eq!(host.memory().unwrap().free, (1 << 20) - (1 << 17));
}

#[test]
fn operations_refuse_what_would_leave_the_memory_of_their_rows() {
    let (host, other) = (host(), host());
    let rows = |n, width, format| host.rows(n, width, format).unwrap();
    let [x, y] = [(); 2].map(|()| rows(4, 16, Format::F32));
    let rounded = rows(4, 16, Format::Bf16);
    let foreign = other.rows(4, 16, Format::F32).unwrap();
    let weight = host.vector(&[1.0; 16]).unwrap();
    let short = host.vector(&[1.0; 15]).unwrap();
    let indices = |values: &[u32]| host.indices(values).unwrap();
    let quantized = host.quantized_rows(4, 16).unwrap();
    let eps = 1e-5;
    let (four, reversed, fifth) = (indices(&[0, 4, 0, 0, 0, 0]), indices(&[2, 1]), indices(&[0, 1, 2, 4]));
    let refused = [
        ("an index beyond the table", Op::Gather { x: &x, rows: &fifth, out: &y }),
        ("fewer indices than rows", Op::Gather { x: &x, rows: &reversed, out: &y }),
        ("another format", Op::Gather { x: &x, rows: &indices(&[0; 4]), out: &rounded }),
        ("another width", Op::Copy { x: &x.columns(1..16), out: &y }),
        ("another device", Op::Copy { x: &foreign, out: &y }),
        ("a result that overlaps", Op::Copy { x: &x.slice(0..2), out: &x.slice(1..3) }),
        ("a short weight", Op::RmsNorm { x: &x, weight: &short, eps, out: &y }),
        ("a short bias", Op::LayerNorm { x: &x, weight: &weight, bias: &short, eps, out: &y }),
        ("operands of two formats", Op::Gemm { x: &x, w: &rounded, bias: None, add: None, out: &y.columns(0..4) }),
        ("a result of another width", Op::Gemm { x: &x, w: &y, bias: None, add: None, out: &rows(4, 5, Format::F32) }),
        ("a result over an operand", Op::Gemm { x: &x, w: &y, bias: None, add: None, out: &x.columns(0..4) }),
        (
            "fewer than 16 columns of a quantized result",
            Op::ScaledGemm { x: &quantized, w: &quantized, bias: None, add: None, out: &rounded.columns(0..4) },
        ),
        ("a quantized result in f32", Op::ScaledGemm { x: &quantized, w: &quantized, bias: None, add: None, out: &y }),
        ("half a head", Op::Rope { x: &x, head_dim: 6, table: &y.columns(0..6), positions: &indices(&[0; 4]) }),
        (
            "a position beyond the table",
            Op::Rope { x: &x, head_dim: 16, table: &y, positions: &indices(&[0, 1, 2, 4]) },
        ),
        ("a mean of no rows", Op::Mean { x: &x, ranges: &indices(&[1, 1]), out: &y.slice(0..1) }),
        ("a reversed range", Op::Mean { x: &x, ranges: &reversed, out: &y.slice(0..1) }),
        ("columns beyond the width", Op::KeepColumns { x: &x, ranges: &indices(&[0, 17, 0, 0, 0, 0, 0, 0]) }),
        ("too few ranges", Op::KeepColumns { x: &x, ranges: &four }),
        ("no table", Op::Embed { tables: &[], out: &y }),
    ];
    for (what, op) in refused {
        assert!(catch_unwind(AssertUnwindSafe(|| host.run(op))).is_err(), "{what} is refused");
    }
}

#[test]
fn marks_are_in_the_order_of_operations() {
    let host = host();
    let [start, end] = [host.mark().unwrap(), host.mark().unwrap()];
    assert!(start.time_until(&end).unwrap() <= start.time_until(&host.mark().unwrap()).unwrap());
}

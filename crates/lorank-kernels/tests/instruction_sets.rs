//! The instruction sets that are found.

use lorank_kernels::Isa;

#[test]
fn the_portable_set_is_the_first_and_the_best_is_the_last() {
    let sets = Isa::available();
    assert_eq!(sets[0].to_string(), "portable");
    assert_eq!(sets.iter().rfind(|isa| !isa.is_passed_over()), Some(&Isa::detect()));
    assert!(sets.is_sorted_by(|a, b| a < b), "{sets:?}");
    assert!(!sets[0].is_fast_in_int8() && !sets[0].has_bf16_products());
}

/// `LORANK_KERNELS_SETS` names the sets of the processor, where the caller knows it: without this, a set that is not
/// found would not be tested either, and nobody would notice.
#[test]
fn the_expected_sets_are_found() {
    let Ok(expected) = std::env::var("LORANK_KERNELS_SETS") else { return };
    let found: Vec<String> = Isa::available().iter().map(Isa::to_string).collect();
    assert_eq!(found.join(" "), expected);
}

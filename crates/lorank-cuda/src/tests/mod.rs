//! Tests of this crate's own parts against each other.

mod nvrtc;
mod shim;

// The comparison of a device with the host, which the tests on a GPU share.
#[path = "../../tests/compare/mod.rs"]
mod compare;

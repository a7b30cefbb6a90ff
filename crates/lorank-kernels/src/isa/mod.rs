//! Detection of the CPU's vector instructions.

use std::fmt;

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod aarch64;
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
mod none;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
use aarch64::Set;
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
use none::Set;
#[cfg(target_arch = "x86_64")]
use x86::Set;

use crate::Format;
use crate::tile::{Int8Order, Kernel, Portable};

/// A set of vector instructions with kernels, which this CPU supports.
///
/// Values come only from [`Isa::detect`] and [`Isa::available`], so a value proves that its instructions are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isa(
    /// `None` for portable Rust, vectorized by the compiler.
    Option<Set>,
);

impl Isa {
    /// Portable Rust, without instructions of its own.
    pub(crate) fn portable() -> Self {
        Self(None)
    }

    /// All instruction sets of this CPU, each with the instructions of those before it.
    pub fn available() -> Vec<Self> {
        std::iter::once(None).chain(Set::available().into_iter().map(Some)).map(Self).collect()
    }

    /// Whether [`Isa::detect`] passes the set over, because what it adds is slower on this CPU than what it replaces.
    pub fn is_passed_over(self) -> bool {
        self.0.is_some_and(Set::is_passed_over)
    }

    /// Whether linear layers are faster in int8 than in the other formats: there are instructions for 8-bit products.
    pub fn is_fast_in_int8(self) -> bool {
        self.0.is_some()
    }

    /// Whether linear layers are faster in int8 with groups than in the other formats.
    pub fn is_fast_in_int8_groups(self) -> bool {
        self.0.is_some_and(Set::has_group_products) && !self.has_tiles()
    }

    /// Whether bf16 products take both operands in bf16; otherwise the weights are widened to f32 when they are read.
    pub fn has_bf16_products(self) -> bool {
        self.0.is_some_and(Set::has_bf16_products)
    }

    /// Whether there are products of tiles in bf16 and int8, many times as fast as those of vectors.
    pub fn has_tiles(self) -> bool {
        self.0.is_some_and(Set::has_tiles)
    }

    /// Runs rounds of the products of a format's layers on registers alone; returns the number of multiply-adds. `None` if the set
    /// has none of its own.
    pub(crate) fn chain(self, format: Format, n: u64) -> Option<u64> {
        // SAFETY: an `Isa` is only made in `available`, which found the CPU to have the instructions. No computation calls this.
        unsafe { self.0?.chain(format, n) }
    }

    /// The number of `f32` lanes of a vector.
    pub(crate) fn lanes(self) -> usize {
        dispatch(self, Lanes)
    }

    /// The number of adjacent weights of each column in a panel of bf16.
    pub(crate) fn bf16_group(self) -> usize {
        dispatch(self, Bf16Group)
    }

    /// The size of a linear layer's tasks.
    pub(crate) fn task_size(self) -> TaskSize {
        dispatch(self, TaskSizeOf)
    }

    /// The layout of a panel of integers.
    pub(crate) fn int8_order(self) -> Int8Order {
        dispatch(self, Order)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.map_or("portable", Set::name))
    }
}

/// A computation that is compiled for each instruction set.
pub(crate) trait Computation {
    type Output;
    /// Must be `#[inline(always)]`, or the compiler does not use the set's instructions. For the same reason, use `for`
    /// loops and not `for_each`, which may be compiled as a separate function.
    fn run<K: Kernel>(self) -> Self::Output;
}

/// Runs a computation with the instructions of `isa`.
pub(crate) fn dispatch<C: Computation>(isa: Isa, computation: C) -> C::Output {
    match isa.0 {
        None => computation.run::<Portable>(),
        // SAFETY: an `Isa` is only made in `available`, which found the CPU to have the instructions.
        Some(set) => unsafe { set.run(computation) },
    }
}

struct Lanes;

impl Computation for Lanes {
    type Output = usize;

    #[inline(always)]
    fn run<K: Kernel>(self) -> usize {
        K::LANES
    }
}

struct Bf16Group;

impl Computation for Bf16Group {
    type Output = usize;

    #[inline(always)]
    fn run<K: Kernel>(self) -> usize {
        K::BF16_GROUP
    }
}

/// The size of the tasks into which a linear layer is divided.
pub(crate) struct TaskSize {
    /// The number of rows, at most.
    pub(crate) n_rows: usize,
    /// The number of multiply-adds, at least.
    pub(crate) n_products: usize,
}

struct TaskSizeOf;

impl Computation for TaskSizeOf {
    type Output = TaskSize;

    #[inline(always)]
    fn run<K: Kernel>(self) -> TaskSize {
        TaskSize { n_rows: K::TASK_ROWS, n_products: K::TASK_PRODUCTS }
    }
}

struct Order;

impl Computation for Order {
    type Output = Int8Order;

    #[inline(always)]
    fn run<K: Kernel>(self) -> Int8Order {
        K::INT8_ORDER
    }
}

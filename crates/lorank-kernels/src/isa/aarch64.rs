//! The instruction sets of 64-bit ARM.

use std::arch::is_aarch64_feature_detected;

use super::Computation;
use crate::Format;
use crate::tile::{Dotprod, Matrices, Neon, Widening};

/// The instruction sets; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Set {
    /// NEON alone: Cortex-A72 (Graviton 1, Raspberry Pi 4).
    Neon,
    /// With dot products of 8-bit integers: Neoverse N1 (Graviton 2, Ampere Altra), Apple's M1.
    NeonDotprod,
    /// Also with matrix products of 8-bit integers and of bf16: Neoverse V1, N2 and V2 (Graviton 3 and 4, Cobalt, Axion,
    /// Grace), Apple since the M2.
    NeonI8mm,
}

impl Set {
    /// The sets of this CPU.
    pub(super) fn available() -> Vec<Self> {
        let is_found = |set: &Self| match set {
            Self::Neon => is_aarch64_feature_detected!("neon"),
            Self::NeonDotprod => is_aarch64_feature_detected!("dotprod"),
            // No known processor has one without the other.
            Self::NeonI8mm => is_aarch64_feature_detected!("i8mm") && is_aarch64_feature_detected!("bf16"),
        };
        [Self::Neon, Self::NeonDotprod, Self::NeonI8mm].into_iter().take_while(is_found).collect()
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Neon => "neon",
            Self::NeonDotprod => "neon-dotprod",
            Self::NeonI8mm => "neon-i8mm",
        }
    }

    /// Whether what the set adds is slower on this CPU than what it replaces.
    pub(super) fn is_passed_over(self) -> bool {
        false
    }

    /// Whether there are products of numbers in bf16.
    pub(super) fn has_bf16_products(self) -> bool {
        self == Self::NeonI8mm
    }

    /// Whether there are fast products of integers in groups.
    pub(super) fn has_group_products(self) -> bool {
        false
    }

    /// Whether there are products of tiles.
    pub(super) fn has_tiles(self) -> bool {
        false
    }

    /// No processor was at hand on which the chains of products could be measured.
    ///
    /// # Safety
    /// None is needed.
    pub(super) unsafe fn chain(self, _: Format, _: u64) -> Option<u64> {
        None
    }

    /// Runs a computation with the set's instructions.
    ///
    /// # Safety
    /// The CPU has them.
    pub(super) unsafe fn run<C: Computation>(self, computation: C) -> C::Output {
        // SAFETY: as the caller guarantees.
        unsafe {
            match self {
                Self::Neon => neon(computation),
                Self::NeonDotprod => neon_dotprod(computation),
                Self::NeonI8mm => neon_i8mm(computation),
            }
        }
    }
}

#[target_feature(enable = "neon")]
fn neon<C: Computation>(computation: C) -> C::Output {
    computation.run::<Neon<Widening>>()
}

#[target_feature(enable = "neon,dotprod")]
fn neon_dotprod<C: Computation>(computation: C) -> C::Output {
    computation.run::<Neon<Dotprod>>()
}

#[target_feature(enable = "neon,dotprod,i8mm,bf16")]
fn neon_i8mm<C: Computation>(computation: C) -> C::Output {
    computation.run::<Neon<Matrices>>()
}

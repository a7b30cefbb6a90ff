//! Processors without kernels of their own: only the portable ones run there.

use super::Computation;
use crate::Format;

/// No instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Set {}

impl Set {
    pub(super) fn available() -> Vec<Self> {
        Vec::new()
    }

    pub(super) fn name(self) -> &'static str {
        match self {}
    }

    /// Whether what the set adds is slower on this CPU than what it replaces.
    pub(super) fn is_passed_over(self) -> bool {
        match self {}
    }

    pub(super) fn has_bf16_products(self) -> bool {
        match self {}
    }

    pub(super) fn has_group_products(self) -> bool {
        match self {}
    }

    pub(super) fn has_tiles(self) -> bool {
        match self {}
    }

    /// # Safety
    /// No value exists, so no call does.
    pub(super) unsafe fn chain(self, _: Format, _: u64) -> Option<u64> {
        match self {}
    }

    /// # Safety
    /// No value exists, so no call does.
    pub(super) unsafe fn run<C: Computation>(self, _: C) -> C::Output {
        match self {}
    }
}

//! The instruction sets of x86-64.

use std::arch::x86_64::__cpuid;

use super::Computation;
use crate::Format;
#[cfg(target_os = "linux")]
use crate::tile::{Amx, Entered, chain_bf16, chain_int8};
use crate::tile::{Avx2, Avx512Bf16, Avx512Vnni, chains};

/// The instruction sets; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Set {
    /// AVX2 and FMA: most desktops and servers since 2013 (AMD since 2015).
    Avx2,
    /// AVX-512 with VNNI, which multiplies 8-bit integers four at a time: Intel since Ice Lake.
    Avx512Vnni,
    /// Also with BF16 dot products: AMD since Zen 4. Intel has them since Sapphire Rapids, and they are slow there.
    Avx512Bf16,
    /// Also with AMX, whose instructions multiply matrices of 16 rows of 64 bytes: Intel since Sapphire Rapids.
    #[cfg(target_os = "linux")]
    Amx,
}

/// The sets, in their order.
const SETS: &[Set] = &[
    Set::Avx2,
    Set::Avx512Vnni,
    Set::Avx512Bf16,
    #[cfg(target_os = "linux")]
    Set::Amx,
];

impl Set {
    /// The sets of this CPU.
    pub(super) fn available() -> Vec<Self> {
        let is_found = |set: &Self| match set {
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Self::Avx512Bf16 => is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_os = "linux")]
            Self::Amx => Amx::is_available(),
        };
        SETS.iter().copied().take_while(is_found).collect()
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Avx2 => "avx2",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx512Bf16 => "avx512-bf16",
            #[cfg(target_os = "linux")]
            Self::Amx => "amx",
        }
    }

    /// Whether what the set adds is slower on this CPU than what it replaces.
    pub(super) fn is_passed_over(self) -> bool {
        // A product in bf16 took 1.6 times as long by VDPBF16PS as in f32 on the Xeons on which both were measured.
        self == Self::Avx512Bf16 && is_intel()
    }

    /// Whether there are products of numbers in bf16.
    pub(super) fn has_bf16_products(self) -> bool {
        self >= Self::Avx512Bf16
    }

    /// Whether there are fast products of integers in groups.
    pub(super) fn has_group_products(self) -> bool {
        self >= Self::Avx512Vnni
    }

    /// Whether there are products of tiles.
    pub(super) fn has_tiles(self) -> bool {
        // The only set after it.
        self > Self::Avx512Bf16
    }

    /// Runs rounds of the products of a format's layers on registers alone; returns the number of multiply-adds. `None` if the set
    /// has none of its own.
    ///
    /// # Safety
    /// The CPU has the set's instructions.
    pub(super) unsafe fn chain(self, format: Format, n: u64) -> Option<u64> {
        // Miri has no assembly.
        if cfg!(miri) {
            return None;
        }
        // SAFETY: as the caller guarantees; each set includes those before it.
        let n = unsafe {
            match (self, format) {
                (Self::Avx2, Format::F32 | Format::Bf16) => chains::avx2_f32(n),
                (Self::Avx2, Format::Int8) => chains::avx2_int8(n),
                (Self::Avx2, Format::Int8Groups) => return None,
                #[cfg(target_os = "linux")]
                (Self::Amx, Format::Bf16) => in_tiles(|| chain_bf16(n)),
                #[cfg(target_os = "linux")]
                (Self::Amx, Format::Int8) => in_tiles(|| chain_int8(n)),
                (Self::Avx512Bf16, Format::Bf16) => chains::avx512_bf16(n),
                (_, Format::F32) | (Self::Avx512Vnni, Format::Bf16) => chains::avx512_f32(n),
                (_, Format::Int8 | Format::Int8Groups) => chains::avx512_int8(n),
            }
        };
        Some(n)
    }

    /// Runs a computation with the set's instructions.
    ///
    /// # Safety
    /// The CPU has them.
    pub(super) unsafe fn run<C: Computation>(self, computation: C) -> C::Output {
        // SAFETY: as the caller guarantees.
        unsafe {
            match self {
                Self::Avx2 => avx2(computation),
                Self::Avx512Vnni => avx512_vnni(computation),
                Self::Avx512Bf16 => avx512_bf16(computation),
                #[cfg(target_os = "linux")]
                Self::Amx => amx(computation),
            }
        }
    }
}

/// # Safety
/// The CPU has tiles, and the thread has not entered already.
#[cfg(target_os = "linux")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vnni,avx512bf16")]
unsafe fn in_tiles(run: impl FnOnce() -> u64) -> u64 {
    // SAFETY: as the caller guarantees.
    let _entered = unsafe { Entered::<Amx>::new() };
    run()
}

fn is_intel() -> bool {
    let vendor = __cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

#[target_feature(enable = "avx2,fma")]
fn avx2<C: Computation>(computation: C) -> C::Output {
    computation.run::<Avx2>()
}

#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vnni")]
fn avx512_vnni<C: Computation>(computation: C) -> C::Output {
    computation.run::<Avx512Vnni>()
}

#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vnni,avx512bf16")]
fn avx512_bf16<C: Computation>(computation: C) -> C::Output {
    computation.run::<Avx512Bf16>()
}

/// The compiler does not need to know AMX, because its instructions are written as assembly.
#[cfg(target_os = "linux")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vnni,avx512bf16")]
fn amx<C: Computation>(computation: C) -> C::Output {
    computation.run::<Amx>()
}

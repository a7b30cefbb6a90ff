//! Detection of the CPU's vector instructions.

use std::fmt;

use crate::tile::{Avx2, Avx512Bf16, Avx512Vnni, Int8Order, Kernel, Portable};

/// A set of vector instructions with kernels, which this CPU supports.
///
/// Values come only from [`Isa::detect`] and [`Isa::available`], so a value proves that its instructions are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isa(Level);

/// The instruction sets; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Portable Rust, vectorized by the compiler.
    Portable,
    /// x86-64 with AVX2 and FMA: most desktops and servers since 2013 (AMD since 2015).
    Avx2,
    /// AVX-512 with VNNI, which multiplies 8-bit integers four at a time: Intel since Ice Lake.
    Avx512Vnni,
    /// Also with BF16 dot products: AMD since Zen 4, Intel since Sapphire Rapids.
    Avx512Bf16,
}

impl Isa {
    /// The best instruction set of this CPU, detected at run time.
    pub fn detect() -> Self {
        *Self::available().last().expect("the portable kernels run everywhere")
    }

    /// All instruction sets of this CPU, the slowest first.
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self(Level::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Self(Level::Avx2));
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
                {
                    found.push(Self(Level::Avx512Vnni));
                    if is_x86_feature_detected!("avx512bf16") {
                        found.push(Self(Level::Avx512Bf16));
                    }
                }
            }
        }
        found
    }

    /// Whether linear layers are faster in int8 than in f32, because there are instructions for 8-bit products.
    pub fn is_fast_in_int8(self) -> bool {
        self.0 > Level::Portable
    }

    /// The number of `f32` lanes of a vector.
    pub(crate) fn lanes(self) -> usize {
        match self.0 {
            Level::Portable => Portable::LANES,
            Level::Avx2 => Avx2::LANES,
            Level::Avx512Vnni => Avx512Vnni::LANES,
            Level::Avx512Bf16 => Avx512Bf16::LANES,
        }
    }

    /// The layout of a panel of integers.
    pub(crate) fn int8_order(self) -> Int8Order {
        match self.0 {
            Level::Portable => Portable::INT8_ORDER,
            Level::Avx2 => Avx2::INT8_ORDER,
            Level::Avx512Vnni => Avx512Vnni::INT8_ORDER,
            Level::Avx512Bf16 => Avx512Bf16::INT8_ORDER,
        }
    }

    /// Whether bf16 products take both operands in bf16; otherwise the weights are widened to f32 when they are read.
    pub fn has_bf16_products(self) -> bool {
        self.0 == Level::Avx512Bf16
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self.0 {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512Vnni => "avx512-vnni",
            Level::Avx512Bf16 => "avx512-bf16",
        })
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
        Level::Portable => computation.run::<Portable>(),
        // SAFETY: an `Isa` is only made in `available`, which found the CPU to have the instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { x86::avx2(computation) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni => unsafe { x86::avx512_vnni(computation) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 => unsafe { x86::avx512_bf16(computation) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => computation.run::<Portable>(),
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Avx2, Avx512Bf16, Avx512Vnni, Computation};

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2<C: Computation>(computation: C) -> C::Output {
        computation.run::<Avx2>()
    }

    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vnni")]
    pub(super) fn avx512_vnni<C: Computation>(computation: C) -> C::Output {
        computation.run::<Avx512Vnni>()
    }

    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vnni,avx512bf16")]
    pub(super) fn avx512_bf16<C: Computation>(computation: C) -> C::Output {
        computation.run::<Avx512Bf16>()
    }
}

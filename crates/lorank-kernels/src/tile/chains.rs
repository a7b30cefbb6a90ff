//! Chains of one instruction on registers alone: what a processor can do at most, because nothing is read from memory.

use std::arch::asm;

/// A function that runs `n` rounds of twelve independent products; the arguments are the assembly of one of them, where `@` stands for
/// the number of its register, and the multiply-adds of a round. Registers 12 and 13 are the operands; all are zero at first, because
/// products of tiny numbers may be slow.
macro_rules! chain {
    ($(#[$comment:meta])* $name:ident, $features:literal, $register:literal, [$($before:literal, $after:literal);+], $lanes:expr) => {
        $(#[$comment])*
        #[target_feature(enable = $features)]
        pub(crate) fn $name(n: u64) -> u64 {
            if n == 0 {
                return 0;
            }
            // SAFETY: the instructions are those of the enabled features; they change the named registers alone.
            unsafe {
                asm!(
                    "vzeroall",
                    "2:",
                    chain!(@all $register, [$($before, $after);+], "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"),
                    "dec {n}",
                    "jnz 2b",
                    n = inout(reg) n => _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
                    out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _,
                    out("xmm14") _, out("xmm15") _,
                    options(nomem, nostack)
                );
            }
            n * 12 * $lanes
        }
    };
    (@all $register:literal, $steps:tt, $($number:literal),+) => {
        concat!($(chain!(@one $register, $steps, $number)),+)
    };
    (@one $register:literal, [$($before:literal, $after:literal);+], $number:literal) => {
        concat!($($before, $register, $number, $after, "\n"),+)
    };
}

chain!(
    /// Products in f32 with AVX2 and FMA.
    avx2_f32, "avx2,fma", "ymm", ["vfmadd231ps ", ", ymm12, ymm13"], 8
);
chain!(
    /// Products of 8-bit integers with AVX2, summed in 16 bits, as four in five of them are in layers.
    avx2_int8, "avx2,fma", "ymm", ["vpmaddubsw ymm14, ymm12, ymm13\nvpaddw ", ", ymm14, ymm12"], 32
);
chain!(
    /// Products in f32 with AVX-512.
    avx512_f32, "avx512f", "zmm", ["vfmadd231ps ", ", zmm12, zmm13"], 16
);
chain!(
    /// Products of 8-bit integers with VNNI.
    avx512_int8, "avx512f,avx512vnni", "zmm", ["vpdpbusd ", ", zmm12, zmm13"], 64
);
chain!(
    /// Products in bf16 with AVX-512.
    avx512_bf16, "avx512f,avx512bf16", "zmm", ["vdpbf16ps ", ", zmm12, zmm13"], 32
);

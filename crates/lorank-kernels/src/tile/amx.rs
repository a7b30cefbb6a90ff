//! Products of tiles with AMX (Intel's manual, volume 1, chapter 18), in assembly, because Rust's intrinsics are unstable.
//!
//! A tile register has 16 rows of 64 bytes. A product reads 16 rows of values, and 16 groups of adjacent weights of 16
//! columns, two in bf16 and four in integers; the panels have the columns' groups in that order.

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use super::avx512::{inherited, scaled};
use super::{Avx512Bf16, DEPTH_BYTES, GROUP, GroupScaling, Int8Order, Kernel, ROWS_STEP, RowPointers, Scaling};

/// AVX-512 with VNNI and BF16, and AMX for products in bf16 and int8.
pub(crate) struct Amx;

impl Amx {
    /// Whether the CPU has the tiles and both kinds of products, and the system lets this process use them.
    pub(crate) fn is_available() -> bool {
        static IS_AVAILABLE: OnceLock<bool> = OnceLock::new();
        // Miri has no assembly.
        *IS_AVAILABLE.get_or_init(|| !cfg!(miri) && has_instructions() && is_permitted())
    }
}

fn has_instructions() -> bool {
    if !is_x86_feature_detected!("xsave") || __cpuid(0).eax < 0x1d {
        return false;
    }
    let (features, palette) = (__cpuid_count(7, 0).edx, __cpuid_count(0x1d, 1));
    // AMX-BF16, AMX-TILE, AMX-INT8.
    let has_products = [22, 24, 25].into_iter().all(|bit| features & (1 << bit) != 0);
    // Eight registers of 16 rows of 64 bytes.
    let has_tiles = palette.ebx == (8 << 16 | 64) && palette.ecx & 0xffff == 16;
    has_products && has_tiles
}

/// Asks the system for the tiles' state, which it otherwise does not keep for a process.
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call takes these two arguments, and reads no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// What `ldtilecfg` reads: palette 1, and 16 rows of 64 bytes in each of the eight registers.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    n_rows: [u8; 16],
}

static CONFIGURATION: Configuration = {
    let mut configuration =
        Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], n_rows: [0; 16] };
    let mut register = 0;
    while register < 8 {
        configuration.row_bytes[register] = DEPTH_BYTES as u16;
        configuration.n_rows[register] = ROWS_STEP as u8;
        register += 1;
    }
    configuration
};

const LANES: usize = 16;
/// The columns of a tile times the weights in a group, in bytes: one row of a tile register.
const GROUP_BYTES: usize = 64;

// SAFETY: `bf16` and `int8` write their whole tiles, and the rest is the other set's.
unsafe impl Kernel for Amx {
    const LANES: usize = LANES;
    const ROWS: usize = Avx512Bf16::ROWS;
    const BF16_ROWS: usize = Avx512Bf16::BF16_ROWS;
    const FMA: bool = true;
    /// Two registers of rows by two of columns: four for the sums, and two for each operand.
    const BLOCK_ROWS: usize = 2 * ROWS_STEP;
    /// The products are so fast that weights arrive too late if they are read for fewer rows.
    const TASK_ROWS: usize = 8 * Self::BLOCK_ROWS;
    const TASK_PRODUCTS: usize = 32 << 20;
    const PREFETCHES: bool = true;

    inherited!(Avx512Bf16);

    #[inline(always)]
    unsafe fn prefetch(line: *const u8) {
        // SAFETY: it has no effect that the program can see, for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) }
    }

    #[inline(always)]
    unsafe fn enter() {
        // SAFETY: the configuration is valid, and `Isa::available` found the instructions and the permission.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, preserves_flags)) }
    }

    #[inline(always)]
    unsafe fn leave() {
        // SAFETY: as above; no tile is in use.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags)) }
    }

    #[inline(always)]
    unsafe fn bf16_products<const M: usize, const V: usize>(
        a: RowPointers<u16>,
        depth: usize,
        panel: *const u16,
        out: *mut f32,
    ) {
        // SAFETY: the same contract, and this set includes the other's instructions.
        unsafe { Avx512Bf16::bf16_products::<M, V>(a, depth, panel, out) }
    }

    #[inline(always)]
    unsafe fn bf16<const V: usize>(a: RowPointers<u16>, n_rows: usize, depth: usize, panel: *const u16, out: *mut f32) {
        let a = RowPointers { start: a.start.cast::<u8>(), stride: 2 * a.stride };
        // SAFETY: the caller guarantees all requirements, among them room for whole tiles.
        unsafe { products::<Bf16, V>(a, n_rows, 2 * depth, panel.cast(), out.cast()) }
    }

    const INT8_ORDER: Int8Order = Int8Order::Groups(4);

    #[inline(always)]
    unsafe fn int8<const V: usize>(
        a: RowPointers<u8>,
        n_rows: usize,
        depth: usize,
        panel: *const i8,
        scaling: Scaling,
        out: *mut f32,
    ) {
        // SAFETY: the caller guarantees all requirements, among them room for whole tiles, and the scales of the rows and
        // columns. The products have written the integers that are then scaled.
        unsafe {
            products::<Int8, V>(a, n_rows, depth, panel.cast(), out.cast());
            for m in 0..n_rows {
                for v in 0..V {
                    let out = out.add((m * V + v) * LANES);
                    _mm512_storeu_ps(out, scaled(_mm512_loadu_si512(out.cast()), scaling, m, v));
                }
            }
        }
    }
}

/// The kind of a product. Two registers of rows, or one, times two registers of columns, or one.
trait Product {
    /// # Safety
    /// As for [`products`], with `ROWS` times 16 rows.
    unsafe fn tiles<const ROWS: usize, const V: usize>(
        a: RowPointers<u8>,
        n_steps: usize,
        panel: *const u8,
        out: *mut u8,
    );
}

/// All rows of a product, `n_bytes` deep, in blocks of at most 32.
///
/// # Safety
/// The thread has entered; `a` has readable rows, and `out` writable ones, up to a multiple of 16, and the panel is as deep
/// as the rows, a multiple of 64 bytes.
#[inline(always)]
unsafe fn products<P: Product, const V: usize>(
    a: RowPointers<u8>,
    n_rows: usize,
    n_bytes: usize,
    panel: *const u8,
    out: *mut u8,
) {
    let n_steps = n_bytes / DEPTH_BYTES;
    let mut row = 0;
    while row < n_rows {
        // SAFETY: as the caller guarantees.
        unsafe {
            let (a, out) = (a.from(row), out.add(row * V * LANES * 4));
            if n_rows - row > ROWS_STEP {
                P::tiles::<2, V>(a, n_steps, panel, out);
                row += 2 * ROWS_STEP;
            } else {
                P::tiles::<1, V>(a, n_steps, panel, out);
                row += ROWS_STEP;
            }
        }
    }
}

struct Bf16;
struct Int8;

/// Implements [`Product`] by an instruction.
macro_rules! product {
    ($kind:ty, $instruction:literal) => {
        impl Product for $kind {
            #[inline(always)]
            unsafe fn tiles<const ROWS: usize, const V: usize>(
                a: RowPointers<u8>,
                n_steps: usize,
                panel: *const u8,
                out: *mut u8,
            ) {
                // SAFETY: the caller guarantees the configuration, the rows, the panel and the room. Tile registers are in no
                // use outside of these blocks.
                unsafe {
                    match (ROWS, V) {
                        (2, 2) => asm!(
                            "tilezero tmm0",
                            "tilezero tmm1",
                            "tilezero tmm2",
                            "tilezero tmm3",
                            "2:",
                            "tileloadd tmm4, [{a} + {stride}*1]",
                            "tileloadd tmm6, [{w} + {group}*1]",
                            concat!($instruction, " tmm0, tmm4, tmm6"),
                            "tileloadd tmm7, [{w} + {group}*1 + 64]",
                            concat!($instruction, " tmm1, tmm4, tmm7"),
                            "tileloadd tmm5, [{b} + {stride}*1]",
                            concat!($instruction, " tmm2, tmm5, tmm6"),
                            concat!($instruction, " tmm3, tmm5, tmm7"),
                            "add {a}, 64",
                            "add {b}, 64",
                            "add {w}, 2048",
                            "dec {n}",
                            "jnz 2b",
                            "tilestored [{out} + {group}*1], tmm0",
                            "tilestored [{out} + {group}*1 + 64], tmm1",
                            "tilestored [{out} + {group}*1 + 2048], tmm2",
                            "tilestored [{out} + {group}*1 + 2112], tmm3",
                            a = inout(reg) a.start => _,
                            b = inout(reg) a.from(ROWS_STEP).start => _,
                            stride = in(reg) a.stride,
                            w = inout(reg) panel => _,
                            group = in(reg) 2 * GROUP_BYTES,
                            n = inout(reg) n_steps => _,
                            out = in(reg) out,
                            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                            options(nostack)
                        ),
                        (1, 2) => asm!(
                            "tilezero tmm0",
                            "tilezero tmm1",
                            "2:",
                            "tileloadd tmm4, [{a} + {stride}*1]",
                            "tileloadd tmm6, [{w} + {group}*1]",
                            concat!($instruction, " tmm0, tmm4, tmm6"),
                            "tileloadd tmm7, [{w} + {group}*1 + 64]",
                            concat!($instruction, " tmm1, tmm4, tmm7"),
                            "add {a}, 64",
                            "add {w}, 2048",
                            "dec {n}",
                            "jnz 2b",
                            "tilestored [{out} + {group}*1], tmm0",
                            "tilestored [{out} + {group}*1 + 64], tmm1",
                            a = inout(reg) a.start => _,
                            stride = in(reg) a.stride,
                            w = inout(reg) panel => _,
                            group = in(reg) 2 * GROUP_BYTES,
                            n = inout(reg) n_steps => _,
                            out = in(reg) out,
                            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                            options(nostack)
                        ),
                        (2, 1) => asm!(
                            "tilezero tmm0",
                            "tilezero tmm2",
                            "2:",
                            "tileloadd tmm4, [{a} + {stride}*1]",
                            "tileloadd tmm6, [{w} + {group}*1]",
                            concat!($instruction, " tmm0, tmm4, tmm6"),
                            "tileloadd tmm5, [{b} + {stride}*1]",
                            concat!($instruction, " tmm2, tmm5, tmm6"),
                            "add {a}, 64",
                            "add {b}, 64",
                            "add {w}, 1024",
                            "dec {n}",
                            "jnz 2b",
                            "tilestored [{out} + {group}*1], tmm0",
                            "tilestored [{out} + {group}*1 + 1024], tmm2",
                            a = inout(reg) a.start => _,
                            b = inout(reg) a.from(ROWS_STEP).start => _,
                            stride = in(reg) a.stride,
                            w = inout(reg) panel => _,
                            group = in(reg) GROUP_BYTES,
                            n = inout(reg) n_steps => _,
                            out = in(reg) out,
                            out("tmm0") _, out("tmm2") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
                            options(nostack)
                        ),
                        _ => asm!(
                            "tilezero tmm0",
                            "2:",
                            "tileloadd tmm4, [{a} + {stride}*1]",
                            "tileloadd tmm6, [{w} + {group}*1]",
                            concat!($instruction, " tmm0, tmm4, tmm6"),
                            "add {a}, 64",
                            "add {w}, 1024",
                            "dec {n}",
                            "jnz 2b",
                            "tilestored [{out} + {group}*1], tmm0",
                            a = inout(reg) a.start => _,
                            stride = in(reg) a.stride,
                            w = inout(reg) panel => _,
                            group = in(reg) GROUP_BYTES,
                            n = inout(reg) n_steps => _,
                            out = in(reg) out,
                            out("tmm0") _, out("tmm4") _, out("tmm6") _,
                            options(nostack)
                        ),
                    }
                }
            }
        }
    };
}

product!(Bf16, "tdpbf16ps");
product!(Int8, "tdpbusd");

/// A function that runs `n` rounds of four products of tiles on registers alone, and returns the number of multiply-adds: what the
/// processor can do at most.
macro_rules! chain {
    ($(#[$comment:meta])* $name:ident, $instruction:literal, $depth:expr) => {
        $(#[$comment])*
        ///
        /// # Safety
        /// The thread has entered.
        pub(crate) unsafe fn $name(n: u64) -> u64 {
            if n == 0 {
                return 0;
            }
            // SAFETY: the caller guarantees the configuration. Tile registers are in no use outside of this block.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "tilezero tmm4",
                    "tilezero tmm5",
                    "tilezero tmm6",
                    "tilezero tmm7",
                    "2:",
                    concat!($instruction, " tmm0, tmm4, tmm6"),
                    concat!($instruction, " tmm1, tmm4, tmm7"),
                    concat!($instruction, " tmm2, tmm5, tmm6"),
                    concat!($instruction, " tmm3, tmm5, tmm7"),
                    "dec {n}",
                    "jnz 2b",
                    n = inout(reg) n => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nomem, nostack)
                );
            }
            n * 4 * 16 * 16 * $depth
        }
    };
}

chain!(
    /// Products of tiles in bf16.
    chain_bf16, "tdpbf16ps", 32
);
chain!(
    /// Products of tiles of 8-bit integers.
    chain_int8, "tdpbusd", 64
);

//! The number formats of weight matrices.

/// The number format of a weight matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// The upper half of 32-bit floats, rounded to nearest even. Products are summed in f32.
    Bf16,
    /// 8-bit integers with one scale per output; inputs as 8-bit integers with a scale and a minimum per row.
    ///
    /// In each 128 weights of a matrix row, take two neighbors, the two that are 32 positions further, and so on to the
    /// end: the positive ones of these eight sum to at most 128, and so do the magnitudes of the negative ones.
    /// Multiplied by 255 this fits in 16 bits, so AVX2 may add eight products before widening. The scale is chosen to
    /// keep this bound, and all instruction sets compute the same integers. (7-bit inputs would allow a bound of 258
    /// for the weights, but MiniLM's scores are less accurate then: the rounding of inputs matters more than that of
    /// weights.)
    Int8,
    /// 8-bit integers in groups of 64 along the depth, with one scale per output and group; inputs as 8-bit integers with
    /// one scale per row and group. Both are rotated within their groups before they are rounded, which spreads outliers
    /// over a group. Sums of groups are added in f32.
    ///
    /// For activations with columns much larger than the others, which one scale per row does not survive.
    Int8Groups,
}

//! Integers in groups along the depth, each group with a scale of its own, after a rotation.
//!
//! Activations of decoders have columns that are tens or thousands of times as large as the others. With one scale per row
//! these leave few steps for the rest. Here each group of [`GROUP`] neighbors is rotated by a Hadamard matrix with random
//! signs, which spreads a large number over its group (QuIP, arXiv 2307.13304; QuaRot, arXiv 2404.00456), and then rounded
//! to integers with the group's own scale. The weights are rotated alike when they are packed, so that products do not
//! change.

/// The number of adjacent numbers of a row or of an output that share a scale in
/// [`Format::Int8Groups`](crate::Format::Int8Groups).
pub(crate) const GROUP: usize = 64;

/// Random signs of a group's numbers before the rotation: bit `d` is set if number `d` is negated. Without them, the mean of
/// a group would become one large number.
pub(crate) const SIGNS: u64 = 0x9e37_79b9_7f4a_7c15;

/// The offset of the integers of rows, which are stored without sign.
pub(crate) const OFFSET: i32 = 128;

/// Rotates the numbers of a group: multiplies them by their signs and by the Hadamard matrix of ones and minus ones. The
/// sums have one order on every instruction set, so that all give the same numbers.
#[inline(always)]
pub(crate) fn rotate(group: &mut [f32; GROUP]) {
    for (d, x) in group.iter_mut().enumerate() {
        *x = f32::from_bits(x.to_bits() ^ (((SIGNS >> d) as u32 & 1) << 31));
    }
    let mut distance = GROUP / 2;
    while distance > 0 {
        for pair in group.chunks_exact_mut(2 * distance) {
            let (low, high) = pair.split_at_mut(distance);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        distance /= 2;
    }
}

/// Copies the group of a row that starts at `start`, with zeros past its end.
#[inline(always)]
pub(crate) fn group_of(row: &[f32], start: usize) -> [f32; GROUP] {
    match row[start..].first_chunk() {
        Some(group) => *group,
        None => {
            let mut group = [0.0; GROUP];
            group[..row.len() - start].copy_from_slice(&row[start..]);
            group
        }
    }
}

/// The scale of a group's integers, from -127 to 127, and its inverse. Both are NaN if a number is not finite, so that this
/// reaches the results; the inverse is zero if the scale has none.
#[inline(always)]
pub(crate) fn scale_of(largest: f32) -> (f32, f32) {
    const LEVELS: f32 = 127.0;
    if !largest.is_finite() {
        return (f32::NAN, f32::NAN);
    }
    let inverse = LEVELS / largest;
    (largest / LEVELS, if inverse.is_finite() { inverse } else { 0.0 })
}

/// The largest magnitude of a row; not finite if one of its numbers is not. Compares bits, whose order is that of
/// magnitudes, with NaN last.
#[inline(always)]
pub(crate) fn largest(row: &[f32]) -> f32 {
    f32::from_bits(row.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff)))
}

/// Rotates a group of weights and rounds it to integers; returns their scale.
pub(crate) fn quantise_weights(mut group: [f32; GROUP], to: &mut [i8; GROUP]) -> f32 {
    rotate(&mut group);
    let (scale, inverse) = scale_of(largest(&group));
    for (to, x) in to.iter_mut().zip(group) {
        *to = nearest(x * inverse) as i8;
    }
    // The rotations of both sides multiply products by the size of the group, a power of two.
    scale / GROUP as f32
}

/// Rotates a group of a row and rounds it to integers, stored with [`OFFSET`]; returns their scale.
#[inline(always)]
pub(crate) fn quantise_row(mut group: [f32; GROUP], to: &mut [u8; GROUP]) -> f32 {
    rotate(&mut group);
    let (scale, inverse) = scale_of(largest(&group));
    for (to, x) in to.iter_mut().zip(group) {
        *to = nearest(x * inverse) as u8 ^ OFFSET as u8;
    }
    scale
}

/// The nearest integer of a number of at most 127, ties to even, in the lowest bits; anything for NaN.
#[inline(always)]
fn nearest(x: f32) -> u32 {
    /// Adding this to a number below 2²² leaves the nearest integer in the lowest bits.
    const TO_INTEGER: f32 = 12_582_912.0;
    (x + TO_INTEGER).to_bits()
}

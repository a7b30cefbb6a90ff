//! The formats in which numbers are stored on a device, and their rounding.

/// How a number is stored. The kernels know the formats by their numbers here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE 754 single precision.
    F32 = 0,
    /// The upper half of an `F32`: 8 bits of exponent, 8 of significand.
    Bf16 = 1,
    /// 4 bits of exponent, 4 of significand, up to 448, without infinities (FP8, arXiv 2209.05433).
    E4m3 = 2,
}

/// The largest number in [`Format::E4m3`].
pub(crate) const E4M3_MAX: f32 = 448.0;

impl Format {
    /// The bytes of a number.
    pub const fn n_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
            Self::E4m3 => 1,
        }
    }

    /// The number that is stored in place of `value`: the nearest one, ties to even; the largest for larger ones in
    /// `E4m3`.
    pub fn round(self, value: f32) -> f32 {
        let mut bytes = Vec::with_capacity(4);
        self.encode(&[value], &mut bytes);
        let mut values = Vec::with_capacity(1);
        self.decode(&bytes, &mut values);
        values[0]
    }

    /// Appends the bytes of the numbers, each rounded as by [`round`](Self::round).
    pub(crate) fn encode(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Self::F32 => values.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes())),
            Self::Bf16 => values.iter().for_each(|x| bytes.extend_from_slice(&bf16(*x).to_le_bytes())),
            Self::E4m3 => bytes.extend(values.iter().map(|x| e4m3(*x))),
        }
    }

    /// Appends the numbers that these bytes store.
    pub(crate) fn decode(self, bytes: &[u8], values: &mut Vec<f32>) {
        match self {
            Self::F32 => values.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
            Self::Bf16 => values.extend(bytes.as_chunks().0.iter().map(|bytes| of_bf16(u16::from_le_bytes(*bytes)))),
            Self::E4m3 => values.extend(bytes.iter().map(|bits| of_e4m3(*bits))),
        }
    }
}

fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        // The payload may be in the lower half, so a bit of the upper one keeps it from becoming infinity.
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

fn of_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

fn e4m3(value: f32) -> u8 {
    let sign = (value.to_bits() >> 24) as u8 & 0x80;
    if value.is_nan() {
        return sign | 0x7f;
    }
    let size = value.abs().min(E4M3_MAX);
    // A step is an eighth of the power of two below; below 2^-6, the smallest normal number, it is 2^-9.
    let exponent = ((size.to_bits() >> 23) as i32 - 127).max(-6);
    let steps = (size / power_of_two(exponent - 3)).round_ties_even() as i32;
    // Eight steps are the smallest normal number of an exponent, and sixteen are that of the next one.
    sign | ((exponent + 6) * 8 + steps) as u8
}

fn of_e4m3(bits: u8) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 3 & 15), f32::from(bits & 7));
    let size = match (exponent, bits & 7) {
        (15, 7) => f32::NAN,
        (0, _) => fraction * power_of_two(-9),
        _ => (8.0 + fraction) * power_of_two(exponent - 10),
    };
    if bits & 0x80 == 0 { size } else { -size }
}

/// 2 to the power of a normal exponent.
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest of all numbers of a format to a value, ties to even bits.
    fn nearest(value: f32, numbers: &[(u32, f32)]) -> f32 {
        let distance = |number: &(u32, f32)| (f64::from(number.1) - f64::from(value)).abs();
        let best =
            |a: &&(u32, f32), b: &&(u32, f32)| distance(a).total_cmp(&distance(b)).then((a.0 & 1).cmp(&(b.0 & 1)));
        numbers.iter().min_by(best).expect("there are numbers").1
    }

    #[test]
    fn e4m3_is_the_nearest_number() {
        let numbers: Vec<(u32, f32)> = (0..127).map(|bits| (bits, of_e4m3(bits as u8))).collect();
        assert_eq!(numbers[1].1, 0.001953125);
        assert_eq!(numbers[126].1, E4M3_MAX);
        // Every bf16 number.
        for bits in 0..=0x7f80_u32 {
            let value = f32::from_bits(bits << 16);
            let expected = nearest(value.min(1e9), &numbers);
            assert_eq!(Format::E4m3.round(value), expected, "{value}");
            assert_eq!(Format::E4m3.round(-value), -expected, "-{value}");
        }
        assert!(Format::E4m3.round(f32::NAN).is_nan());
    }

    #[test]
    fn bf16_rounds_to_even() {
        let check =
            |value: f32, expected: f32| assert_eq!(Format::Bf16.round(value).to_bits(), expected.to_bits(), "{value}");
        check(1.0, 1.0);
        check(1.0 + 1.0 / 256.0, 1.0);
        check(1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0);
        check(-1.0 - 1.1 / 256.0, -1.0 - 2.0 / 256.0);
        check(f32::MAX, f32::INFINITY);
        check(-0.0, -0.0);
        assert!(Format::Bf16.round(f32::from_bits(0x7f80_0001)).is_nan());
    }

    #[test]
    fn decoding_is_the_inverse_of_encoding() {
        for format in [Format::F32, Format::Bf16, Format::E4m3] {
            let values = [0.0, -1.5, 0.015625, 448.0];
            let (mut bytes, mut decoded) = (Vec::new(), Vec::new());
            format.encode(&values, &mut bytes);
            format.decode(&bytes, &mut decoded);
            assert_eq!((bytes.len(), decoded.as_slice()), (4 * format.n_bytes(), values.as_slice()));
        }
    }
}

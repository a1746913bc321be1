//! How the values of a row are stored, and how they come back as f32: the stored values are the truth from then on.

use crate::config::StoreType;
use pulp::{Simd, WithSimd};
use safetensors::tensor::Dtype;

/// How rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowType {
    /// Four bytes a value.
    F32,
    /// Two bytes a value: IEEE half precision, three digits, up to 65504.
    F16,
    /// Two bytes a value: the upper half of an f32.
    BF16,
    /// Eight bytes a value, read as the nearest f32: what numpy writes unless told otherwise.
    F64,
    /// One byte a value and one f32 scale a row: value = scale * integer, integers within ±127.
    I8,
}

/// What `embed.store` says.
impl From<StoreType> for RowType {
    fn from(store: StoreType) -> RowType {
        match store {
            StoreType::F32 => RowType::F32,
            StoreType::F16 => RowType::F16,
            StoreType::I8 => RowType::I8,
        }
    }
}

impl RowType {
    /// The format of a tensor; none for what holds no rows.
    pub(in super::super) fn of(dtype: Dtype) -> Option<RowType> {
        match dtype {
            Dtype::F32 => Some(RowType::F32),
            Dtype::F16 => Some(RowType::F16),
            Dtype::BF16 => Some(RowType::BF16),
            Dtype::F64 => Some(RowType::F64),
            Dtype::I8 => Some(RowType::I8),
            _ => None,
        }
    }
    /// The tensor's type.
    pub(in super::super) fn dtype(self) -> Dtype {
        match self {
            RowType::F32 => Dtype::F32,
            RowType::F16 => Dtype::F16,
            RowType::BF16 => Dtype::BF16,
            RowType::F64 => Dtype::F64,
            RowType::I8 => Dtype::I8,
        }
    }
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            RowType::F32 => 4,
            RowType::F64 => 8,
            RowType::F16 | RowType::BF16 => 2,
            RowType::I8 => 1,
        }
    }
    /// Adds a row's bytes to `out`; gives its scale (1 but for i8). Rows of zeros stay zeros.
    pub fn encode(self, row: &[f32], out: &mut Vec<u8>) -> f32 {
        match self {
            RowType::F32 => row.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes())),
            RowType::F16 => row.iter().for_each(|v| out.extend_from_slice(&half::f16::from_f32(*v).to_le_bytes())),
            RowType::BF16 => row.iter().for_each(|v| out.extend_from_slice(&half::bf16::from_f32(*v).to_le_bytes())),
            RowType::F64 => row.iter().for_each(|v| out.extend_from_slice(&f64::from(*v).to_le_bytes())),
            RowType::I8 => {
                let greatest = row.iter().fold(0f32, |m, v| m.max(v.abs()));
                let scale = if greatest > 0.0 { greatest / 127.0 } else { 1.0 };
                let inverse = 1.0 / f64::from(scale);
                out.extend(row.iter().map(|v| (f64::from(*v) * inverse).round().clamp(-127.0, 127.0) as i8 as u8));
                return scale;
            }
        }
        1.0
    }
    /// The values of a row from its bytes: `[dim]`. `scale`: that of the row, for i8.
    pub fn decode(self, bytes: &[u8], scale: f32, out: &mut [f32]) {
        pulp::Arch::new().dispatch(Decode { format: self, bytes, scale, out });
    }
}

struct Decode<'a> {
    format: RowType,
    bytes: &'a [u8],
    scale: f32,
    out: &'a mut [f32],
}

impl WithSimd for Decode<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.format {
            RowType::F32 => {
                for (out, b) in self.out.iter_mut().zip(self.bytes.as_chunks::<4>().0) {
                    *out = f32::from_le_bytes(*b);
                }
            }
            RowType::F16 => {
                for (out, b) in self.out.iter_mut().zip(self.bytes.as_chunks::<2>().0) {
                    *out = half_to_f32(u32::from(u16::from_le_bytes(*b)));
                }
            }
            RowType::BF16 => {
                for (out, b) in self.out.iter_mut().zip(self.bytes.as_chunks::<2>().0) {
                    *out = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
                }
            }
            RowType::F64 => {
                for (out, b) in self.out.iter_mut().zip(self.bytes.as_chunks::<8>().0) {
                    *out = f64::from_le_bytes(*b) as f32;
                }
            }
            RowType::I8 => {
                for (out, b) in self.out.iter_mut().zip(self.bytes) {
                    *out = f32::from(*b as i8) * self.scale;
                }
            }
        }
    }
}

/// An f16's bits as f32, without a branch: the bits at their place in an f32, times what the exponents' offsets differ by;
/// infinities and NaN are put in afterwards. Exact, subnormal numbers too.
#[inline(always)]
fn half_to_f32(bits: u32) -> f32 {
    const OFFSETS: f32 = f32::from_bits((127 + 112) << 23);
    let rest = (bits & 0x7fff) << 13;
    let finite = (f32::from_bits(rest) * OFFSETS).to_bits();
    let value = if rest >= 0x7c00 << 13 { rest | 0x7f80_0000 } else { finite };
    f32::from_bits(value | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_reads_as_the_half_library_reads_it() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut out = vec![0f32; 1 << 16];
        RowType::F16.decode(&bytes, 1.0, &mut out);
        for (bits, value) in (0..=u16::MAX).zip(out) {
            let expected = half::f16::from_bits(bits).to_f32();
            assert!(
                value.to_bits() == expected.to_bits() || (value.is_nan() && expected.is_nan()),
                "{bits:x}: {value}"
            );
        }
    }

    #[test]
    fn a_row_comes_back_within_half_a_step_of_its_format() {
        let row: Vec<f32> = (0..100).map(|i| (i as f32 * 0.7).sin() * 0.3).collect();
        for (format, step) in [
            (RowType::F32, 0.0),
            (RowType::F64, 0.0),
            (RowType::F16, 2e-4),
            (RowType::BF16, 2e-3),
            (RowType::I8, 0.3 / 254.0),
        ] {
            let (mut bytes, mut back) = (Vec::new(), vec![0f32; 100]);
            let scale = format.encode(&row, &mut bytes);
            assert_eq!(bytes.len(), 100 * format.bytes());
            format.decode(&bytes, scale, &mut back);
            for (a, b) in row.iter().zip(&back) {
                assert!((a - b).abs() <= step * 1.001, "{format:?}: {a} {b}");
            }
            // What is stored is stored: a second time round nothing changes.
            let mut again = Vec::new();
            format.encode(&back, &mut again);
            assert_eq!(again, bytes, "{format:?}");
        }
        let mut bytes = Vec::new();
        assert_eq!(RowType::I8.encode(&[0.0; 4], &mut bytes), 1.0);
        assert_eq!(bytes, [0; 4]);
    }
}

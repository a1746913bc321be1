//! ggml's block formats: decoding and encoding of rows of weights.

use super::backend;
use crate::error::{Error, Result};
use llama_cpp_sys_2 as sys;

/// One of ggml's types of tensor data.
#[derive(Debug, Clone, Copy)]
pub struct BlockType {
    kind: sys::ggml_type,
    block_values: usize,
    block_bytes: usize,
    to_float: unsafe extern "C" fn(*const std::ffi::c_void, *mut f32, i64),
}

impl PartialEq for BlockType {
    fn eq(&self, other: &BlockType) -> bool {
        self.kind == other.kind
    }
}

impl BlockType {
    /// The format with ggml's number `kind`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for a number ggml does not know, or a type that holds no weights.
    pub fn new(kind: u32) -> Result<BlockType> {
        let unknown = || Error::unsupported(format!("tensor data of ggml type {kind} cannot be decoded"));
        let kind = kind as sys::ggml_type;
        if kind >= sys::GGML_TYPE_COUNT {
            return Err(unknown());
        }
        // The processor must know the instructions; and ggml fills its tables of half floats as it starts.
        backend::start()?;
        // SAFETY: ggml's table has GGML_TYPE_COUNT rows and lives as long as the process.
        let traits = unsafe { sys::ggml_get_type_traits(kind).as_ref() }.ok_or_else(unknown)?;
        let to_float = traits.to_float.ok_or_else(unknown)?;
        let block_values = usize::try_from(traits.blck_size).ok().filter(|b| *b > 0).ok_or_else(unknown)?;
        let block_bytes = Some(traits.type_size).filter(|bytes| *bytes > 0).ok_or_else(unknown)?;
        Ok(BlockType { kind, block_values, block_bytes, to_float })
    }
    /// Values per block.
    pub fn block_values(self) -> usize {
        self.block_values
    }
    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        self.block_bytes
    }
    /// Decodes whole blocks: as many as both sides hold. Bytes that are not aligned as ggml's blocks are copied first.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let blocks = (bytes.len() / self.block_bytes).min(out.len() / self.block_values);
        let bytes = &bytes[..blocks * self.block_bytes];
        let mut copy: Vec<u64> = Vec::new();
        let from = if bytes.as_ptr().cast::<u64>().is_aligned() {
            bytes
        } else {
            copy.extend(bytes.chunks(8).map(|chunk| {
                let mut word = [0u8; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                u64::from_ne_bytes(word)
            }));
            // SAFETY: words are bytes, as many as `bytes` or a few more.
            unsafe { std::slice::from_raw_parts(copy.as_ptr().cast::<u8>(), bytes.len()) }
        };
        // SAFETY: `to_float` reads `blocks` blocks and writes their values, all inside the two slices; ggml's blocks have an
        // alignment of at most 8, and so has `from`. Any bytes are a block: its indices into tables are cut to their size.
        unsafe { (self.to_float)(from.as_ptr().cast(), out.as_mut_ptr(), (blocks * self.block_values) as i64) }
    }
    /// Encodes rows of `row` values each (a whole number of blocks), without an importance matrix.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the rows are no whole number of blocks.
    pub fn encode(self, values: &[f32], row: usize) -> Result<Vec<u8>> {
        if row == 0 || !row.is_multiple_of(self.block_values) || !values.len().is_multiple_of(row) {
            return Err(Error::invalid(format!("rows of {row} values are no whole blocks of {}", self.block_values)));
        }
        let mut out = vec![0u8; values.len() / self.block_values * self.block_bytes];
        let rows = (values.len() / row) as i64;
        // SAFETY: ggml writes rows * row / block_values blocks into `out`, which holds exactly that many; no importance
        // matrix is given, and the formats that ask for one are refused by ggml_quantize_requires_imatrix before.
        let written = unsafe {
            if sys::ggml_quantize_requires_imatrix(self.kind) {
                return Err(Error::unsupported("this format needs an importance matrix"));
            }
            sys::ggml_quantize_chunk(
                self.kind,
                values.as_ptr(),
                out.as_mut_ptr().cast(),
                0,
                rows,
                row as i64,
                std::ptr::null(),
            )
        };
        if written != out.len() {
            return Err(Error::bug(format!("ggml wrote {written} bytes of {}", out.len())));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_rows_decode_to_nearly_the_same_and_unknown_types_are_refused() {
        // ggml's numbers: 2 Q4_0, 8 Q8_0, 12 Q4_K, 14 Q6_K. Half a step of values within [-1, 1], and half as much again for
        // the K formats, whose scales are themselves rounded to 6 or 8 bits.
        let values: Vec<f32> = (0..1024).map(|i| (i as f32 * 0.37).sin()).collect();
        for (kind, error) in [(2, 0.13), (8, 0.005), (12, 0.1), (14, 0.04)] {
            let format = BlockType::new(kind).unwrap();
            let bytes = format.encode(&values, 512).unwrap();
            let mut back = vec![0.0; 1024];
            format.decode(&bytes, &mut back);
            let worst = values.iter().zip(&back).fold(0f32, |a, (x, y)| a.max((x - y).abs()));
            assert!(worst < error && worst > 0.0, "type {kind}: {worst}");
            assert!(format.encode(&values, 100).is_err());
            // Blocks that lie anywhere, and fewer of them than there is room for.
            let mut shifted = vec![0u8; bytes.len() + 8];
            for shift in 0..8 {
                let here = &mut shifted[shift..shift + bytes.len()];
                here.copy_from_slice(&bytes);
                let mut again = vec![0.0; 1024 + 7];
                format.decode(here, &mut again);
                assert_eq!(again[..1024], back, "type {kind}, shifted by {shift}");
            }
            let mut short = vec![9.0; 1024];
            format.decode(&bytes[..bytes.len() - 1], &mut short);
            assert_eq!(short[1024 - format.block_values()..], vec![9.0; format.block_values()]);
        }
        assert!(BlockType::new(9999).is_err() && BlockType::new(24).is_err());
    }
}

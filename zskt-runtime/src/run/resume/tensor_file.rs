//! Named tensors as a safetensors file.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use zskt_api::{Error, Result};

/// What readers of the format take for a tensor of 32 bytes is the SHA-256 sum of all bytes before it. No other name that
/// is used comes after this one, and no other type after bytes.
const SUM: &str = "zskt/sha256";
const SUM_BYTES: usize = 32;

/// The bytes of a file with these tensors and one text beside them. One only: the library would write several in an
/// order that changes from run to run, and equal weights should make equal files.
///
/// # Errors
/// When a tensor is of a type that such a file cannot hold.
pub fn encode(tensors: &BTreeMap<String, Tensor>, name: &str, text: String) -> Result<Vec<u8>> {
    let texts = HashMap::from([(name.to_owned(), text)]);
    safetensors::serialize(tensors, Some(texts))
        .map_err(|error| Error::new(format!("cannot store the weights: {error}")))
}

/// The bytes of a file with the weights of a network under PyTorch's names.
///
/// # Errors
/// As [`encode`].
pub fn encode_weights(weights: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    // Some of PyTorch's loaders ask for this text.
    encode(weights, "format", "pt".into())
}

/// As [`encode`], with a sum at the end by which damage to any of its bytes is noticed.
///
/// # Errors
/// As [`encode`].
pub fn encode_with_sum(mut tensors: BTreeMap<String, Tensor>, name: &str, text: String) -> Result<Vec<u8>> {
    tensors.insert(SUM.into(), Tensor::zeros(SUM_BYTES, DType::U8, &Device::Cpu)?);
    let mut bytes = encode(&tensors, name, text)?;
    let header = SafeTensors::read_metadata(&bytes).map_err(|error| Error::new(error.to_string()))?.1;
    if header.info(SUM).is_none_or(|sum| sum.data_offsets.1 != header.data_len()) {
        return Err(Error::new("cannot store the weights: a tensor has a type or a name that comes after the sum's"));
    }
    let body = bytes.len() - SUM_BYTES;
    let sum = Sha256::digest(&bytes[..body]);
    bytes[body..].copy_from_slice(&sum);
    Ok(bytes)
}

/// Whether the bytes are those of a file that [`encode_with_sum`] made.
pub fn sum_is_right(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<SUM_BYTES>().is_some_and(|(body, sum)| Sha256::digest(body)[..] == sum[..])
}

/// The tensors of a file, but for its sum, and the texts.
///
/// # Errors
/// When it is not such a file, or not whole.
pub fn decode(bytes: &[u8], device: &Device) -> Result<(BTreeMap<String, Tensor>, HashMap<String, String>)> {
    let texts = texts(bytes)?;
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
    let tensors = tensors.into_iter().filter(|(name, _)| name != SUM).map(|(name, tensor)| {
        // A GPU takes no tensors without numbers.
        let tensor = if tensor.elem_count() == 0 { tensor } else { tensor.to_device(device)? };
        Ok((name, tensor))
    });
    Ok((tensors.collect::<Result<_>>()?, texts))
}

/// The texts of a file.
///
/// # Errors
/// When it is not such a file, or not whole.
pub fn texts(bytes: &[u8]) -> Result<HashMap<String, String>> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| Error::new(error.to_string()))?;
    Ok(header.metadata().clone().unwrap_or_default())
}

/// The first tensor of a file with a number that is infinite, or not one at all. Integers always are.
///
/// # Errors
/// When it is not such a file, or not whole.
pub fn first_not_finite(bytes: &[u8]) -> Result<Option<String>> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| Error::new(error.to_string()))?;
    let not_finite = file.iter().filter(|(_, tensor)| !is_finite(tensor.dtype(), tensor.data()));
    Ok(not_finite.map(|(name, _)| name.to_owned()).min())
}

/// What to say of weights that cannot be kept.
pub fn not_finite(place: &str) -> Error {
    Error::new(format!(
        "{place} has values that are NaN or infinite: training has diverged; a lower learning rate, or a smaller `clip_norm`, may help"
    ))
}

/// Whether no number has an exponent of ones alone.
fn is_finite(dtype: Dtype, data: &[u8]) -> bool {
    let half = |exponent: u16| data.as_chunks().0.iter().all(|bytes| u16::from_le_bytes(*bytes) & exponent != exponent);
    match dtype {
        Dtype::F16 => half(0x7c00),
        Dtype::BF16 => half(0x7f80),
        Dtype::F32 => data.as_chunks().0.iter().all(|bytes| f32::from_le_bytes(*bytes).is_finite()),
        Dtype::F64 => data.as_chunks().0.iter().all(|bytes| f64::from_le_bytes(*bytes).is_finite()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode_weights, encode_with_sum, first_not_finite, sum_is_right};
    use candle_core::{DType, Device, Tensor};

    #[test]
    fn every_damaged_byte_is_noticed_and_others_can_read_the_file() {
        let bytes = |name: &str| (name.to_owned(), Tensor::new(&[1u8, 2], &Device::Cpu).unwrap());
        let tensors =
            [bytes("network/~"), bytes("stage/~"), ("run/~".to_owned(), Tensor::new(1f64, &Device::Cpu).unwrap())];
        let mut file = encode_with_sum(tensors.clone().into(), "text", "hello".into()).unwrap();
        assert!(sum_is_right(&file));
        let (read, texts) = decode(&file, &Device::Cpu).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["network/~", "run/~", "stage/~"]);
        assert_eq!(texts["text"], "hello");
        for at in 0..file.len() {
            file[at] ^= 1;
            assert!(!sum_is_right(&file), "byte {at}");
            file[at] ^= 1;
        }
        assert!(!sum_is_right(&file[..file.len() - 1]) && !sum_is_right(&[]));
    }

    #[test]
    fn numbers_that_are_not_finite_are_found_in_every_type() {
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            for (value, expected) in [(-6e4, None), (f64::NAN, Some("b")), (f64::NEG_INFINITY, Some("b"))] {
                let good = Tensor::new(&[0u32, u32::MAX], &Device::Cpu).unwrap();
                let odd = Tensor::new(&[0.0, value], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
                let file = encode_weights(&[("a".to_owned(), good), ("b".to_owned(), odd)].into()).unwrap();
                assert_eq!(first_not_finite(&file).unwrap().as_deref(), expected, "{dtype:?} {value}");
            }
        }
    }
}

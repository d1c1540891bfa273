//! A safetensors file with several texts beside the weights, in an order that does not change: equal networks make equal files.

use std::collections::HashMap;

use candle_core::Tensor;
use serde_json::Value;
use zskt_api::{Error, Result};

use super::Metadata;

/// The bytes of a file with these tensors and texts.
///
/// # Errors
/// When a tensor is of a type that such a file cannot hold.
pub fn encode(tensors: &[(String, Tensor)], metadata: &Metadata) -> Result<Vec<u8>> {
    let texts: HashMap<_, _> = metadata.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
    let named = tensors.iter().map(|(name, tensor)| (name, tensor));
    let failed = |error: &dyn std::fmt::Display| Error::new(format!("cannot store the weights: {error}"));
    let bytes = safetensors::serialize(named, Some(texts)).map_err(|error| failed(&error))?;
    // The library writes texts in an order that changes; an object that is read and written has its names sorted.
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| failed(&"the file is too short"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|error| failed(&error))?;
    let (header, body) = rest.split_at_checked(length).ok_or_else(|| failed(&"the header is too long"))?;
    let header: Value = serde_json::from_slice(header).map_err(|error| failed(&error))?;
    let mut sorted = header.to_string().into_bytes();
    sorted.resize(sorted.len().next_multiple_of(8), b' ');
    Ok([&(sorted.len() as u64).to_le_bytes()[..], &sorted, body].concat())
}

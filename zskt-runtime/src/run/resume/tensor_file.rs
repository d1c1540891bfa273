//! Named tensors as a safetensors file.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use zskt_api::{Error, Result};

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

/// The tensors and the texts of a file.
///
/// # Errors
/// When it is not such a file, or not whole.
pub fn decode(bytes: &[u8], device: &Device) -> Result<(BTreeMap<String, Tensor>, HashMap<String, String>)> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| Error::new(error.to_string()))?;
    let tensors = candle_core::safetensors::load_buffer(bytes, device)?;
    Ok((tensors.into_iter().collect(), header.metadata().clone().unwrap_or_default()))
}

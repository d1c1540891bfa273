//! The sum of networks: whether they changed.

use std::collections::BTreeMap;

use candle_core::Tensor;
use zskt_api::Result;

use crate::checksum;

/// The SHA-256 sum of all weights, with their names.
///
/// # Errors
/// When a device fails.
pub fn sum_of_networks(networks: &BTreeMap<String, BTreeMap<String, Tensor>>) -> Result<String> {
    let mut sums = String::new();
    for (network, weights) in networks {
        for (name, tensor) in weights {
            let mut bytes = Vec::new();
            tensor.write_bytes(&mut bytes)?;
            sums.push_str(&format!("{network}/{name} {}\n", checksum::of_bytes(&bytes)));
        }
    }
    Ok(checksum::of_bytes(sums.as_bytes()))
}

//! What to say where memory runs out.

use zskt_api::candle_core::Device;

/// That a device has no room: what for comes after it.
pub fn no_room(device: &Device) -> &'static str {
    if device.is_cpu() { "there is no memory" } else { "the device has no room" }
}

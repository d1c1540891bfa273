//! JSON that says itself whether it is whole.

use serde_json::Value;

use crate::checksum;

/// The entry with the sum of all others.
const SUM: &str = "sha256";

/// Adds the sum of an object to it.
pub fn seal(mut object: Value) -> Value {
    object[SUM] = checksum::of_bytes(object.to_string().as_bytes()).into();
    object
}

/// An object without its sum; nothing where a text is no object, or the sum is another.
pub fn unseal(text: &str) -> Option<Value> {
    let mut object: Value = serde_json::from_str(text).ok()?;
    let sum = object.as_object_mut()?.remove(SUM)?;
    (sum == checksum::of_bytes(object.to_string().as_bytes())).then_some(object)
}

#[cfg(test)]
mod tests {
    use super::{seal, unseal};
    use serde_json::json;

    #[test]
    fn what_was_changed_is_not_whole() {
        let text = format!("{:#}", seal(json!({ "seed": 7, "rate": 0.1 })));
        assert_eq!(unseal(&text), Some(json!({ "seed": 7, "rate": 0.1 })));
        assert_eq!(unseal(&text.replace('7', "8")), None);
        assert_eq!(unseal(&text.replace("sha", "Sha")), None);
        assert_eq!(unseal("[]"), None);
    }
}

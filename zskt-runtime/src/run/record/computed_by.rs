//! What computes a session of a run, as far as its numbers depend on it: the build of the program, and on the CPU the processor's instructions.

use candle_core::Device;
use serde_json::{Map, Value};
use zskt_api::Precision;
use zskt_api::tensor::describe_instructions;

use crate::library;

/// The sum of the program's file.
const PROGRAM: &str = "program";
/// That of the library with the engine, of a program that loads plugins.
const IMAGE: &str = "image";
/// The instructions that the CPU's kernels were chosen for.
const INSTRUCTION_SET: &str = "instruction_set";
/// As many digits of a sum as tell builds apart.
const SHORT: usize = 16;

/// On what a session computes, and how exactly.
#[derive(Clone, Copy)]
pub struct Computer<'a> {
    /// What manifest and report call the device.
    pub device_name: &'a str,
    /// The device of every tensor.
    pub device: &'a Device,
    /// The precision of every network.
    pub precision: Precision,
}

/// The fields of a start that say what computes it.
pub fn describe(computer: Computer<'_>) -> Map<String, Value> {
    let instructions = computer.device.is_cpu().then(|| describe_instructions(computer.precision));
    let fields = [
        (PROGRAM, library::program_sum().map(str::to_owned)),
        (IMAGE, library::image_sum().ok().map(str::to_owned)),
        (INSTRUCTION_SET, instructions),
    ];
    fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))).collect()
}

/// What computed a start, shortly; nothing where its manifest does not say, as those of earlier versions.
pub fn shown(start: &Value) -> Option<String> {
    let parts = [program(start), text(start, INSTRUCTION_SET).map(str::to_owned)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What to tell of a start that goes on with another build, or other instructions, than the one before it.
pub fn change(before: &Value, now: &Value) -> Option<String> {
    // A GPU's start says nothing of instructions: another device is no news to who asked for it.
    let differs = |key| matches!((text(before, key), text(now, key)), (Some(before), Some(now)) if before != now);
    let mut changes = Vec::new();
    if differs(PROGRAM) || differs(IMAGE) {
        changes.push(("another build of zskt-run", program(before)?, program(now)?));
    }
    if differs(INSTRUCTION_SET) {
        let of = |start| text(start, INSTRUCTION_SET).map(str::to_owned);
        changes.push(("a processor with other instructions", of(before)?, of(now)?));
    }
    let told: Vec<_> = changes.iter().map(|(what, before, now)| format!("{what} ({now}; before: {before})")).collect();
    (!told.is_empty()).then(|| {
        format!(
            "note: the run goes on with {}: its numbers may differ in their last bits from here on",
            told.join(" and ")
        )
    })
}

fn text<'s>(start: &'s Value, key: &str) -> Option<&'s str> {
    start[key].as_str()
}

/// The build of a start.
fn program(start: &Value) -> Option<String> {
    let short = |sum: &str| sum.chars().take(SHORT).collect::<String>();
    let program = format!("program {}", short(text(start, PROGRAM)?));
    Some(match text(start, IMAGE) {
        Some(image) => format!("{program} with image {}", short(image)),
        None => program,
    })
}

#[cfg(test)]
mod tests {
    use super::{Computer, change, describe, shown};
    use candle_core::Device;
    use serde_json::{Value, json};
    use zskt_api::Precision;

    #[test]
    fn what_computes_is_compared_as_far_as_it_is_known() {
        let now =
            Value::from(describe(Computer { device_name: "cpu", device: &Device::Cpu, precision: Precision::Bf16 }));
        assert!(shown(&now).is_some_and(|shown| shown.starts_with("program ")), "{now}");
        assert_eq!(change(&now, &now), None);
        // A manifest of an earlier version, and a session on a GPU.
        assert_eq!(change(&json!({}), &now), None);
        assert_eq!(shown(&json!({ "device": "cpu" })), None);
        let start = |program: &str, image: &str, set: &str| json!({ "program": program, "image": image, "instruction_set": set });
        let before = start("aa", "bb", "AVX2");
        assert_eq!(change(&before, &json!({ "program": "aa" })), None);
        let told = change(&before, &start("aa", "cc", "AVX2")).unwrap();
        assert!(told.contains("another build") && told.contains("image bb") && told.contains("image cc"), "{told}");
        assert!(!told.contains("instructions"), "{told}");
        let told = change(&before, &start("aa", "bb", "AVX-512")).unwrap();
        assert!(told.contains("(AVX-512; before: AVX2)") && !told.contains("build"), "{told}");
        assert!(change(&before, &start("dd", "bb", "NEON")).unwrap().contains(") and a processor"));
    }
}

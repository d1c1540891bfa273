//! What TensorBoard's HParams tab knows of a run: its parameters when it begins, and that it has ended. The figures that it compares
//! are the last points of the run's curves.

use std::collections::BTreeMap;

use super::protobuf::{Field, message};
use super::{TAG, VALUE};

/// The plugin that the messages are for.
const PLUGIN: &[u8] = b"hparams";
const SESSION_START: &[u8] = b"_hparams_/session_start_info";
const SESSION_END: &[u8] = b"_hparams_/session_end_info";

// Field numbers of tensorflow/core/framework/summary.proto: Summary.Value, SummaryMetadata, SummaryMetadata.PluginData …
const METADATA: u32 = 9;
const PLUGIN_DATA: u32 = 1;
const PLUGIN_NAME: u32 = 1;
const CONTENT: u32 = 2;
// … of tensorboard/plugins/hparams/plugin_data.proto: HParamsPluginData, SessionStartInfo, SessionEndInfo …
const START_INFO: u32 = 3;
const END_INFO: u32 = 4;
const HPARAMS: u32 = 1;
const START_TIME: u32 = 5;
const STATUS: u32 = 1;
const END_TIME: u32 = 2;
// … and of entries of maps, and google/protobuf/struct.proto: Value.
const KEY: u32 = 1;
const ENTRY_VALUE: u32 = 2;
const NUMBER: u32 = 2;
const TEXT: u32 = 3;
const BOOL: u32 = 4;

/// How a run has ended; the numbers are those of Status in tensorboard/plugins/hparams/api.proto.
#[derive(Clone, Copy, Debug)]
pub enum SessionStatus {
    /// It has done all that it was to do.
    Success = 1,
    /// It has not, and will not.
    Failure = 2,
}

/// The summary of a run that begins: numbers and `true` and `false` as what they are, all else as text.
pub fn session_start(parameters: &BTreeMap<String, String>, time: f64) -> Vec<u8> {
    let mut info = Vec::new();
    for (key, value) in parameters {
        let value = match value.as_str() {
            "true" => message(&[Field::Integer(BOOL, 1)]),
            "false" => message(&[Field::Integer(BOOL, 0)]),
            text => match text.parse::<f64>().ok().filter(|number| number.is_finite()) {
                Some(number) => message(&[Field::Double(NUMBER, number)]),
                None => message(&[Field::Bytes(TEXT, text.trim_matches('"').as_bytes())]),
            },
        };
        let entry = message(&[Field::Bytes(KEY, key.as_bytes()), Field::Bytes(ENTRY_VALUE, &value)]);
        Field::Bytes(HPARAMS, &entry).write(&mut info);
    }
    Field::Double(START_TIME, time).write(&mut info);
    summary(SESSION_START, START_INFO, &info)
}

/// The summary of a run that has ended.
pub fn session_end(status: SessionStatus, time: f64) -> Vec<u8> {
    let info = message(&[Field::Integer(STATUS, status as u64), Field::Double(END_TIME, time)]);
    summary(SESSION_END, END_INFO, &info)
}

fn summary(tag: &[u8], kind: u32, info: &[u8]) -> Vec<u8> {
    let content = message(&[Field::Bytes(kind, info)]);
    let plugin_data = message(&[Field::Bytes(PLUGIN_NAME, PLUGIN), Field::Bytes(CONTENT, &content)]);
    let metadata = message(&[Field::Bytes(PLUGIN_DATA, &plugin_data)]);
    let value = message(&[Field::Bytes(TAG, tag), Field::Bytes(METADATA, &metadata)]);
    message(&[Field::Bytes(VALUE, &value)])
}

#[cfg(test)]
mod tests {
    use super::{SessionStatus, session_end, session_start};
    use crate::run::record::tensorboard::tests::hex;

    #[test]
    fn sessions_are_what_tensorboard_writes() {
        // Summaries of tensorboard 2.21 with SessionStartInfo(start_time_secs=1.5, hparams={"data_free": True, "name": "x",
        // "seek.optimizer.lr": 0.001}) and SessionEndInfo(status=STATUS_SUCCESS, end_time_secs=2.5).
        let parameters = [("data_free", "true"), ("name", "\"x\""), ("seek.optimizer.lr", "0.001")];
        let parameters = parameters.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(
            hex(&session_start(&parameters, 1.5)),
            "0a760a1c5f68706172616d735f2f73657373696f6e5f73746172745f696e666f4a560a540a0768706172616d7312491a470a0f0a09646174615f\
             66726565120220010a0b0a046e616d6512031a01780a1e0a117365656b2e6f7074696d697a65722e6c72120911fca9f1d24d62503f29000000000000\
             f83f"
        );
        assert_eq!(
            hex(&session_end(SessionStatus::Success, 2.5)),
            "0a380a1a5f68706172616d735f2f73657373696f6e5f656e645f696e666f4a1a0a180a0768706172616d73120d220b0801110000000000000440"
        );
    }
}

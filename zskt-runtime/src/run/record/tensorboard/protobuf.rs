//! Messages of protocol buffers, as far as events need them.

/// One field of a protocol buffer, with its number.
pub enum Field<'a> {
    Integer(u32, u64),
    Double(u32, f64),
    Float(u32, f32),
    Bytes(u32, &'a [u8]),
    Doubles(u32, &'a [f64]),
}

impl Field<'_> {
    /// Adds it to a message.
    pub fn write(&self, out: &mut Vec<u8>) {
        let key = |out: &mut Vec<u8>, number: u32, wire_type: u32| varint(out, u64::from(number << 3 | wire_type));
        match *self {
            Self::Integer(number, value) => {
                key(out, number, 0);
                varint(out, value);
            }
            Self::Double(number, value) => {
                key(out, number, 1);
                out.extend(value.to_le_bytes());
            }
            Self::Bytes(number, bytes) => {
                key(out, number, 2);
                varint(out, bytes.len() as u64);
                out.extend(bytes);
            }
            Self::Doubles(number, values) => {
                key(out, number, 2);
                varint(out, 8 * values.len() as u64);
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
            Self::Float(number, value) => {
                key(out, number, 5);
                out.extend(value.to_le_bytes());
            }
        }
    }
}

/// A message of these fields.
pub fn message(fields: &[Field<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        field.write(&mut out);
    }
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

//! The stack machine that a pickle is a program for.

use std::collections::HashMap;
use std::io::Read;

use super::value::{Id, Value};
use crate::byte_reader::ByteReader;
use crate::error::ErrorKind;

/// Operations in one pickle. Each makes at most one value of fixed size, so this bounds memory and time; a state dict
/// takes about 30 for each tensor.
const MAX_OPERATIONS: u32 = 1 << 23;

/// The stack machine.
#[derive(Default)]
pub(super) struct Machine {
    /// All values, in the order in which they were made.
    pub(super) values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack that later operations go back to.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine {
    /// Runs the pickle up to its end, and gives the value that it leaves.
    pub(super) fn run<R: Read>(&mut self, reader: &mut ByteReader<R>) -> Result<Id, ErrorKind> {
        for _ in 0..MAX_OPERATIONS {
            let start = reader.position();
            let operation = reader.byte("the pickle")?;
            let damaged = |what: &str| ErrorKind::Damaged { location: reader.location(start), what: what.to_string() };
            if operation == b'.' {
                return self.stack.pop().ok_or_else(|| damaged("the pickle ends without a value"));
            }
            if let Err(stop) = self.step(operation, reader) {
                return Err(match stop {
                    StepError::Read(error) => error,
                    StepError::Damaged(what) => {
                        ErrorKind::Damaged { location: reader.location(start), what: what.to_string() }
                    }
                    StepError::Unknown => ErrorKind::Damaged {
                        location: reader.location(start),
                        what: format!("0x{operation:02x} is not a pickle operation that PyTorch writes"),
                    },
                });
            }
        }
        Err(ErrorKind::Excessive {
            location: reader.location(reader.position()),
            what: format!("its pickle has more than {MAX_OPERATIONS} operations"),
        })
    }

    fn step<R: Read>(&mut self, operation: u8, reader: &mut ByteReader<R>) -> Result<(), StepError> {
        match operation {
            // PROTO, FRAME: nothing to do with either
            0x80 => reader.skip(1, "the pickle's protocol number")?,
            0x95 => reader.skip(8, "the length of a pickle's frame")?,

            // Constants
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool(operation == 0x88)),
            b'J' => self.push(Value::Int(i32::from_le_bytes(reader.array("an integer")?).into())),
            b'K' => self.push(Value::Int(reader.byte("an integer")?.into())),
            b'M' => self.push(Value::Int(u16::from_le_bytes(reader.array("an integer")?).into())),
            0x8a => {
                let length = reader.byte("an integer")?;
                let bytes = reader.bytes(length.into(), "an integer")?;
                self.push(integer(bytes));
            }
            0x8b => {
                let length = u32::from_le_bytes(reader.array("an integer")?);
                reader.skip(length.into(), "an integer")?;
                self.push(Value::Opaque);
            }
            b'G' => {
                reader.skip(8, "a float")?;
                self.push(Value::Float);
            }

            // Text; the last two are the byte strings of Python 2, which are its ordinary texts
            0x8c => self.push_text(reader, Width::One, true)?,
            b'X' => self.push_text(reader, Width::Four, true)?,
            0x8d => self.push_text(reader, Width::Eight, true)?,
            b'U' => self.push_text(reader, Width::One, false)?,
            b'T' => self.push_text(reader, Width::Four, false)?,

            // Bytes
            b'C' => self.push_bytes(reader, Width::One)?,
            b'B' => self.push_bytes(reader, Width::Four)?,
            0x8e | 0x96 => self.push_bytes(reader, Width::Eight)?,

            // Tuples, lists, sets
            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => {
                let elements = self.pop_many(usize::from(operation - 0x84))?;
                self.push(Value::Tuple(elements));
            }
            b't' => {
                let elements = self.pop_to_mark()?;
                self.push(Value::Tuple(elements));
            }
            b']' => self.push(Value::List(Vec::new())),
            b'l' => {
                let elements = self.pop_to_mark()?;
                self.push(Value::List(elements));
            }
            b'a' => {
                let element = self.pop()?;
                self.append(&[element])?;
            }
            b'e' => {
                let elements = self.pop_to_mark()?;
                self.append(&elements)?;
            }
            0x8f => self.push(Value::Opaque),
            0x90 => {
                self.pop_to_mark()?;
            }
            0x91 => {
                self.pop_to_mark()?;
                self.push(Value::Opaque);
            }

            // Dicts
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let items = pairs(&self.pop_to_mark()?)?;
                self.push(Value::Dict(items));
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.set_items(&items)?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)?;
            }

            // Classes, functions, and what would be made with them
            b'c' => {
                const MAX_NAME_LENGTH: usize = 1 << 10;
                let module = reader.line(MAX_NAME_LENGTH, "the name of a module")?.into();
                let name = reader.line(MAX_NAME_LENGTH, "the name of a class or function")?.into();
                self.push(Value::Global { module, name });
            }
            0x93 => {
                let [module, name] = self.pop_array()?;
                let (Value::Text(module), Value::Text(name)) = (self.get(module), self.get(name)) else {
                    return Err(StepError::Damaged("a class or function whose name is not a text"));
                };
                let global = Value::Global { module: module.clone(), name: name.clone() };
                self.push(global);
            }
            b'R' | 0x81 => {
                let [callable, arguments] = self.pop_array()?;
                self.push(Value::Call { callable, arguments, items: Vec::new(), state: None });
            }
            0x92 => {
                let [callable, arguments, _by_keyword] = self.pop_array()?;
                self.push(Value::Call { callable, arguments, items: Vec::new(), state: None });
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                if let Value::Call { state: attributes, .. } = &mut self.values[target.index()] {
                    *attributes = Some(state);
                }
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }

            // The stack and the memo
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_to_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'h' => {
                let slot = reader.byte("the number of a memo")?;
                self.get_memo(slot.into())?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(reader.array("the number of a memo")?);
                self.get_memo(slot)?;
            }
            b'q' => {
                let slot = reader.byte("the number of a memo")?;
                self.put_memo(slot.into())?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(reader.array("the number of a memo")?);
                self.put_memo(slot)?;
            }
            0x94 => self.put_memo(self.memo.len() as u32)?,
            _ => return Err(StepError::Unknown),
        }
        Ok(())
    }

    fn get(&self, id: Id) -> &Value {
        &self.values[id.index()]
    }

    fn push(&mut self, value: Value) {
        let id = Id::after(self.values.len());
        self.values.push(value);
        self.stack.push(id);
    }

    fn push_text<R: Read>(&mut self, reader: &mut ByteReader<R>, width: Width, unicode: bool) -> Result<(), StepError> {
        const WHAT: &str = "a text";
        let length = width.read(reader, WHAT)?;
        self.push(match String::from_utf8(reader.bytes(length, WHAT)?) {
            Ok(text) => Value::Text(text.into()),
            // Python writes half a surrogate pair, as in the name of a file that is not UTF-8, as if it were a character.
            Err(_) if unicode => Value::Opaque,
            Err(bytes) => Value::Bytes(bytes.into_bytes().into()),
        });
        Ok(())
    }

    fn push_bytes<R: Read>(&mut self, reader: &mut ByteReader<R>, width: Width) -> Result<(), StepError> {
        const WHAT: &str = "a run of bytes";
        let length = width.read(reader, WHAT)?;
        let bytes = reader.bytes(length, WHAT)?;
        self.push(Value::Bytes(bytes.into()));
        Ok(())
    }

    /// How far the stack may be taken down: to the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, StepError> {
        self.pop_array().map(|[id]| id)
    }

    fn pop_array<const N: usize>(&mut self) -> Result<[Id; N], StepError> {
        self.pop_many(N)?.try_into().map_err(|_| EMPTY_STACK)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, StepError> {
        match self.stack.len().checked_sub(count) {
            Some(height) if height >= self.floor() => Ok(self.stack.split_off(height)),
            _ => Err(EMPTY_STACK),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, StepError> {
        let height =
            self.marks.pop().ok_or(StepError::Damaged("the pickle goes back to a mark that it did not set"))?;
        Ok(self.stack.split_off(height))
    }

    fn top(&self) -> Result<Id, StepError> {
        if self.stack.len() <= self.floor() {
            return Err(EMPTY_STACK);
        }
        self.stack.last().copied().ok_or(EMPTY_STACK)
    }

    fn append(&mut self, more: &[Id]) -> Result<(), StepError> {
        let target = self.top()?;
        match &mut self.values[target.index()] {
            Value::List(elements) => elements.extend(more),
            // A subclass of list, a deque: what is in it is of no interest.
            Value::Call { .. } => (),
            _ => return Err(StepError::Damaged("the pickle appends to something that is not a list")),
        }
        Ok(())
    }

    fn set_items(&mut self, more: &[Id]) -> Result<(), StepError> {
        let more = pairs(more)?;
        let target = self.top()?;
        match &mut self.values[target.index()] {
            Value::Dict(items) | Value::Call { items, .. } => items.extend(more),
            _ => return Err(StepError::Damaged("the pickle puts items into something that is not a dict")),
        }
        Ok(())
    }

    fn put_memo(&mut self, slot: u32) -> Result<(), StepError> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn get_memo(&mut self, slot: u32) -> Result<(), StepError> {
        let id = *self.memo.get(&slot).ok_or(StepError::Damaged("the pickle recalls a memo that it did not make"))?;
        self.stack.push(id);
        Ok(())
    }
}

/// Why the machine stops early. Only `run` knows where the operation began.
enum StepError {
    /// The pickle cannot be read on.
    Read(ErrorKind),
    /// The operation is at fault.
    Damaged(&'static str),
    /// There is no such operation.
    Unknown,
}

const EMPTY_STACK: StepError = StepError::Damaged("the pickle takes a value that it did not make");

impl From<ErrorKind> for StepError {
    fn from(error: ErrorKind) -> Self {
        Self::Read(error)
    }
}

/// How many bytes hold a length.
#[derive(Clone, Copy)]
enum Width {
    One,
    Four,
    Eight,
}

impl Width {
    fn read<R: Read>(self, reader: &mut ByteReader<R>, what: &str) -> Result<u64, ErrorKind> {
        Ok(match self {
            Self::One => reader.byte(what)?.into(),
            Self::Four => u32::from_le_bytes(reader.array(what)?).into(),
            Self::Eight => u64::from_le_bytes(reader.array(what)?),
        })
    }
}

fn pairs(flat: &[Id]) -> Result<Vec<(Id, Id)>, StepError> {
    let (pairs, rest) = flat.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(StepError::Damaged("a dict with a key and no value"));
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

/// The integer in two's complement, little end first.
fn integer(bytes: Vec<u8>) -> Value {
    if bytes.len() > 8 {
        return Value::Long(bytes.into());
    }
    let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 8];
    wide[..bytes.len()].copy_from_slice(&bytes);
    Value::Int(i64::from_le_bytes(wide))
}

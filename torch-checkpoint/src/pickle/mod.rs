//! Reads a pickle as data.
//!
//! A pickle is a program for a stack machine, and Python runs whatever functions the program names. Here nothing is
//! run: a named function stays a name, and a call of it stays a record of the call. What a caller does not recognize
//! it passes over.
//!
//! Values refer to each other by index, so that sharing costs nothing (no copies of memoized values), a structure
//! that contains itself is harmless, and deep nesting cannot overflow the stack.

mod machine;
mod value;

use std::io::Read;

use crate::byte_reader::ByteReader;
use crate::error::{ErrorKind, printable};
use machine::Machine;

pub(crate) use value::{Id, Value};

/// A pickle that was read.
#[derive(Debug)]
pub(crate) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle and stops behind it.
    pub(crate) fn read<R: Read>(reader: &mut ByteReader<R>) -> Result<Self, ErrorKind> {
        let mut machine = Machine::default();
        let root = machine.run(reader)?;
        Ok(Self { values: machine.values, root })
    }

    pub(crate) fn root(&self) -> Id {
        self.root
    }

    pub(crate) fn get(&self, id: Id) -> &Value {
        &self.values[id.index()]
    }

    /// All values, in the order in which they were made.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Value::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// The elements of a tuple or list.
    pub(crate) fn elements(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(elements) | Value::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// The module and name of a class or function.
    pub(crate) fn global(&self, id: Id) -> Option<(&str, &str)> {
        match self.get(id) {
            Value::Global { module, name } => Some((module, name)),
            _ => None,
        }
    }

    /// The entries of a dict or of anything that behaves like one (`OrderedDict`, `defaultdict`, a subclass); the attributes of an
    /// object.
    pub(crate) fn entries(&self, id: Id) -> Option<Vec<(Id, Id)>> {
        match self.get(id) {
            Value::Dict(items) => Some(items.clone()),
            Value::Call { callable, arguments, items, state } => {
                let ordered = self.global(*callable) == Some(("collections", "OrderedDict"));
                if !ordered {
                    if items.is_empty() {
                        return self.attributes(*state);
                    }
                    return Some(items.clone());
                }
                // Python 2 passes the items as a list of pairs.
                let pairs = self.elements(*arguments).and_then(|arguments| self.elements(*arguments.first()?));
                let given = pairs.unwrap_or_default().iter().filter_map(|pair| match self.elements(*pair) {
                    Some([key, value]) => Some((*key, *value)),
                    _ => None,
                });
                Some(given.chain(items.iter().copied()).collect())
            }
            _ => None,
        }
    }

    /// The attributes that an object is given: its dict, or the first of a pair of its dict and its slots.
    fn attributes(&self, state: Option<Id>) -> Option<Vec<(Id, Id)>> {
        let state = state?;
        match self.get(state) {
            Value::Dict(items) => Some(items.clone()),
            Value::Tuple(parts) => match self.get(*parts.first()?) {
                Value::Dict(items) => Some(items.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    /// What a value is, in a few words, for messages.
    pub(crate) fn describe(&self, id: Id) -> String {
        let named = |id: Id| self.global(id).map(|(module, name)| printable(&format!("{module}.{name}")));
        match self.get(id) {
            Value::None => "None".to_string(),
            Value::Bool(_) => "a bool".to_string(),
            Value::Int(_) | Value::Long(_) => "an integer".to_string(),
            Value::Float => "a float".to_string(),
            Value::Text(_) => "a text".to_string(),
            Value::Bytes(_) | Value::Opaque => "binary data".to_string(),
            Value::Tuple(elements) => format!("a tuple of {}", elements.len()),
            Value::List(elements) => format!("a list of {}", elements.len()),
            Value::Dict(items) => format!("a dict of {}", items.len()),
            Value::Global { .. } => format!("a reference to `{}`", named(id).unwrap_or_default()),
            Value::Call { callable, items, .. } => match named(*callable) {
                Some(name) if items.is_empty() => format!("an object made by `{name}`"),
                Some(name) => format!("a `{name}` of {}", items.len()),
                None => "an object".to_string(),
            },
            Value::Persistent(_) => "a storage".to_string(),
        }
    }
}

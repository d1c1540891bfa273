//! Arrays of NumPy in a pickle, which some machines' tensors are saved as: read without calling anything.

use std::collections::HashMap;

use crate::dtype::TorchDtype;
use crate::error::{ErrorKind, Location, printable};
use crate::pickle::{Id, Pickle, Value};
use crate::view::{ByteOrder, DeclaredTensor, StorageNumber, TensorView, row_major};

/// An array as the pickle describes it.
#[derive(Debug)]
pub(crate) struct ArrayReference {
    /// The value that holds the elements: bytes, or a text with a character for each byte.
    pub(crate) elements: Id,
    dtype: TorchDtype,
    shape: Vec<usize>,
    strides: Vec<usize>,
    order: ByteOrder,
}

/// Reads the array that the tensor `name`, fit to be shown, is made of.
pub(crate) fn array(pickle: &Pickle, name: &str, id: Id, location: &Location) -> Result<ArrayReference, ErrorKind> {
    let malformed = || ErrorKind::Damaged {
        location: location.clone(),
        what: format!("the pickle does not describe the array of the tensor `{name}` as NumPy does"),
    };
    let Layout { shape, dtype, columns_first, elements } = layout(pickle, id).ok_or_else(malformed)?;
    let (code, order) = element_type(pickle, dtype).ok_or_else(malformed)?;
    let dtype = TorchDtype::of_numpy(code).ok_or_else(|| ErrorKind::Unsupported {
        what: format!("its tensor `{name}` is an array of NumPy's type `{}`", printable(code)),
        help: "save it as float32",
    })?;
    let strides = if columns_first {
        let reversed: Vec<_> = shape.iter().rev().copied().collect();
        row_major(&reversed).into_iter().rev().collect()
    } else {
        row_major(&shape)
    };
    let elements = raw_bytes(pickle, elements).ok_or_else(malformed)?;
    Ok(ArrayReference { elements, dtype, shape, strides, order })
}

struct Layout {
    shape: Vec<usize>,
    dtype: Id,
    columns_first: bool,
    elements: Id,
}

fn layout(pickle: &Pickle, id: Id) -> Option<Layout> {
    let Value::Call { callable, arguments, state, .. } = pickle.get(id) else { return None };
    let sizes = |id: Id| -> Option<Vec<usize>> {
        pickle.elements(id)?.iter().map(|id| usize::try_from(pickle.int(*id)?).ok()).collect()
    };
    match pickle.global(*callable)? {
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
            // (version, shape, type, whether columns come first, elements)
            let [_, shape, dtype, columns_first, elements] = pickle.elements((*state)?)? else { return None };
            let Value::Bool(columns_first) = pickle.get(*columns_first) else { return None };
            Some(Layout { shape: sizes(*shape)?, dtype: *dtype, columns_first: *columns_first, elements: *elements })
        }
        ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => {
            let [elements, dtype, shape, order] = pickle.elements(*arguments)? else { return None };
            let columns_first = pickle.text(*order)? == "F";
            Some(Layout { shape: sizes(*shape)?, dtype: *dtype, columns_first, elements: *elements })
        }
        _ => None,
    }
}

/// Reads `numpy.dtype("f4", …)`, whose state is (version, order of the bytes, …).
fn element_type(pickle: &Pickle, id: Id) -> Option<(&str, ByteOrder)> {
    let Value::Call { callable, arguments, state, .. } = pickle.get(id) else { return None };
    let ("numpy", "dtype") = pickle.global(*callable)? else { return None };
    let order = match state.and_then(|state| pickle.text(*pickle.elements(state)?.get(1)?)) {
        Some(">") => ByteOrder::Big,
        _ => ByteOrder::Little,
    };
    Some((pickle.text(*pickle.elements(*arguments)?.first()?)?, order))
}

/// The value with the bytes: `_codecs.encode(text, "latin1")`, as old protocols have them, is the text.
fn raw_bytes(pickle: &Pickle, id: Id) -> Option<Id> {
    match pickle.get(id) {
        Value::Bytes(_) | Value::Text(_) => Some(id),
        Value::Call { callable, arguments, .. } => match pickle.global(*callable)? {
            ("_codecs", "encode") | ("__builtin__" | "builtins", "bytes" | "bytearray") => {
                let Some(first) = pickle.elements(*arguments)?.first() else { return Some(*arguments) };
                matches!(pickle.get(*first), Value::Bytes(_) | Value::Text(_)).then_some(*first)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The storages that a pickle itself holds: each is copied once, however many arrays are made of it.
pub(crate) struct InlineStorages<'p> {
    pickle: &'p Pickle,
    numbers: HashMap<Id, usize>,
    storages: Vec<Vec<u8>>,
}

impl<'p> InlineStorages<'p> {
    pub(crate) fn new(pickle: &'p Pickle) -> Self {
        Self { pickle, numbers: HashMap::new(), storages: Vec::new() }
    }

    pub(crate) fn into_storages(self) -> Vec<Vec<u8>> {
        self.storages
    }

    /// Ties an array to its elements.
    pub(crate) fn view(
        &mut self,
        array: ArrayReference,
        name: &str,
        location: &Location,
    ) -> Result<TensorView, ErrorKind> {
        let number = match self.numbers.get(&array.elements) {
            Some(number) => *number,
            None => {
                let bytes = bytes(self.pickle, array.elements).ok_or_else(|| ErrorKind::Damaged {
                    location: location.clone(),
                    what: format!("the elements of the tensor `{}` are no bytes", printable(name)),
                })?;
                self.storages.push(bytes);
                self.numbers.insert(array.elements, self.storages.len() - 1);
                self.storages.len() - 1
            }
        };
        TensorView::new(DeclaredTensor {
            name,
            location: location.clone(),
            dtype: array.dtype,
            shape: array.shape,
            strides: array.strides,
            offset: 0,
            storage: StorageNumber::InPickle(number),
            storage_length: self.storages[number].len() as u64,
            order: array.order,
        })
    }
}

/// The bytes that a value holds.
fn bytes(pickle: &Pickle, id: Id) -> Option<Vec<u8>> {
    match pickle.get(id) {
        Value::Bytes(bytes) => Some(bytes.to_vec()),
        // What `bytes()` is called with.
        Value::Tuple(arguments) => arguments.is_empty().then(Vec::new),
        Value::Text(text) => text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect(),
        _ => None,
    }
}

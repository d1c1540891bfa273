//! The tensors that a PyTorch pickle describes: calls of `torch._utils._rebuild_tensor_v2` and its relatives, read
//! without calling anything.

use crate::defect::{Defect, Place, shown};
use crate::element::Element;
use crate::pickle::{Id, Pickle, Value};
use crate::view::{Claim, View};

/// A storage as the pickle refers to it. Its bytes lie outside the pickle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StorageReference<'p> {
    pub(crate) key: &'p str,
    pub(crate) element: Element,
    /// How many bytes it has.
    pub(crate) length: u64,
    /// The part of the storage that is meant, in bytes; only old files have such parts.
    part: Option<(u64, u64)>,
}

/// A tensor as the pickle describes it.
#[derive(Debug)]
pub(crate) struct TensorReference<'p> {
    pub(crate) storage: StorageReference<'p>,
    element: Element,
    shape: Vec<usize>,
    strides: Vec<usize>,
    /// In elements.
    offset: usize,
}

/// Whether the value is a tensor of any kind, also one that cannot be read.
pub(crate) fn is_tensor(pickle: &Pickle, id: Id) -> bool {
    let Value::Call { callable, .. } = pickle.get(id) else { return false };
    match pickle.global(*callable) {
        Some(("torch._utils" | "torch._tensor" | "torch.tensor", name)) => name.starts_with("_rebuild_"),
        Some((module, name)) => makes_parameter(module, name),
        None => false,
    }
}

/// Whether this makes a parameter out of a tensor, its first argument.
fn makes_parameter(module: &str, name: &str) -> bool {
    matches!(
        (module, name),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
            | ("torch.nn.parameter", "Parameter" | "Buffer")
    )
}

/// Reads the tensor called `name`, for which `is_tensor` holds.
pub(crate) fn tensor<'p>(
    pickle: &'p Pickle,
    name: &str,
    mut id: Id,
    place: &Place,
) -> Result<TensorReference<'p>, Defect> {
    /// A parameter of a subclass of a tensor is three wrappers deep; a parameter of itself has no end.
    const DEEPEST: usize = 8;
    let name = shown(name);
    let malformed = || Defect::Damaged {
        place: place.clone(),
        what: format!("the pickle does not describe the tensor `{name}` as PyTorch does"),
    };
    for _ in 0..DEEPEST {
        let Value::Call { callable, arguments, .. } = pickle.get(id) else { return Err(malformed()) };
        let (mut callable, mut arguments) = (*callable, *arguments);
        if let Some(("torch._tensor" | "torch.tensor", "_rebuild_from_type" | "_rebuild_from_type_v2")) =
            pickle.global(callable)
        {
            // (function, class, arguments of the function, state)
            let Some([function, _, inner, ..]) = pickle.elements(arguments) else { return Err(malformed()) };
            (callable, arguments) = (*function, *inner);
        }
        let arguments = pickle.elements(arguments).ok_or_else(malformed)?;
        let (module, function) = pickle.global(callable).ok_or_else(malformed)?;
        match (module, function) {
            _ if makes_parameter(module, function) => {
                id = *arguments.first().ok_or_else(malformed)?;
            }
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => {
                return dense(pickle, arguments, None, arguments.get(6)).ok_or_else(malformed);
            }
            ("torch._utils", "_rebuild_tensor_v3") => {
                let (module, dtype) = arguments.get(6).and_then(|id| pickle.global(*id)).ok_or_else(malformed)?;
                let element = Element::of_name(module, dtype).ok_or_else(|| Defect::Unsupported {
                    what: format!("its tensor `{name}` has elements of type {}", shown(dtype)),
                    way_out: "save it as float32",
                })?;
                return dense(pickle, arguments, Some(element), arguments.get(7)).ok_or_else(malformed);
            }
            _ => {
                return Err(Defect::Unsupported {
                    what: format!("its tensor `{name}` is made by `{}`, not an ordinary dense one", shown(function)),
                    way_out: "save a state dict of dense tensors",
                });
            }
        }
    }
    Err(malformed())
}

/// Reads (storage, offset, size, strides, ..). Without an `element`, the elements have the type of the storage.
fn dense<'p>(
    pickle: &'p Pickle,
    arguments: &[Id],
    element: Option<Element>,
    metadata: Option<&Id>,
) -> Option<TensorReference<'p>> {
    let [storage, offset, shape, strides, ..] = arguments else { return None };
    // PyTorch notes here that the numbers still have to be negated or conjugated; it never does so in a state dict.
    if metadata.and_then(|id| pickle.entries(*id)).is_some_and(|entries| !entries.is_empty()) {
        return None;
    }
    let sizes = |id: Id| -> Option<Vec<usize>> {
        pickle.elements(id)?.iter().map(|id| usize::try_from(pickle.int(*id)?).ok()).collect()
    };
    let Value::External(storage) = pickle.get(*storage) else { return None };
    let storage = self::storage(pickle, *storage)?;
    Some(TensorReference {
        element: element.unwrap_or(storage.element),
        storage,
        shape: sizes(*shape)?,
        strides: sizes(*strides)?,
        offset: usize::try_from(pickle.int(*offset)?).ok()?,
    })
}

/// Reads ("storage", class, key, device, number of elements) and, in old files, (.., (key, offset, size) of a part).
pub(crate) fn storage(pickle: &Pickle, id: Id) -> Option<StorageReference<'_>> {
    let [kind, class, key, _device, count, rest @ ..] = pickle.elements(id)? else { return None };
    if pickle.text(*kind) != Some("storage") {
        return None;
    }
    let (module, class) = pickle.global(*class)?;
    let element = Element::of_storage(module, class)?;
    let bytes = |id: Id| u64::try_from(pickle.int(id)?).ok()?.checked_mul(element.size as u64);
    let part = match rest.first().map(|part| pickle.get(*part)) {
        None | Some(Value::None) => None,
        Some(Value::Tuple(part)) => {
            let [_key, offset, size] = part.as_slice() else { return None };
            Some((bytes(*offset)?, bytes(*size)?))
        }
        Some(_) => return None,
    };
    Some(StorageReference { key: pickle.text(*key)?, element, length: bytes(*count)?, part })
}

impl TensorReference<'_> {
    /// Ties the tensor to storage number `storage` of its file, which has as many bytes as the reference says.
    pub(crate) fn view(self, name: &str, storage: usize, place: Place) -> Result<View, Defect> {
        let (mut offset, mut storage_length) = (self.offset, self.storage.length);
        if let Some((start, length)) = self.storage.part {
            let end = start.checked_add(length).filter(|end| *end <= storage_length);
            storage_length = end.ok_or_else(|| Defect::Damaged {
                place: place.clone(),
                what: format!("tensor `{}` lies in a part that its storage does not have", shown(name)),
            })?;
            // A part starts at a whole element: `storage` computed it from one.
            offset = offset.saturating_add(usize::try_from(start).unwrap_or(usize::MAX) / self.element.size);
        }
        View::new(Claim {
            name,
            place,
            element: self.element,
            shape: self.shape,
            strides: self.strides,
            offset,
            storage,
            storage_length,
        })
    }
}

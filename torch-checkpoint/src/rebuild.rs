//! The tensors that a PyTorch pickle describes: calls of `torch._utils._rebuild_tensor_v2` and its relatives, read
//! without calling anything.

use crate::dtype::TorchDtype;
use crate::error::{ErrorKind, Location, printable};
use crate::numpy_array::{self, ArrayReference};
use crate::pickle::{Id, Pickle, Value};
use crate::view::{ByteOrder, DeclaredTensor, StorageNumber, TensorView};

/// A storage as the pickle refers to it. Its bytes lie outside the pickle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StorageReference<'p> {
    pub(crate) key: &'p str,
    pub(crate) dtype: TorchDtype,
    /// How many bytes it has.
    pub(crate) length: u64,
    /// The part of the storage that is meant, in bytes; only old files have such parts.
    part: Option<(u64, u64)>,
}

/// A tensor as the pickle describes it.
#[derive(Debug)]
pub(crate) enum TensorReference<'p> {
    /// A view of a storage.
    View(ViewReference<'p>),
    /// An array of NumPy, whose elements the pickle itself holds.
    Array(ArrayReference),
}

/// A view as the pickle describes it.
#[derive(Debug)]
pub(crate) struct ViewReference<'p> {
    pub(crate) storage: StorageReference<'p>,
    dtype: TorchDtype,
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
    location: &Location,
) -> Result<TensorReference<'p>, ErrorKind> {
    /// A parameter of a subclass of a tensor is three wrappers deep; a parameter of itself has no end.
    const DEEPEST: usize = 8;
    let name = printable(name);
    let malformed = || ErrorKind::Damaged {
        location: location.clone(),
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
                return dense(pickle, arguments, None, arguments.get(6))
                    .map(TensorReference::View)
                    .ok_or_else(malformed);
            }
            ("torch._utils", "_rebuild_tensor_v3") => {
                let (module, class) = arguments.get(6).and_then(|id| pickle.global(*id)).ok_or_else(malformed)?;
                let dtype = TorchDtype::of_name(module, class).ok_or_else(|| ErrorKind::Unsupported {
                    what: format!("its tensor `{name}` has elements of type {}", printable(class)),
                    help: "save it as float32",
                })?;
                let view = dense(pickle, arguments, Some(dtype), arguments.get(7));
                return view.map(TensorReference::View).ok_or_else(malformed);
            }
            // Tensors of a TPU: (array, type, device, whether it wants a gradient).
            ("torch._utils", "_rebuild_device_tensor_from_numpy" | "_rebuild_xla_tensor") => {
                let array = *arguments.first().ok_or_else(malformed)?;
                return numpy_array::array(pickle, &name, array, location).map(TensorReference::Array);
            }
            _ => {
                return Err(ErrorKind::Unsupported {
                    what: format!(
                        "its tensor `{name}` is made by `{}`, not an ordinary dense one",
                        printable(function)
                    ),
                    help: "save a state dict of dense tensors",
                });
            }
        }
    }
    Err(malformed())
}

/// Reads (storage, offset, size, strides, ..). Without a `dtype`, the elements have the type of the storage.
fn dense<'p>(
    pickle: &'p Pickle,
    arguments: &[Id],
    dtype: Option<TorchDtype>,
    metadata: Option<&Id>,
) -> Option<ViewReference<'p>> {
    let [storage, offset, shape, strides, ..] = arguments else { return None };
    // PyTorch notes here that the numbers still have to be negated or conjugated; it never does so in a state dict.
    if metadata.and_then(|id| pickle.entries(*id)).is_some_and(|entries| !entries.is_empty()) {
        return None;
    }
    let sizes = |id: Id| -> Option<Vec<usize>> {
        pickle.elements(id)?.iter().map(|id| usize::try_from(pickle.int(*id)?).ok()).collect()
    };
    let Value::Persistent(storage) = pickle.get(*storage) else { return None };
    let storage = self::storage(pickle, *storage)?;
    Some(ViewReference {
        dtype: dtype.unwrap_or(storage.dtype),
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
    let dtype = TorchDtype::of_storage(module, class)?;
    let bytes = |id: Id| u64::try_from(pickle.int(id)?).ok()?.checked_mul(dtype.size as u64);
    let part = match rest.first().map(|part| pickle.get(*part)) {
        None | Some(Value::None) => None,
        Some(Value::Tuple(part)) => {
            let [_key, offset, size] = part.as_slice() else { return None };
            Some((bytes(*offset)?, bytes(*size)?))
        }
        Some(_) => return None,
    };
    Some(StorageReference { key: pickle.text(*key)?, dtype, length: bytes(*count)?, part })
}

impl ViewReference<'_> {
    /// Ties the tensor to storage number `storage` of its file, which has as many bytes as the reference says.
    pub(crate) fn view(
        self,
        name: &str,
        storage: usize,
        order: ByteOrder,
        location: Location,
    ) -> Result<TensorView, ErrorKind> {
        let (mut offset, mut storage_length) = (self.offset, self.storage.length);
        if let Some((start, length)) = self.storage.part {
            let end = start.checked_add(length).filter(|end| *end <= storage_length);
            storage_length = end.ok_or_else(|| ErrorKind::Damaged {
                location: location.clone(),
                what: format!("tensor `{}` lies in a part that its storage does not have", printable(name)),
            })?;
            // A part starts at a whole element: `storage` computed it from one.
            offset = offset.saturating_add(usize::try_from(start).unwrap_or(usize::MAX) / self.dtype.size);
        }
        TensorView::new(DeclaredTensor {
            name,
            location,
            dtype: self.dtype,
            shape: self.shape,
            strides: self.strides,
            offset,
            storage: StorageNumber::InFile(storage),
            storage_length,
            order,
        })
    }
}

//! The values that a pickle describes.

/// The index of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id(u32);

impl Id {
    /// The index of the value that comes after `count` others: fewer than u32::MAX, as operations are counted.
    pub(super) fn after(count: usize) -> Self {
        Self(count as u32)
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value, as the pickle describes it.
#[derive(Debug)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits: two's complement, little end first.
    Long(Box<[u8]>),
    Float,
    Text(Box<str>),
    /// Bytes, and texts of Python 2 that are not UTF-8: NumPy's arrays are kept in such.
    Bytes(Box<[u8]>),
    /// Sets, huge integers, texts with half a surrogate pair: nothing that weights are described with.
    Opaque,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function, by name only.
    Global {
        module: Box<str>,
        name: Box<str>,
    },
    /// What a call would have made, had anything been called, the items that were then put into it, and what its attributes
    /// were then made of.
    Call {
        callable: Id,
        arguments: Id,
        items: Vec<(Id, Id)>,
        state: Option<Id>,
    },
    /// Something that is kept outside the pickle; PyTorch's storages are.
    Persistent(Id),
}

//! The attributes of nodes: what is fixed when a model is written.

use crate::error::{ErrorKind, printable};
use crate::external_data::ExternalData;
use crate::proto::AttributeProto;
use crate::tensor::Tensor;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A whole number; also a truth value (0 or 1).
    Int(i64),
    /// A number.
    Float(f32),
    /// Text.
    Text(String),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Texts.
    Texts(Vec<String>),
    /// A tensor.
    Tensor(Tensor),
    /// Another graph, as control flow has: it is not read.
    Graph,
    /// A value of a kind that is not read: a type, lists of tensors or graphs, or a reference to an attribute of a function.
    Other,
}

impl Attribute {
    pub(crate) fn read(proto: AttributeProto, node: &str, external: &mut ExternalData) -> Result<Self, ErrorKind> {
        let name = proto.name.as_deref().unwrap_or_default();
        let place = || format!("attribute `{}` of {node}", printable(name));
        let missing = || ErrorKind::damaged(format!("{} has no value of its type", place()));
        let text = |bytes: &[u8]| {
            let text = str::from_utf8(bytes).map(str::to_owned);
            text.map_err(|_| ErrorKind::damaged(format!("{} is not UTF-8", place())))
        };
        if proto.ref_attr_name.is_some_and(|name| !name.is_empty()) {
            return Ok(Self::Other);
        }
        // Writers before IR version 3 left the type out; all others write it.
        let kind = proto.r#type.unwrap_or_default();
        Ok(match kind {
            1 => Self::Float(proto.f.unwrap_or_default()),
            2 => Self::Int(proto.i.unwrap_or_default()),
            3 => Self::Text(text(&proto.s.unwrap_or_default())?),
            4 => Self::Tensor(Tensor::read(*proto.t.ok_or_else(missing)?, &place(), external)?),
            5 => Self::Graph,
            6 => Self::Floats(proto.floats),
            7 => Self::Ints(proto.ints),
            8 => Self::Texts(proto.strings.iter().map(|bytes| text(bytes)).collect::<Result<_, _>>()?),
            0 => return Err(missing()),
            _ => Self::Other,
        })
    }
}

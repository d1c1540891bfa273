//! How much memory the messages of a file will take once they are decoded, counted before they are: an empty message takes two bytes
//! of a file and some hundred of memory.

use prost::bytes::Bytes;

use crate::error::ErrorKind;
use crate::proto;

/// Messages may take this many times the file's size, and as much again is kept in reserve by growing vectors.
const FACTOR: u64 = 16;
/// Taken by files of any size.
const FREE: u64 = 16 << 20;

/// Refuses a file whose messages take more memory than its size can justify.
pub(crate) fn check(file: &[u8]) -> Result<(), ErrorKind> {
    let mut demand = Demand { left: FACTOR * file.len() as u64 + FREE };
    demand.message(Message::Model, file)
}

#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Value,
    Type,
    TensorType,
    Shape,
    Dimension,
    Entry,
    OperatorSet,
}

/// What a field becomes.
enum Field {
    Message(Message),
    /// Numbers one after the other: bytes of memory for each byte of the file.
    Numbers(u64),
    /// Text and bytes.
    Bytes,
}

impl Message {
    fn field(self, number: u64) -> Field {
        use Message as M;
        match (self, number) {
            (M::Model, 7) => Field::Message(M::Graph),
            (M::Model, 8) => Field::Message(M::OperatorSet),
            (M::Model, 14) | (M::Tensor, 13) => Field::Message(M::Entry),
            (M::Graph, 1) => Field::Message(M::Node),
            (M::Graph, 5) | (M::Attribute, 5) => Field::Message(M::Tensor),
            (M::Graph, 11 | 12) => Field::Message(M::Value),
            (M::Node, 5) => Field::Message(M::Attribute),
            (M::Value, 2) => Field::Message(M::Type),
            (M::Type, 1) => Field::Message(M::TensorType),
            (M::TensorType, 2) => Field::Message(M::Shape),
            (M::Shape, 1) => Field::Message(M::Dimension),
            (M::Attribute, 8) | (M::Tensor, 1 | 5 | 7 | 11) => Field::Numbers(8),
            (M::Attribute, 7) | (M::Tensor, 4 | 10) => Field::Numbers(1),
            _ => Field::Bytes,
        }
    }

    fn size(self) -> u64 {
        let size = match self {
            Self::Model => size_of::<proto::ModelProto>(),
            Self::Graph => size_of::<proto::GraphProto>(),
            Self::Node => size_of::<proto::NodeProto>(),
            Self::Attribute => size_of::<proto::AttributeProto>(),
            Self::Tensor => size_of::<proto::TensorProto>(),
            Self::Value => size_of::<proto::ValueInfoProto>(),
            Self::Type => size_of::<proto::TypeProto>(),
            Self::TensorType => size_of::<proto::TensorTypeProto>(),
            Self::Shape => size_of::<proto::TensorShapeProto>(),
            Self::Dimension => size_of::<proto::DimensionProto>(),
            Self::Entry => size_of::<proto::StringStringEntryProto>(),
            Self::OperatorSet => size_of::<proto::OperatorSetIdProto>(),
        };
        size as u64
    }
}

struct Demand {
    left: u64,
}

impl Demand {
    fn take(&mut self, bytes: u64) -> Result<(), ErrorKind> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| ErrorKind::Excessive {
            what: "its messages take far more memory than its own size".into(),
        })?;
        Ok(())
    }

    /// As deep as the types of messages lie in one another, which none does in itself.
    fn message(&mut self, message: Message, mut bytes: &[u8]) -> Result<(), ErrorKind> {
        self.take(message.size())?;
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            let field = message.field(key >> 3);
            match key & 7 {
                0 => {
                    varint(&mut bytes)?;
                    self.take(size_of::<u64>() as u64)?;
                }
                1 => self.fixed(&mut bytes, 8)?,
                5 => self.fixed(&mut bytes, 4)?,
                2 => {
                    let length = varint(&mut bytes)?;
                    let content = split(&mut bytes, length)?;
                    match field {
                        Field::Message(inner) => self.message(inner, content)?,
                        Field::Numbers(each) => self.take(each * length)?,
                        // Tensors are parts of the file's own memory; names are copies.
                        Field::Bytes if matches!((message, key >> 3), (Message::Tensor, 9)) => {}
                        Field::Bytes => self.take(size_of::<Bytes>() as u64 + length)?,
                    }
                }
                _ => return Err(not_protobuf("a field of a kind that ONNX has none of")),
            }
        }
        Ok(())
    }

    fn fixed(&mut self, bytes: &mut &[u8], length: u64) -> Result<(), ErrorKind> {
        split(bytes, length)?;
        self.take(length)
    }
}

fn not_protobuf(what: &str) -> ErrorKind {
    ErrorKind::damaged(format!("as Protocol Buffers it has {what}"))
}

fn split<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], ErrorKind> {
    let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len());
    let length =
        length.ok_or_else(|| not_protobuf("a field that ends behind what it lies in, as when a file is cut short"))?;
    let (content, rest) = bytes.split_at(length);
    *bytes = rest;
    Ok(content)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, ErrorKind> {
    prost::encoding::decode_varint(bytes).map_err(|_| not_protobuf("a number that does not end"))
}

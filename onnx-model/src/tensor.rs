//! Tensors: the type of their elements, their shape, and the elements as bytes.

use half::{bf16, f16};
use prost::bytes::Bytes;

use crate::error::{ErrorKind, printable};
use crate::external_data::ExternalData;
use crate::proto::TensorProto;

/// Dimensions that a tensor may have.
const MOST_DIMENSIONS: usize = 64;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ElementType {
    F32,
    F64,
    F16,
    Bf16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

impl ElementType {
    /// The number that the format has for it (`TensorProto.DataType`).
    pub fn code(self) -> i32 {
        match self {
            Self::F32 => 1,
            Self::U8 => 2,
            Self::I8 => 3,
            Self::U16 => 4,
            Self::I16 => 5,
            Self::I32 => 6,
            Self::I64 => 7,
            Self::Bool => 9,
            Self::F16 => 10,
            Self::F64 => 11,
            Self::U32 => 12,
            Self::U64 => 13,
            Self::Bf16 => 16,
        }
    }

    /// The type of a number of the format; `None` for those that are not read here.
    pub fn of_code(code: i32) -> Option<Self> {
        use ElementType as E;
        let all =
            [E::F32, E::F64, E::F16, E::Bf16, E::I8, E::I16, E::I32, E::I64, E::U8, E::U16, E::U32, E::U64, E::Bool];
        all.into_iter().find(|element| element.code() == code)
    }

    /// Bytes for each element.
    pub fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// Whether the elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::Bf16)
    }
}

/// A tensor. Clones share its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    element: ElementType,
    shape: Vec<usize>,
    /// Row-major, little end first.
    bytes: Bytes,
}

impl Tensor {
    /// Of `f32`s in row-major order.
    ///
    /// # Panics
    /// When the shape has another number of elements.
    pub fn of_f32(shape: &[usize], numbers: &[f32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), numbers.len(), "a shape has as many elements as there are");
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { element: ElementType::F32, shape: shape.to_vec(), bytes: bytes.into() }
    }

    /// Of whole numbers in row-major order.
    ///
    /// # Panics
    /// When the shape has another number of elements.
    pub fn of_i64(shape: &[usize], numbers: &[i64]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), numbers.len(), "a shape has as many elements as there are");
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { element: ElementType::I64, shape: shape.to_vec(), bytes: bytes.into() }
    }

    /// The type of the elements.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many elements there are.
    pub fn count(&self) -> usize {
        self.bytes.len() / self.element.size()
    }

    /// The elements in row-major order, little end first.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements as `f64`, in row-major order; integers beyond 2^53 are rounded.
    pub fn to_f64(&self) -> Vec<f64> {
        use ElementType as E;
        match self.element {
            E::F32 => self.map(|bytes| f64::from(f32::from_le_bytes(bytes))),
            E::F64 => self.map(f64::from_le_bytes),
            E::F16 => self.map(|bytes| f16::from_le_bytes(bytes).to_f64()),
            E::Bf16 => self.map(|bytes| bf16::from_le_bytes(bytes).to_f64()),
            E::U64 => self.map(|bytes| u64::from_le_bytes(bytes) as f64),
            _ => self.to_i64().unwrap_or_default().into_iter().map(|number| number as f64).collect(),
        }
    }

    /// The elements as `f32`, in row-major order, each the nearest to what it is.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.element {
            ElementType::F32 => self.map(f32::from_le_bytes),
            _ => self.to_f64().into_iter().map(|number| number as f32).collect(),
        }
    }

    /// The elements as whole numbers, in row-major order; `None` where they are floating-point numbers or one is larger than `i64`.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        use ElementType as E;
        Some(match self.element {
            E::F32 | E::F64 | E::F16 | E::Bf16 => return None,
            E::I8 => self.map(|bytes| i64::from(i8::from_le_bytes(bytes))),
            E::I16 => self.map(|bytes| i64::from(i16::from_le_bytes(bytes))),
            E::I32 => self.map(|bytes| i64::from(i32::from_le_bytes(bytes))),
            E::I64 => self.map(i64::from_le_bytes),
            E::U8 | E::Bool => self.map(|bytes| i64::from(u8::from_le_bytes(bytes))),
            E::U16 => self.map(|bytes| i64::from(u16::from_le_bytes(bytes))),
            E::U32 => self.map(|bytes| i64::from(u32::from_le_bytes(bytes))),
            E::U64 => {
                let numbers = self.map(u64::from_le_bytes).into_iter();
                numbers.map(i64::try_from).collect::<Result<_, _>>().ok()?
            }
        })
    }

    fn map<T, const N: usize>(&self, number: impl Fn([u8; N]) -> T) -> Vec<T> {
        self.bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
    }

    /// Believes a tensor of a file as far as there are bytes for it. `name` is for messages.
    pub(crate) fn read(proto: TensorProto, name: &str, external: &mut ExternalData) -> Result<Self, ErrorKind> {
        let shown = printable(name);
        let damaged = |what: String| ErrorKind::damaged(format!("tensor `{shown}` {what}"));
        let unsupported = |what: String| ErrorKind::Unsupported {
            what: format!("its tensor `{shown}` {what}"),
            help: "export it in float32",
        };
        if proto.segment.is_some() {
            return Err(unsupported("lies in segments".into()));
        }
        let code = proto.data_type.unwrap_or_default();
        let element = ElementType::of_code(code)
            .ok_or_else(|| unsupported(format!("has elements of type {}, which is not read", type_name(code))))?;
        if proto.dims.len() > MOST_DIMENSIONS {
            return Err(damaged(format!("has {} dimensions", proto.dims.len())));
        }
        let shape = proto.dims.iter().map(|size| usize::try_from(*size)).collect::<Result<Vec<_>, _>>();
        let shape = shape.map_err(|_| damaged(format!("has the dimensions {:?}", proto.dims)))?;
        // The product leaves zeros out so that no partial product can overflow later either.
        let room = shape.iter().try_fold(element.size(), |room, size| room.checked_mul((*size).max(1)));
        if room.is_none_or(|room| room > isize::MAX as usize) {
            return Err(damaged(format!("of shape {shape:?} is larger than any memory")));
        }
        let expected = shape.iter().product::<usize>() * element.size();
        let bytes = if proto.data_location == Some(1) {
            external.read(&shown, &proto.external_data, expected)?
        } else if let Some(raw) = proto.raw_data {
            raw
        } else {
            typed_bytes(element, &proto)
        };
        if bytes.len() != expected {
            let found = bytes.len();
            return Err(damaged(format!("of shape {shape:?} takes {expected} bytes, and {found} are there")));
        }
        Ok(Self { element, shape, bytes })
    }

    /// As a message of the format.
    pub(crate) fn to_proto(&self, name: Option<&str>) -> TensorProto {
        TensorProto {
            dims: self.shape.iter().map(|size| *size as i64).collect(),
            data_type: Some(self.element.code()),
            name: name.map(str::to_owned),
            raw_data: Some(self.bytes.clone()),
            ..TensorProto::default()
        }
    }
}

/// The elements that lie in the field for their type.
fn typed_bytes(element: ElementType, proto: &TensorProto) -> Bytes {
    use ElementType as E;
    let bytes: Vec<u8> = match element {
        E::F32 => proto.float_data.iter().flat_map(|number| number.to_le_bytes()).collect(),
        E::F64 => proto.double_data.iter().flat_map(|number| number.to_le_bytes()).collect(),
        E::I64 => proto.int64_data.iter().flat_map(|number| number.to_le_bytes()).collect(),
        E::U64 => proto.uint64_data.iter().flat_map(|number| number.to_le_bytes()).collect(),
        E::U32 => proto.uint64_data.iter().flat_map(|number| (*number as u32).to_le_bytes()).collect(),
        E::I32 => proto.int32_data.iter().flat_map(|number| number.to_le_bytes()).collect(),
        // The bits of the floats.
        E::F16 | E::Bf16 | E::I16 | E::U16 => {
            proto.int32_data.iter().flat_map(|number| (*number as u16).to_le_bytes()).collect()
        }
        E::I8 | E::U8 | E::Bool => proto.int32_data.iter().map(|number| *number as u8).collect(),
    };
    bytes.into()
}

/// The format's name for a type that is not read.
fn type_name(code: i32) -> String {
    let names = [
        (0, "undefined"),
        (8, "string"),
        (14, "complex64"),
        (15, "complex128"),
        (17, "float8e4m3fn"),
        (18, "float8e4m3fnuz"),
        (19, "float8e5m2"),
        (20, "float8e5m2fnuz"),
        (21, "uint4"),
        (22, "int4"),
        (23, "float4e2m1"),
    ];
    names.iter().find(|(known, _)| *known == code).map_or_else(|| format!("number {code}"), |(_, name)| (*name).into())
}

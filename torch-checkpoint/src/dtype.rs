//! The types a tensor's elements can have, under the names that PyTorch and safetensors give them.

use candle_core::DType;
use safetensors::Dtype;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TorchDtype {
    /// PyTorch's name, without `torch.`.
    pub(crate) name: &'static str,
    /// Bytes for each element.
    pub(crate) size: usize,
    /// The type that a tensor of candle has for it, if there is one.
    pub(crate) candle: Option<DType>,
}

const fn dtype(name: &'static str, size: usize, candle: Option<DType>) -> TorchDtype {
    TorchDtype { name, size, candle }
}

const FLOAT64: TorchDtype = dtype("float64", 8, Some(DType::F64));
const FLOAT32: TorchDtype = dtype("float32", 4, Some(DType::F32));
const FLOAT16: TorchDtype = dtype("float16", 2, Some(DType::F16));
const BFLOAT16: TorchDtype = dtype("bfloat16", 2, Some(DType::BF16));
const INT64: TorchDtype = dtype("int64", 8, Some(DType::I64));
const INT32: TorchDtype = dtype("int32", 4, Some(DType::I32));
const INT16: TorchDtype = dtype("int16", 2, Some(DType::I16));
const INT8: TorchDtype = dtype("int8", 1, None);
const UINT64: TorchDtype = dtype("uint64", 8, None);
const UINT32: TorchDtype = dtype("uint32", 4, Some(DType::U32));
const UINT16: TorchDtype = dtype("uint16", 2, None);
const UINT8: TorchDtype = dtype("uint8", 1, Some(DType::U8));
const BOOL: TorchDtype = dtype("bool", 1, Some(DType::U8));
const COMPLEX64: TorchDtype = dtype("complex64", 8, None);

/// PyTorch's storage classes.
const STORAGES: [(&str, TorchDtype); 16] = [
    ("DoubleStorage", FLOAT64),
    ("FloatStorage", FLOAT32),
    ("HalfStorage", FLOAT16),
    ("BFloat16Storage", BFLOAT16),
    ("LongStorage", INT64),
    ("IntStorage", INT32),
    ("ShortStorage", INT16),
    ("CharStorage", INT8),
    ("ByteStorage", UINT8),
    ("UntypedStorage", UINT8),
    ("BoolStorage", BOOL),
    ("ComplexFloatStorage", COMPLEX64),
    ("ComplexDoubleStorage", dtype("complex128", 16, None)),
    ("QInt8Storage", dtype("qint8", 1, None)),
    ("QUInt8Storage", dtype("quint8", 1, None)),
    ("QInt32Storage", dtype("qint32", 4, None)),
];

/// The types that PyTorch names directly, where it has no storage class for them or the storage is untyped.
const NAMED: [TorchDtype; 14] =
    [FLOAT64, FLOAT32, FLOAT16, BFLOAT16, INT64, INT32, INT16, INT8, UINT64, UINT32, UINT16, UINT8, BOOL, COMPLEX64];

impl TorchDtype {
    /// What a storage of this class holds, wherever it lay (`torch.FloatStorage`, `torch.cuda.FloatStorage`).
    pub(crate) fn of_storage(module: &str, class: &str) -> Option<Self> {
        let known = matches!(module, "torch" | "torch.cuda" | "torch.storage");
        STORAGES.iter().find(|(name, _)| known && *name == class).map(|(_, dtype)| *dtype)
    }

    /// The type behind a name such as `torch.float32`.
    pub(crate) fn of_name(module: &str, name: &str) -> Option<Self> {
        NAMED.into_iter().find(|dtype| module == "torch" && dtype.name == name)
    }

    /// The type that NumPy calls by this code, the order of its bytes left out.
    pub(crate) fn of_numpy(code: &str) -> Option<Self> {
        Some(match code {
            "f8" => FLOAT64,
            "f4" => FLOAT32,
            "f2" => FLOAT16,
            "i8" => INT64,
            "i4" => INT32,
            "i2" => INT16,
            "i1" => INT8,
            "u8" => UINT64,
            "u4" => UINT32,
            "u2" => UINT16,
            "u1" => UINT8,
            "b1" => BOOL,
            _ => return None,
        })
    }

    /// The type that a safetensors header names, if it fills whole bytes.
    pub(crate) fn of_safetensors(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::F64 => FLOAT64,
            Dtype::F32 => FLOAT32,
            Dtype::F16 => FLOAT16,
            Dtype::BF16 => BFLOAT16,
            Dtype::I64 => INT64,
            Dtype::I32 => INT32,
            Dtype::I16 => INT16,
            Dtype::I8 => INT8,
            Dtype::U64 => UINT64,
            Dtype::U32 => UINT32,
            Dtype::U16 => UINT16,
            Dtype::U8 => UINT8,
            Dtype::BOOL => BOOL,
            Dtype::C64 => COMPLEX64,
            _ => return None,
        })
    }
}

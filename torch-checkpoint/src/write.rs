//! Writes a state dict as `torch.save` does since PyTorch 1.6: a zip archive of a pickle and the numbers, which
//! `torch.load(weights_only=True)` opens.

use std::io::{Cursor, Write};

use candle_core::{CpuStorage, DType, Device, Error, Result, Storage, Tensor, bail};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The folder within the archive; PyTorch takes any.
const ROOT: &str = "archive";

/// The bytes of a `.pth` file with named tensors, in this order.
///
/// # Errors
/// When a tensor is of a type that PyTorch has no storage for, or the device fails.
pub fn write_state_dict<'t>(tensors: impl IntoIterator<Item = (&'t str, &'t Tensor)>) -> Result<Vec<u8>> {
    let tensors: Vec<_> = tensors
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.to_device(&Device::Cpu)?.contiguous()?)))
        .collect::<Result<_>>()?;
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // As PyTorch does: numbers begin where memory that is mapped from the file is aligned.
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(64);
    let mut entry = |name: &str, bytes: &[u8]| -> Result<()> {
        zip.start_file(format!("{ROOT}/{name}"), stored).map_err(Error::wrap)?;
        zip.write_all(bytes).map_err(Error::wrap)
    };
    entry("data.pkl", &pickle(&tensors)?)?;
    entry("byteorder", b"little")?;
    for (index, (_, tensor)) in tensors.iter().enumerate() {
        entry(&format!("data/{index}"), &numbers(tensor)?)?;
    }
    entry("version", b"3\n")?;
    Ok(zip.finish().map_err(Error::wrap)?.into_inner())
}

/// The class of a tensor's storage in PyTorch.
fn storage(dtype: DType) -> Result<&'static str> {
    Ok(match dtype {
        DType::F64 => "DoubleStorage",
        DType::F32 => "FloatStorage",
        DType::F16 => "HalfStorage",
        DType::BF16 => "BFloat16Storage",
        DType::I64 => "LongStorage",
        DType::U8 => "ByteStorage",
        other => bail!("PyTorch's files hold no tensors of {other:?}"),
    })
}

fn numbers(tensor: &Tensor) -> Result<Vec<u8>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a tensor of the CPU is elsewhere") };
    let (start, count) = (layout.start_offset(), layout.shape().elem_count());
    macro_rules! bytes {
        ($numbers:expr) => {
            $numbers[start..][..count].iter().flat_map(|number| number.to_le_bytes()).collect()
        };
    }
    Ok(match storage {
        CpuStorage::F64(numbers) => bytes!(numbers),
        CpuStorage::F32(numbers) => bytes!(numbers),
        CpuStorage::F16(numbers) => bytes!(numbers),
        CpuStorage::BF16(numbers) => bytes!(numbers),
        CpuStorage::I64(numbers) => bytes!(numbers),
        CpuStorage::U8(numbers) => numbers[start..][..count].to_vec(),
        _ => bail!("PyTorch's files hold no tensors of {:?}", tensor.dtype()),
    })
}

/// `OrderedDict([(name, _rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict())), …])`, protocol 2.
fn pickle(tensors: &[(&str, Tensor)]) -> Result<Vec<u8>> {
    let mut out = Pickle(vec![0x80, 2]);
    out.global("collections", "OrderedDict");
    out.empty_tuple();
    out.reduce();
    out.mark();
    for (index, (name, tensor)) in tensors.iter().enumerate() {
        out.text(name)?;
        out.global("torch._utils", "_rebuild_tensor_v2");
        out.mark();
        // The storage, by its persistent id.
        out.mark();
        out.text("storage")?;
        out.global("torch", storage(tensor.dtype())?);
        out.text(&index.to_string())?;
        out.text("cpu")?;
        out.integer(tensor.elem_count())?;
        out.tuple();
        out.persistent_id();
        out.integer(0)?;
        out.integers(tensor.dims())?;
        out.integers(tensor.stride())?;
        out.falsehood();
        out.global("collections", "OrderedDict");
        out.empty_tuple();
        out.reduce();
        out.tuple();
        out.reduce();
    }
    out.set_items();
    out.stop();
    Ok(out.0)
}

/// The instructions of a pickle.
struct Pickle(Vec<u8>);

impl Pickle {
    fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn text(&mut self, text: &str) -> Result<()> {
        let length = u32::try_from(text.len()).map_err(|_| Error::msg("a name is longer than a pickle can hold"))?;
        self.0.push(b'X');
        self.0.extend(length.to_le_bytes());
        self.0.extend(text.bytes());
        Ok(())
    }

    fn integer(&mut self, number: usize) -> Result<()> {
        if let Ok(number) = i32::try_from(number) {
            self.0.push(b'J');
            self.0.extend(number.to_le_bytes());
        } else {
            let number = i64::try_from(number).map_err(|_| Error::msg("a tensor is larger than PyTorch's"))?;
            self.0.extend([0x8a, 8]);
            self.0.extend(number.to_le_bytes());
        }
        Ok(())
    }

    fn integers(&mut self, numbers: &[usize]) -> Result<()> {
        self.mark();
        numbers.iter().try_for_each(|number| self.integer(*number))?;
        self.tuple();
        Ok(())
    }

    fn mark(&mut self) {
        self.0.push(b'(');
    }

    fn tuple(&mut self) {
        self.0.push(b't');
    }

    fn empty_tuple(&mut self) {
        self.0.push(b')');
    }

    fn reduce(&mut self) {
        self.0.push(b'R');
    }

    fn persistent_id(&mut self) {
        self.0.push(b'Q');
    }

    fn falsehood(&mut self) {
        self.0.push(0x89);
    }

    fn set_items(&mut self) {
        self.0.push(b'u');
    }

    fn stop(&mut self) {
        self.0.push(b'.');
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::write_state_dict;

    #[test]
    fn what_is_written_is_read() {
        let tensor = |dtype| {
            Tensor::new(&[[1.5f32, -2.0, 3.25], [0.0, 255.0, 7.0]], &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
        };
        let counter = Tensor::new(9_007_199_254_740_993_i64, &Device::Cpu).unwrap();
        let transposed = tensor(DType::F32).t().unwrap();
        let part = tensor(DType::F64).narrow(0, 1, 1).unwrap();
        let written = [
            ("z.weight", tensor(DType::F32)),
            ("a.weight", transposed),
            ("part", part),
            ("half", tensor(DType::F16)),
            ("brain", tensor(DType::BF16)),
            ("counter", counter),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.pth");
        std::fs::write(&path, write_state_dict(written.iter().map(|(name, tensor)| (*name, tensor))).unwrap()).unwrap();
        let read = crate::read(&path, None).unwrap();
        assert_eq!(read.len(), written.len());
        for (name, tensor) in &written {
            let found = &read[*name];
            assert_eq!((found.dtype(), found.dims()), (tensor.dtype(), tensor.dims()), "{name}");
            let numbers =
                |tensor: &Tensor| tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(numbers(found), numbers(tensor), "{name}");
        }
        let refused = write_state_dict([("index", &Tensor::new(&[1u32], &Device::Cpu).unwrap())]).unwrap_err();
        assert!(refused.to_string().contains("no tensors of U32"), "{refused}");
    }
}

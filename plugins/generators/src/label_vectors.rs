//! Vectors of class names, out of a file.

use std::collections::BTreeMap;
use std::path::Path;

use torch_checkpoint::{ReadError, WeightsFile, printable};
use zskt_api::candle_core::{DType, Tensor};
use zskt_api::{CheckError, Error, Result};

/// A table with a vector for each class, known by its file's header.
pub struct LabelVectors {
    file: WeightsFile,
    dict: usize,
    name: String,
    shape: [usize; 2],
    dtype: DType,
}

impl LabelVectors {
    /// More would be no vector of a name.
    const LONGEST: usize = 65536;

    /// Opens a file with a table of so many classes.
    ///
    /// # Errors
    /// What is wrong with the file, or with its table.
    pub fn open(path: &Path, classes: usize) -> std::result::Result<Self, CheckError> {
        let fault = |reason: String, help: &str| {
            let reason = format!("cannot take label vectors from `{}`: {reason}", path.display());
            CheckError::parameter("vectors", reason).help(help)
        };
        let unreadable = |error: ReadError| fault(error.kind.to_string(), &error.kind.help());
        let file = WeightsFile::open(path).map_err(unreadable)?;
        let all =
            || file.state_dicts().iter().enumerate().flat_map(|(dict, s)| s.tensors().iter().map(move |t| (dict, t)));
        let found = all().find(|(_, tensor)| tensor.name == "table");
        let only = || all().next().filter(|_| all().nth(1).is_none());
        let Some((dict, tensor)) = found.or_else(only) else {
            return Err(fault(
                format!("it holds {} tensors, and none is called `table`", all().count()),
                "save one tensor `[classes, D]` under the name `table`",
            ));
        };
        let info = tensor.info.clone().map_err(|kind| unreadable(ReadError { path: path.to_path_buf(), kind }))?;
        let name = printable(&tensor.name);
        let help = "it needs a row for each class, in the order of the teacher's classes: a tensor `[classes, D]` of floating-point numbers";
        match info.shape[..] {
            [rows, length] if rows == classes && (1..=Self::LONGEST).contains(&length) && info.dtype.is_float() => {
                let (name, dtype) = (tensor.name.clone(), info.dtype);
                Ok(Self { dict, name, shape: [rows, length], dtype, file })
            }
            ref shape => Err(fault(
                format!("its tensor `{name}` is {} {shape:?}, and there are {classes} classes", info.dtype.as_str()),
                help,
            )),
        }
    }

    /// Numbers of a vector.
    pub fn length(&self) -> usize {
        self.shape[1]
    }

    /// Type and shape.
    pub fn shown(&self) -> String {
        format!("{} {:?}", self.dtype.as_str(), self.shape)
    }

    /// The table, `[classes, D]`, on the CPU.
    ///
    /// # Errors
    /// When it cannot be read, or holds numbers that are not finite.
    pub fn read(mut self) -> Result<Tensor> {
        let wanted = BTreeMap::from([(&*self.name, &*self.name)]);
        let mut tensors = self.file.read(self.dict, &wanted).map_err(|error| Error::new(error.to_string()))?;
        let missing = || Error::new("the table is not there any more");
        let table = tensors.remove(&self.name).ok_or_else(missing)?.to_dtype(DType::F64)?;
        if !table.flatten_all()?.to_vec1::<f64>()?.iter().all(|number| number.is_finite()) {
            let path = self.file.path().display();
            return Err(Error::new(format!("the label vectors of `{path}` hold numbers that are not finite")));
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use zskt_api::candle_core::Device;

    use super::*;

    #[test]
    fn a_file_without_a_row_for_each_class_is_refused() {
        let shared = Path::new("tests/fixtures/labels.safetensors");
        let refused =
            |path: &Path, classes| LabelVectors::open(path, classes).map(|_| ()).map_err(|fault| fault.message);
        assert_eq!(refused(shared, 3), Ok(()));
        let message = refused(shared, 4).expect_err("three rows");
        assert!(message.contains("its tensor `table` is f64 [3, 4], and there are 4 classes"), "{message}");
        let message = refused(Path::new("tests/fixtures/generators.json"), 3).expect_err("no weights");
        assert!(message.contains("cannot take label vectors from"), "{message}");
        let missing = refused(Path::new("nowhere.safetensors"), 3).expect_err("no file");
        assert!(missing.contains("there is no such file"), "{missing}");
    }

    #[test]
    fn vectors_that_are_no_numbers_are_refused() -> Result<()> {
        let path = std::env::temp_dir().join(format!("zskt-label-vectors-{}.safetensors", std::process::id()));
        let table = Tensor::new(&[[0.0, f64::NAN]], &Device::Cpu)?;
        table.save_safetensors("vectors", &path)?;
        let read = LabelVectors::open(&path, 1)?.read();
        std::fs::remove_file(&path)?;
        let error = read.map(|_| ()).expect_err("NaN").to_string();
        assert!(error.contains("hold numbers that are not finite"), "{error}");
        Ok(())
    }
}

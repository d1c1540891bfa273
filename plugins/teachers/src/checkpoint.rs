//! A trained classifier: an architecture, and a file with its weights under PyTorch's names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use torch_checkpoint::{ErrorKind, ReadError, printable, read, read_header};
use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::{
    Architecture, BuildContext, Builder, CheckError, ClassifierNetwork, ClassifierShape, Error, ImageShape, Nested,
    OutputShape, Precision, Result, TeacherSource, Weights, params,
};

/// How many differences between a file and a network are listed; large networks have some hundred weights.
const MOST_DIFFERENCES: usize = 1000;

params! {
    /// A trained classifier from a file.
    ///
    /// The file is safetensors or anything that `torch.save` wrote, before PyTorch 1.6 or since, with PyTorch's names:
    /// a state dict, or a checkpoint that has one in it. What is in a pickle is read, never run.
    pub struct Checkpoint {
        /// The architecture that the weights are for.
        pub model: Nested<dyn Architecture>,
        /// The file, whatever it is called.
        pub path: PathBuf,
        /// Which state dict, where the file has several: its key, or keys joined by dots (`teacher_state_dict`). Left
        /// out, it is the only one, or else that under `state_dict`, `model_state_dict`, `model` or `net`.
        pub key: Option<String> = None,
    }
}

impl ClassifierShape for Checkpoint {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        self.model.output_shape(image)
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }
}

impl TeacherSource for Checkpoint {
    fn architecture(&self) -> Option<&dyn Architecture> {
        Some(&*self.model)
    }

    fn check(&self) -> Result<(), CheckError> {
        let header = read_header(&self.path, self.key.as_deref()).map_err(|error| fault(&error))?;
        let builder = Builder::zeros(Precision::F32, &Device::Cpu);
        self.model.build(&builder).map_err(|error| CheckError::parameter("model", error.to_string()))?;
        let shapes = header.tensors.iter().map(|(name, info)| (name.as_str(), info.shape.as_slice()));
        self.compare(&builder.weights(), shapes)
    }

    fn load(&self, context: &BuildContext) -> Result<ClassifierNetwork> {
        let file = read(&self.path, self.key.as_deref()).map_err(|error| Error::new(error.to_string()))?;
        let builder = Builder::zeros(context.precision, &context.device);
        let forward = self.model.build(&builder)?;
        let weights = builder.weights();
        let shapes = file.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dims()));
        self.compare(&weights, shapes)
            .map_err(|fault| Error::new(format!("{}; {}", fault.message, fault.help.unwrap_or_default())))?;
        self.check_finite(&file.tensors)?;
        weights.load(&file.tensors)?;
        Ok(ClassifierNetwork { name: context.node.clone(), weights, forward })
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }
}

impl Checkpoint {
    /// A network with weights that are no numbers would blame whatever learns from it.
    fn check_finite(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, tensor) in tensors.iter().filter(|(_, tensor)| tensor.dtype().is_float()) {
            let sum = tensor.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
            if !sum.is_finite() {
                let path = self.path.display();
                return Err(Error::new(format!(
                    "`{name}` in `{path}` holds numbers that are not finite: its training diverged"
                )));
            }
        }
        Ok(())
    }

    /// Whether the names and shapes of the file are those of the network: one fault lists every difference.
    fn compare<'a>(
        &self,
        weights: &Weights,
        shapes: impl Iterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<(), CheckError> {
        let differences = weights.mismatches(shapes);
        if differences.is_empty() {
            return Ok(());
        }
        let (count, plural) = (differences.len(), if differences.len() == 1 { "" } else { "s" });
        let message =
            format!("the weights in `{}` do not fit the model: {count} difference{plural}", self.path.display());
        let mut help = "give the model the parameters it was trained with".to_string();
        for difference in differences.iter().take(MOST_DIFFERENCES) {
            help.push_str("\n  ");
            // It contains names out of the file.
            help.push_str(&printable(difference));
        }
        if count > MOST_DIFFERENCES {
            help.push_str(&format!("\n  and {} more", count - MOST_DIFFERENCES));
        }
        Err(CheckError::parameter("path", message).help(help))
    }
}

fn fault(error: &ReadError) -> CheckError {
    let parameter = if matches!(error.kind, ErrorKind::UnknownKey { .. }) { "key" } else { "path" };
    let message = format!("cannot take weights from `{}`: {}", error.path.display(), error.kind);
    CheckError::parameter(parameter, message).help(error.kind.help())
}

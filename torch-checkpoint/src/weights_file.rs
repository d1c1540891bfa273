//! An opened weights file: what it holds is known from its header, tensors are read when they are asked for.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use crate::configuration::Configuration;
use crate::error::{ErrorKind, ReadError, printable};
use crate::format::{Format, HEAD_LENGTH};
use crate::tensor_archive::TensorArchive;
use crate::view::TensorInfo;
use crate::{folder, safetensors_file, shards, torch_legacy, torch_zip};

/// A file with weights, or several that are one: the shards of an index, a folder of Hugging Face or timm.
pub struct WeightsFile {
    path: PathBuf,
    format: Format,
    files: Vec<PathBuf>,
    configuration: Option<Configuration>,
    parts: Vec<Part>,
    state_dicts: Vec<StateDict>,
}

/// One of the files that tensors lie in.
pub(crate) struct Part {
    path: PathBuf,
    archive: TensorArchive<BufReader<File>>,
}

/// A dict of tensors in a weights file, known by its header.
#[derive(Debug)]
pub struct StateDict {
    key: String,
    tensors: Vec<NamedTensor>,
}

/// A tensor of a state dict, under the name that the file has for it.
#[derive(Debug)]
pub struct NamedTensor {
    /// Its name.
    pub name: String,
    /// Its type and shape; what is wrong with it, where it cannot be read.
    pub info: Result<TensorInfo, ErrorKind>,
    part: usize,
    dict: usize,
    number: usize,
}

impl StateDict {
    /// Where in the file it lies: keys joined by dots; empty if it is not wrapped.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its tensors, in the file's order. Safetensors are in the order of their bytes, which is not that of the network.
    pub fn tensors(&self) -> &[NamedTensor] {
        &self.tensors
    }
}

impl WeightsFile {
    /// Opens a weights file, the index of a sharded one (`model.safetensors.index.json`), or a folder that has either,
    /// `model.safetensors` or `pytorch_model.bin`, perhaps beside a `config.json`. Everything but the tensors' elements is read and checked: a matter of milliseconds.
    ///
    /// # Errors
    /// What is wrong with the file, and what to do about it. What is wrong with one tensor is found where that is asked for.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let metadata = metadata(path)?;
        if metadata.is_dir() {
            return folder::open(path);
        }
        let file = if shards::is_index(path, &metadata)? {
            shards::open(path)?
        } else {
            let part = Part::open(path)?;
            Self::of_parts(path, part.archive.format, vec![path.to_path_buf()], vec![part])
        };
        let mut configuration = match &file.parts[..] {
            [part] => part.archive.configuration.clone(),
            _ => Configuration::default(),
        };
        let read = folder::beside(path, &mut configuration)?;
        let is_said = !read.is_empty() || configuration != Configuration::default();
        let files = file.files.iter().cloned().chain(read).collect();
        Ok(Self { files, configuration: is_said.then_some(configuration), ..file })
    }

    /// What several parts hold, with one state dict for each of theirs.
    pub(crate) fn of_parts(path: &Path, format: Format, files: Vec<PathBuf>, parts: Vec<Part>) -> Self {
        let mut state_dicts = Vec::new();
        for (part, Part { archive, .. }) in parts.iter().enumerate() {
            for (dict, found) in archive.dicts.iter().enumerate() {
                let tensors = found.tensors.iter().enumerate().map(|(number, (name, view))| {
                    let info = view.as_ref().map(|view| view.info.clone()).map_err(Clone::clone);
                    NamedTensor { name: name.clone(), info, part, dict, number }
                });
                state_dicts.push(StateDict { key: found.key.clone(), tensors: tensors.collect() });
            }
        }
        Self { path: path.to_path_buf(), format, files, configuration: None, parts, state_dicts }
    }

    /// Makes one state dict of those of all parts.
    pub(crate) fn merged(mut self) -> Self {
        let mut tensors: Vec<NamedTensor> = self.state_dicts.drain(..).flat_map(|dict| dict.tensors).collect();
        tensors.shrink_to_fit();
        self.state_dicts.push(StateDict { key: String::new(), tensors });
        self
    }

    /// The same, under the path that was given for it.
    pub(crate) fn given_as(self, path: &Path) -> Self {
        Self { path: path.to_path_buf(), ..self }
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format that the content has, whatever the file is called.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Every file that is read: the weights, and of a folder the configuration.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What the file says about the network in its metadata, or else the folder, in which its weights are called as Hugging Face and timm
    /// call them.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }

    /// Every dict of tensors, in the file's order; an optimizer's state is none.
    pub fn state_dicts(&self) -> &[StateDict] {
        &self.state_dicts
    }

    /// Reads tensors of the state dict of this number: those that `names` has, each under the name that it has for them. They are on
    /// the CPU, in the type that they were saved in (bool as u8).
    ///
    /// # Errors
    /// When one is not there or cannot be read.
    pub fn read(&mut self, dict: usize, names: &BTreeMap<&str, &str>) -> Result<BTreeMap<String, Tensor>, ReadError> {
        let failed = |kind| ReadError { path: self.path.clone(), kind };
        let mut wanted: BTreeMap<(usize, usize), BTreeMap<usize, &str>> = BTreeMap::new();
        let mut count = 0;
        for tensor in self.state_dicts.get(dict).map_or(&[][..], |dict| &dict.tensors) {
            if let Some(name) = names.get(tensor.name.as_str()) {
                tensor.info.as_ref().map_err(|error| failed(error.clone()))?;
                wanted.entry((tensor.part, tensor.dict)).or_default().insert(tensor.number, name);
                count += 1;
            }
        }
        if count != names.len() {
            return Err(failed(ErrorKind::NoStateDict { found: "a state dict without some of the names".to_string() }));
        }
        let mut tensors = BTreeMap::new();
        for ((part, dict), numbers) in wanted {
            let Part { path, archive } = &mut self.parts[part];
            let found = archive.read(dict, &numbers.keys().copied().collect::<Vec<_>>());
            for (number, tensor) in found.map_err(|kind| ReadError { path: path.clone(), kind })? {
                tensors.insert(numbers[&number].to_string(), tensor);
            }
        }
        Ok(tensors)
    }
}

/// Reads the tensors of a weights file that has one state dict; of one with several, those of the one under `key`.
///
/// # Errors
/// What is wrong with the file, and what to do about it; [`ErrorKind::Ambiguous`] and [`ErrorKind::UnknownKey`] list the
/// keys that there are.
pub fn read(path: &Path, key: Option<&str>) -> Result<BTreeMap<String, Tensor>, ReadError> {
    let mut file = WeightsFile::open(path)?;
    let dicts = file.state_dicts();
    let keys = || dicts.iter().map(StateDict::key).filter(|key| !key.is_empty()).map(printable).collect();
    let failed = |kind| ReadError { path: path.to_path_buf(), kind };
    let number = match key {
        Some(key) => dicts
            .iter()
            .position(|dict| dict.key == key)
            .ok_or_else(|| failed(ErrorKind::UnknownKey { key: key.to_string(), keys: keys() }))?,
        None if dicts.len() > 1 => return Err(failed(ErrorKind::Ambiguous { keys: keys() })),
        None => 0,
    };
    let names: Vec<String> = dicts[number].tensors.iter().map(|tensor| tensor.name.clone()).collect();
    file.read(number, &names.iter().map(|name| (name.as_str(), name.as_str())).collect())
}

impl Part {
    /// Opens a file in whatever format it is.
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        let length = metadata(path)?.len();
        let open = || -> Result<_, ErrorKind> {
            let mut file = BufReader::new(File::open(path)?);
            let head = head(&mut file)?;
            let archive = match Format::detect(&head)? {
                Format::Safetensors => safetensors_file::open(file, length),
                Format::TorchZip => torch_zip::open(file, length),
                Format::TorchLegacy => torch_legacy::open(file, length),
            }?;
            archive.check_size(length)?;
            Ok(archive)
        };
        let archive = open().map_err(|kind| ReadError { path: path.to_path_buf(), kind })?;
        Ok(Self { path: path.to_path_buf(), archive })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn format(&self) -> Format {
        self.archive.format
    }

    /// How many state dicts it has, and the names of the first's tensors.
    pub(crate) fn names(&self) -> (usize, impl Iterator<Item = &str>) {
        let dicts = &self.archive.dicts;
        (dicts.len(), dicts.iter().take(1).flat_map(|dict| dict.tensors.iter().map(|(name, _)| name.as_str())))
    }
}

/// What lies at a path: a file that is not empty, or a folder.
pub(crate) fn metadata(path: &Path) -> Result<Metadata, ReadError> {
    let find = || {
        // Before it is opened: opening a pipe would wait for its other end.
        let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::Missing,
            _ => ErrorKind::from(error),
        })?;
        match metadata.is_dir() {
            false if !metadata.is_file() => Err(ErrorKind::NotAFile { found: "a device or a pipe" }),
            false if metadata.len() == 0 => Err(ErrorKind::Empty),
            _ => Ok(metadata),
        }
    };
    find().map_err(|kind| ReadError { path: path.to_path_buf(), kind })
}

/// The first bytes of a file.
pub(crate) fn head(file: &mut (impl Read + Seek)) -> Result<Vec<u8>, ErrorKind> {
    let mut head = Vec::new();
    file.by_ref().take(HEAD_LENGTH).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(head)
}

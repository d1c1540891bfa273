//! The index of a sharded file, as Hugging Face writes it (`model.safetensors.index.json`, `pytorch_model.bin.index.json`): which
//! of the files beside it holds which tensor.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{ErrorKind, Location, ReadError, printable};
use crate::weights_file::{Part, WeightsFile, head};

/// Longer than the index of any network.
const LONGEST_INDEX: u64 = 64 << 20;

/// More than any network has; each is a file that stays open.
const MOST_SHARDS: usize = 256;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Whether the file is JSON, as an index is.
pub(crate) fn is_index(path: &Path, metadata: &Metadata) -> Result<bool, ReadError> {
    let failed = |kind| ReadError { path: path.to_path_buf(), kind };
    let head = File::open(path).map_err(ErrorKind::from).and_then(|mut file| head(&mut file)).map_err(failed)?;
    let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
    Ok(metadata.len() <= LONGEST_INDEX && first == Some(&b'{') && head.get(8) != Some(&b'{'))
}

/// Opens the index and the files that it names.
pub(crate) fn open(path: &Path) -> Result<WeightsFile, ReadError> {
    let failed = |kind| ReadError { path: path.to_path_buf(), kind };
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST_INDEX).read_to_end(&mut text))
        .map_err(|error| failed(error.into()))?;
    let Index { weight_map } = serde_json::from_slice(&text).map_err(|_| {
        failed(ErrorKind::NotWeights {
            found: "JSON without the `weight_map` of a sharded file's index".to_string(),
            help: "give the weights file itself, or the folder that it lies in",
        })
    })?;
    let damaged = |what: String| failed(ErrorKind::Damaged { location: Location::from(0), what });
    let mut names: BTreeSet<String> = weight_map.values().cloned().collect();
    if names.len() > MOST_SHARDS {
        return Err(failed(ErrorKind::Excessive {
            location: Location::from(0),
            what: format!("an index of {} files, where {MOST_SHARDS} are the most", names.len()),
        }));
    }
    // An index may leave out what nothing has changed in; the names of the files say how many there are.
    let series: Vec<_> = names.iter().filter_map(|name| series(name)).collect();
    for (stem, count, ending) in series {
        if count <= MOST_SHARDS {
            names.extend((1..=count).map(|number| format!("{stem}-{number:05}-of-{count:05}{ending}")));
        }
    }
    if names.is_empty() {
        return Err(failed(ErrorKind::NoStateDict { found: "an index that names no file".to_string() }));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut parts = Vec::new();
    for name in &names {
        // Nothing outside the folder is read because a file says so.
        if name.contains(['/', '\\', ':']) || name == ".." || name == "." || name.is_empty() {
            return Err(damaged(format!("the index names the file `{}`, which is not beside it", printable(name))));
        }
        parts.push(Part::open(&folder.join(name))?);
    }
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (number, part) in parts.iter().enumerate() {
        let (dicts, tensors) = part.names();
        if dicts != 1 || part.format() != parts[0].format() {
            return Err(damaged(format!("`{}` is not a shard like the others", part.path().display())));
        }
        for name in tensors {
            if places.insert(name, number).is_some() {
                return Err(damaged(format!("the tensor `{}` is in two of its files", printable(name))));
            }
        }
    }
    if let Some((tensor, file)) = weight_map.iter().find(|(tensor, _)| !places.contains_key(tensor.as_str())) {
        let (tensor, file) = (printable(tensor), printable(file));
        return Err(damaged(format!("the index puts the tensor `{tensor}` in `{file}`, which lacks it")));
    }
    let files: Vec<PathBuf> =
        std::iter::once(path.to_path_buf()).chain(parts.iter().map(|part| part.path().to_path_buf())).collect();
    let format = parts[0].format();
    Ok(WeightsFile::of_parts(path, format, files, parts).merged())
}

/// Of `model-00001-of-00002.safetensors`: `model`, 2, `.safetensors`.
fn series(name: &str) -> Option<(String, usize, String)> {
    let (stem, count) = name.split_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (count, ending) = (count.get(..5)?, count.get(5..)?);
    (digits(number) && digits(count)).then(|| Some((stem.to_string(), count.parse().ok()?, ending.to_string())))?
}

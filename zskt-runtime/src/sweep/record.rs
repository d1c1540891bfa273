//! `sweep.json`: what a sweep was begun with, and which of its points lies in which folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use zskt_api::{Diagnostic, Error, Result};

use super::axis::{SEED, canonical};
use super::point_name::point_name;
use super::shell::quoted;
use super::summary::Summary;
use crate::catalogue::Reference;
use crate::run::{WayOut, write_file};
use crate::runs::{Configuration, Difference};
use crate::{checksum, input_file, text_format};

/// More than the record of ten thousand points has.
const MAX_RECORD: u64 = 256 << 20;

/// How many differences are told.
const MOST_TOLD: usize = 8;

/// A sweep, as its folder keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The version of zskt that wrote this.
    pub zskt: String,
    /// Where its pipeline was read from; the folder has a copy.
    pub pipeline: String,
    /// Every parameter of the pipeline but those that are swept, by key.
    pub base: BTreeMap<String, String>,
    /// Its edges.
    pub edges: BTreeSet<String>,
    /// The libraries with its plugins that the command line names, and the packages that its pipeline names, in the versions it began with.
    pub libraries: Vec<PathBuf>,
    /// Its axes, the seed first.
    pub axes: Vec<RecordedAxis>,
    /// The figures that its table has.
    pub headline: Vec<String>,
    /// Its points, each in the order in which it was first asked for.
    pub points: Vec<RecordedPoint>,
}

/// A key, and the values that it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedAxis {
    /// The key.
    pub key: String,
    /// Its values, as they were first written.
    pub values: Vec<String>,
}

/// One run of a sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedPoint {
    /// The name of its folder in that of the sweep.
    pub folder: String,
    /// What is set in it, by the key of its axis.
    pub settings: BTreeMap<String, String>,
    /// All changes to the pipeline, as arguments of `--set`.
    pub sets: Vec<String>,
    /// What the pipeline's source states of its figures, where that is about this point.
    pub published: BTreeMap<String, String>,
    /// Where its figures have to lie, as `0.9..`.
    pub expect: BTreeMap<String, String>,
    /// The sum of its pipeline as resolved.
    pub pipeline_sha256: String,
}

impl RecordedPoint {
    /// What is set in it, but for the seed.
    pub fn configuration(&self) -> BTreeMap<&str, &str> {
        let settings = self.settings.iter().filter(|(key, _)| *key != SEED);
        settings.map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }
}

/// The folder of a sweep.
#[derive(Clone, Debug)]
pub struct SweepFolder {
    /// Where it is.
    pub path: PathBuf,
}

impl SweepFolder {
    /// What the sweep was begun with.
    pub fn record(&self) -> PathBuf {
        self.path.join("sweep.json")
    }

    /// The pipeline, as the user wrote it.
    pub fn pipeline(&self) -> PathBuf {
        self.path.join("pipeline.ron")
    }

    /// What a point's program said on standard error.
    pub fn log(&self, point: &RecordedPoint) -> PathBuf {
        self.logs().join(format!("{}.log", point.folder))
    }

    /// Where what programs say is kept.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The run of a point.
    pub fn run(&self, point: &RecordedPoint) -> PathBuf {
        self.path.join(&point.folder)
    }

    /// The table in a form: `md`, `csv` or `json`.
    pub fn table(&self, form: &str) -> PathBuf {
        self.path.join(format!("table.{form}"))
    }

    /// Reads the record.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn read(&self) -> Result<Record, Diagnostic> {
        let path = self.record();
        let shown = path.display();
        let bytes = input_file::read(&path, MAX_RECORD).map_err(|error| {
            let problem = Diagnostic::global(format!("cannot read {shown}: {}", text_format::reason(&error)));
            problem.help(format!("is `{}` the folder of a sweep?", self.path.display()))
        })?;
        let damaged = |why: String| Diagnostic::global(format!("{shown} is damaged: {why}"));
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        // Names are shown on terminals.
        let is_name = |name: &str| {
            let parts: Vec<_> = Path::new(name).components().collect();
            matches!(parts[..], [Component::Normal(only)] if only == name) && text_format::one_line(name) == name
        };
        if let Some(point) = record.points.iter().find(|point| !is_name(&point.folder)) {
            return Err(damaged(format!("{:?} is not the name of a folder", point.folder)));
        }
        Ok(record)
    }

    /// Writes the record of a new sweep, or adds its points to that of the sweep that is there. Gives the whole record, and the places in it
    /// of the points that were asked for. The pipeline of a sweep that is there is kept as it was; where it is now written otherwise,
    /// `prove` proves that the points in these places are the same runs by the one that is kept.
    ///
    /// # Errors
    /// When the folder holds something else, as the sweep of another pipeline, or cannot be written; and those of `prove`.
    pub fn begin<E: From<Diagnostic>>(
        &self,
        asked: &Record,
        pipeline: &str,
        prove: impl FnOnce(&Record, &[usize]) -> Result<(), E>,
    ) -> Result<(Record, Vec<usize>), E> {
        let cannot =
            |error: &std::io::Error| Diagnostic::global(format!("cannot write {}: {error}", self.path.display()));
        fs::create_dir_all(self.logs()).map_err(|error| cannot(&error))?;
        let _lock = self.lock();
        let way_out = if self.record().exists() { WayOut::CopyOfSweep } else { WayOut::OtherFolder };
        let write = |path: &Path, bytes: &[u8]| {
            write_file(path, way_out, |file| file.write_all(bytes))
                .map_err(|error| Diagnostic::global(error.to_string()))
        };
        let (record, places) = if self.record().exists() {
            let mut record = self.read()?;
            let asked = asked.spelt_as_in(&record);
            record.check_same(&asked, &self.path)?;
            let places = record.add(&asked, &self.path)?;
            if !self.keeps(pipeline) {
                prove(&record, &places)?;
            }
            (record, places)
        } else {
            self.check_empty(pipeline)?;
            let mut record = Record { points: Vec::new(), axes: Vec::new(), ..asked.clone() };
            let places = record.add(asked, &self.path)?;
            if !self.keeps(pipeline) {
                write(&self.pipeline(), pipeline.as_bytes())?;
            }
            (record, places)
        };
        let json = serde_json::to_vec_pretty(&record).map_err(|error| Diagnostic::global(error.to_string()))?;
        write(&self.record(), &json)?;
        Ok((record, places))
    }

    /// Makes the table of all points that there are by now, and writes it in its three forms.
    ///
    /// # Errors
    /// When the record cannot be read, or a file cannot be written.
    pub fn write_tables(&self) -> Result<Summary> {
        let _lock = self.lock();
        let record = self.read().map_err(|problem| Error::new(problem.message))?;
        let summary = Summary::read(self, &record);
        let json = format!("{:#}\n", summary.json());
        for (form, text) in [("md", summary.markdown()), ("csv", summary.csv()), ("json", json)] {
            write_file(&self.table(form), WayOut::CopyOfSweep, |file| file.write_all(text.as_bytes()))?;
        }
        Ok(summary)
    }

    /// Waits until no other sweep writes to the folder's own files. Only where a folder can be opened like a file can it be locked.
    fn lock(&self) -> Option<File> {
        let folder = File::open(self.logs()).ok()?;
        folder.lock().ok()?;
        Some(folder)
    }

    /// Whether its pipeline is written like this.
    fn keeps(&self, pipeline: &str) -> bool {
        input_file::read(&self.pipeline(), pipeline.len() as u64).is_ok_and(|kept| kept == pipeline.as_bytes())
    }

    /// Whether a sweep of this pipeline can begin here: there may be no file but its own.
    fn check_empty(&self, pipeline: &str) -> Result<(), Diagnostic> {
        let (path, logs, kept) = (self.path.display(), self.logs(), self.pipeline());
        let mut entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let problem = if !entries.all(|entry| entry.path() == logs || entry.path() == kept) {
            format!("{path} is not empty, and is not the folder of a sweep")
        } else if fs::symlink_metadata(&kept).is_ok() && !self.keeps(pipeline) {
            format!("{path} has another pipeline.ron, which the sweep would overwrite")
        } else {
            return Ok(());
        };
        let _ = fs::remove_dir(logs);
        Err(Diagnostic::global(problem).help("choose another folder with --out"))
    }
}

impl Record {
    /// What can be swept on in one folder: the same pipeline, along the same axes.
    fn check_same(&self, asked: &Self, folder: &Path) -> Result<(), Diagnostic> {
        let folder = folder.display();
        let keys = |record: &Self| record.axes.iter().map(|axis| axis.key.clone()).collect::<BTreeSet<_>>();
        let shown = |keys: BTreeSet<String>| {
            if keys.is_empty() {
                "nothing".to_owned()
            } else {
                text_format::join(&keys.iter().map(|key| text_format::one_line(key)).collect::<Vec<_>>(), "and")
            }
        };
        if keys(self) != keys(asked) {
            let (kept, asked) = (shown(keys(self)), shown(keys(asked)));
            let message = format!("{folder} has a sweep over {kept}; this one is over {asked}");
            return Err(Diagnostic::global(message)
                .help("choose another folder with --out; more values of the same axes are added to a sweep"));
        }
        let configuration =
            |record: &Self| Configuration { parameters: record.base.clone(), edges: record.edges.clone() };
        let differences = configuration(self).differences(&configuration(asked));
        // A default that is now written down makes no other pipeline.
        let known = asked.points.iter().filter_map(|point| {
            let known = self.points.iter().find(|known| known.settings == point.settings)?;
            Some(known.pipeline_sha256 == point.pipeline_sha256)
        });
        if differences.is_empty() || known.reduce(|all, same| all && same) == Some(true) {
            return Ok(());
        }
        let side = |value: &Option<String>| value.as_deref().map_or("not there".into(), text_format::one_line);
        let line = |Difference { key, first, second }: &Difference| {
            format!("\n  {}: {} there, {} now", text_format::one_line(key), side(first), side(second))
        };
        let mut told: String = differences.iter().take(MOST_TOLD).map(line).collect();
        if differences.len() > MOST_TOLD {
            told += &format!("\n  and {} more", differences.len() - MOST_TOLD);
        }
        let problem = Diagnostic::global(format!("{folder} has a sweep of another pipeline:{told}"));
        let resume = quoted(&folder.to_string());
        Err(problem.help(format!("choose another folder with --out, or go on with that sweep by --resume {resume}")))
    }

    /// The same with each value as `known` has it already, where it is only written otherwise: `1e-1` as `0.1`.
    fn spelt_as_in(&self, known: &Self) -> Self {
        let form = |value: &String| canonical(value).unwrap_or_else(|| value.clone());
        let mut spelt = self.clone();
        for axis in &mut spelt.axes {
            let Some(first) = known.axes.iter().find(|first| first.key == axis.key) else { continue };
            let by_form: BTreeMap<_, _> = first.values.iter().map(|value| (form(value), value)).collect();
            let new = axis.values.iter().filter(|value| !first.values.contains(value));
            let spellings: BTreeMap<String, String> =
                new.filter_map(|value| Some((value.clone(), (*by_form.get(&form(value))?).clone()))).collect();
            let of_points = spelt.points.iter_mut().filter_map(|point| point.settings.get_mut(&axis.key));
            for value in of_points.chain(&mut axis.values) {
                if let Some(spelling) = spellings.get(value.as_str()) {
                    value.clone_from(spelling);
                }
            }
        }
        spelt
    }

    /// Adds libraries; one that is there already is from now on read from where it lies here.
    ///
    /// # Errors
    /// When one is of a package that the sweep, which is in this folder, began with in another version: its points would not be of one kind.
    pub fn add_libraries(&mut self, libraries: &[PathBuf], folder: &Path) -> Result<(), Diagnostic> {
        let package = |path: &Path| Reference::of_path(path).ok().flatten();
        let sum = |path: &PathBuf| checksum::of_file(path).ok();
        for library in libraries {
            let added = package(library);
            let is_same = |known: &&mut PathBuf| match (package(known), &added) {
                (Some(known), Some(added)) => added.has_name(&known.name),
                (None, None) => **known == *library || sum(known).is_some_and(|of| Some(of) == sum(library)),
                _ => false,
            };
            match self.libraries.iter_mut().find(is_same) {
                Some(known) => {
                    let before = package(known);
                    if let (Some(Reference { version: Some(_), .. }), Some(added)) = (&before, &added)
                        && before.as_ref() != Some(added)
                    {
                        let known = known.display();
                        let message = format!("the sweep began with `{known}`, and this is `{added}`");
                        let folder = quoted(&folder.display().to_string());
                        return Err(Diagnostic::global(message).help(format!(
                            "with --out {folder}, and where no version is named, it goes on with the one it began with; a sweep with another \
                             version has another folder"
                        )));
                    }
                    known.clone_from(library);
                }
                None => self.libraries.push(library.clone()),
            }
        }
        Ok(())
    }

    /// Adds the points that are not there yet, and gives the places of all that are asked for.
    fn add(&mut self, asked: &Self, folder: &Path) -> Result<Vec<usize>, Diagnostic> {
        self.add_libraries(&asked.libraries, folder)?;
        for axis in &asked.axes {
            match self.axes.iter_mut().find(|known| known.key == axis.key) {
                Some(known) => {
                    let new =
                        axis.values.iter().filter(|value| !known.values.contains(value)).cloned().collect::<Vec<_>>();
                    known.values.extend(new);
                }
                None => self.axes.push(axis.clone()),
            }
        }
        for figure in &asked.headline {
            if !self.headline.contains(figure) {
                self.headline.push(figure.clone());
            }
        }
        let mut names: BTreeSet<_> = self.points.iter().map(|point| point.folder.to_lowercase()).collect();
        let mut places = Vec::with_capacity(asked.points.len());
        for point in &asked.points {
            if let Some(place) = self.points.iter().position(|known| known.pipeline_sha256 == point.pipeline_sha256) {
                let known = &mut self.points[place];
                known.sets.clone_from(&point.sets);
                known.published.clone_from(&point.published);
                known.expect.clone_from(&point.expect);
                places.push(place);
                continue;
            }
            if let Some(known) = self.points.iter().find(|known| known.settings == point.settings) {
                let message = format!(
                    "the point {} is resolved to another pipeline than when the sweep began: a plugin has changed, a variant, or zskt",
                    known.folder
                );
                return Err(Diagnostic::global(message).help("choose another folder with --out"));
            }
            // The seed first, as in the axes.
            let settings: Vec<_> = self
                .axes
                .iter()
                .filter_map(|axis| Some((axis.key.clone(), point.settings.get(&axis.key)?.clone())))
                .collect();
            let reserved = ["sweep.json", "pipeline.ron", "logs"];
            let folder = point_name(&settings, |name| names.contains(&name.to_lowercase()) || reserved.contains(&name));
            names.insert(folder.to_lowercase());
            places.push(self.points.len());
            self.points.push(RecordedPoint { folder, ..point.clone() });
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;

    use zskt_api::Diagnostic;

    use super::{Record, RecordedAxis, RecordedPoint, SweepFolder};

    type Begun = Result<(Record, Vec<usize>), Diagnostic>;

    /// Begins a sweep, or adds to it, and does not prove anything.
    fn begin(folder: &SweepFolder, record: &Record) -> Begun {
        folder.begin(record, "()", |_, _| Ok(()))
    }

    fn record(seeds: &[u64], depth: &str) -> Record {
        let point = |seed: &u64| RecordedPoint {
            folder: String::new(),
            settings: BTreeMap::from([("seed".into(), seed.to_string())]),
            sets: vec![format!("seed={seed}")],
            published: BTreeMap::new(),
            expect: BTreeMap::new(),
            pipeline_sha256: format!("{seed}{depth}"),
        };
        Record {
            zskt: "0".into(),
            pipeline: "p.ron".into(),
            base: BTreeMap::from([("student.depth".into(), depth.into())]),
            edges: BTreeSet::new(),
            libraries: Vec::new(),
            axes: vec![RecordedAxis { key: "seed".into(), values: seeds.iter().map(u64::to_string).collect() }],
            headline: Vec::new(),
            points: seeds.iter().map(point).collect(),
        }
    }

    #[test]
    fn a_sweep_takes_more_points_and_refuses_another_pipeline() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = SweepFolder { path: temporary.path().join("s") };
        let (_, places) = begin(&folder, &record(&[0, 1], "16")).unwrap();
        assert_eq!(places, [0, 1]);
        let (whole, places) = begin(&folder, &record(&[1, 2], "16")).unwrap();
        assert_eq!(places, [1, 2]);
        assert_eq!(whole.axes[0].values, ["0", "1", "2"]);
        assert_eq!(whole.points.iter().map(|point| &*point.folder).collect::<Vec<_>>(), ["seed=0", "seed=1", "seed=2"]);
        assert_eq!(folder.read().unwrap().points, whole.points);
        let refused = begin(&folder, &record(&[0], "10")).unwrap_err().message;
        assert!(refused.ends_with("\n  student.depth: 16 there, 10 now"), "{refused}");
        let mut written_otherwise = record(&[0, 3], "16");
        written_otherwise.base.insert("student.widen_factor".into(), "1".into());
        assert_eq!(begin(&folder, &written_otherwise).unwrap().1, [0, 3]);
        let mut other = record(&[0], "16");
        other.axes[0].key = "lr".into();
        assert!(begin(&folder, &other).unwrap_err().message.contains("over seed; this one is over lr"));
    }

    #[test]
    fn a_value_that_is_written_otherwise_is_the_same() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = SweepFolder { path: temporary.path().join("s") };
        let written = |lr: &str, seeds: &[u64]| {
            let mut record = record(seeds, "16");
            record.axes.push(RecordedAxis { key: "lr".into(), values: vec![lr.into()] });
            record.points.iter_mut().for_each(|point| drop(point.settings.insert("lr".into(), lr.into())));
            record
        };
        begin(&folder, &written("1e-1", &[0])).unwrap();
        let (whole, places) = begin(&folder, &written("0.10", &[0, 1])).unwrap();
        assert_eq!((places, &*whole.axes[1].values), (vec![0, 1], &["1e-1".to_owned()][..]));
        assert_eq!(whole.points[1].folder, "seed=1,lr=1e-1");
        assert_eq!(whole.points[0].configuration(), whole.points[1].configuration());
    }

    #[test]
    fn the_pipeline_that_a_sweep_began_with_is_kept() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = SweepFolder { path: temporary.path().to_owned() };
        fs::write(folder.pipeline(), "(name: \"mine\")").unwrap();
        let message = begin(&folder, &record(&[0], "16")).unwrap_err().message;
        assert!(message.ends_with("has another pipeline.ron, which the sweep would overwrite"), "{message}");
        assert_eq!(fs::read_to_string(folder.pipeline()).unwrap(), "(name: \"mine\")");
        fs::write(folder.pipeline(), "()").unwrap();
        begin(&folder, &record(&[0], "16")).unwrap();
        let refused = |_: &Record, places: &[usize]| Err(Diagnostic::global(format!("{places:?}")));
        assert_eq!(folder.begin(&record(&[0, 1], "16"), "( )", refused).unwrap_err().message, "[0, 1]");
        assert_eq!(folder.read().unwrap().points.len(), 1);
        let proven = |_: &Record, _: &[usize]| Ok::<_, Diagnostic>(());
        folder.begin(&record(&[0, 1], "16"), "( )", proven).unwrap();
        assert_eq!(fs::read_to_string(folder.pipeline()).unwrap(), "()");
    }

    #[test]
    fn what_is_no_sweep_stays_as_it_is() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = SweepFolder { path: temporary.path().to_owned() };
        fs::write(temporary.path().join("thesis.tex"), "years of work").unwrap();
        assert!(begin(&folder, &record(&[0], "16")).unwrap_err().message.contains("is not empty"));
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
        for evil in ["../x", "/etc", "a/b", "..", "", "a\x1b[2J", "a\nb"] {
            let mut record = record(&[0], "16");
            record.points[0].folder = evil.into();
            fs::write(folder.record(), serde_json::to_vec(&record).unwrap()).unwrap();
            assert!(folder.read().unwrap_err().message.contains("is not the name of a folder"), "{evil}");
        }
    }
}

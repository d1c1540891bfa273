//! Pseudo-images over time, as the run kept them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use serde_json::Value;
use zskt_api::{PluginKind, Registry};

use crate::pipeline::find_shown;
use crate::runs::Run;

/// More pictures say no more.
const MOST: usize = 12;
/// Bytes that all pictures may have together; in a page they take a third more.
const BUDGET: u64 = 1_200_000;
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// A longer side is not one of a grid.
const LONGEST_SIDE: u32 = 4096;

/// A picture that the run kept.
struct Picture {
    stage: String,
    batch: usize,
    path: PathBuf,
    bytes: u64,
    width: u32,
    height: u32,
}

/// The pictures of a run that are of made-up images, as many as fit, from the first to the last; nothing without any. Images of a
/// dataset may not be anyone's, and a page is passed on more easily than a folder.
pub fn over_time(run: &Run, registry: &Registry) -> Option<Markup> {
    let of_data = stages_on_data(run, registry);
    let mut kept = kept(&run.files().images());
    kept.retain(|picture| !of_data.contains(&picture.stage));
    kept.sort_by(|a, b| (&a.stage, a.batch).cmp(&(&b.stage, b.batch)));
    let chosen = chosen(&kept);
    let left_out = kept.len() - chosen.len();
    let pictures = chosen.into_iter().map(|index| &kept[index]);
    let pictures: Vec<_> = pictures.filter_map(|picture| Some((picture, picture.png().ok()?))).collect();
    (!pictures.is_empty()).then(|| {
        html! {
            div.pictures { @for (Picture { stage, batch, width, height, .. }, png) in &pictures {
                figure {
                    (embedded(png, *width, *height, &format!("pseudo-images of {stage} at batch {batch}")))
                    figcaption { (stage) ", batch " (batch) }
                }
            } }
            @if left_out > 0 { p.quiet { (left_out) " more in the folder " code { "images" } " of the run." } }
        }
    })
}

/// The pictures that metrics gave last, as many as fit.
pub fn of_metrics(run: &Run, report: &Value) -> Option<Markup> {
    let metrics = report["pictures"].as_object().into_iter().flatten();
    let files = metrics.flat_map(|(metric, files)| {
        let files = files.as_object().into_iter().flatten();
        files.filter_map(move |(name, file)| Some((format!("{metric}: {name}"), file.as_str()?)))
    });
    let (mut left, mut left_out, mut lost) = (BUDGET, 0, Vec::new());
    let mut pictures = Vec::new();
    for (name, file) in files {
        // A report may have been changed: only what lies with the run's measurements is one of its pictures.
        let path = run.folder.join(file);
        let is_own = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)))
            && path.starts_with(run.files().measurements());
        let bytes = fs::symlink_metadata(&path).ok().filter(|found| is_own && found.is_file()).map(|found| found.len());
        let sized = bytes.and_then(|bytes| Some((bytes, size(&path)?)));
        let Some((bytes, (width, height))) = sized else {
            lost.push(file);
            continue;
        };
        if bytes > left {
            left_out += 1;
            continue;
        }
        let picture = Picture { stage: name.clone(), batch: 0, path, bytes, width, height };
        match picture.png() {
            Ok(png) => {
                left -= bytes;
                pictures.push((name, png, picture));
            }
            Err(_) => lost.push(file),
        }
    }
    (pictures.len() + left_out + lost.len() > 0).then(|| {
        html! {
            div.pictures { @for (name, png, Picture { width, height, .. }) in &pictures {
                figure { (embedded(png, *width, *height, name)) figcaption { (name) } }
            } }
            @if left_out > 0 { p.quiet { (left_out) " more in the folder " code { "measurements" } " of the run." } }
            @if !lost.is_empty() {
                p.quiet {
                    "Not in the run's folder any more, or no pictures:"
                    @for file in lost.iter().take(MOST) { " " code { (file) } }
                    @if lost.len() > MOST { ", and " (lost.len() - MOST) " more" }
                    "."
                }
            }
        }
    })
}

fn embedded(png: &[u8], width: u32, height: u32, alt: &str) -> Markup {
    html! {
        img src=(format!("data:image/png;base64,{}", STANDARD.encode(png))) width=(width) height=(height)
            loading="lazy" decoding="async" alt=(alt);
    }
}

/// The stages that are given images by a dataset, as their pictures are called.
fn stages_on_data(run: &Run, registry: &Registry) -> BTreeSet<String> {
    let configuration = run.configuration();
    let is_dataset = |node: &str| {
        let plugin = configuration.parameters.get(node).and_then(|plugin| find_shown(plugin, registry));
        plugin.is_none_or(|plugin| plugin.kind == PluginKind::Dataset)
    };
    let stage = |edge: &String| {
        let (from, to) = edge.split_once(" -> ")?;
        let stage = to.strip_suffix(".images").filter(|_| is_dataset(from))?;
        let picture = run.files().image(stage, 0);
        Some(picture.file_stem()?.to_str()?.rsplit_once('-')?.0.to_owned())
    };
    configuration.edges.iter().filter_map(stage).collect()
}

fn kept(folder: &Path) -> Vec<Picture> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let kept = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let (stage, batch) = name.strip_suffix(".png")?.rsplit_once('-')?;
        let batch = batch.parse().ok()?;
        // Of the folder's entry itself: a link is none of the run's.
        let bytes = entry.metadata().ok().filter(fs::Metadata::is_file)?.len();
        let (width, height) = size(&entry.path()).filter(|_| bytes <= BUDGET)?;
        Some(Picture { stage: stage.to_owned(), batch, path: entry.path(), bytes, width, height })
    });
    kept.collect()
}

/// Columns and rows of a PNG of usual size.
fn size(path: &Path) -> Option<(u32, u32)> {
    let mut head = [0; 24];
    File::open(path).ok()?.read_exact(&mut head).ok()?;
    let side = |at: usize| Some(u32::from_be_bytes(head[at..at + 4].try_into().ok()?));
    let (width, height) = (side(16)?, side(20)?);
    let sound = head.starts_with(SIGNATURE) && width.max(height) <= LONGEST_SIDE && width.min(height) > 0;
    sound.then_some((width, height))
}

/// Which of them fit, evenly from the first to the last.
fn chosen(kept: &[Picture]) -> Vec<usize> {
    let evenly = |count: usize| -> Vec<usize> {
        if count == 1 { vec![kept.len() - 1] } else { (0..count).map(|n| n * (kept.len() - 1) / (count - 1)).collect() }
    };
    let fits = |chosen: &Vec<usize>| chosen.iter().map(|index| kept[*index].bytes).sum::<u64>() <= BUDGET;
    (1..=kept.len().min(MOST)).rev().map(evenly).find(fits).unwrap_or_default()
}

impl Picture {
    fn png(&self) -> io::Result<Vec<u8>> {
        let mut png = Vec::new();
        File::open(&self.path)?.take(self.bytes).read_to_end(&mut png)?;
        Ok(png)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;
    use zskt_api::Registry;

    use super::{BUDGET, of_metrics, over_time};
    use crate::runs::{Run, RunState};

    #[test]
    fn as_many_pictures_as_fit_and_none_of_anything_else() {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path().join("images");
        let pipeline = r#"(
            nodes: { "generator": ConvGenerator(), "data": Svhn(path: ""), "distill": Transfer(), "teach ing": Train() },
            edges: ["generator -> distill.images", "data -> teach ing.images"],
        )"#;
        let run = Run {
            folder: folder.path().to_owned(),
            name: "tiny".into(),
            state: RunState::Finished,
            manifest: Value::Null,
            report: None,
            pipeline: pipeline.into(),
        };
        let page = || over_time(&run, Registry::get().unwrap()).map(maud::PreEscaped::into_string);
        assert!(page().is_none(), "there is no such folder");
        fs::create_dir(&images).unwrap();
        let mut png = image::DynamicImage::new_rgb8(3, 2);
        png.invert();
        png.save(images.join("a<b-0000001.png")).unwrap();
        let padded = [fs::read(images.join("a<b-0000001.png")).unwrap(), vec![0; 300_000]].concat();
        (2..40).for_each(|batch| fs::write(images.join(format!("distill-{batch:07}.png")), &padded).unwrap());
        fs::write(images.join("distill-0000050.png"), "not a picture").unwrap();
        fs::write(images.join("notes.png"), &padded).unwrap();
        fs::write(images.join("teach_ing-0000001.png"), &padded).unwrap();
        let page = page().unwrap();
        assert!(page.contains("images of a&lt;b at batch 1") && !page.contains("a<b"), "escaped");
        assert!(page.contains("width=\"3\" height=\"2\"") && page.contains("distill, batch 39"), "the last is there");
        assert!(page.len() as u64 <= BUDGET * 3 / 2 && !page.contains("teach_ing"), "{}", page.len());
    }

    #[test]
    fn a_picture_that_is_lost_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let evaluation = folder.path().join("measurements/sure/start");
        fs::create_dir_all(&evaluation).unwrap();
        let run = Run {
            folder: folder.path().to_owned(),
            name: "tiny".into(),
            state: RunState::Finished,
            manifest: Value::Null,
            report: None,
            pipeline: String::new(),
        };
        let file = |name: &str| format!("measurements/sure/start/{name}.png");
        let pictures = serde_json::json!({ "a": file("a"), "b": file("b<"), "c": "../c.png", "d": file("d") });
        let report = serde_json::json!({ "pictures": { "sure": pictures } });
        let page = || of_metrics(&run, &report).map(maud::PreEscaped::into_string).unwrap();
        image::DynamicImage::new_rgb8(3, 2).save(evaluation.join("a.png")).unwrap();
        let large = [fs::read(evaluation.join("a.png")).unwrap(), vec![0; BUDGET as usize]].concat();
        fs::write(evaluation.join("d.png"), large).unwrap();
        let some = page();
        assert!(some.contains("sure: a") && some.contains("1 more in the folder"), "{some}");
        let lost = "any more, or no pictures: <code>measurements/sure/start/b&lt;.png</code> <code>../c.png</code>.";
        assert!(some.contains(lost), "{some}");
        ["a", "d"].iter().for_each(|name| fs::write(evaluation.join(format!("{name}.png")), "damaged").unwrap());
        assert!(page().contains("<code>measurements/sure/start/a.png</code>"), "none is left");
    }
}

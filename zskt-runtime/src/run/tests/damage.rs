//! Folders of runs whose files were damaged: each damage is refused with the file's name, or changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::seq::IndexedRandom;
use zskt_api::{RandomStreams, StreamRng};

use super::{choosing_walks, difference, into, resume, run, run_whole, scratch, two_walks};
use crate::run::RunOutcome;

/// How many damages are tried, unless `ZSKT_DAMAGES` says more.
const TRIALS: usize = 400;

#[test]
fn no_damage_to_a_file_goes_unnoticed_and_changes_a_result() {
    let trials = std::env::var("ZSKT_DAMAGES").map_or(TRIALS, |trials| trials.parse().expect("a number"));
    let folder = scratch();
    let whole = folder.path().join("whole");
    let asks = run_whole(&two_walks(), &whole);
    let mut bases = vec![whole.clone()];
    for calls in (asks / 4..asks).step_by(asks / 8) {
        let base = folder.path().join(calls.to_string());
        assert!(matches!(run(&two_walks(), &into(&base), calls), RunOutcome::Interrupted), "{calls}");
        bases.push(base);
    }
    let (mut refused, mut healed) = (0, 0);
    for trial in 0..trials {
        let mut rng = RandomStreams::new(0).at("damage", trial as u64);
        let base = bases.choose(&mut rng).unwrap();
        let out = folder.path().join("damaged");
        let _ = fs::remove_dir_all(&out);
        copy(base, &out);
        let damage = damage(&out, &mut rng);
        let label = format!("trial {trial}, {}: {} {:?}", base.display(), damage.kind, damage.files);
        match run(&two_walks(), &resume(&out), usize::MAX) {
            RunOutcome::Done => {
                assert_eq!(difference(&out, &whole), None, "{label}");
                healed += 1;
            }
            RunOutcome::Refused(problem) => {
                assert!(damage.files.iter().any(|name| problem.message.contains(name)), "{label}: {problem:?}");
                refused += 1;
            }
            RunOutcome::Failed(error) => {
                let error = error.to_string();
                assert!(damage.files.iter().any(|name| error.contains(name)), "{label}: {error}");
                refused += 1;
            }
            RunOutcome::Interrupted | RunOutcome::OutOfBudget | RunOutcome::ShortOfExpectations => {
                panic!("{label}: nobody asked to stop")
            }
        }
    }
    assert!(refused > 0 && healed > 0, "{refused} refused, {healed} healed");
}

struct Damage {
    kind: &'static str,
    files: Vec<String>,
}

/// Damages one file, or exchanges two.
fn damage(out: &Path, rng: &mut StreamRng) -> Damage {
    let mut files = files(out);
    files.sort();
    let path = files.choose(rng).unwrap().clone();
    let name = |path: &Path| path.strip_prefix(out).unwrap().display().to_string();
    let mut names = vec![name(&path)];
    let mut bytes = fs::read(&path).unwrap();
    let kinds = ["flipped bit", "noise", "zeros", "cut", "longer", "twice", "empty", "gone", "exchanged"];
    let kind = if rng.random_bool(0.4) { kinds[0] } else { kinds.choose(rng).unwrap() };
    let at = rng.random_range(0..bytes.len().max(1));
    let end = bytes.len().min(at + [1, 16, 512].choose(rng).unwrap());
    match kind {
        "flipped bit" if !bytes.is_empty() => bytes[at] ^= 1 << rng.random_range(0..8),
        "noise" => rng.fill(&mut bytes[at..end]),
        "zeros" => bytes[at..end].fill(0),
        "cut" => bytes.truncate(at),
        "longer" => bytes.extend((0..rng.random_range(1..2000)).map(|_| rng.random::<u8>())),
        "twice" => bytes.extend(bytes.clone()),
        "exchanged" => {
            let other = files.choose(rng).unwrap();
            names.push(name(other));
            let others = fs::read(other).unwrap();
            fs::write(other, bytes).unwrap();
            bytes = others;
        }
        _ => bytes.clear(),
    }
    if kind == "gone" {
        fs::remove_file(path).unwrap();
    } else {
        fs::write(path, bytes).unwrap();
    }
    Damage { kind, files: names }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(file, copy).unwrap();
    }
}

#[test]
fn what_is_refused_is_named_and_what_is_healed_is_whole() {
    let folder = scratch();
    let [whole, base, out] = ["whole", "base", "out"].map(|name| folder.path().join(name));
    run_whole(&two_walks(), &whole);
    assert!(matches!(run(&two_walks(), &into(&base), 35), RunOutcome::Interrupted));
    let attempt = |base: &Path, change: &dyn Fn(&Path)| {
        let _ = fs::remove_dir_all(&out);
        copy(base, &out);
        change(&out);
        run(&two_walks(), &resume(&out), usize::MAX)
    };
    let flip = |name: &'static str| {
        move |out: &Path| {
            let mut bytes = fs::read(out.join(name)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(out.join(name), bytes).unwrap();
        }
    };
    let [newest, previous] = ["checkpoint/state.safetensors", "checkpoint/previous.safetensors"];
    // The one before takes the place of a checkpoint that is damaged; of two damaged ones, both are named.
    for base in [&base, &whole] {
        assert!(matches!(attempt(base, &flip(newest)), RunOutcome::Done));
        assert_eq!(difference(&out, &whole), None);
        let both = attempt(base, &|out| [newest, previous].iter().for_each(|name| flip(name)(out)));
        let RunOutcome::Refused(problem) = both else { panic!("{both:?}") };
        assert!([newest, previous].iter().all(|name| problem.message.contains(name)), "{problem:?}");
    }
    // What a finished run has lost comes back, but for weights that were trained on since.
    for name in ["student.safetensors", "report.json", "pipeline.ron"] {
        assert!(matches!(attempt(&whole, &flip(name)), RunOutcome::Done));
        assert_eq!(difference(&out, &whole), None, "{name}");
    }
    let refused = attempt(&whole, &|out| fs::remove_file(out.join("first.safetensors")).unwrap());
    let RunOutcome::Refused(problem) = refused else { panic!("{refused:?}") };
    assert!(problem.message.contains("first.safetensors is missing, and cannot be written again"), "{problem:?}");
}

#[test]
fn best_weights_come_back_though_their_network_was_trained_on_since() {
    let folder = scratch();
    let [whole, out] = ["whole", "out"].map(|name| folder.path().join(name));
    run_whole(&choosing_walks(None), &whole);
    copy(&whole, &out);
    fs::write(out.join("first.best.safetensors"), "something else").unwrap();
    assert!(matches!(run(&choosing_walks(None), &resume(&out), usize::MAX), RunOutcome::Done));
    assert_eq!(difference(&out, &whole), None);
}

//! Folders that are taken away while a run writes to them, that hold what a run left which never came far, or that lead elsewhere.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{assert_same_run, into, resume, run, run_asking, run_whole, scratch, two_walks};
use crate::run::record::{Console, OutputMode, Recorder};
use crate::run::{RunDirectory, RunOutcome};

/// Runs, and does something to the folder when the run has asked so often whether it should stop.
fn run_disturbed(out: &Path, calls: usize, disturb: impl Fn() + Send + Sync + 'static) -> RunOutcome {
    let asked = AtomicUsize::new(0);
    run_asking(
        &two_walks(),
        &into(out),
        Arc::new(move || {
            if asked.fetch_add(1, Ordering::SeqCst) == calls {
                disturb();
            }
            false
        }),
    )
}

#[test]
fn a_folder_that_is_taken_away_ends_the_run_and_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let [out, moved] = ["run", "moved"].map(|name| folder.path().join(name));
    let (from, to) = (out.clone(), moved.clone());
    let outcome = run_disturbed(&out, 14, move || fs::rename(&from, &to).unwrap());
    let RunOutcome::Failed(error) = outcome else { panic!("{outcome:?}") };
    let error = error.to_string();
    assert!(error.contains(&out.display().to_string()) && error.contains("removed or renamed"), "{error}");
    assert!(!out.exists());
    // Nothing is lost: the folder is whole where it is now.
    let whole = folder.path().join("whole");
    run_whole(&two_walks(), &whole);
    assert!(matches!(run(&two_walks(), &resume(&moved), usize::MAX), RunOutcome::Done));
    assert_same_run(&moved, &whole);

    // What it lost on the way and still knows is there at its end.
    let lost = ["pipeline.ron", "manifest.json", "first.safetensors"].map(|name| out.join(name));
    let outcome = run_disturbed(&out, 30, move || lost.iter().for_each(|file| fs::remove_file(file).unwrap()));
    assert!(matches!(outcome, RunOutcome::Done), "{outcome:?}");
    assert!(out.join("pipeline.ron").exists() && out.join("manifest.json").exists());
    fs::remove_dir_all(&out).unwrap();

    let gone = out.clone();
    let outcome = run_disturbed(&out, 14, move || fs::remove_dir_all(&gone).unwrap());
    assert!(matches!(outcome, RunOutcome::Failed(_)), "{outcome:?}");
    assert!(!out.exists());
}

#[test]
fn a_run_that_ended_before_its_first_checkpoint_begins_anew() {
    let folder = scratch();
    let [whole, out] = ["whole", "run"].map(|name| folder.path().join(name));
    run_whole(&two_walks(), &whole);
    let logs = folder.path().join("logs");
    let directory = Arc::new(RunDirectory::create(Some(&logs), "n", "p").unwrap());
    let mut console = Console::writing_to(Box::new(io::sink()), OutputMode::Quiet);
    Recorder::create(directory, &mut console, &two_walks()).unwrap();
    let events = fs::read(logs.join("events.out.tfevents.zskt")).unwrap();
    let sessions = |run: &Path| {
        let events = fs::read(run.join("events.out.tfevents.zskt")).unwrap();
        String::from_utf8_lossy(&events).matches("session_start_info").count()
    };
    assert_eq!(sessions(&whole), 1);
    // In the order in which a run makes them; the first event is no event yet. The page is one that somebody had made.
    let steps: [(&str, &[u8]); 7] = [
        ("manifest.json.zskt-partial", b"{\n"),
        ("manifest.json", &fs::read(whole.join("manifest.json")).unwrap()),
        ("pipeline.ron", &fs::read(whole.join("pipeline.ron")).unwrap()),
        ("metrics.jsonl", b""),
        ("events.out.tfevents.zskt", &events),
        ("checkpoint/state.safetensors.zskt-partial", b"half a"),
        ("report.html", &fs::read(whole.join("report.html")).unwrap()),
    ];
    let prepare = |count: usize| {
        let _ = fs::remove_dir_all(&out);
        fs::create_dir_all(out.join("checkpoint")).unwrap();
        steps[..count].iter().for_each(|(name, bytes)| fs::write(out.join(name), bytes).unwrap());
    };
    for count in 0..=steps.len() {
        for options in [into(&out), resume(&out)] {
            prepare(count);
            let outcome = run(&two_walks(), &options, usize::MAX);
            assert!(matches!(outcome, RunOutcome::Done), "{count}: {outcome:?}");
            assert_same_run(&out, &whole);
        }
    }
    // One that goes on from its first checkpoint tells its parameters once, like any other.
    for calls in 0..20 {
        let _ = fs::remove_dir_all(&out);
        let outcome = run(&two_walks(), &into(&out), calls);
        assert!(matches!(outcome, RunOutcome::Interrupted), "{outcome:?}");
        if out.exists() {
            assert!(matches!(run(&two_walks(), &resume(&out), usize::MAX), RunOutcome::Done));
            assert_eq!(sessions(&out), 1, "{calls}");
        }
    }
    // A pipeline alone may be its user's.
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).unwrap();
    fs::copy(whole.join("pipeline.ron"), out.join("pipeline.ron")).unwrap();
    assert!(matches!(run(&two_walks(), &into(&out), usize::MAX), RunOutcome::Refused(_)));
    assert!(out.join("pipeline.ron").exists());
    // Anything that is not such a run's stays.
    let others: [(&str, &[u8]); 7] = [
        ("thesis.tex", b"years of work"),
        ("report.html", b"<html>years of work</html>"),
        ("manifest.json", b"{\"name\": \"of a web page\"}"),
        ("pipeline.ron", b"(name: \"of another run\")"),
        ("metrics.jsonl", b"{\"batch\":1}\n"),
        ("student.safetensors", b"trained"),
        ("checkpoint/thesis.tex", b"years of work"),
    ];
    for (name, bytes) in others {
        for options in [into(&out), resume(&out)] {
            prepare(steps.len());
            fs::write(out.join(name), bytes).unwrap();
            let outcome = run(&two_walks(), &options, usize::MAX);
            assert!(matches!(outcome, RunOutcome::Refused(_)), "{name}: {outcome:?}");
            assert_eq!(fs::read(out.join(name)).unwrap(), bytes, "{name}");
            assert!(out.join("checkpoint/state.safetensors.zskt-partial").exists(), "{name}");
        }
    }
}

#[test]
#[cfg(unix)]
fn links_in_the_folder_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let [out, elsewhere] = ["run", "elsewhere"].map(|name| folder.path().join(name));
    for name in
        ["metrics.jsonl", "checkpoint", "first.safetensors", "report.json.zskt-partial", "manifest.json", "report.html"]
    {
        let _ = (fs::remove_dir_all(&out), fs::remove_dir_all(&elsewhere), fs::remove_file(&elsewhere));
        assert!(matches!(run(&two_walks(), &into(&out), 35), RunOutcome::Interrupted));
        if fs::rename(out.join(name), &elsewhere).is_err() {
            fs::write(&elsewhere, "years of work").unwrap();
        }
        let before = (fs::read(&elsewhere).ok(), fs::read(elsewhere.join("state.safetensors")).ok());
        std::os::unix::fs::symlink(&elsewhere, out.join(name)).unwrap();
        let outcome = run(&two_walks(), &resume(&out), usize::MAX);
        let after = (fs::read(&elsewhere).ok(), fs::read(elsewhere.join("state.safetensors")).ok());
        assert!(before == after, "{name}: {outcome:?}");
    }
}

//! Sweeps as their users meet them: killed and gone on with, extended, refused, and run command by command.

use std::path::Path;
use std::process::{Command, Output};

// Linux alone tells which processes a process has started.
#[cfg(target_os = "linux")]
mod killed;

/// A run of a moment, with a checkpoint after every other batch.
const PIPELINE: &str = r#"(
    name: "teaching",
    device: "cpu",
    nodes: {
        "teacher": LeNet(size: 16),
        "digits": SyntheticDigits(split: Train, count: 40),
        "labels": CrossEntropy(),
        "learn": Minimize(optimizer: Adam(lr: 1e-3)),
        "teaching": Train(batches: 8, batch_size: 4, evaluate_every: 2, keep: Best("accuracy"), checkpoint_every: 2),
        "accuracy": Accuracy(),
    },
    edges: [
        "teacher -> learn.player", "labels -> learn.loss",
        "teacher -> teaching.student", "digits -> teaching.images", "learn -> teaching.turns",
        "teaching -> accuracy.classifier", "digits -> accuracy.dataset",
    ],
)
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is room");
    std::fs::write(folder.path().join("teaching.ron"), PIPELINE).expect("there is room");
    folder
}

fn sweep(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zskt-run"));
    command.arg("sweep").args(arguments).current_dir(folder).env("RAYON_NUM_THREADS", "1");
    command
}

/// The exit code, standard output and standard error.
fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it speaks UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_sweep_is_extended_and_what_is_finished_stays() {
    let folder = folder();
    let (code, said, complaint) = outcome(&mut sweep(folder.path(), &["teaching.ron", "--seeds", "0..2"]));
    assert_eq!(code, Some(0), "{complaint}");
    assert!(said.contains("seed=1  finished  teaching 8/8  accuracy.top1 "), "{said}");
    // The same folder without --out, as nothing differs but how many seeds there are.
    let runs: Vec<_> = std::fs::read_dir(folder.path().join("runs")).expect("it is there").flatten().collect();
    let out = runs[0].path();
    let report =
        |seed: &str| std::fs::metadata(out.join(format!("seed={seed}/report.json"))).and_then(|file| file.modified());
    let before = report("0").expect("it is finished");
    let (code, said, complaint) = outcome(&mut sweep(folder.path(), &["teaching.ron", "--seeds", "0..3"]));
    assert_eq!(
        (code, std::fs::read_dir(folder.path().join("runs")).map(Iterator::count).ok()),
        (Some(0), Some(1)),
        "{complaint}"
    );
    assert!(said.contains("seed=0  finished\n") && said.contains("seed=2  running\n"), "{said}");
    assert_eq!(report("0").expect("it is still there"), before);
    let markdown = std::fs::read_to_string(out.join("table.md")).expect("it is written");
    assert!(
        markdown.starts_with("| seeds | accuracy.top1 | teaching.best.accuracy.top1 |")
            && markdown.contains("\n| 3 | "),
        "{markdown}"
    );
    // Another pipeline is refused there, and says in what it differs.
    let other = ["teaching.ron", "--seeds", "0", "--set", "teaching.batches=9", "--out"];
    let (code, _, complaint) = outcome(sweep(folder.path(), &other).arg(&out));
    assert_eq!(code, Some(2));
    assert!(complaint.contains("\n  teaching.batches: 8 there, 9 now\n"), "{complaint}");
}

#[test]
fn each_variant_is_a_sweep_of_its_own() {
    let folder = folder();
    let variants = r#"variants: {"long": {"teaching.batches": 16}, "wide": {"teaching.batch_size": 8}},"#;
    let text = PIPELINE.replace("    nodes:", &format!("    {variants}\n    nodes:"));
    std::fs::write(folder.path().join("teaching.ron"), text).expect("there is room");
    let list = |variant: &str, more: &[&str]| {
        let arguments = ["teaching.ron", "--seeds", "0..2", "--list", "--set", variant];
        outcome(sweep(folder.path(), &arguments).args(more))
    };
    for _ in 0..2 {
        for variant in ["variant=long", "variant=wide"] {
            let (code, _, complaint) = list(variant, &[]);
            assert_eq!(code, Some(0), "{complaint}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path().join("runs")).map(Iterator::count).ok(), Some(2));
    assert_eq!(list("variant=long", &["--out", "out"]).0, Some(0));
    let (code, _, complaint) = list("variant=wide", &["--out", "out"]);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("\n  teaching.batches: 16 there, 8 now\n"), "{complaint}");
}

#[test]
fn a_sweep_goes_on_with_the_pipeline_that_it_began_with() {
    let folder = folder();
    let write = |text: &str| std::fs::write(folder.path().join("teaching.ron"), text).expect("there is room");
    let list = |out: &str, seeds: &str, more: &[&str]| {
        let arguments = ["teaching.ron", "--list", "--out", out, "--seeds", seeds];
        outcome(sweep(folder.path(), &arguments).args(more))
    };
    let nine = PIPELINE.replace("batches: 8", "batches: 9");
    assert_eq!(list("out", "0", &[]).0, Some(0));
    for (text, sets) in [(&format!("// The same.\n{PIPELINE}"), &[][..]), (&nine, &["--set", "teaching.batches=8"][..])]
    {
        write(text);
        let (code, commands, complaint) = list("out", "0..2", sets);
        assert_eq!((code, commands.lines().count()), (Some(0), 2), "{complaint}");
    }
    let kept = std::fs::read_to_string(folder.path().join("out/pipeline.ron")).expect("it is there");
    assert_eq!(kept, PIPELINE);
    // Without the argument that made it the same, the text that is kept is another pipeline.
    assert_eq!(list("other", "0", &["--set", "teaching.batches=8"]).0, Some(0));
    write(PIPELINE);
    let (code, _, complaint) = list("other", "0..2", &[]);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("other/pipeline.ron has another pipeline for seed=0, seed=1"), "{complaint}");
}

#[test]
fn every_mistake_of_every_point_is_told_at_its_place_before_anything_runs() {
    let folder = folder();
    let arguments =
        ["teaching.ron", "--seeds", "0..3", "--set", "teaching.batch_size=4,0", "--set", "learn.optimizer.rl=1,2"];
    let (code, said, complaint) = outcome(sweep(folder.path(), &arguments).args(["--out", "out"]));
    assert_eq!((code, said.as_str()), (Some(2), ""));
    assert!(complaint.contains("--set #1:1:23") && complaint.contains("--set #2:1:17"), "{complaint}");
    assert!(
        complaint.contains("`Adam` has no parameter `rl`") && complaint.ends_with("2 problems; nothing was run\n"),
        "{complaint}"
    );
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_point_that_fails_leaves_the_others_and_is_tried_again() {
    let folder = folder();
    let arguments = ["teaching.ron", "--set", "teaching.batch_size=4,8", "--out", "out"];
    let in_the_way = folder.path().join("out/teaching.batch_size=4");
    assert_eq!(outcome(sweep(folder.path(), &arguments).arg("--list")).0, Some(0));
    std::fs::create_dir(&in_the_way)
        .and_then(|()| std::fs::write(in_the_way.join("thesis.tex"), "x"))
        .expect("there is room");
    let (code, said, complaint) = outcome(&mut sweep(folder.path(), &arguments));
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("teaching.batch_size=4  failed")
            && said.contains("is not empty, and nothing is ever overwritten"),
        "{said}"
    );
    assert!(complaint.contains("1 of 2 points failed"), "{complaint}");
    std::fs::remove_dir_all(in_the_way).expect("it is there");
    let (code, said, _) = outcome(&mut sweep(folder.path(), &["--resume", "out"]));
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn what_is_short_of_expectations_is_told_whenever_the_table_is_made() {
    let folder = folder();
    let expect = "expect={\"accuracy.top1\": \"1.5..\"}";
    let arguments =
        ["teaching.ron", "--seeds", "0", "--set", expect, "--set", "published={\"accuracy.top1\": \"90 %\"}"];
    for _ in 0..2 {
        let (code, said, complaint) = outcome(&mut sweep(folder.path(), &arguments));
        assert_eq!(code, Some(3), "{complaint}");
        assert!(
            said.contains("not as expected: seed=0: accuracy.top1 is 0.") && said.contains(", expected 1.5..\n"),
            "{said}"
        );
        assert!(said.contains("accuracy.top1  published  ") && said.contains(" %        90 %"), "{said}");
    }
    let runs: Vec<_> = std::fs::read_dir(folder.path().join("runs")).expect("it is there").flatten().collect();
    assert_eq!(outcome(sweep(folder.path(), &["--collect"]).arg(runs[0].path())).0, Some(3));
}

#[test]
fn nothing_is_written_for_an_engine_that_is_not_there() {
    let folder = folder();
    for (engine, program) in [("slurm", "sbatch"), ("hyperqueue", "hq"), ("parallel", "parallel")] {
        let arguments = ["teaching.ron", "--seeds", "0..2", "--out", "out", "--on", engine];
        let (code, _, complaint) = outcome(sweep(folder.path(), &arguments).env("PATH", folder.path()));
        assert_eq!(code, Some(2), "{complaint}");
        assert!(complaint.contains(&format!("there is no program `{program}` here")), "{complaint}");
        assert!(!folder.path().join("out").exists());
    }
}

#[test]
#[cfg(unix)]
fn each_point_is_a_command_that_may_be_repeated() {
    let folder = folder();
    let arguments =
        ["teaching.ron", "--zip", "teaching.batch_size=4,8", "--zip", "name=\"it's 4\",\"it's 8\"", "--out", "out"];
    let (code, list, complaint) = outcome(sweep(folder.path(), &arguments).arg("--list"));
    assert_eq!((code, list.lines().count()), (Some(0), 2), "{complaint}");
    let elsewhere = tempfile::tempdir().expect("there is room");
    let run = |line: &str| outcome(Command::new("sh").args(["-c", line]).current_dir(elsewhere.path()));
    let first = list.lines().next().unwrap_or_default();
    let (code, said, complaint) = run(first);
    assert_eq!(code, Some(0), "{complaint}");
    assert!(said.contains("of 40 images right"), "{said}");
    assert!(run(first).1.starts_with("this run is finished"));
    let (code, said, complaint) = outcome(&mut sweep(folder.path(), &["--collect", "out"]));
    assert_eq!(code, Some(1));
    assert!(complaint.contains("1 of 2 points are not finished"), "{complaint}");
    assert!(said.contains("0 of 1") && said.contains("missing: teaching.batch_size=8,name=it_s_8"), "{said}");
    // A record from elsewhere cannot add a line of its own to the list, which a shell would run.
    let record = folder.path().join("out/sweep.json");
    let text = std::fs::read_to_string(&record).expect("it is there");
    let evil = text.replace("\"teaching.batch_size=4\"", r#""teaching.batch_size=4 /*'\ntouch evil\n'*/""#);
    assert_ne!(evil, text);
    std::fs::write(&record, evil).expect("there is room");
    let (code, said, complaint) = outcome(&mut sweep(folder.path(), &["--resume", "out", "--list"]));
    assert_eq!((code, said.as_str()), (Some(2), ""));
    assert!(complaint.contains("a command with control characters cannot be one line"), "{complaint}");
}

#[test]
fn a_pipeline_with_a_sweep_of_its_own_is_swept_by_its_name_alone() {
    let folder = folder();
    let text = PIPELINE
        .replace("    nodes:", "    sweep: (seeds: \"0..2\", set: {\"teaching.batch_size\": [4, 8]}),\n    nodes:");
    std::fs::write(folder.path().join("teaching.ron"), &text).expect("there is room");
    let (code, list, complaint) = outcome(&mut sweep(folder.path(), &["teaching.ron", "--list", "--out", "out"]));
    assert_eq!((code, list.lines().count()), (Some(0), 4), "{complaint}");
    let mut single = Command::new(env!("CARGO_BIN_EXE_zskt-run"));
    let (code, _, complaint) = outcome(single.args(["teaching.ron", "--out", "single"]).current_dir(folder.path()));
    assert_eq!(code, Some(0));
    assert!(complaint.contains("note: teaching.ron has a sweep, and this is a single run"), "{complaint}");
    let validate = |folder: &Path| {
        outcome(Command::new(env!("CARGO_BIN_EXE_zskt-run")).args(["validate", "teaching.ron"]).current_dir(folder))
    };
    assert!(validate(folder.path()).1.ends_with("; a sweep of 4 points\n"));
    // A mistake in it is told at its place in the file.
    std::fs::write(folder.path().join("teaching.ron"), text.replace("[4, 8]", "[4, 0]")).expect("there is room");
    let (code, _, complaint) = outcome(&mut sweep(folder.path(), &["teaching.ron", "--list", "--out", "other"]));
    assert_eq!(code, Some(2));
    assert!(complaint.contains("teaching.ron:4:61"), "{complaint}");
    assert_eq!(validate(folder.path()).2, complaint);
}

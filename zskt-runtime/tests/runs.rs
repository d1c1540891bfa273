//! Runs as things: what they will take, what they have to reach, and what is known of them afterwards.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A pipeline that needs no file, with a synthesis.
const PIPELINE: &str = r#"(
    name: "small",
    nodes: {
        "digits": SyntheticDigits(split: Train, count: 40, size: 16),
        "teacher": WideResNet(depth: 10, widen_factor: 1),
        "labels": CrossEntropy(),
        "learn": Minimize(optimizer: Adam(lr: 1e-3)),
        "teaching": Train(batches: 4, batch_size: 8, monitor_every: None),
        "student": WideResNet(depth: 10, widen_factor: 1),
        "generator": ConvGenerator(latent_dim: 8, channels: 8, first_map: 4, image_size: 16, output: Sigmoid),
        "sure": OneHot(),
        "differ": KlDivergence(weight: -1.0),
        "belief": KlDivergence(),
        "make": Synthesize(every: 5, images: 16, steps: 6, warm_up: 2, student_after: 1, optimizer: Adam(lr: 1e-3)),
        "imitate": Minimize(optimizer: Sgd(lr: 0.1)),
        "distill": Transfer(batches: 20, batch_size: 8, monitor_every: None),
        "accuracy": Accuracy(),
    },
    edges: [
        "digits -> teaching.images", "teacher -> teaching.student",
        "teacher -> learn.player", "labels -> learn.loss", "learn -> teaching.turns",
        "generator -> make.player", "sure -> make.loss", "differ -> make.loss",
        "student -> imitate.player", "belief -> imitate.loss",
        "teaching -> distill.teacher", "student -> distill.student", "generator -> distill.images",
        "make -> distill.turns", "imitate -> distill.turns",
        "distill -> accuracy.classifier", "digits -> accuracy.dataset",
    ],
)
"#;

/// The exit code, standard output and standard error.
fn outcome(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_zskt-run"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it speaks UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is room");
    fs::write(folder.path().join("small.ron"), PIPELINE).expect("there is room");
    folder
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("it is JSON")
}

#[test]
fn an_estimate_tells_what_a_run_computes_and_leaves_nothing() {
    let folder = folder();
    let (code, estimate, complaint) = outcome(folder.path(), &["small.ron", "--dry", "--json"]);
    assert_eq!(code, Some(0), "{complaint}");
    assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 1, "only the pipeline");
    let (code, _, complaint) = outcome(folder.path(), &["small.ron", "--quiet", "--out", "run"]);
    assert_eq!(code, Some(0), "{complaint}");
    let (estimate, report) =
        (json(&estimate), json(&fs::read_to_string(folder.path().join("run/report.json")).expect("a report")));
    // Six syntheses: two before the first round's own, and one more every five of the twenty batches.
    assert_eq!(estimate["stages"]["distill"]["syntheses"]["make"]["count"], 6);
    for stage in ["teaching", "distill"] {
        let [told, done] = [&estimate["stages"][stage]["all"]["flop"], &report["stages"][stage]["flop"]];
        let (told, done) = (told.as_f64().expect("a number"), done.as_f64().expect("a number"));
        assert!((told / done - 1.0).abs() < 0.02, "{stage}: {told:e} and {done:e}");
    }
    let (_, table, _) = outcome(folder.path(), &["small.ron", "--dry"]);
    assert!(table.contains("6 syntheses of 6 steps") && table.contains("20 batches"), "{table}");
}

#[test]
fn a_budget_ends_a_run_with_a_code_of_its_own() {
    let folder = folder();
    let (code, _, complaint) = outcome(folder.path(), &["small.ron", "--budget", "0s", "--quiet", "--out", "run"]);
    assert_eq!(code, Some(124), "{complaint}");
    assert!(complaint.contains("the budget of 0s is used up"), "{complaint}");
    let (code, _, complaint) = outcome(folder.path(), &["small.ron", "--budget", "2 fortnights"]);
    assert_eq!(code, Some(2), "{complaint}");
}

#[test]
#[cfg(target_os = "linux")]
fn events_that_cannot_be_written_fail_a_run_that_is_done() {
    let folder = folder();
    let into_full_disk = |arguments: &[&str]| {
        let full = fs::File::options().write(true).open("/dev/full").expect("Linux has it");
        let output = Command::new(env!("CARGO_BIN_EXE_zskt-run"))
            .args(arguments)
            .current_dir(folder.path())
            .stdout(full)
            .output()
            .expect("the program starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("it speaks UTF-8"))
    };
    let (code, complaint) = into_full_disk(&["small.ron", "--json", "--out", "run"]);
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("standard output does not have all") && complaint.contains("No space"), "{complaint}");
    assert!(folder.path().join("run/report.json").exists(), "what counts is whole");
    // What people read is no promise, and another code says more.
    assert_eq!(into_full_disk(&["small.ron", "--out", "for people"]).0, Some(0));
    let (code, complaint) = into_full_disk(&["small.ron", "--json", "--out", "late", "--budget", "0s"]);
    assert_eq!(code, Some(124), "{complaint}");
    assert!(complaint.contains("warning: standard output does not have all"), "{complaint}");
}

#[test]
fn expectations_decide_the_exit_code() {
    let folder = folder();
    let expecting = |expected: &str| {
        let pipeline = PIPELINE.replacen("nodes:", &format!("expect: {{{expected}}},\n    nodes:"), 1);
        fs::write(folder.path().join("small.ron"), pipeline).expect("there is room");
    };
    expecting(r#""accuracy.top1": "0..1", "distill.batches": "..30""#);
    let (code, said, complaint) = outcome(folder.path(), &["small.ron", "--out", "run"]);
    assert_eq!(code, Some(0), "{complaint}");
    assert!(said.contains("accuracy.top1") && said.contains("0..1") && !said.contains("NOT MET"), "{said}");
    // The same run by other standards: they are no part of what is computed.
    expecting(r#""accuracy.top1": "0..", "distill.batches": "21..", "accuracy.not_finite": "1..""#);
    let (code, said, complaint) = outcome(folder.path(), &["small.ron", "--resume", "run", "--quiet"]);
    assert_eq!(code, Some(3), "{complaint}");
    assert_eq!(said.matches("NOT MET").count(), 2, "{said}");
    for command in [["runs", "list", "run"], ["runs", "show", "run"]] {
        let (_, said, _) = outcome(folder.path(), &command);
        assert!(said.contains("finished, not as expected"), "the folder says what is expected of it: {said}");
    }
    fs::remove_file(folder.path().join("run/report.html")).expect("it was written");
    outcome(folder.path(), &["report", "run"]);
    let page = fs::read_to_string(folder.path().join("run/report.html")).expect("it is written");
    assert!(page.contains("finished, not as expected"));
    assert!(!folder.path().join("run/pipeline.ron.differs").exists());
    expecting(
        r#""acuracy.top1": "0..", "teacher.top1": "0..", "accuracy.topp1": "0..", "distill.imags_per_second": "1..", "distill.imitate.loss": "0..""#,
    );
    let (code, _, complaint) = outcome(folder.path(), &["validate", "small.ron"]);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("there is no node `acuracy`") && complaint.contains("did you mean `accuracy`?"));
    assert!(complaint.contains("`teacher` is neither a metric nor a stage"), "{complaint}");
    assert!(complaint.contains("did you mean `accuracy.top1`?"), "{complaint}");
    assert!(complaint.contains("did you mean `distill.images_per_second`?"), "{complaint}");
    assert!(!complaint.contains("`imitate.loss`"), "{complaint}");
}

#[test]
fn a_student_that_was_never_trained_is_not_exported_nor_its_teacher_in_its_place() {
    let folder = folder();
    let diverges = ["small.ron", "--quiet", "--out", "run", "--set", "imitate.optimizer.lr=1e30"];
    let (code, _, complaint) = outcome(folder.path(), &diverges);
    assert_eq!(code, Some(1), "{complaint}");
    let (code, _, complaint) = outcome(folder.path(), &["export", "run", "--format", "safetensors"]);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("`distill`, which trains `student`, has no checkpoint in run yet"), "{complaint}");
    assert!(complaint.contains("its networks: generator, student, teacher"), "{complaint}");
    let (code, ..) = outcome(folder.path(), &["export", "run", "--format", "safetensors", "--network", "teacher"]);
    assert_eq!(code, Some(0));

    let (code, ..) = outcome(folder.path(), &["small.ron", "--quiet", "--out", "done"]);
    assert_eq!(code, Some(0));
    outcome(folder.path(), &["runs", "prune", "done", "--what", "checkpoints", "--yes"]);
    let (_, _, complaint) = outcome(folder.path(), &["export", "done", "--format", "safetensors"]);
    assert!(complaint.contains("they were removed: done/student.safetensors has the student's weights"), "{complaint}");
}

#[test]
fn a_run_that_is_resumed_by_its_folder_alone_has_its_pipeline_back() {
    let folder = folder();
    let (code, _, complaint) = outcome(folder.path(), &["small.ron", "--quiet", "--out", "run"]);
    assert_eq!(code, Some(0), "{complaint}");
    let path = folder.path().join("run/pipeline.ron");
    let own = fs::read_to_string(&path).expect("it is there");
    let resume = || outcome(folder.path(), &["--resume", "run"]);
    let flipped = |at: usize, bit: u8| {
        let mut bytes = own.clone().into_bytes();
        bytes[at] ^= bit;
        Some(bytes)
    };
    let edited = own.replace("seed: 0", "seed: 5");
    // A text that is no pipeline any more, and one that is no text.
    let cases = [(flipped(0, 1), "kept as"), (flipped(own.len() / 2, 0x80), "kept as"), (None, "is missing")];
    for (found, says) in cases.into_iter().chain([(Some(edited.clone().into_bytes()), "seed: 0 → 5")]) {
        match found {
            Some(bytes) => fs::write(&path, bytes).expect("there is room"),
            None => fs::remove_file(&path).expect("it is there"),
        }
        let (code, said, complaint) = resume();
        assert_eq!(code, Some(0), "{complaint}");
        assert!(said.contains("this run is finished"), "{said}");
        assert!(complaint.contains(says) && complaint.contains("written again"), "{says}: {complaint}");
        assert_eq!(fs::read_to_string(&path).expect("it is back"), own);
    }
    // Nothing is lost of what was changed on purpose.
    let aside = folder.path().join("run/pipeline.ron.differs-3");
    assert_eq!(fs::read_to_string(aside).expect("it is kept"), edited);
    assert!(!resume().2.contains("written again"), "what is whole is no news");

    for checkpoint in ["state", "previous"] {
        fs::write(folder.path().join(format!("run/checkpoint/{checkpoint}.safetensors")), "noise")
            .expect("there is room");
    }
    fs::remove_file(&path).expect("it is there");
    let (code, _, complaint) = resume();
    assert_eq!(code, Some(2), "{complaint}");
    assert!(
        complaint.contains("pipeline.ron is missing, and run/checkpoint/state.safetensors is damaged"),
        "{complaint}"
    );
    fs::remove_dir_all(folder.path().join("run/checkpoint")).expect("it is there");
    let (code, _, complaint) = resume();
    assert_eq!(code, Some(2), "{complaint}");
    assert!(complaint.contains("is not the folder of a run"), "{complaint}");
}

#[test]
fn a_changed_pipeline_is_not_resumed_and_all_that_changed_is_said() {
    let folder = folder();
    let (code, _, complaint) = outcome(folder.path(), &["small.ron", "--quiet", "--out", "run"]);
    assert_eq!(code, Some(0), "{complaint}");
    // Where it would go on says nothing of a run that is done.
    let (code, said, complaint) = outcome(folder.path(), &["--resume", "run", "--set", "device=cpu"]);
    assert_eq!(code, Some(0), "{complaint}");
    assert!(said.contains("this run is finished"), "{said}");
    let kept = fs::read_to_string(folder.path().join("run/pipeline.ron")).expect("it is there");
    assert!(kept.contains("device: \"auto\""), "{kept}");
    let changed = PIPELINE
        .replacen("\"digits -> accuracy.dataset\"", "\"digits -> accuracy.dataset\", \"sure -> imitate.loss\"", 1)
        .replacen("widen_factor: 1),\n        \"labels\"", "widen_factor: 2),\n        \"labels\"", 1);
    fs::write(folder.path().join("small.ron"), changed).expect("there is room");
    let resumed =
        ["small.ron", "--resume", "run", "--set", "imitate.optimizer.momentum=0.5", "--set", "learn.schedule=Cosine"];
    let (code, _, complaint) = outcome(folder.path(), &resumed);
    assert_eq!(code, Some(2), "{complaint}");
    for said in [
        "teacher.widen_factor: 1 → 2\n",
        "imitate.optimizer.momentum: 0.0 → 0.5\n",
        "learn.schedule: None → Cosine\n",
        "sure -> imitate.loss: not there → there\n",
    ] {
        assert!(complaint.contains(said), "{said}: {complaint}");
    }
}

#[test]
fn runs_are_listed_compared_checked_and_removed() {
    let folder = folder();
    let run = |arguments: &[&str]| outcome(folder.path(), arguments);
    for (out, sets) in [("runs/a", &["seed=0"][..]), ("runs/b", &["seed=3", "--set", "teaching.batches=30"])] {
        let arguments = [&["small.ron", "--quiet", "--out", out, "--set"], sets].concat();
        let (code, _, complaint) = run(&arguments);
        assert_eq!(code, Some(0), "{complaint}");
    }
    let top1 = |out: &str| {
        let report = fs::read_to_string(folder.path().join(out).join("report.json")).expect("a report");
        json(&report)["metrics"]["accuracy"]["top1"].as_f64().expect("a number")
    };
    let (_, list, _) = run(&["runs", "list", "--sort", "accuracy.top1", "--json"]);
    let list = json(&list);
    let listed = list.as_array().expect("a list");
    let figures: Vec<_> =
        listed.iter().map(|run| run["figures"]["accuracy.top1"].as_f64().expect("a number")).collect();
    let mut expected = vec![top1("runs/a"), top1("runs/b")];
    expected.sort_by(|one, other| other.total_cmp(one));
    assert_eq!(figures, expected, "the best comes first");
    let differs = listed[0]["differs_in"].as_object().expect("an object");
    assert_eq!(differs.keys().collect::<Vec<_>>(), ["seed", "teaching.batches"]);
    let (_, table, _) = run(&["runs", "list"]);
    let header: Vec<_> = table.lines().next().expect("a line").split_whitespace().collect();
    assert_eq!(header, ["run", "state", "accuracy.top1", "seed", "teaching.batches", "began", "took", "disk"]);
    let (code, _, complaint) = run(&["runs", "list", "--sort", "accuracy.top2"]);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("did you mean `accuracy.top1`?"), "{complaint}");

    let (_, compared, _) = run(&["runs", "diff", "runs/a", "runs/b"]);
    let cells = |key: &str| {
        let line = compared.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        (cells("teaching.batches"), cells("seed")),
        (vec!["4".into(), "30".into()], vec!["0".into(), "3".into()])
    );
    let (_, shown, _) = run(&["runs", "show", "runs/b"]);
    for said in
        ["finished", "zskt-run small.ron", "teaching.batches", "student.safetensors", "accuracy.top1", "computed by"]
    {
        let said = said.replace("zskt-run small.ron", "small.ron --quiet --out runs/b");
        assert!(shown.contains(&said), "{said}: {shown}");
    }

    let (_, said, _) = run(&["runs", "verify", "runs/a", "runs/b"]);
    assert_eq!(run(&["runs", "verify", "runs"]), (Some(0), said, String::new()));
    let weights = folder.path().join("runs/a/student.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&weights, bytes).expect("there is room");
    let (code, said, complaint) = run(&["runs", "verify", "runs/a", "runs/b"]);
    assert_eq!((code, said.matches("DIFFERS").count()), (Some(1), 1), "{said}");
    assert!(complaint.contains("1 file differs"), "{complaint}");
    // What is no run, as a sweep's folder may be, keeps nobody from looking at the others.
    fs::create_dir(folder.path().join("none")).expect("there is room");
    let (code, said, complaint) = run(&["runs", "verify", "none", "runs/a"]);
    assert_eq!((code, said.matches("DIFFERS").count(), said.matches("not known").count()), (Some(1), 1, 1), "{said}");
    assert!(said.contains("none") && complaint.contains("1 file differs"), "{said} {complaint}");
    let (code, _, complaint) = run(&["runs", "verify", "none", "runs/b"]);
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("1 folder is no run that can be checked"), "{complaint}");
    assert_eq!(run(&["runs", "verify", "none"]).0, Some(2));

    fs::write(folder.path().join("runs/a/checkpoint/thesis.tex"), "years of work").expect("there is room");
    let checkpoint = |run: &str| folder.path().join(run).join("checkpoint/state.safetensors").exists();
    let prune = ["runs", "prune", "--what", "checkpoints"];
    assert_eq!(run(&prune).0, Some(1), "one has another file");
    assert!(checkpoint("runs/b"), "nobody said --yes");
    let (_, said, complaint) = run(&[&prune[..], &["--yes"]].concat());
    assert!(complaint.contains("thesis.tex is not a file of a run"), "{said} {complaint}");
    assert!(checkpoint("runs/a") && !checkpoint("runs/b"));
    #[cfg(unix)]
    {
        fs::remove_file(folder.path().join("runs/a/checkpoint/thesis.tex")).expect("it is there");
        let link = folder.path().join("runs/b/checkpoint");
        std::os::unix::fs::symlink("../a/checkpoint", &link).expect("a link");
        run(&["runs", "prune", "runs/b", "--what", "checkpoints", "--yes"]);
        assert!(checkpoint("runs/a"), "a link is not followed");
        fs::remove_file(link).expect("it is there");
    }
    let (code, said, complaint) = run(&["runs", "verify", "runs/b"]);
    assert_eq!(code, Some(0), "{complaint}");
    assert!(said.contains("student.safetensors") && said.contains("not known"), "{said}");
    // It is finished without its checkpoints, too.
    let again = ["small.ron", "--out", "runs/b", "--continue", "--set", "teaching.batches=30", "--set"];
    for arguments in [&[&again[..], &["seed=3"]].concat()[..], &["--resume", "runs/b"]] {
        let (code, said, complaint) = run(arguments);
        assert_eq!(code, Some(0), "{complaint}");
        assert!(said.contains("this run is finished"), "{said}");
    }
    let (code, _, complaint) = run(&[&again[..], &["seed=4"]].concat());
    assert_eq!(code, Some(2), "another run");
    assert!(complaint.contains("seed: 3 → 4"), "{complaint}");
}

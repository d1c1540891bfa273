//! The program as its users meet it: exit codes, what goes where, and what it says.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A pipeline that needs no file.
const PIPELINE: &str = r#"(
    name: "teaching",
    nodes: {
        "teacher": WideResNet(depth: 10, widen_factor: 1),
        "digits": SyntheticDigits(split: Train, count: 40),
        "labels": CrossEntropy(),
        "learn": Minimize(optimizer: Adam(lr: 1e-3)),
        "teaching": Train(batches: 1, batch_size: 4),
        "accuracy": Accuracy(),
    },
    edges: [
        "teacher -> learn.player", "labels -> learn.loss",
        "teacher -> teaching.student", "digits -> teaching.images", "learn -> teaching.turns",
        "teaching -> accuracy.classifier", "digits -> accuracy.dataset",
    ],
)
"#;

fn zskt_run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zskt-run"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

/// The exit code, standard output and standard error.
fn outcome(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = zskt_run(folder, arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it speaks UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is room");
    std::fs::write(folder.path().join("teaching.ron"), PIPELINE).expect("there is room");
    folder
}

#[test]
fn a_pipeline_is_run_and_its_resolved_text_is_its_pipeline() {
    let folder = folder();
    let (code, _, complaint) = outcome(folder.path(), &["teaching.ron", "--out", "run", "--quiet", "--set", "seed=3"]);
    assert_eq!(code, Some(0), "{complaint}");
    let resolved = std::fs::read_to_string(folder.path().join("run/pipeline.ron")).expect("the run keeps it");
    assert!(resolved.contains("seed: 3,"), "{resolved}");
    assert_eq!(outcome(folder.path(), &["validate", "run/pipeline.ron"]).0, Some(0));
    // A directory that is already a run is not begun anew.
    let (code, _, complaint) = outcome(folder.path(), &["teaching.ron", "--out", "run"]);
    assert_eq!(code, Some(2), "{complaint}");
}

#[test]
fn validate_says_ok_or_all_that_is_wrong() {
    let folder = folder();
    let (code, said, complaint) = outcome(folder.path(), &["validate", "teaching.ron"]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    insta::assert_snapshot!(said, @"ok teaching.ron: teaching: 6 nodes, 7 edges, 1 stage; parameters: teacher 77,850; no claim to be data-free");

    let (code, said, complaint) =
        outcome(folder.path(), &["validate", "teaching.ron", "--set", "learn.step=2", "--set", "digits.count=0"]);
    assert_eq!((code, said.as_str()), (Some(2), ""));
    assert!(
        complaint.contains("did you mean `steps`?") && complaint.ends_with("2 problems; nothing was run\n"),
        "{complaint}"
    );
    assert!(!complaint.contains('\u{1b}'), "no colours where no terminal is");
}

#[test]
fn what_the_readme_shows_of_mistakes_is_what_is_said() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("it is there");
    let (name, folder) = ("pipelines/paper/zero-shot.ron", folder());
    let right = read(name);
    let wrong = right.replacen("\"student\":   WideResNet(depth: 16", "\"student\":   WideResNet(depth: 17", 1);
    let wrong = wrong.replacen("KlDivergence(temperature", "KlDivergence(temprature", 1);
    std::fs::create_dir_all(folder.path().join("pipelines/paper")).expect("there is room");
    std::fs::write(folder.path().join(name), wrong).expect("there is room");
    let command = ["validate", name, "--skip-files"];
    let (code, _, complaint) = outcome(folder.path(), &command);
    assert_eq!(code, Some(2));
    let shown = format!("```text\n$ zskt-run {}\n{complaint}```\n", command.join(" "));
    assert!(read("README.md").contains(&shown), "the README shows something else than\n{shown}");
}

#[test]
fn every_file_is_validated_though_one_is_wrong() {
    let folder = folder();
    std::fs::write(folder.path().join("bad.ron"), "(").expect("there is room");
    let (code, said, complaint) = outcome(folder.path(), &["validate", "bad.ron", "teaching.ron", "none.ron"]);
    assert_eq!(code, Some(2));
    assert!(said.starts_with("ok teaching.ron"), "{said}");
    assert!(complaint.contains("bad.ron:1:1") && complaint.contains("`none.ron`"), "{complaint}");
}

#[test]
fn a_wrong_command_line_is_answered_with_2_and_a_hint() {
    let folder = folder();
    for arguments in [
        &["valdate"][..],
        &["valdate", "teaching.ron"],
        &["none.ron"],
        &[],
        &["--bogus"],
        &["inspect", "Cosin"],
        &["."],
    ] {
        let (code, said, complaint) = outcome(folder.path(), arguments);
        assert_eq!((code, said.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(complaint.starts_with("error: "), "{arguments:?}: {complaint}");
    }
    assert!(outcome(folder.path(), &["valdate", "teaching.ron"]).2.contains("did you mean `zskt-run validate`?"));
    assert!(outcome(folder.path(), &["run", "teaching.ron"]).2.contains("without a command"));
    assert!(outcome(folder.path(), &["inspect", "Cosin"]).2.contains("did you mean `Cosine`?"));
}

#[test]
fn a_pipeline_may_be_called_like_a_command() {
    let folder = folder();
    std::fs::copy(folder.path().join("teaching.ron"), folder.path().join("plugins")).expect("there is room");
    let (code, _, complaint) = outcome(folder.path(), &["./plugins", "--out", "run", "--quiet"]);
    assert_eq!(code, Some(0), "{complaint}");
}

#[test]
fn plugins_and_inspect_say_what_there_is() {
    let folder = folder();
    let (code, list, _) = outcome(folder.path(), &["plugins"]);
    assert_eq!(code, Some(0));
    assert!(
        list.starts_with("Architectures\n") && list.contains("\nTeacher sources\n  zskt_teachers::Checkpoint "),
        "{list}"
    );
    insta::assert_snapshot!(outcome(folder.path(), &["inspect", "Maximize"]).1);
    let (_, json, _) = outcome(folder.path(), &["plugins", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    let (_, json, _) = outcome(folder.path(), &["inspect", "Transfer", "--json"]);
    let one: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert!(all.as_array().is_some_and(|all| all.contains(&one)));
    assert_eq!(one["inputs"][1]["trains"], serde_json::Value::Bool(true));
}

/// What `inspect` shows as an example can be written in a pipeline.
#[test]
fn examples_of_plugins_are_ron() {
    let folder = folder();
    let (_, json, _) = outcome(folder.path(), &["plugins", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    for plugin in all.as_array().expect("a list") {
        let example = plugin["example"].as_str().expect("text").replace("(…)", "").replace('\n', ", ");
        assert!(ron::from_str::<ron::Value>(&format!("({example})")).is_ok(), "{example}");
    }
}

#[test]
fn a_reader_may_leave_early() {
    let folder = folder();
    let mut child = Command::new(env!("CARGO_BIN_EXE_zskt-run"))
        .args(["plugins", "--json"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_graph_is_drawn_in_three_formats() {
    let folder = folder();
    for (format, beginning) in [("mermaid", "---\ntitle:"), ("dot", "digraph"), ("svg", "<svg ")] {
        let (code, picture, complaint) = outcome(folder.path(), &["graph", "teaching.ron", "--format", format]);
        assert_eq!(code, Some(0), "{complaint}");
        assert!(picture.starts_with(beginning), "{picture}");
    }
}

#[test]
fn a_run_ends_with_a_page_and_runs_are_put_beside_each_other() {
    let folder = folder();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    for seed in ["1", "2"] {
        let (out, seed) = (format!("runs/{seed}"), format!("seed={seed}"));
        let (code, _, complaint) = outcome(folder.path(), &["teaching.ron", "--quiet", "--out", &out, "--set", &seed]);
        assert_eq!((code, complaint.contains("warning")), (Some(0), false), "{complaint}");
    }
    let page = read("runs/1/report.html");
    assert!(page.contains("<svg ") && page.contains("confusion matrix") && page.contains("learn.optimizer.lr"));
    let (chosen, _) = page.split_once("All parameters").expect("a part for all parameters");
    assert!(chosen.contains("teaching.batch_size") && !chosen.contains("teaching.monitor_every"), "{chosen}");
    // Made again it is the same page; the graph knows of files what can be seen of them then.
    let without_graph = |page: &str| {
        let (before, rest) = page.split_once("<svg ").expect("a graph");
        format!("{before}{}", rest.split_once("</svg>").expect("the end of it").1)
    };
    let (code, said, complaint) = outcome(folder.path(), &["report", "runs/1"]);
    assert_eq!((code, said.as_str()), (Some(0), "wrote runs/1/report.html\n"), "{complaint}");
    assert!(without_graph(&read("runs/1/report.html")) == without_graph(&page), "another page");
    let (code, said, complaint) = outcome(folder.path(), &["report", "runs"]);
    assert_eq!((code, said.as_str()), (Some(0), "wrote runs/report.html of 2 runs\n"), "{complaint}");
    assert!(read("runs/report.html").contains("mean of 2 seeds"));
    for (arguments, expected) in [
        (["report", "missing"].as_slice(), "missing"),
        (&["report", "runs/1", "--to", "teaching.ron"], "was not made by"),
        (&["watch", "runs/1"], "`tail -f runs/1/metrics.jsonl`"),
    ] {
        let (code, _, complaint) = outcome(folder.path(), arguments);
        assert!(code == Some(2) && complaint.contains(expected), "{arguments:?}: {complaint}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_unopened() {
    let folder = folder();
    let pipe = Command::new("mkfifo").arg(folder.path().join("pipe")).status().expect("mkfifo");
    assert!(pipe.success());
    for place in ["./pipe", "/dev/zero"] {
        let checkpoint = format!("teacher=Checkpoint(model: LeNet(), path: \"{place}\")");
        let [cifar, svhn, parquet] = ["Cifar10", "Svhn", "ParquetImages"]
            .map(|dataset| format!("digits={dataset}(path: \"{place}\", split: Train)"));
        for arguments in [
            &["validate", place][..],
            &["graph", place],
            &[place],
            &["plugins", "--plugin", place],
            &["plugin", "check", place],
            &["validate", "teaching.ron", "--set", &checkpoint],
            &["teaching.ron", "--set", &cifar],
            &["teaching.ron", "--set", &svhn],
            &["teaching.ron", "--set", &parquet],
        ] {
            let (code, _, complaint) = outcome(folder.path(), arguments);
            assert_eq!(code, Some(2), "{arguments:?}: {complaint}");
            assert!(complaint.contains("it is a device or a pipe, not a file"), "{arguments:?}: {complaint}");
        }
    }
}

#[test]
fn the_home_folder_is_not_expanded() {
    let folder = folder();
    for arguments in [
        &["~/teaching.ron"][..],
        &["teaching.ron", "--out", "~/run"],
        &["--resume", "~/run"],
        &["validate", "teaching.ron", "--plugin", "~/lib.so"],
    ] {
        let (code, _, complaint) = outcome(folder.path(), arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains("help: `~` is not expanded here: write /"), "{arguments:?}: {complaint}");
    }
    assert!(!folder.path().join("~").exists());
}

#[cfg(unix)]
#[test]
fn names_need_not_be_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let folder = folder();
    let name = OsStr::from_bytes(b"ann\xe9e.ron");
    std::fs::copy(folder.path().join("teaching.ron"), folder.path().join(name)).expect("there is room");
    let run = |arguments: &[&OsStr]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zskt-run"));
        command.args(arguments).current_dir(folder.path()).output().expect("the program starts")
    };
    let out = OsStr::from_bytes(b"r\xe9sultats");
    for arguments in [&["validate".as_ref(), name][..], &[name, "--out".as_ref(), out, "--quiet".as_ref()]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let manifest = std::fs::read_to_string(folder.path().join(out).join("manifest.json")).expect("a manifest");
    assert!(manifest.contains("ann\u{fffd}e.ron"), "{manifest}");
    let output = run(&[name, "--set".as_ref(), OsStr::from_bytes(b"name=\xe9"), "--out".as_ref(), "other".as_ref()]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!folder.path().join("other").exists());
}

/// A run as a shell starts it, which `first` does something for.
#[cfg(unix)]
fn in_shell(folder: &Path, first: &str, arguments: &str) -> Command {
    let mut shell = if cfg!(target_os = "linux") {
        // Whoever tests may have had it ignored.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    let script = format!("{first}; exec \"$0\" teaching.ron --quiet --set teaching.batches=100 {arguments}");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_zskt-run")]).current_dir(folder);
    shell
}

#[test]
#[cfg(unix)]
fn a_signal_stops_a_run_unless_it_was_ignored_at_its_start() {
    let folder = folder();
    for (out, first, code) in [("stopped", "true", Some(130)), ("outlived", "trap '' HUP", Some(0))] {
        let mut run = in_shell(folder.path(), first, &format!("--out {out}")).spawn().expect("it starts");
        while !folder.path().join(out).join("checkpoint/state.safetensors").exists() {
            assert!(run.try_wait().expect("it is a child").is_none(), "it ended early");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // One is sent twice, as `timeout` does: to the program, and to all of its group.
        let signal = format!("kill -HUP {0}; kill -CONT {0}; kill -HUP {0}", run.id());
        assert!(Command::new("sh").args(["-c", &signal]).status().expect("there is a shell").success());
        assert_eq!(run.wait().expect("it is a child").code(), code, "{out}");
    }
    // Where it goes on is no part of what is computed.
    let (code, _, complaint) = outcome(folder.path(), &["--resume", "stopped", "--quiet", "--set", "device=cpu"]);
    assert_eq!(code, Some(0), "{complaint}");
    let pipeline = std::fs::read_to_string(folder.path().join("stopped/pipeline.ron")).expect("it is there");
    assert!(pipeline.contains("device: \"cpu\""), "{pipeline}");
    let weights = |out: &str| std::fs::read(folder.path().join(out).join("student.safetensors")).expect("it is there");
    assert!(weights("stopped") == weights("outlived"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_makes_do_with_the_threads_there_are() {
    let folder = folder();
    // Sixteen stacks do not fit; the rest of the program does.
    let mut run = in_shell(folder.path(), "ulimit -v 600000; export RAYON_NUM_THREADS=16", "--out few");
    let output = run.output().expect("it starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complaint}");
    assert!(complaint.starts_with("16 threads cannot be had"), "{complaint}");
}

#[test]
#[ignore = "needs mdBook, which MDBOOK names"]
fn the_documentation_becomes_a_site_in_which_every_link_leads_somewhere() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("book");
    let mdbook = std::env::var_os("MDBOOK").unwrap_or_else(|| "mdbook".into());
    let workspace = xtask::Workspace::here().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_zskt-run"));
    let site = xtask::book(&workspace, &folder, program, mdbook.as_ref()).unwrap();
    let read = |page: &Path| std::fs::read_to_string(page).unwrap();
    assert!(read(&site.join("reference/architectures.html")).contains("id=\"wideresnet\""));
    assert!(read(&site.join("reference/commands.html")).contains("zskt-run sweep"));
    let mut folders = vec![site];
    while let Some(next) = folders.pop() {
        for path in std::fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // What is not found has links from the site's root.
            if path.extension().is_none_or(|it| it != "html") || path.ends_with("404.html") {
                continue;
            }
            for target in read(&path).split("href=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)) {
                let file = target.split(['#', '?']).next().unwrap();
                let leads_elsewhere = file.is_empty() || file.contains("://") || file.starts_with("data:");
                assert!(leads_elsewhere || next.join(file).exists(), "{}: {target}", path.display());
            }
        }
    }
}

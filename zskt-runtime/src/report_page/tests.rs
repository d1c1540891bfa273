//! Pages of small runs, and of runs that mean harm.

use std::fs;
use std::path::{Path, PathBuf};
use std::slice;

use serde_json::{Value, json};
use zskt_api::Registry;

use super::request::{Request, make};
use crate::run::seal;

const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\"'&";

/// The folder of a run: what it measured, and with what.
fn run(root: &Path, name: &str, seed: u64, width: u64, top1: f64) -> PathBuf {
    let folder = root.join(name);
    fs::create_dir_all(folder.join("images")).unwrap();
    let pipeline = format!(
        r#"(
    name: "tiny", seed: {seed}, device: "auto", precision: "f32",
    published: {{"accuracy.top1": "83.69 ± 0.58"}},
    nodes: {{
        "student": WideResNet(depth: 16, widen_factor: {width}, classes: 10, channels: 3, variant: Original),
        "accuracy": Accuracy(),
    }},
    edges: [],
)
"#
    );
    fs::write(folder.join("pipeline.ron"), pipeline).unwrap();
    let manifest = json!({
        "name": "tiny", "seed": seed, "device": "cpu", "precision": "f32", "zskt": "0.1.0",
        "pipeline": HOSTILE, "pipeline_sha256": "5cde",
        "files": [{ "node": HOSTILE, "path": HOSTILE, "sha256": "c89a", "bytes": 1 }],
        "starts": [{ "start": "2026-11-26T16:45:27.334Z", "command_line": ["zskt-run", "tiny pipeline.ron", HOSTILE], "program": HOSTILE, "instruction_set": "AVX2" }],
    });
    fs::write(folder.join("manifest.json"), format!("{:#}\n", seal(manifest))).unwrap();
    let batch = |batch: u64| {
        let loss = 5.0 / batch as f64 + seed as f64;
        let figures = json!({ "imitate.loss": loss, HOSTILE: loss, "imitate.learning_rate": 0.1 });
        json!({ "event": "batch", "stage": "distill", "batch": batch, "batches": 9, "images": 8, "seconds": 0.1, "figures": figures })
    };
    let warning = json!({ "event": "warning", "stage": "distill", "batch": 4, "message": HOSTILE });
    let evaluation = |at: u64| {
        let figures = json!({ "top1": top1 * at as f64 / 9.0 });
        json!({ "event": "metric", "metric": "accuracy", "stage": "distill", "batch": at, "figures": figures })
    };
    let lines: Vec<_> =
        (1..10).map(batch).chain([warning, evaluation(4), evaluation(9)]).map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("metrics.jsonl"), lines.concat()).unwrap();
    let report = json!({
        "seconds": 12.5, "images_per_second": 64.0, "peak_memory_bytes": 1_000_000,
        "metrics": {
            "accuracy": { "top1": top1, "images": 12, "not_finite": 0, "per_class": [0.5, null], "confusion": [[5, 1], [2, 4]], "per_group": [1, 2, 3] },
            "transitions": {
                "mean_transition_error": 0.25, "student_curve": [0.1, 0.2], "student_curve_standard_errors": [0.01, 0.02], "teacher_curve": [0.1, 0.3],
            },
        },
        "by_class": { "accuracy": ["confusion", "per_class", "per_group"] },
        "class_names": { "accuracy": ["cat", "dog"] },
        "stages": { "distill": { "batches": 9 } },
        "warnings": [HOSTILE],
    });
    fs::write(folder.join("report.json"), report.to_string()).unwrap();
    image::DynamicImage::new_rgb8(4, 4).save(folder.join("images/distill-0000001.png")).unwrap();
    folder
}

fn page(folders: &[PathBuf], to: &Path) -> String {
    let request = Request { folders, to: Some(to) };
    make(&request, Registry::get().unwrap(), |problem| panic!("{problem:?}")).unwrap();
    fs::read_to_string(to).unwrap()
}

/// What the page's script is given.
fn curves(page: &str) -> Vec<Value> {
    let (_, rest) = page.split_once(r#"<script type="application/json" id="curve-data">"#).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_page_of_a_run_has_what_the_run_has_and_lets_nothing_in() {
    let root = tempfile::tempdir().unwrap();
    let page = page(&[run(root.path(), "one", 3, 1, 0.5595)], &root.path().join("page.html"));
    for expected in [
        "<title>tiny</title>",
        "lang=\"en\"",
        "55.95 %",
        "published: 83.69 ± 0.58",
        "Pseudo-images over time",
        "data:image/png;base64,",
        "two standard errors",
        "confusion matrix",
        "student.widen_factor",
        "SHA-256",
        "c89a",
        "'tiny pipeline.ron'",
        "default-src 'none'",
        "no images",
        // The dataset's names are of its classes, and of no others.
        "<th scope=\"row\">dog</th>",
        "<th scope=\"row\">0</th>",
    ] {
        assert!(page.contains(expected), "{expected} is missing");
    }
    assert!(!page.contains("<img src=x"), "what files say is text");
    // Its own four, one of them with data.
    assert_eq!(page.matches("</script").count(), 3);
    let charts = curves(&page);
    let titles: Vec<_> = charts
        .iter()
        .flat_map(|chart| chart["lines"].as_array().unwrap())
        .map(|line| line["name"].as_str().unwrap())
        .collect();
    assert!(
        titles.contains(&"distill/imitate") && titles.contains(&"accuracy") && titles.contains(&"student"),
        "{titles:?}"
    );
    let student = charts.last().unwrap()["lines"][0].clone();
    assert_eq!((&student["low"], &student["high"]), (&json!([0.08, 0.16]), &json!([0.12, 0.24])));
    // Its defaults are not shown as if somebody had chosen them, but on request.
    let (chosen, _) = page.split_once("All parameters").unwrap();
    assert!(chosen.contains("student.widen_factor") && !chosen.contains("student.variant"));
}

#[test]
fn what_a_run_does_not_have_is_left_out() {
    let root = tempfile::tempdir().unwrap();
    let folder = run(root.path(), "one", 3, 1, 0.5);
    ["report.json", "metrics.jsonl", "images/distill-0000001.png"]
        .iter()
        .for_each(|file| fs::remove_file(folder.join(file)).unwrap());
    let page = page(&[folder], &root.path().join("page.html"));
    assert!(page.contains("killed") && page.contains("not measured"), "what is published is said all the same");
    assert!(["Curves", "Pseudo-images", "Classes", "Warnings", "<script"].iter().all(|part| !page.contains(part)));
}

#[test]
fn a_long_log_makes_no_large_page() {
    let root = tempfile::tempdir().unwrap();
    let folder = run(root.path(), "one", 3, 1, 0.5);
    let figures: String = (0..40).map(|figure| format!(",\"turn{figure}.loss\":0.{figure}234567")).collect();
    let line = |batch: usize| format!("{{\"stage\":\"distill\",\"batch\":{batch},\"seconds\":0.1{figures}}}\n");
    fs::write(folder.join("metrics.jsonl"), (0..20_000).map(line).collect::<String>()).unwrap();
    let many =
        format!("{{\"stage\":\"x\",\"batch\":1{}}}\n", (0..50_000).map(|n| format!(",\"f{n}\":1")).collect::<String>());
    let more = many.replace("\"batch\":1", "\"batch\":2");
    fs::OpenOptions::new()
        .append(true)
        .open(folder.join("metrics.jsonl"))
        .map(|mut log| std::io::Write::write_all(&mut log, format!("{many}{more}").as_bytes()))
        .unwrap()
        .unwrap();
    let values: Vec<_> = (0..100_000).map(|n| n.to_string()).collect();
    let node = |n: usize| format!("\"n{n}\": WideResNet(depth: [{}]),", values[..20].join(", "));
    let nodes: String = (0..5_000).map(node).collect();
    let pipeline = format!("(nodes: {{ \"a\": X(list: [{}]), {nodes} }})", values.join(", "));
    fs::write(folder.join("pipeline.ron"), pipeline).unwrap();
    let page = page(&[folder], &root.path().join("page.html"));
    assert!(page.len() < 3_000_000, "{}", page.len());
}

#[test]
fn many_runs_with_long_logs_make_no_large_page() {
    let root = tempfile::tempdir().unwrap();
    let sweep = root.path().join("sweep");
    let value = |batch: usize, figure: usize| (batch * 7919 + figure) % 1013;
    let figures = |batch| {
        (0..7).map(move |figure| format!(",\"turn{figure}.loss\":0.{}", value(batch, figure))).collect::<String>()
    };
    let line = |batch: usize| format!("{{\"stage\":\"distill\",\"batch\":{batch}{}}}\n", figures(batch));
    let log: String = (1..500).map(line).collect();
    for number in 0..310 {
        let folder = run(&sweep, &number.to_string(), number % 2, number / 2, 0.5);
        fs::write(folder.join("metrics.jsonl"), &log).unwrap();
    }
    let page = page(slice::from_ref(&sweep), &root.path().join("page.html"));
    assert!(page.len() < 3_000_000, "{}", page.len());
    // 300 rows are 100 means of two runs each.
    assert!(page.contains("110 more runs are left out"));
    let charts = curves(&page);
    assert_eq!(charts.len(), 7, "all are drawn");
}

#[test]
fn runs_beside_each_other_the_best_first_and_seeds_together() {
    let root = tempfile::tempdir().unwrap();
    let sweep = root.path().join("sweep");
    for (name, seed, width, top1) in [("a", 0, 1, 0.5), ("b", 1, 1, 0.6), ("c", 0, 2, 0.9), ("d", 1, 2, 0.7)] {
        run(&sweep, name, seed, width, top1);
    }
    let page = page(slice::from_ref(&sweep), &root.path().join("page.html"));
    assert!(page.contains("student.widen_factor=2 (2 seeds)</strong>, 80.00 ± 10.00 %"), "the best is said first");
    assert!(page.contains("<code>student.widen_factor</code>: <mark>2</mark> instead of 1"));
    let (_, table) = page.split_once("Figures of all runs").unwrap();
    assert!(table.contains("55.00 ± 5.00 %") && table.contains("<mark><strong>80.00 ± 10.00 %</strong>"));
    let charts = curves(&page);
    let loss =
        charts.iter().flat_map(|chart| chart["lines"].as_array().unwrap()).find(|line| line["low"].is_array()).unwrap();
    assert_eq!(loss["run"], 4, "a mean follows the runs");
    assert!(table.contains("published</th><td class=\"number\">83.69 ± 0.58"), "what all state is said once");
    // Pipelines of two sources.
    for name in ["c", "d"] {
        let path = sweep.join(name).join("pipeline.ron");
        let pipeline = fs::read_to_string(&path).unwrap().replace("83.69 ± 0.58", "91.97");
        fs::write(path, pipeline).unwrap();
    }
    let page = self::page(slice::from_ref(&sweep), &root.path().join("page.html"));
    assert!(!page.contains("published</th>"), "neither is what all runs are to reach");
    assert!(["published: 83.69 ± 0.58", "published: 91.97"].iter().all(|text| page.matches(text).count() == 1));
    // Without a file to write to it goes into the folder; nothing of another's is overwritten.
    let default = Request { folders: slice::from_ref(&sweep), to: None };
    let write = || make(&default, Registry::get().unwrap(), |_| ());
    write().unwrap();
    write().unwrap();
    fs::write(sweep.join("report.html"), "<html>my thesis</html>").unwrap();
    assert!(write().unwrap_err().message.contains("was not made by"));
}

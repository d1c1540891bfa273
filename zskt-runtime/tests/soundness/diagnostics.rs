//! How what is wrong is shown: everything at once, each in its place.

use super::{SOUND, changed, complaint};

#[test]
fn many_problems_in_one_pipeline() {
    insta::assert_snapshot!(complaint(
        r#"(
    name: "many",
    sede: 3,
    seed: -1,
    device: "gpu",
    data_free: true,
    nodes: {
        "teacher": WideResNet(depth: 41, widen_factor: 2),
        "student": WideResNett(depth: 16, widen_factor: 1),
        "spare": WideResNet(depth: 16, widenfactor: 1),
        "generator": ConvGenerator(latent_dim: -3),
        "belief": KlDivergence(temprature: 1.0),
        "seek": Maximize(steps: 0, optimizer: Adam(lr: 1e-3), schedule: Cosin, clip_norm: 5.0),
        "imitate": Minimize(steps: 10, optimizer: Cosine, schedule: Cosine, clip_norm: "5"),
        "transfer": Transfer(batches: 80000, batch_size: 128, batch_size: 64),
        "test_set": SyntheticDigits(split: Tset),
        "accuracy": Accuracy(),
        "adam": Adam(lr: 1e-3),
        "seed": LeNet,
        "belief": KlDivergence(),
        "a b": LeNet(),
    },
    edges: [
        "generator -> seek.player", "belief -> seek.los",
        "student -> imitate.player", "belif -> imitate.loss",
        "teacher -> transfer.teachr", "student -> transfer.student", "generator -> transfer",
        "seek -> transfer.turns", "imitate => transfer.turns",
        "belief -> transfer.teacher", "accuracy -> transfer.student",
        "transfer -> accuracy.classifier", "test_set -> accuracy.dataset",
        "transfer -> accuracy.classifier",
    ],
)
"#,
        &[]
    ));
}

#[test]
fn syntax_that_can_be_read_in_spite_of_a_mistake() {
    insta::assert_snapshot!(complaint(
        "(\n    name = \"x\",\n    seed: 3\n    device: 'cpu';\n    # a comment\n    nodes: {\n        student: LeNet(),\n        \
         \"b\" LeNet(),\n    },\n    edges: [\"student -> b.c\" \"b -> c\"],\n)\n",
        &[]
    ));
}

#[test]
fn syntax_that_cannot_be_read() {
    let texts = [
        "",
        "(name: \"x\", nodes: {\"a\": LeNet(}, edges: [])",
        "(name: \"x\",\n nodes: {\n",
        "(name: \"x, nodes: {})",
        "(name: my-pipeline, nodes: {})",
        "(name: my pipeline, nodes: {})",
        "(name: \"x\", /* nodes: {})",
        "(nodes: (\"a\": LeNet()))",
        "(name: \"\\q\")",
        "(seed: 1_000x)",
        "(name: @)",
        "(name: \"x\") (",
        "(name: b\"x\")",
        "(name: \"x\n seed: 3,\n device: \"cpu\")",
    ];
    insta::assert_snapshot!(texts.map(|text| format!("{text}\n{}", complaint(text, &[]))).join("\n"));
}

#[test]
fn a_text_that_is_not_a_pipeline() {
    let texts = [
        "3",
        "Pipeline(name: \"x\", nodes: {}, edges: [])",
        "(name: \"x\", name: \"y\", nodes: [], edges: {})",
        "(nodes: {}, edges: [])",
        "(name: \"a/b\", nodes: {3: LeNet}, edges: [3], precision: f64, data_free: 3)",
        "(name: \"x\", nodes: (a: LeNet(), b: 3), edges: [\"a\", \"a -> \", \" -> b.c\", \"a -> b -> c.d\", \"a -> b.c d\"])",
    ];
    insta::assert_snapshot!(texts.map(|text| format!("{text}\n{}", complaint(text, &[]))).join("\n"));
}

#[test]
fn a_cycle_is_shown_with_its_path() {
    insta::assert_snapshot!(complaint(
        &changed("\"teacher -> teaching.student\"", "\"transfer -> teaching.student\""),
        &[]
    ));
}

#[test]
fn ends_of_an_edge_that_do_not_fit() {
    let text = changed("\"teaching -> transfer.teacher\"", "\"belief -> transfer.teacher\"")
        .replace("\"digits -> teaching.images\"", "\"accuracy -> teaching.images\"")
        .replace("\"generator -> transfer.images\"", "\"transfer.images\", \"digits -> belief.images\"");
    insta::assert_snapshot!(complaint(&text, &[]));
}

#[test]
fn shapes_that_do_not_fit() {
    let text = changed(
        "\"student\": WideResNet(depth: 10, widen_factor: 1)",
        "\"student\": WideResNet(depth: 10, widen_factor: 1, channels: 1, classes: 7)",
    );
    insta::assert_snapshot!(complaint(&text, &[]));
}

#[test]
fn images_of_another_size_than_a_network_is_trained_on() {
    let larger = "generator=ConvGenerator(latent_dim: 16, channels: 16, first_map: 8, image_size: 32)";
    insta::assert_snapshot!(complaint(SOUND, &[larger]));
}

#[test]
fn inputs_that_are_open_or_doubled() {
    let text = changed("\"teaching -> transfer.teacher\", ", "")
        .replace("\"student -> transfer.student\"", "\"student -> transfer.student\", \"teacher -> transfer.student\"")
        .replace("\"seek -> transfer.turns\", \"imitate -> transfer.turns\",", "");
    insta::assert_snapshot!(complaint(&text, &[]));
}

#[test]
fn an_open_input_is_to_take_what_leads_nowhere_yet() {
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines/quickstart.ron");
    let quickstart = std::fs::read_to_string(quickstart).expect("it is there");
    let text = quickstart.replacen("\"belief -> imitate.loss\",", "", 1);
    assert_ne!(text, quickstart);
    let complaint = complaint(&text, &[]);
    assert!(complaint.contains("= help: add \"belief -> imitate.loss\"\n"), "{complaint}");
}

#[test]
fn places_stay_right_behind_letters_of_several_bytes() {
    insta::assert_snapshot!(complaint(
        &SOUND.replace("name: \"two-stages\",", "name: \"zwei Stufen – größer\", /* ∑ */ sead: 3,"),
        &[]
    ));
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("(name: {}", "[".repeat(100_000));
    assert!(complaint(&text, &[]).contains("nested deeper"));
}

#[test]
fn a_parameter_that_no_images_would_suit_is_shown_once() {
    let text = SOUND.replace("\"teacher\": WideResNet(depth: 10", "\"teacher\": WideResNet(depth: 41");
    insta::assert_snapshot!(complaint(&text, &[]));
}

/// A teacher from a file, whose path is written so.
fn path(written: &str) -> String {
    complaint(SOUND, &[&format!("teacher=Checkpoint(model: LeNet(size: 16), path: {written})")])
}

#[test]
fn paths_of_windows() {
    let unknown = path("\"C:\\Users\\me\\w.pth\"");
    assert!(
        unknown.contains("help: in text `\\` begins an escape: write a path with `/`, with `\\\\`, or as r\"…\""),
        "{unknown}"
    );
    let known = path("\"C:\\temp\\new\\teacher.pth\"");
    assert!(known.contains("cannot take weights from `C:\\temp\\new\\teacher.pth`: there is no such file"), "{known}");
    assert!(
        known.contains("help: `\\t` was read as a tab, `\\n` was read as a line feed: write a path with `/`"),
        "{known}"
    );
    assert!(!known.contains('\t'), "{known}");
}

#[test]
fn the_home_folder_is_not_expanded() {
    let home = std::env::home_dir().expect("a home").join("w.pth");
    for complaint in [path("\"~/w.pth\""), complaint(SOUND, &["digits=Cifar10(path: \"~/w.pth\", split: Train)"])] {
        assert!(
            complaint.contains(&format!("help: `~` is not expanded here: write {}", home.display())),
            "{complaint}"
        );
    }
}

#[test]
fn characters_that_look_like_others() {
    let text = changed("name: \"two-stages\",", "name:\u{a0}\"two-stages\", \u{200b}sead: 3,");
    let found = complaint(&text, &[]);
    assert!(found.contains("error: U+00A0 (no-break space) is not a blank\n --> pipeline.ron:3:10\n"), "{found}");
    assert!(found.contains("error: U+200B is not a blank\n --> pipeline.ron:3:25\n"), "{found}");
    assert!(found.contains("did you mean `seed`?") && found.ends_with("3 problems; nothing was run\n"), "{found}");
    let quotes = complaint(&changed("\"two-stages\"", "“two-stages”"), &[]);
    assert!(quotes.contains("text is written in straight quotes"), "{quotes}");
    let control = complaint(&changed("\"two-stages\"", "\u{1}"), &[]);
    assert!(control.contains("a value cannot begin with U+0001"), "{control}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    let marked = |text: &str| complaint(&format!("\u{feff}{text}"), &[]);
    assert_eq!(marked(SOUND), "nothing is wrong");
    assert_eq!(marked("(sead: 3)"), complaint("(sead: 3)", &[]));
}

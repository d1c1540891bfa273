//! What does not fit a turn that makes images is found before the run, at its place.

use super::check;

const FAST: &str = include_str!("../../../pipelines/quickstart.ron");
const NAYER: &str = include_str!("../../../pipelines/methods/digits/nayer.ron");
const DEEP_INVERSION: &str = include_str!("../../../pipelines/methods/digits/deep-inversion.ron");

/// What is said of a pipeline with some of its text exchanged; nothing where all is well.
fn said(text: &str, changes: &[(&str, &str)]) -> String {
    let text = changes.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "`{old}` is not in the pipeline");
        text.replacen(old, new, 1)
    });
    check(&text, &[]).err().unwrap_or_default()
}

#[test]
fn the_methods_are_sound() {
    for text in [FAST, NAYER, DEEP_INVERSION] {
        assert_eq!(said(text, &[]), "");
    }
}

#[test]
fn labels_and_class_targets() {
    let no_targets = said(FAST, &[(", targets: Uniform()", "")]);
    assert!(no_targets.contains("a loss of this turn needs labels, but generated images have none"), "{no_targets}");
    assert!(no_targets.contains("`targets: Uniform()`"), "{no_targets}");
    let conditional = said(NAYER, &[(", targets: Balanced()", ""), ("OneHot(class: Label, weight: 0.5)", "OneHot()")]);
    assert!(conditional.contains("the generator makes images of classes, and nothing says of which"), "{conditional}");
    let classes = said(NAYER, &[("LabelGenerator(classes: 10", "LabelGenerator(classes: 7")]);
    assert!(classes.contains("the generator makes images of 7 classes, but the student tells 10 apart"), "{classes}");
    let real = said(
        FAST,
        &[
            (r#""generator -> distill.images","#, r#""train_digits -> distill.images","#),
            (r#""generator -> synthesize.player",   "statistics -> synthesize.loss", "shows -> synthesize.loss","#, ""),
            (r#""differ -> synthesize.loss","#, ""),
            (r#""synthesize -> distill.turns",      "#, ""),
            (r#"data_free: ["student", "generator"],"#, ""),
        ],
    );
    assert!(real.contains("the images come from a dataset, and show the classes that they show"), "{real}");
}

#[test]
fn turns_that_do_not_go_together() {
    let two = said(
        FAST,
        &[
            (
                r#""imitate":       "#,
                r#""again": Synthesize(every: 5, steps: 1, optimizer: Adam()), "imitate":       "#,
            ),
            (
                r#""synthesize -> distill.turns","#,
                r#""synthesize -> distill.turns", "again -> distill.turns", "generator -> again.player", "statistics -> again.loss","#,
            ),
        ],
    );
    assert!(two.contains("a second turn makes images, and a stage has one bank"), "{two}");
    let beside = said(
        FAST,
        &[
            (r#""imitate":       "#, r#""seek": Minimize(optimizer: Adam()), "imitate":       "#),
            (
                r#""synthesize -> distill.turns","#,
                r#""synthesize -> distill.turns", "seek -> distill.turns", "generator -> seek.player", "statistics -> seek.loss","#,
            ),
        ],
    );
    assert!(beside.contains("the turn updates `generator`, whose images a synthesis makes"), "{beside}");
    let student = said(FAST, &[(r#""generator -> synthesize.player","#, r#""student -> synthesize.player","#)]);
    assert!(student.contains("the turn makes images, but its player `student` is a classifier"), "{student}");
    let without_loss = said(
        FAST,
        &[
            (r#""statistics -> synthesize.loss", "shows -> synthesize.loss","#, ""),
            (r#""statistics":"#, r#""unused_statistics":"#),
        ],
    );
    assert!(without_loss.contains("which has learnt nothing in the first syntheses"), "{without_loss}");
}

#[test]
fn batches_and_statistics() {
    let size = said(DEEP_INVERSION, &[("every: 100, images: 256", "every: 100, images: 128")]);
    assert!(size.contains("a synthesis is of 128 images, but `generator` makes 256 at once"), "{size}");
    let without_norms = said(
        DEEP_INVERSION,
        &[(
            r#""teacher":       WideResNet(depth: 16, widen_factor: 1)"#,
            r#""teacher":       LeNet(size: 16, channels: 3)"#,
        )],
    );
    assert!(without_norms.contains("`teacher` has no batch norm"), "{without_norms}");
}

#[test]
fn what_a_synthesis_names_of_its_generator() {
    let wrong = r#"latents_lr: 0.01, reset_at: 5, reset_layers: ["fc", "bn1", "conv7"],"#;
    let layers = said(FAST, &[("latents_lr: 0.01,", wrong)]);
    assert!(layers.contains("`generator` has no layer `conv7` to draw anew"), "{layers}");
    assert!(layers.contains(r#"^^^^^^^ `reset_layers[2]` of `synthesize`"#), "{layers}");
    assert!(layers.contains("did you mean `conv1`? its layers are bn0, bn1, bn2, conv1, conv2, conv3, fc"), "{layers}");
    assert!(!layers.contains("`fc` to draw anew"), "{layers}");
    // The layers of `ConvGenerator`, which is what they are by default, are not another's.
    let default = said(NAYER, &[("synthesize\":    Synthesize(", "synthesize\":    Synthesize(reset_at: 5, ")]);
    assert!(default.contains("`generator` has no layer `fc` to draw anew"), "{default}");
    assert!(default.contains("`reset_layers` is not set; default used"), "{default}");
    // They are named, and never drawn anew.
    assert_eq!(said(FAST, &[("latents_lr: 0.01,", r#"latents_lr: 0.01, reset_layers: ["conv7"],"#)]), "");
    let latents = said(DEEP_INVERSION, &[("keep: Last,", "keep: Last, latents_lr: 0.01,")]);
    assert!(latents.contains("`generator` takes no latents that could be learnt"), "{latents}");
    assert!(latents.contains("^^^^ `latents_lr` of `synthesize`"), "{latents}");
}

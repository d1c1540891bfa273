//! Pipelines far larger than anyone writes, sound and broken in every way: what takes more than a moment for one of them is quadratic
//! in something, and the tests would not end.

use std::fmt::Write as _;

use super::{changed, check, complaint};

const NODES: usize = 20_000;

/// The sound pipeline with more nodes and edges in it.
fn with(nodes: &str, edges: &str) -> String {
    changed("\"accuracy\": ", &format!("{nodes}\"accuracy\": ")).replacen("edges: [", &format!("edges: [{edges}"), 1)
}

/// A text for each number.
fn each(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut all, number| {
        writeln!(all, "{}", text(number)).expect("a string takes all that is written");
        all
    })
}

/// A pipeline of such nodes `n0`, `n1`, … and nothing else but edges.
fn only(plugin: &str, edges: &str) -> String {
    format!("(name: \"large\", nodes: {{{}}}, edges: [{edges}])", each(NODES, |n| format!("\"n{n}\": {plugin},")))
}

/// Stages that train one network after the other, each with the turn of its own that `player` feeds.
fn stages(count: usize, player: impl Fn(usize) -> String) -> String {
    let nodes = each(count, |n| format!("\"s{n}\": Train(batches: 1), \"u{n}\": Minimize(optimizer: Adam(lr: 1e-3)),"));
    let edges = each(count, |n| {
        let player = player(n);
        format!(
            "\"{player} -> s{n}.student\", \"{player} -> u{n}.player\", \"digits -> s{n}.images\", \"labels -> u{n}.loss\", \"u{n} -> s{n}.turns\","
        )
    });
    with(&nodes, &edges)
}

fn problems(text: &str) -> usize {
    let complaint = complaint(text, &[]);
    let shown = complaint.matches("error: ").count();
    let count =
        complaint.lines().last().and_then(|last| last.split_once(" problem")).map(|(count, _)| count.replace(',', ""));
    let count: usize = count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{complaint}"));
    assert_eq!(shown, count.min(100), "shown in full");
    assert!(complaint.len() < 200_000, "{} bytes", complaint.len());
    count
}

#[test]
fn a_sound_one_is_proven() {
    let nodes = each(NODES, |n| format!("\"m{n}\": Agreement(),"));
    let edges = each(NODES, |n| {
        format!("\"teaching -> m{n}.teacher\", \"transfer -> m{n}.student\", \"test_digits -> m{n}.dataset\",")
    });
    let plan = check(&with(&nodes, &edges), &[]).unwrap_or_else(|complaint| panic!("{complaint}"));
    assert_eq!(plan.nodes.len(), NODES + 14);
    let losses = with(
        &each(NODES, |n| format!("\"l{n}\": KlDivergence(),")),
        &each(NODES, |n| format!("\"l{n} -> seek.loss\",")),
    );
    assert!(check(&losses, &[]).is_ok());
    // Each stage goes on with what the one before it has trained.
    let chain = stages(3_000, |n| if n == 0 { "teaching".to_owned() } else { format!("s{}", n - 1) });
    let plan = check(&chain, &[]).unwrap_or_else(|complaint| panic!("{complaint}"));
    let place = |name: &str| plan.nodes.iter().position(|node| node.name == name);
    assert!(place("s2998") < place("s2999"));
}

#[test]
fn of_many_problems_a_hundred_are_shown() {
    let complaint = complaint(&only("LeNet()", "").replace("nodes", "data_free: [\"nobody\"], nodes"), &[]);
    assert!(complaint.ends_with("\n\n… and 19,901 more problems\n\n20,001 problems; nothing was run\n"), "{complaint}");
    assert!(
        complaint.contains("help: networks: n0, n1, ") && complaint.contains("n18, n19 and 19,980 more\n"),
        "{complaint}"
    );
}

#[test]
fn every_way_to_be_broken_is_found_at_once() {
    let far = |n: usize| (n * 7919 + 1) % NODES;
    // Edges to inputs that are not there, from and to nodes that are not there, that are no edges, and twice the same.
    assert!(
        problems(&only("LeNet()", &each(3 * NODES, |n| format!("\"n{} -> n{}.x\",", n % NODES, far(n))))) > 3 * NODES
    );
    assert!(problems(&only("Accuracy()", &each(3 * NODES, |n| format!("\"m{n} -> x{n}.dataset\",")))) > 6 * NODES);
    assert_eq!(
        problems(&only("Accuracy()", &each(3 * NODES, |n| format!("\"n{} => n{}.x\",", n % NODES, far(n))))),
        5 * NODES
    );
    let same = each(NODES, |_| "\"n1 -> n2.classifier\",".to_owned());
    assert!(problems(&only("LeNet()", &same)) > 2 * NODES - 2);
    // Cycles: one through everything, and many small ones.
    assert!(problems(&only("LeNet()", &each(NODES, |n| format!("\"n{n} -> n{}.x\",", (n + 1) % NODES)))) > NODES);
    assert!(problems(&only("LeNet()", &each(NODES, |n| format!("\"n{n} -> n{}.x\",", n ^ 1)))) > NODES);
    // Inputs with too many edges, and with none.
    assert!(
        problems(&with(
            "",
            &each(NODES, |n| format!("\"{} -> imitate.player\",", if n % 2 == 0 { "teacher" } else { "student" }))
        )) > 1
    );
    assert_eq!(problems(&only("Train(batches: 1)", "")), 3 * NODES);
    // Plugins, parameters and fields that are not there, or twice.
    assert_eq!(problems(&only("LaNett()", "")), NODES);
    assert_eq!(
        problems(&changed(
            "labels\": CrossEntropy(",
            &format!("labels\": CrossEntropy({}", each(NODES, |n| format!("p{n}: 1,")))
        )),
        NODES
    );
    assert_eq!(
        problems(&changed("labels\": CrossEntropy(", &format!("labels\": CrossEntropy({}", "p: 1,".repeat(NODES)))),
        2 * NODES - 1
    );
    assert_eq!(problems(&changed("name: ", &format!("{}name: ", each(NODES, |n| format!("f{n}: 1,"))))), NODES);
    let again = "\"labels\": CrossEntropy(), ".repeat(NODES) + "\"labels\": ";
    assert_eq!(problems(&changed("\"labels\": ", &again)), NODES);
    // Networks that many stages train, each from its beginning, and claims about what is not there.
    assert_eq!(problems(&stages(3_000, |_| "teacher".to_owned())), 3_000);
    let claim = format!("data_free: [{}", each(NODES, |n| format!("\"q{n}\",")));
    assert_eq!(problems(&changed("data_free: [", &claim)), NODES);
    // Mistakes of writing: of so many, the rest is not read.
    assert!(problems(&changed("(\n", &format!("(\n{}", "# not a comment\n".repeat(NODES)))) > 1000);
    assert_eq!(problems(&format!("{} !", "// a comment\n".repeat(NODES))), 1);
}

#[test]
fn what_is_long_is_cut_off() {
    let name = "n".repeat(1_000_000);
    for text in [
        changed("KlDivergence", &name),
        changed("\"belief\":", &format!("\"{name}\":")),
        changed("\"belief -> seek.loss\"", &format!("\"{name}\"")),
        changed("\"belief -> seek.loss\"", &format!("\"{name} -> seek.loss\"")),
        changed("two-stages", &format!("{name}/")),
        // One line, with a mistake at its end.
        format!("(name: \"x\", nodes: {{{}!", "\"a\": LeNet(), ".repeat(50_000)),
    ] {
        assert!(problems(&text) > 0);
    }
    let place = complaint(&format!("(name: \"x\", nodes: {{{}!", "\"a\": LeNet(), ".repeat(50_000)), &[]);
    assert!(place.contains("--> pipeline.ron:1:700021\n") && place.contains("LeNet(), !\n"), "{place}");
}

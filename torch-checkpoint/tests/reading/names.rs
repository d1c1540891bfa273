//! Groups of tensors, renames, and what is found to make a file fit.

use torch_checkpoint::{Group, Match, Pattern, Renames, WeightsFile, groups, ignore_patterns, infer, networks};

use crate::written::{Value, dict, legacy, pair};

/// A checkpoint whose tensors, two numbers each, have these names.
fn checkpoint(names: &[&str]) -> WeightsFile {
    let items: Vec<(&str, Value)> = names.iter().map(|name| (*name, pair())).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), legacy(&dict(&[("net", dict(&items))]), &[("0", &[1.0, 2.0])])).unwrap();
    WeightsFile::open(file.path()).unwrap()
}

const TWO: [&str; 7] = [
    "teacher.module.a.weight",
    "teacher.module.b.weight",
    "teacher.module.b.num_batches_tracked",
    "student.a.weight",
    "student.b.weight",
    "epoch_loss.total_ops",
    "temperature",
];

#[test]
fn every_prefix_is_a_group() {
    let file = checkpoint(&TWO);
    let paths = |least| groups(&file, least..=100, |_| true).iter().map(Group::path).collect::<Vec<_>>();
    assert_eq!(paths(2), ["net", "net.teacher", "net.teacher.module", "net.student"]);
    assert_eq!(groups(&file, 2..=2, |_| true).len(), 3);
    let without = groups(&file, 2..=100, |name| !name.starts_with("teacher"));
    assert_eq!(without.iter().map(|group| group.prefix).collect::<Vec<_>>(), ["", "student."]);

    let shapes = groups(&file, 2..=100, |_| true)[2].shapes();
    assert_eq!(shapes.keys().collect::<Vec<_>>(), ["a.weight", "b.num_batches_tracked", "b.weight"]);
    let known = networks(&file, |group| group.shapes().contains_key("a.weight"));
    assert_eq!(known.iter().map(Group::path).collect::<Vec<_>>(), ["net"]);
    let wrapped = checkpoint(&["model.net.a.weight", "model.net.b.weight", "n_averaged"]);
    assert_eq!(networks(&wrapped, |_| false)[0].prefix, "model.net.");
}

#[test]
fn a_match_tells_what_is_missing_and_what_is_too_much() {
    let file = checkpoint(&["a.weight", "old.weight", "more.weight", "a.total_ops"]);
    let network =
        |names: &[(&str, usize)]| names.iter().map(|(name, size)| ((*name).to_owned(), vec![*size])).collect();
    let renames = Renames::new([("^old[.]", "new.")]).unwrap();
    let group = &groups(&file, 1..=100, |_| true)[0];
    let found = Match::new(
        group,
        &network(&[("a.weight", 3), ("new.weight", 2), ("b.weight", 2), ("b.num_batches_tracked", 1)]),
        |name| renames.apply(name).into_owned(),
    );
    assert_eq!(found.taken, [("new.weight".to_owned(), 1)].into());
    assert_eq!(
        (found.unlike, found.missing, found.extra),
        (vec![("a.weight".to_owned(), 0)], vec!["b.weight".to_owned()], vec![2])
    );
    // Two tensors for one weight are not two weights.
    let both = Match::new(group, &network(&[("a.weight", 2), ("x", 2)]), |name| name.replace("old", "a"));
    assert!(!both.is_whole() && both.extra == [1, 2]);
}

#[test]
fn renames_are_bounded_whatever_patterns_do() {
    let renames = Renames::new([(r"layers?\.(\d+)\.", "block$1."), ("^", "net.")]).unwrap();
    assert_eq!(renames.apply("layer.12.weight"), "net.block12.weight");
    // What would be a name of megabytes is none.
    let grown = Renames::new([("", "0123456789abcdef"), ("", "0123456789abcdef"), ("", "0123456789abcdef")]).unwrap();
    let name = "x".repeat(1000);
    assert_eq!(grown.apply(&name), name);
    for (pattern, expected) in [
        ("(", "unclosed group"),
        ("(?=a)", "look-around, including look-ahead and look-behind, is not supported"),
        ("(((a{100}){100}){100}){100}", "it takes too much memory"),
        (&"a".repeat(2000), "it has 2000 bytes, where 1024 are the most"),
    ] {
        assert_eq!(Pattern::new(pattern).unwrap_err().to_string(), expected);
    }
    // It takes no time that others would take.
    assert!(!Pattern::new("(a*)*(a*)*(a*)*b").unwrap().matches(&"a".repeat(100_000)));
    let pattern = Pattern::new("(?P<n>a)(b)").unwrap();
    for replacement in ["$1.x", "${2}_a", "$$9", "$n", "plain"] {
        pattern.check_replacement(replacement).unwrap();
    }
    for replacement in ["$3", "$1_a", "${", "a$", "$-"] {
        assert!(pattern.check_replacement(replacement).is_err(), "{replacement}");
    }
    assert_eq!(
        pattern.check_replacement("$1_a").unwrap_err().to_string(),
        "`$1_a` is no group of the pattern `(?P<n>a)(b)`; write the first as `${1}`, and a dollar as `$$`"
    );
}

/// Renames, and what is to be ignored.
type Inferred = (Vec<(String, String)>, Vec<String>);

/// What is inferred for names with shapes, checked to make each name of the network.
#[track_caller]
fn inferred(file: &[(&str, &[usize])], network: &[(&str, &[usize])]) -> Option<Inferred> {
    let found = infer(file, network)?;
    let renames = Renames::new(found.renames.iter().map(|(from, to)| (from.as_str(), to.as_str()))).unwrap();
    let mut renamed: Vec<_> = file
        .iter()
        .filter(|(name, _)| !found.unwanted.iter().any(|unwanted| unwanted == name))
        .map(|(name, shape)| (renames.apply(name).into_owned(), *shape))
        .collect();
    let mut expected: Vec<_> = network.iter().map(|(name, shape)| ((*name).to_owned(), *shape)).collect();
    renamed.sort();
    expected.sort();
    assert_eq!(renamed, expected);
    Some((found.renames, found.unwanted))
}

#[test]
fn the_fewest_renames_are_found_that_make_a_file_fit() {
    let pairs =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    let kuangliu: [(&str, &[usize]); 4] = [
        ("conv1.weight", &[2, 3]),
        ("layer1.0.shortcut.0.weight", &[4, 2]),
        ("layer2.0.shortcut.0.weight", &[4, 2]),
        ("linear.weight", &[10, 4]),
    ];
    let ours: [(&str, &[usize]); 4] = [
        ("conv1.weight", &[2, 3]),
        ("layer1.0.downsample.0.weight", &[4, 2]),
        ("layer2.0.downsample.0.weight", &[4, 2]),
        ("fc.weight", &[10, 4]),
    ];
    let found = inferred(&kuangliu, &ours).unwrap();
    assert_eq!(found, (pairs(&[("[.]shortcut[.]", ".downsample."), ("^linear[.]", "fc.")]), vec![]));
    // In alphabetical order, as safetensors may be, and with a layer that is not wanted.
    let sorted = [("criterion.weight", &[7][..]), kuangliu[3], kuangliu[2], kuangliu[0], kuangliu[1]];
    let (renames, unwanted) = inferred(&sorted, &ours).unwrap();
    assert_eq!((renames.len(), unwanted), (2, vec!["criterion.weight".to_owned()]));

    let layers = |names: [&'static str; 12]| -> Vec<(&str, &[usize])> {
        let shapes: [&[usize]; 12] =
            [&[6, 3], &[6], &[6, 6], &[6], &[6, 6], &[6], &[6, 6], &[6], &[6, 6], &[6], &[6, 6], &[6]];
        names.into_iter().zip(shapes).collect()
    };
    let numbered = layers([
        "net.0.weight",
        "net.0.bias",
        "net.2.weight",
        "net.2.bias",
        "net.4.weight",
        "net.4.bias",
        "net.10.weight",
        "net.10.bias",
        "net.11.weight",
        "net.11.bias",
        "net.1.weight",
        "net.1.bias",
    ]);
    let named = layers([
        "a.weight", "a.bias", "b.weight", "b.bias", "c.weight", "c.bias", "d.weight", "d.bias", "e.weight", "e.bias",
        "f.weight", "f.bias",
    ]);
    let (renames, _) = inferred(&numbered, &named).unwrap();
    assert_eq!(renames[4], ("^net[.]11[.]".to_owned(), "e.".to_owned()));

    let inserted: [(&str, &[usize]); 2] = [("block1.0.weight", &[2]), ("block2.10.weight", &[3])];
    let wanted: [(&str, &[usize]); 2] = [("block1.layer.0.weight", &[2]), ("block2.layer.10.weight", &[3])];
    assert_eq!(inferred(&inserted, &wanted).unwrap().0, pairs(&[("^block([0-9]+)[.]", "block${1}.layer.")]));
    assert_eq!(inferred(&wanted, &inserted).unwrap().0, pairs(&[("[.]layer[.]", ".")]));

    // Nothing is made up: a layer is missing, shapes differ, there are too many of a kind.
    assert_eq!(infer(&kuangliu[..3], &ours), None);
    assert_eq!(infer(&[("a.weight", &[2])], &[("b.weight", &[3])]), None);
    assert_eq!(infer(&[("a.weight", &[2]), ("c.weight", &[2])], &[("b.weight", &[2])]), None);
}

#[test]
fn patterns_of_what_is_not_wanted() {
    let unwanted =
        ["criterion.weight", "criterion.bias", "layer1.0.extra.weight", "layer1.0.extra.bias", "scale", "a+b.weight"];
    let wanted = ["layer1.0.conv1.weight", "conv1.weight", "scales"];
    let patterns = ignore_patterns(&unwanted, &wanted);
    assert_eq!(patterns, ["criterion.*", "layer1.0.extra.*", "scale", r"a\+b.*"]);
    let patterns: Vec<_> = patterns.iter().map(|pattern| Pattern::new(pattern).unwrap()).collect();
    let matches = |name: &&str| patterns.iter().any(|pattern| pattern.matches(name));
    assert!(unwanted.iter().all(matches) && !wanted.iter().any(matches));
}

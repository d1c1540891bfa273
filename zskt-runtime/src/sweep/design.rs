//! The design of a sweep: which axes it has, and which points.

use zskt_api::{Diagnostic, Span};

use super::axis::{Axis, AxisValue, SEED};
use crate::pipeline::{Override, Sources, SweepSection, SweptKey};

/// More points than anyone waits for.
const MOST_POINTS: usize = 10_000;

/// What says something of a pipeline's figures, and changes nothing that is computed: no part of a point's name.
const REMARKS: [&str; 2] = ["published", "expect"];

/// What the user asks for, as written.
#[derive(Default)]
pub struct Request<'r> {
    /// `--seeds`.
    pub seeds: Option<&'r str>,
    /// `--set`, each with one value or several.
    pub sets: &'r [String],
    /// `--zip`.
    pub zips: &'r [String],
}

/// Which runs a sweep has.
#[derive(Debug, Default)]
pub struct Design {
    /// What is the same in all of them.
    fixed: Vec<Axis>,
    /// Each group takes each of its values with each of every other group's; the axes of a group take theirs together.
    groups: Vec<Vec<Axis>>,
}

/// One run of a sweep.
#[derive(Clone, Debug)]
pub struct Point {
    /// What is set in it, by key, as written; the seed first. Without what says something of the pipeline's figures only.
    pub settings: Vec<(String, String)>,
    /// All changes to the pipeline.
    pub changes: Vec<Override>,
    /// The same as arguments of `--set`.
    pub sets: Vec<String>,
}

impl Design {
    /// What the pipeline's own section and the command line make together: a key that the command line has replaces the section's.
    pub fn read(
        sources: &mut Sources,
        section: Option<SweepSection>,
        request: &Request<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut given: Vec<Given> = Vec::new();
        let SweepSection { seeds, set, zip } = section.unwrap_or_default();
        given.extend(
            seeds.map(|(seeds, place)| Given::new(Axis::of_seeds(sources, &seeds, place), Origin::Section, false)),
        );
        let of_section = |key: SweptKey| Axis::of_places(sources, 0, key.key_place, key.values);
        let section: Vec<_> =
            set.into_iter().map(|key| (key, false)).chain(zip.into_iter().map(|key| (key, true))).collect();
        given.extend(section.into_iter().map(|(key, zipped)| Given::new(of_section(key), Origin::Section, zipped)));

        if let Some(text) = request.seeds {
            let source = sources.add("--seeds".into(), text.to_owned());
            given.extend(
                Axis::read_seeds(sources, source, problems).map(|axis| Given::new(axis, Origin::CommandLine, false)),
            );
        }
        for (option, texts, zipped) in [("--set", request.sets, false), ("--zip", request.zips, true)] {
            for (index, text) in texts.iter().enumerate() {
                let source = sources.add(format!("{option} #{}", index + 1), text.clone());
                given.extend(
                    Axis::read(sources, source, problems).map(|axis| Given::new(axis, Origin::CommandLine, zipped)),
                );
            }
        }
        replace(&mut given, problems);
        // The seed first, which is then what changes last: after the first seed each configuration has a figure.
        given.sort_by_key(|given| given.axis.key != SEED);
        let mut design = Self::default();
        let mut zipped = Vec::new();
        for Given { axis, zipped: with_others, origin } in given {
            match axis.values.as_slice() {
                // One value of the command line is no axis, but a plain `--set`.
                [_] if origin == Origin::CommandLine && !with_others && axis.key != SEED => design.fixed.push(axis),
                _ if with_others => zipped.push(axis),
                _ => design.groups.push(vec![axis]),
            }
        }
        check_lengths(&zipped, problems);
        if !zipped.is_empty() {
            design.groups.push(zipped);
        }
        let points = design.groups.iter().try_fold(1_usize, |all, group| all.checked_mul(group[0].values.len()));
        if points.is_none_or(|points| points > MOST_POINTS) {
            problems.push(Diagnostic::global(format!("the sweep has more than {MOST_POINTS} points")));
            design.groups.clear();
        }
        design
    }

    /// Its axes.
    pub fn axes(&self) -> impl Iterator<Item = &Axis> {
        self.groups.iter().flatten()
    }

    /// The pipeline with what is the same in all points.
    pub fn base(&self) -> Point {
        Point::new(&self.fixed(), &[])
    }

    /// Its points; the axis that comes first changes last.
    pub fn points(&self) -> Vec<Point> {
        let mut points: Vec<Vec<Choice<'_>>> = vec![Vec::new()];
        for group in &self.groups {
            let count = group.iter().map(|axis| axis.values.len()).min().unwrap_or_default();
            let mut longer = Vec::with_capacity(points.len() * count);
            for chosen in &points {
                for place in 0..count {
                    let choices = group.iter().filter_map(|axis| Some((axis, axis.values.get(place)?)));
                    longer.push(chosen.iter().copied().chain(choices).collect());
                }
            }
            points = longer;
        }
        let fixed = self.fixed();
        points.iter().map(|chosen| Point::new(&fixed, chosen)).collect()
    }

    fn fixed(&self) -> Vec<Choice<'_>> {
        self.fixed.iter().flat_map(|axis| axis.values.iter().map(move |value| (axis, value))).collect()
    }
}

impl Point {
    /// The pipeline with the changes that its sources make.
    pub fn of(sources: &Sources) -> Self {
        Self { settings: Vec::new(), changes: sources.overrides().to_vec(), sets: Vec::new() }
    }

    /// With what is the same in all points, and what is chosen for this one.
    fn new(fixed: &[Choice<'_>], chosen: &[Choice<'_>]) -> Self {
        let settings = chosen.iter().filter(|(axis, _)| !REMARKS.contains(&axis.key.as_str()));
        let mut all = [fixed, chosen].concat();
        // A whole node first, whatever was given first: it would undo what is set in it.
        all.sort_by_key(|(axis, _)| axis.key.matches('.').count());
        Self {
            settings: settings.map(|(axis, value)| (axis.key.clone(), value.text.clone())).collect(),
            changes: all.iter().map(|(_, value)| value.change.clone()).collect(),
            sets: all.iter().map(|(axis, value)| format!("{}={}", axis.key, value.text)).collect(),
        }
    }
}

/// An axis at one of its values.
type Choice<'d> = (&'d Axis, &'d AxisValue);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Section,
    CommandLine,
}

struct Given {
    axis: Axis,
    origin: Origin,
    zipped: bool,
}

impl Given {
    fn new(axis: Axis, origin: Origin, zipped: bool) -> Self {
        Self { axis, origin, zipped }
    }
}

/// Takes away what the command line replaces, and reports what is given twice.
fn replace(given: &mut Vec<Given>, problems: &mut Vec<Diagnostic>) {
    let of_command_line: Vec<(String, Span)> = given
        .iter()
        .filter(|given| given.origin == Origin::CommandLine)
        .map(|given| (given.axis.key.clone(), given.axis.place))
        .collect();
    given.retain(|given| {
        given.origin == Origin::CommandLine || !of_command_line.iter().any(|(key, _)| *key == given.axis.key)
    });
    for (index, Given { axis, .. }) in given.iter().enumerate() {
        if let Some(first) = given[..index].iter().find(|first| first.axis.key == axis.key) {
            let problem = Diagnostic::at(axis.place, format!("`{}` is given twice", axis.key)).label("given again");
            problems.push(problem.related(first.axis.place, "first given here"));
        }
        for (place, value) in axis.values.iter().enumerate() {
            // What goes together with other values may come twice.
            let again = !given[index].zipped && axis.values[..place].iter().any(|first| first.text == value.text);
            if let (true, Some(written)) = (again, &value.change.value) {
                let span = Span { source: value.change.source, start: written.start, end: written.end };
                problems.push(
                    Diagnostic::at(span, format!("the value `{}` is given twice", value.text)).label("given again"),
                );
            }
        }
    }
}

fn check_lengths(zipped: &[Axis], problems: &mut Vec<Diagnostic>) {
    let Some((first, rest)) = zipped.split_first() else { return };
    for axis in rest.iter().filter(|axis| axis.values.len() != first.values.len()) {
        let count =
            |axis: &Axis| format!("{} value{}", axis.values.len(), if axis.values.len() == 1 { "" } else { "s" });
        let message = format!(
            "`{}` has {}, and goes together with `{}`, which has {}",
            axis.key,
            count(axis),
            first.key,
            count(first)
        );
        problems.push(Diagnostic::at(axis.place, message).label(count(axis)).related(first.place, count(first)));
    }
}

#[cfg(test)]
mod tests {
    use zskt_api::Diagnostic;

    use super::{Design, Request};
    use crate::pipeline::{Override, Sources, sweep_section};

    fn read(file: &str, seeds: Option<&str>, sets: &[&str], zips: &[&str]) -> (Vec<String>, Vec<Diagnostic>) {
        let (mut sources, mut problems) = (Sources::new("p", file, &[]), Vec::new());
        let [sets, zips] = [sets, zips].map(|texts| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let section = sweep_section(&sources);
        let design = Design::read(&mut sources, section, &Request { seeds, sets: &sets, zips: &zips }, &mut problems);
        let shown = |(key, value): &(String, String)| format!("{key}={value}");
        let points = design.points();
        (points.iter().map(|point| point.settings.iter().map(shown).collect::<Vec<_>>().join(" ")).collect(), problems)
    }

    #[test]
    fn axes_multiply_and_zipped_ones_go_together() {
        let (points, problems) = read("()", Some("0..2"), &["a.x=1,2", "b=5"], &["c=7,8", "d=Sgd(lr: 1, m: 2),Adam"]);
        assert_eq!(problems, []);
        assert_eq!(points.len(), 8);
        assert_eq!(points[0], "seed=0 a.x=1 c=7 d=Sgd(lr: 1, m: 2)");
        assert_eq!(points[3], "seed=0 a.x=2 c=8 d=Adam");
        assert_eq!(points[4], "seed=1 a.x=1 c=7 d=Sgd(lr: 1, m: 2)");
        assert_eq!(read("()", None, &[], &[]).0, [""]);
    }

    #[test]
    fn a_whole_node_is_set_before_its_parameters() {
        let (mut sources, mut problems) = (Sources::new("p", "()", &[]), Vec::new());
        let sets = ["a.o.lr=3", "a.o=Sgd(),Adam()", "b.y=1", "a=X(o: Sgd()),Y(o: Sgd())"].map(str::to_owned);
        let request = Request { sets: &sets, ..Request::default() };
        let points = Design::read(&mut sources, None, &request, &mut problems).points();
        assert_eq!((problems, points.len()), (vec![], 4));
        assert_eq!(points[0].sets, ["a=X(o: Sgd())", "b.y=1", "a.o=Sgd()", "a.o.lr=3"]);
        let changed = |change: &Override| sources.text(change.source)[change.key.clone()].to_owned();
        assert_eq!(points[0].changes.iter().map(changed).collect::<Vec<_>>(), ["a", "b.y", "a.o", "a.o.lr"]);
    }

    #[test]
    fn a_pipeline_has_a_sweep_of_its_own_and_the_command_line_replaces_its_axes() {
        let file = r#"(sweep: (seeds: "0..2", set: {"a.x": [1, 2]}, zip: {"c": [7, 8], "published": [{"m.f": "1"}, {"m.f": "2"}]}))"#;
        let (points, problems) = read(file, None, &[], &[]);
        assert_eq!(problems, []);
        assert_eq!((points.len(), &*points[7]), (8, "seed=1 a.x=2 c=8"));
        let (points, problems) = read(file, Some("4"), &["a.x=3"], &[]);
        assert_eq!((problems, points), (vec![], vec!["seed=4 c=7".to_owned(), "seed=4 c=8".to_owned()]));
    }

    #[test]
    fn what_cannot_be_a_sweep_is_told_at_its_place() {
        let messages = |seeds, sets: &[&str], zips: &[&str]| -> Vec<_> {
            let (_, problems) = read("()", seeds, sets, zips);
            problems.into_iter().map(|problem| (problem.span.map(|span| span.start), problem.message)).collect()
        };
        let two = "`d` has 1 value, and goes together with `c`, which has 2 values".to_owned();
        assert_eq!(messages(None, &[], &["c=7,8", "d=1"]), [(Some(0), two)]);
        assert_eq!(messages(Some("0..2"), &["seed=1,2"], &[]), [(Some(0), "`seed` is given twice".to_owned())]);
        assert_eq!(messages(None, &["a=1,2,1"], &[]), [(Some(6), "the value `1` is given twice".to_owned())]);
        let thousand = (0..1000).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
        let (a, b) = (format!("a={thousand}"), format!("b={thousand}"));
        assert_eq!(messages(None, &[&a, &b], &[]), [(None, "the sweep has more than 10000 points".to_owned())]);
    }
}

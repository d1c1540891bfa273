//! The table of a sweep: on the screen, as Markdown, CSV and JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::statistic::Statistic;
use super::summary::{Row, Summary};
use crate::text_format;

/// How many points are shown with why they are not finished.
const MOST_REASONS: usize = 20;

/// A table of texts, its first row above a line.
struct Cells {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Summary {
    /// The table for a person at a terminal, and below it what is not finished.
    pub fn text(&self) -> String {
        let Cells { head, rows } = self.cells();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| &row[column]);
            cells.chain([&head[column]]).map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..head.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        std::iter::once(&head).chain(&rows).map(line).collect::<String>() + &self.unfinished()
    }

    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let Cells { head, rows } = self.cells();
        let line = |row: &Vec<String>| {
            let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule = format!("|{}\n", " --- |".repeat(head.len()));
        let unfinished = self.unfinished();
        let unfinished = if unfinished.is_empty() { unfinished } else { format!("\n{unfinished}") };
        line(&head) + &rule + &rows.iter().map(line).collect::<String>() + &unfinished
    }

    /// Every figure of every configuration as CSV: mean, deviation, and what is published of it.
    pub fn csv(&self) -> String {
        let mut head = self.keys.clone();
        head.extend(["points".into(), "finished".into()]);
        for figure in &self.figures {
            head.extend([format!("{figure} mean"), format!("{figure} std"), format!("{figure} n")]);
            if self.is_published(figure) {
                head.push(format!("{figure} published"));
            }
        }
        let row = |row: &Row| {
            let mut cells = row.settings.clone();
            cells.extend([row.points.to_string(), row.finished.to_string()]);
            for figure in &self.figures {
                let statistic = row.figures.get(figure);
                let cell = |of: fn(&Statistic) -> String| statistic.map(of).unwrap_or_default();
                cells.extend([
                    cell(|of| of.mean.to_string()),
                    cell(|of| of.deviation.to_string()),
                    cell(|of| of.count.to_string()),
                ]);
                if self.is_published(figure) {
                    cells.push(row.published.get(figure).cloned().unwrap_or_default());
                }
            }
            cells
        };
        let line = |cells: Vec<String>| cells.iter().map(|cell| csv_cell(cell)).collect::<Vec<_>>().join(",") + "\r\n";
        std::iter::once(head).chain(self.rows.iter().map(row)).map(line).collect()
    }

    /// Everything as JSON: configurations with their figures, and points with theirs.
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            let settings: Map<_, _> =
                self.keys.iter().cloned().zip(row.settings.iter().cloned().map(Value::from)).collect();
            let statistic = |(name, of): (&String, &Statistic)| {
                (name.clone(), json!({ "mean": of.mean, "std": of.deviation, "n": of.count }))
            };
            json!({
                "settings": settings,
                "points": row.points,
                "finished": row.finished,
                "figures": row.figures.iter().map(statistic).collect::<Map<_, _>>(),
                "published": row.published,
            })
        };
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        json!({ "headline": self.headline, "configurations": rows, "points": self.points })
    }

    fn is_published(&self, figure: &str) -> bool {
        self.rows.iter().any(|row| row.published.contains_key(figure))
    }

    fn cells(&self) -> Cells {
        let several = self.rows.iter().any(|row| row.points > 1);
        let incomplete = self.rows.iter().any(|row| row.finished < row.points);
        let mut head: Vec<_> = self.keys.iter().map(|key| text_format::one_line(key)).collect();
        if several || incomplete {
            head.push("seeds".into());
        }
        for figure in &self.headline {
            head.push(text_format::one_line(figure));
            if self.is_published(figure) {
                head.push("published".into());
            }
        }
        head.extend(["time", "batches", "images"].map(str::to_owned));
        let row = |row: &Row| {
            let mut cells: Vec<_> = row.settings.iter().map(|setting| text_format::one_line(setting)).collect();
            if several || incomplete {
                cells.push(if row.finished < row.points {
                    format!("{} of {}", row.finished, row.points)
                } else {
                    row.points.to_string()
                });
            }
            for figure in &self.headline {
                let scale = self.scale(figure);
                let unit = if scale == 1.0 { "" } else { " %" };
                // Of how many, where that is not said for all figures of the row.
                let of = |statistic: &Statistic| {
                    if statistic.count < row.finished { format!(" (of {})", statistic.count) } else { String::new() }
                };
                let shown = row
                    .figures
                    .get(figure)
                    .map(|statistic| format!("{}{unit}{}", statistic.show(scale), of(statistic)));
                cells.push(shown.unwrap_or_else(|| "–".into()));
                if self.is_published(figure) {
                    cells
                        .push(row.published.get(figure).map_or_else(|| "–".into(), |text| text_format::one_line(text)));
                }
            }
            let mean = |key: &str| row.figures.get(key).map(|statistic| statistic.mean);
            let count = |number: f64| text_format::count(number.round() as usize);
            cells.push(mean("seconds").map_or_else(|| "–".into(), text_format::duration));
            cells.extend(["batches", "images"].map(|key| mean(key).map_or_else(|| "–".into(), count)));
            cells
        };
        Cells { head, rows: self.rows.iter().map(row).collect() }
    }

    /// 100 where a share is published in percent, and 1 elsewhere.
    fn scale(&self, figure: &str) -> f64 {
        let is_share =
            self.rows.iter().filter_map(|row| row.figures.get(figure)).all(|of| (0.0..=1.0).contains(&of.mean));
        let in_percent = |text: &String| {
            let number: String = text.trim().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            text.contains('%') || number.parse::<f64>().is_ok_and(|number| number > 1.0)
        };
        let mut published = self.rows.iter().filter_map(|row| row.published.get(figure));
        if is_share && published.any(in_percent) { 100.0 } else { 1.0 }
    }

    /// What is not finished, or not as expected: a line for each point that says why, and one for all others of a state.
    fn unfinished(&self) -> String {
        let mut states: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let (mut lines, mut untold) = (String::new(), 0);
        for point in self.points.iter().filter(|point| !point.is_finished()) {
            match point.reason.as_deref().and_then(|reason| reason.lines().next()) {
                Some(_) if lines.lines().count() >= MOST_REASONS => untold += 1,
                Some(reason) => {
                    lines += &format!("{}: {}: {}\n", point.state, point.folder, text_format::one_line(reason));
                }
                None => states.entry(&point.state).or_default().push(&point.folder),
            }
        }
        for point in &self.points {
            for miss in &point.misses {
                lines += &format!("not as expected: {}: {}\n", point.folder, text_format::one_line(miss));
            }
        }
        if untold > 0 {
            lines += &format!("and {untold} more\n");
        }
        let line = |(state, points): (&str, Vec<&str>)| format!("{state}: {}\n", text_format::some_of(points));
        lines + &states.into_iter().map(line).collect::<String>()
    }
}

fn csv_cell(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use crate::sweep::record::{Record, RecordedAxis, RecordedPoint};
    use crate::sweep::summary::{PointSummary, Summary};

    /// Two depths with two seeds each, of which the last is missing.
    fn summary() -> Summary {
        let point = |depth: &str, seed: &str| RecordedPoint {
            folder: format!("seed={seed},depth={depth}"),
            settings: BTreeMap::from([("seed".into(), seed.into()), ("depth".into(), depth.into())]),
            sets: Vec::new(),
            expect: BTreeMap::new(),
            published: if depth == "10" {
                BTreeMap::from([("m.top1".into(), "90.5 ± 0.2".into())])
            } else {
                BTreeMap::new()
            },
            pipeline_sha256: String::new(),
        };
        let axis = |key: &str| RecordedAxis { key: key.into(), values: Vec::new() };
        let record = Record {
            zskt: String::new(),
            pipeline: String::new(),
            base: BTreeMap::new(),
            edges: BTreeSet::new(),
            libraries: Vec::new(),
            axes: vec![axis("seed"), axis("depth")],
            headline: vec!["m.top1".into()],
            points: vec![point("10", "0"), point("A|B, \"C\"", "0"), point("10", "1"), point("A|B, \"C\"", "1")],
        };
        let found = |place: usize, top1: Option<f64>| PointSummary {
            folder: record.points[place].folder.clone(),
            settings: BTreeMap::new(),
            state: if top1.is_some() { "finished".into() } else { "failed".into() },
            reason: top1.is_none().then(|| "no room\nat all".into()),
            misses: Vec::new(),
            figures: top1
                .map(|top1| {
                    BTreeMap::from([("m.top1".into(), top1), ("seconds".into(), 2.0), ("batches".into(), 1500.0)])
                })
                .unwrap_or_default(),
        };
        let points = vec![found(0, Some(0.9)), found(1, Some(0.5)), found(2, Some(0.92)), found(3, None)];
        Summary::of(&record, points)
    }

    #[test]
    fn a_table_has_a_row_for_each_configuration_and_says_what_is_missing() {
        insta::assert_snapshot!(summary().text(), @r#"
        depth     seeds   m.top1          published   time   batches  images
        10        2       91.00 ± 1.00 %  90.5 ± 0.2  2.0 s  1,500    –
        A|B, "C"  1 of 2  50.00 %         –           2.0 s  1,500    –
        failed: seed=1,depth=A|B, "C": no room
        "#);
        let markdown = summary().markdown();
        assert!(markdown.contains("| --- | --- |") && markdown.contains("| A\\|B, \"C\" | 1 of 2 |"), "{markdown}");
    }

    #[test]
    fn programs_read_all_figures() {
        insta::assert_snapshot!(summary().csv().replace("\r\n", "\n"), @r#"
        depth,points,finished,m.top1 mean,m.top1 std,m.top1 n,m.top1 published,batches mean,batches std,batches n,seconds mean,seconds std,seconds n
        10,2,2,0.91,0.010000000000000009,2,90.5 ± 0.2,1500,0,2,2,0,2
        "A|B, ""C""",2,1,0.5,0,1,,1500,0,1,2,0,1
        "#);
        let json = summary().json();
        assert_eq!(json["configurations"][0]["figures"]["m.top1"]["mean"], 0.91);
        assert_eq!(
            (&json["points"][3]["state"], &json["points"][3]["reason"]),
            (&"failed".into(), &"no room\nat all".into())
        );
    }
}

//! What a run will take, as far as a few of its batches tell.

use std::ops::{Add, Div, Mul};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::record::events::{EventKind, FORMAT};
use crate::text_format;

/// What some work takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Seconds.
    pub seconds: f64,
    /// Floating-point operations of convolutions and fully connected layers.
    pub flop: f64,
}

impl Cost {
    /// What was done in a time.
    pub fn between(time: Duration, flop: u64) -> Self {
        Self { seconds: time.as_secs_f64(), flop: flop as f64 }
    }

    /// What is left without a part.
    pub fn without(self, part: Self) -> Self {
        Self { seconds: (self.seconds - part.seconds).max(0.0), flop: (self.flop - part.flop).max(0.0) }
    }

    /// The larger of each.
    pub fn larger(one: Self, other: Self) -> Self {
        Self { seconds: one.seconds.max(other.seconds), flop: one.flop.max(other.flop) }
    }

    /// The median; nothing of no costs.
    pub fn median(costs: &mut [Self]) -> Option<Self> {
        costs.sort_unstable_by(|one, other| one.seconds.total_cmp(&other.seconds));
        costs.get(costs.len() / 2).copied()
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { seconds: self.seconds + other.seconds, flop: self.flop + other.flop }
    }
}

impl Mul<usize> for Cost {
    type Output = Self;
    fn mul(self, times: usize) -> Self {
        Self { seconds: self.seconds * times as f64, flop: self.flop * times as f64 }
    }
}

impl Mul<f64> for Cost {
    type Output = Self;
    fn mul(self, factor: f64) -> Self {
        Self { seconds: self.seconds * factor, flop: self.flop * factor }
    }
}

impl Div<usize> for Cost {
    type Output = Self;
    fn div(self, parts: usize) -> Self {
        Self { seconds: self.seconds / parts as f64, flop: self.flop / parts as f64 }
    }
}

/// A stage or a synthesis that was measured with fewer images at once than the run has; its costs are those of all.
pub struct FewerImages {
    /// Its node.
    pub node: String,
    /// The parameter that says how many.
    pub parameter: &'static str,
    /// Images that were measured at once.
    pub measured: usize,
    /// Those of the run.
    pub whole: usize,
}

impl FewerImages {
    /// The change to the pipeline.
    pub fn setting(&self) -> String {
        format!("{}.{}={}", self.node, self.parameter, self.measured)
    }

    /// By what costs are multiplied.
    pub fn factor(&self) -> f64 {
        self.whole as f64 / self.measured as f64
    }
}

/// What a run will take.
pub struct Estimate {
    /// The pipeline's name.
    pub name: String,
    /// The device.
    pub device: String,
    /// Until every network is built and every file read.
    pub setup: Cost,
    /// Of each stage, in their order.
    pub stages: Vec<StageEstimate>,
    /// Of each metric in its place in the pipeline: what it took, or for how long it was waited for.
    pub metrics: Vec<(String, Measured)>,
    /// What it takes of memory.
    pub memory: MemoryEstimate,
    /// What was measured with fewer images.
    pub fewer_images: Vec<FewerImages>,
}

/// How long something took.
#[derive(Clone, Copy)]
pub enum Measured {
    /// It was done.
    In(Cost),
    /// It was not waited for any longer.
    Longer(Cost),
    /// It failed, as it may on networks that are hardly trained.
    Failed,
}

impl Measured {
    fn cost(self) -> Cost {
        match self {
            Self::In(cost) | Self::Longer(cost) => cost,
            Self::Failed => Cost::default(),
        }
    }
}

/// What a stage will take.
pub struct StageEstimate {
    /// Its node.
    pub node: String,
    /// How many batches it has.
    pub batches: usize,
    /// What each takes.
    pub batch: Cost,
    /// Of each turn that is a synthesis.
    pub syntheses: Vec<SynthesisEstimate>,
    /// Evaluations while it runs, of metrics by their nodes.
    pub evaluations: usize,
    /// The metrics that are evaluated then.
    pub evaluated: Vec<String>,
    /// Whether it may end before its last batch.
    pub has_patience: bool,
}

/// What the syntheses of a turn will take.
pub struct SynthesisEstimate {
    /// Its node.
    pub turn: String,
    /// How many there are.
    pub count: usize,
    /// Steps of each.
    pub steps: usize,
    /// What all of them take.
    pub all: Cost,
}

/// What a run takes of memory, in bytes.
pub struct MemoryEstimate {
    /// The most at once, where the system says it.
    pub peak: Option<u64>,
    /// The weights of each network.
    pub networks: Vec<(String, u64)>,
    /// The state of the optimizers, and what else a stage keeps, in the stage that keeps the most.
    pub training_state: u64,
    /// The images that syntheses make.
    pub made_images: u64,
}

impl Estimate {
    /// All that the run takes.
    pub fn all(&self) -> Cost {
        let stages = self.stages.iter().map(|stage| self.stage(stage));
        let metrics = self.metrics.iter().map(|(_, measured)| measured.cost());
        stages.chain(metrics).fold(self.setup, Add::add)
    }

    /// All that a stage takes, its evaluations included.
    fn stage(&self, stage: &StageEstimate) -> Cost {
        let syntheses = stage.syntheses.iter().map(|synthesis| synthesis.all);
        syntheses.fold(stage.batch * stage.batches + self.evaluation(stage) * stage.evaluations, Add::add)
    }

    /// What an evaluation in the midst of a stage takes.
    fn evaluation(&self, stage: &StageEstimate) -> Cost {
        let evaluated = self.metrics.iter().filter(|(node, _)| stage.evaluated.contains(node));
        evaluated.map(|(_, measured)| measured.cost()).fold(Cost::default(), Add::add)
    }

    /// Whether the run may take longer than is known.
    fn is_at_least(&self) -> bool {
        self.metrics.iter().any(|(_, measured)| !matches!(measured, Measured::In(_)))
    }

    /// Whether the run may take less than is known.
    fn is_at_most(&self) -> bool {
        self.stages.iter().any(|stage| stage.has_patience)
    }

    /// The time in words: `about 42 s`.
    fn time(&self) -> String {
        let bound = match (self.is_at_least(), self.is_at_most()) {
            (true, false) => "at least",
            (false, true) => "at most about",
            _ => "about",
        };
        format!("{bound} {}", text_format::duration(self.all().seconds))
    }

    /// What a budget is worth, where the run is known to need more.
    pub fn exceeds(&self, budget: Duration) -> Option<String> {
        let missing = self.all().seconds - budget.as_secs_f64();
        (missing > 0.0).then(|| {
            format!(
                "the run takes {}, {} more than its budget: it will stop at a checkpoint, to be continued with --resume",
                self.time(),
                text_format::duration(missing)
            )
        })
    }

    /// For a person.
    pub fn table(&self) -> String {
        let row = |name: &str, what: String, Cost { seconds, flop }: Cost| {
            let flop = if flop > 0.0 { text_format::flop(flop) } else { String::new() };
            vec![name.to_owned(), what, text_format::duration(seconds), flop]
        };
        let mut rows = vec![row("setup", "networks, files and images".into(), self.setup)];
        for stage in &self.stages {
            let batches = text_format::count(stage.batches);
            let each = text_format::short_duration(stage.batch.seconds);
            let most = if stage.has_patience { "at most " } else { "" };
            rows.push(row(&stage.node, format!("{most}{batches} batches, {each} each"), stage.batch * stage.batches));
            for synthesis in &stage.syntheses {
                let SynthesisEstimate { turn, count, steps, all } = synthesis;
                let each = text_format::short_duration(all.seconds / (*count).max(1) as f64);
                let (count, steps) = (text_format::count(*count), text_format::count(*steps));
                rows.push(row(turn, format!("{count} syntheses of {steps} steps, {each} each"), *all));
            }
            if stage.evaluations > 0 && !stage.evaluated.is_empty() {
                let each = self.evaluation(stage);
                let (count, time) = (text_format::count(stage.evaluations), text_format::short_duration(each.seconds));
                let metrics = text_format::some_of(stage.evaluated.iter().map(String::as_str));
                let what = format!("{count} evaluations meanwhile of {metrics}, {time} each");
                rows.push(row(&stage.node, what, each * stage.evaluations));
            }
        }
        for (node, measured) in &self.metrics {
            let what = match measured {
                Measured::In(_) => "measured once",
                Measured::Longer(_) => "takes longer: it was not waited for",
                Measured::Failed => "not known: it failed on networks that are hardly trained",
            };
            rows.push(row(node, what.into(), measured.cost()));
        }
        let memory = self.memory.peak.map(|peak| format!("{} of memory at most", text_format::bytes(peak)));
        rows.push(row("all", memory.unwrap_or_default(), self.all()));
        let title = format!("{} on {}: {}, by a few batches of each stage", self.name, self.device, self.time());
        let fewer = self.fewer_images.iter().map(|FewerImages { node, measured, whole, .. }| {
            format!("\n{node} was measured with {measured} images at once, and multiplied for {whole}")
        });
        let fewer: String = fewer.collect();
        let table = text_format::table(&rows, |column| column > 1);
        format!("{title}{fewer}\n\n{table}\nmemory: {}\n", self.memory.parts())
    }

    /// For a program.
    pub fn json(&self) -> Value {
        let cost = |cost: Cost| json!({ "seconds": cost.seconds, "flop": cost.flop });
        let stages: Map<_, _> = self
            .stages
            .iter()
            .map(|stage| {
                let syntheses: Map<_, _> = stage
                    .syntheses
                    .iter()
                    .map(|made| {
                        (made.turn.clone(), json!({ "count": made.count, "steps": made.steps, "all": cost(made.all) }))
                    })
                    .collect();
                let entry = json!({
                    "batches": stage.batches,
                    "batch": cost(stage.batch),
                    "syntheses": syntheses,
                    "evaluations": stage.evaluations,
                    "evaluation": cost(self.evaluation(stage)),
                    "may_end_early": stage.has_patience,
                    "all": cost(self.stage(stage)),
                });
                (stage.node.clone(), entry)
            })
            .collect();
        let metrics: Map<_, _> = self
            .metrics
            .iter()
            .map(|(node, measured)| {
                let mut entry = cost(measured.cost());
                entry["is_known"] = matches!(measured, Measured::In(_)).into();
                (node.clone(), entry)
            })
            .collect();
        let networks: Map<_, _> =
            self.memory.networks.iter().map(|(network, bytes)| (network.clone(), Value::from(*bytes))).collect();
        let measured: Map<_, _> =
            self.fewer_images.iter().map(|fewer| (fewer.node.clone(), Value::from(fewer.measured))).collect();
        let all = self.all();
        EventKind::Estimate.with(json!({
            "format": FORMAT,
            "name": self.name,
            "device": self.device,
            "seconds": all.seconds,
            "flop": all.flop,
            "peak_memory_bytes": self.memory.peak,
            "setup": cost(self.setup),
            "stages": stages,
            "metrics": metrics,
            "measured_images": measured,
            "memory_bytes": {
                "networks": networks,
                "training_state": self.memory.training_state,
                "made_images": self.memory.made_images,
            },
        }))
    }
}

impl MemoryEstimate {
    /// What is known of it, and how much is not.
    fn parts(&self) -> String {
        let networks: u64 = self.networks.iter().map(|(_, bytes)| bytes).sum();
        let known = networks + self.training_state + self.made_images;
        let each = self.networks.iter().map(|(network, bytes)| format!("{network} {}", text_format::bytes(*bytes)));
        let mut parts = vec![
            format!("networks {} ({})", text_format::bytes(networks), each.collect::<Vec<_>>().join(", ")),
            format!("optimizers {}", text_format::bytes(self.training_state)),
        ];
        if self.made_images > 0 {
            parts.push(format!("made images {}", text_format::bytes(self.made_images)));
        }
        if let Some(rest) = self.peak.and_then(|peak| peak.checked_sub(known)) {
            parts.push(format!("activations, gradients, datasets and the program {}", text_format::bytes(rest)));
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Cost, Estimate, Measured, MemoryEstimate, StageEstimate, SynthesisEstimate};

    #[test]
    fn all_parts_of_a_run_count_against_its_budget() {
        let cost = |seconds: f64| Cost { seconds, flop: 1e9 * seconds };
        let stage = StageEstimate {
            node: "distill".into(),
            batches: 100,
            batch: cost(1.0),
            syntheses: vec![SynthesisEstimate { turn: "make".into(), count: 4, steps: 5, all: cost(20.0) }],
            evaluations: 2,
            evaluated: vec!["accuracy".into()],
            has_patience: false,
        };
        let estimate = Estimate {
            name: "small".into(),
            device: "cpu".into(),
            setup: cost(1.0),
            stages: vec![stage],
            metrics: vec![("accuracy".into(), Measured::In(cost(5.0))), ("agreement".into(), Measured::Failed)],
            memory: MemoryEstimate { peak: None, networks: Vec::new(), training_state: 0, made_images: 0 },
            fewer_images: Vec::new(),
        };
        assert_eq!(estimate.all(), cost(1.0 + 100.0 + 20.0 + 2.0 * 5.0 + 5.0));
        assert_eq!(estimate.exceeds(Duration::from_secs(136)), None);
        let warning = estimate.exceeds(Duration::from_secs(126)).unwrap();
        assert!(warning.starts_with("the run takes at least 2 min 16 s, 10 s more than its budget"), "{warning}");
        assert!(estimate.table().contains("2 evaluations meanwhile of accuracy, 5.00 s each"), "{}", estimate.table());
    }
}

//! The draws of a fixture, in the order in which they are consumed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::ops::Shift;
use zskt_api::{Augmentation, ClassTargets, Error, RandomStreams, Reset, Result, StreamRng, Weights};

use crate::draws::Draws;

/// Draws by kind; clones read from the same.
#[derive(Clone)]
pub struct Tape {
    draws: Arc<Mutex<BTreeMap<String, VecDeque<Tensor>>>>,
}

impl Tape {
    pub fn of(fixture: &BTreeMap<String, Tensor>) -> Self {
        let mut numbered: BTreeMap<String, BTreeMap<usize, Tensor>> = BTreeMap::new();
        for (name, tensor) in fixture {
            let Some(name) = name.strip_prefix("draw.") else { continue };
            let (kind, rest) = name.split_once('.').expect("a kind");
            let (number, leaf) = rest.split_once('.').unwrap_or((rest, ""));
            let kind = if leaf.is_empty() { kind.to_owned() } else { format!("{kind}.{leaf}") };
            numbered.entry(kind).or_default().insert(number.parse().expect("a number"), tensor.clone());
        }
        let queues = numbered.into_iter().map(|(kind, draws)| (kind, draws.into_values().collect()));
        Self { draws: Arc::new(Mutex::new(queues.collect())) }
    }

    pub fn next(&self, kind: &str) -> Tensor {
        let mut draws = self.draws.lock().unwrap();
        draws.get_mut(kind).and_then(VecDeque::pop_front).unwrap_or_else(|| panic!("the tape has no more `{kind}`"))
    }

    /// The next draw of each kind that begins so: a state dict.
    fn next_of_all(&self, start: &str) -> BTreeMap<String, Tensor> {
        let kinds: Vec<String> =
            self.draws.lock().unwrap().keys().filter(|kind| kind.starts_with(start)).cloned().collect();
        kinds.into_iter().map(|kind| (kind[start.len()..].to_owned(), self.next(&kind))).collect()
    }

    fn rows(&self, kind: &str) -> Vec<Vec<i64>> {
        self.next(kind).to_vec2().expect("rows of whole numbers")
    }

    fn placed(&self, kind: &str, images: usize) -> Vec<Shift> {
        let rows = self.rows(kind);
        assert_eq!(rows.len(), images, "{kind}");
        let by = |number: i64| 4 - number as isize;
        rows.iter().map(|row| Shift { down: by(row[0]), right: by(row[1]), flip: row[2] == 1 }).collect()
    }
}

impl Draws for Tape {
    fn stream(&mut self, _: &str, _: usize) -> StreamRng {
        RandomStreams::new(0).named("unused")
    }

    fn crops(&mut self, _: Augmentation, images: usize, _: usize, _: usize) -> Vec<Shift> {
        self.placed("crop", images)
    }

    fn roll(&mut self, _: usize, _: bool, _: usize, _: usize) -> Shift {
        let roll = self.next("roll").to_vec1::<i64>().expect("three whole numbers");
        Shift { down: roll[0] as isize, right: roll[1] as isize, flip: roll[2] == 1 }
    }

    fn order(&mut self, images: usize, _: usize, _: usize) -> Vec<usize> {
        let order = self.next("order").to_vec1::<i64>().expect("whole numbers");
        assert_eq!(order.len(), images);
        order.into_iter().map(|index| index as usize).collect()
    }

    fn bank_crops(&mut self, _: Augmentation, images: usize, _: usize) -> Vec<Shift> {
        self.placed("bank_crop", images)
    }

    fn reinitialize(&mut self, weights: &Weights, _: usize) -> Result<()> {
        if weights.iter().any(|weight| weight.name() == "images") {
            return weights.load(&[("images".to_owned(), self.next("images"))].into());
        }
        weights.load(&self.next_of_all("generator."))
    }

    fn reset(&mut self, weights: &Weights, reset: &Reset) -> Result<()> {
        for weight in weights.parameters() {
            let Some((layer, kind)) = weight.name().split_once('.') else { continue };
            if !reset.layers.iter().any(|reset| reset == layer) {
                continue;
            }
            let tensor = match kind {
                "weight" => (self.next("reset") * reset.std)?,
                "bias" => weight.value().to_dtype(DType::F64)?.to_device(&Device::Cpu)?.zeros_like()?,
                other => return Err(Error::new(format!("a weight called {other}"))),
            };
            weight.var().set(&tensor.to_dtype(weight.var().dtype())?.to_device(weight.var().device())?)?;
        }
        Ok(())
    }
}

/// The class targets of a tape.
pub struct TapedTargets {
    pub tape: Tape,
    /// Images of a synthesis; those that the tape does not have come before, class after class.
    pub batch: usize,
}

impl ClassTargets for TapedTargets {
    fn draw(&self, count: usize, classes: usize, _: &mut StreamRng) -> Vec<u32> {
        assert_eq!(count, self.batch);
        let mut drawn: Vec<u32> = self
            .tape
            .next("targets")
            .to_vec1::<i64>()
            .expect("classes")
            .into_iter()
            .map(|class| class as u32)
            .collect();
        let even = count - drawn.len();
        let mut targets: Vec<u32> = (0..even).map(|image| (image % classes) as u32).collect();
        if even == 0 && self.tape.is_sorted() {
            drawn.sort_unstable();
        }
        targets.append(&mut drawn);
        targets
    }
}

impl Tape {
    /// Whether targets are to be sorted: DeepInversion's, the only one with rolls.
    fn is_sorted(&self) -> bool {
        self.draws.lock().unwrap().contains_key("roll")
    }
}

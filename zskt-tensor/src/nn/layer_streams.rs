//! Where layers that draw random numbers draw them from, such as dropout: named streams of the run, a number for each batch.
//!
//! A run says so once, around a stage, and tells which batch is next; networks and stages know nothing of it. Numbers depend on the seed,
//! the stage, the layer's name and the batch's number alone, so a checkpoint holds nothing of them.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::random::{RandomStreams, StreamRng};

struct LayerStreams {
    streams: RandomStreams,
    name: String,
    batch: usize,
    /// How often each layer has drawn in this batch.
    draws: HashMap<String, u64>,
}

thread_local! {
    static STREAMS: RefCell<Option<LayerStreams>> = const { RefCell::new(None) };
}

/// Who gave the streams before, and does again once this is dropped.
struct Before(Option<LayerStreams>);

impl Drop for Before {
    fn drop(&mut self) {
        STREAMS.replace(self.0.take());
    }
}

/// Does work whose layers draw from the streams `<name>/layers/<layer>/<draw>` of this thread, at the number of the batch. In a stage the run
/// does this; a test of a network that is run in training does it by itself.
pub fn with_layer_streams<T>(streams: &RandomStreams, name: &str, batch: usize, work: impl FnOnce() -> T) -> T {
    let now = LayerStreams { streams: streams.clone(), name: name.to_owned(), batch, draws: HashMap::new() };
    let _before = Before(STREAMS.replace(Some(now)));
    work()
}

/// Says that so many batches are done: layers draw for the next one. Outside of [`with_layer_streams`] it says nothing.
pub fn layer_streams_at(batch: usize) {
    STREAMS.with_borrow_mut(|streams| {
        if let Some(streams) = streams {
            streams.batch = batch;
            streams.draws.clear();
        }
    });
}

/// The generator of a layer's next draw.
pub(super) fn next_draw(layer: &str) -> Result<StreamRng> {
    STREAMS.with_borrow_mut(|streams| {
        let LayerStreams { streams, name, batch, draws } = streams.as_mut().ok_or_else(|| {
            Error::new(format!(
                "the layer `{layer}` draws random numbers, and there are none outside of a stage, or in another thread than its own: \
                 run the network in `zskt_api::nn::with_layer_streams`, or by `ForwardMode::eval()`"
            ))
        })?;
        let draw = draws.entry(layer.to_owned()).or_default();
        *draw += 1;
        Ok(streams.at(&format!("{name}/layers/{layer}/{}", *draw - 1), *batch as u64))
    })
}

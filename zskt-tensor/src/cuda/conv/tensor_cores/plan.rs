//! How a convolution is divided among blocks, warps and shared memory: from its geometry alone.

use crate::cuda::conv::tensor_cores::layer::{BlockTile, Layer, Numbers};
use crate::shape::ConvGeometry;

/// Shared memory of a block of which two are to be on a multiprocessor at once: half of the 228 kB of compute capability 9.0, of
/// which each takes one.
const TWO_BLOCKS: usize = 113 * 1024;

/// The most of a block, by compute capability 8.0.
pub const ONE_BLOCK: usize = 163 * 1024;

/// Warps of a block.
const WARPS: usize = 8;

/// Blocks to which a weight gradient's work is divided: one for nearly each multiprocessor of an H100. A constant, for sums to be the
/// same everywhere.
const WEIGHT_BLOCKS: usize = 128;

/// Whether a convolution or the gradient of its input is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The convolution.
    Forward,
    /// The gradient of its input.
    Data,
}

/// How a convolution or the gradient of its input is computed: `Shape` in the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvolutionPlan {
    /// Which of both.
    pub direction: Direction,
    /// Of what.
    pub layer: Layer,
    /// What a block computes, of the result or, backwards, behind the pixels of its gradient.
    pub tile: BlockTile,
    /// Channels that a block computes.
    pub channels: usize,
    /// Warps side by side over pixels; the others are side by side over channels.
    pub across: usize,
    /// Stages of weights in shared memory; 0: all are.
    pub ring: usize,
    /// Blocks at once on a multiprocessor, for which registers must do.
    pub resident: usize,
}

impl ConvolutionPlan {
    /// For a geometry, if shared memory does.
    pub fn of(direction: Direction, geometry: &ConvGeometry, numbers: Numbers) -> Option<Self> {
        let layer = Layer::of(geometry, numbers)?;
        let out = if direction == Direction::Data { layer.inputs } else { layer.outputs };
        let channels = [64, 32, 16].into_iter().find(|channels| out % channels == 0).unwrap_or(16);
        let (most_rows, columns) = BlockTile::rows_and_columns(geometry.out_height(), geometry.out_width());
        // Each warp has at least 16 pixels × 16 channels.
        let fewest = if channels == 16 { 128 } else { 64 };
        let of = |rows, ring, least: usize, resident| {
            let tile = BlockTile { images: least.div_ceil(rows * columns), rows, columns };
            let across = match channels {
                64 => 4,
                _ => WARPS.min(tile.pixels() / 16),
            };
            Self { direction, layer, tile, channels, across, ring, resident }
        };
        let long = geometry.out_height() >= 16 && depth_of(direction, &layer) <= 32;
        // All weights in shared memory at once are best, even for half the rows; then a ring of some, which more pixels share.
        for (most, resident) in [(TWO_BLOCKS, 2), (ONE_BLOCK, 1)] {
            for (ring, least) in [(0, fewest), (4, 128), (4, fewest), (3, fewest), (2, fewest)] {
                for rows in [16, most_rows, 4] {
                    // On an H100 twice the rows are faster where sums are few and short.
                    if rows == 16 && (ring > 0 || !(long && channels <= 32 && layer.stride == 1)) {
                        continue;
                    }
                    let plan = of(rows, ring, least, resident);
                    // Of numbers in f32 registers have room for few beside so many sums.
                    let crowded = numbers == Numbers::F32 && channels == 64 && plan.tile.pixels() > 128;
                    if ring <= plan.pieces() && plan.shared() <= most && !crowded {
                        return Some(Self { resident: plan.residents(), ..plan });
                    }
                }
            }
        }
        None
    }

    fn backwards(&self) -> bool {
        self.direction == Direction::Data
    }

    /// Channels of what is read, and of the result.
    fn depth_and_width(&self) -> (usize, usize) {
        let Layer { inputs, outputs, .. } = self.layer;
        let (depth, width) = if self.backwards() { (outputs, inputs) } else { (inputs, outputs) };
        (depth.next_multiple_of(16), width)
    }

    /// Channels of a piece of the weights, and how many pieces there are.
    fn piece_depth(&self) -> usize {
        let (depth, _) = self.depth_and_width();
        [64, 48, 32].into_iter().find(|piece| depth % piece == 0).unwrap_or(16)
    }

    fn pieces(&self) -> usize {
        self.layer.taps() * self.depth_and_width().0 / self.piece_depth()
    }

    /// Whether pixels of its result are of four kinds, by the parity of their row and column.
    fn has_classes(&self) -> bool {
        self.backwards() && self.layer.stride == 2
    }

    /// Whether sums over squares of four pixels are its result.
    fn is_pooled(&self) -> bool {
        self.backwards() && self.layer.upsampling == 2
    }

    fn residents(&self) -> usize {
        let (depth, width) = self.depth_and_width();
        let small =
            depth == 16 && self.channels == 16 && width >= 16 && !self.has_classes() && self.tile.pixels() <= 256;
        match self.direction {
            _ if !small || self.shared() > TWO_BLOCKS / 2 => self.resident,
            Direction::Forward => 4,
            // Of which one more would spill registers.
            Direction::Data => 3,
        }
    }

    /// Bytes of shared memory.
    pub fn shared(&self) -> usize {
        let (depth, _) = self.depth_and_width();
        let pixels = if self.backwards() {
            let edge = match (self.layer.side, self.has_classes()) {
                (1, _) => 0,
                (_, true) => 1,
                (_, false) => 2,
            };
            let BlockTile { images, rows, columns } = self.tile;
            images * (rows + edge) * (columns + edge) * self.layer.numbers.pitch(depth)
        } else {
            self.tile.footprint(&self.layer, depth)
        };
        let piece_depth = self.piece_depth();
        let (lines, length) =
            if self.backwards() { (piece_depth, self.channels) } else { (self.channels, piece_depth) };
        let stages = if self.ring == 0 { self.pieces() } else { self.ring };
        let operands = pixels + stages * lines * self.layer.numbers.pitch(length);
        let exchanged = !self.is_pooled() && self.depth_and_width().1.is_multiple_of(16);
        let staged = if exchanged { 0 } else { self.tile.pixels() * (self.channels * 4 + 32) };
        let behind_operands = if self.has_classes() { operands + staged } else { operands.max(staged) };
        // Three constants of each channel that is read and of each of the result, and two sums of each warp.
        behind_operands + (3 * depth + (3 + 2 * WARPS) * self.summed()) * size_of::<f32>()
    }

    /// Blocks over pixels and over channels.
    pub fn grid(&self, geometry: &ConvGeometry) -> [usize; 2] {
        [self.tile.count(geometry), self.depth_and_width().1.div_ceil(self.channels)]
    }

    /// Numbers of a block in each of two sums over channels.
    pub fn summed(&self) -> usize {
        self.channels.min(self.depth_and_width().1).max(8)
    }

    /// The arguments of templates.
    #[cfg(any(test, feature = "cuda"))]
    pub fn template(&self) -> String {
        let Self { direction, layer, tile, channels, across, ring, resident } = self;
        let direction = if *direction == Direction::Data { "DATA" } else { "FORWARD" };
        let (number, layer, tile) = (layer.number(), layer.template(), tile.template());
        format!("{number}, {direction}, {layer}, {tile}, {channels}, {across}, {ring}, {resident}")
    }
}

/// Channels of what is read.
fn depth_of(direction: Direction, layer: &Layer) -> usize {
    if direction == Direction::Data { layer.outputs } else { layer.inputs }
}

/// How the gradient of a weight is computed: `WeightShape` in the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightPlan {
    /// Of what.
    pub layer: Layer,
    /// What a block multiplies at once.
    pub tile: BlockTile,
    /// Output channels of a block.
    pub outputs: usize,
    /// Input channels of a block.
    pub inputs: usize,
    /// Whether the next tile is fetched while one is multiplied.
    pub ahead: bool,
    /// Blocks at once on a multiprocessor, for which registers must do.
    pub resident: usize,
}

impl WeightPlan {
    /// For a geometry, if shared memory does; `computed`: the gradient of the result is made of several maps.
    pub fn of(geometry: &ConvGeometry, numbers: Numbers, computed: bool) -> Option<Self> {
        let layer = Layer::of(geometry, numbers)?;
        let of_outputs = if layer.outputs.is_multiple_of(32) { 32 } else { 16 };
        let of_inputs = if layer.inputs.is_multiple_of(32) { 32 } else { 16 };
        // Channels are divided before pixels are: every part of the pixels leaves sums of a whole weight in memory.
        let (outputs, inputs) = match layer.side {
            1 => (of_outputs, of_inputs),
            _ if layer.inputs >= 128 && of_inputs == 32 && layer.outputs.is_multiple_of(64) => (64, 32),
            // All, if a block can have them: then each number is read once.
            _ if layer.inputs <= 32 && layer.outputs <= 32 => (of_outputs, of_inputs),
            _ if layer.inputs <= 16 => (16, 16),
            _ if of_outputs == 32 => (32, 16),
            _ => (16, of_inputs),
        };
        let (rows, columns) = BlockTile::rows_and_columns(geometry.out_height(), geometry.out_width());
        let resident = if layer.side == 1 { 2 } else { 1 };
        let maps = if computed { 3 } else { 1 };
        let of = |columns: usize| {
            let tile = BlockTile { images: 1, rows, columns };
            let mut plan = Self { layer, tile, outputs, inputs, ahead: false, resident };
            while (layer.stride == 1 && plan.tile.pixels() < 128)
                || !(plan.tile.pixels() / 16).is_multiple_of(plan.deep())
            {
                plan.tile.images *= 2;
            }
            plan.ahead = plan.can_fetch_ahead(maps);
            if plan.ahead {
                while let Some(larger) = plan.larger(geometry, maps) {
                    plan = larger;
                }
            }
            (plan.shared() <= ONE_BLOCK).then_some(plan)
        };
        let mut plans = [columns, 16, 8].into_iter().filter_map(of);
        match numbers {
            Numbers::Bf16 => plans.next(),
            // Twice as large in registers: rather fewer at once than none on its way.
            Numbers::F32 => plans.clone().find(|plan| plan.ahead).or_else(|| plans.next()),
        }
    }

    /// With twice the tile, where warps have few pixels of it: if registers have room for what is fetched, and blocks still have another
    /// tile to fetch.
    fn larger(&self, geometry: &ConvGeometry, maps: usize) -> Option<Self> {
        const FEW: usize = 4 * 16;
        let BlockTile { images, rows, columns } = self.tile;
        let tile = match geometry.out_height() {
            height if height > rows => BlockTile { images, rows: 2 * rows, columns },
            _ => BlockTile { images: 2 * images, rows, columns },
        };
        let larger = Self { tile, ..*self };
        let [over_pixels, _] = larger.grid(geometry);
        let few = self.tile.pixels() < FEW * self.deep();
        (few && larger.can_fetch_ahead(maps) && 2 * over_pixels <= tile.count(geometry)).then_some(larger)
    }

    /// Warps that share 16 × 16 channels.
    fn deep(&self) -> usize {
        WARPS / (self.outputs / 16 * (self.inputs / 16))
    }

    /// Whether registers have room for the eights of channels that a thread fetches for a tile, of so many maps for the gradient.
    fn can_fetch_ahead(&self, maps: usize) -> bool {
        let of = |pixels: usize, channels: usize| (pixels * channels / 8).div_ceil(32 * WARPS);
        let pixels_of_input = self.footprint() / self.layer.numbers.pitch(self.inputs);
        let eights = of(pixels_of_input, self.inputs) + maps * of(self.tile.pixels(), self.outputs);
        eights * self.layer.numbers.planes() <= 10
    }

    fn footprint(&self) -> usize {
        self.tile.footprint(&self.layer, self.inputs)
    }

    /// Bytes of shared memory.
    pub fn shared(&self) -> usize {
        let added = if self.deep() > 1 { WARPS / 2 * self.layer.taps() * 1024 } else { 0 };
        added.max(self.footprint() + self.tile.pixels() * self.layer.numbers.pitch(self.outputs))
    }

    /// Blocks over pixels, each of which leaves a part, and over channels.
    pub fn grid(&self, geometry: &ConvGeometry) -> [usize; 2] {
        let Layer { inputs, outputs, .. } = self.layer;
        let over_channels = outputs.div_ceil(self.outputs) * inputs.div_ceil(self.inputs);
        [(WEIGHT_BLOCKS / over_channels).min(self.tile.count(geometry)).max(1), over_channels]
    }

    /// The arguments of templates.
    #[cfg(any(test, feature = "cuda"))]
    pub fn template(&self) -> String {
        let Self { layer, tile, outputs, inputs, ahead, resident } = self;
        let (number, layer, tile) = (layer.number(), layer.template(), tile.template());
        format!("{number}, {layer}, {tile}, {outputs}, {inputs}, {ahead}, {resident}")
    }
}

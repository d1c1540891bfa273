//! What the run itself reports of every stage, beside what that reports of its batches.

/// Their names in `report.json`.
pub const STAGE_FIGURES: [&str; 5] = ["batches", "flop", "images", "images_per_second", "median_batch_seconds"];

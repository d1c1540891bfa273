//! `--version`: which release this is, and what of it libraries of plugins have to fit.

use serde_json::json;
use zskt_api::build_id::API_VERSION;

use crate::library;

/// As much of a sum as tells builds apart.
const SHORT: usize = 16;

/// The release, the sum of its image, its features, its compiler and its machine: for people, or as JSON with the whole sum.
pub fn describe(json: bool) -> String {
    // A program that is one static file has none.
    let image = library::image_sum().ok();
    let release = library::RELEASE;
    let features: Vec<_> = [("cuda", cfg!(feature = "cuda")), ("dynamic", cfg!(feature = "dynamic"))]
        .into_iter()
        .filter_map(|(name, is_on)| is_on.then_some(name))
        .collect();
    let compiler = option_env!("ZSKT_RUSTC").unwrap_or("unknown");
    let target = env!("ZSKT_TARGET");
    if json {
        let all = json!({
            "release": release,
            "image": image,
            "plugin_api": API_VERSION,
            "features": features,
            "compiler": compiler,
            "target": target,
        });
        return format!("{all}\n");
    }
    let image = image.map_or("none, one static file", |sum| &sum[..SHORT]);
    let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
    format!(
        "zskt-run {release}\nimage:      {image}\nplugin API: {API_VERSION}\nfeatures:   {features}\ncompiler:   {compiler}\ntarget:     \
         {target}\n"
    )
}

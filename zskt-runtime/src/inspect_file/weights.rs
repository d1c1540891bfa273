//! Weights: the networks of a file, tensor by tensor, and the architectures that have such.

use std::fmt::Write;

use serde_json::{Value, json};
use torch_checkpoint::printable;
use zskt_api::{Diagnostic, Registry};

use super::Request;
use crate::text_format;
use crate::weights_report::{FoundNetwork, WeightsReport, no_weights, weights_report};

/// What a file of weights, an index of shards, or a folder with either holds.
///
/// # Errors
/// When it is none.
pub fn describe(request: &Request<'_>, registry: &Registry) -> Result<String, Diagnostic> {
    let report = weights_report(request.path, request.key, &[], registry).map_err(|error| {
        let problem =
            Diagnostic::global(format!("cannot read weights from `{}`: {}", error.path.display(), error.kind));
        problem.help(error.kind.help())
    })?;
    if report.networks.is_empty() && request.key.is_some() {
        return Err(no_weights(request.path, request.key, registry));
    }
    Ok(if request.json { format!("{:#}\n", to_json(&report)) } else { page(request, &report) })
}

fn page(request: &Request<'_>, report: &WeightsReport) -> String {
    let mut out = format!("{}: {}\n", request.path.display(), report.format);
    if report.files.len() > 1 {
        let files: Vec<_> = report.files.iter().map(|file| file.display().to_string()).collect();
        out += &format!("  files: {}\n", text_format::join(&files, "and"));
    }
    if let Some(found) = &report.configuration {
        let mut parts: Vec<String> = found.architecture.iter().map(|name| printable(name)).collect();
        parts.extend(found.classes.map(|classes| format!("{classes} classes")));
        parts.extend(found.input_size.map(|[channels, height, width]| format!("images {channels}×{height}×{width}")));
        parts.extend(found.mean.as_ref().map(|mean| format!("mean {mean:?}")));
        parts.extend(found.std.as_ref().map(|std| format!("std {std:?}")));
        parts.extend(found.batch_norm_epsilon.map(|epsilon| format!("batch norms add {epsilon:?} to the variance")));
        out += &format!("  configuration: {}\n", parts.join(", "));
        if !found.labels.is_empty() {
            let labels: Vec<_> = found.labels.iter().map(|label| printable(label)).collect();
            out += &format!("  classes: {}\n", text_format::some_of(labels.iter().map(String::as_str)));
        }
    }
    for network in &report.networks {
        out += &network_page(network, report.networks.len() > 1);
    }
    out
}

fn network_page(network: &FoundNetwork, several: bool) -> String {
    let numbers: usize = network.tensors.iter().map(|(_, info)| info.shape.iter().product::<usize>()).sum();
    let mut out = String::from("\n");
    let mut place = Vec::new();
    if !network.key.is_empty() {
        place.push(format!("`{}`", printable(&network.key)));
    }
    if !network.prefix.is_empty() {
        place.push(format!("names after `{}`", printable(&network.prefix)));
    }
    let place = if place.is_empty() { String::new() } else { place.join(", ") + ": " };
    let (tensors, numbers) = (text_format::count(network.tensors.len()), text_format::count(numbers));
    // A string takes whatever is written to it.
    let _ = writeln!(out, "{place}{tensors} tensors, {numbers} numbers");
    if several {
        let _ = writeln!(out, "  chosen by key: \"{}\"", printable(&network.choice()));
    }
    if network.recognized.is_empty() {
        out += "  no architecture that is there has such weights\n";
    }
    for recognized in &network.recognized {
        let names = recognized.layout.map_or("its own names".to_owned(), |layout| format!("the names of {layout}"));
        let size = recognized.image_size;
        let _ = writeln!(out, "  fits {}, by {names}; usually for images of {size}×{size}", recognized.ron);
        for assumption in &recognized.assumptions {
            let _ = writeln!(out, "    - {assumption}");
        }
    }
    let width = network.tensors.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, info) in &network.tensors {
        let name = printable(name);
        let _ = writeln!(out, "  {name:width$}  {:4}  {:?}", info.dtype.as_str(), info.shape);
    }
    for reason in &network.unusable {
        let _ = writeln!(out, "  not usable: {reason}");
    }
    out
}

fn to_json(report: &WeightsReport) -> Value {
    let network = |network: &FoundNetwork| {
        let recognized: Vec<_> = network
            .recognized
            .iter()
            .map(|one| json!({ "architecture": one.ron, "layout": one.layout, "assumptions": one.assumptions }))
            .collect();
        let tensors: Vec<_> = network
            .tensors
            .iter()
            .map(|(name, info)| json!({ "name": name, "dtype": info.dtype.as_str(), "shape": info.shape }))
            .collect();
        json!({
            "key": network.key, "prefix": network.prefix, "recognized": recognized, "tensors": tensors, "unusable": network.unusable,
        })
    };
    let configuration = report.configuration.as_ref().map(|found| {
        json!({
            "architecture": found.architecture, "classes": found.classes, "labels": found.labels,
            "input_size": found.input_size, "mean": found.mean, "std": found.std,
            "batch_norm_epsilon": found.batch_norm_epsilon,
        })
    });
    json!({
        "format": report.format.to_string(),
        "files": report.files,
        "configuration": configuration,
        "networks": report.networks.iter().map(network).collect::<Vec<_>>(),
    })
}

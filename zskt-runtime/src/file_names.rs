//! What nodes and the files that they leave are called in the folder of a run.

/// A name as part of a file name: what could lead elsewhere, or needs quoting, becomes `_`. Nodes' names have nothing of it.
pub fn file_name(name: &str) -> String {
    let safe: String =
        name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect();
    if safe.starts_with('.') || safe.is_empty() { format!("_{safe}") } else { safe }
}

/// What the file with a stage's trained network is called, without its ending; that of the last stage that gives a classifier is the student's.
pub fn weights_name(stage: &str, is_last: bool) -> &str {
    match stage {
        _ if is_last => "student",
        "student" => "student-stage",
        stage => stage,
    }
}

/// The file of the images that a turn has made in a stage: a turn may be of several.
pub fn made_images_file(stage: &str, turn: &str) -> String {
    format!("{}.{}.parquet", file_name(stage), file_name(turn))
}

/// The file of weights of this name.
pub fn weights_file(name: &str) -> String {
    format!("{}.safetensors", file_name(name))
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_stay_inside_the_folder() {
        assert_eq!(file_name("../cifar 10"), "_.._cifar_10");
        assert_eq!(file_name("wrn-40-2.fewshot"), "wrn-40-2.fewshot");
    }
}

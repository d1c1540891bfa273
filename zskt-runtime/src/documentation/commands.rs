//! Commands in blocks for shells, and options in the text.

use std::collections::BTreeSet;
use std::fs;

use clap::{CommandFactory, Parser};
use zskt_api::{Diagnostic, Registry};

use super::{Block, blocks, pages, prose, root};
use crate::cli::Cli;
use crate::pipeline::Sources;

/// The words of each command in a block, as a shell takes it apart.
fn commands(block: &Block) -> Vec<Vec<String>> {
    let text = block.text.replace("\\\n", " ");
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote) = (None::<String>, None);
    for line in text.lines() {
        for c in line.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, '#') if word.is_none() => break,
                (None, ' ') => commands.last_mut().unwrap().extend(word.take()),
                (None, '|' | '&' | ';' | '(' | ')') => {
                    commands.last_mut().unwrap().extend(word.take());
                    commands.push(Vec::new());
                }
                (_, c) => word.get_or_insert_default().push(c),
            }
        }
        commands.last_mut().unwrap().extend(word.take());
        assert!(quote.is_none(), "{}: a quote has no end", block.place);
        commands.push(Vec::new());
    }
    commands.retain(|words| !words.is_empty());
    commands
}

/// What the program is given, if the command is one of it.
fn of_program(words: &[String]) -> Option<Vec<String>> {
    let begins =
        |words: &[String], with: &[&str]| words.iter().map(String::as_str).take(with.len()).eq(with.iter().copied());
    let prefixes: [&[&str]; 3] = [&["zskt-run"], &["target/release/zskt-run"], &["cargo", "run", "--release", "--"]];
    let prefix = prefixes.into_iter().find(|prefix| begins(words, prefix))?;
    Some([&["zskt-run".to_owned()], &words[prefix.len()..]].concat())
}

#[test]
fn every_command_is_one_of_the_program() {
    let registry = Registry::get().unwrap();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for block in blocks().iter().filter(|block| block.language == "sh") {
        for words in commands(block) {
            for file in
                words.iter().filter(|word| ["pipelines/", "benches/", "tests/"].iter().any(|it| word.starts_with(it)))
            {
                if !root().join(file).exists() {
                    wrong.push(format!("{}: there is no {file}", block.place));
                }
            }
            let Some(arguments) = of_program(&words) else { continue };
            count += 1;
            let cli = match Cli::try_parse_from(&arguments) {
                Ok(cli) => cli,
                Err(error) => {
                    wrong.push(format!("{}: {arguments:?}: {error}", block.place));
                    continue;
                }
            };
            // Its changes fit a pipeline that is here.
            let Some(path) = cli.run.pipeline.filter(|path| root().join(path).exists() && path.extension().is_some())
            else {
                continue;
            };
            let text = fs::read_to_string(root().join(&path)).unwrap();
            // Which devices there are, is not the documentation's to know.
            let sets: Vec<_> = cli.run.overrides.sets.into_iter().filter(|set| !set.starts_with("device=")).collect();
            let sources = Sources::new(path.display().to_string(), text, &sets);
            if let Err(problems) = crate::prove(&sources, registry, true) {
                let problems: Vec<_> =
                    problems.iter().filter(|it| Diagnostic::is_error(it)).map(|it| &it.message).collect();
                wrong.push(format!("{}: {arguments:?}: {problems:?}", block.place));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 30, "{count} commands are shown");
}

/// The commands of the program, and of these, that are not hidden.
fn all_commands(command: &clap::Command, name: &str, into: &mut Vec<(String, BTreeSet<String>)>) {
    let flags =
        command.get_arguments().flat_map(|argument| argument.get_long_and_visible_aliases().unwrap_or_default());
    into.push((name.to_owned(), flags.map(|flag| format!("--{flag}")).collect()));
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        all_commands(inner, &format!("{name} {}", inner.get_name()), into);
    }
}

#[test]
fn the_readme_names_every_command_and_no_option_that_is_not_there() {
    let mut commands = Vec::new();
    all_commands(&Cli::command(), "zskt-run", &mut commands);
    let flags: BTreeSet<&str> = commands.iter().flat_map(|(_, flags)| flags.iter().map(String::as_str)).collect();
    // cargo's, Slurm's, GNU parallel's, and of `benches/`.
    let of_others = ["--no-default-features", "--signal", "--requeue", "--cpus-per-task", "--sshlogin", "--pairs"];
    for (page, text) in pages() {
        let text = prose(&text);
        for code in text.split('`').skip(1).step_by(2) {
            let Some(flag) = code.split([' ', '=']).next().filter(|word| word.starts_with("--") && word.len() > 2)
            else {
                continue;
            };
            assert!(flags.contains(flag) || of_others.contains(&flag), "{}: `{code}`", page.display());
        }
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("`zskt-run {}", command.get_name());
        assert!(readme.contains(&name), "README.md does not name {name}`");
    }
}

//! What the manual says by the way: its links lead somewhere, its YAML can be read, and the commands it shows are the program's.
#![allow(clippy::unwrap_used, reason = "a failed expectation is how a test reports")]

#[path = "support/documents.rs"]
mod documents;
#[path = "support/program.rs"]
mod program;

use documents::anchors;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every document of the repository, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut open = ["certs", "deploy", "docs", "policies", "tests"]
        .map(|folder| root().join(folder))
        .to_vec();
    let mut found = [
        "README.md",
        "CHANGELOG.md",
        "CODE_OF_CONDUCT.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ]
    .map(|file| root().join(file))
    .to_vec();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                found.push(path);
            }
        }
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    found.into_iter().map(read).collect()
}

/// Outside of code, where `](` is no link and `#` no heading.
fn prose(text: &str) -> String {
    let fenced = text.split("```").step_by(2).collect::<Vec<_>>().join("\n");
    fenced
        .split('`')
        .enumerate()
        .map(|(at, part)| if at % 2 == 0 { part.to_owned() } else { format!("`{part}`") })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut seen = 0;
    for (path, text) in documents() {
        for link in prose(&text).split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            assert!(target.exists(), "{}: {link} leads nowhere", path.display());
            if !anchor.is_empty() {
                let known = anchors(&fs::read_to_string(&target).unwrap());
                assert!(known.contains(anchor), "{}: {link}: there are {known:?}", path.display());
            }
        }
    }
    assert!(seen > 60, "{seen}");
}

/// The code blocks of a document, with the word behind their fence.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let inside = text.split("```").skip(1).step_by(2);
    inside.map(|block| block.split_once('\n').unwrap_or((block, ""))).collect()
}

#[test]
fn yaml_can_be_read() {
    let mut seen = 0;
    for (path, text) in documents() {
        for (language, block) in blocks(&text) {
            if language == "yaml" {
                seen += 1;
                let read = pullgate::yaml::documents(block);
                assert!(read.errors.is_empty(), "{}:\n{block}\n{:?}", path.display(), read.errors);
                assert!(!read.documents.is_empty(), "{}:\n{block}", path.display());
            }
        }
    }
    assert!(seen > 25, "{seen}");
}

/// The commands of code blocks that call the program: without comment, prompt, and what comes before or after in a pipe.
fn commands() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for (path, text) in documents() {
        for line in blocks(&text).into_iter().flat_map(|(_, block)| block.lines()) {
            let line = line.split(" # ").next().unwrap().split("  #").next().unwrap();
            for part in line.split(" | ") {
                let part = part.trim().trim_start_matches("$ ");
                let part = part.split_once("run: ").map_or(part, |(_, part)| part);
                let part = part.split_once("script: ").map_or(part, |(_, part)| part);
                if let Some(arguments) = part.strip_prefix("pullgate ") {
                    found.push((path.clone(), arguments.to_owned()));
                }
            }
        }
    }
    found
}

#[test]
fn commands_and_flags_are_the_programs() {
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut help = |command: &[String]| {
        let ask = || {
            let output = program::pullgate().args(command).arg("--help").output().unwrap();
            assert!(output.status.success(), "pullgate {command:?} is no command");
            String::from_utf8(output.stdout).unwrap()
        };
        helps.entry(command.to_vec()).or_insert_with(ask).clone()
    };
    let (mut commands_seen, mut flags_seen) = (0, 0);
    for (path, line) in commands() {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        // These have commands of their own.
        let depth = if matches!(words[0].as_str(), "policy" | "config") {
            2
        } else {
            1
        };
        let text = help(&words[..depth]);
        commands_seen += 1;
        for word in words
            .iter()
            .skip(depth)
            .map(|word| word.trim_matches(|c| matches!(c, '[' | ']')))
        {
            let flag = word.split('=').next().unwrap();
            if flag.starts_with("--") {
                let named = |line: &str| {
                    line.split([' ', ',', '[', '<'])
                        .any(|known| known.trim_end_matches("...") == flag)
                };
                assert!(text.lines().any(named), "{}: pullgate {line}: no flag {flag}", path.display());
                flags_seen += 1;
            }
        }
    }
    assert!(
        commands_seen > 35 && flags_seen > 40,
        "{commands_seen} commands with {flags_seen} flags"
    );
}

//! What comments and documents cite must be there. "contract 6" is a section of docs/contract.md, "pull-semantics 5.4" one of
//! docs/pull-semantics.md, "pull-semantics 11, rule 24" an item of a list there. Documents are cited by path, decisions by number,
//! agreement cases by name, after "Cases" and a colon or in a table's last column of that title.

use super::documents::{anchors, headings};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What there is to cite.
struct Known {
    root: PathBuf,
    /// `6`
    contract: BTreeSet<String>,
    /// `5.4`, `rule 24`
    pull_semantics: BTreeSet<String>,
    cases: BTreeSet<String>,
}

impl Known {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf();
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        let pull_semantics = text("docs/pull-semantics.md");
        let mut places = sections(&pull_semantics);
        places.extend(rules(&pull_semantics));
        let mut cases = BTreeSet::new();
        for file in files(&root.join("tests/agreement/cases")).filter(|file| has_ending(file, &["yaml"])) {
            let text = fs::read_to_string(file).unwrap();
            cases.extend(
                text.lines()
                    .filter_map(|line| line.strip_prefix("- name: "))
                    .map(str::to_owned),
            );
        }
        Self {
            contract: sections(&text("docs/contract.md")),
            pull_semantics: places,
            cases,
            root,
        }
    }

    /// What `text` cites and is not there, and how much it cites.
    fn check(&self, text: &str) -> (Vec<String>, usize) {
        let text = unwrapped(text);
        let mut cited = Vec::new();
        for (name, places) in [("contract", &self.contract), ("pull-semantics", &self.pull_semantics)] {
            for (_, behind) in occurrences(&text, &format!("{name} ")) {
                cited.extend(places_in(behind).map(|place| (places.contains(&place), format!("{name} {place}"))));
            }
        }
        for (before, behind) in occurrences(&text, "docs/") {
            if !before.ends_with('/') {
                cited.extend(self.document(behind));
            }
        }
        for case in cases_in(&text) {
            cited.push((self.has_case(&case), format!("the case {case}")));
        }
        let number = cited.len();
        let wrong = cited.into_iter().filter(|(is_there, _)| !is_there).map(|(_, what)| what);
        (wrong.collect(), number)
    }

    /// Whether the document or decision is there whose path `text` begins with, after `docs/`.
    fn document(&self, text: &str) -> Option<(bool, String)> {
        let is_path = |c: char| c.is_ascii_alphanumeric() || "-_./#".contains(c);
        let path = &text[..text.find(|c| !is_path(c)).unwrap_or(text.len())];
        let path = path.trim_end_matches(['.', '-']);
        let (file, anchor) = path.split_once('#').unwrap_or((path, ""));
        let folder = self.root.join("docs");
        let is_there = if Path::new(file).extension().is_some_and(|ending| ending == "md") {
            let document = fs::read_to_string(folder.join(file));
            document.is_ok_and(|document| anchor.is_empty() || anchors(&document).contains(anchor))
        } else {
            let number = file.strip_prefix("decisions/").filter(|number| !number.is_empty())?;
            files(&folder.join("decisions")).any(|file| {
                file.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(&format!("{number}-")))
            })
        };
        Some((is_there, format!("docs/{path}")))
    }

    fn has_case(&self, pattern: &str) -> bool {
        match pattern.split_once('*') {
            None => self.cases.contains(pattern),
            Some((begins, ends)) => self
                .cases
                .iter()
                .any(|case| case.len() >= begins.len() + ends.len() && case.starts_with(begins) && case.ends_with(ends)),
        }
    }
}

/// The numbers of a document's sections.
fn sections(text: &str) -> BTreeSet<String> {
    headings(text)
        .filter_map(|title| number(title).map(|(number, _)| number.to_owned()))
        .collect()
}

/// The numbered items of section 11, which go on from list to list.
fn rules(text: &str) -> impl Iterator<Item = String> {
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with("11. "))
        .unwrap_or_default();
    let numbered = section
        .lines()
        .skip(1)
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    numbered.filter_map(|line| Some(format!("rule {}", number(line)?.0)))
}

/// `5.4` of `5.4: …`, and what follows.
fn number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].trim_end_matches('.');
    (!number.is_empty()).then(|| (number, &text[number.len()..]))
}

/// The sections and rules that follow the name of a document: `5.2, 5.3 and 6.2`, `4.1 to 4.5`, `11, rule 24`.
fn places_in(mut text: &str) -> impl Iterator<Item = String> {
    let mut kind = "";
    let mut places = Vec::new();
    while let Some((found, rest)) = number(text) {
        places.push(format!("{kind}{found}"));
        let Some(next) = [", rules ", ", rule ", ", ", " and ", " to "]
            .iter()
            .find_map(|word| rest.strip_prefix(word).map(|next| (word, next)))
        else {
            break;
        };
        if next.0.contains("rule") {
            kind = "rule ";
        }
        text = next.1;
    }
    places.into_iter()
}

/// The names that follow "Cases" and a colon, and those in a last column with the title "cases".
fn cases_in(text: &str) -> BTreeSet<String> {
    let mut cases = BTreeSet::new();
    for (_, mut list) in occurrences(text, "Cases:") {
        while let Some((name, rest)) = list
            .trim_start_matches([' ', ','])
            .strip_prefix('`')
            .and_then(|list| list.split_once('`'))
        {
            cases.insert(name.to_owned());
            list = rest;
        }
    }
    let mut in_table = false;
    for line in text.lines() {
        let last = line.trim().strip_suffix('|').and_then(|row| row.rsplit('|').next());
        match last.map(str::trim) {
            None => in_table = false,
            Some("cases") => in_table = true,
            Some(cell) if in_table => cases.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned)),
            Some(_) => {}
        }
    }
    cases
}

/// Where `word` occurs by itself: what stands before and behind it.
fn occurrences<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let found = text
        .match_indices(word)
        .map(move |(at, _)| (&text[..at], &text[at + word.len()..]));
    found.filter(|(before, _)| !before.ends_with(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c)))
}

/// A paragraph or comment in one line each, without the marks of comments; rows of tables stay by themselves.
fn unwrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.trim_start().trim_start_matches(['/', '!', '#']).trim();
        let apart = line.is_empty() || line.starts_with('|');
        out.push(if apart || out.ends_with('|') { '\n' } else { ' ' });
        out.push_str(line);
    }
    out
}

/// The files below a folder, in no order; none where there is no such folder.
fn files(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let mut open = vec![folder.to_path_buf()];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.into_iter()
}

fn has_ending(file: &Path, endings: &[&str]) -> bool {
    file.extension()
        .is_none_or(|ending| endings.iter().any(|known| ending == *known))
}

#[test]
fn what_is_cited_is_there() {
    let known = Known::read();
    let below = ["src", "tests", "benches", "docs", "deploy", "policies"];
    let beside = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "Cargo.toml",
        "clippy.toml",
        "deny.toml",
    ];
    let of_folders = below.iter().flat_map(|folder| files(&known.root.join(folder)));
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for file in of_folders.chain(beside.iter().map(|file| known.root.join(file))) {
        if !has_ending(&file, &["rs", "md", "yaml", "yml", "toml", "py", "sh"]) {
            continue;
        }
        let mut text = fs::read_to_string(&file).unwrap();
        // These two cite their own sections, too.
        for name in ["contract", "pull-semantics"] {
            if file.ends_with(format!("docs/{name}.md")) {
                text = text.replace("section ", &format!("{name} "));
            }
        }
        let (missing, number) = known.check(&text);
        wrong.extend(
            missing
                .into_iter()
                .map(|what| format!("{}: {what} is not there", file.display())),
        );
        seen += number;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 500, "only {seen} citations were seen");
}

#[test]
fn a_wrong_citation_is_found() {
    let known = Known::read();
    // Put together here, so that this file cites none of it.
    let text = |text: &str| {
        text.replace("CONTRACT", "contract")
            .replace("PULLS", "pull-semantics")
            .replace("DOCS", "docs")
            .replace("CASES", "Cases:")
    };
    for (right, number) in [
        ("//! The deadline (CONTRACT 6).", 1),
        ("/// As CONTRACT 2 and 3 have it; PULLS 4.1 to 4.5, 5.4 and 7.2.", 6),
        ("// PULLS\n    // 11, rules 24 and 33", 3),
        (
            "See DOCS/kubelet.md#image-volumes, DOCS/decisions/0005 and DOCS/agreement.md.",
            3,
        ),
        ("CASES `head-405`, `status-4*`; not `this`.", 2),
        ("| what | cases |\n|---|---|\n| HEAD | `head-405`, `status-403` |\n", 2),
        ("a contract that says nothing, in others/DOCS/none.md", 0),
    ] {
        assert_eq!(known.check(&text(right)), (vec![], number), "{right}");
    }
    for (wrong, what) in [
        ("(CONTRACT 8)", "CONTRACT 8"),
        ("(CONTRACT 2 and\n/// 19)", "CONTRACT 19"),
        ("PULLS 5.4, 5.9", "PULLS 5.9"),
        ("PULLS 11, rule 39", "PULLS rule 39"),
        ("see DOCS/kubelets.md", "DOCS/kubelets.md"),
        ("see DOCS/kubelet.md#volumes.", "DOCS/kubelet.md#volumes"),
        ("DOCS/decisions/0099", "DOCS/decisions/0099"),
        ("CASES `head-405`,\n  `head-4055`.", "the case head-4055"),
        ("| what | cases |\n|---|---|\n| x | `no-such-*` |", "the case no-such-*"),
    ] {
        assert_eq!(known.check(&text(wrong)).0, [text(what)], "{wrong}");
    }
}

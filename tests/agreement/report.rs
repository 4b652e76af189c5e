//! `docs/agreement.md` for people and `tests/agreement/results.json` for machines, from the runs that were kept.

use crate::cases::Case;
use crate::run::{End, Kind, Row, Run, kept};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Writes both where every part has run; otherwise leaves them as they are.
pub(crate) fn write(cases: &[Case]) {
    let (Some(mut runs), Some(kubelet)) = (kept("containerd"), kept("kubelet")) else {
        println!("docs/agreement.md is written when both the containerds and the kubelet have run");
        return;
    };
    runs.extend(kubelet);
    if std::env::var_os("PULLGATE_TEST_CASE").is_some() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let results = format!("{}\n", serde_json::to_string_pretty(&results(cases, &runs)).unwrap());
    std::fs::write(root.join("tests/agreement/results.json"), results).unwrap();
    std::fs::write(root.join("docs/agreement.md"), page(cases, &runs)).unwrap();
}

/// How often something is so.
fn count(run: &Run, is: impl Fn(&Row) -> bool) -> usize {
    run.rows.iter().filter(|row| is(row)).count()
}

/// Explained disagreements do not count as what they are.
fn unexplained(run: &Run, kind: Kind) -> usize {
    count(run, |row| row.kind == kind && row.why.is_none())
}

/// What is explained: a disagreement, or that today's kubelet was followed and not the one compared with.
fn kind(row: &Row) -> &'static str {
    if row.kind == Kind::Agree { "today" } else { row.kind.name() }
}

fn results(cases: &[Case], runs: &[Run]) -> Value {
    let runs: Vec<Value> = runs
        .iter()
        .map(|run| {
            let explained: Vec<Value> = run
                .rows
                .iter()
                .filter_map(|row| Some(json!({"case": row.case, "kind": kind(row), "why": row.why.as_ref()?})))
                .collect();
            json!({"against": run.against, "compared": run.rows.len(), "agree": count(run, |row| row.kind == Kind::Agree),
                   "false_denials": count(run, |row| row.kind == Kind::FalseDenial),
                   "misses": unexplained(run, Kind::Miss) + unexplained(run, Kind::OtherReason),
                   "unknown": count(run, |row| row.kind == Kind::Unknown), "explained": explained})
        })
        .collect();
    json!({"cases": cases.len(), "runs": runs})
}

fn page(cases: &[Case], runs: &[Run]) -> String {
    let mut out = String::from(include_str!("report/head.md"));
    writeln!(
        out,
        "\n## Totals\n\n{} cases. A miss that is explained has its reason below.\n",
        cases.len()
    )
    .unwrap();
    out.push_str(
        "| against | compared | agree | false denials | misses | explained | unknown | failures in the words we predict |\n",
    );
    out.push_str("|---|--:|--:|--:|--:|--:|--:|--:|\n");
    for run in runs {
        writeln!(
            out,
            "| {} | {} | {} | **{}** | **{}** | {} | {} | {} of {} |",
            run.against,
            run.rows.len(),
            count(run, |row| row.kind == Kind::Agree),
            count(run, |row| row.kind == Kind::FalseDenial),
            unexplained(run, Kind::Miss) + unexplained(run, Kind::OtherReason),
            count(run, |row| row.why.is_some()),
            count(run, |row| row.kind == Kind::Unknown),
            count(run, |row| row.same_words == Some(true)),
            count(run, |row| row.same_words.is_some()),
        )
        .unwrap();
    }
    out.push_str("\n## Explained\n\n| case | against | what | why |\n|---|---|---|---|\n");
    let mut explained: BTreeMap<(&str, &str, &str), Vec<&str>> = BTreeMap::new();
    for run in runs {
        for row in &run.rows {
            if let Some(why) = &row.why {
                explained.entry((&row.case, kind(row), why)).or_default().push(&run.against);
            }
        }
    }
    for ((case, kind, why), against) in explained {
        writeln!(out, "| {case} | {} | {kind} | {} |", against.join(", "), cell(why)).unwrap();
    }
    out.push_str(
        "\n## Unknown\n\nWhat we do not claim to know, and what became of it.\n\n| case | why | what they did |\n|---|---|---|\n",
    );
    for (case, rows) in by_case(cases, runs) {
        let Some((_, unknown)) = rows.iter().find(|(_, row)| row.kind == Kind::Unknown) else {
            continue;
        };
        let did: Vec<String> = rows
            .iter()
            .map(|(run, row)| format!("{}: {}", run.against, did(row)))
            .collect();
        writeln!(
            out,
            "| {} | {}: {} | {} |",
            case.name,
            unknown.said.causes.join(", "),
            cell(&unknown.said.message),
            same(did.as_slice(), &rows)
        )
        .unwrap();
    }
    out.push_str(include_str!("report/today.md"));
    out.push_str("\n## Every case\n\nWhat we said, for nodes that run what it was compared with; what each node did. `=` after a failure: in the words that we predict.\n");
    let mut chapter = "";
    for (case, rows) in by_case(cases, runs) {
        if case.chapter != chapter {
            chapter = &case.chapter;
            writeln!(
                out,
                "\n### {}\n\n| case | what | we said | they did |\n|---|---|---|---|",
                title(chapter)
            )
            .unwrap();
        }
        let said: Vec<String> = rows.iter().map(|(_, row)| said(row)).collect();
        let did: Vec<String> = rows
            .iter()
            .map(|(run, row)| format!("{}: {}", short(&run.against), did(row)))
            .collect();
        let (said, did) = if rows.is_empty() {
            let expected = case.expected.causes.join(", ");
            (
                format!("{} {expected}", case.expected.outlook),
                "not compared: our engine alone".to_owned(),
            )
        } else {
            (distinct(&said), same(&did, &rows))
        };
        writeln!(out, "| {} | {} | {} | {did} |", case.name, cell(&case.about), said.trim()).unwrap();
    }
    out
}

fn by_case<'a>(cases: &'a [Case], runs: &'a [Run]) -> Vec<(&'a Case, Vec<(&'a Run, &'a Row)>)> {
    cases
        .iter()
        .map(|case| {
            let rows = runs
                .iter()
                .filter_map(|run| Some((run, run.rows.iter().find(|row| row.case == case.name)?)));
            (case, rows.collect())
        })
        .collect()
}

fn said(row: &Row) -> String {
    let causes = row.said.causes.join(", ");
    if causes.is_empty() {
        row.said.outlook.clone()
    } else {
        format!("{}: {causes}", row.said.outlook)
    }
}

fn did(row: &Row) -> String {
    let reason = &row.deed.reason;
    let deed = match row.deed.end {
        End::Pulled => "pulled".to_owned(),
        End::NotStarted => format!("pulled, {}", if reason.is_empty() { "not started" } else { reason }),
        End::NotPulled if reason.is_empty() => "failed".to_owned(),
        End::NotPulled => reason.clone(),
    };
    let words = if row.same_words == Some(true) { " =" } else { "" };
    let kind = match row.kind {
        Kind::Agree | Kind::Unknown => String::new(),
        other => format!(
            " (**{}{}**)",
            other.name(),
            if row.why.is_some() { ", explained" } else { "" }
        ),
    };
    format!("{deed}{words}{kind}")
}

/// One text where all are the same.
fn distinct(all: &[String]) -> String {
    let mut all = all.to_vec();
    all.dedup();
    all.join("; ")
}

/// What they did, in short where all did the same.
fn same(did_named: &[String], rows: &[(&Run, &Row)]) -> String {
    let all: Vec<String> = rows.iter().map(|(_, row)| did(row)).collect();
    match all.first() {
        Some(first) if all.len() > 1 && all.iter().all(|one| one == first) => format!("all: {first}"),
        _ => did_named.join("; "),
    }
}

/// `1.6.20`, `2.1.9 transfer`, `kubelet`
fn short(against: &str) -> &str {
    if against.starts_with("kubelet") {
        "kubelet"
    } else {
        against.trim_start_matches("containerd ")
    }
}

/// `01-content` → `Content`
fn title(chapter: &str) -> String {
    let name = chapter.split_once('-').map_or(chapter, |(_, name)| name);
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

/// Text in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;")
}

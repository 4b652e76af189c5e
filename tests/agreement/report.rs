//! `docs/agreement.md` for people and `tests/agreement/results.json` for machines, from the runs that were kept.

use crate::cases::Case;
use crate::run::{End, Kind, Row, Run, folder, kept};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// Writes both where every part has run; otherwise leaves them as they are.
pub(crate) fn write(cases: &[Case]) {
    let (Some(mut runs), Some(kubelet)) = (kept("runtimes"), kept("kubelet")) else {
        println!("docs/agreement.md is written when both the runtimes and the kubelet have run");
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

/// What is explained, or known to be wrong, does not count as what it is.
fn bad(run: &Run, kinds: &[Kind]) -> usize {
    count(run, |row| row.is_bad() && kinds.contains(&row.kind))
}

/// What we are known to have wrong.
fn known_wrong(run: &Run) -> impl Iterator<Item = &Row> {
    run.rows.iter().filter(|row| row.known_wrong.is_some())
}

fn results(cases: &[Case], runs: &[Run]) -> Value {
    let runs: Vec<Value> = runs
        .iter()
        .map(|run| {
            let explained: Vec<Value> = run
                .rows
                .iter()
                .filter_map(|row| Some(json!({"case": row.case, "kind": row.kind.name(), "why": row.why.as_ref()?})))
                .collect();
            json!({"against": run.against, "compared": run.rows.len(), "agree": count(run, |row| row.kind == Kind::Agree),
                   "false_denials": bad(run, &[Kind::FalseDenial]), "misses": bad(run, &[Kind::Miss, Kind::OtherReason]),
                   "unknown": count(run, |row| row.kind == Kind::Unknown), "explained": explained,
                   "known_wrong": known_wrong(run).map(|row| &row.case).collect::<Vec<_>>()})
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
        "| against | compared | agree | false denials | misses | explained | known wrong | unknown | failures in the words we predict |\n",
    );
    out.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    for run in runs {
        writeln!(
            out,
            "| {} | {} | {} | **{}** | **{}** | {} | {} | {} | {} of {} |",
            run.against,
            run.rows.len(),
            count(run, |row| row.kind == Kind::Agree),
            bad(run, &[Kind::FalseDenial]),
            bad(run, &[Kind::Miss, Kind::OtherReason]),
            count(run, |row| row.why.is_some() && row.known_wrong.is_none()),
            known_wrong(run).count(),
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
                explained
                    .entry((&row.case, row.kind.name(), why))
                    .or_default()
                    .push(&run.against);
            }
        }
    }
    for ((case, kind, why), against) in explained {
        writeln!(out, "| {case} | {} | {kind} | {} |", against.join(", "), cell(why)).unwrap();
    }
    page_known_wrong(&mut out, runs);
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
    page_words(&mut out, runs);
    page_requests(&mut out, runs);
    out.push_str(include_str!("report/not-compared.md"));
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

fn page_known_wrong(out: &mut String, runs: &[Run]) {
    out.push_str("\n## Known wrong\n");
    for run in runs {
        let mut by_why: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in known_wrong(run) {
            let why = row.known_wrong.as_deref().unwrap_or_default();
            by_why.entry(why).or_default().push(&row.case);
        }
        if by_why.is_empty() {
            continue;
        }
        let number = known_wrong(run).count();
        writeln!(
            out,
            "\nOf {} we have {number} cases wrong, as `tests/agreement/known-wrong.yaml` lists them:\n\n| what we ignore | number | cases |\n|---|--:|---|",
            run.against
        )
        .unwrap();
        for (why, cases) in by_why {
            writeln!(out, "| {} | {} | {} |", cell(why), cases.len(), cases.join(", ")).unwrap();
        }
    }
    if runs.iter().all(|run| known_wrong(run).count() == 0) {
        out.push_str("\nNothing.\n");
    }
}

/// Where a failure's words are others than those that we predict. The whole list is in a file beside the runs that are kept.
fn page_words(out: &mut String, runs: &[Run]) {
    const AT_MOST: usize = 15;
    out.push_str("\n## Other words\n\nFailures of which the kubelet shows another text than we say, to the letter but for ports, and for `...` where a text holds what cannot be known beforehand. A node does not tell in which way its containerd pulls: we say the words of the default way, which is the transfer service from 2.1 on.\n");
    let mut whole = String::new();
    for run in runs {
        let others: Vec<&Row> = run.rows.iter().filter(|row| row.same_words == Some(false)).collect();
        let predicted = |row: &Row| row.said.kubelet.as_ref().map(|(_, words)| words.clone()).unwrap_or_default();
        for row in &others {
            let words = &row.deed.words;
            writeln!(
                whole,
                "{} on {}\n    we: {}\n    it: {words}",
                row.case,
                run.against,
                predicted(row)
            )
            .unwrap();
        }
        if others.is_empty() {
            continue;
        }
        writeln!(
            out,
            "\n{}: {}.\n\n| case | we say | it says |\n|---|---|---|",
            run.against,
            others.len()
        )
        .unwrap();
        for row in others.iter().take(AT_MOST) {
            writeln!(
                out,
                "| {} | {} | {} |",
                row.case,
                short_cell(&predicted(row)),
                short_cell(&row.deed.words)
            )
            .unwrap();
        }
        if let Some(more) = others.len().checked_sub(AT_MOST).filter(|more| *more > 0) {
            writeln!(out, "| and {more} more | | |").unwrap();
        }
    }
    std::fs::write(folder().join("words.txt"), whole).unwrap();
}

/// How what runtimes ask differs from what we ask, by kind. The whole list is in a file beside the runs that are kept.
fn page_requests(out: &mut String, runs: &[Run]) {
    out.push_str(
        "\n## Requests\n\nWhat runtimes ask the registry, beside what we ask it in the same case; `tests/agreement/recordings` has what they ask, and what they are answered. In so many cases:\n\n| difference |",
    );
    let runs: Vec<&Run> = runs.iter().filter(|run| !run.against.starts_with("kubelet")).collect();
    let mut counts: BTreeMap<&str, Vec<BTreeSet<&str>>> = BTreeMap::new();
    let mut whole = String::new();
    for (at, run) in runs.iter().enumerate() {
        for row in &run.rows {
            for difference in &row.requests {
                let by_run = counts
                    .entry(&difference.kind)
                    .or_insert_with(|| vec![BTreeSet::new(); runs.len()]);
                by_run[at].insert(&row.case);
                writeln!(
                    whole,
                    "{} on {}: {}: {}",
                    row.case, run.against, difference.kind, difference.detail
                )
                .unwrap();
            }
        }
    }
    for run in &runs {
        write!(out, " {} |", short(&run.against)).unwrap();
    }
    writeln!(out, " such as |\n|---|{}---|", "--:|".repeat(runs.len())).unwrap();
    let none = runs.iter().map(|run| count(run, |row| row.requests.is_empty()).to_string());
    writeln!(out, "| none at all | {} | |", none.collect::<Vec<_>>().join(" | ")).unwrap();
    for (kind, by_run) in counts {
        let numbers: Vec<String> = by_run.iter().map(|cases| cases.len().to_string()).collect();
        let such: Vec<&str> = by_run
            .iter()
            .max_by_key(|cases| cases.len())
            .into_iter()
            .flatten()
            .copied()
            .take(3)
            .collect();
        writeln!(out, "| {kind} | {} | {} |", numbers.join(" | "), such.join(", ")).unwrap();
    }
    std::fs::write(folder().join("requests.txt"), whole).unwrap();
}

/// The beginning of a text, in a table.
fn short_cell(text: &str) -> String {
    const LONG: usize = 240;
    match text.char_indices().nth(LONG) {
        Some((end, _)) => format!("{} …", cell(&text[..end])),
        None => cell(text),
    }
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
            match (&row.known_wrong, &row.why) {
                (Some(_), _) => ", known",
                (None, Some(_)) => ", explained",
                (None, None) => "",
            }
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

/// `1.7.34`, `2.4.2 transfer`, `CRI-O 1.36.3`, `kubelet`
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

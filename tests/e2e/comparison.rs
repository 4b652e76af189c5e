//! What we say against what the kubelet does: the same pods judged by `pullgate check` and by the gate, and run by a real kubelet.

mod cases;
mod kubelet;

use crate::support::gate::settings_file;
use crate::support::kubectl::{Gated, Namespace, manifest};
use crate::support::{folder, registries};
use cases::{Case, cases};
use kubelet::{Fate, Seen};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// One face's opinion of one pod.
struct Opinion {
    outlook: String,
    verdict: String,
    causes: Vec<String>,
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn the_outlook_is_what_the_kubelet_then_does() {
    let namespace = Namespace::new(Gated::No);
    let cases = cases(registries());
    let secrets: Vec<Value> = cases.iter().flat_map(|case| case.beside.clone()).collect();
    let pods: Vec<Value> = cases.iter().map(Case::pod).collect();

    // The gate is not asked here, so every pod comes to be, and the kubelet tries.
    namespace.apply(&secrets).done();
    namespace.create_with(&[], &pods).done();
    let expected = cases.iter().map(|case| (case.name, case.fate)).collect();
    let seen = kubelet::wait_for_all(&namespace, &expected);

    let opinions = check(&namespace, &[secrets, pods].concat());
    // Now it is asked, about the same pods in the same namespace, under new names.
    namespace.gate();
    let mut table = String::from(
        "| case | outlook | causes | check | serve | kubelet | its message | agree |\n|---|---|---|---|---|---|---|---|\n",
    );
    let mut wrong = Vec::new();
    for case in &cases {
        let (opinion, seen) = (&opinions[case.name], &seen[case.name]);
        let serve = serve_says(&namespace, case);
        let mut doubts = disagreements(opinion, &serve, seen);
        if seen.fate != case.fate {
            doubts.push(format!("this case should make the kubelet say {:?}", case.fate));
        }
        let named = opinion.causes.join(", ");
        for cause in case.causes {
            if !opinion.causes.iter().any(|known| known == cause) {
                doubts.push(format!("{cause} is not among the causes"));
            }
        }
        let agree = if doubts.is_empty() { "yes" } else { "**no**" };
        let message = hide_addresses(&seen.message);
        writeln!(
            table,
            "| {} | {} | {named} | {} | {serve} | {} | {message} | {agree} |",
            case.name, opinion.outlook, opinion.verdict, seen.reason
        )
        .unwrap();
        wrong.extend(doubts.into_iter().map(|doubt| format!("{}: {doubt}", case.name)));
    }
    println!("{table}");
    write_report(&table);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where an opinion and the kubelet's deed contradict each other.
fn disagreements(opinion: &Opinion, serve: &str, seen: &Seen) -> Vec<String> {
    let expected: &[Fate] = match opinion.outlook.as_str() {
        "Pulls" => &[Fate::Runs],
        "WillFail" => &[Fate::PullFails],
        "FailsToRun" => &[Fate::StartFails],
        // It may go either way.
        "MayFail" | "Unknown" => &[Fate::Runs, Fate::PullFails, Fate::StartFails],
        _ => &[],
    };
    let mut found = Vec::new();
    if !expected.contains(&seen.fate) {
        found.push(format!(
            "outlook {}, but the kubelet says {:?} ({})",
            opinion.outlook, seen.fate, seen.reason
        ));
    }
    for (face, verdict) in [("check", opinion.verdict.as_str()), ("serve", serve)] {
        if verdict == "Deny" && seen.fate == Fate::Runs {
            found.push(format!("{face} denies what runs"));
        }
    }
    // An allowed pod with a finding is allowed with a note, which kubectl prints as a warning.
    let same = match opinion.verdict.as_str() {
        "Allow" => serve == "Allow" || (serve == "Warn" && !opinion.causes.is_empty()),
        verdict => serve == verdict,
    };
    if !same {
        found.push(format!("check says {}, serve says {serve}", opinion.verdict));
    }
    found
}

/// `pullgate check` of everything in one file.
fn check(namespace: &Namespace, objects: &[Value]) -> BTreeMap<String, Opinion> {
    let folder = folder("comparison");
    let file = folder.join("everything.yaml");
    let mut objects = objects.to_vec();
    for object in &mut objects {
        object["metadata"]["namespace"] = namespace.name.as_str().into();
    }
    std::fs::write(&file, manifest(&objects)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pullgate"))
        // The nodes are not among the objects, and what is not said is a guess that denies nothing.
        .args(["check", "--complete", "--platform", "linux/amd64", "-o", "json"])
        .args(["--namespace", &namespace.name, "-f"])
        .arg(&file)
        .arg("--config")
        .arg(settings_file())
        .arg("--docker-config") // an empty folder: nobody's own logins
        .arg(crate::support::folder("comparison/docker"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(1),
        "something is denied, so check exits with 1:\n{stderr}"
    );
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON on standard output");
    std::fs::write(folder.join("report.json"), &output.stdout).unwrap();
    assert_eq!(report["version"], "pullgate.dev/report/v1");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let images = report["images"].as_array().unwrap();
    images
        .iter()
        .map(|image| {
            let causes = image["findings"]
                .as_array()
                .unwrap()
                .iter()
                .map(|finding| text(&finding["cause"]))
                .collect();
            let opinion = Opinion {
                outlook: text(&image["outlook"]),
                verdict: text(&image["verdict"]),
                causes,
            };
            (text(&image["object"]["name"]), opinion)
        })
        .collect()
}

/// The gate's verdict on the same pod, by what kubectl prints.
fn serve_says(namespace: &Namespace, case: &Case) -> String {
    let mut pod = case.pod();
    pod["metadata"]["name"] = format!("{}-again", case.name).into();
    let output = namespace.create_with(&["--dry-run=server"], &[pod]);
    if output.is_denied() {
        return "Deny".to_owned();
    }
    let output = output.done();
    let verdict = if output.stderr.contains("Warning: container ") {
        "Warn"
    } else {
        "Allow"
    };
    verdict.to_owned()
}

/// Ports change from run to run.
fn hide_addresses(message: &str) -> String {
    let shared = registries();
    message
        .replace(&shared.open.host, "OPEN")
        .replace(&shared.private.host, "PRIVATE")
        .replace('|', "\\|")
        .replace('\n', " ")
}

fn write_report(table: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("e2e");
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!(
        "# What pullgate says, and what the kubelet then does\n\nOPEN and PRIVATE are the test registries. `check` and `serve` are the \
         two faces' verdicts.\n\n{table}"
    );
    std::fs::write(folder.join("kubelet-comparison.md"), text).unwrap();
}

use super::*;
use crate::image::Reference;
use crate::verdict::finding::{Kubelet, Proof};
use crate::verdict::{Cause, Judgement, Outlook};
use crate::workload::{FieldPath, ImageUse, PullPolicy, Role};
use serde_json::Value;

fn finding(cause: Cause, outlook: Outlook) -> Finding {
    Finding {
        cause,
        outlook,
        message: "100% \"<gone>\", it: says".to_owned(),
        fix: "push it".to_owned(),
        kubelet: Some(Kubelet {
            reason: "ErrImagePull".to_owned(),
            message: "not found".to_owned(),
        }),
        evidence: Proof::default(),
        suggestions: vec!["v9".to_owned()],
    }
}

fn entry(file: Option<&str>, container: &str, findings: Vec<Finding>) -> Entry {
    let image = format!("reg.test/{container}:v1");
    Entry {
        source: file.map(|file| Source {
            file: file.to_owned(),
            document: 0,
        }),
        line: file.map(|_| 23),
        object: file.map(|_| ObjectId {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: "shop".to_owned(),
            name: "api".to_owned(),
        }),
        judged: Judged {
            reference: Reference::parse(&image).ok(),
            image: ImageUse {
                path: FieldPath::root(),
                name: container.to_owned(),
                role: Role::Container,
                image,
                pull_policy: PullPolicy::IfNotPresent,
                unchanged: false,
            },
            look: crate::verdict::answer::Look::Taken,
            remark: None,
            judgement: Judgement::from_findings(findings),
        },
    }
}

/// One of each verdict in a file, one image by itself that could not be found out.
fn entries() -> Vec<Entry> {
    vec![
        entry(Some("./k8s/a, b%.yaml"), "fine", Vec::new()),
        entry(
            Some("./k8s/a, b%.yaml"),
            "gone",
            vec![
                finding(Cause::PullSecretMissing, Outlook::MayFail),
                finding(Cause::TagNotFound, Outlook::WillFail),
            ],
        ),
        entry(
            Some("./k8s/a, b%.yaml"),
            "maybe",
            vec![finding(Cause::PlatformMismatch, Outlook::MayFail)],
        ),
        entry(None, "alone", vec![finding(Cause::DnsFailure, Outlook::Unknown)]),
    ]
}

fn denied(entry: &Entry) -> bool {
    entry.judged.judgement.verdict == Verdict::Deny
}

#[test]
fn a_command_stands_at_the_line_and_is_escaped() {
    let text = github::render(&entries(), &["b.yaml:3:1: no\nmapping".to_owned()]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "::error title=pullgate could not read everything::b.yaml:3:1: no%0Amapping"
    );
    assert_eq!(
        lines[2],
        "::error file=k8s/a%2C b%25.yaml,line=23,title=TagNotFound%3A Deployment shop/api%2C container gone::container gone: \
         reg.test/gone:v1%0ATagNotFound: 100%25 \"<gone>\", it: says%0Athe kubelet would show: ErrImagePull: not found%0Afix: push it"
    );
    assert!(
        lines[1].starts_with("::warning file=k8s/a%2C b%25.yaml,line=23,title=PullSecretMissing%3A "),
        "{text}"
    );
    assert!(
        lines[4].starts_with("::warning title=DnsFailure%3A reg.test/alone%3Av1::reg.test/alone:v1%0A"),
        "{text}"
    );
    assert_eq!(lines[5..], ["4 images: 1 allowed, 2 warned, 1 denied"]);
}

#[test]
fn a_result_names_its_rule_its_place_and_itself() {
    let text = sarif::render(&entries(), &["b.yaml: no mapping".to_owned()]).unwrap();
    let run = &serde_json::from_str::<Value>(&text).unwrap()["runs"][0];
    let rules: Vec<&str> = run["tool"]["driver"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["id"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["TagNotFound", "PullSecretMissing", "DnsFailure", "PlatformMismatch"]);
    let results = run["results"].as_array().unwrap();
    let levels: Vec<&str> = results.iter().map(|result| result["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["warning", "error", "warning", "warning"]);
    for result in results {
        assert_eq!(
            result["ruleId"],
            rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()]
        );
    }
    let place = &results[1]["locations"][0];
    assert_eq!(place["physicalLocation"]["artifactLocation"]["uri"], "k8s/a,%20b%25.yaml");
    assert_eq!(place["physicalLocation"]["region"]["startLine"], 23);
    assert_eq!(
        place["logicalLocations"][0]["fullyQualifiedName"],
        "Deployment shop/api, container gone"
    );
    assert_eq!(results[3]["locations"][0].get("physicalLocation"), None);
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    assert_eq!(
        run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"],
        "b.yaml: no mapping"
    );
}

#[test]
fn a_fingerprint_outlives_a_move_within_the_file() {
    let print = |entries: &[Entry]| {
        let report: Value = serde_json::from_str(&sarif::render(entries, &[]).unwrap()).unwrap();
        let results = report["runs"][0]["results"].as_array().unwrap().clone();
        results
            .iter()
            .map(|result| result["partialFingerprints"]["pullgate/v1"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = print(&entries());
    let mut moved = entries();
    for entry in &mut moved {
        entry.line = entry.line.map(|line| line + 7);
    }
    assert_eq!(print(&moved), before);
    let distinct: std::collections::BTreeSet<&String> = before.iter().collect();
    assert_eq!(distinct.len(), before.len());
}

#[test]
fn an_absolute_path_is_a_uri_with_a_scheme() {
    let text = sarif::render(
        &[entry(
            Some("/tmp/a b.yaml"),
            "gone",
            vec![finding(Cause::TagNotFound, Outlook::WillFail)],
        )],
        &[],
    )
    .unwrap();
    assert!(text.contains("\"file:///tmp/a%20b.yaml\""), "{text}");
}

#[test]
fn a_case_fails_where_the_command_would() {
    let text = junit::render(&entries(), &["b.yaml: no mapping".to_owned()], denied).unwrap();
    assert!(
        text.contains("<testsuites name=\"pullgate check\" tests=\"5\" skipped=\"0\" failures=\"1\" errors=\"1\""),
        "{text}"
    );
    assert!(
        text.contains("<error message=\"b.yaml: no mapping\" type=\"unreadable\""),
        "{text}"
    );
    assert!(
        text.contains("<failure message=\"TagNotFound: 100% &quot;&lt;gone&gt;&quot;, it: says\" type=\"TagNotFound\">"),
        "{text}"
    );
    assert!(text.contains("./k8s/a, b%.yaml:23\nPullSecretMissing: "), "{text}");
    // What is only warned of is told, and fails when it is asked for.
    assert!(text.contains("<system-out>PlatformMismatch: "), "{text}");
    let strict = junit::render(&entries(), &[], |entry| entry.judged.judgement.verdict != Verdict::Allow).unwrap();
    assert!(
        strict.contains("tests=\"4\" skipped=\"0\" failures=\"3\" errors=\"0\""),
        "{strict}"
    );
}

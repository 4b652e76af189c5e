use super::*;
use crate::image::Reference;
use crate::verdict::finding::{FindingEvidence, Kubelet};
use crate::verdict::{Cause, Judgement, Outlook};
use crate::workload::{FieldPath, ImageUse, PullPolicy, Role};
use serde_json::Value;
use std::io;

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
        evidence: FindingEvidence::default(),
        suggestions: vec!["v9".to_owned()],
    }
}

fn entry(file: Option<&str>, container: &str, findings: Vec<Finding>) -> Entry {
    let image = format!("reg.test/{container}:v1");
    Entry {
        source: file.map(|file| SourceDocument {
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
                stream: None,
                later: None,
            },
            handling: crate::verdict::review_result::Handling::Judged,
            remark: None,
            judgement: Judgement::from_findings(findings),
        },
        origin: None,
        accepted: Vec::new(),
    }
}

/// One image of each verdict in a file, and one by itself that could not be checked.
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

/// These, and one file that cannot be read.
fn report(entries: Vec<Entry>) -> Report {
    Report {
        entries,
        problems: vec![Problem::in_file("./b.yaml", Some(3), "line 3, column 1: no\nmapping")],
        ..Report::default()
    }
}

/// What a form of the report writes.
fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn denied(entry: &Entry) -> bool {
    entry.judged.judgement.verdict == Verdict::Deny
}

#[test]
fn a_command_stands_at_the_line_and_is_escaped() {
    let text = github::render(&report(entries()));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "::error file=k8s/a%2C b%25.yaml,line=23,title=TagNotFound%3A Deployment shop/api%2C container gone::reg.test/gone:v1\
         %0ATagNotFound: 100%25 \"<gone>\", it: says%0Athe kubelet would show: ErrImagePull: not found%0Afix: push it"
    );
    assert_eq!(
        lines[1],
        "::error file=b.yaml,line=3,title=pullgate could not read everything::b.yaml: line 3, column 1: no%0Amapping"
    );
    assert!(
        lines[2].starts_with("::warning file=k8s/a%2C b%25.yaml,line=23,title=PlatformMismatch%3A "),
        "{text}"
    );
    assert!(
        lines[3].starts_with("::warning title=DnsFailure%3A reg.test/alone%3Av1::reg.test/alone:v1%0A"),
        "{text}"
    );
    assert_eq!(
        lines.last(),
        Some(&"4 images: 1 pulls, 1 denied, 1 with a warning, 1 could not be checked")
    );
}

#[test]
fn of_many_commands_the_first_ten_are_given_denials_first() {
    let image = |at: usize, cause, outlook| entry(Some("a.yaml"), &format!("image{at}"), vec![finding(cause, outlook)]);
    let mut entries: Vec<Entry> = (0..9)
        .map(|at| image(at, Cause::PlatformMismatch, Outlook::MayFail))
        .collect();
    entries.extend((9..15).map(|at| image(at, Cause::TagNotFound, Outlook::WillFail)));
    let text = github::render(&Report {
        entries,
        ..Report::default()
    });
    let commands: Vec<&str> = text.lines().filter(|line| line.starts_with("::")).collect();
    assert!(commands[..6].iter().all(|line| line.starts_with("::error ")), "{commands:#?}");
    assert!(
        commands[6..10].iter().all(|line| line.starts_with("::warning ")),
        "{commands:#?}"
    );
    assert_eq!(
        commands[10..],
        ["::notice title=pullgate::5 more: the log of this step has all of them"]
    );
}

fn shown(report: &Report, detail: text::Detail) -> String {
    text::render(report, text::Colour::None, detail, |entry| entry.verdict() == Verdict::Deny)
}

#[test]
fn what_is_wrong_is_said_once_for_all_its_places() {
    let all: Vec<Entry> = (0..5)
        .flat_map(|at| {
            let mut all = entries();
            for entry in &mut all {
                entry.line = entry.line.map(|line| line + at);
            }
            all
        })
        .collect();
    let report = report(all);
    assert_eq!(
        shown(&report, text::Detail::Usual),
        "DENY  reg.test/gone:v1
      TagNotFound: 100% \"<gone>\", it: says
      the kubelet would show: ErrImagePull: not found
      fix: push it
      also: PullSecretMissing: 100% \"<gone>\", it: says
      at k8s/a, b%.yaml:23: Deployment shop/api, container gone
      at k8s/a, b%.yaml:24: Deployment shop/api, container gone
      at k8s/a, b%.yaml:25: Deployment shop/api, container gone
      and in 2 more places (-v names all)
warn  reg.test/maybe:v1
      PlatformMismatch: 100% \"<gone>\", it: says
      the kubelet would show: ErrImagePull: not found
      fix: push it
      at k8s/a, b%.yaml:23: Deployment shop/api, container maybe
      at k8s/a, b%.yaml:24: Deployment shop/api, container maybe
      at k8s/a, b%.yaml:25: Deployment shop/api, container maybe
      and in 2 more places (-v names all)
?     could not be checked:
      DnsFailure: 100% \"<gone>\", it: says (reg.test/alone:v1)
        fix: push it
20 images: 5 pull, 5 denied, 5 with a warning, 5 could not be checked
"
    );
    let all = text::render(&report, text::Colour::None, text::Detail::Failures, |entry| {
        entry.verdict() != Verdict::Allow
    });
    assert!(all.contains("warn  "), "what --fail-on objects to is shown: {all}");
    let failures = shown(&report, text::Detail::Failures);
    assert_eq!(failures.lines().count(), 9, "{failures}");
    let everything = shown(&report, text::Detail::Everything);
    assert_eq!(everything.matches("ok    reg.test/fine:v1").count(), 5, "{everything}");
    assert_eq!(everything.matches(", container gone").count(), 5, "{everything}");
    let mut well = Report {
        entries: vec![entries().remove(0)],
        ..Report::default()
    };
    well.entries[0].judged.judgement.credential = Some("secret \"regcred\"".into());
    assert_eq!(shown(&well, text::Detail::Usual), "1 image: 1 pulls\n");
    let everything = shown(&well, text::Detail::Everything);
    assert!(
        everything.lines().next().unwrap().ends_with(" with secret \"regcred\""),
        "{everything}"
    );
}

#[test]
fn what_is_accepted_fails_nothing_and_is_counted() {
    let mut report = report(entries());
    for entry in &mut report.entries {
        for (cause, by) in [
            (Cause::TagNotFound, "the baseline"),
            (Cause::DnsFailure, "a comment: it is inside"),
        ] {
            if entry.judged.judgement.findings.iter().any(|finding| finding.cause == cause) {
                entry.accepted.push((cause, by.to_owned()));
            }
        }
    }
    let text = shown(&report, text::Detail::Usual);
    assert!(text.contains("warn  reg.test/gone:v1\n      PullSecretMissing: "), "{text}");
    assert!(
        text.ends_with("\n4 images: 1 pulls, 2 with a warning, 1 accepted\n"),
        "{text}"
    );
    assert!(!text.contains("DENY"), "{text}");
    let json: Value = serde_json::from_str(&written(|out| json::render(&report, out))).unwrap();
    assert_eq!(json["images"][1]["findings"][1]["accepted"], "the baseline");
    assert_eq!(
        json["images"][1]["verdict"], "Deny",
        "what the registry said stays what it said"
    );
    let sarif = written(|out| sarif::render(&report, out));
    assert!(
        sarif.contains("\"kind\": \"external\"") && sarif.contains("\"kind\": \"inSource\""),
        "{sarif}"
    );
    assert!(!written(|out| gitlab::render(&report, out)).contains("TagNotFound"));
}

#[test]
fn markdown_and_html_take_nothing_for_markup() {
    let mut report = report(entries());
    report.entries[1].judged.image.image = "reg.test/<script>`|@team".to_owned();
    let text = markdown::render(&report);
    assert!(text.starts_with("### :x: pullgate: 4 images: 1 pulls, 1 denied"), "{text}");
    assert!(
        text.contains("- ``reg.test/<script>`|@team`` **denied**, `TagNotFound`: 100% \"&lt;gone&gt;\""),
        "{text}"
    );
    assert!(text.contains("  - fix: push it\n  - `k8s/a, b%.yaml:23: "), "{text}");
    let page = written(|out| html::render(&report, out));
    assert_eq!(page.matches("<script>").count(), 1, "only the page's own");
    assert!(
        page.contains("reg.test/\\u003cscript\\u003e") && page.trim_end().ends_with("</html>"),
        "the report and the rest"
    );
    assert!(!page.contains("http://") && !page.contains("https://"), "it loads nothing");
}

#[test]
fn gitlab_has_an_item_for_each_finding_with_a_place() {
    let items: Value = serde_json::from_str(&written(|out| gitlab::render(&report(entries()), out))).unwrap();
    let told: Vec<(&str, &str, &str, u64)> = items
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let text = |key: &str| item[key].as_str().unwrap();
            let place = &item["location"];
            (
                text("check_name"),
                text("severity"),
                place["path"].as_str().unwrap(),
                place["lines"]["begin"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("unreadable", "critical", "b.yaml", 3),
            ("PullSecretMissing", "minor", "k8s/a, b%.yaml", 23),
            ("TagNotFound", "major", "k8s/a, b%.yaml", 23),
            ("PlatformMismatch", "minor", "k8s/a, b%.yaml", 23),
            ("DnsFailure", "minor", "pullgate", 1),
        ]
    );
}

#[test]
fn a_result_names_its_rule_its_place_and_itself() {
    let text = written(|out| sarif::render(&report(entries()), out));
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
    let notification = &run["invocations"][0]["toolExecutionNotifications"][0];
    assert_eq!(notification["message"]["text"], "b.yaml: line 3, column 1: no\nmapping");
    let place = &notification["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "b.yaml");
    assert_eq!(place["region"]["startLine"], 3);
}

#[test]
fn a_fingerprint_outlives_a_move_within_the_file() {
    let print = |entries: Vec<Entry>| {
        let report: Value = serde_json::from_str(&written(|out| sarif::render(&report(entries), out))).unwrap();
        let results = report["runs"][0]["results"].as_array().unwrap().clone();
        results
            .iter()
            .map(|result| result["partialFingerprints"]["pullgate/v1"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = print(entries());
    let mut moved = entries();
    for entry in &mut moved {
        entry.line = entry.line.map(|line| line + 7);
    }
    assert_eq!(print(moved), before);
    let distinct: std::collections::BTreeSet<&String> = before.iter().collect();
    assert_eq!(distinct.len(), before.len());
}

#[test]
fn an_absolute_path_is_a_uri_with_a_scheme() {
    let gone = entry(
        Some("/tmp/a b.yaml"),
        "gone",
        vec![finding(Cause::TagNotFound, Outlook::WillFail)],
    );
    let text = written(|out| sarif::render(&report(vec![gone]), out));
    assert!(text.contains("\"file:///tmp/a%20b.yaml\""), "{text}");
}

#[test]
fn a_case_fails_where_the_command_would() {
    let text = written(|out| junit::render(&report(entries()), denied, out));
    assert!(
        text.contains("<testsuites name=\"pullgate check\" tests=\"5\" skipped=\"0\" failures=\"1\" errors=\"1\""),
        "{text}"
    );
    assert!(
        text.contains("<error message=\"b.yaml: line 3, column 1: no") && text.contains("type=\"unreadable\""),
        "{text}"
    );
    assert!(
        text.contains("<failure message=\"TagNotFound: 100% &quot;&lt;gone&gt;&quot;, it: says\" type=\"TagNotFound\">"),
        "{text}"
    );
    assert!(text.contains(">k8s/a, b%.yaml:23\nPullSecretMissing: "), "{text}");
    // Warnings are only output, and failures if asked for.
    assert!(text.contains("<system-out>PlatformMismatch: "), "{text}");
    let warned = |entry: &Entry| entry.judged.judgement.verdict != Verdict::Allow;
    let all = Report {
        entries: entries(),
        ..Report::default()
    };
    let strict = written(|out| junit::render(&all, warned, out));
    assert!(
        strict.contains("tests=\"4\" skipped=\"0\" failures=\"3\" errors=\"0\""),
        "{strict}"
    );
}

#[test]
fn every_suite_has_its_cases_and_the_report_is_whole() {
    let mut all = report(entries());
    all.skipped = vec![Skipped {
        entry: entry(Some("k8s/</testsuites>.yaml"), "left", Vec::new()),
        why: "judged with </testsuites> & more".to_owned(),
    }];
    all.entries.push(entry(Some("k8s/</testsuites>.yaml"), "odd", Vec::new()));
    let text = written(|out| junit::render(&all, denied, out));
    let read = quick_junit::Report::deserialize_from_str(&text).unwrap();
    assert_eq!((read.tests, read.skipped, read.failures, read.errors), (7, 1, 1, 1), "{text}");
    let suites: Vec<(&str, usize)> = read
        .test_suites
        .iter()
        .map(|suite| (suite.name.as_str(), suite.test_cases.len()))
        .collect();
    assert_eq!(
        suites,
        [
            ("input", 1),
            ("k8s/a, b%.yaml", 3),
            ("images", 1),
            ("k8s/</testsuites>.yaml", 1),
            ("skipped", 1)
        ],
        "{text}"
    );
}

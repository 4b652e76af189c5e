//! `pullgate policy`, the binary; and every sample of `policies/` with its tests. No network.
#![allow(clippy::unwrap_used, reason = "a failed expectation is how a test reports")]

#[path = "support/program.rs"]
mod program;

use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

fn pullgate(arguments: &[&str]) -> Output {
    program::pullgate()
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn samples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn policy(name: &str, spec: &str) -> String {
    format!("apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn policy_test(cases: &str) -> String {
    format!("apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicyTest\nspec:\n  cases:\n{cases}")
}

#[test]
fn every_sample_is_sound_and_does_what_its_tests_say() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/README.md")).unwrap();
    let samples = samples();
    assert!(samples.len() >= 5, "{samples:?}");
    for sample in samples {
        let place = sample.to_str().unwrap();
        let name = sample.file_name().unwrap().to_str().unwrap();
        assert!(
            readme.contains(&format!("[{name}]({name}/policy.yaml)")),
            "policies/README.md lacks {name}"
        );
        let valid = pullgate(&["policy", "validate", place]);
        assert_eq!(valid.status.code(), Some(0), "{}{}", out(&valid), err(&valid));
        let tested = pullgate(&["policy", "test", place, "-o", "json"]);
        assert_eq!(tested.status.code(), Some(0), "{}{}", out(&tested), err(&tested));
        let results: Value = serde_json::from_slice(&tested.stdout).unwrap();
        let cases = results["cases"].as_array().unwrap();
        assert!(cases.len() >= 4, "{name} has few cases");
        // Some case of a sample is denied, and some is not.
        let verdicts: Vec<&str> = cases.iter().map(|case| case["verdict"].as_str().unwrap()).collect();
        assert!(verdicts.contains(&"Allow"), "{name}");
        assert!(verdicts.contains(&"Deny"), "{name}");
    }
}

#[test]
fn a_smaller_limit_in_audit_mode_denies_nothing() {
    let policies = policy("enforced", "{size: {max: 2Gi}, actions: {ImageTooLarge: Deny}}")
        + "---\n"
        + &policy("audited", "{mode: Audit, size: {max: 1Gi}}");
    let cases = [("1.5Gi", "Allow"), ("3Gi", "Deny"), ("1Gi", "Allow")].map(|(size, verdict)| {
        format!("  - name: {size}\n    given: {{image: a.b/c:1, registry: {{size: {size}}}}}\n    expect: {{verdict: {verdict}}}\n")
    });
    let folder = folder(&[("p.yaml", &policies), ("t.yaml", &policy_test(&cases.concat()))]);
    let tested = pullgate(&["policy", "test", folder.path().to_str().unwrap()]);
    assert_eq!(tested.status.code(), Some(0), "{}{}", out(&tested), err(&tested));
}

#[test]
fn of_a_folder_of_folders_each_is_a_set_of_its_own() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let place = all.to_str().unwrap();
    let valid = pullgate(&["policy", "validate", place]);
    assert_eq!(valid.status.code(), Some(0), "{}{}", out(&valid), err(&valid));
    let tested = pullgate(&["policy", "test", place]);
    assert_eq!(tested.status.code(), Some(0), "{}{}", out(&tested), err(&tested));
    assert!(out(&tested).ends_with(" passed, 0 failed\n"), "{}", out(&tested));
    // The same name in two of them is no clash, and a fault in one is told with its place.
    let folder = tempfile::tempdir().unwrap();
    for (below, spec) in [("a", "{}"), ("b/deep", "{mode: Enfrce}")] {
        fs::create_dir_all(folder.path().join(below)).unwrap();
        fs::write(folder.path().join(below).join("p.yaml"), policy("same", spec)).unwrap();
    }
    let output = pullgate(&["policy", "validate", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        out(&output).contains("b/deep/p.yaml:4:14: spec.mode: unknown value"),
        "{}",
        out(&output)
    );
    assert!(
        out(&output).contains("1 problem in 2 files; valid: 1 policy and 0 test cases"),
        "{}",
        out(&output)
    );
    let nothing = pullgate(&["policy", "validate", tempfile::tempdir().unwrap().path().to_str().unwrap()]);
    assert_eq!(nothing.status.code(), Some(2));
}

#[test]
fn validate_says_everything_with_place_line_and_caret() {
    let folder = folder(&[
        (
            "a.yaml",
            &policy("a", "\n  mode: Enfrce\n  tags: {deny: [latest], alow: [x]}"),
        ),
        ("b.yaml", &policy("a", "{}")),
        ("c.yaml", "kind: [\n"),
        (
            "t.yaml",
            &policy_test("  - name: x\n    given: {image: nginx, registry: {outcome: Puls}}\n    expect: {verdict: deny}\n"),
        ),
    ]);
    let place = folder.path().to_str().unwrap();
    let output = pullgate(&["policy", "validate", place]);
    assert_eq!(output.status.code(), Some(1));
    let said = out(&output).replace(&format!("{place}/"), "");
    for expected in [
        "a.yaml:5:9: spec.mode: unknown value \"Enfrce\"; did you mean \"Enforce\"?\n  5 |   mode: Enfrce\n    |         ^\n",
        "a.yaml:6:26: spec.tags.alow: unknown field \"alow\"; known here: deny, requireDigest\n  6 |   tags: {deny: [latest], alow: [x]}\n    |                          ^\n",
        "t.yaml:6:47: spec.cases[0].given.registry.outcome: unknown value \"Puls\"; did you mean \"Pulls\"?\n",
        "t.yaml:7:23: spec.cases[0].expect.verdict: unknown value \"deny\"; did you mean \"Deny\"?\n",
        "5 problems in 4 files; valid: 1 policy and 0 test cases\n",
    ] {
        assert!(said.contains(expected), "{expected}\n--- in ---\n{said}");
    }
    assert!(said.contains("c.yaml:"), "{said}");
}

#[test]
fn no_problem_is_left_out_of_the_count() {
    let many: String = (0..1200).map(|at| policy(&format!("p{at}"), "{mode: x}") + "---\n").collect();
    let folder = folder(&[("a.yaml", &many)]);
    let output = pullgate(&["policy", "validate", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = out(&output);
    let end = "and 200 more\n1200 problems in 1 file; valid: 0 policies and 0 test cases\n";
    assert!(said.ends_with(end), "{}", said.lines().last().unwrap());
}

#[test]
fn what_is_written_and_left_empty_is_remarked_upon() {
    let folder = folder(&[("a.yaml", &policy("a", "\n  registries: {}\n  tags: {deny: [latest]}"))]);
    let place = folder.path().to_str().unwrap();
    let output = pullgate(&["policy", "validate", place]);
    assert_eq!(output.status.code(), Some(0), "it is sound: {}", out(&output));
    let said = out(&output).replace(&format!("{place}/"), "");
    assert_eq!(
        said,
        "note: a.yaml:5:3: spec.registries: without allow or deny, every name is allowed
  5 |   registries: {}
    |   ^
1 policy and 0 test cases in 1 file: no problems\n"
    );
}

#[test]
fn what_cannot_be_read_is_another_exit_code() {
    let empty = tempfile::tempdir().unwrap();
    for command in ["validate", "test"] {
        for place in ["/nowhere/at/all", empty.path().to_str().unwrap()] {
            let output = pullgate(&["policy", command, place]);
            assert_eq!(output.status.code(), Some(2), "{command} {place}: {}", out(&output));
            assert!(err(&output).contains(place), "{}", err(&output));
        }
    }
    let folder = folder(&[("a.yaml", &policy("a", "{}"))]);
    let output = pullgate(&["policy", "test", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("no tests found"), "{}", err(&output));
}

fn failing() -> TempDir {
    let cases = "  - name: refused
    given: {image: nginx}
    expect: {verdict: Deny, causes: [TagNotAllowed], policy: a}
  - name: wrongly <expected>
    given: {image: \"nginx:1\", registry: {outcome: TagNotFound}}
    expect: {verdict: Warn, causes: [], policy: b, asked: false}
";
    folder(&[
        ("a.yaml", &policy("a", "{tags: {deny: [latest]}}")),
        ("t.yaml", &policy_test(cases)),
    ])
}

#[test]
fn a_case_that_fails_is_told_and_counted() {
    let folder = failing();
    let place = folder.path().to_str().unwrap();
    let output = pullgate(&["policy", "test", place]);
    assert_eq!(output.status.code(), Some(1));
    let said = out(&output).replace(&format!("{place}/"), "");
    for expected in [
        "t.yaml\n  ok    refused\n  FAIL  wrongly <expected>\n        t.yaml:8\n        expected Warn, got Deny\n        expected no findings, got TagNotFound\n",
        "        expected it to be decided by b, but it was decided by no policy\n        unexpectedly, the registry is asked\n        Deny: TagNotFound: ",
        "2 cases: 1 passed, 1 failed\n",
    ] {
        assert!(said.contains(expected), "{expected}\n--- in ---\n{said}");
    }
}

#[test]
fn results_for_machines() {
    let folder = failing();
    let place = folder.path().to_str().unwrap();
    let results: Value = serde_json::from_slice(&pullgate(&["policy", "test", place, "-o", "json"]).stdout).unwrap();
    assert_eq!(results["version"], "pullgate.dev/policytest/v1");
    assert_eq!(results["summary"], serde_json::json!({"cases": 2, "passed": 1, "failed": 1}));
    assert_eq!(results["cases"][0]["policies"], serde_json::json!(["a"]));
    assert_eq!(results["cases"][1]["causes"], serde_json::json!(["TagNotFound"]));

    let output = pullgate(&["policy", "test", place, "-o", "junit"]);
    assert_eq!(output.status.code(), Some(1));
    let xml = out(&output);
    for expected in [
        "<testsuites name=\"pullgate policy test\" tests=\"2\" skipped=\"0\" failures=\"1\" errors=\"0\"",
        "<testcase name=\"refused\"",
        "name=\"wrongly &lt;expected&gt;\"",
        "<failure message=\"expected Warn, got Deny; ",
    ] {
        assert!(xml.contains(expected), "{expected}\n--- in ---\n{xml}");
    }
}

#[test]
fn explain_says_which_rule_decided() {
    let ask = |arguments: &[&str]| {
        let mut all = vec![
            "policy",
            "explain",
            "--policies",
            "policies/allow-list",
            "--policies",
            "policies/production",
        ];
        all.extend(arguments);
        let output = pullgate(&all);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        output
    };
    let json =
        |arguments: &[&str]| -> Value { serde_json::from_slice(&ask(&[arguments, &["-o", "json"]].concat()).stdout).unwrap() };
    let answer = json(&[
        "--image",
        "registry.corp.example/retired/a:1",
        "--namespace",
        "prod-eu",
        "--labels",
        "env=prod",
    ]);
    assert_eq!(
        (&answer["version"], &answer["registryAsked"]),
        (&"pullgate.dev/explain/v1".into(), &false.into())
    );
    let policies = answer["policies"].as_array().unwrap();
    let about: Vec<&str> = policies.iter().map(|policy| policy["about"].as_str().unwrap()).collect();
    assert_eq!(about, ["yes", "no", "yes"]);
    assert_eq!(
        policies[0]["rules"][0]["why"],
        "deny has \"registry.corp.example/retired/**\", which is more specific than \"registry.corp.example/**\" in allow"
    );
    assert_eq!(
        policies[1]["why"],
        "it requires that the namespace's label team.corp.example/sandbox is there, and the namespace does not have it"
    );
    assert_eq!(
        answer["findings"][0]["done"],
        serde_json::json!({"verdict": "Deny", "policy": "our-registries", "told": true, "enforced": "Deny"})
    );

    let exempt = json(&[
        "--image",
        "x.example/a",
        "--names-only",
        "-n",
        "prod",
        "--user",
        "joe",
        "--group",
        "oncall@corp.example",
        "--kind",
        "Pod",
    ]);
    assert_eq!(
        (&exempt["policies"][2]["about"], &exempt["policies"][2]["why"]),
        (&"exempt".into(), &"exempt.groups has \"oncall@corp.example\"".into())
    );
    assert_eq!(exempt["policies"][0]["about"], "perhaps");

    let text = out(&ask(&["--image", "nginx", "--namespace", "prod-eu", "--kind", "Deployment"]));
    for expected in [
        "nginx in a Deployment of namespace prod-eu\n  name docker.io/library/nginx, tag none, digest none\n",
        "  production (Enforce, policies/production/policy.yaml:2)\n    matches\n    registries refuses it: no allow pattern matches\n",
        "    tags.deny refuses it: \"latest\" matches the tag \"latest\"\n",
        "  the registry is not asked\n",
        "  PlatformMismatch      Deny, decided by production\n",
        "\nverdict: Deny\n  RegistryNotAllowed (Deny, decided by production): ",
    ] {
        assert!(text.contains(expected), "{expected}\n--- in ---\n{text}");
    }
    for wrong in [
        &["--image", "A B", "--namespace", "x"][..],
        &["--image", "a", "--kind", "Deploymnt"],
        &[],
    ] {
        let wrong = pullgate(&[&["policy", "explain"], wrong].concat());
        assert_eq!(wrong.status.code(), Some(2));
        assert!(!err(&wrong).is_empty());
    }
}

#[test]
fn check_judges_by_policy_files() {
    let output = pullgate(&[
        "check",
        "--image",
        "169.254.0.1/a:1",
        "--policies",
        "policies/docker-hub-by-mirror",
        "--image",
        "nginx:1",
        "-o",
        "json",
        "--deadline",
        "1s",
    ]);
    // The first is never contacted, being link-local; the second is refused without a packet.
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["images"][1]["findings"][0]["cause"], "RegistryNotAllowed");
    assert_eq!(output.status.code(), Some(1));
    let broken = folder(&[("a.yaml", &policy("a", "{mode: x}"))]);
    let output = pullgate(&[
        "check",
        "--image",
        "169.254.0.1/a:1",
        "--policies",
        broken.path().to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("a.yaml:4:14: spec.mode: unknown value \"x\""),
        "{}",
        err(&output)
    );
}

#[test]
fn serve_refuses_to_start_with_broken_policies() {
    let broken = folder(&[("a.yaml", &policy("a", "{mode: x}"))]);
    let output = pullgate(&[
        "serve",
        "--tls-dev",
        "--no-cluster",
        "--policies",
        broken.path().to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("the policies cannot be used\n"), "{}", err(&output));
    assert!(
        err(&output).contains("a.yaml:4:14: spec.mode: unknown value \"x\""),
        "{}",
        err(&output)
    );
}

#[test]
fn export_writes_manifests_and_names_what_it_leaves_out() {
    let output = pullgate(&["policy", "export", "--cel", "--policies", "policies/production"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let parsed = pullgate::yaml::documents(&out(&output));
    assert_eq!(parsed.errors, []);
    let kinds: Vec<&str> = parsed
        .documents
        .iter()
        .map(|document| document.value["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]);
    for said in [out(&output), err(&output)] {
        assert!(
            said.contains("olicy production: not exported: size.max (a registry must be asked)"),
            "{said}"
        );
    }
    let folder = folder(&[("a.yaml", &policy("a", "{mode: Audit}"))]);
    let output = pullgate(&["policy", "export", "--cel", "--policies", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", out(&output));
    assert_eq!(
        pullgate(&["policy", "export", "--policies", "policies/production"])
            .status
            .code(),
        Some(2)
    );
}

/// Compares a file with what it is generated from; `UPDATE_GENERATED=1` writes it.
fn holds(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let held = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        held == text,
        "{path} is stale: UPDATE_GENERATED=1 cargo test --test policies writes it"
    );
}

fn schema(what: &str) -> Value {
    let output = pullgate(&["schema", what]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_manifest_of_the_crd_is_fresh() {
    let manifest = out(&pullgate(&["schema", "crd"]));
    assert!(manifest.contains("\nkind: CustomResourceDefinition\n"), "{manifest}");
    assert!(manifest.contains("x-kubernetes-validations"), "{manifest}");
    // Read back, it is what was meant.
    let parsed = pullgate::yaml::documents(&manifest);
    assert_eq!(parsed.documents[0].value, pullgate::policy::schema::crd());
    holds("deploy/chart/pullgate/files/imagepolicies.yaml", &manifest);
}

#[test]
fn the_page_of_kinds_is_what_the_table_says() {
    holds("docs/kinds.md", &pullgate::workload::kinds::document());
}

/// Every key of a schema, with its path.
fn keys(schema: &Value, root: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    if let Some(target) = schema["$ref"].as_str() {
        let below = root.pointer(target.trim_start_matches('#')).unwrap();
        return keys(below, root, path, found);
    }
    for option in ["anyOf", "allOf", "oneOf"] {
        schema[option]
            .as_array()
            .into_iter()
            .flatten()
            .for_each(|option| keys(option, root, path, found));
    }
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}{}{key}", if path.is_empty() { "" } else { "." });
        found.push((path.clone(), below.clone()));
        keys(below, root, &path, found);
    }
    if schema["items"].is_object() {
        keys(&schema["items"], root, &format!("{path}[]"), found);
    }
}

fn paths(schema: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    keys(schema, schema, "", &mut found);
    found
}

#[test]
fn the_schema_of_the_settings_has_every_key_of_the_manual_and_describes_it() {
    let schema = schema("config");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let known = paths(&schema);
    for (path, below) in &known {
        assert!(
            below["description"].as_str().is_some_and(|text| text.len() > 3),
            "{path} has no description"
        );
    }
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let example = manual.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let document = pullgate::yaml::documents(example).documents.remove(0);
    let mut written = Vec::new();
    leaves(&document.value, "", &mut written);
    assert!(written.len() > 15, "{written:?}");
    // Labels have keys of their own.
    let maps: Vec<String> = known
        .iter()
        .filter(|(_, below)| below["additionalProperties"].is_object())
        .map(|(path, _)| format!("{path}."))
        .collect();
    let known: Vec<&str> = known.iter().map(|(path, _)| path.as_str()).collect();
    for path in &written {
        let is_label = maps.iter().any(|map| path.starts_with(map));
        assert!(is_label || known.contains(&path.as_str()), "the schema lacks {path}");
    }
    for path in known {
        assert!(
            written
                .iter()
                .any(|key| key == path || key.starts_with(&format!("{path}.")) || key.starts_with(&format!("{path}["))),
            "the manual lacks {path}"
        );
    }
}

#[test]
fn the_schema_of_the_settings_takes_what_the_reader_takes() {
    let schema = schema("config");
    let at = |path: &str| {
        let found = paths(&schema).into_iter().find(|(known, _)| known == path);
        found.map(|(_, below)| below).unwrap()
    };
    // A number of bytes, without quotes.
    let size = at("cache.maxBytes");
    assert!(size["type"].as_array().unwrap().contains(&"integer".into()), "{size}");
    for (path, pattern) in [
        ("proxy.https", r"^\s*[Hh][Tt][Tt][Pp][Ss]?://"),
        ("workloads[].kind", "^[A-Z][A-Za-z0-9]*$"),
        ("workloads[].group", "^[a-z0-9.-]*$"),
    ] {
        assert_eq!(at(path)["pattern"], pattern, "{path}");
    }
}

/// The keys of a document.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, below) in fields {
                let path = format!("{path}{}{key}", if path.is_empty() { "" } else { "." });
                found.push(path.clone());
                leaves(below, &path, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(item, &format!("{path}[]"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_schema_of_the_report_has_every_key_of_a_report_and_asks_for_it() {
    let schema = schema("report");
    let report: Value = serde_json::from_slice(&pullgate(&["check", "--image", "A B", "-o", "json"]).stdout).unwrap();
    assert_eq!(schema["properties"]["version"]["const"], report["version"]);
    let known: Vec<String> = paths(&schema).into_iter().map(|(path, _)| path).collect();
    let mut written = Vec::new();
    leaves(&report, "", &mut written);
    assert!(written.len() > 20, "{written:?}");
    for path in &written {
        assert!(known.contains(path), "the schema lacks {path}");
    }
    let image = schema["$defs"]["Image"].clone();
    let required = image["required"].as_array().unwrap().len();
    assert_eq!(
        required,
        image["properties"].as_object().unwrap().len(),
        "every key is always there"
    );
}

#[test]
fn the_schemas_of_policies_know_what_the_samples_write() {
    for (what, kind) in [("policy", "ImagePolicy"), ("policy-test", "ImagePolicyTest")] {
        let schema = schema(what);
        let known = paths(&schema);
        let mut seen = 0;
        for sample in samples() {
            for file in ["policy.yaml", "test.yaml"] {
                let text = fs::read_to_string(sample.join(file)).unwrap();
                for document in pullgate::yaml::documents(&text).documents {
                    if document.value["kind"] != kind {
                        continue;
                    }
                    seen += 1;
                    let mut written = Vec::new();
                    leaves(&document.value, "", &mut written);
                    // Labels and the object's name are nobody's words.
                    for path in written
                        .iter()
                        .filter(|path| !path.contains("abels.") && !path.starts_with("metadata."))
                    {
                        assert!(known.iter().any(|(known, _)| known == path), "schema {what} lacks {path}");
                    }
                }
            }
        }
        assert!(seen >= 5, "{what}: {seen}");
    }
}

/// The reference of the fields of `spec`, as Markdown.
fn reference(schema: &Value) -> String {
    let mut rows = String::from("| field | type | |\n|---|---|---|\n");
    rows_of(&schema["properties"]["spec"], "", &mut rows);
    rows
}

fn rows_of(schema: &Value, path: &str, rows: &mut String) {
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}{key}");
        let mut text = below["description"].as_str().unwrap_or_default().to_owned();
        let words = |values: &Value| -> Vec<String> {
            let values = values.as_array().into_iter().flatten();
            values
                .map(|value| format!("`{}`", value.as_str().unwrap_or_default()))
                .collect()
        };
        let kind = match below["type"].as_str().unwrap_or_default() {
            "array" if below["items"]["type"] == "string" => "list of texts",
            "array" => "list",
            "object" if below["additionalProperties"].is_object() => "map of texts",
            "object" => "fields",
            "boolean" => "true or false",
            "string" if below["enum"].is_array() => "word",
            _ if below["type"] == serde_json::json!(["integer", "string"]) => "text or number",
            _ => "text",
        };
        if below["enum"].is_array() {
            write!(text, " One of {}.", words(&below["enum"]).join(", ")).unwrap();
        }
        if let Some(default) = below["default"].as_str() {
            write!(text, " Default: `{default}`.").unwrap();
        }
        if path.starts_with("actions.") && !path.ends_with("Fail") && text.starts_with("For findings of the cause") {
            // One row for all causes, below.
            continue;
        }
        writeln!(rows, "| `{path}` | {kind} | {} |", text.replace('|', "\\|")).unwrap();
        rows_of(below, &format!("{path}."), rows);
        if below["items"].is_object() {
            rows_of(&below["items"], &format!("{path}[]."), rows);
        }
        if path == "actions" {
            rows.push_str("| `actions.CAUSE` | word | For findings of that cause ([causes.md](causes.md)). One of `Deny`, `Warn`, `Allow`. |\n");
        }
    }
}

#[test]
fn the_reference_in_the_manual_is_fresh() {
    let file = "docs/policy.md";
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let (before, rest) = text.split_once("<!-- reference -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /reference -->").unwrap();
    let rows = reference(&schema("policy"));
    for field in [
        "`match.namespaces`",
        "`registries.allow`",
        "`tags.requireDigest`",
        "`actions.WillFail`",
        "`exempt.groups`",
        "`mode`",
    ] {
        assert!(rows.contains(field), "{rows}");
    }
    holds(file, &format!("{before}<!-- reference -->\n{rows}<!-- /reference -->{after}"));
}

#[test]
fn what_the_manual_shows_is_sound() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy.md")).unwrap();
    let blocks: Vec<&str> = text
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() > 15, "{}", blocks.len());
    for (at, block) in blocks.iter().enumerate() {
        let whole = if block.starts_with("spec:") {
            let head = "apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: x}\n";
            format!("{head}{block}")
        } else {
            (*block).to_owned()
        };
        let folder = folder(&[("a.yaml", &whole)]);
        let output = pullgate(&["policy", "validate", folder.path().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "block {at}:\n{block}\n{}", out(&output));
    }
}

/// The tables of the manual, row by row, against the real thing.
#[test]
fn the_tables_of_the_manual_are_true() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy.md")).unwrap();
    let cells = |row: &str| -> Vec<String> { row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect() };
    let quoted = |cell: &str| -> Vec<String> {
        let outside_brackets = cell.split(" (").next().unwrap();
        outside_brackets.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let image = |text: &str| text.replace('…', &"a".repeat(64));
    let refused = |spec: &str, name: &str| {
        let folder = folder(&[("a.yaml", &policy("p", spec))]);
        let name = image(name);
        let arguments = [
            "policy",
            "explain",
            "-o",
            "json",
            "--names-only",
            "-n",
            "x",
            "--image",
            &name,
            "--policies",
            folder.path().to_str().unwrap(),
        ];
        let output = pullgate(&arguments);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", err(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        !answer["findings"].as_array().unwrap().is_empty()
    };
    let rows = |head: &str| -> Vec<Vec<String>> {
        let table = text.split(head).nth(1).unwrap_or_else(|| panic!("no table {head}"));
        table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(cells)
            .collect()
    };
    let mut held = 0;
    for row in rows("| pattern | matches | does not match |") {
        let pattern = quoted(&row[0]).remove(0);
        for (cell, expected) in [(&row[1], false), (&row[2], true)] {
            for name in quoted(cell) {
                held += 1;
                let spec = format!("{{registries: {{allow: [\"{pattern}\"]}}}}");
                assert_eq!(refused(&spec, &name), expected, "{pattern} and {name}");
            }
        }
    }
    for row in rows("| image | `allow` | `deny` | |") {
        let list = |key: &str, cell: &str| {
            let patterns: Vec<String> = quoted(cell).iter().map(|pattern| format!("\"{pattern}\"")).collect();
            if patterns.is_empty() {
                String::new()
            } else {
                format!("{key}: [{}],", patterns.join(", "))
            }
        };
        let spec = format!("{{registries: {{{} {}}}}}", list("allow", &row[1]), list("deny", &row[2]));
        held += 1;
        assert_eq!(refused(&spec, &quoted(&row[0])[0]), row[3].starts_with("refused"), "{row:?}");
    }
    for row in rows("| image | `deny: [latest]` | `requireDigest: true` |") {
        for (cell, rule) in [(&row[1], "deny: [latest]"), (&row[2], "requireDigest: true")] {
            held += 1;
            assert_eq!(
                refused(&format!("{{tags: {{{rule}}}}}"), &quoted(&row[0])[0]),
                cell == "refused",
                "{row:?}"
            );
        }
    }
    assert!(held > 45, "{held}");
}

/// The objects of a case: its namespace with its labels, and a workload with its image.
fn objects_of(case: &Value) -> Option<String> {
    let given = &case["given"];
    let text = |key: &str| given[key].as_str();
    // `check` knows no requester, and these would need an owner that is there.
    if text("user").is_some() || !given["groups"].is_null() || !given["owner"].is_null() {
        return None;
    }
    let namespace = text("namespace").unwrap_or("default");
    let kind = text("kind").unwrap_or("Deployment");
    let pod = serde_json::json!({"containers": [{"name": "c", "image": given["image"]}]});
    let (version, spec) = match kind {
        "Pod" => ("v1", pod),
        "CronJob" => (
            "batch/v1",
            serde_json::json!({"jobTemplate": {"spec": {"template": {"spec": pod}}}}),
        ),
        "Job" => ("batch/v1", serde_json::json!({"template": {"spec": pod}})),
        "Deployment" | "StatefulSet" | "DaemonSet" => ("apps/v1", serde_json::json!({"template": {"spec": pod}})),
        _ => return None,
    };
    let labels = if given["labels"].is_null() {
        serde_json::json!({})
    } else {
        given["labels"].clone()
    };
    let of_namespace =
        serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
    let workload =
        serde_json::json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": namespace}, "spec": spec});
    Some(format!("{of_namespace}\n---\n{workload}\n"))
}

#[test]
fn explain_ends_in_the_verdict_of_check() {
    let mut held = 0;
    for sample in samples() {
        let place = sample.to_str().unwrap();
        let mut files = Vec::new();
        for document in pullgate::yaml::documents(&fs::read_to_string(sample.join("test.yaml")).unwrap()).documents {
            let cases = document.value["spec"]["cases"].as_array().cloned().unwrap_or_default();
            files.extend(cases.iter().filter_map(objects_of));
        }
        // All cases at once: the objects of one case are those of one file.
        for text in files {
            let folder = folder(&[("objects.yaml", &text)]);
            let file = folder.path().join("objects.yaml");
            let settings = folder.path().join("settings.yaml");
            // No registry is reached, whatever network there is here.
            fs::write(&settings, "proxy: {https: \"http://127.0.0.1:1\"}\n").unwrap();
            let given = [
                "-f",
                file.to_str().unwrap(),
                "--policies",
                place,
                "--config",
                settings.to_str().unwrap(),
                "-o",
                "json",
            ];
            let checked = pullgate(&[&["check"][..], &given].concat());
            let explained = pullgate(&[&["policy", "explain"][..], &given].concat());
            assert_eq!(explained.status.code(), Some(0), "{}", err(&explained));
            let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
            let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
            let causes = |findings: &Value| -> Vec<String> {
                let causes = findings
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|finding| finding["cause"].to_string());
                causes.collect()
            };
            assert_eq!(checked["images"][0]["verdict"], explained[0]["verdict"], "{text}");
            assert_eq!(
                causes(&checked["images"][0]["findings"]),
                causes(&explained[0]["because"]),
                "{text}"
            );
            held += 1;
        }
    }
    assert!(held > 20, "{held}");
}

#[test]
fn try_says_what_policies_would_deny_of_a_dump_and_where() {
    let policies = policy("ours", "{mode: Warn, registries: {allow: [\"registry.corp.example/**\"]}}")
        + "---\n"
        + &policy(
            "digests",
            "{match: {excludeKinds: [Job, CronJob]}, tags: {requireDigest: true}}",
        );
    let pod = |image: &str| format!("{{containers: [{{name: c, image: \"{image}\"}}]}}");
    let owned = "ownerReferences: [{apiVersion: batch/v1, kind: Job, name: j, uid: u1, controller: true}]";
    let dump = [
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: a, namespace: shop}}, spec: {{template: {{spec: {}}}}}}}",
            pod("nginx:1")
        ),
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: b, namespace: shop}}, spec: {{template: {{spec: {}}}}}}}",
            pod("nginx:1")
        ),
        format!(
            "{{apiVersion: batch/v1, kind: Job, metadata: {{name: j, namespace: ci, uid: u1}}, spec: {{template: {{spec: {}}}}}}}",
            pod("registry.corp.example/job:1")
        ),
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: ci, {owned}}}, spec: {}}}",
            pod("registry.corp.example/job:1")
        ),
    ];
    let folder = folder(&[
        ("policies.yaml", &policies),
        ("dump.txt", &dump.join("\n---\n")),
        ("settings.txt", "proxy: {https: \"http://127.0.0.1:1\"}\n"),
    ]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (policies, dump, settings) = (path("policies.yaml"), path("dump.txt"), path("settings.txt"));
    let run = |output: &str| pullgate(&["policy", "try", &policies, "-f", &dump, "--config", &settings, "-o", output]);
    let output = run("json");
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let preview: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows: Vec<(String, String, u64, u64, u64)> = preview["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            let count = |key: &str| row[key].as_u64().unwrap();
            (
                text("policy"),
                text("namespace"),
                count("denied"),
                count("warned"),
                count("deniedOnceEnforced"),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("digests".to_owned(), "shop".to_owned(), 1, 0, 1),
            ("ours".to_owned(), "shop".to_owned(), 0, 1, 1),
        ],
        "the Job and its Pod are exempt: {preview}"
    );
    assert_eq!(
        preview["rows"][0]["images"][0]["objects"],
        serde_json::json!(["Deployment a", "Deployment b"])
    );
    let text = out(&run("text"));
    assert!(
        text.contains("policy digests\n  namespace shop: 1 denied, 0 warned about, 1 denied once it is enforced\n"),
        "{text}"
    );
    assert_eq!(pullgate(&["policy", "try", &policies]).status.code(), Some(2));
}

#[test]
fn what_migrants_read_is_true() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migrating.md")).unwrap();
    let mut run = 0;
    for section in text.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap();
        let blocks: Vec<&str> = section
            .split("```yaml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
            .collect();
        let [theirs, ours] = blocks.as_slice() else {
            panic!("{title}: two blocks")
        };
        for block in [theirs, ours] {
            let parsed = pullgate::yaml::documents(block);
            assert_eq!((parsed.errors.len(), parsed.documents.len()), (0, 1), "{title}");
        }
        assert!(
            !theirs.contains("pullgate.dev") && ours.contains("kind: ImagePolicy"),
            "{title}"
        );
        let rows: Vec<Vec<String>> = section
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|row| {
                row.trim_matches('|')
                    .split('|')
                    .map(|cell| cell.trim().trim_matches('`').to_owned())
                    .collect()
            })
            .collect();
        assert!(rows.len() >= 3, "{title}");
        let mut cases = String::new();
        for (at, row) in rows.iter().enumerate() {
            let more = row[1].trim_start_matches('{').trim_end_matches('}');
            let braces = if row[1].starts_with('{') {
                row[1].len() - row[1].trim_end_matches('}').len() - 1
            } else {
                0
            };
            let comma = if more.is_empty() { "" } else { ", " };
            let _ = writeln!(
                cases,
                "  - name: case {at}\n    given: {{image: \"{}\"{comma}{more}{}}}\n    expect: {{verdict: {}}}",
                row[0],
                "}".repeat(braces),
                row[2]
            );
        }
        let folder = folder(&[("ours.yaml", ours), ("test.yaml", &policy_test(&cases))]);
        let place = folder.path().to_str().unwrap();
        let tested = pullgate(&["policy", "test", place]);
        assert_eq!(
            tested.status.code(),
            Some(0),
            "{title}: {}{}\n{cases}",
            out(&tested),
            err(&tested)
        );
        let valid = out(&pullgate(&["policy", "validate", place]));
        // What a mode governs is noted of every policy that does not enforce.
        let mut notes = valid
            .lines()
            .filter(|line| line.starts_with("note: ") && !line.contains("spec.mode: "));
        assert_eq!(notes.next(), None, "{title}");
        run += 1;
    }
    assert_eq!(run, 12);
}

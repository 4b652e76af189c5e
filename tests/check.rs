//! `pullgate check`, the binary. No network but loopback: other images named here are refused before a request is made.
#![allow(unreachable_pub, reason = "a module that test targets share")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is how a test reports")]

#[path = "support/faulty.rs"]
mod faulty;
#[path = "support/program.rs"]
mod program;

use program::pullgate;
use serde_json::Value;
use std::io::Write as _;
use std::process::{Output, Stdio};

fn check(arguments: &[&str], environment: &[(&str, &str)], manifests: &str) -> Output {
    let mut child = pullgate()
        .arg("check")
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that ends before it reads closes its input.
    let _ = child.stdin.take().unwrap().write_all(manifests.as_bytes());
    child.wait_with_output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

const PULL_SECRET: &str = "apiVersion: v1
kind: Secret
metadata: {name: regcred}
type: kubernetes.io/dockerconfigjson
data: {.dockerconfigjson: '!!!'}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  imagePullSecrets: [{name: regcred}]
  containers: [{name: c, image: 169.254.0.1/a:1}]
";

#[test]
fn a_secret_that_the_api_server_would_refuse_is_unreadable_input() {
    let output = check(&["-f", "-"], &[], PULL_SECRET);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.contains("-: Secret default/regcred: its data[.dockerconfigjson] is not base64"),
        "{complaint}"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_variable_that_is_empty_is_as_good_as_none() {
    let names = [
        "CONFIG",
        "POLICIES",
        "DOCKER_CONFIG",
        "PLATFORM",
        "NAMESPACE",
        "DEPTH",
        "DEADLINE",
        "FAIL_ON",
        "OUTPUT",
        "FILE",
        "IMAGE",
        "RECURSIVE",
        "LIVE",
        "CLUSTER",
        "CONTEXT",
        "KUBECONFIG",
        "COMPLETE",
        "LOG",
        "LOG_FORMAT",
        "VERBOSE",
    ];
    let names: Vec<String> = names.iter().map(|name| format!("PULLGATE_{name}")).collect();
    let empty: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let output = check(&["--image", "Nginx"], &empty, "");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn flags_can_be_set_by_the_environment() {
    let unknown = ["--image", "169.254.0.1/a:1"];
    let output = check(&unknown, &[("PULLGATE_OUTPUT", "json"), ("PULLGATE_FAIL_ON", "unknown")], "");
    assert_eq!(report(&output)["images"][0]["outlook"], "Unknown");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        check(&unknown, &[("PULLGATE_PLATFORM", "nonsense")], "").status.code(),
        Some(2)
    );
    assert_eq!(check(&unknown, &[("PULLGATE_DEADLINE", "soon")], "").status.code(), Some(2));
    assert_eq!(check(&unknown, &[("PULLGATE_COMPLETE", "false")], "").status.code(), Some(0));
}

#[test]
fn the_depth_is_one_of_three() {
    let image = ["--image", "169.254.0.1/a:1", "-o", "json"];
    for depth in ["manifest", "config", "layers"] {
        let output = check(&[&image[..], &["--depth", depth]].concat(), &[], "");
        assert_eq!(output.status.code(), Some(0), "{depth}");
    }
    let wrong = check(&[&image[..], &["--depth", "sizes"]].concat(), &[], "");
    assert_eq!(wrong.status.code(), Some(2));
    let by_environment = check(&image, &[("PULLGATE_DEPTH", "everything")], "");
    assert_eq!(by_environment.status.code(), Some(2));
}

#[test]
fn sizes_are_always_in_the_report() {
    let output = check(&["--image", "169.254.0.1/a:1", "-o", "json"], &[], "");
    let image = &report(&output)["images"][0];
    assert!(image.as_object().unwrap().contains_key("size") && image["size"].is_null());
    assert_eq!(image["sizes"], serde_json::json!([]));
}

#[test]
fn the_depth_decides_what_is_found() {
    use faulty::{Faulty, Reply};
    use pullgate::image::Digest;
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let zeros = "0".repeat(64);
    let config = format!(r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":["sha256:{zeros}"]}}}}"#);
    let digest = Digest::sha256(config.as_bytes()).to_string();
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{}}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:{zeros}","size":5000}}]}}"#,
        config.len()
    );
    let size = config.len() + 5000;
    let server = runtime.block_on(Faulty::start(move |seen| {
        if seen.path.contains("/manifests/") {
            Reply::new(200)
                .header("Content-Type", MANIFEST)
                .header("Docker-Content-Digest", Digest::sha256(manifest.as_bytes()).as_str())
                .body(manifest.clone())
        } else if seen.path.ends_with(&digest) {
            Reply::new(200).body(config.clone())
        } else {
            Reply::new(404)
        }
    }));
    let image = format!("{}/team/app:1", server.host());
    let shallow = check(&["--image", &image, "-o", "json"], &[], "");
    let found = &report(&shallow)["images"][0];
    assert_eq!(found["outlook"], "Pulls", "{found}");
    assert_eq!(found["size"], size);
    assert_eq!(
        found["sizes"],
        serde_json::json!([{"platform": "linux/amd64", "bytes": size}])
    );
    let text = check(&["--image", &image], &[], "");
    assert!(String::from_utf8(text.stdout).unwrap().contains("KiB"));

    let deep = check(&["--image", &image, "-o", "json", "--depth", "layers"], &[], "");
    let found = &report(&deep)["images"][0];
    assert_eq!(found["outlook"], "WillFail", "{found}");
    assert_eq!(found["findings"][0]["cause"], "ContentMissing");
    assert_eq!(deep.status.code(), Some(1));

    // The settings say it too, and the flag stands before them.
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("settings.yaml");
    std::fs::write(&settings, "depth: layers\n").unwrap();
    let settings = settings.to_str().unwrap();
    assert_eq!(
        check(&["--image", &image, "--config", settings], &[], "").status.code(),
        Some(1)
    );
    let flag = check(&["--image", &image, "--config", settings, "--depth", "manifest"], &[], "");
    assert_eq!(flag.status.code(), Some(0));
}

/// One image that no registry is asked about is denied (line 7), one is warned of; beside them a file that is no YAML.
const TWO_IMAGES: &str = "apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: bad
    image: upper/CASE
  - name: unknown
    image: 169.254.0.1/a:1
";

#[test]
fn every_form_of_the_report_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pod.yaml"), TWO_IMAGES).unwrap();
    std::fs::write(folder.path().join("broken.yaml"), "a: [1\n").unwrap();
    let run = |form: &str, place: &str| {
        let output = pullgate()
            .current_dir(folder.path())
            .args(["check", "-o", form, "-f", place])
            .output()
            .unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    for (place, code) in [("./pod.yaml", 1), (".", 2)] {
        let (text, status) = run("sarif", place);
        assert_eq!(status, Some(code), "{text}");
        let sarif: Value = serde_json::from_str(&text).unwrap();
        let run_of = &sarif["runs"][0];
        assert_eq!(run_of["invocations"][0]["executionSuccessful"], code == 1);
        let results: Vec<_> = run_of["results"].as_array().unwrap().iter().collect();
        let told: Vec<_> = results
            .iter()
            .map(|result| {
                let place = &result["locations"][0]["physicalLocation"];
                (
                    result["ruleId"].as_str().unwrap(),
                    result["level"].as_str().unwrap(),
                    place["artifactLocation"]["uri"].as_str().unwrap(),
                    place["region"]["startLine"].as_u64().unwrap(),
                )
            })
            .collect();
        let expected = [
            ("InvalidImageName", "error", "pod.yaml", 7),
            ("LookupRefused", "warning", "pod.yaml", 9),
        ];
        assert_eq!(told, expected);

        let (text, status) = run("github", place);
        assert_eq!(status, Some(code), "{text}");
        assert!(
            text.contains("::error file=pod.yaml,line=7,title=InvalidImageName%3A Pod default/p%2C container bad::"),
            "{text}"
        );
        assert!(
            text.contains("::warning file=pod.yaml,line=9,title=LookupRefused%3A "),
            "{text}"
        );
        assert!(text.ends_with("\n2 images: 0 allowed, 1 warned, 1 denied\n"), "{text}");
        assert_eq!(text.contains("broken.yaml"), code == 2, "{text}");

        let (text, status) = run("junit", place);
        assert_eq!(status, Some(code), "{text}");
        assert!(
            text.contains("failures=\"1\"") && text.contains("type=\"InvalidImageName\""),
            "{text}"
        );
        assert_eq!(text.contains("type=\"unreadable\""), code == 2, "{text}");
    }
}

#[test]
fn every_flag_can_be_set_by_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("below");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(below.join("pod.yaml"), POD).unwrap();
    let place = folder.path().to_str().unwrap();
    let json = ("PULLGATE_OUTPUT", "json");
    let found = check(&[], &[json, ("PULLGATE_FILE", place), ("PULLGATE_RECURSIVE", "true")], "");
    assert_eq!(report(&found)["images"][0]["image"], "169.254.0.1/a:1");
    let flat = check(&[], &[json, ("PULLGATE_FILE", place), ("PULLGATE_RECURSIVE", "false")], "");
    assert_eq!(flat.status.code(), Some(2));
    let image = check(&[], &[json, ("PULLGATE_IMAGE", "169.254.0.1/b:1")], "");
    assert_eq!(report(&image)["images"][0]["image"], "169.254.0.1/b:1");
    let no = [json, ("PULLGATE_LIVE", "false"), ("PULLGATE_CLUSTER", "0")];
    assert_eq!(check(&["--image", "169.254.0.1/b:1"], &no, "").status.code(), Some(0));
    for wrong in [
        &[("PULLGATE_LIVE", "true")][..],
        &[("PULLGATE_LIVE", "true"), ("PULLGATE_CLUSTER", "true")],
        &[("PULLGATE_CONTEXT", "c")],
    ] {
        let output = check(&["--image", "169.254.0.1/b:1"], wrong, "");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    let talkative = check(&["--image", "169.254.0.1/b:1"], &[("PULLGATE_VERBOSE", "2")], "");
    assert!(String::from_utf8(talkative.stderr).unwrap().contains("DEBUG"));
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: 169.254.0.1/a:1}]}\n";

#[test]
fn a_mere_text_is_no_manifest() {
    for text in ["<html><body>Sign in</body></html>\n", "deploy/api.yaml\n", "404\n"] {
        let output = check(&["-f", "-", "-o", "json"], &[], &format!("{POD}---\n{text}---\n{POD}"));
        assert_eq!(output.status.code(), Some(2), "{text}");
        let complaint = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(
            complaint.contains("-: line 6: this is plain text, not a manifest"),
            "{complaint}"
        );
        assert_eq!(report(&output)["summary"]["images"], 2, "what lies beside it is judged");
    }
    // Beside manifests lie patches (lists) and values (no kind).
    for other in ["- {op: replace, path: /x, value: 1}\n", "replicas: 3\n", "# nothing\n", ""] {
        assert_eq!(check(&["-f", "-"], &[], other).status.code(), Some(0), "{other}");
    }
}

#[test]
fn a_part_of_standard_input_does_not_pass_for_all() {
    // What is read ends before the object.
    let long = "# a line that says nothing\n".repeat(1_300_000);
    let output = check(&["-f", "-"], &[], &format!("{long}{POD}"));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.contains("standard input: more than 33554432 bytes, the limit"),
        "{complaint}"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn names_of_files_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a\u{1b}[31m\n::error::b.yaml"), "a: [\n").unwrap();
    let output = check(&["-f", folder.path().to_str().unwrap()], &[], "");
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("a\\u{1b}[31m\\u{a}::error::b.yaml: line 1"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
}

#[test]
fn a_report_that_cannot_be_written_is_no_success() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = pullgate()
        .args(["check", "--image", "169.254.0.1/a:1", "-o", "json"])
        .stdout(full)
        .output()
        .unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.contains("the result cannot be written to standard output"),
        "{complaint}"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_cluster_that_does_not_answer_leaves_time_for_the_registries() {
    // Nothing listens there, and nothing where the surroundings would send all programs.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    std::fs::write(
        &file,
        "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n\
         clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: a, user: {}}]\n",
    )
    .unwrap();
    for proxy in ["", "http://127.0.0.1:1", "nonsense:::"] {
        let output = check(
            &[
                "--cluster",
                "--kubeconfig",
                file.to_str().unwrap(),
                "--deadline=3s",
                "--image=127.0.0.1:1/a:1",
            ],
            &[("HTTPS_PROXY", proxy)],
            "",
        );
        let (said, told) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(output.status.code(), Some(0), "{proxy}: {told}");
        assert!(said.contains("ConnectionFailed: 127.0.0.1:1 refuses"), "{proxy}: {said}");
        assert!(told.contains("ImagePolicies could not be read"), "{proxy}: {told}");
    }
}

#[test]
fn a_file_that_the_settings_name_and_that_is_not_there_is_told_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.yaml");
    for (settings, key) in [
        ("{hostsDir: /nonexistent}", "registries.hostsDir: /nonexistent: "),
        (
            "{dockerConfig: /nonexistent}",
            "registries.dockerConfig: /nonexistent cannot be read: ",
        ),
        (
            "{credentialProviders: {config: /nonexistent, binDir: /}}",
            "registries.credentialProviders: /nonexistent cannot be read: ",
        ),
    ] {
        std::fs::write(&file, format!("registries: {settings}\n")).unwrap();
        let output = check(&["--image", "a.test/b", "--config", file.to_str().unwrap()], &[], "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(key), "{said}");
    }
}

//! `pullgate check`, the binary. No network but loopback: other images named here are refused before a request is made.
#![allow(unreachable_pub, reason = "a module that test targets share")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is how a test reports")]

#[path = "check/explain.rs"]
mod explain;
#[path = "support/faulty.rs"]
mod faulty;
#[path = "check/field.rs"]
mod field;
#[path = "check/memory.rs"]
mod memory;
#[path = "check/pipelines.rs"]
mod pipelines;
#[path = "support/program.rs"]
mod program;
#[path = "check/render.rs"]
mod render;
#[path = "check/repositories.rs"]
mod repositories;

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
            Reply::new(404).json(r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#)
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
    let text = check(&["-v", "--image", &image], &[], "");
    assert!(String::from_utf8(text.stdout).unwrap().contains("KiB"));
    let text = check(&["--image", &image], &[], "");
    assert_eq!(String::from_utf8(text.stdout).unwrap(), "1 image: 1 pulls\n");

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

/// One image that no registry is asked about is denied (line 7), one cannot be checked; beside them a file that does not parse.
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
    std::fs::write(folder.path().join("broken.yaml"), "apiVersion: v1\nkind: Pod\na: [1\n").unwrap();
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
            text.starts_with("::error file=pod.yaml,line=7,title=InvalidImageName%3A Pod default/p%2C container bad::"),
            "{text}"
        );
        assert!(
            text.contains("::warning file=pod.yaml,line=9,title=LookupRefused%3A "),
            "{text}"
        );
        assert!(text.ends_with("\n2 images: 1 denied, 1 could not be checked\n"), "{text}");
        assert_eq!(text.contains("::error file=broken.yaml,line="), code == 2, "{text}");

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
    let talkative = check(&["--image", "127.0.0.1:1/b:1"], &[("PULLGATE_VERBOSE", "2")], "");
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
    std::fs::write(
        folder.path().join("a\u{1b}[31m\n::error::b.yaml"),
        "apiVersion: v1\nkind: Pod\na: [\n",
    )
    .unwrap();
    let output = check(&["-f", folder.path().to_str().unwrap()], &[], "");
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("a\\u{1b}[31m\\u{a}::error::b.yaml: line 3"), "{complaint}");
    assert_eq!(complaint.lines().count(), 2, "{complaint}");
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
        let first = "pullgate: cluster a (https://127.0.0.1:1): its nodes are not known: ";
        assert!(told.starts_with(first), "{proxy}: {told}");
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

/// A registry on loopback. Its tags that contain `gone` are not there; `late` comes with the third question for it.
fn registry() -> (tokio::runtime::Runtime, faulty::Faulty) {
    use faulty::{Faulty, Reply};
    use std::sync::atomic::{AtomicUsize, Ordering};
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let asked = AtomicUsize::new(0);
    let zeros = "0".repeat(64);
    let config = format!(r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":["sha256:{zeros}"]}}}}"#);
    let digest = pullgate::image::Digest::sha256(config.as_bytes()).to_string();
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{}}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:{zeros}","size":5000}}]}}"#,
        config.len()
    );
    let server = runtime.block_on(Faulty::start(move |seen| {
        let late = seen.path.ends_with("/manifests/late") && asked.fetch_add(1, Ordering::Relaxed) < 2;
        if seen.path.contains("gone") || late {
            Reply::new(404)
                .header("Content-Type", "application/json")
                .body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#)
        } else if seen.path.contains("/manifests/") {
            Reply::new(200)
                .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                .header(
                    "Docker-Content-Digest",
                    pullgate::image::Digest::sha256(manifest.as_bytes()).as_str(),
                )
                .body(manifest.clone())
        } else if seen.path.ends_with(&digest) {
            Reply::new(200).body(config.clone())
        } else {
            Reply::new(404)
        }
    }));
    (runtime, server)
}

/// `pullgate check` in a folder: code, standard output and standard error.
fn run_in(folder: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = pullgate().current_dir(folder).arg("check").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn pod(name: &str, image: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: c\n    image: {image}\n")
}

#[test]
fn it_waits_for_a_push_and_ends_as_soon_as_it_is_there() {
    let (_runtime, server) = registry();
    let late = format!("{}/team/app:late", server.host());
    let (code, out, told) = run_in(std::path::Path::new("/"), &["--image", &late, "--wait", "1m"]);
    assert_eq!((code, out.as_str()), (Some(0), "1 image: 1 pulls\n"), "{told}");
    assert!(told.contains(&format!("waiting for {late}, ")), "{told}");
    // What no push mends ends it at once.
    let (code, _, told) = run_in(
        std::path::Path::new("/"),
        &["--image", &late, "--image", "a/B", "--wait", "1m"],
    );
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("not waiting: a/B: InvalidImageName"), "{told}");
    let gone = format!("{}/team/gone:1", server.host());
    let (code, _, told) = run_in(std::path::Path::new("/"), &["--image", &gone, "--wait", "1ms"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("gave up waiting for "), "{told}");
    // It waits for what kustomize makes of a name, and says so.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), pod("a", "app")).unwrap();
    std::fs::write(
        folder.path().join("kustomization.yaml"),
        format!(
            "resources: [a.yaml]\nimages: [{{name: app, newName: {}/team/gone, newTag: '1'}}]\n",
            server.host()
        ),
    )
    .unwrap();
    let (_, _, told) = run_in(folder.path(), &["-R", ".", "--wait", "1ms"]);
    assert!(told.contains(&format!("gave up waiting for {gone}")), "{told}");
}

#[test]
fn it_does_not_wait_for_what_is_accepted() {
    let (_runtime, server) = registry();
    let folder = tempfile::tempdir().unwrap();
    let gone = format!("{}/team/gone:1", server.host());
    let write = |comment: &str| std::fs::write(folder.path().join("a.yaml"), pod("a", &format!("{gone}{comment}"))).unwrap();
    let wait = |more: &[&str]| run_in(folder.path(), &[&["-f", ".", "--wait", "1ms"], more].concat());
    write("");
    let (code, ..) = run_in(folder.path(), &["-f", ".", "--write-baseline", "known.json"]);
    assert_eq!(code, Some(0));
    let missing = format!("{}/team/**", server.host());
    for accepted in [["--baseline", "known.json"], ["--expect-missing", &missing]] {
        let (code, out, told) = wait(&accepted);
        assert_eq!((code, out.as_str(), told.as_str()), (Some(0), "1 image: 1 accepted\n", ""));
    }
    write(" # pullgate: ignore RepositoryNotFound, TagNotFound because it is built by hand");
    let (code, out, told) = wait(&[]);
    assert_eq!((code, out.as_str(), told.as_str()), (Some(0), "1 image: 1 accepted\n", ""));
    let (code, _, told) = wait(&["--no-exceptions"]);
    assert_eq!(code, Some(1));
    assert!(told.contains(&format!("gave up waiting for {gone}")), "{told}");
    // Nor does an accepted failure that no push fixes end the wait for another image.
    write("");
    std::fs::write(folder.path().join("b.yaml"), pod("b", "a/B")).unwrap();
    let (code, ..) = run_in(folder.path(), &["-f", "b.yaml", "--write-baseline", "known.json"]);
    assert_eq!(code, Some(0));
    let (_, _, told) = wait(&["--baseline", "known.json"]);
    assert!(told.contains(&format!("gave up waiting for {gone}")), "{told}");
}

#[test]
fn a_baseline_accepts_what_was_known_and_nothing_else() {
    let (_runtime, server) = registry();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let gone = format!("{}/team/gone:1", server.host());
    std::fs::write(at("a.yaml"), pod("a", &gone)).unwrap();
    let (code, _, told) = run_in(folder.path(), &["-f", ".", "--write-baseline", "known.json"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("1 finding is in known.json"), "{told}");
    let (code, out, told) = run_in(folder.path(), &["-f", ".", "--baseline", "known.json"]);
    assert_eq!((code, out.as_str(), told.as_str()), (Some(0), "1 image: 1 accepted\n", ""));
    let (code, ..) = run_in(folder.path(), &["-f", ".", "--baseline", "known.json", "--no-exceptions"]);
    assert_eq!(code, Some(1));
    // A new one is not known, nor is the same in another object.
    std::fs::write(at("b.yaml"), pod("b", &gone)).unwrap();
    let (code, out, _) = run_in(folder.path(), &["-f", ".", "--baseline", "known.json"]);
    assert_eq!(code, Some(1));
    assert!(out.ends_with("2 images: 1 denied, 1 accepted\n"), "{out}");
    std::fs::remove_file(at("b.yaml")).unwrap();
    std::fs::write(at("a.yaml"), pod("a", &format!("{}/team/app:1", server.host()))).unwrap();
    let (code, _, told) = run_in(folder.path(), &["-f", ".", "--baseline", "known.json"]);
    assert_eq!(code, Some(0));
    assert!(told.contains("1 finding of the baseline is gone"), "{told}");
    // What a policy refuses is not accepted.
    std::fs::create_dir(at("policies")).unwrap();
    std::fs::write(
        at("policies/p.yaml"),
        "apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: p}\nspec: {tags: {deny: ['1']}}\n",
    )
    .unwrap();
    let (code, _, told) = run_in(
        folder.path(),
        &["-f", "a.yaml", "--policies", "policies", "--write-baseline", "known.json"],
    );
    assert_eq!(code, Some(0), "{told}");
    let (code, ..) = run_in(
        folder.path(),
        &["-f", "a.yaml", "--policies", "policies", "--baseline", "known.json"],
    );
    assert_eq!(code, Some(1));
}

#[test]
fn a_comment_and_what_is_built_later_are_accepted() {
    let (_runtime, server) = registry();
    let folder = tempfile::tempdir().unwrap();
    let gone = format!("{}/team/gone:1", server.host());
    let write = |until: &str| {
        let comment = format!("{gone} # pullgate: ignore RepositoryNotFound, TagNotFound{until} because it is built by hand");
        std::fs::write(folder.path().join("a.yaml"), pod("a", &comment)).unwrap();
    };
    write(" until 2999-12-31");
    let (code, out, _) = run_in(folder.path(), &["a.yaml"]);
    assert_eq!((code, out.as_str()), (Some(0), "1 image: 1 accepted\n"));
    assert_eq!(run_in(folder.path(), &["a.yaml", "--no-exceptions"]).0, Some(1));
    write(" until 2020-01-31");
    let (code, _, told) = run_in(folder.path(), &["a.yaml"]);
    assert_eq!(code, Some(1));
    assert!(
        told.contains("a.yaml: the comment at line 7 has expired on 2020-01-31: it is built by hand"),
        "{told}"
    );
    let pattern = format!("{}/team/*", server.host());
    let (code, out, _) = run_in(folder.path(), &["a.yaml", "--expect-missing", &pattern]);
    assert_eq!((code, out.as_str()), (Some(0), "1 image: 1 accepted\n"));
}

#[test]
fn an_object_is_judged_with_its_owner_only_if_the_owner_is_there() {
    let owned = |name: &str| {
        pod(name, "a/B").replace(
            &format!("{{name: {name}}}"),
            &format!("{{name: {name}, ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: r, controller: true}}]}}"),
        )
    };
    let set = "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: r}\nspec: {template: {spec: {containers: [{name: c, image: a/B}]}}}\n";
    let alone = check(&["-f", "-"], &[], &format!("{}---\n{}", owned("p"), owned("q")));
    let out = String::from_utf8(alone.stdout).unwrap();
    assert!(out.ends_with("2 images: 2 denied\n"), "{out}");
    let both = check(&["-f", "-", "-o", "json"], &[], &format!("{}---\n{set}", owned("p")));
    let report = report(&both);
    assert_eq!(report["images"].as_array().unwrap().len(), 1);
    assert_eq!(report["images"][0]["object"]["kind"], "ReplicaSet");
    assert_eq!(report["skipped"][0]["reason"], "judged with ReplicaSet r");
}

#[test]
fn several_reports_come_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pod.yaml"), TWO_IMAGES).unwrap();
    let forms = [
        "-o",
        "text",
        "-o",
        "sarif=r.sarif",
        "-o",
        "html=r.html",
        "-o",
        "gitlab=r.json",
        "-o",
        "markdown=r.md",
    ];
    let (code, out, _) = run_in(folder.path(), &[&["."][..], &forms].concat());
    assert_eq!(code, Some(1));
    assert!(
        out.starts_with("DENY  upper/CASE\n") && out.contains("at pod.yaml:7: Pod default/p, container bad"),
        "{out}"
    );
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("r.sarif").contains("InvalidImageName") && read("r.json").contains("InvalidImageName"));
    assert!(read("r.html").contains("InvalidImageName") && read("r.md").contains("InvalidImageName"));
    // Its own reports are not input to the next run, and without a report on standard output the counts are told.
    let (_, out, told) = run_in(folder.path(), &["-R", ".", "-o", "json=r.json"]);
    assert_eq!(
        (out.as_str(), told.as_str()),
        ("", "pullgate: 2 images: 1 denied, 1 could not be checked\n")
    );
    let (code, _, told) = run_in(folder.path(), &[".", "-o", "text", "-o", "json"]);
    assert_eq!(code, Some(2), "{told}");
    // A job's summary, which others have begun.
    let summary = folder.path().join("summary.md");
    std::fs::write(&summary, "before\n").unwrap();
    let summary = summary.to_str().unwrap();
    check(&["--image", "a/B", "-o", "github"], &[("GITHUB_STEP_SUMMARY", summary)], "");
    let text = std::fs::read_to_string(summary).unwrap();
    assert!(text.starts_with("before\n### :x: pullgate: 1 image: 1 denied"), "{text}");
}

#[test]
fn the_repository_says_what_to_check() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("k8s")).unwrap();
    std::fs::write(at("k8s/a.yaml"), pod("a", "a/B")).unwrap();
    std::fs::write(at("k8s/test.yaml"), pod("t", "t/T")).unwrap();
    std::fs::write(
        at(".pullgate.yaml"),
        "files: [.]\nrecursive: true\nexclude: [test.yaml]\noutput: [json]\n",
    )
    .unwrap();
    let (code, out, told) = run_in(folder.path(), &[]);
    assert_eq!(code, Some(1), "{told}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["summary"]["images"], 1, "{out}");
    std::fs::write(at(".pullgate.yaml"), "dockerConfig: /root\n").unwrap();
    let (code, _, told) = run_in(folder.path(), &["k8s"]);
    assert_eq!(code, Some(2));
    assert!(told.contains(".pullgate.yaml: ") && told.contains("dockerConfig"), "{told}");
}

#[test]
fn only_what_changed_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let git = |arguments: &[&str]| {
        let done = std::process::Command::new("git")
            .current_dir(folder.path())
            .args(["-c", "user.name=a", "-c", "user.email=a@b.test"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    git(&["init", "-q"]);
    std::fs::create_dir(at("k8s")).unwrap();
    for name in ["old", "changed"] {
        std::fs::write(at("k8s").join(format!("{name}.yaml")), pod(name, "a/B")).unwrap();
    }
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    std::fs::write(at("k8s/changed.yaml"), pod("changed", "a/C")).unwrap();
    std::fs::write(at("k8s/new.yaml"), pod("new", "a/N")).unwrap();
    let (_, out, told) = run_in(folder.path(), &["-R", ".", "--since", "HEAD", "-o", "json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    let images: Vec<&str> = report["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["image"].as_str().unwrap())
        .collect();
    assert_eq!(images, ["a/C", "a/N"], "{told}");
    for wrong in ["nowhere", "--output=x", ""] {
        assert_eq!(
            run_in(folder.path(), &["-R", ".", &format!("--since={wrong}")]).0,
            Some(2),
            "{wrong}"
        );
    }
}

#[test]
fn a_whole_repository_is_checked_for_the_right_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    write("charts/app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n");
    write("charts/app/values.yaml", "image: {repository: 127.0.0.1:1/a, tag: '1'}\n");
    for at in 0..12 {
        write(
            &format!("charts/app/templates/t{at}.yaml"),
            "apiVersion: v1\nkind: Pod\nspec: {{ .Values.x }}\n",
        );
    }
    write(".github/workflows/ci.yaml", "on: push\n");
    write("package.json", "{}\n");
    write("k8s/ok.yaml", &pod("ok", "169.254.0.1/a:1"));
    let (code, out, told) = run_in(folder.path(), &["-R", "-f", "."]);
    assert_eq!(code, Some(0), "{told}");
    // The image of the chart's values, which only rendering would show to be used, is no denial.
    assert!(out.ends_with("2 images: 2 could not be checked\n"), "{out}");
    let notes: Vec<&str> = told.lines().collect();
    assert!(notes[0].starts_with("pullgate: 12 Helm templates in 1 chart: "), "{told}");
    assert_eq!(notes.len(), 4, "{told}");
    assert_eq!(run_in(folder.path(), &["-R", "-f", ".", "--strict"]).0, Some(2));
    write("k8s/broken.yaml", "apiVersion: v1\nkind: Pod\nspec: [\n");
    let (code, _, told) = run_in(folder.path(), &["-R", "-f", "."]);
    assert_eq!(code, Some(2));
    assert!(told.lines().last().unwrap().contains("k8s/broken.yaml: line "), "{told}");
}

/// The step of the GitHub action, with the program that was just built.
#[test]
fn the_github_action_passes_its_inputs_on() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a b.yaml"), "not: kubernetes\n").unwrap();
    std::fs::create_dir(folder.path().join("k8s")).unwrap();
    std::fs::write(folder.path().join("k8s/pod.yaml"), TWO_IMAGES).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_pullgate"));
    let (_, usual) = std::env::vars_os().find(|(name, _)| name == "PATH").unwrap();
    let path = format!("{}:{}", program.parent().unwrap().display(), usual.display());
    let step = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/ci/github");
    // Every input of the action is a variable of the step.
    let action: Value = pullgate::yaml::documents(&std::fs::read_to_string(step.join("action.yml")).unwrap())
        .documents
        .remove(0)
        .value;
    let inputs = action["inputs"].as_object().unwrap();
    let given = &action["runs"]["steps"][0]["env"];
    let run = |own: &[(&str, &str)]| {
        let mut command = std::process::Command::new(step.join("run"));
        command.current_dir(folder.path()).env_clear().env("PATH", &path);
        for (name, about) in inputs {
            let variable = format!("INPUT_{}", name.replace('-', "_").to_uppercase());
            assert!(given[&variable].is_string(), "{variable}");
            let value = own.iter().find(|(of, _)| of == name).map(|(_, value)| *value);
            command.env(variable, value.or(about["default"].as_str()).unwrap_or("none"));
        }
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, out, told) = run(&[("fail-on", "deny")]);
    assert_eq!(code, Some(1), "{told}");
    assert!(out.starts_with("::error file=k8s/pod.yaml,line=7,"), "{out}");
    let (code, out, told) = run(&[
        ("files", "k8s a"),
        ("output", "json"),
        ("arguments", "--namespace=shop --exclude pod.yaml"),
        ("recursive", "false"),
    ]);
    assert_eq!(code, Some(2), "{out}{told}");
    assert!(told.contains("k8s: no .yaml") && told.contains("a: No such file"), "{told}");
    let (code, _, told) = run(&[("since", "-x; touch injected")]);
    assert_eq!(code, Some(2), "{told}");
    assert!(!folder.path().join("injected").exists());
}

#[test]
fn standard_input_has_the_name_that_is_given_to_it() {
    let output = check(&["-f", "-", "--stdin-name", "charts/app", "-o", "json"], &[], POD);
    assert_eq!(report(&output)["images"][0]["source"]["file"], "charts/app");
}

#[test]
fn an_image_of_a_charts_values_is_a_warning_at_most() {
    let (_runtime, server) = registry();
    let folder = tempfile::tempdir().unwrap();
    let chart = folder.path().join("app");
    std::fs::create_dir(&chart).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: app\nversion: 1.0.0\n").unwrap();
    let values = format!("image:\n  registry: {}\n  repository: team/gone\n  tag: '1'\n", server.host());
    std::fs::write(chart.join("values.yaml"), values).unwrap();
    let (code, out, told) = run_in(folder.path(), &["-R", "."]);
    assert_eq!(code, Some(0), "{out}{told}");
    assert!(
        out.contains("at app/values.yaml:3: Chart default/app, container at image.repository\n"),
        "{out}"
    );
    assert!(out.ends_with("\n1 image: 1 with a warning\n"), "{out}");
}

/// The page, in a browser. Needs a Chromium, by the name in `PULLGATE_TEST_BROWSER`.
#[test]
#[ignore = "needs a browser; tests/run has one"]
fn the_page_works_in_a_browser() {
    const PROBE: &str = r"<script>
const seen = () => [...document.querySelectorAll('details')].filter((one) => !one.hidden).map((one) => one.querySelector('.image').textContent);
const change = (id, value) => { const at = document.getElementById(id); at.value = value; at.dispatchEvent(new Event(id === 'search' ? 'input' : 'change')); const now = seen(); at.value = ''; at.dispatchEvent(new Event(id === 'search' ? 'input' : 'change')); return now; };
const out = { all: seen() };
const denied = document.querySelector('button[data-of=denied]');
denied.click(); out.denied = seen(); out.pressed = denied.getAttribute('aria-pressed'); denied.click();
out.cause = change('cause', 'LookupRefused');
out.registry = change('registry', '169.254.0.1');
out.namespace = change('namespace', 'default');
out.search = change('search', 'nothing like it');
document.querySelector('summary').click(); out.open = document.querySelector('details').open; out.text = document.querySelector('details').innerText;
out.keyboard = [...document.querySelectorAll('button, select, input, summary')].every((one) => one.tabIndex === 0);
out.background = getComputedStyle(document.body).backgroundColor;
document.documentElement.innerHTML = ''; document.documentElement.append(btoa(unescape(encodeURIComponent(JSON.stringify(out)))));
</script></body>";
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("pod.yaml"), TWO_IMAGES).unwrap();
    run_in(folder.path(), &["pod.yaml", "-o", "html=page.html"]);
    let page = std::fs::read_to_string(at("page.html")).unwrap();
    std::fs::write(at("page.html"), page.replace("</body>", PROBE)).unwrap();
    let browser = std::env::vars().find(|(name, _)| name == "PULLGATE_TEST_BROWSER");
    let browser = browser.map_or_else(|| "chromium-headless-shell".to_owned(), |(_, name)| name);
    let open = |scheme: &str| {
        let output = std::process::Command::new(&browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--dump-dom",
                "--host-resolver-rules=MAP * ~NOTFOUND",
            ])
            .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
            .arg(format!("file://{}", at("page.html").display()))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let coded = text
            .split(['<', '>'])
            .map(str::trim)
            .max_by_key(|part| part.len())
            .unwrap()
            .to_owned();
        use base64::Engine as _;
        let json = base64::engine::general_purpose::STANDARD.decode(coded).unwrap();
        serde_json::from_slice::<Value>(&json).unwrap()
    };
    let (light, dark) = (open("1"), open("0"));
    let both = serde_json::json!(["upper/CASE", "169.254.0.1/a:1"]);
    assert_eq!(light["all"], both);
    assert_eq!(light["denied"], serde_json::json!(["upper/CASE"]));
    assert_eq!(light["pressed"], "true");
    assert_eq!(light["cause"], serde_json::json!(["169.254.0.1/a:1"]));
    assert_eq!(light["registry"], serde_json::json!(["169.254.0.1/a:1"]));
    assert_eq!(light["namespace"], both);
    assert_eq!(light["search"], serde_json::json!([]));
    assert_eq!(light["open"], true);
    let text = light["text"].as_str().unwrap();
    assert!(
        text.contains("fix ") && text.contains("pod.yaml:7: Pod default/p, container bad"),
        "{text}"
    );
    assert_eq!(light["keyboard"], true);
    assert_ne!(light["background"], dark["background"]);
}

const NOT_YET: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  template:
    metadata: {labels: {sidecar.istio.io/inject: 'true'}}
    spec:
      containers:
      - {name: a, image: 'reg.example/app:${IMAGE_TAG}'}
      - {name: b, image: 'ko://example.com/cmd/app'}
      - {name: c, image: '{{ image }}'}
      - {name: istio-proxy, image: auto}
";

#[test]
fn names_that_are_not_images_yet_are_unknown_and_pin_says_the_same() {
    let output = check(&["-f", "-", "-o", "json"], &[], NOT_YET);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    let tools = [
        "envsubst or Flux",
        "ko, which builds it",
        "a template engine (Helm, for example)",
        "Istio's injector",
    ];
    for (image, tool) in report["images"].as_array().unwrap().iter().zip(tools) {
        assert_eq!(
            (&image["outlook"], &image["verdict"]),
            (&"Unknown".into(), &"Warn".into()),
            "{image}"
        );
        let note = image["note"].as_str().unwrap();
        assert!(
            note.starts_with("not judged: ") && note.ends_with(&format!("is filled in later, by {tool}")),
            "{note}"
        );
        assert_eq!(image["findings"], serde_json::json!([]));
    }
    assert_eq!(
        check(&["-f", "-", "--fail-on", "unknown"], &[], NOT_YET).status.code(),
        Some(1)
    );
    let mut pin = pullgate()
        .args(["pin", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    pin.stdin.take().unwrap().write_all(NOT_YET.as_bytes()).unwrap();
    let pin = pin.wait_with_output().unwrap();
    let said = String::from_utf8(pin.stderr).unwrap();
    for tool in tools {
        assert!(said.contains(&format!("is filled in later, by {tool}")), "{tool}: {said}");
    }
    assert_eq!(String::from_utf8(pin.stdout).unwrap(), NOT_YET);
    // Nobody fills in what is given by itself.
    for image in ["reg.example/app:${IMAGE_TAG}", "ko://example.com/cmd/app", "{{ image }}"] {
        let output = check(&["--image", image, "-o", "json"], &[], "");
        assert_eq!(output.status.code(), Some(1), "{image}");
        assert_eq!(self::report(&output)["images"][0]["findings"][0]["cause"], "InvalidImageName");
    }
}

#[test]
fn an_image_id_is_not_asked_for_and_not_on_any_allow_list() {
    let id = format!("sha256:{}", "0a".repeat(32));
    let output = check(&["--image", &id, "-o", "json"], &[], "");
    let image = &report(&output)["images"][0];
    assert_eq!(
        (&image["outlook"], &image["findings"][0]["cause"]),
        (&"MayFail".into(), &"TagNotFound".into())
    );
    let policies = tempfile::tempdir().unwrap();
    let policy = "apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: p}\nspec: {registries: {allow: ['docker.io/**']}}\n";
    std::fs::write(policies.path().join("p.yaml"), policy).unwrap();
    let folder = policies.path().display().to_string();
    let output = check(&["--image", &id, "--policies", &folder, "-o", "json"], &[], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report(&output)["images"][0]["findings"][0]["cause"], "RegistryNotAllowed");
}

#[test]
fn nodes_among_the_manifests_are_no_cluster_unless_somebody_says_so() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: node, labels: {kubernetes.io/arch: arm64}}\nstatus: {nodeInfo: {operatingSystem: linux, architecture: arm64}}\n";
    let remark = |arguments: &[&str]| {
        let output = check(arguments, &[], node);
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("is ignored: if it is the cluster's")
    };
    assert!(remark(&["-f", "-"]));
    assert!(!remark(&["-f", "-", "--complete"]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nodes.yaml");
    std::fs::write(&file, node).unwrap();
    let file = file.display().to_string();
    assert!(!remark(&["-f", "-", "--nodes", &file]));
    let empty = folder.path().join("empty.yaml");
    std::fs::write(&empty, "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n").unwrap();
    let output = check(&["-f", "-", "--nodes", &empty.display().to_string()], &[], node);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_kinds_of_crds_are_suggested_for_the_settings() {
    let crd = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: apps.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {kind: App, plural: apps}
  versions:
  - name: v1
    schema: {openAPIV3Schema: {properties: {spec: {properties: {template: {properties: {spec: {properties: {containers: {items: {properties: {name: {type: string}, image: {type: string}}}}}}}}, image: {type: string}}}}}}
";
    let mut child = pullgate()
        .args(["config", "suggest", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(crd.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let settings = String::from_utf8(output.stdout).unwrap();
    let expected = "workloads:\n  - group: example.com\n    kind: App\n    scope: Cluster\n    podSpecs:\n      - \"spec.template.spec\"\n    images:\n      - \"spec.image\"\n";
    assert_eq!(settings, expected);
    // They are settings.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.yaml");
    std::fs::write(&file, settings).unwrap();
    let app = "apiVersion: example.com/v1\nkind: App\nmetadata: {name: a}\nspec: {image: 'Not An Image', template: {spec: {containers: []}}}\n";
    let output = check(&["-f", "-", "--config", &file.display().to_string(), "-o", "json"], &[], app);
    assert_eq!(report(&output)["images"][0]["path"], "spec.image");
}

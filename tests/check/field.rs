//! Cases from the field, through the binary: `check` and `pin` on the same files say the same of each image.

use crate::faulty::{Faulty, Reply};
use crate::program::pullgate;
use crate::{registry, report};
use pullgate::image::Digest;
use std::path::Path;
use std::process::{Command, Output};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn run(folder: &Path, command: &str, arguments: &[&str]) -> Output {
    let mut program: Command = pullgate();
    program
        .current_dir(folder)
        .env("PULLGATE_CONFIG", folder.join("settings.json"))
        .args([command, "-R", "-f", "."])
        .args(arguments)
        .output()
        .unwrap()
}

/// A folder of files, with settings that let registries on this machine be asked.
fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("settings.json"),
        r#"{"network": {"allow": ["127.0.0.0/8"]}}"#,
    )
    .unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

// A RuntimeClass that is not there: a remark with its place, and everything is judged.
#[test]
fn a_runtime_class_that_is_not_there_is_said_and_denies_nothing() {
    let gvisor = deployment("reg.example/UPPER").replace("      containers:", "      runtimeClassName: gvisor\n      containers:");
    let note = "RuntimeClass that is not among the manifests: its nodeSelector and tolerations are not known";
    let class = "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: gvisor}\nhandler: runsc\n".to_owned();
    for (more, arguments, said) in [
        (None, &[][..], true),
        (None, &["--complete"], true),
        (Some(class), &[], false),
    ] {
        let mut files = vec![("a.yaml", gvisor.clone()), ("b.yaml", deployment("reg.example/app:${TAG}"))];
        files.extend(more.map(|class| ("c.yaml", class)));
        let folder = folder(&files);
        let checked = run(folder.path(), "check", &[arguments, &["-o", "json"]].concat());
        let report = report(&checked);
        let images: Vec<&str> = report["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|image| image["outlook"].as_str().unwrap())
            .collect();
        assert_eq!(images, ["WillFail", "Unknown"], "{report}");
        let notes: Vec<String> = report["notes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|note| note["kind"] == "NoRuntimeClass")
            .map(|note| note["message"].as_str().unwrap().to_owned())
            .collect();
        let sentence = format!("a.yaml:7: {note} (gvisor, of Deployment app)");
        assert_eq!(notes, said.then_some(sentence).into_iter().collect::<Vec<_>>(), "{report}");
        let usual = String::from_utf8(run(folder.path(), "check", arguments).stderr).unwrap();
        let line = format!("1 {note} (a.yaml:7: gvisor, of Deployment app): give them with --facts");
        assert_eq!(usual.contains(&line), said, "{usual}");
    }
}

fn deployment(image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: app}}\nspec:\n  template:\n    spec:\n      containers:\n      - name: app\n        image: \"{image}\"\n"
    )
}

/// What `check` says of the only image with this name: outlook and note; and what `pin` says of it in a line.
fn both(files: &[(&str, String)], image: &str) -> (String, String, String) {
    let folder = folder(files);
    let checked = run(folder.path(), "check", &["-o", "json"]);
    let report = report(&checked);
    let found = report["images"]
        .as_array()
        .unwrap()
        .iter()
        .find(|found| found["image"] == image);
    let found = found.unwrap_or_else(|| panic!("{image}: {report}"));
    let pinned = run(folder.path(), "pin", &[]);
    let said = String::from_utf8(pinned.stderr).unwrap();
    let of_it = said
        .lines()
        .find(|line| line.contains(&format!(": {image} ")))
        .unwrap_or_default();
    (
        found["outlook"].as_str().unwrap().to_owned(),
        found["note"].as_str().unwrap_or_default().to_owned(),
        of_it.to_owned(),
    )
}

// Field cases 5, 11 and 12, and their kin.
#[test]
fn check_and_pin_name_the_same_tool() {
    let with = |image: &str, more: &[(&'static str, &str)]| {
        let mut files = vec![("a.yaml", deployment(image))];
        files.extend(more.iter().map(|(name, text)| (*name, (*text).to_owned())));
        files
    };
    let flux = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec: {postBuild: {substituteFrom: [{kind: Secret, name: vars}]}}\n";
    let skaffold = "apiVersion: skaffold/v4beta11\nkind: Config\nbuild: {artifacts: [{image: app}]}\n";
    let injected = deployment("auto").replace(
        "    spec:\n      c",
        "    metadata: {labels: {sidecar.istio.io/inject: 'true'}}\n    spec:\n      c",
    );
    let by_vault = deployment("reg.example/app:<tag>").replace(
        "{name: app}",
        "{name: app, annotations: {avp.kubernetes.io/path: secret/data/app}}",
    );
    let replaced = "resources: [a.yaml]\nreplacements: [{source: {kind: Secret, name: s}, targets: [{select: {kind: Deployment}, fieldPaths: ['spec.template.spec.containers.0.image']}]}]\n";
    let task = "apiVersion: tekton.dev/v1\nkind: Task\nmetadata: {name: t}\nspec:\n  steps:\n  - name: a\n    image: \"$(params.image)\"\n";
    let workflow = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec:\n  templates:\n  - name: a\n    container:\n      image: \"{{inputs.parameters.image}}\"\n";
    let template = "apiVersion: template.openshift.io/v1\nkind: Template\nmetadata: {name: t}\nobjects:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: p}\n  spec:\n    containers:\n    - name: a\n      image: \"${IMAGE}\"\n";
    for (image, files, tool) in [
        (
            "reg.example/app:${TAG}",
            with("reg.example/app:${TAG}", &[]),
            "envsubst or Flux",
        ),
        (
            "reg.example/app:${TAG}",
            with("reg.example/app:${TAG}", &[("f.yaml", flux)]),
            "Flux (postBuild of Kustomization apps)",
        ),
        (
            "{{ .Values.image }}",
            with("{{ .Values.image }}", &[]),
            "a template engine (Helm, for example)",
        ),
        (
            "${{ values.image }}",
            with("${{ values.image }}", &[]),
            "a template engine (Helm, for example)",
        ),
        (
            "ko://example.com/cmd/app",
            with("ko://example.com/cmd/app", &[]),
            "ko, which builds it",
        ),
        (
            "app:dev",
            with("app:dev", &[("skaffold-dev.yaml", skaffold)]),
            "Skaffold, which builds it (skaffold.yaml)",
        ),
        (
            "app",
            with("app", &[("Tiltfile", "REG = 'app'\ndocker_build(REG, '.')\n")]),
            "Tilt, which builds it (Tiltfile)",
        ),
        ("(@= data.values.image @)", with("(@= data.values.image @)", &[]), "ytt"),
        (
            "reg.example/app:#{Tag}",
            with("reg.example/app:#{Tag}", &[]),
            "a deployment tool (Octopus Deploy, for example)",
        ),
        (
            "<path:secret/data/app#image>",
            with("<path:secret/data/app#image>", &[]),
            "argocd-vault-plugin",
        ),
        ("reg.example/app:<tag>", vec![("a.yaml", by_vault)], "argocd-vault-plugin"),
        ("managed", with("managed", &[]), "the operator that manages it"),
        ("auto", vec![("a.yaml", injected)], "Istio's injector"),
        (
            "app",
            with("app", &[("kustomization.yaml", replaced)]),
            "kustomize (replacements of kustomization.yaml)",
        ),
        ("$(params.image)", vec![("t.yaml", task.to_owned())], "Tekton"),
        ("{{inputs.parameters.image}}", vec![("w.yaml", workflow.to_owned())], "Argo"),
        (
            "${IMAGE}",
            vec![("t.yaml", template.to_owned())],
            "OpenShift's template processing (oc process)",
        ),
    ] {
        let (outlook, note, pin) = both(&files, image);
        assert_eq!(outlook, "Unknown", "{image}");
        let by = format!("filled in later, by {tool}");
        assert!(note.ends_with(&by), "{image}: {note}");
        assert!(pin.contains("skipped: ") && pin.ends_with(&by), "{image}: {pin}");
    }
    // Nobody fills these in.
    for image in ["$(params.image)", "<image>", "KO://x"] {
        let (outlook, _, pin) = both(&with(image, &[]), image);
        assert_eq!(outlook, "WillFail", "{image}");
        assert!(pin.ends_with("could not be pinned"), "{image}: {pin}");
    }
}

// Field case 13, and its kin.
#[test]
fn check_and_pin_take_the_name_that_the_set_gives() {
    let (_runtime, server) = registry();
    let host = server.host();
    let kustomization = |more: &str| ("kustomization.yaml", format!("resources: [a.yaml]\n{more}\n"));
    let of_images = |entry: &str| kustomization(&format!("images: [{{name: app, {entry}}}]"));
    let patch = |op: &str, path: &str, value: &str| {
        kustomization(&format!(
            "patches: [{{target: {{kind: Deployment}}, patch: '[{{op: {op}, path: {path}, value: {value}}}]'}}]"
        ))
    };
    let container = "/spec/template/spec/containers/0";
    for (tag, outlook) in [("1", "Pulls"), ("gone", "WillFail")] {
        let name = format!("{host}/team/app:{tag}");
        let argo = format!(
            "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: a}}\nspec: {{source: {{path: '.', kustomize: {{images: ['app={name}']}}}}}}\n"
        );
        let flux = format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: a}}\nspec: {{path: ./, images: [{{name: app, newName: '{host}/team/app', newTag: '{tag}'}}]}}\n"
        );
        let substituted = format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: a}}\nspec: {{path: ./, postBuild: {{substitute: {{TAG: '{tag}'}}}}}}\n"
        );
        for more in [
            vec![
                of_images(&format!("newName: '{host}/team/app', newTag: '${{TAG}}'")),
                ("flux.yaml", substituted),
            ],
            vec![of_images(&format!("newName: '{host}/team/app', newTag: '{tag}'"))],
            vec![patch("replace", &format!("{container}/image"), &name)],
            vec![patch("replace", container, &format!("{{name: app, image: \"{name}\"}}"))],
            vec![kustomization(""), ("argo.yaml", argo)],
            vec![kustomization(""), ("flux.yaml", flux)],
            vec![
                kustomization(&format!("configMapGenerator: [{{name: c, literals: ['IMAGE={name}']}}]\nreplacements: [{{path: r.yaml}}]")),
                (
                    "r.yaml",
                    "source: {kind: ConfigMap, name: c, fieldPath: data.IMAGE}\ntargets: [{select: {kind: Deployment}, fieldPaths: ['spec.template.spec.containers.[name=app].image']}]\n".to_owned(),
                ),
            ],
        ] {
            let mut files = vec![("a.yaml", deployment("app"))];
            files.extend(more);
            let (found, note, pin) = both(&files, "app");
            assert_eq!(found, outlook, "{files:?}");
            assert!(note.ends_with(&format!("names it {name}")), "{note}");
            if tag == "gone" && files[1].1.contains("newName") && files.len() == 2 {
                let pinned = run(folder(&files).path(), "pin", &[]);
                let said = String::from_utf8(pinned.stderr).unwrap();
                assert_eq!(pinned.status.code(), Some(1), "{said}");
                assert!(said.contains(&format!("{name} could not be pinned")), "{said}");
            }
            assert!(pin.contains(&format!("names it {name}: pin it there")), "{pin}");
        }
    }
}

// A disk that is full: here no file may grow at all, which ends a write in the same way (an error, after part of the text at best).
#[test]
fn pin_on_a_full_disk_leaves_the_file_as_it_was() {
    let (_runtime, server) = registry();
    let before = deployment(&format!("{}/team/app:1", server.host()));
    let folder = folder(&[("a.yaml", before.clone())]);
    let plain = pullgate();
    let pin = |limits: &str| {
        let mut limited = Command::new("sh");
        limited
            .args(["-c", &format!("{limits} exec \"$0\" \"$@\"")])
            .arg(plain.get_program());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
        limited
            .current_dir(folder.path())
            .env("PULLGATE_CONFIG", folder.path().join("settings.json"))
            .args(["pin", "--write", "-f", "a.yaml"])
            .output()
            .unwrap()
    };
    let now = || std::fs::read_to_string(folder.path().join("a.yaml")).unwrap();
    let output = pin("trap '' XFSZ; ulimit -f 0;");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("a.yaml") && said.contains("File too large"), "{said}");
    assert_eq!(now(), before);
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "nothing is left beside it: {names:?}");
    assert_eq!(pin("").status.code(), Some(0));
    assert!(now().contains(":1@sha256:"), "{}", now());
}

// What a Template says of its parameters is a default: whoever processes it may say something else.
#[test]
fn check_and_pin_take_the_defaults_of_a_template() {
    let (_runtime, server) = registry();
    for (tag, outlook) in [("1", "Pulls"), ("gone", "MayFail")] {
        let name = format!("{}/team/app:{tag}", server.host());
        let template = format!(
            "apiVersion: template.openshift.io/v1\nkind: Template\nmetadata: {{name: t}}\nparameters: [{{name: IMAGE, value: '{name}'}}]\nobjects:\n- apiVersion: v1\n  kind: Pod\n  metadata: {{name: p}}\n  spec:\n    containers:\n    - name: a\n      image: \"${{IMAGE}}\"\n"
        );
        let (found, note, pin) = both(&[("t.yaml", template)], "${IMAGE}");
        let named = format!("OpenShift's template processing (defaults of Template t) names it {name}");
        assert_eq!(found, outlook);
        assert!(
            note.ends_with(&named) && pin.contains(&format!("{named}: pin it there")),
            "{note}, {pin}"
        );
    }
}

// Whichever method the runtime asks by, the list of tags tells more of a 404.
#[test]
fn the_list_of_tags_is_asked_for_whatever_the_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Faulty::start(|seen| match seen.path.as_str() {
        "/v2/" => Reply::new(200).json("{}"),
        path if path.contains("/tags/list") => Reply::new(200).json(r#"{"name":"team/app","tags":["1","2"]}"#),
        _ => Reply::new(404).json(r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
    }));
    let folder = folder(&[]);
    for kind in ["containerd@1.7.27", "containerd@2.1.4", "crio@1.33"] {
        for (tag, expected) in [
            (
                "1",
                "lists tag \"1\" in repository \"team/app\", but has no manifest for it (404",
            ),
            ("3", "repository \"team/app\" exists, tag \"3\" does not (404"),
        ] {
            let image = format!("{}/team/app:{tag}", server.host());
            let output = pullgate()
                .current_dir(folder.path())
                .args([
                    "check",
                    "--config",
                    "settings.json",
                    "--image",
                    &image,
                    "--runtime",
                    kind,
                    "-o",
                    "json",
                ])
                .output()
                .unwrap();
            let report = report(&output);
            let message = report["images"][0]["findings"][0]["message"].as_str().unwrap();
            assert!(message.contains(expected), "{kind}: {message}");
        }
    }
}

// Field case 20.
#[test]
fn an_index_whose_builds_are_all_gone_fails_on_whatever_nodes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entry = |architecture: &str| {
        let digest = Digest::sha256(architecture.as_bytes());
        let entry = format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":2,"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
        );
        (digest.to_string(), entry)
    };
    let ((_, amd), (arm_digest, arm)) = (entry("amd64"), entry("arm64"));
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{amd},{arm}]}}"#);
    for (left, expected) in [(false, "WillFail"), (true, "MayFail")] {
        let (index, arm_digest) = (index.clone(), arm_digest.clone());
        let own = Digest::sha256(index.as_bytes()).to_string();
        let server = runtime.block_on(Faulty::start(move |seen| {
            let served = |media_type: &str, digest: &str, body: &str| {
                Reply::new(200)
                    .header("Content-Type", media_type)
                    .header("Docker-Content-Digest", digest)
                    .body(body.to_owned())
            };
            if seen.path.ends_with("/manifests/1") || seen.path.ends_with(&own) {
                served(INDEX, &own, &index)
            } else if left && seen.path.ends_with(&arm_digest) {
                served(MANIFEST, &arm_digest, "{}")
            } else {
                Reply::new(404)
                    .header("Content-Type", "application/json")
                    .body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#)
            }
        }));
        let image = format!("{}/team/app:1", server.host());
        let folder = folder(&[]);
        let output = pullgate()
            .current_dir(folder.path())
            .args(["check", "--config", "settings.json", "--image", &image, "-o", "json"])
            .output()
            .unwrap();
        let report = report(&output);
        let found = &report["images"][0];
        assert_eq!(
            (&found["outlook"], &found["findings"][0]["cause"]),
            (&expected.into(), &"ContentMissing".into()),
            "{report}"
        );
        let whom = if left {
            "for linux/amd64"
        } else {
            "for linux/amd64, linux/arm64"
        };
        let messages = found["findings"].to_string();
        assert!(
            messages.contains("does not (404") && (left || messages.contains("linux/arm64")),
            "{whom}: {messages}"
        );
    }
}

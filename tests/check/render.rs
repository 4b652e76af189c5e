//! `--render` and `-k`: with small stand-ins for helm and kustomize on PATH, and with the real ones where they are installed.

use super::{Value, pullgate, report};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

/// Prints `rendered.yaml` of the chart, after it has made sure that there is nothing in reach. A chart named `slow` is never done.
const HELM: &str = r#"#!/bin/sh
[ "$1" = template ] || exit 9
[ -z "$SECRET" ] && [ "$HTTPS_PROXY" = http://127.0.0.1:9 ] || { echo "Error: something leaks" >&2; exit 9; }
command -v git >/dev/null && { echo "Error: there are programs" >&2; exit 9; }
[ -e "$HOME/.config" ] && exit 9
for last in "$@"; do :; done
[ -e "$last/rendered.yaml" ] || { echo "Error: execution error at (app/templates/x.yaml:1:2): tag is required" >&2; exit 1; }
while IFS= read -r line; do printf '%s\n' "$line"; done < "$last/rendered.yaml"
"#;

/// Prints `rendered.yaml` of the overlay behind the wrapper that it is given.
const KUSTOMIZE: &str = r#"#!/bin/sh
[ "$1" = build ] || exit 9
[ -z "$SECRET" ] || exit 9
read -r text < "$2/kustomization.yaml"
to=${text#*resources\":[\"}
to=${to%%\"*}
while IFS= read -r line; do printf '%s\n' "$line"; done < "$2/$to/rendered.txt"
"#;

struct Repo(tempfile::TempDir);

impl Repo {
    fn new(files: &[(&str, &str)]) -> Self {
        let repo = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            repo.write(name, text);
        }
        fs::create_dir_all(repo.path().join(".git")).unwrap();
        repo
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn check(&self, path: &OsString, arguments: &[&str]) -> (Output, String) {
        let output = pullgate()
            .current_dir(self.path())
            .env("PATH", path)
            .env("SECRET", "s3cret")
            .arg("check")
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr.clone()).unwrap();
        (output, told)
    }
}

/// A folder with these programs.
fn programs(all: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in all {
        let file = folder.path().join(name);
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// PATHs to try: the stand-ins, and that of this machine if it has the real ones.
fn paths(stand_ins: &tempfile::TempDir) -> Vec<OsString> {
    let (_, usual) = std::env::vars_os().find(|(name, _)| name == "PATH").unwrap();
    let has = |name: &str| std::env::split_paths(&usual).any(|folder| folder.join(name).is_file());
    let real = (has("helm") && has("kustomize")).then(|| usual.clone());
    std::iter::once(stand_ins.path().as_os_str().to_owned()).chain(real).collect()
}

/// File, line, origin and image of each image of a report.
fn places(output: &Output) -> Vec<(String, u64, Option<String>, String)> {
    let report = report(output);
    let images = report["images"].as_array().unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut all: Vec<_> = images
        .iter()
        .map(|image| {
            let source = &image["source"];
            (
                text(&source["file"]).unwrap(),
                source["line"].as_u64().unwrap(),
                text(&source["origin"]),
                text(&image["image"]).unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

fn place(file: &str, line: u64, origin: Option<&str>, image: &str) -> (String, u64, Option<String>, String) {
    (file.to_owned(), line, origin.map(str::to_owned), image.to_owned())
}

const VALUES: &str =
    "# The image.\nimage:\n  repository: 169.254.0.1/team/app\n  tag: v1\nsidecar:\n  image: 169.254.0.1/team/side:2\n";
const TEMPLATE: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app\nspec:\n  template:\n    spec:\n      containers:\n      - name: app\n        image: {{ .Values.image.repository }}:{{ .Values.image.tag }}\n      - name: side\n        image: {{ .Values.sidecar.image }}\n      - name: fixed\n        image: 169.254.0.1/team/fixed:3\n";

fn rendered(first: &str) -> String {
    let text = TEMPLATE
        .replace("{{ .Values.image.repository }}:{{ .Values.image.tag }}", first)
        .replace("{{ .Values.sidecar.image }}", "169.254.0.1/team/side:2");
    format!("---\n# Source: app/templates/deployment.yaml\n{text}")
}

fn chart(repo: &Repo) {
    repo.write("charts/app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n");
    repo.write("charts/app/values.yaml", VALUES);
    repo.write("charts/app/templates/deployment.yaml", TEMPLATE);
    repo.write("charts/app/rendered.yaml", &rendered("169.254.0.1/team/app:v1"));
    // It is a manifest too, for who does not know better.
    repo.write(".gitignore", "rendered.yaml\n");
}

#[test]
fn charts_are_rendered_and_images_have_the_places_of_their_values() {
    let repo = Repo::new(&[]);
    chart(&repo);
    let tools = programs(&[("helm", HELM), ("kustomize", KUSTOMIZE)]);
    for path in paths(&tools) {
        let (output, told) = repo.check(&path, &["-R", ".", "--render", "-o", "json"]);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert_eq!(
            places(&output),
            [
                place("./charts/app/templates/deployment.yaml", 14, None, "169.254.0.1/team/fixed:3"),
                place(
                    "./charts/app/values.yaml",
                    3,
                    Some("image.repository"),
                    "169.254.0.1/team/app:v1"
                ),
                place(
                    "./charts/app/values.yaml",
                    6,
                    Some("sidecar.image"),
                    "169.254.0.1/team/side:2"
                ),
            ],
            "{told}"
        );
        assert!(!told.contains("Helm template"), "{told}");
        let (output, _) = repo.check(&path, &["-R", ".", "--render", "-v"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let line = "at charts/app/values.yaml:3 (image.repository): Deployment default/app, container app\n";
        assert!(text.contains(line), "{text}");
    }
    // Without --render, the values speak for themselves.
    let (output, told) = repo.check(&paths(&tools)[0], &["-R", ".", "-o", "json"]);
    assert_eq!(places(&output).len(), 2, "{told}");
    assert!(
        told.contains("1 Helm template in 1 chart: render them, or use --render"),
        "{told}"
    );
}

#[test]
fn a_comment_beside_a_value_accepts_what_was_made_of_it() {
    let repo = Repo::new(&[]);
    chart(&repo);
    let values = VALUES.replace(
        "team/side:2",
        "Team/side:2  # pullgate: ignore InvalidImageName because it is renamed tomorrow",
    );
    repo.write("charts/app/values.yaml", &values);
    repo.write(
        "charts/app/rendered.yaml",
        &rendered("169.254.0.1/team/app:v1").replace("team/side", "Team/side"),
    );
    let tools = programs(&[("helm", HELM)]);
    let path = tools.path().as_os_str().to_owned();
    let (output, told) = repo.check(&path, &["-R", ".", "--render"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("1 accepted"), "{text}{told}");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(
        repo.check(&path, &["-R", ".", "--render", "--no-exceptions"]).0.status.code(),
        Some(1)
    );
}

#[test]
fn what_cannot_be_rendered_is_counted_and_named_and_its_values_are_judged() {
    let repo = Repo::new(&[]);
    chart(&repo);
    fs::remove_file(repo.path().join("charts/app/rendered.yaml")).unwrap();
    let needs = "{{ required \"tag is required\" .Values.nothing }}\n";
    repo.write("charts/app/templates/x.yaml", needs);
    let remote = "apiVersion: v2\nname: far\nversion: 1.0.0\ndependencies:\n- {name: redis, version: 1.x, repository: 'https://charts.example'}\n";
    repo.write("charts/far/Chart.yaml", remote);
    repo.write("charts/far/templates/x.yaml", "{{ .Values.x }}\n");
    repo.write(
        "overlays/kustomization.yaml",
        "resources: [github.com/org/repo//base?ref=v1]\n",
    );
    repo.write(
        "panels/kustomization.yaml",
        "configMapGenerator:\n- {name: x, files: ['x.json=https://panels.example/x.json?v=1']}\n",
    );
    repo.write("lib/Chart.yaml", "apiVersion: v2\nname: lib\nversion: 1.0.0\ntype: library\n");
    let tools = programs(&[("helm", HELM), ("kustomize", KUSTOMIZE)]);
    for path in paths(&tools) {
        let (output, told) = repo.check(&path, &["-R", ".", "--render", "-o", "json"]);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert_eq!(places(&output).len(), 2, "the values of the chart that fails: {told}");
        let far = "1 chart whose dependencies are not in the tree, not rendered (charts/far: redis 1.x of https://charts.example)";
        assert!(told.contains(far), "{told}");
        let failed = "1 chart or overlay that could not be rendered (charts/app: helm: execution error at (app/templates/x.yaml:1:";
        assert!(told.contains(failed) && told.contains("tag is required"), "{told}");
        let base = "2 overlays that take in something from elsewhere, not rendered (overlays: github.com/org/repo//base?ref=v1 is elsewhere; \
                    panels: https://panels.example/x.json?v=1 is elsewhere)";
        assert!(told.contains(base), "{told}");
    }
}

#[test]
fn a_missing_tool_is_said_once_with_how_to_install_it() {
    let repo = Repo::new(&[("overlay/kustomization.yaml", "resources: []\n")]);
    chart(&repo);
    let (output, told) = repo.check(&OsString::from("/nowhere"), &["-R", ".", "--render", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert_eq!(
        told.matches("helm is not in PATH: 1 chart was not rendered; install it: https://helm.sh/")
            .count(),
        1,
        "{told}"
    );
    let kustomize = "neither kustomize nor kubectl is in PATH: 1 overlay was not rendered; install it: https://";
    assert_eq!(told.matches(kustomize).count(), 1, "{told}");
    assert_eq!(places(&output).len(), 2);
    let (output, told) = repo.check(&OsString::from("/nowhere"), &["-k", "overlay"]);
    assert_eq!(output.status.code(), Some(2), "what was named must be built: {told}");
}

fn deployment(image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app\nspec:\n  template:\n    spec:\n      containers:\n      - name: c\n        image: {image}\n"
    )
}

/// An overlay that renames one image of its base and patches another.
fn overlays(repo: &Repo) {
    let two = format!("{}      - name: d\n        image: 169.254.0.1/other:1\n", deployment("app"));
    repo.write("base/deployment.yaml", &two);
    repo.write("base/kustomization.yaml", "resources: [deployment.yaml]\n");
    let overlay = "resources: [../base]\nnamePrefix: prod-\nimages:\n- name: app\n  newName: 169.254.0.1/team/app\n  newTag: v9\n";
    repo.write("prod/kustomization.yaml", overlay);
}

#[test]
fn overlays_are_built_and_images_have_the_places_that_made_them() {
    let repo = Repo::new(&[]);
    overlays(&repo);
    let wrapped = deployment("169.254.0.1/team/app:v9").replace(
        "name: app",
        "name: prod-app\n  annotations:\n    config.kubernetes.io/origin: |\n      path: ORIGIN",
    );
    let base: PathBuf = repo.path().canonicalize().unwrap().join("base/deployment.yaml");
    let text = wrapped.replace("ORIGIN", &format!("../../../../../../../../../..{}", base.display()));
    repo.write(
        "prod/rendered.txt",
        &format!("{text}      - name: d\n        image: 169.254.0.1/other:1\n"),
    );
    let tools = programs(&[("kustomize", KUSTOMIZE)]);
    for path in paths(&tools) {
        for arguments in [&["-R", ".", "--render", "-o", "json"][..], &["-k", "prod", "-o", "json"]] {
            let (output, told) = repo.check(&path, arguments);
            assert_eq!(output.status.code(), Some(0), "{told}");
            assert_eq!(
                places(&output),
                [
                    place("base/deployment.yaml", 12, None, "169.254.0.1/other:1"),
                    place("prod/kustomization.yaml", 4, Some("images: app"), "169.254.0.1/team/app:v9"),
                ],
                "{arguments:?} {told}"
            );
        }
    }
}

const RELEASE: &str = "apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: web, namespace: shop}
spec:
  chart:
    spec:
      chart: ./charts/app
      sourceRef: {kind: GitRepository, name: this}
  values:
    image:
      repository: 169.254.0.1/team/other
    unused: {repository: 169.254.0.1/team/unused, tag: v1}
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: web, namespace: argocd}
spec:
  source:
    repoURL: https://git.example/org/repo.git
    path: charts/app
    helm:
      valuesObject:
        image: {tag: v7}
  destination: {namespace: apps}
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: far, namespace: argocd}
spec:
  source:
    repoURL: https://charts.example
    chart: redis
    helm: {valuesObject: {image: {repository: 169.254.0.1/team/far, tag: v1}}}
";

/// What the releases make of the chart, by what they give as values; the stand-in cannot compute that.
const HELM_BY_VALUES: &str = r#"#!/bin/sh
image=169.254.0.1/team/app:v1
while [ $# -gt 1 ]; do
  if [ "$1" = --values ]; then
    read -r values < "$2"
    case $values in
      *team/other*) image=169.254.0.1/team/other:v1 ;;
      *v7*) image=169.254.0.1/team/app:v7 ;;
    esac
  fi
  [ "$1" = --namespace ] && namespace=$2
  shift
done
while IFS= read -r line; do
  case $line in
    *169.254.0.1/team/app:v1) printf '        image: %s\n' "$image" ;;
    *) printf '%s\n' "$line" ;;
  esac
done < "$1/rendered.yaml"
"#;

#[test]
fn releases_of_charts_in_the_tree_are_rendered_with_their_values() {
    let repo = Repo::new(&[("apps/web.yaml", RELEASE)]);
    chart(&repo);
    let tools = programs(&[("helm", HELM_BY_VALUES)]);
    for path in paths(&tools) {
        let (output, told) = repo.check(&path, &["-R", ".", "--render", "-o", "json"]);
        assert_eq!(output.status.code(), Some(0), "{told}");
        let found = places(&output);
        let flux = place(
            "./apps/web.yaml",
            11,
            Some("spec.values.image.repository"),
            "169.254.0.1/team/other:v1",
        );
        assert!(found.contains(&flux), "{found:?}");
        // The name is that of the chart's own values, which other releases share; the release chose the tag, and there it is mended.
        let argo = place(
            "./apps/web.yaml",
            23,
            Some("spec.source.helm.valuesObject.image.tag"),
            "169.254.0.1/team/app:v7",
        );
        assert!(found.contains(&argo), "{found:?}");
        // What was not rendered is judged by its values, what was rendered is not.
        let images: Vec<&str> = found.iter().map(|(.., image)| image.as_str()).collect();
        assert!(images.contains(&"169.254.0.1/team/far:v1"), "{images:?}");
        assert!(!images.contains(&"169.254.0.1/team/unused:v1"), "{images:?}");
        let namespaces: Vec<&str> = report_namespaces(&output);
        assert_eq!(namespaces.len(), found.len());
        assert!(
            told.contains("1 HelmRelease or Application whose images only its controller renders (apps/web.yaml"),
            "{told}"
        );
        assert!(told.contains("Application far, its chart redis is elsewhere"), "{told}");
    }
}

fn report_namespaces(output: &Output) -> Vec<&'static str> {
    let report = report(output);
    let known = |name: &str| match name {
        "shop" => "shop",
        "apps" => "apps",
        "default" => "default",
        "argocd" => "argocd",
        other => panic!("{other}"),
    };
    report["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| known(image["object"]["namespace"].as_str().unwrap()))
        .collect()
}

#[test]
fn what_helm_says_of_its_templates_is_the_place() {
    let output = super::check(&["-", "-o", "json"], &[], &rendered("169.254.0.1/team/app:v1"));
    assert_eq!(
        report(&output)["images"][0]["source"]["origin"],
        "app/templates/deployment.yaml"
    );
    assert_eq!(report(&output)["images"][0]["source"]["line"], 12);
}

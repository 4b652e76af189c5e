//! Ten small repositories in the shapes of public ones: each ends with 0 or 1 for the right reasons, and says what it passed over.

use super::{pod, pullgate, registry};
use std::fs;
use std::path::Path;

/// A repository, and what `pullgate check -R .` says of it. `REG` stands for a registry, in which what is called `gone` is not there.
struct Shape {
    files: &'static [(&'static str, &'static str)],
    code: i32,
    /// The last line of the report.
    counts: &'static str,
    /// Parts of the report and of what is said besides.
    says: &'static [&'static str],
}

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app\nspec:\n  selector: {matchLabels: {app: app}}\n  template:\n    metadata: {labels: {app: app}}\n    spec:\n      containers:\n      - name: app\n        image: IMAGE\n";

const SHAPES: &[(&str, Shape)] = &[
    (
        "plain manifests beside an application",
        Shape {
            files: &[
                ("Dockerfile", "FROM scratch\n"),
                ("package.json", "{\"name\": \"shop\"}\n"),
                ("tsconfig.json", "{\n  // strict\n  \"strict\": true\n}\n"),
                ("k8s/app.yaml", "@REG/team/app:v1"),
                ("k8s/worker.yaml", "@REG/team/gone:v1"),
                (
                    "k8s/service.yaml",
                    "apiVersion: v1\nkind: Service\nmetadata: {name: app}\nspec: {ports: [{port: 80}]}\n",
                ),
            ],
            code: 1,
            counts: "2 images: 1 pulls, 1 denied",
            says: &[
                "DENY  REG/team/gone:v1",
                "at k8s/worker.yaml:12: Deployment default/app",
                "1 JSON file with comments",
                "1 JSON file that is not Kubernetes",
            ],
        },
    ),
    (
        "a base and two overlays",
        Shape {
            files: &[
                ("base/kustomization.yaml", "resources: [app.yaml]\n"),
                ("base/app.yaml", "@app"),
                (
                    "overlays/dev/kustomization.yaml",
                    "resources: [../../base]\nimages: [{name: app, newName: REG/team/app, newTag: dev}]\n",
                ),
                (
                    "overlays/prod/kustomization.yaml",
                    "resources: [../../base]\nimages: [{name: app, newName: REG/team/app, newTag: gone}]\n",
                ),
            ],
            code: 1,
            counts: "2 images: 1 pulls, 1 denied",
            says: &["kustomize (overlays/prod/kustomization.yaml) names it REG/team/app:gone"],
        },
    ),
    (
        "charts",
        Shape {
            files: &[
                ("charts/a/Chart.yaml", "apiVersion: v2\nname: a\nversion: 1.0.0\n"),
                ("charts/a/values.yaml", "image: {repository: REG/team/a, tag: gone}\n"),
                ("charts/a/ci/test-values.yaml", "image: {tag: v1}\n"),
                ("charts/a/templates/app.yaml", "image: {{ .Values.image.repository }}\n"),
                ("charts/a/templates/_helpers.tpl", "{{- define \"x\" }}{{ end }}\n"),
                ("charts/b/Chart.yaml", "apiVersion: v2\nname: b\nversion: 1.0.0\n"),
                ("charts/b/values.yaml", "replicas: 1\n"),
                ("charts/b/templates/app.yaml", "{{- if .Values.x }}\n{{- end }}\n"),
            ],
            code: 0,
            counts: "1 image: 1 with a warning",
            says: &[
                "2 Helm templates in 2 charts: render them, or use --render",
                "at charts/a/values.yaml:1",
            ],
        },
    ),
    (
        "a cluster by Flux",
        Shape {
            files: &[
                (
                    "clusters/prod/apps.yaml",
                    "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec: {path: ./apps, postBuild: {substitute: {TAG: v1}}}\n",
                ),
                ("apps/app.yaml", "@REG/team/app:${TAG}"),
                (
                    "apps/redis.yaml",
                    "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: redis}\nspec: {chart: {spec: {chart: redis, sourceRef: {kind: HelmRepository, name: x}}}}\n",
                ),
                (
                    "apps/secret.sops.yaml",
                    "apiVersion: v1\nkind: Secret\nmetadata: {name: regcred}\ntype: kubernetes.io/dockerconfigjson\ndata:\n  .dockerconfigjson: ENC[AES256_GCM,data:x]\nsops:\n  mac: ENC[x]\n  lastmodified: '2026-01-01T00:00:00Z'\n",
                ),
            ],
            code: 0,
            counts: "1 image: 1 pulls",
            says: &["1 HelmRelease or Application", "1 encrypted (SOPS) file"],
        },
    ),
    (
        "an app of apps by Argo CD",
        Shape {
            files: &[
                (
                    "root.yaml",
                    "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: root}\nspec: {source: {repoURL: 'https://a.example/x.git', path: apps}}\n",
                ),
                (
                    "sets.yaml",
                    "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: all}\nspec: {generators: [], template: {metadata: {name: '{{name}}'}, spec: {source: {path: '{{path}}'}}}}\n",
                ),
                ("apps/app.yaml", "@REG/team/app:v1"),
                (".github/workflows/ci.yaml", "on: push\njobs: {}\n"),
            ],
            code: 0,
            counts: "1 image: 1 pulls",
            says: &["2 HelmReleases and Applications", "1 CI workflow"],
        },
    ),
    (
        "templates of sed",
        Shape {
            files: &[
                (
                    "k8s/set.yaml",
                    "apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: @NAME@\n",
                ),
                ("k8s/app.yaml", "@REG/team/app:v1"),
            ],
            code: 0,
            counts: "1 image: 1 pulls",
            says: &["1 template that is not rendered (k8s/set.yaml): render them first"],
        },
    ),
    (
        "an operator",
        Shape {
            files: &[
                ("PROJECT", "domain: example.com\nlayout: [go.kubebuilder.io/v4]\n"),
                ("config/manager/manager.yaml", "@controller:latest"),
                ("config/manager/kustomization.yaml", "resources: [manager.yaml]\n"),
                ("config/default/kustomization.yaml", "resources: [../manager, ../crd]\n"),
                ("config/crd/kustomization.yaml", "resources: [bases/x.yaml]\n"),
                (
                    "config/crd/bases/x.yaml",
                    "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: xs.example.com}\nspec: {group: example.com}\n",
                ),
            ],
            code: 0,
            counts: "1 image: 1 could not be checked",
            says: &["filled in later, by kubebuilder's make deploy"],
        },
    ),
    (
        "services that Skaffold builds",
        Shape {
            files: &[
                (
                    "skaffold.yaml",
                    "apiVersion: skaffold/v4beta11\nkind: Config\nbuild: {artifacts: [{image: frontend}]}\nmanifests: {rawYaml: [k8s/*.yaml]}\n",
                ),
                ("k8s/frontend.yaml", "@frontend"),
                ("k8s/redis.yaml", "@REG/library/redis:7"),
                ("docker-compose.yml", "services: {redis: {image: redis}}\n"),
            ],
            code: 0,
            counts: "2 images: 1 pulls, 1 could not be checked",
            says: &["filled in later, by Skaffold, which builds it", "1 compose file"],
        },
    ),
    (
        "no manifests at all",
        Shape {
            files: &[
                ("mkdocs.yml", "site_name: x\n"),
                (".gitlab-ci.yml", "test: {script: [make]}\n"),
                ("docs/empty.yaml", "# nothing yet\n---\n"),
            ],
            code: 0,
            counts: "0 images",
            says: &[
                "there is no image in the input: nothing was checked",
                "1 CI workflow",
                "1 YAML file that is not Kubernetes",
            ],
        },
    ),
    (
        "templates of other tools",
        Shape {
            files: &[
                (
                    "{{cookiecutter.name}}/k8s/app.yaml",
                    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ cookiecutter.name }}\n  {% if x %}\n  labels: {}\n  {% endif %}\n",
                ),
                (
                    "roles/x/templates/app.yaml",
                    "apiVersion: apps/v1\nkind: Deployment\nspec: {{ spec | to_yaml }}\n",
                ),
                (
                    "dump.json",
                    "[{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}, \"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"REG/team/app:v1\"}]}}]\n",
                ),
                (
                    "windows.yaml",
                    "\u{feff}apiVersion: v1\r\nkind: Pod\r\nmetadata: {name: w}\r\nspec:\r\n  containers:\r\n  - name: c\r\n    image: REG/team/app:v2\r\n    image: REG/team/app:v3\r\n",
                ),
            ],
            code: 0,
            counts: "2 images: 2 pull",
            says: &[
                "2 templates that are not rendered (first: ",
                "1 key given twice: the last one counts",
            ],
        },
    ),
    (
        "a dump of what fails",
        Shape {
            files: &[(
                "pods.yaml",
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a-1, namespace: shop, ownerReferences: [{kind: ReplicaSet, name: a, apiVersion: apps/v1, controller: true}]}\n  spec: {containers: [{name: c, image: REG/team/gone:v1}]}\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a-2, namespace: shop, ownerReferences: [{kind: ReplicaSet, name: a, apiVersion: apps/v1, controller: true}]}\n  spec: {containers: [{name: c, image: REG/team/gone:v1}]}\n",
            )],
            code: 1,
            counts: "2 images: 2 denied",
            says: &[
                "at pods.yaml:7: Pod shop/a-1, container c",
                "at pods.yaml:11: Pod shop/a-2, container c",
            ],
        },
    ),
];

fn build(folder: &Path, shape: &Shape, host: &str) {
    for (name, text) in shape.files {
        let text = match text.strip_prefix('@') {
            Some(image) => DEPLOYMENT.replace("IMAGE", image),
            None => (*text).to_owned(),
        };
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text.replace("REG", host)).unwrap();
    }
}

#[test]
fn ten_shapes_of_repositories_end_for_the_right_reasons() {
    let (_runtime, server) = registry();
    let host = server.host();
    for (name, shape) in SHAPES {
        let folder = tempfile::tempdir().unwrap();
        build(folder.path(), shape, &host);
        let output = pullgate()
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .args(["check", "-R", ".", "--platform", "amd64"])
            .output()
            .unwrap();
        let (out, told) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(output.status.code(), Some(shape.code), "{name}: {out}{told}");
        assert!(out.ends_with(&format!("{}\n", shape.counts)), "{name}: {out}{told}");
        for part in shape.says {
            let part = part.replace("REG", &host);
            assert!(out.contains(&part) || told.contains(&part), "{name}: {part}\n{out}{told}");
        }
        assert!(told.lines().count() <= 8, "{name}: {told}");
        // And pin damages nothing: what it would write, it says, and everything else stays.
        let before: Vec<Vec<u8>> = shape
            .files
            .iter()
            .map(|(name, _)| fs::read(folder.path().join(name)).unwrap())
            .collect();
        let pinned = pullgate()
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .args(["pin", "-R", ".", "--write"])
            .output()
            .unwrap();
        assert!(
            matches!(pinned.status.code(), Some(0 | 1)),
            "{name}: {}",
            String::from_utf8_lossy(&pinned.stderr)
        );
        for ((file, _), before) in shape.files.iter().zip(before) {
            let after = fs::read(folder.path().join(file)).unwrap();
            let without: String = strip_digests(&String::from_utf8_lossy(&after));
            assert_eq!(without, String::from_utf8_lossy(&before), "{name}: {file}");
        }
    }
}

/// The text without `@sha256:…` and without `digest` beside a tag.
fn strip_digests(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("sha256:") {
        let (before, digest) = rest.split_at(at);
        let before = before
            .strip_suffix('@')
            .or_else(|| before.strip_suffix(", digest: "))
            .unwrap_or(before);
        out.push_str(before.strip_suffix(":latest").unwrap_or(before));
        rest = digest.get("sha256:".len() + 64..).unwrap_or_default();
    }
    out + rest
}

#[test]
fn images_in_the_values_of_releases_are_judged() {
    let (_runtime, server) = registry();
    let folder = tempfile::tempdir().unwrap();
    let release = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web, namespace: shop}\nspec:\n  chartRef: {kind: OCIRepository, name: app}\n  values:\n    controllers:\n      web:\n        image:\n          repository: REG/team/app\n          tag: v1\n      late: {image: {repository: REG/team/gone, tag: v1}}\n      off: {enabled: false, image: {repository: REG/team/off, tag: v1}}\n---\napiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: api}\nspec:\n  sources:\n  - {chart: x, repoURL: 'https://charts.example', helm: {valuesObject: {image: 'REG/team/gone:2', tags: {repository: x, tag: 1.10}}}}\n";
    let text = release.replace("REG", &server.host());
    fs::write(folder.path().join("web.yaml"), text).unwrap();
    let output = pullgate()
        .args(["check", "-R", "."])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let (out, told) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{out}{told}");
    assert!(out.ends_with("3 images: 1 pulls, 2 with a warning\n"), "{out}");
    assert!(out.contains("at web.yaml:12: HelmRelease shop/web"), "{out}");
    assert!(out.contains("at web.yaml:20: Application default/api"), "{out}");
    assert!(
        told.contains("(web.yaml:20: spec.sources[0].helm.valuesObject.tags.tag is 1.1)"),
        "{told}"
    );
}

#[test]
fn what_scripts_fill_in_and_templates_that_are_named_are_remarks() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("app/templates")).unwrap();
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  clusterIP: ";
    for (name, text) in [
        ("app/Chart.yaml", "name: app\n".to_owned()),
        (
            "app/templates/a.yaml",
            format!("{service}{{{{ .Values.ip }}}}\n  {{{{- end }}}}\n"),
        ),
        ("service.yaml", format!("{service}{{PREFIX}}.16\n")),
        (
            "list.json",
            "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n  %s,\n  %s\n]}\n".to_owned(),
        ),
    ] {
        fs::write(at(name), text).unwrap();
    }
    let check = |arguments: &[&str]| {
        let output = pullgate()
            .arg("check")
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = check(&["-R", "."]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("2 templates that are not rendered"), "{told}");
    // As pre-commit names what changes.
    let (code, told) = check(&["app/templates/a.yaml"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("1 Helm template in 1 chart: render them"), "{told}");
    assert_eq!(check(&["service.yaml"]).0, Some(2));
}

/// Whoever writes a repository may not choose where on this machine its reports go.
#[test]
fn a_repository_does_not_lead_out_of_itself() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n").unwrap();
    fs::create_dir(at("k8s")).unwrap();
    symlink(outside.path().join("report"), at("dangling")).unwrap();
    symlink(outside.path(), at("elsewhere")).unwrap();
    symlink("k8s", at("here")).unwrap();
    for (line, code) in [
        ("files: [elsewhere]", 2),
        ("files: [a.yaml]\noutput: [sarif=dangling]", 2),
        ("files: [a.yaml]\noutput: [sarif=elsewhere/new/report]", 2),
        ("files: [a.yaml]\nbaseline: dangling", 2),
        ("files: [a.yaml]\noutput: [sarif=here/report]", 0),
    ] {
        fs::write(at(".pullgate.yaml"), format!("{line}\n")).unwrap();
        let output = pullgate().arg("check").current_dir(folder.path()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {told}");
        assert_eq!(
            told.contains("is a link that leads out of the repository"),
            code == 2,
            "{line}: {told}"
        );
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(at("k8s/report").is_file());
    // What cannot be read is said once.
    fs::write(at(".pullgate.yaml"), "files: [a.yaml]\nbaseline: b.json\n").unwrap();
    let output = pullgate().arg("check").current_dir(folder.path()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told.matches("No such file").count(), 1, "{told}");
}

#[test]
fn what_never_ends_or_leads_nowhere_is_a_remark() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), pod("a", "169.254.0.1/a:1")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("b.yaml")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(folder.path().join("c.yaml"))
        .status()
        .unwrap();
    assert!(made.success());
    let output = pullgate()
        .current_dir(folder.path())
        .args(["check", "-R", "."])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(
        told.contains("1 FIFO, socket or device") && told.contains("1 link that leads nowhere"),
        "{told}"
    );
}

/// The last file of many is a pipe that nobody writes before the registry has been asked for the image of the first.
#[test]
fn images_are_asked_for_while_files_are_still_being_read() {
    asked_early(&[]);
}

#[test]
fn images_are_asked_for_early_where_facts_nodes_and_policies_are_given() {
    let given = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let file = given.path().join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let account = file(
        "facts.yaml",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: default}\n",
    );
    let node = file(
        "node.yaml",
        "apiVersion: v1\nkind: Node\nmetadata: {name: node-1, labels: {kubernetes.io/arch: amd64, kubernetes.io/os: linux}}\n",
    );
    let policy = file(
        "policy.yaml",
        "apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: p}\nspec: {registries: {deny: [evil.example/**]}}\n",
    );
    asked_early(&["--facts", &account, "--nodes", &node, "--policies", &policy]);
}

#[test]
fn images_are_asked_for_early_of_a_complete_set() {
    asked_early(&["--complete"]);
}

/// The same of what changed: the pipe is not among it, nor is a file that was there before.
#[test]
fn images_are_asked_for_early_of_files_that_changed() {
    let (_runtime, server) = registry();
    let host = server.host();
    let folder = many_files();
    fs::write(folder.path().join("b.yaml"), pod("old", &format!("{host}/team/old:v1"))).unwrap();
    for arguments in [
        &["init", "-q"][..],
        &["add", "."],
        &["-c", "user.name=a", "-c", "user.email=a@b.test", "commit", "-qm", "one"],
    ] {
        let done = std::process::Command::new("git")
            .current_dir(folder.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    fs::write(folder.path().join("a.yaml"), pod("first", &format!("{host}/team/first:v1"))).unwrap();
    let (code, out, told) = until_asked(folder.path(), &server, &["--since", "HEAD"]);
    assert_eq!(code, Some(0), "{out}{told}");
    assert!(out.ends_with("1 image: 1 pulls\n"), "{out}");
    assert!(!server.seen().iter().any(|seen| seen.path.contains("team/old")));
}

fn many_files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for at in 0..400 {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{at}}}\n");
        fs::write(folder.path().join(format!("c{at}.yaml")), text).unwrap();
    }
    folder
}

fn asked_early(also: &[&str]) {
    let (_runtime, server) = registry();
    let host = server.host();
    let folder = many_files();
    fs::write(folder.path().join("a.yaml"), pod("first", &format!("{host}/team/first:v1"))).unwrap();
    let (code, out, told) = until_asked(folder.path(), &server, also);
    assert_eq!(code, Some(1), "{out}{told}");
    assert!(out.ends_with("2 images: 1 pulls, 1 denied\n"), "{out}");
    let mut asked: Vec<String> = server
        .lines()
        .into_iter()
        .filter(|line| line.contains("team/first"))
        .collect();
    asked.sort();
    let all = asked.len();
    asked.dedup();
    assert_eq!(asked.len(), all, "what was asked early is not asked again");
}

/// Runs `check` on the files and a pipe, into which is written once the registry has been asked for the first image.
fn until_asked(folder: &Path, server: &crate::faulty::Faulty, also: &[&str]) -> (Option<i32>, String, String) {
    let pipe = folder.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = pullgate();
    command.current_dir(folder).env("HOME", folder);
    let running = command
        .args(["check", "--platform", "amd64", ".", "pipe"])
        .args(also)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !server.seen().iter().any(|seen| seen.path.contains("team/first")) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fs::write(&pipe, pod("last", &format!("{}/team/gone:v1", server.host()))).unwrap();
    let output = running.wait_with_output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), out.into_owned(), told.into_owned())
}

#[test]
fn what_is_easily_overlooked_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("a.yaml", &pod("a", "169.254.0.1/team/a:1"));
    write("sub/b.yaml", &pod("b", "169.254.0.1/team/b:1"));
    write("charts/app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n");
    write("charts/app/values.yaml", "image:\n  repository: team/app\n  tag: 1.10\n");
    write(
        "apps/web.yaml",
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web}\nspec: {values: {image: {tag: v1}}}\n",
    );
    write(
        ".nodes/n.yaml",
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {nodeInfo: {operatingSystem: linux}}\n",
    );
    let told = |arguments: &[&str]| {
        let output = pullgate()
            .current_dir(folder.path())
            .arg("check")
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let flat = told(&["."]);
    assert!(
        flat.contains("files in its subfolders are not read: add -R to read them\n"),
        "{flat}"
    );
    let all = told(&["-R", "."]);
    assert!(!all.contains("subfolders"), "{all}");
    assert!(
        all.contains("not judged (charts/app/values.yaml:3: image.tag is 1.1): quote such tags\n"),
        "{all}"
    );
    assert!(
        all.contains("(apps/web.yaml: HelmRelease web): --render renders those whose chart is in the repository\n"),
        "{all}"
    );
    let nodes = told(&["a.yaml", "--nodes", ".nodes"]);
    assert!(
        nodes.contains("no image is checked for n1: neither status.nodeInfo nor the label"),
        "{nodes}"
    );
}

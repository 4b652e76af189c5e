use super::object::{flatten, numeric_images, settle};
use super::*;
use serde_json::json;
use std::fs;

fn kinds() -> Kinds {
    Kinds::with(&[])
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

fn read_with(folder: &Path, sift: &Filter) -> Manifests {
    let reading = ReadOptions {
        walk: Walk::Recursive,
        sift,
        namespace: "shop",
        stdin_name: "-",
        kinds: &kinds(),
        keep: Keep::Objects,
        render: false,
    };
    Manifests::read(&[folder.display().to_string()], &reading)
}

fn images(manifests: &Manifests) -> Vec<String> {
    let uses = |subject: &ManifestObject| {
        let uses = subject.workload.templates.iter().flat_map(|template| &template.uses);
        uses.map(|image| image.image.clone()).collect::<Vec<_>>()
    };
    manifests.subjects.iter().flat_map(uses).collect()
}

fn passed(manifests: &Manifests) -> Vec<NoteKind> {
    manifests.notes.iter().map(|note| note.passed).collect()
}

fn pod(image: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - name: a\n    image: {image}\n")
}

#[test]
fn a_kind_that_the_api_server_does_not_have_is_said() {
    let of = |version: &str, kind: &str| format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n---\n");
    let text = of("apps/v1", "Pod")
        + &of("v1", "Deployment")
        + &of("apps/v1", "deployment")
        + &of("batch.volcano.sh/v1alpha1", "Job")
        + &of("v1", "ConfigMap");
    let folder = folder(&[("a.yaml", &text)]);
    let manifests = read_with(folder.path(), &Filter::default());
    assert!(manifests.errors.is_empty(), "{:?}", manifests.errors);
    let notes: Vec<_> = manifests.notes.iter().collect();
    assert!(notes.iter().all(|note| note.passed == NoteKind::NoSuchKind), "{notes:?}");
    let said: Vec<(Option<usize>, &str)> = notes.iter().map(|note| (note.line, note.what.as_str())).collect();
    assert_eq!(
        said,
        [
            (Some(1), "apps/v1 Pod: Kubernetes has Pod in the core group"),
            (Some(5), "v1 Deployment: Kubernetes has Deployment in apps"),
            (Some(9), "apps/v1 deployment: Kubernetes has Deployment in apps"),
        ]
    );
}

#[test]
fn a_path_that_leads_to_no_text_is_an_error_with_its_place() {
    let text = "apiVersion: example.com/v1\nkind: App\nmetadata: {name: a}\nspec:\n  tool:\n    image: {repository: a, tag: b}\n";
    let folder = folder(&[("app.yaml", text), ("pod.yaml", &pod("nginx:1"))]);
    let image = crate::workload::Route::parse("spec.tool.image").unwrap();
    let kinds = Kinds::with(&[crate::workload::Configured {
        group: "example.com".to_owned(),
        kind: "App".to_owned(),
        pod_specs: Vec::new(),
        images: vec![image],
        scope: None,
    }]);
    let reading = ReadOptions {
        walk: Walk::Recursive,
        sift: &Filter::default(),
        namespace: "shop",
        stdin_name: "-",
        kinds: &kinds,
        keep: Keep::Objects,
        render: false,
    };
    let manifests = Manifests::read(&[folder.path().display().to_string()], &reading);
    let errors: Vec<&str> = manifests.errors.iter().map(|error| error.message.as_str()).collect();
    assert_eq!(
        errors,
        [
            "line 6: spec.tool.image of this App is an object, not the name of an image: correct it, or the path in `workloads` of the settings"
        ]
    );
    assert_eq!(images(&manifests), ["nginx:1"], "everything else is judged");
}

#[test]
fn lists_are_flattened_and_namespaces_settled() {
    let list = json!({"kind": "List", "items": [
        {"kind": "Pod", "metadata": {"name": "a"}}, {"kind": "PodList", "items": [{"kind": "Pod", "metadata": {"namespace": "x"}}]},
        {"kind": "Node", "metadata": {"name": "n"}},
        {"apiVersion": "batch/v1", "kind": "JobList", "items": [{"metadata": {"name": "untyped"}}]}]});
    let all: Vec<(String, Value)> = flatten(list, String::new())
        .into_iter()
        .map(|(prefix, object)| (prefix, settle(object, "shop")))
        .collect();
    let shown: Vec<(&str, Option<&str>)> = all
        .iter()
        .map(|(prefix, object)| (prefix.as_str(), object["metadata"]["namespace"].as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("items[0].", Some("shop")),
            ("items[1].items[0].", Some("x")),
            ("items[2].", None),
            ("items[3].items[0].", Some("shop"))
        ]
    );
    let (_, untyped) = all.last().unwrap();
    assert_eq!(
        (&untyped["kind"], &untyped["apiVersion"]),
        (&"Job".into(), &"batch/v1".into())
    );
}

#[test]
fn a_repository_is_read_as_it_is() {
    let broken_template = "apiVersion: v1\nkind: Pod\nmetadata:\n  {{- if .Values.x }}\n  name: {{ .Values.y }}\n";
    let folder = folder(&[
        ("k8s/pod.yaml", &pod("good:1")),
        ("charts/a/Chart.yaml", "apiVersion: v2\nname: a\n"),
        ("charts/a/values.yaml", "image: {repository: x, tag: v1}\n"),
        ("charts/a/templates/pod.yaml", broken_template),
        ("charts/a/templates/sub/plain.yaml", &pod("plain:1")),
        ("charts/a/templates/tpl.yaml", &pod("'{{ .Values.image }}'")),
        ("cluster/gen.yaml", broken_template),
        (".github/workflows/ci.yml", "on: push\njobs: {}\n"),
        ("tsconfig.json", "{\n // x\n \"a\": 1}\n"),
        ("package.json", "{\"name\": \"kind\"}\n"),
        ("compose.yaml", "services: {a: {image: b}}\n"),
        (
            "secret.sops.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: 'ENC[AES256_GCM,x]'}\nsops: {mac: x}\n",
        ),
        ("empty.yaml", "# nothing\n---\n"),
        ("mkdocs.yml", "a: [\n"),
        ("node.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: n}\n"),
        ("kustomization.yaml", "resources: [k8s]\n"),
        (
            "flux/app.yaml",
            "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: r}\nspec: {}\n",
        ),
        ("vendor/x.yaml", &pod("vendored:1")),
        (".gitignore", "vendor/\n"),
        (".git/x.yaml", &pod("git:1")),
    ]);
    let manifests = read_with(folder.path(), &Filter::default());
    assert_eq!(images(&manifests), ["plain:1", "x:v1", "good:1"]);
    assert_eq!(manifests.subjects[1].line_of("image.repository"), 1);
    assert!(manifests.errors.is_empty(), "{:?}", manifests.errors);
    let mut kinds = passed(&manifests);
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            NoteKind::HelmTemplate,
            NoteKind::Template,
            NoteKind::ChartFile,
            NoteKind::Workflow,
            NoteKind::Compose,
            NoteKind::JsonWithComments,
            NoteKind::Json,
            NoteKind::Yaml,
            NoteKind::Release,
            NoteKind::Encrypted,
        ]
    );
    let lines = manifests.notes.summary();
    assert_eq!(lines.len(), 8, "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.starts_with("2 Helm templates in 1 chart: ")),
        "{lines:#?}"
    );
    assert!(lines.last().unwrap().ends_with("(-v names them)"), "{lines:#?}");
    // Kept as facts: the kustomization, the Node, and the Secret, although it cannot be decrypted.
    assert_eq!(manifests.objects.len(), 3);

    let all = read_with(
        folder.path(),
        &Filter {
            no_gitignore: true,
            exclude: vec!["charts/".to_owned()],
            ..Filter::default()
        },
    );
    assert_eq!(images(&all), ["good:1", "vendored:1"]);
    let some = read_with(
        folder.path(),
        &Filter {
            include: vec!["k8s/*.yaml".to_owned()],
            ..Filter::default()
        },
    );
    assert_eq!(images(&some), ["good:1"]);
    assert!(some.notes.is_empty());
}

#[test]
fn what_is_broken_and_was_meant_for_a_cluster_is_an_error() {
    let folder = folder(&[
        (
            "a.yaml",
            &format!(
                "{}---\napiVersion: v1\nkind: Pod\nspec: [\n---\n{}",
                pod("one:1"),
                pod("two:1")
            ),
        ),
        ("number.yaml", &pod("1.25")),
    ]);
    let manifests = read_with(folder.path(), &Filter::default());
    assert_eq!(images(&manifests)[..2], ["one:1", "two:1"]);
    let [broken, number] = &manifests.errors[..] else {
        panic!("{:?}", manifests.errors)
    };
    assert!(broken.to_string().contains("a.yaml: line 1"), "{broken}");
    assert!(
        number
            .to_string()
            .ends_with("line 7: spec.containers[0].image is the number 1.25, which the API server refuses: write it in quotes"),
        "{number}"
    );
}

#[test]
fn what_is_not_a_file_is_a_note_and_never_waited_for() {
    let folder = folder(&[("a.yaml", &pod("one:1"))]);
    let at = |name: &str| folder.path().join(name);
    assert!(
        std::process::Command::new("mkfifo")
            .arg(at("pipe.yaml"))
            .status()
            .unwrap()
            .success()
    );
    let _socket = std::os::unix::net::UnixListener::bind(at("socket.yaml")).unwrap();
    std::os::unix::fs::symlink("/nowhere", at("link.yaml")).unwrap();
    std::os::unix::fs::symlink("a.yaml", at("again.yaml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("zero.yaml")).unwrap();
    fs::write(at("latin.yaml"), b"a: \xe9\n").unwrap();
    let manifests = read_with(folder.path(), &Filter::default());
    assert_eq!(images(&manifests), ["one:1"]);
    assert!(manifests.errors.is_empty());
    assert_eq!(
        passed(&manifests),
        [
            NoteKind::NotText,
            NoteKind::NotRegular,
            NoteKind::NotRegular,
            NoteKind::NotRegular,
            NoteKind::DanglingLink
        ]
    );
}

#[test]
fn a_file_that_a_person_named_is_read_or_an_error() {
    let folder = folder(&[
        ("t.yaml", "apiVersion: v1\nkind: Pod\n{{ x }}\n"),
        ("v.yaml", "a: 1\n"),
        ("n.yaml", "kind: Node\napiVersion: v1\nmetadata: {name: n}\n"),
    ]);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let reading = ReadOptions {
        walk: Walk::Recursive,
        sift: &Filter::default(),
        namespace: "shop",
        stdin_name: "-",
        kinds: &kinds(),
        keep: Keep::Objects,
        render: false,
    };
    let manifests = Manifests::read(
        &[at("t.yaml"), at("v.yaml"), at("n.yaml"), at("n.yaml"), at("gone.yaml")],
        &reading,
    );
    assert_eq!(manifests.errors.len(), 2, "{:?}", manifests.errors);
    assert_eq!(passed(&manifests), [NoteKind::Yaml]);
    assert_eq!(manifests.objects.len(), 1, "given twice, read once");
}

#[test]
fn of_a_key_given_twice_the_last_counts_and_is_noted() {
    let folder = folder(&[("a.yaml", &format!("{}    image: two:2\n", pod("one:1")))]);
    let manifests = read_with(folder.path(), &Filter::default());
    assert_eq!(images(&manifests), ["two:2"]);
    let lines = manifests.notes.summary();
    assert!(
        lines[0].starts_with("1 key given twice: the last one counts (") && lines[0].ends_with("a.yaml:8: image)"),
        "{lines:?}"
    );
}

#[test]
fn an_array_of_objects_is_a_list_and_a_patch_is_not() {
    let object = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"a","image":"x:1"}]}}"#;
    let folder = folder(&[
        ("a.json", &format!("[{object},\n{object}]")),
        ("patch.yaml", "# apiVersion\n- {op: replace, path: /x, value: 1}\n"),
    ]);
    let manifests = read_with(folder.path(), &Filter::default());
    assert_eq!(images(&manifests), ["x:1", "x:1"]);
    assert_eq!(manifests.subjects[1].line_of("spec.containers[0].image"), 2);
    assert_eq!(passed(&manifests), [NoteKind::Yaml]);
}

#[test]
fn numbers_as_images_are_found_wherever_containers_are() {
    let job =
        json!({"spec": {"template": {"spec": {"initContainers": [{"image": 5}], "containers": [{"image": "5"}, {"image": 1.5}]}}}});
    assert_eq!(
        numeric_images(&job),
        [
            ("spec.template.spec.containers[1].image".to_owned(), "1.5".to_owned()),
            ("spec.template.spec.initContainers[0].image".to_owned(), "5".to_owned())
        ]
    );
}

#[test]
fn a_comment_beside_an_image_goes_with_it() {
    let folder = folder(&[(
        "a.yaml",
        &format!(
            "{} # pullgate: ignore TagNotFound because x\n---\n{} # pullgate: ignore Nothing because x\n",
            pod("one:1").trim_end(),
            pod("two:1").trim_end()
        ),
    )]);
    let manifests = read_with(folder.path(), &Filter::default());
    let [one, two] = &manifests.subjects[..] else {
        panic!("{manifests:?}")
    };
    assert_eq!(&*one.ignores[0].0, "spec.containers[0].image");
    assert_eq!(one.ignores[0].1.because, "x");
    assert!(two.ignores.is_empty());
    assert_eq!(passed(&manifests), [NoteKind::Comment]);
}

#[test]
fn of_config_maps_those_of_openshift_are_kept() {
    let map = |namespace: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca, namespace: {namespace}}}\ndata: {{a: x}}\n")
    };
    let folder = folder(&[
        ("a.yaml", &format!("{}---\n{}", map("openshift-config"), map("shop"))),
        (
            "list.yaml",
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: openshift-config}}\n",
        ),
    ]);
    let manifests = read_with(folder.path(), &Filter::default());
    let names: Vec<&str> = manifests
        .objects
        .iter()
        .filter_map(|one| one.object["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["ca", "b"]);
}

#[test]
fn a_text_in_utf_16_is_read_by_its_mark() {
    let text = "apiVersion: v1\nkind: Pod\nnote: \u{e4}\u{1f600}\n";
    let units: Vec<u16> = std::iter::once(0xfeff).chain(text.encode_utf16()).collect();
    let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    for bytes in [little, big] {
        assert_eq!(super::decode(bytes.clone(), true).as_deref(), Some(text));
        assert_eq!(super::decode(bytes, false), None, "it could not be edited");
    }
    assert_eq!(super::decode(text.as_bytes().to_vec(), true).as_deref(), Some(text));
    assert_eq!(super::decode(vec![0xff, 0xfe, 0x00], true).as_deref(), Some(""));
}

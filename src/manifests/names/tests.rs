use crate::manifests::{Filter, Keep, Manifests, Note, ReadOptions, Walk};
use crate::workload::{Kinds, Later, PullPolicy};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn read(folder: &Path) -> Manifests {
    let (sift, kinds) = (Filter::default(), Kinds::default());
    let reading = ReadOptions {
        walk: Walk::Recursive,
        sift: &sift,
        namespace: "default",
        kinds: &kinds,
        keep: Keep::Objects,
        render: false,
        stdin_name: "-",
    };
    Manifests::read(&[folder.display().to_string()], &reading)
}

/// Each image of the set: `NAME`, `NAME -> NEW` or `NAME later by WHOM`, with its pull policy.
fn names(manifests: &Manifests) -> Vec<(String, PullPolicy)> {
    let uses = manifests
        .subjects
        .iter()
        .flat_map(|subject| &subject.workload.templates)
        .flat_map(|template| &template.uses);
    uses.map(|image| {
        let text = match image.later.as_deref() {
            None => image.image.clone(),
            Some(Later::Named { name, .. }) => format!("{} -> {name}", image.image),
            Some(Later::FilledIn { what, by }) => format!("{} later: {what} by {by}", image.image),
        };
        (text, image.pull_policy)
    })
    .collect()
}

fn texts(files: &[(&str, &str)]) -> Vec<String> {
    let folder = folder(files);
    names(&read(folder.path())).into_iter().map(|(name, _)| name).collect()
}

fn deployment(image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: app}}\nspec: {{template: {{spec: {{containers: [{{name: app, image: '{image}'}}]}}}}}}\n"
    )
}

#[test]
fn placeholders_of_files_are_filled_in_later() {
    for (image, later) in [
        ("reg/app:${TAG}", "${TAG} by envsubst or Flux"),
        ("${IMAGE}", "${IMAGE} by envsubst or Flux"),
        ("reg/app:${TAG:-v1}", "${TAG:-v1} by envsubst or Flux"),
        ("$IMAGE", "$IMAGE by envsubst or Flux"),
        ("{{ image }}", "{{ image }} by a template engine (Helm, for example)"),
        ("ko://example.com/cmd/app", "ko://example.com/cmd/app by ko, which builds it"),
        ("managed", "managed by the operator that manages it"),
    ] {
        assert_eq!(texts(&[("a.yaml", &deployment(image))]), [format!("{image} later: {later}")]);
    }
    for image in ["$(TAG)", "<image>", "controller:latest", "nginx:1.25"] {
        assert_eq!(texts(&[("a.yaml", &deployment(image))]), [image]);
    }
}

#[test]
fn the_set_says_who_fills_them_in() {
    let flux = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec: {postBuild: {substituteFrom: [{kind: Secret, name: vars}]}}\n";
    let app = deployment("reg/app:${TAG}");
    let found = texts(&[("a.yaml", &app), ("flux.yaml", flux)]);
    assert_eq!(
        found,
        ["reg/app:${TAG} later: ${TAG} by Flux (postBuild of Kustomization apps)"]
    );

    let app = deployment("{{ .Values.image }}");
    let found = texts(&[("chart/Chart.yaml", "name: c"), ("chart/x/a.yaml", &app)]);
    assert_eq!(found, ["{{ .Values.image }} later: {{ .Values.image }} by Helm"]);

    let app = deployment("$(IMAGE)");
    let found = texts(&[
        ("a.yaml", &app),
        ("kustomization.yaml", "resources: [a.yaml]\nvars: [{name: IMAGE}]\n"),
    ]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("$(IMAGE) later: $(IMAGE) by kustomize (vars of "),
        "{found:?}"
    );

    let workflow = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {templates: [{name: a, container: {image: '{{x}}'}}]}\n";
    assert_eq!(texts(&[("a.yaml", workflow)]), ["{{x}}"], "its kind says by whom");
}

#[test]
fn flux_fills_in_what_its_object_says() {
    let flux = |name: &str, path: &str, build: &str| {
        format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}}}\nspec: {{path: {path}, postBuild: {build}}}\n"
        )
    };
    let app = &deployment("${REG:=reg.example}/app:${TAG}");
    let v1 = &flux("apps", "./apps", "{substitute: {TAG: v1}}");
    let v2 = &flux("more", "./apps", "{substitute: {TAG: v2, REG: other.example}}");
    let from = &flux(
        "apps",
        "./apps",
        "{substitute: {TAG: v1}, substituteFrom: [{kind: ConfigMap, name: vars}]}",
    );
    let alone = &flux("apps", "./apps", "{substituteFrom: [{kind: ConfigMap, name: vars}]}");
    let vars = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: vars}\ndata: {TAG: v3}\n";
    let plain = ("apps/a.yaml", app.as_str());
    let built = ("apps/kustomization.yaml", "resources: [a.yaml]\n");
    let patched = (
        "clusters/kustomization.yaml",
        "resources: [f.yaml]\npatches: [{path: p.yaml}]\n",
    );
    let patch = (
        "clusters/p.yaml",
        "kind: Kustomization\nmetadata: {name: apps}\nspec: {postBuild: {substitute: {TAG: v2}}}\n",
    );
    let off = &app.replace(
        "{name: app}",
        "{name: app, labels: {kustomize.toolkit.fluxcd.io/substitute: disabled}}",
    );
    let object = ("clusters/f.yaml", v1.as_str());
    let reg = "reg.example/app:v1";
    for (files, expected) in [
        (vec![plain, object], vec![reg]),
        (vec![plain, built, object], vec![reg]),
        (
            vec![plain, object, ("clusters/g.yaml", v2)],
            vec![reg, "other.example/app:v2"],
        ),
        (vec![plain, ("clusters/f.yaml", from)], vec![]),
        (
            vec![plain, ("clusters/f.yaml", from), ("clusters/vars.yaml", vars)],
            vec![reg],
        ),
        (
            vec![plain, ("clusters/f.yaml", alone), ("clusters/vars.yaml", vars)],
            vec!["reg.example/app:v3"],
        ),
        (
            vec![
                plain,
                ("clusters/f.yaml", alone),
                ("clusters/vars.yaml", vars),
                ("other/vars.yaml", &vars.replace("v3", "v4")),
            ],
            vec![],
        ),
        (
            vec![
                plain,
                ("clusters/f.yaml", alone),
                (
                    "clusters/vars.yaml",
                    &vars.replace("name: vars", "name: vars, namespace: other"),
                ),
            ],
            vec![],
        ),
        (
            vec![
                plain,
                ("clusters/f.yaml", alone),
                ("clusters/vars.yaml", vars),
                (
                    "clusters/kustomization.yaml",
                    "resources: [vars.yaml]\npatches: [{patch: '[{op: replace, path: /data/TAG, value: v4}]', target: {kind: ConfigMap}}]\n",
                ),
            ],
            vec![],
        ),
        (vec![plain, object, patched, patch], vec![]),
        (vec![("apps/a.yaml", off.as_str()), object], vec![]),
        (vec![("elsewhere/a.yaml", app.as_str()), object], vec![]),
    ] {
        let found = texts(&files);
        let named: Vec<&str> = found.iter().filter_map(|name| Some(name.split_once(" -> ")?.1)).collect();
        assert_eq!(named, expected, "{files:?}: {found:?}");
        let later = found
            .iter()
            .filter(|name| name.contains(" later: ${REG:=reg.example} by Flux (postBuild of"));
        assert_eq!(later.count() + named.len(), found.len(), "{files:?}: {found:?}");
    }
    let tag = deployment("app");
    let entry = "resources: [a.yaml]\nimages: [{name: app, newTag: '${TAG}'}]\n";
    let found = texts(&[("apps/a.yaml", &tag), ("apps/kustomization.yaml", entry), object]);
    assert_eq!(found, ["app -> app:v1"], "what kustomize writes is filled in, too");
}

#[test]
fn a_template_gives_its_parameters_values() {
    let template = |parameters: &str| {
        format!(
            "apiVersion: template.openshift.io/v1\nkind: Template\nmetadata: {{name: t}}\nparameters: {parameters}\nobjects: [{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{containers: [{{name: a, image: '${{IMAGE}}:${{TAG}}'}}]}}}}]\n"
        )
    };
    let image = "{name: IMAGE, value: reg.example/app}";
    for (parameters, expected) in [
        (
            format!("[{image}, {{name: TAG, value: v1}}]"),
            "${IMAGE}:${TAG} -> reg.example/app:v1",
        ),
        (format!("[{image}, {{name: TAG}}]"), "${IMAGE}:${TAG}"),
        (
            format!("[{image}, {{name: TAG, generate: expression, from: 'v[0-9]'}}]"),
            "${IMAGE}:${TAG}",
        ),
    ] {
        assert_eq!(texts(&[("t.yaml", &template(&parameters))]), [expected]);
    }
}

#[test]
fn tools_that_build_are_known_by_their_files() {
    let skaffold = "apiVersion: skaffold/v4beta11\nkind: Config\nbuild: {artifacts: [{image: app}]}\nprofiles: [{build: {artifacts: [{image: reg.example/worker}]}}]\n";
    for (file, text) in [
        ("skaffold.yaml", skaffold),
        (
            "Tiltfile",
            "docker_build('app', '.')\ncustom_build(ref='reg.example/worker', command='x')\n",
        ),
        (
            "devspace.yaml",
            "version: v2beta1\nimages: {a: {image: app}, w: {image: reg.example/worker}}\n",
        ),
        (
            "skaffold-dev.yml",
            "apiVersion: skaffold/v2beta1\nkind: Config\nprofiles: [{name: x, patches: [{op: add, path: /build/artifacts/-, value: {image: app}}, {op: replace, path: /build/artifacts, value: [{image: reg.example/worker}]}]}]\n",
        ),
        (
            "dev.tiltfile",
            "IMG = 'app'\ndocker_build(IMG, '.')\ndocker_build('%s/worker' % 'reg.example', '.')\n",
        ),
        (
            "kbld.yaml",
            "apiVersion: kbld.k14s.io/v1alpha1\nkind: Config\nsources: [{image: app}, {image: reg.example/worker}]\n",
        ),
    ] {
        let found = texts(&[
            (file, text),
            ("k8s/a.yaml", &deployment("app")),
            ("k8s/b.yaml", &deployment("reg.example/worker:dev")),
            ("k8s/c.yaml", &deployment("reg.example/other")),
        ]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("app later: app by ") && found[1].starts_with("reg.example/worker:dev later: "),
            "{found:?}"
        );
        assert_eq!(found[2], "reg.example/other");
    }
}

#[test]
fn the_manager_of_a_kubebuilder_project() {
    let manager = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: m, labels: {control-plane: controller-manager}}\nspec: {template: {spec: {containers: [{name: manager, image: 'controller:latest'}]}}}\n";
    let resolved = "resources: [manager.yaml]\nimages: [{name: controller, newName: reg.example/op, newTag: v1}]\n";
    let scaffolded = "resources: [manager.yaml]\nimages: [{name: controller, newName: controller, newTag: latest}]\n";
    let later =
        "controller:latest later: controller:latest by kubebuilder's make deploy (kustomize edit set image controller=IMAGE)";
    for (files, expected) in [
        (vec![("manager.yaml", manager)], later),
        (vec![("manager.yaml", manager), ("kustomization.yaml", scaffolded)], later),
        (
            vec![("manager.yaml", manager), ("kustomization.yaml", resolved)],
            "controller:latest -> reg.example/op:v1",
        ),
    ] {
        assert_eq!(texts(&files), [expected]);
    }
}

#[test]
fn a_kustomization_of_the_set_names_the_image() {
    let app = deployment("app");
    let beside = "resources: [a.yaml]\nimages: [{name: app, newName: R/team/app, newTag: '1'}]\n";
    let folder_of = folder(&[("a.yaml", &app), ("kustomization.yaml", beside)]);
    assert_eq!(
        names(&read(folder_of.path())),
        [("app -> R/team/app:1".to_owned(), PullPolicy::IfNotPresent)]
    );
    // Not its resource.
    assert_eq!(
        texts(&[
            ("a.yaml", &app),
            ("kustomization.yaml", "resources: []\nimages: [{name: app, newTag: '1'}]\n")
        ]),
        ["app"]
    );
    let digest = format!(
        "resources: [a.yaml]\nimages: [{{name: app, digest: 'sha256:{}'}}]\n",
        "0".repeat(64)
    );
    assert_eq!(
        texts(&[("a.yaml", &app), ("kustomization.yaml", &digest)]),
        [format!("app -> app@sha256:{}", "0".repeat(64))]
    );
}

#[test]
fn overlays_work_on_what_their_bases_leave() {
    let app = deployment("app");
    let base = "resources: [a.yaml]\nimages: [{name: app, newName: reg.example/app}]\n";
    let overlay = |tag: &str| format!("resources: [../../base]\nimages: [{{name: reg.example/app, newTag: {tag}}}]\n");
    let (prod, stage) = (overlay("'2'"), overlay("3"));
    let found = texts(&[
        ("base/a.yaml", &app),
        ("base/kustomization.yaml", base),
        ("overlays/prod/kustomization.yaml", &prod),
        ("overlays/stage/kustomization.yaml", &stage),
    ]);
    assert_eq!(found, ["app -> reg.example/app:2", "app -> reg.example/app:3"]);
    // A component, by which one overlay sets the tag.
    let component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nimages: [{name: reg.example/app, newTag: c}]\n";
    let with = "resources: [../base]\ncomponents: [../part]\n";
    let found = texts(&[
        ("base/a.yaml", &app),
        ("base/kustomization.yaml", base),
        ("part/kustomization.yaml", component),
        ("over/kustomization.yaml", with),
    ]);
    assert_eq!(found, ["app -> reg.example/app:c"]);
    // Another tool may have to fill in what it writes.
    let flux = "resources: [a.yaml]\nimages: [{name: app, newName: reg.example/app, newTag: '${TAG}'}]\n";
    assert_eq!(
        texts(&[("a.yaml", &app), ("kustomization.yaml", flux)]),
        ["app later: ${TAG} by envsubst or Flux"]
    );
}

#[test]
fn a_patch_is_where_its_own_name_is_written() {
    for (kind, takes) in [("Component", "components"), ("Kustomization", "resources")] {
        let resources = if kind == "Component" { "" } else { "resources: [../base]\n" };
        let patch = format!("kind: {kind}\n{resources}patches: [{{path: patch.yaml}}]\n");
        let base = if kind == "Component" { "resources: [../base]\n" } else { "" };
        let top = format!("{base}{takes}: [../part]\n");
        let found = texts(&[
            ("base/kustomization.yaml", "resources: [app.yaml]\n"),
            ("base/app.yaml", &deployment("app:1")),
            ("part/kustomization.yaml", &patch),
            ("part/patch.yaml", &deployment("app:2")),
            ("prod/kustomization.yaml", &top),
        ]);
        assert_eq!(found, ["app:1 -> app:2", "app:2"], "{kind}");
    }
}

#[test]
fn patches_and_replacements_name_it_too() {
    let app = deployment("app");
    let strategic = "resources: [a.yaml]\npatches:\n- patch: |\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: app}\n    spec: {template: {spec: {containers: [{name: app, image: reg.example/p:1}]}}}\n";
    let json = "resources: [a.yaml]\npatches:\n- target: {kind: Deployment}\n  patch: '[{op: replace, path: /spec/template/spec/containers/0/image, value: reg.example/p:1}]'\n";
    for text in [strategic, json] {
        assert_eq!(
            texts(&[("a.yaml", &app), ("kustomization.yaml", text)]),
            ["app -> reg.example/p:1"],
            "{text}"
        );
    }
    let other = strategic.replace("name: app}\n    spec", "name: other}\n    spec");
    assert_eq!(texts(&[("a.yaml", &app), ("kustomization.yaml", &other)]), ["app"]);
    let replacements = "resources: [a.yaml]\nreplacements: [{source: {kind: ConfigMap}, targets: [{select: {kind: Deployment}, fieldPaths: ['spec.template.spec.containers.0.image']}]}]\n";
    let found = texts(&[("a.yaml", &app), ("kustomization.yaml", replacements)]);
    assert!(
        found[0].starts_with("app later: app by kustomize (replacements of "),
        "{found:?}"
    );
}

#[test]
fn what_a_kustomization_names_and_is_not_there_is_a_note_with_its_place() {
    let app = deployment("app");
    let text = "resources:\n- a.yaml\n- missing.yaml\n- https://example.com/x.yaml\nimages: [{name: app, newTag: '1'}]\n";
    let folder = folder(&[("a.yaml", &app), ("kustomization.yaml", text)]);
    let manifests = read(folder.path());
    assert_eq!(manifests.errors, []);
    let notes: Vec<String> = manifests
        .notes
        .iter()
        .map(Note::sentence)
        .filter(|note| note.contains("missing"))
        .collect();
    let end = "kustomization.yaml:3: file that a kustomization names and that is not there (resources: missing.yaml)";
    assert!(matches!(&notes[..], [note] if note.ends_with(end)), "{notes:?}");
    assert_eq!(names(&manifests)[0].0, "app -> app:1");
}

#[test]
fn kustomizations_that_name_each_other_end() {
    let found = texts(&[
        ("a/kustomization.yaml", "resources: [../b]\n"),
        ("b/kustomization.yaml", "resources: [../a, x.yaml]\n"),
        ("b/x.yaml", &deployment("app")),
    ]);
    assert_eq!(found, ["app"]);
    assert_eq!(
        texts(&[("kustomization.yaml", "resources: [.]\n"), ("x.yaml", &deployment("app"))]),
        ["app"]
    );
}

#[test]
fn replacements_write_what_the_set_says() {
    let app = deployment("app");
    let to = |select: &str, path: &str| {
        format!(
            "source: {{kind: ConfigMap, name: c, fieldPath: data.IMG}}\ntargets: [{{select: {select}, fieldPaths: ['{path}']}}]\n"
        )
    };
    let place = "spec.template.spec.containers.[name=app].image";
    let one = to("{kind: Deployment}", place);
    let generator = "resources: [a.yaml]\nconfigMapGenerator: [{name: c, literals: ['IMG=reg.example/app:1']}]\nreplacements: [{path: r.yaml}]\n";
    let files = |one: &str, kustomization: &str| texts(&[("a.yaml", &app), ("r.yaml", one), ("kustomization.yaml", kustomization)]);
    assert_eq!(files(&one, generator), ["app -> reg.example/app:1"]);
    assert_eq!(
        files(&to("{kind: Job}", place), generator),
        ["app"],
        "it is for something else"
    );
    assert_eq!(
        files(
            &to("{kind: Deployment}", "spec.template.spec.containers.[name=b].image"),
            generator
        ),
        ["app"]
    );
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {IMG: 'reg.example/app:2'}\n";
    let resource = "resources: [a.yaml, c.yaml]\nreplacements: [{path: r.yaml}]\n";
    let found = texts(&[
        ("a.yaml", &app),
        ("c.yaml", map),
        ("r.yaml", &one),
        ("kustomization.yaml", resource),
    ]);
    assert_eq!(found, ["app -> reg.example/app:2"]);
    let nowhere = "resources: [a.yaml]\nreplacements: [{path: r.yaml}]\n";
    let found = files(&one, nowhere);
    assert!(
        found[0].starts_with("app later: app by kustomize (replacements of "),
        "{found:?}"
    );
}

#[test]
fn transformers_and_configurations() {
    let app = deployment("app");
    let image = "apiVersion: builtin\nkind: ImageTagTransformer\nmetadata: {name: t}\nimageTag: {name: app, newTag: '7'}\n";
    let with = "resources: [a.yaml]\ntransformers: [t.yaml]\n";
    let of = |transformer: &str| texts(&[("a.yaml", &app), ("t.yaml", transformer), ("kustomization.yaml", with)]);
    assert_eq!(of(image), ["app -> app:7"]);
    let program = "apiVersion: example.com/v1\nkind: Pinner\nmetadata: {name: t}\n";
    let found = of(program);
    assert!(
        found[0].starts_with("app later: app by kustomize (transformer Pinner of "),
        "{found:?}"
    );
    // Image volumes are images; other fields only if `configurations` say so.
    let volume =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [], volumes: [{name: v, image: {reference: data}}]}\n";
    let images = "resources: [a.yaml]\nimages: [{name: data, newName: reg.example/data, newTag: '1'}]\n";
    assert_eq!(
        texts(&[("a.yaml", volume), ("kustomization.yaml", images)]),
        ["data -> reg.example/data:1"]
    );
    let custom = "apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nmetadata: {name: p}\nspec: {image: data}\n";
    let known = format!("{images}configurations: [c.yaml]\n");
    let config = "images:\n- {path: spec/image, kind: Prometheus}\n";
    for (kustomization, expected) in [(images, "data"), (&known, "data -> reg.example/data:1")] {
        let found = texts(&[("a.yaml", custom), ("c.yaml", config), ("kustomization.yaml", kustomization)]);
        assert_eq!(found, [expected]);
    }
}

#[test]
fn flux_and_argo_cd_name_images_too() {
    let app = deployment("app");
    let plain = "resources: [a.yaml]\n";
    let flux = |images: &str| {
        format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: apps}}\nspec: {{path: ./apps, {images}}}\n"
        )
    };
    let named = flux("images: [{name: app, newName: reg.example/app, newTag: '1'}]");
    let argo = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: apps}\nspec: {source: {repoURL: x, path: apps, kustomize: {images: ['app=reg.example/app:1']}}}\n";
    let patched = flux(
        "patches: [{target: {kind: Deployment}, patch: '[{op: replace, path: /spec/template/spec/containers/0/image, value: \"reg.example/app:1\"}]'}]",
    );
    for object in [named.as_str(), argo, &patched] {
        let found = texts(&[
            ("apps/a.yaml", &app),
            ("apps/kustomization.yaml", plain),
            ("clusters/prod/apps.yaml", object),
        ]);
        assert_eq!(found, ["app -> reg.example/app:1"], "{object}");
    }
    // Flux makes a kustomization of a folder that has none.
    assert_eq!(
        texts(&[("apps/a.yaml", &app), ("flux.yaml", &named)]),
        ["app -> reg.example/app:1"]
    );
    // Another folder.
    assert_eq!(texts(&[("other/a.yaml", &app), ("flux.yaml", &named)]), ["app"]);
}

#[test]
fn what_flux_adds_comes_on_top_of_what_was_built() {
    let flux = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec: {path: ./apps, images: [{name: app, newTag: '1'}]}\n";
    let folder = folder(&[
        ("apps/a.yaml", &deployment("app")),
        ("apps/kustomization.yaml", "resources: [a.yaml]\n"),
        ("flux.yaml", flux),
        ("built/a.yaml", &deployment("app")),
    ]);
    let set = read(folder.path());
    let mut built = read(&folder.path().join("built"));
    let apps = folder.path().join("apps").canonicalize().unwrap();
    set.names.settle_rendered(&mut built.subjects[0], Some(&apps));
    assert_eq!(names(&built)[0].0, "app -> app:1");
    set.names.settle_rendered(&mut built.subjects[0], None);
    assert_eq!(names(&built)[0].0, "app");
    // The folder is still a root, and its file is only reached from there.
    assert_eq!(set.names.roots(), std::slice::from_ref(&apps));
    assert!(set.names.only_from(&apps.join("a.yaml"), &[apps.clone()].into()));
}

#[test]
fn components_and_prefixes() {
    let app = deployment("app");
    let base = "namePrefix: x-\nresources: [a.yaml]\n";
    // After a prefix, a resource has both names.
    for name in ["app", "x-app"] {
        let patch = format!(
            "resources: [../base]\npatches:\n- patch: |\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {{name: {name}}}\n    spec: {{template: {{spec: {{containers: [{{name: app, image: reg.example/p:1}}]}}}}}}\n"
        );
        let found = texts(&[
            ("base/a.yaml", &app),
            ("base/kustomization.yaml", base),
            ("over/kustomization.yaml", &patch),
        ]);
        assert_eq!(found, ["app -> reg.example/p:1"], "{name}");
    }
    // A component of a component, and the one after it.
    let component = |rest: &str| format!("apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n{rest}\n");
    let inner = component("images: [{name: app, newName: reg.example/inner}]");
    let outer = component("components: [../inner]\nimages: [{name: reg.example/inner, newName: reg.example/outer}]");
    let last = component("images: [{name: reg.example/outer, newTag: '3'}]");
    let found = texts(&[
        ("base/a.yaml", &app),
        ("inner/kustomization.yaml", &inner),
        ("outer/kustomization.yaml", &outer),
        ("last/kustomization.yaml", &last),
        (
            "base/kustomization.yaml",
            "resources: [a.yaml]\ncomponents: [../outer, ../last]\n",
        ),
    ]);
    assert_eq!(found, ["app -> reg.example/outer:3"]);
}

#[test]
fn names_that_tilt_works_out() {
    let tiltfile = "docker_build(os.getenv('IMAGE'), '.')\n";
    for (image, later) in [("app", Some("app")), ("app:1", None), ("reg.example/app", None)] {
        let found = texts(&[("a.yaml", &deployment(image)), ("Tiltfile", tiltfile)]);
        assert_eq!(found[0].contains(" later: "), later.is_some(), "{found:?}");
    }
}

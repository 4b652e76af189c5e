//! `pullgate pin`, the binary, against Debian's `docker-registry`.

use crate::debian::Debian;
use crate::program::pullgate;
use crate::sample::{Blob, image, index};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn pin(folder: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut child = pullgate()
        .current_dir(folder)
        .env("HOME", folder)
        .env_remove("DOCKER_CONFIG")
        .arg("pin")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that ends before it reads closes its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A registry with `team/app`: `v1` and `latest` are an index, `v2` is a manifest by itself. Returns the digests of both.
async fn registry(user: Option<(&'static str, &'static str)>) -> (Debian, String, String) {
    let debian = Debian::start(user, None).await;
    let (amd, arm) = (image("amd64"), image("arm64"));
    debian.push("team/app", "v2", &amd).await;
    debian.push("team/app", "arm", &arm).await;
    let both: Blob = index(&[("linux/amd64", &amd.manifest), ("linux/arm64", &arm.manifest)]);
    debian.push_manifest("team/app", "v1", &both).await;
    debian.push_manifest("team/app", "latest", &both).await;
    (debian, both.digest, amd.manifest.digest)
}

/// Manifests in many layouts: `^` where the index's digest goes, `#` where the manifest's, `~` where a tag and the index's digest.
const DEPLOYMENT: &str = "\
# The shop.
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: shop}   # é
spec:
  template:
    spec:
      initContainers:
      - {name: init, image: REG/team/app:v1^, args: [ \"REG/team/app:v1\" ]}
      containers:
        -   name: api
            image:   'REG/team/app:v2#'   # not \"v3\"
        -   name: side
            image: >-
              REG/team/app~
        -   name: fixed
            image: REG/team/app@sha256:INDEX
        -   name: old
            image: REG/team/app:v1@sha256:MANIFEST
        -   name: never
            image: REG/team/app:local
            imagePullPolicy: Never
        -   name: template
            image: \"REG/team/app:${TAG}\"
";

const LIST: &str = "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n\
\t{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"REG\\/team\\/app:v1^\"}]}},\n\
\t{\"apiVersion\":\"argoproj.io/v1alpha1\",\"kind\":\"Rollout\",\"metadata\":{\"name\":\"r\"},\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"REG/team/app:v2#\"}]}}}}]}";

const ANCHORS: &str = "\
---
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  containers:
  - {name: a, image: &img \"REG/team/app:v1^\"}
  - {name: b, image: *img}
...
---
apiVersion: v1
kind: Pod
metadata:
  name: two
  labels: {image: &shared REG/team/app:v1}
spec:
  containers:
  - name: a
    image: *shared
  - name: b
    image: REG/team/app:v2#
";

/// What a file holds before, and after.
fn both(marked: &str, registry: &Debian, index: &str, manifest: &str) -> (String, String) {
    let marked = marked
        .replace("REG", registry.name("").trim_end_matches('/'))
        .replace("sha256:INDEX", index)
        .replace("sha256:MANIFEST", manifest);
    let before = marked.replace(['^', '~'], "").replace("v2#", "v2");
    let after = marked
        .replace('^', &format!("@{index}"))
        .replace('~', &format!(":latest@{index}"))
        .replace("v2#", &format!("v2@{manifest}"));
    (before, after)
}

#[tokio::test]
async fn files_are_pinned_and_nothing_else_in_them_changes() {
    let (registry, index, manifest) = registry(None).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("below")).unwrap();
    let reg = registry.name("");
    let files: Vec<(&str, String, String)> = [
        ("a.yaml", DEPLOYMENT.replace('\n', "\r\n")),
        ("below/list.json", LIST.to_owned()),
        ("anchors.yml", ANCHORS.to_owned()),
    ]
    .into_iter()
    .map(|(name, marked)| {
        let (before, after) = both(&marked, &registry, &index, &manifest);
        fs::write(folder.join(name), &before).unwrap();
        (name, before, after)
    })
    .collect();
    let values = format!("image:\n  repository: {reg}team/app\n  tag: v1\n");
    fs::write(folder.join("values.yaml"), &values).unwrap();
    let inode = |name: &str| fs::metadata(folder.join(name)).unwrap().ino();
    let values_inode = inode("values.yaml");

    // What would change is shown, and not done.
    let shown = pin(folder, &["-f", ".", "-R"], "");
    assert_eq!(shown.code, Some(1), "{}", shown.err);
    for (name, before, after) in &files {
        assert_eq!(&fs::read_to_string(folder.join(name)).unwrap(), before);
        assert!(
            shown.out.contains(&format!("--- a/{name}\n+++ b/{name}\n@@ ")),
            "{}",
            shown.out
        );
        let changed = before
            .split_inclusive('\n')
            .zip(after.split_inclusive('\n'))
            .filter(|(old, new)| old != new);
        for (old, new) in changed {
            let line = |mark: char, text: &str| format!("\n{mark}{}\n", text.trim_end_matches('\n'));
            assert!(
                shown.out.contains(&line('-', old)) && shown.out.contains(&line('+', new)),
                "{old}{}",
                shown.out
            );
        }
    }
    let removed = shown
        .out
        .lines()
        .filter(|line| line.starts_with('-') && !line.starts_with("---"))
        .count();
    assert_eq!(removed, 7, "{}", shown.out);
    let count = "14 images: 8 to pin, 2 pinned before, 3 skipped, 1 could not be pinned\n";
    assert!(shown.err.ends_with(count), "{}", shown.err);

    let written = pin(folder, &["-f", ".", "-R", "--write", "-f", "a.yaml"], "");
    for (name, _, after) in &files {
        assert_eq!(&fs::read_to_string(folder.join(name)).unwrap(), after, "{name}");
    }
    assert_eq!(written.code, Some(1), "{}", written.err);
    assert_eq!(fs::read_to_string(folder.join("values.yaml")).unwrap(), values);
    assert_eq!(inode("values.yaml"), values_inode, "what does not change is not written");
    let has = |text: &str| assert!(written.err.contains(text), "{text}\n{}", written.err);
    has(&format!(
        "a.yaml:19: Deployment shop/api, container old: {reg}team/app:v1@{manifest} unchanged; its tag now resolves to {index}\n"
    ));
    has(&format!(
        "a.yaml:21: Deployment shop/api, container never: {reg}team/app:local skipped: imagePullPolicy is Never, so it does not come from a registry\n"
    ));
    has(&format!(
        "a.yaml:24: Deployment shop/api, container template: {reg}team/app:${{TAG}} skipped: ${{TAG}} is filled in later, by envsubst or Flux\n"
    ));
    has(&format!(
        "anchors.yml:19: Pod default/two, container a: {reg}team/app:v1 could not be pinned: through an anchor, the same text is also metadata.labels.image (line 15), which"
    ));
    has("values.yaml:2: file default/values.yaml, container at image.repository: ");
    has(&format!("its digest is {index}"));
    assert!(
        written
            .err
            .ends_with("14 images: 8 pinned now, 2 pinned before, 3 skipped, 1 could not be pinned\n"),
        "{}",
        written.err
    );
    assert_eq!(written.out.lines().count(), 8, "{}", written.out);

    // A second time there is nothing to do.
    let pinned = ["a.yaml", "below/list.json"];
    let inodes = pinned.map(inode);
    let again = pin(folder, &["-f", "a.yaml", "-f", "below", "--write"], "");
    assert_eq!((again.code, again.out.as_str()), (Some(0), ""), "{}", again.err);
    assert_eq!(pinned.map(inode), inodes);
    let shown = pin(folder, &["-f", "a.yaml", "-f", "below"], "");
    assert_eq!((shown.code, shown.out.as_str()), (Some(0), ""), "{}", shown.err);
}

const OVERLAY: &str = "\
resources: [../base]
images:
- name: app   # the thing itself
  newName: REGteam/app
  newTag: v1   # raised by hand
- {name: b, newName: REGteam/app, newTag: v2}
";

const VALUES: &str = "\
image:
  repository: REGteam/app
  tag: v1
  digest: \"\" # filled in at release
side: {image: REGteam/app:v2}
old:
  repository: REGteam/app
  tag: v1
  digest: sha256:MANIFEST
bare:
  repository: REGteam/app
  tag: v2
";

#[tokio::test]
async fn names_and_tags_in_separate_fields_get_their_digests() {
    let (registry, index, manifest) = registry(None).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let reg = registry.name("");
    let fill = |text: &str| text.replace("REG", &reg).replace("sha256:MANIFEST", &manifest);
    fs::create_dir_all(folder.join("chart")).unwrap();
    fs::create_dir_all(folder.join("overlay")).unwrap();
    fs::create_dir_all(folder.join("base")).unwrap();
    fs::write(folder.join("base/kustomization.yaml"), "resources: []\n").unwrap();
    fs::write(
        folder.join("chart/Chart.yaml"),
        "apiVersion: v2\nname: chart\nversion: 1.0.0\n",
    )
    .unwrap();
    fs::write(folder.join("chart/values.yaml"), fill(VALUES)).unwrap();
    fs::write(folder.join("overlay/kustomization.yaml"), fill(OVERLAY)).unwrap();

    let shown = pin(folder, &["-R", "."], "");
    assert_eq!(shown.code, Some(1), "{}", shown.err);
    assert!(shown.out.contains(&format!("\n+  digest: {index}\n")), "{}", shown.out);

    let ran = pin(folder, &["-R", ".", "--write"], "");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let overlay = fs::read_to_string(folder.join("overlay/kustomization.yaml")).unwrap();
    let expected = fill(OVERLAY)
        .replace("# raised by hand\n", &format!("# raised by hand\n  digest: {index}\n"))
        .replace("newTag: v2}", &format!("newTag: v2, digest: {manifest}}}"));
    assert_eq!(overlay, expected);
    let values = fs::read_to_string(folder.join("chart/values.yaml")).unwrap();
    let expected = fill(VALUES)
        .replace("\"\" # filled", &format!("\"{index}\" # filled"))
        .replace("team/app:v2}", &format!("team/app:v2@{manifest}}}"));
    assert_eq!(values, expected);
    let bare = format!("only their author knows where a digest belongs; its digest is {manifest}\n");
    assert!(ran.err.contains(&bare), "{}", ran.err);
    let moved = format!("unchanged; its tag now resolves to {index}\n");
    assert!(ran.err.contains(&moved), "{}", ran.err);

    // What was pinned stays, and what has moved moves when that is asked for.
    let again = pin(folder, &["-R", ".", "-o", "json"], "");
    assert_eq!(again.code, Some(0), "{}", again.err);
    let ran = pin(folder, &["-R", ".", "--refresh", "--write", "-o", "json"], "");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["version"], "pullgate.dev/pin/v1");
    assert_eq!(json["summary"]["refreshed"], 1);
    let images = json["images"].as_array().unwrap();
    let refreshed = images.iter().find(|image| image["outcome"] == "refreshed").unwrap();
    assert_eq!(
        (&refreshed["file"], &refreshed["path"]),
        (&"chart/values.yaml".into(), &"old.repository".into())
    );
    assert_eq!(
        (&refreshed["before"], &refreshed["digest"]),
        (&manifest.as_str().into(), &index.as_str().into())
    );
    let now = fs::read_to_string(folder.join("chart/values.yaml")).unwrap();
    assert_eq!(
        now,
        values.replace(
            &format!("tag: v1\n  digest: {manifest}"),
            &format!("tag: v1\n  digest: {index}")
        )
    );
}

#[tokio::test]
async fn digests_of_whole_names_move_too() {
    let (registry, index, manifest) = registry(None).await;
    let folder = tempfile::tempdir().unwrap();
    let pod = |digest: &str| {
        let image = format!("{}:v1@{digest}", registry.name("team/app"));
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - name: c\n    image: \"{image}\" # c\n")
    };
    let ran = pin(folder.path(), &["-f", "-", "--refresh"], &pod(&manifest));
    assert_eq!((ran.code, ran.out), (Some(0), pod(&index)), "{}", ran.err);
    assert_eq!(
        ran.err,
        "1 image: 0 pinned now, 1 moved, 0 pinned before, 0 skipped, 0 could not be pinned\n"
    );
}

#[tokio::test]
async fn standard_input_goes_to_standard_output_with_digests() {
    let (registry, index, _) = registry(Some(("alice", "s3cret-word"))).await;
    let folder = tempfile::tempdir().unwrap();
    let reg = registry.name("");
    let pod = |image: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  imagePullSecrets: [{{name: regcred}}]\n  containers: [{{name: c, image: {image} }}] # c\n"
        )
    };
    let config = format!(
        "{{\"auths\": {{\"{}\": {{\"username\": \"alice\", \"password\": \"s3cret-word\"}}}}}}",
        reg.trim_end_matches('/')
    );
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: regcred}}\ntype: kubernetes.io/dockerconfigjson\nstringData:\n  .dockerconfigjson: '{config}'\n---\n"
    );
    let name = format!("{reg}team/app:v1");
    let with = pin(folder.path(), &["-f", "-"], &format!("{secret}{}", pod(&name)));
    assert_eq!(
        with.out,
        format!("{secret}{}", pod(&format!("{name}@{index}"))),
        "{}",
        with.err
    );
    assert_eq!(with.code, Some(0), "{}", with.err);
    assert_eq!(
        with.err,
        "1 image: 1 pinned now, 0 pinned before, 0 skipped, 0 could not be pinned\n"
    );

    // Without the secret it could not be pinned, and all of it goes through all the same.
    let without = pin(folder.path(), &["-f", "-"], &pod(&name));
    assert_eq!(without.out, pod(&name));
    assert_eq!(without.code, Some(1), "{}", without.err);
    assert!(!without.err.contains("s3cret"), "{}", without.err);

    // What cannot be read goes through as it is, too.
    let broken = format!("{secret}{}---\na: [1\n", pod(&name));
    let through = pin(folder.path(), &["-f", "-"], &broken);
    assert_eq!(
        (through.out.as_str(), through.code),
        (broken.as_str(), Some(2)),
        "{}",
        through.err
    );
    assert!(through.err.contains("part of it cannot be read"), "{}", through.err);
}

#[tokio::test]
async fn what_cannot_be_pinned_is_told_with_its_cause_and_its_fix() {
    let (registry, index, _) = registry(None).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let reg = registry.name("");
    let pod = |images: &[&str]| {
        let containers: Vec<String> = images
            .iter()
            .enumerate()
            .map(|(at, image)| format!("  - name: c{at}\n    image: {image}\n"))
            .collect();
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n{}",
            containers.concat()
        )
    };
    let images = [
        format!("{reg}team/app:v1"),
        format!("{reg}team/app:v11"),
        "127.0.0.1:1/Upper/case:1".to_owned(),
        "169.254.0.1/a:1".to_owned(),
        format!("{reg}team/app:arm"),
    ];
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    fs::write(folder.join("pod.yaml"), pod(&images)).unwrap();
    fs::write(folder.join("broken.yaml"), format!("{}---\na: [1\n", pod(&images[..1]))).unwrap();
    let ran = pin(folder, &["-f", "pod.yaml", "--write"], "");
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let text = fs::read_to_string(folder.join("pod.yaml")).unwrap();
    assert!(text.contains(&format!("    image: {}@{index}\n", images[0])), "{text}");
    for untouched in &images[1..4] {
        assert!(text.contains(&format!("    image: {untouched}\n")), "{text}");
    }
    let has = |text: &str| assert!(ran.err.contains(text), "{text}\n{}", ran.err);
    has(&format!(
        "pod.yaml:9: Pod default/p, container c1: {reg}team/app:v11 could not be pinned\n    TagNotFound: "
    ));
    has("fix: use a tag that exists (closest: v1");
    has("pod.yaml:11: Pod default/p, container c2: 127.0.0.1:1/Upper/case:1 could not be pinned\n    InvalidImageName: ");
    has("pod.yaml:13: Pod default/p, container c3: 169.254.0.1/a:1 could not be pinned\n    LookupRefused: ");
    has("container c4: ");
    has(" is pinned, but:\n    ArchitectureMismatch: ");
    has("5 images: 2 pinned now, 0 pinned before, 0 skipped, 3 could not be pinned\n");
    let ran = pin(folder, &["-f", "-"], &pod(&[images[1], images[1]]));
    assert_eq!(ran.err.matches("TagNotFound: ").count(), 1, "{}", ran.err);
    assert!(
        ran.err.contains("container c1: ") && ran.err.contains(" could not be pinned, as said above\n"),
        "{}",
        ran.err
    );

    let broken = fs::read_to_string(folder.join("broken.yaml")).unwrap();
    let ran = pin(folder, &["-f", "broken.yaml", "--write"], "");
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert_eq!(fs::read_to_string(folder.join("broken.yaml")).unwrap(), broken);

    // A policy's name rules hold before any registry is asked.
    fs::write(
        folder.join("policy.yml"),
        "apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: p}\nspec: {tags: {deny: [v1], requireDigest: true}}\n",
    )
    .unwrap();
    let two = pod(&[images[0], images[4]]);
    let ran = pin(
        folder,
        &["-f", "-", "--policies", "policy.yml", "--platform", "linux/arm64"],
        &two,
    );
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("could not be pinned\n    TagNotAllowed: "), "{}", ran.err);
    assert!(
        !ran.err.contains("DigestRequired") && !ran.err.contains("is pinned, but"),
        "{}",
        ran.err
    );
    assert!(ran.out.contains("team/app:arm@sha256:"), "{}", ran.out);
}

#[test]
fn wrong_commands_are_refused_and_nothing_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &[][..],
        &["--write"],
        &["-f", "-", "--write"],
        &["-f", "-", "-f", "a.yaml"],
        &["-f", "nothing.yaml"],
        &["-f", "."],
        &["-f", "-", "--context", "c"],
        &["-f", "-", "--platform", "nonsense"],
    ] {
        let ran = pin(folder.path(), arguments, "a: b\n");
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}: {}", ran.err);
    }
    // Nothing to pin is nothing to object to.
    for input in ["a: b # c\r\n", "", "- {op: replace, path: /x, value: 1}"] {
        let ran = pin(folder.path(), &["-f", "-"], input);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), input), "{}", ran.err);
    }
}

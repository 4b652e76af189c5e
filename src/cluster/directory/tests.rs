use super::*;
use crate::cluster::{Cluster, Object};
use crate::credentials::Contents;
use crate::workload::pod::PodKind;
use crate::workload::{Nature, PodNeeds};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

fn template(pull_secrets: &[&str], service_account: &str) -> Template {
    Template {
        kind: PodKind::Template,
        needs: PodNeeds {
            pull_secrets: pull_secrets.iter().map(|name| (*name).to_owned()).collect(),
            service_account: service_account.to_owned(),
            ..PodNeeds::default()
        },
        uses: Vec::new(),
        nature: Nature::default(),
        injection: crate::workload::Injection::default(),
        ran: Vec::new(),
    }
}

fn secret(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name},
        "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{\"auths\":{\"quay.io\":{\"auth\":\"dTpw\"}}}"},
    })
}

fn account(namespace: &str, name: &str, secrets: &[&str]) -> Value {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name}, "imagePullSecrets": secrets,
    })
}

fn names<T>(map: &BTreeMap<String, Visible<T>>) -> Vec<(&str, bool)> {
    map.iter()
        .map(|(name, seen)| (name.as_str(), matches!(seen, Visible::Seen(Some(_)))))
        .collect()
}

#[test]
fn facts_hold_what_the_templates_need() {
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"env": "prod"}}}),
        account("shop", "builder", &["from-account", "gone"]),
        account("other", "builder", &["elsewhere"]),
        secret("shop", "own"),
        secret("shop", "from-account"),
        secret("shop", "unused"),
        secret("other", "elsewhere"),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}),
    ];
    let directory = Directory::from_objects(&objects, Completeness::Partial);
    let facts = directory.facts(
        "shop",
        &[
            template(&["own", "", "missing"], "builder"),
            template(&[], "builder"),
            template(&[], ""),
        ],
    );
    assert_eq!(names(&facts.service_accounts), [("builder", true), ("default", false)]);
    assert_eq!(
        names(&facts.secrets),
        [("from-account", true), ("gone", false), ("missing", false), ("own", true)]
    );
    assert_eq!(facts.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["n1"]);
    assert!(
        matches!(&facts.namespace, Visible::Seen(Some(namespace)) if namespace.labels == [("env".to_owned(), "prod".to_owned())])
    );
    assert!(!facts.complete);
    let Some(Visible::Seen(Some(own))) = facts.secrets.get("own") else {
        panic!("{facts:?}")
    };
    assert!(matches!(crate::credentials::inspect(own), Contents::Usable(entries) if entries[0].0 == "quay.io"));
    assert_eq!(directory.facts("nowhere", &[]).namespace, Visible::Seen(None));
}

#[test]
fn a_list_of_one_empty_name_inherits_nothing() {
    let directory = Directory::from_objects(&[account("default", "default", &["regcred"])], Completeness::Complete);
    let facts = directory.facts("default", &[template(&[""], "default")]);
    assert!(facts.service_accounts.is_empty() && facts.secrets.is_empty());
}

#[test]
fn every_namespace_of_a_complete_set_has_a_default_account() {
    let directory = Directory::from_objects(&[], Completeness::Complete);
    let facts = directory.facts("shop", &[template(&[], "default"), template(&[], "builder")]);
    assert_eq!(names(&facts.service_accounts), [("builder", false), ("default", true)]);
    assert!(facts.complete);
}

#[test]
fn lists_are_flattened_and_the_last_of_a_name_counts() {
    let mut bare = secret("", "bare");
    bare.as_object_mut().unwrap().remove("apiVersion");
    bare.as_object_mut().unwrap().remove("kind");
    let objects = [
        json!({"apiVersion": "v1", "kind": "List", "items": [
            account("default", "a", &["one"]),
            {"apiVersion": "v1", "kind": "SecretList", "items": [bare]},
            account("default", "a", &["two"]),
        ]}),
        json!({"apiVersion": "external-secrets.io/v1", "kind": "Secret", "metadata": {"name": "foreign"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "x-"}}),
        json!(5),
        json!({"kind": "Secret", "metadata": {"name": "no-version"}}),
    ];
    let directory = Directory::from_objects(&objects, Completeness::Complete);
    let facts = directory.facts(
        "default",
        &[template(&[], "a"), template(&["bare", "foreign", "no-version"], "")],
    );
    assert_eq!(
        names(&facts.secrets),
        [("bare", true), ("foreign", false), ("no-version", false), ("two", false)]
    );
}

#[test]
fn secrets_that_the_api_server_would_refuse_are_told() {
    let broken = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bad"}, "type": "kubernetes.io/dockercfg", "data": {".dockercfg": "hunter2!"}});
    let directory = Directory::from_objects(&[json!(1), broken], Completeness::Complete);
    let expected = Rejected {
        object: 1,
        why: "Secret default/bad: its data[.dockercfg] is not base64 (at byte 7)".to_owned(),
    };
    assert_eq!(directory.rejected(), [expected]);
    assert!(!format!("{directory:?}").contains("hunter2"));
}

#[test]
fn a_folder_is_read_with_all_its_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "a.yaml",
        &format!(
            "---\n{}\n---\n{}\n",
            secret("shop", "one"),
            account("shop", "builder", &["one"])
        ),
    );
    write("sub/b.JSON", &format!("{:#}", secret("shop", "two")));
    write("sub/c.yml", "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n");
    write("notes.txt", "not: [yaml");
    write(".hidden/d.yaml", "not: [yaml");
    let directory = Directory::load(folder.path()).unwrap();
    let facts = directory.facts("shop", &[template(&["one", "two"], "")]);
    assert_eq!(names(&facts.secrets), [("one", true), ("two", true)]);
    assert_eq!(facts.nodes.len(), 1);
    // One file will do, whatever its name.
    assert!(Directory::load(&folder.path().join("a.yaml")).is_ok());
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), "a: 1\n---\nb: [\n").unwrap();
    let bad = "kind: x\n---\n# why\napiVersion: v1\nkind: Secret\ntype: kubernetes.io/dockercfg\nmetadata: {name: s}\ndata: {.dockercfg: '!'}\n";
    std::fs::write(folder.path().join("b.yaml"), bad).unwrap();
    std::fs::write(folder.path().join("c.yaml"), b"\xff").unwrap();
    let error = Directory::load(folder.path()).unwrap_err();
    let told: Vec<(String, Option<(usize, usize)>)> = error
        .problems
        .iter()
        .map(|problem| {
            (
                problem.file.file_name().unwrap().to_string_lossy().into_owned(),
                problem.place,
            )
        })
        .collect();
    let expected =
        [("a.yaml", Some((1, 3))), ("b.yaml", Some((1, 4))), ("c.yaml", None)].map(|(file, place)| (file.to_owned(), place));
    assert_eq!(told, expected, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("b.yaml, document 1, line 4: Secret default/s: its data[.dockercfg] is not base64 (at byte 0)"),
        "{text}"
    );
    let missing = Directory::load(&folder.path().join("nowhere")).unwrap_err();
    assert!(missing.to_string().contains("nowhere: cannot be read"), "{missing}");
}

/// The clock is paused: it moves on only when every task waits, reads of files included.
#[tokio::test(start_paused = true)]
async fn a_followed_folder_keeps_the_last_good_content() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.json");
    let write = |text: String| std::fs::write(&file, text).unwrap();
    let listed = |directory: &Directory| {
        names(&directory.facts("shop", &[template(&["one", "two"], "")]).secrets)
            .iter()
            .filter(|(_, seen)| *seen)
            .count()
    };
    write(secret("shop", "one").to_string());
    let every = Duration::from_secs(2);
    let shared = WatchedDirectory::follow(folder.path(), every).unwrap();
    assert_eq!(listed(&shared.load()), 1);
    write("{".to_owned());
    tokio::time::sleep(every * 2).await;
    assert_eq!(listed(&shared.load()), 1);
    write(format!("{}{}", secret("shop", "one"), secret("shop", "two")));
    tokio::time::sleep(every * 2).await;
    assert_eq!(listed(&shared.load()), 2);
}

#[tokio::test]
async fn a_followed_folder_can_be_looked_at_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: String| std::fs::write(folder.path().join("a.json"), text).unwrap();
    write(secret("shop", "one").to_string());
    let cluster = Cluster::Manifests(WatchedDirectory::follow(folder.path(), Duration::from_hours(1)).unwrap());
    let templates = [template(&["one", "two"], "")];
    let end = Instant::now() + Duration::from_mins(1);
    let before = cluster.facts("shop", &templates, end).await;
    assert_eq!(names(&before.secrets), [("one", true), ("two", false)]);
    write(format!("{}{}", secret("shop", "one"), secret("shop", "two")));
    let fresh = cluster
        .reread(&before, "shop", &templates, &[Object::Secret("two".to_owned())], end)
        .await;
    assert_eq!(names(&fresh.secrets), [("one", true), ("two", true)]);
    assert_eq!(
        names(&cluster.facts("shop", &templates, end).await.secrets),
        [("one", true), ("two", true)]
    );
    // If it cannot be read, the last good content stays.
    write("{".to_owned());
    let fresh = cluster
        .reread(&before, "shop", &templates, &[Object::Secret("two".to_owned())], end)
        .await;
    assert_eq!(names(&fresh.secrets), [("one", true), ("two", true)]);
}

#[test]
fn the_nodes_files_may_say_what_openshift_tells_them() {
    let image = json!({"apiVersion": "config.openshift.io/v1", "kind": "Image", "metadata": {"name": "cluster"},
                       "spec": {"additionalTrustedCA": {"name": "authorities"}}});
    let authorities = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authorities", "namespace": "openshift-config"},
                             "data": {"r.example..5000": "PEM"}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    let certificates = |directory: &Directory| {
        directory
            .openshift()
            .map(|known| known.operator_config().unwrap().certificates.len())
    };
    let all = Directory::from_objects(&[authorities, image, node.clone()], Completeness::Partial);
    assert_eq!(certificates(&all), Some(1));
    let mut directory = Directory::default();
    directory.set_nodes(&all);
    assert_eq!((directory.nodes().len(), certificates(&directory)), (1, Some(1)));
    // A set with Nodes only removes nothing else.
    directory.set_nodes(&Directory::from_objects(&[node], Completeness::Partial));
    assert_eq!(certificates(&directory), Some(1));
}

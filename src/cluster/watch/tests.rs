use super::*;
use crate::cluster::Cluster;
use crate::cluster::fake::{Fake, StoppedClock};
use crate::workload::pod::PodKind;
use crate::workload::{Nature, PodNeeds};
use serde_json::{Value, json};
use std::time::Duration;

const CONFIG: &str = "kubernetes.io/dockerconfigjson";

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

fn secret(name: &str, kind: &str) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": name, "uid": "u"}, "type": kind,
        "data": {".dockerconfigjson": "e30=", ".dockercfg": "e30=", "password": "aHVudGVyMg=="},
    })
}

fn account(name: &str, secrets: &[&str]) -> Value {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
    json!({"metadata": {"namespace": "shop", "name": name, "managedFields": [{"x": 1}]}, "imagePullSecrets": secrets})
}

/// More than a busy machine needs.
const LONG: Duration = Duration::from_mins(1);

fn soon() -> Instant {
    Instant::now() + LONG
}

async fn synced(fake: &Fake, access: SecretReading) -> Cluster {
    let cluster = Cluster::Watched(Watched::start(&fake.client(), access));
    assert!(cluster.wait_synced(soon()).await, "{:?}", cluster.ready());
    cluster
}

fn tell<T>(seen: Option<&Visible<T>>) -> &str {
    match seen {
        Some(Visible::Seen(Some(_))) => "there",
        Some(Visible::Seen(None)) => "absent",
        Some(Visible::Hidden(why)) => why,
        None => "not asked",
    }
}

/// Waits until the condition holds.
async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let end = soon();
    while !condition().await {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn facts_come_from_the_watches_and_secrets_by_name() {
    let fake = Fake::new();
    fake.put("namespaces", json!({"metadata": {"name": "shop", "labels": {"env": "prod"}}}));
    fake.put("serviceaccounts", account("builder", &["inherited", "gone"]));
    fake.put("secrets", secret("inherited", CONFIG));
    fake.put("secrets", secret("opaque", "Opaque"));
    fake.put(
        "nodes",
        json!({"metadata": {"name": "n1"}, "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "arm64"}}}),
    );
    let cluster = synced(&fake, SecretReading::Get).await;
    let templates = [
        template(&["opaque", ""], "unused"),
        template(&[], "builder"),
        template(&[], ""),
    ];
    let facts = cluster.facts("shop", &templates, soon()).await;
    assert_eq!(
        facts.nodes[0]
            .platform
            .as_ref()
            .map(|platform| platform.architecture.as_str()),
        Some("arm64")
    );
    assert!(matches!(&facts.namespace, Visible::Seen(Some(namespace)) if namespace.labels[0].1 == "prod"));
    assert_eq!(facts.service_accounts.keys().collect::<Vec<_>>(), ["builder", "default"]);
    assert_eq!(tell(facts.service_accounts.get("default")), "absent");
    for (name, expected) in [("inherited", "there"), ("gone", "absent"), ("opaque", "there")] {
        assert_eq!(tell(facts.secrets.get(name)), expected, "{name}");
    }
    let Some(Visible::Seen(Some(opaque))) = facts.secrets.get("opaque") else {
        panic!("{facts:?}")
    };
    assert_eq!((opaque.kind.as_str(), opaque.data.is_empty()), ("Opaque", true));
    assert!(facts.complete);
    // A second review within seconds asks for nothing again.
    let before = fake.all_gets();
    cluster.facts("shop", &templates, soon()).await;
    assert_eq!((before, fake.all_gets()), (3, 3));
    assert!(
        cluster.ready().iter().all(|ready| ready.synced && ready.note.is_none()),
        "{:?}",
        cluster.ready()
    );
}

#[tokio::test]
async fn changes_arrive_and_odd_objects_break_nothing() {
    let fake = Fake::new();
    fake.put("serviceaccounts", account("a", &["one"]));
    let cluster = synced(&fake, SecretReading::None).await;
    let listed = async |name: &str| match cluster
        .facts("shop", &[template(&[], name)], soon())
        .await
        .service_accounts
        .remove(name)
    {
        Some(Visible::Seen(Some(account))) => account.pull_secrets.join(","),
        other => format!("{other:?}"),
    };
    assert_eq!(listed("a").await, "one");
    fake.put(
        "serviceaccounts",
        json!({"metadata": {"name": "odd", "namespace": "shop", "labels": 5, "creationTimestamp": []}, "imagePullSecrets": 3}),
    );
    fake.put("serviceaccounts", json!({"metadata": {"labels": {}}}));
    fake.put("serviceaccounts", account("a", &["one", "two"]));
    fake.put("serviceaccounts", account("b", &["three"]));
    eventually("the update", async || listed("a").await == "one,two").await;
    eventually("the new one", async || listed("b").await == "three").await;
    assert_eq!(listed("odd").await, "");
    fake.delete("serviceaccounts", "shop", "a");
    eventually("the deletion", async || listed("a").await == "Some(Seen(None))").await;
    // A list with odd objects works too.
    let again = synced(&fake, SecretReading::None).await;
    let facts = again.facts("shop", &[template(&[], "b")], soon()).await;
    assert_eq!(tell(facts.service_accounts.get("b")), "there");
}

#[tokio::test]
async fn secrets_by_watch_of_their_types() {
    let fake = Fake::new();
    fake.put("secrets", secret("new", CONFIG));
    fake.put("secrets", secret("legacy", "kubernetes.io/dockercfg"));
    fake.put("secrets", secret("opaque", "Opaque"));
    let cluster = synced(&fake, SecretReading::Cluster).await;
    assert_eq!(cluster.ready().len(), 5);
    let templates = [template(&["new", "legacy", "opaque", "late"], "")];
    let facts = cluster.facts("shop", &templates, soon()).await;
    for (name, expected) in [
        ("new", "there"),
        ("legacy", "there"),
        ("opaque", "absent"),
        ("late", "absent"),
    ] {
        assert_eq!(tell(facts.secrets.get(name)), expected, "{name}");
    }
    assert_eq!(fake.all_gets(), 0);
    // What no watch has shown is read before a finding rests on it.
    fake.put_unseen("secrets", secret("late", CONFIG));
    let objects = ["opaque", "late"].map(|name| Object::Secret(name.to_owned()));
    let facts = cluster.reread(&facts, "shop", &templates, &objects, soon()).await;
    for (name, expected) in [("new", "there"), ("opaque", "there"), ("late", "there")] {
        assert_eq!(tell(facts.secrets.get(name)), expected, "{name}");
    }
    let Some(Visible::Seen(Some(opaque))) = facts.secrets.get("opaque") else {
        panic!("{facts:?}")
    };
    assert_eq!(opaque.kind, "Opaque");
    // Where single secrets may not be read, nothing is known of it.
    fake.refuse("get secrets");
    let facts = cluster
        .reread(&facts, "shop", &templates, &[Object::Secret("never".to_owned())], soon())
        .await;
    assert_eq!(
        tell(facts.secrets.get("never")),
        "pullgate may not read Secrets in this namespace"
    );
}

#[tokio::test]
async fn what_was_created_a_moment_ago_is_found() {
    let fake = Fake::new();
    let cluster = synced(&fake, SecretReading::Get).await;
    let templates = [template(&[], "builder")];
    let facts = cluster.facts("shop", &templates, soon()).await;
    assert_eq!(
        (tell(facts.service_accounts.get("builder")), tell(Some(&facts.namespace))),
        ("absent", "absent")
    );
    fake.put_unseen("namespaces", json!({"metadata": {"name": "shop"}}));
    fake.put_unseen("serviceaccounts", account("builder", &["regcred"]));
    fake.put_unseen("secrets", secret("regcred", CONFIG));
    let objects = [Object::Namespace, Object::ServiceAccount("builder".to_owned())];
    let facts = cluster.reread(&facts, "shop", &templates, &objects, soon()).await;
    assert_eq!(
        (tell(facts.service_accounts.get("builder")), tell(Some(&facts.namespace))),
        ("there", "there")
    );
    // The secret that the account lists came with it.
    assert_eq!(tell(facts.secrets.get("regcred")), "there");
}

#[tokio::test]
async fn a_secret_that_was_renewed_is_read_again() {
    let fake = Fake::new();
    fake.put("secrets", secret("regcred", CONFIG));
    let cluster = synced(&fake, SecretReading::Get).await;
    let templates = [template(&["regcred", "missing"], "")];
    let versions = |facts: &Facts| match facts.secrets.get("regcred") {
        Some(Visible::Seen(Some(secret))) => secret.version.clone(),
        other => format!("{other:?}"),
    };
    let _clock = StoppedClock::new();
    let old = cluster.facts("shop", &templates, soon()).await;
    fake.put("secrets", secret("regcred", CONFIG));
    fake.put("secrets", secret("missing", CONFIG));
    let objects = ["regcred", "missing"].map(|name| Object::Secret(name.to_owned()));
    // Within two seconds the answer just given is good enough; afterwards it is not.
    let same = cluster.reread(&old, "shop", &templates, &objects, soon()).await;
    assert_eq!(
        (versions(&same), tell(same.secrets.get("missing"))),
        (versions(&old), "absent")
    );
    tokio::time::advance(FRESH).await;
    // A usual review still takes the secret it knows, and asks again for the one that was missing.
    let usual = cluster.facts("shop", &templates, soon()).await;
    assert_eq!(
        (versions(&usual), tell(usual.secrets.get("missing"))),
        (versions(&same), "there")
    );
    let new = cluster.reread(&usual, "shop", &templates, &objects, soon()).await;
    assert_ne!(versions(&new), versions(&old));
    assert_eq!(fake.gets("/api/v1/namespaces/shop/secrets/regcred"), 2);
}

#[tokio::test]
async fn a_burst_asks_once() {
    let fake = Fake::new();
    fake.put("secrets", secret("regcred", CONFIG));
    let hold = fake.hold();
    let cluster = synced(&fake, SecretReading::Get).await;
    let templates = [template(&["regcred", "missing"], "")];
    let _clock = StoppedClock::new();
    // The first caller gives up; its read continues for the others.
    let hasty = cluster
        .facts("shop", &templates, Instant::now() - Duration::from_millis(10))
        .await;
    let all = futures_util::future::join_all((0..20).map(|_| cluster.facts("shop", &templates, soon())));
    let (all, ()) = futures_util::future::join(all, async { drop(hold) }).await;
    assert_eq!(
        tell(hasty.secrets.get("regcred")),
        "there was no time left to read the pull secret"
    );
    for facts in all {
        assert_eq!(
            (tell(facts.secrets.get("regcred")), tell(facts.secrets.get("missing"))),
            ("there", "absent")
        );
    }
    assert_eq!(fake.gets("/api/v1/namespaces/shop/secrets/regcred"), 1);
    assert_eq!(fake.gets("/api/v1/namespaces/shop/secrets/missing"), 1);
}

#[tokio::test]
async fn refusals_hide_and_do_not_block() {
    let fake = Fake::new();
    for plural in ["nodes", "namespaces", "serviceaccounts", "secrets"] {
        fake.refuse(&format!("list {plural}"));
        fake.refuse(&format!("get {plural}"));
    }
    for access in [SecretReading::Get, SecretReading::Cluster] {
        let cluster = synced(&fake, access).await;
        let ready = cluster.ready();
        assert!(ready.iter().all(|ready| ready.synced), "{ready:?}");
        assert_eq!(ready[0].note.as_deref(), Some("pullgate may not read Nodes"));
        let facts = cluster
            .facts("shop", &[template(&["regcred"], ""), template(&[], "builder")], soon())
            .await;
        assert!(facts.nodes.is_empty());
        assert_eq!(tell(Some(&facts.namespace)), "pullgate may not read Namespaces");
        assert_eq!(
            tell(facts.service_accounts.get("builder")),
            "pullgate may not read ServiceAccounts in this namespace"
        );
        assert_eq!(
            tell(facts.secrets.get("regcred")),
            "pullgate may not read Secrets in this namespace"
        );
    }
    let cluster = synced(&fake, SecretReading::None).await;
    let facts = cluster.facts("shop", &[template(&["regcred"], "")], soon()).await;
    let facts = cluster
        .reread(&facts, "shop", &[], &[Object::Secret("regcred".to_owned())], soon())
        .await;
    assert_eq!(tell(facts.secrets.get("regcred")), "pullgate is set to read no Secrets");
}

#[tokio::test]
async fn the_last_snapshot_serves_while_the_api_server_is_away() {
    let mut fake = Fake::new();
    fake.put("serviceaccounts", account("a", &["one"]));
    fake.put("nodes", json!({"metadata": {"name": "n1"}}));
    let cluster = synced(&fake, SecretReading::Get).await;
    fake.stop();
    let templates = [template(&[], "a")];
    let facts = cluster.facts("shop", &templates, soon()).await;
    assert_eq!((tell(facts.service_accounts.get("a")), facts.nodes.len()), ("there", 1));
    assert_eq!(
        tell(facts.secrets.get("one")),
        "the API server could not be reached when asked for Secrets"
    );
    let facts = cluster
        .reread(&facts, "shop", &templates, &[Object::ServiceAccount("a".to_owned())], soon())
        .await;
    assert_eq!(
        tell(facts.service_accounts.get("a")),
        "the API server could not be reached when asked for ServiceAccounts"
    );
    assert!(cluster.ready().iter().all(|ready| ready.synced));
    // A watch that cannot start says why.
    let late = Cluster::Watched(Watched::start(&fake.client(), SecretReading::Get));
    assert!(!late.wait_synced(Instant::now() + Duration::from_millis(300)).await);
    eventually("it says why", async || {
        late.ready()[0].note.as_deref() == Some("the API server could not be reached when asked for Nodes")
    })
    .await;
    // It comes back, and so do the changes.
    fake.start();
    assert!(late.wait_synced(soon()).await);
    eventually("the change", async || {
        fake.put("serviceaccounts", account("b", &[]));
        tell(
            cluster
                .facts("shop", &[template(&[], "b")], soon())
                .await
                .service_accounts
                .get("b"),
        ) == "there"
    })
    .await;
}

#[tokio::test]
async fn slow_and_odd_answers_hide() {
    let fake = Fake::new();
    fake.put("secrets", secret("regcred", CONFIG));
    let cluster = synced(&fake, SecretReading::Get).await;
    for (code, body, expected) in [
        (200, "<html>", "the pull secret could not be read"),
        (
            201,
            r#"{"metadata": {"name": "another"}}"#,
            "the pull secret could not be read",
        ),
        (404, "page not found", "the API server answered 404 when asked for Secrets"),
        (500, "down", "the API server answered 500 when asked for Secrets"),
        (502, "{}", "the API server answered with an error when asked for Secrets"),
        (401, "who?", "the API server does not accept pullgate's identity"),
    ] {
        fake.instead(code, body);
        let name = format!("s{code}");
        let facts = cluster.facts("shop", &[template(&[&name], "")], soon()).await;
        assert_eq!(tell(facts.secrets.get(&name)), expected);
    }
    fake.delay(Duration::from_secs(30));
    let facts = cluster.facts("shop", &[template(&["regcred"], "")], soon()).await;
    assert_eq!(
        tell(facts.secrets.get("regcred")),
        "the API server did not answer in time when asked for Secrets"
    );
}

#[tokio::test]
async fn names_that_cannot_exist_are_never_asked_for() {
    let fake = Fake::new();
    let cluster = synced(&fake, SecretReading::Get).await;
    let names = ["../../other/secrets/regcred", "a/b", "a?x=1", "A", "..", "a%2fb"];
    let facts = cluster
        .facts("shop", &[template(&names, ""), template(&[], "../x")], soon())
        .await;
    assert!(
        names.iter().all(|name| tell(facts.secrets.get(*name)) == "absent"),
        "{facts:?}"
    );
    let objects = [
        Object::Secret("../x".to_owned()),
        Object::ServiceAccount(String::new()),
        Object::Namespace,
    ];
    for namespace in ["", "../shop", "a/b"] {
        let facts = cluster
            .facts(namespace, &[template(&["regcred"], ""), template(&[], "a")], soon())
            .await;
        cluster.reread(&facts, namespace, &[], &objects, soon()).await;
    }
    assert_eq!(fake.all_gets(), 0);
    let many: Vec<String> = (0..150).map(|i| format!("s{i:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let facts = cluster.facts("shop", &[template(&many, "")], soon()).await;
    assert_eq!((facts.secrets.len(), fake.all_gets()), (150, 100));
    assert_eq!(tell(facts.secrets.get("s149")), "more than 100 pull secrets are listed");
}

#[tokio::test]
async fn without_a_cluster_everything_is_hidden() {
    let facts = Cluster::Absent
        .facts("shop", &[template(&["regcred"], ""), template(&[], "a")], soon())
        .await;
    assert_eq!(tell(facts.secrets.get("regcred")), "pullgate runs without a cluster");
    assert_eq!(tell(facts.service_accounts.get("a")), "pullgate runs without a cluster");
    assert!(!facts.complete && facts.nodes.is_empty());
    assert!(Cluster::Absent.wait_synced(soon()).await && Cluster::Absent.ready().is_empty());
}

#[tokio::test]
async fn settings_that_name_no_cluster_are_told() {
    use crate::cluster::Options;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let missing = Cluster::connect(&Options {
        kubeconfig: Some(path.clone()),
        ..Options::default()
    })
    .await
    .unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with(&format!("the kubeconfig {} cannot be used: ", path.display())),
        "{missing}"
    );
    let fake = Fake::new();
    fake.put("nodes", json!({"metadata": {"name": "n1"}}));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "none",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", fake.address())}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}],
    });
    std::fs::write(&path, config.to_string()).unwrap();
    let wrong = Cluster::connect(&Options {
        kubeconfig: Some(path.clone()),
        ..Options::default()
    })
    .await
    .unwrap_err();
    assert!(wrong.to_string().contains("cannot be used"), "{wrong}");
    let options = Options {
        kubeconfig: Some(path),
        context: Some("here".to_owned()),
        secrets: SecretReading::Get,
    };
    let cluster = Cluster::connect(&options).await.unwrap();
    assert!(cluster.wait_synced(soon()).await, "{:?}", cluster.ready());
    assert_eq!(cluster.facts("shop", &[], soon()).await.nodes.len(), 1);
}

#[tokio::test]
async fn a_silent_api_server_is_not_believed() {
    let mut fake = Fake::new();
    fake.put("namespaces", json!({"metadata": {"name": "shop"}}));
    let cluster = synced(&fake, SecretReading::Get).await;
    let facts = cluster.facts("shop", &[], soon()).await;
    let again = async || cluster.reread(&facts, "shop", &[], &[Object::Namespace], soon()).await;
    fake.stop();
    // The API server sent something just now: what the watch has shown holds.
    let kept = again().await;
    assert_eq!((tell(Some(&kept.namespace)), kept.unconfirmed), ("there", None));
    assert!(cluster.silence().is_some_and(|silence| silence < limits::API_SILENCE));
    {
        let _clock = StoppedClock::new();
        tokio::time::advance(limits::API_SILENCE).await;
    }
    let silent = again().await;
    assert_eq!(
        tell(Some(&silent.namespace)),
        "the API server could not be reached when asked for Namespaces"
    );
    let why = silent.unconfirmed.unwrap();
    assert!(why.starts_with("the API server has sent nothing for "), "{why}");
    fake.start();
    eventually("it is heard of again", async || {
        let heard = again().await;
        tell(Some(&heard.namespace)) == "there" && heard.unconfirmed.is_none()
    })
    .await;
}

/// The timers of this process's connections to `port`, from `/proc/net/tcp` (`proc_net_tcp`): which one runs, and when it is due, in
/// hundredths of a second.
fn timers(port: u16) -> Vec<(String, u64)> {
    let remote = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[2].ends_with(&remote) && row[3] == "01")
        .map(|row| {
            let (kind, due) = row[5].split_once(':').unwrap();
            (kind.to_owned(), u64::from_str_radix(due, 16).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn the_kernel_asks_whether_the_api_server_is_there() {
    let fake = Fake::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    std::fs::write(&path, fake.kubeconfig().to_string()).unwrap();
    let options = crate::cluster::Options {
        kubeconfig: Some(path),
        ..crate::cluster::Options::default()
    };
    let cluster = Cluster::connect(&options).await.unwrap();
    assert!(cluster.wait_synced(soon()).await, "{:?}", cluster.ready());
    let port = fake.address().port();
    // Its watches are quiet now: nothing but the keepalive timer runs, and is due within five seconds.
    eventually("keepalive on every connection", async || {
        let timers = timers(port);
        timers.len() >= 3 && timers.iter().all(|(kind, due)| kind == "02" && *due <= 500)
    })
    .await;
}

#[tokio::test]
async fn pods_that_list_secrets_by_the_hundred_leave_room() {
    let fake = Fake::new();
    let hold = fake.hold();
    let cluster = synced(&fake, SecretReading::Get).await;
    let names: Vec<String> = (0..100).map(|i| format!("s{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let templates = [template(&names, "")];
    let clock = StoppedClock::new();
    let mut reviews = Vec::new();
    for namespace in 0..256 {
        let (cluster, templates) = (cluster.clone(), templates.clone());
        reviews.push(tokio::spawn(async move {
            let namespace = format!("ns{}", namespace % 16);
            cluster.facts(&namespace, &templates, soon()).await
        }));
    }
    // The API server holds back all answers.
    let began = std::time::Instant::now();
    while fake.all_gets() < limits::API_REQUESTS {
        assert!(began.elapsed() < LONG, "the limit is never reached: {}", fake.all_gets());
        tokio::task::yield_now().await;
    }
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.all_gets(), limits::API_REQUESTS);
    assert!(timers(fake.address().port()).len() <= limits::API_REQUESTS + 8);
    drop((hold, clock));
    for review in reviews {
        let facts = review.await.unwrap();
        assert_eq!(facts.secrets.len(), 100);
    }
}

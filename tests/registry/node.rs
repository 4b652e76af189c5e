//! What only the node knows, through `pullgate check`: a registry with htpasswd whose password only a credential provider plugin, or only a
//! docker credential helper, holds.

use crate::debian::Debian;
use crate::ports;
use crate::program::pullgate;
use crate::sample::image;
use pullgate::verdict::Verdict;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Command;

const PASSWORD: &str = "s3cret-word";
/// More than a busy machine needs to start a program, or to see a change of a file.
const LONG: Duration = Duration::from_mins(2);

/// A registry that wants a password, and a folder for settings and programs.
struct Scene {
    debian: Debian,
    dir: tempfile::TempDir,
}

/// What `check` said of the one image.
struct Said {
    exit: i32,
    outlook: String,
    cause: String,
    message: String,
}

impl Scene {
    async fn new() -> Self {
        let debian = Debian::start(Some(("alice", PASSWORD)), None).await;
        debian.push("team/app", "1", &image("amd64")).await;
        Self {
            debian,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A program. Another process makes the copy: what this one has open for writing cannot be executed.
    fn script(&self, name: &str, body: &str) {
        let draft = self.write(&format!("{name}.txt"), &format!("#!/bin/sh\n{body}\n"));
        let copied = std::process::Command::new("install")
            .args(["-m", "755"])
            .args([&draft, &self.path(name)])
            .status()
            .unwrap();
        assert!(copied.success());
    }

    /// Settings with one plugin, which runs `body`.
    fn plugin(&self, body: &str) -> PathBuf {
        self.script("bin/provider", body);
        self.write(
            "providers.yaml",
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: provider\n  \
             matchImages: [\"127.0.0.1:PORT\"]\n  defaultCacheDuration: 1h\n  \
             apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
                .replace("PORT", &self.debian.port.to_string())
                .as_str(),
        );
        self.write(
            "settings.yaml",
            "registries: {credentialProviders: {config: providers.yaml, binDir: bin}}\n",
        )
    }

    /// A plugin's answer with this password.
    fn answer(&self, password: &str) -> String {
        format!(
            "cat > /dev/null\necho '{{\"kind\": \"CredentialProviderResponse\", \
             \"apiVersion\": \"credentialprovider.kubelet.k8s.io/v1\", \"cacheKeyType\": \"Registry\", \
             \"auth\": {{\"127.0.0.1:{}\": {{\"username\": \"alice\", \"password\": \"{password}\"}}}}}}'",
            self.debian.port
        )
    }

    async fn check(&self, args: &[&str], variables: &[(&str, &Path)]) -> Said {
        let output = Command::from(pullgate())
            .args(["-v", "check", "-o", "json"])
            .args(args)
            .env_remove("DOCKER_CONFIG")
            .env("HOME", self.dir.path())
            .envs(variables.iter().copied())
            .output()
            .await
            .unwrap();
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(text);
            assert!(!text.contains(PASSWORD), "{text}");
        }
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
        let judged = &report["images"][0];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Said {
            exit: output.status.code().unwrap(),
            outlook: text(&judged["outlook"]),
            cause: text(&judged["findings"][0]["cause"]),
            message: text(&judged["findings"][0]["message"]),
        }
    }

    async fn image(&self, tag: &str, args: &[&str], variables: &[(&str, &Path)]) -> Said {
        let image = self.debian.name(&format!("team/app:{tag}"));
        self.check(&[&["--image", &image], args].concat(), variables).await
    }
}

#[tokio::test]
async fn a_plugin_holds_the_credential() {
    let scene = Scene::new().await;
    let without = scene.image("1", &["--complete"], &[]).await;
    assert_eq!((without.exit, without.cause.as_str()), (1, "NotFoundOrDenied"));

    let settings = scene.plugin(&scene.answer(PASSWORD));
    let args = ["--complete", "--config", settings.to_str().unwrap()];
    let with = scene.image("1", &args, &[]).await;
    assert_eq!((with.exit, with.outlook.as_str()), (0, "Pulls"), "{}", with.message);
    let absent = scene.image("2", &args, &[]).await;
    assert_eq!(
        (absent.exit, absent.cause.as_str()),
        (1, "TagNotFound"),
        "what it can read, it can judge"
    );

    scene.plugin(&scene.answer("wrong-word"));
    let refused = scene.image("1", &args, &[]).await;
    assert_eq!((refused.exit, refused.cause.as_str()), (1, "CredentialRefused"));
    assert!(
        refused.message.contains("credential provider \"provider\""),
        "{}",
        refused.message
    );

    scene.plugin("exit 1");
    let failed = scene.image("1", &args, &[]).await;
    assert_eq!(
        (failed.exit, failed.outlook.as_str()),
        (0, "Unknown"),
        "a node's plugin may work"
    );
    assert!(
        failed.message.contains("credential provider \"provider\" could not be asked"),
        "{}",
        failed.message
    );
}

#[tokio::test]
async fn the_pods_own_secret_comes_first() {
    let scene = Scene::new().await;
    let log = scene.path("log");
    let manifest = |password: &str| {
        let registry = scene.debian.name("");
        let auths = format!(
            r#"{{"auths": {{"{}": {{"username": "alice", "password": "{password}"}}}}}}"#,
            registry.trim_end_matches('/')
        );
        let secret = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: pull}}\ntype: kubernetes.io/dockerconfigjson\n\
             stringData: {{.dockerconfigjson: '{auths}'}}\n"
        );
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  imagePullSecrets: [{{name: pull}}]\n  \
             containers: [{{name: c, image: '{registry}team/app:1'}}]\n"
        );
        scene.write("pod.yaml", &format!("{secret}---\n{pod}"))
    };
    // Secret, plugin, and whether any of them pulls.
    for (secret, plugin, outlook) in [
        (PASSWORD, "wrong-word", "Pulls"),
        ("wrong-word", PASSWORD, "Pulls"),
        ("wrong-word", "wrong-word-2", "WillFail"),
    ] {
        let file = manifest(secret);
        let settings = scene.plugin(&format!("echo run >> '{}'\n{}", log.display(), scene.answer(plugin)));
        let args = [
            "-f",
            file.to_str().unwrap(),
            "--complete",
            "--config",
            settings.to_str().unwrap(),
        ];
        let said = scene.check(&args, &[]).await;
        assert_eq!(said.outlook, outlook, "{}", said.message);
        if outlook == "WillFail" {
            let (own, node) = (said.message.find("secret \"pull\""), said.message.find("credential provider"));
            assert!(own.is_some() && own < node, "{}", said.message);
        }
    }
    assert_eq!(std::fs::read_to_string(log).unwrap().lines().count(), 3);
}

#[tokio::test]
async fn a_credential_helper_holds_the_credential() {
    let scene = Scene::new().await;
    let registry = format!("127.0.0.1:{}", scene.debian.port);
    scene.script(
        "bin/docker-credential-good",
        &format!(
            "[ \"$1\" = get ] && read server && [ \"$server\" = {registry} ] || exit 1\n\
             echo '{{\"ServerURL\": \"{registry}\", \"Username\": \"alice\", \"Secret\": \"{PASSWORD}\"}}'"
        ),
    );
    scene.script(
        "bin/docker-credential-empty",
        "echo credentials not found in native keychain; exit 1",
    );
    scene.script("bin/docker-credential-broken", "echo no key; exit 1");
    let path = PathBuf::from(format!(
        "{}:{}",
        scene.path("bin").display(),
        std::env::var_os("PATH").unwrap().display()
    ));
    let variables = [("PATH", path.as_path())];
    let config = |text: String| {
        scene.write(".docker/config.json", &text);
    };
    // As the node-level keyring; as the user's own, which stands in for what could not be seen.
    let folder = scene.path(".docker");
    let node = ["--complete", "--docker-config", folder.to_str().unwrap()];
    let own: [&str; 0] = [];

    for text in [
        r#"{"credsStore": "good"}"#.to_owned(),
        format!(r#"{{"auths": {{"{registry}": {{}}}}, "credHelpers": {{"{registry}": "good"}}, "credsStore": "broken"}}"#),
    ] {
        config(text);
        for args in [&node[..], &own] {
            let said = scene.image("1", args, &variables).await;
            assert_eq!(said.outlook, "Pulls", "{args:?} {}", said.message);
        }
    }

    config(r#"{"credsStore": "empty"}"#.to_owned());
    let said = scene.image("1", &node, &variables).await;
    assert_eq!(
        (said.exit, said.cause.as_str()),
        (1, "NotFoundOrDenied"),
        "nothing there is an answer"
    );

    for (helper, why) in [("broken", "it ended with exit status: 1"), ("gone", "it is not installed")] {
        config(format!(r#"{{"credsStore": "{helper}"}}"#));
        for args in [&node[..], &own] {
            let said = scene.image("1", args, &variables).await;
            assert_eq!((said.exit, said.outlook.as_str()), (0, "Unknown"), "{args:?}");
            let expect = format!("docker-credential-{helper} could not be asked for {registry}: {why}");
            assert!(said.message.contains(&expect), "{}", said.message);
        }
    }

    // The settings' dockerConfig stands for a node's, and a node's kubelet asks no helper.
    config(r#"{"credsStore": "good"}"#.to_owned());
    let settings = scene.write("settings.yaml", "registries: {dockerConfig: .docker/config.json}\n");
    let said = scene
        .image("1", &["--complete", "--config", settings.to_str().unwrap()], &variables)
        .await;
    assert_eq!(said.cause, "NotFoundOrDenied");
}

/// `pullgate serve`, without a cluster; it ends when dropped.
struct Serving {
    process: tokio::process::Child,
    url: String,
    http: reqwest::Client,
}

impl Serving {
    async fn start(scene: &Scene, settings: &Path) -> Self {
        let facts = scene.write("facts/all.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
        let [webhook, metrics] = [(); 2].map(|()| ports::free().to_string());
        let process = Command::from(pullgate())
            .args(["serve", "--tls-dev", "--no-cluster", "--drain-delay", "0s"])
            .args(["--listen", &webhook, "--metrics-listen", &metrics])
            .arg("--facts")
            .arg(facts.parent().unwrap())
            .arg("--config")
            .arg(settings)
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .build()
            .unwrap();
        let mut serving = Self {
            process,
            url: format!("https://{webhook}/validate"),
            http,
        };
        let until = Instant::now() + LONG;
        let ready = async || {
            let answer = serving.http.get(format!("http://{metrics}/readyz")).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        };
        while !ready().await {
            assert!(serving.process.try_wait().unwrap().is_none(), "it does not start");
            assert!(Instant::now() < until, "it does not serve");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        serving
    }

    /// The message of the denial; `None` where a pod with this image is allowed.
    async fn denial(&self, image: &str) -> Option<String> {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"},
                         "spec": {"containers": [{"name": "c", "image": image}]}});
        let response = self.ask(&pod, None).await;
        (response["allowed"] == false).then(|| response["status"]["message"].as_str().unwrap().to_owned())
    }

    /// The response to a review: of an UPDATE where there is an `old` object.
    async fn ask(&self, object: &Value, old: Option<&Value>) -> Value {
        let operation = if old.is_some() { "UPDATE" } else { "CREATE" };
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u-1", "operation": operation, "namespace": "shop", "userInfo": {},
            "kind": {"kind": object["kind"]}, "object": object, "oldObject": old}});
        let answer = self
            .http
            .post(&self.url)
            .body(review.to_string())
            .header("content-type", "application/json");
        let answer: Value = serde_json::from_slice(&answer.send().await.unwrap().bytes().await.unwrap()).unwrap();
        answer["response"].clone()
    }

    /// Waits until the pod is allowed, or is denied.
    async fn until(&self, image: &str, expect: Verdict) {
        let until = Instant::now() + LONG;
        loop {
            let said = self.denial(image).await;
            if said.is_none() == (expect == Verdict::Allow) {
                return;
            }
            assert!(Instant::now() < until, "still {said:?}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

#[tokio::test]
async fn serve_uses_plugins_and_a_docker_config_and_reads_both_again() {
    let scene = Scene::new().await;
    scene.plugin(&scene.answer("wrong-word"));
    let registry = format!("127.0.0.1:{}", scene.debian.port);
    let docker = |password: &str| {
        let text = format!(r#"{{"auths": {{"{registry}": {{"username": "alice", "password": "{password}"}}}}}}"#);
        scene.write("config.json", &text);
    };
    docker("wrong-word-2");
    let settings = scene.write(
        "settings.yaml",
        "registries: {credentialProviders: {config: providers.yaml, binDir: bin}, dockerConfig: config.json}\n\
         network: {allow: [127.0.0.0/8]}\n",
    );
    let serving = Serving::start(&scene, &settings).await;
    let image = scene.debian.name("team/app:1");

    let denied = serving.denial(&image).await.unwrap();
    let (config, plugin) = (denied.find("the docker config"), denied.find("credential provider"));
    assert!(config.is_some() && config < plugin, "{denied}");
    assert!(!denied.contains("wrong-word"), "{denied}");

    docker(PASSWORD);
    serving.until(&image, Verdict::Allow).await;
    docker("wrong-word-2");
    serving.until(&image, Verdict::Deny).await;
    // The program alone changes nothing while its answer holds; its configuration does.
    scene.plugin(&scene.answer(PASSWORD));
    let list = std::fs::read_to_string(scene.path("providers.yaml")).unwrap();
    scene.write("providers.yaml", &list.replace("1h", "2h"));
    serving.until(&image, Verdict::Allow).await;
    // What cannot be used leaves the last good one in force.
    scene.write("providers.yaml", "nonsense");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(serving.denial(&image).await, None);
}

#[tokio::test]
async fn what_an_update_replaces_shows_what_the_nodes_hold() {
    let scene = Scene::new().await;
    let settings = scene.write("settings.yaml", "network: {allow: [127.0.0.0/8]}\n");
    let serving = Serving::start(&scene, &settings).await;
    let deployment = |image: &str, status: &Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "shop", "generation": 7},
            "spec": {"template": {"spec": {"containers": [{"name": "c", "image": scene.debian.name(image)}]}}}, "status": status})
    };
    let runs = json!({"observedGeneration": 7, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3});
    let new = deployment("team/app:1", &Value::Null);
    let denied = |response: &Value| response["allowed"] == false;

    assert!(denied(&serving.ask(&new, None).await), "of a new object nothing is known");
    let response = serving.ask(&new, Some(&deployment("team/app:0", &runs))).await;
    assert_eq!(response["allowed"], true, "{response}");
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("NotFoundOrDenied: ") && warning.ends_with("add it to nodeCredentials"),
        "{warning}"
    );

    // The object's own status, the same repository, and pods that have started.
    let stuck = json!({"observedGeneration": 7, "replicas": 4, "updatedReplicas": 1, "readyReplicas": 3});
    for old in [
        deployment("team/app:0", &stuck),
        deployment("team/other:0", &runs),
        deployment("team/app:0", &Value::Null),
    ] {
        assert!(denied(&serving.ask(&new, Some(&old)).await), "{old}");
    }
    // A status that comes with the change shows nothing.
    let response = serving
        .ask(
            &deployment("team/app:1", &runs),
            Some(&deployment("team/app:0", &Value::Null)),
        )
        .await;
    assert!(denied(&response), "{response}");
}

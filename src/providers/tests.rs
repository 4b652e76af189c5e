//! Real programs: small shell scripts in a folder of their own.

use super::*;
use crate::credentials::Hidden;
use crate::credentials::node::Entries;
use crate::credentials::provider::parse_provider_config;
use std::path::PathBuf;
use std::time::Duration;

/// A folder of plugins.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a script there. Another process makes the copy: a program that this one has open for writing, even in the moment
    /// between fork and exec of another test's child, cannot be executed.
    fn script(&self, name: &str, body: &str) {
        let draft = self.path(&format!("{name}.txt"));
        std::fs::write(&draft, format!("#!/bin/sh\ncd '{}'\n{body}\n", self.0.path().display())).unwrap();
        let copied = std::process::Command::new("install")
            .args(["-m", "755"])
            .args([&draft, &self.path(name)])
            .status()
            .unwrap();
        assert!(copied.success());
    }

    /// How many lines the script has written to `log`.
    fn runs(&self) -> usize {
        std::fs::read_to_string(self.path("log")).unwrap_or_default().lines().count()
    }

    fn providers(&self, list: &str) -> Providers {
        let text = format!("apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders: [{list}]");
        let list = parse_provider_config(&text).unwrap();
        Providers::default()
            .with_plugins(list, self.0.path(), Metrics::new())
            .unwrap()
    }
}

/// A plugin of the configuration.
fn plugin(name: &str, image: &str, cache: &str, rest: &str) -> String {
    format!(
        "{{name: {name}, matchImages: [\"{image}\"], defaultCacheDuration: {cache}, \
         apiVersion: credentialprovider.kubelet.k8s.io/v1{rest}}}"
    )
}

/// A script's line that prints an answer.
fn print(rest: &str) -> String {
    format!(
        "echo run >> log\ncat <<END\n{{\"kind\": \"CredentialProviderResponse\", \
         \"apiVersion\": \"credentialprovider.kubelet.k8s.io/v1\", {rest}}}\nEND"
    )
}

fn wanted(name: &str) -> WantedCredentials {
    WantedCredentials {
        name: name.to_owned(),
        registry: name.split('/').next().unwrap().to_owned(),
        stand_in: StandIn::Wanted,
    }
}

async fn ask(providers: &Providers, name: &str) -> Provided {
    let deadline = Instant::now() + Duration::from_mins(1);
    providers.ask(vec![wanted(name)], deadline).await.remove(0).1
}

fn user(entries: &Entries) -> Vec<(&str, &str, &str)> {
    let text = |hidden| std::str::from_utf8(Hidden::bytes(hidden)).unwrap();
    entries
        .iter()
        .map(|(key, credential)| (key.as_str(), text(&credential.username), text(&credential.password)))
        .collect()
}

#[tokio::test]
async fn a_plugin_gets_request_arguments_and_a_minimal_environment() {
    let folder = Folder::new();
    folder.script(
        "good",
        &format!(
            "cat > request\nenv > environment\necho \"$@\" > arguments\necho noise >&2\n{}",
            print(r#""cacheKeyType": "Image", "auth": {"reg.example": {"username": "u", "password": "p"}}"#)
        ),
    );
    let providers = folder.providers(&plugin(
        "good",
        "*.example",
        "1h",
        ", args: [get, --now], env: [{name: WHO, value: me}]",
    ));
    let provided = ask(&providers, "reg.example/team/app").await;
    assert_eq!(provided.unanswered, None);
    let [(name, entries)] = provided.plugins.as_slice() else {
        panic!("one answer: {provided:?}")
    };
    assert_eq!((name.as_str(), user(entries)), ("good", vec![("reg.example", "u", "p")]));
    let read = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap();
    assert_eq!(
        read("request"),
        "{\"kind\":\"CredentialProviderRequest\",\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\
         \"image\":\"reg.example/team/app\"}\n"
    );
    assert_eq!(read("arguments"), "get --now\n");
    let environment = read("environment");
    assert!(environment.lines().any(|line| line == "WHO=me"));
    // Cargo sets it for this test.
    assert!(!environment.contains("CARGO_PKG_NAME"), "{environment}");

    assert_eq!(
        ask(&providers, "other.test/app").await,
        Provided::default(),
        "not its registry"
    );
    assert_eq!(folder.runs(), 1);
}

#[tokio::test]
async fn answers_reach_as_far_as_they_say() {
    for (scope, runs) in [("Image", [1, 1, 2, 3]), ("Registry", [1, 1, 1, 2]), ("Global", [1, 1, 1, 1])] {
        let folder = Folder::new();
        folder.script("p", &print(&format!(r#""cacheKeyType": "{scope}""#)));
        let providers = folder.providers(&plugin("p", "*.example", "1h", ""));
        for (name, runs) in ["a.example/x", "a.example/x", "a.example/y", "b.example/x"]
            .into_iter()
            .zip(runs)
        {
            let provided = ask(&providers, name).await;
            assert_eq!((provided.unanswered, provided.plugins.len()), (None, 1));
            assert_eq!(folder.runs(), runs, "{scope} {name}");
        }
    }
}

#[tokio::test]
async fn answers_hold_as_long_as_they_say() {
    // Default, answer, and how often the plugin runs for two requests half a second apart.
    for (default, own, runs) in [
        ("1h", "", 1),
        ("100ms", "", 2),
        ("0s", "", 2),
        ("1h", r#", "cacheDuration": "0s""#, 2),
        ("1h", r#", "cacheDuration": "100ms""#, 2),
        ("0s", r#", "cacheDuration": "1h""#, 1),
    ] {
        let folder = Folder::new();
        folder.script("p", &print(&format!(r#""cacheKeyType": "Global"{own}"#)));
        let providers = folder.providers(&plugin("p", "*.example", default, ""));
        ask(&providers, "a.example/x").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        ask(&providers, "a.example/x").await;
        assert_eq!(folder.runs(), runs, "{default} {own}");
    }
}

#[tokio::test]
async fn questions_at_the_same_time_are_asked_once() {
    let folder = Folder::new();
    folder.script("p", &format!("sleep 0.3\n{}", print(r#""cacheKeyType": "Registry""#)));
    let providers = folder.providers(&plugin("p", "*.example", "1h", ""));
    let deadline = Instant::now() + Duration::from_mins(1);
    let same: Vec<WantedCredentials> = (0..50).map(|_| wanted("a.example/x")).collect();
    let answers = providers.ask(same, deadline).await;
    assert_eq!((answers.len(), folder.runs()), (50, 1));
    // Many images of a registry that is not known yet: a few processes, not one for each.
    let many: Vec<WantedCredentials> = (0..50).map(|n| wanted(&format!("b.example/{n}"))).collect();
    let answers = providers.ask(many, deadline).await;
    assert!(answers.iter().all(|(_, provided)| provided.plugins.len() == 1));
    assert!((2..=5).contains(&folder.runs()), "{}", folder.runs());
}

#[tokio::test]
async fn several_plugins_answer_in_the_order_of_the_configuration() {
    let folder = Folder::new();
    let auth =
        |user: &str| format!(r#""cacheKeyType": "Image", "auth": {{"a.example": {{"username": "{user}", "password": "p"}}}}"#);
    folder.script("slow", &format!("sleep 0.3\n{}", print(&auth("first"))));
    folder.script("fast", &print(&auth("second")));
    folder.script("broken", "exit 3");
    let list = ["slow", "broken", "fast"]
        .map(|name| plugin(name, "*.example", "1h", ""))
        .join(", ");
    let provided = ask(&folder.providers(&list), "a.example/x").await;
    let users: Vec<_> = provided
        .plugins
        .iter()
        .flat_map(|(_, entries)| user(entries))
        .map(|(_, user, _)| user)
        .collect();
    assert_eq!(users, ["first", "second"]);
    let why = provided.unanswered.unwrap();
    assert_eq!(
        why,
        "credential provider \"broken\" could not be asked: it ended with exit status: 3"
    );
}

#[tokio::test]
async fn whatever_a_plugin_does_wrong_is_no_answer_and_no_leak() {
    let folder = Folder::new();
    for (name, body, expect) in [
        (
            "failing",
            "echo hunter2; echo hunter2 >&2; exit 1".to_owned(),
            "it ended with exit status: 1",
        ),
        ("killed", "kill -9 $$".to_owned(), "it ended with signal: 9"),
        (
            "garbage",
            "echo hunter2".to_owned(),
            "its answer is not a CredentialProviderResponse",
        ),
        (
            "silent",
            "exec 1>&-".to_owned(),
            "its answer is not a CredentialProviderResponse",
        ),
        (
            "huge",
            "while :; do echo hunter2hunter2hunter2; done".to_owned(),
            "it printed too much",
        ),
        ("keyless", print(r#""auth": {}"#), "it has no cacheKeyType"),
    ] {
        folder.script(name, &format!("echo run >> log\n{body}"));
        let providers = folder.providers(&plugin(name, "*.example", "1h", ""));
        let provided = ask(&providers, "a.example/x").await;
        assert!(provided.plugins.is_empty(), "{name}");
        let why = provided.unanswered.unwrap();
        let expect = expect.replace("it has no cacheKeyType", "its answer has no valid cacheKeyType");
        assert!(why.contains(&expect) && !why.contains("hunter2"), "{name}: {why}");
        let before = folder.runs();
        assert!(ask(&providers, "a.example/x").await.unanswered.is_some());
        assert_eq!(folder.runs(), before, "{name}: a failure is remembered for a while");
    }
}

#[tokio::test]
async fn a_slow_plugin_takes_half_of_the_time_and_its_answer_is_kept() {
    let folder = Folder::new();
    let go = folder.path("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    folder.script("slow", &format!("{wait}\n{}", print(r#""cacheKeyType": "Image""#)));
    let providers = folder.providers(&plugin("slow", "*.example", "1h", ""));
    let start = Instant::now();
    let answers = providers
        .ask(vec![wanted("a.example/x")], start + Duration::from_secs(8))
        .await;
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    let why = answers[0].1.unanswered.clone().unwrap();
    assert!(why.ends_with("it did not answer in time"), "{why}");
    std::fs::write(go, "").unwrap();
    let provided = ask(&providers, "a.example/x").await;
    assert_eq!((provided.unanswered, folder.runs()), (None, 1), "it went on");
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_with_what_it_started() {
    let folder = Folder::new();
    folder.script("hangs", "echo run >> log\nsleep 1000 &\necho $$ $! > pids\nwait");
    let providers = folder.providers(&plugin("hangs", "*.example", "1h", ""));
    let start = Instant::now();
    let provided = providers
        .ask(vec![wanted("a.example/x")], start + Duration::from_mins(1))
        .await
        .remove(0)
        .1;
    assert!(provided.unanswered.unwrap().contains("in time"));
    assert!(start.elapsed() < Duration::from_secs(40), "it does not get all of the time");
    let pids = std::fs::read_to_string(folder.path("pids")).unwrap();
    let pids: Vec<&str> = pids.split_whitespace().collect();
    assert_eq!(pids.len(), 2);
    // Nobody may be there to collect what was killed.
    let runs = |pid: &&str| {
        let state = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
        state.is_ok_and(|state| !state.contains(") Z "))
    };
    for _ in 0..600 {
        if !pids.iter().any(runs) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!pids.iter().any(runs), "it still runs");
    // Other images of its registries do not wait for it now; later one of them does.
    let name = "a.example/y";
    let until = |why: &str| why.contains("does not wait for it");
    while !ask(&providers, name).await.unanswered.is_some_and(|why| until(&why)) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let start = Instant::now();
    for _ in 0..100 {
        assert!(ask(&providers, name).await.unanswered.is_some_and(|why| until(&why)));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(folder.runs(), 1);
}

/// A docker credential helper stays in the group of the user's terminal, and ends with what it started all the same.
#[tokio::test]
async fn whatever_a_helper_does_wrong_ends_with_what_it_started() {
    let folder = Folder::new();
    for (name, body, why) in [
        ("hangs", "sleep 1000 & echo $$ $! > pids; wait", run::Fault::TooLong),
        (
            "forks",
            "sh -c 'sleep 1000 & echo $$ $! > pids; wait' & wait",
            run::Fault::TooLong,
        ),
        ("floods", "yes hunter2 & echo $$ $! > pids; wait", run::Fault::TooMuch),
        (
            "closes",
            "exec 1>&-; sleep 1000 & echo $$ $! > pids; wait",
            run::Fault::TooLong,
        ),
    ] {
        folder.script(name, body);
        let mut command = tokio::process::Command::new(folder.path(name));
        command.arg("get");
        let bounds = run::Bounds::usual(Duration::from_secs(5));
        let ended = run::run(command, run::Belongs::ToUser, b"reg.example\n".to_vec(), bounds).await;
        assert_eq!(ended.err(), Some(why), "{name}");
        let pids = std::fs::read_to_string(folder.path("pids")).unwrap();
        std::fs::remove_file(folder.path("pids")).unwrap();
        let runs = |pid: &str| {
            let state = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
            state.is_ok_and(|state| !state.contains(") Z "))
        };
        for _ in 0..600 {
            if !pids.split_whitespace().any(runs) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(!pids.split_whitespace().any(runs), "{name}: it still runs");
    }
}

#[tokio::test]
async fn a_plugin_that_wants_service_account_tokens_is_never_run() {
    let folder = Folder::new();
    let attributes = ", tokenAttributes: {serviceAccountTokenAudience: sts, requireServiceAccount: false, cacheType: Token}";
    // Its program is not even there.
    let providers = folder.providers(&plugin("tokens", "*.example", "1h", attributes));
    let provided = ask(&providers, "a.example/x").await;
    assert!(provided.unanswered.unwrap().contains("which only the kubelet has"));
    assert_eq!(ask(&providers, "other.test/x").await, Provided::default());
}

#[test]
fn programs_that_are_not_there_are_found_at_the_start() {
    let folder = Folder::new();
    std::fs::write(folder.path("text"), "").unwrap();
    std::fs::create_dir(folder.path("folder")).unwrap();
    for (name, expect) in [
        ("missing", "cannot be read"),
        ("text", "is not an executable file"),
        ("folder", "is not an executable file"),
    ] {
        let text = format!(
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders: [{}]",
            plugin(name, "a.example", "1h", "")
        );
        let error = Providers::default()
            .with_plugins(parse_provider_config(&text).unwrap(), folder.0.path(), Metrics::new())
            .unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    }
}

#[tokio::test]
async fn twenty_reviews_at_once_run_one_process() {
    let folder = Folder::new();
    let answer = r#""cacheKeyType": "Registry", "auth": {"reg.example": {"username": "u", "password": "p"}}"#;
    folder.script("ecr", &print(answer));
    let providers = folder.providers(&plugin("ecr", "reg.example", "1h", ""));
    let names: Vec<String> = (0..20).map(|n| format!("reg.example/team/app{n}")).collect();
    let all = futures_util::future::join_all(names.iter().map(|name| ask(&providers, name))).await;
    assert!(
        all.iter()
            .all(|provided| provided.plugins.len() == 1 && provided.unanswered.is_none())
    );
    assert_eq!(folder.runs(), 1);
    // A plugin whose answers are for one image each runs for each image, a few at the same time.
    let folder = Folder::new();
    folder.script("each", &print(r#""cacheKeyType": "Image", "auth": {}"#));
    let providers = folder.providers(&plugin("each", "reg.example", "1h", ""));
    futures_util::future::join_all(names.iter().map(|name| ask(&providers, name))).await;
    assert_eq!(folder.runs(), 20);
}

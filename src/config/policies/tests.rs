use super::*;
use crate::config::{Live, PolicyStore, ReloadTrigger};
use crate::telemetry::Metrics;
use crate::workload::Kinds;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

fn policy(name: &str, spec: &str) -> String {
    format!("apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn look(folder: &TempDir) -> PolicySet {
    read(&[folder.path().to_owned()]).compile(&Kinds::default())
}

/// `file:line:column: sentence`, without the folder.
fn faults(set: &PolicySet) -> Vec<String> {
    let file = |fault: &Fault| Path::new(&fault.file).file_name().unwrap().to_str().unwrap().to_owned();
    set.faults
        .iter()
        .map(|fault| format!("{}:{}:{}: {}", file(fault), fault.line, fault.column, fault.sentence()))
        .collect()
}

fn names(policies: &[Arc<Policy>]) -> Vec<&str> {
    policies.iter().map(|policy| &*policy.name).collect()
}

#[test]
fn every_error_is_found_at_once_with_its_place_and_the_rest_is_read() {
    let broken = "\
apiVersion: pullgate.dev/v1alpha1
kind: ImagePolicy
metadata: {name: broken}
spec:
  mode: Enfrce
  registires: {allow: [a]}
  registries:
    allow:
    - reg.corp
    - \"*/x\"
    deny: []
  tags:
    deny: [1.10, latest]
    requireDigest: \"yes\"
  size: {max: lots}
  actions: {WillFial: Deny, Unknown: Refuse}
  match:
    namespaceSelector:
      matchExpressions:
      - {key: a, operator: In}
---
not: [yaml
---
apiVersion: pullgate.dev/v1alpha1
kind: ImagePolicy
metadata: {name: good}
spec: {mode: Audit}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: x}
data: {a: b}
";
    let folder = folder(&[("a.yaml", broken), ("b.yaml", &policy("other", "mode: Warn"))]);
    let set = look(&folder);
    assert_eq!(names(&set.policies), ["good", "other"]);
    let expected = [
        "a.yaml:5:9: spec.mode: unknown value \"Enfrce\"; did you mean \"Enforce\"?",
        "a.yaml:6:3: spec.registires: unknown field \"registires\"; did you mean \"registries\"?",
        "a.yaml:9:7: spec.registries.allow[0]: \"reg.corp\" names no repository; for everything in that registry, write reg.corp/**",
        "a.yaml:11:11: spec.registries.deny: an empty list matches nothing: remove the field, or add entries",
        "a.yaml:13:12: spec.tags.deny[0]: expected text, got a number; put it in quotes",
        "a.yaml:14:20: spec.tags.requireDigest: expected true or false, got text",
        "a.yaml:15:15: spec.size.max: \"lots\" is not a size; write a Kubernetes quantity such as 2Gi or 500M",
        "a.yaml:16:13: spec.actions.WillFial: unknown field \"WillFial\"; did you mean \"WillFail\"?",
        "a.yaml:16:38: spec.actions.Unknown: unknown value \"Refuse\"; known here: Deny, Warn, Allow",
        "a.yaml:20:9: spec.match.namespaceSelector.matchExpressions[0]: In and NotIn need values",
    ];
    let found = faults(&set);
    assert_eq!(&found[..expected.len()], expected, "{found:#?}");
    assert!(found[expected.len()].starts_with("a.yaml:22:"), "{found:#?}");
    assert_eq!(
        found[expected.len() + 1..],
        ["a.yaml:30:7: kind: expected ImagePolicy, got \"ConfigMap\""]
    );
}

#[test]
fn what_the_schema_admits_is_held_against_its_meaning() {
    let text = "\
apiVersion: pullgate.dev/v1alpha1
kind: ImagePolicy
metadata: {name: x}
spec:
  registries:
    allow: [reg.corp, nginx, \"https://a/b\", \"docker.io/library/ng*\", \"a.b/c:1\"]
    deny: [\"docker.io/library/*\"]
  size: {max: 1Pi}
  platforms: [linux, linux/amd64]
  match: {namespaces: [\"Prod-*\"], kinds: [pods]}
";
    let set = look(&folder(&[("a.yaml", text)]));
    assert_eq!(
        faults(&set),
        [
            "a.yaml:6:13: spec.registries.allow[0]: \"reg.corp\" names no repository; for everything in that registry, write reg.corp/**",
            "a.yaml:6:30: spec.registries.allow[2]: \"https://a/b\" has a scheme; start with the registry's host",
            "a.yaml:6:70: spec.registries.allow[4]: \"a.b/c:1\" has a tag or a digest; a pattern matches names only: \
             a.b/c (for tags, use tags.deny)",
            "a.yaml:8:15: spec.size.max: \"1Pi\" is not a size; write a Kubernetes quantity such as 2Gi or 500M",
            "a.yaml:9:15: spec.platforms[0]: \"linux\" is not a platform: write os/architecture or os/architecture/variant, such as linux/arm64",
            "a.yaml:10:24: spec.match.namespaces[0]: \"Prod-*\" cannot match anything: namespace names consist of lower-case letters, digits \
             and -; * matches any text",
            "a.yaml:10:43: spec.match.kinds[0]: unknown kind \"pods\"; did you mean \"Pod\"?",
        ]
    );
    let dead = policy(
        "dead",
        "registries: {allow: [\"a.b/**\", \"docker.io/library/ng*\"], deny: [\"docker.io/library/*\"]}",
    );
    assert_eq!(
        faults(&look(&folder(&[("a.yaml", &dead)]))),
        [
            "a.yaml:4:39: spec.registries.allow[1]: \"docker.io/library/ng*\" allows nothing: the deny list's \
             \"docker.io/library/*\" covers everything it matches and is as specific (text next to a * does not count)"
        ]
    );
    let shown = set.faults.iter().next().unwrap().to_string();
    assert!(
        shown.ends_with(
            "\n  6 |     allow: [reg.corp, nginx, \"https://a/b\", \"docker.io/library/ng*\", \"a.b/c:1\"]\n    |             ^"
        ),
        "{shown}"
    );
}

#[test]
fn a_name_is_taken_once() {
    let set = look(&folder(&[
        ("a.yaml", &policy("x", "")),
        (
            "b.json",
            "{\"apiVersion\": \"pullgate.dev/v1alpha1\", \"kind\": \"ImagePolicy\", \"metadata\": {\"name\": \"x\"}, \"spec\": {}}",
        ),
    ]));
    assert_eq!(names(&set.policies), ["x"]);
    let found = faults(&set);
    assert!(
        found[0].starts_with("b.json:1:85: metadata.name: another policy, at "),
        "{found:?}"
    );
    assert!(found[0].ends_with("a.yaml:1, already has the name \"x\""), "{found:?}");
}

#[test]
fn what_lies_about_in_a_folder() {
    let folder = folder(&[
        ("a.yaml", &policy("a", "")),
        ("b.yml", &policy("b", "")),
        (".hidden.yaml", "no: policy"),
        ("README.md", "text"),
        ("empty.yaml", "# nothing yet\n---\n"),
        (
            "test.yaml",
            "apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicyTest\nspec: {nonsense: 1}\n",
        ),
    ]);
    fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    fs::write(folder.path().join("folder.yaml/c.yaml"), policy("c", "")).unwrap();
    let set = look(&folder);
    assert_eq!(
        (names(&set.policies), faults(&set), set.tests.len()),
        (vec!["a", "b"], vec![], 1)
    );

    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling.yaml")).unwrap();
    let set = look(&folder);
    assert_eq!(
        set.faults.iter().map(|fault| fault.kind).collect::<Vec<_>>(),
        [FaultKind::Unreadable]
    );

    let files = read(&[folder.path().join("a.yaml"), folder.path().join("missing")]);
    let set = files.compile(&Kinds::default());
    assert_eq!(
        (names(&set.policies), set.faults.len()),
        (vec!["a"], 1),
        "a file may be named by itself"
    );
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(read(&[empty.path().to_owned()]).empty(), [empty.path().to_owned()]);
}

#[test]
fn what_is_too_large_or_no_text_is_refused_and_the_rest_holds() {
    let big = policy("big", &format!("tags: {{deny: [{}]}}", "\"1.2.3-rc\", ".repeat(450_000)));
    let bytes = policy("ok", "");
    let folder = folder(&[("big.yaml", &big), ("ok.yaml", &bytes)]);
    fs::write(folder.path().join("latin.yaml"), b"a: 1\nb: \xe9\n").unwrap();
    let set = look(&folder);
    assert_eq!(names(&set.policies), ["ok"]);
    let found = faults(&set);
    assert!(big.len() > 5 << 20, "{}", big.len());
    assert_eq!(
        found,
        [
            format!(
                "big.yaml:0:0: it has {} bytes; the limit for a policy file is 1048576",
                big.len()
            ),
            "latin.yaml:2:1: this line is not UTF-8 text".to_owned(),
        ]
    );
}

#[test]
fn bombs_and_long_lists_are_refused_and_anchors_are_read() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, of) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("f", "e"), ("g", "f")] {
        let each = format!("*{of}, ").repeat(10);
        writeln!(bomb, "{name}: &{name} [{each}]").unwrap();
    }
    let deep = format!(
        "{}spec: {}{}",
        policy("deep", "").replace("spec: {}\n", ""),
        "[".repeat(3000),
        "]".repeat(3000)
    );
    let anchored = "apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: anchored}\nspec:\n  registries: {deny: &l [\"a.b/**\"]}\n  exempt: {images: *l}\n";
    let long = policy("long", &format!("registries: {{deny: [{}]}}", "\"a.b/c\", ".repeat(1001)));
    let odd = policy("odd", &format!("registries: {{deny: [\"{}\"]}}", "a.b/".repeat(300)));
    let set = look(&folder(&[
        ("a.yaml", &bomb),
        ("b.yaml", &deep),
        ("c.yaml", anchored),
        ("d.yaml", &long),
        ("e.yaml", &odd),
    ]));
    assert_eq!(names(&set.policies), ["anchored"]);
    let found = faults(&set);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(
        found[2].ends_with("spec.registries.deny: 1001 entries; the limit is 1000"),
        "{found:#?}"
    );
    assert!(found[3].ends_with("1200 characters; the limit is 1024"), "{found:#?}");
}

#[test]
fn there_is_an_end_to_files_and_policies() {
    let many: Vec<String> = (0..1001).map(|at| policy(&format!("p{at}"), "")).collect();
    let set = look(&folder(&[("a.yaml", &many.join("---\n"))]));
    assert_eq!((set.policies.len(), set.faults.len()), (1000, 1));
    let folder = tempfile::tempdir().unwrap();
    for at in 0..1002 {
        fs::write(folder.path().join(format!("{at:04}.yaml")), "").unwrap();
    }
    let set = look(&folder);
    assert_eq!(
        faults(&set),
        ["1000.yaml:0:0: more than 1000 policy files: the rest is not read"]
    );
}

#[test]
fn the_caret_stands_below_its_place() {
    let fault = |source: &str, column: usize| Fault {
        line: 12,
        column,
        source: source.to_owned(),
        ..Fault::of_file(Path::new("f"), "t".to_owned())
    };
    let pointed = |source: &str, column: usize| {
        let text = fault(source, column).excerpt().unwrap();
        let (line, caret) = text.split_once('\n').unwrap();
        line.chars().nth(caret.chars().count() - 1).unwrap_or('$')
    };
    assert_eq!(pointed("mode: Enfrce", 7), 'E');
    assert_eq!(pointed("\tmöde: Enfrce\u{1b}[31m", 9), 'n');
    assert_eq!(pointed("mode:", 7), '$');
    let long = format!("{}X{}", "a".repeat(500), "b".repeat(500));
    assert_eq!(pointed(&long, 501), 'X');
    assert!(fault(&long, 501).excerpt().unwrap().chars().count() < 300);
    assert_eq!(pointed(&long, 1), 'a');
    assert!(!fault("a\u{1b}[31mb", 1).excerpt().unwrap().contains('\u{1b}'));
    assert_eq!(fault("", 1).excerpt(), None);
}

/// A mounted ConfigMap: `..data` is a link to a folder, the visible names are links through it.
struct Mounted(TempDir);

impl Mounted {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// What the kubelet does when the ConfigMap changes.
    fn publish(&self, version: &str, files: &[(&str, &str)]) {
        let root = self.0.path();
        let content = root.join(format!("..2026_{version}"));
        fs::create_dir(&content).unwrap();
        for (name, text) in files {
            fs::write(content.join(name), text).unwrap();
        }
        std::os::unix::fs::symlink(content.file_name().unwrap(), root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        for (name, _) in files {
            let _ = std::os::unix::fs::symlink(Path::new("..data").join(name), root.join(name));
        }
        for entry in fs::read_dir(root).unwrap().flatten() {
            if !entry.path().exists() {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

/// Long enough for a look at the files and the wait for them to settle. The clock is paused: it moves on only when every task
/// waits, reads of files included.
async fn looked() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_mounted_config_map_is_read_again_and_a_broken_one_keeps_the_last_good_set() {
    let mounted = Mounted::new();
    mounted.publish("1", &[("a.yaml", &policy("first", "")), ("b.yaml", &policy("second", ""))]);
    let places = vec![mounted.0.path().to_owned()];
    let (store, metrics, note) = (PolicyStore::default(), Metrics::new(), Live::new(None));
    let files = read(&places);
    let again = ReloadTrigger::new(());
    store.set_files(files.compile(&Kinds::default()).sound().unwrap());
    let task = tokio::spawn(watch_policy_files(
        places,
        files,
        store.clone(),
        metrics.clone(),
        note.clone(),
        Live::new(Kinds::default()),
        again.subscribe(),
    ));
    let held = || {
        store
            .load()
            .iter()
            .map(|policy| policy.name.to_string())
            .collect::<Vec<_>>()
            .join(",")
    };
    assert_eq!(held(), "first,second");

    mounted.publish("2", &[("a.yaml", &policy("third", ""))]);
    looked().await;
    assert_eq!(held(), "third");
    assert!(
        metrics.encode().contains("reason=\"policies_replaced\"} 1"),
        "{}",
        metrics.encode()
    );

    mounted.publish(
        "3",
        &[("a.yaml", &policy("fourth", "mode: Loud")), ("c.yaml", &policy("fifth", ""))],
    );
    looked().await;
    assert_eq!(held(), "third", "all or nothing");
    let said = note.load().as_ref().clone().unwrap();
    assert!(said.contains("a.yaml:4:14: spec.mode: unknown value \"Loud\""), "{said}");
    for line in [
        "reason=\"policies_refused\"} 1",
        // As long as the problem lasts: the alert uses this.
        "pullgate_policies_refused{source=\"files\"} 1",
    ] {
        assert!(metrics.encode().contains(line), "{line}\n{}", metrics.encode());
    }

    mounted.publish("4", &[("a.yaml", &policy("sixth", "mode: Warn"))]);
    looked().await;
    assert_eq!((held().as_str(), note.load().as_ref()), ("sixth", &None));
    assert!(metrics.encode().contains("pullgate_policies_refused{source=\"files\"} 0"));

    // A folder that had files and is now empty is a half-finished rollout.
    mounted.publish("5", &[]);
    looked().await;
    assert_eq!(held(), "sixth");
    let said = note.load().as_ref().clone().unwrap();
    assert!(
        said.contains("had policies and is now empty: the last good ones stay in force"),
        "{said}"
    );
    mounted.publish("6", &[("a.yaml", &policy("sixth", "mode: Audit"))]);
    looked().await;
    assert_eq!((held().as_str(), note.load().as_ref()), ("sixth", &None));

    // A full disk leaves empty files.
    mounted.publish("7", &[("a.yaml", ""), ("b.yaml", &policy("seventh", ""))]);
    looked().await;
    assert_eq!(held(), "sixth");
    let said = note.load().as_ref().clone().unwrap();
    assert!(said.contains("a.yaml had policies and is now empty"), "{said}");
    mounted.publish("8", &[("a.yaml", ""), ("b.yaml", &policy("eighth", ""))]);
    looked().await;
    assert_eq!(held(), "sixth", "as long as it lasts");
    mounted.publish("9", &[("a.yaml", &policy("sixth", "mode: Enforce"))]);
    looked().await;
    assert_eq!((held().as_str(), note.load().as_ref()), ("sixth", &None));

    let replaced = |many: usize| metrics.encode().contains(&format!("reason=\"policies_replaced\"}} {many}"));
    assert!(replaced(4), "{}", metrics.encode());
    again.send_replace(());
    looked().await;
    assert!(replaced(5), "read again because somebody asks");

    fs::rename(mounted.0.path(), mounted.0.path().with_extension("away")).unwrap();
    looked().await;
    assert_eq!(held(), "sixth");
    let said = note.load().as_ref().clone().unwrap();
    let folder = mounted.0.path().display().to_string();
    assert!(said.contains(&format!("{folder}: No such file")), "no line is meant: {said}");
    fs::rename(mounted.0.path().with_extension("away"), mounted.0.path()).unwrap();
    looked().await;
    assert_eq!(note.load().as_ref(), &None);
    task.abort();
}

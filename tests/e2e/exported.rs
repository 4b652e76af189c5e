//! `pullgate policy export --cel` at the real API server: its objects `ValidatingAdmissionPolicy` are taken without a warning of any kind, and
//! decide about the same objects what our own rules decide: the samples with their tests, the examples of the manual, and
//! `tests/data/names.json`.

use crate::support::daemon::Daemon;
use crate::support::folder;
use crate::support::gate::run;
use crate::support::kubectl::{Gated, LONG, Namespace, Output, documents, eventually, kubectl, manifest};
use crate::support::objects::{kinds, object, pod, pod_spec};
use pullgate::cluster::{Facts, Visible};
use pullgate::plan::{Admission, PlanSettings, plan};
use pullgate::policy::{Circumstances, Modes, Policies, Policy, PolicyLocation, Requester, Subject};
use pullgate::verdict::Verdict;
use pullgate::workload::{Kinds, Skip, extract};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// The label of a namespace that says by which policies its objects are judged: the other tests' namespaces have none.
const LABEL: &str = "pullgate-e2e-exported";

const SHA: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    verdict: Verdict,
    /// The causes of what is objected to.
    causes: BTreeSet<String>,
}

impl Said {
    fn allowed() -> Self {
        Self {
            verdict: Verdict::Allow,
            causes: BTreeSet::new(),
        }
    }
}

/// An object that somebody asks for.
#[derive(Debug, Clone)]
struct Case {
    what: String,
    namespace: String,
    object: Value,
    requester: Requester,
}

/// Policies that belong together, for namespaces of their own.
struct Set {
    /// The value of [`LABEL`], and what the names of its policies and namespaces begin with.
    name: String,
    policies: Vec<Value>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    cases: Vec<Case>,
}

impl Set {
    fn new(name: &str, policies: &[Value]) -> Self {
        let name = format!("{}-{name}", run());
        let policies = policies.iter().cloned().map(|mut policy| {
            policy["metadata"]["name"] = format!("{name}-{}", policy["metadata"]["name"].as_str().unwrap()).into();
            let about = &mut policy["spec"]["match"];
            for glob in about["namespaces"].as_array_mut().into_iter().flatten() {
                *glob = format!("{name}-{}", glob.as_str().unwrap()).into();
            }
            if about["namespaces"].is_null() {
                about.as_object_mut().map(|about| about.remove("namespaces"));
            }
            let selector = &mut about["namespaceSelector"]["matchExpressions"];
            let ours = json!({"key": LABEL, "operator": "In", "values": [name]});
            match selector {
                Value::Array(requirements) => requirements.push(ours),
                nothing => *nothing = json!([ours]),
            }
            policy
        });
        Self {
            policies: policies.collect(),
            name,
            namespaces: BTreeMap::new(),
            cases: Vec::new(),
        }
    }

    /// The namespace of the set that stands for this one.
    fn namespace(&mut self, name: &str, labels: &BTreeMap<String, String>) -> String {
        let name = format!("{}-{name}", self.name);
        let mut labels = labels.clone();
        labels.insert(LABEL.to_owned(), self.name.clone());
        let known = self.namespaces.entry(name.clone()).or_insert_with(|| labels.clone());
        assert_eq!(*known, labels, "{name} has other labels in another case");
        name
    }

    fn case(&mut self, what: String, namespace: &str, object: Value, requester: Requester) {
        self.cases.push(Case {
            what,
            namespace: namespace.to_owned(),
            object,
            requester,
        });
    }
}

/// The samples of `policies/`, with the cases of their tests; what a registry would show does not matter to rules on names.
fn samples() -> Vec<Set> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut folders: Vec<PathBuf> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    let sets: Vec<Set> = folders.iter().enumerate().map(|(at, folder)| sample(at, folder)).collect();
    assert!(sets.len() >= 5 && sets.iter().all(|set| set.cases.len() >= 4));
    sets
}

fn sample(at: usize, folder: &Path) -> Set {
    let read = |name: &str| documents(&fs::read_to_string(folder.join(name)).unwrap());
    let mut set = Set::new(&format!("s{at}"), &read("policy.yaml"));
    for test in read("test.yaml") {
        for case in test["spec"]["cases"].as_array().unwrap() {
            let given = &case["given"];
            let text = |key: &str, otherwise: &str| given[key].as_str().unwrap_or(otherwise).to_owned();
            let labels = serde_json::from_value(given["labels"].clone()).unwrap_or_default();
            let namespace = set.namespace(&text("namespace", "default"), &labels);
            let requester = Requester {
                user: text("user", ""),
                groups: serde_json::from_value(given["groups"].clone()).unwrap_or_default(),
            };
            let spec = pod_spec(&[("app", given["image"].as_str().unwrap())]);
            let what = format!("{}: {}", folder.display(), case["name"].as_str().unwrap());
            set.case(what, &namespace, object(&text("kind", "Deployment"), "x", spec), requester);
        }
    }
    set
}

/// The examples of the manual, and the policies of `tests/data/names.json`: each by itself, with the images of the latter (the examples
/// with those that they are about).
fn examples() -> Vec<Set> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names: Value = serde_json::from_str(&fs::read_to_string(root.join("tests/data/names.json")).unwrap()).unwrap();
    let manual = fs::read_to_string(root.join("docs/policy.md")).unwrap();
    let blocks = manual
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let shown = blocks.flat_map(documents).map(|document| document["spec"].clone());
    // A test is no policy.
    let shown = shown.filter(|spec| spec.get("cases").is_none());
    let specs: Vec<Value> = shown.chain(names["specs"].as_array().unwrap().iter().cloned()).collect();
    assert!(specs.len() > 20, "{}", specs.len());
    let sets = specs.iter().enumerate().map(|(at, spec)| {
        let policy = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"}, "spec": spec});
        let mut set = Set::new(&format!("e{at}"), &[policy]);
        // A namespace that a selector or a list of the examples is about.
        let namespace = match spec["match"]["namespaces"][0].as_str() {
            Some(glob) => glob.replace('*', "eu"),
            None => "shop".to_owned(),
        };
        let namespace = set.namespace(&namespace, &BTreeMap::from([("env".to_owned(), "prod".to_owned())]));
        let images = names["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|image| image.as_str().unwrap());
        let ordinary = |image: &str| {
            ["nginx", "redis", "quay", "registry.corp"]
                .iter()
                .any(|word| image.starts_with(word))
        };
        for image in images.filter(|image| ordinary(image) || names["specs"].as_array().unwrap().contains(spec)) {
            let image = image.replace("SHA", SHA);
            set.case(
                format!("{spec}: {image}"),
                &namespace,
                pod("x", pod_spec(&[("app", &image)])),
                Requester::default(),
            );
        }
        set
    });
    sets.collect()
}

/// Every kind, and every place of an image in it, against a policy about all and one about some kinds.
fn places() -> Vec<Set> {
    let policies = [
        json!({"tags": {"deny": ["v9"]}}),
        json!({"tags": {"deny": ["v9"]}, "match": {"kinds": ["PodTemplate", "CronJob", "Pod"]}}),
    ];
    let sets = policies.into_iter().enumerate().map(|(at, spec)| {
        let policy = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"}, "spec": spec});
        let mut set = Set::new(&format!("k{at}"), &[policy]);
        let namespace = set.namespace("shop", &BTreeMap::new());
        for kind in kinds() {
            for (place, spec) in in_every_place("reg.corp/app:v9") {
                set.case(
                    format!("{kind}: {place}"),
                    &namespace,
                    object(kind, "x", spec),
                    Requester::default(),
                );
            }
            let mut good = pod_spec(&[("app", "reg.corp/app:v1")]);
            good["volumes"] = json!([{"name": "data", "image": {"reference": "reg.corp/data:v1"}}]);
            set.case(
                format!("{kind}: nothing wrong"),
                &namespace,
                object(kind, "x", good),
                Requester::default(),
            );
        }
        set
    });
    sets.collect()
}

/// Pod specs that have the image in one place each.
fn in_every_place(image: &str) -> Vec<(&'static str, Value)> {
    let with = |field: &str, value: Value| {
        let mut spec = pod_spec(&[("app", "reg.corp/app:v1")]);
        spec[field] = value;
        spec
    };
    vec![
        (
            "a container",
            with(
                "containers",
                json!([{"name": "ok", "image": "reg.corp/app:v1"}, {"name": "app", "image": image}]),
            ),
        ),
        (
            "an init container",
            with("initContainers", json!([{"name": "init", "image": image}])),
        ),
        (
            "a sidecar",
            with(
                "initContainers",
                json!([{"name": "side", "image": image, "restartPolicy": "Always"}]),
            ),
        ),
        (
            "an image volume",
            with(
                "volumes",
                json!([{"name": "tmp", "emptyDir": {}}, {"name": "data", "image": {"reference": image}}]),
            ),
        ),
    ]
}

/// By our own rules.
fn ours(policies: &Policies, labels: &BTreeMap<String, String>, case: &Case, old: Option<&Value>) -> Said {
    let workload = match extract(&case.object, old, &case.namespace, &Kinds::default()) {
        Ok(workload) => workload,
        Err(Skip::Unchanged | Skip::Deleting | Skip::MirrorPod) => return Said::allowed(),
        Err(skip) => panic!("{}: {skip:?}", case.what),
    };
    let labels: Vec<(String, String)> = labels.clone().into_iter().collect();
    let subject = Subject {
        namespace: &case.namespace,
        labels: Some(&labels),
        kinds: &[&workload.object.kind],
    };
    let circumstances = Circumstances {
        modes: &Modes::default(),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let matching = policies.matching(&subject, &case.requester, circumstances);
    let facts = Facts {
        nodes: Arc::default(),
        namespace: Visible::Seen(None),
        service_accounts: BTreeMap::new(),
        secrets: BTreeMap::new(),
        runtime_classes: std::collections::BTreeMap::new(),
        complete: false,
        image_streams: Arc::default(),
        unconfirmed: None,
    };
    let settings = PlanSettings::bare(Admission::HasRun);
    let plan = plan(
        &workload,
        &facts,
        &settings,
        &pullgate::credentials::node::NodeCredentials::default(),
        &matching,
    );
    let mut said = Said::allowed();
    for planned in &plan.images {
        for raised in &planned.raised {
            let decision = planned.policies.decide(&raised.finding, Some(&raised.policy));
            if decision.verdict != Verdict::Allow {
                said.causes.insert(raised.finding.cause.name().to_owned());
            }
            said.verdict = said.verdict.max(decision.verdict);
        }
    }
    said
}

/// The sets' namespaces and exported policies; they go when this is dropped.
struct Installed {
    policies: Policies,
    labels: BTreeMap<String, BTreeMap<String, String>>,
    /// The names of the exported policies, with their validation actions.
    exported: Vec<(String, String)>,
    _cleanup: Daemon,
}

/// Makes the namespaces, calls `before`, and then installs the policies as the manual tells it.
fn install(name: &str, sets: &[Set], before: impl FnOnce()) -> Installed {
    let labels: BTreeMap<_, _> = sets.iter().flat_map(|set| set.namespaces.clone()).collect();
    let written: Vec<Value> = sets.iter().flat_map(|set| set.policies.clone()).collect();
    let compiled = written
        .iter()
        .map(|policy| Arc::new(Policy::compile(policy, PolicyLocation::Cluster).unwrap()));
    let policies = Policies::new(compiled.collect());

    let manifests = export(name, &written);
    let objects = documents(&manifests);
    let of_kind = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).collect::<Vec<_>>();
    let bindings = of_kind("ValidatingAdmissionPolicyBinding");
    let exported: Vec<(String, String)> = bindings
        .iter()
        .map(|binding| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&binding["spec"]["policyName"]),
                text(&binding["spec"]["validationActions"][0]),
            )
        })
        .collect();
    assert!(!exported.is_empty() && of_kind("ValidatingAdmissionPolicy").len() == exported.len());
    let names: Vec<&str> = exported.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(" ");
    let cleanup = format!(
        "kubectl delete --ignore-not-found validatingadmissionpolicybinding {names}; \
         kubectl delete --ignore-not-found validatingadmissionpolicy {names}; \
         kubectl delete --ignore-not-found --wait=false namespace {}",
        labels.keys().cloned().collect::<Vec<_>>().join(" ")
    );
    let cleanup = Daemon::start(&format!("exported-{name}"), &cleanup, &["sleep", "infinity"]);
    create_namespaces(&labels);
    before();
    kubectl(&["apply", "--dry-run=server", "-f", "-"], &manifests).allowed();
    kubectl(&["apply", "-f", "-"], &manifests).allowed();
    Installed {
        policies,
        labels,
        exported,
        _cleanup: cleanup,
    }
}

/// Makes namespaces, and waits for their default service accounts: without one there are no pods.
fn create_namespaces(labels: &BTreeMap<String, BTreeMap<String, String>>) {
    let objects: Vec<Value> = labels
        .iter()
        .map(|(name, labels)| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
        .collect();
    kubectl(&["create", "-f", "-"], &manifest(&objects)).done();
    eventually("the default service accounts", LONG, || {
        let all: Value = serde_json::from_str(
            &kubectl(&["get", "serviceaccounts", "--all-namespaces", "-o", "json"], "")
                .done()
                .stdout,
        )
        .unwrap();
        let has = |name: &String| {
            let mut accounts = all["items"].as_array().unwrap().iter().map(|account| &account["metadata"]);
            accounts.any(|account| account["namespace"] == name.as_str() && account["name"] == "default")
        };
        labels.keys().all(has).then_some(())
    });
}

/// What `policy export` writes.
fn export(name: &str, policies: &[Value]) -> String {
    let file = folder("exported").join(format!("{name}.yaml"));
    fs::write(&file, manifest(policies)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pullgate"))
        .args(["policy", "export", "--cel", "--policies"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the controllers find in the policies' types: `expressionWarnings` by policy, once all were looked at.
fn type_checked(exported: &[(String, String)]) -> BTreeMap<String, Value> {
    eventually("the type check", LONG, || {
        let all = kubectl(&["get", "validatingadmissionpolicies", "-o", "json"], "").done();
        let all: Value = serde_json::from_str(&all.stdout).unwrap();
        let all = all["items"].as_array().unwrap();
        let of = |name: &String| {
            let policy = all.iter().find(|policy| policy["metadata"]["name"] == name.as_str())?;
            let status = &policy["status"];
            let checked = status["observedGeneration"] == policy["metadata"]["generation"] && status.get("typeChecking").is_some();
            checked.then(|| (name.clone(), status["typeChecking"]["expressionWarnings"].clone()))
        };
        exported.iter().map(|(name, _)| of(name)).collect()
    })
}

impl Installed {
    /// The controllers find nothing wrong with any policy's types. That takes them a second and more for each, so it is asked last.
    fn have_sound_types(&self) {
        for (policy, warnings) in type_checked(&self.exported) {
            assert_eq!(warnings, Value::Null, "{policy}");
        }
    }

    fn ours(&self, case: &Case, old: Option<&Value>) -> Said {
        ours(&self.policies, &self.labels[&case.namespace], case, old)
    }

    /// Waits until each policy that objects to one of the cases does so, and then holds every case's answer against ours.
    fn compare(&self, cases: &[Case]) {
        let objects_to = |case: &&Case| self.ours(case, None).verdict != Verdict::Allow;
        let objected = cases.iter().filter(objects_to).count();
        assert!(objected > 0 && objected < cases.len(), "{objected} of {}", cases.len());
        // A new policy is known to the API server a moment later.
        let mut namespaces = BTreeSet::new();
        let first = cases
            .iter()
            .filter(objects_to)
            .filter(|case| namespaces.insert(&case.namespace));
        let first: Vec<Case> = first.cloned().collect();
        eventually("every policy", LONG, || self.differences(&first).is_empty().then_some(()));
        let differ = self.differences(cases);
        assert!(
            differ.is_empty(),
            "{} of {}:\n{}",
            differ.len(),
            cases.len(),
            differ.join("\n")
        );
        println!("{} objects, {objected} objected to", cases.len());
    }

    /// Where the API server's answer is not ours.
    fn differences(&self, cases: &[Case]) -> Vec<String> {
        let expected: Vec<Said> = cases.iter().map(|case| self.ours(case, None)).collect();
        answers(cases, &expected)
            .into_iter()
            .zip(&expected)
            .zip(cases)
            .filter(|((said, expected), _)| !agree(said, expected))
            .map(|((said, expected), case)| format!("{}: expected {expected:?}, the API server: {said:?}", case.what))
            .collect()
    }
}

/// The API server names one policy's objections to what it denies.
fn agree(said: &Said, expected: &Said) -> bool {
    said.verdict == expected.verdict
        && said.causes.is_subset(&expected.causes)
        && said.causes.is_empty() == expected.causes.is_empty()
}

/// What the API server says to each, by dry runs. Warnings do not name an object: who expects one asks alone.
fn answers(cases: &[Case], expected: &[Said]) -> Vec<Said> {
    let alone = |at: &usize| cases[*at].requester != Requester::default() || expected[*at].verdict == Verdict::Warn;
    let (single, together): (Vec<usize>, Vec<usize>) = (0..cases.len()).partition(alone);
    let mut said: Vec<Option<Said>> = vec![None; cases.len()];
    for at in single {
        let case = &cases[at];
        let user = ["--as", &case.requester.user];
        let groups = case.requester.groups.iter().flat_map(|group| ["--as-group", group]);
        let who = user
            .into_iter()
            .chain(groups)
            .filter(|_| case.requester != Requester::default());
        let arguments: Vec<&str> = ["create", "--dry-run=server", "--namespace", &case.namespace, "-f", "-"]
            .into_iter()
            .chain(who)
            .collect();
        said[at] = Some(answer(&kubectl(&arguments, &case.object.to_string())));
    }
    let objects: Vec<Value> = together
        .iter()
        .map(|at| {
            let mut object = cases[*at].object.clone();
            object["metadata"]["namespace"] = cases[*at].namespace.clone().into();
            object["metadata"]["name"] = format!("case-{at}").into();
            object
        })
        .collect();
    let output = kubectl(&["create", "--dry-run=server", "-f", "-"], &manifest(&objects));
    assert!(!output.stderr.contains("Warning:"), "{}", output.stderr);
    for at in together {
        let (name, quoted) = (format!("/case-{at} "), format!("\"case-{at}\""));
        let lines = |text: &str, word: &str| {
            text.lines()
                .filter(|line| line.contains(word))
                .map(str::to_owned)
                .collect::<Vec<_>>()
                .join("\n")
        };
        let of_it = Output {
            success: !lines(&output.stdout, &name).is_empty(),
            stdout: lines(&output.stdout, &name),
            stderr: lines(&output.stderr, &quoted),
        };
        said[at] = Some(answer(&of_it));
    }
    said.into_iter().map(Option::unwrap).collect()
}

/// What the API server said to one request.
fn answer(output: &Output) -> Said {
    let denied = output.stderr.contains("is forbidden: ValidatingAdmissionPolicy 'pullgate-")
        && output.stderr.contains(" denied request: policy \"");
    assert!(
        output.success != denied,
        "neither done nor denied by a policy:\n{}{}",
        output.stdout,
        output.stderr
    );
    let warned = output
        .stderr
        .contains("Warning: Validation failed for ValidatingAdmissionPolicy 'pullgate-");
    let causes = ["RegistryNotAllowed", "TagNotAllowed", "DigestRequired"].into_iter();
    Said {
        verdict: match (denied, warned) {
            (true, _) => Verdict::Deny,
            (false, true) => Verdict::Warn,
            (false, false) => Verdict::Allow,
        },
        causes: causes
            .filter(|cause| output.stderr.contains(&format!("({cause})")))
            .map(str::to_owned)
            .collect(),
    }
}

/// Lets every user do what the requests of the tests need, in these namespaces.
fn let_everybody(namespaces: impl Iterator<Item = String>) {
    let objects: Vec<Value> = namespaces
        .flat_map(|namespace| {
            let metadata = json!({"name": "everybody", "namespace": namespace});
            [
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
                       "rules": [{"apiGroups": ["", "apps", "batch"], "resources": ["*"], "verbs": ["*"]}]}),
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
                       "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "everybody"},
                       "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:authenticated"}]}),
            ]
        })
        .collect();
    kubectl(&["apply", "-f", "-"], &manifest(&objects)).done();
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn the_api_server_decides_as_we_do_by_every_policy_of_the_suite() {
    let sets: Vec<Set> = samples().into_iter().chain(examples()).chain(places()).collect();
    let of_users: BTreeSet<String> = sets
        .iter()
        .flat_map(|set| &set.cases)
        .filter(|case| case.requester != Requester::default())
        .map(|case| case.namespace.clone())
        .collect();
    assert!(of_users.len() > 1, "{of_users:?}");
    let installed = install("suite", &sets, || let_everybody(of_users.into_iter()));
    let cases: Vec<Case> = sets.iter().flat_map(|set| set.cases.clone()).collect();
    installed.compare(&cases);
    installed.have_sound_types();
    // Nobody is told of an audit; the API server counts it.
    let counted = kubectl(&["get", "--raw", "/metrics"], "").done().stdout;
    let audits: Vec<&String> = installed
        .exported
        .iter()
        .filter(|(_, action)| action == "Audit")
        .map(|(name, _)| name)
        .collect();
    assert!(audits.len() > 1, "{audits:?}");
    for policy in audits {
        let of_it = |line: &&str| {
            line.starts_with("apiserver_validating_admission_policy_check_total{")
                && line.contains("enforcement_action=\"audit\"")
                && line.contains(&format!("policy=\"{policy}\""))
        };
        assert!(counted.lines().any(|line| of_it(&line)), "no audit of {policy} was counted");
    }
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn an_update_is_decided_as_by_us_and_debug_containers_are_looked_at() {
    let spec = json!({"tags": {"deny": ["v9"]}});
    let policy = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"}, "spec": spec});
    let mut set = Set::new("u", &[policy]);
    let namespace = set.namespace("shop", &BTreeMap::new());
    let mut spec = pod_spec(&[("bad", "reg.corp/app:v9"), ("good", "reg.corp/app:v1")]);
    spec["volumes"] = json!([{"name": "data", "image": {"reference": "reg.corp/data:v1"}}]);
    spec["nodeSelector"] = json!({"no-such": "node"});
    spec["containers"][1]["resources"] = json!({"requests": {"cpu": "1m"}});
    let mut stored = object("Deployment", "stored", spec.clone());
    stored["spec"]["replicas"] = 0.into();
    let template = object("PodTemplate", "stored", spec.clone());
    let mut held = pod("held", spec.clone());
    held["metadata"]["finalizers"] = json!(["pullgate.dev/e2e"]);
    let stored = [stored, template, pod("stored", spec), held];
    let there = |arguments: &[&str], input: &str| kubectl(&[&["--namespace", &namespace], arguments].concat(), input);
    let installed = install("updates", &[set], || {
        there(&["apply", "-f", "-"], &manifest(&stored)).done();
    });
    let cleanup =
        format!("kubectl --namespace {namespace} patch pod held --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'");
    let _finalizer = Daemon::start("exported-finalizer", &cleanup, &["sleep", "infinity"]);
    let bad = pod("x", pod_spec(&[("app", "reg.corp/app:v9")])).to_string();
    let refused = || {
        let output = there(&["create", "--dry-run=server", "-f", "-"], &bad);
        answer(&output).verdict == Verdict::Deny
    };
    eventually("the policy", LONG, || refused().then_some(()));

    let read = |kind: &str| -> Value {
        let mut object: Value = serde_json::from_str(&there(&["get", kind, "stored", "-o", "json"], "").done().stdout).unwrap();
        // Whatever its controller writes meanwhile.
        object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        object
    };
    let (deployment, template) = (read("deployment"), read("podtemplate"));
    let mut verdicts = BTreeSet::new();
    for (pointer, value) in [
        ("/metadata/annotations", json!({"touched": "now"})),
        ("/spec/replicas", json!(1)),
        ("SPEC/containers/0/env", json!([{"name": "A", "value": "1"}])),
        ("SPEC/tolerations", json!([{"operator": "Exists"}])),
        ("SPEC/containers/1/image", json!("reg.corp/app:v2")),
        ("SPEC/containers/1/image", json!("reg.corp/app:v9")),
        ("SPEC/containers/0/name", json!("renamed")),
        ("SPEC/containers/0/imagePullPolicy", json!("Always")),
        ("SPEC/volumes/0/image/reference", json!("reg.corp/data:v9")),
        ("SPEC/volumes/0/image/reference", json!("reg.corp/data:v2")),
        ("SPEC/imagePullSecrets", json!([{"name": "s"}])),
        ("SPEC/serviceAccountName", json!("other")),
        ("SPEC/nodeSelector", json!({"no-such": "other"})),
        ("SPEC/os", json!({"name": "linux"})),
    ] {
        for old in [&deployment, &template] {
            let mut new = old.clone();
            let at = if old["kind"] == "Deployment" {
                "/spec/template/spec"
            } else {
                "/template/spec"
            };
            let pointer = pointer.replace("SPEC", at);
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let Some(parent) = new.pointer_mut(parent) else { continue };
            parent[key] = value.clone();
            if key == "serviceAccountName" {
                // The older name of the field, which the server keeps in step.
                parent["serviceAccount"] = value.clone();
            }
            let output = there(&["replace", "--dry-run=server", "-f", "-"], &new.to_string());
            let case = Case {
                what: format!("{} {pointer} {value}", old["kind"]),
                namespace: namespace.clone(),
                object: new,
                requester: Requester::default(),
            };
            let expected = installed.ours(&case, Some(old));
            assert_eq!(answer(&output), expected, "{}", case.what);
            verdicts.insert(expected.verdict);
        }
    }
    assert_eq!(verdicts, BTreeSet::from([Verdict::Allow, Verdict::Deny]));

    // The opt-out of a namespace.
    there(&["label", "namespace", &namespace, "pullgate.dev/ignore=true"], "").done();
    eventually("the way out", LONG, || (!refused()).then_some(()));
    there(&["label", "namespace", &namespace, "pullgate.dev/ignore-"], "").done();
    eventually("the way back", LONG, || refused().then_some(()));

    // What a pod may be told, though its image has come to be refused.
    there(&["label", "pod", "stored", "team=shop"], "").done();
    let resize = r#"{"spec":{"containers":[{"name":"good","resources":{"requests":{"cpu":"2m"}}}]}}"#;
    there(&["patch", "pod", "stored", "--subresource=resize", "-p", resize], "").done();
    let debug = |image: &str| {
        there(
            &["debug", "pod/stored", "--attach=false", "--profile=general", "--image", image],
            "",
        )
    };
    assert_eq!(answer(&debug("reg.corp/debug:v9")).verdict, Verdict::Deny);
    debug("reg.corp/debug:v1").done();
    let debugged = there(
        &["get", "pod", "stored", "-o", "jsonpath={.spec.ephemeralContainers[*].image}"],
        "",
    )
    .done();
    assert_eq!(debugged.stdout, "reg.corp/debug:v1");
    // What is going may go.
    there(&["delete", "pod", "held", "--wait=false"], "").done();
    there(
        &[
            "patch",
            "pod",
            "held",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":null}}"#,
        ],
        "",
    )
    .done();
    eventually("the pod's end", LONG, || {
        (!there(&["get", "pod", "held"], "").is_done()).then_some(())
    });
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_large_object_and_long_lists_stay_within_what_the_api_server_spends() {
    let patterns = |host: &str| -> Vec<String> { (0..100).map(|at| format!("{host}/team-{at}/**")).collect() };
    let spec = json!({
        "registries": {"allow": patterns("registry.corp.example"), "deny": patterns("docker.io")},
        "tags": {"deny": ["latest", "*-snapshot"], "requireDigest": true}, "exempt": {"images": patterns("quay.io")},
    });
    let policy = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"}, "spec": spec});
    let mut set = Set::new("l", &[policy]);
    let namespace = set.namespace("shop", &BTreeMap::new());
    for (what, tag) in [("all allowed", "@SHA"), ("all refused", "")] {
        let images: Vec<(String, String)> = (0..50)
            .map(|at| {
                (
                    format!("c{at}"),
                    format!("registry.corp.example/team-{at}/application/component:v{at}{tag}").replace("SHA", SHA),
                )
            })
            .collect();
        let images: Vec<(&str, &str)> = images.iter().map(|(name, image)| (name.as_str(), image.as_str())).collect();
        set.case(
            what.to_owned(),
            &namespace,
            object("Deployment", "x", pod_spec(&images)),
            Requester::default(),
        );
    }
    let cases = set.cases.clone();
    let installed = install("large", &[set], || {});
    installed.compare(&cases);
    installed.have_sound_types();
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn every_expression_has_sound_types() {
    let namespace = Namespace::new(Gated::No);
    let policy = json!({
        "apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": namespace.name},
        "spec": {"tags": {"deny": ["v9"]}, "match": {"namespaces": [namespace.name]}},
    });
    let name = format!("pullgate-{}", namespace.name);
    let cleanup = format!("kubectl delete --ignore-not-found validatingadmissionpolicy/{name}");
    let _cleanup = Daemon::start("exported-wrong", &cleanup, &["sleep", "infinity"]);
    let [mut policy, _binding] = documents(&export("types", &[policy])).try_into().unwrap();
    // Of an expression the variables are not looked into, so each is an expression of its own here. Nothing binds the policy.
    let each = policy["spec"]["variables"].as_array().unwrap().iter();
    let each: Vec<Value> = each
        .map(|variable| json!({"expression": format!("[{}].size() == 1", variable["expression"].as_str().unwrap())}))
        .collect();
    policy["spec"]["validations"].as_array_mut().unwrap().extend(each);
    let warnings = |policy: &str| {
        kubectl(&["apply", "-f", "-"], policy).allowed();
        type_checked(&[(name.clone(), "Deny".to_owned())]).remove(&name).unwrap()
    };
    let sound = policy.to_string();
    assert_eq!(warnings(&sound), Value::Null);
    // A Pod has no jobTemplate: whoever asks for one by the kind's own type is told.
    let wrong = sound.replace("dyn(object)", "object");
    assert_ne!(wrong, sound);
    let warnings = warnings(&wrong).to_string();
    assert!(warnings.contains("undefined field 'jobTemplate'"), "{warnings}");
}

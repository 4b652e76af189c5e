//! What `deploy/webhook.yaml` says, against what the binary and the design want.

use pullgate::config::Settings;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn manifests() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/webhook.yaml");
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn the(kind: &str) -> Value {
    let mut found: Vec<Value> = manifests().into_iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found.remove(0)
}

#[test]
fn its_settings_can_be_read() {
    let map = the("ConfigMap");
    let text = map["data"]["config.yaml"].as_str().unwrap();
    assert_eq!(
        Settings::from_bytes(Path::new("config.yaml"), text.as_bytes()),
        Ok(Settings::default())
    );
}

#[test]
fn its_arguments_are_those_of_the_binary() {
    let deployment = the("Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let arguments: Vec<&str> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a.as_str().unwrap())
        .collect();
    // Nothing is mounted here, so it gets past the arguments and no further.
    let output = Command::new(env!("CARGO_BIN_EXE_pullgate"))
        .args(&arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("the settings cannot be used: /etc/pullgate/config/config.yaml: No such file"),
        "{said}"
    );
    let ports: Vec<_> = container["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| &port["containerPort"])
        .collect();
    assert_eq!(ports, [8443, 8080]);
}

#[test]
fn its_registration_cannot_hurt_a_cluster() {
    let registration = the("ValidatingWebhookConfiguration");
    let [webhook] = registration["webhooks"].as_array().unwrap().as_slice() else {
        panic!("one webhook")
    };
    assert_eq!(webhook["name"], "images.pullgate.dev");
    assert_eq!(webhook["failurePolicy"], "Ignore");
    assert_eq!(webhook["timeoutSeconds"], 10);
    assert_eq!(webhook["sideEffects"], "None");
    assert_eq!(webhook["matchPolicy"], "Equivalent");
    let excluded = &webhook["namespaceSelector"]["matchExpressions"][0];
    assert_eq!(excluded["key"], "kubernetes.io/metadata.name");
    assert_eq!(excluded["operator"], "NotIn");
    assert_eq!(excluded["values"], serde_json::json!(["kube-system", "pullgate"]));
    let mut resources: Vec<String> = webhook["rules"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|rule| rule["resources"].as_array().unwrap())
        .map(|resource| resource.as_str().unwrap().to_owned())
        .collect();
    resources.sort();
    assert_eq!(
        resources,
        [
            "cronjobs",
            "daemonsets",
            "deployments",
            "jobs",
            "pods",
            "pods/ephemeralcontainers",
            "podtemplates",
            "replicasets",
            "replicationcontrollers",
            "statefulsets"
        ]
    );
}

/// `secrets.access: get`, the default, needs no right to list Secrets: so none is given.
#[test]
fn its_rights_are_to_read_and_no_list_of_secrets() {
    for rule in the("ClusterRole")["rules"].as_array().unwrap() {
        let verbs: Vec<_> = rule["verbs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|verb| verb.as_str().unwrap())
            .collect();
        assert!(verbs.iter().all(|verb| ["get", "list", "watch"].contains(verb)), "{verbs:?}");
        if rule["resources"].as_array().unwrap().contains(&"secrets".into()) {
            assert_eq!(verbs, ["get"]);
        }
    }
}

//! What `deploy/pullgate.yaml` says, against what the binary takes. What the chart renders is tested by `tests/chart/run`.

use pullgate::config::Settings;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

fn manifests() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/pullgate.yaml");
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
    // `secrets.access: get` is the default.
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
    let output = crate::program::pullgate().args(&arguments).output().unwrap();
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

/// What the chart writes for custom kinds: without paths, so each must be in the binary's own table.
#[test]
fn its_custom_kinds_are_those_that_the_binary_knows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart/pullgate/files/kinds.yaml");
    let kinds: Vec<Value> = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut settings = "workloads:\n".to_owned();
    for kind in &kinds {
        writeln!(
            settings,
            "- {{group: {}, kind: {}}}",
            kind["group"].as_str().unwrap(),
            kind["kind"].as_str().unwrap()
        )
        .unwrap();
    }
    assert!(kinds.len() > 40, "{}", kinds.len());
    Settings::from_bytes(Path::new("config.yaml"), settings.as_bytes()).unwrap();
    let unknown = "workloads: [{group: corp.example, kind: App}]";
    assert!(Settings::from_bytes(Path::new("config.yaml"), unknown.as_bytes()).is_err());
}

//! `--tls-client-ca` at a real API server, which shows a certificate to webhooks as docs/certificates.md tells it to
//! (`tests/cluster/up` makes both).

use crate::support::gate::{LABEL, Server, run, write_certificates};
use crate::support::kubectl::{Gated, LONG, Namespace, eventually, kubectl};
use crate::support::objects::{pod, pod_spec};
use std::path::{Path, PathBuf};

/// The CA of the certificate that the API server shows.
fn authority_of_the_api_server() -> PathBuf {
    let kubeconfig = std::env::var_os("KUBECONFIG").expect("KUBECONFIG");
    let file = Path::new(&kubeconfig).with_file_name("pki").join("webhook-ca.crt");
    assert!(
        file.exists(),
        "{} is missing: this test takes a cluster of tests/cluster/up",
        file.display()
    );
    file
}

/// A server that asks for certificates of `clients`, registered under a name of its own.
fn gate(which: &str, clients: &Path) -> (Server, String) {
    let name = format!("{}-clients-{which}", run());
    let server = Server::start(
        &format!("clients-{which}"),
        &format!("kubectl delete validatingwebhookconfiguration {name}"),
        &["--no-cluster", "--tls-client-ca", clients.to_str().unwrap()],
    );
    server.register(&name);
    (server, name)
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn the_api_server_shows_its_certificate_and_strangers_are_refused() {
    let ours = authority_of_the_api_server();
    let (trusting, name) = gate("trusting", &ours);
    let namespace = Namespace::new(Gated::No);
    let ask = |words: &[&str]| {
        let object = pod("probe", pod_spec(&[("app", "probe/UPPER:v1")]));
        let output = namespace.create_with(&["--dry-run=server"], &[object]);
        (!output.is_done() && words.iter().all(|word| output.stderr.contains(word))).then_some(())
    };
    kubectl(&["label", "namespace", &namespace.name, &format!("{LABEL}={name}")], "").done();
    eventually("a denial by the gate that knows its client", LONG, || {
        ask(&["images.pullgate.dev", "denied the request", "InvalidImageName"])
    });
    assert!(!trusting.log().contains("refused a client"), "{}", trusting.log());

    // Another CA: the same API server is rejected there, and the log says why.
    let foreign = crate::support::folder("clients-foreign");
    let other = foreign.join("ca.crt");
    std::fs::write(&other, write_certificates(&foreign)).unwrap();
    let (distrusting, name) = gate("distrusting", &other);
    let label = format!("{LABEL}={name}");
    kubectl(&["label", "--overwrite", "namespace", &namespace.name, &label], "").done();
    eventually("a call that fails", LONG, || ask(&["failed calling webhook", "tls"]));
    eventually("a line that says why", LONG, || {
        distrusting
            .log()
            .contains("refused a client without a certificate from --tls-client-ca")
            .then_some(())
    });
}

use super::objects::MARK;
use super::*;

#[test]
fn the_servers_clock_is_read() {
    assert_eq!(second("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
    for odd in ["", "yesterday", "1994-11-06T08:49:37Z"] {
        assert_eq!(second(odd), None, "{odd}");
    }
}

#[test]
fn a_registration_is_read_whatever_it_holds() {
    let object = json!({
        "metadata": {"resourceVersion": "7", "annotations": {"cert-manager.io/inject-ca-from": "a/b"}},
        "webhooks": [
            {"name": "a", "clientConfig": {"service": {"namespace": "n", "name": "s"}, "caBundle": "aGk="}},
            {"name": "b", "clientConfig": {"url": "https://[::1]:8443/validate", "caBundle": "not base64"}},
            {"name": "c", "clientConfig": {"url": "no url"}},
            5,
        ],
    });
    let read = Registration::read(&object);
    assert!(read.injected);
    assert_eq!(read.version, "7");
    let service = WebhookTarget::Service {
        namespace: "n".to_owned(),
        name: "s".to_owned(),
    };
    let seen: Vec<_> = read
        .webhooks
        .iter()
        .map(|webhook| (webhook.index, webhook.target.clone(), webhook.ca_bundle.as_slice()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, Some(service), &b"hi"[..]),
            (1, Some(WebhookTarget::Host("::1".to_owned())), b""),
            (2, None, b""),
            (3, None, b""),
        ]
    );
    assert_eq!(Registration::read(&Value::Null).webhooks, []);
}

#[test]
fn what_is_kept_shows_no_content() {
    let stored = StoredSecret::read(json!({"data": {"tls.key": STANDARD.encode("PRIVATE"), "odd": 5}}));
    assert_eq!(stored.data.get("tls.key"), b"PRIVATE");
    assert_eq!(stored.data.get("none"), b"");
    let said = format!("{stored:?}");
    assert!(!said.contains("PRIVATE") && !said.contains("UFJJVkFURQ"), "{said}");
    assert_eq!(stored.managed_by, ManagedBy::Unknown);
    let annotated = |key: &str| StoredSecret::read(json!({"metadata": {"annotations": {key: "x"}}})).managed_by;
    assert_eq!(annotated("cert-manager.io/certificate-name"), ManagedBy::CertManager);
    assert_eq!(annotated(MARK), ManagedBy::Pullgate);
}

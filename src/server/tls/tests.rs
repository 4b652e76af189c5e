use super::*;
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

fn made(names: &[&str]) -> Generated {
    generate(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), 30 * DAY).unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

#[test]
fn a_made_certificate_chains_to_its_ca_and_holds_for_its_names() {
    let made = made(&["localhost", "pullgate.pullgate.svc", "127.0.0.1", "::1"]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(&made.ca)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    use rustls::client::danger::ServerCertVerifier;
    let leaf = der(&made.certificate);
    let now = rustls::pki_types::UnixTime::now();
    for (name, holds) in [
        ("localhost", true),
        ("pullgate.pullgate.svc", true),
        ("127.0.0.1", true),
        ("::1", true),
        ("example.com", false),
        ("127.0.0.2", false),
    ] {
        let name = rustls::pki_types::ServerName::try_from(name).unwrap();
        assert_eq!(
            verifier.verify_server_cert(&leaf, &[], &name, &[], now).is_ok(),
            holds,
            "{name:?}"
        );
    }
}

#[test]
fn names_that_no_certificate_can_hold_are_refused() {
    let refused = |name: &str| generate(&[name.to_owned()], DAY).unwrap_err().to_string();
    for name in ["", "a b", "https://x", "x..y", "-x", "a/b", "ü.example", &"x".repeat(64)] {
        assert_eq!(refused(name), format!("{name:?} is neither a DNS name nor an IP address"));
    }
    assert!(matches!(generate(&[], DAY), Err(GenerateError::NoName)));
    assert!(generate(&["*.example.com".to_owned()], DAY).is_ok());
}

#[test]
fn the_period_of_validity_is_read() {
    let before = Timestamp::now().as_second();
    let validity = Validity::of(&der(&made(&["x"]).certificate)).unwrap();
    assert!((before - 301..=before).contains(&validity.not_before), "{validity:?}");
    assert!((0..5).contains(&(validity.not_after - before - 30 * 86_400)), "{validity:?}");
    assert_eq!(validity.check(before), Ok(()));
    assert!(validity.check(validity.not_after + 1).unwrap_err().contains("expired at 20"));
    assert!(
        validity
            .check(validity.not_before - 1)
            .unwrap_err()
            .contains("is not valid before 20")
    );
}

/// Years before 2050 are written with two digits, later ones with four; 9999-12-31 means "no end".
#[test]
fn both_forms_of_time_are_read() {
    for (year, second) in [(2049, 2_493_072_000_i64), (2050, 2_524_608_000), (9999, 253_370_764_800)] {
        let mut params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1950, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(
            Validity::of(certificate.der()),
            Some(Validity {
                not_before: -631_152_000,
                not_after: second
            })
        );
    }
}

#[test]
fn a_torn_certificate_is_none_and_never_a_panic() {
    let der = der(&made(&["x"]).certificate);
    for end in 0..der.len() {
        let _ = Validity::of(&der[..end]);
    }
    assert_eq!(Validity::of(&der[..60]), None);
    assert_eq!(Validity::of(&[]), None);
    assert_eq!(Validity::of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    assert_eq!(Validity::of(&[0x30, 0x80]), None);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80), at in 0..600_usize, by: u8) {
        let _ = Validity::of(&bytes);
        let mut real = TORN.to_vec();
        if let Some(byte) = real.get_mut(at) {
            *byte ^= by;
        }
        let _ = Validity::of(&real);
    }
}

static TORN: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| der(&made(&["x"]).certificate).to_vec());

#[test]
fn what_cannot_be_served_is_refused_with_its_reason() {
    let (one, other) = (made(&["x"]), made(&["x"]));
    let refused = |chain: &str, key: &str| {
        Certificate::from_pem(chain.as_bytes(), key.as_bytes(), Metrics::new())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&one.certificate, &other.key),
        "the key does not belong to the certificate"
    );
    assert_eq!(refused("", &one.key), "the certificate file holds no certificate");
    assert_eq!(refused(&one.key, &one.key), "the certificate file holds no certificate");
    assert_eq!(refused(&one.certificate, ""), "the key file holds no private key in PEM");
    assert_eq!(
        refused(&one.certificate, &one.certificate),
        "the key file holds no private key in PEM"
    );
    let half = &one.certificate[..one.certificate.len() / 2];
    assert!(refused(half, &one.key).starts_with("the certificate file is not PEM"));
    let half = &one.key[..one.key.len() / 2];
    let said = refused(&one.certificate, half);
    assert_eq!(said, "the key file holds no private key in PEM");
}

#[test]
fn an_ended_certificate_does_not_replace_one_that_holds() {
    let good = made(&["x"]);
    let served = Certificate::from_pem(good.certificate.as_bytes(), good.key.as_bytes(), Metrics::new()).unwrap();
    let ended = generate(&["x".to_owned()], Duration::ZERO).unwrap();
    let error = served
        .replace(ended.certificate.as_bytes(), ended.key.as_bytes())
        .unwrap_err();
    assert!(error.to_string().starts_with("the new certificate expired at 20"), "{error}");
    assert_eq!(served.check(), Ok(()));
    let next = made(&["x"]);
    served.replace(next.certificate.as_bytes(), next.key.as_bytes()).unwrap();
    assert_eq!(served.leaf(), Some(der(&next.certificate)));
}

#[test]
fn an_ended_certificate_is_served_from_the_start_but_not_ready() {
    let ended = generate(&["x".to_owned()], Duration::ZERO).unwrap();
    let metrics = Metrics::new();
    let served = Certificate::from_pem(ended.certificate.as_bytes(), ended.key.as_bytes(), metrics.clone()).unwrap();
    served.0.clock.hear(jiff::Timestamp::now().as_second() + 2);
    assert!(served.check().unwrap_err().starts_with("the served certificate expired at"));
    assert!(metrics.encode().contains("pullgate_certificate_expiry_timestamp_seconds 1"));
}

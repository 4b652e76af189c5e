//! What is said of an answer agrees with what it shows.

use super::super::kubelet::predict;
use super::*;
use crate::runtime::containerd::PullPath;
use crate::runtime::outcome::{CUT_SHORT, ConnectionFault, ContentFault, Rejection, TimeoutStage};
use crate::verdict::cause::base;
use std::time::Duration;

const DIGEST: &str = "sha256:5d4a3a3e8e0b8c1f9a4d2c7b6e5f40312233445566778899aabbccddeeff0011";
const OTHER: &str = "sha256:6d4a3a3e8e0b8c1f9a4d2c7b6e5f40312233445566778899aabbccddeeff0022";

fn at(evidence: Evidence, status: Option<u16>, url: &str) -> Failure {
    Failure {
        host: "r.example".to_owned(),
        status,
        code: None,
        suggestions: Vec::new(),
        request: Some(RequestLine {
            method: "HEAD",
            url: url.to_owned(),
            purpose: Purpose::Content,
        }),
        ..failure(evidence)
    }
}

fn said(failure: &Failure) -> (String, String, String) {
    let reference = Reference::parse("r.example/team/app:v1").unwrap();
    let topic = Topic {
        reference: &reference,
        tried: None,
        namespace: "shop",
        naming: Naming::Full,
        pulled: Pulled::Unknown,
    };
    let kubelet = predict(failure, &reference, Some(PullPath::Transfer));
    let kubelet = kubelet.map_or_else(String::new, |kubelet| kubelet.message);
    (wording::what(failure, topic), wording::fix(failure, topic), kubelet)
}

const URL: &str = "https://r.example/v2/team/app/manifests/v1";

#[test]
fn something_before_the_registry() {
    let tag = Evidence::TagUnknown {
        repository_exists: false,
    };
    let before = |spoke_before| Evidence::NoRegistry {
        fails: Box::new(tag.clone()),
        spoke_before,
    };
    assert_eq!(base(&before(true)), (Cause::RegistryError, Outlook::Unknown));
    let mut failure = at(before(false), Some(404), URL);
    failure.detail = Some("404 page not found".to_owned());
    let (message, fix, kubelet) = said(&failure);
    assert_eq!(
        message,
        "something before the registry answered at r.example: nothing in the answer shows a registry (404: 404 page not found); a node that gets \
         this answer fails too"
    );
    assert_eq!(
        fix,
        "check what answers at r.example (ingress, proxy, firewall, login page), and that r.example is a registry"
    );
    assert_eq!(
        kubelet,
        said(&at(tag.clone(), Some(404), URL)).2,
        "runtimes do not look who answers"
    );
    let (message, _, _) = said(&at(before(true), Some(404), URL));
    assert!(message.contains("a registry answered at r.example before, so the registry, or the path to it, is failing now"));
}

#[test]
fn what_a_registry_prints_stands_on_lines_of_its_own() {
    let mut failure = at(
        Evidence::Forbidden {
            address_bound: false,
            with_credential: false,
        },
        Some(403),
        URL,
    );
    let (_, _, bare) = said(&failure);
    assert!(bare.ends_with("v1: 403 Forbidden"), "{bare}");
    failure.registry_errors_as_printed = Some("denied: no, by \u{1b}[31m policy".into());
    let (_, _, kubelet) = said(&failure);
    assert_eq!(kubelet, format!("{bare}\ndenied: no, by \\u{{1b}}[31m policy"));
}

#[test]
fn a_tag_that_is_listed_is_not_said_not_to_exist() {
    let (message, fix, _) = said(&at(Evidence::TagWithoutManifest, Some(404), URL));
    assert_eq!(
        message,
        "r.example lists tag \"v1\" in repository \"team/app\", but has no manifest for it (404): it was deleted, or is not written yet"
    );
    assert_eq!(fix, "push v1 again, or use another tag");
    let (message, _, kubelet) = said(&at(Evidence::Rejected(Rejection::HeadOnly), Some(404), URL));
    assert_eq!(
        message,
        "r.example answers HEAD for tag \"v1\" of \"team/app\" with 404, but GET succeeds: containerd sends HEAD, and fails (404)"
    );
    assert!(kubelet.ends_with("r.example/team/app:v1: not found"), "{kubelet}");
}

#[test]
fn who_asks_to_wait() {
    let throttled = |after| Failure {
        retry_after: after,
        ..at(Evidence::RateLimited, Some(429), URL)
    };
    let (message, _, _) = said(&throttled(None));
    assert_eq!(
        message,
        "r.example throttles pullgate (429); it may treat the nodes differently"
    );
    for (seconds, words) in [
        (9, "9 s"),
        (120, "120 s"),
        (121, "3 minutes"),
        (7201, "3 hours"),
        (86_400, "24 hours"),
        (343_634_528, "more than a day"),
    ] {
        let (message, _, _) = said(&throttled(Some(Duration::from_secs(seconds))));
        assert!(message.contains(&format!("; it asks to wait {words}; ")), "{message}");
    }
}

#[test]
fn a_time_out_says_its_stage() {
    for (stage, words, kubelets) in [
        (
            TimeoutStage::Connect,
            "r.example does not accept a connection in time (connecting)",
            "Head \"https://r.example/v2/team/app/manifests/v1\": dial tcp ...:443: i/o timeout",
        ),
        (
            TimeoutStage::Handshake,
            "r.example accepts the connection and does not finish the TLS handshake in time (TLS handshake)",
            "Head \"https://r.example/v2/team/app/manifests/v1\": net/http: TLS handshake timeout",
        ),
        (
            TimeoutStage::Response,
            "r.example takes the request and does not answer in time (waiting for the answer)",
            "Head \"https://r.example/v2/team/app/manifests/v1\": net/http: timeout awaiting response headers",
        ),
    ] {
        let (message, _, kubelet) = said(&at(Evidence::TimedOut(stage), None, URL));
        assert_eq!(message, words);
        assert!(kubelet.ends_with(kubelets), "{kubelet}");
    }
}

#[test]
fn an_answer_that_is_cut_short_was_begun() {
    let interrupted = |detail: Option<&str>| Failure {
        detail: detail.map(str::to_owned),
        ..at(Evidence::ConnectionFailed(ConnectionFault::Interrupted), None, URL)
    };
    let (_, _, kubelet) = said(&interrupted(None));
    assert!(kubelet.ends_with(": EOF"), "{kubelet}");
    let (message, _, kubelet) = said(&interrupted(Some(CUT_SHORT)));
    assert_eq!(
        message,
        "r.example breaks off the connection (the answer ends before its announced length)"
    );
    assert!(
        kubelet.ends_with(": unexpected EOF") && !kubelet.contains("Head"),
        "{kubelet}"
    );
}

#[test]
fn digests_that_are_not_served_or_are_others() {
    let by_digest = format!("https://r.example/v2/team/app/manifests/{DIGEST}");
    let mut failure = at(Evidence::ContentInvalid(ContentFault::NotServed), Some(404), &by_digest);
    failure.request.as_mut().unwrap().method = "GET";
    let (message, _, kubelet) = said(&failure);
    assert!(
        message.starts_with("r.example resolves tag \"v1\" to a digest, and then does not serve that digest (404): a proxy cache"),
        "{message}"
    );
    assert!(kubelet.ends_with("not found: not found"), "{kubelet}");
    let other = ContentFault::OtherDigest {
        part: "manifest",
        has: OTHER.to_owned(),
    };
    let failure = at(Evidence::ContentInvalid(other), Some(200), &by_digest).about(DIGEST);
    let (_, _, kubelet) = said(&failure);
    assert_eq!(
        kubelet,
        format!(
            "rpc error: code = FailedPrecondition desc = failed to pull and unpack image \"r.example/team/app:v1\": failed commit on ref \
             \"manifest-{DIGEST}\": unexpected commit digest {OTHER}, expected {DIGEST}: failed precondition"
        )
    );
}

#[test]
fn the_url_that_settings_made_of_a_name() {
    let reference = Reference::parse("r.example/team/app:v1").unwrap();
    let gone = |url: &str| {
        at(
            Evidence::TagUnknown {
                repository_exists: false,
            },
            Some(404),
            url,
        )
    };
    let doubled = "https://r.example/v2/cache/v2/team/app/manifests/v1";
    for (url, shown, hint) in [
        (URL, false, None),
        ("https://R.example/v2/team/app/blobs/x", false, None),
        (doubled, true, Some("https://r.example/v2/cache")),
        ("https://mirror.example/v2/team/app/manifests/v1?ns=r.example", true, None),
        ("https://mirror.example/cache/v2/team/app/manifests/v1", true, None),
        ("https://cdn.example/some/where", false, None),
    ] {
        let failure = gone(url);
        let asked = wording::asked::url(&failure, &reference);
        assert_eq!(asked, shown.then(|| url.split('?').next().unwrap()), "{url}");
        let base = wording::asked::doubled(&failure, &reference);
        assert_eq!(
            base.map(|base| base.trim_end_matches("/v2")),
            hint.map(|hint| hint.trim_end_matches("/v2")),
            "{url}"
        );
    }
    let (_, fix, _) = said(&gone(doubled));
    assert!(
        fix.starts_with(
            "if https://r.example/v2/cache is the whole path, write `override_path = true` beside it in the nodes' hosts.toml; "
        ),
        "{fix}"
    );
    let hub = Reference::parse("docker.io/library/app:v1").unwrap();
    let own = gone("https://registry-1.docker.io/v2/library/app/manifests/v1");
    assert_eq!(wording::asked::url(&own, &hub), None);
}

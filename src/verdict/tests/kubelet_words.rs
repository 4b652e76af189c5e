//! The words of containerd's two ways of pulling. Where a text was measured, it stands here as it was seen: by the kubelet of 1.37.2 with
//! containerd 2.4.2, or over CRI.

use super::super::kubelet::{NoMatch, newest_path, no_platform, predict};
use super::super::platforms::{Audience, Group};
use super::*;
use crate::image::Platform;
use crate::runtime::containerd::PullPath;
use crate::runtime::outcome::{ConnectionFault, ContentFault};
use crate::runtime::{Pool, Runtime};

const DIGEST: &str = "sha256:5d4a3a3e8e0b8c1f9a4d2c7b6e5f40312233445566778899aabbccddeeff0011";

fn message(failure: &Failure, path: PullPath) -> String {
    let reference = Reference::parse("r.example:5000/app:v1").unwrap();
    predict(failure, &reference, Some(path)).unwrap().message
}

fn asked(evidence: Evidence, status: u16, method: &'static str, rest: &str) -> Failure {
    Failure {
        host: "r.example:5000".to_owned(),
        status: Some(status),
        request: Some(RequestLine {
            method,
            url: format!("https://r.example:5000/v2/app/{rest}"),
            purpose: Purpose::Content,
        }),
        ..failure(evidence)
    }
}

fn audience(runtimes: &[&str]) -> Audience {
    Audience {
        groups: runtimes
            .iter()
            .map(|runtime| Group {
                platform: Platform::parse("linux/amd64").unwrap(),
                runtimes: Runtime::of_node(runtime).unwrap_or_else(Runtime::unknown),
                pool: Pool::default(),
                tolerated: 1,
                tainted: 0,
                names: Vec::new(),
                storage: Vec::new(),
            })
            .collect(),
        ..Audience::default()
    }
}

#[test]
fn the_newest_of_the_candidate_nodes_speaks() {
    for (runtimes, path) in [
        (&[][..], Some(PullPath::Transfer)),
        (&["containerd://2.4.2"], Some(PullPath::Transfer)),
        (&["containerd://2.1.0"], Some(PullPath::Transfer)),
        (&["containerd://2.0.7"], Some(PullPath::Local)),
        (&["containerd://1.7.34"], Some(PullPath::Local)),
        (&["containerd://1.6.20", "containerd://1.7.34"], Some(PullPath::Local)),
        (&["containerd://1.7.34", "containerd://2.3.0"], Some(PullPath::Transfer)),
        (&["cri-o://1.36.3"], None),
        (&["cri-o://1.36.3", "containerd://1.7.34"], Some(PullPath::Local)),
        (&["cri-o://1.36.3", "containerd://2.4.2"], Some(PullPath::Transfer)),
        (&["docker://20.10.7"], Some(PullPath::Transfer)),
    ] {
        assert_eq!(newest_path(&audience(runtimes)), path, "{runtimes:?}");
    }
}

#[test]
fn the_words_of_crio_are_not_guessed() {
    let reference = Reference::parse("r.example/app:v1").unwrap();
    assert_eq!(predict(&failure(Evidence::RateLimited), &reference, None), None);
    let own = predict(
        &failure(Evidence::CredentialNotText { every_kubelet: true }),
        &reference,
        None,
    );
    assert_eq!(
        own.unwrap().message,
        "rpc error: code = Internal desc = grpc: error while marshaling: string field contains invalid UTF-8",
        "it is the kubelet that fails"
    );
}

#[test]
fn both_ways_of_pulling() {
    let image = "failed to pull and unpack image \"r.example:5000/app:v1\": ";
    let missing = asked(Evidence::TagUnknown { repository_exists: true }, 404, "HEAD", "manifests/v1");
    let refused = asked(
        Evidence::CredentialRefused { at: AuthStage::Basic },
        401,
        "HEAD",
        "manifests/v1",
    );
    let throttled = asked(Evidence::RateLimited, 429, "GET", &format!("blobs/{DIGEST}"));
    let said = Failure {
        registry_errors_as_printed: Some("toomanyrequests: slow down".into()),
        ..throttled.clone()
    };
    let large = Evidence::ContentInvalid(ContentFault::OtherSize {
        part: "config",
        by: "manifest",
        has: 218,
        says: 7,
    });
    let large = asked(large, 200, "GET", "").about(DIGEST);
    let broken = |fault| asked(Evidence::ContentInvalid(fault), 200, "GET", "").about(DIGEST);
    let said_by_go = || "unexpected end of JSON input".to_owned();
    let cut = broken(ContentFault::NotJson(said_by_go()));
    let cut_config = broken(ContentFault::ConfigNotJson(said_by_go()));
    for (failure, transfer, client) in [
        (
            &missing,
            "rpc error: code = NotFound desc = IMAGEfailed to resolve image: r.example:5000/app:v1: not found".to_owned(),
            "rpc error: code = NotFound desc = IMAGEfailed to resolve reference \"r.example:5000/app:v1\": r.example:5000/app:v1: not found"
                .to_owned(),
        ),
        (
            &refused,
            "IMAGEfailed to resolve image: unexpected status from HEAD request to https://r.example:5000/v2/app/manifests/v1: 401 Unauthorized"
                .to_owned(),
            "IMAGEfailed to resolve reference \"r.example:5000/app:v1\": unexpected status from HEAD request to https://r.example:5000/v2/app/manifests/v1: 401 Unauthorized"
                .to_owned(),
        ),
        (
            &throttled,
            format!("IMAGEfailed to copy: httpReadSeeker: failed open: unexpected status from GET request to https://r.example:5000/v2/app/blobs/{DIGEST}: 429 Too Many Requests"),
            format!("IMAGEfailed to copy: httpReadSeeker: failed open: unexpected status code https://r.example:5000/v2/app/blobs/{DIGEST}: 429 Too Many Requests"),
        ),
        (
            &said,
            format!("IMAGEfailed to copy: httpReadSeeker: failed open: unexpected status from GET request to https://r.example:5000/v2/app/blobs/{DIGEST}: 429 Too Many Requests\ntoomanyrequests: slow down"),
            format!("IMAGEfailed to copy: httpReadSeeker: failed open: unexpected status code https://r.example:5000/v2/app/blobs/{DIGEST}: 429 Too Many Requests - Server message: toomanyrequests: slow down"),
        ),
        (
            &cut,
            format!("IMAGEchildren: invalid desc {DIGEST}: unexpected end of JSON input"),
            format!("IMAGEchildren: invalid desc {DIGEST}: unexpected end of JSON input"),
        ),
        (
            &cut_config,
            "IMAGEunmarshal image config: unexpected end of JSON input".to_owned(),
            "IMAGEunmarshal image config: unexpected end of JSON input".to_owned(),
        ),
        (
            &large,
            "rpc error: code = FailedPrecondition desc = IMAGEfailed to copy: httpReadSeeker: read past expected size 7: failed precondition"
                .to_owned(),
            format!("rpc error: code = FailedPrecondition desc = IMAGEfailed commit on ref \"config-{DIGEST}\": \"config-{DIGEST}\" failed size validation: 218 != 7: failed precondition"),
        ),
    ] {
        assert_eq!(message(failure, PullPath::Transfer), transfer.replace("IMAGE", image));
        assert_eq!(message(failure, PullPath::Local), client.replace("IMAGE", image));
    }
}

#[test]
fn an_index_that_serves_no_node() {
    let reference = Reference::parse("r.example/app:v1").unwrap();
    let child = DIGEST.replace('5', "6");
    let message = |path, why| no_platform(Some(path), why, DIGEST, &reference).unwrap().message;
    let of_index = format!(
        "rpc error: code = NotFound desc = get image config descriptor: no match for platform in manifest {DIGEST}: not found"
    );
    let of_client = "rpc error: code = NotFound desc = failed to pull and unpack image \"r.example/app:v1\": no match for platform in manifest: not found";
    assert_eq!(message(PullPath::Transfer, NoMatch::Entry), of_index);
    assert_eq!(message(PullPath::Local, NoMatch::Entry), of_client);
    assert_eq!(message(PullPath::Transfer, NoMatch::Config), of_index);
    assert_eq!(message(PullPath::Local, NoMatch::Config), of_index);
    assert_eq!(
        message(PullPath::Transfer, NoMatch::NotFetched(&child)),
        format!("rpc error: code = NotFound desc = get image config descriptor: content digest {child}: not found")
    );
    assert_eq!(no_platform(None, NoMatch::Entry, DIGEST, &reference), None);
}

#[test]
fn what_connections_are_made_to() {
    for (host, scheme, dialled) in [
        ("127.0.0.1:5000", "http", "127.0.0.1:5000"),
        ("10.0.0.7", "https", "10.0.0.7:443"),
        ("10.0.0.7", "http", "10.0.0.7:80"),
        ("[::1]:5000", "https", "[::1]:5000"),
        ("[::1]", "https", "[::1]:443"),
        ("r.example", "https", "...:443"),
        ("r.example:5000", "https", "...:5000"),
    ] {
        let refused = Failure {
            host: host.to_owned(),
            request: Some(RequestLine {
                method: "HEAD",
                url: format!("{scheme}://{host}/v2/app/manifests/v1"),
                purpose: Purpose::Content,
            }),
            ..failure(Evidence::ConnectionFailed(ConnectionFault::Refused))
        };
        let said = message(&refused, PullPath::Transfer);
        let end = format!("/app/manifests/v1\": dial tcp {dialled}: connect: connection refused");
        assert!(said.ends_with(&end), "{said}");
    }
}

#[test]
fn a_port_that_there_is_not() {
    let unasked = Failure {
        host: "127.0.0.1:99999".to_owned(),
        request: None,
        ..failure(Evidence::ConnectionFailed(ConnectionFault::Unreachable))
    };
    let reference = Reference::parse("127.0.0.1:99999/a:v1").unwrap();
    assert_eq!(
        predict(&unasked, &reference, Some(PullPath::Transfer)).unwrap().message,
        "failed to pull and unpack image \"127.0.0.1:99999/a:v1\": failed to resolve image: failed to do request: \
         Head \"https://127.0.0.1:99999/v2/a/manifests/v1\": dial tcp: address 99999: invalid port"
    );
}

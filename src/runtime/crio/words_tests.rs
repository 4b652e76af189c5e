use super::*;
use crate::image::Platform;
use crate::runtime::Depth;
use crate::runtime::answer::AskedAt;
use crate::runtime::content::{Body, Content};
use crate::runtime::crio::Version;
use crate::runtime::crio::registries_conf::RegistriesConf;
use crate::runtime::outcome::{Build, CUT_SHORT};
use crate::runtime::request::{Method, Origin, Scheme, Who};
use std::sync::Arc;

const NEW: Version = Version(1, 36, 3);
const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const OTHER: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

fn pull(image: &str) -> Pull {
    Pull {
        reference: Reference::parse(image).unwrap(),
        short: crate::runtime::crio::short_names::written(image).map(Arc::from),
        node: NodeConfig::Default,
        who: Who::default(),
        platform: Platform::parse("linux/arm64").unwrap(),
        until: Depth::Layers,
        agent: crate::runtime::request::Agent::default(),
    }
}

fn failure(evidence: Evidence, url: &str, status: Option<u16>, said: Option<(&str, &str)>) -> Failure {
    let (origin, path) = url.split_once("/v2/").unwrap();
    let (scheme, authority) = origin.split_once("://").unwrap();
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let at = AskedAt {
        method: Method::Get,
        origin: Origin::new(scheme, authority).unwrap(),
        path: Arc::from(format!("/v2/{path}")),
    };
    Failure {
        status,
        code: said.map(|(code, _)| code.to_owned()),
        detail: said.map(|(_, detail)| detail.to_owned()),
        ..Failure::of_request(evidence, &at, Purpose::Content)
    }
}

fn failed(failure: Failure) -> Outcome {
    Outcome {
        found: None,
        ends: vec![End::Failed(failure)],
        passed: Vec::new(),
    }
}

fn said(version: Version, pull: &Pull, outcome: &Outcome) -> Option<String> {
    Crio { version }.text(pull, outcome)
}

#[test]
fn a_tag_that_is_not_there() {
    let gone = Evidence::TagUnknown {
        repository_exists: false,
    };
    let url = "https://registry-1.docker.io/v2/library/app/manifests/v1";
    let outcome = failed(failure(gone, url, Some(404), Some(("MANIFEST_UNKNOWN", "manifest unknown"))));
    let of = |version| said(version, &pull("docker.io/app:v1"), &outcome).unwrap();
    let error = "reading manifest v1 in docker.io/library/app: manifest unknown";
    let image = format!("initializing source docker://app:v1: {error}");
    assert_eq!(of(Version(1, 32, 13)), image);
    assert_eq!(
        of(Version(1, 33, 3)),
        format!("unable to try pulling possible OCI artifact: get manifest: build image source: {error}")
    );
    assert_eq!(
        of(Version(1, 34, 11)),
        format!(
            "unable to pull image or OCI artifact: pull image err: {image}; artifact err: get manifest: build image source: {error}"
        )
    );
    assert_eq!(
        of(NEW),
        format!(
            "unable to pull image or OCI artifact: pull image err: {image}; artifact err: image reference: get manifest from ref: \
             create image source: {error}"
        )
    );
}

#[test]
fn answers_and_their_words() {
    let of = |status, said| refused(&failure(Evidence::Internal, "https://a.example/v2/", Some(status), said));
    assert_eq!(
        of(503, None).as_deref(),
        Some("received unexpected HTTP status: 503 Service Unavailable")
    );
    let denied = of(401, Some(("UNAUTHORIZED", "unauthorized to access repository: x")));
    assert_eq!(denied.as_deref(), Some("unauthorized: unauthorized to access repository: x"));
    assert_eq!(of(404, Some(("NOT_OURS", "no"))).as_deref(), Some("unknown: no"));
    // It may be either of two.
    assert_eq!(of(404, Some(("NAME_UNKNOWN", "repository name not known to registry"))), None);
    assert_eq!(of(404, None), None);
}

#[test]
fn nobody_answers() {
    let refused = Evidence::ConnectionFailed(ConnectionFault::Refused);
    let outcome = failed(failure(refused, "https://10.0.0.1:5000/v2/", None, None));
    assert_eq!(
        said(NEW, &pull("10.0.0.1:5000/x:v1"), &outcome).unwrap(),
        "RegistryUnavailable: unable to pull image: initializing source docker://10.0.0.1:5000/x:v1: pinging container registry \
         10.0.0.1:5000: Get \"https://10.0.0.1:5000/v2/\": dial tcp 10.0.0.1:5000: connect: connection refused"
    );
    let unknown = Evidence::Tls(TlsFault::UnknownIssuer);
    let outcome = failed(failure(unknown, "https://a.example/v2/", None, None));
    assert_eq!(
        said(NEW, &pull("a.example/x:v1"), &outcome).unwrap(),
        "unable to pull image: initializing source docker://a.example/x:v1: pinging container registry a.example: \
         Get \"https://a.example/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority"
    );
}

fn found(media_type: &str, builds: Vec<Build>) -> Arc<ImageFacts> {
    Arc::new(ImageFacts {
        digest: crate::image::Digest::parse(DIGEST).unwrap(),
        media_type: media_type.to_owned(),
        content: Content::Index(Vec::new()),
        quota: None,
        authenticated: false,
        stale: false,
        builds,
    })
}

#[test]
fn an_index_without_an_entry() {
    let outcome = Outcome {
        found: Some(found(OCI_IMAGE_INDEX_MEDIA_TYPE, Vec::new())),
        ends: vec![End::NoMatch],
        passed: Vec::new(),
    };
    let none = "no image found in image index for architecture \"arm64\", variant \"v8\", OS \"linux\"";
    assert_eq!(
        said(NEW, &pull("a.example/x:v1"), &outcome).unwrap(),
        format!(
            "unable to pull image or OCI artifact: pull image err: choosing an image from manifest list docker://a.example/x:v1: {none}; \
             artifact err: image reference: choose manifest instance: {none}"
        )
    );
}

#[test]
fn parts_that_are_missing() {
    let missing = |part, digest: &str| Evidence::ContentMissing {
        part,
        digest: digest.to_owned(),
        media_type: String::new(),
    };
    let blob = ("BLOB_UNKNOWN", "no such blob");
    let url = format!("https://a.example/v2/x/blobs/{OTHER}");
    let layer = failure(missing("layer", OTHER), &url, Some(404), Some(blob));
    let build = Build {
        digest: DIGEST.to_owned(),
        media_type: String::new(),
        content: Ok(Content::Image {
            platform: None,
            body: Body::default(),
        }),
        troubles: vec![layer.clone()],
    };
    let outcome = Outcome {
        found: Some(found(OCI_IMAGE_INDEX_MEDIA_TYPE, vec![build])),
        ..failed(layer)
    };
    assert_eq!(
        said(NEW, &pull("a.example/x:v1"), &outcome).unwrap(),
        format!(
            "unable to pull image or OCI artifact: pull image err: copying system image from manifest list: reading blob {OTHER}: \
             fetching blob: blob unknown: no such blob; artifact err: image reference: reference is a container image, not an OCI artifact"
        )
    );
    let url = format!("https://a.example/v2/x/manifests/{OTHER}");
    let child = failure(
        missing("child manifest", OTHER),
        &url,
        Some(404),
        Some(("MANIFEST_UNKNOWN", "")),
    );
    let outcome = Outcome {
        found: Some(found(OCI_IMAGE_INDEX_MEDIA_TYPE, Vec::new())),
        ..failed(child)
    };
    let error = format!("reading manifest {OTHER} in a.example/x: manifest unknown");
    assert_eq!(
        said(NEW, &pull("a.example/x:v1"), &outcome).unwrap(),
        format!(
            "unable to pull image or OCI artifact: pull image err: copying system image from manifest list: determining manifest MIME type \
             for docker://a.example/x:v1: {error}; artifact err: image reference: get instance manifest: {error}"
        )
    );
}

// As CRI-O 1.36.3 said them in the cases `index-build-of-another-body`, `config-of-another-body` and `cut-short`.
#[test]
fn what_is_another_or_cut_short() {
    let other = |part, url: &str| {
        let has = DIGEST.to_owned();
        failure(
            Evidence::ContentInvalid(ContentFault::OtherDigest { part, has }),
            url,
            Some(200),
            None,
        )
        .about(OTHER)
    };
    let child = other("child manifest", &format!("https://a.example/v2/x/manifests/{OTHER}"));
    let config = || other("config", &format!("https://a.example/v2/x/blobs/{OTHER}"));
    let in_an_index = |failure| Outcome {
        found: Some(found(OCI_IMAGE_INDEX_MEDIA_TYPE, Vec::new())),
        ..failed(failure)
    };
    let interrupted = || Evidence::ConnectionFailed(ConnectionFault::Interrupted);
    let cut = |url: &str| Failure {
        detail: Some(CUT_SHORT.to_owned()),
        ..failure(interrupted(), url, None, None)
    };
    let manifest = "https://a.example/v2/x/manifests/v1";
    let is_image = "image reference: reference is a container image, not an OCI artifact";
    let config_of = format!("parsing image configuration: Download config.json digest {DIGEST} does not match expected {OTHER}");
    for (outcome, image, artifact) in [
        (
            in_an_index(child),
            format!(
                "copying system image from manifest list: determining manifest MIME type for docker://a.example/x:v1: \
                 Manifest does not match provided manifest digest {OTHER}"
            ),
            is_image,
        ),
        (failed(config()), config_of.clone(), is_image),
        (
            in_an_index(config()),
            format!("copying system image from manifest list: {config_of}"),
            is_image,
        ),
        (
            failed(cut(manifest)),
            "initializing source docker://a.example/x:v1: unexpected EOF".to_owned(),
            "image reference: get manifest from ref: create image source: unexpected EOF",
        ),
    ] {
        assert_eq!(
            said(NEW, &pull("a.example/x:v1"), &outcome).unwrap(),
            format!("unable to pull image or OCI artifact: pull image err: {image}; artifact err: {artifact}")
        );
    }
    let text = said(
        NEW,
        &pull("a.example/x:v1"),
        &failed(failure(interrupted(), manifest, None, None)),
    )
    .unwrap();
    assert!(
        text.starts_with("unable to pull image: ") && text.ends_with(": EOF"),
        "{text}"
    );
}

// As CRI-O 1.36.3 said them in the cases `body-cut-short` and `config-not-json`; those of 1.33 and 1.34 by their sources.
#[test]
fn what_is_no_json() {
    const OLD: Version = Version(1, 33, 3);
    let said_of = |version, outcome: &Outcome| said(version, &pull("a.example/x:v1"), outcome);
    let words = "unexpected end of JSON input";
    let broken = |fault| {
        failure(
            Evidence::ContentInvalid(fault),
            "https://a.example/v2/x/manifests/v1",
            Some(200),
            None,
        )
    };
    let whole = failed(broken(ContentFault::NotJson(words.to_owned())));
    let image = format!("initializing image from source docker://a.example/x:v1: {words}");
    assert_eq!(said_of(Version(1, 32, 0), &whole).unwrap(), image);
    assert_eq!(
        said_of(OLD, &whole).unwrap(),
        format!("unable to try pulling possible OCI artifact: parse manifest from blob: {words}")
    );
    let both = "unable to pull image or OCI artifact: pull image err: ";
    assert_eq!(
        said_of(Version(1, 34, 1), &whole).unwrap(),
        format!("{both}{image}; artifact err: parse manifest from blob: {words}")
    );
    assert_eq!(
        said_of(NEW, &whole).unwrap(),
        format!("{both}{image}; artifact err: image reference: parse manifest: {words}")
    );
    let child = Outcome {
        found: Some(found(OCI_IMAGE_INDEX_MEDIA_TYPE, Vec::new())),
        ..whole
    };
    let text = said_of(NEW, &child).unwrap();
    let start = format!("{both}copying system image from manifest list: {image}; ");
    assert!(text.starts_with(&start), "{text}");
    let config = failed(broken(ContentFault::ConfigNotJson(words.to_owned())));
    assert_eq!(
        said_of(OLD, &config).unwrap(),
        format!("parsing image configuration: {words}")
    );
    assert_eq!(said_of(NEW, &failed(broken(ContentFault::NotJson(String::new())))), None);
}

// CRI-O 1.33.0 to 1.33.3 look for an artifact first, and stop at whatever does not tell that it is an image.
#[test]
fn the_first_versions_that_look_for_artifacts() {
    const OLD: Version = Version(1, 33, 0);
    let index = |media_type, end| Outcome {
        found: Some(found(media_type, Vec::new())),
        ends: vec![end],
        passed: Vec::new(),
    };
    let of = |outcome: &Outcome| said(OLD, &pull("a.example/x:v1"), outcome).unwrap();
    let first = "unable to try pulling possible OCI artifact: ";
    let none = |what| format!("no image found in {what} for architecture \"arm64\", variant \"v8\", OS \"linux\"");
    assert_eq!(
        of(&index(OCI_IMAGE_INDEX_MEDIA_TYPE, End::NoMatch)),
        format!("{first}choose instance: {}", none("image index"))
    );
    // A list of Docker's is taken for an image unread.
    assert_eq!(
        of(&index(IMAGE_MANIFEST_LIST_MEDIA_TYPE, End::NoMatch)),
        format!(
            "choosing an image from manifest list docker://a.example/x:v1: {}",
            none("manifest list")
        )
    );
    let gone = Evidence::ContentMissing {
        part: "child manifest",
        digest: OTHER.to_owned(),
        media_type: String::new(),
    };
    let url = format!("https://a.example/v2/x/manifests/{OTHER}");
    let child = failure(gone, &url, Some(404), Some(("MANIFEST_UNKNOWN", "")));
    assert_eq!(
        of(&index(OCI_IMAGE_INDEX_MEDIA_TYPE, End::Failed(child))),
        format!("{first}get manifest: build image source: reading manifest {OTHER} in a.example/x: manifest unknown")
    );
}

#[test]
fn names_that_lead_nowhere() {
    let unresolved = |why| failed(Failure::plain(Evidence::NodeSettings(why), "docker.io".to_owned()));
    let of = |why| said(NEW, &pull("team/app"), &unresolved(why));
    assert_eq!(
        of(NodeSettingsFault::Ambiguous).unwrap(),
        "short name mode is enforcing, but image name team/app:latest returns ambiguous list"
    );
    assert_eq!(
        of(NodeSettingsFault::NoSearchRegistry).unwrap(),
        "short-name \"team/app:latest\" did not resolve to an alias and no unqualified-search registries are defined in \"...\""
    );
    assert_eq!(of(NodeSettingsFault::ShortName), None);
    let conf = RegistriesConf::parse("[[registry]]\nlocation = 'a.example'\nblocked = true\n", &[]).unwrap();
    let blocked = Pull {
        node: NodeConfig::Crio(Arc::new(conf.into())),
        ..pull("a.example/x:v1")
    };
    let text = said(NEW, &blocked, &unresolved(NodeSettingsFault::Blocked)).unwrap();
    assert!(
        text.contains("docker://a.example/x:v1: registry a.example is blocked in ... or ...; artifact err: "),
        "{text}"
    );
}

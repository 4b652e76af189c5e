//! What is served in the place of an image.

use crate::faulty::{Faulty, Reply, Seen, Tls, Validity};
use crate::ports::Nobody;
use crate::sample::*;
use crate::support::*;
use pullgate::registry::RegistrySettings;
use pullgate::runtime::content::*;
use pullgate::runtime::outcome::*;
use pullgate::verdict::Content;
use std::time::Duration;

/// Serves `reply` for every manifest request.
async fn serves(reply: Reply) -> Faulty {
    Faulty::start(move |_| reply.clone()).await
}

async fn invalid(server: &Faulty, fault: ContentFault) {
    expect(&format!("{}/team/app:1", server.host()), Evidence::ContentInvalid(fault)).await;
}

#[tokio::test]
async fn the_whole_sequence() {
    let app = image("arm64");
    let (digest, config) = (app.manifest.digest.clone(), app.config.digest.clone());
    let server = Faulty::start(move |seen| good(&app, seen)).await;
    let (registry, metrics) = look_ups(settings());
    let facts = ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
    assert_eq!(facts.digest.to_string(), digest);
    assert_eq!(facts.media_type, OCI_MANIFEST);
    assert!(!facts.authenticated && !facts.stale && facts.quota.is_none());
    let Content::Image {
        platform: Some(platform),
        ..
    } = facts.content
    else {
        panic!("an image with a platform")
    };
    assert_eq!((platform.os.as_str(), platform.architecture.as_str()), ("linux", "arm64"));
    assert_eq!(
        server.lines(),
        [
            "HEAD /v2/team/app/manifests/1".to_owned(),
            format!("GET /v2/team/app/manifests/{digest}"),
            format!("GET /v2/team/app/blobs/{config}")
        ]
    );
    for seen in server.seen() {
        let coding = if seen.method == "HEAD" { None } else { Some("identity") };
        assert_eq!(seen.header("accept-encoding"), coding);
        assert_eq!(
            seen.header("user-agent"),
            Some(concat!(
                "containerd/2.4.2 (compatible; pullgate/",
                env!("CARGO_PKG_VERSION"),
                ")"
            ))
        );
        assert_eq!(seen.header("authorization"), None);
        assert_eq!(seen.header("cookie"), None);
        assert_eq!(seen.headers.iter().filter(|(name, _)| name == "accept").count(), 1);
    }
    let seen = server.seen();
    assert_eq!(
        seen[0].header("accept"),
        Some(
            "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, \
             application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*"
        )
    );
    assert_eq!(
        seen[1].header("accept"),
        Some("application/vnd.oci.image.manifest.v1+json, */*")
    );
    let text = metrics.encode();
    assert!(
        text.contains(r#"pullgate_registry_requests_total{host_class="loopback",outcome="ok"} 3"#),
        "{text}"
    );
    assert!(text.contains(r#"cache="answers",result="miss"} 1"#), "{text}");
}

#[tokio::test]
async fn of_an_index_the_build_for_the_node_is_asked_for() {
    let (amd, arm) = (image("amd64"), image("arm64"));
    let both = index(&[
        ("linux/amd64", &amd.manifest),
        ("linux/arm64", &arm.manifest),
        ("unknown/unknown", &amd.manifest),
    ]);
    let (listed, build) = (both.clone(), amd.clone());
    let server = Faulty::start(move |seen| {
        if seen.path.ends_with(&build.manifest.digest) {
            served(&build.manifest)
        } else {
            served(&listed)
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    let facts = ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
    let Content::Index(entries) = facts.content else {
        panic!("an index")
    };
    assert_eq!(entries.len(), 3, "attestations are kept");
    assert_eq!(entries[1].digest, arm.manifest.digest);
    assert_eq!(facts.builds, []);
    let amd = amd.manifest.digest;
    assert_eq!(
        server.lines(),
        [
            "HEAD /v2/team/app/manifests/1".to_owned(),
            format!("GET /v2/team/app/manifests/{}", both.digest),
            format!("HEAD /v2/team/app/manifests/{amd}"),
        ],
        "neither other platforms nor attestations"
    );

    // A clean-up of untagged manifests has taken them.
    let digest = both.digest.clone();
    let server = Faulty::start(move |seen| {
        if seen.path.ends_with("/1") || seen.path.ends_with(&digest) {
            served(&both)
        } else {
            error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        }
    })
    .await;
    let facts = ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
    let [Build { content: Err(gone), .. }] = &facts.builds[..] else {
        panic!("{:?}", facts.builds)
    };
    let missing = Evidence::ContentMissing {
        part: "child manifest",
        digest: amd,
        media_type: OCI_MANIFEST.to_owned(),
    };
    assert_eq!(gone.evidence, missing);
}

#[tokio::test]
async fn of_an_entry_without_platform_the_config_is_read() {
    let arm = image("arm64");
    let listed = Blob::new(
        OCI_INDEX,
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{{}}}]}}"#,
            arm.manifest.descriptor()
        ),
    );
    let server = Faulty::start(move |seen| {
        if seen.path.ends_with("/1") || seen.path.ends_with(&listed.digest) {
            served(&listed)
        } else {
            good(&arm, seen)
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    let facts = ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
    let [
        Build {
            content: Ok(Content::Image {
                platform: Some(platform),
                ..
            }),
            ..
        },
    ] = &facts.builds[..]
    else {
        panic!("{:?}", facts.builds)
    };
    assert_eq!(platform.architecture, "arm64");
}

#[tokio::test]
async fn head_not_allowed() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| {
        if seen.method == "HEAD" {
            Reply::new(405)
        } else {
            good(&app, seen)
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
    assert_eq!(
        server.lines()[..2],
        ["HEAD /v2/team/app/manifests/1", "GET /v2/team/app/manifests/1"]
    );
}

#[tokio::test]
async fn head_without_digest_or_length() {
    let app = image("amd64");
    let digest = app.manifest.digest.clone();
    let bare = app.clone();
    let server = Faulty::start(move |seen| {
        let mut reply = good(&bare, seen);
        reply.headers.retain(|(name, _)| name != "Docker-Content-Digest");
        reply
    })
    .await;
    let (registry, _) = look_ups(settings());
    let facts = ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
    assert_eq!(facts.digest.to_string(), digest);

    let server = Faulty::start(move |seen| good(&app, seen).unmeasured()).await;
    let facts = ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
    assert_eq!(facts.digest.to_string(), digest);
    assert_eq!(server.lines()[1], "GET /v2/team/app/manifests/1");
}

#[tokio::test]
async fn digests_that_lie() {
    let app = image("amd64");
    let zeros = format!("sha256:{}", "0".repeat(64));

    // A wrong digest that the registry does not know.
    let (lied, real) = (zeros.clone(), app.clone());
    let server = Faulty::start(move |seen| match seen.method.as_str() {
        "HEAD" => Reply::new(200)
            .header("Content-Type", OCI_MANIFEST)
            .header("Docker-Content-Digest", &lied)
            .header("Content-Length", "100"),
        _ => good(&real, seen),
    })
    .await;
    invalid(&server, ContentFault::NotServed).await;

    // A wrong digest under which the registry serves the manifest nonetheless.
    let mut lying = served(&app.manifest);
    lying.headers[1].1 = zeros.clone();
    let other = |has: &str| ContentFault::OtherDigest {
        part: "manifest",
        has: has.to_owned(),
    };
    invalid(&serves(lying.clone()).await, other(&app.manifest.digest)).await;

    // A digest was asked for, another is announced: a runtime does not look at the header then, but at the content.
    let real = app.clone();
    let server = Faulty::start(move |seen| {
        if seen.path.contains("/blobs/") {
            good(&real, seen)
        } else {
            lying.clone()
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    let name = format!("{}/team/app@{}", server.host(), app.manifest.digest);
    let facts = ask(&registry, &name, None).await.unwrap();
    assert_eq!(facts.digest.to_string(), app.manifest.digest);
    let arm = image("arm64");
    let has = arm.manifest.digest.clone();
    let server = Faulty::start(move |_| served(&arm.manifest)).await;
    expect(
        &format!("{}/team/app@{}", server.host(), app.manifest.digest),
        Evidence::ContentInvalid(other(&has)),
    )
    .await;

    let mut garbage = served(&app.manifest);
    garbage.headers[1].1 = "nonsense".to_owned();
    invalid(&serves(garbage).await, ContentFault::DigestMalformed("nonsense".to_owned())).await;
}

#[tokio::test]
async fn pages_and_nothing() {
    let html = Reply::new(200)
        .header("Content-Type", "text/html; charset=utf-8")
        .body("<html>secret login page</html>");
    let server = serves(html).await;
    let no_registry = |fault| Evidence::NoRegistry {
        fails: Box::new(Evidence::ContentInvalid(fault)),
        spoke_before: false,
    };
    let of_type = |kind: &str| ContentFault::MediaType(kind.to_owned());
    let failure = expect(&format!("{}/team/app:1", server.host()), no_registry(of_type("text/html"))).await;
    assert_silent(&failure, &["secret login"]);
    // A runtime takes it for a blob then.
    let lines = server.lines();
    assert_eq!(lines[0], "HEAD /v2/team/app/manifests/1");
    assert!(lines[2..].iter().all(|line| line.contains("/blobs/")), "{lines:?}");

    for kind in ["application/json", "application/octet-stream"] {
        let plain = Reply::new(200).header("Content-Type", kind).body("{}");
        let server = serves(plain.clone()).await;
        expect(&format!("{}/team/app:1", server.host()), no_registry(of_type(kind))).await;
        let server = serves(plain.header("Docker-Distribution-Api-Version", "registry/2.0")).await;
        invalid(&server, of_type(kind)).await;
    }
    let empty = Reply::new(200).header("Content-Type", OCI_MANIFEST);
    invalid(&serves(empty).await, ContentFault::Empty).await;
    invalid(
        &serves(served(&Blob::new(OCI_MANIFEST, "{broken"))).await,
        ContentFault::NotJson("invalid character 'b' looking for beginning of object key string".to_owned()),
    )
    .await;
    let app = image("amd64");
    let index = Blob::new(OCI_MANIFEST, index(&[("linux/amd64", &app.manifest)]).bytes);
    let why = format!("expected manifest but found index ({OCI_MANIFEST})");
    invalid(&serves(served(&index)).await, ContentFault::BodyMismatch(why)).await;
}

#[tokio::test]
async fn too_long() {
    let announced = Reply::new(200)
        .header("Content-Type", OCI_MANIFEST)
        .header("Docker-Content-Digest", &format!("sha256:{}", "0".repeat(64)))
        .header("Content-Length", "300000000");
    let server = serves(announced).await;
    expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::TooLong { bytes: 300_000_000 },
    )
    .await;
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/1"]);

    let unannounced = Reply::new(200)
        .header("Content-Type", OCI_MANIFEST)
        .body(vec![b' '; 5_000_000])
        .unmeasured();
    let server = serves(unannounced).await;
    expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::TooLong { bytes: 4_393_217 },
    )
    .await;

    let fits = Blob::new(OCI_MANIFEST, [image("amd64").manifest.bytes, vec![b' '; 4_390_000]].concat());
    let app = image("amd64");
    let server = Faulty::start(move |seen| {
        if seen.path.contains("/manifests/") {
            served(&fits)
        } else {
            good(&app, seen)
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
}

#[tokio::test]
async fn schema_1_and_compression() {
    for kind in [
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "text/plain; charset=utf-8",
    ] {
        let server = serves(served(&Blob::new(kind, r#"{"schemaVersion":1}"#))).await;
        let (registry, _) = look_ups(settings());
        let facts = ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
        assert_eq!(facts.content, Content::Schema1);
    }
    let app = image("amd64");
    let server = serves(served(&app.manifest).header("Content-Encoding", "gzip")).await;
    expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::ServerError { token_server: false },
    )
    .await;
}

fn config_only(reply: Reply, app: Image) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| {
        if seen.path.contains("/blobs/") {
            reply.clone()
        } else {
            good(&app, seen)
        }
    }
}

#[tokio::test]
async fn configs() {
    let app = image("amd64");
    let server = Faulty::start(config_only(error(404, "BLOB_UNKNOWN", "blob unknown"), app.clone())).await;
    let missing = Evidence::ContentMissing {
        part: "config",
        digest: app.config.digest.clone(),
        media_type: OCI_CONFIG.to_owned(),
    };
    expect(&format!("{}/team/app:1", server.host()), missing).await;

    let other = Faulty::start(config_only(Reply::new(200).body("{}"), app.clone())).await;
    let failure = fails(&format!("{}/team/app:1", other.host()), None).await;
    assert!(
        matches!(
            failure.evidence,
            Evidence::ContentInvalid(ContentFault::OtherSize {
                part: "config",
                has: 2,
                ..
            })
        ),
        "{failure:?}"
    );

    let forbidden = Faulty::start(config_only(error(403, "DENIED", "no"), app)).await;
    let evidence = Evidence::Forbidden {
        address_bound: false,
        with_credential: false,
    };
    expect(&format!("{}/team/app:1", forbidden.host()), evidence).await;

    let broken = image_with(OCI_CONFIG, "not json");
    let server = Faulty::start(move |seen| good(&broken, seen)).await;
    let said = "invalid character 'o' in literal null (expecting 'u')".to_owned();
    invalid(&server, ContentFault::ConfigNotJson(said)).await;
    let uneven = image_with(OCI_CONFIG, r#"{"architecture":"amd64"}"#);
    let server = Faulty::start(move |seen| good(&uneven, seen)).await;
    invalid(&server, ContentFault::LayerCount { layers: 1, diff_ids: 0 }).await;

    let chart = image_with("application/vnd.cncf.helm.config.v1+json", "{}");
    let server = Faulty::start(move |seen| good(&chart, seen)).await;
    let (registry, _) = look_ups(settings());
    let facts = ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
    let Content::Artifact { kind, unpack, .. } = facts.content else {
        panic!("an artifact")
    };
    assert_eq!(
        (kind.as_str(), unpack),
        ("application/vnd.cncf.helm.config.v1+json", Unpack::Partly)
    );
    assert_eq!(server.lines().len(), 2, "the config of an artifact is not read");
}

#[tokio::test]
async fn quota() {
    let of = async |headers: &'static [(&'static str, &'static str)]| {
        let app = image("amd64");
        let server = Faulty::start(move |seen| {
            headers
                .iter()
                .fold(good(&app, seen), |reply, (name, value)| reply.header(name, value))
        })
        .await;
        let (registry, metrics) = look_ups(settings());
        let name = format!("{}/team/app:1", server.host());
        let first = ask(&registry, &name, None).await.unwrap().quota;
        assert_eq!(ask(&registry, &name, None).await.unwrap().quota, first, "kept for a while");
        let all = metrics.encode();
        let counted = all
            .lines()
            .filter(|line| line.starts_with("pullgate_registry_low_quota_answers_total") && !line.ends_with(" 0"))
            .map(str::to_owned)
            .collect::<String>();
        (first, counted)
    };
    let (used_up, counted) = of(&[("ratelimit-remaining", "0;w=21600")]).await;
    let used_up = used_up.unwrap();
    assert_eq!((used_up.remaining, used_up.level()), (0, Level::Exhausted));
    assert!(counted.contains("level=\"exhausted\"} 3"), "of three answers: {counted}");

    let (low, counted) = of(&[
        ("RateLimit-Limit", "100;w=21600"),
        ("RateLimit-Remaining", "10;w=21600"),
        ("Docker-RateLimit-Source", "192.0.2.1"),
    ])
    .await;
    let expected = Quota {
        remaining: 10,
        limit: Some(100),
        window: Some(Duration::from_hours(6)),
        counted: Counted::Address,
    };
    assert_eq!(low, Some(expected));
    assert_eq!(expected.level(), Level::Low);
    assert!(counted.contains("level=\"low\"} 3"), "{counted}");

    let (plenty, counted) = of(&[("RateLimit-Limit", "100;w=21600"), ("RateLimit-Remaining", "11;w=21600")]).await;
    assert_eq!(plenty.unwrap().level(), Level::Plenty);
    let (malformed, none) = of(&[("RateLimit-Limit", "100;w=21600"), ("RateLimit-Remaining", "none")]).await;
    assert_eq!(malformed, None);
    // Requests a minute, as some servers write them, are no pulls.
    let (requests, more) = of(&[("RateLimit-Limit", "600"), ("RateLimit-Remaining", "5")]).await;
    assert_eq!(requests.unwrap().level(), Level::Plenty);
    assert_eq!([counted, none, more].concat(), "");
}

#[tokio::test]
async fn what_404_means() {
    // The manifest endpoint says that the repository is unknown.
    let server = serves(error(404, "NAME_UNKNOWN", "repository name not known")).await;
    let failure = expect(&format!("{}/team/app:1", server.host()), Evidence::RepositoryUnknown).await;
    assert_eq!(failure.code.as_deref(), Some("NAME_UNKNOWN"));
    assert_eq!(failure.request.unwrap().method, "HEAD");

    // No registry says anything.
    let server = serves(Reply::new(404).header("Content-Type", "text/html").body("<html>")).await;
    expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::NoRegistry {
            fails: Box::new(Evidence::TagUnknown {
                repository_exists: false,
            }),
            spoke_before: false,
        },
    )
    .await;

    // The list of tags has it.
    let server = Faulty::start(|seen| {
        if seen.path.starts_with("/v2/team/app/tags/list") {
            Reply::new(200).json(r#"{"name":"team/app","tags":["0","1"]}"#)
        } else {
            error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        }
    })
    .await;
    let failure = expect(&format!("{}/team/app:1", server.host()), Evidence::TagWithoutManifest).await;
    assert_eq!(failure.suggestions, [""; 0]);

    // HEAD is refused, GET is not.
    let app = image("amd64");
    let server = Faulty::start(move |seen| match seen.method.as_str() {
        "HEAD" => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        _ => good(&app, seen),
    })
    .await;
    expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::Rejected(Rejection::HeadOnly),
    )
    .await;

    // A list that is too long still proves that the repository exists.
    let tags: Vec<String> = (0..200_000).map(|n| format!("\"1.{n}\"")).collect();
    let list = format!(r#"{{"name":"team/app","tags":[{}]}}"#, tags.join(","));
    assert!(list.len() > 1 << 20);
    let server = Faulty::start(move |seen| {
        if seen.path.starts_with("/v2/team/app/tags/list") {
            Reply::new(200).json(&list)
        } else {
            error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        }
    })
    .await;
    let failure = expect(
        &format!("{}/team/app:1.x", server.host()),
        Evidence::TagUnknown { repository_exists: true },
    )
    .await;
    assert_eq!(failure.suggestions.len(), 3);
    assert_eq!(failure.code.as_deref(), Some("MANIFEST_UNKNOWN"));
}

#[tokio::test]
async fn a_digest_that_is_a_blob() {
    let app = image("amd64");
    let (config, blob) = (app.config.digest.clone(), format!("/v2/team/app/blobs/{}", app.config.digest));
    let server = Faulty::start(move |seen| good(&app, seen)).await;
    let name = format!("{}/team/app@{config}", server.host());
    expect(&name, Evidence::ContentInvalid(ContentFault::DigestIsBlob)).await;
    assert!(server.lines().contains(&format!("HEAD {blob}")));
    let zeros = format!("{}/team/app@sha256:{}", server.host(), "0".repeat(64));
    expect(&zeros, Evidence::DigestUnknown).await;
}

#[tokio::test]
async fn docker_hub_by_its_short_name() {
    let app = image("amd64");
    let tls = Tls::new(&["registry-1.docker.io"], Validity::Good);
    let server = Faulty::start_tls(&tls, move |seen| {
        let mut seen = seen.clone();
        seen.path = seen
            .path
            .replace("library/nginx", "team/app")
            .replace("manifests/latest", "manifests/1");
        good(&app, &seen)
    })
    .await;
    let (registry, metrics) = look_ups(RegistrySettings {
        resolve: vec![("registry-1.docker.io".to_owned(), server.address)],
        roots: vec![tls.ca.into_bytes()],
        ..settings()
    });
    ask(&registry, "nginx", None).await.unwrap();
    assert_eq!(server.lines()[0], "HEAD /v2/library/nginx/manifests/latest");
    assert_eq!(server.seen()[0].header("host"), Some("registry-1.docker.io"));
    assert!(metrics.encode().contains(r#"host_class="docker.io",outcome="ok"} 3"#));
    let failure = ask(&registry, "nginx:no-such", None).await.unwrap_err();
    assert_eq!(failure.host, "registry-1.docker.io");
}

#[tokio::test]
async fn a_config_behind_a_redirect() {
    let app = image("amd64");
    let tls = Tls::new(&["cdn.test"], Validity::Good);
    let config = app.config.bytes.clone();
    let cdn = Faulty::start_tls(&tls, move |_| Reply::new(200).body(config.clone())).await;
    let away = |port: u16| {
        let app = app.clone();
        Faulty::start(config_only(
            Reply::new(307).header("Location", &format!("https://cdn.test:{port}/blob?signature=secret")),
            app,
        ))
    };
    let (registry, _) = look_ups(RegistrySettings {
        resolve: vec![("cdn.test".to_owned(), "127.0.0.1:0".parse().unwrap())],
        roots: vec![tls.ca.into_bytes()],
        ..settings()
    });
    let server = away(cdn.port()).await;
    ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
    assert_eq!(cdn.lines(), ["GET /blob?signature=secret"]);

    let nobody = Nobody::new();
    let closed = nobody.address().port();
    let server = away(closed).await;
    let failure = ask(&registry, &format!("{}/team/app:1", server.host()), None)
        .await
        .unwrap_err();
    let sent_on = Evidence::Redirected {
        by: server.host(),
        fails: Box::new(Evidence::ConnectionFailed(ConnectionFault::Refused)),
    };
    assert_eq!(failure.evidence, sent_on);
    assert_eq!(failure.host, format!("cdn.test:{closed}"));
    assert_silent(&failure, &["signature"]);
}

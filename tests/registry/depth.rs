//! Beyond `depth: manifest`: what is asked for, how often, and what is made of the answers.

use crate::faulty::{Faulty, Manner, Reply, Seen};
use crate::sample::*;
use crate::support::*;
use pullgate::engine::LookUps;
use pullgate::image::Platform;
use pullgate::plan::Check;
use pullgate::runtime::Depth;
use pullgate::runtime::containerd::Containerd;
use pullgate::runtime::outcome::{AuthStage, Build, ConnectionFault, ContentFault, TimeoutStage};
use pullgate::runtime::{Pool, Puller, Runtime};
use pullgate::verdict::{Content, Evidence, Failure, ImageFacts};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn puller(platform: &str, runtime: Runtime) -> Puller {
    Puller {
        platform: Platform::parse(platform).unwrap(),
        runtime,
        pool: Pool::default(),
    }
}

/// For amd64 by a client, unless said otherwise.
fn deep(name: &str, depth: Depth) -> Check {
    Check {
        depth,
        pullers: [puller("linux/amd64", Runtime::Containerd(Containerd::local()))].into(),
        ..check(name, &[])
    }
}

async fn facts(registry: &LookUps, check: Check) -> ImageFacts {
    outcome(registry, check).await.attempts.pop().unwrap().result.unwrap()
}

fn troubles(build: &Build) -> Vec<&Evidence> {
    let of_manifest = build.content.as_ref().err().into_iter();
    of_manifest
        .chain(&build.troubles)
        .map(|failure: &Failure| &failure.evidence)
        .collect()
}

/// `team/app:1` is an index over amd64 and arm64.
#[derive(Clone)]
struct Shop {
    index: Blob,
    amd: Image,
    arm: Image,
}

impl Shop {
    fn new() -> Self {
        let (amd, arm) = (image("amd64"), image("arm64"));
        let index = index(&[("linux/amd64", &amd.manifest), ("linux/arm64", &arm.manifest)]);
        Self { index, amd, arm }
    }

    fn answer(&self, seen: &Seen) -> Reply {
        let path = seen.path.as_str();
        let tag = path == "/v2/team/app/manifests/1" || path == "/v2/team/app/manifests/2";
        if tag || path.ends_with(&self.index.digest) {
            return served(&self.index);
        }
        for image in [&self.amd, &self.arm] {
            if path.ends_with(&format!("manifests/{}", image.manifest.digest)) {
                return served(&image.manifest);
            }
            for blob in [&image.config, &image.layer] {
                if path.ends_with(&format!("blobs/{}", blob.digest)) {
                    return Reply::new(200)
                        .header("Content-Type", "application/octet-stream")
                        .body(blob.bytes.clone());
                }
            }
        }
        error(404, "MANIFEST_UNKNOWN", "manifest unknown")
    }

    fn lines(of: &[(&str, &str)]) -> Vec<String> {
        let line = |(method, what): &(&str, &str)| format!("{method} /v2/team/app/{what}");
        of.iter().map(line).collect()
    }
}

#[tokio::test]
async fn each_depth_asks_for_what_it_says_and_nothing_twice() {
    let shop = Shop::new();
    let server = {
        let shop = shop.clone();
        Faulty::start(move |seen| shop.answer(seen)).await
    };
    let name = format!("{}/team/app:1", server.host());
    let index = format!("manifests/{}", shop.index.digest);
    let manifest = format!("manifests/{}", shop.amd.manifest.digest);
    let (config, layer) = (
        format!("blobs/{}", shop.amd.config.digest),
        format!("blobs/{}", shop.amd.layer.digest),
    );
    let sequence = [
        ("HEAD", "manifests/1"),
        ("GET", index.as_str()),
        ("GET", &manifest),
        ("GET", &config),
        ("HEAD", &layer),
    ];
    for (depth, requests) in [
        (Depth::Manifest, 2),
        (Depth::Sizes, 3),
        (Depth::Config, 4),
        (Depth::Layers, 5),
    ] {
        let (registry, metrics) = look_ups(settings());
        server.forget();
        let found = facts(&registry, deep(&name, depth)).await;
        let mut expected = sequence[..requests].to_vec();
        if depth == Depth::Manifest {
            // Whether it is there, and no more.
            expected.push(("HEAD", &manifest));
        }
        assert_eq!(server.lines(), Shop::lines(&expected), "{depth:?}");
        assert_eq!(found.builds.len(), usize::from(depth > Depth::Manifest));
        for build in &found.builds {
            assert!(troubles(build).is_empty(), "{build:?}");
            let Ok(Content::Image { platform, body }) = &build.content else {
                panic!("an image")
            };
            assert_eq!(platform.is_some(), depth >= Depth::Config);
            let size = shop.amd.config.bytes.len() + shop.amd.layer.bytes.len();
            assert_eq!(body.size, Some(size as u64));
        }
        // A burst costs nothing more.
        server.forget();
        for _ in 0..5 {
            assert_eq!(facts(&registry, deep(&name, depth)).await, found);
        }
        assert_eq!(server.lines(), [""; 0], "{depth:?}");
        // Another tag of the same index costs its HEAD.
        let other = format!("{}/team/app:2", server.host());
        assert_eq!(facts(&registry, deep(&other, depth)).await.builds, found.builds);
        assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/2"]);
        let counted = metrics
            .encode()
            .lines()
            .any(|line| line.starts_with("pullgate_cache_requests") && line.contains(r#"cache="parts""#) && !line.ends_with(" 0"));
        assert_eq!(counted, depth != Depth::Sizes);
    }
}

#[tokio::test]
async fn many_at_once_ask_once() {
    let shop = Shop::new();
    let server = Faulty::start(move |seen| shop.answer(seen).manner(Manner::After(Duration::from_millis(30)))).await;
    let (registry, _) = look_ups(settings());
    let one = deep(&format!("{}/team/app:1", server.host()), Depth::Layers);
    let reviews = (0..20).map(|_| tokio::spawn(facts_owned(registry.clone(), one.clone())));
    for review in futures_util::future::join_all(reviews).await {
        assert_eq!(review.unwrap().builds.len(), 1);
    }
    assert_eq!(server.lines().len(), 5, "{:?}", server.lines());
}

async fn facts_owned(registry: LookUps, check: Check) -> ImageFacts {
    facts(&registry, check).await
}

#[tokio::test]
async fn only_what_somebody_would_fetch_is_asked_for() {
    let shop = Shop::new();
    let (amd, arm) = (shop.amd.manifest.digest.clone(), shop.arm.manifest.digest.clone());
    let server = {
        let shop = shop.clone();
        Faulty::start(move |seen| shop.answer(seen)).await
    };
    let (registry, _) = look_ups(settings());
    let name = format!("{}/team/app:1", server.host());
    let for_platforms = |platforms: &[&str]| Check {
        pullers: platforms.iter().map(|platform| puller(platform, Runtime::today())).collect(),
        ..deep(&name, Depth::Sizes)
    };
    let digests = |found: ImageFacts| found.builds.into_iter().map(|build| build.digest).collect::<Vec<_>>();
    assert_eq!(digests(facts(&registry, for_platforms(&["linux/s390x"])).await), [""; 0]);
    assert_eq!(server.lines().len(), 2);
    assert_eq!(
        digests(facts(&registry, for_platforms(&["linux/arm64"])).await),
        std::slice::from_ref(&arm)
    );
    let mut both = vec![amd, arm];
    both.sort();
    assert_eq!(
        digests(facts(&registry, for_platforms(&["linux/amd64", "linux/arm64"])).await),
        both
    );
    assert_eq!(server.lines().len(), 4, "{:?}", server.lines());
}

#[tokio::test]
async fn what_is_missing_is_soon_forgotten() {
    let shop = Shop::new();
    let there = Arc::new(AtomicBool::new(false));
    let (pushed, layer) = (Arc::clone(&there), shop.amd.layer.digest.clone());
    let server = Faulty::start(move |seen| {
        if seen.path.ends_with(&layer) && !there.load(Ordering::SeqCst) {
            return error(404, "BLOB_UNKNOWN", "blob unknown");
        }
        shop.answer(seen)
    })
    .await;
    let (registry, _) = look_ups(settings());
    let one = deep(&format!("{}/team/app:1", server.host()), Depth::Layers);
    let found = facts(&registry, one.clone()).await;
    let [build] = found.builds.as_slice() else {
        panic!("one build")
    };
    assert!(build.content.is_ok());
    let [trouble] = build.troubles.as_slice() else {
        panic!("one trouble")
    };
    assert!(matches!(trouble.evidence, Evidence::ContentMissing { part: "layer", .. }));
    assert_eq!(trouble.code.as_deref(), Some("BLOB_UNKNOWN"));
    assert_eq!(trouble.request.as_ref().unwrap().method, "GET", "what a node would ask");
    pushed.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    server.forget();
    assert!(facts(&registry, one).await.builds[0].troubles.is_empty());
    assert_eq!(server.lines().len(), 1, "the rest is known: {:?}", server.lines());
}

#[tokio::test]
async fn each_credential_proves_what_it_reads() {
    const ALICE: &str = "Basic YWxpY2U6c2VjcmV0LXBhc3N3b3Jk";
    let shop = Shop::new();
    let manifest = shop.amd.manifest.digest.clone();
    // Everybody reads the index; its build is Alice's.
    let server = Faulty::start(move |seen| {
        if seen.path.ends_with(&manifest) && seen.header("authorization") != Some(ALICE) {
            return error(401, "UNAUTHORIZED", "who are you").header("WWW-Authenticate", "Basic realm=\"r\"");
        }
        shop.answer(seen)
    })
    .await;
    let (registry, _) = look_ups(settings());
    let name = format!("{}/team/app:1", server.host());
    let with = |user: &str| Check {
        depth: Depth::Sizes,
        pullers: deep(&name, Depth::Sizes).pullers,
        ..check(&name, &[("pull", credential(user, "secret-password"))])
    };
    assert!(facts(&registry, with("alice")).await.builds[0].content.is_ok());
    let anonymous = facts(&registry, deep(&name, Depth::Sizes)).await;
    assert_eq!(
        troubles(&anonymous.builds[0]),
        [&Evidence::AuthenticationRequired { at: AuthStage::Basic }]
    );
    let mallory = facts(&registry, with("mallory")).await;
    assert_eq!(
        troubles(&mallory.builds[0]),
        [&Evidence::CredentialRefused { at: AuthStage::Basic }]
    );
    // A kubelet would go on to the next secret.
    let both = Check {
        credentials: [with("mallory").credentials, with("alice").credentials].concat(),
        ..with("alice")
    };
    let outcome = outcome(&registry, both).await;
    let last = outcome.attempts.last().unwrap().result.as_ref().unwrap();
    assert!(last.builds[0].content.is_ok());
    server.forget();
    // Another reader who may: what is known by its digest is not fetched again.
    let (fresh, _) = look_ups(settings());
    facts(&fresh, with("alice")).await;
    assert!(
        server
            .lines()
            .iter()
            .any(|line| line.starts_with("GET") && line.contains("manifests/"))
    );
}

#[tokio::test]
async fn a_data_endpoint_that_is_down_is_named() {
    let shop = Shop::new();
    let layer = shop.amd.layer.digest.clone();
    let server = Faulty::start(move |seen| {
        if seen.path.ends_with(&layer) {
            return Reply::new(307).header("Location", "https://127.0.0.1:1/data?sig=secret");
        }
        shop.answer(seen)
    })
    .await;
    let (registry, _) = look_ups(settings());
    let found = facts(&registry, deep(&format!("{}/team/app:1", server.host()), Depth::Layers)).await;
    let [trouble] = found.builds[0].troubles.as_slice() else {
        panic!("one trouble")
    };
    assert_eq!(
        trouble.evidence,
        Evidence::Redirected {
            by: server.host(),
            fails: Box::new(Evidence::ConnectionFailed(ConnectionFault::Refused))
        }
    );
    assert_eq!(trouble.host, "127.0.0.1:1");
    assert_silent(trouble, &["sig=secret"]);
}

#[tokio::test]
async fn a_storage_that_forbids_may_mean_our_address() {
    let shop = Shop::new();
    let layer = shop.amd.layer.digest.clone();
    let tls = crate::faulty::Tls::new(&["cdn.test"], crate::faulty::Validity::Good);
    let storage = Faulty::start_tls(&tls, |_| {
        Reply::new(403).body("<Error><Code>AuthorizationFailure</Code></Error>")
    })
    .await;
    let port = storage.port();
    let server = Faulty::start(move |seen| {
        if seen.path.ends_with(&layer) {
            return Reply::new(307).header("Location", &format!("https://cdn.test:{port}/data"));
        }
        shop.answer(seen)
    })
    .await;
    let (registry, _) = look_ups(pullgate::registry::RegistrySettings {
        resolve: vec![("cdn.test".to_owned(), "127.0.0.1:0".parse().unwrap())],
        roots: vec![tls.ca.into_bytes()],
        ..settings()
    });
    let found = facts(&registry, deep(&format!("{}/team/app:1", server.host()), Depth::Layers)).await;
    assert_eq!(
        troubles(&found.builds[0]),
        [&Evidence::Forbidden {
            address_bound: true,
            with_credential: false
        }]
    );
    assert_eq!(storage.lines(), ["HEAD /data", "GET /data"], "GET decides");
}

#[tokio::test]
async fn what_is_not_known_in_time_is_a_trouble_of_its_part() {
    let shop = Shop::new();
    let layer = shop.amd.layer.digest.clone();
    let server = Faulty::start(move |seen| {
        if seen.path.ends_with(&layer) {
            return Reply::new(200).manner(Manner::Silence);
        }
        shop.answer(seen)
    })
    .await;
    let (registry, _) = look_ups(settings());
    let one = deep(&format!("{}/team/app:1", server.host()), Depth::Layers);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    let mut outcomes = registry.gather(&[one], deadline).await;
    let found = outcomes.remove(0).attempts.remove(0).result.unwrap();
    assert_eq!(found.builds.len(), 1, "what was found before stands");
    assert!(matches!(
        found.builds[0].content,
        Ok(Content::Image { platform: Some(_), .. })
    ));
    assert_eq!(troubles(&found.builds[0]), [&Evidence::TimedOut(TimeoutStage::Deadline)]);
}

#[tokio::test]
async fn while_the_registry_is_down_what_it_had_will_do() {
    let shop = Shop::new();
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let server = Faulty::start(move |seen| {
        if is_down.load(Ordering::SeqCst) {
            return error(503, "UNAVAILABLE", "later");
        }
        shop.answer(seen)
    })
    .await;
    let (registry, _) = look_ups(settings());
    let name = format!("{}/team/app@{}", server.host(), Shop::new().index.digest);
    let before = facts(&registry, deep(&name, Depth::Config)).await;
    down.store(true, Ordering::SeqCst);
    // The image is known; its layers were never looked for.
    let found = facts(&registry, deep(&name, Depth::Layers)).await;
    assert!(before.builds[0].troubles.is_empty());
    assert_eq!(troubles(&found.builds[0]), [&Evidence::ServerError { token_server: false }]);
}

#[tokio::test]
async fn there_is_an_end_to_what_one_image_costs() {
    let layers: Vec<String> = (0..3000)
        .map(|n| format!(r#"{{"mediaType":"{LAYER}","digest":"sha256:{n:064x}","size":1}}"#))
        .collect();
    let zeros = "0".repeat(64);
    let ids: Vec<String> = (0..3000).map(|_| format!(r#""sha256:{zeros}""#)).collect();
    let config = Blob::new(
        OCI_CONFIG,
        format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":[{}]}}}}"#,
            ids.join(",")
        ),
    );
    let manifest = Blob::new(
        OCI_MANIFEST,
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{OCI_CONFIG}","digest":"{}","size":{}}},"layers":[{}]}}"#,
            config.digest,
            config.bytes.len(),
            layers.join(",")
        ),
    );
    let server = Faulty::start(move |seen| {
        if seen.path.ends_with(&config.digest) {
            Reply::new(200).body(config.bytes.clone())
        } else if seen.path.contains("/blobs/") {
            Reply::new(200).header("Content-Length", "1")
        } else {
            served(&manifest)
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    let found = facts(&registry, deep(&format!("{}/team/app:1", server.host()), Depth::Layers)).await;
    let heads = server
        .lines()
        .iter()
        .filter(|line| line.contains("/blobs/sha256:0000"))
        .count();
    assert!(heads <= 1000, "{heads}");
    assert!(!troubles(&found.builds[0]).is_empty(), "the rest is not known");
}

#[tokio::test]
async fn a_login_page_is_no_layer() {
    for runtime in [
        Runtime::Containerd(Containerd::local()),
        Runtime::Containerd(Containerd::today()),
    ] {
        let shop = Shop::new();
        let (path, length) = (shop.amd.layer.digest.clone(), shop.amd.layer.bytes.len());
        let server = Faulty::start(move |seen| {
            if seen.path.ends_with(&path) {
                // As long as the layer, so that nothing but its type gives it away.
                return Reply::new(200).header("content-type", "text/html").body("<".repeat(length));
            }
            shop.answer(seen)
        })
        .await;
        let (registry, _) = look_ups(settings());
        let check = Check {
            pullers: [puller("linux/amd64", runtime)].into(),
            ..deep(&format!("{}/team/app:1", server.host()), Depth::Layers)
        };
        let outcome = outcome(&registry, check).await;
        let shown = format!("{:?}", outcome.attempts);
        assert!(shown.contains("NoRegistry"), "{runtime:?}: {shown}");
    }
}

#[tokio::test]
async fn layers_of_another_size() {
    let shop = Shop::new();
    let layer = shop.amd.layer.digest.clone();
    let server = Faulty::start(move |seen| {
        if seen.path.ends_with(&layer) {
            return Reply::new(200).body("short");
        }
        shop.answer(seen)
    })
    .await;
    let (registry, _) = look_ups(settings());
    let found = facts(&registry, deep(&format!("{}/team/app:1", server.host()), Depth::Layers)).await;
    assert!(
        matches!(
            troubles(&found.builds[0])[..],
            [Evidence::ContentInvalid(ContentFault::OtherSize {
                part: "layer",
                has: 5,
                ..
            })]
        ),
        "{:?}",
        found.builds
    );
}

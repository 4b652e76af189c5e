//! Mirrors, authorities and plain HTTP by containerd's `hosts.toml` (pull-semantics 5.4).

use crate::debian::Debian;
use crate::faulty::{Faulty, Manner, Reply, Seen, Tls, Validity};
use crate::ports::Nobody;
use crate::sample::*;
use crate::support::*;
use pullgate::credentials::Credential;
use pullgate::engine::LookUps;
use pullgate::image::Platform;
use pullgate::net::Reach;
use pullgate::plan::Check;
use pullgate::registry::RegistrySettings;
use pullgate::runtime::outcome::*;
use pullgate::runtime::{Pool, Puller, Runtime};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const UPSTREAM: &str = "registry.test";

/// A tree with `folder/hosts.toml`.
fn tree(folder: &str, text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), folder, text);
    dir
}

fn write(root: &Path, folder: &str, text: &str) {
    let folder = root.join(folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("hosts.toml"), text).unwrap();
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Reaches no private address but by the tree; test names are at loopback all the same.
fn by(tree: &tempfile::TempDir) -> RegistrySettings {
    RegistrySettings {
        reach: Reach::Listed(Vec::new()),
        hosts_dirs: vec![tree.path().to_owned()],
        resolve: [UPSTREAM, "mirror.test", "r.example"]
            .map(|name| (name.to_owned(), any_port()))
            .to_vec(),
        ..settings()
    }
}

fn with(tree: &tempfile::TempDir) -> LookUps {
    look_ups(by(tree)).0
}

fn alice() -> Option<Credential> {
    Some(credential("alice", "secret-password"))
}

/// A good registry that counts.
async fn serving(app: &Image) -> Faulty {
    let app = app.clone();
    Faulty::start(move |seen| good(&app, seen)).await
}

async fn refusing(status: u16, code: &str) -> Faulty {
    let code = code.to_owned();
    Faulty::start(move |_| error(status, &code, "no")).await
}

#[tokio::test]
async fn a_registry_at_a_mirror() {
    let debian = Debian::start(None, None).await;
    debian.push("team/app", "1", &image("amd64")).await;
    let dir = tree("docker.io", &format!("[host.\"http://127.0.0.1:{}\"]\n", debian.port));
    write(
        dir.path(),
        "ghcr.io",
        &format!("server = \"http://127.0.0.1:{}\"\n[host]\n", debian.port),
    );
    let registry = with(&dir);
    ask(&registry, "docker.io/team/app:1", None).await.unwrap();
    // Whatever stands as the server is asked in the place of the registry.
    ask(&registry, "ghcr.io/team/app:1", None).await.unwrap();
    let missing = ask(&registry, "ghcr.io/team/app:2", None).await.unwrap_err();
    assert_eq!(missing.evidence, Evidence::TagUnknown { repository_exists: true });
    assert_eq!(missing.suggestions, ["1"]);
    assert_eq!(missing.host, format!("127.0.0.1:{}", debian.port));
}

#[tokio::test]
async fn every_request_names_the_registry_that_is_meant() {
    let app = image("amd64");
    let mirror = serving(&app).await;
    let dir = tree("_default", &format!("[host.\"http://{}\"]\n", mirror.host()));
    let registry = with(&dir);
    ask(&registry, "r.example:5000/team/app:1", None).await.unwrap();
    assert_eq!(
        mirror.lines(),
        [
            "HEAD /v2/team/app/manifests/1?ns=r.example%3A5000".to_owned(),
            format!("GET /v2/team/app/manifests/{}?ns=r.example%3A5000", app.manifest.digest),
            format!("GET /v2/team/app/blobs/{}?ns=r.example%3A5000", app.config.digest),
        ]
    );
    // Another registry has the same mirror, and is another question.
    mirror.forget();
    ask(&registry, "docker.io/team/app:1", None).await.unwrap();
    assert_eq!(mirror.lines()[0], "HEAD /v2/team/app/manifests/1?ns=docker.io");
    assert_eq!(mirror.lines().len(), 3);
}

#[tokio::test]
async fn a_broken_mirror_is_passed() {
    let app = image("amd64");
    for broken in [
        refusing(404, "MANIFEST_UNKNOWN").await,
        refusing(401, "UNAUTHORIZED").await,
        refusing(403, "DENIED").await,
        refusing(500, "UNKNOWN").await,
        refusing(429, "TOOMANYREQUESTS").await,
        Faulty::start(|_| Reply::new(200).manner(Manner::Hangup)).await,
    ] {
        let upstream = serving(&app).await;
        let dir = tree(
            "r.example",
            &format!(
                "server = \"http://{}\"\n[host.\"http://{}\"]\n",
                upstream.host(),
                broken.host()
            ),
        );
        let facts = ask(&with(&dir), "r.example/team/app:1", None).await.unwrap();
        assert_eq!(facts.digest.to_string(), app.manifest.digest);
        assert!(broken.lines()[0].starts_with("HEAD "), "{:?}", broken.lines());
        // Content is asked for at every host again, as a runtime does; but not of one that is silent.
        assert_eq!(upstream.lines().len(), 3);
    }
    let upstream = serving(&app).await;
    let nobody = Nobody::new();
    let dir = tree(
        "r.example",
        &format!(
            "server = \"http://{}\"\n[host.\"http://{}\"]\n",
            upstream.host(),
            nobody.host()
        ),
    );
    ask(&with(&dir), "r.example/team/app:1", None).await.unwrap();
}

#[tokio::test]
async fn nothing_is_certain_while_a_host_is_silent() {
    let gone = || refusing(404, "MANIFEST_UNKNOWN");
    let (mirror, upstream) = (gone().await, gone().await);
    let text = |mirror: &str, upstream: &str| format!("server = \"http://{upstream}\"\n[host.\"http://{mirror}\"]\n");
    let ask_by = async |mirror: &str, upstream: &str| {
        let dir = tree("r.example", &text(mirror, upstream));
        ask(&with(&dir), "r.example/team/app:1", None).await.unwrap_err()
    };
    let failure = ask_by(&mirror.host(), &upstream.host()).await;
    assert_eq!(
        failure.evidence,
        Evidence::TagUnknown {
            repository_exists: false
        }
    );
    assert_eq!(failure.host, upstream.host());
    let detail = failure.detail.unwrap();
    assert!(detail.contains(&format!("also asked: {} (404", mirror.host())), "{detail}");
    let nobody = Nobody::new();
    let failure = ask_by(&nobody.host(), &upstream.host()).await;
    assert_eq!(failure.evidence, Evidence::ConnectionFailed(ConnectionFault::Refused));
    // That the mirror may have it is our doubt; what containerd tells is the word of the registry, which came further.
    let reported = failure.reported_instead.expect("another failure is the reported one");
    assert_eq!(reported.host, upstream.host());
    assert!(matches!(reported.evidence, Evidence::TagUnknown { .. }), "{reported:?}");
    let failure = ask_by(&mirror.host(), &nobody.host()).await;
    assert_eq!(failure.evidence, Evidence::ConnectionFailed(ConnectionFault::Refused));
    let failing = refusing(500, "UNKNOWN").await;
    let failure = ask_by(&failing.host(), &upstream.host()).await;
    assert_eq!(failure.evidence, Evidence::ServerError { token_server: false });
    let throttled = refusing(429, "TOOMANYREQUESTS").await;
    let failure = ask_by(&throttled.host(), &upstream.host()).await;
    assert_eq!(failure.evidence, Evidence::RateLimited);
    // A refusal that another credential may lift outweighs what is certain, but not what is unknown.
    let closed = refusing(403, "DENIED").await;
    let failure = ask_by(&closed.host(), &upstream.host()).await;
    assert!(matches!(failure.evidence, Evidence::Forbidden { .. }), "{failure:?}");
}

#[tokio::test]
async fn a_plain_404_of_a_mirror_leaves_the_word_to_the_registry() {
    let plain = || {
        Faulty::start(|_| {
            Reply::new(404)
                .header("content-type", "text/plain")
                .body("404 page not found")
        })
    };
    let app = image("amd64");
    let (mirror, upstream, gone) = (plain().await, serving(&app).await, refusing(404, "MANIFEST_UNKNOWN").await);
    let ask_by = async |mirror: &str, upstream: &str| {
        let text = format!("server = \"http://{upstream}\"\n[host.\"http://{mirror}\"]\n");
        let dir = tree("r.example", &text);
        ask(&with(&dir), "r.example/team/app:1", None).await
    };
    ask_by(&mirror.host(), &upstream.host()).await.expect("the registry has it");
    let failure = ask_by(&mirror.host(), &gone.host()).await.unwrap_err();
    assert!(matches!(failure.evidence, Evidence::TagUnknown { .. }), "{failure:?}");
    assert_eq!(failure.host, gone.host());
    // Field case 35: what the mirror was asked by is remembered where that may be why it knows nothing.
    let doubled = format!("{}/v2/cache", mirror.host());
    let failure = ask_by(&doubled, &gone.host()).await.unwrap_err();
    assert_eq!(failure.host, gone.host());
    assert_eq!(failure.doubled_v2_base.as_deref(), Some(&*format!("http://{doubled}")));
    // Of a plain 404 in the place of the registry itself, nothing follows.
    let other = plain().await;
    for first in [&mirror, &gone] {
        let failure = ask_by(&first.host(), &other.host()).await.unwrap_err();
        assert!(matches!(failure.evidence, Evidence::NoRegistry { .. }), "{failure:?}");
        assert_eq!(failure.host, other.host());
    }
    // A firewall before the mirror keeps from us what nodes may get.
    let firewall = Faulty::start(|_| Reply::new(403).header("content-type", "text/html").body("<html>no</html>")).await;
    let failure = ask_by(&firewall.host(), &gone.host()).await.unwrap_err();
    assert!(matches!(failure.evidence, Evidence::NoRegistry { .. }), "{failure:?}");
}

#[tokio::test]
async fn content_that_only_a_silent_mirror_may_have() {
    // The registry's own content is broken; what the mirror's tag names is not known.
    let server = Faulty::start(|_| served(&Blob::new(OCI_MANIFEST, "not json"))).await;
    let text = |mirror: &str| format!("server = \"http://{}\"\n[host.\"http://{mirror}\"]\n", server.host());
    let nobody = Nobody::new();
    let dir = tree("r.example", &text(&nobody.host()));
    let failure = ask(&with(&dir), "r.example/team/app:1", None).await.unwrap_err();
    assert_eq!(failure.evidence, Evidence::ConnectionFailed(ConnectionFault::Refused));
    let gone = refusing(404, "MANIFEST_UNKNOWN").await;
    let dir = tree("r.example", &text(&gone.host()));
    let failure = ask(&with(&dir), "r.example/team/app:1", None).await.unwrap_err();
    let said = "invalid character 'o' in literal null (expecting 'u')".to_owned();
    assert_eq!(failure.evidence, Evidence::ContentInvalid(ContentFault::NotJson(said)));
}

#[tokio::test]
async fn a_mirror_that_lies_ends_it() {
    let app = image("amd64");
    let upstream = serving(&app).await;
    let mut lying = served(&app.manifest);
    lying.headers[1].1 = "nonsense".to_owned();
    let mirror = Faulty::start(move |_| lying.clone()).await;
    let dir = tree(
        "r.example",
        &format!(
            "server = \"http://{}\"\n[host.\"http://{}\"]\n",
            upstream.host(),
            mirror.host()
        ),
    );
    let failure = ask(&with(&dir), "r.example/team/app:1", None).await.unwrap_err();
    assert_eq!(
        failure.evidence,
        Evidence::ContentInvalid(ContentFault::DigestMalformed("nonsense".to_owned()))
    );
    assert!(upstream.lines().is_empty(), "a runtime stops there");
}

#[tokio::test]
async fn a_mirror_for_pulls_only_resolves_no_tag() {
    let app = image("amd64");
    let (mirror, upstream) = (serving(&app).await, serving(&app).await);
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n",
        upstream.host(),
        mirror.host()
    );
    let dir = tree("r.example", &text);
    ask(&with(&dir), "r.example/team/app:1", None).await.unwrap();
    assert_eq!(upstream.lines(), ["HEAD /v2/team/app/manifests/1?ns=r.example"]);
    assert_eq!(
        mirror.lines().iter().map(|line| &line[..4]).collect::<Vec<_>>(),
        ["GET ", "GET "],
        "content comes from it"
    );
    // A digest takes no more than `pull`.
    upstream.forget();
    ask(&with(&dir), &format!("r.example/team/app@{}", app.manifest.digest), None)
        .await
        .unwrap();
    assert!(upstream.lines().is_empty());
    // Nobody is left for a tag.
    mirror.forget();
    let dir = tree(
        "r.example",
        &format!("server = \"http://{}\"\ncapabilities = [\"pull\"]\n[host]\n", mirror.host()),
    );
    let failure = ask(&with(&dir), "r.example/team/app:1", None).await.unwrap_err();
    assert_eq!(failure.evidence, Evidence::NodeSettings(NodeSettingsFault::NoHost));
    assert!(mirror.lines().is_empty());
    ask(&with(&dir), &format!("r.example/team/app@{}", app.manifest.digest), None)
        .await
        .unwrap();
}

#[tokio::test]
async fn nodes_that_ask_only_each_other_ask_no_registry() {
    let app = image("amd64");
    let server = serving(&app).await;
    let (registry, _) = look_ups(settings());
    let alone = Check {
        peers_only: [Pool::default()].into(),
        ..check(&format!("{}/team/app:1", server.host()), &[])
    };
    let outcome = registry.gather(std::slice::from_ref(&alone), soon()).await.remove(0);
    let failure = outcome.attempts[0].result.clone().unwrap_err();
    assert_eq!(failure.evidence, Evidence::NodeSettings(NodeSettingsFault::PeersOnly));
    assert!(server.lines().is_empty());
    // Another pool's nodes do, at the same time.
    let other = Check {
        peers_only: [Pool(7)].into(),
        ..alone
    };
    let outcome = registry.gather(std::slice::from_ref(&other), soon()).await.remove(0);
    assert!(outcome.attempts[0].result.is_ok());
}

#[tokio::test]
async fn paths_and_headers() {
    let app = image("amd64");
    let mirror = Faulty::start(move |seen| {
        let mut bare = seen.clone();
        bare.path = seen.path.replace("/proxy/hub/", "/v2/");
        if seen.header("x-key") == Some("open-sesame") && seen.path.starts_with("/proxy/hub/") {
            good(&app, &bare)
        } else {
            error(403, "DENIED", "no key")
        }
    })
    .await;
    let text = format!(
        "[host.\"http://{0}/proxy//hub/\"]\noverride_path = true\n[host.\"http://{0}/proxy//hub/\".header]\nX-Key = [\"open-sesame\"]\nhost = \"evil\"\n",
        mirror.host()
    );
    let dir = tree("docker.io", &text);
    ask(&with(&dir), "docker.io/team/app:1", None).await.unwrap();
    assert_eq!(mirror.lines()[0], "HEAD /proxy/hub/team/app/manifests/1?ns=docker.io");
    assert!(
        mirror
            .seen()
            .iter()
            .all(|seen| seen.header("host") == Some(mirror.host().as_str()))
    );
}

#[tokio::test]
async fn an_authority_of_its_own() {
    let app = image("amd64");
    let tls = Tls::new(&["mirror.test", UPSTREAM], Validity::Good);
    let real = app.clone();
    let server = Faulty::start_tls(&tls, move |seen| good(&real, seen)).await;
    let mirror = format!("https://mirror.test:{}", server.port());
    let unknown = Evidence::Tls(TlsFault::UnknownIssuer);

    let dir = tree("r.example", &format!("server = \"{mirror}\"\n"));
    let failure = ask(&with(&dir), "r.example/team/app:1", None).await.unwrap_err();
    assert_eq!(failure.evidence, unknown, "{failure:?}");
    fs::write(dir.path().join("r.example/ca.pem"), &tls.ca).unwrap();
    for setting in ["ca = \"ca.pem\"", "ca = [\"ca.pem\"]", "skip_verify = true"] {
        write(dir.path(), "r.example", &format!("server = \"{mirror}\"\n{setting}\n"));
        ask(&with(&dir), "r.example/team/app:1", None).await.unwrap();
    }
    for setting in ["skip_verify = false", "ca = \"absent.pem\""] {
        write(dir.path(), "r.example", &format!("server = \"{mirror}\"\n{setting}\n"));
        let failure = ask(&with(&dir), "r.example/team/app:1", None).await.unwrap_err();
        if setting.starts_with("ca") {
            assert_eq!(failure.evidence, Evidence::ConnectionFailed(ConnectionFault::Unreachable));
            assert!(failure.detail.unwrap().contains("absent.pem"));
        } else {
            assert_eq!(failure.evidence, unknown);
        }
    }

    // Certificates as Docker lays them out, for the registry's own name, which is nobody's business to admit.
    let docker = tempfile::tempdir().unwrap();
    let folder = docker.path().join(format!("{UPSTREAM}:{}", server.port()));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("ca.crt"), &tls.ca).unwrap();
    let name = format!("{UPSTREAM}:{}/team/app:1", server.port());
    let (registry, _) = look_ups(RegistrySettings {
        reach: Reach::Listed(vec!["127.0.0.0/8".parse().unwrap()]),
        ..by(&docker)
    });
    ask(&registry, &name, None).await.unwrap();
    let failure = ask(&with(&docker), &name, None).await.unwrap_err();
    assert!(
        matches!(failure.evidence, Evidence::StoppedByGuard(GuardRule::Address { .. })),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_certificate_of_our_own() {
    let app = image("amd64");
    let tls = Tls::new(&["mirror.test"], Validity::Good);
    let server = Faulty::start_mutual(&tls, move |seen| good(&app, seen)).await;
    let text = format!("server = \"https://mirror.test:{}\"\nca = \"ca.pem\"\n", server.port());
    let dir = tree("r.example", &text);
    let file = |name: &str, text: &str| fs::write(dir.path().join("r.example").join(name), text).unwrap();
    file("ca.pem", &tls.ca);
    file("c.cert", &tls.cert);
    file("c.key", &tls.key);
    file("both.pem", &format!("{}{}", tls.cert, tls.key));
    let failure = ask(&with(&dir), "r.example/team/app:1", None).await.unwrap_err();
    assert!(
        matches!(failure.evidence, Evidence::Tls(_) | Evidence::ConnectionFailed(_)),
        "{failure:?}"
    );
    for client in ["\"both.pem\"", "[[\"c.cert\", \"c.key\"]]", "[\"both.pem\"]"] {
        write(dir.path(), "r.example", &format!("{text}client = {client}\n"));
        ask(&with(&dir), "r.example/team/app:1", None).await.unwrap();
    }
    assert!(!server.seen().is_empty());
}

#[tokio::test]
async fn plain_http_where_the_tree_says_so() {
    let app = image("amd64");
    let server = serving(&app).await;
    let name = format!("{UPSTREAM}:{}", server.port());
    let reference = format!("{name}/team/app:1");
    let open = |dir: &tempfile::TempDir| {
        look_ups(RegistrySettings {
            reach: Reach::Listed(vec!["127.0.0.0/8".parse().unwrap()]),
            ..by(dir)
        })
        .0
    };
    let dir = tree("elsewhere", "");
    let failure = ask(&open(&dir), &reference, None).await.unwrap_err();
    assert_eq!(failure.evidence, Evidence::Tls(TlsFault::PlainHttp));
    let folder = name.replace(':', "_") + "_";
    write(dir.path(), &folder, &format!("server = \"http://{name}\"\n"));
    server.forget();
    // Named by the tree, it needs no other permission.
    ask(&with(&dir), &reference, None).await.unwrap();
    assert_eq!(
        server.lines()[0],
        "HEAD /v2/team/app/manifests/1",
        "its own name is not repeated"
    );
    // With settings for TLS, https is tried first.
    write(
        dir.path(),
        &folder,
        &format!("server = \"http://{name}\"\nskip_verify = true\n"),
    );
    ask(&with(&dir), &reference, None).await.unwrap();
    let tls = Tls::new(&[UPSTREAM], Validity::Good);
    let secure = Faulty::start_tls(&tls, move |seen| good(&app, seen)).await;
    let name = format!("{UPSTREAM}:{}", secure.port());
    write(
        dir.path(),
        "_default",
        &format!("server = \"http://{name}\"\nskip_verify = true\n"),
    );
    ask(&with(&dir), "r.example/team/app:1", None).await.unwrap();
    assert!(!secure.seen().is_empty());
}

#[tokio::test]
async fn a_changed_tree_is_picked_up() {
    let app = image("amd64");
    let (old, new) = (serving(&app).await, refusing(404, "MANIFEST_UNKNOWN").await);
    let dir = tree("r.example", &format!("server = \"http://{}\"\n", old.host()));
    let registry = with(&dir);
    ask(&registry, "r.example/team/app:1", None).await.unwrap();
    // What was learned by the old settings does not outlive them, though a tag's digest is believed for a minute.
    write(
        dir.path(),
        "r.example",
        &format!("server = \"http://{}\"\n[host]\n", new.host()),
    );
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let failure = ask(&registry, "r.example/team/app:1", None).await.unwrap_err();
    assert_eq!(failure.host, new.host());
}

#[tokio::test]
async fn a_tree_that_cannot_be_used_is_told_at_the_start() {
    let dir = tree("r.example", "server = \"m\"\nskip_verify = 1\n");
    let error = LookUps::new(by(&dir), pullgate::telemetry::Metrics::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("/r.example/hosts.toml:2:15: skip_verify must be true or false"),
        "{error}"
    );
}

/// Asks for Basic.
fn closed(app: &Image, seen: &Seen) -> Reply {
    match seen.header("authorization") {
        Some("Basic YWxpY2U6c2VjcmV0LXBhc3N3b3Jk") => good(app, seen),
        Some(_) | None => error(401, "UNAUTHORIZED", "who").header("WWW-Authenticate", "Basic realm=\"r\""),
    }
}

#[tokio::test]
async fn credentials_are_for_the_mirrors_of_their_registry() {
    let app = image("amd64");
    let real = app.clone();
    let mirror = Faulty::start(move |seen| closed(&real, seen)).await;
    let dir = tree("r.example", &format!("[host.\"http://{}\"]\n", mirror.host()));
    let facts = ask(&with(&dir), "r.example/team/app:1", alice()).await.unwrap();
    assert!(facts.authenticated);
    let failure = ask(&with(&dir), "r.example/team/app:1", Some(credential("alice", "wrong-word")))
        .await
        .unwrap_err();
    // The registry itself is not reached from here: no more is known than that.
    assert!(matches!(failure.evidence, Evidence::StoppedByGuard(_)), "{failure:?}");
    assert_silent(&failure, &["wrong-word"]);
    let dir = tree("r.example", &format!("server = \"http://{}\"\n[host]\n", mirror.host()));
    let failure = ask(&with(&dir), "r.example/team/app:1", Some(credential("alice", "wrong-word")))
        .await
        .unwrap_err();
    assert_eq!(failure.evidence, Evidence::CredentialRefused { at: AuthStage::Basic });
}

#[tokio::test]
async fn the_guard_stands_behind_a_mirror_too() {
    let trap = Faulty::start(|_| Reply::new(200).json(r#"{"token":"x","access_token":"x"}"#)).await;
    let tls = Tls::new(&["trap.test"], Validity::Good);
    let secure_trap = Faulty::start_tls(&tls, |_| Reply::new(200).json(r#"{"token":"x","access_token":"x"}"#)).await;
    let secure = format!("https://trap.test:{}/x", secure_trap.port());
    // Where a mirror leads to is no more admitted than where a registry does.
    let away = [
        (format!("http://{}/x", trap.host()), None),
        ("http://169.254.169.254/x".to_owned(), None),
        ("https://169.254.169.254/x".to_owned(), Some("never")),
        ("https://10.0.0.1/x".to_owned(), Some("address")),
        (secure, Some("address")),
    ];
    for (to, refused) in away {
        for status in [307, 401] {
            let challenge = format!("Bearer realm=\"{to}\",service=\"s\"");
            let location = to.clone();
            let mirror = Faulty::start(move |_| {
                if status == 307 {
                    Reply::new(307).header("Location", &location)
                } else {
                    error(401, "UNAUTHORIZED", "token").header("WWW-Authenticate", &challenge)
                }
            })
            .await;
            let text = format!(
                "server = \"http://{0}\"\nskip_verify = true\n[header]\nx-key = \"open-sesame\"\n",
                mirror.host()
            );
            let dir = tree("r.example", &text);
            let (registry, _) = look_ups(RegistrySettings {
                resolve: vec![("trap.test".to_owned(), any_port())],
                ..by(&dir)
            });
            let failure = ask(&registry, "r.example/team/app:1", alice()).await.unwrap_err();
            let expected = match refused {
                Some("never") => matches!(failure.evidence, Evidence::StoppedByGuard(GuardRule::NeverAdmitted { .. })),
                Some(_) => matches!(failure.evidence, Evidence::StoppedByGuard(GuardRule::Address { .. })),
                None => matches!(
                    failure.evidence,
                    Evidence::StoppedByGuard(GuardRule::Redirect | GuardRule::Realm)
                ),
            };
            assert!(expected, "{to} {status}: {failure:?}");
            assert!(mirror.seen().iter().all(|seen| seen.header("authorization").is_none()));
        }
    }
    assert!(trap.seen().is_empty() && secure_trap.seen().is_empty());
    // Named or not: link-local addresses are never reached.
    let dir = tree("r.example", "server = \"http://169.254.169.254\"\n");
    let failure = ask(&with(&dir), "r.example/team/app:1", None).await.unwrap_err();
    assert!(
        matches!(failure.evidence, Evidence::StoppedByGuard(GuardRule::NeverAdmitted { .. })),
        "{failure:?}"
    );
    let dir = tree("r.example", "server = \"http://mirror.test\"\n");
    let (registry, _) = look_ups(RegistrySettings {
        resolve: vec![("mirror.test".to_owned(), "169.254.169.254:80".parse().unwrap())],
        ..by(&dir)
    });
    let failure = ask(&registry, "r.example/team/app:1", None).await.unwrap_err();
    assert!(
        matches!(failure.evidence, Evidence::StoppedByGuard(GuardRule::NeverAdmitted { .. })),
        "{failure:?}"
    );
}

#[tokio::test]
async fn headers_of_a_mirror_stay_with_it() {
    let app = image("amd64");
    let tls = Tls::new(&["cdn.test"], Validity::Good);
    let real = app.clone();
    let cdn = Faulty::start_tls(&tls, move |seen| good(&real, seen)).await;
    let to = format!("https://cdn.test:{}", cdn.port());
    let mirror = Faulty::start(move |seen| Reply::new(307).header("Location", &format!("{to}{}", seen.path))).await;
    let text = format!(
        "server = \"http://{}\"\nskip_verify = true\n[header]\nx-key = \"open-sesame\"\n",
        mirror.host()
    );
    let dir = tree("r.example", &text);
    let (registry, _) = look_ups(RegistrySettings {
        reach: Reach::Listed(vec!["127.0.0.0/8".parse().unwrap()]),
        resolve: vec![("cdn.test".to_owned(), any_port())],
        ..by(&dir)
    });
    ask(&registry, "r.example/team/app:1", None).await.unwrap();
    assert!(mirror.seen().iter().all(|seen| seen.header("x-key") == Some("open-sesame")));
    assert_eq!(cdn.lines().len(), 3);
    assert!(cdn.seen().iter().all(|seen| seen.header("x-key").is_none()));
}

#[tokio::test]
async fn a_tree_that_older_runtimes_pass_over() {
    // Without a `[host]` table, containerd 1.x asks the registry itself.
    let app = image("amd64");
    let (server, itself) = (refusing(404, "MANIFEST_UNKNOWN").await, serving(&app).await);
    let folder = itself.host().replace(':', "_") + "_";
    let text = format!("server = \"http://{}\"\n", server.host());
    let reference = format!("{}/team/app:1", itself.host());
    let dir = tree(&folder, &text);
    let (registry, _) = look_ups(RegistrySettings {
        hosts_dirs: vec![dir.path().to_owned()],
        ..settings()
    });
    let gone = Evidence::TagUnknown {
        repository_exists: false,
    };
    let nodes = |runtime| Puller {
        platform: Platform::parse("linux/amd64").unwrap(),
        runtime,
        pool: Pool::default(),
    };
    let check = Check {
        pullers: ["containerd://1.7.34", "containerd://2.4.2"]
            .iter()
            .filter_map(|runtime| Runtime::of_node(runtime))
            .flatten()
            .map(nodes)
            .collect(),
        ..check(&reference, &[])
    };
    let outcome = registry.gather(std::slice::from_ref(&check), soon()).await.remove(0);
    let failure = outcome.attempts[0].result.clone().unwrap_err();
    assert_eq!(failure.evidence, gone);
    assert_eq!(failure.host, server.host());
    // Both of the ways in which 1.7 may pull, as its neighbours do.
    assert_eq!(outcome.others.len(), 2);
    for (_, attempts) in &outcome.others {
        assert_eq!(attempts[0].result.as_ref().unwrap().digest.to_string(), app.manifest.digest);
    }
    // Certain only where both agree; nothing is, where the registry itself cannot be asked from here.
    let missing = format!("{}/team/app:2", itself.host());
    assert_eq!(ask(&registry, &missing, None).await.unwrap_err().evidence, gone);
    let plain = itself.host().replace("127.0.0.1", UPSTREAM);
    write(
        dir.path(),
        &(plain.replace(':', "_") + "_"),
        &format!("server = \"http://{plain}\"\n"),
    );
    let (open, _) = look_ups(RegistrySettings {
        reach: Reach::Everything,
        ..by(&dir)
    });
    let failure = ask(&open, &format!("{plain}/team/app:2"), None).await.unwrap_err();
    let known = Evidence::TagUnknown { repository_exists: true };
    assert_eq!(failure.evidence, known, "such a node fails by TLS");
    let (strict, _) = look_ups(by(&dir));
    let outcome = strict.gather(std::slice::from_ref(&check), soon()).await.remove(0);
    for (_, attempts) in &outcome.others {
        let failure = attempts[0].result.as_ref().unwrap_err();
        assert!(matches!(failure.evidence, Evidence::StoppedByGuard(_)), "{failure:?}");
    }
    // With a table, all agree.
    write(dir.path(), &folder, &format!("{text}[host.\"http://{}\"]\n", server.host()));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let outcome = registry.gather(&[check], soon()).await.remove(0);
    assert_eq!(outcome.attempts[0].result.as_ref().unwrap_err().evidence, gone);
    assert!(outcome.others.is_empty(), "{outcome:?}");
}

#[tokio::test]
async fn strangers_do_not_open_the_breaker_of_a_mirror() {
    let app = image("amd64");
    let tls = Tls::new(&["mirror.test"], Validity::Good);
    let server = Faulty::start_tls(&tls, move |seen| good(&app, seen)).await;
    let mirror = format!("mirror.test:{}", server.port());
    let dir = tree(
        "r.example",
        &format!("server = \"https://{mirror}\"\nskip_verify = true\n[host]\n"),
    );
    let (registry, _) = look_ups(RegistrySettings {
        reach: Reach::Everything,
        ..by(&dir)
    });
    // Somebody asks for the mirror itself, by its name, which the tree does not speak of.
    for repository in ["a", "b", "c", "d"] {
        let failure = ask(&registry, &format!("{mirror}/{repository}:1"), None).await.unwrap_err();
        assert!(matches!(failure.evidence, Evidence::Tls(_)), "{failure:?}");
    }
    ask(&registry, "r.example/team/app:1", None).await.unwrap();
}

/// One node, of this runtime.
fn on(reference: &str, runtime: &str) -> Check {
    let puller = |runtime| Puller {
        platform: Platform::parse("linux/amd64").unwrap(),
        runtime,
        pool: Pool::default(),
    };
    Check {
        pullers: Runtime::of_node(runtime).unwrap().into_iter().map(puller).collect(),
        ..check(reference, &[])
    }
}

const K3S: &str = "containerd://2.1.5-k3s1";
const UPSTREAMS: &str = "containerd://2.1.5";

async fn evidence(registry: &LookUps, check: &Check) -> Option<Evidence> {
    let outcome = registry.gather(std::slice::from_ref(check), soon()).await.remove(0);
    assert!(outcome.others.is_empty(), "{outcome:?}");
    outcome.attempts[0]
        .result
        .as_ref()
        .err()
        .map(|failure| failure.evidence.clone())
}

#[tokio::test]
async fn k3s_rewrites_names_and_upstreams_containerd_does_not() {
    let app = image("amd64");
    let serves = app.clone();
    let mirror = Faulty::start(move |seen| match seen.path.replace("/v2/proj/img/", "/v2/team/app/") {
        path if path != seen.path => good(&serves, &Seen { path, ..seen.clone() }),
        _ => error(404, "NAME_UNKNOWN", "no"),
    })
    .await;
    let host = format!("[host.\"http://{}\"]\n", mirror.host());
    let rewrite = format!(
        "{host}[host.\"http://{}\".rewrite]\n\"^team/(.*)\" = \"proj/$1\"\n",
        mirror.host()
    );
    let dir = tree("r.example", &format!("server = \"http://{}\"\n{rewrite}", mirror.host()));
    let registry = with(&dir);
    assert_eq!(evidence(&registry, &on("r.example/team/img:1", K3S)).await, None);
    let lines = mirror.lines();
    assert_eq!(lines[0], "HEAD /v2/proj/img/manifests/1?ns=r.example");
    assert!(lines.iter().all(|line| line.contains("/v2/proj/img/")), "{lines:?}");
    let unknown = Some(Evidence::RepositoryUnknown);
    assert_eq!(evidence(&registry, &on("r.example/team/img:1", UPSTREAMS)).await, unknown);
    // Of a node that nobody knows, such a file says whose it is.
    ask(&registry, "r.example/team/img:1", None).await.unwrap();
}

#[tokio::test]
async fn k3s_has_no_default_endpoint_beside_mirrors() {
    let app = image("amd64");
    let (mirror, itself) = (refusing(404, "MANIFEST_UNKNOWN").await, serving(&app).await);
    let folder = itself.host().replace(':', "_") + "_";
    let reference = format!("{}/team/app:1", itself.host());
    let host = format!("[host.\"http://{}\"]\n", mirror.host());
    let gone = Some(Evidence::TagUnknown {
        repository_exists: false,
    });
    for (text, k3s, upstream) in [
        (host.clone(), gone.clone(), None),
        (format!("server = \"\"\n{host}"), None, None),
        (
            format!("# File generated by rke2. DO NOT EDIT.\n{host}"),
            gone.clone(),
            gone.clone(),
        ),
    ] {
        let dir = tree(&folder, &text);
        let (registry, _) = look_ups(RegistrySettings {
            hosts_dirs: vec![dir.path().to_owned()],
            ..settings()
        });
        assert_eq!(evidence(&registry, &on(&reference, K3S)).await, k3s, "k3s: {text}");
        assert_eq!(evidence(&registry, &on(&reference, UPSTREAMS)).await, upstream, "{text}");
    }
}

#[tokio::test]
async fn of_several_rewrites_that_match_one_is_taken_at_random() {
    let app = image("amd64");
    let mirror = Faulty::start(move |seen| {
        if seen.path.contains("/team/app/") {
            good(&app, seen)
        } else {
            error(404, "NAME_UNKNOWN", "no")
        }
    })
    .await;
    let table = |second: &str| {
        format!(
            "[host.\"http://{0}\"]\n[host.\"http://{0}\".rewrite]\n\"^x/(.*)\" = \"team/$1\"\n\"^(.*)/app\" = \"{second}\"\n",
            mirror.host()
        )
    };
    let dir = tree("r.example", &table("no/app"));
    let Some(Evidence::ByChance { names, fails }) = evidence(&with(&dir), &on("r.example/x/app:1", K3S)).await else {
        panic!("by chance")
    };
    assert_eq!(names, ["no/app", "team/app"]);
    assert_eq!(
        *fails,
        Evidence::TagUnknown {
            repository_exists: false
        }
    );
    let dir = tree("r.example", &table("team/app"));
    assert_eq!(evidence(&with(&dir), &on("r.example/x/app:1", K3S)).await, None);
}

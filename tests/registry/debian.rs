//! Debian's `docker-registry`: open, with htpasswd, and with TLS from a private CA.

use crate::faulty::{Tls, Validity};
use crate::ports;
use crate::sample::{Blob, Image, image, index};
use crate::support::*;
use pullgate::registry::RegistrySettings;
use pullgate::runtime::outcome::*;
use pullgate::verdict::Content;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = "docker-registry";
/// More than a busy machine needs to start a program.
const LONG: Duration = Duration::from_mins(2);

/// A running registry; it ends when dropped.
pub struct Debian {
    process: Child,
    pub port: u16,
    // Holds the storage.
    _dir: tempfile::TempDir,
    http: reqwest::Client,
    base: String,
    user: Option<(&'static str, &'static str)>,
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Debian {
    pub async fn start(user: Option<(&'static str, &'static str)>, tls: Option<&Tls>) -> Self {
        // Between choosing a port and listening on it, somebody else may take it.
        for _ in 0..5 {
            if let Some(registry) = Self::try_start(user, tls).await {
                return registry;
            }
        }
        panic!("`{BINARY}` ends as soon as it is started; run it by hand to see why");
    }

    async fn try_start(user: Option<(&'static str, &'static str)>, tls: Option<&Tls>) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let port = ports::free().port();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            path("data").display()
        );
        if let Some(tls) = tls {
            std::fs::write(path("tls.crt"), &tls.cert).unwrap();
            std::fs::write(path("tls.key"), &tls.key).unwrap();
            config.push_str(&format!(
                "  tls:\n    certificate: {}\n    key: {}\n",
                path("tls.crt").display(),
                path("tls.key").display()
            ));
        }
        if let Some((name, password)) = user {
            let made = Command::new("htpasswd")
                .args(["-Bbn", name, password])
                .output()
                .expect("`htpasswd` is needed for this test: apt-get install apache2-utils");
            assert!(made.status.success());
            std::fs::write(path("htpasswd"), made.stdout).unwrap();
            config.push_str(&format!(
                "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                path("htpasswd").display()
            ));
        }
        let mut file = std::fs::File::create(path("config.yml")).unwrap();
        file.write_all(config.as_bytes()).unwrap();
        let process = Command::new(BINARY)
            .arg("serve")
            .arg(path("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("`{BINARY}` is needed for this test ({error}): apt-get install docker-registry"));
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .build()
            .unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut registry = Self {
            process,
            port,
            _dir: dir,
            http,
            base: format!("{scheme}://127.0.0.1:{port}"),
            user,
        };
        let until = Instant::now() + LONG;
        while registry.http.get(format!("{}/v2/", registry.base)).send().await.is_err() {
            if registry.process.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(Instant::now() < until, "{BINARY} did not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let runs = registry.process.try_wait().unwrap().is_none();
        runs.then_some(registry)
    }

    pub fn name(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }

    fn request(&self, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, url);
        match self.user {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        }
    }

    async fn push_blob(&self, repository: &str, blob: &Blob) {
        let start = format!("{}/v2/{repository}/blobs/uploads/", self.base);
        let started = self.request(reqwest::Method::POST, &start).send().await.unwrap();
        assert_eq!(started.status().as_u16(), 202);
        let location = started.headers()["location"].to_str().unwrap();
        let location = reqwest::Url::parse(&self.base).unwrap().join(location).unwrap();
        let pushed = self
            .request(reqwest::Method::PUT, location.as_str())
            .query(&[("digest", &blob.digest)])
            .body(blob.bytes.clone())
            .send()
            .await
            .unwrap();
        assert_eq!(pushed.status().as_u16(), 201);
    }

    pub async fn push_manifest(&self, repository: &str, tag: &str, manifest: &Blob) {
        let pushed = self
            .request(
                reqwest::Method::PUT,
                &format!("{}/v2/{repository}/manifests/{tag}", self.base),
            )
            .header("content-type", &manifest.media_type)
            .body(manifest.bytes.clone())
            .send()
            .await
            .unwrap();
        assert_eq!(pushed.status().as_u16(), 201, "{:?}", pushed.text().await);
    }

    pub async fn push(&self, repository: &str, tag: &str, image: &Image) {
        self.push_blob(repository, &image.layer).await;
        self.push_blob(repository, &image.config).await;
        self.push_manifest(repository, tag, &image.manifest).await;
    }
}

#[tokio::test]
async fn open() {
    let debian = Debian::start(None, None).await;
    let (amd, arm) = (image("amd64"), image("arm64"));
    debian.push("team/app", "v9", &amd).await;
    debian.push("team/app", "v2", &arm).await;
    debian
        .push_manifest(
            "team/app",
            "v2.1",
            &index(&[("linux/amd64", &amd.manifest), ("linux/arm64", &arm.manifest)]),
        )
        .await;
    let (registry, _) = look_ups(settings());
    let of = async |rest: &str| ask(&registry, &debian.name(rest), None).await;

    let single = of("team/app:v2").await.unwrap();
    assert_eq!(single.digest.to_string(), arm.manifest.digest);
    let Content::Image {
        platform: Some(platform),
        ..
    } = single.content
    else {
        panic!("an image")
    };
    assert_eq!(platform.architecture, "arm64");
    let Content::Index(entries) = of("team/app:v2.1").await.unwrap().content else {
        panic!("an index")
    };
    assert_eq!(entries.len(), 2);
    of(&format!("team/app@{}", amd.manifest.digest)).await.unwrap();

    let missing = of("team/app:v99").await.unwrap_err();
    assert_eq!(missing.evidence, Evidence::TagUnknown { repository_exists: true });
    assert_eq!(missing.suggestions, ["v9", "v2.1", "v2"]);
    assert_eq!(missing.code.as_deref(), Some("MANIFEST_UNKNOWN"));
    assert_eq!(missing.status, Some(404));
    assert_eq!(missing.host, format!("127.0.0.1:{}", debian.port));
    assert_eq!(
        missing.request.unwrap().url,
        format!("http://127.0.0.1:{}/v2/team/app/manifests/v99", debian.port)
    );
    let unknown = of("team/nothing:v1").await.unwrap_err();
    assert_eq!(unknown.evidence, Evidence::RepositoryUnknown);
    assert_eq!(unknown.code.as_deref(), Some("NAME_UNKNOWN"));
    let zeros = format!("team/app@sha256:{}", "0".repeat(64));
    assert_eq!(of(&zeros).await.unwrap_err().evidence, Evidence::DigestUnknown);
}

#[tokio::test]
async fn htpasswd() {
    let debian = Debian::start(Some(("alice", "s3cret-word")), None).await;
    debian.push("team/app", "1", &image("amd64")).await;
    let (registry, _) = look_ups(settings());
    let name = debian.name("team/app:1");
    let none = ask(&registry, &name, None).await.unwrap_err();
    assert_eq!(none.evidence, Evidence::AuthenticationRequired { at: AuthStage::Basic });
    let wrong = ask(&registry, &name, Some(credential("alice", "wrong-word")))
        .await
        .unwrap_err();
    assert_eq!(wrong.evidence, Evidence::CredentialRefused { at: AuthStage::Basic });
    assert_silent(&wrong, &["wrong-word"]);
    let right = ask(&registry, &name, Some(credential("alice", "s3cret-word"))).await.unwrap();
    assert!(right.authenticated);
    let missing = ask(
        &registry,
        &debian.name("team/app:2"),
        Some(credential("alice", "s3cret-word")),
    )
    .await
    .unwrap_err();
    assert_eq!(missing.evidence, Evidence::TagUnknown { repository_exists: true });
    assert_eq!(missing.suggestions, ["1"]);
}

#[tokio::test]
async fn tls_from_a_private_ca() {
    let tls = Tls::new(&["registry.test", "127.0.0.1"], Validity::Good);
    let debian = Debian::start(None, Some(&tls)).await;
    debian.push("team/app", "1", &image("amd64")).await;
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let resolve = vec![("registry.test".to_owned(), any)];
    let (trusting, _) = look_ups(RegistrySettings {
        resolve: resolve.clone(),
        roots: vec![tls.ca.clone().into_bytes()],
        ..settings()
    });
    let named = format!("registry.test:{}/team/app:1", debian.port);
    ask(&trusting, &named, None).await.unwrap();
    let (wary, _) = look_ups(RegistrySettings { resolve, ..settings() });
    let failure = ask(&wary, &named, None).await.unwrap_err();
    assert_eq!(failure.evidence, Evidence::Tls(TlsFault::UnknownIssuer));
    // A loopback name is not verified.
    ask(&wary, &debian.name("team/app:1"), None).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_goes_down() {
    let mut debian = Debian::start(None, None).await;
    debian.push("team/app", "1", &image("amd64")).await;
    let (registry, metrics) = look_ups(settings());
    let name = debian.name("team/app:1");
    assert!(!ask(&registry, &name, None).await.unwrap().stale);
    debian.process.kill().unwrap();
    debian.process.wait().unwrap();
    assert!(!ask(&registry, &name, None).await.unwrap().stale, "still fresh");
    let failure = ask(&registry, &debian.name("team/app:2"), None).await.unwrap_err();
    assert_eq!(failure.evidence, Evidence::ConnectionFailed(ConnectionFault::Refused));
    assert!(metrics.encode().contains(r#"cache="answers",result="hit"} 1"#));

    // Two minutes later the answer is no longer fresh, and serves all the same.
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(2)).await;
    tokio::time::resume();
    let stale = ask(&registry, &name, None).await.unwrap();
    assert!(stale.stale);
    assert!(metrics.encode().contains(r#"cache="answers",result="stale"} 1"#));
}

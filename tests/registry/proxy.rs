//! Through a proxy (contract 7): CONNECT for https, the guard before it, loopback never.

use crate::faulty::{Faulty, Tls, Validity};
use crate::sample::*;
use crate::support::*;
use pullgate::engine::LookUps;
use pullgate::net::Reach;
use pullgate::registry::Proxy;
use pullgate::registry::RegistrySettings;
use pullgate::runtime::outcome::*;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A proxy that connects to one server, whatever it is asked for; or refuses.
struct Gateway {
    address: SocketAddr,
    /// The heads of the requests.
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gateway {
    async fn start(to: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                connections.spawn(tunnel(stream, to, Arc::clone(&log)));
            }
        });
        Self { address, seen, task }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn tunnel(mut stream: TcpStream, to: Option<SocketAddr>, log: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    log.lock().unwrap().push(String::from_utf8(head).unwrap());
    let Some(to) = to else {
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
        return;
    };
    let mut server = TcpStream::connect(to).await.unwrap();
    stream
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await
        .unwrap();
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
}

/// No private address is admitted; the proxy's own is all the same.
fn through(url: &str, exceptions: &[&str], tls: &Tls, resolve: &[(&str, &str)]) -> LookUps {
    // Public as far as is known here; nothing is ever sent there.
    let public = [("registry.example", "192.0.43.8:443")];
    let resolve = public
        .iter()
        .chain(resolve)
        .map(|(name, address)| ((*name).to_owned(), address.parse().unwrap()));
    let settings = RegistrySettings {
        reach: Reach::Listed(Vec::new()),
        proxy: Some(Proxy::new(url, exceptions).unwrap()),
        roots: vec![tls.ca.clone().into_bytes()],
        resolve: resolve.collect(),
        ..settings()
    };
    look_ups(settings).0
}

async fn upstream(tls: &Tls) -> Faulty {
    let app = image("amd64");
    Faulty::start_tls(tls, move |seen| good(&app, seen)).await
}

#[tokio::test]
async fn https_by_connect() {
    let tls = Tls::new(&["registry.example"], Validity::Good);
    let server = upstream(&tls).await;
    let proxy = Gateway::start(Some(server.address)).await;
    let registry = through(&proxy.url(), &[], &tls, &[]);
    ask(&registry, "registry.example/team/app:1", None).await.unwrap();
    let seen = proxy.seen();
    assert!(seen[0].starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"), "{seen:?}");
    assert_eq!(server.lines()[0], "HEAD /v2/team/app/manifests/1");
    // The certificate is the registry's.
    let other = Tls::new(&["registry.example"], Validity::Good);
    let failure = ask(&through(&proxy.url(), &[], &other, &[]), "registry.example/team/app:1", None)
        .await
        .unwrap_err();
    assert!(matches!(failure.evidence, Evidence::Tls(_)), "{failure:?}");
}

#[tokio::test]
async fn the_password_of_a_proxy_is_for_the_proxy() {
    let tls = Tls::new(&["registry.example"], Validity::Good);
    let server = upstream(&tls).await;
    let proxy = Gateway::start(Some(server.address)).await;
    let url = format!("http://alice:hunter2@{}", proxy.address);
    ask(&through(&url, &[], &tls, &[]), "registry.example/team/app:1", None)
        .await
        .unwrap();
    let head = proxy.seen()[0].to_ascii_lowercase();
    assert!(head.contains("proxy-authorization: basic ywxpy2u6ahvudgvymg=="), "{head}");
    assert!(server.seen().iter().all(|seen| seen.header("proxy-authorization").is_none()));

    let refusing = Gateway::start(None).await;
    let url = format!("http://alice:hunter2@{}", refusing.address);
    let failure = ask(&through(&url, &[], &tls, &[]), "registry.example/team/app:1", None)
        .await
        .unwrap_err();
    assert_eq!(failure.evidence, Evidence::ConnectionFailed(ConnectionFault::Unreachable));
    let detail = failure.detail.clone().unwrap();
    assert!(
        detail.starts_with(&format!("the proxy {} does not connect: ", refusing.address)),
        "{detail}"
    );
    assert_silent(&failure, &["hunter2", "alice"]);
}

#[tokio::test]
async fn what_the_proxy_is_not_asked_for() {
    let tls = Tls::new(&["registry.test", "127.0.0.1", "10.0.0.1"], Validity::Good);
    let server = upstream(&tls).await;
    let proxy = Gateway::start(Some(server.address)).await;
    let registry = through(
        &proxy.url(),
        &[],
        &tls,
        &[
            ("private.test", "10.1.2.3:443"),
            ("metadata.test", "169.254.169.254:443"),
            ("mixed.test", "192.0.43.8:443"),
            ("mixed.test", "10.1.2.3:443"),
        ],
    );
    // Private, written as an address or known here by its name; the metadata service; loopback.
    for host in [
        "10.0.0.1",
        "private.test",
        "mixed.test",
        "169.254.169.254",
        "metadata.test",
        "127.0.0.1:1",
        "localhost:1",
        // By name, though nobody here knows where it leads.
        "metadata.google.internal",
        "a.metadata.google.internal",
        "instance-data.ec2.internal",
        "metadata.platformequinix.com",
    ] {
        let failure = ask(&registry, &format!("{host}/team/app:1"), None).await.unwrap_err();
        assert!(matches!(failure.evidence, Evidence::StoppedByGuard(_)), "{host}: {failure:?}");
    }
    assert!(proxy.seen().is_empty(), "{:?}", proxy.seen());

    // An exception is reached directly, by the rules of direct ways.
    let port = server.port();
    let direct = |reach: Reach| {
        look_ups(RegistrySettings {
            reach,
            proxy: Some(Proxy::new(&proxy.url(), &[".test"]).unwrap()),
            roots: vec![tls.ca.clone().into_bytes()],
            resolve: vec![("registry.test".to_owned(), "127.0.0.1:0".parse().unwrap())],
            ..settings()
        })
        .0
    };
    let name = format!("registry.test:{port}/team/app:1");
    ask(&direct(Reach::Everything), &name, None).await.unwrap();
    let failure = ask(&direct(Reach::Listed(Vec::new())), &name, None).await.unwrap_err();
    assert!(
        matches!(failure.evidence, Evidence::StoppedByGuard(GuardRule::Address { .. })),
        "{failure:?}"
    );
    assert!(proxy.seen().is_empty());
}

#[tokio::test]
async fn a_mirror_of_the_tree_goes_by_the_same_rules() {
    let tls = Tls::new(&["mirror.corp"], Validity::Good);
    let server = upstream(&tls).await;
    let proxy = Gateway::start(Some(server.address)).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("r.example")).unwrap();
    std::fs::write(dir.path().join("r.example/ca.pem"), &tls.ca).unwrap();
    std::fs::write(
        dir.path().join("r.example/hosts.toml"),
        "server = \"https://mirror.corp\"\nca = \"ca.pem\"\n",
    )
    .unwrap();
    let (registry, _) = look_ups(RegistrySettings {
        reach: Reach::Listed(Vec::new()),
        proxy: Some(Proxy::new(&proxy.url(), &[""; 0]).unwrap()),
        hosts_dirs: vec![dir.path().to_owned()],
        // Private, and named by the tree.
        resolve: vec![("mirror.corp".to_owned(), "10.1.2.3:443".parse().unwrap())],
        ..settings()
    });
    ask(&registry, "r.example/team/app:1", None).await.unwrap();
    assert!(proxy.seen()[0].starts_with("CONNECT mirror.corp:443 "));
    assert_eq!(server.lines()[0], "HEAD /v2/team/app/manifests/1?ns=r.example");
}

#[tokio::test]
async fn the_environment_of_a_check() {
    for (names, reached) in [
        (&["HTTPS_PROXY"][..], 0),
        (&["https_proxy"], 0),
        (&["https_proxy", "HTTPS_PROXY"], 1),
    ] {
        let proxies = [Gateway::start(None).await, Gateway::start(None).await];
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_pullgate"));
        command.args(["check", "--image", "192.0.43.8/team/app:1"]).env_clear();
        for (name, proxy) in names.iter().zip(&proxies) {
            command.env(name, proxy.url().replace("http://", "http://bob:hunter2@"));
        }
        let output = command.output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("does not connect"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        for (at, proxy) in proxies.iter().enumerate() {
            assert_eq!(!proxy.seen().is_empty(), at == reached, "{names:?} {said}");
        }
    }
}

#[tokio::test]
async fn a_proxy_of_the_environment_that_cannot_be_used_hinders_only_what_is_behind_it() {
    use std::os::unix::ffi::OsStrExt as _;
    let app = image("amd64");
    let server = Faulty::start(move |seen| good(&app, seen)).await;
    let here = format!("127.0.0.1:{}/team/app:1", server.port());
    let broken = [
        &b"socks5://bob:hunter2@127.0.0.1:1"[..],
        b"nonsense:::",
        b"http://",
        b"http://\xff",
    ];
    for url in broken {
        for (image, exceptions, expect) in [
            (here.as_str(), "", "1 image: 1 pulls"),
            ("r.invalid/app:1", "", "the proxy of HTTPS_PROXY cannot be used"),
            ("r.invalid/app:1", ".invalid", "DnsFailure"),
        ] {
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_pullgate"));
            command.args(["check", "--image", image]).env_clear();
            command
                .env("HTTPS_PROXY", std::ffi::OsStr::from_bytes(url))
                .env("NO_PROXY", exceptions);
            let output = command.output().await.unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.contains(expect), "{url:?} {image} {said}");
            assert_eq!(output.status.code(), Some(0), "{said}");
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(told.contains("HTTPS_PROXY") && !(told + &said).contains("hunter2"), "{url:?}");
        }
    }
}

use super::*;

fn read(text: &str) -> Result<File, String> {
    parse(text).map_err(|problem| problem.to_string())
}

#[test]
fn everything_that_a_host_can_say() {
    let file = read(
        r#"
server = "registry.example"
ca = "root.pem"
unknown = 1

[host."https://z.example:5000/proxy"]
  capabilities = ["Pull", "resolve"]
  ca = ["a.pem", "/abs/b.pem"]
  client = [["c.cert", "c.key"], "both.pem"]
  skip_verify = true
  dial_timeout = "1m30.5s"
  [host."https://z.example:5000/proxy".header]
X-Token = "abc"
x-list = ["1", "2"]

[host."http://a.example"]
  capabilities = ["pull"]
  override_path = true
  client = "both.pem"
"#,
    )
    .unwrap();
    let names: Vec<&str> = file
        .hosts
        .iter()
        .map(|host| host.written.as_ref().unwrap().authority.as_str())
        .collect();
    assert_eq!(names, ["z.example:5000", "a.example"], "in the order of the file");
    let [first, second] = file.hosts.as_slice() else {
        panic!("two hosts")
    };
    assert_eq!(first.written.as_ref().unwrap().path, "/proxy/v2");
    assert!(first.pull && first.resolve);
    assert_eq!(first.tls.ca, Some(vec!["a.pem".into(), "/abs/b.pem".into()]));
    assert_eq!(
        first.tls.client,
        Some(vec![("c.cert".into(), Some("c.key".into())), ("both.pem".into(), None)])
    );
    assert_eq!(first.tls.skip_verify, Some(true));
    assert_eq!(first.dial_timeout, Some(Duration::from_millis(90_500)));
    assert_eq!(first.headers.get("x-token").unwrap(), "abc");
    assert_eq!(first.headers.get_all("x-list").iter().count(), 2);
    assert!(!format!("{first:?}").contains("abc"), "headers may be secrets");
    assert_eq!(second.written.as_ref().unwrap().path, "");
    assert!(second.pull && !second.resolve);
    assert_eq!(file.server.written.as_ref().unwrap().authority, "registry.example");
    assert_eq!(file.server.tls.ca, Some(vec!["root.pem".into()]));
}

#[test]
fn files_that_older_runtimes_pass_over() {
    for (text, readers) in [
        ("server = \"m\"\n", Readers::Newer),
        ("[host.\"m\"]\n", Readers::All),
        ("[host]\n", Readers::All),
        ("[host.\"m\"]\ncapabilities = [\"pull\", \"referrers\"]\n", Readers::Newer),
        ("capabilities = [\"Referrers\"]\n[host.\"m\"]\n", Readers::Newer),
    ] {
        assert_eq!(read(text).unwrap().readers, readers, "{text:?}");
    }
    let older = read("[host.\"m\"]\ndial_timeout = 3\n").unwrap();
    assert!(matches!(older.readers, Readers::Older(_)), "{older:?}");
    assert_eq!(older.hosts.len(), 1);
    // Older ones read no file without a host, newer ones none with such a duration.
    assert!(read("dial_timeout = \"soon\"\n").is_err());
}

#[test]
fn nearly_nothing() {
    for text in ["", "# only a comment\n", "server = \"\"\n", "capabilities = []\n"] {
        let file = read(text).unwrap();
        assert!(file.hosts.is_empty() && file.server.written.is_none(), "{text:?}");
        assert!(file.server.pull && file.server.resolve, "{text:?}");
        assert!(!file.server.tls.is_explicit());
    }
    // A host that says nothing about itself is good for everything.
    let file = read("[host.\"mirror\"]\n").unwrap();
    assert!(file.hosts[0].pull && file.hosts[0].resolve);
    assert_eq!(file.hosts[0].written.as_ref().unwrap().path, "/v2");
}

#[test]
fn problems_have_a_place() {
    for (text, expected) in [
        ("server = \n", "1:10: string values must be quoted, expected literal string"),
        ("\nserver = 7\n", "2:10: server must be a string"),
        (
            "[host.\"m\"]\ncapabilities = [\"pull\", \"fly\"]\n",
            "2:25: unknown capability \"fly\"; known: pull, resolve, push, referrers",
        ),
        ("host = 1\n", "1:8: host must be a table"),
        ("[host]\nm = 1\n", "2:5: a host must be a table"),
        ("skip_verify = \"true\"\n", "1:15: skip_verify must be true or false"),
        ("ca = 1\n", "1:6: ca must be a file or a list of files"),
        (
            "client = [[\"a\"]]\n",
            "1:11: client must be a file, a list of files, or a list of pairs [certificate, key]",
        ),
        (
            "dial_timeout = \"soon\"\n",
            "1:16: dial_timeout must be a duration in quotes, as 500ms, 10s or 1m30s",
        ),
    ] {
        let problem = read(text).unwrap_err();
        if text.starts_with("server = \n") {
            // The words are the reader's own.
            assert!(problem.starts_with("1:10: "), "{problem}");
        } else {
            assert_eq!(problem, expected, "{text:?}");
        }
    }
    for host in ["https://m:x", "https://u:p@m:x", "a b", "https://[::1", "m%41"] {
        let problem = read(&format!("[host.\"{host}\"]\n")).unwrap_err();
        assert!(problem.starts_with("1:7: "), "{host}: {problem}");
        assert!(!problem.contains("u:p"), "{problem}");
    }
}

#[test]
fn hosts_that_nobody_can_ask_break_no_file() {
    for (host, authority) in [
        ("https://", ""),
        ("https:///p", ""),
        ("https://u:p@", ""),
        ("http.corp:5000", ""),
        ("httpx://m", ""),
        ("http://m:99999", ""),
        // Put behind https://, as containerd does.
        ("tcp://m", "tcp:"),
        ("HTTP://m", "HTTP:"),
    ] {
        let file = read(&format!("[host.\"{host}\"]\n[host.\"http://good\"]\n")).unwrap();
        let named: Vec<&str> = file
            .hosts
            .iter()
            .map(|host| &*host.written.as_ref().unwrap().authority)
            .collect();
        assert_eq!(named, [authority, "good"], "{host}");
    }
    // So does a header that cannot be sent.
    for header in ["\"a b\" = \"c\"", "a = \"c\\nd\""] {
        let file = read(&format!("server = \"m\"\n[header]\n{header}\n[host.\"http://good\"]\n")).unwrap();
        assert_eq!(file.server.written.unwrap().authority, "", "{header}");
    }
}

#[test]
fn where_hosts_are_asked() {
    let server = |registry: &str, text: &str, tls| {
        let written = WrittenUrl::parse(text).unwrap().with_api_path();
        written.server(registry, tls).unwrap()
    };
    for (registry, text, https, path, namespace) in [
        (
            "docker.io",
            "registry-1.docker.io",
            "https://registry-1.docker.io",
            "/v2",
            None,
        ),
        (
            "docker.io",
            "https://m.example/",
            "https://m.example",
            "/v2",
            Some("docker.io"),
        ),
        ("r:5000", "https://m//v2/", "https://m", "/v2", Some("r:5000")),
        ("r:5000", "http://r:5000", "https://r:5000", "/v2", None),
        ("r", "http://m:443/x/../p", "https://m", "/p/v2", Some("r")),
        ("r", "https://r:443", "https://r", "/v2", Some("r")),
        ("r", "https://u:p@r", "https://r", "/v2", None),
    ] {
        let server = server(registry, text, false);
        assert_eq!(server.https.to_string(), https, "{text}");
        assert_eq!((&*server.path, server.namespace.as_deref()), (path, namespace), "{text}");
    }
    let schemes = |text: &str, tls| server("r", text, tls).schemes;
    assert_eq!(schemes("m:5000", true), Schemes::Https);
    assert_eq!(schemes("https://localhost:5000", false), Schemes::Https);
    assert_eq!(schemes("http://m:5000", false), Schemes::Http);
    assert_eq!(schemes("http://m:5000", true), Schemes::HttpsThenHttp);
    assert_eq!(schemes("http://m:80", true), Schemes::Http);
    for nowhere in ["https://", "http://m:99999", "httpx://m"] {
        assert!(WrittenUrl::parse(nowhere).unwrap().server("r", false).is_none(), "{nowhere}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_answered(text in "(\\[host\\.\"[a-z:/]{0,9}\"\\]\n)?[a-z_]{0,8} ?=? ?[\"\\[\\]a-zß0-9.,]{0,12}\n?") {
        let _ = read(&text);
    }
}

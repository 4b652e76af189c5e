use super::*;

fn credential(username: &str, password: &str) -> Credential {
    Credential {
        username: Hidden::new(username),
        password: Hidden::new(password),
        identity_token: Hidden::default(),
    }
}

fn secret(kind: &str, data: &str) -> PullSecret {
    PullSecret {
        name: "regcred".to_owned(),
        kind: kind.to_owned(),
        data: Hidden::new(data),
        version: String::new(),
    }
}

/// A keyring with one credential a key, whose user name is the key.
fn keyring(keys: &[&str]) -> Keyring {
    let mut ring = Keyring::default();
    let entries: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), credential(key, "pw"))).collect();
    ring.add(&Source::Secret("regcred".to_owned()), &entries);
    ring
}

fn found<'a>(ring: &'a Keyring, name: &str) -> Vec<&'a str> {
    ring.lookup(name)
        .into_iter()
        .map(|entry| entry.credential.username.expose())
        .collect()
}

mod parsing {
    use super::*;

    fn config(json: &str) -> Result<Vec<(String, Credential)>, String> {
        parse_docker_config(json.as_bytes()).map_err(|error| error.text)
    }

    fn one(entry: &str) -> Result<Credential, String> {
        let mut entries = config(&format!(r#"{{"auths":{{"reg.example.com":{entry}}}}}"#))?;
        assert_eq!(entries.len(), 1, "{entry}");
        Ok(entries.remove(0).1)
    }

    #[test]
    fn entries_of_the_table() {
        let cases = [
            (r#"{"auth":"dTpwOnE=","username":"x","password":"y"}"#, Ok(("u", "p:q"))),
            (r#"{"auth":"dTpwdw=="}"#, Ok(("u", "pw"))),
            (r#"{"auth":"dTpwdw"}"#, Ok(("u", "pw"))),
            (r#"{"auth":"dTpw\ndw==\n"}"#, Ok(("u", "pw"))),
            (r#"{"auth":"dTp-"}"#, Err("illegal base64 data at input byte 3")),
            (r#"{"auth":"dT_w"}"#, Err("illegal base64 data at input byte 2")),
            (r#"{"auth":"!!"}"#, Err("illegal base64 data at input byte 0")),
            (r#"{"auth":"dTpwdw="}"#, Err("illegal base64 data at input byte 7")),
            (
                r#"{"auth":"dXB3"}"#,
                Err("unable to parse auth field, must be formatted as base64(username:password)"),
            ),
            (r#"{"auth":"","username":"x","password":"y"}"#, Ok(("x", "y"))),
            (r#"{"username":"x","password":"y"}"#, Ok(("x", "y"))),
            (r#"{"USERNAME":"x","Password":"y"}"#, Ok(("x", "y"))),
            (r#"{"AUTH":"dTpw"}"#, Ok(("u", "p"))),
            (r#"{"auth":null,"username":"x"}"#, Ok(("x", ""))),
            ("{}", Ok(("", ""))),
            ("null", Ok(("", ""))),
            (r#"{"identitytoken":"t","registrytoken":"r"}"#, Ok(("", ""))),
            (r#"{"username":"\ud800","password":"\ud83d\ude00"}"#, Ok(("\u{fffd}", "😀"))),
            (
                r#""x""#,
                Err(
                    "json: cannot unmarshal string into Go struct field DockerConfigJSON.auths of type credentialprovider.dockerConfigEntryWithAuth",
                ),
            ),
            (
                "[]",
                Err(
                    "json: cannot unmarshal array into Go struct field DockerConfigJSON.auths of type credentialprovider.dockerConfigEntryWithAuth",
                ),
            ),
            (
                r#"{"username":5}"#,
                Err("json: cannot unmarshal number into Go struct field DockerConfigJSON.auths.username of type string"),
            ),
            (
                r#"{"email":true}"#,
                Err("json: cannot unmarshal bool into Go struct field DockerConfigJSON.auths.email of type string"),
            ),
            (
                r#"{"auth":{}}"#,
                Err("json: cannot unmarshal object into Go struct field DockerConfigJSON.auths.auth of type string"),
            ),
        ];
        for (entry, expected) in cases {
            let expected = expected
                .map(|(user, password)| credential(user, password))
                .map_err(str::to_owned);
            assert_eq!(one(entry), expected, "{entry}");
        }
    }

    #[test]
    fn documents_of_the_table() {
        for json in [
            "{}",
            "null",
            r#"{"auths":null}"#,
            r#"{"auths":{}}"#,
            r#"{"credsStore":"desktop","credHelpers":{"a":"b"},"HttpHeaders":{"User-Agent":"x"}}"#,
            r#"{"credsStore":5}"#,
        ] {
            assert_eq!(config(json), Ok(Vec::new()), "{json}");
        }
        for (json, text) in [
            (
                "[]",
                "json: cannot unmarshal array into Go value of type credentialprovider.DockerConfigJSON",
            ),
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            (
                "{'auths':{}}",
                "invalid character '\\'' looking for beginning of object key string",
            ),
            ("x", "invalid character 'x' looking for beginning of value"),
            (
                r#"{"auths":"x"}"#,
                "json: cannot unmarshal string into Go struct field DockerConfigJSON.auths of type credentialprovider.DockerConfig",
            ),
            (
                r#"{"HttpHeaders":{"a":1}}"#,
                "json: cannot unmarshal number into Go struct field DockerConfigJSON.HttpHeaders of type string",
            ),
            (
                r#"{"HttpHeaders":[]}"#,
                "json: cannot unmarshal array into Go struct field DockerConfigJSON.HttpHeaders of type map[string]string",
            ),
        ] {
            assert_eq!(config(json), Err(text.to_owned()), "{json}");
        }
    }

    #[test]
    fn the_first_error_names_its_entry_and_no_userinfo() {
        let json = br#"{"auths":{"good":{"auth":"dTpw"},"u:hunter2@bad":{"auth":"!"},"worse":5}}"#;
        let error = parse_docker_config(json).unwrap_err();
        assert_eq!(error.entry.as_deref(), Some("***@bad"));
        assert_eq!(error.text, "illegal base64 data at input byte 0");
        // But a document that is no JSON is refused before any entry is looked at.
        let error = parse_docker_config(br#"{"auths":{"bad":{"auth":"!"}},}"#).unwrap_err();
        assert_eq!(
            (error.entry, error.text.as_str()),
            (None, "invalid character '}' looking for beginning of object key string")
        );
    }

    #[test]
    fn order_is_the_documents_and_the_last_of_a_key_wins() {
        let entries =
            config(r#"{"auths":{"z":{"username":"1"},"a":{"username":"2"},"z":{"password":"3"}},"AUTHS":{"m":{"username":"4"}}}"#);
        let expected = [
            ("z", credential("", "3")),
            ("a", credential("2", "")),
            ("m", credential("4", "")),
        ]
        .map(|(key, c)| (key.to_owned(), c));
        assert_eq!(entries, Ok(expected.to_vec()));
        assert_eq!(config(r#"{"auths":{"a":{}},"AUTHS":null}"#), Ok(Vec::new()));
    }

    #[test]
    fn the_legacy_form_is_the_map_itself() {
        let parse = |json: &str| parse_dockercfg(json.as_bytes()).map_err(|error| error.text);
        assert_eq!(
            parse(r#"{"quay.io":{"auth":"dTpw"},"auths":{}}"#),
            Ok(vec![
                ("quay.io".to_owned(), credential("u", "p")),
                ("auths".to_owned(), Credential::default())
            ])
        );
        assert_eq!(parse("null"), Ok(Vec::new()));
        for (json, text) in [
            (
                "[]",
                "json: cannot unmarshal array into Go value of type credentialprovider.DockerConfig",
            ),
            (
                r#"{"a":"x"}"#,
                "json: cannot unmarshal string into Go value of type credentialprovider.dockerConfigEntryWithAuth",
            ),
            (
                r#"{"a":{"auth":1}}"#,
                "json: cannot unmarshal number into Go struct field dockerConfigEntryWithAuth.auth of type string",
            ),
        ] {
            assert_eq!(parse(json), Err(text.to_owned()), "{json}");
        }
    }

    #[test]
    fn a_users_own_config_keeps_tokens_and_drops_empty_entries() {
        let json = br#"{"auths":{"a":{"identitytoken":"t"},"b":{},"c":{"auth":"dTpw"}}}"#;
        let token = Credential {
            identity_token: Hidden::new("t"),
            ..Credential::default()
        };
        assert_eq!(
            parse_user_config(json),
            Ok(vec![("a".to_owned(), token), ("c".to_owned(), credential("u", "p"))])
        );
    }

    #[test]
    fn secrets_by_type_and_key() {
        let good = r#"{"auths":{"a":{"auth":"dTpw"}}}"#;
        let entry = vec![("a".to_owned(), credential("u", "p"))];
        assert_eq!(inspect(&secret(DOCKERCONFIGJSON, good)), Contents::Usable(entry.clone()));
        assert_eq!(
            inspect(&secret(DOCKERCFG, r#"{"a":{"auth":"dTpw"}}"#)),
            Contents::Usable(entry)
        );
        // A missing key is ignored without a word.
        assert_eq!(inspect(&secret(DOCKERCONFIGJSON, "")), Contents::Usable(Vec::new()));
        assert_eq!(inspect(&secret(DOCKERCFG, "")), Contents::Usable(Vec::new()));
        for kind in ["Opaque", "kubernetes.io/basic-auth", "", "kubernetes.io/DockerConfigJson"] {
            assert_eq!(inspect(&secret(kind, good)), Contents::WrongType { kind: kind.to_owned() });
        }
        assert!(matches!(inspect(&secret(DOCKERCONFIGJSON, "[]")), Contents::Malformed(_)));
        assert_eq!((data_key(DOCKERCFG), data_key("Opaque")), (Some(".dockercfg"), None));
    }

    #[test]
    fn nothing_hidden_is_shown() {
        let shown = format!("{:?}", secret(DOCKERCONFIGJSON, "hunter2")) + &format!("{:?}", credential("hunter2", "hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(format!("{:?}", credential("a", "b").fingerprint()), "fingerprint");
    }

    #[test]
    fn fingerprints_tell_credentials_apart() {
        assert_eq!(credential("a", "b").fingerprint(), credential("a", "b").fingerprint());
        assert_ne!(credential("ab", "c").fingerprint(), credential("a", "bc").fingerprint());
        let token = Credential {
            identity_token: Hidden::new("b"),
            ..credential("a", "")
        };
        assert_ne!(credential("a", "b").fingerprint(), token.fingerprint());
    }

    #[test]
    fn what_containerd_would_not_send_is_anonymous() {
        let with = |user: &str, password: &str, token: &str| Credential {
            identity_token: Hidden::new(token),
            ..credential(user, password)
        };
        assert!(with("", "", "").is_anonymous());
        assert!(with("", "pw", "").is_anonymous());
        assert!(with("user", "", "token").is_anonymous());
        assert!(!with("user", "pw", "").is_anonymous());
        assert!(!with("", "", "token").is_anonymous());
    }

    proptest::proptest! {
        #[test]
        fn no_document_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let _ = parse_docker_config(&bytes);
            let _ = parse_dockercfg(&bytes);
        }

        #[test]
        fn no_entry_panics(auth in ".{0,24}", key in ".{0,24}") {
            let json = serde_json::json!({"auths": {key.clone(): {"auth": auth}}}).to_string();
            if let Ok(entries) = parse_docker_config(json.as_bytes()) {
                proptest::prop_assert_eq!(&entries[0].0, &key);
            }
        }
    }
}

mod matching {
    use super::*;

    const NGINX: &str = "docker.io/library/nginx";

    /// The table of pull-semantics 4.4: keys, repository, and the keys found, in order.
    const TABLE: &[(&[&str], &str, &[&str])] = &[
        (&["https://index.docker.io/v1/"], NGINX, &["https://index.docker.io/v1/"]),
        (&["https://index.docker.io/v2/"], NGINX, &["https://index.docker.io/v2/"]),
        (&["index.docker.io"], NGINX, &["index.docker.io"]),
        (&["index.docker.io/"], NGINX, &["index.docker.io/"]),
        (&["https://index.docker.io/v1"], NGINX, &[]),
        (&["docker.io"], NGINX, &["docker.io"]),
        (&["https://docker.io"], NGINX, &["https://docker.io"]),
        (&["docker.io/v1/"], NGINX, &["docker.io/v1/"]),
        (&["https://index.docker.io/v1/", "docker.io"], NGINX, &["docker.io"]),
        (
            &[
                "registry-1.docker.io",
                "hub.docker.com",
                "registry.hub.docker.com",
                "*.docker.io",
            ],
            NGINX,
            &[],
        ),
        (&["index.docker.io/myorg"], "docker.io/myorg/app", &[]),
        (&["docker.io/myorg"], "docker.io/myorg/app", &["docker.io/myorg"]),
        (&["docker.io/myorg"], "docker.io/myorg2/app", &["docker.io/myorg"]),
        (&["docker.io/myorg/"], "docker.io/myorg2/app", &[]),
        (&["docker.io/myorg/"], "docker.io/myorg/app", &["docker.io/myorg/"]),
        (
            &["quay.io", "quay.io/coreos/etcd", "quay.io/coreos"],
            "quay.io/coreos/etcd",
            &["quay.io/coreos/etcd", "quay.io/coreos", "quay.io"],
        ),
        (&["http://quay.io"], "quay.io/x", &["http://quay.io"]),
        (&["https://quay.io/v2/"], "quay.io/x", &["https://quay.io/v2/"]),
        (
            &["https://quay.io/v2", "https://quay.io/api", "oci://quay.io", "QUAY.io"],
            "quay.io/x",
            &[],
        ),
        (&["reg.example.com"], "reg.example.com:5000/a", &[]),
        (&["reg.example.com:443"], "reg.example.com/a", &[]),
        (&["reg.example.com:5000"], "reg.example.com:5000/a", &["reg.example.com:5000"]),
        (&["*.example.com"], "a.b.example.com/x", &[]),
        (&["*.*.example.com"], "a.b.example.com/x", &["*.*.example.com"]),
        (
            &["*.dkr.ecr.*.amazonaws.com"],
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app",
            &["*.dkr.ecr.*.amazonaws.com"],
        ),
        (&["reg*.example.com"], "reg7.example.com/a", &["reg*.example.com"]),
        (&["reg?.example.com"], "reg7.example.com/a", &[]),
        (&["*.example.com:*"], "reg.example.com:5000/a", &[]),
        (&["reg.example.com/*"], "reg.example.com/a", &[]),
        (&["reg.example.com/a:tag"], "reg.example.com/a", &[]),
        (&[" reg.example.com", "reg.example.com "], "reg.example.com/a", &[]),
        (&["user@reg.example.com"], "reg.example.com/a", &["user@reg.example.com"]),
        (
            &["*.example.com", "reg.example.com", "*.example.com/foo", "reg.example.com/foo"],
            "reg.example.com/foo/a",
            &["reg.example.com/foo", "reg.example.com", "*.example.com/foo", "*.example.com"],
        ),
        // Beyond the table; each settled by Go's own net/url, net and path/filepath.
        (&["reg.example.com:"], "reg.example.com/a", &["reg.example.com:"]),
        (&["reg[a-c].example.com"], "regb.example.com/a", &["reg[a-c].example.com"]),
        (&["reg.example.com/%61"], "reg.example.com/abc", &["reg.example.com/%61"]),
        (&["reg.example.com/%zz"], "reg.example.com/a", &[]),
        (&["reg.example.com#x"], "reg.example.com/a", &["reg.example.com#x"]),
        (&["reg.example.com?x"], "reg.example.com/a", &["reg.example.com?x"]),
        (&["HTTPS://reg.example.com"], "reg.example.com/a", &[]),
        (&[""], "reg.example.com/a", &[]),
        (&["*"], "reg.example.com/a", &[]),
        (&["*"], "localhost/a", &["*"]),
        (&["localhost:5000"], "localhost:5000/a", &["localhost:5000"]),
        (&["index.docker.io"], "localhost/a", &["index.docker.io"]),
        (&["index.docker.io"], "localhost:5000/a", &[]),
        (&["index.docker.io"], "index.docker.io/a/b", &["index.docker.io"]),
    ];

    #[test]
    fn the_table() {
        for (keys, name, expected) in TABLE {
            assert_eq!(found(&keyring(keys), name), *expected, "{keys:?} {name}");
        }
    }

    #[test]
    fn one_key_keeps_the_order_of_the_secrets() {
        let mut ring = Keyring::default();
        let entry = |key: &str, user: &str| vec![(key.to_owned(), credential(user, "pw"))];
        ring.add(&Source::Secret("first".to_owned()), &entry("https://quay.io", "1"));
        ring.add(&Source::Secret("second".to_owned()), &entry("quay.io/team", "2"));
        ring.add(&Source::Secret("third".to_owned()), &entry("quay.io/", "3"));
        // The same credential twice is tried twice.
        ring.add(&Source::DockerConfig, &entry("quay.io", "1"));
        assert_eq!(found(&ring, "quay.io/team/app"), ["2", "1", "3", "1"]);
        let sources: Vec<String> = ring
            .lookup("quay.io/team/app")
            .iter()
            .map(|entry| entry.source.to_string())
            .collect();
        assert_eq!(
            sources,
            ["Secret second", "Secret first", "Secret third", "the docker config"]
        );
    }

    #[test]
    fn patterns_of_node_credentials() {
        for (pattern, name, expected) in [
            ("*", "anything.example.com:5000/a/b", true),
            ("*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.eu-west-1.amazonaws.com/app", true),
            (
                "*.dkr.ecr.*.amazonaws.com",
                "1.dkr.ecr.cn-north-1.amazonaws.com.cn/app",
                false,
            ),
            ("*.azurecr.io", "myacr.azurecr.io/api", true),
            ("*.azurecr.io", "azurecr.io/api", false),
            ("*.pkg.dev", "europe-docker.pkg.dev/p/r/i", true),
            ("gcr.io", "gcr.io/p/i", true),
            ("gcr.io", "eu.gcr.io/p/i", false),
            ("reg.example.com", "reg.example.com:5000/a", false),
            ("reg.example.com:5000", "reg.example.com:5000/a", true),
            ("reg.example.com/team", "reg.example.com/team/app", true),
            ("reg.example.com/team", "reg.example.com/other", false),
            ("", "reg.example.com/a", false),
        ] {
            assert_eq!(pattern_covers(pattern, name), expected, "{pattern} {name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_key_and_no_name_panics(
            keys in proptest::collection::vec(r"(https?://)?[a-z*.:@%\[\]?/-]{0,20}|.{0,20}", 0..5),
            name in r"[a-z0-9.:\[\]]{0,12}(/[a-z/]{0,10})?|.{0,20}",
        ) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let ring = keyring(&keys);
            let found = ring.lookup(&name).len();
            proptest::prop_assert!(found <= keys.len());
            if let (0, Some(miss)) = (found, ring.nearest(&name)) {
                proptest::prop_assert!(!miss.why.is_empty());
            }
        }

        #[test]
        fn a_host_and_its_paths_always_match(
            host in r"[a-z][a-z0-9-]{0,8}(\.[a-z0-9]{1,5}){0,3}(:[0-9]{1,5})?", path in "[a-z0-9]{1,6}(/[a-z0-9]{1,6}){0,3}",
        ) {
            let name = format!("{host}/{path}");
            proptest::prop_assert_eq!(found(&keyring(&[&host]), &name).len(), 1);
            let both = keyring(&[&host, &name]);
            proptest::prop_assert_eq!(found(&both, &name), vec![name.as_str(), host.as_str()]);
            proptest::prop_assert!(pattern_covers(&host, &name));
        }
    }
}

mod near_misses {
    use super::*;

    /// Key, repository, reason, and the key that would match.
    const TABLE: &[(&str, &str, &str, Option<&str>)] = &[
        (
            "https://index.docker.io/v1",
            "docker.io/library/nginx",
            "/v1 is only dropped with a slash behind it",
            Some("https://index.docker.io/v1/"),
        ),
        (
            "registry-1.docker.io",
            "docker.io/library/nginx",
            "Docker Hub is looked up as docker.io and index.docker.io, not as registry-1.docker.io",
            Some("https://index.docker.io/v1/"),
        ),
        (
            "https://hub.docker.com/v2/",
            "docker.io/myorg/app",
            "Docker Hub is looked up as docker.io and index.docker.io, not as hub.docker.com",
            Some("https://index.docker.io/v1/"),
        ),
        (
            "*.docker.io",
            "docker.io/myorg/app",
            "Docker Hub is looked up as docker.io and index.docker.io, not as *.docker.io",
            Some("https://index.docker.io/v1/"),
        ),
        (
            "index.docker.io/myorg",
            "docker.io/myorg/app",
            "index.docker.io stands for Docker Hub only without a path",
            Some("docker.io/myorg"),
        ),
        (
            "docker.io/nginx",
            "docker.io/library/nginx",
            "Docker Hub's official images are below /library",
            Some("docker.io/library/nginx"),
        ),
        (
            "https://quay.io/v2",
            "quay.io/x",
            "/v2 is only dropped with a slash behind it",
            Some("https://quay.io"),
        ),
        (
            "https://quay.io/api",
            "quay.io/x",
            "/api is read as the path of a repository",
            Some("https://quay.io"),
        ),
        (
            "oci://quay.io",
            "quay.io/x",
            "only http:// and https:// are dropped from the front, not oci://",
            Some("quay.io"),
        ),
        (
            "HTTPS://quay.io",
            "quay.io/x",
            "only http:// and https:// are dropped from the front, not HTTPS://",
            Some("quay.io"),
        ),
        (
            "QUAY.io",
            "quay.io/x",
            "upper and lower case count in the host",
            Some("quay.io"),
        ),
        (
            "quay.io/Team",
            "quay.io/team/x",
            "upper and lower case count in the path",
            Some("quay.io/team"),
        ),
        (
            "reg.example.com",
            "reg.example.com:5000/a",
            "it has no port, the image's registry has 5000",
            Some("reg.example.com:5000"),
        ),
        (
            "reg.example.com:443",
            "reg.example.com/a",
            "its port is 443, the image's registry has none",
            Some("reg.example.com"),
        ),
        (
            "reg.example.com:5000",
            "reg.example.com:5001/a",
            "its port is 5000, the image's registry has 5001",
            Some("reg.example.com:5001"),
        ),
        (
            "*.example.com:*",
            "reg.example.com:5000/a",
            "its port is no number, and ports know no wildcard",
            Some("*.example.com:5000"),
        ),
        (
            "*.example.com",
            "a.b.example.com/x",
            "`*` never crosses a dot: its host has 3 parts, the image's registry has 4",
            Some("*.*.example.com"),
        ),
        (
            "*",
            "reg.example.com/x",
            "`*` never crosses a dot: its host has 1 part, the image's registry has 3",
            Some("reg.example.com"),
        ),
        (
            "reg?.example.com",
            "reg7.example.com/a",
            "`?` begins a URL query there and is no wildcard",
            Some("reg*.example.com"),
        ),
        (
            "reg.example.com/*",
            "reg.example.com/a",
            "`*` is a wildcard in the host only; a path covers all that begins with it",
            Some("reg.example.com"),
        ),
        (
            "reg.example.com/a:tag",
            "reg.example.com/a",
            "it ends in a tag, and keys end with the repository",
            Some("reg.example.com/a"),
        ),
        (
            " reg.example.com",
            "reg.example.com/a",
            "there is white space before it",
            Some("reg.example.com"),
        ),
        (
            "reg.example.com\n",
            "reg.example.com/a",
            "there is white space behind it",
            Some("reg.example.com"),
        ),
        (
            "reg.example.com/a/",
            "reg.example.com/a",
            "the slash at its end covers only what is below",
            Some("reg.example.com/a"),
        ),
        (
            "reg.example.com//a",
            "reg.example.com/a",
            "its path has a doubled slash",
            Some("reg.example.com/a"),
        ),
        (
            "reg.example.com/team-a",
            "reg.example.com/team-b/app",
            "it is for repositories below /team-a only, the image's is /team-b/app",
            None,
        ),
        (
            "https://REG.example.com:443/team-a",
            "reg.example.com/team-b/app",
            "its port is 443, the image's registry has none, and upper and lower case count in the host, and it is for repositories below /team-a only, the image's is /team-b/app",
            None,
        ),
        (
            "ghrc.io",
            "ghcr.io/x/y",
            "it is for ghrc.io, the image's registry is ghcr.io",
            Some("ghcr.io"),
        ),
        (
            "example.com",
            "reg.example.com/a",
            "it is for example.com, and a key does not cover hosts below its own",
            Some("reg.example.com"),
        ),
        (
            "harbor.corp.example",
            "registry.corp.example/a",
            "it is for harbor.corp.example, the image's registry is registry.corp.example",
            None,
        ),
        (
            "OCI://QUAY.io:443",
            "quay.io/x",
            "only http:// and https:// are dropped from the front, not OCI://, and its port is 443, the image's registry has none, and upper and lower case count in the host",
            Some("quay.io"),
        ),
        (
            "reg.example.com/\u{7}%zz",
            "reg.example.com/a",
            "the kubelet cannot read it as a URL and skips it",
            Some("reg.example.com"),
        ),
    ];

    #[test]
    fn the_table() {
        for (key, name, why, suggestion) in TABLE {
            let ring = keyring(&[key]);
            assert!(ring.lookup(name).is_empty(), "{key} {name}");
            let miss = ring.nearest(name).unwrap_or_else(|| panic!("{key} {name}: nothing near"));
            assert_eq!(
                (miss.why.as_str(), miss.suggestion.as_deref()),
                (*why, *suggestion),
                "{key} {name}"
            );
            assert_eq!(
                (miss.key.as_str(), &miss.source),
                (*key, &Source::Secret("regcred".to_owned()))
            );
        }
    }

    #[test]
    fn what_is_suggested_matches() {
        for (key, name, _, suggestion) in TABLE {
            if let Some(suggestion) = suggestion {
                assert_eq!(found(&keyring(&[suggestion]), name), [*suggestion], "{key} {name}");
            }
        }
    }

    #[test]
    fn the_closest_is_chosen() {
        let ring = keyring(&[
            "quay.io",
            "reg.example.com/other",
            "OCI://REG.example.com",
            "reg.example.com:443",
            "reg.example.org",
        ]);
        assert_eq!(
            ring.nearest("reg.example.com/a").map(|miss| miss.key).as_deref(),
            Some("reg.example.com:443")
        );
    }

    #[test]
    fn what_is_not_near_is_not_named() {
        let ring = keyring(&["quay.io", "ghcr.io", "", "localhost:5000", "*.azurecr.io"]);
        assert_eq!(ring.nearest("registry.corp.example/app"), None);
        assert_eq!(Keyring::default().nearest("quay.io/x"), None);
    }

    #[test]
    fn userinfo_is_never_told() {
        let ring = keyring(&["https://admin:hunter2@reg.example.com:443/team"]);
        let miss = ring.nearest("reg.example.com/team/app").unwrap();
        assert_eq!(miss.key, "https://***@reg.example.com:443/team");
        assert_eq!(miss.suggestion.as_deref(), Some("https://reg.example.com/team"));
        let told = format!("{miss:?}{ring:?}");
        assert!(!told.contains("hunter2") && !told.contains("admin"), "{told}");
    }
}

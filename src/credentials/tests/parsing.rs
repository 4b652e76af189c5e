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
    // But a document that is not JSON is refused before any entry is looked at.
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
        Ok(vec![("a".to_owned(), token.clone()), ("c".to_owned(), credential("u", "p"))])
    );
    // `az acr login` writes so: 00000000-0000-0000-0000-000000000000 without a password.
    let auth = "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==";
    let json = format!(r#"{{"auths":{{"a":{{"auth":"{auth}","identitytoken":"t"}}}}}}"#);
    assert_eq!(parse_user_config(json.as_bytes()), Ok(vec![("a".to_owned(), token)]));
    // The kubelet does not know the token.
    let kubelets = credential("00000000-0000-0000-0000-000000000000", "");
    assert_eq!(parse_docker_config(json.as_bytes()), Ok(vec![("a".to_owned(), kubelets)]));
    let both = br#"{"auths":{"a":{"auth":"dTpw","identitytoken":"t"}}}"#;
    let token = Credential {
        identity_token: Hidden::new("t"),
        ..Credential::default()
    };
    let both = parse_user_config(both).unwrap();
    assert_eq!(both, [("a".to_owned(), token), ("a".to_owned(), credential("u", "p"))]);
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
    // A missing key is ignored silently.
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

#[test]
fn a_password_need_not_be_text() {
    // `u:` and é in Latin-1: a node sends the byte as it is.
    let found = one(r#"{"auth":"dTrp"}"#).unwrap();
    assert_eq!((found.username.bytes(), found.password.bytes()), (&b"u"[..], &b"\xe9"[..]));
    let text = one(r#"{"username":"u","password":"é"}"#).unwrap();
    assert_ne!(found.fingerprint(), text.fingerprint());
}

#[test]
fn a_wrong_type_is_told_after_a_bad_entry() {
    const HEADERS: &str =
        "json: cannot unmarshal number into Go struct field DockerConfigJSON.HttpHeaders of type map[string]string";
    for (json, text) in [
        (
            r#"{"HttpHeaders":5,"auths":{"a":{"auth":"!!"}}}"#,
            "illegal base64 data at input byte 0",
        ),
        (r#"{"HttpHeaders":5,"auths":{"a":{"auth":"dTpw"}}}"#, HEADERS),
        (r#"{"HttpHeaders":5,"auths":7}"#, HEADERS),
        (
            r#"{"auths":7,"HttpHeaders":5}"#,
            "json: cannot unmarshal number into Go struct field DockerConfigJSON.auths of type credentialprovider.DockerConfig",
        ),
    ] {
        assert_eq!(config(json), Err(text.to_owned()), "{json}");
    }
}

//! The configuration as the kubelet reads it, matching, and what passes between it and a plugin.

use super::*;
use crate::credentials::{Credential, Hidden};
use std::time::Duration;

const ECR: &str = r#"
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
  - name: ecr-credential-provider
    matchImages:
      - "*.dkr.ecr.*.amazonaws.com"
      - "*.dkr.ecr.*.amazonaws.com.cn"
    defaultCacheDuration: 12h
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    args: [get-credentials, --v=3]
    env:
      - {name: AWS_PROFILE, value: hidden-profile}
  - name: second
    matchImages: ["reg.example:5000/team"]
    defaultCacheDuration: 0s
    apiVersion: credentialprovider.kubelet.k8s.io/v1beta1
"#;

#[test]
fn a_whole_configuration() {
    let providers = parse_provider_config(ECR).unwrap();
    let [ecr, second] = providers.as_slice() else { panic!("two") };
    assert_eq!(ecr.name, "ecr-credential-provider");
    assert_eq!(ecr.default_cache, Duration::from_hours(12));
    assert_eq!(ecr.api_version, ApiVersion::V1);
    assert_eq!(ecr.args, ["get-credentials", "--v=3"]);
    assert_eq!(ecr.env[0].0, "AWS_PROFILE");
    assert_eq!(ecr.env[0].1.expose(), "hidden-profile");
    assert_eq!(ecr.identity, Identity::Node);
    assert!(!format!("{ecr:?}").contains("hidden-profile"));
    assert_eq!(
        (second.api_version, second.default_cache),
        (ApiVersion::V1Beta1, Duration::ZERO)
    );
}

#[test]
fn older_versions_of_the_file_and_json() {
    for version in ["v1", "v1beta1", "v1alpha1"] {
        let text = ECR.replace("kubelet.config.k8s.io/v1", &format!("kubelet.config.k8s.io/{version}"));
        assert_eq!(parse_provider_config(&text).unwrap().len(), 2, "{version}");
    }
    let json = r#"{"apiVersion": "kubelet.config.k8s.io/v1alpha1", "kind": "CredentialProviderConfig", "providers": [
        {"name": "p", "matchImages": ["a.io"], "defaultCacheDuration": "5m", "args": null, "env": [{"name": "EMPTY"}],
         "apiVersion": "credentialprovider.kubelet.k8s.io/v1alpha1"}]}"#;
    let provider = parse_provider_config(json).unwrap().remove(0);
    assert_eq!(provider.api_version, ApiVersion::V1Alpha1);
    assert_eq!(provider.env, [("EMPTY".to_owned(), Hidden::default())]);
}

#[test]
fn plugins_that_want_service_account_tokens() {
    let attributes =
        "    tokenAttributes: {serviceAccountTokenAudience: sts, cacheType: ServiceAccount, requireServiceAccount: true}\n";
    let text = format!("{ECR}{attributes}");
    let error = parse_provider_config(&text).unwrap_err();
    assert_eq!(
        error,
        ["providers[1].tokenAttributes requires apiVersion credentialprovider.kubelet.k8s.io/v1"]
    );
    let text = text.replace("k8s.io/v1beta1", "k8s.io/v1");
    assert_eq!(parse_provider_config(&text).unwrap()[1].identity, Identity::ServiceAccount);
    for version in ["v1beta1", "v1alpha1"] {
        let old = text.replace("kubelet.config.k8s.io/v1", &format!("kubelet.config.k8s.io/{version}"));
        assert_eq!(
            parse_provider_config(&old).unwrap_err(),
            ["providers[1].tokenAttributes requires apiVersion kubelet.config.k8s.io/v1 of the file"]
        );
    }
    let keys = |required: &str, optional: &str| {
        format!(
            "requireServiceAccount: true, requiredServiceAccountAnnotationKeys: [{required}], optionalServiceAccountAnnotationKeys: [{optional}]"
        )
    };
    let good = text.replace("requireServiceAccount: true", &keys("Example.com/Role, a", "b_c.d"));
    assert!(parse_provider_config(&good).is_ok());
    for (from, to, expect) in [
        (
            "serviceAccountTokenAudience: sts",
            "serviceAccountTokenAudience: \"\"",
            "serviceAccountTokenAudience is missing",
        ),
        (
            "serviceAccountTokenAudience: sts, ",
            "",
            "serviceAccountTokenAudience is missing",
        ),
        ("cacheType: ServiceAccount, ", "", "cacheType is missing"),
        (
            "cacheType: ServiceAccount",
            "cacheType: Pod",
            "cacheType \"Pod\" is neither ServiceAccount nor Token",
        ),
        (", requireServiceAccount: true", "", "requireServiceAccount is missing"),
        (
            "requireServiceAccount: true",
            &keys("a", "b").replace("true", "false"),
            "requireServiceAccount is false although requiredServiceAccountAnnotationKeys is set",
        ),
        (
            "requireServiceAccount: true",
            &keys("a", "a"),
            "annotation key \"a\" appears twice",
        ),
        (
            "requireServiceAccount: true",
            &keys("a", "b/"),
            "\"b/\" is not the key of an annotation",
        ),
        (
            "requireServiceAccount: true",
            &keys("-a.io/b", "c"),
            "\"-a.io/b\" is not the key of an annotation",
        ),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text, "{from}");
        let error = parse_provider_config(&wrong).expect_err(to);
        assert_eq!(error, [format!("providers[1].tokenAttributes: {expect}")]);
    }
}

#[test]
fn what_the_kubelet_refuses_is_refused() {
    for (from, to, expect) in [
        ("CredentialProviderConfig", "Config", "kind is \"Config\""),
        (
            "kubelet.config.k8s.io/v1",
            "kubelet.config.k8s.io/v2",
            "apiVersion \"kubelet.config.k8s.io/v2\" is not one of",
        ),
        (
            "name: second",
            "name: ../second",
            "providers[1].name \"../second\" is not a valid program name",
        ),
        ("name: second", "name: .", "providers[1].name \".\" is not"),
        ("name: second", "name: ..", "providers[1].name \"..\" is not"),
        ("name: second", "name: \"\"", "providers[1].name \"\" is not"),
        ("name: second", "name: a b", "providers[1].name \"a b\" is not"),
        (
            "name: second",
            "name: ecr-credential-provider",
            "providers[1].name \"ecr-credential-provider\" appears twice",
        ),
        ("[\"reg.example:5000/team\"]", "[]", "providers[1].matchImages is empty"),
        (
            "reg.example:5000/team",
            "reg.example:port",
            "providers[1].matchImages: \"reg.example:port\" is not a host",
        ),
        (
            "0s",
            "forever",
            "providers[1].defaultCacheDuration \"forever\" is not a duration",
        ),
        ("0s", "-5m", "providers[1].defaultCacheDuration \"-5m\" is not a duration"),
        (
            "    defaultCacheDuration: 0s\n",
            "",
            "providers[1].defaultCacheDuration is missing",
        ),
        (
            "k8s.io/v1beta1",
            "k8s.io/v3",
            "providers[1].apiVersion \"credentialprovider.kubelet.k8s.io/v3\" is not one of",
        ),
        (
            "AWS_PROFILE",
            "\"A=B\"",
            "providers[0].env: \"A=B\" is not a valid variable name",
        ),
        ("matchImages: [", "matchImage: [", "unknown key \"matchImage\""),
        ("value: hidden-profile", "valu: hidden-profile", "unknown key \"valu\""),
        (
            "- {name: AWS_PROFILE, value: hidden-profile}",
            "AWS_PROFILE: hidden-profile",
            "line ",
        ),
    ] {
        let text = ECR.replacen(from, to, 1);
        assert_ne!(text, ECR, "{from}");
        let error = parse_provider_config(&text).expect_err(to).join("; ");
        assert!(error.contains(expect), "{to}: {error}");
        assert!(!error.contains("hidden-profile"), "{error}");
    }
    for text in [
        "",
        "[]",
        "providers: []",
        "{{",
        "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n",
    ] {
        assert!(parse_provider_config(text).is_err(), "{text:?}");
    }
}

#[test]
fn images_match_as_in_the_kubelet() {
    for (pattern, name, expect) in [
        ("*.dkr.ecr.*.amazonaws.com", "1234.dkr.ecr.eu-west-1.amazonaws.com/app", true),
        (
            "*.dkr.ecr.*.amazonaws.com",
            "1234.dkr.ecr.eu-west-1.amazonaws.com.cn/app",
            false,
        ),
        ("*.io", "reg.k8s.io/app", false),
        ("*.k8s.io", "reg.k8s.io/app", true),
        ("k8s.*", "k8s.io/app", true),
        ("app*.k8s.io", "app7.k8s.io/app", true),
        ("*", "localhost/app", true),
        ("*", "reg.example/app", false),
        ("*.*", "reg.example/app", true),
        ("gcr.io", "gcr.io/p/app", true),
        ("gcr.io", "eu.gcr.io/p/app", false),
        ("reg.example", "reg.example:5000/app", false),
        ("reg.example:443", "reg.example/app", false),
        ("reg.example:5000", "reg.example:5000/app", true),
        ("reg.example:5000/team", "reg.example:5000/team/app", true),
        ("reg.example:5000/team", "reg.example:5000/teams/app", true),
        ("reg.example:5000/team/", "reg.example:5000/teams/app", false),
        ("reg.example/*", "reg.example/app", false),
        ("docker.io", "docker.io/library/nginx", true),
        ("index.docker.io", "docker.io/library/nginx", false),
        ("reg[67].example", "reg7.example/app", true),
        ("reg[67].example", "reg8.example/app", false),
    ] {
        let mut provider = parse_provider_config(ECR).unwrap().remove(0);
        provider.match_images = vec!["other.example".to_owned(), pattern.to_owned()];
        assert_eq!(provider.serves(name), expect, "{pattern} {name}");
    }
}

#[test]
fn the_request_is_one_line_of_json() {
    let provider = parse_provider_config(ECR).unwrap().remove(1);
    assert_eq!(
        String::from_utf8(provider.request("reg.example:5000/team/app")).unwrap(),
        "{\"kind\":\"CredentialProviderRequest\",\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1beta1\",\
         \"image\":\"reg.example:5000/team/app\"}\n"
    );
}

fn answer(rest: &str) -> Result<Response, ResponseFault> {
    let text = format!(r#"{{"kind": "CredentialProviderResponse", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", {rest}}}"#);
    parse_response(text.as_bytes(), ApiVersion::V1)
}

#[test]
fn responses() {
    let full =
        answer(r#""cacheKeyType": "Registry", "cacheDuration": "6h0m0s", "auth": {"*.io": {"username": "u", "password": "p"}}"#);
    let full = full.unwrap();
    assert_eq!(
        (full.scope, full.lifetime),
        (CacheScope::Registry, Some(Duration::from_hours(6)))
    );
    assert_eq!(full.entries[0].0, "*.io");
    assert_eq!(full.entries[0].1.username.expose(), "u");
    assert_eq!(full.entries[0].1.password.expose(), "p");
    let none = answer(r#""cacheKeyType": "Image", "auth": null"#).unwrap();
    assert_eq!((none.scope, none.lifetime, none.entries.len()), (CacheScope::Image, None, 0));
    let kept = answer(r#""cacheKeyType": "Global", "cacheDuration": "0s""#).unwrap();
    assert_eq!((kept.scope, kept.lifetime), (CacheScope::Global, Some(Duration::ZERO)));
    assert_eq!(
        answer(r#""cacheKeyType": "Image", "cacheDuration": "-1h""#).unwrap().lifetime,
        Some(Duration::ZERO)
    );
    let empty = answer(r#""cacheKeyType": "Image", "auth": {"a": {}, "b": null}"#).unwrap();
    assert!(
        empty
            .entries
            .iter()
            .all(|(_, credential)| *credential == Credential::default())
    );
    assert_eq!(empty.entries.len(), 2, "an empty entry is one all the same");

    for (rest, expect) in [
        (r#""cacheKeyType": "image""#, ResponseFault::CacheKeyType),
        (r#""auth": {}"#, ResponseFault::CacheKeyType),
        (
            r#""cacheKeyType": "Image", "cacheDuration": "soon""#,
            ResponseFault::Unreadable,
        ),
        (r#""cacheKeyType": "Image", "cacheDuration": 60"#, ResponseFault::Unreadable),
        (r#""cacheKeyType": "Image", "auth": []"#, ResponseFault::Unreadable),
        (r#""cacheKeyType": "Image", "extra": 1"#, ResponseFault::Unreadable),
        (
            r#""cacheKeyType": "Image", "auth": {"a": {"username": "u", "token": "t"}}"#,
            ResponseFault::Unreadable,
        ),
    ] {
        assert_eq!(answer(rest), Err(expect), "{rest}");
    }
    for (text, expect) in [
        ("", ResponseFault::Unreadable),
        ("hunter2", ResponseFault::Unreadable),
        ("{}", ResponseFault::Version),
        (
            r#"{"apiVersion": "credentialprovider.kubelet.k8s.io/v1beta1"}"#,
            ResponseFault::Version,
        ),
        (
            r#"{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "Pod"}"#,
            ResponseFault::Kind,
        ),
    ] {
        assert_eq!(parse_response(text.as_bytes(), ApiVersion::V1), Err(expect), "{text}");
    }
}

#[test]
fn keys_of_the_cache() {
    let name = "reg.example:5000/team/app";
    assert_eq!(
        CacheKey::all(name),
        [
            CacheKey::Image(name.to_owned()),
            CacheKey::Registry("reg.example:5000".to_owned()),
            CacheKey::Global
        ]
    );
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in r#"[\[\]{}:, "a-z\n-]{0,60}|.{0,40}"#) {
        let _ = parse_provider_config(&text);
        let _ = parse_response(text.as_bytes(), ApiVersion::V1);
    }
}

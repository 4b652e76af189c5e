use super::*;
use crate::credentials::Hidden;
use http::{HeaderMap, StatusCode};

fn credential(user: &str, password: &str, identity: &str) -> Credential {
    Credential {
        username: Hidden::new(user),
        password: Hidden::new(password),
        identity_token: Hidden::new(identity),
    }
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        method: Method::GET,
        url: Url::parse("https://t.example/token").unwrap(),
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: body.as_bytes().to_vec(),
        truncated: false,
    }
}

#[test]
fn what_of_a_credential_is_sent() {
    assert!(Sending::of(None).is_nothing());
    assert!(Sending::of(Some(&credential("", "", ""))).is_nothing());
    assert!(Sending::of(Some(&credential("u", "", ""))).is_nothing());
    assert!(Sending::of(Some(&credential("u", "", "t"))).is_nothing());
    assert!(Sending::of(Some(&credential("", "p", ""))).is_nothing());
    let both = credential("u", "p", "t");
    assert!(matches!(Sending::of(Some(&both)), Sending::Password(_)));
    let token = credential("", "", "t");
    assert!(matches!(Sending::of(Some(&token)), Sending::Refresh(_)));
    assert_eq!(Sending::of(Some(&both)).basic_header().unwrap(), "Basic dTpw");
    assert!(Sending::of(Some(&both)).basic_header().unwrap().is_sensitive());
}

#[test]
fn tokens_and_what_is_none() {
    let lifetime = |body: &str| read(body.as_bytes(), Field::Either).map(|token| token.lifetime.as_secs());
    assert_eq!(lifetime(r#"{"token":"a"}"#), Some(54));
    assert_eq!(lifetime(r#"{"access_token":"a","expires_in":300}"#), Some(270));
    assert_eq!(lifetime(r#"{"token":"","access_token":"a","expires_in":3}"#), Some(0));
    assert_eq!(lifetime(r#"{"token":"a","expires_in":99999999}"#), Some(3240));
    assert_eq!(lifetime(r#"{"token":"a","expires_in":-1}"#), Some(54));
    for none in [
        "",
        "{}",
        "<html>",
        r#"{"token":""}"#,
        r#"{"token":"a\nb"}"#,
        r#"{"token":7}"#,
        "[]",
    ] {
        assert_eq!(lifetime(none), None, "{none}");
    }
    assert!(read(br#"{"token":"a"}"#, Field::AccessOnly).is_none());
    assert!(read(br#"{"access_token":"a"}"#, Field::AccessOnly).is_some());
}

#[test]
fn refusals_of_token_servers() {
    let c = credential("u", "p", "");
    let with = Sending::of(Some(&c));
    let without = Sending::Nothing;
    let refused = Evidence::CredentialRefused {
        at: AuthStage::TokenServer,
    };
    let required = Evidence::AuthenticationRequired {
        at: AuthStage::TokenServer,
    };
    let rejected = Evidence::Rejected(Rejection::TokenStatus);
    let broken = Evidence::ServerError { token_server: true };
    assert_eq!(refusal(&answer(401, ""), without, None), required);
    assert_eq!(refusal(&answer(403, ""), without, None), required);
    assert_eq!(refusal(&answer(403, ""), with, None), refused);
    assert_eq!(refusal(&answer(401, ""), with, Some(&answer(404, ""))), refused);
    assert_eq!(refusal(&answer(400, ""), with, Some(&answer(401, ""))), refused);
    assert_eq!(refusal(&answer(400, ""), with, Some(&answer(400, ""))), rejected);
    assert_eq!(refusal(&answer(400, r#"{"error":"invalid_grant"}"#), with, None), refused);
    assert_eq!(
        refusal(
            &answer(404, ""),
            with,
            Some(&answer(400, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#))
        ),
        refused
    );
    assert_eq!(refusal(&answer(400, r#"{"error":"invalid_grant"}"#), without, None), rejected);
    assert_eq!(refusal(&answer(418, ""), without, None), rejected);
    assert_eq!(refusal(&answer(429, ""), with, None), Evidence::RateLimited);
    assert_eq!(refusal(&answer(408, ""), with, None), broken);
    assert_eq!(refusal(&answer(503, ""), with, None), broken);
}

#[test]
fn an_echo_is_masked_however_the_server_reads_bytes() {
    let latin = Credential {
        password: Hidden::new(&b"gru\xdf\xe9"[..]),
        ..credential("u", "", "")
    };
    let secrets = Sending::Password(&latin).secrets();
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    for echoed in [&b"bad password gru\xdf\xe9!"[..], "bad password grußé!".as_bytes()] {
        assert_eq!(words::read(echoed, &secrets).detail.as_deref(), Some("bad password ***!"));
    }
}

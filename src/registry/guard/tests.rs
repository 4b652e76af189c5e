use super::*;

#[test]
fn redirects() {
    let from = Url::parse("https://a.example/v2/x").unwrap();
    for good in ["/y", "https://b.example/z", "//c.example/", "https://u:p@b.example/#f"] {
        let to = redirect(&from, good).unwrap();
        assert!(
            to.username().is_empty() && to.password().is_none() && to.fragment().is_none(),
            "{good}"
        );
    }
    for bad in [
        "http://a.example/y",
        "ftp://b.example/",
        "file:///etc/passwd",
        "https://",
        "data:text/plain,x",
    ] {
        assert!(redirect(&from, bad).is_err(), "{bad}");
    }
    let from = Url::parse("http://localhost:5000/v2/x").unwrap();
    assert!(redirect(&from, "/y").is_ok());
    assert!(redirect(&from, "https://b.example/").is_ok());
    assert!(redirect(&from, "http://localhost:5001/").is_err());
    assert!(redirect(&from, "http://169.254.169.254/").is_err());
}

#[test]
fn a_location_may_hold_any_bytes() {
    let value = HeaderValue::from_bytes("https://cdn.test/größe?a=%20".as_bytes()).unwrap();
    assert_eq!(location(&value), "https://cdn.test/gr%C3%B6%C3%9Fe?a=%20");
    let value = HeaderValue::from_bytes("https://bücher.test/".as_bytes()).unwrap();
    let from = Url::parse("https://a.example/v2/x").unwrap();
    assert_eq!(
        redirect(&from, &location(&value)).unwrap().as_str(),
        "https://xn--bcher-kva.test/"
    );
}

#[test]
fn realms() {
    let registry = Origin::of(&Url::parse("http://localhost:5000/v2/").unwrap());
    assert!(realm(&registry, "http://localhost:5000/token").is_ok());
    assert!(realm(&registry, "https://auth.example/token").is_ok());
    for bad in [
        "http://localhost:5001/token",
        "http://auth.example/token",
        "https://u:p@auth.example/token",
        " https://auth.example/token",
        "/token",
        "",
        "ftp://x/",
        "javascript:1",
    ] {
        assert_eq!(realm(&registry, bad), Err(Refusal::Realm), "{bad}");
    }
    let registry = Origin::of(&Url::parse("https://r.example/v2/").unwrap());
    assert_eq!(realm(&registry, "http://r.example/token"), Err(Refusal::Realm));
}

use super::*;

#[test]
fn hosts_as_contacted() {
    let check = |registry: &str, https: &str, schemes: Schemes| {
        let endpoint = Endpoint::new(registry).unwrap_or_else(|| panic!("{registry}"));
        assert_eq!(endpoint.base(Scheme::Https).as_str(), https, "{registry}");
        let url = endpoint.url(Scheme::Https, "team/app", "manifests/1");
        assert_eq!(url.as_str(), format!("{https}v2/team/app/manifests/1"));
        assert_eq!(endpoint.schemes, schemes, "{registry}");
    };
    check("docker.io", "https://registry-1.docker.io/", Schemes::Https);
    check("ghcr.io", "https://ghcr.io/", Schemes::Https);
    check("exa_mple.com", "https://exa_mple.com/", Schemes::Https);
    check("r.example:5000", "https://r.example:5000/", Schemes::Https);
    check("r.example:80", "https://r.example:80/", Schemes::Https);
    check("localhost", "https://localhost/", Schemes::Https);
    check("localhost:443", "https://localhost/", Schemes::Https);
    check("localhost:5000", "https://localhost:5000/", Schemes::HttpsThenHttp);
    check("127.9.9.9:5000", "https://127.9.9.9:5000/", Schemes::HttpsThenHttp);
    check("[::1]", "https://[::1]/", Schemes::Https);
    check("[::1]:5000", "https://[::1]:5000/", Schemes::HttpsThenHttp);
    check("[fd00::1]:5000", "https://[fd00::1]:5000/", Schemes::Https);
    check("localhost.example:5000", "https://localhost.example:5000/", Schemes::Https);
    check("10.0.0.1:5000", "https://10.0.0.1:5000/", Schemes::Https);
    let local = Endpoint::new("localhost:80").unwrap();
    assert_eq!(local.base(Scheme::Http).as_str(), "http://localhost/");
    let local = Endpoint::new("localhost:5000").unwrap();
    assert_eq!(local.base(Scheme::Http).as_str(), "http://localhost:5000/");
}

#[test]
fn hosts_of_which_no_url_can_be_made() {
    for registry in [
        "ghcr.io:99999",
        "",
        "a b",
        "[::1",
        "user@host",
        "host/path",
        "x:y",
        "h?q",
        "h#f",
        "999.999.999.999",
    ] {
        assert!(Endpoint::new(registry).is_none(), "{registry}");
    }
}

#[test]
fn hosts_that_are_named() {
    let check = |registry: &str, text: &str, scheme: Scheme, url: &str| {
        let written = Written::parse(text).unwrap().with_api_path();
        let endpoint = Endpoint::named(registry, &written, Tls::Unsaid).unwrap();
        assert_eq!(endpoint.url(scheme, "a", "manifests/1").as_str(), url, "{text}");
    };
    let (https, http) = (Scheme::Https, Scheme::Http);
    check(
        "docker.io",
        "registry-1.docker.io",
        https,
        "https://registry-1.docker.io/v2/a/manifests/1",
    );
    check(
        "docker.io",
        "https://m.example/",
        https,
        "https://m.example/v2/a/manifests/1?ns=docker.io",
    );
    check("r:5000", "https://m//v2/", https, "https://m/v2/a/manifests/1?ns=r%3A5000");
    check("r:5000", "http://r:5000", http, "http://r:5000/v2/a/manifests/1");
    check("r", "http://m:443/x/../p", http, "http://m:443/p/v2/a/manifests/1?ns=r");
    check("r", "http://m:80", http, "http://m/v2/a/manifests/1?ns=r");
    check("r", "https://r:443", https, "https://r/v2/a/manifests/1?ns=r");
    check("r", "https://u:p@r", https, "https://r/v2/a/manifests/1");

    let bare = Written::parse("https://m/p/q/").unwrap();
    let endpoint = Endpoint::named("m", &bare, Tls::Unsaid).unwrap();
    assert_eq!(
        endpoint.url(https, "a", "tags/list?n=9").as_str(),
        "https://m/p/q/a/tags/list?n=9"
    );
    let endpoint = Endpoint::named("r", &bare, Tls::Unsaid).unwrap();
    assert_eq!(
        endpoint.url(https, "a", "tags/list?n=9").as_str(),
        "https://m/p/q/a/tags/list?n=9&ns=r"
    );

    let schemes = |text: &str, tls| Endpoint::named("r", &Written::parse(text).unwrap(), tls).unwrap().schemes;
    assert_eq!(schemes("m:5000", Tls::Explicit), Schemes::Https);
    assert_eq!(schemes("https://localhost:5000", Tls::Unsaid), Schemes::Https);
    assert_eq!(schemes("http://m:5000", Tls::Unsaid), Schemes::Http);
    assert_eq!(schemes("http://m:5000", Tls::Explicit), Schemes::HttpsThenHttp);
    assert_eq!(schemes("http://m:80", Tls::Explicit), Schemes::Http);
    let at = Endpoint::named("r", &Written::parse("http://m").unwrap(), Tls::Unsaid).unwrap();
    for (url, expected) in [
        ("http://m/x", true),
        ("https://m/x", true),
        ("https://m:81/x", false),
        ("http://n/x", false),
    ] {
        assert_eq!(at.is_at(&Url::parse(url).unwrap()), expected, "{url}");
    }
}

#[test]
fn host_classes_are_a_closed_list() {
    for (url, label) in [
        ("https://registry-1.docker.io/", "docker.io"),
        ("https://auth.docker.io/token", "docker.io"),
        ("https://notdocker.io/", "other"),
        ("https://eu.gcr.io/", "gcr"),
        ("https://europe-docker.pkg.dev/", "gar"),
        ("https://1.dkr.ecr.eu-west-1.amazonaws.com/", "ecr"),
        ("https://dkr.ecr.evil.example/", "other"),
        ("https://public.ecr.aws/", "ecr"),
        ("https://x.azurecr.io/", "acr"),
        ("https://registry.k8s.io/", "k8s"),
        ("https://mcr.microsoft.com/", "mcr"),
        ("http://localhost:5000/", "loopback"),
        ("http://[::1]:5000/", "loopback"),
        ("https://10.0.0.1/", "other"),
    ] {
        assert_eq!(class(&Url::parse(url).unwrap()).name(), label, "{url}");
    }
}

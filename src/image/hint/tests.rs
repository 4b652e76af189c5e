use crate::image::{Reference, mask_userinfo};

fn check(input: &str, advice: &str, corrected: Option<&str>) {
    let error = Reference::parse(input).expect_err(input);
    let hint = error.hint.unwrap_or_else(|| panic!("no hint for {input:?}"));
    assert!(
        hint.advice.contains(advice),
        "{input:?}: {:?} does not say {advice:?}",
        hint.advice
    );
    assert_eq!(hint.corrected.as_deref(), corrected, "{input:?}: {}", hint.advice);
    assert!(!hint.advice.ends_with('.'), "{}", hint.advice);
    assert!(!hint.advice.contains(char::is_control), "{}", hint.advice);
    if let Some(corrected) = &hint.corrected {
        Reference::parse(corrected).expect("a corrected name parses");
    }
}

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn schemes() {
    check("https://docker.io/nginx", "remove `https://`", Some("docker.io/nginx"));
    check("http://ghcr.io/org/app:1", "remove `http://`", Some("ghcr.io/org/app:1"));
    check("docker://nginx:1.25", "no scheme", Some("nginx:1.25"));
    check("oci://ghcr.io/org/chart", "remove `oci://`", Some("ghcr.io/org/chart"));
    check("https://Docker.io/Nginx/", "lower case", Some("Docker.io/nginx"));
    check("//nginx", "`/`", Some("nginx"));
    check("/nginx", "`/`", Some("nginx"));
    check("nginx/", "`/`", Some("nginx"));
    check("ghcr.io//org/app", "`/`", Some("ghcr.io/org/app"));
    check("ghcr.io\\org\\app", "instead of `\\`", Some("ghcr.io/org/app"));
}

#[test]
fn case() {
    check("Nginx", "lower case", Some("nginx"));
    check("ghcr.io/Org/Repo:V1", "lower case", Some("ghcr.io/org/repo:V1"));
    check("MyHost:5000/Org/App:Tag", "lower case", Some("MyHost:5000/org/app:Tag"));
    check("Foo_bar/x", "lower case", Some("foo_bar/x"));
    check("foo/BAR@sha256:123", "lower case", None);
    check("ÄPFEL", "remove `Ä`", None);
}

#[test]
fn white_space_and_quotes() {
    check(" nginx", "white space around", Some("nginx"));
    check("nginx:1.25\n", "white space around", Some("nginx:1.25"));
    check("nginx: 1.25", "white space from", Some("nginx:1.25"));
    check("ghcr.io /org / app", "white space from", Some("ghcr.io/org/app"));
    check("nginx latest", "white space from", None);
    check("image: nginx:1", "remove `image:`", Some("nginx:1"));
    check("docker pull nginx:1", "remove `docker pull`", Some("nginx:1"));
    check("nginx\u{200b}:1.25", "U+200B", Some("nginx:1.25"));
    check("\u{feff}nginx", "U+FEFF", Some("nginx"));
    check("nginx\u{a0}", "white space", Some("nginx"));
    check("\"nginx:1.25\"", "quotation marks", Some("nginx:1.25"));
    check("'nginx'", "quotation marks", Some("nginx"));
    check("“nginx:1.25”", "quotation marks", Some("nginx:1.25"));
    check(" “nginx:1.25” ", "white space and the quotation marks", Some("nginx:1.25"));
    check("nginx\u{1b}[31m", "U+001B", None);
    check("", "empty", None);
    check(" ", "empty", None);
}

#[test]
fn placeholders() {
    check("${IMG}", "replace `${IMG}`", None);
    check("ghcr.io/org/app:${TAG}", "replace `${TAG}`", None);
    check("$IMAGE", "replace `$IMAGE`", None);
    check("$(IMG)", "Kubernetes does not expand variables", None);
    check("{{ .Values.image }}", "render the template", None);
    check("ghcr.io/org/app:{{ .Chart.AppVersion }}", "`{{ .Chart.AppVersion }}`", None);
    check("{{ .Values.registry }}/App:1", "render the template", None);
    check("%IMAGE%", "placeholder `%IMAGE%`", None);
    check("<image>", "placeholder `<image>`", None);
    check("<your registry>/app:1", "placeholder `<your registry>`", None);
    check("gcr.io/@PROJECT@/app", "placeholder `@PROJECT@`", None);
    check("@REGISTRY@/app:1", "placeholder `@REGISTRY@`", None);
    check("gcr.io/app:@TAG@", "placeholder `@TAG@`", None);
    check("@IMAGE@:1", "placeholder `@IMAGE@`", None);
    check("{IMAGE}", "placeholder `{IMAGE}`", None);
    check("docker.io/[YOUR ALIAS]/app:dev", "placeholder `[YOUR ALIAS]`", None);
    check("docker.io/YOUR ID/app:dev", "placeholder `YOUR ID`", None);
    check("YOUR_REGISTRY/app:dev", "placeholder `YOUR_REGISTRY`", None);
    check("IMAGE_URL", "placeholder `IMAGE_URL`", None);
    check("ghcr.io/SHOP/app", "lower case", Some("ghcr.io/shop/app"));
}

#[test]
fn nothing_is_advised_twice() {
    let hint = Reference::parse("reg.example/a b: 1").unwrap_err().hint.unwrap();
    assert_eq!(hint.advice.matches("white space").count(), 1, "{}", hint.advice);
}

#[test]
fn credentials_are_never_repeated() {
    for (input, corrected) in [
        ("user:hunter2@ghcr.io/org/app:1", Some("ghcr.io/org/app:1")),
        ("https://user:hunter2@ghcr.io/org/app:1", Some("ghcr.io/org/app:1")),
        ("https://user:hunter2@GHCR.io/Org/app:1", Some("GHCR.io/org/app:1")),
        ("hunter2@ghcr.io/org/app", Some("ghcr.io/org/app")),
        ("https://hunter2@ghcr.io/org/app", Some("ghcr.io/org/app")),
        ("https://HUNTER2hunter2:x@ghcr.io/org/app", Some("ghcr.io/org/app")),
        ("user:hunter2@ghcr.io/org app", None),
        ("user:${PASS}hunter2@ghcr.io/org/app", Some("ghcr.io/org/app")),
        ("user:<hunter2>@ghcr.io/<org>", None),
        ("user:@hunter2@ghcr.io/org/app", Some("ghcr.io/org/app")),
        ("@hunter2@ghcr.io/org/app", Some("ghcr.io/org/app")),
        ("user:a@hunter2@/b@ghcr.io/org/app", Some("ghcr.io/org/app")),
        ("user:hunter2@ghcr.io/org/app@1.25", Some("ghcr.io/org/app:1.25")),
    ] {
        let error = Reference::parse(input).expect_err(input);
        assert!(!format!("{error:?}").to_lowercase().contains("hunter2"), "{error:?}");
        let hint = error.hint.expect(input);
        assert_eq!(hint.corrected.as_deref(), corrected, "{input}: {}", hint.advice);
        assert!(!mask_userinfo(input).to_lowercase().contains("hunter2"));
    }
    check("user:hunter2@ghcr.io/org/app", "image pull secret", Some("ghcr.io/org/app"));
}

#[test]
fn tags() {
    check("nginx:", "add a tag after `:`", None);
    check("nginx::latest", "write one `:`", Some("nginx:latest"));
    check("nginx:latest:latest", "write the tag once", Some("nginx:latest"));
    check("nginx:1.25:latest", "this name has two, `1.25` and `latest`", None);
    check("foo:v1+build", "instead of `+`", None);
    check("foo:.x", "start the tag `.x`", None);
    check("foo:-x", "start the tag `-x`", None);
    check("foo:é", "it contains `é`", None);
    check(
        &format!("foo:{}", "a".repeat(129)),
        "shorten the tag to 128 characters; it has 129",
        None,
    );
    check(":latest", "add a repository", None);
    check("nginx@1.25", "write `:` before a tag", Some("nginx:1.25"));
    check("nginx@latest", "write `:` before a tag", Some("nginx:latest"));
}

#[test]
fn digests() {
    let digest = format!("sha256:{HEX}");
    check(
        &format!("nginx@{digest}:1.25"),
        "tag before the digest",
        Some(&format!("nginx:1.25@{digest}")),
    );
    check(
        &format!("nginx:1@{digest}:1.25"),
        "remove `:1.25` after",
        Some(&format!("nginx:1@{digest}")),
    );
    check(
        &format!("nginx@SHA256:{HEX}"),
        "digest in lower case",
        Some(&format!("nginx@{digest}")),
    );
    check(
        &format!("nginx@sha256:{}", HEX.to_uppercase()),
        "digest in lower case",
        Some(&format!("nginx@{digest}")),
    );
    check(&format!("nginx@{HEX}"), "`sha256:`", Some(&format!("nginx@{digest}")));
    check(
        &format!("nginx:{digest}"),
        "write `@` before a digest",
        Some(&format!("nginx@{digest}")),
    );
    check(
        &format!("nginx:@{digest}"),
        "remove the `:`",
        Some(&format!("nginx@{digest}")),
    );
    check(
        &format!("nginx@sha256:{}", &HEX[1..]),
        "sha256 has 64 hexadecimal digits, this one has 63",
        None,
    );
    check(
        &format!("nginx@sha512:{HEX}"),
        "sha512 has 128 hexadecimal digits, this one has 64",
        None,
    );
    check("nginx@sha256:xyz", "it contains `x`", None);
    check("nginx@sha256", "write a digest after `@`", None);
    check("nginx@", "add a digest after `@`", None);
    check("nginx:1.25@", "remove the `@`", Some("nginx:1.25"));
    check("nginx@md5:d41d8cd98f00b204e9800998ecf8427e", "use a sha256", None);
    check(HEX, "image ID", None);
    check(&format!("@{digest}"), "add a repository", None);
}

#[test]
fn hosts_and_paths() {
    check("example.com:port/foo", "write the port", None);
    check("example.com:/foo", "add a port", None);
    check("::1/foo", "in brackets", Some("[::1]/foo"));
    check("[fe80::1%25eth0]/x", "without a zone", None);
    check("foo_bar:5000/x", "`foo_bar:5000` is not one", None);
    check("foo..bar", "rename `foo..bar`", None);
    check("ghcr.io/-org/app", "rename `-org`", None);
    check("ghcr.io/org/app_:1", "rename `app_`", None);
    check("[::1]:5000", "add a repository", None);
    check("foo,bar", "remove `,`", None);
    check(
        &format!("docker.io/{}", "a".repeat(255)),
        "shorten the repository's path to 255",
        None,
    );
    check(&"a".repeat(5000), "this one has 5000 bytes", None);
}

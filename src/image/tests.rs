use super::*;
use proptest::prelude::*;

/// `{c*n}` → the character c, n times.
fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = from.find('}').unwrap_or(from.len() - 1);
        let inner = &from[1..end];
        let repeated = inner.split_once('*').and_then(|(c, n)| Some(c.repeat(n.parse().ok()?)));
        if let Some(repeated) = repeated {
            out.push_str(&repeated);
            rest = &from[end + 1..];
        } else {
            out.push('{');
            rest = &from[1..];
        }
    }
    out + rest
}

/// One line of a corpus: the input and what the Go parser says of it.
fn describe(input: &str) -> String {
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    match Reference::parse(input) {
        Ok(reference) => format!(
            "ok\t{}\t{}\t{}\t{}",
            reference.domain(),
            reference.path(),
            dash(reference.tag().map(str::to_owned)),
            dash(reference.digest().map(ToString::to_string))
        ),
        Err(error) => format!("error\t{error}"),
    }
}

fn check_corpus(corpus: &str) -> usize {
    let lines: Vec<&str> = corpus.lines().filter(|line| !line.starts_with('#')).collect();
    for line in &lines {
        let (input, expected) = line.split_once('\t').expect("input and verdict");
        let (input, expected) = (expand(input), expand(expected));
        let (mut actual, mut expected) = (describe(&input), expected.as_str());
        if (mask_userinfo(&input) != input || input.len() > 250) && expected.ends_with("must be lowercase") {
            // Our text quotes the masked name, and no more than 300 characters of it.
            let quote = |text: &str| text.find('(').unwrap_or(text.len());
            actual.truncate(quote(&actual));
            expected = &expected[..quote(expected)];
        }
        assert_eq!(actual, expected, "{input}");
    }
    lines.len()
}

#[test]
fn every_row_of_the_tables() {
    assert!(check_corpus(include_str!("../../tests/data/references.tsv")) > 120);
}

#[test]
fn agrees_with_go() {
    assert!(check_corpus(include_str!("../../tests/data/references-go.tsv")) > 1500);
}

#[test]
fn names_hosts_and_targets() {
    let parse = |text: &str| Reference::parse(text).expect(text);
    for (text, name, registry, repository, shown) in [
        (
            "nginx",
            "docker.io/library/nginx",
            "docker.io",
            "library/nginx",
            "docker.io/library/nginx:latest",
        ),
        (
            "localhost:5000/a/b:1",
            "localhost:5000/a/b",
            "localhost:5000",
            "a/b",
            "localhost:5000/a/b:1",
        ),
        (
            "exa_mple.com/foo",
            "exa_mple.com/foo",
            "exa_mple.com",
            "foo",
            "exa_mple.com/foo:latest",
        ),
        (
            "exa_mple.com/foo/bar:1",
            "exa_mple.com/foo/bar",
            "exa_mple.com",
            "foo/bar",
            "exa_mple.com/foo/bar:1",
        ),
    ] {
        let reference = parse(text);
        assert_eq!(reference.name(), name);
        assert_eq!(reference.registry(), registry);
        assert_eq!(reference.repository(), repository);
        assert_eq!(reference.to_string(), shown);
    }
    let digest = Digest::sha256(b"");
    assert_eq!(parse("nginx").target(), Target::Tag("latest".to_owned()));
    assert_eq!(parse("nginx:1").target(), Target::Tag("1".to_owned()));
    assert_eq!(parse(&format!("nginx@{digest}")).target(), Target::Digest(digest.clone()));
    assert_eq!(parse(&format!("nginx:1@{digest}")).target(), Target::Digest(digest.clone()));
    assert_eq!(
        parse(&format!("nginx:1@{digest}")).to_string(),
        format!("docker.io/library/nginx:1@{digest}")
    );
}

#[test]
fn ports() {
    for (text, port) in [
        ("nginx:5000", None),
        ("ghcr.io/x", None),
        ("[::1]/x", None),
        ("ghcr.io:443/x", Some(Port::Number(443))),
        ("[::1]:5000/x", Some(Port::Number(5000))),
        ("ghcr.io:65535/x", Some(Port::Number(65535))),
        ("ghcr.io:65536/x", Some(Port::OutOfRange)),
        ("ghcr.io:99999999999999999999999/x", Some(Port::OutOfRange)),
    ] {
        assert_eq!(Reference::parse(text).expect(text).port(), port, "{text}");
    }
}

#[test]
fn error_texts_are_one_safe_line_without_credentials() {
    let text = |input: &str| Reference::parse(input).expect_err(input).to_string();
    assert_eq!(
        text("A\nB"),
        "invalid reference format: repository name (library/A\\u{a}B) must be lowercase"
    );
    let token = text("https://ghp_SECRET:x-oauth-basic@ghcr.io/x");
    assert_eq!(
        token,
        "invalid reference format: repository name (/***@ghcr.io/x) must be lowercase"
    );
    assert!(!text("https://SECRET@ghcr.io/x").contains("SECRET"));
    assert!(text(&"A".repeat(100_000)).len() < 400);
}

/// Texts made of the pieces that references are made of, and of those that people add to them.
fn reference_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z0-9]{1,8}",
        "[A-Za-z0-9_.-]{1,6}",
        Just("docker.io".to_owned()),
        Just("localhost".to_owned()),
        Just("[::1]".to_owned()),
        Just("sha256".to_owned()),
        Just("a".repeat(64)),
        Just("https://".to_owned()),
        Just("${TAG}".to_owned()),
        Just("{{".to_owned()),
        Just("\u{200b}“é\u{1b}\n".to_owned()),
        "[/:@._-]{1,2}",
        Just("/".to_owned()),
        Just(":".to_owned()),
        Just("@".to_owned()),
    ];
    proptest::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn parsing_never_panics_and_display_is_stable(input in prop_oneof![reference_like(), any::<String>()]) {
        match Reference::parse(&input) {
            Ok(reference) => {
                let shown = reference.to_string();
                let again = Reference::parse(&shown).expect("the canonical form parses");
                prop_assert_eq!(again.to_string(), &shown[..]);
                prop_assert_eq!(again.name(), reference.name());
                prop_assert_eq!(again.target(), reference.target());
                prop_assert_eq!(reference.name(), format!("{}/{}", reference.registry(), reference.repository()));
                let _ = reference.port();
            }
            Err(error) => {
                prop_assert!(!error.text.contains(char::is_control));
                if let Some(hint) = error.hint {
                    prop_assert!(!hint.advice.contains(char::is_control), "{}", hint.advice);
                    prop_assert!(hint.corrected.is_none_or(|corrected| Reference::parse(&corrected).is_ok()));
                }
            }
        }
    }

    #[test]
    fn escaping_and_masking_never_panic_and_are_stable(input in any::<String>()) {
        let escaped = escape(&input);
        prop_assert!(escaped.chars().count() <= 300);
        prop_assert!(!escaped.contains(char::is_control));
        prop_assert_eq!(escape(&escaped), &escaped[..]);
        let _ = mask_userinfo(&input);
        let _ = Digest::parse(&input);
    }

    #[test]
    fn passwords_never_come_back(
        user in "[a-zA-Z0-9_-]{1,8}", password in "[!-~]{0,12}", name in "[a-z]{1,6}(/[A-Za-z]{1,6}){1,2}(:[a-z0-9]{1,3})?"
    ) {
        let image = format!("{user}:S3CRET{password}@{name}");
        prop_assert!(!mask_userinfo(&image).contains("S3CRET"), "{}", mask_userinfo(&image));
        if let Err(error) = Reference::parse(&image) {
            prop_assert!(!format!("{error:?}").to_uppercase().contains("S3CRET"), "{image} {error:?}");
        }
    }

    #[test]
    fn platforms_never_panic(text in any::<String>(), parts in "[a-z0-9]{0,6}(/[a-zA-Z0-9.]{0,6}){0,3}") {
        for text in [text, parts] {
            if let Ok(platform) = Platform::parse(&text) {
                prop_assert_eq!(&platform.normalized(), &platform);
                prop_assert_eq!(Platform::parse(&platform.to_string()), Ok(platform));
            }
        }
    }
}

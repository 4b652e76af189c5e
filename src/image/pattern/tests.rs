use super::*;
use crate::image::{Rewrite, rewrite};
use proptest::prelude::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
}

#[test]
fn what_matches_and_what_the_last_wildcard_stands_for() {
    for (text, name, expected) in [
        ("docker.io/library/nginx", "docker.io/library/nginx", Some("")),
        ("docker.io/library/nginx", "docker.io/library/nginx2", None),
        ("docker.io/library/nginx", "docker.io/library/nginx/x", None),
        ("docker.io/library/*", "docker.io/library/nginx", Some("nginx")),
        ("docker.io/library/*", "docker.io/team/nginx", None),
        ("docker.io/*/*", "docker.io/team/app", Some("app")),
        ("docker.io/*/*", "docker.io/team/a/b", None),
        ("docker.io/**", "docker.io/library/nginx", Some("library/nginx")),
        ("docker.io/**", "docker.io/a/b/c/d", Some("a/b/c/d")),
        ("docker.io/**", "quay.io/a/b", None),
        ("docker.io/**", "docker.iox/a", None),
        ("reg.corp/team/**", "reg.corp/team", None),
        ("reg.corp/team/**", "reg.corp/team/a", Some("a")),
        ("reg.corp/team/**", "reg.corp/teams/a", None),
        ("**", "reg.corp/a", Some("reg.corp/a")),
        ("**/nginx", "docker.io/library/nginx", Some("docker.io/library")),
        ("reg.corp/**/app", "reg.corp/app", Some("")),
        ("reg.corp/**/app", "reg.corp/a/b/app", Some("a/b")),
        ("reg.corp/**/app", "reg.corp/a/app/b", None),
        ("reg.corp/**/x/**/app", "reg.corp/a/x/b/x/c/app", Some("b/x/c")),
        ("reg.corp/**/x/*", "reg.corp/a/x/b", Some("b")),
        ("*.corp/a", "reg.corp/a", Some("reg")),
        ("*.corp/a", "reg.corp.evil/a", None),
        ("*.corp/**", "a.b.corp/x/y", Some("x/y")),
        ("localhost:*/x", "localhost:5000/x", Some("5000")),
        ("reg.corp/app-*-v*", "reg.corp/app-one-two-v3", Some("3")),
        ("reg.corp/app-*-v*", "reg.corp/app-v3", None),
        ("reg.corp/a*a", "reg.corp/a", None),
        ("reg.corp/a*", "reg.corp/a", Some("")),
    ] {
        assert_eq!(pattern(text).capture(name).as_deref(), expected, "{text} against {name}");
        assert_eq!(pattern(text).matches(name), expected.is_some());
    }
}

#[test]
fn patterns_that_mean_nothing_are_refused_with_what_was_meant() {
    for (text, why) in [
        ("", "must not be empty"),
        ("a b/c", "\"a b/c\" contains white space"),
        (
            "https://reg.corp/**",
            "\"https://reg.corp/**\" has a scheme; start with the registry's host",
        ),
        (
            "reg.corp/app:1",
            "\"reg.corp/app:1\" has a tag or a digest; a pattern matches names only",
        ),
        (
            "reg.corp/app@sha256:*",
            "\"reg.corp/app@sha256:*\" has a tag or a digest; a pattern matches names only",
        ),
        (
            "reg.corp//a",
            "a pattern cannot have empty components: no leading, trailing or double /",
        ),
        (
            "reg.corp/",
            "a pattern cannot have empty components: no leading, trailing or double /",
        ),
        ("reg.corp/a**", "\"a**\": ** matches whole components; use * within one"),
        ("reg.corp/**/**", "\"reg.corp/**/**\" has ** twice in a row; one is enough"),
        (
            "*",
            "\"*\" matches no image: every name starts with a registry; for all of them, write **",
        ),
        (
            "reg.corp",
            "\"reg.corp\" names no repository; for everything in that registry, write reg.corp/**",
        ),
        (
            "nginx",
            "names are matched as a whole: write \"nginx\" as docker.io/library/nginx",
        ),
        (
            "team/app",
            "names are matched as a whole: write \"team/app\" as docker.io/team/app",
        ),
        (
            "index.docker.io/team/app",
            "names are matched as a whole: write \"index.docker.io/team/app\" as docker.io/team/app",
        ),
        (
            "docker.io/*",
            "\"docker.io/*\" matches no image: official images are docker.io/library/NAME; did you mean docker.io/library/*?",
        ),
        (
            "index.docker.io/**",
            "\"index.docker.io/**\" matches no image: index.docker.io is normalised to docker.io; write docker.io/**",
        ),
        (
            "team/*",
            "\"team/*\" matches no image: every name starts with a registry, which has a dot or a port or is localhost; did you mean docker.io/team/*?",
        ),
        (
            "reg.corp/Team/*",
            "\"reg.corp/Team/*\" matches no image name: write a registry, then lower-case components, such as docker.io/library/*",
        ),
    ] {
        assert_eq!(Pattern::parse(text).expect_err(text), why);
    }
    assert!(Pattern::parse(&"a".repeat(2000)).is_err());
}

#[test]
fn what_covers_what() {
    for (wide, narrow, expected) in [
        ("docker.io/**", "docker.io/library/*", true),
        ("docker.io/library/*", "docker.io/**", false),
        ("docker.io/library/*", "docker.io/library/ng*x", true),
        ("docker.io/library/ng*", "docker.io/library/*", false),
        ("docker.io/library/n*x", "docker.io/library/ng*x", true),
        ("**", "reg.corp/a", true),
        ("**", "*.corp/**", true),
        ("*.corp/**", "**", false),
        ("*.corp/**", "reg.corp/a/b", true),
        ("reg.corp/**", "reg.corp/a/**/b", true),
        ("reg.corp/**/b", "reg.corp/b", true),
        ("reg.corp/**/b", "reg.corp/a/**/b", true),
        ("reg.corp/**/b", "reg.corp/a/**", false),
        ("reg.corp/a/**", "reg.corp/a", false),
        ("reg.corp/*", "reg.corp/a/b", false),
    ] {
        assert_eq!(pattern(wide).covers(&pattern(narrow)), expected, "{wide} covers {narrow}");
    }
    // Not looked through, and no long computation either.
    let long = format!("reg.corp/{}x", "**/a/".repeat(40));
    assert!(!pattern(&long).covers(&pattern(&long)));
}

fn rule(from: &str, to: &str) -> Rewrite {
    Rewrite::new(pattern(from), to).unwrap_or_else(|why| panic!("{from} to {to}: {why}"))
}

#[test]
fn the_first_rule_that_matches_rewrites_and_keeps_tag_and_digest() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let rules = [
        rule("harbor.corp/**", "harbor.corp/**"),
        rule("docker.io/library/busybox", "tools.corp/busybox"),
        rule("docker.io/**", "harbor.corp/dockerhub/**"),
        rule("quay.io/*/*", "harbor.corp/quay/all-*"),
        rule("*.gcr.io/**/img", "gcr.corp/**/image"),
        rule("**", "all.corp/**"),
    ];
    for (image, expected) in [
        ("nginx:1.25", Some("harbor.corp/dockerhub/library/nginx:1.25".to_owned())),
        ("nginx", Some("harbor.corp/dockerhub/library/nginx:latest".to_owned())),
        ("team/app@DIGEST", Some(format!("harbor.corp/dockerhub/team/app@{digest}"))),
        (
            "team/app:1@DIGEST",
            Some(format!("harbor.corp/dockerhub/team/app:1@{digest}")),
        ),
        ("busybox:1", Some("tools.corp/busybox:1".to_owned())),
        ("quay.io/team/app:1", Some("harbor.corp/quay/all-app:1".to_owned())),
        ("eu.gcr.io/img:1", Some("gcr.corp/image:1".to_owned())),
        ("eu.gcr.io/p/q/img:1", Some("gcr.corp/p/q/image:1".to_owned())),
        // What has its new name already.
        ("harbor.corp/x:1", None),
        ("ghcr.io/a/b:1", Some("all.corp/ghcr.io/a/b:1".to_owned())),
        // A port cannot stand in a path: nothing comes out, the name stays.
        ("localhost:5000/a:1", None),
    ] {
        let reference = Reference::parse(&image.replace("DIGEST", &digest)).expect(image);
        assert_eq!(rewrite(&rules, &reference).map(|new| new.to_string()), expected, "{image}");
    }
    assert_eq!(rewrite(&[], &Reference::parse("nginx").expect("a name")), None);
}

#[test]
fn rules_that_lose_or_invent_something_are_refused() {
    for (from, to, why) in [
        (
            "docker.io/**",
            "harbor.corp/x",
            "\"harbor.corp/x\" lacks the ** of docker.io/**: write it there too",
        ),
        (
            "docker.io/**",
            "harbor.corp/*",
            "\"harbor.corp/*\" lacks the ** of docker.io/**: write it there too",
        ),
        (
            "docker.io/library/*",
            "harbor.corp/**",
            "\"harbor.corp/**\" lacks the * of docker.io/library/*: write it there too",
        ),
        (
            "docker.io/library/a",
            "harbor.corp/*",
            "\"harbor.corp/*\" has a wildcard, and docker.io/library/a has none",
        ),
        (
            "docker.io/*/*",
            "harbor.corp/*/*",
            "\"harbor.corp/*/*\" has more than one wildcard; only the last one of docker.io/*/* is carried over",
        ),
        (
            "docker.io/**",
            "harbor.corp/**/*",
            "\"harbor.corp/**/*\" has more than one wildcard; only the last one of docker.io/** is carried over",
        ),
        (
            "docker.io/library/a",
            "a",
            "names are matched as a whole: write \"a\" as docker.io/library/a",
        ),
        ("docker.io/library/a", "", "must not be empty"),
    ] {
        assert_eq!(Rewrite::new(pattern(from), to).expect_err(to), why);
    }
}

proptest! {
    #[test]
    fn any_text_is_a_pattern_or_refused(text in "[a-z*./:@A-Z ]{0,24}|\\PC{0,12}", name in "[a-z.:/-]{0,40}", to in "[a-z*./]{0,20}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(pattern.to_string(), text);
            let _ = pattern.capture(&name);
            if let Ok(rule) = Rewrite::new(pattern, &to) && let Some(reference) = Reference::parse_plain(&name) {
                let _ = rewrite(&[rule], &reference);
            }
        }
    }

    /// The matcher against the definition: every `*` a run without slashes, every `**` a run of components.
    #[test]
    fn matching_agrees_with_a_naive_matcher(text in "r\\.c(/(\\*\\*|[ab*]{1,3})){1,4}", name in "r\\.c(/[ab]{1,3}){1,5}") {
        prop_assume!(Pattern::parse(&text).is_ok());
        let components: Vec<&str> = text.split('/').collect();
        let parts: Vec<&str> = name.split('/').collect();
        prop_assert_eq!(pattern(&text).matches(&name), naive(&components, &parts), "{} {}", text, name);
    }
}

fn naive(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (["**"], rest) => !rest.is_empty(),
        (["**", tail @ ..], rest) => (0..=rest.len()).any(|at| naive(tail, &rest[at..])),
        ([one, tail @ ..], [first, rest @ ..]) => naive_text(one.as_bytes(), first.as_bytes()) && naive(tail, rest),
        ([], _) | (_, []) => false,
    }
}

fn naive_text(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', tail @ ..], rest) => (0..=rest.len()).any(|at| naive_text(tail, &rest[at..])),
        ([one, tail @ ..], [first, rest @ ..]) => one == first && naive_text(tail, rest),
        ([], _) | (_, []) => false,
    }
}

use super::*;
use crate::image::Digest;

const SHA: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn named(image: &str) -> String {
    image.replace("SHA", SHA)
}

fn refused(spec: &Value, image: &str) -> Vec<&'static str> {
    causes(&matching(&[policy("p", spec)]), &named(image))
}

#[test]
fn patterns_are_held_against_the_normalised_name() {
    for (pattern, image, allowed) in [
        ("nginx", "nginx", true),
        ("nginx", "docker.io/library/nginx:1.25", true),
        ("nginx", "index.docker.io/nginx@SHA", true),
        ("nginx", "docker.io/team/nginx", false),
        ("nginx", "reg.corp/library/nginx", false),
        ("team/app", "docker.io/team/app", true),
        ("docker.io/nginx", "nginx", true),
        ("docker.io/library/*", "nginx", true),
        ("docker.io/library/*", "team/nginx", false),
        ("docker.io/**", "team/nginx", true),
        ("**", "reg.corp:5000/a", true),
        ("reg.corp/**", "reg.corp:5000/a", false),
        ("reg.corp:5000/**", "reg.corp:5000/a/b:1@SHA", true),
        ("reg.corp:*/**", "reg.corp:5000/a", true),
        ("reg.corp*/**", "reg.corp.evil.example/a", true),
        ("*.corp/**", "reg.corp/a", true),
        ("*.corp/**", "corp/a", false),
        ("*.corp/**", "reg.corp:5000/a", false),
        ("localhost/**", "localhost/a", true),
        ("localhost/**", "localhost:5000/a", false),
        ("[::1]:5000/**", "[::1]:5000/a", true),
        ("reg.corp/*", "reg.corp/a/b", false),
        ("reg.corp/**/app", "reg.corp/app", true),
        ("exa_mple.com/**", "exa_mple.com/a", true),
        // A host's case does not matter, so it is no way around a list.
        ("reg.corp/**", "Reg.Corp/a", true),
        ("REG.corp:5000/**", "reg.corp:5000/a", true),
        ("reg.corp:5000/*", "REG.CORP:5000/a:1", true),
        ("*.Corp/**", "reg.CORP/a", true),
        ("localhost/**", "LOCALHOST/a", true),
        ("Localhost/a", "localhost/a", true),
        ("[fd00::ab]/**", "[FD00::AB]/a", true),
        ("docker.io/**", "Docker.io/nginx", true),
        ("Docker.io/nginx", "nginx", true),
        ("REG/*", "REG/a", true),
        ("REG/a", "REG/a", true),
        ("docker.io/**", "REG/a", false),
    ] {
        let spec = json!({"registries": {"allow": [pattern]}});
        let expected: &[&str] = if allowed { &[] } else { &["RegistryNotAllowed"] };
        assert_eq!(refused(&spec, image), expected, "{pattern} allows {image}");
        let spec = json!({"registries": {"deny": [pattern]}});
        let expected: &[&str] = if allowed { &["RegistryNotAllowed"] } else { &[] };
        assert_eq!(refused(&spec, image), expected, "{pattern} denies {image}");
    }
}

#[test]
fn the_most_specific_pattern_decides_and_on_a_tie_the_image_is_refused() {
    for (allow, deny, image, allowed) in [
        ("reg.corp/team/**", "reg.corp/**", "reg.corp/team/a", true),
        ("reg.corp/**", "reg.corp/team/**", "reg.corp/team/a", false),
        ("docker.io/library/*", "docker.io/**", "nginx", true),
        ("docker.io/library/*", "docker.io/**", "team/a", false),
        ("docker.io/*/nginx", "docker.io/library/*", "nginx", false),
        ("docker.io/library/**", "docker.io/*/nginx", "nginx", true),
        ("reg.corp/**/app", "reg.corp/team/**", "reg.corp/team/app", false),
        ("reg.corp/team/*", "reg.corp/*/app", "reg.corp/team/app", true),
        // Text beside a * does not count: a tie.
        ("reg.corp/*-dev", "reg.corp/app*", "reg.corp/app-dev", false),
        ("reg.corp/*-dev", "reg.corp/app*", "reg.corp/web-dev", true),
    ] {
        let spec = json!({"registries": {"allow": [allow], "deny": [deny]}});
        assert_eq!(
            refused(&spec, image).is_empty(),
            allowed,
            "allow {allow}, deny {deny}: {image}"
        );
    }
    // A pattern of the deny list that does not match has no say.
    let spec = json!({"registries": {"allow": ["reg.corp/**"], "deny": ["reg.corp/old/app"]}});
    assert!(refused(&spec, "reg.corp/old/app2").is_empty());
    assert!(!refused(&spec, "reg.corp/old/app").is_empty());
}

#[test]
fn only_a_deny_list_refuses_nothing_else_and_an_allow_list_refuses_the_rest() {
    let deny = json!({"registries": {"deny": ["docker.io/**"]}});
    assert!(refused(&deny, "quay.io/a/b").is_empty());
    let allow = json!({"registries": {"allow": ["docker.io/**"]}});
    assert_eq!(refused(&allow, "quay.io/a/b"), ["RegistryNotAllowed"]);
    assert!(refused(&json!({}), "quay.io/a/b").is_empty());
    assert!(refused(&json!({"registries": {}}), "quay.io/a/b").is_empty());
}

#[test]
fn each_policy_must_admit_the_image() {
    let one = policy("one", &json!({"registries": {"allow": ["reg.corp/**"]}}));
    let two = policy("two", &json!({"registries": {"allow": ["docker.io/**"]}}));
    let matching = matching(&[one, two]);
    assert_eq!(causes(&matching, "reg.corp/a").len(), 1);
    assert_eq!(causes(&matching, "nginx").len(), 1);
    assert_eq!(causes(&matching, "quay.io/a/b").len(), 2);
}

#[test]
fn tags_and_digests() {
    let deny = |globs: Value| json!({"tags": {"deny": globs}});
    for (globs, image, refused_too) in [
        (json!(["latest"]), "nginx", true),
        (json!(["latest"]), "nginx:latest", true),
        (json!(["latest"]), "nginx:latest2", false),
        (json!(["latest"]), "nginx:Latest", false),
        (json!(["latest"]), "nginx@SHA", false),
        // A tag that is written counts even beside a digest.
        (json!(["latest"]), "nginx:latest@SHA", true),
        (json!(["latest"]), "nginx:1@SHA", false),
        (json!(["*-snapshot"]), "reg.corp:5000/a:1-snapshot", true),
        (json!(["*-snapshot"]), "reg.corp:5000/a:snapshot", false),
        (json!(["*"]), "nginx", true),
        (json!(["*"]), "nginx@SHA", false),
        (json!(["1.*"]), "nginx:1.25", true),
        (json!(["1.*"]), "nginx:11", false),
        (json!(["*a*b*"]), "nginx:xaxbx", true),
        (json!(["*a*b*"]), "nginx:xbxax", false),
    ] {
        let expected: &[&str] = if refused_too { &["TagNotAllowed"] } else { &[] };
        assert_eq!(refused(&deny(globs.clone()), image), expected, "{globs} and {image}");
    }
    let digest = json!({"tags": {"requireDigest": true}});
    for (image, refused_too) in [
        ("nginx", true),
        ("nginx:1", true),
        ("nginx@SHA", false),
        ("nginx:1@SHA", false),
    ] {
        let expected: &[&str] = if refused_too { &["DigestRequired"] } else { &[] };
        assert_eq!(refused(&digest, image), expected, "{image}");
    }
    assert!(refused(&json!({"tags": {"requireDigest": false}}), "nginx").is_empty());
    let all = json!({"registries": {"allow": ["reg.corp/**"]}, "tags": {"deny": ["latest"], "requireDigest": true}});
    assert_eq!(
        refused(&all, "nginx"),
        ["RegistryNotAllowed", "TagNotAllowed", "DigestRequired"]
    );
}

#[test]
fn what_is_said_names_policy_pattern_and_way_out() {
    let say = |spec: Value, image: &str| {
        let matching = matching(&[policy("prod", &spec)]);
        let raised = matching.names(&reference(&named(image)), &named(image));
        format!("{} | {}", raised[0].finding.message, raised[0].finding.fix)
    };
    assert_eq!(
        say(
            json!({"registries": {"allow": ["reg.corp/**", "quay.io/a/*", "ghcr.io/b/*", "gcr.io/**"]}}),
            "nginx:1"
        ),
        "policy \"prod\" does not allow docker.io/library/nginx: no pattern of its allow list matches | use an image that it allows \
         (reg.corp/**, quay.io/a/*, ghcr.io/b/* and 1 more), or have policy \"prod\" changed"
    );
    assert_eq!(
        say(json!({"registries": {"deny": ["nginx"]}}), "nginx:1"),
        "policy \"prod\" does not allow docker.io/library/nginx: its deny list has \"docker.io/library/nginx\" | use an image from \
         another registry, or have policy \"prod\" changed"
    );
    assert_eq!(
        say(json!({"tags": {"deny": ["lat*"]}}), "nginx"),
        "policy \"prod\" does not allow it: an image without a tag is latest, and its tags.deny has \"lat*\" | set a version tag"
    );
    assert_eq!(
        say(json!({"tags": {"deny": ["lat*"]}}), "nginx:latest@SHA"),
        "policy \"prod\" does not allow it: tag \"latest\", and its tags.deny has \"lat*\" | remove the tag: the digest alone \
         decides what is pulled"
    );
    assert_eq!(
        say(json!({"tags": {"requireDigest": true}}), "nginx:1"),
        "policy \"prod\" requires a digest, and the image has none | write nginx:1@sha256:… (the digest it resolves to)"
    );
}

#[test]
fn the_digest_that_is_offered_passes_the_rule_on_latest() {
    let digest = Digest::parse(SHA).unwrap();
    for (image, expected) in [
        ("nginx", "docker.io/library/nginx@SHA"),
        ("nginx:latest", "docker.io/library/nginx@SHA"),
        ("reg.corp:5000/a:v1", "reg.corp:5000/a:v1@SHA"),
    ] {
        let mut finding = finding(Cause::DigestRequired, Outlook::NotAllowed);
        offer_digest(&mut finding, &reference(image), &digest);
        assert_eq!(finding.suggestions, [named(expected)]);
        assert_eq!(finding.fix, format!("write image: {}", named(expected)));
        let rules = json!({"tags": {"requireDigest": true, "deny": ["latest"]}});
        assert!(refused(&rules, &finding.suggestions[0]).is_empty());
    }
}

#[test]
fn where_the_allow_list_says_that_images_live() {
    let matching = matching(&[
        policy(
            "a",
            &json!({"registries": {"allow": ["reg.corp/mirror/**", "**/nginx", "*.corp/x", "quay.io/a/b*"]}}),
        ),
        policy("b", &json!({"registries": {"allow": ["reg.corp/mirror/*", "ghcr.io/**"]}})),
    ]);
    assert_eq!(matching.places(), ["reg.corp/mirror", "quay.io/a", "ghcr.io"]);
}

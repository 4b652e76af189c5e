//! Names without a registry, as CRI-O resolves them (`pkg/shortnames` of containers/image).

use crate::image::is_domain;

/// The repository of a reference as written, if CRI-O takes it for a short name: it has no slash, or its first part has neither a dot nor a
/// colon and is not `localhost`. So `Foo/bar` and `exa_mple.com/x` are short names, which other runtimes ask for elsewhere.
pub fn written(reference: &str) -> Option<&str> {
    let name = reference.split('@').next().unwrap_or_default();
    let last = name.rfind('/').map_or(0, |at| at + 1);
    let tag = name.get(last..).and_then(|last| last.find(':'));
    let repository = name.get(..tag.map_or(name.len(), |tag| last + tag))?;
    let domain = repository
        .split_once('/')
        .map(|(first, _)| first)
        .filter(|first| is_domain(first));
    domain
        .is_none_or(|domain| !domain.contains(['.', ':']) && domain != "localhost")
        .then_some(repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_names_are_short() {
        for (text, expected) in [
            ("app", Some("app")),
            ("app:v1", Some("app")),
            ("team/app:v1", Some("team/app")),
            ("Foo/bar", Some("Foo/bar")),
            ("LOCALHOST/foo:v1", Some("LOCALHOST/foo")),
            ("exa_mple.com/x", Some("exa_mple.com/x")),
            ("app@sha256:11", Some("app")),
            ("app:v1@sha256:11", Some("app")),
            ("localhost/app", None),
            ("host:5000/app", None),
            ("docker.io/app:v1", None),
            ("[::1]:5000/app", None),
        ] {
            assert_eq!(written(text), expected, "{text}");
        }
    }
}

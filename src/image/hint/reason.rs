//! What is wrong with a name that no repair fixes, in more detail than `invalid reference format`.

use super::super::{digest::hex_digits, grammar};
use super::{
    repair::{foreign, tag_of},
    show,
};

/// How to fix `name`, which is invalid.
pub(super) fn of(name: &str) -> Option<String> {
    let kind = grammar::parse(name).err()?.kind();
    if kind == super::ReferenceErrorKind::TooLong {
        return Some(format!(
            "shorten the repository's path to {} characters",
            grammar::LONGEST_PATH
        ));
    }
    if name.contains(char::is_whitespace) {
        return Some("remove the white space from the name".to_owned());
    }
    if name.starts_with('[') && !name.contains('/') {
        return Some("add a repository after the host".to_owned());
    }
    let (left, digest) = name
        .split_once('@')
        .map_or((name, None), |(left, digest)| (left, Some(digest)));
    host(name)
        .or_else(|| digest.and_then(self::digest))
        .or_else(|| tag(left))
        .or_else(|| path(left))
}

/// The part before the first slash, if it counts as a host.
fn host(name: &str) -> Option<String> {
    let (host, _) = name.split_once('/')?;
    if !grammar::is_domain_like(host) || grammar::is_domain(host) {
        return None;
    }
    let shown = show(host);
    if host.starts_with('[') {
        return Some(format!(
            "write a plain IPv6 address in the brackets of {shown}, without a zone"
        ));
    }
    let (label, port) = host.split_once(':').unwrap_or((host, ""));
    if grammar::is_domain(label) {
        return Some(if port.is_empty() {
            format!("add a port after {shown}, or remove the `:` (often a variable that was not set)")
        } else {
            format!("write the port of {shown} as a number")
        });
    }
    // `exa_mple.com/x` is valid by a quirk, so only a host with a port is refused for its underscore alone.
    (host.contains(':') || !grammar::is_component(host))
        .then(|| format!("write a host name before the first `/`; {shown} is not one (letters, digits, hyphens and dots)"))
}

/// What follows the `@`.
fn digest(digest: &str) -> Option<String> {
    let Some((algorithm, hex)) = digest.split_once(':') else {
        return Some(if digest.is_empty() {
            "add a digest after `@`, or remove it (often a variable that was not set)".to_owned()
        } else {
            format!(
                "write a digest after `@`, such as `sha256:` and 64 hexadecimal digits; {} is not one",
                show(digest)
            )
        });
    };
    let Some(digits) = hex_digits(algorithm) else {
        return Some(format!(
            "use a sha256, sha384 or sha512 digest instead of {}",
            show(algorithm)
        ));
    };
    if let Some(c) = hex.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Some(format!(
            "write the digest in hexadecimal digits (0-9, a-f); it contains {}",
            show(&c.to_string())
        ));
    }
    (hex.len() != digits).then(|| {
        format!(
            "write the whole digest: {algorithm} has {digits} hexadecimal digits, this one has {}",
            hex.len()
        )
    })
}

/// What follows the colon after the last slash.
fn tag(name: &str) -> Option<String> {
    let last = name.rsplit('/').next()?;
    let (_, tag) = last.split_once(':')?;
    if tag.is_empty() {
        return Some("add a tag after `:`, or remove it (often a variable that was not set)".to_owned());
    }
    if grammar::is_tag(tag) {
        return None;
    }
    if let Some((one, other)) = tag.split_once(':') {
        return Some(format!(
            "use a single tag; this name has two, {} and {}",
            show(one),
            show(other)
        ));
    }
    if tag.contains('+') {
        return Some(format!(
            "write `-` or `_` instead of `+` in the tag {}, as when it was pushed",
            show(tag)
        ));
    }
    if let Some(c) = tag
        .chars()
        .find(|c| !c.is_ascii() || !grammar::is_tag_byte(u8::try_from(*c).unwrap_or(b' ')))
    {
        return Some(format!(
            "use only letters, digits, `_`, `.` and `-` in the tag; it contains {}",
            show(&c.to_string())
        ));
    }
    if tag.len() > grammar::LONGEST_TAG {
        return Some(format!(
            "shorten the tag to {} characters; it has {}",
            grammar::LONGEST_TAG,
            tag.len()
        ));
    }
    Some(format!("start the tag {} with a letter, a digit or `_`", show(tag)))
}

/// The repository.
fn path(name: &str) -> Option<String> {
    let repository = tag_of(name)
        .and_then(|tag| name.strip_suffix(tag)?.strip_suffix(':'))
        .unwrap_or(name);
    if repository.is_empty() || repository.starts_with(':') {
        return Some("add a repository".to_owned());
    }
    if let Some(c) = foreign(repository) {
        return Some(format!("remove {}, which image names may not contain", show(&c.to_string())));
    }
    let component = repository
        .split('/')
        .find(|part| !grammar::is_component(part) && !grammar::is_domain(part))?;
    Some(format!(
        "rename {}: path components are lower-case letters and digits, joined by one `.`, one or two `_`, or hyphens",
        show(component)
    ))
}

//! Finds and masks credentials in image names (`user:password@host/repository`).

use std::{borrow::Cow, ops::Range};

/// Replaces credentials in messages.
const MASK: &str = "***";

/// `image` with `user:password@` masked (`***@`). Images are shown this way everywhere but in the report's `image` field.
///
/// Works on any text, valid or not, and masks too much rather than too little: the part before an `@` that does not start a digest
/// is masked if a path follows the `@`, or if it looks like `user:password` itself.
pub fn mask_userinfo(image: &str) -> Cow<'_, str> {
    match find(image).and_then(|at| Some((image.get(..at.start)?, image.get(at.end..)?))) {
        None => Cow::Borrowed(image),
        Some((before, after)) => Cow::Owned(format!("{before}{MASK}{after}")),
    }
}

/// `image` without its credentials; `None` if it has none.
pub(super) fn remove(image: &str) -> Option<String> {
    let at = find(image)?;
    // Together with the `@`.
    Some(format!(
        "{}{}",
        image.get(..at.start)?,
        image.get(at.end..)?.strip_prefix('@')?
    ))
}

/// The position of the credentials, without their `@`. Linear, however many `@`s there are.
fn find(image: &str) -> Option<Range<usize>> {
    let start = scheme_end(image);
    let authority = image.get(start..)?;
    // Only the last `@` can start a digest.
    let searched = match authority.rsplit_once('@') {
        Some((before, after)) if after.is_empty() || is_digest_like(after) => before,
        Some(_) | None => authority,
    };
    let (first_slash, last_slash) = (authority.find('/'), authority.rfind('/'));
    let (colon, odd_port) = (authority.find(':'), has_odd_port(authority));
    let reads_like_credentials = |at: usize| {
        if first_slash.is_some_and(|slash| slash < at) {
            odd_port
        } else {
            start > 0 || colon.is_some_and(|colon| colon < at)
        }
    };
    let mut candidates = searched
        .match_indices('@')
        .map(|(at, _)| at)
        .rev()
        .filter(|&at| at > 0 && authority.get(..at) != Some(MASK));
    // The last `@` before a path ends the credentials; without a path, any `@` with something like credentials before it.
    let end = candidates
        .clone()
        .find(|&at| last_slash.is_some_and(|slash| at < slash))
        .or_else(|| candidates.find(|&at| reads_like_credentials(at)))?;
    Some(start..start + end)
}

/// Whether the first path component has a colon without a port, as in `user:pa/ss@host`.
fn has_odd_port(authority: &str) -> bool {
    let host = authority.split('/').next().unwrap_or_default();
    host.rsplit_once(':')
        .is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit()))
}

/// `sha256:…` and the like, whole or truncated: an `@` before it belongs to the name, and hiding the name would help nobody.
fn is_digest_like(text: &str) -> bool {
    let (algorithm, rest) = text.split_once(':').unwrap_or((text, ""));
    let algorithm = algorithm.trim().to_ascii_lowercase();
    let named = ["sha1", "sha224", "sha256", "sha384", "sha512", "md5", "blake2b", "blake3"].contains(&algorithm.as_str());
    let hex = |text: &str| text.len() >= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    (named && !rest.contains('/')) || hex(text)
}

/// The length of a leading `scheme://` (or `//`), 0 without one.
pub(super) fn scheme_end(text: &str) -> usize {
    let blank = text.len() - text.trim_start_matches(|c: char| c.is_whitespace() || !c.is_ascii()).len();
    let rest = text.get(blank..).unwrap_or_default();
    let scheme = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-')))
        .unwrap_or(rest.len());
    let tail = rest.get(scheme..).unwrap_or_default();
    if tail.starts_with("://") {
        blank + scheme + 3
    } else if scheme == 0 && tail.starts_with("//") {
        blank + 2
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_masked() {
        for (image, masked) in [
            ("user:pass@ghcr.io/org/app:1", "***@ghcr.io/org/app:1"),
            ("https://user:pass@ghcr.io/org/app:1", "https://***@ghcr.io/org/app:1"),
            ("https://TOKEN@ghcr.io/app", "https://***@ghcr.io/app"),
            ("https://TOKEN:x-oauth-basic@ghcr.io", "https://***@ghcr.io"),
            ("TOKEN@ghcr.io/app", "***@ghcr.io/app"),
            ("user:p@ss@ghcr.io/app", "***@ghcr.io/app"),
            ("user:p/a/s/s@ghcr.io/app", "***@ghcr.io/app"),
            ("user:pass@ghcr.io/app@1.25", "***@ghcr.io/app@1.25"),
            ("user:pass@ghcr.io", "***@ghcr.io"),
            ("user:pa/ss@ghcr.io", "***@ghcr.io"),
            ("user:pass@sha256:5000/app", "***@sha256:5000/app"),
            (" user:pass@ghcr.io/app", "***@ghcr.io/app"),
            ("//user:pass@ghcr.io/app", "//***@ghcr.io/app"),
        ] {
            assert_eq!(mask_userinfo(image), masked);
            assert_eq!(mask_userinfo(masked), masked, "masking twice");
            assert!(!mask_userinfo(image).contains("pass"), "{image}");
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            mask_userinfo(&format!("u:p@ghcr.io/app:1@{digest}")),
            format!("***@ghcr.io/app:1@{digest}")
        );
    }

    #[test]
    fn names_stay() {
        let hex = "0".repeat(64);
        for image in [
            "nginx",
            "nginx:1.25",
            "nginx@1.25",
            "nginx@latest",
            "ghcr.io/org/app@1.25",
            "localhost:5000/app@1.25",
            "https://ghcr.io/org/app@1.25",
            "[::1]:5000/app@1.25",
            "nginx:1.25@sha256",
            "nginx:1.25@sha256:abc",
            &format!("nginx:1.25@sha256:{hex}"),
            &format!("nginx@SHA256:{hex}"),
            &format!("localhost:5000/nginx:1.25@sha256:{hex}:1.25"),
            &format!("nginx:1@{hex}"),
            "nginx@",
            "@sha256:abc",
            "@ghcr.io/x",
            "",
            "@",
        ] {
            assert_eq!(mask_userinfo(image), image);
        }
    }

    #[test]
    fn a_megabyte_is_masked_whole() {
        for piece in ["@", "a@", "a:b@", "sha256:@", "/@", "//"] {
            let long = piece.repeat(1_000_000 / piece.len());
            let masked = mask_userinfo(&long);
            assert!(masked.len() <= long.len() + MASK.len(), "{piece}");
            assert_eq!(mask_userinfo(&masked), masked, "{piece}");
        }
    }

    #[test]
    fn credentials_are_removed() {
        assert_eq!(remove("https://u:p@ghcr.io/app").as_deref(), Some("https://ghcr.io/app"));
        assert_eq!(remove("u:p@ghcr.io/app@1").as_deref(), Some("ghcr.io/app@1"));
        assert_eq!(remove("ghcr.io/app"), None);
    }
}

//! Credentials that people write into an image name (`user:password@host/repository`), found and masked.

use std::{borrow::Cow, ops::Range};

/// What stands in a message where credentials stood.
const MASK: &str = "***";

/// `image` with `user:password@` masked (`***@`). Everything but the report's `image` field shows an image this way.
///
/// It works on any text, parsable or not, and rather masks too much than too little: what stands before an `@` that starts no
/// digest is masked when a path follows the `@`, or when it reads `user:password` itself.
pub fn mask_userinfo(image: &str) -> Cow<'_, str> {
    match find(image).and_then(|at| Some((image.get(..at.start)?, image.get(at.end..)?))) {
        None => Cow::Borrowed(image),
        Some((before, after)) => Cow::Owned(format!("{before}{MASK}{after}")),
    }
}

/// `image` without its credentials; `None` if it has none.
pub(super) fn remove(image: &str) -> Option<String> {
    let at = find(image)?;
    // The `@` goes with them.
    Some(format!(
        "{}{}",
        image.get(..at.start)?,
        image.get(at.end..)?.strip_prefix('@')?
    ))
}

/// Where the credentials stand, without their `@`.
fn find(image: &str) -> Option<Range<usize>> {
    let start = scheme_end(image);
    let authority = image.get(start..)?;
    let mut candidates = authority.match_indices('@').map(|(at, _)| at).rev();
    // The last `@` before the path ends the credentials; without a path after any of them, whichever reads like credentials.
    let end = candidates
        .clone()
        .find(|&at| is_candidate(authority, at) && authority.get(at..).is_some_and(|after| after.contains('/')))
        .or_else(|| candidates.find(|&at| is_candidate(authority, at) && reads_like_userinfo(authority.get(..at), start > 0)))?;
    Some(start..start + end)
}

/// Whether the `@` at `at` has something on both sides, and starts no digest.
fn is_candidate(authority: &str, at: usize) -> bool {
    let (Some(before), Some(after)) = (authority.get(..at), authority.get(at + 1..)) else {
        return false;
    };
    !before.is_empty() && before != MASK && !after.is_empty() && !is_digest_like(after)
}

/// Whether what stands before an `@`, with no path after it, is meant as credentials rather than as a name.
fn reads_like_userinfo(before: Option<&str>, has_scheme: bool) -> bool {
    match before.unwrap_or_default().split_once('/') {
        // `user:pa/ss@host`: what follows the colon is no port.
        Some((host, _)) => host
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit())),
        None => has_scheme || before.is_some_and(|before| before.contains(':')),
    }
}

/// `sha256:…` and its like, whole or cut short: an `@` before it belongs to the name, and hiding the name would help nobody.
fn is_digest_like(text: &str) -> bool {
    let (algorithm, rest) = text.split_once(':').unwrap_or((text, ""));
    let algorithm = algorithm.trim().to_ascii_lowercase();
    let named = ["sha1", "sha224", "sha256", "sha384", "sha512", "md5", "blake2b", "blake3"].contains(&algorithm.as_str());
    let hex = |text: &str| text.len() >= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    (named && !rest.contains(['/', '@'])) || hex(text)
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
    fn credentials_are_removed() {
        assert_eq!(remove("https://u:p@ghcr.io/app").as_deref(), Some("https://ghcr.io/app"));
        assert_eq!(remove("u:p@ghcr.io/app@1").as_deref(), Some("ghcr.io/app@1"));
        assert_eq!(remove("ghcr.io/app"), None);
    }
}

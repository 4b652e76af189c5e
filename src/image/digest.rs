//! Content digests (`sha256:…`), validated like in go-digest.

use sha2::Digest as _;
use std::fmt;

/// The algorithms that kubelet and containerd register, with their number of hexadecimal digits (pull-semantics 1.2).
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// A validated digest: a registered algorithm (sha256, sha384, sha512) and lower-case hex of its exact length.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

/// The go-digest rule that refused a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DigestFault {
    /// The algorithm is well-formed, but not registered.
    Algorithm,
    /// A registered algorithm with the wrong number of digits.
    Length,
    /// Anything else: no colon, or characters that are not lower-case hex.
    Format,
}

impl Digest {
    /// Parses `algorithm:hex`. `None` if go-digest would refuse it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::validate(text).ok()
    }

    /// Parses `algorithm:hex`; the error is the rule that refused it, in go-digest's own order (`Digest.Validate`).
    pub(super) fn validate(text: &str) -> Result<Self, DigestFault> {
        let Some((algorithm, hex)) = text.split_once(':').filter(|(a, h)| !a.is_empty() && !h.is_empty()) else {
            return Err(DigestFault::Format);
        };
        let Some(digits) = hex_digits(algorithm) else {
            return Err(if unregistered_form(algorithm, hex) {
                DigestFault::Algorithm
            } else {
                DigestFault::Format
            });
        };
        if hex.len() != digits {
            return Err(DigestFault::Length);
        }
        if !hex.bytes().all(is_lower_hex) {
            return Err(DigestFault::Format);
        }
        Ok(Self(text.to_owned()))
    }

    /// The sha256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(hex_of("sha256", &sha2::Sha256::digest(bytes)))
    }

    /// The 32 bytes of a sha256 digest: less than half the memory of its text.
    pub fn to_sha256(&self) -> Option<[u8; 32]> {
        let hex = self.0.strip_prefix("sha256:")?.as_bytes();
        let digit = |at: usize| {
            char::from(*hex.get(at)?)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = digit(2 * at)? << 4 | digit(2 * at + 1)?;
        }
        Some(bytes)
    }

    /// The sha256 digest of these 32 bytes.
    pub fn of_sha256(bytes: &[u8; 32]) -> Self {
        Self(hex_of("sha256", bytes))
    }

    /// Whether `bytes` have this digest (sha256, sha384 and sha512).
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let actual = match self.algorithm() {
            "sha256" => hex_of("sha256", &sha2::Sha256::digest(bytes)),
            "sha384" => hex_of("sha384", &sha2::Sha384::digest(bytes)),
            "sha512" => hex_of("sha512", &sha2::Sha512::digest(bytes)),
            _ => return false,
        };
        actual == self.0
    }

    /// `sha256`, `sha384` or `sha512`.
    pub fn algorithm(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Computes a digest while bytes arrive.
#[derive(Debug, Clone)]
pub struct Hasher(State);

#[derive(Debug, Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Uses the algorithm of `digest`, or sha256 without one.
    pub fn like(digest: Option<&Digest>) -> Self {
        Self(match digest.map(Digest::algorithm) {
            Some("sha384") => State::Sha384(sha2::Sha384::new()),
            Some("sha512") => State::Sha512(sha2::Sha512::new()),
            _ => State::Sha256(sha2::Sha256::new()),
        })
    }

    /// Adds more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha384(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of all bytes.
    pub fn finish(self) -> Digest {
        Digest(match self.0 {
            State::Sha256(hash) => hex_of("sha256", &hash.finalize()),
            State::Sha384(hash) => hex_of("sha384", &hash.finalize()),
            State::Sha512(hash) => hex_of("sha512", &hash.finalize()),
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of hexadecimal digits of a registered algorithm.
pub(super) fn hex_digits(algorithm: &str) -> Option<usize> {
    ALGORITHMS
        .iter()
        .find(|(name, _)| *name == algorithm)
        .map(|(_, digits)| *digits)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// go-digest's general form, which distinguishes an unknown algorithm from nonsense:
/// `[a-z0-9]+([.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+`.
fn unregistered_form(algorithm: &str, encoded: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    algorithm.split(['.', '+', '_', '-']).all(part)
        && encoded
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-'))
}

fn hex_of(algorithm: &str, bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut text = String::with_capacity(algorithm.len() + 1 + 2 * bytes.len());
    text.push_str(algorithm);
    text.push(':');
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0x0f] {
            text.extend(DIGITS.get(usize::from(nibble)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_bytes() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::sha256(b"").as_str(), empty);
        assert!(Digest::parse(empty).unwrap().matches(b""));
        assert!(!Digest::parse(empty).unwrap().matches(b"x"));
        let sha384 = "sha384:38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b";
        assert!(Digest::parse(sha384).unwrap().matches(b""));
        let sha512 = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";
        assert!(Digest::parse(sha512).unwrap().matches(b""));
        for digest in [empty, sha384, sha512].map(|text| Digest::parse(text).unwrap()) {
            assert_eq!(Hasher::like(Some(&digest)).finish(), digest);
        }
        let mut hasher = Hasher::like(None);
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish(), Digest::sha256(b"abc"));
        assert_eq!(Digest::parse(sha512).unwrap().algorithm(), "sha512");
        let bytes = Digest::parse(empty).unwrap().to_sha256().unwrap();
        assert_eq!(Digest::of_sha256(&bytes).as_str(), empty);
        assert_eq!(Digest::parse(sha512).unwrap().to_sha256(), None);
    }

    #[test]
    fn faults_in_go_digests_order() {
        let hex = |n: usize| "a".repeat(n);
        for (text, fault) in [
            (format!("sha256:{}", hex(63)), DigestFault::Length),
            (format!("sha256:{}", hex(65)), DigestFault::Length),
            (format!("sha512:{}", hex(64)), DigestFault::Length),
            (format!("sha256:{}", hex(64).to_uppercase()), DigestFault::Format),
            (format!("SHA256:{}", hex(64)), DigestFault::Format),
            (format!("md5:{}", hex(32)), DigestFault::Algorithm),
            (format!("sha256+b64:{}", hex(64)), DigestFault::Algorithm),
            (format!("blake3:{}", hex(64)), DigestFault::Algorithm),
            (hex(64), DigestFault::Format),
            ("sha256:".to_owned(), DigestFault::Format),
            (format!(":{}", hex(64)), DigestFault::Format),
            (String::new(), DigestFault::Format),
        ] {
            assert_eq!(Digest::validate(&text), Err(fault), "{text}");
            assert_eq!(Digest::parse(&text), None, "{text}");
        }
    }
}

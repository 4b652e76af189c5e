//! Bodies become values: a fold counts, hashes and stops at its limit while bytes arrive, and then reads what it has, once.

use super::tags;
use super::vault::FreshToken;
use super::words;
use crate::go::json::{self, loose};
use crate::image::Hasher;
use crate::limits::{ERROR_BODY, IMAGE_CONFIG, IMAGE_MANIFEST, TAG_LIST, TOKEN_ANSWER};
use crate::runtime::answer::{Body, Tags, Words};
use crate::runtime::content;
use crate::runtime::request::{Grant, Want};
use std::sync::Arc;

/// Longer bodies are not read on the threads of the async runtime.
const LONG: usize = 128 << 10;

/// A body is longer than is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Takes in a body.
pub(super) struct Fold {
    reader: Reader,
    limit: usize,
    bytes: Vec<u8>,
    full: bool,
}

enum Reader {
    Manifest(Hasher),
    Config(Hasher),
    Token(Grant),
    Tags(Arc<str>),
    Words,
}

/// What was read.
pub(super) struct Read {
    pub(super) body: Body,
    pub(super) token: Option<FreshToken>,
}

impl Fold {
    /// Reads an answer of `status` for what is wanted; `None`: nothing is read.
    pub(super) fn of(want: &Want, status: u16) -> Option<Self> {
        let good = match want {
            // So does containerd.
            Want::Token(_) => (200..400).contains(&status),
            _ => (200..300).contains(&status),
        };
        let (reader, limit) = match want {
            _ if !good => (Reader::Words, ERROR_BODY),
            Want::Manifest { by } => (Reader::Manifest(Hasher::like(by.as_ref())), IMAGE_MANIFEST),
            Want::Config { by } => (Reader::Config(Hasher::like(Some(by))), IMAGE_CONFIG),
            Want::Token(token) => (Reader::Token(token.by), TOKEN_ANSWER),
            Want::Tags { near } => (Reader::Tags(Arc::clone(near)), TAG_LIST),
            Want::Nothing | Want::Blob { .. } | Want::Words => return None,
        };
        Some(Self {
            reader,
            limit,
            bytes: Vec::new(),
            full: false,
        })
    }

    /// Whether a body that breaks off, or that is packed, is as good as none.
    pub(super) fn is_optional(&self) -> bool {
        matches!(self.reader, Reader::Words)
    }

    /// The memory that it may take, in bytes. `announced` is what the headers say.
    pub(super) fn share(&self, announced: Option<u64>) -> usize {
        let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
        announced.map_or(self.limit, |bytes| bytes.min(self.limit))
    }

    /// Takes in more bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let room = self.limit.saturating_sub(self.bytes.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        match &mut self.reader {
            Reader::Manifest(hasher) | Reader::Config(hasher) => hasher.update(taken),
            Reader::Token(_) | Reader::Tags(_) | Reader::Words => {}
        }
        self.bytes.extend_from_slice(taken);
        self.full = bytes.len() > room;
        if self.full { Err(Full) } else { Ok(()) }
    }

    /// Reads what it has. Comparing thousands of tags letter by letter takes a while, and so does a long index.
    pub(super) async fn finish(self, masks: &[&str]) -> Read {
        if self.bytes.len() <= LONG || self.is_optional() {
            return self.read(masks);
        }
        let reading = tokio::task::spawn_blocking(move || self.read(&[]));
        match reading.await {
            Ok(read) => read,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => Read {
                    body: Body::Unread,
                    token: None,
                },
            },
        }
    }

    fn read(self, masks: &[&str]) -> Read {
        let Self { reader, bytes, full, .. } = self;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut token = None;
        let body = match reader {
            Reader::Manifest(_) | Reader::Config(_) if full => Body::TooLong(length),
            Reader::Manifest(hasher) => Body::Manifest {
                document: content::document(&bytes).map(Arc::new),
                digest: hasher.finish(),
                length,
            },
            Reader::Config(hasher) => Body::Config {
                config: content::config(&bytes).map(Arc::new),
                digest: hasher.finish(),
                length,
            },
            Reader::Token(_) if full && bytes.trim_ascii_start().starts_with(b"{") => Body::TooLong(length),
            Reader::Token(by) => {
                token = self::token(&bytes, by);
                match token {
                    Some(_) => Body::Granted,
                    None => Body::NoToken {
                        page: bytes.trim_ascii_start().starts_with(b"<"),
                    },
                }
            }
            Reader::Tags(near) => {
                let all = tags::read(&bytes, full);
                Body::Tags(Arc::new(Tags {
                    any: !all.is_empty(),
                    closest: tags::closest(&near, &all),
                }))
            }
            Reader::Words => Body::Words(words(&bytes, masks)),
        };
        Read { body, token }
    }
}

/// What the body of a refusal says.
fn words(bytes: &[u8], masks: &[&str]) -> Words {
    let read = words::read(bytes, masks);
    Words {
        code: read.code.map(Arc::from),
        detail: read.detail.map(Arc::from),
        about_address: words::speaks_of_address(bytes),
    }
}

loose! {
    /// An answer by GET.
    struct Got<'a> {
        "token" => token: String,
        "access_token" => access_token: String,
        "expires_in" => expires_in: i64,
        "issued_at" => issued_at: String,
        "refresh_token" => _refresh_token: String,
    }
}

loose! {
    /// An answer by POST.
    struct Posted<'a> {
        "access_token" => access_token: String,
        "refresh_token" => _refresh_token: String,
        "expires_in" => expires_in: i64,
        "issued_at" => issued_at: String,
        "scope" => _scope: String,
    }
}

/// The token in an answer, as containerd reads it (`auth/fetch.go`), or containers/image ([`Grant::Account`]).
fn token(bytes: &[u8], by: Grant) -> Option<FreshToken> {
    let text = json::text(bytes);
    let filled = |token: Option<String>| token.filter(|token| !token.is_empty());
    let (token, issued_at, expires_in) = match by {
        Grant::Password | Grant::Refresh => {
            let posted: Posted<'_> = json::first(&text)?;
            (posted.access_token, posted.issued_at, posted.expires_in)
        }
        Grant::Anonymous | Grant::Basic => {
            let got: Got<'_> = json::first(&text)?;
            (filled(got.access_token).or(got.token), got.issued_at, got.expires_in)
        }
        Grant::Account => {
            let got = serde_json::from_str::<Option<Got<'_>>>(&text).ok()?.unwrap_or_default();
            let token = filled(got.token).or(got.access_token);
            (Some(token.unwrap_or_default()), got.issued_at, got.expires_in)
        }
    };
    // A runtime reads the date too, and stumbles.
    if !issued_at.is_none_or(|date| json::is_date(&date)) {
        return None;
    }
    FreshToken::new(&token.filter(|token| by == Grant::Account || !token.is_empty())?, expires_in)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;
    use crate::runtime::outcome::ContentFault;

    fn read(want: &Want, status: u16, chunks: &[&[u8]]) -> Option<Body> {
        let mut fold = Fold::of(want, status)?;
        let _ = chunks.iter().try_for_each(|chunk| fold.push(chunk));
        Some(fold.read(&["hunter2"]).body)
    }

    #[test]
    fn content_is_hashed_and_counted() {
        let text = br#"{"mediaType":"m","layers":[]}"#;
        let by = Digest::sha256(text);
        for want in [Want::Manifest { by: None }, Want::Manifest { by: Some(by.clone()) }] {
            let Some(Body::Manifest {
                document,
                digest,
                length,
            }) = read(&want, 200, &[&text[..7], &text[7..]])
            else {
                panic!("a manifest")
            };
            assert_eq!((digest, length), (by.clone(), text.len() as u64));
            assert_eq!(document.unwrap().media_type, "m");
        }
        let config = read(&Want::Config { by }, 200, &[b"{"]);
        assert!(matches!(
            config,
            Some(Body::Config {
                config: Err(ContentFault::ConfigNotJson),
                length: 1,
                ..
            })
        ));
        let sha512 = Digest::parse(&format!("sha512:{}", "0".repeat(128))).unwrap();
        let read = read(&Want::Manifest { by: Some(sha512) }, 200, &[b"{}"]);
        assert!(matches!(read, Some(Body::Manifest { digest, .. }) if digest.algorithm() == "sha512"));
    }

    #[test]
    fn what_is_longer_is_not_read() {
        let long = vec![b' '; IMAGE_MANIFEST];
        let whole = read(&Want::Manifest { by: None }, 200, &[&long]);
        assert!(matches!(whole, Some(Body::Manifest { length, .. }) if length == IMAGE_MANIFEST as u64));
        let mut fold = Fold::of(&Want::Manifest { by: None }, 200).unwrap();
        assert_eq!(fold.push(&long), Ok(()));
        assert_eq!(fold.push(b" "), Err(Full));
        assert_eq!(fold.read(&[]).body, Body::TooLong(IMAGE_MANIFEST as u64));
        let fold = |want: &Want, status| Fold::of(want, status).unwrap();
        assert_eq!(fold(&Want::Manifest { by: None }, 200).share(None), IMAGE_MANIFEST);
        assert_eq!(fold(&Want::Manifest { by: None }, 200).share(Some(9)), 9);
        assert_eq!(fold(&Want::Nothing, 404).share(Some(u64::MAX)), ERROR_BODY);
        assert!(Fold::of(&Want::Blob { size: None }, 206).is_none());
    }

    #[test]
    fn refusals_are_read_for_their_words() {
        let body = br#"{"errors":[{"code":"DENIED","message":"hunter2 has no IP"}]}"#;
        for want in [
            Want::Nothing,
            Want::Words,
            Want::Blob { size: None },
            Want::Manifest { by: None },
        ] {
            let Some(Body::Words(words)) = read(&want, 403, &[body]) else {
                panic!("words")
            };
            assert_eq!(words.code.as_deref(), Some("DENIED"));
            assert_eq!(words.detail.as_deref(), Some("*** has no IP"));
            assert!(words.about_address);
        }
    }

    #[test]
    fn tag_lists_keep_the_closest() {
        let near = Want::Tags { near: Arc::from("v1.2") };
        let Some(Body::Tags(tags)) = read(&near, 200, &[br#"{"tags":["v1.1","v0","latest","x"]}"#]) else {
            panic!("tags")
        };
        assert!(tags.any && tags.closest[0] == "v1.1" && tags.closest.len() == 3);
        assert_eq!(read(&near, 200, &[b"{}"]), Some(Body::Tags(Arc::default())));
    }

    #[test]
    fn tokens_and_what_is_none() {
        let none = |body: &str| token(body.as_bytes(), Grant::Anonymous).is_none();
        for good in [
            r#"{"token":"a"}"#,
            r#"{"access_token":"a","expires_in":300}"#,
            r#"{"token":"","access_token":"a"}"#,
        ] {
            assert!(!none(good), "{good}");
        }
        for bad in [
            "",
            "{}",
            "<html>",
            r#"{"token":""}"#,
            r#"{"token":"a\nb"}"#,
            r#"{"token":7}"#,
            "[]",
        ] {
            assert!(none(bad), "{bad}");
        }
        // containers/image sends an empty one, and nothing of what is not JSON to its end.
        for good in ["{}", "null", r#"{"token":"a"}"#, r#"{"token":"","access_token":"a"}"#] {
            assert!(token(good.as_bytes(), Grant::Account).is_some(), "{good}");
        }
        for bad in [
            "",
            "<html>",
            r#"{"token":"a"} x"#,
            r#"{"token":"a","expires_in":1.5}"#,
            r#"{"token":"a","issued_at":"now"}"#,
        ] {
            assert!(token(bad.as_bytes(), Grant::Account).is_none(), "{bad}");
        }
        assert!(token(br#"{"token":"a"}"#, Grant::Password).is_none());
        assert!(token(br#"{"access_token":"a"}"#, Grant::Refresh).is_some());
    }
}

//! Turns bodies into values: a reader counts and hashes bytes as they arrive, stops at its limit, and then parses what it has, once.

use super::error_body;
use super::tags;
use super::vault::FreshToken;
use crate::budget::{Budget, Claim};
use crate::go::json::{self, loose};
use crate::image::{Digest, Hasher};
use crate::limits::{self, ERROR_BODY, IMAGE_CONFIG, IMAGE_MANIFEST, SHORT_ANSWER, TAG_LIST, TOKEN_ANSWER};
use crate::runtime::answer::{Body, ErrorText};
use crate::runtime::content;
use crate::runtime::request::{Grant, Want};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Where bodies are parsed, and what they may hold in memory together.
pub(super) struct Parsing {
    /// For long ones.
    places: Semaphore,
    /// Of long documents, as long as anybody uses them.
    documents: Budget,
}

impl Parsing {
    pub(super) fn new() -> Self {
        Self {
            places: Semaphore::new(limits::PARSED_AT_ONCE),
            documents: Budget::new(limits::DOCUMENTS_KEPT),
        }
    }

    /// Reserves memory for a document of this weight; `None` if there is no room.
    fn room(&self, weight: usize) -> Option<Claim> {
        if weight <= limits::LONG_DOCUMENT {
            Some(Claim::default())
        } else if weight <= limits::DOCUMENT_KEPT {
            self.documents.claim(weight)
        } else {
            None
        }
    }
}

/// Why a body that came whole is not read: it is too much for us, which says nothing about runtimes. A clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch(pub(super) &'static str);

const TOO_MANY_VALUES: TooMuch = TooMuch("it has more values than are read here");
const NO_ROOM: TooMuch = TooMuch("too many long manifests are in use here at the moment");

/// A body is longer than is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Takes in a body.
pub(super) struct BodyReader {
    reader: Reader,
    limit: usize,
    bytes: Vec<u8>,
    full: bool,
}

enum Reader {
    /// And its digest, where it was asked for by that.
    Manifest(Hasher, Option<Digest>),
    Config(Hasher, Digest),
    Token(Grant),
    Tags(Arc<str>),
    ErrorBody,
}

/// The result of reading.
pub(super) struct Read {
    pub(super) body: Body,
    pub(super) token: Option<FreshToken>,
}

impl BodyReader {
    /// Reads an answer of `status` for what the request wants; `None` if nothing is read.
    pub(super) fn of(want: &Want, status: u16) -> Option<Self> {
        let good = match want {
            // So does containerd.
            Want::Token(_) => (200..400).contains(&status),
            _ => (200..300).contains(&status),
        };
        let (reader, limit) = match want {
            _ if !good => (Reader::ErrorBody, ERROR_BODY),
            Want::Manifest { by } => (Reader::Manifest(Hasher::like(by.as_ref()), by.clone()), IMAGE_MANIFEST),
            Want::Config { by } => (Reader::Config(Hasher::like(Some(by)), by.clone()), IMAGE_CONFIG),
            Want::Token(token) => (Reader::Token(token.by), TOKEN_ANSWER),
            Want::Tags { near } => (Reader::Tags(Arc::clone(near)), TAG_LIST),
            Want::Nothing | Want::Blob { .. } | Want::ErrorText => return None,
        };
        Some(Self {
            reader,
            limit,
            bytes: Vec::new(),
            full: false,
        })
    }

    /// Bytes that are read at most.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether a body that breaks off, or that is packed, is as good as none.
    pub(super) fn is_optional(&self) -> bool {
        matches!(self.reader, Reader::ErrorBody)
    }

    /// Whether this is the content that was asked for by digest, all of it.
    pub(super) fn is_whole(&self) -> bool {
        match &self.reader {
            Reader::Manifest(hasher, by) => by.as_ref().is_some_and(|by| hasher.clone().finish() == *by),
            Reader::Config(hasher, by) => hasher.clone().finish() == *by,
            Reader::Token(_) | Reader::Tags(_) | Reader::ErrorBody => false,
        }
    }

    /// The memory that it may take, in bytes, where that is more than is given to everybody. `announced` is what the headers say.
    pub(super) fn share(&self, announced: Option<u64>) -> Option<u32> {
        let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
        let share = announced.map_or(self.limit, |bytes| bytes.min(self.limit));
        u32::try_from(share).ok().filter(|_| share > SHORT_ANSWER)
    }

    /// Whether the answer is still a short one with these bytes: for those, every reader has room.
    pub(super) fn is_short_with(&self, bytes: &[u8]) -> bool {
        self.bytes.len().saturating_add(bytes.len()) <= SHORT_ANSWER
    }

    /// Takes in more bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let room = self.limit.saturating_sub(self.bytes.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        match &mut self.reader {
            Reader::Manifest(hasher, _) | Reader::Config(hasher, _) => hasher.update(taken),
            Reader::Token(_) | Reader::Tags(_) | Reader::ErrorBody => {}
        }
        self.bytes.extend_from_slice(taken);
        self.full = bytes.len() > room;
        if self.full { Err(Full) } else { Ok(()) }
    }

    /// Reads what it has. Comparing thousands of tags letter by letter takes a while, and so does a long index: not on the threads that
    /// serve reviews and probes, and two at a time, whatever the number of cores.
    pub(super) async fn finish(self, masks: &[&str], parsing: &Arc<Parsing>) -> Result<Read, TooMuch> {
        if self.bytes.len() <= SHORT_ANSWER || self.is_optional() {
            return self.read(masks, parsing);
        }
        // Never closed.
        let place = parsing.places.acquire().await;
        let own = Arc::clone(parsing);
        let read = tokio::task::spawn_blocking(move || self.read(&[], &own)).await;
        drop(place);
        match read {
            Ok(read) => read,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => Ok(Read {
                    body: Body::Unread,
                    token: None,
                }),
            },
        }
    }

    fn read(self, masks: &[&str], parsing: &Parsing) -> Result<Read, TooMuch> {
        let Self { reader, bytes, full, .. } = self;
        if matches!(reader, Reader::Manifest(..) | Reader::Config(..)) && !full && json::memory(&bytes) > limits::DOCUMENT_MEMORY {
            return Err(TOO_MANY_VALUES);
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut token = None;
        let body = match reader {
            Reader::Manifest(..) | Reader::Config(..) if full => Body::TooLong(length),
            Reader::Manifest(hasher, _) => {
                let mut document = content::document(&bytes);
                if let Ok(document) = &mut document {
                    document.held = parsing.room(document.weight()).ok_or(NO_ROOM)?;
                }
                Body::Manifest {
                    document: document.map(Arc::new),
                    digest: hasher.finish(),
                    length,
                }
            }
            Reader::Config(hasher, _) => {
                let mut config = content::config(&bytes);
                if let Ok(config) = &mut config {
                    config.held = parsing.room(config.weight()).ok_or(NO_ROOM)?;
                }
                Body::Config {
                    config: config.map(Arc::new),
                    digest: hasher.finish(),
                    length,
                }
            }
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
            Reader::Tags(near) => Body::Tags(Arc::new(tags::read(&near, &bytes, full))),
            Reader::ErrorBody => Body::ErrorText(error_text(&bytes, masks)),
        };
        Ok(Read { body, token })
    }
}

/// What the body of a refusal says.
fn error_text(bytes: &[u8], masks: &[&str]) -> ErrorText {
    let read = error_body::read(bytes, masks);
    ErrorText {
        code: read.code.map(Arc::from),
        detail: read.detail.map(Arc::from),
        about_address: error_body::speaks_of_address(bytes),
        of_a_registry: read.of_a_registry,
        printed: read.printed.map(Arc::from),
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

loose! {
    /// An answer by GET, as containers/image reads it.
    struct Strict<'a> {
        "token" => token: String,
        "access_token" => access_token: String,
        "expires_in" => expires_in: i64,
        "issued_at" => issued_at: String,
    }
}

/// The token in an answer, as containers/image reads it (`docker/bearer_token.go`): one JSON value of the very types; where there is no
/// token, an empty one is sent.
fn account_token(text: &str) -> Option<FreshToken> {
    let got: Strict<'_> = json::only(text)?;
    if !got.issued_at.is_none_or(|date| json::is_date(&date)) {
        return None;
    }
    let token = got.token.filter(|token| !token.is_empty()).or(got.access_token);
    FreshToken::new(&token.unwrap_or_default(), got.expires_in)
}

/// The token in an answer, as containerd reads it (`auth/fetch.go`).
fn token(bytes: &[u8], by: Grant) -> Option<FreshToken> {
    let text = json::text(bytes);
    let (token, issued_at, expires_in) = match by {
        Grant::Password | Grant::Refresh => {
            let posted: Posted<'_> = json::first(&text)?;
            (posted.access_token, posted.issued_at, posted.expires_in)
        }
        Grant::Account => return account_token(&text),
        Grant::Anonymous | Grant::Basic => {
            let got: Got<'_> = json::first(&text)?;
            let access_token = got.access_token.filter(|token| !token.is_empty());
            (access_token.or(got.token), got.issued_at, got.expires_in)
        }
    };
    // A runtime reads the date too, and stumbles.
    if !issued_at.is_none_or(|date| json::is_date(&date)) {
        return None;
    }
    FreshToken::new(&token.filter(|token| !token.is_empty())?, expires_in)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::outcome::ContentFault;

    fn read(want: &Want, status: u16, chunks: &[&[u8]]) -> Option<Body> {
        let mut reader = BodyReader::of(want, status)?;
        let _ = chunks.iter().try_for_each(|chunk| reader.push(chunk));
        reader.read(&["hunter2"], &Parsing::new()).ok().map(|read| read.body)
    }

    fn too_much(want: &Want, body: &[u8], parsing: &Parsing) -> Option<TooMuch> {
        let mut reader = BodyReader::of(want, 200).unwrap();
        reader.push(body).unwrap();
        reader.read(&[], parsing).err()
    }

    #[test]
    fn what_takes_too_much_memory_is_not_read() {
        let parsing = Parsing::new();
        let by = || Digest::sha256(b"");
        let list = |start: &str, entry: &str, times: usize, end: &str| format!("{start}{}{end}", vec![entry; times].join(","));
        for (want, body) in [
            (Want::Manifest { by: None }, list(r#"{"layers":["#, "{}", 1_400_000, "]}")),
            (
                Want::Manifest { by: None },
                list(r#"{"manifests":["#, r#"{"platform":{}}"#, 250_000, "]}"),
            ),
            (
                Want::Manifest { by: None },
                list(r#"{"annotations":{"#, r#""":"""#, 700_000, "}}"),
            ),
            (Want::Manifest { by: None }, list("{", r#""":0"#, 800_000, "}")),
            (
                Want::Manifest { by: None },
                list(r#"{"schemaVersion":1,"fsLayers":["#, "{}", 1_400_000, "]}"),
            ),
            (Want::Config { by: by() }, list(r#"{"history":["#, "{}", 2_700_000, "]}")),
            (
                Want::Config { by: by() },
                list(r#"{"rootfs":{"diff_ids":["#, r#""""#, 2_700_000, "]}}"),
            ),
            (
                Want::Config { by: by() },
                list(r#"{"config":{"Labels":{"#, r#""":"""#, 1_300_000, "}}}"),
            ),
        ] {
            assert_eq!(too_much(&want, body.as_bytes(), &parsing), Some(TOO_MANY_VALUES), "{want:?}");
        }
        // What is kept of a document has its own limit, and all documents together have one.
        let long = list(
            r#"{"manifests":["#,
            r#"{"digest":"sha256:0","platform":{"os":"linux"}}"#,
            3000,
            "]}",
        );
        let mut held = Vec::new();
        while let Ok(read) = {
            let mut reader = BodyReader::of(&Want::Manifest { by: None }, 200).unwrap();
            reader.push(long.as_bytes()).unwrap();
            reader.read(&[], &parsing)
        } {
            held.push(read);
        }
        let Body::Manifest {
            document: Ok(document), ..
        } = &held[0].body
        else {
            panic!("an index")
        };
        let fit = limits::DOCUMENTS_KEPT / document.weight();
        assert_eq!(held.len(), fit);
        assert!((8..100).contains(&fit), "{fit}");
        drop(held);
        assert_eq!(too_much(&Want::Manifest { by: None }, long.as_bytes(), &parsing), None);
        let longer = list(r#"{"layers":["#, "{}", 10_000, "]}");
        assert_eq!(
            too_much(&Want::Manifest { by: None }, longer.as_bytes(), &parsing),
            Some(NO_ROOM)
        );
    }

    #[test]
    fn the_largest_real_ones_are_read() {
        let platform = r#"{"architecture":"arm64","os":"linux","variant":"v8"}"#;
        let digest = Digest::sha256(b"");
        let entry = format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":1234,"platform":{platform}}}"#
        );
        let index = format!(r#"{{"manifests":[{}]}}"#, vec![entry.as_str(); 2000].join(","));
        assert_eq!(
            too_much(&Want::Manifest { by: None }, index.as_bytes(), &Parsing::new()),
            None
        );
        let layer = r#"{"created":"2024-01-01T00:00:00Z","created_by":"RUN x","empty_layer":true}"#;
        let config = format!(r#"{{"history":[{}]}}"#, vec![layer; 2000].join(","));
        assert_eq!(
            too_much(&Want::Config { by: digest }, config.as_bytes(), &Parsing::new()),
            None
        );
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
                config: Err(ContentFault::ConfigNotJson(_)),
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
        let mut reader = BodyReader::of(&Want::Manifest { by: None }, 200).unwrap();
        assert_eq!(reader.push(&long), Ok(()));
        assert_eq!(reader.push(b" "), Err(Full));
        let full = reader.read(&[], &Parsing::new()).unwrap();
        assert_eq!(full.body, Body::TooLong(IMAGE_MANIFEST as u64));
        let reader = |want: &Want, status| BodyReader::of(want, status).unwrap();
        let share = |announced| reader(&Want::Manifest { by: None }, 200).share(announced);
        assert_eq!(share(None), u32::try_from(IMAGE_MANIFEST).ok());
        assert_eq!(share(Some(SHORT_ANSWER as u64)), None);
        assert_eq!(share(Some(SHORT_ANSWER as u64 + 1)), u32::try_from(SHORT_ANSWER + 1).ok());
        assert_eq!(
            reader(&Want::Nothing, 404).share(Some(u64::MAX)),
            u32::try_from(ERROR_BODY).ok()
        );
        assert!(BodyReader::of(&Want::Blob { size: None }, 206).is_none());
    }

    #[test]
    fn refusals_are_read_for_their_words() {
        let body = br#"{"errors":[{"code":"DENIED","message":"hunter2 has no IP"}]}"#;
        for want in [
            Want::Nothing,
            Want::ErrorText,
            Want::Blob { size: None },
            Want::Manifest { by: None },
        ] {
            let Some(Body::ErrorText(text)) = read(&want, 403, &[body]) else {
                panic!("no error text")
            };
            assert_eq!(text.code.as_deref(), Some("DENIED"));
            assert_eq!(text.detail.as_deref(), Some("*** has no IP"));
            assert!(text.about_address);
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
        for good in [
            r#"{"token":"a","refresh_token":7}"#,
            r#"{"access_token":"a"}"#,
            "{}",
            "null",
            r#"{"token":"a"} "#,
        ] {
            assert!(token(good.as_bytes(), Grant::Account).is_some(), "{good}");
        }
        for bad in [
            "",
            r#"{"token":"a"}{}"#,
            r#"{"token":"a","expires_in":"300"}"#,
            r#"{"token":"a","issued_at":"today"}"#,
            r#"{"token":"a\nb"}"#,
        ] {
            assert!(token(bad.as_bytes(), Grant::Account).is_none(), "{bad}");
        }
        assert!(token(br#"{"token":"a"}"#, Grant::Password).is_none());
        assert!(token(br#"{"access_token":"a"}"#, Grant::Refresh).is_some());
    }
}

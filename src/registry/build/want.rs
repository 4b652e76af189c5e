//! One part of an image: what can be wrong with its descriptor, and whether a blob is there.

use crate::image::Digest;
use crate::limits;
use crate::registry::cause::Answer;
use crate::registry::session::Session;
use crate::registry::walk::{Walk, Wanted};
use crate::runtime::containerd::manifest::Config;
use crate::runtime::content::BlobRef;
use crate::runtime::outcome::{ContentFault, Evidence, RequestLine};
use crate::verdict::{Failure, IndexEntry};
use http::{Method, header};

/// What is asked for.
pub(super) enum Want<'a> {
    Manifest(&'a IndexEntry),
    Config(&'a Config),
    Blob(&'a BlobRef),
}

impl Want<'_> {
    /// Its digest, as written.
    pub(super) fn digest(&self) -> &str {
        match self {
            Want::Manifest(entry) => &entry.digest,
            Want::Config(config) => config.digest.as_str(),
            Want::Blob(blob) => &blob.digest,
        }
    }

    /// What is wrong with the descriptor: nobody gets a part by it.
    pub(super) fn broken(&self) -> Option<ContentFault> {
        let (part, digest, size) = match self {
            Want::Manifest(entry) => (
                "child manifest",
                entry.digest.as_str(),
                i64::try_from(entry.size).unwrap_or(i64::MAX),
            ),
            // Read with the manifest.
            Want::Config(_) => return None,
            Want::Blob(blob) => (blob.part, blob.digest.as_str(), blob.size),
        };
        if size <= 0 && (digest.is_empty() || Digest::parse(digest).is_some()) {
            Some(ContentFault::SizeOf {
                part,
                digest: digest.to_owned(),
                says: size,
            })
        } else if Digest::parse(digest).is_none() {
            Some(ContentFault::Structure(format!(
                "the digest of a {part} is malformed: \"{digest}\""
            )))
        } else {
            match self {
                Want::Manifest(entry) if !entry.is_manifest() => Some(ContentFault::EntryType(entry.media_type.clone())),
                Want::Manifest(_) | Want::Config(_) | Want::Blob(_) => None,
            }
        }
    }
}

pub(super) fn other_size(part: &'static str, by: &'static str, has: impl TryInto<i64>, says: impl TryInto<i64>) -> Evidence {
    Evidence::ContentInvalid(ContentFault::OtherSize {
        part,
        by,
        has: has.try_into().unwrap_or(i64::MAX),
        says: says.try_into().unwrap_or(i64::MAX),
    })
}

/// Whether a blob is there, by HEAD. What a node would do is GET, so a failure is told as one, and only GET proves another size.
pub(super) async fn there(walk: &mut Walk<'_>, blob: &BlobRef) -> Result<(), Vec<Failure>> {
    let wanted = Wanted {
        rest: format!("blobs/{}", blob.digest),
        accept: format!("{}, */*", blob.media_type),
        cap: limits::ERROR_BODY,
        absent: &|| Evidence::ContentMissing {
            part: blob.part,
            digest: blob.digest.clone(),
            media_type: blob.media_type.clone(),
        },
    };
    let by_get = |failures: Vec<Failure>| failures.into_iter().map(as_get).collect::<Vec<_>>();
    let (_, answer) = walk.ask(Method::HEAD, &wanted).await.map_err(by_get)?;
    if length(&answer).is_none_or(|length| length == blob.size) {
        return Ok(());
    }
    let (session, answer) = walk.fetch(&wanted).await?;
    match length(&answer) {
        Some(length) if length != blob.size => Err(vec![of_another_size(session, &answer, blob, length)]),
        Some(_) | None => Ok(()),
    }
}

fn of_another_size(session: &Session<'_>, answer: &Answer, blob: &BlobRef, length: i64) -> Failure {
    let failure = session.failure_without_body(answer, other_size(blob.part, "manifest", length, blob.size));
    failure.about(&blob.digest)
}

fn as_get(mut failure: Failure) -> Failure {
    failure.request = failure.request.map(|request| RequestLine {
        method: "GET",
        ..request
    });
    failure
}

/// `Content-Length`, of what is sent as it is.
fn length(answer: &Answer) -> Option<i64> {
    let encoded = answer
        .header(header::CONTENT_ENCODING)
        .is_some_and(|coding| !matches!(coding, "" | "identity"));
    if encoded {
        return None;
    }
    answer.header(header::CONTENT_LENGTH)?.parse().ok()
}

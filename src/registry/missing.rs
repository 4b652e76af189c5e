//! After a 404: whose fault it is, and what was probably meant (pull-semantics 5.2, 6.3).

use super::cause::Answer;
use super::session::Session;
use super::tags;
use super::throttle::Lane;
use crate::image::{Digest, Target};
use crate::limits;
use crate::runtime::containerd::manifest;
use crate::runtime::outcome::{ContentFault, Evidence};
use crate::verdict::Failure;
use http::{Method, StatusCode, header};

/// The registry's code for a repository that it does not know.
const NAME_UNKNOWN: &str = "NAME_UNKNOWN";

impl Session<'_> {
    /// What a 404 for the target proves.
    pub(super) async fn missing(&self, answer: &Answer) -> Failure {
        match &self.key.target {
            Target::Tag(tag) => self.missing_tag(answer, tag).await,
            Target::Digest(digest) => self.missing_digest(answer, digest).await,
        }
    }

    async fn missing_tag(&self, answer: &Answer, tag: &str) -> Failure {
        let target = self.target();
        let (words, list) = tokio::join!(self.words(answer, &target), self.tags());
        let failure = self.failure_in_words_of(
            answer,
            words.as_ref(),
            Evidence::TagUnknown {
                repository_exists: false,
            },
        );
        if failure.code.as_deref() == Some(NAME_UNKNOWN) {
            return Failure {
                evidence: Evidence::RepositoryUnknown,
                ..failure
            };
        }
        let Some(list) = list else { return failure };
        if list.status == StatusCode::NOT_FOUND {
            let listed = self.failure(&list, Evidence::RepositoryUnknown);
            return if listed.code.as_deref() == Some(NAME_UNKNOWN) {
                Failure {
                    evidence: Evidence::RepositoryUnknown,
                    code: listed.code,
                    detail: listed.detail.or(failure.detail),
                    ..failure
                }
            } else {
                failure
            };
        }
        if !list.status.is_success() {
            return failure;
        }
        let wanted = tag.to_owned();
        // Comparing thousands of tags letter by letter takes a while.
        let compared = tokio::task::spawn_blocking(move || {
            let tags = tags::read(&list.body, list.truncated);
            (!tags.is_empty(), tags::closest(&wanted, &tags))
        });
        let (repository_exists, suggestions) = compared.await.unwrap_or_default();
        Failure {
            evidence: Evidence::TagUnknown { repository_exists },
            suggestions,
            ..failure
        }
    }

    /// The tag list, with the rights at hand.
    async fn tags(&self) -> Option<Answer> {
        if self.left(Lane::Content).await.is_some() {
            return None;
        }
        let asked = self.send(Method::GET, "tags/list?n=1000", "application/json", limits::TAG_LIST);
        tokio::time::timeout(limits::DETAILS, asked).await.ok()?.ok()
    }

    async fn missing_digest(&self, answer: &Answer, digest: &Digest) -> Failure {
        let target = self.target();
        let blob = format!("blobs/{digest}");
        let as_blob = tokio::time::timeout(limits::DETAILS, self.send(Method::HEAD, &blob, manifest::ACCEPT, 0));
        let (words, as_blob) = tokio::join!(self.words(answer, &target), as_blob);
        let failure = self.failure_in_words_of(answer, words.as_ref(), Evidence::DigestUnknown);
        let is_blob = matches!(&as_blob, Ok(Ok(blob)) if blob.status.is_success());
        let of_manifest = |blob: &Answer| {
            let media_type = manifest::media_type(blob.header(header::CONTENT_TYPE).unwrap_or_default());
            manifest::form(&media_type) != manifest::Form::Other
        };
        let evidence = if matches!(&as_blob, Ok(Ok(blob)) if is_blob && of_manifest(blob)) {
            // A runtime resolves it by that, and may well get the manifest by GET.
            Evidence::ServerError { token_server: false }
        } else if is_blob {
            Evidence::ContentInvalid(ContentFault::DigestIsBlob)
        } else if failure.code.as_deref() == Some(NAME_UNKNOWN) {
            Evidence::RepositoryUnknown
        } else {
            Evidence::DigestUnknown
        };
        Failure { evidence, ..failure }
    }
}

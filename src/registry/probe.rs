//! What one host's answers say about one image: resolved, refused, or broken (pull-semantics 5.1, 5.2, 5.6).

use super::cause::{self, Answer};
use super::session::Session;
use super::words;
use crate::image::{Digest, Target};
use crate::limits;
use crate::runtime::containerd::manifest::{self, Form};
use crate::runtime::outcome::{ContentFault, Evidence};
use crate::verdict::Failure;
use http::{Method, StatusCode, header};

/// [`limits::IMAGE_MANIFEST`] as a length that a server names.
const LONGEST_MANIFEST: u64 = limits::IMAGE_MANIFEST as u64;
const DIGEST_HEADER: &str = "docker-content-digest";

/// What the first request told.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) form: Form,
    /// How long it is said to be; containerd holds what it reads against that.
    pub(super) length: Option<u64>,
}

/// Why a host did not resolve the image.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It refused; why, in its own words, is worth asking only if no other host resolves it.
    Answered(Answer),
    /// It gave no answer, or one that sends a runtime to the next host.
    Failed(Failure),
    /// A runtime stops here, whatever other hosts would say.
    Final(Failure),
}

/// Which place a host has among those that are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    BeforeOthers,
    Last,
}

impl Session<'_> {
    /// Asks for the target.
    pub(super) async fn resolve(&mut self, place: Place) -> Result<Resolved, Stopped> {
        let answer = self.head(place).await.map_err(Stopped::Failed)?;
        if !answer.status.is_success() {
            return Err(Stopped::Answered(answer));
        }
        self.read_first(answer).await
    }

    /// HEAD; GET where HEAD is not allowed; HEAD of the last host again after a passing 5xx, as containerd does.
    async fn head(&mut self, place: Place) -> Result<Answer, Failure> {
        let target = self.target();
        let answer = self.ask(Method::HEAD, &target, manifest::ACCEPT, 0).await?;
        match (answer.status.as_u16(), place) {
            (405, _) => self.ask(Method::GET, &target, manifest::ACCEPT, limits::IMAGE_MANIFEST).await,
            (500 | 503 | 504, Place::Last) => self.ask(Method::HEAD, &target, manifest::ACCEPT, 0).await,
            _ => Ok(answer),
        }
    }

    /// From the first answer to a digest.
    async fn read_first(&mut self, answer: Answer) -> Result<Resolved, Stopped> {
        let invalid = |fault| Evidence::ContentInvalid(fault);
        let length = answer
            .header(header::CONTENT_LENGTH)
            .and_then(|text| text.parse::<u64>().ok());
        let as_it_is = answer
            .header(header::CONTENT_ENCODING)
            .is_none_or(|coding| matches!(coding, "" | "identity"));
        let announced = answer.header(DIGEST_HEADER).filter(|text| !text.is_empty());
        let named = match (&self.key.target, announced) {
            (Target::Digest(digest), _) => Some(digest.to_string()),
            (Target::Tag(_), announced) => announced.map(str::to_owned),
        };
        let about = |failure: Failure| Failure {
            digest: named.clone(),
            ..failure
        };
        match length {
            Some(0) => return Err(Stopped::Final(about(self.failure(&answer, invalid(ContentFault::Empty))))),
            Some(bytes) if bytes > LONGEST_MANIFEST => {
                let failure = self.failure(&answer, Evidence::TooLong { bytes });
                // Of a tag, a runtime keeps the digest that is too long, and asks the other hosts for that.
                let keeps = matches!(self.key.target, Target::Tag(_))
                    && answer.header(DIGEST_HEADER).is_some_and(|text| Digest::parse(text).is_some());
                return Err(if keeps {
                    Stopped::Final(failure)
                } else {
                    Stopped::Failed(failure)
                });
            }
            Some(_) | None => {}
        }
        let media_type = manifest::media_type(answer.header(header::CONTENT_TYPE).unwrap_or_default());
        let form = manifest::form(&media_type);
        if form == Form::Other {
            let shown = words::line(&media_type, &[]).unwrap_or_default();
            let failure = self.failure_without_body(&answer, invalid(ContentFault::MediaType(shown)));
            return Err(Stopped::Final(about(failure)));
        }
        let digest = match (&self.key.target, announced, length) {
            // What is asked for by digest is that digest, whatever the header says: the content will show.
            (Target::Digest(asked), _, Some(_)) => asked.clone(),
            (Target::Tag(_), Some(text), Some(_)) => {
                let Some(digest) = Digest::parse(text) else {
                    let shown = words::line(text, &[]).unwrap_or_default();
                    let failure = self.failure_without_body(&answer, invalid(ContentFault::DigestMalformed(shown)));
                    return Err(Stopped::Final(failure));
                };
                digest
            }
            (Target::Digest(_) | Target::Tag(_), _, None) | (Target::Tag(_), None, Some(_)) => {
                let whole = if answer.method == Method::GET {
                    answer
                } else {
                    self.whole().await.map_err(Stopped::Final)?
                };
                if whole.truncated {
                    return Err(Stopped::Failed(self.failure_without_body(&whole, too_long(&whole))));
                }
                if whole.body.is_empty() {
                    return Err(Stopped::Final(self.failure(&whole, invalid(ContentFault::Empty))));
                }
                match &self.key.target {
                    Target::Digest(asked) => asked.clone(),
                    Target::Tag(_) => Digest::sha256(&whole.body),
                }
            }
        };
        Ok(Resolved {
            digest,
            media_type,
            form,
            length: length.filter(|_| as_it_is),
        })
    }

    /// GET of what HEAD did not describe.
    async fn whole(&mut self) -> Result<Answer, Failure> {
        let target = self.target();
        let answer = self
            .ask(Method::GET, &target, manifest::ACCEPT, limits::IMAGE_MANIFEST)
            .await?;
        if answer.status.is_success() {
            Ok(answer)
        } else {
            Err(self.refusal(&answer).await)
        }
    }

    /// What an answer without success to the target proves.
    pub(super) async fn refusal(&self, answer: &Answer) -> Failure {
        if answer.status == StatusCode::NOT_FOUND {
            self.missing(answer).await
        } else {
            self.turned_away(answer).await
        }
    }

    /// Any other status than success, 401 and 404.
    pub(super) async fn turned_away(&self, answer: &Answer) -> Failure {
        self.turned_away_at(answer, &self.target()).await
    }

    /// The same for something else than the target.
    pub(super) async fn turned_away_at(&self, answer: &Answer, rest: &str) -> Failure {
        let status = answer.status.as_u16();
        let words = match status {
            // The body may say that it is about the caller's address, or which rule it was. Not worth a request otherwise.
            400..=499 if !matches!(status, 408 | 429) => self.words(answer, rest).await,
            _ => None,
        };
        let evidence = match cause::evidence(words.as_ref().unwrap_or(answer), self.authenticated()) {
            // A storage behind the registry knows neither our credential nor a node's, but may know addresses.
            Evidence::Forbidden { with_credential, .. }
                if status == 403 && rest.starts_with("blobs/") && !self.endpoint.is_at(&answer.url) =>
            {
                Evidence::Forbidden {
                    address_bound: true,
                    with_credential,
                }
            }
            evidence => evidence,
        };
        self.failure_in_words_of(answer, words.as_ref(), evidence)
    }

    /// A failure that rests on an answer whose body is content, not an error to be quoted.
    pub(super) fn failure_without_body(&self, answer: &Answer, evidence: Evidence) -> Failure {
        Failure {
            code: None,
            detail: None,
            ..self.failure(answer, evidence)
        }
    }
}

pub(super) fn too_long(answer: &Answer) -> Evidence {
    let announced = answer
        .header(header::CONTENT_LENGTH)
        .and_then(|text| text.parse::<u64>().ok());
    Evidence::TooLong {
        bytes: announced.unwrap_or(LONGEST_MANIFEST + 1).max(LONGEST_MANIFEST + 1),
    }
}

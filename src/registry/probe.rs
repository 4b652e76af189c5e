//! The requests a runtime would make for one image with one credential, up to the config (pull-semantics 5.1, 5.2, 5.6).

use super::Inner;
use super::cache::{Answer as Outcome, ContentKey, Key};
use super::cause::{self, Answer, plain};
use super::host::{self, Endpoint, Scheme, Schemes};
use super::limits::Lane;
use super::manifest::{self, Config, Form, LONGEST, Parsed};
use super::session::Session;
use super::words;
use crate::credentials::Credential;
use crate::image::{Digest, Target};
use crate::verdict::evidence::{ConnectionFault, ContentFault, Evidence, TlsFault};
use crate::verdict::{Content, Failure, ImageFacts};
use http::{Method, header};

/// The longest manifest, as a length in memory.
const MANIFEST: usize = 4_393_216;
/// The longest config, in bytes. A longer one tells no platform, and is not held against the image.
const CONFIG: usize = 8 << 20;
const DIGEST_HEADER: &str = "docker-content-digest";

/// Asks for one image with one credential or none.
pub(super) async fn probe(inner: &Inner, key: &Key, credential: Option<&Credential>) -> Outcome {
    let Some(endpoint) = Endpoint::new(&key.registry) else {
        let evidence = Evidence::ConnectionFailed(ConnectionFault::Unreachable);
        return Err(Failure {
            detail: Some("no address can be made of the registry's name and port".to_owned()),
            ..plain(evidence, key.registry.clone())
        });
    };
    let mut session = Session::new(inner, key, credential, endpoint.base(Scheme::Https));
    let result = session.image(&endpoint).await;
    if let Err(failure) = &result {
        inner.quiet.say(failure);
        if failure.evidence == Evidence::RateLimited && failure.request.is_some() {
            inner
                .throttle
                .remember(&key.registry, key.fingerprint, session.lane, failure.retry_after)
                .await;
        }
    }
    result
}

/// What the first request told.
struct Resolved {
    digest: Digest,
    media_type: String,
    form: Form,
}

impl Session<'_> {
    async fn image(&mut self, endpoint: &Endpoint) -> Outcome {
        if let Some(left) = self.left(Lane::All).await {
            return Err(Self::throttled(left, endpoint.shown()));
        }
        let first = self.first(endpoint).await?;
        let resolved = self.resolve(first).await?;
        self.lane = Lane::Content;
        let content = match resolved.form {
            Form::Schema1 => Content::Schema1,
            Form::Manifest | Form::Index | Form::Other => self.content(endpoint, &resolved).await?,
        };
        Ok(ImageFacts {
            digest: resolved.digest,
            media_type: resolved.media_type,
            content,
            quota_exhausted: self.quota_exhausted,
            authenticated: self.authenticated(),
            stale: false,
        })
    }

    /// The first request, over the scheme that the host speaks: https, but for loopback names (pull-semantics 5.4).
    async fn first(&mut self, endpoint: &Endpoint) -> Result<Answer, Failure> {
        match endpoint.schemes {
            Schemes::Https => self.head().await,
            Schemes::Http => {
                self.base = endpoint.base(Scheme::Http);
                self.head().await
            }
            Schemes::HttpsThenHttp => {
                let host = self.inner.client.hosts.get(host::key(&self.base)).await;
                if host.scheme() == Some(Scheme::Http) {
                    self.base = endpoint.base(Scheme::Http);
                    return self.head().await;
                }
                match self.head().await {
                    Err(failure) if is_plain(&failure) && failure.host == endpoint.shown() => {
                        self.base = endpoint.base(Scheme::Http);
                        let answer = self.head().await;
                        if answer.as_ref().map_or_else(|failure| failure.status.is_some(), |_| true) {
                            host.speaks(Scheme::Http);
                        }
                        answer
                    }
                    other => other,
                }
            }
        }
    }

    /// HEAD; GET where HEAD is not allowed; HEAD again after a passing 5xx, as containerd does.
    async fn head(&mut self) -> Result<Answer, Failure> {
        let target = self.target();
        let answer = self.ask(Method::HEAD, &target, manifest::ACCEPT, 0).await?;
        match answer.status.as_u16() {
            405 => self.ask(Method::GET, &target, manifest::ACCEPT, MANIFEST).await,
            500 | 503 | 504 => self.ask(Method::HEAD, &target, manifest::ACCEPT, 0).await,
            _ => Ok(answer),
        }
    }

    /// From the first answer to a digest.
    async fn resolve(&mut self, answer: Answer) -> Result<Resolved, Failure> {
        let status = answer.status;
        if status == http::StatusCode::NOT_FOUND {
            return Err(self.missing(&answer).await);
        }
        if !status.is_success() {
            return Err(self.turned_away(&answer).await);
        }
        let invalid = |fault| Evidence::ContentInvalid(fault);
        let length = answer
            .header(header::CONTENT_LENGTH)
            .and_then(|text| text.parse::<u64>().ok());
        match length {
            Some(0) => return Err(self.failure(&answer, invalid(ContentFault::Empty))),
            Some(bytes) if bytes > LONGEST => return Err(self.failure(&answer, Evidence::TooLong { bytes })),
            Some(_) | None => {}
        }
        let media_type = manifest::media_type(answer.header(header::CONTENT_TYPE));
        let form = manifest::form(&media_type);
        if form == Form::Other {
            let shown = words::line(&media_type, &[]).unwrap_or_default();
            return Err(self.failure_without_body(&answer, invalid(ContentFault::MediaType(shown))));
        }
        let announced = answer.header(DIGEST_HEADER).filter(|text| !text.is_empty());
        let asked = match &self.key.target {
            Target::Digest(digest) => Some(digest.clone()),
            Target::Tag(_) => None,
        };
        let digest = if let (Some(text), Some(_)) = (announced, length) {
            let Some(digest) = Digest::parse(text) else {
                let shown = words::line(text, &[]).unwrap_or_default();
                return Err(self.failure_without_body(&answer, invalid(ContentFault::DigestMalformed(shown))));
            };
            match asked {
                Some(asked) if asked.algorithm() != digest.algorithm() => asked,
                Some(asked) if asked != digest => {
                    return Err(self.failure_without_body(&answer, invalid(ContentFault::DigestWrong)));
                }
                Some(_) | None => digest,
            }
        } else {
            let whole = if answer.method == Method::GET {
                answer
            } else {
                self.whole().await?
            };
            if whole.truncated {
                return Err(self.failure_without_body(&whole, too_long(&whole)));
            }
            if whole.body.is_empty() {
                return Err(self.failure(&whole, invalid(ContentFault::Empty)));
            }
            asked.unwrap_or_else(|| Digest::sha256(&whole.body))
        };
        Ok(Resolved {
            digest,
            media_type,
            form,
        })
    }

    /// GET of what HEAD did not describe.
    async fn whole(&mut self) -> Result<Answer, Failure> {
        let target = self.target();
        let answer = self.ask(Method::GET, &target, manifest::ACCEPT, MANIFEST).await?;
        if answer.status.is_success() {
            Ok(answer)
        } else if answer.status == http::StatusCode::NOT_FOUND {
            Err(self.missing(&answer).await)
        } else {
            Err(self.turned_away(&answer).await)
        }
    }

    /// What the digest stands for: from the cache, now that the credential was shown to read it, or by GET.
    async fn content(&mut self, endpoint: &Endpoint, resolved: &Resolved) -> Result<Content, Failure> {
        let key = ContentKey {
            registry: self.key.registry.clone(),
            repository: self.key.repository.clone(),
            digest: resolved.digest.clone(),
            media_type: resolved.media_type.clone(),
        };
        if let Some(content) = self.inner.contents.get(&key).await {
            return Ok(content);
        }
        if let Some(left) = self.left(Lane::Content).await {
            return Err(Self::throttled(left, endpoint.shown()));
        }
        let accept = format!("{}, */*", resolved.media_type);
        let rest = format!("manifests/{}", resolved.digest);
        let answer = self.ask(Method::GET, &rest, &accept, MANIFEST).await?;
        let invalid = |fault| Evidence::ContentInvalid(fault);
        if answer.status == http::StatusCode::NOT_FOUND {
            return Err(self.failure(&answer, invalid(ContentFault::DigestWrong)));
        }
        if !answer.status.is_success() {
            return Err(self.turned_away(&answer).await);
        }
        if answer.truncated {
            return Err(self.failure_without_body(&answer, too_long(&answer)));
        }
        if !resolved.digest.matches(&answer.body) {
            return Err(self.failure_without_body(&answer, invalid(ContentFault::DigestWrong)));
        }
        let parsed = manifest::read(&resolved.media_type, &answer.body)
            .map_err(|fault| self.failure_without_body(&answer, invalid(fault)))?;
        let content = match parsed {
            Parsed::Index(entries) => Content::Index(entries),
            Parsed::Artifact { kind, unpack_fails } => Content::Artifact { kind, unpack_fails },
            Parsed::Image { config, layers } => self.config(&config, layers).await?,
        };
        self.inner.contents.put(key, content.clone()).await;
        Ok(content)
    }

    /// The config of a single manifest: its platform, and whether its layers add up.
    async fn config(&mut self, config: &Config, layers: usize) -> Result<Content, Failure> {
        let accept = format!("{}, */*", config.media_type);
        let rest = format!("blobs/{}", config.digest);
        let answer = self.ask(Method::GET, &rest, &accept, CONFIG).await?;
        if answer.status == http::StatusCode::NOT_FOUND {
            let evidence = Evidence::ContentMissing {
                part: "config",
                digest: config.digest.to_string(),
                media_type: config.media_type.clone(),
            };
            return Err(self.failure(&answer, evidence));
        }
        if !answer.status.is_success() {
            return Err(self.turned_away(&answer).await);
        }
        if answer.truncated {
            return Ok(Content::Image { platform: None });
        }
        let invalid = |fault| self.failure_without_body(&answer, Evidence::ContentInvalid(fault));
        if !config.digest.matches(&answer.body) {
            let fault = ContentFault::Structure("the config served does not have the digest that the manifest names".to_owned());
            return Err(invalid(fault));
        }
        let read = manifest::config(&answer.body).map_err(invalid)?;
        if read.diff_ids != layers {
            return Err(invalid(ContentFault::LayerCount {
                layers,
                diff_ids: read.diff_ids,
            }));
        }
        Ok(Content::Image { platform: read.platform })
    }

    /// Any other status than success, 401 and 404.
    async fn turned_away(&self, answer: &Answer) -> Failure {
        let status = answer.status.as_u16();
        let words = match status {
            // The body may say that it is about the caller's address, or which rule it was. Not worth a request otherwise.
            400..=499 if !matches!(status, 408 | 429) => self.words(answer, &self.target()).await,
            _ => None,
        };
        let evidence = cause::evidence(words.as_ref().unwrap_or(answer), self.authenticated());
        self.failure_in_words_of(answer, words.as_ref(), evidence)
    }

    /// A failure that rests on an answer whose body is content, not an error to be quoted.
    fn failure_without_body(&self, answer: &Answer, evidence: Evidence) -> Failure {
        Failure {
            code: None,
            detail: None,
            ..self.failure(answer, evidence)
        }
    }
}

fn too_long(answer: &Answer) -> Evidence {
    let announced = answer
        .header(header::CONTENT_LENGTH)
        .and_then(|text| text.parse::<u64>().ok());
    Evidence::TooLong {
        bytes: announced.unwrap_or(LONGEST + 1).max(LONGEST + 1),
    }
}

/// Whether a loopback host that failed over https is worth a try over http.
fn is_plain(failure: &Failure) -> bool {
    failure.status.is_none()
        && matches!(
            failure.evidence,
            Evidence::Tls(TlsFault::PlainHttp) | Evidence::ConnectionFailed(ConnectionFault::Interrupted)
        )
}

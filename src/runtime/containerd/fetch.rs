//! Fetches content by digest: from host after host, whatever their capabilities, until one has it (`dockerFetcher.Fetch` in
//! `core/remotes/docker/fetcher.go`). What that host serves is final.

use crate::ask::Ask;
use crate::image::{Digest, Platform};
use crate::runtime::answer::{Body, Response};
use crate::runtime::containerd::exchange::HostRequest;
use crate::runtime::containerd::manifest::{self, Claims, Config, Form, LONGEST, Parsed};
use crate::runtime::containerd::resolve::Resolved;
use crate::runtime::containerd::{Got, PullPath, Stop, Walk, caught};
use crate::runtime::content::{BlobRef, Content, IndexEntry, clipped};
use crate::runtime::outcome::{ContentFault, Evidence, Failure, Purpose};
use crate::runtime::request::{Method, Request, Want};
use std::sync::Arc;

/// Content that is requested by digest.
struct Wanted {
    rest: String,
    media_type: String,
    want: Want,
    /// What a 404 proves.
    absent: Evidence,
}

impl Walk<'_> {
    fn fetch(&mut self, ask: &mut Ask<'_, Request>, wanted: &Wanted) -> Got<Arc<Response>> {
        let accept: Arc<str> = Arc::from(if wanted.media_type.is_empty() {
            "*/*".to_owned()
        } else {
            format!("{}, */*", wanted.media_type)
        });
        let mut failures: Vec<Failure> = Vec::new();
        let hosts = self.sessions.len();
        for (at, session) in self.sessions.iter_mut().enumerate() {
            let request = HostRequest {
                method: Method::Get,
                rest: &wanted.rest,
                accept: &accept,
                want: wanted.want.clone(),
                last: at + 1 == hosts,
            };
            let response = match caught(session.exchange(ask, request))? {
                Ok(response) if response.is_success() => {
                    self.passed.extend(failures);
                    return Ok(response);
                }
                Ok(response) => response,
                Err(more) => {
                    failures.extend(more);
                    continue;
                }
            };
            let evidence = match response.status {
                404 => wanted.absent.clone(),
                // A storage behind the registry knows neither our credential nor a node's, but may filter addresses.
                403 if wanted.rest.starts_with("blobs/") && !session.is_at(&response.asked_at.origin) => Evidence::Forbidden {
                    address_bound: true,
                    with_credential: session.is_authenticated(),
                },
                _ => session.refused(&response),
            };
            failures.push(Failure::of(evidence, &response, Purpose::Content).of_host(at + 1 == hosts));
        }
        Err(Stop::Failed(failures))
    }

    /// Reads what a reference was resolved to, and names the config of an image, which is still to be read.
    pub(super) fn root(&mut self, ask: &mut Ask<'_, Request>, resolved: &Resolved) -> Got<(Content, Option<Config>)> {
        let digest = &resolved.digest;
        match manifest::form(&resolved.media_type) {
            Form::Schema1 => return self.schema1(ask, resolved),
            Form::Other => return Err(self.no_manifest(ask, resolved)?),
            // A registry that knows a manifest only as a blob is in trouble, whatever a GET may return.
            Form::Manifest | Form::Index if resolved.is_blob => {
                let evidence = Evidence::ServerError { token_server: false };
                return Err(Failure::plain(evidence, self.reference.registry().to_owned())
                    .about(digest)
                    .into());
            }
            Form::Manifest | Form::Index => {}
        }
        let wanted = Wanted {
            rest: format!("manifests/{digest}"),
            media_type: resolved.media_type.clone(),
            want: Want::Manifest {
                by: Some(digest.clone()),
            },
            absent: Evidence::ContentInvalid(ContentFault::NotServed),
        };
        let response = self.fetch(ask, &wanted)?;
        let part = if manifest::form(&resolved.media_type) == Form::Index {
            "index"
        } else {
            "manifest"
        };
        let about = |fault| Stop::from(Failure::unworded(Evidence::ContentInvalid(fault), &response).about(digest));
        let (document, has) = match &response.body {
            Body::Manifest { digest: has, .. } if has != digest => {
                return Err(about(ContentFault::OtherDigest {
                    part,
                    has: has.to_string(),
                }));
            }
            Body::Manifest { document, length, .. } => (document, *length),
            Body::TooLong(bytes) => return Err(too_long(&response, *bytes)),
            _ => return Err(unreadable(&response)),
        };
        if let Some(says) = resolved.length.filter(|says| *says != has) {
            return Err(Failure::cut_short(&response).map_or_else(
                || {
                    about(ContentFault::OtherSize {
                        part,
                        by: "answer to HEAD",
                        has: signed(has),
                        says: signed(says),
                    })
                },
                Stop::from,
            ));
        }
        let parsed = document.as_ref().map_err(|fault| about(fault.clone()))?;
        let parsed = manifest::read(&resolved.media_type, parsed).map_err(about)?;
        Ok(match parsed {
            Parsed::Index(entries) => (Content::Index(entries), None),
            Parsed::Artifact { kind, unpack, body } => (Content::Artifact { kind, unpack, body }, None),
            Parsed::Image { config, body } => (Content::Image { platform: None, body }, Some(config)),
        })
    }

    /// A Docker schema 1 manifest: containerd 1.x fetches and converts it (`schema1.Converter`), later versions refuse it unread.
    fn schema1(&mut self, ask: &mut Ask<'_, Request>, resolved: &Resolved) -> Got<(Content, Option<Config>)> {
        let digest = &resolved.digest;
        let broken = |fault, response: &Response| {
            let failure = Failure::unworded(Evidence::ContentInvalid(fault), response);
            Stop::from(failure.about(digest))
        };
        if self.by.version.refuses_schema1() {
            if resolved.by.is_of_no_registry() {
                let fault = ContentFault::MediaType(clipped(&resolved.media_type));
                return Err(broken(fault, &resolved.by));
            }
            return Ok((Content::Schema1, None));
        }
        let wanted = Wanted {
            rest: format!("manifests/{digest}"),
            media_type: manifest::SIGNED_SCHEMA1.to_owned(),
            want: Want::Manifest {
                by: Some(digest.clone()),
            },
            absent: Evidence::ContentInvalid(ContentFault::NotServed),
        };
        let response = self.fetch(ask, &wanted)?;
        let document = match &response.body {
            Body::Manifest { document, .. } => document.as_ref().map_err(|fault| broken(fault.clone(), &response))?,
            Body::TooLong(bytes) => return Err(too_long(&response, *bytes)),
            _ => return Err(unreadable(&response)),
        };
        if document.has_signatures {
            Ok((Content::Schema1, None))
        } else {
            Err(broken(ContentFault::Unsigned, &response))
        }
    }

    /// A reference whose media type is not that of a manifest: containerd takes it for a blob, and fails either way.
    fn no_manifest(&mut self, ask: &mut Ask<'_, Request>, resolved: &Resolved) -> Got<Stop> {
        let fault = if resolved.is_blob {
            ContentFault::DigestIsBlob
        } else {
            ContentFault::MediaType(clipped(&resolved.media_type))
        };
        let wanted = Wanted {
            rest: format!("blobs/{}", resolved.digest),
            media_type: resolved.media_type.clone(),
            want: Want::Blob { size: None },
            absent: Evidence::ContentInvalid(fault.clone()),
        };
        let fetched = caught(self.fetch(ask, &wanted))?;
        if resolved.by.is_of_no_registry() {
            // Whether or not there is such a blob: the answer that led here came from a login page, or similar.
            let failure = Failure::unworded(Evidence::ContentInvalid(fault), &resolved.by);
            return Ok(failure.about(&resolved.digest).into());
        }
        Ok(match fetched {
            Ok(response) => Failure::unworded(Evidence::ContentInvalid(fault), &response)
                .about(&resolved.digest)
                .into(),
            Err(failures) => {
                let mended = failures.into_iter().map(|failure| match &failure.evidence {
                    Evidence::ContentInvalid(_) => failure.about(&resolved.digest),
                    _ => failure,
                });
                Stop::Failed(mended.collect())
            }
        })
    }

    /// Whether an entry of an index exists. The request is the runtime's; the body is not read.
    pub(super) fn is_there(&mut self, ask: &mut Ask<'_, Request>, entry: &IndexEntry) -> Got<()> {
        let digest = self.descriptor("child manifest", &entry.digest, signed(entry.size))?;
        let wanted = Wanted {
            rest: format!("manifests/{digest}"),
            media_type: entry.media_type.clone(),
            want: Want::Blob {
                size: Some(signed(entry.size)),
            },
            absent: Evidence::ContentMissing {
                part: "child manifest",
                digest: entry.digest.clone(),
                media_type: entry.media_type.clone(),
            },
        };
        let response = self.fetch(ask, &wanted)?;
        match response.length.filter(|_| !response.encoded).map(signed) {
            Some(has) if has != signed(entry.size) => {
                let fault = ContentFault::OtherSize {
                    part: "child manifest",
                    by: "index",
                    has,
                    says: signed(entry.size),
                };
                Err(Failure::unworded(Evidence::ContentInvalid(fault), &response)
                    .about(&digest)
                    .into())
            }
            _ if response.is_of_no_registry() => Err(Failure::of_page("child manifest", &digest, &response).into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads an entry of an index.
    pub(super) fn child(&mut self, ask: &mut Ask<'_, Request>, entry: &IndexEntry) -> Got<Parsed> {
        let digest = self.descriptor("child manifest", &entry.digest, signed(entry.size))?;
        if !entry.is_manifest() {
            let fault = ContentFault::EntryType(entry.media_type.clone());
            return Err(self.broken(fault, &entry.digest));
        }
        let wanted = Wanted {
            rest: format!("manifests/{digest}"),
            media_type: entry.media_type.clone(),
            want: Want::Manifest {
                by: Some(digest.clone()),
            },
            absent: Evidence::ContentMissing {
                part: "child manifest",
                digest: entry.digest.clone(),
                media_type: entry.media_type.clone(),
            },
        };
        let response = self.fetch(ask, &wanted)?;
        let broken = |fault| Stop::from(Failure::unworded(Evidence::ContentInvalid(fault), &response).about(&digest));
        let (document, has) = match &response.body {
            Body::Manifest { length, .. } if *length != entry.size => {
                return Err(broken(ContentFault::OtherSize {
                    part: "child manifest",
                    by: "index",
                    has: signed(*length),
                    says: signed(entry.size),
                }));
            }
            Body::Manifest {
                digest: has, document, ..
            } => (document, has),
            Body::TooLong(_) if entry.size > LONGEST => {
                // The runtimes' limit does not apply here, only to what a reference names; our own does.
                let mut failure = Failure::unworded(Evidence::ServerError { token_server: false }, &response);
                failure.detail = Some(format!(
                    "a child manifest of {} bytes, of which {LONGEST} are read here",
                    entry.size
                ));
                return Err(failure.into());
            }
            Body::TooLong(bytes) => {
                return Err(broken(ContentFault::OtherSize {
                    part: "child manifest",
                    by: "index",
                    has: signed(*bytes),
                    says: signed(entry.size),
                }));
            }
            _ => return Err(unreadable(&response)),
        };
        if *has != digest {
            return Err(broken(ContentFault::OtherDigest {
                part: "child manifest",
                has: has.to_string(),
            }));
        }
        let document = document.as_ref().map_err(|fault| broken(fault.clone()))?;
        manifest::read(&entry.media_type, document).map_err(broken)
    }

    /// Reads the config of an image: its platform, if the layers match the config. `None` if it is longer than we read.
    pub(super) fn config(&mut self, ask: &mut Ask<'_, Request>, config: &Config) -> Got<Option<Platform>> {
        if let Some(host) = &config.elsewhere {
            return Err(self.elsewhere("config", host, config.digest.as_str()));
        }
        let wanted = Wanted {
            rest: format!("blobs/{}", config.digest),
            media_type: config.media_type.clone(),
            want: Want::Config {
                by: config.digest.clone(),
            },
            absent: Evidence::ContentMissing {
                part: "config",
                digest: config.digest.to_string(),
                media_type: config.media_type.clone(),
            },
        };
        let response = self.fetch(ask, &wanted)?;
        let broken = |fault| Stop::from(Failure::unworded(Evidence::ContentInvalid(fault), &response).about(&config.digest));
        let (read, has, digest) = match &response.body {
            Body::Config { config, length, digest } => (config, signed(*length), digest),
            Body::TooLong(_) => return Ok(None),
            _ => return Err(unreadable(&response)),
        };
        if has != config.size {
            return Err(broken(ContentFault::OtherSize {
                part: "config",
                by: "manifest",
                has,
                says: config.size,
            }));
        }
        if *digest != config.digest {
            return Err(broken(ContentFault::OtherDigest {
                part: "config",
                has: digest.to_string(),
            }));
        }
        let read = read.as_ref().map_err(|fault| broken(fault.clone()))?;
        match Claims::hold(&config.claims, read) {
            // If there is nothing to unpack, the transfer service does not count layers.
            Err(ContentFault::LayerCount { layers: 0, .. }) if self.by.path == PullPath::Transfer => {}
            held => held.map_err(broken)?,
        }
        Ok(Some(read.platform.clone()))
    }

    /// Whether a blob exists and has the size that its descriptor says. Its content is not read.
    pub(super) fn blob(&mut self, ask: &mut Ask<'_, Request>, blob: &BlobRef) -> Got<()> {
        let digest = self.descriptor(blob.part, &blob.digest, blob.size)?;
        if let Some(host) = &blob.elsewhere {
            return Err(self.elsewhere(blob.part, host, &blob.digest));
        }
        let wanted = Wanted {
            rest: format!("blobs/{digest}"),
            media_type: blob.media_type.clone(),
            want: Want::Blob { size: Some(blob.size) },
            absent: Evidence::ContentMissing {
                part: blob.part,
                digest: blob.digest.clone(),
                media_type: blob.media_type.clone(),
            },
        };
        let response = self.fetch(ask, &wanted)?;
        match response.length.filter(|_| !response.encoded).map(signed) {
            Some(has) if has != blob.size => {
                let fault = ContentFault::OtherSize {
                    part: blob.part,
                    by: "manifest",
                    has,
                    says: blob.size,
                };
                Err(Failure::unworded(Evidence::ContentInvalid(fault), &response)
                    .about(&digest)
                    .into())
            }
            _ if response.is_of_no_registry() => Err(Failure::of_page(blob.part, &digest, &response).into()),
            Some(_) | None => Ok(()),
        }
    }

    /// The digest of a descriptor, if content can be fetched by it.
    fn descriptor(&self, part: &'static str, digest: &str, size: i64) -> Got<Digest> {
        match Digest::parse(digest) {
            Some(digest) if size > 0 => Ok(digest),
            Some(_) => Err(self.broken(
                ContentFault::SizeOf {
                    part,
                    digest: digest.to_owned(),
                    says: size,
                },
                digest,
            )),
            None if digest.is_empty() && size <= 0 => Err(self.broken(
                ContentFault::SizeOf {
                    part,
                    digest: String::new(),
                    says: size,
                },
                digest,
            )),
            None => Err(self.broken(
                ContentFault::Structure(format!("the digest of a {part} is malformed: \"{digest}\"")),
                digest,
            )),
        }
    }

    fn broken(&self, fault: ContentFault, digest: &str) -> Stop {
        let failure = Failure::plain(Evidence::ContentInvalid(fault), self.reference.registry().to_owned());
        failure.about(digest).into()
    }

    /// The failure for a part whose `urls` lead to another host. Runtimes ask there first; we never do.
    fn elsewhere(&self, part: &'static str, host: &str, digest: &str) -> Stop {
        let evidence = Evidence::ForeignUrls {
            part,
            host: host.to_owned(),
            digest: digest.to_owned(),
        };
        Failure::plain(evidence, self.reference.registry().to_owned())
            .about(digest)
            .into()
    }
}

fn too_long(response: &Response, read: u64) -> Stop {
    let bytes = read.max(response.length.unwrap_or(0)).max(LONGEST + 1);
    Failure::unworded(Evidence::TooLong { bytes }, response).into()
}

/// The wire has not read a body that it was asked to read.
fn unreadable(response: &Response) -> Stop {
    Failure::unworded(Evidence::ServerError { token_server: false }, response).into()
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

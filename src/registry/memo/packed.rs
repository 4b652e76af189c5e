//! An answer in few bytes. A registry's own answer is written as bytes: numbers as short as they are, digests as 32 bytes, and what many
//! answers say (media types, platforms) as one. A manifest of ten layers takes half a kilobyte so, where its values take three.

use super::weights::weight;
use crate::budget::Claim;
use crate::image::{Digest, Platform};
use crate::registry::exchange::asked;
use crate::runtime::answer::{Answer, AnsweredBy, Body, Response};
use crate::runtime::content::{Descriptor, Document, Members, ReadConfig};
use crate::runtime::fault::Counted;
use crate::runtime::outcome::Quota;
use crate::runtime::request::{Request, Want};
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use std::mem::size_of;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What nearly all images say.
const COMMON: [&str; 15] = [
    IMAGE_MANIFEST_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_CONFIG_MEDIA_TYPE,
    IMAGE_DOCKER_CONFIG_MEDIA_TYPE,
    IMAGE_LAYER_GZIP_MEDIA_TYPE,
    IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE,
    "application/octet-stream",
    "linux",
    "windows",
    "amd64",
    "arm64",
    "v8",
    "unknown",
];

/// How many texts are kept once for all; registries have a dozen of their own.
const INTERNED: usize = 64;
/// How long such a text may be, in bytes.
const LONGEST_INTERNED: usize = 100;
/// What stands for a text that is none of them: the digest that was asked for, another one, and one that is written out.
const ASKED: u8 = 253;
const DIGEST: u8 = 254;
const WRITTEN: u8 = 255;

/// Texts that many answers have, each kept once.
pub(super) struct Interned([OnceLock<Arc<str>>; INTERNED]);

impl Default for Interned {
    fn default() -> Self {
        let interned = Self([const { OnceLock::new() }; INTERNED]);
        for (place, text) in interned.0.iter().zip(COMMON) {
            let _ = place.set(Arc::from(text));
        }
        interned
    }
}

impl Interned {
    /// The place of a text, which gets one as long as there are any.
    fn place(&self, text: &str) -> Option<u8> {
        let takes = |place: &OnceLock<Arc<str>>| &**place.get_or_init(|| Arc::from(text)) == text;
        let place = self.0.iter().position(takes).filter(|_| text.len() <= LONGEST_INTERNED);
        place.and_then(|place| u8::try_from(place).ok())
    }

    fn at(&self, place: u8) -> Option<&Arc<str>> {
        self.0.get(usize::from(place))?.get()
    }
}

/// An answer, in few bytes where it is one of those that are kept by the hundred thousand.
pub(super) enum Packed {
    /// A registry's own, to what was asked for.
    Bytes(Box<[u8]>),
    Whole(Box<Answer>),
}

impl Packed {
    pub(super) fn of(request: &Request, answer: &Answer, interned: &Interned) -> Self {
        let bytes = match answer {
            Answer::Response(response) => written(request, response, interned),
            _ => None,
        };
        bytes.map_or_else(|| Self::Whole(Box::new(answer.clone())), Self::Bytes)
    }

    /// The answer to `request`, the one that it was given to. What it said of the pull quota only where that is `news`. `None` never happens:
    /// these bytes were written here.
    pub(super) fn unpack(&self, request: &Request, interned: &Interned, news: bool) -> Option<Answer> {
        let answer = match self {
            Self::Bytes(bytes) => Answer::Response(Arc::new(read(request, bytes, interned)?)),
            Self::Whole(answer) => Answer::clone(answer),
        };
        Some(match answer {
            Answer::Response(response) if response.quota.is_some() && !news => Answer::Response(Arc::new(Response {
                quota: None,
                ..Arc::unwrap_or_clone(response)
            })),
            answer => answer,
        })
    }

    /// In bytes beside itself, roughly.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Whole(answer) => size_of::<Answer>() + weight(answer),
        }
    }
}

/// What follows the head of an answer.
const UNREAD: u64 = 0;
const MANIFEST: u64 = 1;
const CONFIG: u64 = 2;

/// `None` for what is not written so.
fn written(request: &Request, response: &Response, interned: &Interned) -> Option<Box<[u8]>> {
    let Response {
        asked_at,
        status,
        as_somebody: false,
        challenges,
        content_type,
        length,
        encoded: false,
        digest,
        body,
        quota,
        retry_after: None,
        answered_by: AnsweredBy::Registry,
    } = response
    else {
        return None;
    };
    if !challenges.is_empty() || *asked_at != asked(request) {
        return None;
    }
    let mut to = Writer {
        bytes: Vec::new(),
        interned,
        asked: by(request),
    };
    to.number(u64::from(*status));
    to.text(content_type);
    to.some(*length, Writer::number);
    to.some(digest.as_deref(), Writer::text);
    to.some(quota.as_ref(), |to, quota| {
        to.number(quota.remaining);
        to.some(quota.limit, Writer::number);
        // It was read in whole seconds.
        to.some(quota.window.map(|window| window.as_secs()), Writer::number);
        to.number(match quota.counted {
            Counted::NotSaid => 0,
            Counted::Address => 1,
            Counted::Account => 2,
        });
    });
    match body {
        Body::Unread => to.number(UNREAD),
        Body::Manifest {
            document: Ok(document),
            digest,
            length,
        } if document.schema1.is_none() => {
            to.number(MANIFEST);
            to.text(digest.as_str());
            to.number(*length);
            to.document(document);
        }
        Body::Config {
            config: Ok(config),
            digest,
            length,
        } => {
            to.number(CONFIG);
            to.text(digest.as_str());
            to.number(*length);
            to.platform(&config.platform);
            to.each(&config.diff_ids, |to, id| to.text(id));
        }
        _ => return None,
    }
    Some(to.bytes.into_boxed_slice())
}

fn read(request: &Request, bytes: &[u8], interned: &Interned) -> Option<Response> {
    let mut from = Reader {
        bytes,
        interned,
        asked: by(request),
    };
    Some(Response {
        asked_at: asked(request),
        status: u16::try_from(from.number()?).ok()?,
        as_somebody: false,
        challenges: Vec::new(),
        content_type: from.shared()?,
        length: from.some(Reader::number)?,
        encoded: false,
        digest: from.some(Reader::shared)?,
        quota: from.some(|from| {
            Some(Quota {
                remaining: from.number()?,
                limit: from.some(Reader::number)?,
                window: from.some(Reader::number)?.map(Duration::from_secs),
                counted: match from.number()? {
                    0 => Counted::NotSaid,
                    1 => Counted::Address,
                    _ => Counted::Account,
                },
            })
        })?,
        body: match from.number()? {
            UNREAD => Body::Unread,
            MANIFEST => {
                let (digest, length) = (Digest::parse(&from.text()?)?, from.number()?);
                Body::Manifest {
                    document: Ok(Arc::new(from.document()?)),
                    digest,
                    length,
                }
            }
            _ => {
                let (digest, length) = (Digest::parse(&from.text()?)?, from.number()?);
                let config = ReadConfig {
                    platform: from.platform()?,
                    diff_ids: from.each(Reader::text)?,
                    held: Claim::default(),
                };
                Body::Config {
                    config: Ok(Arc::new(config)),
                    digest,
                    length,
                }
            }
        },
        retry_after: None,
        answered_by: AnsweredBy::Registry,
    })
}

/// The digest that a request asks for.
fn by(request: &Request) -> Option<&Digest> {
    match &request.want {
        Want::Manifest { by } => by.as_ref(),
        Want::Config { by } => Some(by),
        _ => None,
    }
}

struct Writer<'a> {
    bytes: Vec<u8>,
    interned: &'a Interned,
    asked: Option<&'a Digest>,
}

impl Writer<'_> {
    /// Seven bits a byte, the lowest first (LEB128).
    fn number(&mut self, number: u64) {
        let mut left = number;
        while let (low, rest @ 1..) = (left & 0x7f, left >> 7) {
            self.bytes.push(low.to_le_bytes()[0] | 0x80);
            left = rest;
        }
        self.bytes.push(left.to_le_bytes()[0]);
    }

    fn text(&mut self, text: &str) {
        if self.asked.is_some_and(|asked| asked.as_str() == text) {
            self.bytes.push(ASKED);
        } else if let Some(digest) = Digest::parse(text).and_then(|digest| digest.to_sha256()) {
            self.bytes.push(DIGEST);
            self.bytes.extend(digest);
        } else if let Some(place) = self.interned.place(text) {
            self.bytes.push(place);
        } else {
            self.bytes.push(WRITTEN);
            self.number(text.len() as u64);
            self.bytes.extend(text.as_bytes());
        }
    }

    fn some<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn each<T>(&mut self, values: &[T], write: impl Fn(&mut Self, &T)) {
        self.number(values.len() as u64);
        for value in values {
            write(self, value);
        }
    }

    fn flags(&mut self, flags: &[bool]) {
        self.number(flags.iter().fold(0, |bits, flag| bits << 1 | u64::from(*flag)));
    }

    fn signed(&mut self, number: i64) {
        self.number(number.cast_unsigned());
    }

    fn platform(&mut self, platform: &Platform) {
        let Platform {
            os,
            architecture,
            variant,
            os_version,
            os_features,
        } = platform;
        for text in [os, architecture, variant, os_version] {
            self.text(text);
        }
        self.each(os_features, |to, feature| to.text(feature));
    }

    fn descriptor(&mut self, descriptor: &Descriptor) {
        let Descriptor {
            media_type,
            digest,
            size,
            elsewhere,
            data_decodes,
            platform,
            zstd,
        } = descriptor;
        self.text(media_type);
        self.text(digest);
        self.some(*size, Self::signed);
        self.some(elsewhere.as_deref(), Self::text);
        self.some(platform.as_ref(), Self::platform);
        self.flags(&[*data_decodes, *zstd]);
    }

    fn document(&mut self, document: &Document) {
        let Document {
            media_type,
            config,
            layers,
            manifests,
            artifact_type,
            odd_artifact_type,
            odd_subject,
            has_config,
            has_layers,
            has_manifests,
            has_fs_layers,
            has_signatures,
            schema_version,
            members,
            // Not written so, and not kept.
            schema1: _,
            held: _,
        } = document;
        self.text(media_type);
        self.some(config.as_ref(), Self::descriptor);
        self.each(layers, Self::descriptor);
        self.each(manifests, Self::descriptor);
        self.some(artifact_type.as_deref(), Self::text);
        self.signed(*schema_version);
        self.flags(&[*odd_artifact_type, *odd_subject, *has_config, *has_layers]);
        self.flags(&[*has_manifests, *has_fs_layers, *has_signatures]);
        let Members {
            config,
            fs_layers,
            history,
            layers,
            manifests,
        } = members;
        self.flags(&[*config, *fs_layers, *history, *layers, *manifests]);
    }
}

/// Reads what [`Writer`] wrote, by the same names.
struct Reader<'a> {
    bytes: &'a [u8],
    interned: &'a Interned,
    asked: Option<&'a Digest>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, many: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(many)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// What `made` makes of a text.
    fn made<T: for<'t> From<&'t str>>(&mut self, shared: impl FnOnce(&Arc<str>) -> T) -> Option<T> {
        Some(match self.byte()? {
            ASKED => T::from(self.asked?.as_str()),
            DIGEST => T::from(Digest::of_sha256(self.take(32)?.try_into().ok()?).as_str()),
            WRITTEN => {
                let length = usize::try_from(self.number()?).ok()?;
                T::from(str::from_utf8(self.take(length)?).ok()?)
            }
            place => shared(self.interned.at(place)?),
        })
    }

    fn text(&mut self) -> Option<String> {
        self.made(ToString::to_string)
    }

    fn shared(&mut self) -> Option<Arc<str>> {
        self.made(Arc::clone)
    }

    #[expect(
        clippy::option_option,
        reason = "the inner one is what was written, the outer one whether it can be read"
    )]
    fn some<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        Some(match self.number()? {
            0 => None,
            _ => Some(read(self)?),
        })
    }

    fn each<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.number()?).map(|_| read(self)).collect()
    }

    fn flags<const N: usize>(&mut self) -> Option<[bool; N]> {
        let bits = self.number()?;
        Some(std::array::from_fn(|at| bits >> (N - 1 - at) & 1 == 1))
    }

    fn signed(&mut self) -> Option<i64> {
        self.number().map(u64::cast_signed)
    }

    fn platform(&mut self) -> Option<Platform> {
        Some(Platform {
            os: self.text()?,
            architecture: self.text()?,
            variant: self.text()?,
            os_version: self.text()?,
            os_features: self.each(Self::text)?,
        })
    }

    fn descriptor(&mut self) -> Option<Descriptor> {
        let (media_type, digest) = (self.text()?, self.text()?);
        let (size, elsewhere, platform) = (self.some(Self::signed)?, self.some(Self::text)?, self.some(Self::platform)?);
        let [data_decodes, zstd] = self.flags()?;
        Some(Descriptor {
            media_type,
            digest,
            size,
            elsewhere,
            data_decodes,
            platform,
            zstd,
        })
    }

    fn document(&mut self) -> Option<Document> {
        let (media_type, config) = (self.text()?, self.some(Self::descriptor)?);
        let (layers, manifests) = (self.each(Self::descriptor)?, self.each(Self::descriptor)?);
        let (artifact_type, schema_version) = (self.some(Self::text)?, self.signed()?);
        let [odd_artifact_type, odd_subject, has_config, has_layers] = self.flags()?;
        let [has_manifests, has_fs_layers, has_signatures] = self.flags()?;
        let [of_config, fs_layers, history, of_layers, of_manifests] = self.flags()?;
        Some(Document {
            media_type,
            config,
            layers,
            manifests,
            artifact_type,
            odd_artifact_type,
            odd_subject,
            has_config,
            has_layers,
            has_manifests,
            has_fs_layers,
            has_signatures,
            schema_version,
            members: Members {
                config: of_config,
                fs_layers,
                history,
                layers: of_layers,
                manifests: of_manifests,
            },
            schema1: None,
            held: Claim::default(),
        })
    }
}

//! What may be wrong with an answer, or with its content.

use std::time::Duration;

/// What is left of a pull quota, as the headers of a good answer have it (pull-semantics 6.4). Asking by HEAD uses nothing up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// `ratelimit-remaining`: pulls that are left. At 0 the next one is refused.
    pub remaining: u64,
    /// `ratelimit-limit`, where it can be read.
    pub limit: Option<u64>,
    /// The time in which so many pulls are free (`w=` of the headers, in seconds).
    pub window: Option<Duration>,
    /// `docker-ratelimit-source`: whose pulls are counted.
    pub counted: Counted,
}

impl Quota {
    /// How much is left. Low only where limit and window are told, as Docker Hub does: other headers of that name count requests.
    pub fn level(&self) -> Level {
        match (self.remaining, self.limit, self.window) {
            (0, _, _) => Level::Exhausted,
            (remaining, Some(limit), Some(_)) if remaining.saturating_mul(10) <= limit => Level::Low,
            (_, _, _) => Level::Plenty,
        }
    }
}

/// Whose pulls a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counted {
    /// The registry does not say.
    #[default]
    NotSaid,
    /// Those from the address that we ask from.
    Address,
    /// Those of the account whose credential was sent.
    Account,
}

/// How much is left of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Enough to say nothing about it.
    Plenty,
    /// At most a tenth.
    Low,
    /// Nothing.
    Exhausted,
}

/// How a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionFault {
    /// Connection refused.
    Refused,
    /// Reset, or closed before the answer was complete.
    Interrupted,
    /// No route, network unreachable, or another socket error.
    Unreachable,
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeoutStage {
    /// Connecting.
    Connect,
    /// The TLS handshake, on a connection that came about.
    Handshake,
    /// The answer.
    Response,
    /// The review's deadline passed while we waited (also: in the queue of a slow host).
    Deadline,
}

/// Why TLS did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsFault {
    /// Signed by an unknown authority.
    UnknownIssuer,
    /// Expired or not yet valid.
    Expired,
    /// Another name.
    WrongName,
    /// The server speaks plain HTTP.
    PlainHttp,
    /// Anything else.
    Other,
}

/// What our guard refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The address is in a range that the settings do not admit; the range to add to `network.allow`.
    Address {
        /// For instance `10.0.0.0/8`.
        range: String,
    },
    /// Link-local or metadata: never admitted.
    NeverAdmitted {
        /// The address.
        address: String,
    },
    /// The name of a cloud's metadata service: never admitted.
    Metadata {
        /// As written.
        name: String,
    },
    /// A redirect from https to http, or to http on another host or port.
    Redirect,
    /// What nodes take along to where a redirect leads: an `Authorization`, or the user that its URL names. It was followed without, and
    /// refused us.
    Withheld,
    /// A token realm that is neither https nor the registry itself.
    Realm,
}

/// Why CRI-O may fail with a layer that we do not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnreadLayer {
    /// Its type, this one, names no compression, and it is not the plain tar that the config counts: CRI-O pulls it if it detects a
    /// compression in its bytes.
    Packing(String),
    /// It is longer or shorter than its descriptor says. CRI-O does not compare lengths: it fails if the bytes have another digest.
    Length {
        /// In bytes.
        has: u64,
        /// In bytes.
        says: i64,
    },
}

/// Why a manifest is unusable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentFault {
    /// The content type is none that a runtime takes for a manifest (`text/html`: a login page).
    MediaType(String),
    /// The media type of an index entry is none that a runtime takes for a manifest.
    EntryType(String),
    /// Not JSON.
    NotJson,
    /// The media type and the body disagree: how, in containerd's words.
    BodyMismatch(String),
    /// A member of the manifest, or of the descriptor in it, is of the wrong kind.
    WrongKind(&'static str),
    /// `Content-Length: 0`.
    Empty,
    /// `Docker-Content-Digest` is malformed.
    DigestMalformed(String),
    /// `Docker-Content-Digest`, or the digest asked for, is not that of the body.
    DigestWrong,
    /// A part is served that has another digest than the one that it was asked for by.
    OtherDigest {
        /// `manifest`, `index`, `child manifest` or `config`.
        part: &'static str,
        /// The digest of what was served.
        has: String,
    },
    /// The registry says which digest the reference stands for, and then does not serve it.
    NotServed,
    /// A Docker schema 1 manifest without signatures, which containerd 1.x cannot convert.
    Unsigned,
    /// The config is not JSON.
    ConfigNotJson,
    /// A member of the config is of the wrong kind.
    ConfigWrongKind,
    /// A descriptor by which nothing is fetched: containerd refuses sizes of zero and below.
    SizeOf {
        /// `child manifest`, `config` or `layer`.
        part: &'static str,
        /// Its digest, as written; may be empty.
        digest: String,
        /// Its size in bytes, as written.
        says: i64,
    },
    /// Layers and `diff_ids` differ in number.
    LayerCount {
        /// Layers in the manifest.
        layers: usize,
        /// `diff_ids` in the config.
        diff_ids: usize,
    },
    /// The digest names a blob, not a manifest.
    DigestIsBlob,
    /// A part is longer or shorter than was said.
    OtherSize {
        /// `config`, `layer` …
        part: &'static str,
        /// Who says so.
        by: &'static str,
        /// In bytes.
        has: i64,
        /// In bytes.
        says: i64,
    },
    /// An index without entries that are not attestations.
    NoImage,
    /// A layer of this type, which a runtime unpacks by a plugin or not at all (encrypted, nydus, squashfs).
    NeedsPlugin(String),
    /// A layer of this type, which containerd takes for plain tar, is not what the config says it holds: it is packed after all.
    Packed(String),
    /// Whether CRI-O can use a layer, only reading it would show.
    Unread(UnreadLayer),
    /// A `diff_id` in the config is none by sha256, by which containerd counts what it unpacks.
    DiffId(String),
    /// Its config or a layer says that it is for this platform, which is not that of its config: a runtime passes over what is for others.
    PartOfOthers(String),
    /// Newer runtimes cannot read it, older ones know nothing of what is wrong.
    Newer(String),
    /// Other structural damage.
    Structure(String),
}

//! What would happen (outlook), and what we do about it (verdict): contract 2.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What would happen if the object were stored. Ordered from harmless to worst, so that an object's outlook is its worst image's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outlook {
    /// The registry answered for the very requests a kubelet would make.
    Pulls,
    /// We could not find out.
    Unknown,
    /// The pull works, the container cannot start.
    FailsToRun,
    /// Fails on some candidates or runtimes; or something that may still arrive is missing.
    MayFail,
    /// A definite failure: the same request by a node gives the same answer.
    WillFail,
    /// A policy refuses the name; no registry was asked.
    NotAllowed,
}

/// What is done about an image or an object. Ordered by severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Nothing to object to.
    Allow,
    /// Stored, with a warning.
    Warn,
    /// Refused.
    Deny,
}

impl Outlook {
    /// Every outlook, from harmless to worst.
    pub const ALL: &'static [Self] = &[
        Self::Pulls,
        Self::Unknown,
        Self::FailsToRun,
        Self::MayFail,
        Self::WillFail,
        Self::NotAllowed,
    ];

    /// The default verdict (contract 2).
    pub fn default_verdict(self) -> Verdict {
        match self {
            Self::Pulls => Verdict::Allow,
            Self::Unknown | Self::FailsToRun | Self::MayFail => Verdict::Warn,
            Self::WillFail | Self::NotAllowed => Verdict::Deny,
        }
    }

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pulls => "Pulls",
            Self::Unknown => "Unknown",
            Self::FailsToRun => "FailsToRun",
            Self::MayFail => "MayFail",
            Self::WillFail => "WillFail",
            Self::NotAllowed => "NotAllowed",
        }
    }
}

impl Verdict {
    /// Every verdict, by severity.
    pub const ALL: &'static [Self] = &[Self::Allow, Self::Warn, Self::Deny];

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Warn => "Warn",
            Self::Deny => "Deny",
        }
    }
}

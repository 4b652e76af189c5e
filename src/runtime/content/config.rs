//! An image's config.

use super::document::{WrittenPlatform, fault, read};
use crate::budget::Claim;
use crate::go::json::{self, FromGoJson, Pointer, loose};
use crate::image::Platform;
use crate::runtime::fault::ContentFault;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::HashMap;

/// The contents of an image's config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadConfig {
    /// Without an architecture if the config names none.
    pub platform: Platform,
    /// `rootfs.diff_ids`, as written.
    pub diff_ids: Vec<String>,
    /// The memory that a long config takes, reserved from the budget.
    pub held: Claim,
}

impl ReadConfig {
    /// Its size in memory in bytes, roughly.
    pub fn weight(&self) -> usize {
        let ids = self.diff_ids.iter().map(|id| size_of::<String>() + id.len()).sum::<usize>();
        size_of::<Self>() + self.platform.weight() + ids
    }
}

/// A date as text. Anything else is an error here, whatever follows in the document.
#[derive(Debug, Default)]
struct Date;

impl<'de> FromGoJson<'de> for Date {
    fn decode<D: Deserializer<'de>>(_: Option<Self>, from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let sensible = json::is_date(&text).then_some(Self);
        sensible.ok_or_else(|| serde::de::Error::custom("no date"))
    }
}

loose! {
    struct WrittenConfig<'a> {
        "created" => _created: Pointer<Date>,
        "author" => _author: String,
        "config" => _run: WrittenRun<'a>,
        "rootfs" => rootfs: RootFs<'a>,
        "history" => _history: Vec<Option<History<'a>>>,
        "os" => os: String,
        "architecture" => architecture: String,
        "variant" => variant: String,
        "os.version" => os_version: String,
        "os.features" => os_features: Vec<Option<String>>,
    }
}

/// Any object.
type Anything<'a> = HashMap<String, &'a RawValue>;

loose! {
    /// How the container is run. Only the types of its members are checked.
    struct WrittenRun<'a> {
        "user" => _user: String,
        "exposedports" => _ports: HashMap<String, Option<Anything<'a>>>,
        "env" => _env: Vec<Option<String>>,
        "entrypoint" => _entrypoint: Vec<Option<String>>,
        "cmd" => _cmd: Vec<Option<String>>,
        "volumes" => _volumes: HashMap<String, Option<Anything<'a>>>,
        "workingdir" => _working_dir: String,
        "labels" => _labels: HashMap<String, Option<String>>,
        "stopsignal" => _stop_signal: String,
        "argsescaped" => _args_escaped: bool,
    }
}

loose! {
    struct RootFs<'a> {
        "type" => _type: String,
        "diff_ids" => diff_ids: Vec<Option<String>>,
    }
}

loose! {
    struct History<'a> {
        "created" => _created: Pointer<Date>,
        "created_by" => _by: String,
        "author" => _author: String,
        "comment" => _comment: String,
        "empty_layer" => _empty: bool,
    }
}

/// Reads a config. Runtimes refuse one with a member of the wrong type, even if they do not need that member.
pub fn config(body: &[u8]) -> Result<ReadConfig, ContentFault> {
    let text = json::text(body);
    let written =
        read::<WrittenConfig<'_>>(&text).ok_or_else(|| fault(body, ContentFault::ConfigNotJson, ContentFault::ConfigWrongKind))?;
    let diff_ids = written.rootfs.and_then(|rootfs| rootfs.diff_ids).unwrap_or_default();
    let platform = Platform::from(WrittenPlatform {
        os: written.os,
        architecture: written.architecture,
        variant: written.variant,
        os_version: written.os_version,
        os_features: written.os_features,
        ..WrittenPlatform::default()
    });
    Ok(ReadConfig {
        platform,
        diff_ids: diff_ids.into_iter().map(Option::unwrap_or_default).collect(),
        held: Claim::default(),
    })
}

//! The state of the cluster's policies: which version of each is in force, what is wrong with its newest version, and which status
//! is to be written. Without any I/O.

use super::denials::Denials;
use super::status::{self, Facts, InForce};
use crate::cluster::convert;
use crate::policy::{Policy, PolicyLocation, Problem};
use crate::workload::Kinds;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest wait between two attempts to write one status: replicas that judge a policy differently (during an upgrade, say)
/// alternate no faster than that.
const LONGEST: Duration = Duration::from_mins(10);
/// The wait after the first attempt; doubled with each further one for the same generation.
const FIRST: Duration = Duration::from_secs(2);

/// The wait between two writes of counts.
pub(super) const COUNTS: Duration = Duration::from_mins(1);

/// All policies of the cluster, by name; and the hash by which this process orders its writes.
#[derive(Debug, Default)]
pub(super) struct Catalog(BTreeMap<String, Entry>, RandomState);

#[derive(Debug)]
struct Entry {
    uid: String,
    generation: Option<i64>,
    /// The newest version's, whatever changed in it.
    resource_version: String,
    /// The last version that compiled, and its generation.
    good: Option<(Arc<Policy>, Option<i64>)>,
    /// What is wrong with the newest version.
    problems: Vec<Problem>,
    /// `status`, as the API server has it.
    status: Value,
    writes: StatusWrites,
    /// When counts were written last.
    counted: Option<Instant>,
}

/// How often a status was written for one generation, and when it may be written again.
#[derive(Debug, Clone, Copy, Default)]
struct StatusWrites {
    attempts: u32,
    not_before: Option<Instant>,
}

/// The effect of a change of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Its newest version is in force.
    Accepted { name: String, generation: Option<i64> },
    /// Its newest version is invalid.
    Refused {
        name: String,
        generation: Option<i64>,
        problems: Vec<Problem>,
        in_force: InForce,
    },
    /// It was deleted.
    Gone { name: String },
}

/// A status to write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Job {
    /// The policy.
    pub(super) name: String,
    /// A merge patch with the version it was made from: it is refused if another replica was faster.
    pub(super) patch: Value,
    /// Whether only counts are new.
    only_counts: bool,
}

/// What the writer does next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    Write(Job),
    /// Nothing before that.
    Wait(Instant),
    /// Nothing until something changes.
    Idle,
}

impl Catalog {
    /// The object was created or changed; `None` if the change does not matter.
    pub(super) fn apply(&mut self, object: &Value, kinds: &Kinds) -> Option<Change> {
        let name = convert::name(object).to_owned();
        let (entry, change) = Entry::read(&name, object, self.0.remove(&name), kinds);
        self.0.insert(name, entry);
        change
    }

    /// The object was deleted.
    pub(super) fn remove(&mut self, name: &str) -> Option<Change> {
        let name = name.to_owned();
        self.0.remove(&name).map(|_| Change::Gone { name })
    }

    /// Replaces the whole catalog with these objects.
    pub(super) fn replace(&mut self, objects: &[Value], kinds: &Kinds) -> Vec<Change> {
        let mut before = std::mem::take(&mut self.0);
        let mut changes = Vec::new();
        for object in objects {
            let name = convert::name(object).to_owned();
            let (entry, change) = Entry::read(&name, object, before.remove(&name), kinds);
            self.0.insert(name, entry);
            changes.extend(change);
        }
        changes.extend(before.into_keys().map(|name| Change::Gone { name }));
        changes
    }

    /// The policies in force.
    pub(super) fn in_force(&self) -> Vec<Arc<Policy>> {
        let good = self.0.values().filter_map(|entry| entry.good.as_ref());
        good.map(|(policy, _)| Arc::clone(policy)).collect()
    }

    /// Policies whose newest version is invalid.
    pub(super) fn refused(&self) -> usize {
        self.0.values().filter(|entry| !entry.problems.is_empty()).count()
    }

    /// The status to write next. A new status waits for `delay`: another replica may be faster.
    pub(super) fn next(&mut self, now: Instant, delay: Duration, denials: Denials<'_>) -> Next {
        // Of those that are due, refused ones go first: somebody waits for the reason. Every replica has its own order, so that they rarely
        // write to the same policy.
        let mut due: Option<((bool, bool, u64), &String, &Entry)> = None;
        let mut soonest: Option<Instant> = None;
        for (name, entry) in &mut self.0 {
            let told = entry.agrees();
            if !convert::is_name(name) || (told && denials.agrees(&entry.status, name)) {
                continue;
            }
            let at = if told {
                entry.counted.map_or(now, |counted| counted + COUNTS)
            } else {
                *entry.writes.not_before.get_or_insert(now + delay)
            };
            if at > now {
                soonest = Some(soonest.map_or(at, |before| before.min(at)));
                continue;
            }
            let rank = (told, entry.problems.is_empty(), self.1.hash_one(name));
            if due.is_none_or(|(first, _, _)| rank < first) {
                due = Some((rank, name, entry));
            }
        }
        match (due, soonest) {
            (Some((_, name, entry)), _) => Next::Write(Job {
                name: name.clone(),
                patch: entry.patch(name, denials),
                only_counts: entry.agrees(),
            }),
            (None, Some(at)) => Next::Wait(at),
            (None, None) => Next::Idle,
        }
    }

    /// A status was written, or not. The watch will show the result; until then it is left alone.
    pub(super) fn attempted(&mut self, job: &Job, now: Instant) {
        let Some(entry) = self.0.get_mut(&job.name) else { return };
        entry.counted = Some(now);
        if !job.only_counts {
            let wait = FIRST.saturating_mul(1 << entry.writes.attempts.min(16)).min(LONGEST);
            entry.writes = StatusWrites {
                attempts: entry.writes.attempts.saturating_add(1),
                not_before: Some(now + wait),
            };
        }
    }
}

impl Entry {
    fn read(name: &str, object: &Value, before: Option<Self>, kinds: &Kinds) -> (Self, Option<Change>) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut entry = Self {
            uid: text("/metadata/uid"),
            generation: object.pointer("/metadata/generation").and_then(Value::as_i64),
            resource_version: text("/metadata/resourceVersion"),
            good: None,
            problems: Vec::new(),
            status: object.get("status").cloned().unwrap_or_default(),
            writes: StatusWrites::default(),
            counted: None,
        };
        // An object that was deleted and recreated is a different one: nothing of the old one stays in force.
        let before = before.filter(|before| before.uid == entry.uid);
        if let Some(before) = before {
            entry.good = before.good;
            entry.counted = before.counted;
            // A status or a label changed: the spec is the same.
            if entry.generation.is_some() && entry.generation == before.generation {
                entry.problems = before.problems;
                entry.writes = before.writes;
                return (entry, None);
            }
        }
        let name = name.to_owned();
        let generation = entry.generation;
        let change = match compile(object, kinds) {
            Ok(policy) => {
                entry.good = Some((Arc::new(policy), generation));
                Change::Accepted { name, generation }
            }
            Err(problems) => {
                entry.problems.clone_from(&problems);
                Change::Refused {
                    name,
                    generation,
                    problems,
                    in_force: entry.effective(),
                }
            }
        };
        (entry, Some(change))
    }

    fn effective(&self) -> InForce {
        match &self.good {
            Some((_, Some(generation))) => InForce::Generation(*generation),
            Some((_, None)) => InForce::Earlier,
            None if self.generation.is_none_or(|generation| generation <= 1) => InForce::Nothing,
            None => InForce::NothingSinceStart,
        }
    }

    fn facts(&self) -> Facts {
        Facts::of(self.good.as_ref().map(|(policy, _)| &**policy))
    }

    fn agrees(&self) -> bool {
        status::agrees(&self.status, self.generation, &self.problems, self.effective(), &self.facts())
    }

    fn patch(&self, name: &str, denials: Denials<'_>) -> Value {
        let mut status = status::write(&self.status, self.generation, &self.problems, self.effective(), &self.facts());
        denials.write(&self.status, name, &mut status);
        serde_json::json!({"metadata": {"resourceVersion": self.resource_version}, "status": status})
    }
}

/// Items of a list may omit their type.
pub(super) fn compile(object: &Value, kinds: &Kinds) -> Result<Policy, Vec<Problem>> {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        let or = |fields: &mut serde_json::Map<String, Value>, key: &str, value: &str| {
            fields.entry(key).or_insert_with(|| value.into());
        };
        or(fields, "apiVersion", crate::policy::model::API_VERSION);
        or(fields, "kind", crate::policy::model::KIND);
    }
    // Compiling cannot panic. If it does anyway, only this policy is affected.
    std::panic::catch_unwind(AssertUnwindSafe(|| {
        Policy::compile_with(&object, PolicyLocation::Cluster, kinds)
    }))
    .unwrap_or_else(|_| Err(vec![Problem::at("spec", "it could not be read")]))
}

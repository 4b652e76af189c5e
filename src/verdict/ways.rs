//! How each kind of candidate node pulls an image, and with what result.

use super::audience::{Audience, Group, of_group};
use super::cause::base;
use super::image_case::{ImageCase, LabelledAttempt};
use super::outlook::Outlook;
use crate::image::escape;
use crate::runtime::containerd::ends::EndRef;
use crate::runtime::{Pool, Puller, Runtime, Setup};
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// How nodes of one pool with one runtime get on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeWay {
    /// Their pool; `null` where they belong to none.
    pub pool: Option<String>,
    /// Their runtime: `containerd`, `CRI-O 1.36.3`.
    pub runtime: String,
    /// How many there are; 1 where none is known.
    pub nodes: usize,
    /// The files that say how they reach the registry, with the line of the entry that counts.
    pub settings: Vec<String>,
    /// What comes of it, before anything makes it milder.
    pub outlook: Outlook,
}

/// Nodes of one pool with one runtime.
struct Kind<'a> {
    pool: Pool,
    runtime: String,
    groups: Vec<&'a Group>,
}

fn kinds(audience: &Audience) -> Vec<Kind<'_>> {
    let mut kinds: Vec<Kind<'_>> = Vec::new();
    for group in &audience.groups {
        let runtime = group.runtimes.first().map_or_else(String::new, |runtime| title(*runtime));
        match kinds
            .iter_mut()
            .find(|kind| (kind.pool, &kind.runtime) == (group.pool, &runtime))
        {
            Some(kind) => kind.groups.push(group),
            None => kinds.push(Kind {
                pool: group.pool,
                runtime,
                groups: vec![group],
            }),
        }
    }
    kinds
}

/// A runtime for people: `containerd`, `CRI-O 1.36.3`.
pub fn title(runtime: Runtime) -> String {
    match runtime {
        Runtime::Containerd(_) => "containerd".to_owned(),
        Runtime::Crio(crio) => {
            let version = crio.version;
            format!("CRI-O {}.{}.{}", version.0, version.1, version.2)
        }
    }
}

impl Kind<'_> {
    /// `pool gpu (CRI-O 1.36.3)`, `nodes with containerd`.
    fn called(&self, audience: &Audience) -> String {
        match (name(audience, self.pool), audience.pools.is_empty()) {
            (Some(name), _) => format!("pool {} ({})", escape(&name), self.runtime),
            (None, false) => format!("nodes of no pool ({})", self.runtime),
            (None, true) => format!("nodes with {}", self.runtime),
        }
    }

    fn pullers(&self) -> Vec<Puller> {
        self.groups.iter().flat_map(|group| of_group(group)).collect()
    }

    fn nodes(&self) -> usize {
        self.groups.iter().map(|group| group.tolerated + group.tainted).sum()
    }
}

fn name(audience: &Audience, pool: Pool) -> Option<Arc<str>> {
    let at = usize::from(pool.0).checked_sub(1)?;
    audience.pools.get(at).cloned()
}

/// The result of one puller.
fn outlooks(case: &ImageCase<'_>, puller: &Puller) -> Vec<Outlook> {
    let attempts: &[LabelledAttempt<'_>] = case
        .others
        .iter()
        .find(|(setup, _)| *setup == puller.setup())
        .map_or(case.attempts, |(_, attempts)| attempts.as_slice());
    let of_end = |end: EndRef<'_>| match end {
        EndRef::Pulled | EndRef::Artifact { fails: false, .. } => Outlook::Pulls,
        EndRef::Foreign(_) => Outlook::FailsToRun,
        EndRef::Failed(failure) => base(&failure.evidence).1,
        EndRef::NoMatch | EndRef::Unmeasured { .. } | EndRef::Artifact { fails: true, .. } => Outlook::WillFail,
    };
    match attempts.last().map(|last| last.result) {
        None => Vec::new(),
        Some(Ok(facts)) => {
            let possible = puller.runtime.possible_ends(facts, &puller.platform);
            possible.into_iter().map(|one| of_end(one.end)).collect()
        }
        // An unknown result with one credential outweighs the certain results with others.
        Some(Err(_)) => {
            let failures = attempts.iter().filter_map(|attempt| attempt.result.as_ref().err());
            let all: Vec<Outlook> = failures.map(|failure| base(&failure.evidence).1).collect();
            let unknown = all.contains(&Outlook::Unknown);
            vec![if unknown {
                Outlook::Unknown
            } else {
                all.into_iter().max().unwrap_or(Outlook::Unknown)
            }]
        }
    }
}

fn outlook(case: &ImageCase<'_>, kind: &Kind<'_>) -> Outlook {
    let all: Vec<Outlook> = kind.pullers().iter().flat_map(|puller| outlooks(case, puller)).collect();
    let worst = all.iter().copied().max().unwrap_or(Outlook::Pulls);
    if worst == Outlook::WillFail && all.contains(&Outlook::Pulls) {
        Outlook::MayFail
    } else {
        worst
    }
}

/// How each kind of node gets on.
pub(super) fn ways(case: &ImageCase<'_>) -> Vec<NodeWay> {
    let settings = |kind: &Kind<'_>| -> Vec<String> {
        let setups: Vec<Setup> = kind.pullers().iter().map(Puller::setup).collect();
        let all = case.settings.iter().filter(|(setup, _)| setups.contains(setup));
        let mut all: Vec<String> = all.map(|(_, file)| file.clone()).collect();
        all.dedup();
        all
    };
    kinds(case.audience)
        .iter()
        .map(|kind| NodeWay {
            pool: name(case.audience, kind.pool).map(|name| name.to_string()),
            runtime: kind.runtime.clone(),
            nodes: kind.nodes(),
            settings: settings(kind),
            outlook: outlook(case, kind),
        })
        .collect()
}

/// The nodes that fail to pull it, in whose runtime's words the failure is given; all if the result is the same for all.
pub(super) fn concerned(case: &ImageCase<'_>) -> Audience {
    let kinds = kinds(case.audience);
    let bad: Vec<&Kind<'_>> = kinds.iter().filter(|kind| outlook(case, kind) != Outlook::Pulls).collect();
    if kinds.len() < 2 || bad.is_empty() {
        return case.audience.clone();
    }
    Audience {
        groups: bad
            .into_iter()
            .flat_map(|kind| kind.groups.iter().copied().cloned())
            .collect(),
        ..case.audience.clone()
    }
}

/// Which nodes pull it and which do not, as the beginning of a sentence; `None` if the result is the same for all.
pub(super) fn who(case: &ImageCase<'_>) -> Option<String> {
    let kinds = kinds(case.audience);
    let fare: Vec<(&Kind<'_>, Outlook)> = kinds.iter().map(|kind| (kind, outlook(case, kind))).collect();
    let (_, first) = fare.first()?;
    if fare.iter().all(|(_, outlook)| outlook == first) {
        return None;
    }
    let named = |wanted: &dyn Fn(Outlook) -> bool| -> Vec<String> {
        let some = fare.iter().filter(|(_, outlook)| wanted(*outlook));
        some.map(|(kind, _)| kind.called(case.audience)).collect()
    };
    let pulls = named(&|outlook| outlook == Outlook::Pulls);
    let unknown = named(&|outlook| outlook == Outlook::Unknown);
    let may_not = named(&|outlook| matches!(outlook, Outlook::MayFail | Outlook::FailsToRun));
    let fails = named(&|outlook| matches!(outlook, Outlook::WillFail | Outlook::NotAllowed));
    let noun = if case.audience.pools.is_empty() {
        "kinds of nodes"
    } else {
        "pools"
    };
    let verb = |some: &[String], one: &str, many: &str| if some.len() == 1 { one.to_owned() } else { many.to_owned() };
    let mut parts = vec![match pulls.len() {
        0 => format!("none of {} {noun} is sure to pull it", fare.len()),
        1 => format!("1 of {} {noun} pulls it", fare.len()),
        some => format!("{some} of {} {noun} pull it", fare.len()),
    }];
    if !fails.is_empty() {
        parts.push(format!("{} {}", fails.join(" and "), verb(&fails, does(&fails), "do not")));
    }
    if !may_not.is_empty() {
        parts.push(format!("{} may not", may_not.join(" and ")));
    }
    if !unknown.is_empty() {
        parts.push(format!("for {} it is not known", unknown.join(" and ")));
    }
    Some(parts.join("; "))
}

/// Nodes are many, a pool is one.
fn does(some: &[String]) -> &'static str {
    if some.first().is_some_and(|name| name.starts_with("pool ")) {
        "does not"
    } else {
        "do not"
    }
}

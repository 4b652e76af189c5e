//! What is held against what nodes do.

use crate::cluster::{Cluster, NodeKind, Offers};
use crate::node::{self, Pulls};
use crate::registries::Content;
use crate::run::{Applied, locked};
use crate::script::Review;
use crate::world::{Inside, Time};
use pullgate::image::Reference;
use pullgate::runtime::Depth;
use pullgate::verdict::review_result::ReviewResult;
use pullgate::verdict::{Outlook, Verdict};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// What was said about one object.
#[derive(Debug, Clone)]
pub struct Said {
    /// By which event it came about.
    pub at: Time,
    pub namespace: usize,
    pub start: Time,
    pub end: Time,
    pub answer: Arc<ReviewResult>,
}

/// What was said about one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfImage {
    pub image: String,
    pub outlook: Outlook,
    pub verdict: Verdict,
    pub stale: bool,
    /// Causes and messages.
    pub findings: Vec<String>,
}

/// How long "not found" and "refused" are remembered (contract 6), in milliseconds.
const REFUSED: Time = 2_000;
/// How long the digest of a tag is believed, with what came of a whole pull.
const TAG: Time = 61_000;
/// How long it is believed that somebody reads a digest, and the longest life of a token in these worlds.
const READS: Time = 300_000 + 300_000;
/// How long a pull takes while no host is slow: two dozen requests.
const PULL: Time = 1_000;
/// The same while one is.
const SLOW_PULL: Time = 35_000;

impl Said {
    pub fn images(&self) -> Vec<OfImage> {
        let images = self.answer.images.iter().map(|judged| OfImage {
            image: judged.image.image.clone(),
            outlook: judged.judgement.outlook,
            verdict: judged.judgement.verdict,
            stale: judged.judgement.stale,
            findings: judged
                .judgement
                .findings
                .iter()
                .map(|finding| format!("{}: {}", finding.cause.name(), finding.message))
                .collect(),
        });
        images.collect()
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answered after {} ms:", self.end - self.start)?;
        for image in self.images() {
            write!(f, " {} {:?}/{:?}", image.image, image.outlook, image.verdict)?;
            if image.stale {
                write!(f, " (old)")?;
            }
            write!(f, " {:?};", image.findings)?;
        }
        Ok(())
    }
}

/// The first value of a history that held at some time from `from` on.
fn first<T>(history: &[(Time, Arc<T>)], from: Time) -> usize {
    history.iter().rposition(|(since, _)| *since <= from).unwrap_or(0)
}

/// Of a check of one image all that it looks at: the value decides what comes of it, so that each is made once for a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Looks {
    image: usize,
    at: Look,
    /// The versions of the cluster whose nodes are candidates, from this one on.
    nodes: usize,
    /// Those whose secrets may be used.
    secrets: usize,
    /// Those of the content that may count.
    content: usize,
    /// Those whose rights may.
    rights: usize,
    /// So many versions of both there are.
    known: (usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Look {
    Denied,
    Pulls,
}

/// What was held against nodes for one template, and what was wrong with it.
pub type Held = HashMap<Looks, Option<String>>;

/// Holds an answer against the pulls of the nodes.
pub fn check(world: &mut Inside, pulls: &mut Pulls, depth: Depth, lag: Time, applied: &Applied, said: &Said) {
    let slack = if world.slow + 60_000 > said.start { SLOW_PULL } else { PULL };
    let shown = first(&world.clusters, said.start.saturating_sub(lag));
    let known = (world.clusters.len(), world.contents.len());
    let content = |ago: Time| first(&world.contents, said.start.saturating_sub(ago + slack));
    let mut held = locked(&applied.held);
    let mut wrongs = Vec::new();
    for (image, judged) in said.answer.images.iter().enumerate() {
        let of = Of {
            world,
            review: &applied.review,
            depth,
            image: &judged.image.image,
        };
        if judged.judgement.verdict == Verdict::Deny {
            let looks = Looks {
                image,
                at: Look::Denied,
                nodes: shown,
                secrets: first(&world.clusters, said.start),
                content: content(REFUSED),
                rights: 0,
                known,
            };
            let may_run = held.entry(looks).or_insert_with_key(|looks| of.may_run(pulls, looks));
            if let Some(told) = may_run {
                wrongs.push(("denied", format!("{} is denied, and a node pulls it: {told}", of.image)));
            }
        }
        if judged.judgement.outlook == Outlook::Pulls {
            let stale = judged.judgement.stale;
            let looks = Looks {
                image,
                at: Look::Pulls,
                nodes: shown,
                secrets: shown,
                content: if stale { 0 } else { content(TAG) },
                rights: if stale { 0 } else { content(READS) },
                known,
            };
            let fails = held.entry(looks).or_insert_with_key(|looks| of.fails(pulls, looks));
            if let Some(told) = fails {
                wrongs.push(("pulls", format!("{} is said to pull, and a node could not: {told}", of.image)));
            }
        }
    }
    for (check, text) in wrongs {
        let text = format!("{text}\n              said: {said}");
        world.wrong(check, text);
    }
}

struct Of<'a> {
    world: &'a Inside,
    review: &'a Review,
    depth: Depth,
    image: &'a str,
}

impl Of<'_> {
    fn host(&self) -> &str {
        self.image.split('/').next().unwrap_or_default()
    }

    fn candidates(&self, cluster: &Cluster) -> Vec<NodeKind> {
        let fits = |kind: &&NodeKind| self.review.only.is_none_or(|only| kind.architecture == only);
        cluster.nodes.iter().filter(fits).copied().collect()
    }

    /// What the kubelet has for the image.
    fn offers(&self, cluster: &Cluster, reference: &Reference) -> Offers {
        let own = &cluster.namespaces[self.review.namespace];
        let listed = if self.review.lists.is_empty() && !self.review.pod {
            &own.account
        } else {
            &self.review.lists
        };
        cluster.offers(self.review.namespace, listed, &reference.name())
    }

    /// All that credentials could have been from a version on, each once.
    fn all_offers(&self, from: usize, reference: &Reference) -> Vec<Offers> {
        let mut all: Vec<Offers> = Vec::new();
        for (_, cluster) in self.world.clusters[from..].iter().rev() {
            let offers = self.offers(cluster, reference);
            if !all.contains(&offers) {
                all.push(offers);
            }
        }
        all
    }

    fn all_candidates(&self, from: usize) -> Vec<Vec<NodeKind>> {
        let mut all: Vec<Vec<NodeKind>> = (self.world.clusters[from..].iter().rev())
            .map(|(_, cluster)| self.candidates(cluster))
            .filter(|candidates| !candidates.is_empty())
            .collect();
        all.dedup();
        all
    }

    fn told(content: &Content, reference: &Reference, offers: &Offers, kind: NodeKind, until: Depth) -> String {
        let told = node::told(content, reference, offers, kind, until);
        format!("{} on {}: {told}", kind.runtime, kind.architecture)
    }

    /// A denial is right if at some moment that it may rest on every node fails. Credentials are those of the moment: what a denial rests on
    /// is read again.
    fn may_run(&self, pulls: &mut Pulls, looks: &Looks) -> Option<String> {
        let reference = Reference::parse(self.image).unwrap();
        let nodes = self.all_candidates(looks.nodes);
        let offers = self.all_offers(looks.secrets, &reference);
        let mut one = None;
        for version in (looks.content..self.world.contents.len()).rev() {
            let content = &self.world.contents[version].1;
            let like = self.world.first_like(version, self.host());
            for offers in &offers {
                for candidates in &nodes {
                    let mut pull = |kind: &&NodeKind| pulls.pull(like, content, &reference, offers, **kind, Depth::Layers).may_pull;
                    let kind = candidates.iter().find(&mut pull)?;
                    one = one.or(Some((content, offers, *kind)));
                }
            }
        }
        let (content, offers, kind) = one?;
        Some(Self::told(content, &reference, offers, kind, Depth::Layers))
    }

    /// It is said rightly to pull if every node could, by what may be remembered: the tag of a minute, the right to read of some more.
    fn fails(&self, pulls: &mut Pulls, looks: &Looks) -> Option<String> {
        // Where a replica saw no node, it said what a guess would do.
        let (_, seen) = &self.world.clusters[looks.nodes];
        if self.candidates(seen).is_empty() {
            return None;
        }
        let reference = Reference::parse(self.image).unwrap();
        let nodes = self.all_candidates(looks.nodes);
        let offers = self.all_offers(looks.secrets, &reference);
        let now = self.world.first_like(self.world.contents.len() - 1, self.host());
        let mut failing = None;
        for offers in &offers {
            for candidates in &nodes {
                let content = self.world.content();
                let mut fails = |kind: &&NodeKind| !pulls.pull(now, content, &reference, offers, **kind, self.depth).always_pulls;
                let kind = candidates.iter().find(&mut fails)?;
                failing = failing.or(Some((offers, *kind)));
                for (_, content) in self.world.contents[looks.content..].iter().rev() {
                    let content = self.with_all_rights(content, looks.rights, offers);
                    let pulls = |kind: &NodeKind| node::pull(&content, &reference, offers, *kind, self.depth).always_pulls;
                    if candidates.iter().all(pulls) {
                        return None;
                    }
                }
            }
        }
        let (offers, kind) = failing?;
        Some(Self::told(self.world.content(), &reference, offers, kind, self.depth))
    }

    /// `content` with every right, part and password that there was from a version on.
    fn with_all_rights(&self, content: &Content, from: usize, offers: &Offers) -> Content {
        let mut with = content.clone();
        for (_, other) in &self.world.contents[from..] {
            for (registry, other) in with.registries.iter_mut().zip(&other.registries) {
                for (name, other) in &other.repositories {
                    let own = registry.repositories.entry(name).or_default();
                    own.public |= other.public;
                    own.readers.extend(other.readers.iter().cloned());
                    own.holds.extend(other.holds.iter().cloned());
                }
            }
            if let Offers::These(offers) = offers {
                for ((registry, user), password) in &other.passwords {
                    if offers.iter().any(|(own, shown)| own == user && shown == password) {
                        with.passwords.insert((*registry, user.clone()), password.clone());
                    }
                }
            }
        }
        with
    }
}

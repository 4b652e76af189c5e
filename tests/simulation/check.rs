//! What is held against what nodes do.

use crate::cluster::{Cluster, NodeKind, Offers};
use crate::node::Pulls;
use crate::registries::Content;
use crate::script::Review;
use crate::world::{Inside, Time};
use pullgate::image::Reference;
use pullgate::runtime::Depth;
use pullgate::verdict::answer::Answer;
use pullgate::verdict::{Outlook, Verdict};
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
    pub images: Vec<OfImage>,
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
    pub fn new(review: &Review, at: Time, start: Time, end: Time, answer: &Answer) -> Self {
        let images = answer.images.iter().map(|judged| OfImage {
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
        Self {
            at,
            namespace: review.namespace,
            start,
            end,
            images: images.collect(),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answered after {} ms:", self.end - self.start)?;
        for image in &self.images {
            write!(f, " {} {:?}/{:?}", image.image, image.outlook, image.verdict)?;
            if image.stale {
                write!(f, " (old)")?;
            }
            write!(f, " {:?};", image.findings)?;
        }
        Ok(())
    }
}

/// Those values of a history that held at some time from `from` on.
fn held<T>(history: &[(Time, Arc<T>)], from: Time) -> impl Iterator<Item = (usize, &Arc<T>)> {
    let first = history.iter().rposition(|(since, _)| *since <= from).unwrap_or(0);
    let all = history.iter().enumerate().skip(first).rev();
    all.map(|(version, (_, value))| (version, value))
}

/// Holds an answer against the pulls of the nodes.
pub fn check(world: &mut Inside, pulls: &mut Pulls, depth: Depth, lag: Time, review: &Review, said: &Said) {
    let slack = if world.slow + 60_000 > said.start { SLOW_PULL } else { PULL };
    let of = Of {
        world,
        review,
        said,
        lag,
        slack,
    };
    let mut wrongs = Vec::new();
    for image in &said.images {
        if image.verdict == Verdict::Deny
            && let Some(told) = of.may_run(pulls, image)
        {
            wrongs.push(("denied", format!("{} is denied, and a node pulls it: {told}", image.image)));
        }
        if image.outlook == Outlook::Pulls
            && let Some(told) = of.fails(pulls, depth, image)
        {
            wrongs.push((
                "pulls",
                format!("{} is said to pull, and a node could not: {told}", image.image),
            ));
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
    said: &'a Said,
    lag: Time,
    slack: Time,
}

impl Of<'_> {
    fn candidates(&self, cluster: &Cluster) -> Vec<NodeKind> {
        let fits = |kind: &&NodeKind| self.review.only.is_none_or(|only| kind.architecture == only);
        cluster.nodes.iter().filter(fits).copied().collect()
    }

    /// What the kubelet has for an image.
    fn offers(&self, cluster: &Cluster, image: &str) -> Offers {
        let own = &cluster.namespaces[self.review.namespace];
        let listed = if self.review.lists.is_empty() && !self.review.pod {
            &own.account
        } else {
            &self.review.lists
        };
        let reference = Reference::parse(image).unwrap();
        cluster.offers(self.review.namespace, listed, &reference.name())
    }

    /// All that credentials could have been since `from`, each once.
    fn all_offers(&self, from: Time, image: &str) -> Vec<Offers> {
        let mut all: Vec<Offers> = Vec::new();
        for (_, cluster) in held(&self.world.clusters, from) {
            let offers = self.offers(cluster, image);
            if !all.contains(&offers) {
                all.push(offers);
            }
        }
        all
    }

    fn all_candidates(&self, from: Time) -> Vec<Vec<NodeKind>> {
        let mut all: Vec<Vec<NodeKind>> = held(&self.world.clusters, from)
            .map(|(_, cluster)| self.candidates(cluster))
            .filter(|candidates| !candidates.is_empty())
            .collect();
        all.dedup();
        all
    }

    /// A denial is right if at some moment that it may rest on every node fails. Credentials are those of the moment: what a denial rests on
    /// is read again.
    fn may_run(&self, pulls: &mut Pulls, image: &OfImage) -> Option<String> {
        let nodes = self.all_candidates(self.said.start.saturating_sub(self.lag));
        let offers = self.all_offers(self.said.start, &image.image);
        let mut told = None;
        let host = image.image.split('/').next().unwrap_or_default();
        for (version, content) in held(&self.world.contents, self.said.start.saturating_sub(REFUSED + self.slack)) {
            for (offers, candidates) in offers
                .iter()
                .flat_map(|offers| nodes.iter().map(move |nodes| (offers, nodes)))
            {
                let mut one = None;
                for kind in candidates {
                    let came = pulls.pull(
                        self.world.first_like(version, host),
                        content,
                        &image.image,
                        offers,
                        *kind,
                        Depth::Layers,
                    );
                    if came.may_pull {
                        one = Some(format!("{} on {}: {}", kind.runtime, kind.architecture, came.told));
                    }
                }
                match one {
                    None => return None,
                    one => told = told.or(one),
                }
            }
        }
        told
    }

    /// It is said rightly to pull if every node could, by what may be remembered: the tag of a minute, the right to read of some more.
    fn fails(&self, pulls: &mut Pulls, depth: Depth, image: &OfImage) -> Option<String> {
        let from = self.said.start.saturating_sub(self.lag);
        let nodes = self.all_candidates(from);
        let offers = self.all_offers(from, &image.image);
        let (since, since_tag) = if image.stale {
            (0, 0)
        } else {
            let ago = |time: Time| self.said.start.saturating_sub(time + self.slack);
            (ago(READS), ago(TAG))
        };
        let mut told = None;
        for (offers, candidates) in offers
            .iter()
            .flat_map(|offers| nodes.iter().map(move |nodes| (offers, nodes)))
        {
            let mut all_pull = |came: &mut dyn FnMut(NodeKind) -> crate::node::Came| {
                let failing = candidates.iter().find_map(|kind| {
                    let came = came(*kind);
                    (!came.always_pulls).then(|| format!("{} on {}: {}", kind.runtime, kind.architecture, came.told))
                });
                let all = failing.is_none();
                told = told.take().or(failing);
                all
            };
            let host = image.image.split('/').next().unwrap_or_default();
            let now = self.world.first_like(self.world.contents.len() - 1, host);
            if all_pull(&mut |kind| pulls.pull(now, self.world.content(), &image.image, offers, kind, depth)) {
                return None;
            }
            let reference = Reference::parse(&image.image).unwrap();
            for (_, content) in held(&self.world.contents, since_tag) {
                let content = self.with_all_rights(content, since, offers);
                if all_pull(&mut |kind| crate::node::pull(&content, &reference, offers, kind, depth)) {
                    return None;
                }
            }
        }
        told
    }

    /// `content` with every right, part and password that there was at some time since then.
    fn with_all_rights(&self, content: &Content, since: Time, offers: &Offers) -> Content {
        let mut with = content.clone();
        for (_, other) in held(&self.world.contents, since) {
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

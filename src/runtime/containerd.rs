//! containerd: 1.7 and 2.x, by its client (`local`) and by its transfer service. Read top to bottom: [`resolve`], then [`children`], which
//! fetch by [`fetch`].

pub mod authorizer;
mod children;
pub(crate) mod ends;
mod exchange;
mod fetch;
pub mod hosts;
pub(crate) mod hosts_toml;
pub mod k3s;
mod layer;
pub(crate) mod manifest;
pub mod peers;
pub mod platforms;
mod resolve;
pub mod rewrites;
pub mod version;

pub(crate) use children::DEEPEST;

use crate::ask::{Ask, Missing};
use crate::image::platform::{EVERY_FEATURE, IndexRules};
use crate::image::{Platform, Reference};
use crate::runtime::answer::Response;
use crate::runtime::choice::choose;
use crate::runtime::content::Content;
use crate::runtime::outcome::{Evidence, Failure, ImageFacts, NodeSettingsFault};
use crate::runtime::request::Request;
use crate::runtime::{Depth, End, NodeConfig, Outcome, Pool, Pull, Puller, Runtime};
use ends::PossibleEnd;
use exchange::Session;
use hosts::Host;
use std::borrow::Cow;
use std::sync::Arc;
use version::Version;

/// How containerd 2.x pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PullPath {
    /// By its own client, as versions before 2.1 do.
    Local,
    /// By its transfer service: the default since 2.1.
    Transfer,
}

/// One containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Containerd {
    /// Its version.
    pub version: Version,
    /// How it pulls.
    pub path: PullPath,
    /// Who built it.
    pub fork: Fork,
}

/// Who built a containerd: the forks read a `hosts.toml` differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fork {
    /// The upstream project, and every distribution except k3s and RKE2.
    Upstream,
    /// k3s and RKE2.
    K3s,
    /// The node does not show it.
    Unknown,
}

/// Why a part of a pull stops early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// An answer is not known yet.
    Missing(Missing),
    /// It failed: first the failure that containerd reports, then those that it does not report.
    Failed(Vec<Failure>),
}

/// The result of a part of a pull.
pub(crate) type Got<T> = Result<T, Stop>;

impl From<Missing> for Stop {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(vec![failure])
    }
}

/// Turns a failure into a value, so that the pull can go on.
pub(crate) fn caught<T>(got: Got<T>) -> Result<Result<T, Vec<Failure>>, Missing> {
    match got {
        Ok(done) => Ok(Ok(done)),
        Err(Stop::Failed(failures)) => Ok(Err(failures)),
        Err(Stop::Missing(missing)) => Err(missing),
    }
}

/// One pull: its hosts, and what was learned about them.
#[derive(Debug, Clone)]
struct Walk<'a> {
    by: Containerd,
    reference: &'a Reference,
    platform: &'a Platform,
    accept: Arc<str>,
    sessions: Vec<Session<'a>>,
    /// Failures of hosts that were tried before one succeeded. They may cast doubt on a later failure.
    passed: Vec<Failure>,
}

impl Containerd {
    /// Pulls an image.
    pub fn pull(mut self, pull: &Pull, ask: &mut Ask<'_, Request>) -> Result<Outcome, Missing> {
        if pull.node == NodeConfig::PeersOnly {
            let failure = Failure::plain(
                Evidence::NodeSettings(NodeSettingsFault::PeersOnly),
                pull.reference.registry().to_owned(),
            );
            return Ok(Outcome {
                ends: vec![End::Failed(failure)],
                ..Outcome::default()
            });
        }
        let own: Vec<Host>;
        let hosts = match &pull.node {
            NodeConfig::Containerd(hosts) => {
                if hosts.by_client {
                    self.path = PullPath::Local;
                }
                hosts.of(self)
            }
            NodeConfig::Default | NodeConfig::Unreadable(_) | NodeConfig::PeersOnly | NodeConfig::Crio(_) => {
                own = vec![Host::of_registry(pull.reference.registry())];
                &own
            }
        };
        let names: Vec<Vec<Cow<'_, str>>> = hosts
            .iter()
            .map(|host| host.rewrites.names(pull.reference.repository()))
            .collect();
        let choices = names.iter().map(Vec::len).max().unwrap_or(1);
        if choices > 1 {
            let each = ask.each(0..choices, |ask, choice| self.by_name(pull, hosts, &names, choice, ask))?;
            return Ok(by_chance(each, &names, pull.reference.registry()));
        }
        self.by_name(pull, hosts, &names, 0, ask)
    }

    /// Pulls an image by one of the names that its repository may have at each host (k3s rewrites).
    fn by_name(
        self,
        pull: &Pull,
        hosts: &[Host],
        names: &[Vec<Cow<'_, str>>],
        choice: usize,
        ask: &mut Ask<'_, Request>,
    ) -> Result<Outcome, Missing> {
        let sessions = hosts.iter().zip(names).map(|(host, names)| {
            let name = names.get(choice).or(names.last()).cloned().unwrap_or_default();
            Session::new(host, self.version, pull, name)
        });
        let mut walk = Walk {
            by: self,
            reference: &pull.reference,
            platform: &pull.platform,
            accept: resolve::accept(),
            sessions: sessions.collect(),
            passed: Vec::new(),
        };
        let (found, ends) = match caught(walk.image(ask, pull.until))? {
            Ok(facts) => {
                let possible = self.possible_ends(&facts, &pull.platform);
                let ends = possible.into_iter().map(|one| one.end.to_owned(one.size)).collect();
                (Some(Arc::new(facts)), ends)
            }
            Err(failures) => {
                let mut failures = failures.into_iter();
                let reported = failures.next();
                walk.passed.extend(failures);
                let reported = reported.unwrap_or_else(|| Failure::plain(Evidence::Internal, pull.reference.registry().to_owned()));
                (None, vec![End::Failed(reported)])
            }
        };
        Ok(Outcome {
            found,
            ends,
            passed: walk.passed,
        })
    }

    /// The ways in which a node of this version may pull.
    pub fn of_node(version: &str) -> impl Iterator<Item = Self> {
        let fork = if version.contains("-k3s") { Fork::K3s } else { Fork::Upstream };
        let version = Version::parse(version);
        // The behaviour of 1.7 was not told apart from its neighbours' in every detail.
        let older = (version >= Version(1, 7, 0) && version < Version(2, 0, 0)).then_some(Self { fork, ..OLD });
        let paths = version.pull_paths().iter().map(move |path| Self {
            version: version.as_it_pulls(),
            path: *path,
            fork,
        });
        older.into_iter().chain(paths)
    }

    /// What a node may run when nothing is known about it: every way to pull, old and new.
    pub fn unknown() -> impl Iterator<Item = Self> {
        [OLD, Self::local(), Self::today()].into_iter()
    }

    /// The newest version, with the transfer service turned off.
    pub fn local() -> Self {
        Self {
            path: PullPath::Local,
            ..Self::today()
        }
    }

    /// The newest version, with its default settings.
    pub fn today() -> Self {
        Self {
            version: Version(2, 4, 2).as_it_pulls(),
            path: PullPath::Transfer,
            fork: Fork::Unknown,
        }
    }

    /// The rules by which it chooses an entry of an index.
    pub fn index_rules(self) -> IndexRules {
        match self.path {
            PullPath::Transfer => IndexRules::ContainerdTransfer,
            PullPath::Local if self.version < Version(1, 7, 0) => IndexRules::ContainerdOld,
            PullPath::Local => IndexRules::ContainerdClient,
        }
    }

    /// This containerd on a node of this platform.
    fn puller(self, platform: &Platform) -> Puller {
        let mut platform = platform.clone();
        if !self.version.looks_at_os_features() {
            platform.os_features = vec![EVERY_FEATURE.to_owned()];
        }
        Puller {
            platform,
            runtime: Runtime::Containerd(self),
            pool: Pool::default(),
        }
    }

    /// How the pull of an image with these facts may end on a node of this platform.
    pub(crate) fn possible_ends<'a>(self, facts: &'a ImageFacts, platform: &Platform) -> Vec<PossibleEnd<'a>> {
        let own = |end, size| vec![PossibleEnd { end, size }];
        let trouble = || {
            let builds = facts.builds.iter().filter(|build| build.digest == facts.digest.as_str());
            ends::worst(&builds.flat_map(|build| &build.troubles).collect::<Vec<_>>()).map(ends::EndRef::Failed)
        };
        match &facts.content {
            Content::Index(entries) => ends::of_index(&ends::KnownBuilds::of(facts), entries, &self.puller(platform)),
            Content::Image { body, .. } => own(trouble().unwrap_or(ends::EndRef::Pulled), body.size),
            Content::Artifact { kind, unpack, body } => {
                let fails = ends::fails_to_unpack(*unpack, self.index_rules());
                own(trouble().unwrap_or(ends::EndRef::Artifact { kind, fails }), body.size)
            }
            Content::Schema1 => own(
                ends::EndRef::Artifact {
                    kind: "Docker schema 1",
                    fails: self.version.refuses_schema1(),
                },
                None,
            ),
        }
    }
}

/// Up to 1.6: it ignores `os.features`, and compares every layer with the config, whatever its type.
const OLD: Containerd = Containerd {
    version: Version(1, 6, 0),
    path: PullPath::Local,
    fork: Fork::Unknown,
};

/// The result where the runtime picks one of several names at random for every request: certain only if all names agree.
fn by_chance(each: Vec<Outcome>, names: &[Vec<Cow<'_, str>>], registry: &str) -> Outcome {
    let mut each = each.into_iter();
    let Some(mut first) = each.next() else {
        return Outcome::default();
    };
    let digest = |outcome: &Outcome| outcome.found.as_ref().map(|found| found.digest.clone());
    let reported = |outcome: &Outcome| {
        outcome.ends.iter().find_map(|end| match end {
            End::Failed(failure) => Some(failure.clone()),
            _ => None,
        })
    };
    let mut failed = reported(&first);
    let mut differ = false;
    for other in each {
        let same = digest(&first) == digest(&other)
            && reported(&first).map(|failure| failure.evidence) == reported(&other).map(|failure| failure.evidence)
            && first.found.as_ref().map(|found| &found.builds) == other.found.as_ref().map(|found| &found.builds);
        differ |= !same;
        failed = failed.or_else(|| reported(&other));
        first.passed.extend(other.passed);
    }
    if !differ {
        return first;
    }
    // What was found by one name is missing by the other.
    let failure = failed.unwrap_or_else(|| {
        let (digest, media_type) = first
            .found
            .as_ref()
            .map_or_else(Default::default, |found| (found.digest.to_string(), found.media_type.clone()));
        let evidence = Evidence::ContentMissing {
            part: "manifest",
            digest,
            media_type,
        };
        Failure::plain(evidence, registry.to_owned())
    });
    let names = names.iter().max_by_key(|names| names.len());
    let names = names.into_iter().flatten().map(|name| name.clone().into_owned()).collect();
    let evidence = Evidence::ByChance {
        names,
        fails: Box::new(failure.evidence),
    };
    Outcome {
        found: None,
        ends: vec![End::Failed(Failure { evidence, ..failure })],
        passed: first.passed,
    }
}

impl Walk<'_> {
    fn image(&mut self, ask: &mut Ask<'_, Request>, until: Depth) -> Got<ImageFacts> {
        let resolved = resolve::resolve(self, ask)?;
        let resolving = std::mem::take(&mut self.sessions);
        // The fetcher builds its own hosts: it begins without the tokens that the resolver got (`dockerResolver.Fetcher`).
        self.sessions = resolving.iter().map(Session::fresh).collect();
        let (content, config) = self.root(ask, &resolved)?;
        let mut facts = ImageFacts {
            quota: None,
            authenticated: resolving.get(resolved.host).is_some_and(Session::is_authenticated),
            digest: resolved.digest,
            media_type: resolved.media_type,
            content,
            stale: false,
            builds: Vec::new(),
        };
        if let (Content::Image { body, .. }, Some(config)) = (&facts.content, &config) {
            let body = body.clone();
            let (platform, troubles) = children::image(self, ask, Some(config), &body, until)?;
            let platform = platform.map_err(Stop::Failed)?;
            facts.content = Content::Image { platform, body };
            if until >= Depth::Layers {
                facts.builds = vec![children::own(&facts, troubles)];
            }
        } else {
            facts.builds = children::builds(self, ask, &facts, until)?;
        }
        let quotas = resolving.iter().chain(&self.sessions).filter_map(|session| session.quota);
        facts.quota = quotas.min_by_key(|quota| quota.remaining);
        Ok(facts)
    }

    /// Runs `run` for each item concurrently: none sees what another has learned.
    fn branch<T, U>(
        &mut self,
        ask: &mut Ask<'_, Request>,
        items: impl IntoIterator<Item = T>,
        mut run: impl FnMut(&mut Self, &mut Ask<'_, Request>, T) -> Got<U>,
    ) -> Got<Vec<U>> {
        let before = self.clone();
        let mut learned: Vec<Self> = Vec::new();
        let results = ask.each(items, |ask, item| {
            let mut branch = before.clone();
            let result = caught(run(&mut branch, ask, item))?;
            learned.push(branch);
            Ok(result)
        })?;
        for branch in learned {
            for (session, other) in self.sessions.iter_mut().zip(&branch.sessions) {
                session.learn(other);
            }
        }
        results.into_iter().map(|result| result.map_err(Stop::Failed)).collect()
    }

    /// The failure that speaks for a part of the pull, given also the failures that were passed over before.
    fn reported(&self, failures: Vec<Failure>) -> Option<Failure> {
        choose(self.passed.clone(), failures)
    }

    /// What a host's refusal proves.
    fn refused(&self, at: usize, response: &Response) -> Evidence {
        self.sessions
            .get(at)
            .map_or(Evidence::Internal, |session| session.refused(response))
    }
}

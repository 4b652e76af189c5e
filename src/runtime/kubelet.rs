//! The kubelet above the runtimes: it tries the pod's credentials in order, pulls anonymously only if there is none, and stops at the first
//! success (pull-semantics 4.5; `pkg/kubelet/kuberuntime/kuberuntime_image.go`, `PullImage`).

use crate::ask::{Ask, Missing};
use crate::credentials::CredentialSource;
use crate::image::{Platform, Reference};
use crate::runtime::choice::choose;
use crate::runtime::content::Content;
use crate::runtime::outcome::{Build, Evidence, Failure, ImageFacts, NodeSettingsFault, TimeoutStage};
use crate::runtime::request::{Agents, Request, Who};
use crate::runtime::{Depth, End, NodeConfig, NodeConfigs, Outcome, Pool, Pull, Puller, Runtime, Setup};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An image as the nodes of a cluster would pull it for a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodPull {
    /// The image.
    pub reference: Reference,
    /// The credentials, in the order in which a kubelet tries them. If there are none, it pulls anonymously; otherwise it never does.
    pub offers: Vec<OfferedCredential>,
    /// The repository as the pod writes it, where CRI-O takes it for a short name ([`Pull::short`]).
    pub short: Option<Arc<str>>,
    /// The nodes that would pull it: sorted, each once. If empty, today's containerd is assumed.
    pub pullers: Arc<[Puller]>,
    /// The registry configuration of the nodes of each pool.
    pub configs: BTreeMap<Pool, NodeConfigs>,
    /// How far the pull is followed.
    pub until: Depth,
    /// The `User-Agent` that the nodes send.
    pub agents: Agents,
}

/// A credential, and its source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OfferedCredential {
    /// What a runtime module may know of it.
    pub who: Who,
    /// The source, for messages; `None` for an attempt without a credential, which no kubelet makes beside others.
    pub source: Option<CredentialSource>,
    /// Whether nodes would send it.
    pub sent: Sent,
}

/// Whether kubelets pass a credential to their runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sent {
    /// They all do.
    #[default]
    Always,
    /// The credential is not UTF-8, and only the older kubelets among the candidate nodes pass it on. We ask nothing with it.
    BySome,
    /// The credential is not UTF-8, and no kubelet passes it on. We ask nothing with it.
    Never,
}

/// One attempt, with one credential or anonymous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The source of the credential; `None` for an anonymous attempt.
    pub source: Option<CredentialSource>,
    /// The result.
    pub result: Result<ImageFacts, Failure>,
}

/// The results of pulling one image on the nodes of a cluster: the attempts in order. Only the last may have succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempts {
    /// The attempts of most setups; never empty.
    pub attempts: Vec<Attempt>,
    /// The attempts of setups with another result.
    pub others: Vec<(Setup, Vec<Attempt>)>,
    /// The configuration file of each setup, with its line if there is one.
    pub settings: Vec<(Setup, String)>,
}

impl Attempts {
    /// The size in memory of what was found, in bytes, roughly.
    pub fn weight(&self) -> usize {
        let others = self.others.iter().flat_map(|(_, attempts)| attempts);
        let found = self
            .attempts
            .iter()
            .chain(others)
            .filter_map(|attempt| attempt.result.as_ref().ok());
        found.map(ImageFacts::weight).sum()
    }

    /// The result of a pull that `evidence` ended before the registry was asked.
    pub fn ended(evidence: Evidence, registry: &str) -> Self {
        Self {
            attempts: vec![Attempt {
                source: None,
                result: Err(Failure::plain(evidence, registry.to_owned())),
            }],
            ..Self::default()
        }
    }

    /// The result of a pull that was not answered in time.
    pub fn late(registry: &str) -> Self {
        Self::ended(Evidence::TimedOut(TimeoutStage::Deadline), registry)
    }

    /// The attempts of this setup.
    pub fn of(&self, setup: Setup) -> &[Attempt] {
        let other = self.others.iter().find(|(other, _)| *other == setup);
        other.map_or(&self.attempts, |(_, attempts)| attempts)
    }
}

/// The setup that is assumed when no node is known.
pub fn usual_setup() -> Setup {
    Setup {
        runtime: Runtime::today(),
        pool: Pool::default(),
    }
}

/// Pulls an image as each of the setups would.
pub fn pull(pod: &PodPull, ask: &mut Ask<'_, Request>) -> Result<Attempts, Missing> {
    let mut by_setup: BTreeMap<Setup, Vec<&Platform>> = BTreeMap::new();
    for puller in &*pod.pullers {
        by_setup.entry(puller.setup()).or_default().push(&puller.platform);
    }
    if by_setup.is_empty() {
        by_setup.insert(usual_setup(), Vec::new());
    }
    let mut all = ask.each(&by_setup, |ask, (setup, platforms)| {
        Ok((*setup, by(*setup, platforms, pod, ask)?))
    })?;
    // The newest containerd speaks for all setups with the same result.
    let usual = all
        .iter()
        .rposition(|(setup, _)| matches!(setup.runtime, Runtime::Containerd(_)))
        .unwrap_or(0);
    let mut attempts = all.swap_remove(usual).1;
    let mut others = Vec::new();
    for (setup, own) in all {
        if is_alike(&attempts, &own) {
            merge(&mut attempts, own);
        } else {
            others.push((setup, own));
        }
    }
    Ok(Attempts {
        attempts,
        others,
        settings: settings(pod),
    })
}

/// The configuration file of each setup.
fn settings(pod: &PodPull) -> Vec<(Setup, String)> {
    let mut setups: Vec<Setup> = pod.pullers.iter().map(Puller::setup).collect();
    setups.dedup();
    let file = |setup: Setup| {
        let configs = pod.configs.get(&setup.pool)?;
        match (setup.runtime, &configs.crio) {
            (Runtime::Containerd(_), _) => configs.containerd_from.as_deref().map(str::to_owned),
            (Runtime::Crio(_), NodeConfig::Crio(node)) => node.source(&pod.reference),
            (Runtime::Crio(_), _) => None,
        }
    };
    setups.into_iter().filter_map(|setup| Some((setup, file(setup)?))).collect()
}

/// Whether two setups have the same result. Which parts they fetched may differ.
fn is_alike(one: &[Attempt], other: &[Attempt]) -> bool {
    let alike = |one: &Attempt, other: &Attempt| match (&one.result, &other.result) {
        (Ok(one), Ok(other)) => {
            let same = (&one.digest, &one.media_type, &one.content) == (&other.digest, &other.media_type, &other.content);
            same && agree(&one.builds, &other.builds)
        }
        (Err(one), Err(other)) => one.evidence == other.evidence && one.host == other.host,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    };
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(one, other)| one.source == other.source && alike(one, other))
}

/// Whether two runtimes had the same result with the parts that both fetched.
fn agree(ones: &[Build], others: &[Build]) -> bool {
    ones.iter().all(|one| {
        let is_it = |other: &&Build| (&one.digest, &one.media_type) == (&other.digest, &other.media_type);
        others.iter().find(is_it).is_none_or(|other| one == other)
    })
}

/// Adds the parts that another runtime fetched.
fn merge(attempts: &mut [Attempt], others: Vec<Attempt>) {
    for (attempt, other) in attempts.iter_mut().zip(others) {
        let (Ok(facts), Ok(other)) = (&mut attempt.result, other.result) else {
            continue;
        };
        for build in other.builds {
            let known = |known: &Build| (&known.digest, &known.media_type) == (&build.digest, &build.media_type);
            if !facts.builds.iter().any(known) {
                facts.builds.push(build);
            }
        }
        facts
            .builds
            .sort_by(|one, other| (&one.digest, &one.media_type).cmp(&(&other.digest, &other.media_type)));
    }
}

/// The attempts of one setup, on nodes of these platforms.
fn by(setup: Setup, platforms: &[&Platform], pod: &PodPull, ask: &mut Ask<'_, Request>) -> Result<Vec<Attempt>, Missing> {
    let offers: Vec<Option<&OfferedCredential>> = if pod.offers.is_empty() {
        vec![None]
    } else {
        pod.offers.iter().map(Some).collect()
    };
    let mut attempts: Vec<Attempt> = Vec::with_capacity(offers.len());
    // The first attempt that found the image with problems in its parts: a kubelet would go on to the next credential.
    let mut troubled: Option<Attempt> = None;
    for offer in offers {
        let attempt = Attempt {
            source: match offer {
                Some(offer) => offer.source.clone(),
                None => has_own_credential(setup, pod).then_some(CredentialSource::K3s),
            },
            result: attempt(setup, platforms, pod, offer, ask)?,
        };
        match &attempt.result {
            Ok(facts) if is_in_trouble(facts) => troubled = troubled.or(Some(attempt)),
            Ok(_) => {
                attempts.push(attempt);
                return Ok(attempts);
            }
            Err(failure) => {
                let ended = failure.evidence == Evidence::TimedOut(TimeoutStage::Deadline);
                attempts.push(attempt);
                if ended {
                    break;
                }
            }
        }
    }
    // How the pull would have ended with another credential is not known: it might have found all parts.
    let doubt = attempts.iter().any(|attempt| match &attempt.result {
        Ok(_) => false,
        Err(failure) => might_have_worked(&failure.evidence),
    });
    if !doubt || attempts.is_empty() {
        attempts.extend(troubled);
    }
    Ok(attempts)
}

/// Whether the node's own settings have a credential for a host that it asks.
fn has_own_credential(setup: Setup, pod: &PodPull) -> bool {
    let config = pod.configs.get(&setup.pool).map(|configs| configs.of(setup.runtime));
    match config {
        Some(NodeConfig::Containerd(hosts)) => hosts.hosts.iter().any(|host| host.node.id.is_some()),
        Some(NodeConfig::Default | NodeConfig::Unreadable(_) | NodeConfig::PeersOnly | NodeConfig::Crio(_)) | None => false,
    }
}

fn is_in_trouble(facts: &ImageFacts) -> bool {
    facts
        .builds
        .iter()
        .any(|build| build.content.is_err() || !build.troubles.is_empty())
}

/// Whether an attempt with this evidence may do better on a node. If so, nothing that another attempt shows is definite.
pub fn might_have_worked(evidence: &Evidence) -> bool {
    evidence.is_unknown() || matches!(evidence, Evidence::CredentialNotText { every_kubelet: false })
}

fn attempt(
    setup: Setup,
    platforms: &[&Platform],
    pod: &PodPull,
    offer: Option<&OfferedCredential>,
    ask: &mut Ask<'_, Request>,
) -> Result<Result<ImageFacts, Failure>, Missing> {
    let not_text = |every_kubelet| {
        let evidence = Evidence::CredentialNotText { every_kubelet };
        Ok(Err(Failure::plain(evidence, pod.reference.registry().to_owned())))
    };
    match offer.map_or(Sent::Always, |offer| offer.sent) {
        Sent::Always => {}
        Sent::BySome => return not_text(false),
        Sent::Never => return not_text(true),
    }
    let config = pod.configs.get(&setup.pool).map(|configs| configs.of(setup.runtime));
    if let Some(NodeConfig::Unreadable(why)) = config {
        let unknown = Evidence::NodeSettings(NodeSettingsFault::Unreadable);
        return Ok(Err(Failure {
            detail: Some(why.to_string()),
            ..Failure::plain(unknown, pod.reference.registry().to_owned())
        }));
    }
    let on = |platform: &Platform, until| Pull {
        reference: pod.reference.clone(),
        short: pod.short.clone(),
        node: config.cloned().unwrap_or_default(),
        who: offer.map(|offer| offer.who).unwrap_or_default(),
        platform: platform.clone(),
        until,
        agent: match setup.runtime {
            Runtime::Containerd(_) => pod.agents.containerd,
            Runtime::Crio(_) => pod.agents.crio,
        },
    };
    let pulled = |platform: &Platform, ask: &mut Ask<'_, Request>| {
        let pull = on(platform, pod.until);
        let outcome = setup.runtime.pull(&pull, ask)?;
        let runtime_text = setup.runtime.text(&pull, &outcome).map(Arc::from);
        Ok(ended(outcome, pod).map_err(|failure| Failure { runtime_text, ..failure }))
    };
    // What the first request finds does not depend on the platform.
    let usual = Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        ..Platform::default()
    };
    let first = platforms.first().copied().unwrap_or(&usual);
    if platforms.len() < 2 {
        return pulled(first, ask);
    }
    let (mut found, others) = if pod.until == Depth::Manifest {
        // Platforms take different parts only if this is an index.
        let found = pulled(first, ask)?;
        let is_index = matches!(&found, Ok(facts) if matches!(facts.content, Content::Index(_)));
        let rest = platforms.iter().skip(1).filter(|_| is_index);
        (found, ask.each(rest, |ask, platform| pulled(platform, ask))?)
    } else {
        let mut each = ask.each(platforms, |ask, platform| pulled(platform, ask))?;
        (each.remove(0), each)
    };
    for other in others {
        let attempt = |result| Attempt { source: None, result };
        let mut both = [attempt(found)];
        merge(&mut both, vec![attempt(other)]);
        let [Attempt { result, .. }] = both;
        found = result;
    }
    Ok(found)
}

/// The image as found, or the failure that speaks for the pull.
fn ended(outcome: Outcome, pod: &PodPull) -> Result<ImageFacts, Failure> {
    match (outcome.found, outcome.ends.into_iter().next()) {
        (Some(facts), _) => Ok(Arc::unwrap_or_clone(facts)),
        (None, Some(End::Failed(failure))) => Err(match choose(outcome.passed, vec![failure.clone()]) {
            Some(chosen) if chosen.request != failure.request => Failure {
                reported_instead: Some(Box::new(failure)),
                ..chosen
            },
            Some(chosen) => chosen,
            None => failure,
        }),
        (None, _) => Err(Failure::plain(Evidence::Internal, pod.reference.registry().to_owned())),
    }
}

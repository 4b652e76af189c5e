//! CRI-O from 1.32 on, with the containers/image that it is built with (`crio-semantics`; `internal/storage/image.go`). Read top to bottom:
//! [`short_names`], then for each name [`image`] and [`artifact`], which ask [`pull_sources`] in turn by [`source`] and [`session`].
//!
//! Not followed: partial pulls of zstd:chunked layers (range requests instead of one GET, with the same result), signatures that
//! OpenShift's own registry serves (`X-Registry-Supports-Signatures`), a token's lifetime (the wire renews tokens), and the contents of
//! layers.

mod artifact;
pub mod auth;
pub mod candidates;
mod choose;
mod ends;
mod image;
mod manifest;
pub mod node;
pub mod openshift;
pub mod policy;
pub(crate) mod pull_sources;
pub mod registries_conf;
mod session;
pub mod short_names;
mod source;
pub mod version;
pub mod words;

pub(crate) use manifest::LONGEST as LONGEST_MANIFEST;

use crate::ask::{Ask, Missing};
use crate::image::{Platform, Reference};
use crate::runtime::answer::Answer;
use crate::runtime::outcome::{ContentFault, Evidence, Failure, NodeSettingsFault, Quota, TlsFault};
use crate::runtime::request::{Agent, Request, Retry, Who};
use crate::runtime::{Depth, End, NodeConfig, Outcome, Pull};
use image::Found;
use node::NodeSettings;
use policy::Says;
use std::sync::Arc;
use std::time::Duration;
use version::{Artifacts, Version};

/// One CRI-O.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Crio {
    /// Its version.
    pub version: Version,
}

/// Why a part of a pull stops early.
#[derive(Debug)]
enum Stop {
    /// An answer is not known yet.
    Missing(Missing),
    /// It failed.
    Failed(Box<Failed>),
}

/// How a part of a pull failed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failed {
    /// The failure that CRI-O reports.
    failure: Failure,
    /// Failures of places that were asked before, which CRI-O does not report.
    before: Vec<Failure>,
    /// There was no answer (Go's `net.Error`).
    by_network: bool,
}

/// The result of a part of a pull.
type Got<T> = Result<T, Stop>;

impl From<Missing> for Stop {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            before: Vec::new(),
            by_network: false,
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(Failed::from(failure)))
    }
}

impl Stop {
    /// A failure without any answer.
    fn unanswered(failure: Failure) -> Self {
        Self::Failed(Box::new(Failed {
            // Go's `io.ErrUnexpectedEOF` is no `net.Error`.
            by_network: !failure.is_cut_short(),
            ..Failed::from(failure)
        }))
    }
}

/// Turns a failure into a value, so that the pull can go on.
fn caught<T>(got: Got<T>) -> Result<Result<T, Failed>, Missing> {
    match got {
        Ok(done) => Ok(Ok(done)),
        Err(Stop::Failed(failed)) => Ok(Err(*failed)),
        Err(Stop::Missing(missing)) => Err(missing),
    }
}

/// The pull of one name, and the requests it made.
#[derive(Debug, Clone)]
struct Walk<'a> {
    version: Version,
    node: &'a NodeSettings,
    reference: &'a Reference,
    who: Who,
    agent: Agent,
    platform: &'a Platform,
    until: Depth,
    /// In order, so that repeated requests can be numbered.
    sent: Vec<Request>,
    quota: Option<Quota>,
    /// Failures of places that were tried before one succeeded.
    passed: Vec<Failure>,
}

impl Crio {
    /// The CRI-O of a node that reports this version (`cri-o://1.36.3`).
    pub fn of_node(version: &str) -> Self {
        Self {
            version: Version::parse(version),
        }
    }

    /// The newest version that pullgate knows.
    pub fn today() -> Self {
        Self {
            version: Version(1, 36, 3),
        }
    }

    /// Pulls an image.
    pub fn pull(&self, pull: &Pull, ask: &mut Ask<'_, Request>) -> Result<Outcome, Missing> {
        let nothing = NodeSettings::default();
        let (node, known) = match &pull.node {
            NodeConfig::Crio(node) => (&**node, true),
            NodeConfig::Default | NodeConfig::Unreadable(_) | NodeConfig::PeersOnly | NodeConfig::Containerd(_) => {
                (&nothing, false)
            }
        };
        let names = match &pull.short {
            None => Ok(vec![pull.reference.clone()]),
            Some(_) if !known => Err(NodeSettingsFault::ShortName),
            Some(short) => candidates::candidates(&node.registries, self.version, short, &pull.reference),
        };
        let names = match names {
            Ok(names) => names,
            Err(why) => return Ok(failed(by_node_settings(why, &pull.reference), Vec::new())),
        };
        let mut outcome = failed(by_node_settings(NodeSettingsFault::InvalidName, &pull.reference), Vec::new());
        for (at, name) in names.iter().enumerate() {
            let mut walk = Walk {
                version: self.version,
                node,
                reference: name,
                // A credential with an empty user name is none, and an identity token is ignored (`PullImage` in `server/image_pull.go`).
                who: Who {
                    identity_token: false,
                    ..if pull.who.user { pull.who } else { Who::default() }
                },
                agent: pull.agent,
                platform: &pull.platform,
                until: pull.until,
                sent: Vec::new(),
                quota: None,
                passed: Vec::new(),
            };
            if at > 0 {
                // Of several names, the failure of the last one is reported.
                let reported = outcome.ends.into_iter().filter_map(|end| match end {
                    End::Failed(failure) => Some(failure),
                    _ => None,
                });
                walk.passed = outcome.passed.into_iter().chain(reported).collect();
            }
            outcome = match walk.pull(ask)? {
                Ok(Found { facts, end, .. }) => Outcome {
                    found: Some(Arc::new(facts)),
                    ends: vec![end],
                    passed: walk.passed,
                },
                Err(failure) if known => failed(failure, walk.passed),
                Err(failure) => failed(by_a_file_unknown(failure), walk.passed),
            };
            if outcome.is_pulled() {
                break;
            }
            if pull.short.is_some() {
                let ends = outcome.ends.iter_mut().filter_map(|end| match end {
                    End::Failed(failure) => Some(failure),
                    _ => None,
                });
                for failure in ends.chain(&mut outcome.passed) {
                    failure.full_name.get_or_insert_with(|| name.clone());
                }
            }
        }
        Ok(outcome)
    }
}

impl Walk<'_> {
    /// Pulls as an image, as an artifact, or as either (`pullImageImplementation`).
    fn pull(&mut self, ask: &mut Ask<'_, Request>) -> Result<Result<Found, Failure>, Missing> {
        let pulled = self.pulled(ask)?;
        // Signatures are not checked here. A pull that fails for another reason fails anyway.
        let is_pulled = |found: &Found| match &found.end {
            End::Pulled { .. } | End::Foreign(_) => true,
            End::Artifact { fails, .. } => !fails,
            End::NoMatch | End::Unmeasured { .. } | End::Failed(_) => false,
        };
        Ok(match pulled {
            Ok(found) if self.node.says(self.reference) == Says::IfSigned && is_pulled(&found) => {
                Err(by_node_settings(NodeSettingsFault::SignatureNotChecked, self.reference))
            }
            pulled => pulled,
        })
    }

    fn pulled(&mut self, ask: &mut Ask<'_, Request>) -> Result<Result<Found, Failure>, Missing> {
        if self.version.artifacts() == Artifacts::First {
            match caught(artifact::pull(self, ask))? {
                Ok(Some(found)) => return Ok(Ok(found)),
                Ok(None) => {}
                Err(failed) => return Ok(Err(self.tell(failed))),
            }
        }
        let image = caught(image::pull(self, ask))?;
        let (again, is_artifact) = match &image {
            Ok(found) => match &found.end {
                End::Pulled { .. } | End::Foreign(_) => (false, false),
                // CRI-O may well have pulled it.
                End::Failed(failure) if matches!(failure.evidence, Evidence::ContentInvalid(ContentFault::CrioMayFail(_))) => {
                    (false, false)
                }
                End::Artifact { .. } => (self.is_tried_again(false), true),
                End::NoMatch | End::Unmeasured { .. } | End::Failed(_) => (self.is_tried_again(found.by_network), false),
            },
            Err(failed) => (self.is_tried_again(failed.by_network), false),
        };
        if again {
            match caught(artifact::pull(self, ask))? {
                Ok(Some(found)) => return Ok(Ok(found)),
                // An artifact fails as an image only because it is not one.
                Err(failed) if is_artifact => return Ok(Err(self.tell(failed))),
                // This error follows that of the image in the text, and the image's says what is wrong.
                Ok(None) | Err(_) => {}
            }
        }
        image.map_or_else(|failed| Ok(Err(self.tell(failed))), |found| Ok(Ok(found)))
    }

    /// Whether an image that failed is tried as an artifact (`shouldTryArtifact`).
    fn is_tried_again(&self, by_network: bool) -> bool {
        match self.version.artifacts() {
            Artifacts::Never | Artifacts::First => false,
            Artifacts::AfterAnyFailure => true,
            Artifacts::AfterAnswers => !by_network,
        }
    }

    /// Turns a failed part into the failure that is reported.
    fn tell(&mut self, failed: Failed) -> Failure {
        self.pass(failed.before);
        failed.failure
    }

    fn pass(&mut self, failures: Vec<Failure>) {
        for failure in failures {
            if !self.passed.contains(&failure) {
                self.passed.push(failure);
            }
        }
    }

    /// Whether `policy.json` admits the image. The node checks this before it reads anything of the image.
    fn check_policy(&self) -> Got<()> {
        match self.node.says(self.reference) {
            Says::Reject => Err(by_node_settings(NodeSettingsFault::RejectedByPolicy, self.reference).into()),
            Says::Accept | Says::IfSigned => Ok(()),
        }
    }

    /// Sends a request, numbered if the same one was sent before.
    fn send(&mut self, ask: &mut Ask<'_, Request>, request: Request, after: Duration) -> Result<(Request, Answer), Missing> {
        let before = self.sent.iter().filter(|before| **before == request).count();
        self.sent.push(request.clone());
        let request = Request {
            retry: Retry {
                nth: u8::try_from(before).unwrap_or(u8::MAX),
                after,
            },
            ..request
        };
        let answer = ask.get(request.clone())?;
        if let Answer::Response(response) = &answer
            && response.is_success()
        {
            let quotas = self.quota.into_iter().chain(response.quota);
            self.quota = quotas.min_by_key(|quota| quota.remaining);
        }
        Ok((request, answer))
    }

    /// Runs `run` for each item concurrently: none sees what another has learned.
    fn branch<T, U>(
        &mut self,
        ask: &mut Ask<'_, Request>,
        items: impl IntoIterator<Item = T>,
        mut run: impl FnMut(&mut Self, &mut Ask<'_, Request>, T) -> Got<U>,
    ) -> Result<Vec<Result<U, Failed>>, Missing> {
        let before = self.clone();
        let results = ask.each(items, |ask, item| {
            let mut branch = before.clone();
            let result = caught(run(&mut branch, ask, item))?;
            Ok((result, branch))
        })?;
        let mut all = Vec::with_capacity(results.len());
        for (result, branch) in results {
            self.sent.extend(branch.sent.into_iter().skip(before.sent.len()));
            self.quota = self.quota.into_iter().chain(branch.quota).min_by_key(|quota| quota.remaining);
            all.push(result);
        }
        Ok(all)
    }
}

/// A failure over TLS where the nodes' `registries.conf`, which is not known, may allow plain HTTP.
fn by_a_file_unknown(failure: Failure) -> Failure {
    match failure.evidence {
        Evidence::Tls(TlsFault::PlainHttp) => Failure {
            evidence: Evidence::NodeSettings(NodeSettingsFault::PlainHttp),
            ..failure
        },
        _ => failure,
    }
}

/// The outcome of a pull that found nothing.
fn failed(failure: Failure, passed: Vec<Failure>) -> Outcome {
    Outcome {
        found: None,
        ends: vec![End::Failed(failure)],
        passed,
    }
}

/// The failure where the node's settings lead to no registry.
fn by_node_settings(why: NodeSettingsFault, reference: &Reference) -> Failure {
    Failure::plain(Evidence::NodeSettings(why), reference.registry().to_owned())
}

#[cfg(test)]
mod tests;

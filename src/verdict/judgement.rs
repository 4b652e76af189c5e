//! What is said about one image.

use super::finding::Finding;
use super::size::Size;
use super::ways::NodeWay;
use super::{Decision, Outlook, Verdict};
use crate::image::Digest;

/// What is said about one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The worst finding's, or `Pulls`.
    pub outlook: Outlook,
    /// What is done about it: the severest of the decisions.
    pub verdict: Verdict,
    /// The findings, the one that explains the others first.
    pub findings: Vec<Finding>,
    /// What is done about each finding, in their order.
    pub decisions: Vec<Decision>,
    /// What the target resolved to.
    pub digest: Option<Digest>,
    /// Whose credential it is pulled with, as a phrase (`secret "regcred"`); `None` where it is pulled without.
    pub credential: Option<Box<str>>,
    /// The platforms that the image serves.
    pub platforms: Vec<String>,
    /// What nodes would fetch, by platform; empty where it is not known.
    pub sizes: Vec<Size>,
    /// Whether an older answer stood in for a registry that is down.
    pub stale: bool,
    /// How each kind of node pulls it, and the result.
    pub ways: Vec<NodeWay>,
}

impl Judgement {
    /// Nothing to object to, nothing learned.
    pub fn allowed() -> Self {
        Self::from_findings(Vec::new())
    }

    /// What the image will be is not known, and no finding says more than a note does.
    pub fn not_judged() -> Self {
        Self {
            outlook: Outlook::Unknown,
            verdict: Verdict::Warn,
            ..Self::allowed()
        }
    }

    /// The judgement that findings alone amount to, by the default verdicts (contract 2).
    pub fn from_findings(findings: Vec<Finding>) -> Self {
        let mut judgement = Self {
            outlook: Outlook::Pulls,
            verdict: Verdict::Allow,
            findings,
            decisions: Vec::new(),
            digest: None,
            credential: None,
            platforms: Vec::new(),
            sizes: Vec::new(),
            stale: false,
            ways: Vec::new(),
        };
        judgement.decisions = judgement.findings.iter().map(Decision::by_default).collect();
        judgement.sum_up();
        judgement
    }

    /// Replaces the findings, and what is done about each.
    pub fn decided(&mut self, ruled: Vec<(Finding, Decision)>) {
        // As much room as is needed: an object may have tens of thousands of images, with a finding each.
        self.findings = Vec::with_capacity(ruled.len());
        self.decisions = Vec::with_capacity(ruled.len());
        for (finding, decision) in ruled {
            self.findings.push(finding);
            self.decisions.push(decision);
        }
        self.sum_up();
    }

    fn sum_up(&mut self) {
        let outlooks = self.findings.iter().map(|finding| finding.outlook);
        self.outlook = outlooks.max().unwrap_or(Outlook::Pulls);
        let verdicts = self.decisions.iter().map(|decision| decision.verdict);
        self.verdict = verdicts.max().unwrap_or(Verdict::Allow);
    }

    /// Makes a warning of every denial, where nothing that it rests on can be confirmed; `why` is a clause.
    pub fn deny_nothing(&mut self, why: &str) {
        for (finding, decision) in self.findings.iter_mut().zip(&mut self.decisions) {
            if decision.verdict == Verdict::Deny {
                decision.verdict = Verdict::Warn;
                decision.enforced = Verdict::Warn;
                finding.outlook = finding.outlook.min(Outlook::Unknown);
                finding.message = format!("{}; {why}", finding.message);
            }
        }
        self.sum_up();
    }

    /// Where nothing is found any more, since what showed it could not be read again, goes back to what was found `before`: as not known. `why`
    /// is a clause.
    pub fn keep_doubt(&mut self, mut before: Self, why: &str) {
        if self.outlook > Outlook::Pulls || before.outlook <= Outlook::Unknown {
            return;
        }
        for (finding, decision) in before.findings.iter_mut().zip(&mut before.decisions) {
            if finding.outlook > Outlook::Unknown {
                finding.outlook = Outlook::Unknown;
                finding.message = format!("{}; {why}", finding.message);
                decision.verdict = decision.verdict.min(Verdict::Warn);
                decision.enforced = decision.enforced.min(Verdict::Warn);
            }
        }
        before.sum_up();
        *self = before;
    }

    /// The findings with what is done about each.
    pub fn ruled(&self) -> impl Iterator<Item = (&Finding, &Decision)> {
        self.findings.iter().zip(&self.decisions)
    }

    /// What a node would fetch at most, in bytes.
    pub fn size(&self) -> Option<u64> {
        self.sizes.iter().map(|size| size.bytes).max()
    }
}

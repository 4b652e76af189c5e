//! What is done about one finding, and who decided it.

use super::{Finding, Verdict};
use std::sync::Arc;

/// What is done about one finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is done.
    pub verdict: Verdict,
    /// Whether the user is told.
    pub voice: Voice,
    /// The policy whose vote it was; `None`: the default of contract 2.
    pub policy: Option<Arc<str>>,
    /// What would be done if every policy and the settings' mode were enforced: what `mode: Warn` and `mode: Audit` keep back.
    pub enforced: Verdict,
}

/// Whether the user is told of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// In the denial or as a warning.
    Spoken,
    /// In the log, the metrics and the report only: a policy allows it, or is in audit mode.
    Silent,
}

impl Decision {
    /// What is done about a finding where no policy says anything.
    pub fn by_default(finding: &Finding) -> Self {
        let verdict = finding.outlook.default_verdict();
        Self {
            verdict,
            // A finding that comes with Allow is a remark that the user reads (docs/decisions/0004).
            voice: Voice::Spoken,
            policy: None,
            enforced: verdict,
        }
    }
}

//! What is done about one finding, and who decided it.

use super::{Finding, Verdict};
use std::fmt;
use std::sync::Arc;

/// What is done about one finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is done.
    pub verdict: Verdict,
    /// Whether the user is told.
    pub told: Told,
    /// The policy whose vote it was; `None`: the default of contract 2.
    pub policy: Option<Arc<str>>,
    /// What would be done if every policy and the settings' mode were enforced: what `mode: Warn` and `mode: Audit` keep back.
    pub enforced: Verdict,
    /// What will deny it, where it is a warning only because something is not enforced yet.
    pub pending: Option<Pending>,
    /// What the author of the policy says to users.
    pub policy_message: Option<Arc<PolicyMessage>>,
}

/// What will deny once it is enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The policy; `None`: the settings' mode.
    pub policy: Option<Arc<str>>,
    /// From when, in words: `15 January`; `None` where no date is set.
    pub from: Option<String>,
}

/// What the author of a policy says to users, on one line and safe to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyMessage {
    /// A sentence or two.
    pub message: Option<String>,
    /// A URL.
    pub link: Option<String>,
}

/// `the message (https://wiki.corp.example/images)`.
impl fmt::Display for PolicyMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.message, &self.link) {
            (Some(message), Some(link)) => write!(f, "{message} ({link})"),
            (Some(message), None) => f.write_str(message),
            (None, Some(link)) => write!(f, "see {link}"),
            (None, None) => Ok(()),
        }
    }
}

/// Whether the user is told about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// In the denial or as a warning.
    Yes,
    /// In the log, the metrics and the report only: a policy allows it, or is in audit mode.
    No,
}

impl Decision {
    /// What is done about a finding if no policy decides.
    pub fn by_default(finding: &Finding) -> Self {
        let verdict = finding.outlook.default_verdict();
        Self {
            verdict,
            // A finding that comes with Allow is a remark that the user reads (docs/decisions/0004).
            told: Told::Yes,
            policy: None,
            enforced: verdict,
            pending: None,
            policy_message: None,
        }
    }
}

//! The result of the review of an object, as `serve` and `check` use it.

use super::{Judgement, Verdict};
use crate::image::{Reference, escape, mask_userinfo};
use crate::workload::ImageUse;
use std::sync::Arc;

/// One image, judged.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The use.
    pub image: ImageUse,
    /// The reference that nodes will see (rewritten, where the settings say so), where it parses.
    pub reference: Option<Reference>,
    /// What to say about the name.
    pub remark: Option<Remark>,
    /// What is said about it.
    pub judgement: Judgement,
    /// Whether there was anything to judge.
    pub handling: Handling,
}

/// Whether an image was judged at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// It was.
    Judged,
    /// An UPDATE left it as it was, a controller of a judged kind made the object, a parameter stands for it, or the object is exempt.
    Skipped,
}

/// What to say about an image's name in addition to the findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// The settings' `rewrites` give it this name, which was looked up instead.
    Rewritten(String),
    /// A tool that works on the files gives it this name, which was looked up instead.
    Named {
        /// The name.
        name: String,
        /// By what.
        by: String,
    },
    /// Something replaces this part of it, or all of it, before there are pods: not judged.
    FilledIn {
        /// The part that is replaced.
        what: String,
        /// By what.
        by: String,
    },
}

impl Remark {
    /// A clause for the reader; what comes from the object is escaped and cut off.
    pub fn clause(&self) -> String {
        match self {
            Self::Rewritten(to) => format!("rewritten to {}", shown(to)),
            Self::Named { name, by } => format!("{} names it {}", escape(by), shown(name)),
            Self::FilledIn { what, by } => {
                const LONGEST: usize = 60;
                format!(
                    "not judged: {} is filled in later, by {}",
                    clip(&shown(what), LONGEST),
                    escape(by)
                )
            }
        }
    }
}

/// Why an object was allowed as a whole, on somebody's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exemption {
    /// The namespace carries the ignore label.
    Namespace,
    /// The object carries an annotation of `exemptAnnotations`; which.
    Annotation(String),
}

impl Exemption {
    /// The name of each.
    pub const NAMES: [&'static str; 2] = ["namespace_label", "annotation"];

    /// For metrics and the audit annotation.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Namespace => "namespace_label",
            Self::Annotation(_) => "annotation",
        }
    }
}

/// The result of the review of one object.
#[derive(Debug, Clone)]
pub struct ReviewResult {
    /// Every image use, in the order of the object's fields.
    pub images: Vec<Judged>,
    /// Set when the object was exempt; then nothing was judged.
    pub exempt: Option<Exemption>,
    /// Whose rules held.
    pub policies: PolicyContext,
    /// Questions that went to registries.
    pub checks: usize,
}

/// Whose rules held for an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyContext {
    /// The kinds that it counted as: one where it is known, several where it is one of them, none for a bare image.
    pub kinds: Vec<String>,
    /// The labels of its namespace; `None` if they are not known.
    pub labels: Option<Vec<(String, String)>>,
    /// Policies that were about it, with their modes.
    pub matching: Vec<(Arc<str>, &'static str)>,
    /// Policies that would have been about it or one of its images, but for an exemption in them.
    pub exempting: Vec<Arc<str>>,
    /// The settings' mode for the namespace: it governs what no policy votes on.
    pub mode: &'static str,
}

impl Default for PolicyContext {
    fn default() -> Self {
        Self {
            kinds: Vec::new(),
            labels: None,
            matching: Vec::new(),
            exempting: Vec::new(),
            mode: Self::ENFORCED,
        }
    }
}

impl PolicyContext {
    /// The mode of settings that say nothing.
    pub const ENFORCED: &'static str = "Enforce";
}

impl ReviewResult {
    /// Of an object that is exempt as a whole.
    pub fn exempt(images: Vec<Judged>, why: Exemption) -> Self {
        Self {
            images,
            exempt: Some(why),
            policies: PolicyContext::default(),
            checks: 0,
        }
    }

    /// The object's verdict: its worst image's (contract 2).
    pub fn verdict(&self) -> Verdict {
        self.images
            .iter()
            .map(|judged| judged.judgement.verdict)
            .max()
            .unwrap_or(Verdict::Allow)
    }
}

/// The image as it may be shown: userinfo masked, control characters escaped.
pub fn shown(image: &str) -> String {
    escape(&mask_userinfo(image))
}

/// At most `limit` characters, the last of them `…` when something was cut.
pub(super) fn clip(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(limit.saturating_sub(1)).collect();
    out.push('…');
    out
}

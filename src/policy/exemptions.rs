//! What a policy does not apply to, for how long, and why.

use super::applies::{Requester, Subject, named};
use super::compiled::Policy;
use super::dates;
use super::exempt_entry::Exemption;
use super::selector::Glob;
use crate::image::escape;
use jiff::Timestamp;
use std::sync::Arc;

/// An exemption that has not ended.
#[derive(Debug, Clone)]
pub(super) struct Used {
    /// By which pattern, as a clause.
    pub(super) why: String,
    /// When it ends; `None`: never.
    pub(super) until: Option<Timestamp>,
    pub(super) reason: Option<Arc<str>>,
}

impl Exemption {
    fn of_requester(&self, subject: &Subject<'_>, requester: &Requester) -> Option<String> {
        if let Some(glob) = named(&self.namespaces, subject) {
            return Some(format!("{}.namespaces has \"{}\"", self.path, glob.as_str()));
        }
        let user = self
            .users
            .iter()
            .find(|glob| !requester.user.is_empty() && glob.matches(&requester.user))
            .map(|glob| format!("{}.users has \"{}\"", self.path, escape(glob.as_str())));
        let group = |glob: &&Glob| requester.groups.iter().any(|group| glob.matches(group));
        user.or_else(|| {
            let glob = self.groups.iter().find(group)?;
            Some(format!("{}.groups has \"{}\"", self.path, escape(glob.as_str())))
        })
    }

    fn of_image(&self, name: &str) -> Option<String> {
        let pattern = self.images.iter().find(|pattern| pattern.matches(name))?;
        Some(format!("{}.images has \"{pattern}\"", self.path))
    }
}

/// What exempts a requester or a namespace from a policy.
pub(super) fn of_requester(policy: &Policy, subject: &Subject<'_>, requester: &Requester, now: Timestamp) -> Option<Used> {
    longest(policy, now, |exemption| exemption.of_requester(subject, requester))
}

/// Whether it exempts images.
pub(super) fn has_images(policy: &Policy) -> bool {
    policy.exemptions.iter().any(|exemption| !exemption.images.is_empty())
}

/// Which current exemption exempts an image, by the components of its normalised name; if several do, the one that ends last.
pub(super) fn which(policy: &Policy, name: &[&str], now: Timestamp) -> Option<usize> {
    let running = policy
        .exemptions
        .iter()
        .enumerate()
        .filter(|(_, exemption)| !exemption.ended(now));
    let covering = running.filter(|(_, exemption)| exemption.images.iter().any(|pattern| pattern.matches_components(name)));
    let last = covering.max_by_key(|(_, exemption)| exemption.until.unwrap_or(Timestamp::MAX));
    last.map(|(at, _)| at)
}

/// An exemption of images that is used.
pub(super) fn used(policy: &Policy, which: usize) -> Used {
    let exemption = policy.exemptions.get(which);
    Used {
        why: exemption.map_or_else(String::new, |exemption| format!("{}.images has it", exemption.path)),
        until: exemption.and_then(|exemption| exemption.until),
        reason: exemption.and_then(|exemption| exemption.reason.clone()),
    }
}

/// What exempts an image from a policy, by its normalised name.
pub(super) fn of_image(policy: &Policy, name: &str, now: Timestamp) -> Option<Used> {
    longest(policy, now, |exemption| exemption.of_image(name))
}

/// Of those that have not ended, the one that ends last.
fn longest(policy: &Policy, now: Timestamp, covers: impl Fn(&Exemption) -> Option<String>) -> Option<Used> {
    let running = policy.exemptions.iter().filter(|exemption| !exemption.ended(now));
    let used = running.filter_map(|exemption| {
        Some(Used {
            why: covers(exemption)?,
            until: exemption.until,
            reason: exemption.reason.clone(),
        })
    });
    used.max_by_key(Used::end)
}

impl Used {
    /// When it ends, at the end of time if never.
    pub(super) fn end(&self) -> Timestamp {
        self.until.unwrap_or(Timestamp::MAX)
    }

    /// When it ends, if that is so soon that users are warned.
    pub(super) fn ending(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| until.duration_since(now) <= dates::NOTICE)
    }

    /// `ends on 15 January (migrating to reg2)`.
    pub(super) fn ends(&self, now: Timestamp) -> String {
        let reason = self.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        match self.until {
            Some(until) => format!("ends on {}{reason}", dates::shown(until, now)),
            None => format!("has no end{reason}"),
        }
    }
}

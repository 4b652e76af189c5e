//! The objections of name rules to an image. An object may have tens of thousands of images, so each set of matching policies is built once
//! per object, and messages are written only while there is room for them.

use super::exemptions;
use super::matching::{Inner, Matched, Matching, Raised};
use super::names::{Refused, components, held};
use super::refusals::{RULES, digest_required, not_allowed, tag_not_allowed};
use crate::image::Reference;
use crate::verdict::{Cause, Decision, Outlook};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

/// The policies that apply to each image of an object; each distinct set is built once.
#[derive(Debug)]
pub struct PerImagePolicies<'a> {
    of_object: &'a Matching,
    /// The key: the policies that exempt an image, each with the exemption that does (as indexes).
    known: HashMap<Vec<(usize, usize)>, Matching>,
}

impl<'a> PerImagePolicies<'a> {
    /// Starts from the policies that apply to an object.
    pub fn of(of_object: &'a Matching) -> Self {
        Self {
            of_object,
            known: HashMap::new(),
        }
    }

    /// The policies that apply to an image that nodes know by these names. It is exempt only if all of them are.
    pub fn about(&mut self, references: &[Reference]) -> Matching {
        let exempt = self.of_object.exempt_from(references);
        if exempt.is_empty() {
            return self.of_object.clone();
        }
        let without = |exempt: &Vec<(usize, usize)>| self.of_object.without(exempt);
        self.known.entry(exempt).or_insert_with_key(without).clone()
    }
}

/// What a name rule objects to, not yet put into words.
#[derive(Debug, Clone, Copy)]
pub struct Objection<'a> {
    by: &'a Matched,
    now: Timestamp,
    /// The policy's index.
    at: usize,
    what: What<'a>,
}

#[derive(Debug, Clone, Copy)]
enum What<'a> {
    Registry(Refused<'a>),
    /// The tag, and the pattern that refuses it.
    Tag(&'a str, &'a str),
    Digest,
}

impl What<'_> {
    /// Its place in [`RULES`].
    fn rule(self) -> usize {
        match self {
            Self::Registry(_) => 0,
            Self::Tag(..) => 1,
            Self::Digest => 2,
        }
    }
}

impl Objection<'_> {
    /// Puts it into words; `shown` is the image as written.
    pub fn raise(self, reference: &Reference, shown: &str) -> Raised {
        let policy = &self.by.policy;
        let finding = match self.what {
            What::Registry(why) => not_allowed(policy, reference, why),
            What::Tag(tag, pattern) => tag_not_allowed(policy, reference, tag, pattern),
            What::Digest => digest_required(policy, shown),
        };
        Raised {
            finding: self.by.note(finding, self.now),
            policy: Arc::clone(&policy.name),
        }
    }
}

impl Matching {
    /// The policies that apply to one image: `exempt.images` exempts an image from its own policy only.
    #[must_use]
    pub fn narrowed(&self, reference: &Reference) -> Self {
        PerImagePolicies::of(self).about(std::slice::from_ref(reference))
    }

    /// The policies that exempt an image under all of its names, each with the exemption that does; if several do, the one that ends first.
    fn exempt_from(&self, references: &[Reference]) -> Vec<(usize, usize)> {
        let able = self.0.matched.iter().enumerate();
        let able: Vec<(usize, &Matched)> = able.filter(|(_, matched)| exemptions::has_images(&matched.policy)).collect();
        if able.is_empty() || references.is_empty() {
            return Vec::new();
        }
        let names: Vec<String> = references.iter().map(held).collect();
        let names: Vec<_> = names.iter().map(|name| components(name)).collect();
        let by = |(at, matched): (usize, &Matched)| {
            let policy = &matched.policy;
            let each: Option<Vec<usize>> = names.iter().map(|name| exemptions::which(policy, name, self.0.now)).collect();
            let first = each?.into_iter().min_by_key(|which| exemptions::used(policy, *which).end())?;
            Some((at, first))
        };
        able.into_iter().filter_map(by).collect()
    }

    fn without(&self, exempt: &[(usize, usize)]) -> Self {
        let mut inner = Inner::none(self.0.settings_mode, self.0.now);
        inner.exempting.clone_from(&self.0.exempting);
        for (at, one) in self.0.matched.iter().enumerate() {
            let used = exempt.iter().find(|(exempt, _)| *exempt == at);
            inner.add(one.clone(), used.map(|(_, which)| exemptions::used(&one.policy, *which)));
        }
        Self(Arc::new(inner))
    }

    /// What the name rules object to; `shown` is the image as written. Needs no network.
    pub fn objections<'a>(&'a self, reference: &'a Reference, shown: &str) -> Vec<Objection<'a>> {
        let name = held(reference);
        let name = components(&name);
        let is_image_id = Reference::is_whole_image_id(shown);
        let mut objections = Vec::new();
        for (at, by) in self.0.matched.iter().enumerate() {
            let policy = &by.policy;
            let mut object = |what| {
                objections.push(Objection {
                    by,
                    now: self.0.now,
                    at,
                    what,
                });
            };
            let judged = if is_image_id {
                policy.registries.judge_image_id()
            } else {
                policy.registries.judge(&name).map(|_| ())
            };
            if let Err(why) = judged {
                object(What::Registry(why));
            }
            if let Some((tag, pattern)) = policy.tags.refuse(reference) {
                object(What::Tag(tag, pattern));
            }
            if policy.tags.wants_digest(reference) {
                object(What::Digest);
            }
        }
        objections
    }

    /// The same in words.
    pub fn names(&self, reference: &Reference, shown: &str) -> Vec<Raised> {
        let objections = self.objections(reference, shown);
        objections.into_iter().map(|one| one.raise(reference, shown)).collect()
    }

    /// The objection to one image with the most severe verdict, now or if every policy were enforced; among equals, the first.
    pub fn severest<'a>(&self, objections: &[Objection<'a>]) -> Option<Objection<'a>> {
        let weight = |objection: &Objection<'_>| {
            let rule = objection.what.rule();
            let decision = &self.rulings()[objection.at][rule];
            // A missing digest weighs least: the registry may still be asked.
            (decision.verdict, decision.enforced, RULES[rule] != Cause::DigestRequired)
        };
        // `max_by_key` takes the last of several.
        objections.iter().rev().max_by_key(|objection| weight(objection)).copied()
    }

    /// What is done about violations of each policy's name rules, in the order of [`RULES`]: the same for every image.
    pub(super) fn rulings(&self) -> &[[Decision; 3]] {
        self.0.rulings.get_or_init(|| {
            let of = |matched: &Matched| RULES.map(|cause| self.weigh(cause, Outlook::NotAllowed, Some(&matched.policy.name)));
            self.0.matched.iter().map(of).collect()
        })
    }
}

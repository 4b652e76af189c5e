//! Decides which images of an object `pullgate pin` pins, and the text to add: `nginx:1.25` gets `@sha256:…`. Pure: the gate asks
//! the registries, as for `check`; [`crate::yaml::append`] edits the files.

use crate::image::{Digest, Reference, escape};
use crate::verdict::review_result::{Exemption, Handling, Judged, Remark};
use crate::verdict::{Cause, Finding, Outlook};
use crate::workload::pod::Parameters;
use crate::workload::{ImageUse, Later, ObjectId, Workload, parameter};

/// An image before the registry is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// It has no digest, or cannot be parsed: ask.
    Open,
    /// It has a tag and this digest: ask whether the tag has moved.
    Pinned(Digest),
    /// It has a digest, and no tag that could move.
    Fixed,
    /// Something else writes its name; a clause that says what.
    Elsewhere(String),
}

impl Stand {
    /// Classifies an image as written.
    pub fn of(image: &ImageUse, parameters: Parameters, object: &ObjectId) -> Self {
        match image.later.as_deref() {
            Some(Later::FilledIn { what, by }) => return Self::filled_in(what, by),
            Some(Later::Named { name, by, .. }) => {
                return Self::Elsewhere(format!("{} names it {}: pin it there", escape(by), escape(name)));
            }
            None => {}
        }
        let image = image.image.as_str();
        if Reference::is_whole_image_id(image) {
            return Self::Elsewhere("it is the ID of an image, which no registry knows".to_owned());
        }
        match Reference::parse(image) {
            Ok(reference) => match (reference.digest(), reference.tag()) {
                (Some(digest), Some(_)) => Self::Pinned(digest.clone()),
                (Some(_), None) => Self::Fixed,
                (None, _) => Self::Open,
            },
            Err(_) => match parameter::of(image, &object.api_version, &object.kind) {
                Some((text, by)) if parameters == Parameters::FilledIn => Self::filled_in(text, &by),
                Some(_) | None => Self::Open,
            },
        }
    }

    fn filled_in(what: &str, by: &str) -> Self {
        Self::Elsewhere(format!("{} is filled in later, by {}", escape(what), escape(by)))
    }
}

/// Reduces a workload to the images to ask about, by tag. Returns all images as written, classified, in order.
pub fn reduce(workload: &mut Workload) -> Vec<(ImageUse, Stand)> {
    let mut all = Vec::new();
    for template in &mut workload.templates {
        let parameters = template.nature.parameters;
        template.uses.retain_mut(|image| {
            // A patch next to manifests only names containers.
            if image.image.is_empty() {
                return false;
            }
            let stand = Stand::of(image, parameters, &workload.object);
            all.push((image.clone(), stand.clone()));
            match stand {
                Stand::Open => true,
                Stand::Pinned(_) => {
                    if let Some((tag, _)) = image.image.rsplit_once('@') {
                        image.image = tag.to_owned();
                    }
                    true
                }
                Stand::Fixed | Stand::Elsewhere(_) => false,
            }
        });
    }
    all
}

/// Whether [`reduce`] keeps such an image.
pub fn is_asked(stand: &Stand) -> bool {
    match stand {
        Stand::Open | Stand::Pinned(_) => true,
        Stand::Fixed | Stand::Elsewhere(_) => false,
    }
}

/// The outcome for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Add this text.
    Pin(String),
    /// It keeps its digest; the digest that its tag resolves to now, if different.
    Pinned(Option<Digest>),
    /// This digest becomes that one, to which its tag resolves now.
    Move(Digest, Digest),
    /// It is not to be pinned; a clause that says why.
    Left(String),
    /// Its digest could not be determined: the findings say why.
    Failed,
}

/// Turns the gate's answer for an image into its outcome; `None` if it was not asked.
pub fn outcome(image: &ImageUse, stand: &Stand, judged: Option<&Judged>, exempt: Option<&Exemption>) -> Outcome {
    let digest = judged.and_then(|judged| judged.judgement.digest.as_ref());
    match stand {
        Stand::Fixed => return Outcome::Pinned(None),
        Stand::Pinned(written) => {
            let moved = digest.filter(|digest| *digest != written && digest.algorithm() == written.algorithm());
            return Outcome::Pinned(moved.cloned());
        }
        Stand::Elsewhere(why) => return Outcome::Left(why.clone()),
        Stand::Open => {}
    }
    match exempt {
        Some(Exemption::Namespace) => return Outcome::Left("its namespace is exempt".to_owned()),
        Some(Exemption::Annotation(_)) => return Outcome::Left("an annotation exempts its object".to_owned()),
        None => {}
    }
    let Some(judged) = judged else { return Outcome::Failed };
    if let Some(Remark::FilledIn { what, by }) = &judged.remark {
        return Outcome::Left(format!("{} is filled in later, by {}", escape(what), escape(by)));
    }
    match (digest, judged.handling) {
        (Some(digest), _) => addition(&image.image, digest).map_or(Outcome::Failed, Outcome::Pin),
        (None, Handling::Skipped) => Outcome::Left("a controller created its object: pin it in the controller's object".to_owned()),
        (None, Handling::Judged) => {
            let never = judged
                .judgement
                .findings
                .iter()
                .any(|finding| finding.cause == Cause::NeverPulled);
            if never {
                // Nodes know a preloaded image by its tag.
                Outcome::Left("imagePullPolicy is Never, so it does not come from a registry".to_owned())
            } else {
                Outcome::Failed
            }
        }
    }
}

/// The text to add to an image. A missing tag means `latest`, and is added too: next to a digest it shows users, and tools that
/// update digests, where the digest came from; and the default of `imagePullPolicy` depends on it.
fn addition(image: &str, digest: &Digest) -> Option<String> {
    let before = Reference::parse(image).ok()?;
    let addition = match before.tag() {
        Some(_) => format!("@{digest}"),
        None => format!(":latest@{digest}"),
    };
    let after = Reference::parse(&format!("{image}{addition}")).ok()?;
    let tag = before.tag().unwrap_or("latest");
    (after.name() == before.name() && after.tag() == Some(tag) && after.digest() == Some(digest)).then_some(addition)
}

/// Whether to show a finding for an image that was pinned: what will fail anyway.
pub fn is_reservation(finding: &Finding) -> bool {
    // The missing digest has just been added.
    finding.outlook != Outlook::Pulls && finding.cause != Cause::DigestRequired
}

#[cfg(test)]
mod tests;

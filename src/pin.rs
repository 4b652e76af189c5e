//! Which images of an object `pullgate pin` pins, and by what text: `nginx:1.25` gets `@sha256:…` behind it. Pure: registries are asked by
//! the gate, as `check` asks them; files are edited by [`crate::yaml::append`].

use crate::image::{Digest, Reference, escape};
use crate::verdict::answer::{Exemption, Judged, Look};
use crate::verdict::{Cause, Finding, Outlook};
use crate::workload::{ImageUse, Workload, parameter};
use serde_json::Value;

/// An image before anybody is asked about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// It has no digest, or does not parse: to be asked.
    Open,
    /// It has a tag and this digest: the tag is asked whether it has moved.
    Pinned(Digest),
    /// It has a digest, and no tag that could have moved.
    Fixed,
    /// It holds this parameter of a template.
    Parameter(String),
}

impl Stand {
    /// How an image stands, as it is written.
    pub fn of(image: &str) -> Self {
        match Reference::parse(image) {
            Ok(reference) => match (reference.digest(), reference.tag()) {
                (Some(digest), Some(_)) => Self::Pinned(digest.clone()),
                (Some(_), None) => Self::Fixed,
                (None, _) => Self::Open,
            },
            Err(_) => match parameter(image) {
                Some(text) => Self::Parameter(text.to_owned()),
                None => Self::Open,
            },
        }
    }
}

/// `{{ x }}`, `$(x)`, `${x}`.
fn parameter(image: &str) -> Option<&str> {
    parameter::find(image).or_else(|| {
        let from = image.get(image.find("${")?..)?;
        from.get(..=from.find('}')?)
    })
}

/// Leaves of a workload what is to be asked, and of that the tags. Returns every image that is written, with its stand, in order.
pub fn reduce(workload: &mut Workload) -> Vec<(ImageUse, Stand)> {
    let mut all = Vec::new();
    for template in &mut workload.templates {
        template.uses.retain_mut(|image| {
            // A patch that lies beside manifests names containers only.
            if image.image.is_empty() {
                return false;
            }
            let stand = Stand::of(&image.image);
            all.push((image.clone(), stand.clone()));
            match stand {
                Stand::Open => true,
                Stand::Pinned(_) => {
                    if let Some((tag, _)) = image.image.rsplit_once('@') {
                        image.image = tag.to_owned();
                    }
                    true
                }
                Stand::Fixed | Stand::Parameter(_) => false,
            }
        });
    }
    all
}

/// Whether [`reduce`] leaves an image of this stand in the workload.
pub fn is_asked(stand: &Stand) -> bool {
    match stand {
        Stand::Open | Stand::Pinned(_) => true,
        Stand::Fixed | Stand::Parameter(_) => false,
    }
}

/// What becomes of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// This text goes behind it.
    Pin(String),
    /// It has a digest, which stays; where its tag names another one now, that.
    Pinned(Option<Digest>),
    /// It is not for pinning: why, as a clause.
    Left(String),
    /// What it should be pinned to was not found out: the findings say why.
    Failed,
}

/// Makes of an image what the gate said of it; `None` where it was not asked.
pub fn outcome(image: &ImageUse, stand: &Stand, judged: Option<&Judged>, exempt: Option<&Exemption>) -> Outcome {
    let digest = judged.and_then(|judged| judged.judgement.digest.as_ref());
    match stand {
        Stand::Fixed => return Outcome::Pinned(None),
        Stand::Pinned(written) => {
            let moved = digest.filter(|digest| *digest != written && digest.algorithm() == written.algorithm());
            return Outcome::Pinned(moved.cloned());
        }
        Stand::Parameter(text) => return Outcome::Left(format!("{} is filled in later", escape(text))),
        Stand::Open => {}
    }
    match exempt {
        Some(Exemption::Namespace) => return Outcome::Left("its namespace is exempt".to_owned()),
        Some(Exemption::Annotation(_)) => return Outcome::Left("an annotation exempts its object".to_owned()),
        None => {}
    }
    let Some(judged) = judged else { return Outcome::Failed };
    match (digest, judged.look) {
        (Some(digest), _) => addition(&image.image, digest).map_or(Outcome::Failed, Outcome::Pin),
        (None, Look::PassedOver) => {
            Outcome::Left("a controller made its object; pin it in that controller's own object".to_owned())
        }
        (None, Look::Taken) => {
            let never = judged
                .judgement
                .findings
                .iter()
                .any(|finding| finding.cause == Cause::NeverPulled);
            if never {
                // An image that was loaded onto a node is known there by its tag.
                Outcome::Left("imagePullPolicy is Never: no registry serves it".to_owned())
            } else {
                Outcome::Failed
            }
        }
    }
}

/// What goes behind an image. A tag that is not written is `latest`, and is written now: beside a digest it says to people, and to the
/// tools that raise digests, where the digest is from; and the default of `imagePullPolicy` hangs on it.
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

/// Whether a finding is to be told of an image that is pinned: what will go wrong with it all the same.
pub fn is_reservation(finding: &Finding) -> bool {
    // That the digest is missing is being mended.
    finding.outlook != Outlook::Pulls && finding.cause != Cause::DigestRequired
}

/// Places deeper than this are not searched.
const DEEPEST: usize = 60;

/// Where a name and a tag are written apart, as a chart's values and some custom kinds have them, and kustomize's `images`; paths as
/// [`crate::yaml::Document::line_of`] takes them. Nobody can pin these but who knows what is made of them.
pub fn apart(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    search(object, "", 0, &mut found);
    found
}

fn search(value: &Value, path: &str, depth: usize, found: &mut Vec<String>) {
    if depth > DEEPEST {
        return;
    }
    match value {
        Value::Object(fields) => {
            let text = |key: &str| fields.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
            let tagged = |key: &str| text(key) || fields.get(key).is_some_and(Value::is_number);
            let in_two = text("repository") && tagged("tag");
            let by_kustomize = text("name") && tagged("newTag");
            if (in_two || by_kustomize) && !text("digest") {
                found.push(path.to_owned());
            }
            for (key, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                search(value, &format!("{path}{dot}{key}"), depth + 1, found);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                search(item, &format!("{path}[{at}]"), depth + 1, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;

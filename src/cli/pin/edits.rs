//! Where the digests go in the files, and the report about them.

use super::outcome::{Became, Count, Image, Written};
use super::{Destination, Found};
use crate::cli::{DENIED, WRONG};
use crate::image::{Digest, escape};
use crate::manifests::{Text, replace};
use crate::pin::Outcome;
use crate::report::diff::unified;
use crate::report::plain;
use crate::verdict::message::{explain_in_full, shown};
use crate::verdict::{Cause, Finding, Judgement};
use crate::yaml::{self, Addition, Change, Document, Edit, Edited, Mismatch, value_at};
use serde_json::Value;
use std::collections::HashSet;

/// What to print.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) count: Count,
    /// For standard output.
    pub(super) printed: String,
    /// For standard error, about images; some have several lines.
    pub(super) notes: Vec<String>,
    /// What could not be read or written, one sentence each.
    pub(super) errors: Vec<String>,
    images: Vec<Image>,
    /// Images whose failure has been explained, with the explanation.
    explained: HashSet<(String, String)>,
}

/// An image that gets a digest.
#[derive(Debug)]
struct Pin<'a> {
    found: &'a Found,
    /// What is appended if the whole name is in one place: `@sha256:…`.
    addition: Option<&'a str>,
    /// The digest.
    digest: &'a str,
    became: Became,
}

/// How a digest is written.
enum Form {
    Append(Addition),
    Edit(Edit),
    /// Not at all; a clause that says why.
    Not(&'static str),
}

impl Report {
    pub(super) fn new(errors: Vec<String>) -> Self {
        Self {
            errors,
            ..Self::default()
        }
    }

    /// The result for programs.
    pub(super) fn written(&self) -> Written<'_> {
        Written::of(&self.count, &self.images, &self.errors)
    }

    /// Counts an image, and adds it to the result for programs.
    fn take(&mut self, file: &str, found: &Found, became: Became, digest: Option<&str>, reason: Option<&str>) {
        match became {
            Became::Pinned => self.count.pinned += 1,
            Became::Refreshed => self.count.refreshed += 1,
            Became::Before => self.count.before += 1,
            Became::Skipped => self.count.skipped += 1,
            Became::Failed => self.count.failed += 1,
        }
        self.images.push(Image::of(file, found, became, digest, reason));
    }

    /// Pins the images `found` in a text.
    pub(super) fn text(&mut self, text: &Text, found: &[&Found], to: Destination) {
        let mut pins: Vec<Pin<'_>> = Vec::new();
        for found in found {
            let head = head(text, found);
            match &found.outcome {
                Outcome::Pin(addition) => pins.push(Pin {
                    found,
                    addition: Some(addition),
                    digest: addition.rsplit_once('@').map_or("", |(_, digest)| digest),
                    became: Became::Pinned,
                }),
                Outcome::Move(_, now) => pins.push(Pin {
                    found,
                    addition: None,
                    digest: now.as_str(),
                    became: Became::Refreshed,
                }),
                Outcome::Pinned(now) => {
                    if let Some(now) = now {
                        self.notes.push(format!("{head} unchanged; its tag now resolves to {now}"));
                    }
                    self.take(&text.file, found, Became::Before, now.as_ref().map(Digest::as_str), None);
                }
                Outcome::Left(why) => {
                    self.notes.push(format!("{head} skipped: {why}"));
                    self.take(&text.file, found, Became::Skipped, None, Some(why));
                }
                Outcome::Failed if found.apart => {
                    let why = "its digest is not known; it may not be an image";
                    self.notes.push(format!("{head} skipped: {why}"));
                    self.take(&text.file, found, Became::Skipped, None, Some(why));
                }
                Outcome::Failed => {
                    let mut why = String::new();
                    findings(&mut why, found, |finding| finding.cause != Cause::DigestRequired);
                    let known = Some(why.trim()).filter(|why| !why.is_empty());
                    self.take(&text.file, found, Became::Failed, None, known);
                    let is_new = why.is_empty() || self.explained.insert((found.image.clone(), why.clone()));
                    let explanation = if is_new { why.as_str() } else { ", as said above" };
                    self.notes.push(format!("{head} could not be pinned{explanation}"));
                }
            }
        }
        let after = self.edit(text, pins, to);
        if to == Destination::Stdout {
            self.printed.push_str(after.as_deref().unwrap_or(&text.text));
        }
    }

    /// None of these can be pinned.
    fn fail(&mut self, text: &Text, pins: &[Pin<'_>], why: &str) {
        for pin in pins {
            self.take(&text.file, pin.found, Became::Failed, Some(pin.digest), Some(why));
        }
    }

    /// Edits a text, and its file. Returns the new text.
    fn edit(&mut self, text: &Text, pins: Vec<Pin<'_>>, to: Destination) -> Option<String> {
        if pins.is_empty() {
            return None;
        }
        let file = escape(&text.file);
        let parsed = yaml::manifests(&text.text);
        if !parsed.errors.is_empty() {
            self.notes
                .push(format!("{file}: not changed, because part of it cannot be read"));
            self.fail(text, &pins, "part of the file cannot be read");
            return None;
        }
        let mut appended: Vec<(Pin<'_>, Addition)> = Vec::new();
        let mut edited: Vec<(Pin<'_>, Edit)> = Vec::new();
        for pin in pins {
            match parsed.documents.get(pin.found.document).map(|document| form(&pin, document)) {
                Some(Form::Append(addition)) => appended.push((pin, addition)),
                Some(Form::Edit(edit)) => edited.push((pin, edit)),
                Some(Form::Not(why)) => self.printed_only(text, &pin, why),
                None => self.printed_only(text, &pin, "its position in the file is unknown"),
            }
        }
        let result = write(&text.text, &appended, &edited);
        let all: Vec<Pin<'_>> = appended
            .into_iter()
            .map(|(pin, _)| pin)
            .chain(edited.into_iter().map(|(pin, _)| pin))
            .collect();
        let Edited { text: after, left } = match result {
            Ok(edited) => edited,
            Err(mismatch) => {
                let place = place(&text.file, mismatch.line);
                let why = "adding the digests would change what this document means; the file is not changed";
                self.notes.push(format!("{place}: {why}"));
                self.fail(text, &all, why);
                return None;
            }
        };
        let mut done: Vec<(&Pin<'_>, String)> = Vec::new();
        for (at, pin) in all.iter().enumerate() {
            let head = head(text, pin.found);
            if let Some((_, why)) = left.iter().find(|(left, _)| *left == at) {
                let why_text = why.to_string();
                self.notes.push(format!(
                    "{head} could not be pinned: {why_text}\n    fix: {}\n    its digest: {}",
                    why.fix(),
                    pin.digest
                ));
                self.take(&text.file, pin.found, Became::Failed, Some(pin.digest), Some(&why_text));
                continue;
            }
            done.push((pin, said(text, pin)));
            let mut note = format!("{head} is pinned, but:");
            findings(&mut note, pin.found, crate::pin::is_reservation);
            if note.contains('\n') {
                self.notes.push(note);
            }
        }
        if done.is_empty() {
            return None;
        }
        match (to, &text.path) {
            (Destination::Diff(colour), _) => self.printed.push_str(&unified(&text.file, &text.text, &after, colour)),
            (Destination::Stdout, _) | (Destination::Files, None) => {}
            (Destination::Files, Some(path)) => {
                if let Err(why) = replace(path, &text.text, &after) {
                    self.errors.push(format!("{file} was not written: {why}"));
                    for (pin, _) in done {
                        self.take(&text.file, pin.found, Became::Failed, Some(pin.digest), Some(&why));
                    }
                    return None;
                }
                self.printed.extend(done.iter().map(|(_, said)| said.as_str()));
            }
        }
        for (pin, _) in done {
            self.take(&text.file, pin.found, pin.became, Some(pin.digest), None);
        }
        Some(after)
    }

    /// Reports a digest that has no place in the file.
    fn printed_only(&mut self, text: &Text, pin: &Pin<'_>, why: &str) {
        let head = head(text, pin.found);
        self.notes
            .push(format!("{head} skipped: {why}; its digest is {}", pin.digest));
        self.take(&text.file, pin.found, Became::Skipped, Some(pin.digest), Some(why));
    }

    pub(super) fn code(&self, to: Destination) -> u8 {
        let open = match to {
            Destination::Diff(_) => self.count.pinned + self.count.refreshed,
            Destination::Files | Destination::Stdout => 0,
        };
        if !self.errors.is_empty() {
            WRONG
        } else if self.count.failed + open > 0 {
            DENIED
        } else {
            0
        }
    }
}

/// How to write the digest of an image, given what the document has at its place.
fn form(pin: &Pin<'_>, document: &Document) -> Form {
    let found = pin.found;
    let at = found.document;
    let (map, key) = found.path.rsplit_once('.').unwrap_or(("", &found.path));
    let edit = |key: &str, change: Change| {
        Form::Edit(Edit {
            document: at,
            map: map.to_owned(),
            key: key.to_owned(),
            change,
        })
    };
    let old = found.before.as_ref().map(|digest| digest.as_str().to_owned());
    let swap = |old: String| Change::Swap {
        old,
        new: pin.digest.to_owned(),
    };
    let here = value_at(&document.value, &found.path).and_then(Value::as_str);
    if here == Some(found.image.as_str()) {
        return match (pin.addition, old) {
            (_, Some(old)) => edit(key, swap(old)),
            (Some(addition), None) => Form::Append(Addition {
                document: at,
                path: found.path.clone(),
                value: found.image.clone(),
                text: addition.to_owned(),
            }),
            (None, None) => Form::Not("it has no digest to move"),
        };
    }
    let fields = value_at(&document.value, map).and_then(Value::as_object);
    let digest = fields.and_then(|fields| fields.get("digest"));
    match (digest, old) {
        (Some(Value::String(text)), Some(old)) if *text == old => edit("digest", swap(old)),
        (Some(value), None) if value.is_null() || value.as_str() == Some("") => edit("digest", Change::Fill(pin.digest.to_owned())),
        (None, None) if key == "newTag" => {
            let change = Change::Beside {
                key: "digest".to_owned(),
                text: pin.digest.to_owned(),
            };
            edit(key, change)
        }
        _ => Form::Not("name and tag stand in separate fields, and only their author knows where a digest belongs"),
    }
}

/// The text with all of these edits. Those that failed are listed by their index in the two lists, `appended` first.
fn write(text: &str, appended: &[(Pin<'_>, Addition)], edited: &[(Pin<'_>, Edit)]) -> Result<Edited, Mismatch> {
    let additions: Vec<Addition> = appended.iter().map(|(_, addition)| addition.clone()).collect();
    let first = yaml::append(text, &yaml::manifests(text), &additions)?;
    if edited.is_empty() {
        return Ok(first);
    }
    let edits: Vec<Edit> = edited.iter().map(|(_, edit)| edit.clone()).collect();
    let second = yaml::change(&first.text, &yaml::manifests(&first.text), &edits)?;
    let left = second.left.into_iter().map(|(at, why)| (at + appended.len(), why));
    Ok(Edited {
        text: second.text,
        left: first.left.into_iter().chain(left).collect(),
    })
}

/// `k8s/api.yaml:23: Deployment shop/api, container api: nginx:1`
fn head(text: &Text, found: &Found) -> String {
    format!("{}: {}: {}", place(&text.file, found.line), found.user, shown(&found.image))
}

/// The line about an image that was pinned.
fn said(text: &Text, pin: &Pin<'_>) -> String {
    let found = pin.found;
    let after = match (&found.before, pin.addition) {
        (Some(before), _) => found.image.replace(before.as_str(), pin.digest),
        (None, Some(addition)) => format!("{}{addition}", found.image),
        (None, None) => found.image.clone(),
    };
    format!("{} -> {}\n", head(text, found), shown(&after))
}

/// `k8s/api.yaml:23`
fn place(file: &str, line: usize) -> String {
    format!("{}:{line}", escape(plain(file)))
}

/// Adds findings below a note.
fn findings(note: &mut String, found: &Found, tells: impl Fn(&Finding) -> bool) {
    let judgement = found.judged.as_ref().map(|judged| &judged.judgement);
    for (finding, decision) in judgement
        .into_iter()
        .flat_map(Judgement::ruled)
        .filter(|(finding, _)| tells(finding))
    {
        explain_in_full(note, finding, decision, "    ");
    }
}

//! Findings as people read them: the denial, and the one-line warnings (contract 2 and 3).

use super::decision::PolicyMessage;
use super::kubelet::tail;
pub use super::review_result::shown;
use super::review_result::{Judged, Remark, clip};
use super::{Decision, Finding, Outlook, Told, Verdict};
use crate::image::escape;
use crate::workload::{ImageUse, ObjectId, Role};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Longest warning, in characters (the API server cuts longer ones when all together pass 4,096).
pub const WARNING_LIMIT: usize = 256;
/// All warnings of an answer together, in characters.
pub const WARNINGS_LIMIT: usize = 4000;
/// The note of a Kubernetes Event, in bytes of UTF-8: the API server counts those.
pub const NOTE_LIMIT: usize = 1024;
/// Images that a denial explains in full; the others are named, with their causes.
const EXPLAINED: usize = 25;
/// Images that a denial names, and findings that it lists as causes: no answer grows with the object without end.
pub const LISTED: usize = 1000;

/// `container api`, `init container migrate`, `image volume model`.
pub fn user_of(image: &ImageUse) -> String {
    let what = match image.role {
        Role::Container => "container",
        Role::Init => "init container",
        Role::Ephemeral => "ephemeral container",
        Role::Volume | Role::UnmountedVolume => "image volume",
    };
    if image.name.is_empty() {
        format!("{what} at {}", image.path)
    } else {
        format!("{what} {}", escape(&image.name))
    }
}

/// The image as written, and as it will be where the settings rewrite it: `nginx:1.25 (rewritten to reg.corp/nginx:1.25)`.
pub fn image_of(judged: &Judged) -> String {
    let image = match shown(&judged.image.image) {
        blank if blank.trim().is_empty() => format!("{blank:?}"),
        image => image,
    };
    match &judged.remark {
        Some(remark @ (Remark::Rewritten(_) | Remark::Named { .. })) => format!("{image} ({})", remark.clause()),
        Some(Remark::FilledIn { .. }) | None => image,
    }
}

/// `Deployment shop/api`.
pub fn object_of(object: &ObjectId) -> String {
    let name = if object.name.is_empty() {
        "(no name yet)".to_owned()
    } else {
        escape(&object.name)
    };
    if object.namespace.is_empty() {
        format!("{} {name}", escape(&object.kind))
    } else {
        format!("{} {}/{name}", escape(&object.kind), escape(&object.namespace))
    }
}

/// After so many lines that found no room, none is made any more: an object may have tens of thousands of images.
const TRIED: usize = 500;

/// The text of a denial: every denied image with cause, evidence, what the kubelet would show, and the fix. Of an object with very
/// many the first are told, and the rest counted.
pub fn denial(object: &ObjectId, images: &[Judged]) -> String {
    let denied: Vec<&Judged> = images.iter().filter(|line| line.judgement.verdict == Verdict::Deny).collect();
    let complaint = complaint(&denied);
    let noun = if images.len() == 1 { "image" } else { "images" };
    let mut text = format!(
        "{} of {} {noun} of {} {complaint}",
        denied.len(),
        images.len(),
        object_of(object)
    );
    for (at, line) in denied.iter().enumerate().take(LISTED) {
        let _ = write!(text, "\n  {}: {}", user_of(&line.image), image_of(line));
        for (finding, decision) in told_findings(line) {
            if at < EXPLAINED {
                explain(&mut text, finding, decision, "    ");
            } else {
                let _ = write!(text, "\n    {}", finding.cause.name());
            }
        }
    }
    let rest = denied.len().saturating_sub(LISTED);
    if rest > 0 {
        let _ = write!(text, "\n  and {rest} more");
    }
    text
}

/// The problems of the denied images.
fn complaint(denied: &[&Judged]) -> &'static str {
    let worst = |judged: &&Judged| {
        let denials = judged
            .judgement
            .ruled()
            .filter(|(_, decision)| decision.verdict == Verdict::Deny);
        denials.map(|(finding, _)| finding.outlook).max()
    };
    let all = |wanted: Outlook| denied.iter().all(|judged| worst(judged) == Some(wanted));
    // Whatever else is denied is denied because somebody wrote so.
    let fails = denied.iter().any(|judged| worst(judged) == Some(Outlook::WillFail));
    match (all(Outlook::NotAllowed), fails, denied.len()) {
        (true, _, 1) => "is not allowed",
        (true, _, _) => "are not allowed",
        (false, true, _) => "would fail to pull",
        (false, false, 1) => "is refused by policy",
        (false, false, _) => "are refused by policy",
    }
}

/// The findings that the user is told about.
pub fn told_findings(judged: &Judged) -> impl Iterator<Item = (&Finding, &Decision)> {
    let ruled = judged.judgement.ruled();
    ruled.filter(|(_, decision)| decision.told == Told::Yes)
}

/// Which policy decided what is done about a finding; `None` if it is the default.
fn ruling(finding: &Finding, decision: &Decision) -> Option<String> {
    let by_default = finding.outlook.default_verdict();
    let (done, enforced) = (decision.verdict.name(), decision.enforced.name());
    let Some(policy) = &decision.policy else {
        return (decision.verdict < decision.enforced)
            .then(|| format!("the settings' mode is not Enforce here: {done}; if enforced, it would be {enforced}"));
    };
    if decision.verdict < decision.enforced {
        let from = decision.pending.as_ref().and_then(|pending| pending.from.as_ref());
        Some(match from {
            Some(from) => format!("policy {policy} is not enforced yet: {done}; {enforced} from {from}"),
            None => format!("policy {policy} is not enforced: {done}; if enforced, it would be {enforced}"),
        })
    } else if decision.verdict == Verdict::Deny && decision.verdict != by_default {
        Some(format!(
            "denied by policy {policy}, which answers {} with {done}",
            finding.outlook.name()
        ))
    } else if decision.verdict == Verdict::Deny {
        Some(format!("denied by policy {policy}"))
    } else if decision.verdict != by_default {
        Some(format!("policy {policy} answers {} with {done}", finding.outlook.name()))
    } else {
        None
    }
}

/// What will become of a warning once everything is enforced.
fn ahead(decision: &Decision) -> Option<String> {
    let pending = decision.pending.as_ref()?;
    Some(match (&pending.from, &pending.policy) {
        (Some(from), _) => format!("will be denied from {from}"),
        (None, Some(policy)) => format!("will be denied once policy {policy} is enforced"),
        (None, None) => "will be denied once pullgate is enforced here".to_owned(),
    })
}

/// A finding over several lines, with the end of the kubelet's line: a denial has many, and who reads it knows the image.
pub fn explain(text: &mut String, finding: &Finding, decision: &Decision, indent: &str) {
    push_finding(text, finding, decision, indent, tail);
}

/// The same with all of the kubelet's line, to search for.
pub fn explain_in_full(text: &mut String, finding: &Finding, decision: &Decision, indent: &str) {
    push_finding(text, finding, decision, indent, |message| message);
}

fn push_finding(text: &mut String, finding: &Finding, decision: &Decision, indent: &str, part: fn(&str) -> &str) {
    let _ = write!(text, "\n{indent}{}: {}", finding.cause.name(), finding.message);
    if let Some(kubelet) = &finding.kubelet {
        let (first, more) = kubelet.message.split_once('\n').unwrap_or((&kubelet.message, ""));
        let end = part(first);
        let reason = &kubelet.reason;
        let _ = if *reason == kubelet.message {
            write!(text, "\n{indent}the kubelet would show: {reason}")
        } else if end.len() == first.len() {
            write!(text, "\n{indent}the kubelet would show: {reason}: {end}")
        } else {
            write!(text, "\n{indent}the kubelet would show: {reason} ... {end}")
        };
        for line in more.lines() {
            let _ = write!(text, "\n{indent}  {line}");
        }
    }
    let _ = write!(text, "\n{indent}fix: {}", finding.fix);
    if let Some(ruling) = ruling(finding, decision) {
        let _ = write!(text, "\n{indent}{ruling}");
    }
    if let Some(message) = &decision.policy_message {
        let _ = write!(text, "\n{indent}{message}");
    }
}

/// The warnings of an answer: one line a finding of the images that are not denied, within the limits; what does not fit is counted.
pub fn warnings(images: &[Judged]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut total = 0;
    let mut left_out = 0usize;
    // The denial explains denied images in full.
    for line in images.iter().filter(|judged| judged.judgement.verdict != Verdict::Deny) {
        for (finding, decision) in told_findings(line) {
            if left_out >= TRIED {
                left_out += 1;
                continue;
            }
            let text = warning(line, finding, decision);
            if out.contains(&text) {
                continue;
            }
            let length = text.chars().count();
            // Room is kept for the line that counts the rest.
            if total + length > WARNINGS_LIMIT - 80 {
                left_out += 1;
            } else {
                total += length;
                out.push(text);
            }
        }
    }
    if left_out > 0 {
        out.push(format!("pullgate: {left_out} more warnings; `pullgate check` shows them all"));
    }
    out
}

/// `container api: IMAGE: Cause: why; fix`, on one line and within the limit. What a policy's author says follows, and has as much room.
fn warning(judged: &Judged, finding: &Finding, decision: &Decision) -> String {
    let ours = line(judged, finding, decision, WARNING_LIMIT);
    match &decision.policy_message {
        Some(message) => format!("{ours}; {}", clip_message(message)),
        None => ours,
    }
}

/// What a policy's author says; rather the message is cut than the link.
fn clip_message(whole: &PolicyMessage) -> String {
    let link = whole.link.as_ref().map_or(0, |link| link.chars().count() + 3);
    let message = whole.message.as_ref();
    PolicyMessage {
        message: message.map(|message| clip(message, WARNING_LIMIT.saturating_sub(link))),
        link: whole.link.clone(),
    }
    .to_string()
}

/// The same in at most `limit` characters.
fn line(judged: &Judged, finding: &Finding, decision: &Decision, limit: usize) -> String {
    // Of 256 characters.
    const IMAGE_SHOWN: usize = 100;
    const USER_SHOWN: usize = 70;
    const FIX_SHOWN: usize = 110;
    const AHEAD_SHOWN: usize = 80;
    let share = |part: usize| part * limit / WARNING_LIMIT;
    let name = clip(&image_of(judged), share(IMAGE_SHOWN));
    let user = clip(&user_of(&judged.image), share(USER_SHOWN));
    let ahead = ahead(decision).map_or_else(String::new, |ahead| format!("{}: ", clip(&ahead, share(AHEAD_SHOWN))));
    let head = format!("{ahead}{user}: {name}: {}: ", finding.cause.name());
    let fix = clip(&finding.fix, share(FIX_SHOWN));
    let room = limit.saturating_sub(head.chars().count());
    let why_room = room.saturating_sub(fix.chars().count() + 2);
    const LEAST: usize = 40;
    let text = if why_room >= LEAST.min(finding.message.chars().count()) {
        format!("{head}{}; {fix}", clip(&finding.message, why_room))
    } else {
        format!("{head}{}", clip(&format!("{}; {}", finding.message, finding.fix), room))
    };
    clip(&text.replace(['\n', '\r', '\t'], " "), limit)
}

/// The note of a Kubernetes Event: how many images, and a line a finding that `tells` picks among those that the user is told of; what
/// does not fit is counted. One line, at most [`NOTE_LIMIT`] bytes.
pub fn note(images: &[Judged], tells: impl Fn(&Finding, &Decision) -> bool) -> String {
    /// Characters of one finding: even if each took two bytes, one finding fits.
    const LONGEST: usize = 450;
    let told = |judged: &Judged| {
        told_findings(judged)
            .filter(|(finding, decision)| tells(finding, decision))
            .count()
            > 0
    };
    let about: Vec<&Judged> = images.iter().filter(|judged| told(judged)).collect();
    let denied = about.iter().any(|judged| judged.judgement.verdict == Verdict::Deny);
    let end = if denied {
        complaint(&about)
    } else {
        "could not be looked up; allowed"
    };
    let noun = if images.len() == 1 { "image" } else { "images" };
    let mut text = format!("{} of {} {noun} {end}", about.len(), images.len());
    // Digests of the lines so far, and of those that do not fit how many there are: an object may have tens of thousands.
    let mut seen: HashSet<u64> = HashSet::new();
    let mut rest = 0_usize;
    for judged in about {
        for (finding, decision) in told_findings(judged).filter(|(finding, decision)| tells(finding, decision)) {
            if rest >= TRIED {
                rest += 1;
                continue;
            }
            let line = line(judged, finding, decision, LONGEST);
            let mut digest = DefaultHasher::new();
            line.hash(&mut digest);
            if !seen.insert(digest.finish()) {
                continue;
            }
            // In scripts that take more bytes, the first is cut further: it must not be left out.
            let line = if seen.len() == 1 {
                clip_bytes(&line, NOTE_LIMIT - 100)
            } else {
                &line
            };
            // Room is kept for the words that count the rest.
            if rest > 0 || text.len() + line.len() > NOTE_LIMIT - 40 {
                rest += 1;
            } else {
                let _ = write!(text, " | {line}");
            }
        }
    }
    if rest > 0 {
        let _ = write!(text, " | and {rest} more");
    }
    text
}

/// The longest beginning of at most `limit` bytes.
fn clip_bytes(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

//! Judges the whole input within its time limit, and asks again for images that do not exist yet (`--wait`).

use super::progress::Progress;
use crate::cli::inputs::AT_ONCE;
use crate::engine::Gate;
use crate::policy::Requester;
use crate::verdict::cause::Property;
use crate::verdict::review_result::{Judged, ReviewResult};
use crate::verdict::{Cause, Outlook, Verdict};
use crate::workload::Workload;
use futures_util::{StreamExt as _, stream};
use std::time::Duration;
use tokio::time::Instant;

/// What bounds a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// When it ends.
    pub(super) end: Instant,
    /// How long the run may go without finishing an object.
    pub(super) silence: Duration,
}

/// The first pause between two rounds; a registry's "not found" is believed for two seconds.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Judges these objects; `before` of `all` have been judged already. What is not known when the time is up, or after a silence, is
/// `Unknown`; a silence ends the run.
pub(super) async fn judge(
    gate: &Gate,
    subjects: &[&Workload],
    bounds: &mut Bounds,
    (before, all): (usize, usize),
) -> Vec<ReviewResult> {
    let end = bounds.end;
    let nobody = Requester::default();
    let mut results: Vec<Option<ReviewResult>> = Vec::new();
    results.resize_with(subjects.len(), || None);
    {
        let asked = stream::iter(subjects.iter().enumerate())
            .map(|(at, subject)| async move { (at, gate.judge(subject, &Requester::default(), end).await) })
            .buffer_unordered(AT_ONCE);
        let mut asked = std::pin::pin!(asked);
        let (begun, mut progress, mut done) = (Instant::now(), Progress::new(), 0);
        // The gate itself stops at the end; a silence is noticed here.
        loop {
            let next = tokio::time::timeout(bounds.silence, asked.next());
            let (at, result) = match progress.during(gate, begun, (before + done, all), next).await {
                Ok(Some(answered)) => answered,
                Ok(None) => break,
                Err(_) => {
                    bounds.end = bounds.end.min(Instant::now());
                    break;
                }
            };
            done += 1;
            if let Some(place) = results.get_mut(at) {
                *place = Some(result);
            }
        }
    }
    let now = Instant::now();
    let rest = stream::iter(subjects.iter().zip(results)).map(|(subject, result)| async {
        match result {
            Some(result) => result,
            None => gate.judge(subject, &nobody, now).await,
        }
    });
    rest.buffered(AT_ONCE).collect().await
}

/// What an object waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Waits {
    /// For nothing: it is fine, or waiting would not change its findings.
    No,
    /// For this image.
    For(String),
    /// It is denied for something that no push fixes.
    NotFixable(String),
}

fn waits(result: &ReviewResult, accepted: impl Fn(&Judged) -> Vec<Cause>) -> Waits {
    let mut waits = Waits::No;
    for judged in &result.images {
        let accepted = accepted(judged);
        let open = judged
            .judgement
            .ruled()
            .filter(|(finding, _)| !accepted.contains(&finding.cause));
        for (finding, decision) in open {
            let image = judged.image.pulled_as();
            let in_vain = decision.verdict == Verdict::Deny
                || finding.cause.has(Property::CallerRefused) && finding.outlook != Outlook::Pulls;
            if finding.cause.has(Property::FixedByPush) && finding.outlook != Outlook::Pulls
                || finding.outlook == Outlook::Unknown && finding.cause.has(Property::Transient)
            {
                waits = Waits::For(image.to_owned());
            } else if in_vain {
                return Waits::NotFixable(format!("{image}: {}", finding.cause.name()));
            }
        }
    }
    waits
}

/// Asks again for what is absent, until all is there, something cannot come, or the time is up. Waits for nothing that is `accepted` for an
/// image of the object at that index. Says through `tell` what it waits for.
pub(super) async fn wait(
    gate: &Gate,
    subjects: &[&Workload],
    results: &mut [ReviewResult],
    until: Instant,
    silence: Duration,
    accepted: impl Fn(usize, &Judged) -> Vec<Cause>,
    tell: impl Fn(&str),
) {
    let mut pause = FIRST_PAUSE;
    let mut said = 0;
    loop {
        let mut absent: Vec<usize> = Vec::new();
        let mut first = String::new();
        for (at, result) in results.iter().enumerate() {
            match waits(result, |judged| accepted(at, judged)) {
                Waits::No => {}
                Waits::For(image) => {
                    if absent.is_empty() {
                        first = crate::verdict::message::shown(&image);
                    }
                    absent.push(at);
                }
                Waits::NotFixable(what) => {
                    tell(&format!(
                        "not waiting: {}, which no push can fix",
                        crate::verdict::message::shown(&what)
                    ));
                    return;
                }
            }
        }
        if absent.is_empty() {
            return;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tell(&format!("gave up waiting for {first}{}", others(absent.len())));
            return;
        }
        if said != absent.len() {
            said = absent.len();
            tell(&format!("waiting for {first}{}, {} s at most", others(said), left.as_secs()));
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        let again: Vec<&Workload> = absent.iter().filter_map(|at| subjects.get(*at).copied()).collect();
        let mut bounds = Bounds {
            // The last round gets its time too.
            end: until.max(Instant::now() + Duration::from_secs(10)),
            silence,
        };
        for (at, result) in absent
            .into_iter()
            .zip(judge(gate, &again, &mut bounds, (0, again.len())).await)
        {
            if let Some(place) = results.get_mut(at) {
                *place = result;
            }
        }
    }
}

fn others(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        2 => " and 1 other".to_owned(),
        more => format!(" and {} others", more - 1),
    }
}

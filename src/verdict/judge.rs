//! Judges one image: turns what was tried and what is known into findings and an outlook.

use super::cause::base;
use super::finding::{Finding, FindingEvidence, Kubelet};
use super::image_case::{ImageCase, LabelledAttempt, SecretNote};
use super::judgement::Judgement;
use super::kubelet;
use super::platforms::{self, FoundImage, Objections, Trouble};
use super::size::{over_limit, over_storage};
use super::soften::{Context, Presence, PresenceRule, soften};
use super::ways;
use super::wording::{self, Naming, Pulled, Topic};
use super::{Cause, Outlook};
use crate::image::escape;
use crate::runtime::kubelet::might_have_worked;
use crate::runtime::outcome::hinges_on_credentials;
use crate::runtime::outcome::{Evidence, Failure, ImageFacts};
use crate::runtime::{Pool, Setup};

/// Judges one image.
pub fn judge(case: &ImageCase<'_>) -> Judgement {
    let mut judgement = judged(case);
    if let Some(who) = ways::who(case) {
        let worst = judgement.outlook;
        // It is enough that one finding says which nodes fail.
        let speaking = judgement
            .findings
            .iter_mut()
            .rev()
            .find(|finding| finding.outlook == worst && worst != Outlook::Pulls);
        if let Some(finding) = speaking {
            finding.message = format!("{who}: {}", finding.message);
        }
    }
    judgement.ways = ways::ways(case);
    judgement
}

fn judged(case: &ImageCase<'_>) -> Judgement {
    if let Some(malformed_secret) = case.malformed_secret {
        return with_malformed_secret(case, malformed_secret.clone());
    }
    let setups = case.audience.setups();
    let other_setups: Vec<(Setup, &[LabelledAttempt<'_>])> = case
        .others
        .iter()
        .filter(|(setup, _)| setups.is_empty() || setups.contains(setup))
        .map(|(setup, attempts)| (*setup, attempts.as_slice()))
        .collect();
    // Where no node has one of the usual setups, another speaks.
    let usual = setups.is_empty()
        || setups
            .iter()
            .any(|setup| other_setups.iter().all(|(other, _)| other != setup));
    let (usual_attempts, other_setups) = match other_setups.split_first() {
        Some(((_, attempts), rest)) if !usual => (*attempts, rest),
        Some(_) | None => (case.attempts, other_setups.as_slice()),
    };
    let succeeds = |attempts: &'_ [LabelledAttempt<'_>]| attempts.last().is_some_and(|last| last.result.is_ok());
    // What some find is not missing.
    let successful = std::iter::once(usual_attempts)
        .chain(other_setups.iter().map(|(_, attempts)| *attempts))
        .find(|attempts| succeeds(attempts));
    match (successful, usual_attempts.last()) {
        (Some(successful), _) => found(case, successful, usual_attempts, other_setups),
        (None, Some(_)) => {
            // An unknown result of one setup outweighs the certain results of others.
            let unknown = |attempts: &&[LabelledAttempt<'_>]| {
                primary(&failures(attempts)).is_some_and(|failure| might_have_worked(&failure.evidence))
            };
            let speaks = other_setups
                .iter()
                .map(|(_, attempts)| *attempts)
                .find(unknown)
                .filter(|_| !unknown(&usual_attempts));
            failed(case, speaks.unwrap_or(usual_attempts))
        }
        (None, None) => Judgement::allowed(),
    }
}

fn failures<'a>(attempts: &[LabelledAttempt<'a>]) -> Vec<&'a Failure> {
    attempts.iter().filter_map(|attempt| attempt.result.as_ref().err()).collect()
}

/// The registry is asked only for the sake of `nodes.presence: hide`: what nodes hold counts then for an image that this namespace could
/// read.
fn with_malformed_secret(case: &ImageCase<'_>, mut finding: Finding) -> Judgement {
    let readable = case.attempts.last().is_some_and(|last| last.result.is_ok());
    let hide = case.context.presence_rule == PresenceRule::Hide;
    if !hide || readable || case.context.node_credentials || case.context.presence == Presence::ById {
        finding = softened(finding, case.context);
    }
    Judgement::from_findings(vec![finding])
}

/// A finding without an answer from a registry, given what else is known.
fn softened(mut finding: Finding, context: &Context) -> Finding {
    let (outlook, notes) = soften(finding.outlook, None, context);
    finding.outlook = outlook;
    annotate(&mut finding.message, &notes);
    finding
}

/// At least one setup found the image: `successful` are its attempts, `usual_attempts` those of most setups, `other_setups` those of setups
/// with another result.
fn found<'a>(
    case: &ImageCase<'_>,
    successful: &[LabelledAttempt<'a>],
    usual_attempts: &[LabelledAttempt<'a>],
    other_setups: &[(Setup, &[LabelledAttempt<'a>])],
) -> Judgement {
    let Some(Ok(facts)) = successful.last().map(|last| last.result) else {
        return Judgement::allowed();
    };
    let result = |attempts: &[LabelledAttempt<'a>]| match attempts.last().map(|last| last.result) {
        Some(Ok(facts)) => Some(Ok(facts)),
        Some(Err(last)) => Some(Err(primary(&failures(attempts)).unwrap_or(last))),
        None => None,
    };
    // The registry has it: that it failed another version of the same runtime just then shows nothing. What the settings of nodes leave open
    // is another matter.
    let pools = case.audience.setups().iter().any(|setup| setup.pool != Pool::default());
    let passing = |result: &Result<&ImageFacts, &Failure>| match result {
        Ok(_) => false,
        Err(failure) => failure.evidence.is_unknown() && !pools && !matches!(failure.evidence, Evidence::NodeSettings(_)),
    };
    let mut others: Vec<(Setup, Result<&ImageFacts, &Failure>)> = other_setups
        .iter()
        .filter_map(|(setup, attempts)| Some((*setup, result(attempts)?)))
        .filter(|(_, result)| !passing(result))
        .collect();
    if let Some(Err(failure)) = result(usual_attempts) {
        let usual = case.audience.setups().into_iter();
        let usual: Vec<Setup> = usual.filter(|setup| others.iter().all(|(other, _)| other != setup)).collect();
        others.extend(usual.into_iter().map(|setup| (setup, Err(failure))));
    }
    let view = FoundImage { facts, others };
    let Objections {
        findings: about_content,
        troubles,
        sizes,
    } = platforms::judge(&view, case.reference, case.audience, case.used_by);
    let too_large = over_storage(&sizes, case.audience);
    let stale = facts.stale.then(|| Context {
        stale: true,
        ..case.context.clone()
    });
    let context = stale.as_ref().unwrap_or(case.context);
    let found = about_content.into_iter().chain(too_large);
    let mut findings: Vec<Finding> = found.map(|finding| softened(finding, context)).collect();
    // A policy's limit holds whatever nodes have, but not for what the registry had once.
    let limit = Context {
        stale: facts.stale,
        ..Context::default()
    };
    let over = case.size_limit.and_then(|limit| over_limit(&sizes, limit));
    findings.extend(over.map(|finding| softened(finding, &limit)));
    // The image itself was read: what nodes hold may count, whatever became of its parts.
    findings.extend(troubles.into_iter().map(|trouble| softened(troubled(case, trouble), context)));
    let host = Some(case.reference.registry().to_owned());
    if facts.stale {
        findings.push(Finding {
            cause: Cause::RegistryError,
            outlook: Outlook::Pulls,
            message: format!(
                "{} is failing now; it had {} when it last answered",
                escape(case.reference.registry()),
                kubelet::containerd_reference(case.reference)
            ),
            fix: "nothing to do, unless the registry is still down when a node pulls".to_owned(),
            kubelet: None,
            evidence: FindingEvidence {
                host: host.clone(),
                ..FindingEvidence::default()
            },
            suggestions: Vec::new(),
        });
    }
    if let Some((message, fix)) = facts.quota.and_then(|quota| wording::quota(quota, case.reference)) {
        findings.push(Finding {
            cause: Cause::RateLimited,
            outlook: Outlook::Pulls,
            message,
            fix,
            kubelet: None,
            evidence: FindingEvidence {
                host,
                status: Some(200),
                ..FindingEvidence::default()
            },
            suggestions: Vec::new(),
        });
    }
    findings.extend(secret_findings(case, Outlook::Pulls));
    let mut judgement = Judgement::from_findings(findings);
    judgement.digest = Some(facts.digest.clone());
    judgement.credential = successful.last().and_then(|last| last.with).map(Box::from);
    judgement.platforms = platforms::served(facts);
    judgement.sizes = sizes;
    judgement.stale = facts.stale;
    judgement
}

fn failed(case: &ImageCase<'_>, attempts: &[LabelledAttempt<'_>]) -> Judgement {
    let failures = failures(attempts);
    let Some(primary) = primary(&failures) else {
        return Judgement::allowed();
    };
    let trouble = Trouble {
        failure: primary,
        outlook: base(&primary.evidence).1,
        note: None,
    };
    let finding = Finding {
        kubelet: predicted(primary, attempts, case),
        ..troubled(case, trouble)
    };
    // The secret explains the refusal, so it comes first.
    let mut findings = if hinges_on_credentials(primary) {
        secret_findings(case, finding.outlook)
    } else {
        Vec::new()
    };
    findings.push(finding);
    Judgement::from_findings(findings)
}

/// A failure as a finding, softened by what else is known.
fn troubled(case: &ImageCase<'_>, trouble: Trouble<'_>) -> Finding {
    let Trouble { failure, outlook, note } = trouble;
    let phrase = credentials_phrase(case.attempts);
    let reference = failure.full_name.as_ref().unwrap_or(case.reference);
    let topic = Topic {
        reference,
        tried: phrase.as_deref(),
        namespace: case.namespace,
        naming: match failure.full_name {
            Some(_) => Naming::Completed,
            None => case.naming,
        },
        pulled: match case.context.runs {
            Some(_) => Pulled::Before,
            None => Pulled::Unknown,
        },
    };
    let (outlook, notes) = soften(outlook, Some(failure), case.context);
    let mut message = wording::what(failure, topic);
    let asked = wording::asked::url(failure, reference);
    if let Some(url) = asked {
        annotate(&mut message, &[format!("asked for {}", escape(url))]);
    }
    annotate(&mut message, note.as_slice());
    annotate(&mut message, &notes);
    Finding {
        cause: base(&failure.evidence).0,
        outlook,
        message,
        fix: wording::fix(failure, topic),
        kubelet: kubelet::predict(failure, case.reference, kubelet::newest_path(&ways::concerned(case))),
        evidence: FindingEvidence {
            host: Some(failure.host.clone()),
            status: failure.status,
            code: failure.code.clone(),
            url: asked.map(escape),
        },
        suggestions: failure.suggestions.clone(),
    }
}

/// Of several failures, the one that speaks for all: what is not known outweighs what is, since that credential might have
/// worked; an answer about the image outweighs a refusal.
fn primary<'a>(failures: &[&'a Failure]) -> Option<&'a Failure> {
    failures
        .iter()
        .find(|failure| might_have_worked(&failure.evidence))
        .or_else(|| failures.iter().find(|failure| !hinges_on_credentials(failure)))
        .or_else(|| {
            // Where a good credential lacks the right, that says more than another one that was refused.
            failures
                .iter()
                .find(|failure| matches!(failure.evidence, Evidence::InsufficientScope { .. }))
        })
        .or_else(|| failures.first())
        .copied()
}

/// Whose credentials were tried, as a phrase: `secret "a" and secret "b"`; `None` if there was none.
fn credentials_phrase(attempts: &[LabelledAttempt<'_>]) -> Option<String> {
    let mut with: Vec<&str> = attempts.iter().filter_map(|attempt| attempt.with).collect();
    with.dedup();
    (!with.is_empty()).then(|| with.join(" and "))
}

fn annotate(message: &mut String, notes: &[String]) {
    for note in notes {
        message.push_str("; ");
        message.push_str(note);
    }
}

/// Several credentials that fail differently end in `[e1, e2]`; identical texts collapse (pull-semantics 4.5). Beside a credential no
/// kubelet asks without one: where we did, after a stand-in for a credential that could not be seen, the line is that of the failure that
/// counts.
fn predicted(primary: &Failure, attempts: &[LabelledAttempt<'_>], case: &ImageCase<'_>) -> Option<Kubelet> {
    let by = kubelet::newest_path(&ways::concerned(case));
    let stood_in = attempts.len() > 1 && attempts.iter().any(|attempt| attempt.with.is_none());
    let failures = if stood_in { vec![primary] } else { failures(attempts) };
    let mut all: Vec<Kubelet> = Vec::new();
    for failure in failures {
        let one = kubelet::predict(failure, case.reference, by)?;
        if !all.contains(&one) {
            all.push(one);
        }
    }
    if all.len() < 2 {
        return all.pop();
    }
    let message = format!(
        "[{}]",
        all.iter().map(|one| one.message.as_str()).collect::<Vec<_>>().join(", ")
    );
    all.pop().map(|one| Kubelet { message, ..one })
}

/// What the pull secrets have to do with it. `outlook` is the pull's own.
fn secret_findings(case: &ImageCase<'_>, outlook: Outlook) -> Vec<Finding> {
    let registry = escape(case.reference.registry());
    let namespace = escape(case.namespace);
    let goes_on = if outlook == Outlook::Pulls {
        "; the image pulls without it"
    } else {
        ""
    };
    let finding = |cause, message, fix| Finding {
        cause,
        outlook,
        message,
        fix,
        // The kubelet ignores the others without an event.
        kubelet: None,
        evidence: FindingEvidence {
            host: Some(case.reference.registry().to_owned()),
            ..FindingEvidence::default()
        },
        suggestions: Vec::new(),
    };
    case.secrets
        .iter()
        .filter_map(|note| match note {
            SecretNote::Missing { name } | SecretNote::NotGiven { name } => {
                let name = escape(name);
                let place = match note {
                    SecretNote::NotGiven { .. } => "among the given manifests".to_owned(),
                    SecretNote::Missing { .. }
                    | SecretNote::WrongType { .. }
                    | SecretNote::Empty { .. }
                    | SecretNote::NoMatch { .. } => {
                        format!("in namespace \"{namespace}\"")
                    }
                };
                let create =
                    format!("create secret \"{name}\" in namespace \"{namespace}\", or remove it from imagePullSecrets");
                let fix = if matches!(note, SecretNote::NotGiven { .. }) && outlook != Outlook::Pulls {
                    // Few keep their secrets beside the manifests.
                    format!("if the cluster has it, give it (--facts), or log in (docker login {registry}); otherwise {create}")
                } else {
                    create
                };
                let missing = finding(
                    Cause::PullSecretMissing,
                    format!("pull secret \"{name}\" is not {place}{goes_on}"),
                    fix,
                );
                let message = format!(
                    "Unable to retrieve some image pull secrets ({name}); attempting to pull the image may not succeed."
                );
                let kubelet = Kubelet { reason: "FailedToRetrieveImagePullSecret".to_owned(), message };
                Some(Finding { kubelet: Some(kubelet), ..missing })
            }
            SecretNote::WrongType { name, kind } => Some(finding(
                Cause::PullSecretWrongType,
                format!(
                    "pull secret \"{}\" is of type \"{}\", which the kubelet silently ignores{goes_on}",
                    escape(name),
                    escape(kind)
                ),
                format!(
                    "make it a secret of type kubernetes.io/dockerconfigjson (kubectl create secret docker-registry {} --docker-server={registry})",
                    escape(name)
                ),
            )),
            // A secret for another registry, or one without a password, is not a fault of an image that pulls.
            SecretNote::Empty { .. } | SecretNote::NoMatch { .. } if outlook == Outlook::Pulls => None,
            SecretNote::Empty { name, elsewhere } => {
                let elsewhere = elsewhere.as_ref().map_or_else(String::new, |why| format!(": {why}"));
                Some(finding(
                    Cause::PullSecretNoMatch,
                    format!(
                        "pull secret \"{0}\" has an entry for {registry} without a user name and password{elsewhere}; nodes ask without a credential",
                        escape(name)
                    ),
                    format!(
                        "add a user name and password to it (kubectl create secret docker-registry {} --docker-server={registry})",
                        escape(name)
                    ),
                ))
            }
            SecretNote::NoMatch { names, nearest } => {
                let names = names.iter().map(|name| format!("\"{}\"", escape(name))).collect::<Vec<_>>().join(", ");
                let nearest = nearest.as_ref().map_or_else(String::new, |why| format!("; {why}"));
                Some(finding(
                    Cause::PullSecretNoMatch,
                    format!("pull secret {names} has no entry for {}{nearest}", escape(&case.reference.name())),
                    format!("add an entry for {registry} to one of the pull secrets"),
                ))
            }
        })
        .collect()
}

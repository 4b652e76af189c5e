//! `pullgate policy explain`: how policies treat images, rule by rule, and the verdict that `check` comes to.

use crate::cli::bare_image::bare_image;
use crate::cli::check::drop_absent_controllers;
use crate::cli::inputs::{AT_ONCE, Options};
use crate::cli::{eprint, print};
use crate::image::{Reference, escape, mask_userinfo};
use crate::manifests::{Keep, Rendering};
use crate::plan::Admission;
use crate::policy::dates;
use crate::policy::explain::{Applies, Done, Explanation, explain};
use crate::policy::{self, Circumstances, Modes, NAME_LABEL, Policies, Requester, Subject};
use crate::verdict::review_result::{Handling, Judged, ReviewResult};
use crate::workload::{ObjectId, Workload};
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// Arguments of `policy explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    inputs: Options,
    /// An image, as in a manifest (repeatable)
    #[arg(long, value_name = "REF")]
    image: Vec<String>,
    /// The namespace of --image, and of objects that name none [default: default]
    #[arg(long, short = 'n', value_name = "NS")]
    namespace: Option<String>,
    /// The kind of the object with --image [default: none, and policies about kinds warn at most]
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// All labels of the namespace [default: those of a given Namespace or of the cluster, else unknown]
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', num_args = 0..)]
    labels: Option<Vec<String>>,
    /// The requesting user [default: nobody in particular]
    #[arg(long, value_name = "U")]
    user: Option<String>,
    /// A group of the requesting user (repeatable)
    #[arg(long = "group", value_name = "G")]
    groups: Vec<String>,
    /// Ask no registry; gives no verdict that depends on an answer
    #[arg(long)]
    names_only: bool,
    /// As of this day or time (2027-01-15, or as in RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", value_parser = dates::parse)]
    now: Option<jiff::Timestamp>,
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For machines: pullgate.dev/explain/v1, one object for one image, else a list
    Json,
}

/// How long an object may take.
const TIME: Duration = Duration::from_secs(30);

/// What is said about one image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    /// The policies; `None` if the name does not parse.
    #[serde(flatten)]
    explanation: Option<Explanation>,
    /// The object, as `Kind namespace/name`; null for `--image`.
    object: Option<String>,
    /// The path of the image in the object; null for `--image`.
    path: Option<String>,
    /// What `check` says; null if it depends on a registry that was not asked.
    verdict: Option<&'static str>,
    /// Why nothing was judged; null if it was.
    skipped: Option<String>,
    /// All findings, of registries too.
    because: Vec<Because>,
}

/// One finding.
#[derive(Debug, Serialize)]
struct Because {
    cause: &'static str,
    outlook: &'static str,
    message: String,
    fix: String,
    done: Done,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        mut inputs,
        image: images,
        namespace,
        kind,
        labels,
        user,
        groups,
        names_only,
        now,
        output,
    } = args;
    inputs.gather_places();
    if images.is_empty() && inputs.files.is_empty() {
        bail!("nothing to explain: give an image with --image REF, or manifests with -f FILE|DIR|-");
    }
    for image in &images {
        Reference::parse(image).map_err(|error| anyhow::anyhow!("--image {}: {error}", escape(&mask_userinfo(image))))?;
    }
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let labels = labels.map(|pairs| labels_of(&pairs, &namespace)).transpose()?;
    let mut inputs = inputs
        .read(&namespace, Admission::StillToCome, None, Keep::Objects, &Rendering::default())
        .await?;
    let kind = match kind {
        Some(kind) => policy::kind(&kind, &inputs.kinds()).map_err(|why| anyhow::anyhow!("--kind: {why}"))?,
        None => String::new(),
    };
    if let Some(labels) = labels {
        inputs.label_namespace(&namespace, labels);
    }
    let mut manifests = std::mem::take(&mut inputs.manifests);
    let (gate, remarks) = inputs.gate(Instant::now() + TIME, TIME).await?;
    drop_absent_controllers(&mut manifests.subjects);
    let given = manifests.subjects.into_iter().map(|subject| subject.workload);
    let bare = images.iter().map(|image| Workload {
        object: ObjectId {
            namespace: namespace.clone(),
            kind: kind.clone(),
            ..ObjectId::default()
        },
        ..bare_image(image, &namespace, None, &[])
    });
    let workloads: Vec<Workload> = given.chain(bare).collect();
    let requester = Requester {
        user: user.unwrap_or_default(),
        groups,
    };
    let time = if names_only { Duration::ZERO } else { TIME };
    let now = now.unwrap_or_else(jiff::Timestamp::now);
    let judged = stream::iter(&workloads).map(|workload| gate.judge_at(workload, &requester, Instant::now() + time, now));
    let results: Vec<ReviewResult> = judged.buffered(AT_ONCE).collect().await;
    let policies = gate.policies();
    let modes = gate.modes();
    let mut all = Vec::new();
    for (workload, result) in workloads.iter().zip(results) {
        let rules = Rules {
            policies: &policies,
            modes: &modes,
            requester: &requester,
            now,
        };
        all.extend(said(workload, result, rules, names_only));
    }
    print(&match (output, all.as_slice()) {
        (Output::Json, [one]) if manifests.errors.is_empty() && images.len() == 1 => json(one)?,
        (Output::Json, all) => json(all)?,
        (Output::Text, all) => all.iter().map(text).collect::<Vec<_>>().join("\n"),
    })?;
    for remark in remarks {
        eprint(&remark);
    }
    for problem in &manifests.errors {
        eprint(&problem.to_string());
    }
    Ok(if manifests.errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(crate::cli::WRONG)
    })
}

fn json<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value).context("the explanation cannot be written as JSON")? + "\n")
}

/// What an image is judged by.
#[derive(Debug, Clone, Copy)]
struct Rules<'a> {
    policies: &'a Policies,
    modes: &'a Modes,
    requester: &'a Requester,
    now: jiff::Timestamp,
}

/// What is said about each image of an object.
fn said(workload: &Workload, result: ReviewResult, rules: Rules<'_>, names_only: bool) -> Vec<Said> {
    let Rules {
        policies,
        modes,
        requester,
        now,
    } = rules;
    let circumstances = Circumstances { modes, now };
    let ObjectId {
        kind, namespace, name, ..
    } = &workload.object;
    let object = (!name.is_empty()).then(|| format!("{kind} {namespace}/{name}"));
    let kinds: Vec<&str> = result.policies.kinds.iter().map(String::as_str).collect();
    let subject = Subject {
        namespace,
        labels: result.policies.labels.as_deref(),
        kinds: &kinds,
    };
    let exempt = result.exempt.map(|exempt| match exempt {
        crate::verdict::review_result::Exemption::Namespace => "its namespace is exempt".to_owned(),
        crate::verdict::review_result::Exemption::Annotation(which) => format!("the annotation {} exempts it", escape(&which)),
    });
    let asks = names_only && result.checks > 0;
    let each = result.images.into_iter().map(|judged| {
        let Judged {
            image,
            reference,
            judgement,
            handling,
            ..
        } = judged;
        let explanation = reference
            .as_ref()
            .filter(|_| exempt.is_none())
            .map(|reference| explain(policies, &image.image, reference, &subject, requester, circumstances));
        let depends = asks && explanation.as_ref().is_some_and(|explanation| explanation.registry_asked);
        let because = judgement.ruled().map(|(finding, decision)| Because {
            cause: finding.cause.name(),
            outlook: finding.outlook.name(),
            message: finding.message.clone(),
            fix: finding.fix.clone(),
            done: decision.clone().into(),
        });
        Said {
            because: if depends { Vec::new() } else { because.collect() },
            verdict: (!depends).then(|| judgement.verdict.name()),
            skipped: match handling {
                Handling::Skipped => exempt
                    .clone()
                    .or_else(|| Some("it is judged with its owner, or filled in later".to_owned())),
                Handling::Judged => None,
            },
            path: object.is_some().then(|| image.path.as_str().to_owned()),
            object: object.clone(),
            explanation,
        }
    });
    each.collect()
}

fn labels_of(pairs: &[String], namespace: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut labels = vec![(NAME_LABEL.to_owned(), namespace.to_owned())];
    for pair in pairs.iter().filter(|pair| !pair.is_empty()) {
        let (key, value) = pair
            .split_once('=')
            .with_context(|| format!("--labels: {pair:?} is not KEY=VALUE"))?;
        labels.retain(|(known, _)| known != key);
        labels.push((key.to_owned(), value.to_owned()));
    }
    Ok(labels)
}

fn text(said: &Said) -> String {
    let Said {
        explanation,
        object,
        path,
        verdict,
        skipped,
        because,
    } = said;
    let mut out = String::new();
    if let (Some(object), Some(path)) = (object, path) {
        let _ = writeln!(out, "{} {}", escape(object), escape(path));
    }
    if let Some(explanation) = explanation {
        out.push_str(&policies_text(explanation));
        out.push('\n');
    }
    let _ = match (verdict, skipped) {
        (None, _) => writeln!(out, "verdict: it depends on the registry, which was not asked"),
        (Some(verdict), Some(why)) if because.is_empty() => writeln!(out, "verdict: {verdict}, not judged: {why}"),
        (Some(verdict), _) => writeln!(out, "verdict: {verdict}"),
    };
    for finding in because {
        let _ = writeln!(
            out,
            "  {} ({}): {}",
            finding.cause,
            done(&finding.done),
            escape(&finding.message)
        );
        let _ = writeln!(out, "    fix: {}", escape(&finding.fix));
    }
    out
}

fn policies_text(explanation: &Explanation) -> String {
    let mut out = String::new();
    let Explanation {
        version: _,
        image,
        name,
        tag,
        digest,
        namespace,
        kind,
        mode,
        policies,
        findings,
        registry_asked,
        verdicts,
    } = explanation;
    let shown = |text: &Option<String>| text.as_deref().map_or_else(|| "none".to_owned(), escape);
    let _ = match kind.as_str() {
        "" => writeln!(out, "{} in namespace {}", escape(image), escape(namespace)),
        kind => writeln!(
            out,
            "{} in a {} of namespace {}",
            escape(image),
            escape(kind),
            escape(namespace)
        ),
    };
    let _ = writeln!(out, "  name {}, tag {}, digest {}", escape(name), shown(tag), shown(digest));
    let _ = writeln!(out, "\npolicies");
    if policies.is_empty() {
        let _ = writeln!(out, "  none: the defaults apply");
    }
    for policy in policies {
        let _ = writeln!(out, "  {} ({}, {})", policy.name, policy.mode, escape(&policy.origin));
        let _ = match policy.about {
            Applies::Yes if policy.why.is_empty() => writeln!(out, "    matches"),
            Applies::Yes => writeln!(out, "    matches: {}", policy.why),
            Applies::Perhaps => writeln!(out, "    may match: {}", policy.why),
            Applies::No => writeln!(out, "    does not match: {}", policy.why),
            Applies::Exempt => writeln!(out, "    exempt: {}", policy.why),
        };
        if let (Some(from), Some(days)) = (&policy.enforced_from, policy.days_left) {
            let _ = writeln!(out, "    enforced from {from}, in {}; it warns until then", count_days(days));
        }
        for exemption in &policy.exemptions {
            let reason = exemption
                .reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(": {reason}"));
            let _ = match (&exemption.until, exemption.days_left) {
                (Some(until), Some(0)) => writeln!(out, "    {} ended at {until}{reason}", exemption.path),
                (Some(until), Some(days)) => {
                    writeln!(out, "    {} ends at {until}, in {}{reason}", exemption.path, count_days(days))
                }
                (Some(_) | None, _) => writeln!(out, "    {} has no end{reason}", exemption.path),
            };
        }
        for rule in &policy.rules {
            let said = if rule.allowed { "allows it" } else { "refuses it" };
            let _ = writeln!(out, "    {} {said}: {}", rule.rule, rule.why);
        }
    }
    let _ = writeln!(out, "\nname rules");
    for finding in findings {
        let _ = writeln!(out, "  {}: {}", finding.cause, finding.message);
        let _ = writeln!(out, "    done: {}", done(&finding.done));
        let _ = writeln!(out, "    fix: {}", finding.fix);
    }
    let _ = writeln!(
        out,
        "  {}",
        match (registry_asked, findings.is_empty()) {
            (true, true) => "no name rule objects; the registry is asked",
            (true, false) => "the registry is still asked",
            (false, _) => "the registry is not asked",
        }
    );
    let _ = writeln!(
        out,
        "\nwhat the registry may return (without a vote: mode {mode} of the settings)"
    );
    let width = verdicts.iter().map(|row| row.subject.len()).max().unwrap_or(0);
    for row in verdicts {
        let _ = writeln!(out, "  {:width$}  {}", row.subject, done(&row.done));
    }
    out
}

fn count_days(days: i64) -> String {
    format!("{days} {}", if days == 1 { "day" } else { "days" })
}

/// `Deny, decided by production`.
fn done(done: &Done) -> String {
    let mut text = done.verdict.to_owned();
    match &done.policy {
        Some(policy) => {
            let _ = write!(text, ", decided by {policy}");
        }
        None => text.push_str(", by default"),
    }
    if done.enforced != done.verdict {
        let _ = write!(text, " ({} if every policy were enforced)", done.enforced);
    }
    text
}

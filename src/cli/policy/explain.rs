//! `pullgate policy explain`: how policies treat an image, rule by rule.

use crate::cli::{policies, say};
use crate::image::{Reference, escape, mask_userinfo};
use crate::policy::explain::{About, Done, Explanation, explain};
use crate::policy::{Circumstances, Modes, NAME_LABEL, Policies, Requester, Subject};
use anyhow::Context as _;
use clap::ValueEnum;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `policy explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The image, as in a manifest
    #[arg(long, value_name = "REF")]
    image: String,
    /// The object's namespace
    #[arg(long, short = 'n', value_name = "NS")]
    namespace: String,
    /// The object's kind
    #[arg(long, value_name = "KIND", default_value = "Deployment")]
    kind: String,
    /// All labels of the namespace [default: unknown]
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', num_args = 0..)]
    labels: Option<Vec<String>>,
    /// The requesting user [default: nobody in particular]
    #[arg(long, value_name = "U")]
    user: Option<String>,
    /// A group of the requesting user (repeatable)
    #[arg(long = "group", value_name = "G")]
    groups: Vec<String>,
    /// A folder of policy files, or one file (repeatable)
    #[arg(long = "policies", value_name = "DIR", value_delimiter = ',', env = "PULLGATE_POLICIES")]
    policies: Vec<PathBuf>,
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For machines: pullgate.dev/explain/v1
    Json,
}

/// Runs the command.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        image,
        namespace,
        kind,
        labels,
        user,
        groups,
        policies: places,
        output,
    } = args;
    let reference =
        Reference::parse(&image).map_err(|error| anyhow::anyhow!("--image {}: {error}", escape(&mask_userinfo(&image))))?;
    let labels = labels.map(|pairs| labels_of(&pairs, &namespace)).transpose()?;
    let sound = policies::load_some(&places)?;
    let subject = Subject {
        namespace: &namespace,
        labels: labels.as_deref(),
        kind: &kind,
    };
    let requester = Requester {
        user: user.unwrap_or_default(),
        groups,
    };
    let circumstances = Circumstances {
        modes: &Modes::default(),
        now: jiff::Timestamp::now(),
    };
    let explanation = explain(&Policies::new(sound), &image, &reference, &subject, &requester, circumstances);
    say(&match output {
        Output::Json => serde_json::to_string_pretty(&explanation).context("the explanation cannot be written as JSON")? + "\n",
        Output::Text => text(&explanation),
    })?;
    Ok(ExitCode::SUCCESS)
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

fn text(explanation: &Explanation) -> String {
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
    let _ = writeln!(
        out,
        "{} in a {} of namespace {}",
        escape(image),
        escape(kind),
        escape(namespace)
    );
    let _ = writeln!(out, "  name {}, tag {}, digest {}", escape(name), shown(tag), shown(digest));
    let _ = writeln!(out, "\npolicies");
    if policies.is_empty() {
        let _ = writeln!(out, "  none: the defaults apply");
    }
    for policy in policies {
        let _ = writeln!(out, "  {} ({}, {})", policy.name, policy.mode, escape(&policy.origin));
        let _ = match policy.about {
            About::Yes => writeln!(out, "    matches"),
            About::Perhaps => writeln!(out, "    may match: {}", policy.why),
            About::No => writeln!(out, "    does not match: {}", policy.why),
            About::Exempt => writeln!(out, "    exempt: {}", policy.why),
        };
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

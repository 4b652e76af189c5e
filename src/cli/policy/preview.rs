//! `pullgate policy try`: what policies would deny of what exists, by policy and namespace, before anyone applies them.

use crate::cli::check::{drop_absent_controllers, live};
use crate::cli::inputs::{AT_ONCE, Options};
use crate::cli::{DENIED, WRONG, eprint, print};
use crate::engine::Gate;
use crate::image::{escape, mask_userinfo};
use crate::manifests::{Keep, Rendering};
use crate::plan::Admission;
use crate::report::Entry;
use crate::verdict::Verdict;
use crate::verdict::review_result::Handling;
use crate::workload::Workload;
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// Arguments of `policy try`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A folder of policy files, or one file: the only policies that count
    #[arg(value_name = "DIR")]
    policies: PathBuf,
    #[command(flatten)]
    inputs: Options,
    /// Only what is in this namespace; for manifests, that of objects that name none [default: all; default]
    #[arg(long, short = 'n', value_name = "NS")]
    namespace: Option<String>,
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For machines: pullgate.dev/policytry/v1
    Json,
}

/// The schema's name.
const VERSION: &str = "pullgate.dev/policytry/v1";
/// How long an object may take.
const TIME: Duration = Duration::from_secs(30);
/// How many images are named for one policy in one namespace.
const SHOWN: usize = 5;

/// The result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Preview {
    version: &'static str,
    /// How many images of objects were judged.
    images: usize,
    /// By policy and namespace.
    rows: Vec<Row>,
    /// Images that are denied whatever these policies say: they could not be pulled.
    denied_anyway: usize,
}

/// What one policy does in one namespace.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    policy: String,
    namespace: String,
    /// Denied as the policy stands.
    denied: usize,
    /// Warned about as it stands.
    warned: usize,
    /// Denied once it is enforced.
    denied_once_enforced: usize,
    /// Each image that would be denied then, or is warned about.
    images: Vec<Image>,
}

#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "its name in the report")]
struct Image {
    image: String,
    cause: &'static str,
    verdict: &'static str,
    enforced: &'static str,
    /// The objects that use it: `Kind name`.
    objects: BTreeSet<String>,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        policies,
        mut inputs,
        namespace,
        output,
    } = args;
    inputs.gather_places();
    inputs.policy_files = vec![policies];
    let of_cluster = inputs.files.is_empty();
    if of_cluster && !inputs.cluster {
        bail!("nothing to try the policies on: add --cluster, or give a dump of objects with -f FILE|DIR|-");
    }
    let only = namespace.clone();
    let admission = if of_cluster {
        Admission::HasRun
    } else {
        Admission::StillToCome
    };
    let mut inputs = inputs
        .read(
            namespace.as_deref().unwrap_or("default"),
            admission,
            None,
            Keep::Objects,
            &Rendering::default(),
        )
        .await?;
    let mut manifests = std::mem::take(&mut inputs.manifests);
    let begun = Instant::now();
    let (entries, problems) = if of_cluster {
        let (engine, store, cluster, remark) = inputs.cluster().await?;
        if let Some(remark) = remark {
            eprint(&remark);
        }
        cluster.wait_synced(begun + TIME).await;
        let inventory = cluster.inventory(&engine.load().settings.kinds, only.as_deref()).await;
        let inventory = inventory.map_err(|why| anyhow::anyhow!("{why}"))?;
        let found = live::judge(&Gate::new(engine, store.clone(), cluster), inventory, &store, TIME).await;
        (found.entries, found.problems)
    } else {
        let (engine, store, cluster) = inputs.parts().await?;
        drop_absent_controllers(&mut manifests.subjects);
        let gate = Gate::new(engine, store, cluster);
        let workloads = manifests.subjects.iter().map(|subject| &subject.workload);
        let problems = manifests.errors.iter().map(ToString::to_string).collect();
        (judge(&gate, workloads).await, problems)
    };
    let preview = sum_up(&entries);
    print(&match output {
        Output::Json => serde_json::to_string_pretty(&preview).context("the result cannot be written as JSON")? + "\n",
        Output::Text => text(&preview),
    })?;
    for problem in &problems {
        eprint(problem);
    }
    let denies = preview.rows.iter().any(|row| row.denied_once_enforced > 0);
    Ok(match (problems.is_empty(), denies) {
        (false, _) => ExitCode::from(WRONG),
        (true, true) => ExitCode::from(DENIED),
        (true, false) => ExitCode::SUCCESS,
    })
}

/// Judges objects of a dump as their makers would make them.
async fn judge<'a>(gate: &Gate, workloads: impl Iterator<Item = &'a Workload>) -> Vec<Entry> {
    let judged = stream::iter(workloads).map(|workload| async move {
        let maker = live::maker(workload);
        (workload, gate.judge(workload, &maker, Instant::now() + TIME).await)
    });
    let results: Vec<_> = judged.buffered(AT_ONCE).collect().await;
    let entries = results.into_iter().flat_map(|(workload, result)| {
        result.images.into_iter().map(|judged| Entry {
            source: None,
            line: None,
            object: Some(workload.object.clone()),
            judged,
            origin: None,
            accepted: Vec::new(),
        })
    });
    entries.collect()
}

type Images = BTreeMap<(String, &'static str), Image>;

/// What each policy does in each namespace. A policy counts where it decided: alone, or before all others.
fn sum_up(entries: &[Entry]) -> Preview {
    // By policy and namespace, then by image and cause.
    let mut rows: BTreeMap<(String, String), Images> = BTreeMap::new();
    let mut denied_anyway = 0;
    for entry in entries {
        let judgement = &entry.judged.judgement;
        let by_default = judgement
            .ruled()
            .any(|(_, decision)| decision.policy.is_none() && decision.verdict == Verdict::Deny);
        denied_anyway += usize::from(by_default);
        let (namespace, object) = entry.object.as_ref().map_or_else(Default::default, |object| {
            (object.namespace.clone(), format!("{} {}", object.kind, object.name))
        });
        for (finding, decision) in judgement.ruled() {
            let Some(policy) = &decision.policy else { continue };
            if decision.verdict.max(decision.enforced) == Verdict::Allow {
                continue;
            }
            let shown = mask_userinfo(&entry.judged.image.image).into_owned();
            let images = rows.entry((policy.to_string(), namespace.clone())).or_default();
            let image = images.entry((shown.clone(), finding.cause.name())).or_insert_with(|| Image {
                image: shown,
                cause: finding.cause.name(),
                verdict: decision.verdict.name(),
                enforced: decision.enforced.name(),
                objects: BTreeSet::new(),
            });
            image.objects.insert(object.clone());
        }
    }
    let rows = rows.into_iter().map(|((policy, namespace), images)| {
        let images: Vec<Image> = images.into_values().collect();
        let count = |fits: &dyn Fn(&Image) -> bool| images.iter().filter(|image| fits(image)).count();
        let deny = Verdict::Deny.name();
        Row {
            policy,
            namespace,
            denied: count(&|image| image.verdict == deny),
            warned: count(&|image| image.verdict == Verdict::Warn.name()),
            denied_once_enforced: count(&|image| image.enforced == deny || image.verdict == deny),
            images,
        }
    });
    Preview {
        version: VERSION,
        images: entries
            .iter()
            .filter(|entry| entry.judged.handling == Handling::Judged)
            .count(),
        rows: rows.collect(),
        denied_anyway,
    }
}

fn text(preview: &Preview) -> String {
    let mut out = String::new();
    let mut last = "";
    for row in &preview.rows {
        if row.policy != last {
            last = &row.policy;
            let _ = writeln!(out, "policy {}", escape(last));
        }
        let namespace = match row.namespace.as_str() {
            "" => "without a namespace".to_owned(),
            name => format!("namespace {}", escape(name)),
        };
        let _ = writeln!(
            out,
            "  {namespace}: {} denied, {} warned about, {} denied once it is enforced",
            row.denied, row.warned, row.denied_once_enforced
        );
        for image in row.images.iter().take(SHOWN) {
            let mut objects = image.objects.iter();
            let first = objects.next().map_or("", String::as_str);
            let more = match objects.count() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let _ = writeln!(
                out,
                "    {} {}: {} ({}{more})",
                image.verdict,
                image.cause,
                escape(&image.image),
                escape(first)
            );
        }
        if let Some(more) = row.images.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            let _ = writeln!(out, "    and {more} more (-o json names all)");
        }
    }
    if preview.rows.is_empty() {
        let _ = writeln!(out, "these policies object to nothing");
    }
    let _ = writeln!(
        out,
        "{} judged; exempt.users and exempt.groups count only for controllers, because the requester is not known",
        super::count(preview.images, "image", "images")
    );
    if preview.denied_anyway > 0 {
        let _ = writeln!(
            out,
            "{} denied whatever these policies say: see pullgate check",
            super::count(preview.denied_anyway, "image is", "images are")
        );
    }
    out
}

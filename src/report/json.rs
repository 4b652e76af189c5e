//! `-o json`: schema `pullgate.dev/report/v1`. Every key is always present, empty or null.

use super::{Entry, Summary, summary};
use crate::verdict::Finding;
use crate::verdict::answer::Remark;
use crate::verdict::size::Size;
use crate::workload::PullPolicy;
use serde::Serialize;

/// The schema's name.
pub const VERSION: &str = "pullgate.dev/report/v1";

#[derive(Serialize)]
struct Report<'a> {
    version: &'static str,
    summary: Summary,
    images: Vec<Image<'a>>,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "`image` is the report's key")]
struct Image<'a> {
    source: Option<Place<'a>>,
    object: Option<Object<'a>>,
    container: Option<&'a str>,
    path: Option<&'a str>,
    #[serde(rename = "pullPolicy")]
    pull_policy: &'static str,
    image: &'a str,
    reference: Option<String>,
    note: Option<String>,
    outlook: &'static str,
    verdict: &'static str,
    unchanged: bool,
    stale: bool,
    findings: Vec<Ruled<'a>>,
    digest: Option<&'a str>,
    platforms: &'a [String],
    size: Option<u64>,
    sizes: &'a [Size],
}

/// A finding, and what is done about it.
#[derive(Serialize)]
struct Ruled<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    verdict: &'static str,
    /// The policy whose word that is; `null`: the default.
    policy: Option<&'a str>,
}

#[derive(Serialize)]
struct Place<'a> {
    file: &'a str,
    document: usize,
    line: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    api_version: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
}

/// The report as pretty JSON with a final newline.
pub fn render(entries: &[Entry]) -> Result<String, serde_json::Error> {
    let report = Report {
        version: VERSION,
        summary: summary(entries),
        images: entries.iter().map(image).collect(),
    };
    let mut text = serde_json::to_string_pretty(&report)?;
    text.push('\n');
    Ok(text)
}

fn image(entry: &Entry) -> Image<'_> {
    let judged = &entry.judged;
    let judgement = &judged.judgement;
    let in_object = entry.object.is_some();
    Image {
        source: entry.source.as_ref().map(|source| Place {
            file: &source.file,
            document: source.document,
            line: entry.line,
        }),
        object: entry.object.as_ref().map(|object| Object {
            api_version: &object.api_version,
            kind: &object.kind,
            namespace: &object.namespace,
            name: &object.name,
        }),
        container: in_object.then_some(judged.image.name.as_str()),
        path: in_object.then_some(judged.image.path.as_str()),
        pull_policy: match judged.image.pull_policy {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        },
        image: &judged.image.image,
        reference: judged.reference.as_ref().map(ToString::to_string),
        note: judged.remark.as_ref().map(Remark::clause),
        outlook: judgement.outlook.name(),
        verdict: judgement.verdict.name(),
        unchanged: judged.image.unchanged,
        stale: judgement.stale,
        findings: judgement
            .ruled()
            .map(|(finding, decision)| Ruled {
                finding,
                verdict: decision.verdict.name(),
                policy: decision.policy.as_deref(),
            })
            .collect(),
        digest: judgement.digest.as_ref().map(crate::image::Digest::as_str),
        platforms: &judgement.platforms,
        size: judgement.size(),
        sizes: &judgement.sizes,
    }
}

//! `-o json`: schema `pullgate.dev/report/v1`. Every key is always present, empty or null.

use super::{Entry, Report, Summary, summary};
use crate::verdict::review_result::Remark;
use crate::verdict::size::Size;
use crate::verdict::ways::NodeWay;
use crate::verdict::{Finding, Outlook, Verdict};
use crate::workload::PullPolicy;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::io;

/// The schema's name.
pub const VERSION: &str = "pullgate.dev/report/v1";

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Report")]
struct Written<'a> {
    version: &'static str,
    summary: Summary,
    #[schemars(with = "Vec<Image<'static>>")]
    images: Images<'a>,
    /// Images that were not judged.
    skipped: Vec<Left<'a>>,
    /// Remarks on the input.
    notes: Vec<Remarked<'a>>,
    /// What could not be read.
    errors: Vec<Remarked<'a>>,
}

/// Each is formatted as it is written: all of them at once are several times the report.
struct Images<'a>(&'a [Entry]);

impl Serialize for Images<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(image))
    }
}

/// An image that was not judged.
#[derive(Serialize, JsonSchema)]
struct Left<'a> {
    source: Option<Place<'a>>,
    object: Option<Object<'a>>,
    container: Option<&'a str>,
    path: Option<&'a str>,
    image: &'a str,
    /// Why, as a clause.
    reason: &'a str,
}

/// Something about the input.
#[derive(Serialize, JsonSchema)]
struct Remarked<'a> {
    /// What it is about; null for errors.
    kind: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<usize>,
    message: &'a str,
}

#[derive(Serialize, JsonSchema)]
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
    #[schemars(with = "Outlook")]
    outlook: &'static str,
    #[schemars(with = "Verdict")]
    verdict: &'static str,
    unchanged: bool,
    stale: bool,
    findings: Vec<Ruled<'a>>,
    digest: Option<&'a str>,
    platforms: &'a [String],
    size: Option<u64>,
    sizes: &'a [Size],
    /// By which way each kind of candidate node pulls it; empty where no registry was asked.
    ways: &'a [NodeWay],
}

/// A finding, and what is done about it.
#[derive(Serialize, JsonSchema)]
struct Ruled<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    #[schemars(with = "Verdict")]
    verdict: &'static str,
    /// The policy that decided; `null`: the default.
    policy: Option<&'a str>,
    /// By what it is accepted, so that it fails nothing; `null`: by nothing.
    accepted: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
struct Place<'a> {
    file: &'a str,
    document: usize,
    line: Option<usize>,
    /// The value of a chart, the entry of a kustomization or the template that the image comes from, if it is not written there itself.
    origin: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    api_version: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
}

/// The JSON Schema (2020-12) of a report.
pub fn schema() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<Written<'static>>();
    let mut schema = schema.to_value();
    schema["$id"] = "https://pullgate.dev/schema/report/v1.json".into();
    schema["properties"]["version"] = serde_json::json!({"const": VERSION});
    schema
}

/// Writes the report as pretty JSON with a final newline.
///
/// # Errors
/// Those of the writer.
pub fn render(report: &Report, mut out: impl io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut out, &written(report))?;
    out.write_all(b"\n")
}

/// Writes the report as JSON on one line.
pub(super) fn compact(report: &Report, out: impl io::Write) -> io::Result<()> {
    Ok(serde_json::to_writer(out, &written(report))?)
}

/// The report as a value.
pub fn value(report: &Report) -> Result<Value, serde_json::Error> {
    serde_json::to_value(written(report))
}

fn written(report: &Report) -> Written<'_> {
    Written {
        version: VERSION,
        summary: summary(&report.entries),
        images: Images(&report.entries),
        skipped: report
            .skipped
            .iter()
            .map(|skipped| {
                let entry = &skipped.entry;
                let in_object = entry.object.is_some();
                Left {
                    source: place(entry),
                    object: object(entry),
                    container: in_object.then_some(entry.judged.image.name.as_str()),
                    path: in_object.then_some(entry.judged.image.path.as_str()),
                    image: &entry.judged.image.image,
                    reason: &skipped.why,
                }
            })
            .collect(),
        notes: report
            .notes
            .iter()
            .map(|note| Remarked {
                kind: Some(note.kind),
                file: note.file.as_deref(),
                line: note.line,
                message: &note.message,
            })
            .collect(),
        errors: report
            .problems
            .iter()
            .map(|problem| Remarked {
                kind: None,
                file: problem.file.as_deref(),
                line: problem.line,
                message: &problem.message,
            })
            .collect(),
    }
}

fn place(entry: &Entry) -> Option<Place<'_>> {
    entry.source.as_ref().map(|source| Place {
        file: &source.file,
        document: source.document,
        line: entry.line,
        origin: entry.origin.as_deref(),
    })
}

fn object(entry: &Entry) -> Option<Object<'_>> {
    entry.object.as_ref().map(|object| Object {
        api_version: &object.api_version,
        kind: &object.kind,
        namespace: &object.namespace,
        name: &object.name,
    })
}

fn image(entry: &Entry) -> Image<'_> {
    let judged = &entry.judged;
    let judgement = &judged.judgement;
    let in_object = entry.object.is_some();
    Image {
        source: place(entry),
        object: object(entry),
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
                accepted: entry.accepted_by(finding.cause),
            })
            .collect(),
        digest: judgement.digest.as_ref().map(crate::image::Digest::as_str),
        platforms: &judgement.platforms,
        size: judgement.size(),
        sizes: &judgement.sizes,
        ways: &judgement.ways,
    }
}

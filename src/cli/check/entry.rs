//! A judged image in the form of the report.

use crate::manifests::ManifestObject;
use crate::report::{Entry, SourceDocument};
use crate::verdict::review_result::Judged;

/// An image in the form of the report, with nothing accepted.
pub(super) fn entry(subject: Option<&ManifestObject>, judged: Judged) -> Entry {
    let place = subject.map(|subject| (subject, subject.place_of(judged.image.path.as_str())));
    Entry {
        source: place.map(|(subject, (file, ..))| SourceDocument {
            file: file.to_owned(),
            document: subject.source.document,
        }),
        line: place.map(|(_, (_, line, _))| line),
        origin: place.and_then(|(_, (.., origin))| origin.map(str::to_owned)),
        object: subject.map(|subject| subject.workload.object.clone()),
        judged,
        accepted: Vec::new(),
    }
}

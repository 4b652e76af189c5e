//! The outcome for each image: totals for people, `pullgate.dev/pin/v1` for programs.

use super::{Destination, Found};
use serde::Serialize;

/// The schema's name.
const VERSION: &str = "pullgate.dev/pin/v1";

/// How many images had each outcome.
#[derive(Debug, Default, Serialize)]
pub(super) struct Count {
    pub(super) pinned: usize,
    pub(super) refreshed: usize,
    pub(super) before: usize,
    pub(super) skipped: usize,
    pub(super) failed: usize,
}

impl Count {
    /// `4 images: 2 pinned now, 1 pinned before, 1 skipped, 0 could not be pinned`
    pub(super) fn sentence(&self, to: Destination) -> String {
        let Self {
            pinned,
            refreshed,
            before,
            skipped,
            failed,
        } = self;
        let all = pinned + refreshed + before + skipped + failed;
        let noun = if all == 1 { "image" } else { "images" };
        let (now, moved) = match to {
            Destination::Diff(_) => ("to pin", "to move"),
            Destination::Files | Destination::Stdout => ("pinned now", "moved"),
        };
        let moved = if *refreshed == 0 {
            String::new()
        } else {
            format!("{refreshed} {moved}, ")
        };
        format!("{all} {noun}: {pinned} {now}, {moved}{before} pinned before, {skipped} skipped, {failed} could not be pinned")
    }
}

/// What became of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Became {
    /// It gets its digest.
    Pinned,
    /// Its digest moves to where its tag points now.
    Refreshed,
    /// It had a digest, and keeps it.
    Before,
    /// It is not to be pinned here.
    Skipped,
    /// It could not be.
    Failed,
}

/// An image for programs.
#[derive(Debug, Clone, Serialize)]
#[expect(clippy::struct_field_names, reason = "its name in the report")]
pub(super) struct Image {
    file: String,
    line: usize,
    path: String,
    user: String,
    image: String,
    pub(super) outcome: Became,
    /// The digest that it had.
    before: Option<String>,
    /// The digest that its tag points to now, if known.
    digest: Option<String>,
    /// Why it was not pinned.
    reason: Option<String>,
}

impl Image {
    pub(super) fn of(file: &str, found: &Found, outcome: Became, digest: Option<&str>, reason: Option<&str>) -> Self {
        Self {
            file: crate::report::plain(file).to_owned(),
            line: found.line,
            path: found.path.clone(),
            user: found.user.clone(),
            image: found.image.clone(),
            outcome,
            before: found.before.as_ref().map(|digest| digest.as_str().to_owned()),
            digest: digest.map(str::to_owned),
            reason: reason.map(str::to_owned),
        }
    }
}

/// Everything, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Written<'a> {
    version: &'static str,
    summary: &'a Count,
    images: &'a [Image],
    errors: &'a [String],
}

impl<'a> Written<'a> {
    pub(super) fn of(summary: &'a Count, images: &'a [Image], errors: &'a [String]) -> Self {
        Self {
            version: VERSION,
            summary,
            images,
            errors,
        }
    }
}

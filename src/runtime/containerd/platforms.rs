//! Which entries of an index a runtime fetches (pull-semantics 5.5).

use crate::image::platform::IndexRules;
use crate::runtime::Puller;
use crate::runtime::content::IndexEntry;

/// The entries of an index that a puller takes, by position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fetches {
    /// The image is one of these entries; several if versions of the runtime differ. Empty: the index has no entry for it.
    pub image: Vec<usize>,
    /// Entries that are fetched as well, or the pull fails. `None`: nothing beside the image.
    pub all: Option<Vec<usize>>,
}

impl Fetches {
    /// Every entry that may be fetched, in order.
    pub fn needed(&self) -> Vec<usize> {
        match &self.all {
            Some(all) => all.clone(),
            None => self.image.clone(),
        }
    }
}

/// The entries that `puller` fetches from an index.
///
/// containerd keeps the entries of its platform and those without a platform, sorts them (its own platform first, then compatible ones,
/// then those without) and takes the first. The transfer service fetches every entry of exactly its platform and every one without, and
/// then looks for its image among all entries, as the others do. So it may choose an entry that is only compatible, which it has not
/// fetched.
pub fn fetches(entries: &[IndexEntry], puller: &Puller) -> Fetches {
    match puller.runtime.index_rules() {
        IndexRules::ContainerdOld | IndexRules::ContainerdClient => Fetches {
            image: first(entries, puller, puller.runtime.index_rules()),
            all: None,
        },
        IndexRules::ContainerdTransfer => {
            let fetched = |entry: &IndexEntry| {
                entry
                    .platform
                    .as_ref()
                    .is_none_or(|platform| puller.platform.ranks(platform, IndexRules::ContainerdTransfer).is_some())
            };
            Fetches {
                image: first(entries, puller, IndexRules::ContainerdClient),
                all: Some(places(entries, fetched)),
            }
        }
        IndexRules::CriO => Fetches {
            // Of several entries for one platform, newer versions prefer one compressed with zstd.
            image: best(entries, puller, IndexRules::CriO),
            all: None,
        },
    }
}

/// The entry whose absence fails the pull of an image that has no platform in its index.
///
/// After the pull, containerd measures the image: it sorts all entries, those of other platforms too, and reads the first one. An entry
/// with any platform comes before those without. If that is a manifest for other nodes, it was not fetched.
pub(crate) fn unmeasured<'a>(entries: &'a [IndexEntry], fetched: &Fetches, puller: &Puller) -> Option<&'a IndexEntry> {
    match puller.runtime.index_rules() {
        IndexRules::ContainerdOld | IndexRules::ContainerdClient | IndexRules::ContainerdTransfer => {}
        IndexRules::CriO => return None,
    }
    let at = |place: &usize| entries.get(*place);
    if fetched.image.iter().filter_map(at).any(|entry| entry.platform.is_some()) {
        return None;
    }
    let first = entries.iter().find(|entry| entry.platform.is_some())?;
    let held = fetched
        .needed()
        .iter()
        .filter_map(at)
        .any(|entry| entry.digest == first.digest);
    (first.is_manifest() && !held).then_some(first)
}

fn places(entries: &[IndexEntry], is: impl Fn(&IndexEntry) -> bool) -> Vec<usize> {
    let fitting = entries.iter().enumerate().filter(|(_, entry)| is(entry));
    fitting.map(|(at, _)| at).collect()
}

/// The entry that containerd takes. Versions differ in which of several Windows builds they prefer.
fn first(entries: &[IndexEntry], puller: &Puller, index_rules: IndexRules) -> Vec<usize> {
    let mut best = best(entries, puller, index_rules);
    if puller.platform.os != "windows" {
        best.truncate(1);
    }
    best
}

/// The entries that fit best; if no declared platform fits, those that declare none.
fn best(entries: &[IndexEntry], puller: &Puller, index_rules: IndexRules) -> Vec<usize> {
    // Computed once per entry: an index may have thousands.
    let rank = |entry: &IndexEntry| {
        entry
            .platform
            .as_ref()
            .and_then(|platform| puller.platform.ranks(platform, index_rules))
    };
    let ranks: Vec<Option<u32>> = entries.iter().map(rank).collect();
    match ranks.iter().flatten().min() {
        Some(least) => {
            let best = ranks.iter().enumerate().filter(|(_, rank)| rank.as_ref() == Some(least));
            best.map(|(at, _)| at).collect()
        }
        None => places(entries, |entry| entry.platform.is_none()),
    }
}

#[cfg(test)]
#[path = "platforms_tests.rs"]
mod tests;

//! The `rewrite` table of a host, which k3s' containerd has and upstream's does not (`withRewritesFromHost` in
//! `core/remotes/docker/resolver.go` of `k3s-io/containerd`): patterns that rename the repository at that host.

use regex::Regex;
use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The table, in the order of its patterns. The runtime has no order: it takes any that matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Rewrites(Arc<[Rewrite]>);

/// One line of it.
#[derive(Debug, Clone)]
struct Rewrite {
    pattern: String,
    replacement: String,
    /// `None` if the pattern is invalid: the runtime ignores it.
    regex: Option<Regex>,
}

impl PartialEq for Rewrite {
    fn eq(&self, other: &Self) -> bool {
        (&self.pattern, &self.replacement) == (&other.pattern, &other.replacement)
    }
}

impl Eq for Rewrite {}

impl Hash for Rewrite {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.pattern, &self.replacement).hash(state);
    }
}

impl Rewrites {
    /// From patterns and replacements, both in Go's syntax. The error is a clause: something that Go may read and we cannot.
    pub fn new(lines: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let mut all = Vec::new();
        for (pattern, replacement) in lines {
            let regex = match Regex::new(&pattern) {
                Ok(regex) => Some(regex),
                // Go reads these, and we do not.
                Err(regex::Error::Syntax(_)) if !["\\Q", "\\C", "{"].iter().any(|own| pattern.contains(own)) => None,
                Err(_) => return Err(format!("pullgate cannot read the rewrite pattern {pattern:?}")),
            };
            all.push(Rewrite {
                pattern,
                replacement,
                regex,
            });
        }
        all.sort_by(|one, other| one.pattern.cmp(&other.pattern));
        Ok(Self(all.into()))
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns and their replacements.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|one| (one.pattern.as_str(), one.replacement.as_str()))
    }

    /// The patterns that no runtime can read; they are ignored.
    pub fn broken(&self) -> impl Iterator<Item = &str> {
        let broken = self.0.iter().filter(|one| one.regex.is_none());
        broken.map(|one| one.pattern.as_str())
    }

    /// The names that the runtime may use for a repository. If there are several, it picks one at random for every request. Never empty.
    pub(crate) fn names<'a>(&self, repository: &'a str) -> Vec<Cow<'a, str>> {
        let mut names: Vec<Cow<'a, str>> = Vec::new();
        for one in &*self.0 {
            let Some(regex) = &one.regex else { continue };
            let name = regex.replace_all(repository, one.replacement.as_str());
            // A match that changes nothing does not count.
            if name != repository && !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            names.push(Cow::Borrowed(repository));
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrites(lines: &[(&str, &str)]) -> Rewrites {
        Rewrites::new(lines.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))).unwrap()
    }

    #[track_caller]
    fn check(lines: &[(&str, &str)], repository: &str, expected: &[&str]) {
        assert_eq!(rewrites(lines).names(repository), expected, "{lines:?} {repository}");
    }

    #[test]
    fn a_match_is_replaced() {
        check(&[], "team/img", &["team/img"]);
        check(&[("^team/(.*)", "proj/$1")], "team/img", &["proj/img"]);
        check(&[("^team/(.*)", "proj/$1")], "other/img", &["other/img"]);
        check(&[("(.*)", "cache/${1}")], "team/img", &["cache/team/img"]);
        // A pattern without anchors counts wherever it stands, as often as it does.
        check(&[("a", "b")], "a/xa", &["b/xb"]);
        // The name of a group is as long as it can be.
        check(&[("^(.*)$", "x/$1_y")], "a", &["x/"]);
    }

    #[test]
    fn several_that_match_are_all_possible() {
        let both = [("^team/(.*)", "one/$1"), ("^(.*)$", "two/$1")];
        check(&both, "team/img", &["two/team/img", "one/img"]);
        check(&both, "img", &["two/img"]);
        check(&[("^a", "b"), ("^a.*?", "b")], "a/x", &["b/x"]);
        check(&[("^team/", "team/"), ("img", "app")], "team/img", &["team/app"]);
    }

    #[test]
    fn a_broken_pattern_is_passed_over() {
        let table = rewrites(&[("^team/(", "x"), ("^team/(.*)", "proj/$1")]);
        assert_eq!(table.broken().collect::<Vec<_>>(), ["^team/("]);
        assert_eq!(table.names("team/img"), ["proj/img"]);
        // Go reads this, and we do not: nothing is known then.
        assert!(Rewrites::new([("\\Qa.b\\E".to_owned(), "x".to_owned())]).is_err());
    }
}

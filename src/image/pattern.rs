//! Patterns on normalised names, for `rewrites` and policies: `docker.io/library/*`, `registry.corp/**`.
//!
//! A pattern is matched against [`Reference::name`]: the registry and every component of the repository, without tag or digest. `*`
//! matches any text within a component. `**` matches whole components: any number, and at the end of a pattern at least one.

use super::Reference;
use std::fmt;

/// A checked pattern: there are images that it can match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    components: Vec<Component>,
    specificity: Specificity,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    /// `**`.
    Many,
    /// The literal texts around the `*`s: `a*b` is `["a", "b"]`, a component without `*` is alone.
    One(Vec<String>),
}

/// The last wildcard of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wildcard {
    /// There is none: the pattern names one repository.
    None,
    /// `*`: text within a component.
    Text,
    /// `**`: whole components.
    Components,
}

/// How specific a pattern is: more literal components first; then, from the left, literal before `*` before `**`. Text next to a
/// `*` within a component does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    literals: usize,
    kinds: Vec<Kind>,
}

/// What a component is, least specific first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Many,
    Text,
    Literal,
}

impl Kind {
    fn of(component: &Component) -> Self {
        match component {
            Component::Many => Self::Many,
            Component::One(parts) if parts.len() > 1 => Self::Text,
            Component::One(_) => Self::Literal,
        }
    }
}

/// The longest pattern, in bytes: no name is longer than a host and 255 characters of path.
const LONGEST: usize = 1024;

impl Pattern {
    /// Parses a pattern. The error is a clause for its author; patterns that no image can match are refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("must not be empty".to_owned());
        }
        if text.len() > LONGEST {
            return Err(format!("the pattern has {} bytes, more than any name", text.len()));
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("{text:?} contains white space"));
        }
        if text.contains("://") {
            return Err(format!("{text:?} has a scheme; start with the registry's host"));
        }
        let last = text.rsplit('/').next().unwrap_or_default();
        if text.contains('@') || (text.contains('/') && last.contains(':')) {
            return Err(format!("{text:?} has a tag or a digest; a pattern matches names only"));
        }
        let components = text.split('/').map(component).collect::<Result<Vec<_>, _>>()?;
        if components
            .windows(2)
            .any(|pair| matches!(pair, [Component::Many, Component::Many]))
        {
            return Err(format!("{text:?} has ** twice in a row; one is enough"));
        }
        let kinds: Vec<Kind> = components.iter().map(Kind::of).collect();
        let pattern = Self {
            text: text.to_owned(),
            components,
            specificity: Specificity {
                literals: kinds.iter().filter(|kind| **kind == Kind::Literal).count(),
                kinds,
            },
        };
        pattern.check()?;
        Ok(pattern)
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The last wildcard: the text that it matches can be carried over.
    pub fn wildcard(&self) -> Wildcard {
        self.components
            .iter()
            .rev()
            .find_map(|component| match component {
                Component::Many => Some(Wildcard::Components),
                Component::One(parts) => (parts.len() > 1).then_some(Wildcard::Text),
            })
            .unwrap_or(Wildcard::None)
    }

    /// How specific the pattern is: of several that match, the greatest decides (contract 5).
    pub fn specificity(&self) -> &Specificity {
        &self.specificity
    }

    /// Whether this pattern matches every name that `other` matches, as far as can be told quickly: `false` if not, and for pairs
    /// of patterns that are too long to compare.
    pub fn covers(&self, other: &Self) -> bool {
        covers::covers(&self.components, &other.components)
    }

    /// The components before the first wildcard: the common prefix of everything that the pattern matches.
    pub fn prefix(&self) -> Vec<&str> {
        self.text
            .split('/')
            .take_while(|component| !component.contains('*'))
            .collect()
    }

    /// Whether a name ([`Reference::name`]) matches.
    pub fn matches(&self, name: &str) -> bool {
        self.matches_components(&name.split('/').collect::<Vec<_>>())
    }

    /// The same for a name that is already split. An object may have tens of thousands of names, each compared with every pattern, so this
    /// allocates nothing.
    pub fn matches_components(&self, name: &[&str]) -> bool {
        self.find(name).is_some()
    }

    /// The text that the last wildcard matches in `name` (empty without a wildcard); `None` if the name does not match.
    pub fn capture(&self, name: &str) -> Option<String> {
        let name: Vec<&str> = name.split('/').collect();
        let (whole, text) = self.find(&name)?;
        Some(match self.wildcard() {
            Wildcard::Components => whole.join("/"),
            Wildcard::Text | Wildcard::None => text.to_owned(),
        })
    }

    /// What the last `**` and the last `*` match.
    ///
    /// Earlier wildcards match as little as they can. Takes time linear in the name for every component of the pattern.
    fn find<'n, 'a>(&self, name: &'n [&'a str]) -> Option<(&'n [&'a str], &'a str)> {
        let mut runs = self.components.split(|component| *component == Component::Many);
        let first = runs.next()?;
        let Some(last) = runs.next_back() else {
            return (name.len() == first.len())
                .then(|| run(first, name))
                .flatten()
                .map(|text| (&[][..], text));
        };
        let mut from = first.len();
        run(first, name.get(..from)?)?;
        for middle in runs {
            let rest = name.get(from..)?;
            let at = rest
                .windows(middle.len().max(1))
                .position(|part| run(middle, part).is_some())?;
            from += at + middle.len();
        }
        let to = name.len().checked_sub(last.len())?;
        // At the end of a pattern, `**` is everything below, not the place itself.
        if to < from + usize::from(last.is_empty()) {
            return None;
        }
        let text = run(last, name.get(to..)?)?;
        Some((name.get(from..to)?, text))
    }

    /// Refuses patterns that no normalised name can match.
    fn check(&self) -> Result<(), String> {
        let text = &self.text;
        let could_be = |text: &str| samples(text).iter().any(|sample| is_normalised(sample));
        if could_be(text) {
            return Ok(());
        }
        let of_docker_hub = |path: &str| format!("docker.io/{path}");
        Err(match text.split_once('/') {
            Some(("index.docker.io", rest)) if text.contains('*') && could_be(&of_docker_hub(rest)) => {
                format!("{text:?} matches no image: index.docker.io is normalised to docker.io; write docker.io/{rest}")
            }
            Some((host, _)) if text.contains('*') && !host.contains(['.', ':']) && could_be(&of_docker_hub(text)) => {
                format!(
                    "{text:?} matches no image: every name starts with a registry, which has a dot or a port or is localhost; \
                     did you mean docker.io/{text}?"
                )
            }
            None if text.contains('*') => {
                format!("{text:?} matches no image: every name starts with a registry; for all of them, write **")
            }
            None if text.contains(['.', ':']) => {
                format!("{text:?} names no repository; for everything in that registry, write {text}/**")
            }
            Some(("docker.io", rest)) if !rest.contains('/') => {
                format!(
                    "{text:?} matches no image: official images are docker.io/library/NAME; did you mean docker.io/library/{rest}?"
                )
            }
            _ => match Reference::parse_plain(text) {
                Some(reference) => format!("names are matched as a whole: write {text:?} as {}", reference.name()),
                None => format!(
                    "{text:?} matches no image name: write a registry, then lower-case components, such as docker.io/library/*"
                ),
            },
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn component(text: &str) -> Result<Component, String> {
    match text {
        "" => Err("a pattern cannot have empty components: no leading, trailing or double /".to_owned()),
        "**" => Ok(Component::Many),
        _ if text.contains("**") => Err(format!("{text:?}: ** matches whole components; use * within one")),
        _ => Ok(Component::One(text.split('*').map(str::to_owned).collect())),
    }
}

/// Matches components without `**` against as many of a name; returns what the last `*` matches.
fn run<'a>(pattern: &[Component], name: &[&'a str]) -> Option<&'a str> {
    let mut last = "";
    for (component, text) in pattern.iter().zip(name) {
        // A run is what lies between `**`s.
        let Component::One(parts) = component else { return None };
        let taken = within(parts, text)?;
        if parts.len() > 1 {
            last = taken;
        }
    }
    Some(last)
}

/// Matches a component's literal parts against a text; returns what the last `*` matches.
fn within<'a>(parts: &[String], text: &'a str) -> Option<&'a str> {
    let [first, between @ .., last] = parts else {
        // One part: no `*`.
        return (parts.first().map(String::as_str) == Some(text)).then_some("");
    };
    let mut rest = text.strip_prefix(first.as_str())?;
    for part in between {
        let (_, after) = rest.split_once(part.as_str())?;
        rest = after;
    }
    rest.strip_suffix(last.as_str())
}

/// Names that a pattern matches, at least one of which should be possible.
fn samples(text: &str) -> Vec<String> {
    let (host, path) = match text.split_once('/') {
        Some((host, path)) => (host, Some(path)),
        None => (text, None),
    };
    let path = path.map_or_else(String::new, |path| {
        format!("/{}", path.replace("**", "x/x").replace('*', "x"))
    });
    if host == "**" {
        let path = if path.is_empty() { "/x" } else { &path };
        return vec![format!("x.x{path}")];
    }
    if !host.contains('*') {
        return vec![format!("{host}{path}")];
    }
    // Within a host, `*` may be a label, several, a port or nothing.
    ["x", "x.x", "1", ""]
        .iter()
        .map(|filling| format!("{}{path}", host.replace('*', filling)))
        .collect()
}

/// Whether `name` is the whole of a normalised name.
fn is_normalised(name: &str) -> bool {
    Reference::parse_plain(name)
        .is_some_and(|reference| reference.tag().is_none() && reference.digest().is_none() && reference.name() == name)
}

mod covers;

#[cfg(test)]
mod tests;

//! Patterns on normalised names, as `rewrites` and policies write them: `docker.io/library/*`, `registry.corp/**`.
//!
//! A pattern is held against [`Reference::name`]: the registry and every component of the repository, without tag or digest. `*` stands
//! for any text within a component. `**` stands for whole components: any number of them, and at the end of a pattern at least one.

use super::Reference;
use std::fmt;

/// A pattern that was checked: some image could match it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    components: Vec<Component>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    /// `**`.
    Many,
    /// The literal texts around the `*`s: `a*b` is `["a", "b"]`, a component without `*` is alone.
    One(Vec<String>),
}

/// What the last wildcard of a pattern stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wildcard {
    /// The pattern has none: it names one repository.
    None,
    /// `*`: text within a component.
    Text,
    /// `**`: whole components.
    Components,
}

/// How specific a pattern is: more literal components first; then, from the left, literal over `*` over `**`. Text beside a `*` within a
/// component does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    literals: usize,
    kinds: Vec<Kind>,
}

/// What a component is, from the vaguest.
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
    /// Reads a pattern. The error is a clause for the person who wrote it; patterns that no image can match are refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("an empty text has no meaning here".to_owned());
        }
        if text.len() > LONGEST {
            return Err(format!("a pattern of {} bytes is longer than any name", text.len()));
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("{text:?} holds white space"));
        }
        if text.contains("://") {
            return Err(format!("{text:?} has a scheme; begin with the registry's host"));
        }
        let last = text.rsplit('/').next().unwrap_or_default();
        if text.contains('@') || (text.contains('/') && last.contains(':')) {
            return Err(format!(
                "{text:?} has a tag or a digest; a pattern is held against the name before them"
            ));
        }
        let components = text.split('/').map(component).collect::<Result<Vec<_>, _>>()?;
        if components
            .windows(2)
            .any(|pair| matches!(pair, [Component::Many, Component::Many]))
        {
            return Err(format!("{text:?} has ** twice in a row; one is enough"));
        }
        let pattern = Self {
            text: text.to_owned(),
            components,
        };
        pattern.check()?;
        Ok(pattern)
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The last wildcard: what it stood for can be carried over.
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

    /// How exactly the pattern says what it means: of several that match, the greatest decides (contract 5).
    pub fn specificity(&self) -> Specificity {
        let kinds: Vec<Kind> = self.components.iter().map(Kind::of).collect();
        Specificity {
            literals: kinds.iter().filter(|kind| **kind == Kind::Literal).count(),
            kinds,
        }
    }

    /// Whether every name that `other` matches is matched by this pattern too, as far as it shows at a glance: `false` where it does
    /// not, and for pairs of patterns too long to be looked through.
    pub fn covers(&self, other: &Self) -> bool {
        covers::covers(&self.components, &other.components)
    }

    /// The components before the first wildcard: where everything that the pattern matches lives.
    pub fn prefix(&self) -> Vec<&str> {
        self.text
            .split('/')
            .take_while(|component| !component.contains('*'))
            .collect()
    }

    /// Whether a name ([`Reference::name`]) matches.
    pub fn matches(&self, name: &str) -> bool {
        self.capture(name).is_some()
    }

    /// What the last wildcard stands for in `name` (empty without a wildcard); `None` where the name does not match.
    ///
    /// Wildcards before the last take as little as they can. Linear in the name for every component of the pattern.
    pub fn capture(&self, name: &str) -> Option<String> {
        let name: Vec<&str> = name.split('/').collect();
        let mut runs = self.components.split(|component| *component == Component::Many);
        let first = runs.next()?;
        let mut runs: Vec<&[Component]> = runs.collect();
        let Some(last) = runs.pop() else {
            return (name.len() == first.len()).then(|| run(first, &name)).flatten();
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
        // At the end of a pattern `**` is everything below, not the place itself.
        if to < from + usize::from(last.is_empty()) {
            return None;
        }
        let text = run(last, name.get(to..)?)?;
        match self.wildcard() {
            Wildcard::Components => Some(name.get(from..to)?.join("/")),
            Wildcard::Text | Wildcard::None => Some(text),
        }
    }

    /// Some name that the pattern matches must be one that normalisation leaves as it is.
    fn check(&self) -> Result<(), String> {
        let text = &self.text;
        let could_be = |text: &str| samples(text).iter().any(|sample| is_normalised(sample));
        if could_be(text) {
            return Ok(());
        }
        let of_docker_hub = |path: &str| format!("docker.io/{path}");
        Err(match text.split_once('/') {
            Some(("index.docker.io", rest)) if text.contains('*') && could_be(&of_docker_hub(rest)) => {
                format!("{text:?} matches no image: index.docker.io is docker.io; write docker.io/{rest}")
            }
            Some((host, _)) if text.contains('*') && !host.contains(['.', ':']) && could_be(&of_docker_hub(text)) => {
                format!(
                    "{text:?} matches no image: every name begins with a registry, which has a dot or a port or is localhost; \
                     did you mean docker.io/{text}?"
                )
            }
            None if text.contains('*') => {
                format!("{text:?} matches no image: every name begins with a registry; ** is all of them")
            }
            None if text.contains(['.', ':']) => format!("{text:?} names no repository; everything in that registry is {text}/**"),
            Some(("docker.io", rest)) if !rest.contains('/') => {
                format!(
                    "{text:?} matches no image: official ones are docker.io/library/NAME; did you mean docker.io/library/{rest}?"
                )
            }
            _ => match Reference::parse_plain(text) {
                Some(reference) => format!("names are matched as a whole: write {text:?} as {}", reference.name()),
                None => format!("{text:?} matches no image name: a registry, then lower-case components, as docker.io/library/*"),
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
        "" => Err("a pattern has no empty components: no / at its ends, and no two in a row".to_owned()),
        "**" => Ok(Component::Many),
        _ if text.contains("**") => Err(format!("{text:?}: ** stands for whole components; * for text within one")),
        _ => Ok(Component::One(text.split('*').map(str::to_owned).collect())),
    }
}

/// Holds components without `**` against as many of a name; gives what the last `*` stands for.
fn run(pattern: &[Component], name: &[&str]) -> Option<String> {
    let mut last = "";
    for (component, text) in pattern.iter().zip(name) {
        // A run is what lies between `**`s.
        let Component::One(parts) = component else { return None };
        let taken = within(parts, text)?;
        if parts.len() > 1 {
            last = taken;
        }
    }
    Some(last.to_owned())
}

/// Holds a component's literal parts against a text; gives what the last `*` stands for.
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

/// Names that a pattern matches, one of which should be a possible one.
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

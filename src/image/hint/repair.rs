//! Repairs of a name, applied one after the other, each with a note.

use super::super::{
    Digest,
    digest::hex_digits,
    escape::{is_invisible, is_unsafe},
    grammar, userinfo,
};
use super::show;

/// Quotation marks found around names: typed twice, or smart ones from a document.
const QUOTES: [char; 14] = ['"', '\'', '`', '´', '“', '”', '„', '‟', '‘', '’', '‚', '‛', '«', '»'];

/// A name under repair.
pub(super) struct Repairs {
    /// The name as repaired so far.
    pub(super) name: String,
    notes: Vec<String>,
}

impl Repairs {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            notes: Vec::new(),
        }
    }

    /// Adds a note, unless it stands there already.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The notes as one sentence; `None` if there is nothing to say.
    pub(super) fn advice(&self) -> Option<String> {
        let (last, first) = self.notes.split_last()?;
        Some(if first.is_empty() {
            last.clone()
        } else {
            format!("{}, and {last}", first.join(", "))
        })
    }

    /// Runs every repair that is unambiguous.
    pub(super) fn run(&mut self) {
        self.invisible();
        self.wrapping();
        self.pasted();
        self.scheme();
        self.spaces();
        self.slashes();
        self.digest();
        self.colons();
        self.case();
        self.address();
    }

    fn replace(&mut self, name: String, note: impl Into<String>) {
        if name != self.name {
            self.name = name;
            self.note(note);
        }
    }

    /// Zero-width characters, byte order marks and the like, anywhere.
    fn invisible(&mut self) {
        let hidden = |c: char| is_invisible(c) || (c.is_control() && !c.is_whitespace());
        if let Some(first) = self.name.chars().find(|&c| hidden(c)) {
            let visible = self.name.chars().filter(|&c| !hidden(c)).collect();
            self.replace(visible, format!("remove the invisible character U+{:04X}", u32::from(first)));
        }
    }

    /// White space and quotation marks around the name.
    fn wrapping(&mut self) {
        let bare = self.name.trim_matches(|c: char| c.is_whitespace() || QUOTES.contains(&c));
        let (spaces, quotes) = (
            self.name.trim() != self.name,
            self.name.trim().trim_matches(QUOTES) != self.name.trim(),
        );
        let what = match (spaces, quotes) {
            (true, true) => "remove the white space and the quotation marks around the name",
            (true, false) => "remove the white space around the name",
            (false, _) => "remove the quotation marks around the name",
        };
        self.replace(bare.to_owned(), what);
    }

    /// The words before the name, if a whole line was pasted.
    fn pasted(&mut self) {
        for line in ["image:", "docker pull", "podman pull", "crictl pull", "nerdctl pull"] {
            let rest = self
                .name
                .strip_prefix(line)
                .filter(|rest| rest.starts_with(char::is_whitespace));
            if let Some(rest) = rest.map(|rest| rest.trim().to_owned()) {
                self.replace(rest, format!("remove `{line}`"));
            }
        }
    }

    /// `https://`, `docker://`, `oci://` …
    fn scheme(&mut self) {
        let end = userinfo::scheme_end(&self.name);
        if let Some((scheme, rest)) = self.name.split_at_checked(end).filter(|(scheme, _)| scheme.len() > 2) {
            let note = format!("remove {}: an image name has no scheme", show(scheme));
            self.replace(rest.to_owned(), note);
        }
    }

    /// White space next to a separator can only be a mistake; elsewhere there is more than one way to fix it.
    fn spaces(&mut self) {
        let mut name = self.name.clone();
        for separator in ['/', ':', '@'] {
            if name.contains(char::is_whitespace) {
                let parts: Vec<&str> = name.split(separator).map(str::trim).collect();
                name = parts.join(&separator.to_string());
            }
        }
        self.replace(name, "remove the white space from the name");
    }

    /// Backslashes, double slashes, slashes at either end.
    fn slashes(&mut self) {
        self.replace(self.name.replace('\\', "/"), "write `/` instead of `\\`");
        if self.name.contains("//") || self.name.starts_with('/') || self.name.ends_with('/') {
            let parts: Vec<&str> = self.name.split('/').filter(|part| !part.is_empty()).collect();
            self.replace(parts.join("/"), "remove the superfluous `/`");
        }
    }

    /// What follows an `@`, or should.
    fn digest(&mut self) {
        if let Some((name, hex)) = self.name.split_once(":sha256:").filter(|(name, _)| !name.contains('@')) {
            let name = format!("{name}@sha256:{hex}");
            self.replace(name, "write `@` before a digest");
        }
        let Some((name, digest)) = self.name.rsplit_once('@') else {
            return;
        };
        let (name, digest) = (name.to_owned(), digest.to_owned());
        if digest.is_empty() {
            if tag_of(&name).is_some() {
                self.replace(name, "remove the `@` at the end");
            }
        } else if let Some((front, tag)) = tag_after_digest(&digest) {
            if tag_of(&name).is_none() {
                self.replace(format!("{name}:{tag}@{front}"), "write the tag before the digest");
            } else {
                self.replace(
                    format!("{name}@{front}"),
                    format!("remove {} after the digest", show(&format!(":{tag}"))),
                );
            }
        } else if is_hex(&digest) && Some(digest.len()) == hex_digits("sha256") {
            self.replace(
                format!("{name}@sha256:{digest}"),
                "write `sha256:` before the digits of the digest",
            );
        } else if grammar::is_tag(&digest) && tag_of(&name).is_none() && hex_digits(&digest).is_none() && !is_hex_long(&digest) {
            self.replace(format!("{name}:{digest}"), "write `:` before a tag (`@` is for digests)");
        }
        let Some((name, digest)) = self
            .name
            .rsplit_once('@')
            .map(|(name, digest)| (name.to_owned(), digest.to_owned()))
        else {
            return;
        };
        if Digest::parse(&digest).is_none() && Digest::parse(&digest.to_ascii_lowercase()).is_some() {
            self.replace(
                format!("{name}@{}", digest.to_ascii_lowercase()),
                "write the digest in lower case",
            );
        }
        if let Some(bare) = name.strip_suffix(':') {
            let digest = self.name.rsplit_once('@').map_or("", |(_, digest)| digest);
            self.replace(format!("{bare}@{digest}"), "remove the `:` before the digest");
        }
    }

    /// Double colons and double tags.
    fn colons(&mut self) {
        let start = self.name.rfind('/').map_or(0, |at| at + 1);
        let Some((front, last)) = self.name.split_at_checked(start) else {
            return;
        };
        let (left, digest) = last
            .split_once('@')
            .map_or((last, String::new()), |(left, digest)| (left, format!("@{digest}")));
        let mut parts: Vec<&str> = left.split(':').collect();
        // An address in brackets has colons of its own.
        if parts.len() < 3 || left.starts_with('[') {
            return;
        }
        // The last part stays: a colon at the end is a different mistake.
        let last = parts.len() - 1;
        let mut at = 0;
        parts.retain(|part| {
            at += 1;
            !part.is_empty() || at - 1 == last || at == 1
        });
        let collapsed = format!("{front}{}{digest}", parts.join(":"));
        parts.dedup();
        let single = format!("{front}{}{digest}", parts.join(":"));
        if single != collapsed {
            self.replace(single, "write the tag once");
        } else if collapsed != self.name {
            self.replace(collapsed, "write one `:` before the tag");
        }
    }

    /// Upper case in the repository. The host keeps its case, and so does the tag.
    fn case(&mut self) {
        if grammar::parse(&self.name).err().map(grammar::Fault::kind) != Some(super::ReferenceErrorKind::UpperCase) {
            return;
        }
        let start = match self.name.split_once('/') {
            Some((first, _)) if grammar::is_domain_like(first) && grammar::is_domain(first) => first.len(),
            Some(_) | None => 0,
        };
        let rest = self.name.get(start..).unwrap_or_default();
        // A tag follows the last slash, and a port precedes it.
        let last = rest.rfind('/').unwrap_or_default();
        let end = rest
            .get(last..)
            .and_then(|last| last.find([':', '@']))
            .map_or(self.name.len(), |at| start + last + at);
        let (Some(host), Some(path), Some(tag)) = (self.name.get(..start), self.name.get(start..end), self.name.get(end..)) else {
            return;
        };
        let name = format!("{host}{}{tag}", path.to_ascii_lowercase());
        self.replace(name, "write the repository in lower case");
    }

    /// An IPv6 address without its brackets.
    fn address(&mut self) {
        if let Some((host, rest)) = self.name.split_once('/') {
            let bare = host.matches(':').count() > 1 && host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            if bare {
                let name = format!("[{host}]/{rest}");
                self.replace(name, "write the IPv6 address in brackets");
            }
        }
    }
}

/// The tag of a name without digest: after the last colon, unless a slash follows it.
pub(super) fn tag_of(name: &str) -> Option<&str> {
    name.rsplit_once(':')
        .map(|(_, tag)| tag)
        .filter(|tag| !tag.contains('/') && !tag.is_empty())
}

/// `sha256:HEX:TAG`, split in two.
fn tag_after_digest(text: &str) -> Option<(&str, &str)> {
    let (digest, tag) = text.rsplit_once(':')?;
    (Digest::parse(&digest.to_ascii_lowercase()).is_some() && grammar::is_tag(tag)).then_some((digest, tag))
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Long enough to be a digest rather than a tag.
fn is_hex_long(text: &str) -> bool {
    text.len() >= 32 && is_hex(text)
}

/// The first character that would not appear as itself, or that no part of a name may contain.
pub(super) fn foreign(text: &str) -> Option<char> {
    text.chars()
        .find(|&c| is_unsafe(c) || !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@' | '[' | ']')))
}

//! Reviews with the same content. The pods of one template arrive by the dozen, and their reviews differ only in names, UIDs and times,
//! so the others need not be parsed like the first.

use super::request::{Operation, REQUEST, Review, parse};
use crate::workload::{Keep, Kinds};
use serde_json::Value;
use std::ops::Range;

/// Deeper than any review of the API server; one that is deeper gets no pattern.
const LEVELS: usize = 64;

/// A review, and the texts in it that make no difference to how it is read.
#[derive(Debug)]
pub struct Pattern {
    body: Box<[u8]>,
    /// The places of those texts, without their quotes, in order.
    free: Box<[Range<usize>]>,
    uid: Range<usize>,
    /// `None` if the request has no name.
    name: Option<Range<usize>>,
}

/// What differs in a review that fits a pattern, and is to be repeated in the answer or the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Names<'a> {
    /// The request's uid.
    pub uid: &'a str,
    /// The object's name as the request has it; empty if there is none.
    pub name: &'a str,
}

impl Pattern {
    /// The pattern of a CREATE, from its body and the result of [`parse`]. `None` if it is not written the way the API server writes reviews.
    pub fn of(body: &[u8], review: &Review, kinds: &Kinds) -> Option<Self> {
        let says = |field: &str, text: &str| review.object.get(field).and_then(Value::as_str) == Some(text);
        // Objects are read as their own kind if it differs from the request's.
        let own_kind = says("apiVersion", &review.api_version) && says("kind", &review.kind);
        if review.operation != Operation::Create || review.unread.is_some() || !own_kind {
            return None;
        }
        let mut walk = Walk {
            body,
            at: 0,
            path: Vec::new(),
            object: kinds.keep(&review.api_version, &review.kind),
            is_pod: review.kind == "Pod" && review.api_version == "v1",
            ignored: Vec::new(),
            names: Vec::new(),
            volumes: Vec::new(),
            image_volumes: false,
            uid: None,
            name: None,
        };
        walk.value(Place::Review)?;
        // The walk only mimics how reviews are parsed, so check it against the parser.
        let others = replace(body, &walk.ignored);
        if parse(&others, kinds).as_ref() != Ok(review) {
            return None;
        }
        let mut free = walk.ignored;
        free.append(&mut walk.names);
        if !walk.image_volumes {
            free.append(&mut walk.volumes);
        }
        free.sort_by_key(|text| text.start);
        let pattern = Self {
            body: body.into(),
            free: free.into(),
            uid: walk.uid?,
            name: walk.name,
        };
        let Names { uid, name } = pattern.fits(body)?;
        (uid == review.uid && name == review.name).then_some(pattern)
    }

    /// The names in another review, if it would be parsed like the first one: it is the same byte for byte, except that it may have other
    /// plain texts in those places. It then means the same, because everything around them is the same.
    pub fn fits<'a>(&self, body: &'a [u8]) -> Option<Names<'a>> {
        let (mut ours, mut theirs) = (0, 0);
        // The texts that differ, and where they are in the other body.
        let mut changed: Vec<(&Range<usize>, Range<usize>)> = Vec::new();
        loop {
            let same = common(self.body.get(ours..)?, body.get(theirs..)?);
            (ours, theirs) = (ours + same, theirs + same);
            if ours == self.body.len() && theirs == body.len() {
                break;
            }
            let text = self.free.get(self.free.partition_point(|text| text.end < ours))?;
            let begin = theirs - ours.checked_sub(text.start)?;
            let rest = body.get(begin..)?;
            let length = rest.iter().position(|byte| !is_plain(*byte))?;
            if rest.get(length) != Some(&b'"') {
                return None;
            }
            changed.push((text, begin..begin + length));
            (ours, theirs) = (text.end, begin + length);
        }
        let text = |wanted: &Range<usize>| {
            let before = changed.iter().rev().find(|(text, _)| text.start <= wanted.start);
            let place = match before {
                Some((text, place)) if *text == wanted => place.clone(),
                Some((text, place)) => wanted.start - text.end + place.end..wanted.end - text.end + place.end,
                None => wanted.clone(),
            };
            str::from_utf8(body.get(place)?).ok()
        };
        let uid = text(&self.uid).filter(|uid| !uid.is_empty())?;
        let name = self.name.as_ref().map_or(Some(""), text)?;
        Some(Names { uid, name })
    }
}

/// How many bytes two texts have in common at their beginning.
fn common(one: &[u8], other: &[u8]) -> usize {
    const STEP: usize = 32;
    let steps = one.as_chunks::<STEP>().0.iter().zip(other.as_chunks::<STEP>().0);
    let whole = STEP * steps.take_while(|(one, other)| one == other).count();
    let rest = |text| <[u8]>::get(text, whole..).unwrap_or_default();
    let rest = rest(one).iter().zip(rest(other));
    whole + rest.take_while(|(one, other)| one == other).count()
}

/// A byte that stands for itself in a JSON text.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// The body with other texts at these places.
fn replace(body: &[u8], places: &[Range<usize>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + places.len());
    let mut at = 0;
    for place in places {
        out.extend_from_slice(body.get(at..place.start).unwrap_or_default());
        out.push(b'~');
        at = place.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out
}

/// Where a value is, which decides how it is read.
#[derive(Clone, Copy)]
enum Place<'a> {
    Review,
    Request,
    /// What is read of it.
    Kept(&'a Keep),
    /// Nothing is read of it.
    Ignored,
}

/// Walks over JSON that is well-formed, and collects places of texts.
struct Walk<'a> {
    body: &'a [u8],
    at: usize,
    /// The members on the way; empty for an element.
    path: Vec<&'a [u8]>,
    /// What is read of the object.
    object: &'a Keep,
    is_pod: bool,
    ignored: Vec<Range<usize>>,
    /// Names and uids.
    names: Vec<Range<usize>>,
    /// Names of a pod's volumes, which matter if one of them is an image.
    volumes: Vec<Range<usize>>,
    image_volumes: bool,
    uid: Option<Range<usize>>,
    name: Option<Range<usize>>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, place: Place<'a>) -> Option<()> {
        match self.next()? {
            b'{' => self.members(place),
            b'[' => self.elements(place),
            b'"' => {
                let text = self.text()?;
                self.found(text, place)
            }
            _ => {
                let rest = self.body.get(self.at..)?;
                self.at += rest
                    .iter()
                    .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))
                    .unwrap_or(rest.len());
                Some(())
            }
        }
    }

    fn members(&mut self, place: Place<'a>) -> Option<()> {
        self.at += 1;
        while self.next()? != b'}' {
            let key = self.text()?;
            let key = self.body.get(key)?;
            // Where members are read, a key with escapes might be another one.
            let is_read = !matches!(place, Place::Ignored);
            if is_read && key.contains(&b'\\') || self.path.len() == LEVELS {
                return None;
            }
            self.expect(b':')?;
            let below = self.member(place, key)?;
            self.path.push(key);
            self.value(below)?;
            self.path.pop();
            if self.next()? == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Some(())
    }

    fn member(&mut self, place: Place<'a>, key: &'a [u8]) -> Option<Place<'a>> {
        let name = str::from_utf8(key).ok()?;
        let kept = |keep: Option<&'a Keep>| keep.map_or(Place::Ignored, Place::Kept);
        Some(match place {
            Place::Review if name == "request" => Place::Request,
            Place::Request if name == "object" => Place::Kept(self.object),
            Place::Request => kept(REQUEST.member(name)),
            Place::Kept(keep) => {
                self.image_volumes |= name == "image" && self.path.iter().any(|member| *member == b"volumes");
                kept(keep.member(name))
            }
            Place::Review | Place::Ignored => Place::Ignored,
        })
    }

    fn elements(&mut self, place: Place<'a>) -> Option<()> {
        if self.path.len() == LEVELS {
            return None;
        }
        self.at += 1;
        let below = match place {
            Place::Kept(keep) => keep.element().map_or(Place::Ignored, Place::Kept),
            Place::Review | Place::Request | Place::Ignored => Place::Ignored,
        };
        self.path.push(b"");
        while self.next()? != b']' {
            self.value(below)?;
            if self.next()? == b',' {
                self.at += 1;
            }
        }
        self.path.pop();
        self.at += 1;
        Some(())
    }

    /// Sorts a text by what it means. `None` for a name that is not plain.
    fn found(&mut self, text: Range<usize>, place: Place<'a>) -> Option<()> {
        if !self.body.get(text.clone())?.iter().copied().all(is_plain) {
            let is_name = matches!(self.path.as_slice(), [b"request", b"uid" | b"name"]);
            return (!is_name).then_some(());
        }
        match self.path.as_slice() {
            // The review's own kind and version are read.
            [_] => {}
            [b"request", b"uid"] => {
                self.uid = Some(text.clone());
                self.names.push(text);
            }
            [b"request", b"name"] => {
                self.name = Some(text.clone());
                self.names.push(text);
            }
            [b"request", b"object", b"metadata", b"name" | b"uid"] => self.names.push(text),
            [b"request", b"object", b"spec", b"volumes", b"", b"name"]
            | [b"request", b"object", b"spec", _, b"", b"volumeMounts", b"", b"name"]
                if self.is_pod =>
            {
                self.volumes.push(text);
            }
            _ if matches!(place, Place::Ignored) => self.ignored.push(text),
            _ => {}
        }
        Some(())
    }

    /// A text without its quotes.
    fn text(&mut self) -> Option<Range<usize>> {
        self.expect(b'"')?;
        let begin = self.at;
        loop {
            match *self.body.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(begin..self.at - 1)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        let found = self.next()? == byte;
        self.at += usize::from(found);
        found.then_some(())
    }

    /// The next byte that is not between values.
    fn next(&mut self) -> Option<u8> {
        while matches!(self.body.get(self.at)?, b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.body.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::sync::LazyLock;

    /// A pod of a `ReplicaSet` as the API server sends it, without what does not matter here.
    fn pod(uid: &str, name: &str, token: &str, image: &str) -> String {
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
            "uid": uid, "kind": {"group": "", "version": "v1", "kind": "Pod"}, "name": name, "namespace": "shop", "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["system:authenticated"]},
            "object": {"kind": "Pod", "apiVersion": "v1",
                "metadata": {"name": name, "generateName": "api-", "uid": uid, "annotations": {"a": "b"},
                    "managedFields": [{"manager": "m", "time": format!("2026-12-01T00:00:{}Z", 10 + name.len() % 50), "fieldsV1": {"k:{\"name\":\"c\"}": {"f:a": {}}}}],
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api", "uid": "r", "controller": true}]},
                "spec": {"volumes": [{"name": token, "projected": {"defaultMode": 420}}], "nodeSelector": {"disk": "ssd"},
                    "containers": [{"name": "c", "image": image, "env": [{"name": "A", "value": "1"}],
                        "volumeMounts": [{"name": token, "mountPath": "/var/run/secrets"}]}]}},
            "oldObject": null, "dryRun": false}})
        .to_string()
    }

    fn pattern(body: &str) -> Pattern {
        let kinds = Kinds::default();
        let review = parse(body.as_bytes(), &kinds).unwrap();
        Pattern::of(body.as_bytes(), &review, &kinds).unwrap()
    }

    /// What a body says without its names.
    fn said(body: &[u8]) -> (Review, Vec<String>) {
        let mut review = parse(body, &Kinds::default()).unwrap();
        let names = vec![std::mem::take(&mut review.uid), std::mem::take(&mut review.name)];
        for path in [
            "/metadata/name",
            "/metadata/uid",
            "/spec/volumes/0/name",
            "/spec/containers/0/volumeMounts/0/name",
        ] {
            let name = review.object.pointer_mut(path);
            if let Some(name) = name.filter(|name| name.is_string()) {
                *name = Value::Null;
            }
        }
        (review, names)
    }

    #[test]
    fn pods_of_one_template_fit() {
        let first = pod("u-1", "api-abcde", "kube-api-access-abcde", "reg.example/a:1");
        let pattern = pattern(&first);
        for (uid, name, token) in [
            ("u-1", "api-abcde", "kube-api-access-abcde"),
            ("u-2", "api-fghij", "kube-api-access-fghij"),
            ("another uid", "", "t"),
            ("u", "api-abcde-and-more", "kube-api-access-abcdefghi"),
        ] {
            let other = pod(uid, name, token, "reg.example/a:1");
            assert_eq!(pattern.fits(other.as_bytes()), Some(Names { uid, name }));
            assert_eq!(said(other.as_bytes()).0, said(first.as_bytes()).0);
        }
    }

    #[test]
    fn what_is_read_must_be_the_same() {
        let first = pod("u-1", "api-abcde", "token", "reg.example/a:1");
        let pattern = pattern(&first);
        for (from, to) in [
            ("reg.example/a:1", "reg.example/a:2"),
            ("reg.example/a:1", "reg.example/a:1\",\"image\":\"evil"),
            (r#""namespace":"shop""#, r#""namespace":"shops""#),
            (r#""CREATE""#, r#""UPDATE""#),
            (r#""a":"b""#, r#""a":"c""#),
            (r#""disk":"ssd""#, r#""disk":"hdd""#),
            ("system:authenticated", "system:masters"),
            ("system:serviceaccount:kube-system", "system:serviceaccount:default"),
            (r#""dryRun":false"#, r#""dryRun":true"#),
            (r#""controller":true"#, r#""controller":false"#),
            (r#""uid":"u-1""#, r#""uid":"""#),
            (r#""uid":"u-1""#, r#""uid":"u\n1""#),
            (r#""uid":"u-1""#, r#""uid":7"#),
            (r#""name":"api-abcde""#, r#""name":"é""#),
            (r#""name":"api-abcde""#, r#""name":["x"]"#),
            (r#""value":"1""#, r#""value":"1","x":{"#),
            (r#""value":"1""#, r#""value":1"#),
        ] {
            assert!(first.contains(from), "{from}");
            let other = first.replace(from, to);
            assert_eq!(pattern.fits(other.as_bytes()), None, "{to}");
        }
        assert_eq!(pattern.fits(&first.as_bytes()[..first.len() - 1]), None);
        assert_eq!(pattern.fits(format!("{first} ").as_bytes()), None);
        assert_eq!(pattern.fits(b""), None);
    }

    #[test]
    fn volumes_keep_their_names_if_one_is_an_image() {
        let with_image = |token: &str| {
            pod("u", "api", token, "reg.example/a:1")
                .replace(r#""volumes":["#, r#""volumes":[{"name":"v","image":{"reference":"b"}},"#)
        };
        let pattern = pattern(&with_image("token"));
        assert!(pattern.fits(with_image("token").as_bytes()).is_some());
        assert_eq!(pattern.fits(with_image("other").as_bytes()), None);
    }

    #[test]
    fn a_review_that_is_read_otherwise_has_no_pattern() {
        let first = pod("u", "api", "token", "a");
        for other in [
            first.replace(r#""kind":"Pod","metadata""#, r#""kind":"Job","metadata""#),
            first.replace(r#""CREATE""#, r#""UPDATE""#),
            first.replace(r#""disk":"#, r#""d\u0069sk":"#),
            // The last one counts.
            first.replace(r#""uid":"u""#, r#""uid":"u","uid":"\u0075""#),
            first.replace(r#""name":"api""#, r#""name":"\u0061pi""#),
            first.replace(r#"{"f:a":{}}"#, &("[".repeat(60) + &"]".repeat(60))),
        ] {
            assert_ne!(other, first);
            let review = parse(other.as_bytes(), &Kinds::default()).unwrap();
            assert!(Pattern::of(other.as_bytes(), &review, &Kinds::default()).is_none(), "{other}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        /// Any body that fits is parsed like the first one, except for the names that were found.
        #[test]
        fn what_fits_is_read_the_same(
            edits in prop::collection::vec((0_usize..2000, 0_usize..4, prop::sample::select(b"\"\\{}[],:a0~ \n\x7f\xc3".to_vec())), 1..4),
        ) {
            let first = pod("u-1", "api-abcde", "token", "reg.example/a:1");
            let mut other = first.clone().into_bytes();
            for (at, cut, byte) in edits {
                let at = at % other.len();
                other.splice(at..(at + cut).min(other.len()), [byte]);
            }
            static PATTERN: LazyLock<Pattern> = LazyLock::new(|| pattern(&pod("u-1", "api-abcde", "token", "reg.example/a:1")));
            if let Some(names) = PATTERN.fits(&other) {
                let (review, theirs) = said(&other);
                prop_assert_eq!(review, said(first.as_bytes()).0);
                prop_assert_eq!(theirs, vec![names.uid.to_owned(), names.name.to_owned()]);
            }
        }
    }
}

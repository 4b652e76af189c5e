//! A tag of one of OpenShift's image streams.

use super::json;
use serde_json::Value;
use std::fmt;

/// A tag of an image stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamTag {
    /// Its namespace; `None`: that of the object.
    pub namespace: Option<String>,
    /// The stream.
    pub name: String,
    /// Its tag.
    pub tag: String,
}

/// `ImageStreamTag shop/app:latest`
impl fmt::Display for StreamTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = self.namespace.iter().map(|namespace| format!("{namespace}/"));
        write!(
            f,
            "ImageStreamTag {}{}:{}",
            namespace.collect::<String>(),
            self.name,
            self.tag
        )
    }
}

impl StreamTag {
    /// From `app:latest` or `app`; `None` if the text names another image.
    pub fn local(image: &str) -> Option<Self> {
        let (name, tag) = image.split_once(':').unwrap_or((image, "latest"));
        let is_one = !name.is_empty() && !tag.is_empty() && !image.contains(['/', '@']) && !tag.contains(':');
        is_one.then(|| Self {
            namespace: None,
            name: name.to_owned(),
            tag: tag.to_owned(),
        })
    }

    /// From a reference to an object: `from` of a trigger.
    pub(super) fn of(from: &Value) -> Option<Self> {
        let is_tag = json::text(from, "kind") == Some("ImageStreamTag");
        let local = Self::local(json::text(from, "name")?).filter(|_| is_tag)?;
        Some(Self {
            namespace: json::non_empty(from, "namespace").map(str::to_owned),
            ..local
        })
    }
}

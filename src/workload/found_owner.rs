//! An owner that was read.

use super::{Kinds, OwnerReference, Workload, json};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// An owner, reduced to what it proves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owner {
    /// Its UID.
    pub uid: String,
    /// The images of its pods, as written.
    pub images: BTreeSet<String>,
    /// Its own owner.
    pub owner: Option<OwnerReference>,
}

impl Owner {
    /// What an object proves as an owner.
    pub fn of(workload: &Workload) -> Self {
        let uses = workload.templates.iter().flat_map(|template| &template.uses);
        Self {
            uid: workload.uid.clone(),
            images: uses.map(|image| image.image.clone()).collect(),
            owner: workload.owner.clone(),
        }
    }

    /// Reads an object of a built-in kind. One that is being deleted makes no pods any more, and has no images.
    pub fn read(object: &Value) -> Self {
        static BUILT_IN: LazyLock<Kinds> = LazyLock::new(Kinds::default);
        match super::extract(object, None, "", &BUILT_IN) {
            Ok(workload) => Self::of(&workload),
            Err(_) => Self {
                uid: json::string(object.get("metadata").unwrap_or(&Value::Null), "uid"),
                ..Self::default()
            },
        }
    }

    /// The memory it takes, in bytes, roughly.
    pub fn weight(&self) -> usize {
        self.uid.len() + self.images.iter().map(|image| 40 + image.len()).sum::<usize>() + 200
    }
}

//! The images that an object uses, what its pods need, and where they could be scheduled. Pure: it reads untyped JSON and cannot
//! fail.

pub mod candidates;
mod diff;
mod extract;
mod found_owner;
mod json;
mod keep;
pub mod kinds;
pub mod node;
pub mod owner;
pub mod parameter;
mod path;
pub mod pod;
mod route;
mod running;
mod runtime_class;
pub mod selector;
mod stream_tag;
pub mod streams;

pub use extract::{Skip, extract, paths_without_images};
pub use found_owner::Owner;
pub use keep::{Keep, TOO_MUCH};
pub use kinds::{Configured, Kinds, Scope, is_kind};
pub use node::{Listed, Node};
pub use owner::{OwnerKind, OwnerReference};
pub use path::FieldPath;
pub use pod::{ImageUse, Injection, Later, Nature, ObjectId, PodNeeds, PullPolicy, Role, Template, Workload};
pub use route::Route;
pub use runtime_class::RuntimeClass;
pub use stream_tag::StreamTag;

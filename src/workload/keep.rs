//! Which parts of an object are read, and reading JSON to those parts alone: everything else in an object (environments, managed fields,
//! megabytes of text) is skipped while reading and takes no memory.

use crate::limits;
use crate::workload::Injection;
use crate::workload::kinds::site::{Shape, Site, When};
use crate::workload::route::{Route, Step};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

/// A map with one member, without its texts, in bytes.
const MAP: usize = 640;
/// Another member, or an item of a list.
const PLACE: usize = 64;

/// How the error begins if the parts that are read take more than [`limits::BODY_MEMORY`].
pub const TOO_MUCH: &str = "too many values";

/// What is read of every object, below its top: identity, exemptions, owner, the triggers of a `DeploymentConfig`; and of the object before
/// an UPDATE, what its pods ran.
const ALWAYS: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.generateName",
    "metadata.namespace",
    "metadata.uid",
    "metadata.deletionTimestamp",
    "metadata.generation",
    "metadata.ownerReferences[*].apiVersion",
    "metadata.ownerReferences[*].kind",
    "metadata.ownerReferences[*].name",
    "metadata.ownerReferences[*].uid",
    "metadata.ownerReferences[*].controller",
    "spec.triggers[*].imageChangeParams.containerNames[*]",
    "spec.triggers[*].imageChangeParams.from.kind",
    "spec.triggers[*].imageChangeParams.from.namespace",
    "status.observedGeneration",
    "status.replicas",
    "status.updatedReplicas",
    "status.readyReplicas",
    "status.currentNumberScheduled",
    "status.updatedNumberScheduled",
    "status.numberReady",
    "status.succeeded",
    "status.ready",
    "status.lastSuccessfulTime",
    "status.initContainerStatuses[*].imageID",
    "status.initContainerStatuses[*].state.running",
    "status.initContainerStatuses[*].state.terminated",
    "status.initContainerStatuses[*].state.waiting.reason",
    "status.containerStatuses[*].imageID",
    "status.containerStatuses[*].state.running",
    "status.containerStatuses[*].state.terminated",
    "status.containerStatuses[*].state.waiting.reason",
    "status.ephemeralContainerStatuses[*].imageID",
    "status.ephemeralContainerStatuses[*].state.running",
    "status.ephemeralContainerStatuses[*].state.terminated",
    "status.ephemeralContainerStatuses[*].state.waiting.reason",
];

/// What a pull depends on besides the image, wherever it may stand.
const NEEDS: &[&str] = &[
    "imagePullSecrets[*].name",
    "serviceAccountName",
    "serviceAccount",
    "nodeName",
    "os.name",
    "hostNetwork",
    "runtimeClassName",
    "schedulingGates[*].name",
    "podSpecPatch",
];
/// The same, with all that is below.
const NEEDS_WHOLE: &[&str] = &[
    "nodeSelector",
    "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
    "tolerations",
];

/// The images of a `PodSpec`. Names and pull policies are kept at every step.
const POD_SPEC: &[&str] = &[
    "initContainers[*].image",
    "initContainers[*].volumeMounts[*].name",
    "containers[*].image",
    "containers[*].volumeMounts[*].name",
    "ephemeralContainers[*].image",
    "ephemeralContainers[*].volumeMounts[*].name",
    "volumes[*].image.reference",
];

/// Read at every place on the way to another.
const AT_EVERY_STEP: [&str; 4] = ["name", "groupName", "imagePullPolicy", "pullPolicy"];

/// Which parts of a value are read. Texts, numbers and booleans always are. Of a list or an object, only what is named here is read; if
/// nothing is, an empty one remains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// Everything.
    whole: bool,
    fields: BTreeMap<String, Keep>,
    /// For the elements of a list.
    elements: Option<Box<Keep>>,
    /// For the members of an object, whatever their names.
    values: Option<Box<Keep>>,
    /// Also which volumes are mounted, anywhere below.
    mounts: bool,
    /// Nothing else: not even that a value exists.
    mounts_only: bool,
}

/// For places below which only the mounted volumes are read.
static MOUNTS_ONLY: LazyLock<Keep> = LazyLock::new(|| Keep {
    mounts: true,
    mounts_only: true,
    ..Keep::paths(&["volumeMounts[*].name"])
});

impl Keep {
    /// The places of these routes, as [`Route`] writes them.
    pub fn paths(paths: &[&str]) -> Self {
        let mut keep = Self::default();
        keep.add(paths);
        keep
    }

    /// What is read of an object of an unknown kind.
    pub(super) fn unknown() -> Self {
        Self::paths(ALWAYS)
    }

    /// What is read of an object with pods at these sites.
    pub(super) fn of(sites: &[Site]) -> Self {
        let mut keep = Self::paths(ALWAYS);
        keep.at(&Route::of("metadata.annotations").unwrap_or_default()).whole = true;
        for site in sites {
            if matches!(site.shape, Shape::PodSpec) {
                keep.injection(&site.at);
            }
            let place = keep.at(&site.at);
            place.needs();
            match &site.shape {
                Shape::PodSpec => place.add(POD_SPEC),
                Shape::Objects => place.whole = true,
                Shape::Images(images) => images.iter().for_each(|(route, _)| _ = place.at(route)),
            }
            for route in site.secrets.iter().chain(&site.account) {
                place.at(route);
            }
            for route in site.also.iter().chain(&site.unless) {
                keep.at(route).needs();
            }
            for doubt in &site.doubts {
                match doubt.when {
                    When::Always | When::NoAccount => {}
                    When::FieldSet(field) | When::FieldUnset(field) => {
                        for route in std::iter::once(&site.at).chain(&site.also) {
                            keep.at(route).add(&[field]);
                        }
                    }
                }
            }
            // Volumes that are defined apart from containers are mounted by any of them.
            let apart = |route: &Route| route.to_string().ends_with("image.reference");
            if matches!(&site.shape, Shape::Images(images) if images.iter().any(|(route, _)| apart(route))) {
                keep.mounts = true;
            }
        }
        keep.settle(keep.mounts);
        keep
    }

    /// What the metadata beside a pod spec says about Istio's injector.
    fn injection(&mut self, pod_spec: &Route) {
        let Some(beside) = pod_spec.parent() else { return };
        for map in ["metadata.labels", "metadata.annotations"] {
            let place = self.at(&beside.then(&Route::of(map).unwrap_or_default()));
            for key in Injection::KEYS {
                place.fields.entry(key.to_owned()).or_default();
            }
        }
    }

    fn needs(&mut self) {
        self.add(NEEDS);
        for path in NEEDS_WHOLE {
            self.at(&Route::of(path).unwrap_or_default()).whole = true;
        }
    }

    fn add(&mut self, paths: &[&str]) {
        for path in paths {
            self.at(&Route::of(path).unwrap_or_default());
        }
    }

    /// The places of a route, and on the way there the names and pull policies that apply to what is below.
    fn at(&mut self, route: &Route) -> &mut Self {
        let mut place = self;
        place.named();
        for step in route.steps() {
            place = match step {
                Step::Field(field) => place.fields.entry(field.clone()).or_default(),
                Step::Elements => place.elements.get_or_insert_default(),
                Step::Values => place.values.get_or_insert_default(),
            };
            place.named();
        }
        place
    }

    fn named(&mut self) {
        for field in AT_EVERY_STEP {
            self.fields.entry(field.to_owned()).or_default();
        }
    }

    /// Adds to each named member what is read of every member, and passes `mounts` on to all levels.
    fn settle(&mut self, mounts: bool) {
        self.mounts = mounts;
        if let Some(values) = &self.values {
            for field in self.fields.values_mut() {
                field.merge(values);
            }
        }
        let below = self.fields.values_mut();
        let below = below.chain(self.elements.as_deref_mut()).chain(self.values.as_deref_mut());
        below.for_each(|keep| keep.settle(mounts));
    }

    fn merge(&mut self, other: &Self) {
        self.whole |= other.whole;
        for (name, keep) in &other.fields {
            self.fields.entry(name.clone()).or_default().merge(keep);
        }
        for (own, other) in [(&mut self.elements, &other.elements), (&mut self.values, &other.values)] {
            if let Some(other) = other {
                own.get_or_insert_default().merge(other);
            }
        }
    }

    /// What is read of a member of an object; `None`: nothing.
    pub fn member(&self, name: &str) -> Option<&Self> {
        if self.whole {
            return Some(self);
        }
        let known = self.fields.get(name).or(self.values.as_deref());
        let mounts = || self.mounts.then(|| MOUNTS_ONLY.fields.get(name).unwrap_or(&MOUNTS_ONLY));
        known.or_else(mounts)
    }

    /// What is read of the elements of a list; `None`: nothing, not even how many there are.
    pub fn element(&self) -> Option<&Self> {
        if self.whole {
            return Some(self);
        }
        self.elements.as_deref().or_else(|| self.mounts.then(|| &*MOUNTS_ONLY))
    }

    /// Reads these parts of a value. Levels below the 100th are skipped; the error begins with [`TOO_MUCH`] if the parts take more memory than
    /// allowed.
    pub fn read<'de, D: Deserializer<'de>>(&self, deserializer: D) -> Result<Value, D::Error> {
        let all = Level {
            keep: self,
            left: limits::BODY_LEVELS,
            memory: &Cell::new(limits::BODY_MEMORY),
        };
        all.deserialize(deserializer)
    }
}

impl<'de> DeserializeSeed<'de> for &Keep {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.read(deserializer)
    }
}

/// What is read with this many levels left.
#[derive(Clone, Copy)]
struct Level<'a> {
    keep: &'a Keep,
    left: usize,
    /// The budget left for all levels together.
    memory: &'a Cell<usize>,
}

impl<'a> Level<'a> {
    fn below(self, keep: &'a Keep) -> Self {
        Self {
            keep,
            left: self.left.saturating_sub(1),
            ..self
        }
    }

    /// Takes this many bytes from the budget.
    fn take<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.memory.get().checked_sub(bytes).ok_or_else(|| E::custom(TOO_MUCH))?;
        self.memory.set(left);
        Ok(())
    }

    fn scalar(self, value: impl Into<Value>) -> Value {
        if self.keep.mounts_only { Value::Null } else { value.into() }
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.left == 0 {
            // Passed over without recursion, whatever it contains.
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|IgnoredAny| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(self.scalar(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(self.scalar(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(self.scalar(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(self.scalar(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        if self.keep.mounts_only {
            return Ok(Value::Null);
        }
        self.take(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Some(keep) = self.keep.element() else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Array(Vec::new()));
        };
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(self.below(keep))? {
            // Otherwise every element is kept, because its index identifies it.
            if !self.keep.mounts_only || !item.is_null() {
                self.take(PLACE)?;
                read.push(item);
            }
        }
        let nothing = self.keep.mounts_only && read.is_empty();
        Ok(if nothing { Value::Null } else { Value::Array(read) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(member) = members.next_key_seed(Member(self.keep))? {
            let Some((name, keep)) = member else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = members.next_value_seed(self.below(keep))?;
            if !keep.mounts_only || !value.is_null() {
                self.take(name.len() + if read.is_empty() { MAP } else { PLACE })?;
                read.insert(name, value);
            }
        }
        let nothing = self.keep.mounts_only && read.is_empty();
        Ok(if nothing { Value::Null } else { Value::Object(read) })
    }
}

/// Reads the name of a member, if the member is read.
struct Member<'a>(&'a Keep);

impl<'de, 'a> DeserializeSeed<'de> for Member<'a> {
    type Value = Option<(String, &'a Keep)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Member<'a> {
    type Value = Option<(String, &'a Keep)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.member(name).map(|keep| (name.to_owned(), keep)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Kinds;
    use serde_json::json;

    fn whole() -> Keep {
        Keep {
            whole: true,
            ..Keep::default()
        }
    }

    fn read(keep: &Keep, text: &str) -> Result<Value, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = keep.read(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }

    #[test]
    fn what_is_read_whole_is_read_as_it_is() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,"x\n\u00e9",{}],"b":{"c":[[]]},"a2":"","b":1}"#;
        assert_eq!(read(&whole(), text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        for broken in ["", "[1,", r#"{"a"}"#, "[1] 2", r#"{"a":"#, "[nul]", "1e999"] {
            let ours = read(&whole(), broken).is_err();
            assert_eq!(ours, serde_json::from_str::<Value>(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn of_the_rest_only_its_kind_is_read() {
        let keep = Keep::paths(&["spec.containers[*].image", "map.*.x", "list[*]"]);
        let text = r#"{"spec":{"containers":[{"image":"a","env":[{"name":"b"}],"name":"c"},5,[1]],"other":[1]},
            "map":{"one":{"x":1,"y":2}},"list":[{"a":1},[2],"z"],"kind":{"a":1}}"#;
        assert_eq!(
            read(&keep, text).unwrap(),
            json!({"spec": {"containers": [{"image": "a", "name": "c"}, 5, []]}, "map": {"one": {"x": 1}}, "list": [{}, [], "z"]})
        );
    }

    #[test]
    fn what_would_take_too_much_memory_is_an_error() {
        let many = |item: &str, times: usize| format!("[{}{item}]", format!("{item},").repeat(times - 1));
        for (item, fit, do_not) in [
            ("0", 500_000, 1_000_000),
            (r#"{"":{}}"#, 60_000, 100_000),
            ("[]", 500_000, 1_000_000),
        ] {
            assert!(read(&whole(), &many(item, fit)).is_ok(), "{item}");
            let error = read(&whole(), &many(item, do_not)).unwrap_err();
            assert!(error.to_string().starts_with(TOO_MUCH), "{item}: {error}");
            // What is not read takes nothing.
            let pod = format!(r#"{{"kind":"Pod","spec":{{"readinessGates":{}}}}}"#, many(item, do_not));
            let keep = Kinds::default();
            let read = read(keep.keep("v1", "Pod"), &pod).unwrap();
            assert_eq!(read, json!({"kind": "Pod", "spec": {}}));
        }
    }

    #[test]
    fn what_lies_too_deep_is_passed_over() {
        for depth in [99, 100, 101, 127, 128, 500_000] {
            let text = format!(r#"{{"deep":{}1{},"after":2}}"#, "[".repeat(depth), "]".repeat(depth));
            let value = read(&whole(), &text).unwrap();
            assert_eq!(value["after"], 2, "{depth}");
            let mut at = &value["deep"];
            let mut levels = 0;
            while let Some(next) = at.get(0) {
                (at, levels) = (next, levels + 1);
            }
            assert_eq!(levels, depth.min(limits::BODY_LEVELS - 1), "{depth}");
        }
        assert!(read(&whole(), &"[".repeat(200)).is_err());
    }

    #[test]
    fn mounts_are_seen_wherever_they_are() {
        let workflow = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "spec": {
            "volumes": [{"name": "v", "image": {"reference": "a"}}],
            "other": [1, "x", {"far": [{"volumeMounts": [{"name": "v", "mountPath": "/"}]}]}, {"none": {}}]}});
        let kinds = Kinds::default();
        let read = kinds.keep("argoproj.io/v1alpha1", "Workflow").read(&workflow).unwrap();
        assert_eq!(read["spec"]["other"], json!([{"far": [{"volumeMounts": [{"name": "v"}]}]}]));
    }
}

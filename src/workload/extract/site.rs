//! From an object and the sites of its kind to templates.

use crate::workload::candidates::Scheduling;
use crate::workload::kinds::{About, Kind, Kinds, Registration, Shape, Site, When};
use crate::workload::pod::{self, Injection, Nature, Parameters, PodKind, PodNeeds, PullPolicy, Role};
use crate::workload::route::Place;
use crate::workload::streams;
use crate::workload::{FieldPath, ImageUse, Template, json, parameter};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// The most templates in one object, and the most that they may need together (secrets, selectors, tolerations): every template is
/// checked against every node. The rest is read as one template that is never certain to fail.
const MOST: usize = 128;
const MOST_NEEDED: usize = 10_000;

/// Fields with something that a pull depends on besides the image.
const NEEDS: [&str; 12] = [
    "imagePullSecrets",
    "serviceAccountName",
    "serviceAccount",
    "nodeName",
    "nodeSelector",
    "affinity",
    "tolerations",
    "os",
    "hostNetwork",
    "runtimeClassName",
    "schedulingGates",
    "podSpecPatch",
];

/// The templates of an object. None if a kind's template is missing (a `ReplicationController`'s may be null).
pub(super) fn templates(object: &Value, kind: &Kind, kinds: &Kinds) -> Vec<Template> {
    let top = Place::top(object);
    let mut reading = Reading {
        kind,
        kinds,
        templates: Vec::new(),
        needed: 0,
        beyond: None,
    };
    for (at, site) in kind.sites.iter().enumerate() {
        let elsewhere = site.unless.as_ref().is_some_and(|route| !route.find(&top).is_empty());
        if !elsewhere {
            reading.site(at, site, &top);
        }
    }
    let mut templates = reading.templates;
    templates.extend(reading.beyond);
    find_unmounted(&mut templates, object);
    if kind.pod == PodKind::Template {
        streams::note(&mut templates, object);
    }
    templates.retain(|template| kind.registration == Registration::BuiltIn || !template.uses.is_empty());
    templates
}

/// Image volumes defined apart from their pods' containers (in an Argo Workflow): mounted if anything in the object mounts a volume
/// of that name.
fn find_unmounted(templates: &mut [Template], object: &Value) {
    let mut apart = templates
        .iter_mut()
        .flat_map(|template| &mut template.uses)
        .filter(|image| image.role == Role::Volume && image.path.as_str().ends_with(".image.reference"))
        .peekable();
    if apart.peek().is_none() {
        return;
    }
    let mut mounted = HashSet::new();
    collect_mounts(object, &mut mounted);
    for image in apart.filter(|image| !mounted.contains(image.name.as_str())) {
        image.role = Role::UnmountedVolume;
    }
}

fn collect_mounts<'a>(value: &'a Value, mounted: &mut HashSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            let mounts = json::list(value, "volumeMounts").iter();
            mounted.extend(mounts.filter_map(|mount| json::text(mount, "name")));
            fields.values().for_each(|field| collect_mounts(field, mounted));
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect_mounts(element, mounted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

struct Reading<'a> {
    kind: &'a Kind,
    kinds: &'a Kinds,
    templates: Vec<Template>,
    needed: usize,
    beyond: Option<Template>,
}

impl Reading<'_> {
    fn site(&mut self, number: usize, site: &Site, top: &Place<'_>) {
        let also: Vec<Place<'_>> = site.also.iter().flat_map(|route| route.find(top)).collect();
        // Places that set nothing themselves share one template.
        let mut shared: Option<usize> = None;
        for place in site.at.find(top).iter().filter(|place| place.value.is_object()) {
            let place = place.begin();
            match &site.shape {
                Shape::PodSpec => {
                    let scheduling = Scheduling::read(place.value, site.spread);
                    let mut template = pod::read(self.kind.pod, place.value, &place.path, scheduling);
                    let metadata = place.above.and_then(|above| above.get("metadata"));
                    template.injection = metadata.map(Injection::read).unwrap_or_default();
                    if self.kind.registration != Registration::BuiltIn {
                        // The controller of a custom kind fills in what is empty.
                        template.uses.retain(|image_use| !image_use.image.trim().is_empty());
                        template.nature = nature(format!("{number} {}", place.key), site, &place, &also);
                        settle_account(site, &mut template);
                    }
                    self.add(template);
                }
                Shape::Objects => self.object(number, site, &place),
                Shape::Images(images) => {
                    let uses: Vec<ImageUse> = images
                        .iter()
                        .flat_map(|(route, role)| route.find(&place).into_iter().map(|found| (*role, found)))
                        .filter_map(|(role, found)| read_image(role, &found, &also))
                        .collect();
                    if uses.is_empty() {
                        continue;
                    }
                    let alone = says_something(site, &place);
                    if let Some(template) = shared.and_then(|at| self.templates.get_mut(at)).filter(|_| !alone) {
                        template.uses.extend(uses);
                        continue;
                    }
                    if self.is_full() {
                        self.beyond(self.kind.pod, uses);
                        continue;
                    }
                    let key = if alone {
                        format!("{number} {}", place.key)
                    } else {
                        number.to_string()
                    };
                    let mut template = Template {
                        kind: self.kind.pod,
                        needs: needs(site, &place, &also),
                        uses,
                        nature: nature(key, site, &place, &also),
                        injection: Injection::default(),
                        ran: Vec::new(),
                    };
                    settle_account(site, &mut template);
                    self.add(template);
                    if !alone {
                        shared = Some(self.templates.len() - 1);
                    }
                }
            }
        }
    }

    /// An object within another one, by the sites of its own kind. Objects inside that one are not read: they are judged when they are created.
    fn object(&mut self, number: usize, site: &Site, place: &Place<'_>) {
        const NUMBERS: usize = 1000;
        let (api_version, kind) = (json::string(place.value, "apiVersion"), json::string(place.value, "kind"));
        let Some(inner) = self.kinds.find(&api_version, &kind) else {
            return;
        };
        let top = Place {
            name: None,
            policy: None,
            above: None,
            ..place.clone()
        };
        let before = self.templates.len();
        for (at, of_kind) in inner.sites.iter().enumerate() {
            let elsewhere = of_kind.unless.as_ref().is_some_and(|route| !route.find(&top).is_empty());
            if !elsewhere && !matches!(of_kind.shape, Shape::Objects) {
                self.site((number + 1) * NUMBERS + at, of_kind, &top);
            }
        }
        let outer = nature(String::new(), site, place, &[]);
        for template in self.templates.iter_mut().skip(before) {
            template.nature.other_image = template.nature.other_image.or(outer.other_image);
            template.nature.other_credentials = template.nature.other_credentials.or(outer.other_credentials);
        }
    }

    fn is_full(&self) -> bool {
        self.templates.len() >= MOST || self.needed > MOST_NEEDED
    }

    fn add(&mut self, mut template: Template) {
        if self.is_full() {
            self.beyond(template.kind, template.uses);
            return;
        }
        if template.nature.parameters == Parameters::FilledIn {
            leave_out_parameters(&mut template);
        }
        self.needed += template.needs.pull_secrets.len() + template.needs.scheduling.weight();
        self.templates.push(template);
    }

    fn beyond(&mut self, kind: PodKind, uses: Vec<ImageUse>) {
        let why = "the object has too many templates to check each one";
        let beyond = self.beyond.get_or_insert_with(|| Template {
            kind,
            needs: PodNeeds {
                service_account: "default".to_owned(),
                ..PodNeeds::default()
            },
            uses: Vec::new(),
            nature: Nature {
                key: "beyond".to_owned(),
                parameters: Parameters::FilledIn,
                other_image: Some(why),
                other_credentials: Some(why),
            },
            injection: Injection::default(),
            ran: Vec::new(),
        });
        beyond.uses.extend(uses);
    }
}

/// A bare image name. An empty one is for the controller to choose.
fn read_image(role: Role, place: &Place<'_>, also: &[Place<'_>]) -> Option<ImageUse> {
    let image = place.value.as_str().filter(|image| !image.is_empty())?;
    let policy = place
        .policy
        .or_else(|| also.iter().find_map(|place| json::non_empty(place.value, "imagePullPolicy")));
    Some(ImageUse {
        path: place.path.clone(),
        name: place.name.unwrap_or_default().to_owned(),
        role,
        image: image.to_owned(),
        pull_policy: PullPolicy::read(policy, image),
        unchanged: false,
        stream: None,
        later: None,
    })
}

/// Whether a place has needs of its own.
fn says_something(site: &Site, place: &Place<'_>) -> bool {
    let says = |field: &str| place.value.get(field).is_some_and(|value| !value.is_null());
    NEEDS.iter().any(|field| says(field)) || !site.secrets.is_empty() || site.account.is_some()
}

/// The place's own fields, or else those of the other places, field by field.
fn needs(site: &Site, place: &Place<'_>, also: &[Place<'_>]) -> PodNeeds {
    let mut spec = Map::new();
    for field in NEEDS {
        let said = std::iter::once(place)
            .chain(also)
            .filter_map(|place| place.value.get(field))
            .find(|value| !value.is_null());
        if let Some(said) = said {
            spec.insert(field.to_owned(), said.clone());
        }
    }
    let spec = Value::Object(spec);
    let scheduling = Scheduling::read(&spec, site.spread);
    let mut needs = pod::read(PodKind::Template, &spec, &FieldPath::root(), scheduling).needs;
    // Spark lists bare names.
    for (name, secret) in needs.pull_secrets.iter_mut().zip(json::list(&spec, "imagePullSecrets")) {
        if let Some(text) = secret.as_str() {
            text.clone_into(name);
        }
    }
    let single = site.secrets.iter().flat_map(|route| route.find(place));
    let mut seen: HashSet<&str> = HashSet::new();
    for secret in single.filter_map(|found| found.value.as_str()) {
        if !secret.is_empty() && seen.insert(secret) {
            needs.pull_secrets.push(secret.to_owned());
        }
    }
    // What the place itself says comes first: a virtual machine's own account before that of its volumes.
    let account = site.account.iter().flat_map(|route| route.find(place));
    if let Some(account) = account
        .filter_map(|found| found.value.as_str())
        .find(|account| !account.is_empty())
        .filter(|_| spec.get("serviceAccountName").is_none())
    {
        account.clone_into(&mut needs.service_account);
    }
    needs
}

fn nature(key: String, site: &Site, place: &Place<'_>, also: &[Place<'_>]) -> Nature {
    let said = |field: &str| {
        std::iter::once(place)
            .chain(also)
            .any(|place| place.value.get(field).is_some_and(|value| !value.is_null()))
    };
    let doubt = |about: About| {
        let applies = |when: When| match when {
            // An account is missing until it is known what the pods have: see `settle_account`.
            When::Always | When::NoAccount => true,
            When::FieldSet(field) => said(field),
            When::FieldUnset(field) => !said(field),
        };
        site.doubts
            .iter()
            .find(|doubt| doubt.about == about && applies(doubt.when))
            .map(|doubt| doubt.why)
    };
    Nature {
        key,
        parameters: Parameters::FilledIn,
        other_image: doubt(About::Image),
        other_credentials: doubt(About::Credentials),
    }
}

/// A controller gives a service account only to pods for which the object names none, and it matters only where they have no pull secrets.
fn settle_account(site: &Site, template: &mut Template) {
    let given = |why: &str| {
        site.doubts
            .iter()
            .any(|doubt| doubt.when == When::NoAccount && doubt.why == why)
    };
    let has_own = !template.needs.pull_secrets.is_empty() || template.needs.service_account != "default";
    if has_own && template.nature.other_credentials.is_some_and(given) {
        template.nature.other_credentials = None;
    }
}

/// Secrets, accounts and nodes named by a parameter are unknown.
fn leave_out_parameters(template: &mut Template) {
    let needs = &mut template.needs;
    let before = needs.pull_secrets.len();
    needs.pull_secrets.retain(|name| parameter::find(name).is_none());
    let account = parameter::find(&needs.service_account).is_some();
    if account {
        "default".clone_into(&mut needs.service_account);
    }
    if account || needs.pull_secrets.len() < before {
        let why = "the pull secrets or the service account contain a parameter that is filled in later";
        template.nature.other_credentials.get_or_insert(why);
    }
    needs.scheduling.leave_out_parameters();
}

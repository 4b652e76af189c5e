//! What an OpenShift cluster configures about registries for its nodes: mirror sets and `images.config.openshift.io/cluster`.

use super::convert;
use super::inventory::groups;
use super::pages::{Pages, get};
use super::watch::SecretReading;
use crate::runtime::crio::openshift::{CONFIG_NAMESPACE, Objects, PULL_SECRET};
use kube::Client;
use serde_json::Value;

/// Objects per page.
const PAGE: u32 = 100;
/// Only OpenShift serves this API group.
const GROUP: &str = "config.openshift.io";
/// Version, plural and kind of what is listed.
const LISTS: [(&str, &str, &str); 3] = [
    ("config.openshift.io/v1", "imagedigestmirrorsets", "ImageDigestMirrorSet"),
    ("config.openshift.io/v1", "imagetagmirrorsets", "ImageTagMirrorSet"),
    (
        "operator.openshift.io/v1alpha1",
        "imagecontentsourcepolicies",
        "ImageContentSourcePolicy",
    ),
];

/// Reads all of them. `None` if the cluster is not OpenShift. The error is a clause.
pub(super) async fn read(client: &Client, access: SecretReading) -> Result<Option<Objects>, String> {
    let known = groups(client).await.map_err(|broken| broken.to_string())?;
    if !known.contains_key(GROUP) {
        return Ok(None);
    }
    let mut objects = Objects::default();
    for (version, plural, kind) in LISTS {
        let mut pages = Pages::of(format!("/apis/{version}/{plural}"), PAGE);
        loop {
            match pages.next(client).await {
                Ok(Some(page)) => page.into_iter().for_each(|object| {
                    objects.add(&typed(object, version, kind));
                }),
                Ok(None) => break,
                // Older clusters lack one of the kinds, newer ones another.
                Err(broken) if broken.code() == Some(404) => break,
                Err(broken) => return Err(format!("{plural} cannot be listed: {broken}")),
            }
        }
    }
    match get(client, "/apis/config.openshift.io/v1/images/cluster").await {
        Ok(image) => {
            objects.add(&typed(image, "config.openshift.io/v1", "Image"));
        }
        Err(broken) if broken.code() == Some(404) => {}
        Err(broken) => return Err(format!("images.config.openshift.io/cluster cannot be read: {broken}")),
    }
    let config_map = objects
        .trusted_ca()
        .map(|name| format!("/api/v1/namespaces/{CONFIG_NAMESPACE}/configmaps/{name}"));
    if let Some(path) = config_map.filter(|path| convert::is_name(path.rsplit('/').next().unwrap_or_default())) {
        match get(client, &path).await {
            Ok(map) => objects.add_core(&typed(map, "v1", "ConfigMap")),
            // Then nobody knows which certificates the nodes trust, and nothing is denied because of them.
            Err(broken) => {
                tracing::debug!(%broken, "the additional authorities of images.config.openshift.io/cluster cannot be read");
            }
        }
    }
    if access == SecretReading::None {
        objects.hide_pull_secret();
        return Ok(Some(objects));
    }
    let path = format!("/api/v1/namespaces/{CONFIG_NAMESPACE}/secrets/{PULL_SECRET}");
    match get(client, &path).await {
        Ok(secret) => objects.add_core(&typed(secret, "v1", "Secret")),
        Err(broken) if broken.code() == Some(404) => {}
        // Whoever installs pullgate decides whether to grant this.
        Err(_) => objects.hide_pull_secret(),
    }
    Ok(Some(objects))
}

/// Whether the cluster has image streams.
pub(super) async fn has_image_streams(client: &Client) -> bool {
    groups(client)
        .await
        .is_ok_and(|known| known.contains_key("image.openshift.io"))
}

/// Items of lists may omit their type.
fn typed(mut object: Value, version: &str, kind: &str) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), version.into());
        fields.insert("kind".to_owned(), kind.into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::Fake;
    use crate::credentials::Hidden;
    use crate::runtime::crio::openshift::GlobalPullSecret;
    use serde_json::json;

    #[tokio::test]
    async fn what_openshift_has() {
        let fake = Fake::new();
        let client = fake.client();
        assert_eq!(read(&client, SecretReading::Get).await, Ok(None), "no OpenShift");
        fake.serve(
            "config.openshift.io/v1",
            "imagedigestmirrorsets",
            "ImageDigestMirrorSet",
            false,
        );
        fake.serve("config.openshift.io/v1", "images", "Image", false);
        fake.put(
            "imagedigestmirrorsets.config.openshift.io",
            json!({"metadata": {"name": "a"}, "spec": {"imageDigestMirrors": [{"source": "a.example", "mirrors": ["m.example"]}]}}),
        );
        fake.put(
            "images.config.openshift.io",
            json!({"metadata": {"name": "cluster"}, "spec": {"registrySources": {"blockedRegistries": ["b.example"]},
                   "additionalTrustedCA": {"name": "authorities"}}}),
        );
        fake.put(
            "configmaps",
            json!({"metadata": {"name": "authorities", "namespace": "openshift-config"}, "data": {"r.example..5000": "PEM"}}),
        );
        fake.put(
            "secrets",
            json!({"metadata": {"name": "pull-secret", "namespace": "openshift-config"}, "data": {".dockerconfigjson": "e30="}}),
        );
        let config = read(&client, SecretReading::Get)
            .await
            .unwrap()
            .unwrap()
            .operator_config()
            .unwrap();
        assert_eq!(config.pull_secret, GlobalPullSecret::Known(Hidden::new("{}")));
        let certificates: Vec<_> = config.certificates.iter().collect();
        assert_eq!(certificates, [(&"r.example:5000".to_owned(), &"PEM".to_owned())]);
        fake.refuse("get secrets");
        let refused = read(&client, SecretReading::Get)
            .await
            .unwrap()
            .unwrap()
            .operator_config()
            .unwrap();
        assert_eq!(refused.pull_secret, GlobalPullSecret::Hidden);
        let conf = config.conf;
        let names: Vec<&str> = conf.registries.iter().map(|registry| registry.prefix.as_str()).collect();
        assert_eq!(names, ["a.example", "b.example"]);
        fake.refuse("list imagedigestmirrorsets.config.openshift.io");
        assert_eq!(
            read(&client, SecretReading::Get).await,
            Err("imagedigestmirrorsets cannot be listed: the API server forbids it".to_owned())
        );
    }
}

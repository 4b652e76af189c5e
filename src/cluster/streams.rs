//! OpenShift's image streams, each read only when it may fill in an image.

use super::convert;
use super::facts::Visible;
use super::kind::Kind;
use super::reader::{Door, KEPT, Reader};
use crate::workload::Template;
use crate::workload::streams::{ImageStreams, wanted};
use futures_util::{StreamExt as _, stream};
use kube::Client;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

/// At most this many are read for one object; the others count as unknown.
const MOST: usize = 64;
/// At most this many are read at the same time.
const AT_ONCE: usize = 8;

/// The streams of a cluster.
pub(super) struct Streams {
    /// Whether the cluster has any, when last asked.
    there: AtomicBool,
    reader: Arc<Reader<ImageStreams>>,
}

impl Streams {
    pub(super) fn new(client: &Client, door: Door) -> Self {
        Self {
            there: AtomicBool::new(false),
            reader: Reader::new(Kind::ImageStream, client.clone(), one, ImageStreams::weight, door),
        }
    }

    /// Sets whether they are read from now on.
    pub(super) fn are_there(&self, there: bool) {
        self.there.store(there, Ordering::Relaxed);
    }

    /// Those that may fill in images of these templates.
    pub(super) async fn of(&self, namespace: &str, templates: &[Template], deadline: Instant) -> ImageStreams {
        let mut all = ImageStreams::default();
        if !self.there.load(Ordering::Relaxed) {
            return all;
        }
        let wanted = wanted(templates, namespace);
        let beyond: Vec<_> = wanted.iter().skip(MOST).cloned().collect();
        let read = stream::iter(wanted.into_iter().take(MOST)).map(|(namespace, name)| async move {
            let seen = self.reader.read(&namespace, &name, KEPT, deadline).await;
            (namespace, name, seen)
        });
        let mut read = read.buffer_unordered(AT_ONCE);
        while let Some((namespace, name, seen)) = read.next().await {
            match seen {
                Visible::Seen(Some(stream)) => all.extend(&stream),
                Visible::Seen(None) => {}
                Visible::Hidden(_) => all.hide(namespace, name),
            }
        }
        for (namespace, name) in beyond {
            all.hide(namespace, name);
        }
        all
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as readers take it")]
fn one(object: &Value) -> Option<ImageStreams> {
    let mut streams = ImageStreams::default();
    streams.add(convert::namespace_of(object), convert::name(object), object);
    Some(streams)
}

#[cfg(test)]
mod tests {
    use crate::cluster::fake::Fake;
    use crate::cluster::watch::{SecretReading, Watched};
    use crate::workload::StreamTag;
    use crate::workload::{Kinds, extract};
    use serde_json::json;
    use std::time::Duration;
    use tokio::time::Instant;

    #[tokio::test]
    async fn streams_that_an_object_names_are_read_where_the_cluster_has_some() {
        let fake = Fake::new();
        fake.serve("image.openshift.io/v1", "imagestreams", "ImageStream", true);
        fake.put(
            "imagestreams.image.openshift.io",
            json!({"metadata": {"name": "app", "namespace": "shop"},
                   "status": {"tags": [{"tag": "latest", "items": [{"dockerImageReference": "r.example/shop/app@sha256:1"}]}]}}),
        );
        let watched = Watched::start(&fake.client(), SecretReading::None);
        let triggers = r#"[{"from": {"kind": "ImageStreamTag", "name": "app:latest"}, "fieldPath": "spec.template.spec.containers[0].image"}]"#;
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "shop", "annotations": {"image.openshift.io/triggers": triggers}},
            "spec": {"template": {"spec": {"containers": [{"name": "c", "image": " "}, {"name": "d", "image": "tools"}]}}}});
        let workload = extract(&object, None, "shop", &Kinds::default()).unwrap();
        let soon = || Instant::now() + Duration::from_secs(20);
        let app = StreamTag::local("app").unwrap();
        let read = async || watched.facts("shop", &workload.templates, soon()).await.image_streams;
        assert_eq!(read().await.image("shop", &app), None, "nobody has said that there are any");
        watched.streams().are_there(true);
        let streams = read().await;
        assert_eq!(streams.image("shop", &app), Some("r.example/shop/app@sha256:1"));
        assert_eq!(streams.hidden("shop", "tools"), None, "there is no such stream");
        fake.refuse("get imagestreams.image.openshift.io");
        let other = Watched::start(&fake.client(), SecretReading::None);
        other.streams().are_there(true);
        let streams = other.facts("shop", &workload.templates, soon()).await.image_streams;
        assert_eq!(streams.hidden("shop", "tools"), StreamTag::local("tools"));
    }
}

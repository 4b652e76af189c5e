//! The URL that was asked, if the nodes' settings make it differ from what the image's name says.

use crate::image::Reference;
use crate::runtime::containerd::hosts::contacted;
use crate::runtime::outcome::{Failure, Purpose};

/// The URL of a manifest or a blob that was asked for, without its query; `None` where it is the one that the name says, or leads to no
/// registry.
pub(in crate::verdict) fn url<'a>(failure: &'a Failure, reference: &Reference) -> Option<&'a str> {
    let request = failure
        .request
        .as_ref()
        .filter(|request| request.purpose == Purpose::Content)?;
    let url = request.url.split('?').next().unwrap_or_default();
    let (_, rest) = url.split_once("://")?;
    let (host, path) = rest.split_at(rest.find('/')?);
    let in_registry = path.contains("/manifests/") || path.contains("/blobs/");
    let own = format!("/v2/{}/", reference.repository());
    let as_named = host.eq_ignore_ascii_case(contacted(reference.registry())) && path.starts_with(&own);
    (in_registry && !as_named).then_some(url)
}

/// The address in a `hosts.toml` behind which containerd has put another `/v2`: `https://mirror.example/v2/cache` of
/// `https://mirror.example/v2/cache/v2/app/manifests/1`. It does so where `override_path` is not written beside it.
pub(in crate::verdict) fn doubled<'a>(failure: &'a Failure, reference: &Reference) -> Option<&'a str> {
    let url = url(failure, reference)?;
    let base = url.get(..url.find(&format!("/v2/{}/", reference.repository()))?)?;
    let (_, rest) = base.split_once("://")?;
    let path = rest.get(rest.find('/')?..)?;
    (path == "/v2" || path.starts_with("/v2/")).then_some(base)
}

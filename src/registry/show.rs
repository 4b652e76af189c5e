//! Explains to people how given nodes reach their registries: which hosts they ask in which order, under which names, with which
//! credentials, and which line of which file says so. It contains no secrets.

use super::show_section::{Image, Section};
use super::{RegistrySettings, crio, nodes};
use crate::runtime::crio::openshift::OperatorConfig;
use crate::runtime::{Pool, Runtime};

/// The way of a node of a pool with this runtime, to all registries or for one image alone; `openshift` is what OpenShift's objects say, where
/// there are some. The error has a line for each fault of the files.
pub fn show(
    settings: &RegistrySettings,
    pool: Pool,
    runtime: Runtime,
    openshift: Option<&OperatorConfig>,
    image: Option<Image<'_>>,
) -> Result<Vec<Section>, Vec<String>> {
    let own = usize::from(pool.0).checked_sub(1).and_then(|at| settings.pools.get(at));
    match runtime {
        Runtime::Containerd(by) => {
            let own = own.filter(|files| !files.hosts_dirs.is_empty() || files.k3s.is_some());
            let (roots, k3s) = own.map_or((&settings.hosts_dirs, &settings.k3s), |files| (&files.hosts_dirs, &files.k3s));
            match (k3s, image) {
                (Some(file), None) => nodes::show::by_k3s(file, by),
                (Some(file), Some(image)) => Ok(vec![nodes::show::image_by_k3s(file, by, image.reference)?]),
                (None, None) => Ok(nodes::show::by_trees(roots, by)),
                (None, Some(image)) => Ok(vec![nodes::show::image_by_trees(roots, by, image.reference)]),
            }
        }
        Runtime::Crio(by) => {
            let path = own
                .and_then(|files| files.registries_conf.as_ref())
                .or(settings.registries_conf.as_ref());
            match (path, openshift, image) {
                (Some(path), _, None) => crio::show::by_files(path, by),
                (Some(path), _, Some(image)) => crio::show::image_by_files(path, by, image),
                (None, Some(config), None) => Ok(crio::show::by_openshift(config, by)),
                (None, Some(config), Some(image)) => Ok(crio::show::image_by_openshift(config, by, image)),
                (None, None, Some(image)) => Ok(crio::show::image_by_nothing(by, image)),
                (None, None, None) => Ok(vec![
                    Section::new("every registry", None)
                        .with("the node's registries.conf is not known here: give it as registriesConf")
                        .with("a name with a registry is asked for there; what nodes make of a short name is not known"),
                ]),
            }
        }
    }
}

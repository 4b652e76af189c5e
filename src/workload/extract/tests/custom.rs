//! Custom kinds: every row of pull-semantics 3.5.

mod anything;
mod apart;
mod more;

use super::*;
use crate::workload::Nature;
use crate::workload::pod::Parameters;

/// An object of a kind with one thing at each path; `[n]` and names make lists and maps.
fn object(api_version: &str, kind: &str, fields: &[(&str, Value)]) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "o", "namespace": "shop"}});
    for (path, value) in fields {
        let mut at = &mut object;
        for step in path.split('.').flat_map(|step| step.split('[')) {
            at = match step.strip_suffix(']') {
                Some(index) => {
                    let index: usize = index.parse().expect("a number");
                    if at.is_null() {
                        *at = json!([]);
                    }
                    let list = at.as_array_mut().expect("a list");
                    while list.len() <= index {
                        list.push(Value::Null);
                    }
                    &mut list[index]
                }
                None => &mut at[step],
            };
        }
        *at = value.clone();
    }
    object
}

/// How certain a finding may be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sure {
    /// As certain as in a Deployment.
    Yes,
    /// Another image may run.
    Image,
    /// Other pull secrets may count.
    Credentials,
    /// Neither.
    Neither,
}

fn sure(nature: &Nature) -> Sure {
    match (nature.other_image, nature.other_credentials) {
        (None, None) => Sure::Yes,
        (Some(_), None) => Sure::Image,
        (None, Some(_)) => Sure::Credentials,
        (Some(_), Some(_)) => Sure::Neither,
    }
}

/// Kind, the path of a `PodSpec`, how certain.
const POD_SPECS: &[(&str, &str, &str, Sure)] = &[
    ("argoproj.io/v1alpha1", "Rollout", "spec.template.spec", Sure::Yes),
    (
        "argoproj.io/v1alpha1",
        "Experiment",
        "spec.templates[1].template.spec",
        Sure::Yes,
    ),
    ("serving.knative.dev/v1", "Service", "spec.template.spec", Sure::Yes),
    ("serving.knative.dev/v1", "Configuration", "spec.template.spec", Sure::Yes),
    ("serving.knative.dev/v1", "Revision", "spec", Sure::Yes),
    (
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
        "spec.replicatedJobs[1].template.spec.template.spec",
        Sure::Yes,
    ),
    (
        "leaderworkerset.x-k8s.io/v1",
        "LeaderWorkerSet",
        "spec.leaderWorkerTemplate.leaderTemplate.spec",
        Sure::Yes,
    ),
    (
        "leaderworkerset.x-k8s.io/v1",
        "LeaderWorkerSet",
        "spec.leaderWorkerTemplate.workerTemplate.spec",
        Sure::Yes,
    ),
    (
        "ray.io/v1",
        "RayCluster",
        "spec.headGroupSpec.template.spec",
        Sure::Credentials,
    ),
    ("ray.io/v1", "RayCluster", "spec.workerGroupSpecs[1].template.spec", Sure::Yes),
    (
        "ray.io/v1",
        "RayJob",
        "spec.rayClusterSpec.headGroupSpec.template.spec",
        Sure::Credentials,
    ),
    (
        "ray.io/v1",
        "RayJob",
        "spec.rayClusterSpec.workerGroupSpecs[0].template.spec",
        Sure::Yes,
    ),
    ("ray.io/v1", "RayJob", "spec.submitterPodTemplate.spec", Sure::Yes),
    (
        "ray.io/v1",
        "RayService",
        "spec.rayClusterConfig.headGroupSpec.template.spec",
        Sure::Credentials,
    ),
    (
        "ray.io/v1",
        "RayService",
        "spec.rayClusterConfig.workerGroupSpecs[0].template.spec",
        Sure::Yes,
    ),
    ("batch.volcano.sh/v1alpha1", "Job", "spec.tasks[1].template.spec", Sure::Yes),
    ("apps.kruise.io/v1alpha1", "CloneSet", "spec.template.spec", Sure::Yes),
    ("apps.kruise.io/v1beta1", "StatefulSet", "spec.template.spec", Sure::Yes),
    ("apps.kruise.io/v1alpha1", "DaemonSet", "spec.template.spec", Sure::Yes),
    ("apps.kruise.io/v1alpha1", "BroadcastJob", "spec.template.spec", Sure::Yes),
    (
        "apps.kruise.io/v1alpha1",
        "AdvancedCronJob",
        "spec.template.jobTemplate.spec.template.spec",
        Sure::Yes,
    ),
    (
        "apps.kruise.io/v1alpha1",
        "AdvancedCronJob",
        "spec.template.broadcastJobTemplate.spec.template.spec",
        Sure::Yes,
    ),
    (
        "apps.kruise.io/v1alpha1",
        "UnitedDeployment",
        "spec.template.statefulSetTemplate.spec.template.spec",
        Sure::Image,
    ),
    ("apps.kruise.io/v1alpha1", "SidecarSet", "spec", Sure::Credentials),
    ("keda.sh/v1alpha1", "ScaledJob", "spec.jobTargetRef.template.spec", Sure::Yes),
    (
        "trainer.kubeflow.org/v1alpha1",
        "TrainingRuntime",
        "spec.template.spec.replicatedJobs[0].template.spec.template.spec",
        Sure::Neither,
    ),
    (
        "trainer.kubeflow.org/v1alpha1",
        "ClusterTrainingRuntime",
        "spec.template.spec.replicatedJobs[0].template.spec.template.spec",
        Sure::Neither,
    ),
    (
        "kubeflow.org/v1",
        "PyTorchJob",
        "spec.pytorchReplicaSpecs.Worker.template.spec",
        Sure::Yes,
    ),
    ("kubeflow.org/v1", "TFJob", "spec.tfReplicaSpecs.PS.template.spec", Sure::Yes),
    (
        "kubeflow.org/v2beta1",
        "MPIJob",
        "spec.mpiReplicaSpecs.Launcher.template.spec",
        Sure::Credentials,
    ),
    ("apps.openshift.io/v1", "DeploymentConfig", "spec.template.spec", Sure::Image),
    ("agones.dev/v1", "GameServer", "spec.template.spec", Sure::Credentials),
    (
        "agones.dev/v1",
        "Fleet",
        "spec.template.spec.template.spec",
        Sure::Credentials,
    ),
    (
        "actions.github.com/v1alpha1",
        "AutoscalingRunnerSet",
        "spec.template.spec",
        Sure::Yes,
    ),
];

/// Kind, the path of an image by itself, how certain.
const IMAGES: &[(&str, &str, &str, Sure)] = &[
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[2].container.image",
        Sure::Credentials,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].script.image",
        Sure::Credentials,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].containerSet.containers[1].image",
        Sure::Credentials,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].initContainers[0].image",
        Sure::Credentials,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].sidecars[0].image",
        Sure::Credentials,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].volumes[0].image.reference",
        Sure::Credentials,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].dag.tasks[1].inline.container.image",
        Sure::Credentials,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].steps[1][0].inline.script.image",
        Sure::Credentials,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templateDefaults.container.image",
        Sure::Neither,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.volumes[0].image.reference",
        Sure::Credentials,
    ),
    (
        "argoproj.io/v1alpha1",
        "CronWorkflow",
        "spec.workflowSpec.templates[0].container.image",
        Sure::Credentials,
    ),
    (
        "argoproj.io/v1alpha1",
        "CronWorkflow",
        "spec.workflowSpec.templateDefaults.script.image",
        Sure::Neither,
    ),
    (
        "argoproj.io/v1alpha1",
        "WorkflowTemplate",
        "spec.templates[0].container.image",
        Sure::Credentials,
    ),
    (
        "argoproj.io/v1alpha1",
        "ClusterWorkflowTemplate",
        "spec.templates[0].container.image",
        Sure::Credentials,
    ),
    (
        "kubevirt.io/v1",
        "VirtualMachine",
        "spec.template.spec.volumes[1].containerDisk.image",
        Sure::Credentials,
    ),
    (
        "kubevirt.io/v1",
        "VirtualMachine",
        "spec.template.spec.domain.firmware.kernelBoot.container.image",
        Sure::Credentials,
    ),
    (
        "kubevirt.io/v1",
        "VirtualMachineInstanceReplicaSet",
        "spec.template.spec.volumes[0].containerDisk.image",
        Sure::Credentials,
    ),
    (
        "kubevirt.io/v1",
        "VirtualMachineInstance",
        "spec.volumes[0].containerDisk.image",
        Sure::Credentials,
    ),
    (
        "kubevirt.io/v1",
        "VirtualMachineInstance",
        "spec.domain.firmware.kernelBoot.container.image",
        Sure::Credentials,
    ),
    ("tekton.dev/v1", "Task", "spec.steps[1].image", Sure::Credentials),
    ("tekton.dev/v1", "Task", "spec.sidecars[0].image", Sure::Credentials),
    ("tekton.dev/v1", "Task", "spec.stepTemplate.image", Sure::Neither),
    ("tekton.dev/v1beta1", "ClusterTask", "spec.steps[0].image", Sure::Credentials),
    ("tekton.dev/v1", "TaskRun", "spec.taskSpec.steps[0].image", Sure::Credentials),
    (
        "tekton.dev/v1",
        "TaskRun",
        "spec.taskSpec.sidecars[0].image",
        Sure::Credentials,
    ),
    ("tekton.dev/v1", "TaskRun", "spec.taskSpec.stepTemplate.image", Sure::Neither),
    (
        "tekton.dev/v1",
        "Pipeline",
        "spec.tasks[1].taskSpec.steps[0].image",
        Sure::Credentials,
    ),
    (
        "tekton.dev/v1",
        "Pipeline",
        "spec.finally[0].taskSpec.sidecars[0].image",
        Sure::Credentials,
    ),
    (
        "tekton.dev/v1",
        "PipelineRun",
        "spec.pipelineSpec.tasks[0].taskSpec.steps[0].image",
        Sure::Credentials,
    ),
    (
        "tekton.dev/v1",
        "PipelineRun",
        "spec.pipelineSpec.finally[0].taskSpec.steps[0].image",
        Sure::Credentials,
    ),
    (
        "tekton.dev/v1",
        "PipelineRun",
        "spec.pipelineSpec.tasks[0].taskSpec.stepTemplate.image",
        Sure::Neither,
    ),
    (
        "trainer.kubeflow.org/v1alpha1",
        "TrainJob",
        "spec.trainer.image",
        Sure::Credentials,
    ),
    ("monitoring.coreos.com/v1", "Prometheus", "spec.image", Sure::Image),
    (
        "monitoring.coreos.com/v1",
        "Prometheus",
        "spec.containers[0].image",
        Sure::Image,
    ),
    ("monitoring.coreos.com/v1", "Alertmanager", "spec.image", Sure::Image),
    ("kafka.strimzi.io/v1beta2", "Kafka", "spec.kafka.image", Sure::Neither),
    (
        "kafka.strimzi.io/v1beta2",
        "Kafka",
        "spec.entityOperator.userOperator.image",
        Sure::Neither,
    ),
    ("kafka.strimzi.io/v1beta2", "KafkaConnect", "spec.image", Sure::Neither),
    ("postgresql.cnpg.io/v1", "Cluster", "spec.imageName", Sure::Neither),
    (
        "sparkoperator.k8s.io/v1beta2",
        "SparkApplication",
        "spec.image",
        Sure::Neither,
    ),
    (
        "sparkoperator.k8s.io/v1beta2",
        "SparkApplication",
        "spec.driver.image",
        Sure::Neither,
    ),
    (
        "sparkoperator.k8s.io/v1beta2",
        "SparkApplication",
        "spec.executor.image",
        Sure::Neither,
    ),
    (
        "sparkoperator.k8s.io/v1beta2",
        "ScheduledSparkApplication",
        "spec.template.driver.image",
        Sure::Neither,
    ),
    (
        "opentelemetry.io/v1beta1",
        "OpenTelemetryCollector",
        "spec.image",
        Sure::Neither,
    ),
];

const CLUSTER_WIDE: [&str; 8] = [
    "ClusterStorageContainer",
    "ClusterAnalysisTemplate",
    "ClusterServingRuntime",
    "ClusterImageCatalog",
    "ClusterWorkflowTemplate",
    "ClusterTask",
    "SidecarSet",
    "ClusterTrainingRuntime",
];

#[test]
fn every_row_of_the_table_is_found_at_its_real_path() {
    let spec = json!({"containers": [{"name": "c", "image": "nginx:1"}]});
    let pod_specs = POD_SPECS
        .iter()
        .chain(more::POD_SPECS)
        .map(|(api, kind, path, sure)| (*api, *kind, *path, spec.clone(), format!("{path}.containers[0].image"), *sure));
    let images = IMAGES
        .iter()
        .chain(more::IMAGES)
        .map(|(api, kind, path, sure)| (*api, *kind, *path, json!("nginx:1"), (*path).to_owned(), *sure));
    for (api_version, kind, path, value, found_at, expected) in pod_specs.chain(images) {
        let object = object(api_version, kind, &[(path, value)]);
        let workload = extract(&object, None, "ns").expect(kind);
        let [template] = workload.templates.as_slice() else {
            panic!("{kind} {path}: {:?}", workload.templates)
        };
        let [found] = template.uses.as_slice() else {
            panic!("{kind} {path}")
        };
        assert_eq!(
            (found.path.as_str(), found.image.as_str()),
            (found_at.as_str(), "nginx:1"),
            "{kind}"
        );
        assert_eq!(found.pull_policy, PullPolicy::IfNotPresent, "{kind}: nobody else defaults it");
        assert_eq!(template.kind, PodKind::Template, "{kind}");
        assert_eq!(template.nature.parameters, Parameters::FilledIn, "{kind}");
        assert_eq!(sure(&template.nature), expected, "{kind} {path}");
        assert_eq!(template.needs.service_account, "default");
        let every = template.needs.scheduling.spread == Spread::Every;
        assert_eq!(
            every,
            matches!(kind, "DaemonSet" | "BroadcastJob") || path.contains("broadcastJob") || path.contains("daemonSet"),
            "{kind}"
        );
        let namespace = if CLUSTER_WIDE.contains(&kind) { "" } else { "shop" };
        assert_eq!(workload.object.namespace, namespace, "{kind}");
        // The group decides, and nothing is changed by an update that changes nothing.
        assert_eq!(extract(&object, Some(&object), "ns"), Err(Skip::Unchanged), "{kind}");
        let mut other = object.clone();
        other["apiVersion"] = json!("example.com/v1");
        assert_eq!(extract(&other, None, "ns"), Err(Skip::OtherKind), "{kind}");
    }
}

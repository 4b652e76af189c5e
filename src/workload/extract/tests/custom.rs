//! Custom kinds: every row of pull-semantics 3.5, and what sets them apart.

use super::*;
use crate::workload::pod::Parameters;
use crate::workload::{Configured, Nature, PodNeeds, Route, Template};

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

/// How sure what is found may be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sure {
    /// As sure as in a Deployment.
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

/// Kind, the path of a `PodSpec`, how sure.
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
    ("ray.io/v1", "RayCluster", "spec.headGroupSpec.template.spec", Sure::Yes),
    ("ray.io/v1", "RayCluster", "spec.workerGroupSpecs[1].template.spec", Sure::Yes),
    (
        "ray.io/v1",
        "RayJob",
        "spec.rayClusterSpec.headGroupSpec.template.spec",
        Sure::Yes,
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
        Sure::Yes,
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
        Sure::Yes,
    ),
    ("apps.openshift.io/v1", "DeploymentConfig", "spec.template.spec", Sure::Image),
    ("agones.dev/v1", "GameServer", "spec.template.spec", Sure::Yes),
    ("agones.dev/v1", "Fleet", "spec.template.spec.template.spec", Sure::Yes),
    (
        "actions.github.com/v1alpha1",
        "AutoscalingRunnerSet",
        "spec.template.spec",
        Sure::Yes,
    ),
];

/// Kind, the path of an image by itself, how sure.
const IMAGES: &[(&str, &str, &str, Sure)] = &[
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[2].container.image",
        Sure::Yes,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].script.image",
        Sure::Yes,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].containerSet.containers[1].image",
        Sure::Yes,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].initContainers[0].image",
        Sure::Yes,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].sidecars[0].image",
        Sure::Yes,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].volumes[0].image.reference",
        Sure::Yes,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].dag.tasks[1].inline.container.image",
        Sure::Yes,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templates[0].steps[1][0].inline.script.image",
        Sure::Yes,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.templateDefaults.container.image",
        Sure::Image,
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.volumes[0].image.reference",
        Sure::Yes,
    ),
    (
        "argoproj.io/v1alpha1",
        "CronWorkflow",
        "spec.workflowSpec.templates[0].container.image",
        Sure::Yes,
    ),
    (
        "argoproj.io/v1alpha1",
        "CronWorkflow",
        "spec.workflowSpec.templateDefaults.script.image",
        Sure::Image,
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
        Sure::Yes,
    ),
    (
        "kubevirt.io/v1",
        "VirtualMachine",
        "spec.template.spec.domain.firmware.kernelBoot.container.image",
        Sure::Yes,
    ),
    (
        "kubevirt.io/v1",
        "VirtualMachineInstanceReplicaSet",
        "spec.template.spec.volumes[0].containerDisk.image",
        Sure::Yes,
    ),
    (
        "kubevirt.io/v1",
        "VirtualMachineInstance",
        "spec.volumes[0].containerDisk.image",
        Sure::Yes,
    ),
    (
        "kubevirt.io/v1",
        "VirtualMachineInstance",
        "spec.domain.firmware.kernelBoot.container.image",
        Sure::Yes,
    ),
    ("tekton.dev/v1", "Task", "spec.steps[1].image", Sure::Credentials),
    ("tekton.dev/v1", "Task", "spec.sidecars[0].image", Sure::Credentials),
    ("tekton.dev/v1", "Task", "spec.stepTemplate.image", Sure::Neither),
    ("tekton.dev/v1beta1", "ClusterTask", "spec.steps[0].image", Sure::Credentials),
    ("tekton.dev/v1", "TaskRun", "spec.taskSpec.steps[0].image", Sure::Yes),
    ("tekton.dev/v1", "TaskRun", "spec.taskSpec.sidecars[0].image", Sure::Yes),
    ("tekton.dev/v1", "TaskRun", "spec.taskSpec.stepTemplate.image", Sure::Image),
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
        Sure::Yes,
    ),
    (
        "tekton.dev/v1",
        "PipelineRun",
        "spec.pipelineSpec.finally[0].taskSpec.steps[0].image",
        Sure::Yes,
    ),
    (
        "tekton.dev/v1",
        "PipelineRun",
        "spec.pipelineSpec.tasks[0].taskSpec.stepTemplate.image",
        Sure::Image,
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

const CLUSTER_WIDE: [&str; 4] = [
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
        .map(|(api, kind, path, sure)| (*api, *kind, *path, spec.clone(), format!("{path}.containers[0].image"), *sure));
    let images = IMAGES
        .iter()
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
            matches!(kind, "DaemonSet" | "BroadcastJob") || path.contains("broadcastJob"),
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

fn uses_of(workload: &Workload) -> Vec<String> {
    let uses = workload.templates.iter().flat_map(|template| &template.uses);
    uses.map(|found| format!("{} {} {}", found.path, found.name, found.image))
        .collect()
}

fn templates_of(object: &Value) -> Vec<Template> {
    extract(object, None, "ns").expect("judged").templates
}

#[test]
fn a_workflow_shares_what_its_templates_leave_unsaid() {
    let workflow = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"generateName": "w-"}, "spec": {
        "imagePullSecrets": [{"name": "s"}], "serviceAccountName": "runner", "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "templates": [
            {"name": "one", "container": {"image": "a:1"}, "sidecars": [{"name": "side", "image": "b:1", "imagePullPolicy": "Always"}]},
            {"name": "own", "serviceAccountName": "other", "nodeSelector": {"x": "y"}, "script": {"image": "c:1"}},
            {"name": "dag", "dag": {"tasks": [{"name": "t", "inline": {"container": {"image": "d:1"}}}]}},
            {"name": "two", "container": {"image": "e:1", "name": "main"}}]}});
    let workload = extract(&workflow, None, "ns").expect("judged");
    assert_eq!(
        uses_of(&workload),
        [
            "spec.templates[0].container.image one a:1",
            "spec.templates[0].sidecars[0].image side b:1",
            "spec.templates[3].container.image main e:1",
            "spec.templates[1].script.image own c:1",
            "spec.templates[2].dag.tasks[0].inline.container.image  d:1",
        ]
    );
    let [shared, own, inline] = workload.templates.as_slice() else {
        panic!("{workload:?}")
    };
    let needs = |template: &Template| {
        let PodNeeds {
            pull_secrets,
            service_account,
            scheduling,
        } = &template.needs;
        (
            pull_secrets.join(","),
            service_account.clone(),
            scheduling.node_selector.clone(),
        )
    };
    let arm = vec![("kubernetes.io/arch".to_owned(), "arm64".to_owned())];
    assert_eq!(needs(shared), ("s".to_owned(), "runner".to_owned(), arm.clone()));
    assert_eq!(
        needs(own),
        ("s".to_owned(), "other".to_owned(), vec![("x".to_owned(), "y".to_owned())])
    );
    assert_eq!(needs(inline), ("s".to_owned(), "runner".to_owned(), arm));
    assert_eq!(shared.uses[1].pull_policy, PullPolicy::Always);
    assert_eq!(shared.uses[0].pull_policy, PullPolicy::IfNotPresent);

    // An update judges what it changes.
    let mut new = workflow.clone();
    let templates = new["spec"]["templates"].as_array_mut().expect("templates");
    templates.insert(0, json!({"name": "zero", "container": {"image": "z:1"}}));
    templates[2]["script"]["image"] = json!("c:2");
    let changed: Vec<String> = extract(&new, Some(&workflow), "ns")
        .expect("judged")
        .templates
        .iter()
        .flat_map(|template| &template.uses)
        .filter(|found| !found.unchanged)
        .map(|found| found.image.clone())
        .collect();
    assert_eq!(changed, ["z:1", "c:2"]);

    let mut patched = workflow.clone();
    patched["spec"]["podSpecPatch"] = json!("containers: [{name: main, image: x}]");
    assert!(
        templates_of(&patched)
            .iter()
            .all(|template| sure(&template.nature) == Sure::Image)
    );
    patched["spec"]["podSpecPatch"] = Value::Null;
    patched["spec"]["templates"][0]["podSpecPatch"] = json!("x");
    let doubted: Vec<Sure> = templates_of(&patched).iter().map(|template| sure(&template.nature)).collect();
    assert_eq!(doubted, [Sure::Image, Sure::Yes, Sure::Yes, Sure::Yes]);
}

#[test]
fn updates_compare_pod_templates_by_name() {
    let cluster = |groups: &[(&str, &str)]| {
        let groups: Vec<Value> = groups
            .iter()
            .map(|(name, image)| json!({"groupName": name, "template": {"spec": {"containers": [{"name": "w", "image": image}]}}}))
            .collect();
        object("ray.io/v1", "RayCluster", &[("spec.workerGroupSpecs", json!(groups))])
    };
    let old = cluster(&[("a", "a:1"), ("b", "b:1")]);
    let new = cluster(&[("c", "c:1"), ("b", "b:1"), ("a", "a:2")]);
    let workload = extract(&new, Some(&old), "ns").expect("judged");
    let shown: Vec<(&str, bool)> = workload
        .templates
        .iter()
        .flat_map(|template| &template.uses)
        .map(|found| (found.image.as_str(), found.unchanged))
        .collect();
    assert_eq!(shown, [("c:1", false), ("b:1", true), ("a:2", false)]);
}

#[test]
fn a_virtual_machine_has_the_secrets_of_all_its_disks() {
    let machine = object(
        "kubevirt.io/v1",
        "VirtualMachine",
        &[(
            "spec.template.spec",
            json!({"nodeSelector": {"a": "b"}, "domain": {"firmware": {"kernelBoot": {"container":
                    {"image": "kernel:1", "imagePullSecret": "boot", "imagePullPolicy": "Always"}}}},
                "volumes": [{"name": "root", "containerDisk": {"image": "disk:1", "imagePullSecret": "disks"}},
                    {"name": "data", "containerDisk": {"image": "disk:2", "imagePullSecret": "disks", "imagePullPolicy": "Never"}},
                    {"name": "acc", "serviceAccount": {"serviceAccountName": "vm"}}, {"name": "none", "emptyDisk": {}}]}),
        )],
    );
    let workload = extract(&machine, None, "ns").expect("judged");
    assert_eq!(
        uses_of(&workload),
        [
            "spec.template.spec.volumes[0].containerDisk.image root disk:1",
            "spec.template.spec.volumes[1].containerDisk.image data disk:2",
            "spec.template.spec.domain.firmware.kernelBoot.container.image  kernel:1",
        ]
    );
    let [template] = workload.templates.as_slice() else {
        panic!("{workload:?}")
    };
    assert_eq!(template.needs.pull_secrets, ["disks", "boot"]);
    assert_eq!(template.needs.service_account, "vm");
    assert_eq!(template.needs.scheduling.node_selector, [("a".to_owned(), "b".to_owned())]);
    let policies: Vec<PullPolicy> = template.uses.iter().map(|found| found.pull_policy).collect();
    assert_eq!(policies, [PullPolicy::IfNotPresent, PullPolicy::Never, PullPolicy::Always]);
}

#[test]
fn runs_take_secrets_and_accounts_from_their_pod_templates() {
    let steps = json!([{"name": "s", "image": "a:1"}]);
    let task_run = object(
        "tekton.dev/v1",
        "TaskRun",
        &[
            ("spec.taskSpec.steps", steps.clone()),
            ("spec.serviceAccountName", json!("builder")),
            (
                "spec.podTemplate",
                json!({"imagePullSecrets": [{"name": "s"}], "nodeSelector": {"a": "b"}}),
            ),
        ],
    );
    let mut pipeline_run = object(
        "tekton.dev/v1",
        "PipelineRun",
        &[
            ("spec.pipelineSpec.tasks[0].taskSpec.steps", steps),
            (
                "spec.taskRunTemplate",
                json!({"serviceAccountName": "builder", "podTemplate": {"imagePullSecrets": [{"name": "s"}], "nodeSelector": {"a": "b"}}}),
            ),
        ],
    );
    for run in [&task_run, &pipeline_run] {
        let templates = templates_of(run);
        let needs = &templates[0].needs;
        assert_eq!(needs.pull_secrets, ["s"]);
        assert_eq!(needs.service_account, "builder");
        assert_eq!(needs.scheduling.node_selector.len(), 1);
        assert_eq!(sure(&templates[0].nature), Sure::Yes);
    }
    pipeline_run["spec"]["taskRunSpecs"] = json!([{"pipelineTaskName": "t"}]);
    assert_eq!(sure(&templates_of(&pipeline_run)[0].nature), Sure::Credentials);

    let spark = object(
        "sparkoperator.k8s.io/v1beta2",
        "SparkApplication",
        &[(
            "spec",
            json!({"imagePullPolicy": "Always", "imagePullSecrets": ["s", "t"], "driver": {"image": "d:1", "serviceAccount": "spark"}}),
        )],
    );
    let templates = templates_of(&spark);
    assert_eq!(templates[0].needs.pull_secrets, ["s", "t"]);
    assert_eq!(templates[0].needs.service_account, "spark");
    assert_eq!(templates[0].uses[0].pull_policy, PullPolicy::Always);
}

#[test]
fn what_is_elsewhere_or_empty_is_not_judged() {
    let mut rollout = object(
        "argoproj.io/v1alpha1",
        "Rollout",
        &[(
            "spec.template.spec.containers",
            json!([{"name": "c", "image": "a:1"}, {"name": "d", "image": ""}, {"image": " "}]),
        )],
    );
    assert_eq!(templates_of(&rollout)[0].uses.len(), 1);
    rollout["spec"]["workloadRef"] = json!({"kind": "Deployment", "name": "d"});
    assert_eq!(templates_of(&rollout), []);
    rollout["spec"]["workloadRef"] = Value::Null;
    assert_eq!(templates_of(&rollout).len(), 1);
    assert_eq!(
        templates_of(&object(
            "argoproj.io/v1alpha1",
            "Workflow",
            &[("spec.workflowTemplateRef.name", json!("x"))]
        )),
        []
    );
}

#[test]
fn parameters_name_no_secret_and_choose_no_node() {
    let with = |field: &str, value: Value| {
        let workflow = object(
            "argoproj.io/v1alpha1",
            "Workflow",
            &[(
                "spec.templates[0]",
                json!({"container": {"image": "{{image}}"}, field: value}),
            )],
        );
        templates_of(&workflow).remove(0)
    };
    let account = with("serviceAccountName", json!("{{workflow.parameters.account}}"));
    assert_eq!(
        (account.needs.service_account.as_str(), sure(&account.nature)),
        ("default", Sure::Credentials)
    );
    let secrets = with("imagePullSecrets", json!([{"name": "$(x)"}, {"name": "s"}]));
    assert_eq!(
        (secrets.needs.pull_secrets, sure(&secrets.nature)),
        (vec!["s".to_owned()], Sure::Credentials)
    );
    let selected = with("nodeSelector", json!({"kubernetes.io/arch": "{{arch}}", "a": "b"}));
    assert_eq!(selected.needs.scheduling.node_selector, [("a".to_owned(), "b".to_owned())]);
    assert!(selected.needs.scheduling.named_platforms().is_empty());
    assert_eq!(with("nodeName", json!("{{node}}")).needs.scheduling.node_name, None);
    let affinity = |value: &str| {
        with(
            "affinity",
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
                [{"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": [value]}]}]}}}),
        )
    };
    assert!(affinity("{{arch}}").needs.scheduling.required_affinity.is_none());
    assert!(affinity("arm64").needs.scheduling.required_affinity.is_some());

    let plain = deployment(&json!({"containers": [{"image": "{{image}}"}], "serviceAccountName": "{{x}}"}));
    let template = extract(&plain, None, "ns").expect("judged").templates.remove(0);
    assert_eq!(
        (template.nature, template.needs.service_account.as_str()),
        (Nature::default(), "{{x}}")
    );
}

fn configured(group: &str, kind: &str, pod_specs: &[&str], images: &[&str]) -> Configured {
    let routes = |texts: &[&str]| texts.iter().map(|text| Route::parse(text).expect("a route")).collect();
    Configured {
        group: group.to_owned(),
        kind: kind.to_owned(),
        pod_specs: routes(pod_specs),
        images: routes(images),
    }
}

#[test]
fn the_settings_add_kinds_and_replace_paths() {
    let kinds = Kinds::with(&[
        configured(
            "example.com",
            "App",
            &["spec.sets.*.pod"],
            &["spec.images[*].ref", "spec.tool"],
        ),
        configured("argoproj.io", "Rollout", &[], &[]),
        configured("ray.io", "RayCluster", &["spec.only"], &[]),
        configured("apps", "Deployment", &["spec.elsewhere"], &[]),
    ]);
    let app = object(
        "example.com/v1",
        "App",
        &[
            (
                "spec.sets.web.pod",
                json!({"containers": [{"name": "c", "image": "a:1"}], "imagePullSecrets": [{"name": "s"}]}),
            ),
            ("spec.images", json!([{"name": "i", "ref": "b:1"}, {"ref": 5}])),
            ("spec.tool", json!("c:1")),
            ("spec.imagePullSecrets", json!([{"name": "t"}])),
        ],
    );
    let workload = super::super::extract(&app, None, "ns", &kinds).expect("judged");
    assert_eq!(
        uses_of(&workload),
        [
            "spec.sets.web.pod.containers[0].image c a:1",
            "spec.images[0].ref i b:1",
            "spec.tool  c:1"
        ]
    );
    let natures: Vec<Sure> = workload.templates.iter().map(|template| sure(&template.nature)).collect();
    assert_eq!(natures, [Sure::Yes, Sure::Neither, Sure::Neither]);
    assert_eq!(workload.templates[1].needs.pull_secrets, ["t"]);
    assert!(super::super::extract(&app, Some(&app), "ns", &kinds) == Err(Skip::Unchanged));

    let spec = json!({"containers": [{"name": "c", "image": "a:1"}]});
    let count = |object: &Value| uses_of(&super::super::extract(object, None, "ns", &kinds).expect("judged")).len();
    let rollout = object("argoproj.io/v1alpha1", "Rollout", &[("spec.template.spec", spec.clone())]);
    assert_eq!(count(&rollout), 1, "the table's paths");
    let ray = object(
        "ray.io/v1",
        "RayCluster",
        &[
            ("spec.headGroupSpec.template.spec", spec.clone()),
            ("spec.only", spec.clone()),
        ],
    );
    assert_eq!(count(&ray), 1, "the settings' paths");
    assert_eq!(count(&deployment(&spec)), 1, "a kind of Kubernetes stays as it is");

    for (api_version, kind, sure) in [
        ("apps/v1", "Deployment", true),
        ("example.com/v1", "App", true),
        ("argoproj.io/v1alpha1", "Rollout", true),
        ("argoproj.io/v1alpha1", "Workflow", false),
        ("v1", "App", false),
    ] {
        assert_eq!(kinds.judged_for_sure(api_version, kind), sure, "{kind}");
    }
    assert!(!Kinds::default().judged_for_sure("argoproj.io/v1alpha1", "Rollout"));
}

/// Objects made to cost: what is repeated for every template must not grow with their number.
#[test]
fn hostile_objects_take_no_time() {
    let start = std::time::Instant::now();
    let long = "n".repeat(1 << 20);
    let secrets: Vec<Value> = (0..50_000).map(|n| json!({"name": format!("s{n}")})).collect();
    let templates = |own: &str| -> Vec<Value> {
        (0..50_000)
            .map(|n| json!({"container": {"image": format!("a{n}:1")}, own: {"a": "b"}}))
            .collect()
    };
    let workflow = |templates: Vec<Value>| {
        object(
            "argoproj.io/v1alpha1",
            "Workflow",
            &[("spec", json!({"templates": templates, "imagePullSecrets": secrets}))],
        )
    };
    let sidecars: Vec<Value> = (0..50_000).map(|_| json!({"image": "a:1"})).collect();
    let mut named = workflow(vec![json!({"name": long, "sidecars": sidecars})]);
    named["spec"]["imagePullSecrets"] = Value::Null;
    let replicas = json!({&long: {"template": {"spec": {"containers": sidecars}}}});
    let keyed = object("kubeflow.org/v1", "PyTorchJob", &[("spec.pytorchReplicaSpecs", replicas)]);
    for object in [workflow(templates("nodeSelector")), workflow(templates("x")), named, keyed] {
        let workload = extract(&object, None, "ns").expect("judged");
        assert_eq!(uses_of(&workload).len(), 50_000);
        assert!(workload.templates.len() <= 129);
        let needed: usize = workload
            .templates
            .iter()
            .map(|template| template.needs.pull_secrets.len())
            .sum();
        assert!(needed <= 60_000, "{needed}");
        assert_eq!(extract(&object, Some(&object), "ns"), Err(Skip::Unchanged));
    }
    assert!(start.elapsed().as_secs() < 60, "quadratic? {:?}", start.elapsed());
}

/// JSON whose keys are those that the extractor looks for, with anything below them.
fn object_like() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z:/@ .]{0,12}".prop_map(Value::from),
        "\\{\\{[a-z.]{0,6}\\}\\}|\\$\\([a-z]{0,3}\\)".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "spec",
        "template",
        "templates",
        "steps",
        "inline",
        "dag",
        "tasks",
        "taskSpec",
        "container",
        "containers",
        "initContainers",
        "ephemeralContainers",
        "sidecars",
        "volumes",
        "containerDisk",
        "imagePullSecret",
        "imagePullPolicy",
        "image",
        "reference",
        "name",
        "imagePullSecrets",
        "serviceAccountName",
        "podSpecPatch",
        "nodeName",
        "nodeSelector",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
        "matchExpressions",
        "key",
        "operator",
        "values",
        "tolerations",
        "os",
        "annotations",
        "ownerReferences",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Kinds with the path below which anything may stand: a row of the tables above, cut off somewhere.
fn anywhere() -> impl Strategy<Value = (&'static str, &'static str, String)> {
    let built_in = [
        ("v1", "Pod", "spec"),
        ("v1", "PodTemplate", "template.spec"),
        ("v1", "ReplicationController", "spec.template.spec"),
        ("apps/v1", "Deployment", "spec.template.spec"),
        ("apps/v1", "DaemonSet", "spec.template.spec"),
        ("batch/v1", "CronJob", "spec.jobTemplate.spec.template.spec"),
    ];
    let rows: Vec<(&str, &str, &str)> = built_in
        .into_iter()
        .chain(
            POD_SPECS
                .iter()
                .chain(IMAGES)
                .map(|(api, kind, path, _)| (*api, *kind, *path)),
        )
        .collect();
    (prop::sample::select(rows), any::<prop::sample::Index>()).prop_map(|((api, kind, path), cut)| {
        let steps: Vec<&str> = path.split('.').collect();
        (api, kind, steps[..=cut.index(steps.len())].join("."))
    })
}

proptest! {
    #[test]
    fn extracting_never_panics((api_version, kind, path) in anywhere(), metadata in object_like(), inner in object_like(), old in object_like()) {
        let mut object = object(api_version, kind, &[(&path, inner)]);
        object["metadata"] = metadata;
        if let Ok(workload) = extract(&object, None, "ns") {
            for template in &workload.templates {
                let scheduling = &template.needs.scheduling;
                let _ = (scheduling.candidates(&[crate::workload::Node::from_json(&old)]), scheduling.named_platforms());
            }
            prop_assert_eq!(extract(&object, Some(&object), "ns"), Err(Skip::Unchanged));
        }
        let _ = extract(&object, Some(&old), "ns");
        let mut before = self::object(api_version, kind, &[(&path, old)]);
        before["apiVersion"] = json!("v0");
        let _ = extract(&object, Some(&before), "ns");
        let _ = extract(&before, Some(&object), "ns");
    }
}

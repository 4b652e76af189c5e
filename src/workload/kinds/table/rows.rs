//! The table of kinds (pull-semantics 3.1 and 3.5). The paths are from the projects' own types.

use super::{Row, Written, built_in, cluster_wide, credentials_doubt, custom, image_doubt, images, pods};
use crate::workload::kinds::{Doubt, When};
use crate::workload::pod::{PodKind, Role};

/// For bare image names: what an operator does with them is up to the operator.
const OPERATOR: Doubt = image_doubt(When::Always, "the operator may use another registry or another image instead");
/// An operator's own service account, which may have other pull secrets.
const OPERATORS_ACCOUNT: Doubt = credentials_doubt(When::Always, "the operator chooses the service account, and its pull secrets");
const BY_ANOTHER: Doubt = credentials_doubt(When::Always, "the object that uses this one chooses the pull secrets");
const ONLY_A_DEFAULT: Doubt = image_doubt(When::Always, "it is only a default, and its users may set another image");
const PATCHED: Doubt = image_doubt(When::Said("podSpecPatch"), "the podSpecPatch may change the image");
/// Merged into each workflow before it runs, including its list of pull secrets.
const WORKFLOW_DEFAULTS: Doubt = credentials_doubt(
    When::Always,
    "the workflowDefaults of Argo's controller may add pull secrets or choose the service account",
);
/// Set by Tekton's own admission, which runs after `check`.
const TEKTON_DEFAULTS: Doubt = credentials_doubt(
    When::Unsaid("serviceAccountName"),
    "Tekton's config-defaults choose the service account, and its pull secrets",
);
const AGONES_ACCOUNT: Doubt = credentials_doubt(
    When::Unsaid("serviceAccountName"),
    "Agones gives its pods their own service account, which may have other pull secrets",
);

const POD: &[Written] = &[pods("spec")];
const TEMPLATE: &[Written] = &[pods("spec.template.spec")];

/// The pods of a template of an Argo Workflow.
const ARGO_IMAGES: &[(&str, Role)] = &[
    ("initContainers[*].image", Role::Init),
    ("container.image", Role::Container),
    ("script.image", Role::Container),
    ("containerSet.containers[*].image", Role::Container),
    ("sidecars[*].image", Role::Container),
    ("volumes[*].image.reference", Role::Volume),
];

/// A `WorkflowSpec`. Pull secrets belong to the workflow; a template may set its own service account and node selection.
const ARGO: &[Written] = &[
    images("templates[*]", ARGO_IMAGES)
        .also(&[""])
        .doubts(&[PATCHED, WORKFLOW_DEFAULTS]),
    images("templates[*].dag.tasks[*].inline", ARGO_IMAGES)
        .also(&[""])
        .doubts(&[PATCHED, WORKFLOW_DEFAULTS]),
    images("templates[*].steps[*][*].inline", ARGO_IMAGES)
        .also(&[""])
        .doubts(&[PATCHED, WORKFLOW_DEFAULTS]),
    images("templateDefaults", ARGO_IMAGES)
        .also(&[""])
        .doubts(&[ONLY_A_DEFAULT, WORKFLOW_DEFAULTS]),
    images("", &[("volumes[*].image.reference", Role::Volume)]).doubts(&[PATCHED, WORKFLOW_DEFAULTS]),
];

/// Like [`ARGO`], for definitions: other workflows may use their templates, with their own pull secrets.
const ARGO_DEFINITION: &[Written] = &[
    images("templates[*]", ARGO_IMAGES).also(&[""]).doubts(&[PATCHED, BY_ANOTHER]),
    images("templates[*].dag.tasks[*].inline", ARGO_IMAGES)
        .also(&[""])
        .doubts(&[PATCHED, BY_ANOTHER]),
    images("templates[*].steps[*][*].inline", ARGO_IMAGES)
        .also(&[""])
        .doubts(&[PATCHED, BY_ANOTHER]),
    images("templateDefaults", ARGO_IMAGES)
        .also(&[""])
        .doubts(&[ONLY_A_DEFAULT, BY_ANOTHER]),
    images("", &[("volumes[*].image.reference", Role::Volume)]).doubts(&[PATCHED, BY_ANOTHER]),
];

/// A `VirtualMachineInstanceSpec`. The pod gets the secrets of all its disks, and the service account of its volumes. A disk image
/// is not a program: its platform does not matter.
const VIRTUAL_MACHINE: &[(&str, Role)] = &[
    ("volumes[*].containerDisk.image", Role::Volume),
    ("domain.firmware.kernelBoot.container.image", Role::Volume),
];
const DISK_SECRETS: &[&str] = &[
    "volumes[*].containerDisk.imagePullSecret",
    "domain.firmware.kernelBoot.container.imagePullSecret",
];
const DISK_ACCOUNT: &str = "volumes[*].serviceAccount.serviceAccountName";

/// A Tekton `TaskSpec`.
const TEKTON_IMAGES: &[(&str, Role)] = &[("steps[*].image", Role::Container), ("sidecars[*].image", Role::Container)];
const STEP_DEFAULT: &[(&str, Role)] = &[("stepTemplate.image", Role::Container)];
const TASK: &[Written] = &[
    images("", TEKTON_IMAGES).doubts(&[BY_ANOTHER]),
    images("", STEP_DEFAULT).doubts(&[ONLY_A_DEFAULT, BY_ANOTHER]),
];
const TASK_RUN_ALSO: &[&str] = &["/spec.podTemplate", "/spec"];
const TASK_RUN: &[Written] = &[
    images("", TEKTON_IMAGES).also(TASK_RUN_ALSO).doubts(&[TEKTON_DEFAULTS]),
    images("", STEP_DEFAULT)
        .also(TASK_RUN_ALSO)
        .doubts(&[ONLY_A_DEFAULT, TEKTON_DEFAULTS]),
];
const PIPELINE: &[Written] = &[
    images("tasks[*].taskSpec", TEKTON_IMAGES).doubts(&[BY_ANOTHER]),
    images("tasks[*].taskSpec", STEP_DEFAULT).doubts(&[ONLY_A_DEFAULT, BY_ANOTHER]),
    images("finally[*].taskSpec", TEKTON_IMAGES).doubts(&[BY_ANOTHER]),
    images("finally[*].taskSpec", STEP_DEFAULT).doubts(&[ONLY_A_DEFAULT, BY_ANOTHER]),
];
const PIPELINE_RUN_ALSO: &[&str] = &[
    "/spec.taskRunTemplate.podTemplate",
    "/spec.taskRunTemplate",
    // v1beta1.
    "/spec.podTemplate",
    "/spec",
];
const PER_TASK: Doubt = credentials_doubt(
    When::Said("taskRunSpecs"),
    "taskRunSpecs may give this task other pull secrets",
);
const PIPELINE_RUN: &[Written] = &[
    images("tasks[*].taskSpec", TEKTON_IMAGES)
        .also(PIPELINE_RUN_ALSO)
        .doubts(&[PER_TASK, TEKTON_DEFAULTS]),
    images("tasks[*].taskSpec", STEP_DEFAULT)
        .also(PIPELINE_RUN_ALSO)
        .doubts(&[ONLY_A_DEFAULT, PER_TASK, TEKTON_DEFAULTS]),
    images("finally[*].taskSpec", TEKTON_IMAGES)
        .also(PIPELINE_RUN_ALSO)
        .doubts(&[PER_TASK, TEKTON_DEFAULTS]),
    images("finally[*].taskSpec", STEP_DEFAULT)
        .also(PIPELINE_RUN_ALSO)
        .doubts(&[ONLY_A_DEFAULT, PER_TASK, TEKTON_DEFAULTS]),
];

/// A `RayClusterSpec`.
const RAY: &[Written] = &[pods("headGroupSpec.template.spec"), pods("workerGroupSpecs[*].template.spec")];

const REPLACED_BY_TRAIN_JOB: Doubt = image_doubt(When::Always, "a TrainJob may name another image");
const RUNTIME: &[Written] =
    &[pods("spec.template.spec.replicatedJobs[*].template.spec.template.spec").doubts(&[REPLACED_BY_TRAIN_JOB, BY_ANOTHER])];

/// A `SparkApplicationSpec`. Driver and executor share one pull policy and one list of secrets.
const SPARK: &[Written] = &[
    images("", &[("image", Role::Container)]).doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    images("driver", &[("image", Role::Container)])
        .also(&[""])
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    images("executor", &[("image", Role::Container)])
        .also(&[""])
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
];

const PROMETHEUS_IMAGES: &[(&str, Role)] = &[
    ("image", Role::Container),
    ("thanos.image", Role::Container),
    ("initContainers[*].image", Role::Init),
    ("containers[*].image", Role::Container),
];

const STRIMZI_IMAGES: &[(&str, Role)] = &[
    ("image", Role::Container),
    ("kafka.image", Role::Container),
    ("zookeeper.image", Role::Container),
    ("entityOperator.topicOperator.image", Role::Container),
    ("entityOperator.userOperator.image", Role::Container),
    ("cruiseControl.image", Role::Container),
    ("kafkaExporter.image", Role::Container),
];

/// Not here, because no kubelet pulls them: Crossplane packages, Flux `OCIRepository`s, Helm charts in registries, Kubewarden
/// policies.
pub(in crate::workload::kinds) const ROWS: &[Row] = &[
    Row {
        pod: PodKind::Pod,
        ..built_in("", &["Pod"], POD)
    },
    built_in("", &["PodTemplate"], &[pods("template.spec")]),
    built_in("", &["ReplicationController"], TEMPLATE),
    built_in("apps", &["ReplicaSet", "Deployment", "StatefulSet"], TEMPLATE),
    built_in("apps", &["DaemonSet"], &[pods("spec.template.spec").on_every_node()]),
    built_in("batch", &["Job"], TEMPLATE),
    built_in("batch", &["CronJob"], &[pods("spec.jobTemplate.spec.template.spec")]),
    // Argo Rollouts and Workflows.
    custom(
        "argoproj.io",
        &["Rollout"],
        "spec",
        &[pods("template.spec").unless("workloadRef")],
    ),
    custom("argoproj.io", &["Experiment"], "spec", &[pods("templates[*].template.spec")]),
    custom("argoproj.io", &["Workflow"], "spec", ARGO),
    custom("argoproj.io", &["CronWorkflow"], "spec.workflowSpec", ARGO),
    custom("argoproj.io", &["WorkflowTemplate"], "spec", ARGO_DEFINITION),
    cluster_wide(custom("argoproj.io", &["ClusterWorkflowTemplate"], "spec", ARGO_DEFINITION)),
    // Knative Serving.
    custom("serving.knative.dev", &["Service", "Configuration"], "", TEMPLATE),
    custom("serving.knative.dev", &["Revision"], "", POD),
    // KubeVirt.
    custom(
        "kubevirt.io",
        &["VirtualMachine", "VirtualMachineInstanceReplicaSet"],
        "",
        &[images("spec.template.spec", VIRTUAL_MACHINE)
            .secrets(DISK_SECRETS)
            .account(DISK_ACCOUNT)],
    ),
    custom(
        "kubevirt.io",
        &["VirtualMachineInstance"],
        "",
        &[images("spec", VIRTUAL_MACHINE).secrets(DISK_SECRETS).account(DISK_ACCOUNT)],
    ),
    // Tekton.
    custom("tekton.dev", &["Task"], "spec", TASK),
    cluster_wide(custom("tekton.dev", &["ClusterTask"], "spec", TASK)),
    custom("tekton.dev", &["TaskRun"], "spec.taskSpec", TASK_RUN),
    custom("tekton.dev", &["Pipeline"], "spec", PIPELINE),
    custom("tekton.dev", &["PipelineRun"], "spec.pipelineSpec", PIPELINE_RUN),
    // JobSet, LeaderWorkerSet, KubeRay, Volcano.
    custom(
        "jobset.x-k8s.io",
        &["JobSet"],
        "spec",
        &[pods("replicatedJobs[*].template.spec.template.spec")],
    ),
    custom(
        "leaderworkerset.x-k8s.io",
        &["LeaderWorkerSet"],
        "spec.leaderWorkerTemplate",
        &[pods("leaderTemplate.spec"), pods("workerTemplate.spec")],
    ),
    custom("ray.io", &["RayCluster"], "spec", RAY),
    custom("ray.io", &["RayJob"], "spec.rayClusterSpec", RAY),
    custom("ray.io", &["RayJob"], "spec", &[pods("submitterPodTemplate.spec")]),
    custom("ray.io", &["RayService"], "spec.rayClusterConfig", RAY),
    custom("batch.volcano.sh", &["Job"], "spec", &[pods("tasks[*].template.spec")]),
    // OpenKruise.
    custom("apps.kruise.io", &["CloneSet", "StatefulSet"], "", TEMPLATE),
    custom(
        "apps.kruise.io",
        &["DaemonSet", "BroadcastJob"],
        "",
        &[pods("spec.template.spec").on_every_node()],
    ),
    custom(
        "apps.kruise.io",
        &["AdvancedCronJob"],
        "spec.template",
        &[
            pods("jobTemplate.spec.template.spec"),
            pods("broadcastJobTemplate.spec.template.spec").on_every_node(),
        ],
    ),
    custom(
        "apps.kruise.io",
        &["UnitedDeployment"],
        "spec",
        &[pods("template.*.spec.template.spec").doubts(&[image_doubt(When::Always, "a subset may patch the image")])],
    ),
    cluster_wide(custom(
        "apps.kruise.io",
        &["SidecarSet"],
        "",
        &[pods("spec").doubts(&[credentials_doubt(
            When::Always,
            "the pods that it is injected into have pull secrets of their own",
        )])],
    )),
    // KEDA.
    custom("keda.sh", &["ScaledJob"], "spec", &[pods("jobTargetRef.template.spec")]),
    // Kubeflow.
    custom(
        "trainer.kubeflow.org",
        &["TrainJob"],
        "spec",
        &[images("trainer", &[("image", Role::Container)]).doubts(&[credentials_doubt(
            When::Always,
            "the training runtime chooses the pull secrets",
        )])],
    ),
    custom("trainer.kubeflow.org", &["TrainingRuntime"], "", RUNTIME),
    cluster_wide(custom("trainer.kubeflow.org", &["ClusterTrainingRuntime"], "", RUNTIME)),
    custom(
        "kubeflow.org",
        &["PyTorchJob"],
        "spec",
        &[pods("pytorchReplicaSpecs.*.template.spec")],
    ),
    custom("kubeflow.org", &["TFJob"], "spec", &[pods("tfReplicaSpecs.*.template.spec")]),
    custom(
        "kubeflow.org",
        &["MPIJob"],
        "spec",
        &[pods("mpiReplicaSpecs.*.template.spec")],
    ),
    // OpenShift.
    custom(
        "apps.openshift.io",
        &["DeploymentConfig"],
        "",
        &[pods("spec.template.spec").doubts(&[image_doubt(When::Always, "an image trigger may set another image")])],
    ),
    // Agones, Actions Runner Controller.
    custom(
        "agones.dev",
        &["GameServer"],
        "",
        &[pods("spec.template.spec").doubts(&[AGONES_ACCOUNT])],
    ),
    custom(
        "agones.dev",
        &["Fleet"],
        "",
        &[pods("spec.template.spec.template.spec").doubts(&[AGONES_ACCOUNT])],
    ),
    custom("actions.github.com", &["AutoscalingRunnerSet"], "", TEMPLATE),
    // Bare image names that an operator creates pods from.
    custom(
        "monitoring.coreos.com",
        &["Prometheus", "Alertmanager", "ThanosRuler"],
        "",
        &[images("spec", PROMETHEUS_IMAGES).doubts(&[OPERATOR])],
    ),
    custom(
        "kafka.strimzi.io",
        &["Kafka", "KafkaConnect", "KafkaMirrorMaker2", "KafkaBridge"],
        "",
        &[images("spec", STRIMZI_IMAGES).doubts(&[OPERATOR, OPERATORS_ACCOUNT])],
    ),
    custom(
        "postgresql.cnpg.io",
        &["Cluster"],
        "",
        &[images("spec", &[("imageName", Role::Container)]).doubts(&[OPERATOR, OPERATORS_ACCOUNT])],
    ),
    custom("sparkoperator.k8s.io", &["SparkApplication"], "spec", SPARK),
    custom("sparkoperator.k8s.io", &["ScheduledSparkApplication"], "spec.template", SPARK),
    custom(
        "opentelemetry.io",
        &["OpenTelemetryCollector"],
        "",
        &[images("spec", &[("image", Role::Container)]).doubts(&[OPERATOR, OPERATORS_ACCOUNT])],
    ),
];

//! The table of kinds (pull-semantics 3.1 and 3.5). The paths are from the projects' own types.

use super::{Row, Written, built_in, cluster_wide, credentials_doubt, custom, image_doubt, images, objects, pods};
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

/// Controllers that give their pods a service account of their own, which the object does not name.
const KUBERAY_ACCOUNT: Doubt = credentials_doubt(
    When::NoAccount,
    "KubeRay gives pods of a cluster that scales itself a service account of its own, which may have other pull secrets",
);
const MPI_ACCOUNT: Doubt = credentials_doubt(
    When::NoAccount,
    "the MPI operator gives the launcher a service account of its own, which may have other pull secrets",
);
const KUBEVIRT_ACCOUNT: Doubt = credentials_doubt(
    When::NoAccount,
    "KubeVirt chooses the service account of its launcher pods, which may have other pull secrets",
);
const KSERVE_OVERRIDES: Doubt = image_doubt(When::Always, "an InferenceService may set another image");
/// Parameters of a template: what fills them in knows the namespace, too.
const PROCESSED: Doubt = credentials_doubt(When::Always, "it is not known in which namespace its objects are created");

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
const RAY: &[Written] = &[
    pods("headGroupSpec.template.spec").doubts(&[KUBERAY_ACCOUNT]),
    pods("workerGroupSpecs[*].template.spec"),
    images("historyServerOptions.collectorOptions", &[("image", Role::Container)]).doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
];

/// The images of a Numaflow vertex; its pull secrets and node selection stand beside them.
const NUMAFLOW: &[(&str, Role)] = &[
    ("source.udsource.container.image", Role::Container),
    ("source.transformer.container.image", Role::Container),
    ("udf.container.image", Role::Container),
    ("sink.udsink.container.image", Role::Container),
    ("sink.fallback.udsink.container.image", Role::Container),
    ("initContainers[*].image", Role::Init),
    ("sidecars[*].image", Role::Container),
    ("volumes[*].image.reference", Role::Volume),
];

/// A component of an `InferenceService`: a `PodSpec`, and the images of its frameworks, which the operator puts into one.
const FRAMEWORKS: &[(&str, Role)] = &[
    ("model.image", Role::Container),
    ("sklearn.image", Role::Container),
    ("xgboost.image", Role::Container),
    ("tensorflow.image", Role::Container),
    ("pytorch.image", Role::Container),
    ("triton.image", Role::Container),
    ("onnx.image", Role::Container),
    ("huggingface.image", Role::Container),
    ("pmml.image", Role::Container),
    ("lightgbm.image", Role::Container),
    ("paddle.image", Role::Container),
    ("art.image", Role::Container),
];

/// An `LLMInferenceServiceSpec`.
const LLM: &[Written] = &[
    pods("template"),
    pods("worker"),
    pods("prefill.template"),
    pods("prefill.worker"),
    pods("router.scheduler.template"),
];

/// A resource of Elastic Cloud on Kubernetes: its image, and what is merged into its pods.
const ELASTIC: &[Written] = &[
    images("", &[("image", Role::Container)])
        .also(&["podTemplate.spec", "nodeSets[*].podTemplate.spec"])
        .doubts(&[OPERATOR]),
    pods("podTemplate.spec"),
    pods("nodeSets[*].podTemplate.spec"),
    pods("deployment.podTemplate.spec"),
    pods("daemonSet.podTemplate.spec").on_every_node(),
    pods("statefulSet.podTemplate.spec"),
];

const VOLCANO_TASKS: &[Written] = &[pods("tasks[*].template.spec")];
const PULLED_AHEAD: Doubt = image_doubt(When::Always, "it is only pulled ahead, and runs nowhere");

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
    ("volumes[*].image.reference", Role::Volume),
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

const HUMIO: &[(&str, Role)] = &[
    ("image", Role::Container),
    ("helperImage", Role::Init),
    ("sidecarContainer[*].image", Role::Container),
];

/// Images that `Cluster`s refer to.
const CATALOG: &[Written] = &[images(
    "",
    &[
        ("images[*].image", Role::Container),
        ("images[*].extensions[*].image.reference", Role::Volume),
    ],
)
.doubts(&[OPERATOR, BY_ANOTHER])];

/// Where the paths are from, by API group: the project, the version whose types were read, and the file of its types or its CRD.
pub(in crate::workload::kinds) const SOURCES: &[(&str, &str)] = &[
    ("", "Kubernetes 1.37, `core/v1`"),
    ("apps", "Kubernetes 1.37, `apps/v1`"),
    ("batch", "Kubernetes 1.37, `batch/v1`"),
    ("extensions", "Kubernetes 1.15, `extensions/v1beta1`"),
    (
        "argoproj.io",
        "Argo Workflows 3.7 `workflow_types.go`, `plugin_types.go`; Argo Rollouts 1.8 `types.go`, `analysis_types.go`",
    ),
    ("serving.knative.dev", "Knative Serving 1.19 `revision_types.go`"),
    ("kubevirt.io", "KubeVirt 1.6 `schema.go`"),
    ("pool.kubevirt.io", "KubeVirt 1.6 `pool/v1beta1/types.go`"),
    (
        "tekton.dev",
        "Tekton Pipelines 1.3 `task_types.go`, `pipeline_types.go`, `stepaction_types.go`",
    ),
    ("triggers.tekton.dev", "Tekton Triggers 0.33 `trigger_template_types.go`"),
    ("jobset.x-k8s.io", "JobSet 0.10 `jobset_types.go`"),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet 0.7 `leaderworkerset_types.go`"),
    (
        "disaggregatedset.x-k8s.io",
        "LeaderWorkerSet 0.10 `disaggregatedset_types.go`",
    ),
    (
        "workload.codeflare.dev",
        "AppWrapper 1.1 `appwrapper_types.go` (v1beta2), MCAD (v1beta1)",
    ),
    (
        "ray.io",
        "KubeRay master of 2026, `raycluster_types.go`, `rayjob_types.go`, `raycronjob_types.go`",
    ),
    ("batch.volcano.sh", "Volcano 1.13 `job.go`, `cronjob.go`"),
    ("flow.volcano.sh", "Volcano 1.13 `jobtemplate_types.go`"),
    ("apps.kruise.io", "OpenKruise 1.8 `apis/apps`"),
    ("kubefledged.io", "kube-fledged `v1alpha2/types.go`, and v1alpha3's names"),
    ("keda.sh", "KEDA 2.17 `scaledjob_types.go`"),
    (
        "trainer.kubeflow.org",
        "Kubeflow Trainer 2.0 `trainjob_types.go`, `trainingruntime_types.go`",
    ),
    (
        "kubeflow.org",
        "Kubeflow Training Operator 1.9; Notebook controller 1.10; Katib 0.18 `experiment_types.go`",
    ),
    (
        "serving.kserve.io",
        "KServe 0.15 `servingruntime_types.go`, `inference_service.go`, `llm_inference_service_types.go`",
    ),
    (
        "numaflow.numaproj.io",
        "Numaflow 1.5 `vertex_types.go`, `pipeline_types.go`, `mono_vertex_types.go`",
    ),
    ("apps.openshift.io", "OpenShift 4.20 `apps/v1/types.go`"),
    ("template.openshift.io", "OpenShift 4.20 `template/v1/types.go`"),
    (
        "operators.coreos.com",
        "Operator Lifecycle Manager API 0.34 `clusterserviceversion_types.go`",
    ),
    ("agones.dev", "Agones 1.52 `gameserver.go`"),
    (
        "actions.github.com",
        "Actions Runner Controller 0.12 `autoscalingrunnerset_types.go`",
    ),
    ("monitoring.coreos.com", "Prometheus Operator 0.85 `prometheus_types.go`"),
    ("kafka.strimzi.io", "Strimzi 0.47 `api`"),
    ("core.strimzi.io", "Strimzi 0.47 `StrimziPodSetSpec`"),
    (
        "postgresql.cnpg.io",
        "CloudNativePG 1.27 `cluster_types.go`, `imagecatalog_types.go`, `pooler_types.go`",
    ),
    ("sparkoperator.k8s.io", "Spark Operator 2.2 `sparkapplication_types.go`"),
    (
        "opentelemetry.io",
        "OpenTelemetry Operator 0.135 `opentelemetrycollector_types.go`",
    ),
    ("acid.zalan.do", "Postgres Operator 1.14 `postgresql_type.go`"),
    ("ceph.rook.io", "Rook 1.17 `types.go`"),
    ("minio.min.io", "MinIO Operator 7.1 `types.go`"),
    ("rabbitmq.com", "RabbitMQ Cluster Operator 2.16 `rabbitmqcluster_types.go`"),
    ("core.humio.com", "Humio Operator 0.32 `humiocluster_types.go`"),
    (
        "elasticsearch.k8s.elastic.co",
        "Elastic Cloud on Kubernetes 3.1 `elasticsearch_types.go`",
    ),
    ("kibana.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.1 `kibana_types.go`"),
    ("apm.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.1 `apmserver_types.go`"),
    (
        "enterprisesearch.k8s.elastic.co",
        "Elastic Cloud on Kubernetes 2.16 `enterprisesearch_types.go`",
    ),
    ("beat.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.1 `beat_types.go`"),
    ("agent.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.1 `agent_types.go`"),
    ("maps.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.1 `maps_types.go`"),
    (
        "logstash.k8s.elastic.co",
        "Elastic Cloud on Kubernetes 3.1 `logstash_types.go`",
    ),
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
    // Before Kubernetes 1.16; API servers no longer have it, files do.
    built_in("extensions", &["ReplicaSet", "Deployment"], TEMPLATE),
    built_in("extensions", &["DaemonSet"], &[pods("spec.template.spec").on_every_node()]),
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
    custom(
        "argoproj.io",
        &["AnalysisTemplate", "AnalysisRun"],
        "spec",
        &[pods("metrics[*].provider.job.spec.template.spec")],
    ),
    cluster_wide(custom(
        "argoproj.io",
        &["ClusterAnalysisTemplate"],
        "spec",
        &[pods("metrics[*].provider.job.spec.template.spec")],
    )),
    custom(
        "argoproj.io",
        &["ExecutorPlugin"],
        "spec.sidecar",
        &[images("", &[("container.image", Role::Container)]).doubts(&[BY_ANOTHER])],
    ),
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
            .account(DISK_ACCOUNT)
            .doubts(&[KUBEVIRT_ACCOUNT])],
    ),
    custom(
        "kubevirt.io",
        &["VirtualMachineInstance"],
        "",
        &[images("spec", VIRTUAL_MACHINE)
            .secrets(DISK_SECRETS)
            .account(DISK_ACCOUNT)
            .doubts(&[KUBEVIRT_ACCOUNT])],
    ),
    custom(
        "pool.kubevirt.io",
        &["VirtualMachinePool"],
        "spec.virtualMachineTemplate.spec",
        &[images("template.spec", VIRTUAL_MACHINE)
            .secrets(DISK_SECRETS)
            .account(DISK_ACCOUNT)
            .doubts(&[KUBEVIRT_ACCOUNT])],
    ),
    // Tekton.
    custom("tekton.dev", &["Task"], "spec", TASK),
    cluster_wide(custom("tekton.dev", &["ClusterTask"], "spec", TASK)),
    custom("tekton.dev", &["TaskRun"], "spec.taskSpec", TASK_RUN),
    custom("tekton.dev", &["Pipeline"], "spec", PIPELINE),
    custom("tekton.dev", &["PipelineRun"], "spec.pipelineSpec", PIPELINE_RUN),
    // Pipelines within pipelines.
    custom("tekton.dev", &["Pipeline"], "spec.tasks[*].pipelineSpec", PIPELINE),
    custom(
        "tekton.dev",
        &["PipelineRun"],
        "spec.pipelineSpec.tasks[*].pipelineSpec",
        PIPELINE_RUN,
    ),
    custom(
        "tekton.dev",
        &["StepAction"],
        "spec",
        &[images("", &[("image", Role::Container)]).doubts(&[BY_ANOTHER])],
    ),
    custom(
        "triggers.tekton.dev",
        &["TriggerTemplate"],
        "spec",
        &[objects("resourcetemplates[*]").doubts(&[PROCESSED])],
    ),
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
    custom(
        "disaggregatedset.x-k8s.io",
        &["DisaggregatedSet"],
        "spec.roles[*]",
        &[
            pods("spec.leaderWorkerTemplate.leaderTemplate.spec"),
            pods("spec.leaderWorkerTemplate.workerTemplate.spec"),
            // v1alpha1.
            pods("leaderWorkerTemplate.leaderTemplate.spec"),
            pods("leaderWorkerTemplate.workerTemplate.spec"),
        ],
    ),
    custom(
        "workload.codeflare.dev",
        &["AppWrapper"],
        "spec",
        &[
            objects("components[*].template"),
            objects("resources.GenericItems[*].generictemplate"),
        ],
    ),
    custom("ray.io", &["RayCluster"], "spec", RAY),
    custom("ray.io", &["RayCronJob"], "spec.jobTemplate.rayClusterSpec", RAY),
    custom(
        "ray.io",
        &["RayCronJob"],
        "spec.jobTemplate",
        &[pods("submitterPodTemplate.spec")],
    ),
    custom("ray.io", &["RayJob"], "spec.rayClusterSpec", RAY),
    custom("ray.io", &["RayJob"], "spec", &[pods("submitterPodTemplate.spec")]),
    custom("ray.io", &["RayService"], "spec.rayClusterConfig", RAY),
    custom("batch.volcano.sh", &["Job"], "spec", VOLCANO_TASKS),
    custom("batch.volcano.sh", &["CronJob"], "spec.jobTemplate.spec", VOLCANO_TASKS),
    custom("flow.volcano.sh", &["JobTemplate"], "spec", VOLCANO_TASKS),
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
    custom(
        "apps.kruise.io",
        &["ImagePullJob"],
        "spec",
        &[images("", &[("image", Role::Volume)])
            .secrets(&["pullSecrets[*]"])
            .doubts(&[PULLED_AHEAD])],
    ),
    custom(
        "apps.kruise.io",
        &["ImageListPullJob"],
        "spec",
        &[images("", &[("images[*]", Role::Volume)])
            .secrets(&["pullSecrets[*]"])
            .doubts(&[PULLED_AHEAD])],
    ),
    custom(
        "kubefledged.io",
        &["ImageCache"],
        "spec",
        &[images(
            "",
            &[
                ("cacheSpec[*].images[*]", Role::Volume),
                ("cacheSpec[*].images[*].name", Role::Volume),
            ],
        )
        .doubts(&[PULLED_AHEAD])],
    ),
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
        &[pods("mpiReplicaSpecs.*.template.spec").doubts(&[MPI_ACCOUNT])],
    ),
    custom(
        "kubeflow.org",
        &["XGBoostJob"],
        "spec",
        &[pods("xgbReplicaSpecs.*.template.spec")],
    ),
    custom(
        "kubeflow.org",
        &["PaddleJob"],
        "spec",
        &[pods("paddleReplicaSpecs.*.template.spec")],
    ),
    custom(
        "kubeflow.org",
        &["JAXJob"],
        "spec",
        &[pods("jaxReplicaSpecs.*.template.spec")],
    ),
    custom("kubeflow.org", &["MXJob"], "spec", &[pods("mxReplicaSpecs.*.template.spec")]),
    custom("kubeflow.org", &["Notebook"], "", TEMPLATE),
    // Katib: what it runs is an object of any kind.
    custom("kubeflow.org", &["Experiment"], "spec", &[objects("trialTemplate.trialSpec")]),
    // KServe.
    custom(
        "serving.kserve.io",
        &["ServingRuntime"],
        "spec",
        &[
            pods("").doubts(&[KSERVE_OVERRIDES, BY_ANOTHER]),
            pods("workerSpec").doubts(&[KSERVE_OVERRIDES, BY_ANOTHER]),
        ],
    ),
    cluster_wide(custom(
        "serving.kserve.io",
        &["ClusterServingRuntime"],
        "spec",
        &[
            pods("").doubts(&[KSERVE_OVERRIDES, BY_ANOTHER]),
            pods("workerSpec").doubts(&[KSERVE_OVERRIDES, BY_ANOTHER]),
        ],
    )),
    custom(
        "serving.kserve.io",
        &["InferenceService"],
        "spec",
        &[
            pods("predictor"),
            pods("predictor.workerSpec"),
            pods("transformer"),
            pods("explainer"),
            images("predictor", FRAMEWORKS).doubts(&[OPERATOR]),
            images("transformer", FRAMEWORKS).doubts(&[OPERATOR]),
            images("explainer", FRAMEWORKS).doubts(&[OPERATOR]),
        ],
    ),
    custom(
        "serving.kserve.io",
        &["LLMInferenceService", "LLMInferenceServiceConfig"],
        "spec",
        LLM,
    ),
    // Numaflow.
    custom(
        "numaflow.numaproj.io",
        &["Pipeline"],
        "spec",
        &[
            images("vertices[*]", NUMAFLOW).also(&["templates.vertex"]),
            images("", &[("sideInputs[*].container.image", Role::Container)]).also(&["templates.sideInputsManager"]),
        ],
    ),
    custom(
        "numaflow.numaproj.io",
        &["MonoVertex", "Vertex"],
        "spec",
        &[images("", NUMAFLOW)],
    ),
    // OpenShift.
    custom(
        "apps.openshift.io",
        &["DeploymentConfig"],
        "",
        &[pods("spec.template.spec").doubts(&[image_doubt(When::Always, "an image trigger may set another image")])],
    ),
    custom(
        "template.openshift.io",
        &["Template"],
        "",
        &[objects("objects[*]").doubts(&[PROCESSED])],
    ),
    custom(
        "operators.coreos.com",
        &["ClusterServiceVersion"],
        "spec.install.spec",
        &[pods("deployments[*].spec.template.spec")],
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
        &["Prometheus", "PrometheusAgent", "Alertmanager", "ThanosRuler"],
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
        &[images(
            "spec",
            &[
                ("imageName", Role::Container),
                ("postgresql.extensions[*].image.reference", Role::Volume),
            ],
        )
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT])],
    ),
    custom("postgresql.cnpg.io", &["ImageCatalog"], "spec", CATALOG),
    cluster_wide(custom("postgresql.cnpg.io", &["ClusterImageCatalog"], "spec", CATALOG)),
    custom(
        "postgresql.cnpg.io",
        &["Pooler"],
        "",
        &[pods("spec.template.spec").doubts(&[OPERATORS_ACCOUNT])],
    ),
    custom(
        "acid.zalan.do",
        &["postgresql"],
        "spec",
        &[images(
            "",
            &[
                ("dockerImage", Role::Container),
                ("connectionPooler.dockerImage", Role::Container),
                ("sidecars[*].image", Role::Container),
                ("initContainers[*].image", Role::Init),
                ("init_containers[*].image", Role::Init),
            ],
        )
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT])],
    ),
    custom("core.strimzi.io", &["StrimziPodSet"], "spec", &[pods("pods[*].spec")]),
    custom(
        "ceph.rook.io",
        &["CephCluster"],
        "spec",
        &[images("cephVersion", &[("image", Role::Container)]).doubts(&[OPERATOR, OPERATORS_ACCOUNT])],
    ),
    custom(
        "minio.min.io",
        &["Tenant"],
        "spec",
        &[images(
            "",
            &[
                ("image", Role::Container),
                ("kes.image", Role::Container),
                ("sideCars.containers[*].image", Role::Container),
                ("initContainers[*].image", Role::Init),
            ],
        )
        .secrets(&["imagePullSecret.name"])
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT])],
    ),
    custom(
        "rabbitmq.com",
        &["RabbitmqCluster"],
        "spec",
        &[
            images("", &[("image", Role::Container)]).doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
            pods("override.statefulSet.spec.template.spec").doubts(&[OPERATORS_ACCOUNT]),
        ],
    ),
    custom(
        "core.humio.com",
        &["HumioCluster"],
        "spec",
        &[
            images("", HUMIO).doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
            images("nodePools[*].spec", HUMIO)
                .also(&[""])
                .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
        ],
    ),
    custom("elasticsearch.k8s.elastic.co", &["Elasticsearch"], "spec", ELASTIC),
    custom("kibana.k8s.elastic.co", &["Kibana"], "spec", ELASTIC),
    custom("apm.k8s.elastic.co", &["ApmServer"], "spec", ELASTIC),
    custom("enterprisesearch.k8s.elastic.co", &["EnterpriseSearch"], "spec", ELASTIC),
    custom("beat.k8s.elastic.co", &["Beat"], "spec", ELASTIC),
    custom("agent.k8s.elastic.co", &["Agent"], "spec", ELASTIC),
    custom("maps.k8s.elastic.co", &["ElasticMapsServer"], "spec", ELASTIC),
    custom("logstash.k8s.elastic.co", &["Logstash"], "spec", ELASTIC),
    custom("sparkoperator.k8s.io", &["SparkApplication"], "spec", SPARK),
    custom("sparkoperator.k8s.io", &["ScheduledSparkApplication"], "spec.template", SPARK),
    custom(
        "opentelemetry.io",
        &["OpenTelemetryCollector"],
        "",
        &[images(
            "spec",
            &[
                ("image", Role::Container),
                ("targetAllocator.image", Role::Container),
                ("initContainers[*].image", Role::Init),
                ("additionalContainers[*].image", Role::Container),
                ("volumes[*].image.reference", Role::Volume),
            ],
        )
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT])],
    ),
];

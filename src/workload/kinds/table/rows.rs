//! The table of kinds (pull-semantics 3.1 and 3.5). The paths are from the projects' own types.

use super::{Row, Written, built_in, cluster_wide, credentials_doubt, custom, image_doubt, images, objects, pods};
use crate::workload::kinds::{Doubt, When};
use crate::workload::pod::{PodKind, Role};

/// For bare image names: an operator may do anything with them.
const OPERATOR: Doubt = image_doubt(When::Always, "the operator may use another registry or another image instead");
/// An operator's own service account, which may have other pull secrets.
const OPERATORS_ACCOUNT: Doubt = credentials_doubt(When::Always, "the operator chooses the service account, and its pull secrets");
const BY_ANOTHER: Doubt = credentials_doubt(When::Always, "the object that uses this one chooses the pull secrets");
const ONLY_A_DEFAULT: Doubt = image_doubt(When::Always, "it is only a default, and its users may set another image");
const PATCHED: Doubt = image_doubt(When::FieldSet("podSpecPatch"), "the podSpecPatch may change the image");
/// Merged into each workflow before it runs, including its list of pull secrets.
const WORKFLOW_DEFAULTS: Doubt = credentials_doubt(
    When::Always,
    "the workflowDefaults of Argo's controller may add pull secrets or choose the service account",
);
/// Set by Tekton's own admission, which runs after `check`.
const TEKTON_DEFAULTS: Doubt = credentials_doubt(
    When::FieldUnset("serviceAccountName"),
    "Tekton's config-defaults choose the service account, and its pull secrets",
);
const AGONES_ACCOUNT: Doubt = credentials_doubt(
    When::FieldUnset("serviceAccountName"),
    "Agones gives its pods their own service account, which may have other pull secrets",
);

/// Controllers that give their pods a service account of their own, which the object does not name.
const MAY_ADD_SECRETS: Doubt = credentials_doubt(
    When::Always,
    "the serving runtime or configuration that it uses may add pull secrets",
);
const KUBERAY_ACCOUNT: Doubt = credentials_doubt(
    When::NoAccount,
    "KubeRay gives pods of a cluster that scales itself a service account of its own, which may have other pull secrets",
);
const MPI_ACCOUNT: Doubt = credentials_doubt(
    When::NoAccount,
    "the MPI operator gives the launcher a service account of its own, which may have other pull secrets",
);
const KUBEVIRT_SECRET: Doubt = credentials_doubt(
    When::NoAccount,
    "virt-controller may add a pull secret of its own (--image-pull-secret)",
);
const KSERVE_OVERRIDES: Doubt = image_doubt(When::Always, "what uses it may set another image");
/// Parameters of a template: what fills them in knows the namespace, too.
const PROCESSED: Doubt = credentials_doubt(When::Always, "it is not known in which namespace its objects are created");

const DEPLOYER: Doubt = credentials_doubt(
    When::Always,
    "it runs as the deployer's service account, which may have other pull secrets",
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

/// Plugins of a workflow run beside its agent.
const ARGO_PLUGINS: Written = images("", &[("executorPlugins[*].spec.sidecar.container.image", Role::Container)]).doubts(&[
    image_doubt(
        When::Always,
        "it only runs where the controller lets workflows bring executor plugins",
    ),
    WORKFLOW_DEFAULTS,
]);

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
    ARGO_PLUGINS,
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
const TEKTON_IMAGES: &[(&str, Role)] = &[
    ("steps[*].image", Role::Container),
    ("sidecars[*].image", Role::Container),
    ("volumes[*].image.reference", Role::Volume),
];
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
    When::FieldSet("taskRunSpecs"),
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
    images("", &[("autoscalerOptions.image", Role::Container)])
        .also(&["headGroupSpec.template.spec"])
        .doubts(&[
            image_doubt(
                When::FieldUnset("enableInTreeAutoscaling"),
                "only a cluster that scales itself has an autoscaler",
            ),
            KUBERAY_ACCOUNT,
        ]),
    images("", &[("historyServerOptions.collectorOptions.image", Role::Container)])
        .also(&["headGroupSpec.template.spec"])
        .doubts(&[
            image_doubt(When::Always, "it only runs where KubeRay's RayClusterHistoryServer is on"),
            KUBERAY_ACCOUNT,
        ]),
];

/// The images of a Numaflow vertex; its pull secrets and node selection stand beside them.
const NUMAFLOW: &[(&str, Role)] = &[
    ("source.udsource.container.image", Role::Container),
    ("source.transformer.container.image", Role::Container),
    ("udf.container.image", Role::Container),
    ("sink.udsink.container.image", Role::Container),
    ("sink.fallback.udsink.container.image", Role::Container),
    ("sink.onSuccess.udsink.container.image", Role::Container),
    ("initContainers[*].image", Role::Init),
    ("sidecars[*].image", Role::Container),
    ("volumes[*].image.reference", Role::Volume),
];

const NUMAFLOW_PIPELINE: &[Written] = &[
    images("vertices[*]", NUMAFLOW).also(&["templates.vertex"]),
    images(
        "",
        &[
            ("sideInputs[*].container.image", Role::Container),
            ("sideInputs[*].volumes[*].image.reference", Role::Volume),
        ],
    )
    .also(&["templates.sideInputsManager"]),
];

/// A component of an `InferenceService`: a `PodSpec`, and the images of its frameworks, which the operator puts into a `PodSpec`.
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
];
const INFERENCE: &[Written] = &[
    pods("predictor").doubts(&[MAY_ADD_SECRETS]),
    pods("predictor.workerSpec").doubts(&[MAY_ADD_SECRETS]),
    images("predictor", FRAMEWORKS).doubts(&[OPERATOR, MAY_ADD_SECRETS]),
];

/// An `LLMInferenceServiceSpec`.
const LLM: &[Written] = &[
    pods("template").doubts(&[MAY_ADD_SECRETS]),
    pods("worker").doubts(&[MAY_ADD_SECRETS]),
    pods("prefill.template").doubts(&[MAY_ADD_SECRETS]),
    pods("prefill.worker").doubts(&[MAY_ADD_SECRETS]),
    pods("router.scheduler.template").doubts(&[MAY_ADD_SECRETS]),
    pods("router.scheduler.tokenizer.template").doubts(&[MAY_ADD_SECRETS]),
];
/// What is merged into the services that name it.
const LLM_CONFIG: &[Written] = &[
    pods("template").doubts(&[KSERVE_OVERRIDES, BY_ANOTHER]),
    pods("worker").doubts(&[KSERVE_OVERRIDES, BY_ANOTHER]),
    pods("prefill.template").doubts(&[KSERVE_OVERRIDES, BY_ANOTHER]),
    pods("prefill.worker").doubts(&[KSERVE_OVERRIDES, BY_ANOTHER]),
    pods("router.scheduler.template").doubts(&[KSERVE_OVERRIDES, BY_ANOTHER]),
    pods("router.scheduler.tokenizer.template").doubts(&[KSERVE_OVERRIDES, BY_ANOTHER]),
];

/// Resources of Elastic Cloud on Kubernetes: their image, and what is merged into their pods.
const ELASTIC: &[Written] = &[
    images("", &[("image", Role::Container)])
        .also(&["podTemplate.spec"])
        .doubts(&[OPERATOR]),
    pods("podTemplate.spec"),
];
const ELASTICSEARCH: &[Written] = &[
    images("", &[("image", Role::Container)])
        .also(&["nodeSets[*].podTemplate.spec"])
        .doubts(&[OPERATOR]),
    pods("nodeSets[*].podTemplate.spec"),
];
const ELASTIC_BEAT: &[Written] = &[
    images("", &[("image", Role::Container)])
        .also(&["daemonSet.podTemplate.spec", "deployment.podTemplate.spec"])
        .doubts(&[OPERATOR]),
    pods("daemonSet.podTemplate.spec").on_every_node(),
    pods("deployment.podTemplate.spec"),
];
const ELASTIC_AGENT: &[Written] = &[
    images("", &[("image", Role::Container)])
        .also(&[
            "daemonSet.podTemplate.spec",
            "deployment.podTemplate.spec",
            "statefulSet.podTemplate.spec",
        ])
        .doubts(&[OPERATOR]),
    pods("daemonSet.podTemplate.spec").on_every_node(),
    pods("deployment.podTemplate.spec"),
    pods("statefulSet.podTemplate.spec"),
];

const VOLCANO_TASKS: &[Written] = &[pods("tasks[*].template.spec")];
const PULLED_AHEAD: Doubt = image_doubt(When::Always, "it is only pulled in advance, and never runs");

const REPLACED_BY_TRAIN_JOB: Doubt = image_doubt(When::Always, "a TrainJob may name another image");
const RUNTIME: &[Written] =
    &[pods("spec.template.spec.replicatedJobs[*].template.spec.template.spec").doubts(&[REPLACED_BY_TRAIN_JOB, BY_ANOTHER])];

/// A driver or an executor of Spark. Its template is what Spark starts from: the images above are used instead of its main container's.
const SPARK_PODS: &[(&str, Role)] = &[
    ("image", Role::Container),
    ("initContainers[*].image", Role::Init),
    ("sidecars[*].image", Role::Container),
];
/// A `SparkApplicationSpec`. Driver and executor share one pull policy and one list of secrets.
const SPARK: &[Written] = &[
    images(
        "",
        &[("image", Role::Container), ("volumes[*].image.reference", Role::Volume)],
    )
    .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    images("driver", SPARK_PODS)
        .also(&[""])
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    images("executor", SPARK_PODS)
        .also(&[""])
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    pods("driver.template.spec").doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    pods("executor.template.spec").doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
];
const SPARK_CONNECT: &[Written] = &[
    images("", &[("image", Role::Container)]).doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    pods("server.template.spec").doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    pods("executor.template.spec").doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
];

const PROMETHEUS_IMAGES: &[(&str, Role)] = &[
    ("image", Role::Container),
    ("thanos.image", Role::Container),
    ("initContainers[*].image", Role::Init),
    ("containers[*].image", Role::Container),
    ("volumes[*].image.reference", Role::Volume),
];

/// A `KafkaSpec`. Each component's pod template has pull secrets of its own.
const STRIMZI_KAFKA: &[Written] = &[
    images(
        "kafka",
        &[
            ("image", Role::Container),
            ("brokerRackInitImage", Role::Init),
            STRIMZI_VOLUME,
        ],
    )
    .also(&["kafka.template.pod"])
    .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    images("zookeeper", &[("image", Role::Container)])
        .also(&["zookeeper.template.pod"])
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    images(
        "entityOperator",
        &[
            ("topicOperator.image", Role::Container),
            ("userOperator.image", Role::Container),
            ("tlsSidecar.image", Role::Container),
            STRIMZI_VOLUME,
        ],
    )
    .also(&["entityOperator.template.pod"])
    .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    images(
        "cruiseControl",
        &[
            ("image", Role::Container),
            ("tlsSidecar.image", Role::Container),
            STRIMZI_VOLUME,
        ],
    )
    .also(&["cruiseControl.template.pod"])
    .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    images("kafkaExporter", &[("image", Role::Container), STRIMZI_VOLUME])
        .also(&["kafkaExporter.template.pod"])
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
    images("jmxTrans", &[("image", Role::Container)])
        .also(&["jmxTrans.template.pod"])
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
];
/// Connect, `MirrorMaker` 2 and the bridge.
const STRIMZI_CLIENT: &[Written] = &[images(
    "",
    &[
        ("image", Role::Container),
        ("clientRackInitImage", Role::Init),
        ("plugins[*].artifacts[*].reference", Role::Volume),
        STRIMZI_VOLUME,
    ],
)
.also(&["template.pod"])
.doubts(&[OPERATOR, OPERATORS_ACCOUNT])];

/// An image that is mounted into the pods that a template is for.
const STRIMZI_VOLUME: (&str, Role) = ("template.pod.volumes[*].image.reference", Role::Volume);

const HUMIO: &[(&str, Role)] = &[
    ("image", Role::Container),
    ("helperImage", Role::Init),
    ("sidecarContainer[*].image", Role::Container),
    ("extraVolumes[*].image.reference", Role::Volume),
    ("dataVolumeSource.image.reference", Role::Volume),
];

/// Images that `Cluster`s refer to.
const CATALOG: &[Written] = &[images(
    "",
    &[
        ("images[*].image", Role::Container),
        ("images[*].extensions[*].image.reference", Role::Volume),
        ("componentImages[*].image", Role::Container),
    ],
)
.doubts(&[OPERATOR, BY_ANOTHER])];

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
    // API servers no longer have it since Kubernetes 1.16; files do.
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
            .doubts(&[KUBEVIRT_SECRET])],
    ),
    custom(
        "kubevirt.io",
        &["VirtualMachineInstance"],
        "",
        &[images("spec", VIRTUAL_MACHINE)
            .secrets(DISK_SECRETS)
            .account(DISK_ACCOUNT)
            .doubts(&[KUBEVIRT_SECRET])],
    ),
    custom(
        "pool.kubevirt.io",
        &["VirtualMachinePool"],
        "spec.virtualMachineTemplate.spec",
        &[images("template.spec", VIRTUAL_MACHINE)
            .secrets(DISK_SECRETS)
            .account(DISK_ACCOUNT)
            .doubts(&[KUBEVIRT_SECRET])],
    ),
    // Tekton.
    custom("tekton.dev", &["Task"], "spec", TASK),
    cluster_wide(custom("tekton.dev", &["ClusterTask"], "spec", TASK)),
    custom("tekton.dev", &["TaskRun"], "spec.taskSpec", TASK_RUN),
    custom("tekton.dev", &["Pipeline"], "spec", PIPELINE),
    custom("tekton.dev", &["PipelineRun"], "spec.pipelineSpec", PIPELINE_RUN),
    // Pipelines within pipelines.
    custom("tekton.dev", &["Pipeline"], "spec.tasks[*].pipelineSpec", PIPELINE),
    custom("tekton.dev", &["Pipeline"], "spec.finally[*].pipelineSpec", PIPELINE),
    custom(
        "tekton.dev",
        &["PipelineRun"],
        "spec.pipelineSpec.tasks[*].pipelineSpec",
        PIPELINE_RUN,
    ),
    custom(
        "tekton.dev",
        &["PipelineRun"],
        "spec.pipelineSpec.finally[*].pipelineSpec",
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
            images("imageListPullJobTemplate.spec", &[("images[*]", Role::Volume)])
                .secrets(&["pullSecrets[*]"])
                .doubts(&[PULLED_AHEAD]),
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
    custom(
        "kubeflow.org",
        &["Experiment"],
        "spec",
        &[
            objects("trialTemplate.trialSpec"),
            images(
                "metricsCollectorSpec.collector",
                &[("customCollector.image", Role::Container)],
            )
            .doubts(&[BY_ANOTHER]),
        ],
    ),
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
            pods("transformer"),
            pods("explainer"),
            images("explainer", &[("art.image", Role::Container)]).doubts(&[OPERATOR]),
        ],
    ),
    custom("serving.kserve.io", &["InferenceService"], "spec", INFERENCE),
    custom("serving.kserve.io", &["InferenceService"], "spec.canary[*]", INFERENCE),
    custom("serving.kserve.io", &["LLMInferenceService"], "spec", LLM),
    custom("serving.kserve.io", &["LLMInferenceServiceConfig"], "spec", LLM_CONFIG),
    cluster_wide(custom(
        "serving.kserve.io",
        &["ClusterStorageContainer"],
        "spec",
        &[images("", &[("container.image", Role::Init)]).doubts(&[BY_ANOTHER])],
    )),
    // Numaflow.
    custom("numaflow.numaproj.io", &["Pipeline"], "spec", NUMAFLOW_PIPELINE),
    custom(
        "numaflow.numaproj.io",
        &["ServingPipeline"],
        "spec.pipeline",
        NUMAFLOW_PIPELINE,
    ),
    custom(
        "numaflow.numaproj.io",
        &["ServingPipeline"],
        "spec.serving",
        &[images("", &[("store.container.image", Role::Container)])],
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
        &[
            pods("spec.template.spec").doubts(&[image_doubt(When::Always, "an image trigger may set another image")]),
            images("spec.strategy", &[("customParams.image", Role::Container)]).doubts(&[DEPLOYER]),
        ],
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
    custom(
        "actions.github.com",
        &["AutoscalingRunnerSet"],
        "spec",
        &[
            pods("template.spec"),
            pods("listenerTemplate.spec").doubts(&[OPERATORS_ACCOUNT]),
        ],
    ),
    // Bare image names that an operator creates pods from.
    custom(
        "monitoring.coreos.com",
        &["Prometheus", "PrometheusAgent", "Alertmanager", "ThanosRuler"],
        "",
        &[images("spec", PROMETHEUS_IMAGES).doubts(&[OPERATOR])],
    ),
    custom("kafka.strimzi.io", &["Kafka"], "spec", STRIMZI_KAFKA),
    custom(
        "kafka.strimzi.io",
        &["KafkaNodePool"],
        "spec",
        &[images("", &[STRIMZI_VOLUME])
            .also(&["template.pod"])
            .doubts(&[OPERATORS_ACCOUNT])],
    ),
    custom(
        "kafka.strimzi.io",
        &["KafkaConnect", "KafkaMirrorMaker2", "KafkaBridge"],
        "spec",
        STRIMZI_CLIENT,
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
        &[
            pods("spec.template.spec").doubts(&[OPERATORS_ACCOUNT]),
            images("spec", &[("pgbouncer.image", Role::Container)])
                .also(&["spec.template.spec"])
                .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
        ],
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
        "ceph.rook.io",
        &["CephNFS"],
        "spec",
        &[images(
            "",
            &[
                ("server.image", Role::Container),
                ("security.sssd.sidecar.image", Role::Container),
            ],
        )
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT])],
    ),
    custom(
        "ceph.rook.io",
        &["CephCOSIDriver", "CephNVMeOFGateway"],
        "spec",
        &[
            images("", &[("image", Role::Container), ("objectProvisionerImage", Role::Container)])
                .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
        ],
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
                ("sideCars.volumes[*].image.reference", Role::Volume),
                ("additionalVolumes[*].image.reference", Role::Volume),
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
            images(
                "",
                &[
                    ("image", Role::Container),
                    ("secretBackend.vault.defaultUserUpdaterImage", Role::Container),
                ],
            )
            .doubts(&[OPERATOR, OPERATORS_ACCOUNT]),
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
    custom(
        "core.humio.com",
        &["HumioBootstrapToken"],
        "spec",
        &[images("", &[("bootstrapImage", Role::Container)]).doubts(&[OPERATOR, OPERATORS_ACCOUNT])],
    ),
    custom(
        "core.humio.com",
        &["HumioPdfRenderService"],
        "spec",
        &[images(
            "",
            &[("image", Role::Container), ("volumes[*].image.reference", Role::Volume)],
        )
        .doubts(&[OPERATOR, OPERATORS_ACCOUNT])],
    ),
    custom("elasticsearch.k8s.elastic.co", &["Elasticsearch"], "spec", ELASTICSEARCH),
    custom("kibana.k8s.elastic.co", &["Kibana"], "spec", ELASTIC),
    custom("apm.k8s.elastic.co", &["ApmServer"], "spec", ELASTIC),
    custom("enterprisesearch.k8s.elastic.co", &["EnterpriseSearch"], "spec", ELASTIC),
    custom("beat.k8s.elastic.co", &["Beat"], "spec", ELASTIC_BEAT),
    custom("agent.k8s.elastic.co", &["Agent"], "spec", ELASTIC_AGENT),
    custom("maps.k8s.elastic.co", &["ElasticMapsServer"], "spec", ELASTIC),
    custom("logstash.k8s.elastic.co", &["Logstash"], "spec", ELASTIC),
    custom("packageregistry.k8s.elastic.co", &["PackageRegistry"], "spec", ELASTIC),
    custom("autoops.k8s.elastic.co", &["AutoOpsAgentPolicy"], "spec", ELASTIC),
    custom("sparkoperator.k8s.io", &["SparkApplication"], "spec", SPARK),
    custom("sparkoperator.k8s.io", &["ScheduledSparkApplication"], "spec.template", SPARK),
    custom("sparkoperator.k8s.io", &["SparkConnect"], "spec", SPARK_CONNECT),
    custom(
        "opentelemetry.io",
        &["OpenTelemetryCollector", "TargetAllocator", "OpAMPBridge"],
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
    custom(
        "opentelemetry.io",
        &["Instrumentation"],
        "spec",
        &[images(
            "",
            &[
                ("java.image", Role::Init),
                ("java.extensions[*].image", Role::Init),
                ("nodejs.image", Role::Init),
                ("python.image", Role::Init),
                ("dotnet.image", Role::Init),
                ("apacheHttpd.image", Role::Init),
                ("nginx.image", Role::Init),
                ("go.image", Role::Container),
            ],
        )
        .doubts(&[BY_ANOTHER])],
    ),
];

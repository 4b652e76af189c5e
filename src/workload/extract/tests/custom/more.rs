//! Kinds found in real repositories, and objects within objects.

use super::*;
use crate::workload::{Configured, Route};

pub(super) const POD_SPECS: &[(&str, &str, &str, Sure)] = &[
    (
        "argoproj.io/v1alpha1",
        "AnalysisTemplate",
        "spec.metrics[1].provider.job.spec.template.spec",
        Sure::Yes,
    ),
    (
        "argoproj.io/v1alpha1",
        "AnalysisRun",
        "spec.metrics[0].provider.job.spec.template.spec",
        Sure::Yes,
    ),
    (
        "argoproj.io/v1alpha1",
        "ClusterAnalysisTemplate",
        "spec.metrics[0].provider.job.spec.template.spec",
        Sure::Credentials,
    ),
    ("serving.kserve.io/v1alpha1", "ServingRuntime", "spec", Sure::Neither),
    (
        "serving.kserve.io/v1alpha1",
        "ServingRuntime",
        "spec.workerSpec",
        Sure::Neither,
    ),
    ("serving.kserve.io/v1alpha1", "ClusterServingRuntime", "spec", Sure::Neither),
    (
        "serving.kserve.io/v1beta1",
        "InferenceService",
        "spec.predictor",
        Sure::Credentials,
    ),
    (
        "serving.kserve.io/v1beta1",
        "InferenceService",
        "spec.predictor.workerSpec",
        Sure::Credentials,
    ),
    ("serving.kserve.io/v1beta1", "InferenceService", "spec.transformer", Sure::Yes),
    (
        "serving.kserve.io/v1alpha1",
        "LLMInferenceService",
        "spec.template",
        Sure::Credentials,
    ),
    (
        "serving.kserve.io/v1alpha1",
        "LLMInferenceService",
        "spec.worker",
        Sure::Credentials,
    ),
    (
        "serving.kserve.io/v1alpha1",
        "LLMInferenceService",
        "spec.prefill.template",
        Sure::Credentials,
    ),
    (
        "serving.kserve.io/v1alpha1",
        "LLMInferenceService",
        "spec.router.scheduler.template",
        Sure::Credentials,
    ),
    (
        "serving.kserve.io/v1alpha1",
        "LLMInferenceService",
        "spec.router.scheduler.tokenizer.template",
        Sure::Credentials,
    ),
    (
        "serving.kserve.io/v1beta1",
        "InferenceService",
        "spec.canary[1].predictor",
        Sure::Credentials,
    ),
    ("serving.kserve.io/v1beta1", "InferenceService", "spec.explainer", Sure::Yes),
    (
        "serving.kserve.io/v1alpha2",
        "LLMInferenceService",
        "spec.prefill.worker",
        Sure::Credentials,
    ),
    (
        "serving.kserve.io/v1alpha2",
        "LLMInferenceServiceConfig",
        "spec.template",
        Sure::Neither,
    ),
    (
        "actions.github.com/v1alpha1",
        "AutoscalingRunnerSet",
        "spec.listenerTemplate.spec",
        Sure::Credentials,
    ),
    (
        "packageregistry.k8s.elastic.co/v1alpha1",
        "PackageRegistry",
        "spec.podTemplate.spec",
        Sure::Yes,
    ),
    (
        "autoops.k8s.elastic.co/v1alpha1",
        "AutoOpsAgentPolicy",
        "spec.podTemplate.spec",
        Sure::Yes,
    ),
    (
        "sparkoperator.k8s.io/v1beta2",
        "SparkApplication",
        "spec.driver.template.spec",
        Sure::Neither,
    ),
    (
        "sparkoperator.k8s.io/v1alpha1",
        "SparkConnect",
        "spec.server.template.spec",
        Sure::Neither,
    ),
    ("core.strimzi.io/v1beta2", "StrimziPodSet", "spec.pods[1].spec", Sure::Yes),
    (
        "disaggregatedset.x-k8s.io/v1",
        "DisaggregatedSet",
        "spec.roles[1].spec.leaderWorkerTemplate.workerTemplate.spec",
        Sure::Yes,
    ),
    (
        "disaggregatedset.x-k8s.io/v1alpha1",
        "DisaggregatedSet",
        "spec.roles[0].leaderWorkerTemplate.leaderTemplate.spec",
        Sure::Yes,
    ),
    (
        "elasticsearch.k8s.elastic.co/v1",
        "Elasticsearch",
        "spec.nodeSets[1].podTemplate.spec",
        Sure::Yes,
    ),
    ("kibana.k8s.elastic.co/v1", "Kibana", "spec.podTemplate.spec", Sure::Yes),
    (
        "beat.k8s.elastic.co/v1beta1",
        "Beat",
        "spec.daemonSet.podTemplate.spec",
        Sure::Yes,
    ),
    (
        "beat.k8s.elastic.co/v1beta1",
        "Beat",
        "spec.deployment.podTemplate.spec",
        Sure::Yes,
    ),
    (
        "agent.k8s.elastic.co/v1alpha1",
        "Agent",
        "spec.statefulSet.podTemplate.spec",
        Sure::Yes,
    ),
    (
        "logstash.k8s.elastic.co/v1alpha1",
        "Logstash",
        "spec.podTemplate.spec",
        Sure::Yes,
    ),
    ("apm.k8s.elastic.co/v1", "ApmServer", "spec.podTemplate.spec", Sure::Yes),
    (
        "enterprisesearch.k8s.elastic.co/v1",
        "EnterpriseSearch",
        "spec.podTemplate.spec",
        Sure::Yes,
    ),
    (
        "maps.k8s.elastic.co/v1alpha1",
        "ElasticMapsServer",
        "spec.podTemplate.spec",
        Sure::Yes,
    ),
    (
        "kubeflow.org/v1",
        "XGBoostJob",
        "spec.xgbReplicaSpecs.Worker.template.spec",
        Sure::Yes,
    ),
    (
        "kubeflow.org/v1",
        "PaddleJob",
        "spec.paddleReplicaSpecs.Worker.template.spec",
        Sure::Yes,
    ),
    (
        "kubeflow.org/v1",
        "JAXJob",
        "spec.jaxReplicaSpecs.Worker.template.spec",
        Sure::Yes,
    ),
    (
        "kubeflow.org/v1",
        "MXJob",
        "spec.mxReplicaSpecs.Worker.template.spec",
        Sure::Yes,
    ),
    ("kubeflow.org/v1", "Notebook", "spec.template.spec", Sure::Yes),
    (
        "operators.coreos.com/v1alpha1",
        "ClusterServiceVersion",
        "spec.install.spec.deployments[1].spec.template.spec",
        Sure::Yes,
    ),
    (
        "batch.volcano.sh/v1alpha1",
        "CronJob",
        "spec.jobTemplate.spec.tasks[0].template.spec",
        Sure::Yes,
    ),
    (
        "flow.volcano.sh/v1alpha1",
        "JobTemplate",
        "spec.tasks[0].template.spec",
        Sure::Yes,
    ),
    (
        "ray.io/v1",
        "RayCronJob",
        "spec.jobTemplate.rayClusterSpec.workerGroupSpecs[0].template.spec",
        Sure::Yes,
    ),
    (
        "ray.io/v1",
        "RayCronJob",
        "spec.jobTemplate.submitterPodTemplate.spec",
        Sure::Yes,
    ),
    ("postgresql.cnpg.io/v1", "Pooler", "spec.template.spec", Sure::Credentials),
    (
        "rabbitmq.com/v1beta1",
        "RabbitmqCluster",
        "spec.override.statefulSet.spec.template.spec",
        Sure::Credentials,
    ),
];

pub(super) const IMAGES: &[(&str, &str, &str, Sure)] = &[
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec.executorPlugins[0].spec.sidecar.container.image",
        Sure::Neither,
    ),
    ("tekton.dev/v1", "Task", "spec.volumes[0].image.reference", Sure::Credentials),
    (
        "tekton.dev/v1",
        "Pipeline",
        "spec.finally[0].pipelineSpec.tasks[0].taskSpec.steps[0].image",
        Sure::Credentials,
    ),
    (
        "tekton.dev/v1",
        "PipelineRun",
        "spec.pipelineSpec.finally[0].pipelineSpec.tasks[0].taskSpec.steps[0].image",
        Sure::Credentials,
    ),
    ("ray.io/v1", "RayCluster", "spec.autoscalerOptions.image", Sure::Neither),
    (
        "ray.io/v1",
        "RayJob",
        "spec.rayClusterSpec.autoscalerOptions.image",
        Sure::Neither,
    ),
    (
        "numaflow.numaproj.io/v1alpha1",
        "MonoVertex",
        "spec.sink.onSuccess.udsink.container.image",
        Sure::Yes,
    ),
    (
        "numaflow.numaproj.io/v1alpha1",
        "ServingPipeline",
        "spec.pipeline.vertices[1].udf.container.image",
        Sure::Yes,
    ),
    (
        "numaflow.numaproj.io/v1alpha1",
        "ServingPipeline",
        "spec.serving.store.container.image",
        Sure::Yes,
    ),
    (
        "serving.kserve.io/v1beta1",
        "InferenceService",
        "spec.canary[0].predictor.model.image",
        Sure::Neither,
    ),
    (
        "serving.kserve.io/v1alpha1",
        "ClusterStorageContainer",
        "spec.container.image",
        Sure::Credentials,
    ),
    (
        "kafka.strimzi.io/v1",
        "Kafka",
        "spec.kafka.brokerRackInitImage",
        Sure::Neither,
    ),
    ("kafka.strimzi.io/v1beta2", "Kafka", "spec.zookeeper.image", Sure::Neither),
    ("kafka.strimzi.io/v1", "Kafka", "spec.cruiseControl.image", Sure::Neither),
    ("kafka.strimzi.io/v1", "Kafka", "spec.kafkaExporter.image", Sure::Neither),
    (
        "kafka.strimzi.io/v1",
        "KafkaConnect",
        "spec.clientRackInitImage",
        Sure::Neither,
    ),
    ("kafka.strimzi.io/v1", "KafkaBridge", "spec.image", Sure::Neither),
    (
        "kafka.strimzi.io/v1",
        "KafkaConnect",
        "spec.plugins[0].artifacts[1].reference",
        Sure::Neither,
    ),
    (
        "kafka.strimzi.io/v1",
        "Kafka",
        "spec.entityOperator.template.pod.volumes[0].image.reference",
        Sure::Neither,
    ),
    (
        "kafka.strimzi.io/v1",
        "KafkaNodePool",
        "spec.template.pod.volumes[0].image.reference",
        Sure::Credentials,
    ),
    (
        "minio.min.io/v2",
        "Tenant",
        "spec.sideCars.volumes[0].image.reference",
        Sure::Neither,
    ),
    (
        "core.humio.com/v1alpha1",
        "HumioBootstrapToken",
        "spec.bootstrapImage",
        Sure::Neither,
    ),
    (
        "core.humio.com/v1alpha1",
        "HumioPdfRenderService",
        "spec.volumes[0].image.reference",
        Sure::Neither,
    ),
    (
        "postgresql.cnpg.io/v1",
        "ImageCatalog",
        "spec.componentImages[0].image",
        Sure::Neither,
    ),
    ("postgresql.cnpg.io/v1", "Pooler", "spec.pgbouncer.image", Sure::Neither),
    (
        "core.humio.com/v1alpha1",
        "HumioCluster",
        "spec.extraVolumes[0].image.reference",
        Sure::Neither,
    ),
    ("ceph.rook.io/v1", "CephNFS", "spec.server.image", Sure::Neither),
    (
        "ceph.rook.io/v1",
        "CephNFS",
        "spec.security.sssd.sidecar.image",
        Sure::Neither,
    ),
    (
        "ceph.rook.io/v1",
        "CephCOSIDriver",
        "spec.objectProvisionerImage",
        Sure::Neither,
    ),
    ("ceph.rook.io/v1", "CephNVMeOFGateway", "spec.image", Sure::Neither),
    (
        "rabbitmq.com/v1beta1",
        "RabbitmqCluster",
        "spec.secretBackend.vault.defaultUserUpdaterImage",
        Sure::Neither,
    ),
    (
        "apps.kruise.io/v1beta1",
        "AdvancedCronJob",
        "spec.template.imageListPullJobTemplate.spec.images[1]",
        Sure::Image,
    ),
    (
        "kubeflow.org/v1beta1",
        "Experiment",
        "spec.metricsCollectorSpec.collector.customCollector.image",
        Sure::Credentials,
    ),
    (
        "apps.openshift.io/v1",
        "DeploymentConfig",
        "spec.strategy.customParams.image",
        Sure::Credentials,
    ),
    (
        "sparkoperator.k8s.io/v1beta2",
        "SparkApplication",
        "spec.driver.initContainers[0].image",
        Sure::Neither,
    ),
    (
        "sparkoperator.k8s.io/v1beta2",
        "SparkApplication",
        "spec.executor.sidecars[0].image",
        Sure::Neither,
    ),
    ("sparkoperator.k8s.io/v1alpha1", "SparkConnect", "spec.image", Sure::Neither),
    ("opentelemetry.io/v1alpha1", "TargetAllocator", "spec.image", Sure::Neither),
    ("opentelemetry.io/v1alpha1", "OpAMPBridge", "spec.image", Sure::Neither),
    (
        "opentelemetry.io/v1alpha1",
        "Instrumentation",
        "spec.java.image",
        Sure::Credentials,
    ),
    (
        "opentelemetry.io/v1alpha1",
        "Instrumentation",
        "spec.go.image",
        Sure::Credentials,
    ),
    (
        "argoproj.io/v1alpha1",
        "ExecutorPlugin",
        "spec.sidecar.container.image",
        Sure::Credentials,
    ),
    (
        "serving.kserve.io/v1beta1",
        "InferenceService",
        "spec.predictor.model.image",
        Sure::Neither,
    ),
    (
        "serving.kserve.io/v1beta1",
        "InferenceService",
        "spec.predictor.sklearn.image",
        Sure::Neither,
    ),
    (
        "serving.kserve.io/v1beta1",
        "InferenceService",
        "spec.explainer.art.image",
        Sure::Image,
    ),
    (
        "numaflow.numaproj.io/v1alpha1",
        "Pipeline",
        "spec.vertices[1].udf.container.image",
        Sure::Yes,
    ),
    (
        "numaflow.numaproj.io/v1alpha1",
        "Pipeline",
        "spec.vertices[0].source.udsource.container.image",
        Sure::Yes,
    ),
    (
        "numaflow.numaproj.io/v1alpha1",
        "Pipeline",
        "spec.vertices[0].sink.fallback.udsink.container.image",
        Sure::Yes,
    ),
    (
        "numaflow.numaproj.io/v1alpha1",
        "Pipeline",
        "spec.vertices[0].sidecars[0].image",
        Sure::Yes,
    ),
    (
        "numaflow.numaproj.io/v1alpha1",
        "Pipeline",
        "spec.sideInputs[0].container.image",
        Sure::Yes,
    ),
    (
        "numaflow.numaproj.io/v1alpha1",
        "MonoVertex",
        "spec.sink.udsink.container.image",
        Sure::Yes,
    ),
    ("tekton.dev/v1", "StepAction", "spec.image", Sure::Credentials),
    (
        "tekton.dev/v1",
        "Pipeline",
        "spec.tasks[0].pipelineSpec.tasks[1].taskSpec.steps[0].image",
        Sure::Credentials,
    ),
    (
        "tekton.dev/v1",
        "PipelineRun",
        "spec.pipelineSpec.tasks[0].pipelineSpec.tasks[0].taskSpec.steps[0].image",
        Sure::Credentials,
    ),
    ("ceph.rook.io/v1", "CephCluster", "spec.cephVersion.image", Sure::Neither),
    ("minio.min.io/v2", "Tenant", "spec.image", Sure::Neither),
    ("minio.min.io/v2", "Tenant", "spec.kes.image", Sure::Neither),
    (
        "minio.min.io/v2",
        "Tenant",
        "spec.sideCars.containers[0].image",
        Sure::Neither,
    ),
    ("rabbitmq.com/v1beta1", "RabbitmqCluster", "spec.image", Sure::Neither),
    ("core.humio.com/v1alpha1", "HumioCluster", "spec.image", Sure::Neither),
    ("core.humio.com/v1alpha1", "HumioCluster", "spec.helperImage", Sure::Neither),
    (
        "core.humio.com/v1alpha1",
        "HumioCluster",
        "spec.nodePools[0].spec.image",
        Sure::Neither,
    ),
    ("elasticsearch.k8s.elastic.co/v1", "Elasticsearch", "spec.image", Sure::Image),
    ("logstash.k8s.elastic.co/v1alpha1", "Logstash", "spec.image", Sure::Image),
    (
        "postgresql.cnpg.io/v1",
        "Cluster",
        "spec.postgresql.extensions[0].image.reference",
        Sure::Neither,
    ),
    ("postgresql.cnpg.io/v1", "ImageCatalog", "spec.images[1].image", Sure::Neither),
    (
        "postgresql.cnpg.io/v1",
        "ImageCatalog",
        "spec.images[0].extensions[0].image.reference",
        Sure::Neither,
    ),
    (
        "postgresql.cnpg.io/v1",
        "ClusterImageCatalog",
        "spec.images[0].image",
        Sure::Neither,
    ),
    ("acid.zalan.do/v1", "postgresql", "spec.dockerImage", Sure::Neither),
    (
        "acid.zalan.do/v1",
        "postgresql",
        "spec.connectionPooler.dockerImage",
        Sure::Neither,
    ),
    ("acid.zalan.do/v1", "postgresql", "spec.sidecars[0].image", Sure::Neither),
    (
        "ray.io/v1",
        "RayCluster",
        "spec.historyServerOptions.collectorOptions.image",
        Sure::Neither,
    ),
    (
        "pool.kubevirt.io/v1alpha1",
        "VirtualMachinePool",
        "spec.virtualMachineTemplate.spec.template.spec.volumes[0].containerDisk.image",
        Sure::Credentials,
    ),
    (
        "opentelemetry.io/v1beta1",
        "OpenTelemetryCollector",
        "spec.targetAllocator.image",
        Sure::Neither,
    ),
    (
        "opentelemetry.io/v1beta1",
        "OpenTelemetryCollector",
        "spec.additionalContainers[0].image",
        Sure::Neither,
    ),
    (
        "monitoring.coreos.com/v1",
        "Prometheus",
        "spec.volumes[0].image.reference",
        Sure::Image,
    ),
    ("monitoring.coreos.com/v1alpha1", "PrometheusAgent", "spec.image", Sure::Image),
    ("apps.kruise.io/v1alpha1", "ImagePullJob", "spec.image", Sure::Image),
    ("apps.kruise.io/v1beta1", "ImageListPullJob", "spec.images[1]", Sure::Image),
    (
        "kubefledged.io/v1alpha2",
        "ImageCache",
        "spec.cacheSpec[0].images[1]",
        Sure::Image,
    ),
    (
        "kubefledged.io/v1alpha3",
        "ImageCache",
        "spec.cacheSpec[0].images[1].name",
        Sure::Image,
    ),
];

fn paths(object: &Value) -> Vec<String> {
    let workload = extract(object, None, "ns").expect("judged");
    let uses = workload.templates.iter().flat_map(|template| &template.uses);
    uses.map(|image| image.path.to_string()).collect()
}

#[test]
fn objects_within_objects_are_read_by_their_own_kind() {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "a:1"}]}}}});
    let run = json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "spec": {"taskSpec": {"steps": [{"name": "s", "image": "$(tt.params.image)"}]}}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"image": "no"}});
    for (api, kind, at, inner, found) in [
        (
            "template.openshift.io/v1",
            "Template",
            "objects[1]",
            &job,
            "spec.template.spec.containers[0].image",
        ),
        (
            "triggers.tekton.dev/v1beta1",
            "TriggerTemplate",
            "spec.resourcetemplates[0]",
            &run,
            "spec.taskSpec.steps[0].image",
        ),
        (
            "workload.codeflare.dev/v1beta2",
            "AppWrapper",
            "spec.components[0].template",
            &job,
            "spec.template.spec.containers[0].image",
        ),
        (
            "workload.codeflare.dev/v1beta1",
            "AppWrapper",
            "spec.resources.GenericItems[0].generictemplate",
            &job,
            "spec.template.spec.containers[0].image",
        ),
        (
            "kubeflow.org/v1beta1",
            "Experiment",
            "spec.trialTemplate.trialSpec",
            &job,
            "spec.template.spec.containers[0].image",
        ),
    ] {
        let object = object(api, kind, &[(at, inner.clone())]);
        assert_eq!(paths(&object), [format!("{at}.{found}")], "{kind}");
        let workload = extract(&object, None, "ns").expect(kind);
        assert_eq!(workload.templates[0].nature.parameters, Parameters::FilledIn, "{kind}");
        assert_eq!(workload.templates[0].kind, PodKind::Template, "{kind}");
    }
    let other = object("template.openshift.io/v1", "Template", &[("objects[0]", service)]);
    assert_eq!(paths(&other), [""; 0]);
    // No deeper than one.
    let inner = object("template.openshift.io/v1", "Template", &[("objects[0]", job)]);
    assert_eq!(
        paths(&object("template.openshift.io/v1", "Template", &[("objects[0]", inner)])),
        [""; 0]
    );
}

#[test]
fn paths_that_lead_to_no_text_are_left_out() {
    for odd in [json!(null), json!(5), json!({"image": "x"}), json!([]), json!("")] {
        let object = object("ceph.rook.io/v1", "CephCluster", &[("spec.cephVersion.image", odd.clone())]);
        assert_eq!(paths(&object), [""; 0], "{odd}");
        let cache = super::object(
            "kubefledged.io/v1alpha2",
            "ImageCache",
            &[("spec.cacheSpec[0].images", json!([odd, "a:1"]))],
        );
        assert_eq!(paths(&cache), ["spec.cacheSpec[0].images[1]"], "{odd}");
    }
}

#[test]
fn paths_that_lead_to_no_text_are_told() {
    let told = |object: &Value, kinds: &Kinds| -> Vec<String> {
        let places = crate::workload::paths_without_images(object, kinds).into_iter();
        places
            .map(|(path, is, wanted)| format!("{path}: {is}, not {wanted}"))
            .collect()
    };
    let table = Kinds::default();
    let cluster = |image: Value| object("ceph.rook.io/v1", "CephCluster", &[("spec.cephVersion.image", image)]);
    assert_eq!(
        told(&cluster(json!(1.25)), &table),
        ["spec.cephVersion.image: a number, not the name of an image"]
    );
    // Another version of a kind may have something else there.
    for fine in [json!("a:1"), json!(null), json!({"name": "x"}), json!(["a"])] {
        assert_eq!(told(&cluster(fine), &table), [""; 0]);
    }
    let own = Kinds::with(&[Configured {
        group: "example.com".to_owned(),
        kind: "App".to_owned(),
        pod_specs: vec![Route::parse("spec.sets[*].pod").unwrap()],
        images: vec![Route::parse("spec.tool.image").unwrap()],
        scope: None,
    }]);
    let app = json!({"apiVersion": "example.com/v1", "kind": "App", "spec": {
        "sets": [{"pod": {"containers": []}}, {"pod": "text"}, {}], "tool": {"image": {"repository": "a", "tag": "1"}}}});
    assert_eq!(
        told(&app, &own),
        [
            "spec.sets[1].pod: a text, not a pod spec",
            "spec.tool.image: an object, not the name of an image"
        ]
    );
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": 5}]}});
    assert_eq!(told(&pod, &own), [""; 0]);
    let on_the_way = |spec: Value| told(&json!({"apiVersion": "example.com/v1", "kind": "App", "spec": spec}), &own);
    for (spec, expected) in [
        (json!({"sets": "text"}), "spec.sets: a text, not a list"),
        (json!({"sets": {"a": {"pod": {}}}}), "spec.sets: an object, not a list"),
        (json!({"sets": [1]}), "spec.sets[0]: a number, not an object"),
        (json!({"tool": ["a:1"]}), "spec.tool: a list, not an object"),
        (json!("text"), "spec: a text, not an object"),
    ] {
        assert_eq!(on_the_way(spec), [expected]);
    }
    assert_eq!(on_the_way(json!({"sets": null, "tool": {}})), [""; 0]);
}

#[test]
fn an_account_of_the_controllers_matters_only_where_the_object_names_none() {
    let head = |spec: &Value| {
        let object = object(
            "ray.io/v1",
            "RayCluster",
            &[("spec.headGroupSpec.template.spec", spec.clone())],
        );
        let workload = extract(&object, None, "ns").expect("judged");
        workload.templates[0].nature.other_credentials.is_some()
    };
    let containers = json!([{"name": "c", "image": "a:1"}]);
    assert!(head(&json!({"containers": containers})));
    assert!(!head(&json!({"containers": containers, "serviceAccountName": "mine"})));
    assert!(!head(&json!({"containers": containers, "imagePullSecrets": [{"name": "s"}]})));
    let disk = object(
        "kubevirt.io/v1",
        "VirtualMachineInstance",
        &[(
            "spec.volumes[0].containerDisk",
            json!({"image": "a:1", "imagePullSecret": "s"}),
        )],
    );
    let workload = extract(&disk, None, "ns").expect("judged");
    assert_eq!(workload.templates[0].nature.other_credentials, None);
    assert_eq!(workload.templates[0].needs.pull_secrets, ["s"]);
}

//! Where the paths of the table are from.

/// By API group: the project, the version whose CRD or types were read, and the file where that is not the CRD.
pub(in crate::workload::kinds) const SOURCES: &[(&str, &str)] = &[
    ("", "Kubernetes 1.37, `core/v1`"),
    ("apps", "Kubernetes 1.37, `apps/v1`"),
    ("batch", "Kubernetes 1.37, `batch/v1`"),
    (
        "extensions",
        "Kubernetes 1.37 (which still has the types), `extensions/v1beta1`",
    ),
    (
        "argoproj.io",
        "Argo Workflows 4.1.2, CRDs, `workflow_types.go` and `plugin_types.go`; Argo Rollouts 1.9.1, CRDs",
    ),
    (
        "serving.knative.dev",
        "Knative Serving 1.22, `revision_types.go`, `configuration_types.go`",
    ),
    ("kubevirt.io", "KubeVirt 1.9.0, `core/v1/schema.go`, `services/template.go`"),
    ("pool.kubevirt.io", "KubeVirt 1.9.0, `pool/v1beta1/types.go`"),
    (
        "tekton.dev",
        "Tekton Pipelines 1.15.0, `pipeline_types.go`, `task_types.go`, `stepaction_types.go`; 0.70.0 for `ClusterTask`",
    ),
    ("triggers.tekton.dev", "Tekton Triggers 0.37.0, `trigger_template_types.go`"),
    ("jobset.x-k8s.io", "JobSet 0.12.0, CRD"),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet 0.10.0, CRD"),
    (
        "disaggregatedset.x-k8s.io",
        "LeaderWorkerSet 0.10.0, CRD (v1); `api/disaggregatedset/v1alpha1/disaggregatedset_types.go` at d5d8b69 (v1alpha1, which no release has)",
    ),
    (
        "workload.codeflare.dev",
        "AppWrapper 1.2.1, CRD (v1beta2); MCAD 1.40.0, `appwrapper.go` (v1beta1)",
    ),
    ("ray.io", "KubeRay 1.7.0, CRDs and `common/pod.go`"),
    ("batch.volcano.sh", "Volcano 1.15.1, CRDs"),
    ("flow.volcano.sh", "Volcano 1.15.1, CRDs"),
    ("apps.kruise.io", "OpenKruise 1.9.0, CRDs and `apis/apps`"),
    (
        "kubefledged.io",
        "kube-fledged 0.10.0, CRD (v1alpha2); `v1alpha3/types.go` of the fork tensorchord/kube-fledged at fb1d2bf (v1alpha3, `images[*].name`)",
    ),
    ("keda.sh", "KEDA 2.20.2, CRD"),
    ("trainer.kubeflow.org", "Kubeflow Trainer 2.3.0, CRDs"),
    (
        "kubeflow.org",
        "Kubeflow Training Operator 1.9.0, CRDs (`MXJob`: 1.8.1); MPI Operator 0.8.0, CRD; Notebooks 1.11.0, CRD; Katib 0.19.0, `experiment_types.go`",
    ),
    (
        "serving.kserve.io",
        "KServe 0.20.0, CRDs; `router.scheduler.tokenizer` as of aaac4e2",
    ),
    ("numaflow.numaproj.io", "Numaflow 1.8.3, CRDs"),
    ("apps.openshift.io", "openshift/api of August 2026, `apps/v1/types.go`"),
    (
        "template.openshift.io",
        "openshift/api of August 2026, `template/v1/types.go`",
    ),
    ("operators.coreos.com", "Operator Lifecycle Manager API 0.45.0, CRD"),
    ("agones.dev", "Agones 1.56.0, CRDs and `gameservers/controller.go`"),
    (
        "actions.github.com",
        "Actions Runner Controller, scale set 0.14.2, CRD and `resourcebuilder.go`",
    ),
    ("monitoring.coreos.com", "Prometheus Operator 0.93.0, CRDs"),
    (
        "kafka.strimzi.io",
        "Strimzi 1.2.0, CRDs; 0.45.0 for ZooKeeper, JmxTrans and TLS sidecars",
    ),
    (
        "core.strimzi.io",
        "Strimzi 1.2.0, CRD (which leaves the pods open), `StrimziPodSetSpec`",
    ),
    ("postgresql.cnpg.io", "CloudNativePG 1.30.0, CRDs"),
    ("sparkoperator.k8s.io", "Spark Operator 2.5.2, CRDs"),
    ("opentelemetry.io", "OpenTelemetry Operator 0.158.0, CRDs"),
    ("acid.zalan.do", "Postgres Operator 2.0.1, CRD; 1.15.1 for `init_containers`"),
    ("ceph.rook.io", "Rook 1.20.6, CRDs"),
    ("minio.min.io", "MinIO Operator 7.1.1, CRD"),
    ("rabbitmq.com", "RabbitMQ Cluster Operator 2.22.3, CRD"),
    ("core.humio.com", "Humio Operator 0.33.0, CRD"),
    ("elasticsearch.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.5.0, CRD"),
    ("kibana.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.5.0, CRD"),
    ("apm.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.5.0, CRD"),
    ("enterprisesearch.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.5.0, CRD"),
    ("beat.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.5.0, CRD"),
    ("agent.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.5.0, CRD"),
    ("maps.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.5.0, CRD"),
    ("logstash.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.5.0, CRD"),
    ("packageregistry.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.5.0, CRD"),
    ("autoops.k8s.elastic.co", "Elastic Cloud on Kubernetes 3.5.0, CRD"),
];

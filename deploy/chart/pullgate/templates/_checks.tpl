{{/* Checks that a schema cannot express. Each message names the value and what to do. */}}
{{- define "pullgate.checks" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository: say where pullgate's image was pushed, for instance --set image.repository=registry.example/pullgate" -}}
{{- end -}}
{{- if or (hasSuffix "/" .Values.image.repository) (contains "@" .Values.image.repository) (regexMatch ":[^/]*$" .Values.image.repository) -}}
{{- fail (printf "image.repository: %q is more than a repository; tag and digest have values of their own" .Values.image.repository) -}}
{{- end -}}
{{- if contains "://" .Values.image.repository -}}
{{- fail (printf "image.repository: %q is a URL; write the repository without a scheme: registry.example/pullgate" .Values.image.repository) -}}
{{- end -}}
{{- if eq (int .Values.ports.webhook) (int .Values.ports.metrics) -}}
{{- fail (printf "ports: webhook and metrics cannot both be %d" (int .Values.ports.webhook)) -}}
{{- end -}}
{{- $conditions := list "not-being-deleted" "not-a-mirror-pod" "spec-changed" -}}
{{- range .Values.webhook.matchConditions -}}
{{- if has .name $conditions -}}
{{- fail (printf "webhook.matchConditions: %q is already the name of a condition" .name) -}}
{{- end -}}
{{- $conditions = append $conditions .name -}}
{{- end -}}
{{- if and (eq .Values.webhook.failurePolicy "Fail") (lt (int .Values.replicas) 2) -}}
{{- fail "webhook.failurePolicy: with Fail and a single replica, every restart of pullgate stops the creation of pods in the whole cluster; set replicas to 2 or more" -}}
{{- end -}}
{{- if eq .Values.webhook.failurePolicy "Fail" -}}
{{- if not (has "kube-system" .Values.webhook.excludedNamespaces) -}}
{{- fail "webhook.excludedNamespaces: with failurePolicy Fail, kube-system must stay excluded: pods need its network and DNS to start, so neither these nor pullgate could start first" -}}
{{- end -}}
{{- if not .Values.podDisruptionBudget.enabled -}}
{{- fail "podDisruptionBudget.enabled: with failurePolicy Fail, a drain that evicts all replicas at once stops the creation of pods in the whole cluster; leave it on" -}}
{{- end -}}
{{- $most := toString .Values.podDisruptionBudget.maxUnavailable -}}
{{- $gone := int (trimSuffix "%" $most) -}}
{{- if hasSuffix "%" $most -}}
{{- $gone = div (add (mul $gone (int .Values.replicas)) 99) 100 -}}
{{- end -}}
{{- if ge (int $gone) (int .Values.replicas) -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable: with failurePolicy Fail, %s of %d replicas must not be evicted at once: no pod could be created in the whole cluster" $most (int .Values.replicas)) -}}
{{- end -}}
{{- end -}}
{{- range $key, $_ := .Values.podLabels -}}
{{- if has $key (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version") -}}
{{- fail (printf "podLabels: %s is set by the chart, and the Service selects by it" $key) -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.secrets.access "namespaces" -}}
{{- if not .Values.secrets.namespaces -}}
{{- fail "secrets.namespaces: access namespaces needs the list of namespaces whose pull secrets may be read" -}}
{{- end -}}
{{- else if .Values.secrets.namespaces -}}
{{- fail (printf "secrets.namespaces: only secrets.access namespaces uses this list, and access is %s" .Values.secrets.access) -}}
{{- end -}}
{{- $config := .Values.config | default dict -}}
{{- if hasKey $config "secrets" -}}
{{- fail "config.secrets: set secrets.access instead, so that the RBAC rules match the settings" -}}
{{- end -}}
{{- if and .Values.openshift.pullSecret (eq .Values.secrets.access "none") -}}
{{- fail "openshift.pullSecret: with secrets.access none, pullgate reads no Secret, this one neither; set secrets.access to namespaces, get or cluster" -}}
{{- end -}}
{{- if and .Values.hosts (hasKey ($config.registries | default dict) "hostsDir") -}}
{{- fail "config.registries.hostsDir: the value hosts creates this folder; set only one of the two" -}}
{{- end -}}
{{- range $value, $text := dict "tls.caBundle" (.Values.tls.caBundle | default "") "tls.clientCA" (.Values.tls.clientCA | default "") -}}
{{- if contains "PRIVATE KEY-----" $text -}}
{{- fail (printf "%s: it contains a private key; only certificates belong here, because anyone may read them" $value) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.tls.clientCA (not (contains "-----BEGIN CERTIFICATE-----" .Values.tls.clientCA)) -}}
{{- fail "tls.clientCA: give certificates in PEM, for instance --set-file tls.clientCA=webhook-ca.crt" -}}
{{- end -}}
{{- if eq .Values.tls.mode "secret" -}}
{{- if not (contains "-----BEGIN CERTIFICATE-----" (.Values.tls.caBundle | default "")) -}}
{{- fail "tls.caBundle: tls.mode secret needs the CA's certificate in PEM, for instance --set-file tls.caBundle=ca.crt" -}}
{{- end -}}
{{- else if .Values.tls.caBundle -}}
{{- fail (printf "tls.caBundle: with tls.mode %s the bundle is written automatically; leave it empty or set tls.mode to secret" .Values.tls.mode) -}}
{{- end -}}
{{- end -}}

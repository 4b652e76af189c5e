{{/* What a schema cannot say. Each message names the value and what to do. */}}
{{- define "pullgate.checks" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository: say where pullgate's image was pushed, for instance --set image.repository=registry.example/pullgate" -}}
{{- end -}}
{{- if or (hasSuffix "/" .Values.image.repository) (contains "@" .Values.image.repository) (regexMatch ":[^/]*$" .Values.image.repository) -}}
{{- fail (printf "image.repository: %q holds more than a repository; tag and digest have values of their own" .Values.image.repository) -}}
{{- end -}}
{{- if and (eq .Values.webhook.failurePolicy "Fail") (lt (int .Values.replicas) 2) -}}
{{- fail "webhook.failurePolicy: with Fail and a single replica, every restart of pullgate stops the creation of pods in the whole cluster; set replicas to 2 or more" -}}
{{- end -}}
{{- if eq .Values.secrets.access "namespaces" -}}
{{- if not .Values.secrets.namespaces -}}
{{- fail "secrets.namespaces: access namespaces needs the list of namespaces whose pull secrets may be read" -}}
{{- end -}}
{{- else if .Values.secrets.namespaces -}}
{{- fail (printf "secrets.namespaces: only secrets.access namespaces uses this list, and access is %s" .Values.secrets.access) -}}
{{- end -}}
{{- if hasKey .Values.config "secrets" -}}
{{- fail "config.secrets: set secrets.access instead, so that the rights agree with the settings" -}}
{{- end -}}
{{- if and .Values.hosts (hasKey (.Values.config.registries | default dict) "hostsDir") -}}
{{- fail "config.registries.hostsDir: the value hosts makes this folder; give one of the two" -}}
{{- end -}}
{{- if eq .Values.tls.mode "secret" -}}
{{- if not (contains "-----BEGIN CERTIFICATE-----" .Values.tls.caBundle) -}}
{{- fail "tls.caBundle: tls.mode secret needs the CA's certificate in PEM, for instance --set-file tls.caBundle=ca.crt" -}}
{{- end -}}
{{- else if .Values.tls.caBundle -}}
{{- fail (printf "tls.caBundle: with tls.mode %s the bundle is written by itself; leave it empty or set tls.mode to secret" .Values.tls.mode) -}}
{{- end -}}
{{- end -}}

{{- define "pullgate.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "pullgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "pullgate.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pullgate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pullgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "pullgate.labels" -}}
{{ include "pullgate.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "pullgate.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "pullgate.fullname" .) -}}
{{- end -}}

{{- define "pullgate.tlsSecret" -}}
{{- .Values.tls.secretName | default (printf "%s-tls" (include "pullgate.fullname" .)) -}}
{{- end -}}

{{- define "pullgate.priorityClass" -}}
{{- if .Values.priorityClass.name -}}
{{- .Values.priorityClass.name -}}
{{- else if .Values.priorityClass.create -}}
{{- include "pullgate.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "pullgate.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The custom kinds to check, as a JSON list of {group, kind, resource, scope} and any other keys that were set. */}}
{{- define "pullgate.customKinds" -}}
{{- $known := .Files.Get "files/kinds.yaml" | fromYamlArray -}}
{{- $found := list -}}
{{- range $wanted := .Values.webhook.customKinds -}}
{{- if kindIs "map" $wanted -}}
{{- $found = append $found (merge (deepCopy $wanted) (dict "scope" "Namespaced")) -}}
{{- else -}}
{{- $before := len $found -}}
{{- range $kind := $known -}}
{{- if or (eq $wanted "*") (eq $wanted $kind.group) (eq $wanted (printf "%s/%s" $kind.group $kind.kind)) -}}
{{- if not (has $kind $found) -}}
{{- $found = append $found $kind -}}
{{- else -}}
{{- $before = -1 -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $before (len $found) -}}
{{- fail (printf "webhook.customKinds: %q is no group and no group/Kind that pullgate knows; write kinds of your own as {group, kind, resource, podSpecs}. Known are: %s" $wanted (include "pullgate.knownGroups" $)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "pullgate.knownGroups" -}}
{{- $groups := list -}}
{{- range .Files.Get "files/kinds.yaml" | fromYamlArray -}}
{{- $groups = append $groups .group -}}
{{- end -}}
{{- join ", " ($groups | uniq | sortAlpha) -}}
{{- end -}}

{{/* The settings file: `config`, plus what other values imply. */}}
{{- define "pullgate.settings" -}}
{{- $settings := deepCopy (.Values.config | default dict) -}}
{{- $_ := set $settings "secrets" (dict "access" .Values.secrets.access) -}}
{{- if and (ne (toJson .Values.mode) "\"Enforce\"") (not (hasKey $settings "mode")) -}}
{{- $_ := set $settings "mode" .Values.mode -}}
{{- end -}}
{{- if .Values.hosts -}}
{{- $registries := $settings.registries | default dict -}}
{{- $_ := set $registries "hostsDir" "/etc/pullgate/hosts" -}}
{{- $_ := set $settings "registries" $registries -}}
{{- end -}}
{{- $workloads := $settings.workloads | default list -}}
{{- range include "pullgate.customKinds" . | fromJsonArray -}}
{{- $kind := . -}}
{{- $there := false -}}
{{- range $workloads -}}
{{- if and (eq .kind $kind.kind) (eq (.group | default "") $kind.group) -}}
{{- $there = true -}}
{{- end -}}
{{- end -}}
{{- if not $there -}}
{{- $kind = omit $kind "resource" -}}
{{- if ne $kind.scope "Cluster" -}}
{{- $kind = omit $kind "scope" -}}
{{- end -}}
{{- $workloads = append $workloads $kind -}}
{{- end -}}
{{- end -}}
{{- if $workloads -}}
{{- $_ := set $settings "workloads" $workloads -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* The folder of a registry in a hosts.toml tree, as a valid ConfigMap key. */}}
{{- define "pullgate.hostKey" -}}
{{- regexReplaceAll "[^-._a-zA-Z0-9]" (regexReplaceAll ":([0-9]+)$" . "_${1}_") "_" -}}.toml
{{- end -}}

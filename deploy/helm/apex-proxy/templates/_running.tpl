{{/*
Replicas to ask for: with autoscaling as many as there are, so that an upgrade takes none away, within its bounds.
Where no cluster is asked (`helm template`), none are there.
*/}}
{{- define "apex-proxy.replicas" -}}
{{- $scaling := .Values.autoscaling -}}
{{- if $scaling.enabled -}}
{{- $running := lookup "apps/v1" "Deployment" .Release.Namespace (include "apex-proxy.name" .) -}}
{{- max (int $scaling.minReplicas) (min (int $scaling.maxReplicas) (dig "spec" "replicas" 0 $running | int)) -}}
{{- else -}}
{{- .Values.replicaCount -}}
{{- end -}}
{{- end -}}

{{/* Name of the ConfigMap: one for each configuration, unless pods are to see another one without being replaced. */}}
{{- define "apex-proxy.configMap" -}}
{{- include "apex-proxy.name" . -}}
{{- if .Values.rollOnChange -}}
{{- printf "-%s" (include "apex-proxy.config" . | sha256sum | trunc 10) -}}
{{- end -}}
{{- end -}}

{{/* Names of other ConfigMaps that pods of this release may still start with, by `names`: Helm would remove them. */}}
{{- define "apex-proxy.formerConfigMaps" -}}
{{- $own := include "apex-proxy.selector" . | fromYaml -}}
{{- $names := list -}}
{{- range (lookup "apps/v1" "ReplicaSet" .Release.Namespace "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- if and (int .spec.replicas) (eq (toJson $labels) (toJson (merge (deepCopy $own) $labels))) -}}
{{- range .spec.template.spec.volumes -}}
{{- if eq .name "config" -}}
{{- $names = append $names .configMap.name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "names" (without ($names | uniq) (include "apex-proxy.configMap" .)) | toJson -}}
{{- end -}}

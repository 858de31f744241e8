{{/* A value as text; a number without the exponent that a large one would have. */}}
{{- define "apex-proxy.text" -}}
{{- ternary (toJson .) (toString .) (kindIs "float64" .) -}}
{{- end -}}

{{/* Seconds of a duration as the configuration writes it: `5`, `500ms`, `2m`. */}}
{{- define "apex-proxy.seconds" -}}
{{- $text := include "apex-proxy.text" .value | trim -}}
{{- if not (regexMatch "^[0-9]+(\\.[0-9]+)?\\s?(ms|s|m|h|d)?$" $text) -}}
{{- fail (printf "config.%s: a duration such as 500ms, 2s, 5m, 1h is needed here" .name) -}}
{{- end -}}
{{- $unit := regexFind "[a-z]+$" $text | default "s" -}}
{{- mulf (regexFind "^[0-9.]+" $text | float64) (get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0) $unit) -}}
{{- end -}}

{{/* Seconds until a pod that is to go may be killed. */}}
{{- define "apex-proxy.stopSeconds" -}}
{{- $config := .Values.config -}}
{{- $grace := include "apex-proxy.seconds" (dict "name" "drain_grace" "value" $config.drain_grace) | float64 -}}
{{- $timeout := include "apex-proxy.seconds" (dict "name" "drain_timeout" "value" $config.drain_timeout) | float64 -}}
{{- addf $grace $timeout (float64 .Values.preStopSeconds) (float64 .Values.stopMarginSeconds) | ceil | int -}}
{{- end -}}

{{/* The most replicas there may be. */}}
{{- define "apex-proxy.mostReplicas" -}}
{{- ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled | int -}}
{{- end -}}

{{/* "yes" where a replica starts a Redis of its own, else nothing. */}}
{{- define "apex-proxy.embedded" -}}
{{- if and (not .Values.redis.secret.name) (eq .Values.redis.url "embedded") -}}yes{{- end -}}
{{- end -}}

{{/* Refuses what cannot work, each with one line that says what to do. */}}
{{- define "apex-proxy.refusals" -}}
{{- $config := .Values.config -}}
{{- $redis := .Values.redis -}}
{{- include "apex-proxy.keyless" . -}}
{{- include "apex-proxy.variables" . -}}
{{- include "apex-proxy.passwordless" (dict "at" "redis.url" "url" $redis.url "instead" "put the whole URL into a Secret and name it in redis.secret.name") -}}
{{- if not (or $redis.url $redis.secret.name) -}}
{{- fail "redis.url or redis.secret.name is needed: the replicas share one Redis or Valkey (redis.url=embedded for a single replica)" -}}
{{- end -}}
{{- if and (include "apex-proxy.embedded" .) (gt (include "apex-proxy.mostReplicas" . | int) 1) -}}
{{- fail "redis.url=embedded is for a single replica, since no other can see it: name a Redis or Valkey, or set replicaCount=1 without autoscaling" -}}
{{- end -}}
{{- if hasKey ($config.redis | default dict) "url" -}}
{{- fail "config.redis.url: say it as redis.url or redis.secret.name" -}}
{{- end -}}
{{- if hasKey $config.operations "token" -}}
{{- fail "config.operations.token: name its Secret in operations.token.secret" -}}
{{- end -}}
{{- if hasKey $config.operations "host" -}}
{{- fail "config.operations.host: it is config.listen.host with operations.token.secret, else the pod's loopback" -}}
{{- end -}}
{{- if gt ($config.listen.workers | default 1 | int) 1 -}}
{{- fail "config.listen.workers: one process a pod, or their operations ports are not reached; raise replicaCount" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.operations.token.secret) -}}
{{- fail "serviceMonitor.enabled needs operations.token.secret: without a token the operations port is the pod's own" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not (or .Values.autoscaling.inFlight .Values.autoscaling.cpu)) -}}
{{- fail "autoscaling.enabled needs autoscaling.inFlight or autoscaling.cpu" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}

{{/* The configuration file: what the values say, and what the chart knows. */}}
{{- define "apex-proxy.config" -}}
{{- include "apex-proxy.refusals" . -}}
{{- $config := deepCopy .Values.config -}}
{{- $operations := dict "host" "127.0.0.1" -}}
{{- if .Values.operations.token.secret -}}
{{- $operations = dict "host" $config.listen.host "token" "${APEX_OPERATIONS_TOKEN}" -}}
{{- end -}}
{{- $_ := set $config "operations" (merge $config.operations $operations) -}}
{{- $url := ternary "${APEX_REDIS_URL}" .Values.redis.url (not (empty .Values.redis.secret.name)) -}}
{{- $redis := dict "url" $url "min_replicas" (include "apex-proxy.mostReplicas" . | int) -}}
{{- $_ := set $config "redis" (merge ($config.redis | default dict) $redis) -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Seconds of a duration as the configuration writes it: `5`, `500ms`, `2m`. */}}
{{- define "apex-proxy.seconds" -}}
{{- $text := .value | toString | trim -}}
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

{{/* Refuses a key in clear; `at` is where it stands, `key` what stands there: text, a list, or a section with `key`. */}}
{{- define "apex-proxy.reference" -}}
{{- $at := .at -}}
{{- if kindIs "slice" .key -}}
{{- range $index, $one := .key -}}
{{- include "apex-proxy.reference" (dict "at" (printf "%s[%d]" $at $index) "key" $one) -}}
{{- end -}}
{{- else if kindIs "map" .key -}}
{{- include "apex-proxy.reference" (dict "at" (printf "%s.key" $at) "key" .key.key) -}}
{{- else if not (or (empty .key) (regexMatch "^\\$\\{[^{}]+\\}$" (toString .key))) -}}
{{- fail (printf "config.%s stands in clear: write it as ${NAME} or ${file:PATH}, and its Secret under `secrets`" $at) -}}
{{- end -}}
{{- end -}}

{{/* Refuses a URL with a password in clear. */}}
{{- define "apex-proxy.passwordless" -}}
{{- if regexMatch "://[^/@]*:[^/@$]+@" (.url | default "" | toString) -}}
{{- fail (printf "%s holds a password in clear: %s" .at .instead) -}}
{{- end -}}
{{- end -}}

{{/* Refuses headers that hold a key in clear, by their names. */}}
{{- define "apex-proxy.headers" -}}
{{- $at := .at -}}
{{- range $header, $value := .headers -}}
{{- if and (regexMatch "(?i)auth|key|token|secret|cookie" $header) (not (contains "${" (toString $value))) -}}
{{- fail (printf "config.%s.headers.%s stands in clear: write what is secret of it as ${NAME} or ${file:PATH}" $at $header) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses what a provider, or an entry of a model, holds in clear. */}}
{{- define "apex-proxy.account" -}}
{{- $at := .at -}}
{{- $account := .account | default dict -}}
{{- range $field := list "api_key" "api_keys" -}}
{{- include "apex-proxy.reference" (dict "at" (printf "%s.%s" $at $field) "key" (get $account $field)) -}}
{{- end -}}
{{- include "apex-proxy.headers" (dict "at" $at "headers" $account.headers) -}}
{{- include "apex-proxy.passwordless" (dict "at" (printf "config.%s.base_url" $at) "url" $account.base_url "instead" "write it as ${NAME}") -}}
{{- end -}}

{{/* Refuses every key of the configuration that stands in clear. */}}
{{- define "apex-proxy.keyless" -}}
{{- $config := .Values.config -}}
{{- range $index, $client := $config.clients -}}
{{- range $field := list "key" "keys" -}}
{{- include "apex-proxy.reference" (dict "at" (printf "clients[%d].%s" $index $field) "key" (get $client $field)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $provider := $config.providers -}}
{{- include "apex-proxy.account" (dict "at" (printf "providers.%s" $name) "account" $provider) -}}
{{- end -}}
{{- range $name, $model := $config.models -}}
{{- range $index, $entry := $model.providers -}}
{{- include "apex-proxy.account" (dict "at" (printf "models.%s.providers[%d]" $name $index) "account" $entry) -}}
{{- end -}}
{{- end -}}
{{- range $index, $key := (($config.responses).keys) -}}
{{- include "apex-proxy.reference" (dict "at" (printf "responses.keys[%d]" $index) "key" $key) -}}
{{- end -}}
{{- include "apex-proxy.headers" (dict "at" "traces" "headers" (($config.traces).headers)) -}}
{{- include "apex-proxy.passwordless" (dict "at" "config.traces.endpoint" "url" (($config.traces).endpoint) "instead" "write it as ${NAME}") -}}
{{- include "apex-proxy.passwordless" (dict "at" "config.redis.responses_url" "url" (($config.redis).responses_url) "instead" "write it as ${NAME}") -}}
{{- end -}}

{{/* Refuses what cannot work, each with one line that says what to do. */}}
{{- define "apex-proxy.refusals" -}}
{{- $config := .Values.config -}}
{{- $redis := .Values.redis -}}
{{- include "apex-proxy.keyless" . -}}
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

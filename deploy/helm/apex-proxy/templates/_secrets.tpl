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

{{/*
Text with a NUL in place of every reference: `${NAME}` and `${file:PATH}`, or `$(NAME)`, as Kubernetes writes it.
A doubled dollar sign takes the meaning from what follows.
*/}}
{{- define "apex-proxy.blanked" -}}
{{- $open := regexReplaceAll "\\$\\$[{(]" (.text | default "" | toString) "clear" -}}
{{- regexReplaceAll (.reference | default "\\$\\{[^{}]+\\}") $open "\x00" -}}
{{- end -}}

{{/*
Refuses a URL with a password in clear: what stands before the `@` has to end in a whole reference, and so has a
parameter by its name. A password may hold a slash, so the last `@` counts, but behind a whole host it is the path's (not in `env`:
no path is needed there).
*/}}
{{- define "apex-proxy.passwordless" -}}
{{- $text := include "apex-proxy.blanked" (dict "text" .url "reference" .reference) -}}
{{- $scheme := regexFind "^[A-Za-z][A-Za-z0-9+.-]*://" $text -}}
{{- $user := regexFind "(?s)^.*@" (trimPrefix $scheme $text) -}}
{{- if and (not .reference) (regexMatch "^https?://([^][:/?#@]+|\\[[^]]*\\])(:[0-9]*)?[/?#]" $text) -}}
{{- $user = "" -}}
{{- end -}}
{{- $clear := and (or (not (empty $scheme)) (contains ":" $user)) (not (regexMatch "^(([^:@]*:)?\\x00@|:?@|)$" $user)) -}}
{{- range regexFindAll "(?i)[?&;][^=&;]*(pass|pwd|key|token|secret|auth|cred|sig)[^=&;]*=[^&;#]*" $text -1 -}}
{{- $clear = or $clear (not (regexMatch "=\\x00?$" .)) -}}
{{- end -}}
{{- if $clear -}}
{{- fail (printf "%s holds a password in clear: %s" .at .instead) -}}
{{- end -}}
{{- end -}}

{{/* Refuses headers that hold a key in clear, by their names; a word such as `Bearer` may stand before a reference. */}}
{{- define "apex-proxy.headers" -}}
{{- $at := .at -}}
{{- range $header, $value := .headers -}}
{{- $text := include "apex-proxy.blanked" (dict "text" $value) -}}
{{- if and (regexMatch "(?i)auth|key|token|secret|cookie" $header) (not (regexMatch "^([A-Za-z_-]+[ =])?\\x00$" $text)) -}}
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

{{/* Refuses variables that hold a key in clear, by their names or as a URL's password, and those that stand twice. */}}
{{- define "apex-proxy.variables" -}}
{{- $taken := list -}}
{{- range $index, $variable := .Values.secrets.env -}}
{{- include "apex-proxy.free" (dict "at" (printf "secrets.env[%d]" $index) "name" $variable.name "taken" $taken) -}}
{{- $taken = append $taken $variable.name -}}
{{- end -}}
{{- $reference := "\\$\\([A-Za-z_][A-Za-z0-9_]*\\)" -}}
{{- range $name, $value := .Values.env -}}
{{- include "apex-proxy.free" (dict "at" "env" "name" $name "taken" $taken) -}}
{{- $text := include "apex-proxy.blanked" (dict "text" $value "reference" $reference) -}}
{{- if and (regexMatch "(?i)(^|_)(keys?|token|secret|pass|password|passwd|pwd|pw|credentials)$" $name) (not (regexMatch "^\\x00?$" $text)) -}}
{{- fail (printf "env.%s stands in clear: name its Secret in secrets.env" $name) -}}
{{- end -}}
{{- include "apex-proxy.passwordless" (dict "at" (printf "env.%s" $name) "url" $value "reference" $reference "instead" "name its Secret in secrets.env") -}}
{{- end -}}
{{- end -}}

{{/* Refuses a variable that the chart or `secrets.env` sets. */}}
{{- define "apex-proxy.free" -}}
{{- if has .name (list "APEX_CONFIG" "APEX_REDIS_URL" "APEX_OPERATIONS_TOKEN") -}}
{{- fail (printf "%s: %s is the chart's own, by config, redis and operations.token" .at .name) -}}
{{- end -}}
{{- if has .name .taken -}}
{{- fail (printf "%s: %s stands in secrets.env already" .at .name) -}}
{{- end -}}
{{- end -}}

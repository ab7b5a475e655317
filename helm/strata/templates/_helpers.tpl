{{- define "strata.name" -}}
{{- if contains "strata" .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-strata" .Release.Name }}{{ end -}}
{{- end }}

{{- define "strata.selector" -}}
app.kubernetes.io/name: strata
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .role }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "strata.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{ include "strata.selector" . }}
{{- end }}

{{- define "strata.image" -}}
{{- $image := .Values.image -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "strata.serviceAccount" -}}
{{- $account := .Values.serviceAccount -}}
{{ $account.name | default (ternary (include "strata.name" .) "default" $account.create) }}
{{- end }}

{{/* What every pod has in common: call with the root. */}}
{{- define "strata.pod" -}}
serviceAccountName: {{ include "strata.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false # they are variables too, and Strata refuses names it does not know
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.runAs.user }}
  runAsGroup: {{ .Values.runAs.group }}
  fsGroup: {{ .Values.runAs.group }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What every container has in common: call with the root. */}}
{{- define "strata.container" -}}
image: {{ include "strata.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Where certificate files of your own are mounted: call with the root. */}}
{{- define "strata.tlsMount" -}}
{{- if .Values.tls.secret }}
- {name: tls, mountPath: /etc/strata/tls, readOnly: true}
{{- end }}
{{- end }}

{{- define "strata.tlsVolume" -}}
{{- with .Values.tls.secret }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{/* Settings of every process that are no secret: call with the root. */}}
{{- define "strata.settings" -}}
- {name: STRATA_STAGE_SECONDS, value: {{ .Values.stageSeconds | quote }}}
{{- if .Values.tls.secret }}
{{- range $setting, $key := dict "CA" .Values.tls.ca "CERTIFICATE" .Values.tls.certificate "KEY" .Values.tls.key }}
{{- with $key }}
- {name: STRATA_TLS_{{ $setting }}, value: /etc/strata/tls/{{ . }}}
{{- end }}
{{- end }}
{{- else if or .Values.tls.ca .Values.tls.certificate .Values.tls.key }}
{{- fail "tls names files of a Secret, but no Secret: set tls.secret." }}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* A claim of ours: call with root, role, claim and keep. */}}
{{- define "strata.claim" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "strata.name" .root }}-{{ .role }}
  labels: {{- include "strata.labels" . | nindent 4 }}
  {{- if .keep }}
  annotations:
    helm.sh/resource-policy: keep # uninstalling the release must not remove the backups
  {{- end }}
spec:
  accessModes: {{ toJson (.claim.accessModes | default (list "ReadWriteOnce")) }}
  {{- with .claim.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ .claim.size }}
{{- end }}

{{/* The name of a claim: call with root, role and claim. */}}
{{- define "strata.claimName" -}}
{{ .claim.existingClaim | default (printf "%s-%s" (include "strata.name" .root) .role) }}
{{- end }}

{{/* Probes by the heartbeat file: call with the role. */}}
{{- define "strata.probes" -}}
startupProbe: # a broker that is away at the start may take its time
  exec: {command: [python, -m, workers.probe, {{ . }}]}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 60
readinessProbe:
  exec: {command: [python, -m, workers.probe, {{ . }}, "60"]}
  periodSeconds: 20
  timeoutSeconds: 5
livenessProbe: # patient: a worker without its broker is silent too, and a restart would not bring that back
  exec: {command: [python, -m, workers.probe, {{ . }}, "300"]}
  periodSeconds: 60
  timeoutSeconds: 10
{{- end }}

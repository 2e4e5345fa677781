package world

import "hoplab.dev/mesh/manifest"

// Diagnostic codes of this package, HOP4001 to HOP4999; never reused.
const (
	CodeGuess          = "HOP4001" // made up, as the user's files can only name it
	CodeReplaced       = "HOP4002" // a document given twice: the later counts
	CodeUnknownApp     = "HOP4003" // an app that hoplab does not have
	CodeUndeclaredPort = "HOP4004" // a Service's target port that no container declares
	CodeContainer      = "HOP4005" // a second container of a pod is not run
	CodeSecretFile     = "HOP4006" // a file that the Scenario names cannot be read
	CodeOperator       = "HOP4007" // an IstioOperator setting that cannot be had here
	CodeIstioVersion   = "HOP4008" // an Istio release that hoplab does not know
	CodePodSetting     = "HOP4009" // a label or annotation that would change traffic
	CodeManyPods       = "HOP4010" // more pods than one machine runs
	CodeNoPods         = "HOP4011" // a Service whose selector picks none of the pods that are there
	CodeMountedSecret  = "HOP4012" // an app mounts a Secret with its certificate that does not exist
)

// Codes explains every code of this package; docs/diagnostics.md is made from it.
var Codes = map[string]manifest.Code{
	CodeGuess:          {Title: "Made up", Explanation: "Manifests can only name certificates in ACM, Secrets made with openssl and what a Helm chart installs. Without a Scenario document hoplab makes them up, and says each. Write a Scenario to have them as you want; with one, nothing is made up."},
	CodeReplaced:       {Title: "Given twice", Explanation: "Two documents have the same kind, namespace and name. As with kubectl apply, the later one counts."},
	CodeUnknownApp:     {Title: "Unknown app", Explanation: "The Scenario names a built-in app that does not exist. An upstream: HOST:PORT runs anything else."},
	CodeUndeclaredPort: {Title: "Target port that no container declares", Explanation: "A Service leads to a port that no container of its pods declares. In a cluster it works if the program listens there all the same; hoplab's stand-in does listen there."},
	CodeContainer:      {Title: "Second container", Explanation: "A pod has several containers besides istio-proxy. One app answers on all their ports."},
	CodeSecretFile:     {Title: "Unreadable file", Explanation: "A file that the Scenario's secrets: name could not be read. Paths are relative to the scenario's folder."},
	CodeOperator:       {Title: "IstioOperator setting that cannot be had", Explanation: "The setting would install something that hoplab does not have (an error), or it changes nothing here (a warning)."},
	CodeIstioVersion:   {Title: "Unknown Istio release", Explanation: "options.istioVersion takes a minor release such as 1.30, from 1.25 to 1.32: what older and newer ones do on the wire hoplab does not know."},
	CodeNoPods:         {Title: "Selector that picks no pod", Explanation: "The Service's selector picks none of the pods that the files describe, though one of them was meant, by its name, its labels or its port. In a cluster the Service has no endpoints: an Envoy answers 503 UH, an ALB 503."},
	CodeMountedSecret:  {Title: "Mounted Secret that does not exist", Explanation: "The pod's app serves TLS with the certificate of a Secret that its container mounts, and there is no such Secret. In a cluster the pod does not start (FailedMount) until there is; here it does, and its TLS handshakes fail until then."},
	CodeManyPods:       {Title: "Too many pods", Explanation: "A cluster has many machines, hoplab one. It runs at most 5,000 pods."},
	CodePodSetting:     {Title: "Label or annotation not supported yet", Explanation: "A label or annotation of a pod or namespace would change which connections go through a sidecar, or how. hoplab does not act on it yet and refuses it rather than to ignore it."},
}

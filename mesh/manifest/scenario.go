package manifest

// In the types of this file a field tagged need must be there, and where absent
// and zero differ it is a pointer, of which nil is absent.

// Scenario is the document that supplies what manifests can only name.
type Scenario struct {
	APIVersion string           `json:"apiVersion"` // hoplab.dev/v1
	Kind       string           `json:"kind"`       // Scenario
	Metadata   ScenarioMetadata `json:"metadata"`   // names it
	Spec       ScenarioSpec     `json:"spec"`       // what it is made of
}

// ScenarioMetadata names the scenario.
type ScenarioMetadata struct {
	// Name is a DNS label: what `--scenario` and the state directory call it.
	Name string `json:"name"`
}

// ScenarioSpec is what a scenario is made of.
type ScenarioSpec struct {
	// Title is one line for people.
	Title string `json:"title"`
	// Teaches lists what one learns from the scenario.
	Teaches []string `json:"teaches"`
	// Extends names a scenario of the catalogue whose documents are taken
	// over, except those of the same kind, namespace and name as one here.
	Extends string `json:"extends"`
	// Manifests are files of the scenario's folder. Default: every other
	// *.yaml in it, by name.
	Manifests []string `json:"manifests"`
	// Namespaces declares namespaces with their labels.
	Namespaces []ScenarioNamespace `json:"namespaces"`
	// Certificates are what ACM holds.
	Certificates []ScenarioCertificate `json:"certificates"`
	// Authorities are certificate authorities of the user's own.
	Authorities []ScenarioAuthority `json:"authorities"`
	// Secrets are what an article makes with openssl and kubectl create secret.
	Secrets []ScenarioSecret `json:"secrets"`
	// Workloads are what a Helm chart would have installed: the Service,
	// Deployment and ServiceAccount of each are made.
	Workloads []ScenarioWorkload `json:"workloads"`
	// Apps says which built-in app stands in for a container image.
	Apps map[string]string `json:"apps"`
	// Options are versions and lifetimes of the mesh.
	Options ScenarioOptions `json:"options"`
	// Links are the distances between nodes, which requests then take longer
	// for. Of a connection the first that fits counts.
	Links []ScenarioLink `json:"links"`
	// Bench is what `hoplab bench` varies, where its flags say nothing.
	Bench ScenarioBench `json:"bench"`
	// Checks are what must be true; `hoplab test` runs them.
	Checks []ScenarioCheck `json:"checks"`
}

// ScenarioBench is what a benchmark varies: it measures all combinations. Of what
// is left out the flags' defaults count.
type ScenarioBench struct {
	// URL is what the client asks for. Default: what the first check asks.
	URL string `json:"url"`
	// Handshake is a list of full and resumed.
	Handshake []string `json:"handshake"`
	// Connections is a list of new, new-at-client and reuse: who opens a
	// connection for every request. new: everybody; reuse: nobody.
	Connections []string `json:"connections"`
	// TLS is a list of "1.2" and "1.3".
	TLS []string `json:"tls"`
	// Key is a list of RSA-2048, RSA-4096, P-256, P-384 and Ed25519: the keys of
	// all certificates on the way.
	Key []string `json:"key"`
	// Group is a list of X25519, P-256 and X25519MLKEM768.
	Group []string `json:"group"`
	// Auth is a list of server and mutual.
	Auth []string `json:"auth"`
	// Size is a list of bytes of the response's body, of an app that is echo.
	Size []int `json:"size"`
	// Concurrency is a list: how many requests wait for their answers at a time.
	Concurrency []int `json:"concurrency"`
	// Rate is a list of requests per second, sent whether or not answers come.
	Rate []float64 `json:"rate"`
}

// BenchWords are what the lists of ScenarioBench are made of, by their fields.
var BenchWords = map[string][]string{
	"handshake":   {"full", "resumed"},
	"connections": {"new", "new-at-client", "reuse"},
	"tls":         {"1.2", "1.3"},
	"key":         {"RSA-2048", "RSA-4096", "P-256", "P-384", "Ed25519"},
	"group":       {"X25519", "P-256", "X25519MLKEM768"},
	"auth":        {"server", "mutual"},
}

// What the numbers of ScenarioBench may be at most.
const (
	MostBenchSize        = 1 << 30 // bytes
	MostBenchConcurrency = 10_000
	MostBenchRate        = 1_000_000
)

// ScenarioLink is what lies between two nodes, where one of them dials the other.
// Before a client that is none of ours, such as curl, it is the node that accepts
// who waits: the client's own connect stays short, and its first bytes take a
// round trip longer.
type ScenarioLink struct {
	// From dials: a node's name, or a kind (client, edge, gateway, sidecar, app).
	From string `json:"from" need:"true"`
	// To is dialled, likewise.
	To string `json:"to" need:"true"`
	// RTT is how long a round trip takes: a connect waits for one, and what is
	// sent arrives after half of one.
	RTT Duration `json:"rtt"`
	// Jitter is the most by which a round trip is longer or shorter. Default: 0.
	Jitter Duration `json:"jitter"`
	// Bandwidth is of each way, in bits per second, as in the annotation
	// kubernetes.io/ingress-bandwidth: 10M. Default: no limit.
	Bandwidth Bandwidth `json:"bandwidth"`
}

// ScenarioNamespace declares a namespace.
type ScenarioNamespace struct {
	// Name is the namespace's.
	Name string `json:"name" need:"true"`
	// Labels are the namespace's, such as istio-injection: enabled.
	Labels map[string]string `json:"labels"`
}

// ScenarioCertificate is a certificate in ACM.
type ScenarioCertificate struct {
	// ARN is what manifests call it: arn:aws:acm:REGION:ACCOUNT:certificate/ID.
	ARN string `json:"arn" need:"true"`
	// DomainName is the certificate's first name; "*." may lead it.
	DomainName string `json:"domainName" need:"true"`
	// SubjectAlternativeNames are further names.
	SubjectAlternativeNames []string `json:"subjectAlternativeNames"`
	// KeyAlgorithm is one of ACM's names. Default: RSA_2048.
	KeyAlgorithm KeyAlgorithm `json:"keyAlgorithm"`
}

// KeyAlgorithm is a name that ACM gives a kind of key; "" is RSA_2048.
// Source: ACM API reference, RequestCertificate, KeyAlgorithm.
type KeyAlgorithm string

// ScenarioAuthority is a certificate authority.
type ScenarioAuthority struct {
	// Name is how secrets refer to it.
	Name string `json:"name" need:"true"`
	// CommonName is of its certificate's subject. Default: the name.
	CommonName string `json:"commonName"`
	// KeyAlgorithm is of its key. Default: RSA_2048.
	KeyAlgorithm KeyAlgorithm `json:"keyAlgorithm"`
	// Parent is the authority that issues this one; "" is self-signed.
	Parent string `json:"parent"`
}

// ScenarioSecret is a Kubernetes Secret with a certificate. Exactly one of
// SelfSigned, SignedBy and Files says how it is made; a Secret that is to hold
// a CA bundle alone has only CA.
type ScenarioSecret struct {
	// Name is the Secret's.
	Name string `json:"name" need:"true"`
	// Namespace is the Secret's. Default: default.
	Namespace string `json:"namespace"`
	// SelfSigned makes a certificate that signs itself.
	SelfSigned *ScenarioLeaf `json:"selfSigned"`
	// SignedBy has an authority make it.
	SignedBy *ScenarioSignedLeaf `json:"signedBy"`
	// Files takes it from files of the scenario's folder.
	Files *ScenarioFiles `json:"files"`
	// Keys are the Secret's own names of its entries.
	Keys ScenarioKeys `json:"keys"`
	// CA is an authority whose certificate is put under Keys.CA.
	CA string `json:"ca"`
}

// ScenarioLeaf is a certificate to be made.
type ScenarioLeaf struct {
	// CommonName is of the subject.
	CommonName string `json:"commonName"`
	// DNSNames are the subject alternative names; none are added.
	DNSNames []string `json:"dnsNames"`
	// KeyAlgorithm is of the key. Default: RSA_2048.
	KeyAlgorithm KeyAlgorithm `json:"keyAlgorithm"`
	// Validity is how long it is valid. Default: 8760h.
	Validity Duration `json:"validity"`
	// NotBefore is an offset from the start: -10d began ten days ago, 24h is
	// not valid yet. Default: 0.
	NotBefore Duration `json:"notBefore"`
}

// ScenarioSignedLeaf is a certificate that an authority makes.
type ScenarioSignedLeaf struct {
	// Authority is the name of one of the authorities.
	Authority string `json:"authority" need:"true"`
	ScenarioLeaf
}

// ScenarioFiles are PEM files, by paths relative to the scenario's folder.
type ScenarioFiles struct {
	// Cert holds the chain, leaf first.
	Cert string `json:"cert"`
	// Key holds the private key.
	Key string `json:"key"`
	// CA holds a bundle.
	CA string `json:"ca"`
}

// ScenarioKeys are the names of a Secret's entries.
type ScenarioKeys struct {
	// Cert is the chain's. Default: tls.crt.
	Cert string `json:"cert"`
	// Key is the private key's. Default: tls.key.
	Key string `json:"key"`
	// CA is the bundle's. Default: ca.crt.
	CA string `json:"ca"`
}

// ScenarioWorkload is a Service with the Deployment behind it.
type ScenarioWorkload struct {
	// Name is of the Service and the Deployment.
	Name string `json:"name" need:"true"`
	// Namespace is theirs. Default: default.
	Namespace string `json:"namespace"`
	// Labels are the pods'. Default: app = name.
	Labels map[string]string `json:"labels"`
	// Replicas is how many pods there are. Default: 1.
	Replicas *int `json:"replicas"`
	// ServiceAccount is the pods'. Default: default.
	ServiceAccount string `json:"serviceAccount"`
	// Sidecar says whether the pods have one. Default: as the namespace says.
	Sidecar *bool `json:"sidecar"`
	// Hosts are names outside of the cluster that lead to this workload, such as
	// api.example.com, "*.example.com" or an IPv4 address. It then stands for a
	// server on the internet: it has no sidecar and no Service, and its ports are
	// those of the names.
	Hosts []string `json:"hosts"`
	// Ports are the Service's.
	Ports []ScenarioPort `json:"ports" need:"true"`
	// App is the built-in app that runs in the pods. Default: echo.
	App string `json:"app"`
	// Upstream is the host:port of a real process that stands in for them;
	// it excludes App.
	Upstream string `json:"upstream"`
}

// ScenarioPort is a port of a workload's Service.
type ScenarioPort struct {
	// Name tells Istio the protocol, as http-web does.
	Name string `json:"name"`
	// Port is the Service's, 1 to 65535.
	Port int32 `json:"port" need:"true"`
	// TargetPort is the pods'. Default: Port.
	TargetPort int32 `json:"targetPort"`
	// AppProtocol tells Istio the protocol and wins over Name.
	AppProtocol string `json:"appProtocol"`
}

// ScenarioOptions are settings of the mesh.
type ScenarioOptions struct {
	// IstioVersion is the release whose behaviour is imitated. Default: 1.30.
	IstioVersion string `json:"istioVersion"`
	// WorkloadKeyAlgorithm is of the sidecars' keys: RSA_2048 (the default)
	// or EC_prime256v1.
	WorkloadKeyAlgorithm KeyAlgorithm `json:"workloadKeyAlgorithm"`
	// WorkloadCertTTL is how long their certificates are valid. Default: 24h.
	WorkloadCertTTL Duration `json:"workloadCertTTL"`
}

// ScenarioCheck is a request and what must come of it.
type ScenarioCheck struct {
	// Name says what is checked.
	Name string `json:"name" need:"true"`
	// Request is what is asked.
	Request ScenarioRequest `json:"request" need:"true"`
	// Expect is what must come of it.
	Expect ScenarioExpect `json:"expect" need:"true"`
}

// ScenarioRequest is a request of a check.
type ScenarioRequest struct {
	// URL is absolute: http or https, or tcp or tls, by which the body alone is
	// sent to a port and what comes back is the response's body.
	URL string `json:"url" need:"true"`
	// Method is the request's. Default: GET, with a body POST.
	Method string `json:"method"`
	// Headers are sent as given.
	Headers map[string]string `json:"headers"`
	// Body is sent as given.
	Body string `json:"body"`
	// From is client (the default) or a pod as NAMESPACE/POD.
	From string `json:"from"`
	// Via is a node to ask instead of the one where DNS leads.
	Via string `json:"via"`
	// ClientCert is a Secret as NAMESPACE/NAME whose certificate is presented.
	ClientCert string `json:"clientCert"`
	// TLSMax is the highest TLS version offered: "1.0" to "1.3", the
	// default.
	TLSMax string `json:"tlsMax"`
	// SNI is the server name sent, and that the server's certificate must be
	// valid for; "" sends none. Default: the URL's host.
	SNI *string `json:"sni"`
	// ALPN are the protocols offered, in this order; none with []. Default: h2
	// and http/1.1, by tls none.
	ALPN []string `json:"alpn"`
	// Insecure takes whatever certificate the server presents, as curl -k.
	Insecure bool `json:"insecure"`
	// CA is whom to trust instead of ACM: mesh, or a Secret as NAMESPACE/NAME.
	CA string `json:"ca"`
}

// ScenarioExpect is what must come of a request. What is absent is not
// compared. Hops and Ended are compared with the passport by its field names.
type ScenarioExpect struct {
	// Status is the response's.
	Status *int `json:"status"`
	// Headers are the response's, by name in any case.
	Headers map[string]any `json:"headers"`
	// Body is a part of the response's.
	Body *string `json:"body"`
	// Location is exactly the response's header; "" is none.
	Location *string `json:"location"`
	// Hops is the whole list in order; each entry gives only the fields to
	// compare, and from and to are a kind or a name. nil is not compared.
	Hops []map[string]any `json:"hops"`
	// Ended is how the deepest hop ended.
	Ended map[string]any `json:"ended"`
}

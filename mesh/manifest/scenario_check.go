package manifest

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"hoplab.dev/plan"
)

// keyAlgorithms are those of ACM's that hoplab makes: all but RSA_1024.
// Source: ACM API reference, RequestCertificate, KeyAlgorithm.
var keyAlgorithms = []string{"RSA_2048", "RSA_3072", "RSA_4096", "EC_prime256v1", "EC_secp384r1", "EC_secp521r1"}

var (
	acmARN       = regexp.MustCompile(`^arn:aws(-cn|-us-gov)?:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]+$`)
	istioRelease = regexp.MustCompile(`^1\.[0-9]+(\.[0-9]+)?$`)
)

func scenarioKind() *kindInfo {
	return &kindInfo{
		name: "Scenario", versions: []string{"v1"}, clusterWide: true,
		shape: sync.OnceValue(func() *shape { return goShape[Scenario]() }),
		decode: func(data []byte) (any, error) {
			v := new(Scenario)
			return v, unmarshalGo(data, v)
		},
		finish: finishScenario,
	}
}

// scenarioCheck looks for what types alone cannot say.
type scenarioCheck struct {
	validator
	spec  *ScenarioSpec
	names map[string]map[string]string // list -> name -> path of the first
}

func finishScenario(o *Object, r *reporter) {
	c := scenarioCheck{validator: validator{o, r}, spec: &o.Value.(*Scenario).Spec, names: map[string]map[string]string{}}
	c.bench(&c.spec.Bench)
	for i, l := range c.spec.Links {
		c.link(fmt.Sprintf("spec.links[%d]", i), l)
	}
	c.files()
	for i, n := range c.spec.Namespaces {
		path := fmt.Sprintf("spec.namespaces[%d]", i)
		c.all(path+".name", label(n.Name))
		c.unique("namespaces", path+".name", n.Name)
		checkLabels(r, o, path+".labels", n.Labels)
	}
	for i, cert := range c.spec.Certificates {
		c.certificate(fmt.Sprintf("spec.certificates[%d]", i), cert)
	}
	c.authorities()
	for i, s := range c.spec.Secrets {
		c.secret(fmt.Sprintf("spec.secrets[%d]", i), s)
	}
	for i, w := range c.spec.Workloads {
		c.workload(fmt.Sprintf("spec.workloads[%d]", i), w)
	}
	c.options()
	for i, check := range c.spec.Checks {
		c.check(fmt.Sprintf("spec.checks[%d]", i), check)
	}
}

// label is validation.IsDNS1123Label that leaves the empty name to `need`.
func label(name string) []string {
	if name == "" {
		return nil
	}
	return validation.IsDNS1123Label(name)
}

// unique reports a name that stands twice in its list.
func (c *scenarioCheck) unique(list, path, name string) {
	if name == "" {
		return
	}
	if c.names[list] == nil {
		c.names[list] = map[string]string{}
	}
	first, ok := c.names[list][name]
	if !ok {
		c.names[list][name] = path
		return
	}
	at := c.o.At(first)
	c.r.add(plan.Diagnostic{
		Code: CodeDuplicateEntry, Severity: plan.Error, Source: c.o.At(path), Field: path, Refused: true,
		Message: fmt.Sprintf("%s: %q is named already at line %d", path, shorten(name), at.Line),
		Hint:    "keep one, or give it another name",
		Related: []plan.Related{{Source: at, Message: "the first one"}},
	})
}

func (c *scenarioCheck) exclusive(path, message, hint string) {
	c.r.fault(CodeExclusive, c.o.At(path), path, path+": "+message, hint)
}

func (c *scenarioCheck) impossible(path, value, hint string) {
	if !c.r.faulty(path) {
		c.r.fault(CodeImpossibleValue, c.o.At(path), path, fmt.Sprintf("%s: invalid value %q", path, shorten(value)), hint)
	}
}

// maxRTT is that of a link to the moon and back, and a little more.
const maxRTT = 10 * time.Second

func (c *scenarioCheck) link(path string, l ScenarioLink) {
	switch {
	case l.RTT < 0 || time.Duration(l.RTT) > maxRTT:
		c.impossible(path+".rtt", time.Duration(l.RTT).String(), "expected a duration up to "+maxRTT.String())
	case l.Jitter < 0 || l.Jitter > l.RTT:
		c.impossible(path+".jitter", time.Duration(l.Jitter).String(), "expected a duration that is no longer than rtt")
	}
	if l.Bandwidth < 0 || l.Bandwidth == 0 && c.o.Has(path+".bandwidth") {
		c.impossible(path+".bandwidth", strconv.FormatInt(int64(l.Bandwidth), 10), "expected bits per second, such as 10M")
	}
	if l.RTT == 0 && l.Bandwidth == 0 {
		c.r.fault(CodeImpossibleValue, c.o.At(path), path, path+": it changes nothing", "give it rtt: 40ms or bandwidth: 10M")
	}
}

func (c *scenarioCheck) bench(b *ScenarioBench) {
	words := func(field string, given []string) {
		for i, word := range given {
			if !slices.Contains(BenchWords[field], word) {
				c.impossible(fmt.Sprintf("spec.bench.%s[%d]", field, i), word, "expected one of: "+strings.Join(BenchWords[field], ", "))
			}
		}
	}
	words("handshake", b.Handshake)
	words("connections", b.Connections)
	words("tls", b.TLS)
	words("key", b.Key)
	words("group", b.Group)
	words("auth", b.Auth)
	numbers := func(field string, given []int, most int) {
		for i, n := range given {
			if n < 1 || n > most {
				c.impossible(fmt.Sprintf("spec.bench.%s[%d]", field, i), strconv.Itoa(n), fmt.Sprintf("expected 1 to %d", most))
			}
		}
	}
	numbers("size", b.Size, MostBenchSize)
	numbers("concurrency", b.Concurrency, MostBenchConcurrency)
	for i, rate := range b.Rate {
		if rate <= 0 || rate > MostBenchRate {
			c.impossible(fmt.Sprintf("spec.bench.rate[%d]", i), fmt.Sprint(rate), fmt.Sprintf("expected more than 0, at most %d", MostBenchRate))
		}
	}
	if u, err := url.Parse(b.URL); b.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		c.impossible("spec.bench.url", b.URL, "expected an absolute URL, such as https://shop.example.com/")
	}
}

func (c *scenarioCheck) files() {
	for i, name := range c.spec.Manifests {
		path := fmt.Sprintf("spec.manifests[%d]", i)
		c.localFile(path, name)
		c.unique("manifests", path, name)
	}
}

// localFile keeps a scenario within its folder.
func (c *scenarioCheck) localFile(path, name string) {
	if !filepath.IsLocal(name) {
		c.impossible(path, name, "expected a file of the scenario's folder")
	}
}

func (c *scenarioCheck) certificate(path string, cert ScenarioCertificate) {
	if cert.ARN != "" && !acmARN.MatchString(cert.ARN) {
		c.impossible(path+".arn", cert.ARN, "expected arn:aws:acm:REGION:ACCOUNT:certificate/ID, with 12 digits for ACCOUNT")
	}
	c.unique("certificates", path+".arn", cert.ARN)
	c.dnsName(path+".domainName", cert.DomainName)
	for i, name := range cert.SubjectAlternativeNames {
		c.dnsName(fmt.Sprintf("%s.subjectAlternativeNames[%d]", path, i), name)
	}
	c.keyAlgorithm(path+".keyAlgorithm", cert.KeyAlgorithm)
}

func (c *scenarioCheck) dnsName(path, name string) {
	if name != "" || c.o.Has(path) {
		c.host(path, strings.ToLower(name))
	}
}

func (c *scenarioCheck) keyAlgorithm(path string, a KeyAlgorithm) {
	if a == "" || slices.Contains(keyAlgorithms, string(a)) {
		return
	}
	hint := "expected one of: " + strings.Join(keyAlgorithms, ", ")
	if a == "RSA_1024" {
		hint = "hoplab makes no key so short; " + hint
	} else if near := nearest(string(a), keyAlgorithms); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	c.impossible(path, string(a), hint)
}

func (c *scenarioCheck) authorities() {
	parents := map[string]string{}
	for i, a := range c.spec.Authorities {
		path := fmt.Sprintf("spec.authorities[%d]", i)
		c.all(path+".name", label(a.Name))
		c.unique("authorities", path+".name", a.Name)
		c.keyAlgorithm(path+".keyAlgorithm", a.KeyAlgorithm)
		c.authority(path+".parent", a.Parent)
		if _, ok := parents[a.Name]; !ok {
			parents[a.Name] = a.Parent
		}
	}
	for i, a := range c.spec.Authorities {
		seen := 0
		for p := a.Parent; p != "" && seen <= len(parents); p = parents[p] {
			if seen++; p == a.Name {
				path := fmt.Sprintf("spec.authorities[%d].parent", i)
				c.invalid(path, "%q is its own ancestor", a.Name)
				break
			}
		}
	}
}

// authority reports a reference to an authority that is not there.
func (c *scenarioCheck) authority(path, name string) {
	var known []string
	for _, a := range c.spec.Authorities {
		known = append(known, a.Name)
	}
	if name == "" || slices.Contains(known, name) || c.r.faulty(path) {
		return
	}
	// What `extends` brings is not known here.
	if c.spec.Extends != "" {
		return
	}
	hint := "define it under spec.authorities"
	if near := nearest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	c.r.fault(CodeUnknownReference, c.o.At(path), path, fmt.Sprintf("%s: there is no authority %q", path, shorten(name)), hint)
}

func (c *scenarioCheck) secret(path string, s ScenarioSecret) {
	if s.Name != "" {
		c.all(path+".name", validation.IsDNS1123Subdomain(s.Name))
		c.unique("secrets", path+".name", orDefault(s.Namespace)+"/"+s.Name)
	}
	c.all(path+".namespace", label(s.Namespace))
	c.authority(path+".ca", s.CA)

	var made []string
	if s.SelfSigned != nil {
		made = append(made, "selfSigned")
		c.leaf(path+".selfSigned", s.SelfSigned)
	}
	if s.SignedBy != nil {
		made = append(made, "signedBy")
		c.authority(path+".signedBy.authority", s.SignedBy.Authority)
		c.leaf(path+".signedBy", &s.SignedBy.ScenarioLeaf)
	}
	if f := s.Files; f != nil {
		made = append(made, "files")
		if *f == (ScenarioFiles{}) {
			c.required(path+".files.cert", "files: {cert: cert.pem, key: key.pem}")
		}
		for name, value := range map[string]string{"cert": f.Cert, "key": f.Key, "ca": f.CA} {
			if value != "" {
				c.localFile(path+".files."+name, value)
			}
		}
		if f.CA != "" && s.CA != "" {
			c.exclusive(path+".ca", "files.ca is set already", "keep one of the two")
		}
	}
	switch {
	case len(made) > 1:
		c.exclusive(path, strings.Join(made, " and ")+" are set, and only one may be", "keep one")
	case len(made) == 0 && s.CA == "" && !c.r.faulty(path):
		c.r.fault(CodeRequired, c.o.At(path), path, path+": one of selfSigned, signedBy and files is required", "selfSigned: {commonName: example.com}")
	}
	keys := map[string]bool{}
	for _, key := range []string{cmp.Or(s.Keys.Cert, "tls.crt"), cmp.Or(s.Keys.Key, "tls.key"), cmp.Or(s.Keys.CA, "ca.crt")} {
		c.all(path+".keys", validation.IsConfigMapKey(key))
		if keys[key] {
			c.invalid(path+".keys", "%q stands for two entries", key)
		}
		keys[key] = true
	}
}

func orDefault(namespace string) string { return cmp.Or(namespace, "default") }

func (c *scenarioCheck) leaf(path string, l *ScenarioLeaf) {
	c.keyAlgorithm(path+".keyAlgorithm", l.KeyAlgorithm)
	if l.CommonName == "" && len(l.DNSNames) == 0 {
		c.required(path+".commonName", "or dnsNames")
	}
	if l.Validity < 0 || l.Validity == 0 && c.o.Has(path+".validity") {
		c.invalid(path+".validity", "must be more than 0")
	}
}

func (c *scenarioCheck) workload(path string, w ScenarioWorkload) {
	if w.Name != "" {
		c.all(path+".name", validation.IsDNS1035Label(w.Name)) // it names a Service
		c.unique("workloads", path+".name", orDefault(w.Namespace)+"/"+w.Name)
	}
	c.all(path+".namespace", label(w.Namespace))
	if w.ServiceAccount != "" {
		c.all(path+".serviceAccount", validation.IsDNS1123Subdomain(w.ServiceAccount))
	}
	checkLabels(c.r, c.o, path+".labels", w.Labels)
	if w.Replicas != nil && *w.Replicas < 0 {
		c.invalid(path+".replicas", "must be greater than or equal to 0")
	}
	if w.App != "" && w.Upstream != "" {
		c.exclusive(path+".upstream", "app is set already, and only one of them may be", "keep one of app and upstream")
	}
	if w.Upstream != "" {
		host, port, err := net.SplitHostPort(w.Upstream)
		if n, perr := strconv.Atoi(port); err != nil || host == "" || perr != nil || n < 1 || n > 65535 {
			c.impossible(path+".upstream", w.Upstream, "expected HOST:PORT, such as 127.0.0.1:3000")
		}
	}
	for i, host := range w.Hosts {
		at := fmt.Sprintf("%s.hosts[%d]", path, i)
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Is4() {
			c.host(at, strings.ToLower(host))
		}
		if strings.HasSuffix(host, ".cluster.local") {
			c.impossible(at, host, "expected a name outside of the cluster")
		}
		c.unique("hosts", at, strings.ToLower(host))
	}
	if len(w.Hosts) > 0 && w.Sidecar != nil && *w.Sidecar {
		c.exclusive(path+".sidecar", "a workload outside of the cluster has no sidecar", "keep one of hosts and sidecar: true")
	}
	if len(w.Ports) == 0 && c.o.Has(path+".ports") {
		c.invalid(path+".ports", "a workload has at least one port")
	}
	for i, p := range w.Ports {
		port := fmt.Sprintf("%s.ports[%d]", path, i)
		if c.o.Has(port + ".port") {
			c.port(port+".port", p.Port)
			c.unique(path+".ports", port+".port", strconv.Itoa(int(p.Port)))
		}
		if c.o.Has(port + ".targetPort") {
			c.port(port+".targetPort", p.TargetPort)
		}
		switch {
		case p.Name != "":
			c.all(port+".name", validation.IsDNS1123Label(p.Name))
			c.unique(path+".ports.name", port+".name", p.Name)
		case len(w.Ports) > 1:
			c.required(port+".name", "each port of a Service with several has a name")
		}
	}
}

func (c *scenarioCheck) options() {
	o := c.spec.Options
	if o.IstioVersion != "" && !istioRelease.MatchString(o.IstioVersion) {
		c.impossible("spec.options.istioVersion", o.IstioVersion, `expected a release such as "1.30"`)
	}
	switch o.WorkloadKeyAlgorithm {
	case "", "RSA_2048", "EC_prime256v1":
	default:
		c.impossible("spec.options.workloadKeyAlgorithm", string(o.WorkloadKeyAlgorithm), "expected one of: RSA_2048, EC_prime256v1")
	}
	if o.WorkloadCertTTL < 0 || o.WorkloadCertTTL == 0 && c.o.Has("spec.options.workloadCertTTL") {
		c.invalid("spec.options.workloadCertTTL", "must be more than 0")
	}
	for image, app := range c.spec.Apps {
		if app == "" {
			c.impossible(join("spec.apps", image), app, "expected the name of a built-in app, such as echo")
		}
	}
}

func (c *scenarioCheck) check(path string, check ScenarioCheck) {
	c.unique("checks", path+".name", check.Name)
	q, e := check.Request, check.Expect
	if q.URL != "" {
		switch u, err := url.Parse(q.URL); {
		case err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "tcp", "tls"}, u.Scheme):
			c.impossible(path+".request.url", q.URL, "expected an absolute URL, such as https://shop.example.com/ or tcp://redis:6379")
		case (u.Scheme == "tcp" || u.Scheme == "tls") && (u.Port() == "" || q.Method != "" || len(q.Headers) > 0):
			c.impossible(path+".request.url", q.URL, "expected a port, and no method and headers: only the body is sent")
		case (u.Scheme == "http" || u.Scheme == "tcp") && (q.SNI != nil || q.ALPN != nil || q.Insecure || q.CA != "" || q.TLSMax != "" || q.ClientCert != ""):
			c.impossible(path+".request.url", q.URL, "expected https or tls, as the request says how TLS is to be spoken")
		}
	}
	for i, p := range q.ALPN {
		if p == "" || len(p) > 255 { // RFC 7301, 3.1
			c.impossible(fmt.Sprintf("%s.request.alpn[%d]", path, i), p, "expected a protocol, such as h2")
		}
	}
	switch {
	case q.Insecure && q.CA != "":
		c.exclusive(path+".request.ca", "insecure is set already, and trusts everybody", "keep one of insecure and ca")
	case q.CA != "" && q.CA != "acm" && q.CA != "mesh" && strings.Count(q.CA, "/") != 1:
		c.impossible(path+".request.ca", q.CA, "expected acm, mesh, or a Secret as NAMESPACE/NAME")
	}
	if strings.ContainsFunc(q.Method, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }) {
		c.impossible(path+".request.method", q.Method, "expected a method, such as GET")
	}
	switch q.TLSMax {
	case "", "1.0", "1.1", "1.2", "1.3":
	default:
		c.impossible(path+".request.tlsMax", q.TLSMax, `expected one of: "1.0", "1.1", "1.2", "1.3"`)
	}
	if q.From != "" && q.From != "client" && strings.Count(q.From, "/") != 1 {
		c.impossible(path+".request.from", q.From, "expected client, or a pod as NAMESPACE/POD")
	}
	if q.ClientCert != "" && strings.Count(q.ClientCert, "/") != 1 {
		c.impossible(path+".request.clientCert", q.ClientCert, "expected a Secret as NAMESPACE/NAME")
	}
	if e.Status != nil && (*e.Status < 100 || *e.Status > 599) {
		c.impossible(path+".expect.status", strconv.Itoa(*e.Status), "expected a status from 100 to 599")
	}
	if e.Status == nil && e.Body == nil && e.Location == nil && e.Hops == nil && len(e.Headers)+len(e.Ended) == 0 && c.o.Has(path+".expect") && !c.r.faulty(path+".expect") {
		c.r.fault(CodeRequired, c.o.At(path+".expect"), path+".expect", path+".expect: expects nothing, so that it can never fail", "status: 200")
	}
}

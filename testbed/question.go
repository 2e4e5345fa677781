package testbed

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"hoplab.dev/plan"
	"hoplab.dev/proxy"
	"hoplab.dev/testbed/control"
)

// Names of the certificate that a client was given, and of the authorities that
// it was told to trust.
const (
	clientCertificate = "client"
	clientTrust       = "client#ca"
)

// clientSuites are what a curl of today offers for TLS 1.2 and below.
var clientSuites = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
	"ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA",
}

func refuse(hint, format string, args ...any) error {
	return &control.Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// schemes are those of the URLs that can be asked, each with its port; 0: the
// URL must say it.
var schemes = map[string]struct {
	port        int
	secure, raw bool
}{
	"http": {port: 80}, "https": {port: 443, secure: true},
	"tcp": {raw: true}, "tls": {secure: true, raw: true},
}

// question finds out whom a request goes to, and how.
func (t *Testbed) question(r control.TraceRequest) (*control.Question, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Hostname() == "" {
		return nil, refuse("https://HOST/PATH", "%q is no absolute URL", r.URL)
	}
	scheme, ok := schemes[u.Scheme]
	switch {
	case !ok:
		return nil, refuse("https://HOST/PATH, http://HOST/PATH, tcp://HOST:PORT or tls://HOST:PORT", "%q: hoplab does not speak %s", r.URL, u.Scheme)
	case scheme.raw && u.Port() == "":
		return nil, refuse(u.Scheme+"://"+u.Hostname()+":PORT", "%q names no port", r.URL)
	case scheme.raw && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil):
		return nil, refuse(u.Scheme+"://"+u.Host, "%q: raw bytes go to a port, not to a path", r.URL)
	case !scheme.secure && asksForTLS(r):
		return nil, refuse("https:// or tls://", "%q: without TLS there is no version, no name, no protocol and no certificate", r.URL)
	}
	port := scheme.port
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return nil, refuse("", "%q: no such port", u.Port())
		}
	}
	q := &control.Question{From: "client", Raw: scheme.raw}
	if scheme.raw {
		if r.Method != "" || len(r.Headers) > 0 {
			return nil, refuse("the bytes alone, as the body", "%q: raw bytes have no method and no headers", r.URL)
		}
		q.Request = proxy.ClientRequest{Host: u.Host, Body: r.Body}
	} else if q.Request, err = httpRequest(r, u, scheme.port); err != nil {
		return nil, err
	}
	known, err := t.whereTo(q, r, u, port)
	if err != nil || !scheme.secure {
		return q, err
	}
	if q.Request.TLS, err = clientTLS(q, r, u.Hostname(), known); err != nil {
		return nil, err
	}
	if scheme.raw && r.ALPN == nil {
		q.Request.TLS.ALPN = nil // as openssl s_client does
	}
	return q, present(q, r)
}

// asksForTLS tells whether a request says something of a handshake.
func asksForTLS(r control.TraceRequest) bool {
	return r.TLSMax != "" || r.SNI != nil || r.ALPN != nil || r.Insecure || len(r.CAPEM)+len(r.CertPEM)+len(r.KeyPEM) > 0
}

// httpRequest is what is sent of a request, but to whom. The scheme's own port
// is not said.
func httpRequest(r control.TraceRequest, u *url.URL, defaultPort int) (proxy.ClientRequest, error) {
	var none proxy.ClientRequest
	header := http.Header{}
	host := strings.TrimSuffix(u.Host, ":"+strconv.Itoa(defaultPort))
	for _, h := range r.Headers {
		if !httpguts.ValidHeaderFieldName(h[0]) || !httpguts.ValidHeaderFieldValue(h[1]) {
			return none, refuse("NAME: VALUE, of printable characters", "no request can have the header %q", h[0]+": "+h[1])
		}
		if strings.EqualFold(h[0], "Host") {
			host = h[1]
			continue
		}
		header.Add(h[0], h[1])
	}
	if r.Method != "" && !httpguts.ValidHeaderFieldName(r.Method) { // RFC 9110, 9.1: a token too
		return none, refuse("GET, POST ...", "no request can have the method %q", r.Method)
	}
	if u.User != nil && header.Get("Authorization") == "" {
		password, _ := u.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
		header.Set("Authorization", "Basic "+basic)
	}
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", "hoplab")
	}
	if header.Get("Accept") == "" {
		header.Set("Accept", "*/*")
	}
	out := proxy.ClientRequest{Method: r.Method, Host: host, Path: u.RequestURI(), Header: header, Body: r.Body}
	if out.Method == "" {
		out.Method = http.MethodGet
		if r.Body != nil {
			out.Method = http.MethodPost
		}
	}
	return out, nil
}

// clientTLS is how a client asks: as curl does, it verifies what an edge
// presents, and a pod's what anybody does. Of a node behind the edge the client
// could verify nothing, as that has no certificate of a public authority.
func clientTLS(q *control.Question, r control.TraceRequest, name string, verify bool) (*plan.ClientTLS, error) {
	c := &plan.ClientTLS{ServerName: name, ALPN: []string{"h2", "http/1.1"}}
	if net.ParseIP(name) != nil {
		c.ServerName = "" // RFC 6066: no literal addresses
	}
	if r.SNI != nil {
		if c.ServerName = *r.SNI; c.ServerName != "" {
			name = c.ServerName
		}
	}
	c.Suites, c.Groups = clientSuites, []string{"X25519", "P-256", "P-384", "P-521"}
	switch {
	case r.Insecure:
		c.Why = "it was asked not to verify, as curl -k is"
	case len(r.CAPEM) > 0:
		if !x509.NewCertPool().AppendCertsFromPEM(r.CAPEM) {
			return nil, refuse("a PEM file of authorities' certificates", "there is no certificate to trust")
		}
		q.CAPEM = r.CAPEM
		c.Trust, c.VerifyName = clientTrust, name
	case verify:
		c.Trust, c.VerifyName = plan.ACMTrust, name
	default:
		c.Why = "no authority that clients trust has issued it: hoplab asks as curl -k does"
	}
	switch r.TLSMax {
	case "", "1.3":
	case "1.2":
		c.MaxVersion = "TLS 1.2"
	case "1.0", "1.1":
		c.MinVersion, c.MaxVersion = "TLS 1.0", "TLS "+r.TLSMax
		c.ALPN = []string{"http/1.1"} // RFC 9113 section 9.2: HTTP/2 needs TLS 1.2
	default:
		return nil, refuse("1.0, 1.1, 1.2 or 1.3", "no TLS version %q", r.TLSMax)
	}
	if r.ALPN != nil {
		for _, p := range r.ALPN {
			if p == "" || len(p) > 255 { // RFC 7301, 3.1
				return nil, refuse("names such as h2 and http/1.1", "no ALPN protocol can be %q", p)
			}
		}
		c.ALPN = r.ALPN
	}
	return c, nil
}

// present gives the client a certificate.
func present(q *control.Question, r control.TraceRequest) error {
	if len(r.CertPEM) == 0 && len(r.KeyPEM) == 0 {
		return nil
	}
	if _, err := tls.X509KeyPair(r.CertPEM, r.KeyPEM); err != nil {
		return refuse("PEM files of one certificate chain and its key", "client certificate: %v", err)
	}
	q.CertPEM, q.KeyPEM = r.CertPEM, r.KeyPEM
	q.Request.TLS.Certificate = clientCertificate
	return nil
}

// certificatesOf are those that the client of a question has.
func certificatesOf(q *control.Question, shared certificates) (*nodeCertificates, error) {
	c := &nodeCertificates{shared: shared}
	if len(q.CertPEM) > 0 {
		own, err := tls.X509KeyPair(q.CertPEM, q.KeyPEM)
		if err != nil {
			return nil, err
		}
		c.own = &own
	}
	if len(q.CAPEM) > 0 {
		c.roots = x509.NewCertPool()
		c.roots.AppendCertsFromPEM(q.CAPEM)
	}
	return c, nil
}

// whereTo finds the address to dial. Verify: the client can check who answers.
func (t *Testbed) whereTo(q *control.Question, r control.TraceRequest, u *url.URL, port int) (verify bool, err error) {
	p := t.Plan()
	if r.From != "" && r.From != "client" {
		if r.Via != "" {
			return false, refuse("leave out one of the two", "a pod's request goes where its sidecar sends it: not from %s via %s", r.From, r.Via)
		}
		return true, t.fromPod(q, p, strings.TrimPrefix(r.From, "app/"), u.Hostname(), port)
	}
	var n *plan.Node
	if r.Via != "" {
		if n = p.Node(r.Via); n == nil || n.Kind == plan.Client {
			return false, refuse("one of "+strings.Join(nodeNames(p), ", "), "there is no node %q", r.Via)
		}
	} else if h, ok := p.Locate(u.Hostname()); ok {
		n = p.Node(h.Node)
	} else if out := p.Outermost(); len(out) > 0 {
		n = out[0] // as curl goes that `hoplab env` prepared
	} else {
		return false, refuse("", "nothing is there to ask")
	}
	q.Request.Peer = n.Name
	target, open := clientPort(n, port)
	if !open && r.Via != "" {
		target, open = viaPort(n, u, port)
	}
	if !open {
		q.Request.To = plan.Address{} // where nothing listens
		return true, nil
	}
	q.Request.To = plan.Address{Pod: n.Pod, Port: target, Private: n.App != nil && n.App.Private}
	return n.Kind == plan.Edge || (r.Via == "" && t.verifiable(n)), nil
}

// clientPort is the port of a node's own address that clients reach by a port.
func clientPort(n *plan.Node, port int) (target int, open bool) {
	for _, l := range n.Listeners {
		if target, ok := l.ClientPorts()[port]; ok && !l.Outbound {
			return target, true
		}
	}
	return 0, false
}

// verifiable tells whether all certificates of a gateway that clients reach
// directly are of the authority that they trust.
func (t *Testbed) verifiable(n *plan.Node) bool {
	roots, err := t.vault.Trust(plan.ACMTrust)
	if err != nil {
		return false
	}
	for _, l := range n.Listeners {
		for _, fc := range l.FilterChains {
			if fc.TLS == nil {
				continue
			}
			for _, name := range fc.TLS.Certificates {
				c, err := t.vault.Certificate(name)
				if err != nil {
					continue // it serves nothing
				}
				above := x509.NewCertPool()
				for _, der := range c.Certificate[1:] {
					if parsed, err := x509.ParseCertificate(der); err == nil {
						above.AddCert(parsed)
					}
				}
				if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: above}); err != nil {
					return false
				}
			}
		}
	}
	return true
}

// viaPort is the port of a node's own address that a URL means, which clients
// do not reach by that port. A URL that names none means the first that speaks
// as it does, and at a pod that serves no such the first.
func viaPort(n *plan.Node, u *url.URL, port int) (target int, open bool) {
	listeners := listenersOf(n)
	if slices.ContainsFunc(listeners, func(l listenerOf) bool { return l.key.port == port }) {
		return port, true
	}
	if u.Port() != "" {
		return 0, false
	}
	secure := schemes[u.Scheme].secure
	for _, l := range listeners {
		switch {
		case l.key.port == 15021:
		case (l.protocol == "HTTPS" || l.protocol == "TLS") == secure:
			return l.key.port, true
		case target == 0 && (n.Kind == plan.Sidecar || n.Kind == plan.AppKind):
			target = l.key.port
		}
	}
	return target, target != 0
}

// fromPod asks as the app in a pod does.
func (t *Testbed) fromPod(q *control.Question, p *plan.Plan, pod, host string, port int) error {
	if !slices.Contains(podNames(p), pod) {
		return refuse("one of "+strings.Join(podNames(p), ", "), "there is no pod %q", pod)
	}
	e, err := t.crew.network().lookup(pod, host, port)
	if err != nil {
		return refuse("a Service of the cluster: NAME, NAME.NAMESPACE or NAME.NAMESPACE.svc.cluster.local; or a name of the internet", "pod %s cannot resolve %s: %v", pod, host, err)
	}
	q.From, q.Pod = "app/"+pod, pod
	q.Request.To, q.Request.Peer = e.Address, e.Node
	return nil
}

func nodeNames(p *plan.Plan) []string {
	var out []string
	for _, n := range p.Nodes {
		if n.Kind != plan.Client {
			out = append(out, n.Name)
		}
	}
	return out
}

func podNames(p *plan.Plan) []string {
	var out []string
	for _, pod := range p.Pods {
		if p.Node(pod.Name) == nil { // a load balancer is no pod
			out = append(out, pod.Name)
		}
	}
	return out
}

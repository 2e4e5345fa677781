package bench

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hoplab.dev/plan"
)

// What a Variant's Handshake and Connections may be.
const (
	Full    = "full"    // no session is resumed
	Resumed = "resumed" // every handshake resumes the session before

	New         = "new"           // every node opens a connection for every request
	NewAtClient = "new-at-client" // the client alone does; the nodes keep theirs
	Reuse       = "reuse"         // nobody does
)

// Variant is one thing to be measured: the scenario's way, changed in the ways
// that are set. Of what is empty or 0 the scenario says what it is.
type Variant struct {
	Handshake   string `json:"handshake,omitempty"` // full or resumed; empty: there are none
	Connections string `json:"connections"`         // new, new-at-client or reuse

	TLS   string `json:"tls,omitempty"`   // the version everywhere: "1.2", "1.3"
	Key   string `json:"key,omitempty"`   // everywhere that a node has one: "RSA-2048" ...
	Group string `json:"group,omitempty"` // of the key exchange everywhere: "X25519" ...
	Auth  string `json:"auth,omitempty"`  // everywhere: "server" or "mutual"

	ResponseBytes int           `json:"responseBytes,omitempty"` // of the body
	RTT           time.Duration `json:"rtt,omitempty"`           // of every hop's link

	// Baseline: the client asks the app, and nobody is between.
	Baseline bool `json:"baseline,omitempty"`
	// Plaintext is the number, from 1, of the TLS session of the way that is
	// turned off; 0: none.
	Plaintext int `json:"plaintext,omitempty"`
	// Node is the number, from 1, of the node between client and app that is not
	// what it is; 0: none.
	Node   int    `json:"node,omitempty"`
	NodeIs string `json:"nodeIs,omitempty"` // relayed: it passes bytes on unread; removed: it is not there

	// Quiet: nodes keep no record of what they do, and count nothing.
	Quiet bool `json:"quiet,omitempty"`
	// Observed: nodes record and count as in one process, and measure no phases.
	Observed bool `json:"observed,omitempty"`

	// Chain is the number of TLS hops of a chain of gateways before the app,
	// that is measured instead of the scenario's way; nil: it is not.
	Chain *int `json:"chain,omitempty"`

	Rate        float64       `json:"rate,omitempty"`   // per second, open loop; 0: closed loop
	Concurrency int           `json:"concurrency"`      // of a closed loop; of an open one the most at a time, 0: no bound
	Jitter      time.Duration `json:"jitter,omitempty"` // each request is put off by up to this, at random

	Peer string `json:"peer,omitempty"` // the program in the place of hoplab's nodes
}

// bills tells whether the variant's requests are taken apart.
func (v *Variant) bills() bool { return !v.Quiet && !v.Observed && v.Peer == "" }

// Name says in few words what is measured.
func (v Variant) Name() string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch {
	case v.Chain != nil:
		add("chain of %d", *v.Chain)
	case v.Baseline:
		add("no proxy")
	}
	if v.Handshake == "" {
		add("connections %s", v.Connections)
	} else {
		add("%s handshakes, connections %s", v.Handshake, v.Connections)
	}
	for _, set := range []struct{ what, is string }{{"TLS", v.TLS}, {"key", v.Key}, {"group", v.Group}, {"auth", v.Auth}} {
		if set.is != "" {
			add("%s %s", set.what, set.is)
		}
	}
	if v.ResponseBytes > 0 {
		add("%d bytes", v.ResponseBytes)
	}
	if v.RTT > 0 {
		add("RTT %v", v.RTT)
	}
	if v.Plaintext > 0 {
		add("session %d in plaintext", v.Plaintext)
	}
	if v.Node > 0 {
		add("node %d %s", v.Node, v.NodeIs)
	}
	if v.Quiet {
		add("nothing recorded")
	}
	if v.Observed {
		add("recorded as ever")
	}
	switch {
	case v.Rate > 0:
		add("open loop, %g/s", v.Rate)
	case v.Concurrency > 1:
		add("closed loop, %d at a time", v.Concurrency)
	}
	if v.Jitter > 0 {
		add("jitter %v", v.Jitter)
	}
	if v.Peer != "" {
		add("by %s", v.Peer)
	}
	return strings.Join(words, ", ")
}

// change makes the plan that a variant wants of the scenario's.
func (w *way) change(base *plan.Plan, client *plan.ClientTLS, v *Variant) (*plan.Plan, *plan.ClientTLS, error) {
	p, err := clone(base)
	if err != nil {
		return nil, nil, err
	}
	if client, err = clone(client); err != nil {
		return nil, nil, err
	}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		switch {
		case v.Quiet:
			n.Recording = plan.RecordNothing
		case v.Observed:
			n.Recording = plan.RecordKept
		case v.bills():
			n.Recording = plan.RecordPhases
		}
	}
	for _, l := range w.legs {
		c := w.clusterOf(p, l)
		if c == nil {
			continue // the client's, or an app's
		}
		if v.Connections == New {
			c.Limits.RequestsPerConnection = 1
		}
		c.Outliers = nil
	}
	if v.RTT > 0 {
		p.Links = nil
		for _, l := range w.legs {
			if p.Node(l.from).Pod != p.Node(l.to).Pod {
				p.Links = append(p.Links, plan.Link{From: l.from, To: l.to, RTT: v.RTT})
			}
		}
	}
	for i, s := range w.sessions {
		client, err = w.changeSession(p, client, i, s, v)
		if err != nil {
			return nil, nil, err
		}
	}
	if n := p.Node(clientNode); n != nil && client != nil { // it is given the materials that its part of the plan names
		n.Clusters = []plan.Cluster{{Name: clientNode, Endpoints: []plan.Endpoint{{TLS: client}}}}
	}
	return p, client, nil
}

// changeSession changes one session of the way.
func (w *way) changeSession(p *plan.Plan, client *plan.ClientTLS, i int, s session, v *Variant) (*plan.ClientTLS, error) {
	first, last := w.legs[s.first], w.legs[s.last]
	off := v.Plaintext == i+1
	chain := w.chainOf(p, last)
	if off && (s.first != s.last || chain == nil) {
		return nil, fmt.Errorf("the session from %s to %s cannot be turned off: %s", first.from, last.to, why(s.first != s.last,
			first.to+" chooses by the name in it", last.to+" terminates it by itself"))
	}
	dialled := []**plan.ClientTLS{&client}
	if c := w.clusterOf(p, first); c != nil {
		dialled = nil
		for i := range c.Endpoints {
			dialled = append(dialled, &c.Endpoints[i].TLS)
		}
		if c.OriginalDestination {
			dialled = append(dialled, &c.TLS)
		}
		if off && c.HealthCheck != nil && c.HealthCheck.Port == 0 {
			c.HealthCheck.TLS = nil
		}
	}
	for _, t := range dialled {
		switch {
		case *t == nil:
		case off:
			*t = nil
		default:
			v.dial(*t)
		}
	}
	switch {
	case off:
		chain.TLS = nil
		m := plan.Match{DestinationPorts: chain.Match.DestinationPorts, DestinationCIDRs: chain.Match.DestinationCIDRs}
		l := w.listenerOf(p, last)
		plain := *chain
		plain.Match = m
		l.FilterChains = []plan.FilterChain{plain}
		l.InspectTLS = false
	case chain != nil:
		return client, v.accept(chain.TLS, p.Node(last.to))
	case v.Key != "":
		app := p.Node(last.to).App
		for i := range app.TLS {
			app.TLS[i].Certificate = serverCertificate(keys[v.Key])
		}
	}
	return client, nil
}

func why(is bool, so, otherwise string) string {
	if is {
		return so
	}
	return otherwise
}

// dial changes how a session is begun.
func (v *Variant) dial(t *plan.ClientTLS) {
	switch v.Handshake {
	case Full:
		t.Resumption = plan.ResumeNever
	case Resumed:
		t.Resumption = plan.ResumeAlways
	}
	v.parameters(&t.TLSParameters)
	if v.Key != "" || v.Auth != "" {
		if t.Trust != "" { // the certificates are of nobody that the scenario knows
			t.Trust, t.VerifyName = benchTrust, benchName
		}
		t.SubjectAltNames, t.VerifyHost, t.CRL = nil, false, ""
		switch {
		case v.Auth == "mutual", v.Auth == "" && t.Certificate != "":
			t.Certificate = clientCertificate(keys[v.keyOr(defaultKey)])
		case v.Auth == "server":
			t.Certificate = ""
		}
	}
}

// accept changes how a session is taken.
func (v *Variant) accept(t *plan.ServerTLS, n *plan.Node) error {
	v.parameters(&t.TLSParameters)
	if v.Key == "" && v.Auth == "" {
		return nil
	}
	if v.Key == "Ed25519" {
		return fmt.Errorf("%s takes no Ed25519 key: %s", n.Name, why(n.Kind == plan.Edge,
			"an ALB serves RSA and ECDSA certificates alone", "Envoy serves RSA and ECDSA certificates alone"))
	}
	t.Certificates = []string{serverCertificate(keys[v.keyOr(defaultKey)])}
	if t.Default != "" {
		t.Default = t.Certificates[0]
	}
	t.TrustDomains, t.SubjectAltNames, t.SPKIHashes, t.CertificateHashes, t.CRL = nil, nil, nil, nil, ""
	if v.Auth != "" {
		t.ClientAuth = plan.NoClientCertificate
	}
	if v.Auth == "mutual" {
		t.ClientAuth = plan.RequireClientCertificate
	}
	if t.ClientAuth != plan.NoClientCertificate {
		t.Trust = benchTrust
	} else {
		t.Trust = ""
	}
	return nil
}

func (v *Variant) keyOr(other string) string {
	if v.Key == "" {
		return other
	}
	return v.Key
}

func (v *Variant) parameters(p *plan.TLSParameters) {
	if v.TLS != "" {
		p.MinVersion, p.MaxVersion = "TLS "+v.TLS, "TLS "+v.TLS
	}
	if v.Group != "" {
		p.Groups = []string{v.Group}
	}
}

// clone makes a copy that shares nothing.
func clone[T any](v *T) (*T, error) {
	text, err := json.Marshal(v)
	if err != nil || v == nil {
		return nil, err
	}
	out := new(T)
	return out, json.Unmarshal(text, out)
}

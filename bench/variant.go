package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"hoplab.dev/plan"
	"hoplab.dev/proxy"
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

// way is how a request goes through the plan.
type way struct {
	legs     []leg
	sessions []session
	ends     bool // at a node that is no app, and answers by itself
}

// leg is one connection of it.
type leg struct {
	from, to string // nodes
	cluster  string // of the dialling node; "" of the client
	listener string // of the accepting node; "" of an app
	chain    string // its filter chain
	relay    bool   // it carries the bytes on unread
}

// session is TLS from the node that dials the first of its legs to the one that
// accepts the last. On the way of requests it is that of a hop's wire.
type session struct{ first, last, hop, wire int }

// wayOf is that of a request.
func wayOf(j *journey) way {
	var w way
	for i, hop := range j.hops() {
		for _, c := range hop.carriers() {
			w.sessions = append(w.sessions, session{len(w.legs) + c.first, len(w.legs) + c.last, i, c.first})
		}
		for k, wire := range hop.wires {
			w.legs = append(w.legs, leg{
				from: wire.Dialled.Node, cluster: wire.Dialled.Cluster,
				to: wire.Accepted.Node, listener: wire.Accepted.Listener, chain: chainChosen(wire.Accepted.Chose),
				relay: k < len(hop.wires)-1,
			})
		}
	}
	w.legs[0].cluster = ""
	last := j
	for len(last.next) > 0 {
		last = last.next[len(last.next)-1]
	}
	w.ends = last.acceptedConn().Kind != string(plan.AppKind)
	return w
}

// direct is the way of a client that asks the app itself. TLS that the app
// terminates stays.
func (w *way) direct(p *plan.Plan, r proxy.ClientRequest, client *plan.ClientTLS) (*way, proxy.ClientRequest, *plan.ClientTLS) {
	l := w.legs[len(w.legs)-1]
	n := p.Node(l.to)
	r.To = plan.Address{Pod: n.Pod}
	if n.App != nil {
		r.To.Port, r.To.Private = n.App.Ports[0], n.App.Private
	}
	var dialled *plan.ClientTLS
	if c := w.clusterOf(p, l); c != nil {
		for _, e := range c.Endpoints {
			if e.Node == l.to {
				r.To, dialled = e.Address, e.TLS
			}
		}
	}
	r.Peer = l.to
	out := &way{legs: []leg{{from: clientNode, to: l.to, listener: l.listener, chain: l.chain}}}
	if i := slices.IndexFunc(w.sessions, func(s session) bool { return s.last == len(w.legs)-1 }); i >= 0 {
		out.sessions = []session{{}}
		if w.sessions[i].first > 0 {
			client = dialled
		}
		return out, r, client
	}
	return out, r, nil
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

// clusterOf is the one that a leg was dialled for; nil: the client's, or an app's.
func (w *way) clusterOf(p *plan.Plan, l leg) *plan.Cluster {
	if n := p.Node(l.from); n != nil && l.cluster != "" {
		return n.Cluster(l.cluster)
	}
	return nil
}

func (w *way) listenerOf(p *plan.Plan, l leg) *plan.Listener {
	n := p.Node(l.to)
	i := slices.IndexFunc(n.Listeners, func(o plan.Listener) bool { return o.Name == l.listener })
	if i < 0 {
		return nil
	}
	return &n.Listeners[i]
}

// chainOf is the filter chain that terminates a leg's TLS; nil: an app does.
func (w *way) chainOf(p *plan.Plan, l leg) *plan.FilterChain {
	at := w.listenerOf(p, l)
	if at == nil {
		return nil
	}
	for i := range at.FilterChains {
		if c := &at.FilterChains[i]; c.Name == l.chain && c.TLS != nil {
			return c
		}
	}
	return nil
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

package testbed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"hoplab.dev/certs"
	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/testbed/apps"
	"hoplab.dev/testbed/control"
)

var _ control.Backend = (*Testbed)(nil)

// Status is control.Statuser's.
func (t *Testbed) Status(context.Context) (control.Status, error) {
	p, addresses, health := t.Plan(), t.crew.network().addresses, t.crew.health()
	s := control.Status{Scenario: p.Scenario, PID: os.Getpid(), CA: t.options.CA, Published: t.crew.publications()}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if n.Kind == plan.Client {
			continue // it is there only while it asks
		}
		out := control.NodeStatus{Name: n.Name, Kind: string(n.Kind), Pod: n.Pod, Health: health[n.Name]}
		for _, l := range listenersOf(n) {
			out.Listeners = append(out.Listeners, control.ListenerStatus{
				Port: l.key.port, Addr: addresses.known(l.key), Protocol: l.protocol,
			})
		}
		if key, ok := metricsSocket(n); ok {
			if addr := addresses.known(key); addr != "" {
				out.Metrics = "http://" + addr + metricsPath
			}
		}
		s.Nodes = append(s.Nodes, out)
	}
	for _, h := range p.Hosts {
		if !slices.Contains(s.Hosts, h.Name) {
			s.Hosts = append(s.Hosts, h.Name)
		}
	}
	return s, nil
}

// Refused is a host:port on 127.0.0.1 that is held and not listening: whoever
// connects is refused, as at a port that a load balancer has not.
func (t *Testbed) Refused() string { return t.crew.network().addresses.closed.addr }

type listenerOf struct {
	key      socketKey
	protocol string
}

// listenersOf lists a node's ports for people: those on the way out of a pod
// are its own affair.
func listenersOf(n *plan.Node) []listenerOf {
	var out []listenerOf
	for _, key := range portsOf(n) {
		if key.where == outboundAddress {
			continue
		}
		protocol := ""
		if n.App != nil {
			protocol = apps.Protocol(n.App, key.port)
		}
		for _, l := range n.Listeners {
			if !l.Outbound && slices.Contains(l.Ports, key.port) {
				protocol = l.ProtocolOn(key.port)
			}
		}
		out = append(out, listenerOf{key, protocol})
	}
	return out
}

// collectTimeout is how long nodes may take to tell what they know.
const collectTimeout = time.Second

// collected has the recorder know what nodes know by now. Of one that does not
// answer what it has told before counts.
func (t *Testbed) collected() *passport.Recorder {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	_ = t.crew.collect(ctx)
	return t.recorder
}

// LastPassports is control.Passports'.
func (t *Testbed) LastPassports(n int) []passport.Passport { return t.collected().Last(n) }

// Passport is control.Passports'.
func (t *Testbed) Passport(id string) (passport.Passport, bool) { return t.collected().Get(id) }

// FollowPassports is control.Passports'.
func (t *Testbed) FollowPassports(ctx context.Context) <-chan passport.Passport {
	return t.recorder.Follow(ctx)
}

// Log is control.Logs'.
func (t *Testbed) Log(ctx context.Context, name string, follow bool) (<-chan string, bool) {
	if n := t.Plan().Node(name); n == nil || n.Kind == plan.Client {
		return nil, false
	}
	out := make(chan string)
	lines := t.collected().Logs(name)
	var later <-chan string
	if follow { // the lines that are there too, and none twice
		lines, later = nil, t.recorder.FollowLogs(ctx, name, true)
	}
	go func() {
		defer close(out)
		send := func(line string) bool {
			select {
			case out <- line:
				return true
			case <-ctx.Done():
				return false
			}
		}
		for _, line := range lines {
			if !send(line) {
				return
			}
		}
		if later == nil {
			return
		}
		for line := range later {
			if !send(line) {
				return
			}
		}
	}()
	return out, true
}

// Sign is control.Signer's: the token stood for the node, and the node's
// identity is what the certificate is for.
func (t *Testbed) Sign(_ context.Context, name string, csr []byte) ([]byte, error) {
	n := t.Plan().Node(name)
	if n == nil || n.Identity == "" {
		return nil, &control.Error{Status: http.StatusForbidden, Message: name + " has no identity in the mesh"}
	}
	t.mu.RLock()
	ttl := t.materials.WorkloadCertTTL
	t.mu.RUnlock()
	return t.vault.MeshCA().Sign(csr, n.Identity, ttl)
}

// Stop is control.Stopper's.
func (t *Testbed) Stop() {
	if t.options.Stop != nil {
		t.options.Stop()
	}
}

// CertPEM is control.Certificates'.
func (t *Testbed) CertPEM(_ context.Context, name string, withKey bool) ([]byte, error) {
	pem, err := t.vault.PEM(name, withKey)
	if errors.Is(err, certs.ErrNotFound) {
		return nil, &control.Error{Status: http.StatusNotFound, Message: err.Error(), Hint: "acm, mesh, or NAMESPACE/SECRET"}
	}
	return pem, err
}

// Certs is control.Certificates'.
func (t *Testbed) Certs(ctx context.Context) (control.Certs, error) {
	by, to := t.presented()
	var out control.Certs
	now := time.Now()
	for _, e := range t.vault.List() {
		c := control.Certificate{Name: e.Name, PresentedBy: by[e.Name], PresentedTo: to[e.Name]}
		switch {
		case e.Err != nil:
			c.Problem = e.Err.Error()
		case e.Certificate != nil:
			c.Certificate = passport.Describe(e.Certificate)
			switch {
			case now.After(e.Certificate.NotAfter):
				c.Problem = "expired"
			case now.Before(e.Certificate.NotBefore):
				c.Problem = "not valid yet"
			}
		}
		out.Certificates = append(out.Certificates, c)
	}
	leaves := t.crew.leaves(ctx)
	for _, name := range slices.Sorted(maps.Keys(leaves)) {
		out.Certificates = append(out.Certificates, control.Certificate{
			Name: name, Leaf: leaves[name], PresentedBy: []string{name}, PresentedTo: to[name],
		})
	}
	return out, nil
}

// presented tells, by the names of certificates, which nodes present each to
// which. A workload's certificate goes by its node's name.
func (t *Testbed) presented() (by, to map[string][]string) {
	by, to = map[string][]string{}, map[string][]string{}
	add := func(m map[string][]string, name, node string) {
		if !slices.Contains(m[name], node) {
			m[name] = append(m[name], node)
		}
	}
	p := t.Plan()
	outermost := p.Outermost()
	for _, n := range p.Nodes {
		if n.App != nil {
			for _, s := range n.App.TLS {
				add(by, s.Certificate, n.Name)
			}
		}
		for _, l := range n.Listeners {
			for _, fc := range l.FilterChains {
				if fc.TLS == nil {
					continue
				}
				for _, c := range fc.TLS.Certificates {
					if c == plan.WorkloadCertificate {
						c = n.Name
					}
					add(by, c, n.Name)
					for _, o := range outermost {
						if o.Name == n.Name {
							add(to, c, "client")
						}
					}
				}
			}
		}
	}
	for _, n := range p.Nodes { // who dials whom
		for _, cluster := range n.Clusters {
			for _, e := range cluster.Endpoints {
				peer := p.Node(e.Node)
				if e.TLS == nil || peer == nil {
					continue
				}
				if e.TLS.Certificate == plan.WorkloadCertificate {
					add(to, n.Name, peer.Name)
				}
				for _, l := range peer.Listeners {
					if !slices.Contains(l.Ports, e.Address.Port) {
						continue
					}
					for _, fc := range l.FilterChains {
						if fc.TLS == nil {
							continue
						}
						for _, c := range fc.TLS.Certificates {
							if c == plan.WorkloadCertificate {
								c = peer.Name
							}
							add(to, c, n.Name)
						}
					}
				}
			}
		}
	}
	return by, to
}

// Trace is control.Tracer's: a request of the client node's, and its passport.
func (t *Testbed) Trace(ctx context.Context, r control.TraceRequest) (control.TraceResponse, error) {
	q, err := t.Question(ctx, r)
	if err != nil {
		return control.TraceResponse{}, err
	}
	if r.Fresh {
		defer t.Hold()()
	}
	answer, err := t.crew.ask(ctx, q)
	if answer.Root == "" {
		return control.TraceResponse{}, err
	}
	out := control.TraceResponse{Status: answer.Status, Headers: answer.Headers, Body: answer.Body}
	out.Passport, err = t.await(context.WithoutCancel(ctx), answer.Root)
	if err == nil && !out.Passport.Complete() {
		err = fmt.Errorf("the passport is not complete: %s", strings.Join(out.Passport.Missing(), "; "))
	}
	return out, err
}

// askAgain is from one time that nodes are asked what they know to the next, where
// a passport is not complete: its last ends come after the answer.
const askAgain = 5 * time.Millisecond

// await gives a passport as soon as nodes have told of all that belongs to it.
func (t *Testbed) await(ctx context.Context, root string) (passport.Passport, error) {
	there := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for pause := askAgain; ; pause *= 2 {
			t.collected()
			select {
			case <-there:
				return
			case <-time.After(pause):
			}
		}
	})
	p, err := t.recorder.Wait(ctx, root)
	close(there)
	asking.Wait()
	return p, err
}

// Client asks the control API of this testbed, within the process.
func (t *Testbed) Client() *control.Client { return control.NewClient(t.memory.Dial) }

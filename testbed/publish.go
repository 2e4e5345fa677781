package testbed

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

	"hoplab.dev/plan"
)

// Publish says where the outermost nodes' ports are bound on 127.0.0.1.
type Publish struct {
	Auto  bool // any free port
	Ports []PublishPort
}

// PublishPort puts one port somewhere else than by rule.
type PublishPort struct {
	Node  string // "" is any
	Port  int    // the cluster's
	Local int
}

// ParsePublish reads [NAME:]PORT=LOCALPORT.
func ParsePublish(s string) (PublishPort, error) {
	bad := fmt.Errorf("%q: want [NAME:]PORT=LOCALPORT or auto", s)
	left, local, ok := strings.Cut(s, "=")
	if !ok {
		return PublishPort{}, bad
	}
	var p PublishPort
	if i := strings.LastIndex(left, ":"); i >= 0 {
		p.Node, left = left[:i], left[i+1:]
	}
	var err1, err2 error
	p.Port, err1 = strconv.Atoi(left)
	p.Local, err2 = strconv.Atoi(local)
	if errors.Join(err1, err2) != nil || p.Port < 1 || p.Port > 65535 || p.Local < 0 || p.Local > 65535 {
		return PublishPort{}, bad
	}
	return p, nil
}

// published is a port of a node on 127.0.0.1.
type published struct {
	node     string
	port     int // the cluster's
	local    int // asked for; 0: any
	listener net.Listener
}

// ErrPortTaken is a local port that somebody else has.
var ErrPortTaken = errors.New("port taken")

// publications is a change of what is published, until it is put into force.
type publications struct {
	testbed     *Testbed
	next, fresh []published
}

// wanted lists what a plan publishes: port N below 1000 on 8000+N, others as
// they are; a second edge on the same port 1000 higher.
func (o *Publish) wanted(p *plan.Plan) ([]published, error) {
	var out []published
	used := map[int]int{} // cluster port -> how many nodes have it so far
	rules := map[int]bool{}
	for _, n := range p.Outermost() {
		for _, l := range n.Listeners {
			if l.Outbound {
				continue
			}
			for _, port := range l.Ports {
				if port == 15021 { // status, for health checks alone
					continue
				}
				local := port
				if port < 1000 {
					local = 8000 + port
				}
				local += 1000 * used[port]
				used[port]++
				if o.Auto {
					local = 0
				}
				for i, r := range o.Ports {
					if r.Port == port && (r.Node == "" || r.Node == n.Name) {
						local, rules[i] = r.Local, true
					}
				}
				out = append(out, published{node: n.Name, port: port, local: local})
			}
		}
	}
	for i, r := range o.Ports {
		if !rules[i] {
			return nil, fmt.Errorf("--publish %d=%d: no node that clients reach listens on port %d", r.Port, r.Local, r.Port)
		}
	}
	return out, nil
}

// publish binds what a plan publishes and is not bound yet.
func (t *Testbed) publish(p *plan.Plan) (*publications, error) {
	out := &publications{testbed: t}
	if t.options.Publish == nil {
		return out, nil
	}
	wanted, err := t.options.Publish.wanted(p)
	if err != nil {
		return nil, err
	}
	t.mu.RLock()
	current := t.published
	t.mu.RUnlock()
	for _, w := range wanted {
		for _, c := range current {
			if c.node == w.node && c.port == w.port && c.local == w.local {
				w.listener = c.listener
			}
		}
		if w.listener == nil {
			w.listener, err = net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(w.local)))
			if err != nil {
				out.undo()
				if errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "Only one usage") {
					return nil, fmt.Errorf("127.0.0.1:%d, for port %d of %s: %w%s", w.local, w.port, w.node, ErrPortTaken, portOwner(w.local))
				}
				return nil, err
			}
			out.fresh = append(out.fresh, w)
		}
		out.next = append(out.next, w)
	}
	return out, nil
}

func (p *publications) undo() {
	for _, f := range p.fresh {
		_ = f.listener.Close()
	}
}

// commit serves what is new and closes what is no more published.
func (p *publications) commit() {
	t := p.testbed
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, old := range t.published {
		kept := false
		for _, n := range p.next {
			kept = kept || n.listener == old.listener
		}
		if !kept {
			_ = old.listener.Close()
		}
	}
	t.published = p.next
	for _, f := range p.fresh {
		n := t.nodes[f.node]
		t.serving.Add(1)
		go func() {
			defer t.serving.Done()
			_ = n.proxy.Serve(f.listener, f.port, false)
		}()
	}
}

// Refused is a host:port on 127.0.0.1 that is held and not listening: whoever
// connects is refused, as at a port that a load balancer has not.
func (t *Testbed) Refused() string { return t.addresses.closed.addr }

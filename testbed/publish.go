package testbed

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"hoplab.dev/plan"
	"hoplab.dev/testbed/control"
)

// Publish says where the outermost nodes' ports are bound on 127.0.0.1.
type Publish struct {
	Auto  bool // any free port
	Ports []PublishPort
}

// publishAddress is where ports are published, so that nobody else on the
// network reaches them.
const publishAddress = "127.0.0.1"

// PublishPort puts one port somewhere else than by rule.
type PublishPort struct {
	Node  string // "" is any
	Port  int    // the cluster's
	Local int
}

// String is the form that ParsePublish reads.
func (p PublishPort) String() string {
	name := ""
	if p.Node != "" {
		name = p.Node + ":"
	}
	return fmt.Sprintf("%s%d=%d", name, p.Port, p.Local)
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
	control.Publication
	socket *socket
	server *node // who serves it
	seat   *seat
}

// ErrPublish is a wish of Publish that cannot be met: no such port, or one
// that somebody else has.
var ErrPublish = errors.New("cannot be published")

// publications is a change of what is published, until it is put into force.
type publications struct {
	site  *site
	next  []*published
	fresh []*socket
}

// Wanted lists what a plan publishes: port N below 1000 on 8000+N, others as
// they are; a second edge on the same port 1000 higher. A wish that names the
// node goes before one that does not.
func (o *Publish) Wanted(p *plan.Plan) ([]control.Publication, error) {
	if o == nil {
		return nil, nil
	}
	var out []control.Publication
	used := map[int]int{}   // cluster port -> how many nodes have it so far
	taken := map[int]bool{} // local ports, by rule
	met := map[PublishPort]bool{}
	for _, n := range p.Outermost() {
		for _, l := range n.Listeners {
			if l.Outbound {
				continue
			}
			clients := l.ClientPorts()
			for _, port := range slices.Sorted(maps.Keys(clients)) {
				if port == 15021 { // status, for health checks alone
					continue
				}
				local := port
				if port < 1000 {
					local = 8000 + port
				}
				local += 1000 * used[port]
				for taken[local] { // 443 and 8443 of one load balancer
					local += 1000
				}
				taken[local] = true
				if o.Auto {
					local = 0
				}
				for _, wish := range o.Ports {
					if wish.Port == port && wish.Node == "" {
						met[wish] = true
						if local = wish.Local; local != 0 {
							local += 1000 * used[port]
						}
					}
				}
				for _, wish := range o.Ports {
					if wish.Port == port && wish.Node == n.Name {
						local, met[wish] = wish.Local, true
					}
				}
				used[port]++
				out = append(out, control.Publication{Node: n.Name, Port: port, Target: clients[port], Host: publishAddress, Local: local})
			}
		}
	}
	var has []string
	byLocal := map[int]control.Publication{}
	for _, w := range out {
		has = append(has, fmt.Sprintf("%s:%d", w.Node, w.Port))
		if other, twice := byLocal[w.Local]; twice && w.Local != 0 {
			return nil, fmt.Errorf("%w: 127.0.0.1:%d is to be port %d of %s and port %d of %s", ErrPublish, w.Local, other.Port, other.Node, w.Port, w.Node)
		}
		byLocal[w.Local] = w
		if w.Local > 65535 {
			return nil, fmt.Errorf("%w: port %d of %s would be %d", ErrPublish, w.Port, w.Node, w.Local)
		}
	}
	for _, wish := range o.Ports {
		if !met[wish] {
			return nil, fmt.Errorf("%s %w: there are %s", wish, ErrPublish, strings.Join(has, ", "))
		}
	}
	return out, nil
}

// publish binds what is to be published and is not bound yet. A local port that
// is ours already stays bound, whichever node has it then.
func (s *site) publish(wanted []control.Publication) (*publications, error) {
	out := &publications{site: s}
	s.mu.RLock()
	current := s.published
	s.mu.RUnlock()
	for _, publication := range wanted {
		w := &published{Publication: publication}
		out.next = append(out.next, w)
		for _, c := range current {
			if c.Local == w.Local && (w.Local != 0 || c.Node == w.Node && c.Port == w.Port) {
				w.socket = c.socket
			}
		}
		if w.socket != nil {
			continue
		}
		var err error
		if w.socket, err = open(net.JoinHostPort(w.Host, strconv.Itoa(w.Local))); err != nil {
			out.undo()
			return nil, fmt.Errorf("%s:%d, for port %d of %s, %w: %s", w.Host, w.Local, w.Port, w.Node, ErrPublish, whyNot(err, w.Local))
		}
		out.fresh = append(out.fresh, w.socket)
	}
	return out, nil
}

// whyNot tells in few words why a port could not be bound.
func whyNot(err error, port int) string {
	var number syscall.Errno
	switch {
	case errors.Is(err, syscall.EADDRINUSE), strings.Contains(err.Error(), "Only one usage"): // Windows
		return "the port is taken" + portOwner(port)
	case errors.As(err, &number):
		return number.Error()
	}
	return err.Error()
}

func (p *publications) undo() {
	for _, s := range p.fresh {
		_ = s.Close()
	}
}

// commit has the nodes of the plan in force serve what is published, and
// closes what is published no more.
func (p *publications) commit() {
	s := p.site
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.published
	s.published = p.next
	for _, was := range old {
		i := slices.IndexFunc(p.next, func(n *published) bool { return n.socket == was.socket })
		if i < 0 {
			_ = was.seat.Close()
			_ = was.socket.Close()
			continue
		}
		next := p.next[i]
		if next.Target == was.Target && was.server == s.nodes[next.Node] {
			next.server, next.seat = was.server, was.seat
			continue
		}
		_ = was.seat.Close()
	}
	for _, n := range p.next {
		if node := s.plan.Node(n.Node); node != nil { // logs show the cluster's address
			s.addresses.alias(n.socket.Addr().String(), node.Pod, n.Target)
		}
		if n.seat == nil {
			n.server, n.seat = s.nodes[n.Node], n.socket.seat()
			s.serve(n.server, s.linked(n.Node, n.seat, everybody), n.Target, false)
		}
	}
}

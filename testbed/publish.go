package testbed

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"hoplab.dev/plan"
)

// published is a port of a node on 127.0.0.1.
type published struct {
	plan.Publication
	socket *socket
	server *node // who serves it
	seat   *seat
}

// publications is a change of what is published, until it is put into force.
type publications struct {
	site  *site
	next  []*published
	fresh []*socket
}

// publish binds what is to be published and is not bound yet. A local port that
// is ours already stays bound, whichever node has it then.
func (s *site) publish(wanted []plan.Publication) (*publications, error) {
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
			return nil, fmt.Errorf("%s:%d, for port %d of %s, %w: %s", w.Host, w.Local, w.Port, w.Node, plan.ErrPublish, whyNot(err, w.Local))
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

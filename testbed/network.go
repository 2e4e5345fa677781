package testbed

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"hoplab.dev/plan"
	"hoplab.dev/testbed/links"
	"hoplab.dev/testbed/podnet"
)

// network is what the names and the virtual addresses of a plan lead to: the
// cluster's DNS, and kube-proxy. A sidecar has no part in either.
type network struct {
	addresses  *addresses
	plan       *plan.Plan
	names      map[string]*service // in lower case; "*.x" too
	byAddress  map[netip.Addr]*service
	namespaces map[string]bool

	mu    sync.Mutex
	turns map[*service]int // which endpoint is next
}

// service is a name, and where its ports lead.
type service struct {
	address netip.Addr // not valid: the name leads to the endpoints themselves
	ports   map[int][]plan.Endpoint
}

func newNetwork(a *addresses, p *plan.Plan) *network {
	n := &network{
		addresses: a, plan: p, names: map[string]*service{}, byAddress: map[netip.Addr]*service{},
		namespaces: map[string]bool{}, turns: map[*service]int{},
	}
	for _, pod := range p.Pods {
		namespace, _, _ := strings.Cut(pod.Name, "/")
		n.namespaces[namespace] = true
	}
	for _, s := range p.Services {
		n.namespaces[s.Namespace] = true
		one := &service{ports: map[int][]plan.Endpoint{}}
		one.address, _ = netip.ParseAddr(s.Address)
		for _, port := range s.Ports {
			one.ports[port.Port] = port.Endpoints
			// A process of the user's has no address in the cluster; it is called
			// by one that its name is given.
			if !one.address.IsValid() && slices.ContainsFunc(port.Endpoints, func(e plan.Endpoint) bool { return e.Address.Upstream != "" }) {
				one.address = strangersAddress(s.Name)
			}
		}
		n.names[strings.ToLower(s.Name)] = one
		if one.address.IsValid() && n.byAddress[one.address] == nil {
			n.byAddress[one.address] = one
		}
	}
	return n
}

// searchDomains are those that a pod's resolver tries in turn.
// kubernetes.io: concepts/services-networking/dns-pod-service
func searchDomains(namespace string) []string {
	return []string{"." + namespace + ".svc.cluster.local", ".svc.cluster.local", ".cluster.local"}
}

// ndots is how many dots a name has to have to be tried as it is at first; the
// kubelet writes it into each pod's resolv.conf.
const ndots = 5

// resolve gives the address of a name as the DNS of a pod does. What the
// cluster does not know is a stranger on the internet, and gets an address
// where nobody answers.
func (n *network) resolve(namespace, host string) (netip.Addr, error) {
	ip, err := n.find(namespace, host)
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	switch {
	case !errors.Is(err, podnet.ErrUnknown):
		return ip, err
	case !strings.Contains(host, "."): // no name of the internet
		return netip.Addr{}, podnet.ErrNoSuchHost
	}
	return strangersAddress(host), nil
}

// find is resolve that gives podnet.ErrUnknown for what the cluster does not
// know.
func (n *network) find(namespace, host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap(), nil
	}
	host = strings.ToLower(host)
	absolute := strings.TrimSuffix(host, ".")
	candidates := []string{absolute}
	if absolute == host {
		var searched []string
		for _, domain := range searchDomains(namespace) {
			searched = append(searched, absolute+domain)
		}
		if strings.Count(absolute, ".") < ndots {
			candidates = append(searched, absolute)
		} else {
			candidates = append(candidates, searched...)
		}
	}
	for _, name := range candidates {
		if s := n.names[name]; s != nil {
			return n.addressOf(s)
		}
	}
	if s := n.wildcard(absolute); s != nil {
		return n.addressOf(s)
	}
	if h, ok := n.plan.Locate(absolute); ok {
		return n.publicAddress(h.Node), nil
	}
	// The zone is the cluster's own, and no top-level domain has a namespace's
	// name.
	last := absolute[strings.LastIndex(absolute, ".")+1:]
	if last == absolute {
		return netip.Addr{}, podnet.ErrUnknown
	}
	if strings.HasSuffix(absolute, ".cluster.local") || last == "svc" || n.namespaces[last] {
		return netip.Addr{}, podnet.ErrNoSuchHost
	}
	return netip.Addr{}, podnet.ErrUnknown
}

// wildcard finds the longest name with a wildcard that stands for another.
func (n *network) wildcard(name string) *service {
	for rest := name; ; {
		i := strings.Index(rest, ".")
		if i < 0 {
			return nil
		}
		if s := n.names["*"+rest[i:]]; s != nil {
			return s
		}
		rest = rest[i+1:]
	}
}

// addressOf is what DNS answers: a virtual address, or of a headless Service
// one of its pods'.
func (n *network) addressOf(s *service) (netip.Addr, error) {
	if s.address.IsValid() {
		return s.address, nil
	}
	var pods []string
	for _, endpoints := range s.ports {
		for _, e := range endpoints {
			if e.Address.Pod != "" && !slices.Contains(pods, e.Address.Pod) {
				pods = append(pods, e.Address.Pod)
			}
		}
	}
	if len(pods) == 0 {
		return netip.Addr{}, podnet.ErrNoSuchHost
	}
	slices.Sort(pods)
	return n.addresses.podIP(pods[n.turn(s)%len(pods)]), nil
}

// publicAddress is where the name of an outermost node leads: a load balancer's
// own address, or that of the Service before a gateway, to which kube-proxy
// takes what comes for its external address from within.
func (n *network) publicAddress(node string) netip.Addr {
	for i := range n.plan.Services {
		for _, port := range n.plan.Services[i].Ports {
			if slices.ContainsFunc(port.Endpoints, func(e plan.Endpoint) bool { return e.Node == node }) {
				if s := n.names[strings.ToLower(n.plan.Services[i].Name)]; s.address.IsValid() {
					return s.address
				}
			}
		}
	}
	return n.addresses.podIP(n.plan.Node(node).Pod)
}

// turn counts up, so that endpoints take turns.
func (n *network) turn(s *service) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turns[s]++
	return n.turns[s] - 1
}

// endpoint is where an address of the cluster's leads, as the host's routes and
// kube-proxy have it; itself where nobody answers.
func (n *network) endpoint(to netip.AddrPort) plan.Endpoint {
	port := int(to.Port())
	if s := n.byAddress[to.Addr()]; s != nil {
		endpoints := s.ports[port]
		if len(endpoints) == 0 {
			return refusing(to)
		}
		return endpoints[n.turn(s)%len(endpoints)]
	}
	pod, ok := n.addresses.podAt(to.Addr())
	if !ok {
		return refusing(to)
	}
	at := plan.Address{Pod: pod, Port: port}
	if node := n.nodeAt(at); node != "" {
		return plan.Endpoint{Node: node, Address: at}
	}
	return refusing(to)
}

// strangers is where nobody answers: the second half of 198.18.0.0/15, which is
// for tests (RFC 2544).
var strangers = netip.MustParsePrefix("198.19.0.0/16")

// strangersAddress stands for a host of the internet that nobody speaks of.
func strangersAddress(name string) netip.Addr {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], binary.BigEndian.Uint32(strangers.Addr().AsSlice())|h.Sum32()&0xffff)
	return netip.AddrFrom4(ip)
}

// appEndpoint is where a connection leads that the app in a pod opens: to its
// sidecar, where that takes it, whatever it is meant for. To itself an app goes
// without: iptables leaves out what goes over the loopback device.
// istio: tools/istio-iptables/pkg/capture/run.go
func (n *network) appEndpoint(pod string, to netip.AddrPort) plan.Endpoint {
	_, toPod := n.addresses.podAt(to.Addr())
	if to.Addr().IsLoopback() && !toPod || to.Addr() == n.addresses.podIP(pod) {
		app := n.plan.Node("app/" + pod)
		if app == nil {
			return refusing(to)
		}
		return plan.Endpoint{Node: app.Name, Address: plan.Address{Pod: pod, Port: int(to.Port()), Private: app.App.Private}}
	}
	if sidecar := n.plan.Node("sidecar/" + pod); sidecar != nil && hasOutbound(sidecar) {
		return plan.Endpoint{Node: sidecar.Name, Address: plan.Address{Literal: to.String(), Private: true}}
	}
	return n.endpoint(to)
}

func hasOutbound(n *plan.Node) bool {
	return slices.ContainsFunc(n.Listeners, func(l plan.Listener) bool { return l.Outbound })
}

// refusing is an address where nobody answers.
func refusing(to netip.AddrPort) plan.Endpoint {
	return plan.Endpoint{Address: plan.Address{Literal: to.String()}}
}

// dial opens a connection of a node of a pod, over the link that lies between.
func (n *network) dial(ctx context.Context, from, pod string, to plan.Address) (net.Conn, error) {
	peer, connect := n.route(pod, to)
	if l := n.link(from, peer); l != nil {
		return l.Dial(ctx, connect)
	}
	return connect(ctx)
}

// route finds the node that an address of the plan leads to, "" where that is
// none of ours, and how to get there from a pod. A literal address that is
// private is one that the pod's sidecar takes before anybody else sees it.
func (n *network) route(pod string, to plan.Address) (peer string, connect func(context.Context) (net.Conn, error)) {
	if to.Literal == "" {
		return n.nodeAt(to), func(ctx context.Context) (net.Conn, error) { return n.addresses.dial(ctx, pod, to) }
	}
	meant, err := netip.ParseAddrPort(to.Literal)
	if err != nil {
		return "", func(context.Context) (net.Conn, error) { return nil, err }
	}
	if to.Private {
		return "sidecar/" + pod, func(ctx context.Context) (net.Conn, error) {
			c, err := n.addresses.intercept(ctx, pod, meant)
			return c, meantFor(err, meant)
		}
	}
	e := n.endpoint(meant)
	if e.Address.Literal != "" { // nobody's of ours
		e.Address = plan.Address{}
		if n.addresses.inPods && !strangers.Contains(meant.Addr()) {
			e.Address.Upstream = meant.String() // somebody else's on the pod's networks, or beyond
		}
	}
	return e.Node, func(ctx context.Context) (net.Conn, error) {
		c, err := n.addresses.dial(ctx, pod, e.Address)
		if err != nil {
			return nil, meantFor(err, meant)
		}
		return &leading{c.(*net.TCPConn), e.Node}, nil
	}
}

// nodeAt is the node that a pod's address, or its private one, leads to.
func (n *network) nodeAt(to plan.Address) string {
	for i := range n.plan.Nodes {
		node := &n.plan.Nodes[i]
		if to.Pod != "" && node.Pod == to.Pod && to.Private == (node.App != nil && node.App.Private) {
			return node.Name
		}
	}
	return ""
}

// link is what lies between two nodes; nil: nothing.
func (n *network) link(from, to string) *links.Link {
	if len(n.plan.Links) == 0 {
		return nil
	}
	a, b := n.plan.Node(from), n.plan.Node(to)
	if a == nil || b == nil {
		return nil
	}
	l := n.plan.Link(a, b)
	if l == nil {
		return nil
	}
	return &links.Link{RTT: l.RTT, Jitter: l.Jitter, Bandwidth: l.BitsPerSecond}
}

// leading is a connection to a node that was called by a virtual address.
type leading struct {
	*net.TCPConn
	node string
}

// Node is the node's name; empty where that is none of ours.
func (c *leading) Node() string { return c.node }

// meantFor has the error of a dial tell the address that was meant.
func meantFor(err error, to netip.AddrPort) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err
	}
	told := *op
	told.Addr = net.TCPAddrFromAddrPort(to)
	return &told
}

package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Publication is a port of a node that is bound outside the cluster.
type Publication struct {
	Node   string `json:"node"`
	Port   int    `json:"port"`   // by which clients mean it: a load balancer's, or that of a gateway's Service
	Target int    `json:"target"` // of the node's listener
	Host   string `json:"host"`   // IP address to bind
	Local  int    `json:"local"`  // port to bind; 0: any
}

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

// ErrPublish is a wish of Publish that cannot be met: no such port, or one
// that somebody else has.
var ErrPublish = errors.New("cannot be published")

// Wanted lists what a plan publishes: port N below 1000 on 8000+N, others as
// they are; a second edge on the same port 1000 higher. A wish that names the
// node goes before one that does not.
func (o *Publish) Wanted(p *Plan) ([]Publication, error) {
	if o == nil {
		return nil, nil
	}
	var out []Publication
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
				out = append(out, Publication{Node: n.Name, Port: port, Target: clients[port], Host: publishAddress, Local: local})
			}
		}
	}
	var has []string
	byLocal := map[int]Publication{}
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

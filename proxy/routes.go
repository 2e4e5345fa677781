package proxy

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"

	"hoplab.dev/plan"
)

// routeTable is a route configuration made ready for look-ups.
type routeTable struct {
	name     string
	exact    map[string]*virtualHost
	suffixes []domain // "*.b", longest first
	prefixes []domain // "a.*", longest first
	any      *virtualHost
}

type domain struct {
	affix string
	host  *virtualHost
}

type virtualHost struct {
	plan   *plan.VirtualHost
	routes []*route
}

// route is a route made ready.
type route struct {
	plan    *plan.Route  // in the plan itself: a mesh of many has many of them
	match   requestMatch // what an Envoy asks of a request
	rule    *ruleMatch   // what an ALB's rule asks; nil: nothing
	rewrite *rewrite     // nil: none
	headers headerChanges
	timeouts
	cors []stringMatch // the origins of plan.CORS
	// toward are the changes of those of plan.Forward that have some.
	toward map[*plan.WeightedCluster]headerChanges
}

func newRouteTable(rc plan.RouteConfig) (*routeTable, error) {
	t := &routeTable{name: rc.Name, exact: map[string]*virtualHost{}}
	for i := range rc.VirtualHosts {
		vp := &rc.VirtualHosts[i]
		vh := &virtualHost{plan: vp}
		for i := range vp.Routes {
			r, err := newRoute(&vp.Routes[i])
			if err != nil {
				return nil, fmt.Errorf("routes %s: %w", rc.Name, err)
			}
			vh.routes = append(vh.routes, r)
		}
		for _, d := range vp.Domains {
			d = strings.ToLower(d)
			switch {
			case d == "*":
				t.any = vh
			case strings.HasPrefix(d, "*"):
				t.suffixes = append(t.suffixes, domain{d[1:], vh})
			case strings.HasSuffix(d, "*"):
				t.prefixes = append(t.prefixes, domain{d[:len(d)-1], vh})
			default:
				t.exact[d] = vh
			}
		}
	}
	longest := func(a, b domain) int { return cmp.Compare(len(b.affix), len(a.affix)) }
	slices.SortStableFunc(t.suffixes, longest)
	slices.SortStableFunc(t.prefixes, longest)
	return t, nil
}

func newRoute(p *plan.Route) (*route, error) {
	r := &route{plan: p, timeouts: newTimeouts(p)}
	var err error
	if r.match, err = newRequestMatch(&p.Match); err != nil {
		return nil, err
	}
	if r.rule, err = newRuleMatch(&p.Match); err != nil {
		return nil, err
	}
	if r.rewrite, err = newRewrite(p); err != nil {
		return nil, err
	}
	if r.headers, err = newHeaderChanges(p.HeaderChanges); err != nil {
		return nil, err
	}
	if r.cors, err = newOrigins(p.CORS); err != nil {
		return nil, err
	}
	for i := range p.Forward {
		f := &p.Forward[i]
		if f.Request == nil && f.Response == nil {
			continue
		}
		if r.toward == nil {
			r.toward = map[*plan.WeightedCluster]headerChanges{}
		}
		if r.toward[f], err = newHeaderChanges(f.HeaderChanges); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// virtualHost finds the virtual host of an authority as Envoy does: case and
// port do not count (istiod sets ignore_port_in_host_matching everywhere);
// exact, then the longest suffix, the longest prefix, "*".
// Envoy: source/common/router/config_impl.cc RouteMatcher::findVirtualHost
func (t *routeTable) virtualHost(authority string) *virtualHost {
	host := strings.ToLower(withoutPort(authority))
	if vh := t.exact[host]; vh != nil {
		return vh
	}
	for _, d := range t.suffixes {
		if len(host) > len(d.affix) && strings.HasSuffix(host, d.affix) {
			return d.host
		}
	}
	for _, d := range t.prefixes {
		if len(host) > len(d.affix) && strings.HasPrefix(host, d.affix) {
			return d.host
		}
	}
	return t.any
}

// route finds the first route that a request matches; nil when there is none.
func (vh *virtualHost) route(req *request, peer string) *route {
	for _, r := range vh.routes {
		if r.match.matches(req) && r.rule.matches(req, peer) {
			return r
		}
	}
	return nil
}

// pickWeighted chooses among destinations by weight. A single one is chosen
// whatever its weight is; nil when all weights are 0.
func pickWeighted(from []plan.WeightedCluster) *plan.WeightedCluster {
	if len(from) == 1 {
		return &from[0]
	}
	sum := 0
	for _, c := range from {
		sum += c.Weight
	}
	if sum == 0 {
		return nil
	}
	n := rand.IntN(sum)
	for i := range from {
		if n -= from[i].Weight; n < 0 {
			return &from[i]
		}
	}
	return nil
}

// withoutPort drops the port of an authority, where it has one.
func withoutPort(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return authority
}

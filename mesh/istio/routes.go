package istio

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// gatewayRoutes makes the route configuration that servers share, and notes
// the clusters that it leads to. Rules of several VirtualServices for one host
// follow one another, oldest first, catch-all rules last.
// istiod: pilot/pkg/networking/core/gateway.go buildGatewayHTTPRouteConfig
func (b *gatewayBuilder) gatewayRoutes(servers []*server, clusters *clusterSet) plan.RouteConfig {
	config := plan.RouteConfig{Name: servers[0].routeName()}
	hosts := &gatewayVirtualHosts{at: make(map[string]int)}
	made := make(map[*manifest.Object]map[*virtualService][]plan.Route) // by Gateway: the first server's port holds
	for _, s := range servers {
		if made[s.gateway] == nil {
			made[s.gateway] = make(map[*virtualService][]plan.Route)
		}
		for _, v := range b.virtualServicesOf(b.pod.Namespace, s.gateway) {
			common := hostname.Common(s.hostsFor(v.Namespace), v.hosts)
			if len(common) == 0 {
				continue
			}
			routes, known := made[s.gateway][v]
			if !known {
				routes = b.httpRoutes(v, routeContext{gateway: s.gateway.Namespace + "/" + s.gateway.Name, port: s.number(), tls: s.GetTls() != nil, clusters: clusters})
				made[s.gateway][v] = routes
			}
			if len(routes) == 0 {
				continue // istiod: "no routes matched"
			}
			for _, host := range common {
				vh := hosts.get(host, s, v.hostSource(strings.ToLower(host)))
				vh.Routes = append(vh.Routes, routes...)
				vh.by = append(vh.by, routesOf{s.gateway, v})
			}
		}
		if !s.GetTls().GetHttpsRedirect() {
			continue
		}
		for _, h := range s.hosts {
			hosts.get(h.String(), s, s.gateway.At(h.path)).RequireTLS = true
		}
	}
	if len(hosts.all) == 0 {
		// No routes: Envoy answers 404 NR to every request.
		config.VirtualHosts = []plan.VirtualHost{{Name: domainName("blackhole", servers[0].number()), Domains: []string{"*"}}}
		return config
	}
	config.VirtualHosts = hosts.collapse()
	return config
}

// routesOf tells where the routes of a virtual host come from: alike in both,
// they are the same.
type routesOf struct {
	gateway *manifest.Object
	by      *virtualService
}

// gatewayVirtualHost is one in the making.
type gatewayVirtualHost struct {
	plan.VirtualHost
	host string
	by   []routesOf
}

// gatewayVirtualHosts are those of a route configuration, by host.
type gatewayVirtualHosts struct {
	all []*gatewayVirtualHost
	at  map[string]int
}

// get finds the virtual host of a name, or makes it for a server.
func (g *gatewayVirtualHosts) get(host string, s *server, source plan.Source) *gatewayVirtualHost {
	host = strings.ToLower(host)
	i, known := g.at[host]
	if !known {
		i = len(g.all)
		g.at[host] = i
		g.all = append(g.all, &gatewayVirtualHost{
			VirtualHost: plan.VirtualHost{Name: domainName(host, s.number()), Domains: []string{host}, Source: source}, host: host,
		})
	}
	vh := g.all[i]
	vh.RequireTLS = vh.RequireTLS || s.GetTls().GetHttpsRedirect()
	return vh
}

// collapse makes one virtual host of those with the same routes, under the name
// of the most specific. istiod: collapseDuplicateRoutes
func (g *gatewayVirtualHosts) collapse() []plan.VirtualHost {
	slices.SortFunc(g.all, func(a, b *gatewayVirtualHost) int { return hostname.Compare(a.host, b.host) })
	var out []*gatewayVirtualHost
	latest := make(map[string]*gatewayVirtualHost) // by the routes: only the last one is looked at
	for _, vh := range g.all {
		key := fmt.Sprint(len(vh.by))
		for _, r := range vh.by {
			key += fmt.Sprintf(" %p %p", r.gateway, r.by)
		}
		if first := latest[key]; first != nil && first.RequireTLS == vh.RequireTLS {
			first.Domains = append(first.Domains, vh.Domains...)
			continue
		}
		latest[key] = vh
		out = append(out, vh)
	}
	hosts := make([]plan.VirtualHost, len(out))
	for i, vh := range out {
		hosts[i] = vh.VirtualHost
		hosts[i].Routes = catchAllLast(vh.Routes)
	}
	sortVirtualHosts(hosts)
	return hosts
}

// virtualServicesOf are those that name a Gateway and that a proxy's namespace
// sees: its own private ones, then those exported to it by name, then
// everybody's; oldest first.
// istiod: pilot/pkg/model/push_context.go VirtualServicesForGateway
func (c *compiler) virtualServicesOf(namespace string, gateway *manifest.Object) []*virtualService {
	return c.visibleVirtualServices(namespace, func(v *virtualService) bool { return v.bindsTo(gateway) })
}

func (c *compiler) visibleVirtualServices(namespace string, wanted func(*virtualService) bool) []*virtualService {
	var private, named, all []*virtualService
	for _, v := range c.virtualServices {
		exportTo := v.Spec.GetExportTo()
		if !exported(exportTo, v.Namespace, namespace) || !wanted(v) {
			continue
		}
		switch {
		case public(exportTo):
			all = append(all, v)
		case v.Namespace == namespace:
			private = append(private, v)
		default:
			named = append(named, v)
		}
	}
	return slices.Concat(private, named, all)
}

// domainName is a virtual host's name: "netbox.example.com:443".
// istiod: pilot/pkg/networking/util/util.go DomainName
func domainName(host string, port int) string { return fmt.Sprintf("%s:%d", host, port) }

func sortVirtualHosts(hosts []plan.VirtualHost) {
	slices.SortFunc(hosts, func(a, b plan.VirtualHost) int { return cmp.Compare(a.Name, b.Name) })
}

// catchAllLast moves the routes that match everything behind the others.
// istiod: pilot/pkg/networking/core/route/route.go SortVHostRoutes
func catchAllLast(routes []plan.Route) []plan.Route {
	var specific, all []plan.Route
	for _, r := range routes {
		if isCatchAll(r.Match) {
			all = append(all, r)
		} else {
			specific = append(specific, r)
		}
	}
	return append(specific, all...)
}

// isCatchAll is by the text of the match. istiod: IsCatchAllRoute
func isCatchAll(m plan.RouteMatch) bool {
	return (m.Prefix == "/" || m.Regex == ".*") && len(m.Fields)+len(m.Parameters) == 0
}

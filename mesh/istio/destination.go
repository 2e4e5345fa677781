package istio

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// destination is where a rule leads: a port of a service, if there is one, or
// a subset of its pods.
type destination struct {
	host   string // the full name
	port   int    // of the service
	subset string // empty: all of it
}

// cluster is the destination's name in an Envoy.
// istiod: pilot/pkg/model/service.go BuildSubsetKey
func (d destination) cluster() string {
	return fmt.Sprintf("outbound|%d|%s|%s", d.port, d.subset, d.host)
}

// serverName is what an Envoy of the mesh asks another for.
// istiod: pilot/pkg/model/service.go BuildDNSSrvSubsetKey
func (d destination) serverName() string {
	return fmt.Sprintf("outbound_.%d_.%s_.%s", d.port, d.subset, d.host)
}

// clusterSet gathers the clusters of one node. It has those that a gateway's
// routes lead to, and all that a sidecar sees.
type clusterSet struct {
	c      *compiler
	kind   plan.Kind
	client *world.Pod // the node's; of a sidecar one of many that are configured alike
	scope  *scope
	byName map[string]plan.Cluster
}

func (c *compiler) newClusters(kind plan.Kind, client *world.Pod, s *scope) *clusterSet {
	return &clusterSet{c: c, kind: kind, client: client, scope: s, byName: make(map[string]plan.Cluster)}
}

// httpDestination resolves the destination of a rule for HTTP. A sidecar looks
// among the services that the egress listener of the port lets through, each
// with that port alone: where no port is given, it is the listener's.
// istiod: pilot/pkg/networking/core/httproute.go BuildSidecarOutboundVirtualHosts
func (cs *clusterSet) httpDestination(v *virtualService, d *networking.Destination, listener int) destination {
	host := hostname.Expand(d.GetHost(), v.Namespace)
	if cs.kind != plan.Sidecar {
		return resolveDestination(v, d, listener, cs.scope.byHost[host])
	}
	var found *service
	if e := cs.scope.egressFor(listener); e != nil {
		for _, s := range e.services { // the last one counts
			if p := s.port(listener); p != nil && strings.EqualFold(s.host, host) {
				found = s.withPorts(*p)
			}
		}
	}
	return resolveDestination(v, d, listener, found)
}

// rawDestination resolves the destination of a rule for TCP or TLS.
func (cs *clusterSet) rawDestination(v *virtualService, d *networking.Destination, listener int) destination {
	return resolveDestination(v, d, listener, cs.scope.byHost[hostname.Expand(d.GetHost(), v.Namespace)])
}

// resolveDestination takes the port that is given, else the service's only
// one, else the listener's. An ExternalName stands for what it leads to.
// istiod: pilot/pkg/networking/core/route/route.go GetDestinationCluster
func resolveDestination(v *virtualService, d *networking.Destination, listener int, s *service) destination {
	out := destination{host: hostname.Expand(d.GetHost(), v.Namespace), port: listener, subset: d.GetSubset()}
	switch {
	case d.GetPort() != nil:
		out.port = int(d.GetPort().GetNumber())
	case s != nil && len(s.ports) == 1:
		out.port = s.ports[0].Port
	}
	if s != nil && s.resolution == alias {
		out.host = s.kube.ExternalName
	}
	return out
}

// add makes the cluster of a destination. For a service, a port or a subset
// that does not exist there is none: Envoy answers 503 NC.
func (cs *clusterSet) add(d destination) {
	s := cs.scope.byHost[d.host]
	if _, made := cs.byName[d.cluster()]; made || s == nil || s.resolution == alias {
		return
	}
	port := s.port(d.port)
	if port == nil || port.Protocol == world.UDP {
		return
	}
	r := cs.scope.rule(d.host, cs.client)
	var sub *subset
	if d.subset != "" {
		if r == nil {
			return
		}
		if sub = r.subset(d.subset); sub == nil {
			return
		}
	}
	if cluster := cs.cluster(d, s, port, r, sub); cluster != nil {
		cs.byName[d.cluster()] = *cluster
	}
}

// addAll makes every cluster of a service: of its ports, and of the subsets.
// istiod: pilot/pkg/networking/core/cluster.go buildOutboundClusters
func (cs *clusterSet) addAll(s *service) {
	for _, port := range s.ports {
		cs.add(destination{host: s.host, port: port.Port})
		if r := cs.scope.rule(s.host, cs.client); r != nil {
			for _, sub := range r.subsets {
				cs.add(destination{host: s.host, port: port.Port, subset: sub.GetName()})
			}
		}
	}
}

func (cs *clusterSet) sorted() []plan.Cluster {
	var out []plan.Cluster // nil when empty: so it comes back from JSON
	for _, cluster := range cs.byName {
		out = append(out, cluster)
	}
	slices.SortFunc(out, func(a, b plan.Cluster) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// cluster holds the endpoints of a service's port, or of a subset. Where the
// proxy asks DNS and there is nothing to ask for, istiod makes none.
// istiod: pilot/pkg/networking/core/cluster_builder.go
func (cs *clusterSet) cluster(d destination, s *service, port *world.ServicePort, r *rule, sub *subset) *plan.Cluster {
	instances := cs.selected(s, port, sub)
	if s.isDNS() && len(instances) == 0 {
		return nil
	}
	policy := r.clusterPolicy(d.port, sub)
	cluster := &plan.Cluster{Name: d.cluster(), Protocol: cs.protocol(port, policy.pool), Source: port.Source}
	applyPool(cluster, policy.pool)
	cluster.Balancing = balancing(policy.loadBalancer)
	cluster.Outliers = outliers(policy.outliers)
	cluster.OriginalDestination = s.resolution == passthrough && cs.kind == plan.Sidecar || passesThrough(policy.loadBalancer)
	if sub != nil { // it begins as the cluster of the whole service is
		cluster.OriginalDestination = cluster.OriginalDestination ||
			passesThrough(sub.policy.GetLoadBalancer()) || passesThrough(r.clusterPolicy(d.port, nil).loadBalancer)
	}
	tls := cs.tls(d, s, port, r, sub, policy, cluster.Protocol)
	if cluster.OriginalDestination {
		cluster.TLS = cmp.Or(tls.all, tls.mutual)
		return cluster
	}
	mode := r.endpointMode(d.port, sub)
	for i := range instances {
		in := &instances[i]
		how := tls.all
		if how == nil && tls.mutual != nil && cs.c.takesMutual(in, mode) {
			how = tls.mutual
		}
		for _, e := range cs.c.dial(in) {
			e.TLS = how
			cluster.Endpoints = append(cluster.Endpoints, e)
		}
	}
	return cluster
}

// selected are the endpoints that a cluster may have. What istiod sends must be
// of the port's name and no DNS name; a proxy that asks DNS takes all.
// istiod: pilot/pkg/xds/endpoints/endpoint_builder.go
func (cs *clusterSet) selected(s *service, port *world.ServicePort, sub *subset) []instance {
	var out []instance
	for _, in := range cs.c.instances(s, port.Port) {
		if !s.isDNS() && (in.portName != port.Name || in.isName()) {
			continue
		}
		if sub == nil || selects(sub.GetLabels(), in.workload) {
			out = append(out, in)
		}
	}
	return out
}

// protocol is what is spoken to a port's endpoints. Whatever a client spoke, a
// gateway speaks HTTP/1.1 to them unless the port or a rule says otherwise,
// also where the port is no HTTP port at all. A sidecar does as its client does
// where it had to look.
// istiod: cluster_builder.go setUpstreamProtocol; cluster_traffic_policy.go applyH2Upgrade
func (cs *clusterSet) protocol(port *world.ServicePort, pool *networking.ConnectionPoolSettings) string {
	http := pool.GetHttp()
	switch {
	case http.GetUseClientProtocol():
		return "downstream"
	case port.Protocol.IsHTTP2():
		return "h2"
	case port.Protocol == world.Detected && cs.kind == plan.Sidecar:
		return "downstream"
	case http.GetH2UpgradePolicy() == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE,
		cs.c.w.Mesh.H2Upgrade && port.Protocol.IsHTTP() && http.GetH2UpgradePolicy() == networking.ConnectionPoolSettings_HTTPSettings_DEFAULT:
		return "h2"
	}
	return "http/1.1"
}

// applyPool limits a cluster's connections.
// istiod: cluster_traffic_policy.go applyConnectionPool
func applyPool(cluster *plan.Cluster, pool *networking.ConnectionPoolSettings) {
	tcp, http := pool.GetTcp(), pool.GetHttp()
	cluster.ConnectTimeout = tcp.GetConnectTimeout().AsDuration()
	cluster.Limits = plan.ClusterLimits{
		Connections: int(tcp.GetMaxConnections()), PendingRequests: int(http.GetHttp1MaxPendingRequests()),
		Requests: int(http.GetHttp2MaxRequests()), RequestsPerConnection: int(http.GetMaxRequestsPerConnection()),
		Idle: http.GetIdleTimeout().AsDuration(),
	}
	if http.GetIdleTimeout() == nil {
		cluster.Limits.Idle = tcp.GetIdleTimeout().AsDuration()
	}
}

// outliers reads when endpoints are taken out of service: what is not said is
// Envoy's default, but that gateway errors count only where they are named.
// istiod: cluster_traffic_policy.go applyOutlierDetection
func outliers(o *networking.OutlierDetection) *plan.OutlierDetection {
	if o == nil {
		return nil
	}
	out := &plan.OutlierDetection{
		ServerErrors: 5, Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjectionPercent: 10,
		GatewayErrors: int(o.GetConsecutiveGatewayErrors().GetValue()), SplitLocal: o.GetSplitExternalLocalOriginErrors(),
		MinHealthPercent: int(max(0, o.GetMinHealthPercent())),
	}
	if o.GetConsecutive_5XxErrors() != nil {
		out.ServerErrors = int(o.GetConsecutive_5XxErrors().GetValue())
	}
	if out.SplitLocal {
		out.LocalFailures = cmp.Or(int(o.GetConsecutiveLocalOriginFailures().GetValue()), 5)
	}
	if o.GetInterval() != nil {
		out.Interval = o.GetInterval().AsDuration()
	}
	if o.GetBaseEjectionTime() != nil {
		out.BaseEjection = o.GetBaseEjectionTime().AsDuration()
	}
	if o.GetMaxEjectionPercent() > 0 {
		out.MaxEjectionPercent = int(o.GetMaxEjectionPercent())
	}
	return out
}

// balancing is a simple policy's name; empty is istiod's default, LEAST_REQUEST.
// istiod: cluster_traffic_policy.go applyLoadBalancer
func balancing(lb *networking.LoadBalancerSettings) string {
	switch lb.GetSimple() {
	case networking.LoadBalancerSettings_ROUND_ROBIN:
		return "ROUND_ROBIN"
	case networking.LoadBalancerSettings_RANDOM:
		return "RANDOM"
	}
	return ""
}

// passesThrough tells whether the client's own choice of an address holds.
func passesThrough(lb *networking.LoadBalancerSettings) bool {
	return lb.GetSimple() == networking.LoadBalancerSettings_PASSTHROUGH
}

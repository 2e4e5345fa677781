package istio

import (
	"cmp"
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// destination is where a rule leads: a port of a Service, if there is one.
type destination struct {
	host    string         // the full name
	port    int            // of the Service
	service *world.Service // nil: no such Service
}

// cluster is the destination's name in an Envoy.
// istiod: pilot/pkg/model/service.go BuildSubsetKey
func (d destination) cluster() string {
	const subset = "" // comes with DestinationRule
	return fmt.Sprintf("outbound|%d|%s|%s", d.port, subset, d.host)
}

// servicePort is nil where the Service, or a port of it, does not exist.
func (d destination) servicePort() *world.ServicePort {
	if d.service == nil {
		return nil
	}
	return d.service.Port(d.port)
}

// destination resolves a rule's destination: the port is the given one, else
// the Service's only one, else the listener's.
// istiod: pilot/pkg/networking/core/route/route.go GetDestinationCluster
func (c *compiler) destination(v *virtualService, d *networking.Destination, listener int) destination {
	host := expand(d.GetHost(), v.Namespace)
	out := destination{host: host, port: listener, service: c.services[host]}
	switch {
	case d.GetPort() != nil:
		out.port = int(d.GetPort().GetNumber())
	case out.service != nil && len(out.service.Ports) == 1:
		out.port = out.service.Ports[0].Port
	}
	return out
}

// clusterSet gathers the clusters that the routes of one node lead to.
type clusterSet struct {
	c      *compiler
	kind   plan.Kind
	byName map[string]plan.Cluster
}

func (c *compiler) newClusters(kind plan.Kind) *clusterSet {
	return &clusterSet{c: c, kind: kind, byName: make(map[string]plan.Cluster)}
}

// add makes the cluster of a destination. For a Service, or a port of it, that
// does not exist there is none: Envoy answers 503 NC.
func (cs *clusterSet) add(d destination) {
	port := d.servicePort()
	if port == nil || port.Protocol == world.UDP {
		return
	}
	if _, made := cs.byName[d.cluster()]; !made {
		cs.byName[d.cluster()] = cs.c.cluster(cs.kind, d, port)
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

// cluster holds the pods behind a Service port. Whatever a client spoke, a
// gateway speaks HTTP/1.1 to them unless the port says otherwise, also where
// the port is no HTTP port at all.
// istiod: pilot/pkg/networking/core/cluster_builder.go
func (c *compiler) cluster(kind plan.Kind, d destination, port *world.ServicePort) plan.Cluster {
	cluster := plan.Cluster{Name: d.cluster(), Protocol: "http/1.1", Source: port.Source}
	if port.Protocol.IsHTTP2() {
		cluster.Protocol = "h2"
	}
	pods := c.w.ServicePods(d.service)
	tls := c.mutualTLS(d, port, pods)
	plaintext := kind == plan.Sidecar && d.service.Headless && !c.allMutual(port, pods)
	for _, pod := range pods {
		target := targetPort(port, pod)
		if target == 0 {
			continue
		}
		endpoint := plan.Endpoint{Node: pod.NodeName(), Address: pod.Address(target)}
		if !plaintext && c.takesMutual(pod, target) {
			endpoint.TLS = tls
		}
		cluster.Endpoints = append(cluster.Endpoints, endpoint)
	}
	return cluster
}

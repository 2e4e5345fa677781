package world

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// External is a name outside of the cluster. Where no workload claims it,
// nothing answers: hoplab has no internet.
type External struct {
	Host    string // lower case; may begin with "*.", or be an IPv4 address
	Address string // what DNS answers
	Pods    []*Pod // those of the workload that claims it
	Ports   []ServicePort
	Source  plan.Source // where it is claimed, else where it is spoken of
}

// Port finds a port by its number; nil when there is none.
func (e *External) Port(number int) *ServicePort {
	for i := range e.Ports {
		if e.Ports[i].Port == number {
			return &e.Ports[i]
		}
	}
	return nil
}

// External finds what a name outside of the cluster leads to: the name itself,
// else the longest wildcard; nil when nobody speaks of it.
func (w *World) External(host string) *External {
	host = strings.ToLower(host)
	var best *External
	for i := range w.Externals {
		e := &w.Externals[i]
		if e.Host == host {
			return e
		}
		suffix, wildcard := strings.CutPrefix(e.Host, "*")
		if wildcard && strings.HasSuffix(host, suffix) && (best == nil || len(e.Host) > len(best.Host)) {
			best = e
		}
	}
	return best
}

// The ranges that virtual addresses are taken from. 240.0.0.0/4 is nobody's
// (RFC 1112), and what Istio takes for its own; 198.18.0.0/15 is for tests
// (RFC 2544), and stands for the internet here.
var (
	servicePrefix  = netip.MustParsePrefix("240.240.0.0/16")
	internetPrefix = netip.MustParsePrefix("198.18.0.0/15")
)

// addresses gives virtual addresses to Services without one of their own, and
// to names outside of the cluster. An address depends on the name, so that it
// stays when others come and go.
func (b *builder) addresses() {
	taken := map[string]bool{}
	var wanting []*Service
	for _, s := range b.Services {
		switch {
		case s.Address != "":
			taken[s.Address] = true
		case !s.Headless && s.Type != string(corev1.ServiceTypeExternalName):
			wanting = append(wanting, s)
		}
	}
	slices.SortFunc(wanting, func(x, y *Service) int { return strings.Compare(x.FQDN(), y.FQDN()) })
	for _, s := range wanting {
		s.Address = freeAddress(servicePrefix, s.FQDN(), taken)
	}
	b.externals()
	for i := range b.Externals {
		e := &b.Externals[i]
		if e.Address == "" {
			e.Address = freeAddress(internetPrefix, e.Host, taken)
		}
	}
}

// freeAddress is the one of a prefix that a name hashes to, or the next that is
// not taken. It is taken then. The first and last 256 of a prefix are left out.
func freeAddress(prefix netip.Prefix, name string, taken map[string]bool) string {
	first, size := binary.BigEndian.Uint32(prefix.Addr().AsSlice()), uint32(1)<<(32-prefix.Bits())-512
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	for n := h.Sum32(); ; n++ {
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], first+256+n%size)
		if s := netip.AddrFrom4(ip).String(); !taken[s] {
			taken[s] = true
			return s
		}
	}
}

// externals gathers the names that workloads claim, and those that
// ServiceEntries and ExternalNames speak of.
func (b *builder) externals() {
	byHost := map[string]*External{}
	speak := func(host string, source plan.Source) *External {
		host = strings.ToLower(strings.TrimSuffix(host, "."))
		e := byHost[host]
		if e == nil {
			e = &External{Host: host, Source: source}
			if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
				e.Address = ip.String()
			}
			byHost[host] = e
		}
		return e
	}
	for _, s := range b.scenarios { // the user's own first
		for i, w := range s.spec.Workloads {
			for j, host := range w.Hosts {
				if e := speak(host, s.At(fmt.Sprintf("spec.workloads[%d].hosts[%d]", i, j))); e.Pods == nil {
					b.claim(e, &w)
				}
			}
		}
	}
	for _, se := range b.ServiceEntries {
		for i, host := range se.Spec.GetHosts() {
			if b.inCluster(host) {
				continue
			}
			e := speak(host, se.At(fmt.Sprintf("spec.hosts[%d]", i)))
			if ip := fixedAddress(se.Spec.GetAddresses()); ip != "" && e.Address == "" {
				e.Address = ip
			}
		}
	}
	for _, s := range b.Services {
		if s.ExternalName != "" && !b.inCluster(s.ExternalName) {
			speak(s.ExternalName, s.Object.At("spec.externalName"))
		}
	}
	for _, host := range slices.SortedFunc(maps.Keys(byHost), cmp.Compare[string]) {
		b.Externals = append(b.Externals, *byHost[host])
	}
}

// claim says that a name leads to the pods of a workload.
func (b *builder) claim(e *External, w *manifest.ScenarioWorkload) {
	namespace := or(w.Namespace, "default")
	for _, pod := range b.Pods {
		if pod.External && pod.Namespace == namespace && pod.Owner == w.Name {
			e.Pods = append(e.Pods, pod)
		}
	}
	for _, p := range w.Ports {
		target := int(p.TargetPort)
		if target == 0 {
			target = int(p.Port)
		}
		e.Ports = append(e.Ports, ServicePort{Name: p.Name, Port: int(p.Port), TargetPort: target, Source: e.Source})
	}
}

// fixedAddress is the first of a ServiceEntry's addresses that is one address
// and no prefix; empty: none is.
func fixedAddress(addresses []string) string {
	for _, a := range addresses {
		if ip, err := netip.ParseAddr(strings.TrimSuffix(a, "/32")); err == nil && ip.Is4() {
			return ip.String()
		}
	}
	return ""
}

// inCluster tells whether a name is a Service's.
func (w *World) inCluster(host string) bool {
	return slices.ContainsFunc(w.Services, func(s *Service) bool { return strings.EqualFold(s.FQDN(), strings.TrimSuffix(host, ".")) })
}

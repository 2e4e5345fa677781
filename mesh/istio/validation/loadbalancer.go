package validation

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"
)

// loadBalancer is istiod's validateLoadBalancer.
// istiod: pkg/config/validation/validation.go
func (c *check) loadBalancer(path string, lb *networking.LoadBalancerSettings, outliers bool) {
	if lb == nil {
		return
	}
	c.consistentHash(path+".consistentHash", lb.GetConsistentHash())
	if lb.GetLocalityLbSetting() != nil && lb.GetZoneAwareLbSetting() != nil {
		c.refuse(path+".zoneAwareLbSetting", "only one of localityLbSetting and zoneAwareLbSetting can be set", "keep one of them")
	}
	c.localities(path+".localityLbSetting", lb.GetLocalityLbSetting(), outliers)
	c.zones(path+".zoneAwareLbSetting", lb.GetZoneAwareLbSetting(), outliers)
	// Of this one only the CRD speaks.
	if d := lb.GetWarmupDurationSecs(); d != nil && d.AsDuration() < time.Millisecond {
		c.refuse(path+".warmupDurationSecs", "must be a valid duration greater than 1ms", "warmup: {duration: 60s}")
	}
	warmup := lb.GetWarmup()
	if warmup == nil {
		return
	}
	path += ".warmup"
	if warmup.GetDuration() == nil {
		c.refuse(path+".duration", "duration is required", "duration: 60s")
	}
	c.duration(path+".duration", warmup.GetDuration())
	if warmup.GetMinimumPercent().GetValue() > 100 {
		c.refuse(path+".minimumPercent", "minimumPercent value should be less than or equal to 100", "from 0 to 100")
	}
	if warmup.GetAggression() != nil && warmup.GetAggression().GetValue() <= 0 {
		c.refuse(path+".aggression", "aggression should be greater than 0", "1 is linear")
	}
}

// maxTable is the size of Maglev's table from which on Envoy takes none.
const maxTable = 5000011

func (c *check) consistentHash(path string, h *networking.LoadBalancerSettings_ConsistentHashLB) {
	if h == nil {
		return
	}
	if cookie := h.GetHttpCookie(); cookie != nil {
		c.cookie(path+".httpCookie", cookie)
	}
	//lint:ignore SA1019 deprecated, and taken all the same
	if h.GetMinimumRingSize() != 0 {
		c.warn(CodeDeprecated, path+".minimumRingSize", "consistent hash MinimumRingSize is deprecated, use ConsistentHashLB's RingHash configuration instead", "ringHash: {minimumRingSize: 1024}")
		if h.GetHashAlgorithm() != nil {
			c.refuse(path+".minimumRingSize", "only one of MinimumRingSize or Maglev/Ringhash can be specified", "leave it away")
		}
	}
	table := h.GetMaglev()
	if table == nil {
		return
	}
	path += ".maglev.tableSize"
	if table.GetTableSize() == 0 {
		c.refuse(path, "tableSize must be set for maglev", "65537")
	}
	if table.GetTableSize() >= maxTable {
		c.refuse(path, "tableSize must be less than 5000011 for maglev", "65537")
	}
	if !new(big.Int).SetUint64(table.GetTableSize()).ProbablyPrime(0) && table.GetTableSize() != 1 { // exact below 2^64; Envoy takes 1 for one
		c.refuse(path, "tableSize must be a prime number for maglev", "65537")
	}
}

func (c *check) cookie(path string, cookie *networking.LoadBalancerSettings_ConsistentHashLB_HTTPCookie) {
	if cookie.GetName() == "" {
		c.refuse(path+".name", "name required for HttpCookie", "name: NAME")
	}
	list, names := path+".attributes", make(map[string]int)
	for i, a := range cookie.GetAttributes() {
		path := at(list, i) + ".name"
		first, taken := names[a.GetName()]
		switch {
		case a.GetName() == "":
			c.refuse(path, "cookie attribute name cannot be empty", "such as SameSite")
		case taken:
			c.repeated(path, "duplicate cookie attribute name: "+a.GetName(), at(list, first)+".name")
		default:
			names[a.GetName()] = i
		}
	}
}

// topology are the labels of regions, zones and subzones.
// istio/api: label/labels.gen.go; istiod: pkg/config/labels
var topology = []string{"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"}

// localities is istiod's ValidateLocalityLbSetting.
// istiod: pkg/config/validation/agent/validation.go
func (c *check) localities(path string, lb *networking.LocalityLoadBalancerSetting, outliers bool) {
	if lb == nil {
		return
	}
	if len(lb.GetDistribute()) > 0 && len(lb.GetFailover()) > 0 {
		c.refuse(path+".failover", "can not simultaneously specify 'distribute' and 'failover'", "keep one of them")
		return
	}
	for i, label := range lb.GetFailoverPriority() {
		if len(lb.GetFailover()) > 0 && slices.Contains(topology, label) {
			c.refuse(at(path+".failoverPriority", i), fmt.Sprintf("can not simultaneously set 'failover' and topology label '%s' in 'failover_priority'", label), "keep one of them")
			return
		}
	}
	var from []string
	for i, d := range lb.GetDistribute() {
		from = append(from, d.GetFrom())
		if !c.shares(at(path+".distribute", i)+".to", d.GetTo()) {
			return // istiod looks no further
		}
	}
	c.no(path+".distribute", checkLocalities(from), "REGION, REGION/ZONE or REGION/ZONE/SUBZONE, each once")
	var failover [][2]string
	for _, f := range lb.GetFailover() {
		failover = append(failover, [2]string{f.GetFrom(), f.GetTo()})
	}
	c.failover(path, "locality lb", "locality lb failover only specify region", failover, len(lb.GetFailoverPriority()) > 0, outliers)
}

// shares refuses weights that do not make 100 together, and tells whether they
// do.
func (c *check) shares(path string, to map[string]uint32) bool {
	const hint = "percentages that make 100 together"
	var total uint32
	for _, locality := range sorted(to) {
		weight := to[locality]
		if weight == 0 || weight > 100 {
			c.refuse(entry(path, locality), "locality weight must be in range [1, 100]", hint)
			return false
		}
		total += weight
	}
	if total != 100 {
		c.refuse(path, fmt.Sprintf("total locality weight %v != 100", total), hint)
		return false
	}
	c.no(path, checkLocalities(slices.Sorted(maps.Keys(to))), "REGION, REGION/ZONE or REGION/ZONE/SUBZONE, each once")
	return true
}

// zones is istiod's ValidateZoneAwareLbSetting.
func (c *check) zones(path string, lb *networking.ZoneAwareLoadBalancerSetting, outliers bool) {
	if lb == nil {
		return
	}
	for i, label := range lb.GetFailoverPriority() {
		if slices.Contains(topology, label) {
			c.refuse(at(path+".failoverPriority", i), fmt.Sprintf("'failover_priority' for zone aware lb must not use topology label '%s'; region- and zone-level routing are handled automatically", label), "leave it away")
		}
	}
	var failover [][2]string
	for _, f := range lb.GetFailover() {
		failover = append(failover, [2]string{f.GetFrom(), f.GetTo()})
	}
	c.failover(path, "zone aware lb", "zone aware lb failover only specifies region; zone and subzone failover are handled automatically", failover, len(lb.GetFailoverPriority()) > 0, outliers)
}

// failover refuses regions that cannot stand in for one another.
func (c *check) failover(path, what, regionsOnly string, regions [][2]string, priority, outliers bool) {
	if (len(regions) > 0 || priority) && !outliers {
		c.warn(CodeFailover, path, "outlier detection policy must be provided for failover", "outlierDetection: {consecutive5xxErrors: 5}")
	}
	for i, r := range regions {
		path := at(path+".failover", i)
		both := r[0] + r[1]
		if r[0] == r[1] {
			c.refuse(path, what+" failover settings must specify different regions", "")
		}
		if strings.Contains(both, "/") {
			c.refuse(path, regionsOnly, "a region alone")
		}
		if strings.Contains(both, "*") {
			c.refuse(path, what+" failover region should not contain '*' wildcard", "a region's name")
		}
	}
}

// checkLocalities refuses localities of which one is within another that
// stands before it: istiod's validateLocalities.
func checkLocalities(localities []string) error {
	var seen [][]string
	for _, locality := range localities {
		if n := strings.Count(locality, "*"); n > 1 || n == 1 && !strings.HasSuffix(locality, "*") {
			return fmt.Errorf("locality %s wildcard '*' number can not exceed 1 and must be in the end", locality)
		}
		parts := strings.SplitN(locality, "/", 3)
		if slices.Contains(parts, "") {
			return fmt.Errorf("locality %s must not contain empty region/zone/subzone info", locality)
		}
		for _, other := range seen {
			if covers(other, parts) {
				return fmt.Errorf("locality %s overlap with previous specified ones", locality)
			}
		}
		seen = append(seen, parts)
	}
	return nil
}

// covers tells whether the parts of one locality are those with which another
// begins, or the other way round. Only the first may have a wildcard.
func covers(a, b []string) bool {
	for i := range min(len(a), len(b)) {
		if a[i] == "*" {
			return true
		}
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

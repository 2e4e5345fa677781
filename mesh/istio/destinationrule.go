package istio

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
)

// rule is what the DestinationRules of one namespace for one host together say.
// istiod: pilot/pkg/model/push_context.go ConsolidatedDestRule
type rule struct {
	namespace string
	exportTo  []string
	selector  map[string]string // of the clients' pods
	selecting bool              // it has a selector
	policy    policyAt          // of the first that has one
	subsets   []subset          // of all, each name once
	object    *manifest.Object  // the first
}

// subset is one of a rule's, with the place where it is written.
type subset struct {
	*networking.Subset
	policy policyAt
	at     place
}

// place is a field of an object.
type place struct {
	object *manifest.Object
	path   string
}

// rulesByHost are rules by the hosts that they name.
// istiod: consolidatedDestRules
type rulesByHost struct{ exact, wild map[string][]*rule }

func (r *rulesByHost) add(d world.Typed[*networking.DestinationRule], exportTo []string) {
	host := hostname.Expand(d.Spec.GetHost(), d.Namespace)
	if r.exact == nil {
		r.exact, r.wild = make(map[string][]*rule), make(map[string][]*rule)
	}
	into := r.exact
	if hostname.IsWildcard(host) {
		into = r.wild
	}
	if separate := merge(into[host], d, exportTo); separate {
		into[host] = append(into[host], newRule(d, exportTo))
	}
}

func newRule(d world.Typed[*networking.DestinationRule], exportTo []string) *rule {
	r := &rule{
		namespace: d.Namespace, exportTo: exportTo, object: d.Object,
		selector: d.Spec.GetWorkloadSelector().GetMatchLabels(), selecting: d.Spec.GetWorkloadSelector() != nil,
	}
	r.merge(d)
	return r
}

// merge takes over the subsets that the rule has not, and the policy if it has
// none.
func (r *rule) merge(d world.Typed[*networking.DestinationRule]) {
	for i, s := range d.Spec.GetSubsets() {
		if r.subset(s.GetName()) == nil {
			at := place{d.Object, fmt.Sprintf("spec.subsets[%d]", i)}
			r.subsets = append(r.subsets, subset{s, policyAt{s.GetTrafficPolicy(), place{d.Object, at.path + ".trafficPolicy"}}, at})
		}
	}
	if r.policy.TrafficPolicy == nil && d.Spec.GetTrafficPolicy() != nil {
		r.policy = policyAt{d.Spec.GetTrafficPolicy(), place{d.Object, "spec.trafficPolicy"}}
	}
}

// subset finds one by its name; nil when there is none.
func (r *rule) subset(name string) *subset {
	for i := range r.subsets {
		if r.subsets[i].GetName() == name {
			return &r.subsets[i]
		}
	}
	return nil
}

// merge adds a DestinationRule to those known of its host, and tells whether
// it must stand by itself too.
// istiod: pilot/pkg/model/destination_rule.go mergeDestinationRule
func merge(known []*rule, d world.Typed[*networking.DestinationRule], exportTo []string) (separate bool) {
	separate = true
	selector, selecting := d.Spec.GetWorkloadSelector().GetMatchLabels(), d.Spec.GetWorkloadSelector() != nil
	for _, r := range known {
		switch {
		case sameSet(exportTo, r.exportTo):
			separate = false
		case len(r.exportTo) > 0 && !slices.ContainsFunc(r.exportTo, func(e string) bool { return !slices.Contains(exportTo, e) }):
			separate = true
		default:
			separate = true
			continue
		}
		switch {
		case r.selecting && selecting && !maps.Equal(r.selector, selector):
			separate = true
			continue
		case r.selecting == selecting:
			separate = false
		}
		r.merge(d)
	}
	return separate
}

// indexRules sorts the DestinationRules for look-ups. Those with a selector of
// pods come first, then the oldest, and such are their namespace's alone.
// istiod: pilot/pkg/model/push_context.go setDestinationRules
func (c *compiler) indexRules() {
	rules := slices.Clone(c.destinationRules)
	slices.SortStableFunc(rules, func(a, b world.Typed[*networking.DestinationRule]) int {
		rank := func(d *networking.DestinationRule) int {
			if d.GetWorkloadSelector() != nil {
				return 0
			}
			return 1
		}
		return cmp.Compare(rank(a.Spec), rank(b.Spec))
	})
	into := func(index map[string]*rulesByHost, namespace string) *rulesByHost {
		if index[namespace] == nil {
			index[namespace] = &rulesByHost{}
		}
		return index[namespace]
	}
	for _, d := range rules {
		exportTo := d.Spec.GetExportTo()
		if d.Spec.GetWorkloadSelector() != nil {
			exportTo = []string{"."}
		}
		private := len(exportTo) == 1 && (exportTo[0] == "." || exportTo[0] == d.Namespace)
		if len(exportTo) == 0 || slices.Contains(exportTo, "*") || slices.Contains(exportTo, ".") || slices.Contains(exportTo, d.Namespace) {
			into(c.localRules, d.Namespace).add(d, exportTo)
		}
		switch {
		case !private:
			into(c.exportedRules, d.Namespace).add(d, exportTo)
		case d.Namespace == c.w.Mesh.RootNamespace:
			c.rootRules.add(d, exportTo)
		}
	}
}

// rulesFor finds the rules for a service as the proxies of a namespace see it:
// of their own namespace, else of the service's, else of the root namespace. In
// the root namespace itself only private rules go first, as the others are
// meant for the whole mesh.
// istiod: pilot/pkg/model/push_context.go destinationRule
func (c *compiler) rulesFor(namespace string, s *service) []*rule {
	own := c.localRules[namespace]
	if namespace == c.w.Mesh.RootNamespace {
		own = &c.rootRules
	}
	if own != nil {
		if rules, ok := mostSpecific(s.host, own.exact, own.wild); ok {
			return rules
		}
	}
	for _, from := range []string{s.namespace, c.w.Mesh.RootNamespace} {
		index := c.exportedRules[from]
		if index == nil {
			continue
		}
		rules, _ := mostSpecific(s.host, index.exact, index.wild)
		var seen []*rule
		for _, r := range rules {
			if public(r.exportTo) || slices.Contains(r.exportTo, namespace) {
				seen = append(seen, r)
			}
		}
		if len(seen) > 0 {
			return seen
		}
	}
	return nil
}

// rule is the one for a service and a client's pod: the first with a selector
// that picks the pod, else the one without.
// istiod: pilot/pkg/model/sidecar.go DestinationRule
func (s *scope) rule(host string, client *world.Pod) *rule {
	var rest *rule
	for _, r := range s.rules[host] {
		switch {
		case !r.selecting:
			rest = r
		case r.namespace == s.namespace && selects(r.selector, client):
			return r
		}
	}
	return rest
}

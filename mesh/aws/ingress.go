package aws

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	networkingv1 "k8s.io/api/networking/v1"

	"hoplab.dev/mesh/world"
)

// controller is what an IngressClass of the AWS Load Balancer Controller says.
// LBC: pkg/ingress/class.go
const controller = "ingress.k8s.aws/alb"

// albClass is the controller's flag --ingress-class, and the IngressClass that
// its Helm chart makes.
const albClass = "alb"

// defaultClassAnnotation marks the IngressClass of those that name none.
const defaultClassAnnotation = "ingressclass.kubernetes.io/is-default-class"

// member is an Ingress of a group.
type member struct {
	world.Typed[*networkingv1.Ingress]
	order int

	listeners map[int]string // port -> HTTP or HTTPS
	rules     []rule
	fallback  *rule // of spec.defaultBackend
}

func (m *member) key() string                       { return m.Namespace + "/" + m.Name }
func (m *member) at(field string) where             { return where{m.Object, field} }
func (m *member) ingress() *networkingv1.Ingress    { return m.Typed.Spec }
func (m *member) layer() layer                      { return layer{m.ingress().Annotations, m.Object} }
func (m *member) settings() settings                { return settings{m.layer()} }
func (m *member) get(suffix string) (setting, bool) { return m.settings().get(suffix) }

// backends lists every backend of the Ingress.
func (m *member) backends() []networkingv1.IngressBackend {
	var out []networkingv1.IngressBackend
	if b := m.ingress().Spec.DefaultBackend; b != nil {
		out = append(out, *b)
	}
	for _, r := range m.ingress().Spec.Rules {
		if r.HTTP != nil {
			for _, p := range r.HTTP.Paths {
				out = append(out, p.Backend)
			}
		}
	}
	return out
}

// hosts lists the names of the rules and of spec.tls, sorted, each with the
// place that says it first. LBC: model_build_listener.go computeIngressInferredTLSCertARNs
func (m *member) hosts() []host {
	var out []host
	add := func(name, field string) {
		if name != "" && !slices.ContainsFunc(out, func(h host) bool { return h.name == name }) {
			out = append(out, host{name, m.at(field)})
		}
	}
	for i, r := range m.ingress().Spec.Rules {
		add(r.Host, fmt.Sprintf("spec.rules[%d].host", i))
	}
	for i, t := range m.ingress().Spec.TLS {
		for j, name := range t.Hosts {
			add(name, fmt.Sprintf("spec.tls[%d].hosts[%d]", i, j))
		}
	}
	slices.SortFunc(out, func(a, b host) int { return cmp.Compare(a.name, b.name) })
	return out
}

type host struct {
	name string
	where
}

// groups finds the controller's Ingresses and sorts them into groups, each of
// which is one load balancer.
func (c *compiler) groups() []*group {
	var out []*group
	byID := map[string]*group{}
	for _, ing := range c.world.Ingresses {
		m := &member{Typed: ing}
		if !c.classify(m) {
			continue
		}
		id, explicit, ok := c.groupID(m)
		if !ok {
			continue
		}
		g := byID[id]
		if g == nil {
			g = newGroup(c, id, explicit)
			byID[id] = g
			out = append(out, g)
		}
		g.members = append(g.members, m)
	}
	for _, g := range out {
		g.sort()
	}
	return out
}

func membersOf(groups []*group) []*member {
	var out []*member
	for _, g := range groups {
		out = append(out, g.members...)
	}
	return out
}

// classify tells whether the controller takes the Ingress.
// LBC: pkg/ingress/group_loader.go classifyIngress, class_loader.go Load
func (c *compiler) classify(m *member) bool {
	if !m.ingress().DeletionTimestamp.IsZero() {
		c.info(CodeOtherClass, m.at("metadata.deletionTimestamp"), "", "this Ingress is being deleted and is passed over")
		return false
	}
	// The annotation wins over the field.
	if class, ok := m.ingress().Annotations[classAnnotation]; ok {
		if class == albClass {
			return true
		}
		c.info(CodeOtherClass, m.at(`metadata.annotations["`+classAnnotation+`"]`), classAnnotation+": "+albClass,
			"an Ingress of class %q is passed over: only the AWS Load Balancer Controller's are emulated", class)
		return false
	}
	name := ""
	if named := m.ingress().Spec.IngressClassName; named != nil {
		name = *named
	} else {
		defaults := c.defaultClasses()
		switch len(defaults) {
		case 0:
			c.warn(CodeNoClass, m.at("spec"), "spec.ingressClassName: "+albClass,
				"no controller takes this Ingress: it names no class and there is no default IngressClass")
			return false
		case 1:
			name = defaults[0]
		default:
			c.fail(CodeNoClass, m.at("spec"), "spec.ingressClassName: "+albClass, "multiple default IngressClasses found")
			return false
		}
	}
	return c.classifyByName(m, name)
}

func (c *compiler) defaultClasses() []string {
	var out []string
	for _, class := range c.world.IngressClasses {
		if class.Spec.Annotations[defaultClassAnnotation] == "true" {
			out = append(out, class.Name)
		}
	}
	return out
}

func (c *compiler) classifyByName(m *member, name string) bool {
	at := m.at("spec.ingressClassName")
	i := slices.IndexFunc(c.world.IngressClasses, func(t world.Typed[*networkingv1.IngressClass]) bool { return t.Name == name })
	if i < 0 {
		if name == albClass {
			return true // the controller's Helm chart makes it
		}
		c.warn(CodeNoClass, at, "spec.ingressClassName: "+albClass,
			"invalid ingress class: IngressClass %q not found; the Ingress is passed over", name)
		return false
	}
	class := c.world.IngressClasses[i]
	if got := class.Spec.Spec.Controller; got != controller {
		c.info(CodeOtherClass, at, "", "an Ingress of controller %q is passed over: only the AWS Load Balancer Controller's are emulated", got)
		return false
	}
	if class.Spec.Spec.Parameters != nil {
		c.refuse(where{class.Object, "spec.parameters"}, "leave spec.parameters out and say the same with annotations of the Ingress", "IngressClassParams")
	}
	return true
}

// LBC: pkg/ingress/group_loader.go
const (
	minGroupOrder      = -1000
	maxGroupOrder      = 1000
	maxGroupNameLength = 63
)

var groupName = regexp.MustCompile(`^([a-z0-9][-a-z0-9.]*)?[a-z0-9]$`)

func validateGroupName(name string) error {
	switch {
	case !groupName.MatchString(name):
		return errors.New("groupName must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character")
	case len(name) > maxGroupNameLength:
		return errors.New("groupName must be no more than " + strconv.Itoa(maxGroupNameLength) + " characters")
	}
	return nil
}

// groupID is the group's name, or the Ingress's own when it names none. With a
// wrong name the Ingress is left alone.
func (c *compiler) groupID(m *member) (id string, explicit, ok bool) {
	s, explicit := m.get("group.name")
	if !explicit {
		return m.key(), false, true
	}
	if err := validateGroupName(s.value); err != nil {
		c.fail(CodeBadGroup, s.where, "", "invalid ingress group: %v; the controller leaves this Ingress alone", err)
		return "", true, false
	}
	return s.value, true, true
}

// sort orders the members by group.order, then by name.
func (g *group) sort() {
	for _, m := range g.members {
		s, ok := m.get("group.order")
		if !ok {
			continue
		}
		order, err := s.integer()
		switch {
		case err != nil:
			g.failBuild(CodeBadGroup, s.where, "a whole number from -1000 to 1000", "failed to load Ingress group order for ingress: %s: %v", m.key(), err)
		case order < minGroupOrder || order > maxGroupOrder:
			g.failBuild(CodeBadGroup, s.where, "", "explicit Ingress group order must be within [%d:%d], Ingress: %s, order: %d",
				minGroupOrder, maxGroupOrder, m.key(), order)
		default:
			m.order = order
		}
	}
	slices.SortStableFunc(g.members, func(a, b *member) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.key(), b.key()))
	})
}

package aws

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"hoplab.dev/plan"
)

// certificate is one that a listener serves.
type certificate struct {
	arn string
	where
}

// explicitCertificates are those of certificate-arn.
func (g *group) explicitCertificates(m *member) []certificate {
	s, ok := m.get("certificate-arn")
	if !ok {
		return nil
	}
	var out []certificate
	for _, arn := range s.list() {
		out = append(out, certificate{arn, s.where})
	}
	return out
}

// discoverCertificates finds, for each host of the Ingress, every certificate
// that covers it, and sorts them by ARN. LBC: pkg/certs/cert_discovery.go
func (g *group) discoverCertificates(m *member) []certificate {
	found := map[string]certificate{}
	for _, h := range m.hosts() {
		matched := false
		for _, held := range g.world.ACM {
			if covers(held, h.name) {
				matched = true
				if _, ok := found[held.ARN]; !ok {
					found[held.ARN] = certificate{held.ARN, h.where}
				}
			}
		}
		if !matched {
			g.failIngress(CodeNoCertificate, m, h.where, "add "+h.name+" to a certificate's names (a wildcard covers one label), or name one with "+prefix+"certificate-arn",
				"no certificate found for host: %s", h.name)
		}
	}
	var out []certificate
	for _, c := range found {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b certificate) int { return cmp.Compare(a.arn, b.arn) })
	return out
}

// covers tells whether one of a certificate's names matches a host. A host may
// be a wildcard itself, which the same wildcard matches.
// LBC: pkg/certs/cert_discovery.go domainMatchesHost
func covers(held plan.ACMRequest, host string) bool {
	for _, name := range append([]string{held.DomainName}, held.AltNames...) {
		if name == host {
			return true
		}
		if domain, ok := strings.CutPrefix(name, "*."); ok {
			if _, rest, ok := strings.Cut(host, "."); ok && rest == domain {
				return true
			}
		}
	}
	return false
}

// held finds what ACM holds under an ARN.
func (c *compiler) held(arn string) (plan.ACMRequest, bool) {
	i := slices.IndexFunc(c.world.ACM, func(r plan.ACMRequest) bool { return r.ARN == arn })
	if i < 0 {
		return plan.ACMRequest{}, false
	}
	return c.world.ACM[i], true
}

// checkCertificates tells whether the AWS API would make the listener.
func (g *group) checkCertificates(l *listener, later int) bool {
	after := "the controller makes no listener for port %d"
	if later > 0 {
		after += ", none for higher ports"
	}
	after += ", and no rules"
	if len(l.certificates) == 0 {
		if !g.failed { // else discovery has failed already, and said so
			g.fail(CodeNoCertificate, l.where, prefix+"certificate-arn: arn:aws:acm:...", "A certificate must be specified for HTTPS listeners; "+after, l.port)
		}
		return false
	}
	ok := true
	for _, c := range l.certificates {
		if _, held := g.held(c.arn); !held {
			g.fail(CodeUnknownCertificate, c.where, "list it under spec.certificates of the Scenario, or mend the ARN",
				"Certificate ARN '%s' is not found; "+after, c.arn, l.port)
			ok = false
		}
	}
	return ok
}

// Where a load balancer is when no certificate says so.
const (
	defaultRegion  = "us-east-1"
	defaultAccount = "123456789012"
)

var acmARN = regexp.MustCompile(`^arn:aws[a-z-]*:acm:([a-z0-9-]+):([0-9]{12}):certificate/`)

// region is that of the first certificate: an ALB uses those of its own only.
func region(listeners []*listener) (region, account string) {
	for _, l := range listeners {
		for _, c := range l.certificates {
			if m := acmARN.FindStringSubmatch(c.arn); m != nil {
				return m[1], m[2]
			}
		}
	}
	return defaultRegion, defaultAccount
}

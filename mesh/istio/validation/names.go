package validation

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"hoplab.dev/mesh/istio/hostname"
)

// istiod: pkg/config/labels/instance.go
const (
	label         = `[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?`
	qualifiedName = `(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
)

var (
	dnsLabel      = regexp.MustCompile(`^` + label + `$`)
	wildcardLabel = regexp.MustCompile(`^(\*|(\*|\*-)?` + label + `)$`)
	tagKey        = regexp.MustCompile(`^(` + label + `(?:\.` + label + `)*/)?(` + qualifiedName + `)$`)
	tagValue      = regexp.MustCompile(`^(` + qualifiedName + `)?$`)
)

// The most bytes of a label and of the prefix of a key.
const (
	maxLabel  = 63
	maxPrefix = 253
)

// isLabel tells whether s is a DNS label as Istio sees it.
func isLabel(s string) bool { return len(s) <= maxLabel && dnsLabel.MatchString(s) }

// checkFQDN is istiod's ValidateFQDN.
// istiod: pkg/config/validation/agent/validation.go
func checkFQDN(name string) error {
	if err := checkLength(name); err != nil {
		return err
	}
	return checkLabels(name)
}

func checkLength(name string) error {
	switch {
	case len(name) > 255:
		return fmt.Errorf("domain name %q too long (max 255)", name)
	case name == "":
		return errors.New("empty domain name not allowed")
	}
	return nil
}

func checkLabels(name string) error {
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	if _, err := strconv.Atoi(last); err == nil {
		return fmt.Errorf("domain name %q invalid (top level domain %q cannot be all-numeric)", name, last)
	}
	for i, l := range labels {
		if l == "" && i == len(labels)-1 {
			return nil // "istio.io." is a name
		}
		if !isLabel(l) {
			return fmt.Errorf("domain name %q invalid (label %q invalid)", name, l)
		}
	}
	return nil
}

// checkWildcardDomain is istiod's ValidateWildcardDomain.
func checkWildcardDomain(name string) error {
	if err := checkLength(name); err != nil {
		return err
	}
	first, rest, dotted := strings.Cut(name, ".")
	if len(first) > maxLabel || !wildcardLabel.MatchString(first) {
		return fmt.Errorf("domain name %q invalid (label %q invalid)", name, first)
	}
	if dotted {
		return checkLabels(rest)
	}
	return nil
}

// checkGatewayDomain is istiod's
// ValidateWildcardDomainForVirtualServiceBoundToGateway: where SNI is matched,
// the names that Envoys of the mesh send to one another are taken too.
func checkGatewayDomain(sni bool, name string) error {
	const prefix, form = "outbound", "outbound_.<PORT>_._.<HOSTNAME>"
	if err := checkLength(name); err != nil {
		return err
	}
	if !sni || !strings.HasPrefix(name, prefix+"_") {
		return checkWildcardDomain(name)
	}
	parts := strings.Split(name, "_")
	if len(parts) < 4 {
		return fmt.Errorf("domain name %s invalid, should follow '%s' format", name, form)
	}
	port, host := strings.Trim(parts[1], "."), strings.Trim(parts[3], ".")
	if !strings.ContainsAny(port, "0123456789") {
		return fmt.Errorf("domain name %q invalid (label %q invalid). should follow %s format", name, port, form)
	}
	if !hasLetter.MatchString(host) {
		return fmt.Errorf("domain name %q invalid (label %q invalid). should follow %s format", name, host, form)
	}
	return nil
}

var hasLetter = regexp.MustCompile(`[a-zA-Z]`)

// hosts refuses what istiod's ValidateNamespaceSlashWildcardHostname refuses
// of a host of a Gateway's server, "NAMESPACE/HOST" or "HOST".
func (c *check) serverHost(path, entry string) {
	const hint = "a full name, `*.` and a name, or `*`; before it, if wanted, `NAMESPACE/`"
	namespace, name, slashed := strings.Cut(entry, "/")
	if !slashed {
		namespace, name = "*", entry
	}
	if namespace == "" || slashed && name == "" {
		c.refuse(path, "config namespace and dnsName in host entry cannot be empty", hint)
	}
	if namespace != "*" && namespace != "." && !isLabel(namespace) {
		c.refuse(path, fmt.Sprintf("invalid namespace value %q in gateway", namespace), hint)
	}
	c.hostPart(path, name, hint, true)
}

// importedHost is the same of a Sidecar's egress, "NAMESPACE/HOST"; "~" before
// it leaves the host out.
func (c *check) importedHost(path, entry string) {
	const hint = "`NAMESPACE/NAME`, `*/*`, `./*`: a namespace and a full name, each perhaps a wildcard"
	namespace, name, slashed := strings.Cut(entry, "/")
	if !slashed {
		c.refuse(path, "host must be of form namespace/dnsName", hint)
		return
	}
	if namespace == "" || name == "" {
		c.refuse(path, "config namespace and dnsName in host entry cannot be empty", hint)
	}
	if ns := strings.TrimPrefix(namespace, "~"); ns != "" && ns != "*" && ns != "." && !isLabel(ns) {
		c.refuse(path, fmt.Sprintf("invalid namespace value %q in sidecar", namespace), hint)
	}
	c.hostPart(path, name, hint, false)
}

// hostPart is istiod's validateSidecarOrGatewayHostnamePart. A Gateway takes
// addresses.
func (c *check) hostPart(path, name, hint string, gateway bool) {
	if name != "*" && !strings.Contains(name, ".") {
		c.refuse(path, "short names (non FQDN) are not allowed", hint)
	}
	if err := checkWildcardDomain(name); !gateway || !hostname.IsIP(name) {
		c.no(path, err, hint)
	}
	c.no(path, checkPartialWildcard(name), hint)
}

// checkPartialWildcard is istiod's ValidatePartialWildCard.
func checkPartialWildcard(host string) error {
	if strings.Contains(host, "*") && len(host) != 1 && !strings.HasPrefix(host, "*.") {
		return fmt.Errorf("partial wildcard %q not allowed", host)
	}
	return nil
}

// checkIP is istiod's ValidateIPAddress, checkSubnet its ValidateIPSubnet.
func checkIP(s string) error {
	if !hostname.IsIP(s) {
		return fmt.Errorf("%v is not a valid IP", s)
	}
	return nil
}

func checkSubnet(s string) error {
	if strings.Count(s, "/") != 1 {
		return checkIP(s)
	}
	if _, err := netip.ParsePrefix(s); err != nil {
		return fmt.Errorf("%v is not a valid CIDR block", s)
	}
	return nil
}

// unixAddress is the scheme of Unix domain sockets.
const unixAddress = "unix://"

// checkUnix is istiod's ValidateUnixAddress, of what follows the scheme. A
// name in the abstract namespace begins with "@".
func checkUnix(path string) error {
	switch {
	case path == "":
		return errors.New("unix address must not be empty")
	case strings.HasPrefix(path, "@"):
		return nil
	case !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/"):
		return fmt.Errorf("%s is not an absolute path to a file", path)
	}
	return nil
}

// checkPortName is istiod's ValidatePortName.
func checkPortName(name string) error {
	if !isLabel(name) {
		return fmt.Errorf("invalid port name: %s", name)
	}
	return nil
}

// labels refuses what is no label of a pod: istiod's labels.Instance.Validate.
func (c *check) labels(path string, labels map[string]string) {
	for _, k := range sorted(labels) {
		c.no(entry(path, k), checkTagKey(k), "as of a Kubernetes label: NAME, or DOMAIN/NAME")
		if !tagValue.MatchString(labels[k]) {
			c.refuse(entry(path, k), fmt.Sprintf("invalid tag value: %q", labels[k]), "letters, digits, -, _ and ., at both ends a letter or digit")
		}
	}
}

func checkTagKey(k string) error {
	match := tagKey.FindStringSubmatch(k)
	switch {
	case match == nil:
		return fmt.Errorf("invalid tag key: %q", k)
	case len(match[1])-1 > maxPrefix:
		return fmt.Errorf("invalid tag key: %q (DNS prefix is too long)", k)
	case len(match[2]) > maxLabel:
		return fmt.Errorf("invalid tag key: %q (name is too long)", k)
	}
	return nil
}

// selector refuses what istiod does not take of the labels that pick pods, in
// a field of the selector. Of a selector without any it warns.
func (c *check) selector(path, field string, labels map[string]string, message string) {
	for _, k := range sorted(labels) {
		pair := k + "=" + labels[k]
		if k == "" {
			c.refuse(path+"."+field, fmt.Sprintf("empty key is not supported in selector: %q", pair), "app: NAME")
		}
		if strings.Contains(pair, "*") {
			c.refuse(entry(path+"."+field, k), fmt.Sprintf("wildcard is not supported in selector: %q", pair), "without a selector all pods are picked")
		}
	}
	if len(labels) == 0 {
		c.warn(CodeEmptySelector, path, message, "leave it away to say the same")
	}
}

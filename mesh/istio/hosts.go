package istio

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"hoplab.dev/mesh/istio/hostname"
)

// istiod: pkg/config/labels/instance.go
var (
	dnsLabel      = regexp.MustCompile(`^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$`)
	wildcardLabel = regexp.MustCompile(`^(\*|(\*|\*-)?[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)$`)
)

// isLabel tells whether s is a DNS label as Istio sees it: at most 63 bytes.
func isLabel(s string) bool { return len(s) <= 63 && dnsLabel.MatchString(s) }

// checkFQDN says what istiod's ValidateFQDN says.
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
	for i, label := range labels {
		if label == "" && i == len(labels)-1 {
			return nil // "istio.io." is a name
		}
		if !isLabel(label) {
			return fmt.Errorf("domain name %q invalid (label %q invalid)", name, label)
		}
	}
	return nil
}

// checkWildcardDomain says what istiod's ValidateWildcardDomain says.
func checkWildcardDomain(name string) error {
	if err := checkLength(name); err != nil {
		return err
	}
	first, rest, dotted := strings.Cut(name, ".")
	if len(first) > 63 || !wildcardLabel.MatchString(first) {
		return fmt.Errorf("domain name %q invalid (label %q invalid)", name, first)
	}
	if dotted {
		return checkLabels(rest)
	}
	return nil
}

// checkServerHost says what istiod's ValidateNamespaceSlashWildcardHostname
// says of an entry of servers[].hosts.
func checkServerHost(entry string) []error {
	var errs []error
	namespace, name, slashed := strings.Cut(entry, "/")
	if !slashed {
		namespace, name = "*", entry
	}
	if namespace == "" || name == "" {
		errs = append(errs, errors.New("config namespace and dnsName in host entry cannot be empty"))
	}
	if namespace != "*" && namespace != "." && !isLabel(namespace) {
		errs = append(errs, fmt.Errorf("invalid namespace value %q in gateway", namespace))
	}
	if name != "*" && !strings.Contains(name, ".") {
		errs = append(errs, errors.New("short names (non FQDN) are not allowed"))
	}
	if err := checkWildcardDomain(name); err != nil && !hostname.IsIP(name) {
		errs = append(errs, err)
	}
	if strings.Contains(name, "*") && len(name) != 1 && !strings.HasPrefix(name, "*.") {
		errs = append(errs, fmt.Errorf("partial wildcard %q not allowed", name))
	}
	return errs
}

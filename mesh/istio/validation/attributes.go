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

// checkValues is istiod's CheckEmptyValues.
// istiod: pkg/config/security/security.go
func checkValues(field string, values []string) error {
	for _, v := range values {
		if v == "" {
			return fmt.Errorf("empty value not allowed, found in %s", field)
		}
	}
	return nil
}

// checkWildcards is istiod's CheckWildcardValues.
func checkWildcards(field string, values []string) error {
	if err := checkValues(field, values); err != nil {
		return err
	}
	for _, v := range values {
		switch n := strings.Count(v, "*"); {
		case n > 1:
			return fmt.Errorf("at most one wildcard is allowed, found in %s: %q", field, v)
		case n == 1 && !strings.HasPrefix(v, "*") && !strings.HasSuffix(v, "*"):
			return fmt.Errorf("wildcard is only allowed at the start or end, found in %s: %q", field, v)
		}
	}
	return nil
}

// checkDomains is istiod's CheckTrustDomainValues.
func checkDomains(field string, values []string) error {
	if err := checkWildcards(field, values); err != nil {
		return err
	}
	for _, v := range values {
		if strings.Contains(v, "/") {
			return fmt.Errorf("trust domain must not contain '/', found in %s: %q", field, v)
		}
	}
	return nil
}

// maxAccounts is how many service accounts istiod takes of one list, and
// maxAccount how many bytes of one.
const (
	maxAccounts = 16
	maxAccount  = 320
)

// checkAccounts is istiod's CheckServiceAccount: NAME, or NAMESPACE/NAME.
func checkAccounts(field string, values []string) error {
	if len(values) > maxAccounts {
		return errors.New("may not have more than 16 values")
	}
	for _, v := range values {
		namespace, name, qualified := strings.Cut(v, "/")
		switch {
		case v == "":
			return fmt.Errorf("empty value not allowed, found in %s", field)
		case strings.Contains(v, "*"):
			return fmt.Errorf("wildcard not allowed, found in %s", field)
		case strings.Count(v, "/") > 1:
			return fmt.Errorf("expected format 'serviceAccount' or 'namespace/serviceAccount', found %q in %s", v, field)
		case len(v) > maxAccount:
			return fmt.Errorf("value cannot exceed 320 characters, found %q in %s", v, field)
		case qualified && namespace == "":
			return fmt.Errorf("expected format 'serviceAccount' or 'namespace/serviceAccount', found empty namespace %q in %s", v, field)
		case qualified && name == "":
			return fmt.Errorf("expected format 'serviceAccount' or 'namespace/serviceAccount', found empty serviceAccount %q in %s", v, field)
		}
	}
	return nil
}

// checkBlocks is istiod's ValidateIPs.
func checkBlocks(field string, values []string) error {
	errs := []error{checkValues(field, values)}
	for _, v := range values {
		if strings.Contains(v, "/") {
			if _, err := netip.ParsePrefix(v); err != nil {
				errs = append(errs, fmt.Errorf("bad CIDR range (%s): %v", v, err))
			}
		} else if !hostname.IsIP(v) {
			errs = append(errs, fmt.Errorf("bad IP address (%s)", v))
		}
	}
	return errors.Join(errs...)
}

// checkPorts is istiod's ValidatePorts, which lets 0 through.
func checkPorts(_ string, values []string) error {
	for _, v := range values {
		if p, err := strconv.ParseUint(v, 10, 32); err != nil || p > 65535 {
			return fmt.Errorf("bad port (%s): %v", v, err)
		}
	}
	return nil
}

// pathSegment is what a template may hold between its operators.
// istiod: pkg/config/security/security.go validLiteral
var pathSegment = regexp.MustCompile("^[a-zA-Z0-9-._~%!$&'()+,;:@=]+$")

// checkPaths is istiod's CheckValidPathTemplate.
func checkPaths(field string, values []string) error {
	const one, any = "{*}", "{**}"
	if err := checkValues(field, values); err != nil {
		return err
	}
	for _, v := range values {
		template, ended := strings.Contains(v, one) || strings.Contains(v, any), false
		v = strings.Trim(v, "/")
		for _, segment := range strings.Split(v, "/") {
			operator := segment == one || segment == any
			switch {
			case operator && ended:
				return fmt.Errorf("invalid or unsupported path %s, found in %s. {**} is not the last operator", v, field)
			case operator:
				ended = segment == any
			case strings.ContainsAny(segment, "{}"):
				return fmt.Errorf("invalid or unsupported path %s, found in %s. Contains '{' or '}' beyond a supported path template", v, field)
			case template && !pathSegment.MatchString(segment):
				return fmt.Errorf("invalid or unsupported path %s, found in %s. Contains segment %s with invalid string literal", v, field, segment)
			}
		}
	}
	return nil
}

// checkAttribute is istiod's ValidateAttribute, of a condition's key and its
// values.
func checkAttribute(key string, values []string) error {
	if err := checkValues(key, values); err != nil {
		return err
	}
	switch key {
	case "source.ip", "remote.ip", "destination.ip":
		return checkBlocks(key, values)
	case "destination.port":
		return checkPorts(key, values)
	case "source.serviceAccount":
		return checkAccounts(key, values)
	case "source.trustDomain":
		return checkWildcards(key, values)
	case "source.namespace", "source.principal", "request.auth.principal", "request.auth.audiences", "request.auth.presenter", "connection.sni":
		return nil
	case "destination.namespace":
		return fmt.Errorf("attribute %s is replaced by the metadata.namespace", key)
	case "destination.name", "destination.user":
		return fmt.Errorf("deprecated attribute %s: only supported in v1alpha1", key)
	}
	switch {
	case strings.HasPrefix(key, "request.headers"), strings.HasPrefix(key, "request.auth.claims"), strings.HasPrefix(key, "experimental.envoy.filters."):
		if open := strings.Index(key, "["); !strings.HasSuffix(key, "]") || open < 1 || open >= len(key)-2 {
			return fmt.Errorf("bad key (%s): should have format a[b]", key)
		}
		return nil
	case strings.HasPrefix(key, "destination.labels"):
		return fmt.Errorf("attribute %s is replaced by the workload selector", key)
	}
	return fmt.Errorf("unknown attribute: %s", key)
}

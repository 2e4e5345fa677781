// Package validation says of Istio's objects what istiod's admission webhook
// says when they are applied, and where: what it refuses, in its words, and
// what it warns of. All that is wrong with an object is said at once; istiod
// stops at the first fault in a few places.
//
// What the schema of a CRD refuses package manifest has said already.
package validation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// Check says what the webhook says of an object. Those that are Refused keep
// it out of the cluster. Of kinds that are not Istio's it says nothing.
func Check(o *manifest.Object) []plan.Diagnostic {
	c := &check{o: o}
	switch spec := o.Value.(type) {
	case *networking.Gateway:
		c.code = CodeInvalidGateway
		c.gateway(spec)
	case *networking.VirtualService:
		c.code = CodeInvalidVirtual
		c.virtualService(spec)
	case *networking.DestinationRule:
		c.code = CodeInvalidDestinationRule
		c.destinationRule(spec)
	case *networking.ServiceEntry:
		c.code = CodeInvalidServiceEntry
		c.serviceEntry(spec)
	case *networking.WorkloadEntry:
		c.code = CodeInvalidWorkloadEntry
		c.workloadEntry("spec", spec, nil, true)
	case *networking.Sidecar:
		c.code = CodeInvalidSidecar
		c.sidecar(spec)
	case *security.PeerAuthentication:
		c.code = CodeInvalidPeerAuth
		c.peerAuthentication(spec)
	case *security.AuthorizationPolicy:
		c.code = CodeInvalidAuthorization
		c.authorizationPolicy(spec)
	default:
		return nil
	}
	c.metadata()
	return c.diagnostics
}

// check collects what is said of one object.
type check struct {
	o           *manifest.Object
	code        string // of what is refused
	diagnostics []plan.Diagnostic
}

func (c *check) report(path string, d plan.Diagnostic) {
	d.Source, d.Object, d.Field = c.o.At(path), c.o.String(), path
	c.diagnostics = append(c.diagnostics, d)
}

// refuse reports what the webhook does not take, with what to write instead.
func (c *check) refuse(path, message, hint string) {
	c.report(path, plan.Diagnostic{Code: c.code, Severity: plan.Error, Message: message, Hint: hint, Refused: true})
}

// no refuses where err says why, and tells whether it did.
func (c *check) no(path string, err error, hint string) bool {
	if err == nil {
		return false
	}
	c.refuse(path, err.Error(), hint)
	return true
}

func (c *check) warn(code, path, message, hint string) {
	c.report(path, plan.Diagnostic{Code: code, Severity: plan.Warning, Message: message, Hint: hint})
}

// repeated refuses the second of two that must differ, and points to the first.
func (c *check) repeated(path, message, first string) {
	c.report(path, plan.Diagnostic{
		Code: c.code, Severity: plan.Error, Message: message, Refused: true,
		Related: []plan.Related{{Source: c.o.At(first), Message: "the first one"}},
	})
}

// The annotations that the webhook looks at.
// istiod: pkg/config/constants/constants.go; istio/api: annotation/annotations.gen.go
const (
	dryRun          = "istio.io/dry-run"
	alwaysReject    = "internal.istio.io/webhook-always-reject"
	parentNames     = "internal.istio.io/parents"
	parentNamespace = "internal.istio.io/parent-namespace"
)

// metadata says what istiod says of every kind.
// istiod: pkg/config/validation/validation.go validateMetadata
func (c *check) metadata() {
	annotations := c.o.Meta.Annotations
	if value, found := annotations[dryRun]; found {
		c.dryRun(value)
	}
	if _, found := annotations[alwaysReject]; found {
		c.refuse(manifest.Annotation(alwaysReject), fmt.Sprintf("%q annotation found, rejecting", alwaysReject), "leave it away")
	}
	for _, name := range []string{parentNamespace, parentNames} {
		if _, found := annotations[name]; found {
			c.refuse(manifest.Annotation(name), fmt.Sprintf("%q annotation found, this may not be set by users", name), "leave it away")
		}
	}
}

// dryRun is istiod's checkDryRunAnnotation.
func (c *check) dryRun(value string) {
	path := manifest.Annotation(dryRun)
	policy, ok := c.o.Value.(*security.AuthorizationPolicy)
	if !ok {
		c.refuse(path, fmt.Sprintf("%s/%s has unsupported annotation %s, please remove the annotation", c.o.Namespace, c.o.Name, dryRun), "only an AuthorizationPolicy takes it")
		return
	}
	switch policy.GetAction() {
	case security.AuthorizationPolicy_ALLOW, security.AuthorizationPolicy_DENY:
		if _, err := strconv.ParseBool(value); err != nil {
			c.refuse(path, fmt.Sprintf("%s/%s has annotation %s with invalid value (%s): %v", c.o.Namespace, c.o.Name, dryRun, value, err), `"true" or "false"`)
		}
	default:
		c.refuse(path, fmt.Sprintf("the annotation %s currently only supports action ALLOW/DENY, found action %v in %s/%s", dryRun, policy.GetAction(), c.o.Namespace, c.o.Name), "leave it away")
	}
}

// at is the path of a list's element, entry that of a map's.
func at(path string, i int) string      { return fmt.Sprintf("%s[%d]", path, i) }
func entry(path string, key any) string { return fmt.Sprintf(`%s["%v"]`, path, key) }

// checkPort is istiod's ValidatePort.
func checkPort(port int64) error {
	if port < 1 || port > 65535 {
		return fmt.Errorf("port number %d must be in the range 1..65535", port)
	}
	return nil
}

func (c *check) port(path string, port uint32) {
	c.no(path, checkPort(int64(port)), "a number from 1 to 65535")
}

// exportTo is istiod's validateExportTo. Only a ServiceEntry may say "~".
func (c *check) exportTo(exported []string, mayHide, selected bool) {
	const path = "spec.exportTo"
	seen := make(map[string]int)
	for i, name := range exported {
		key := name
		if name == "." {
			key = c.o.Namespace
		}
		if first, taken := seen[key]; taken {
			message := "duplicate entries in exportTo for entry " + name
			if key != name {
				message = "duplicate entries in exportTo: . and current namespace " + c.o.Namespace
			}
			c.repeated(at(path, i), message, at(path, first))
			continue
		}
		if !(mayHide && name == "~") && c.no(at(path, i), checkVisibility(key), `".", "*", or a namespace`) {
			continue
		}
		seen[key] = i
	}
	_, own := seen[c.o.Namespace]
	switch {
	case !selected || len(seen) == 0:
	case !own:
		c.refuse(path, "destination rule with workload selector cannot have exportTo beyond current namespace", `exportTo: ["."]`)
	case len(seen) > 1:
		c.refuse(path, "destination rule with workload selector cannot have multiple entries in exportTo", `exportTo: ["."]`)
	}
	if _, public := seen["*"]; public && len(exported) > 1 {
		c.refuse(path, "cannot have both public (*) and non-public exportTo values for a resource", `"*" alone is for all namespaces`)
	}
	if _, hidden := seen["~"]; hidden && len(exported) > 1 {
		c.refuse(path, "cannot export service entry to no one (~) and someone", `"~" alone is for nobody`)
	}
}

// checkVisibility is istiod's. pkg/config/visibility/visibility.go
func checkVisibility(name string) error {
	switch {
	case name == "." || name == "*" || isLabel(name):
		return nil
	case name == "~":
		return errors.New("exportTo ~ (none) is not allowed for Istio configuration objects")
	}
	return errors.New("only .,*, or a valid DNS 1123 label is allowed as exportTo entry")
}

// sorted are the keys of a map, in an order that is the same each time.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

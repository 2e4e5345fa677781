package manifest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// checkMetadata does what the API server does to every object's metadata.
// k8s.io/apimachinery: pkg/api/validation/objectmeta.go
func checkMetadata(r *reporter, o *Object, info *kindInfo) {
	name := o.At("metadata.name")
	switch {
	case o.Name == "" && (info.unnamed || r.faulty("metadata.name")):
	case o.Name == "":
		hint := "metadata: {name: ...}"
		if o.Meta.GenerateName != "" {
			hint = "generateName works with kubectl create only"
		}
		r.fault(CodeName, o.KeyAt("metadata"), "metadata.name", "metadata.name is required", hint)
	default:
		rule := validation.IsDNS1123Subdomain
		switch info.name {
		case "Namespace", "Scenario":
			rule = validation.IsDNS1123Label
		case "Service":
			rule = validation.IsDNS1035Label
		}
		if m := messages(rule(o.Name)); m != "" {
			r.fault(CodeName, name, "metadata.name", fmt.Sprintf("invalid name %q: %s", shorten(o.Name), m), "")
		}
	}
	if o.Namespace != "" {
		if m := messages(validation.IsDNS1123Label(o.Namespace)); m != "" {
			r.fault(CodeName, o.At("metadata.namespace"), "metadata.namespace", fmt.Sprintf("invalid namespace %q: %s", shorten(o.Namespace), m), "")
		}
	}
	checkLabels(r, o, "metadata.labels", o.Meta.Labels)
	for _, key := range slices.Sorted(maps.Keys(o.Meta.Annotations)) {
		if m := messages(validation.IsQualifiedName(strings.ToLower(key))); m != "" {
			path := join("metadata.annotations", key)
			r.fault(CodeInvalid, o.KeyAt(path), path, fmt.Sprintf("invalid annotation key %q: %s", shorten(key), m), "")
		}
	}
}

func checkLabels(r *reporter, o *Object, path string, labels map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		at := join(path, key)
		if m := messages(validation.IsQualifiedName(key)); m != "" {
			r.fault(CodeInvalid, o.KeyAt(at), at, fmt.Sprintf("invalid label key %q: %s", shorten(key), m), "")
		}
		if m := messages(validation.IsValidLabelValue(labels[key])); m != "" {
			r.fault(CodeInvalid, o.At(at), at, fmt.Sprintf("invalid label value %q: %s", shorten(labels[key]), m), "")
		}
	}
}

// regexes are what package validation adds to its messages for programmers.
var regexes = regexp.MustCompile(`(, | \()regex used for validation is '.*?'\)`)

// messages joins what a function of package validation says.
func messages(said []string) string {
	return regexes.ReplaceAllStringFunc(strings.Join(said, "; "), func(m string) string {
		if m[0] == ',' {
			return ")"
		}
		return ""
	})
}

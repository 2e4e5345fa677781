package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// identity is what a document says that it is.
type identity struct{ apiVersion, group, version, kind, namespace, name string }

func (id identity) String() string {
	switch {
	case id.kind == "":
		return ""
	case id.name == "":
		return id.kind
	case id.namespace == "":
		return id.kind + " " + id.name
	default:
		return id.kind + " " + id.namespace + "/" + id.name
	}
}

// flatten gives the documents within a List, or the document itself.
// k8s.io/apimachinery: pkg/apis/meta/v1/unstructured/unstructured_list.go
func flatten(r *reporter, n *node, depth int) []*node {
	kind, items := n.str("kind"), n.get("items")
	element, isList := strings.CutSuffix(kind, "List")
	if !isList || items == nil && kind != "List" {
		return []*node{n}
	}
	if items == nil || items.kind == null {
		return nil
	}
	if items.kind != list {
		r.fault(CodeWrongType, r.source(items.at), "items", "items: expected a list, found "+items.describe(), "")
		return nil
	}
	var docs []*node
	for i, item := range items.items {
		if item.kind != object || depth > 4 {
			r.fault(CodeNotAnObject, r.source(item.at), fmt.Sprintf("items[%d]", i), fmt.Sprintf("items[%d]: expected an object, found %s", i, item.describe()), "")
			continue
		}
		if element != "" && item.get("kind") == nil {
			// The items of a typed list need not say what they are.
			typed := *item
			typed.fields = append([]field{
				{key: "apiVersion", at: item.at, value: &node{kind: text, text: n.str("apiVersion"), at: item.at}},
				{key: "kind", at: item.at, value: &node{kind: text, text: element, at: item.at}},
			}, slices.DeleteFunc(slices.Clone(item.fields), func(f field) bool { return f.key == "apiVersion" })...)
			item = &typed
		}
		docs = append(docs, flatten(r, item, depth+1)...)
	}
	return docs
}

// identify reads what a document is; false where it does not say.
func identify(r *reporter, n *node) (identity, bool) {
	if n.kind != object {
		r.fault(CodeNotAnObject, r.source(n.at), "", "expected an object with apiVersion, kind and metadata, found "+n.describe(), "several objects are written as documents, with a line --- between them")
		return identity{}, false
	}
	id := identity{kind: n.str("kind"), apiVersion: n.str("apiVersion")}
	if meta := n.get("metadata"); meta != nil {
		id.name, id.namespace = meta.str("name"), meta.str("namespace")
	}
	ok := true
	for _, key := range []string{"apiVersion", "kind"} {
		v := n.get(key)
		switch {
		case v == nil || v.kind == null || v.kind == text && v.text == "":
			r.fault(CodeNoKind, r.source(n.at), key, key+" is missing", "every manifest begins with apiVersion and kind; files of other programs (a chart's values.yaml) are left out")
			ok = false
		case v.kind != text:
			r.fault(CodeNoKind, r.source(v.at), key, key+": expected text, found "+v.describe(), "")
			ok = false
		}
	}
	r.object = id.String()
	if !ok {
		return id, false
	}
	parts := strings.Split(id.apiVersion, "/")
	switch {
	case len(parts) == 1:
		id.version = parts[0]
	case len(parts) == 2 && parts[0] != "" && parts[1] != "":
		id.group, id.version = parts[0], parts[1]
	default:
		// k8s.io/apimachinery: pkg/runtime/schema/group_version.go ParseGroupVersion
		r.fault(CodeNoKind, r.source(n.get("apiVersion").at), "apiVersion", fmt.Sprintf("unexpected GroupVersion string: %s", shorten(id.apiVersion)), "expected GROUP/VERSION, or v1")
		return id, false
	}
	return id, true
}

// lookup finds the kind; nil with false where the document is to be passed
// over, nil with true where it is refused.
func lookup(r *reporter, n *node, id identity) (info *kindInfo, refused bool) {
	at := r.source(n.get("kind").at)
	if id.group == "kustomize.config.k8s.io" {
		r.fault(CodeNoMatchForKind, at, "kind", fmt.Sprintf("no matches for kind %q in version %q: it is kustomize's, not the cluster's", id.kind, id.apiVersion), "kubectl kustomize . | hoplab up -")
		return nil, true
	}
	if id.kind == "Ingress" && id.version == "v1beta1" && (id.group == "extensions" || id.group == "networking.k8s.io") {
		r.warn(CodeOldIngress, r.source(n.get("apiVersion").at), "apiVersion",
			fmt.Sprintf("converted to networking.k8s.io/v1; a cluster since 1.22 refuses it: no matches for kind %q in version %q", id.kind, id.apiVersion),
			"apiVersion: networking.k8s.io/v1, with pathType and backend.service.{name, port.number}")
		return oldIngress, false
	}
	info, known := kinds[id.group][id.kind]
	switch {
	case known && (len(info.versions) == 0 || slices.Contains(info.versions, id.version)):
		if info.stance == unsupported {
			r.fault(CodeUnsupportedKind, at, "kind", fmt.Sprintf("%s of %s is not supported yet", id.kind, id.apiVersion), "leave the document out to go on without it")
			return nil, true
		}
		if info.stance == passedOver {
			return nil, false
		}
		return info, false
	case !known && !closedGroup(id.group):
		return nil, false
	}
	message := fmt.Sprintf("no matches for kind %q in version %q", shorten(id.kind), shorten(id.apiVersion))
	hint := ""
	switch {
	case known:
		at = r.source(n.get("apiVersion").at)
		hint = "expected one of: " + strings.Join(prefixed(id.group, info.versions), ", ")
	case len(sameKind(id.kind)) > 0:
		at = r.source(n.get("apiVersion").at)
		hint = "apiVersion: " + strings.Join(sameKind(id.kind), " or ")
	default:
		if near := nearest(id.kind, slices.Collect(maps.Keys(kinds[id.group]))); near != "" {
			hint = "did you mean " + near + "?"
		}
	}
	r.fault(CodeNoMatchForKind, at, "kind", message, hint)
	return nil, true
}

func prefixed(group string, versions []string) []string {
	all := make([]string, len(versions))
	for i, v := range versions {
		all[i] = apiVersion(group, v)
	}
	return all
}

// pass lists a document that changes nothing.
func pass(r *reporter, n *node, id identity) PassedOver {
	p := PassedOver{APIVersion: id.apiVersion, Kind: id.kind, Namespace: id.namespace, Name: id.name, Source: r.source(n.at)}
	if len(n.fields) > 0 {
		p.Source = r.source(n.fields[0].at)
	}
	return p
}

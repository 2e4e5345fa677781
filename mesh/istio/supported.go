package istio

import (
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"hoplab.dev/mesh/manifest"
)

// onlySupported refuses every field of a message that is set and not in the
// list, by its name. A field that a later version of Istio's API brings is
// refused until somebody adds it here: nothing is ignored in silence. hints
// say for some names what to do instead.
func (c *compiler) onlySupported(o *manifest.Object, path string, message protoreflect.ProtoMessage, supported []string, hints map[string]string) {
	reflected := message.ProtoReflect()
	if !reflected.IsValid() {
		return
	}
	reflected.Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		name := field.JSONName()
		if slices.Contains(supported, name) {
			return true
		}
		c.notSupported(o, path+"."+name, name, hints[name])
		return true
	})
}

package manifest

import (
	"math"
	"slices"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// protoShape is the shape that a cluster's schema gives a message, stricter
// than protojson: no snake_case names, no quoted numbers, no enum numbers.
func protoShape(m proto.Message) *shape {
	shapes.Lock()
	defer shapes.Unlock()
	return messageShape(m.ProtoReflect().Descriptor())
}

func messageShape(d protoreflect.MessageDescriptor) *shape {
	return shapeOf(d.FullName(), func(s *shape) {
		if !fillWellKnown(s, d) {
			fillMessage(s, d)
		}
	})
}

// fillWellKnown does the messages that have a JSON form of their own.
func fillWellKnown(s *shape, d protoreflect.MessageDescriptor) bool {
	switch d.FullName() {
	case "google.protobuf.Duration":
		s.kind = duration
	case "google.protobuf.Struct":
		s.kind, s.elem = dict, &shape{kind: free}
	case "google.protobuf.ListValue":
		s.kind, s.elem = sequence, &shape{kind: free}
	case "google.protobuf.Value", "google.protobuf.Any":
		s.kind = free
	case "google.protobuf.Timestamp":
		s.kind = words
	case "google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue",
		"google.protobuf.Int32Value", "google.protobuf.UInt32Value", "google.protobuf.Int64Value",
		"google.protobuf.UInt64Value", "google.protobuf.FloatValue", "google.protobuf.DoubleValue":
		*s = *singularShape(d.Fields().ByName("value"))
	default:
		return false
	}
	return true
}

// mirrorPercent is the one field of a kind that hoplab takes which the CRDs
// have under protobuf's own name too. istio/api: networking/v1alpha3/virtual_service.proto, +kubebuilder:altName
const mirrorPercent protoreflect.FullName = "istio.networking.v1alpha3.HTTPRoute.mirror_percent"

func fillMessage(s *shape, d protoreflect.MessageDescriptor) {
	s.kind, s.fields = record, map[string]*member{}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		m := &member{shape: fieldShape(f)}
		if bound := crdBounds[f.FullName()]; bound != nil {
			m.shape = m.shape.bounded(bound)
		}
		if string(f.Name()) != f.JSONName() {
			m.snake = string(f.Name())
		}
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
			m.oneof = string(o.Name())
		}
		s.fields[f.JSONName()] = m
		if f.FullName() == mirrorPercent {
			s.fields[string(f.Name())] = &member{shape: m.shape}
		}
		// Istio's CRDs are made with `required` from this annotation.
		// istio.io/api: kubernetes/customresourcedefinitions.gen.yaml
		behaviors, _ := proto.GetExtension(f.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
		if slices.Contains(behaviors, annotations.FieldBehavior_REQUIRED) {
			s.required = append(s.required, f.JSONName())
		}
	}
}

func fieldShape(f protoreflect.FieldDescriptor) *shape {
	switch {
	case f.IsMap():
		return &shape{kind: dict, elem: singularShape(f.MapValue())}
	case f.IsList():
		return &shape{kind: sequence, elem: singularShape(f)}
	default:
		return singularShape(f)
	}
}

func singularShape(f protoreflect.FieldDescriptor) *shape {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return messageShape(f.Message())
	case protoreflect.EnumKind:
		return enumShape(f.Enum())
	case protoreflect.StringKind:
		return &shape{kind: words}
	case protoreflect.BytesKind:
		return &shape{kind: base64s}
	case protoreflect.BoolKind:
		return &shape{kind: truth}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return &shape{kind: numbers}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return &shape{kind: integers, min: math.MinInt32, max: math.MaxInt32}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return &shape{kind: integers, max: math.MaxUint32}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return &shape{kind: integers, max: math.MaxUint64}
	default:
		return &shape{kind: integers, min: math.MinInt64, max: math.MaxInt64}
	}
}

func enumShape(e protoreflect.EnumDescriptor) *shape {
	return shapeOf(e.FullName(), func(s *shape) {
		if e.FullName() == "google.protobuf.NullValue" {
			s.kind = free
			return
		}
		s.kind = choice
		for i := range e.Values().Len() {
			s.options = append(s.options, string(e.Values().Get(i).Name()))
		}
	})
}

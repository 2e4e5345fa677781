package manifest

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// decode makes the Object of a document whose kind is known; nil where
// nothing of use is left.
func decode(c *checker, n *node, id identity, info *kindInfo) *Object {
	r := c.r
	c.soft = info.soft
	if !c.value(n, info.shape(), "") {
		return nil
	}
	o := &Object{APIVersion: id.apiVersion, Kind: id.kind, Source: r.source(n.at), fields: c.fields}
	if len(n.fields) > 0 {
		o.Source = r.source(n.fields[0].at)
	}
	part := span{to: len(c.out)}
	if info.spec {
		part = c.spans["spec"]
		if part.to == 0 {
			c.out = append(c.out, emptyJSON...)
			part = span{len(c.out) - len(emptyJSON), len(c.out), 0}
		}
	}
	var err error
	if o.Value, err = info.decode(c.out[part.from:part.to]); err != nil {
		c.residue(err, part)
		return nil
	}
	if meta, ok := c.spans["metadata"]; ok {
		if err := unmarshalGo(c.out[meta.from:meta.to], &o.Meta); err != nil {
			c.residue(err, meta)
			return nil
		}
	}
	o.Name = o.Meta.Name
	if !info.clusterWide {
		o.Namespace = o.Meta.Namespace
		if o.Namespace == "" {
			o.Namespace = metav1.NamespaceDefault
		}
	}
	o.Meta.Namespace = o.Namespace
	if v, ok := o.Value.(metav1.Object); ok {
		v.SetNamespace(o.Namespace)
	}
	checkMetadata(r, o, info)
	if info.finish != nil {
		info.finish(o, r)
	}
	return o
}

var decoderLine = regexp.MustCompile(`line (\d+)`)

// residue reports what a decoder still refuses after the checker let it pass.
// protojson varies its words on purpose; only the line number counts.
func (c *checker) residue(err error, part span) {
	line := 1
	if m := decoderLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ = strconv.Atoi(m[1])
	} else if offset, ok := errorOffset(err); ok {
		line = bytes.Count(c.out[part.from:min(part.from+offset, part.to)], []byte("\n")) + 1
	}
	at := c.lines[min(part.line+max(line, 1)-1, len(c.lines)-1)]
	c.r.fault(CodeImpossibleValue, c.r.source(at), "", "cannot be decoded: "+strings.ReplaceAll(err.Error(), "\u00a0", " "), "")
}

func errorOffset(err error) (int, bool) {
	if e, ok := err.(*json.UnmarshalTypeError); ok {
		return int(e.Offset), true
	}
	return 0, false
}

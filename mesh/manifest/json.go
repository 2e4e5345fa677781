package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// errTooDeep ends the reading of JSON that is nested beyond maxDepth.
var errTooDeep = errors.New("nested too deep")

// jsonReader reads a stream of JSON values with their places.
type jsonReader struct {
	r      *reporter
	data   []byte
	dec    *json.Decoder
	offset int // up to where line and column are known
	pos    pos
}

// readJSON gives the values of data, whose first line has before lines above
// it. On an error the values before it are given too.
func readJSON(r *reporter, data []byte, before int) (values []*node, at pos, err error) {
	j := &jsonReader{r: r, data: data, dec: json.NewDecoder(bytes.NewReader(data)), pos: pos{before + 1, 1}}
	j.dec.UseNumber()
	for {
		v, err := j.value(0)
		if err == io.EOF {
			return values, pos{}, nil
		}
		if err != nil {
			offset := int(j.dec.InputOffset())
			if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
				offset = max(int(syntax.Offset)-1, offset)
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				offset = len(data)
			}
			return values, j.place(offset), err
		}
		values = append(values, v)
	}
}

// token is the next one and where it begins.
func (j *jsonReader) token() (json.Token, pos, error) {
	from := int(j.dec.InputOffset())
	t, err := j.dec.Token()
	if err != nil {
		return nil, pos{}, err
	}
	for from < len(j.data) && strings.IndexByte(" \t\r\n,:", j.data[from]) >= 0 {
		from++
	}
	return t, j.place(from), nil
}

// place turns an offset into line and column; offsets only grow.
func (j *jsonReader) place(offset int) pos {
	for offset = min(offset, len(j.data)); j.offset < offset; {
		c, size := utf8.DecodeRune(j.data[j.offset:])
		j.offset += size
		if c == '\n' {
			j.pos = pos{j.pos.line + 1, 1}
		} else {
			j.pos.col++
		}
	}
	return j.pos
}

func (j *jsonReader) value(depth int) (*node, error) {
	t, at, err := j.token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errTooDeep
	}
	v, err := j.from(t, at, depth)
	if err == io.EOF { // within a value
		err = io.ErrUnexpectedEOF
	}
	return v, err
}

func (j *jsonReader) from(t json.Token, at pos, depth int) (*node, error) {
	switch t := t.(type) {
	case nil:
		return &node{kind: null, at: at}, nil
	case bool:
		s := fmt.Sprint(t)
		return &node{kind: boolean, text: s, raw: s, at: at}, nil
	case json.Number:
		k := integer
		if strings.ContainsAny(t.String(), ".eE") {
			k = float
			if i, ok := strings.CutSuffix(t.String(), ".0"); ok {
				return &node{kind: integer, text: i, raw: t.String(), at: at}, nil
			}
		}
		return &node{kind: k, text: t.String(), raw: t.String(), at: at}, nil
	case string:
		return &node{kind: text, text: t, at: at}, nil
	}
	if t == json.Delim('[') {
		v := &node{kind: list, at: at}
		for j.dec.More() {
			item, err := j.value(depth + 1)
			if err != nil {
				return nil, err
			}
			v.items = append(v.items, item)
		}
		_, err := j.dec.Token()
		return v, err
	}
	b := newObjectBuilder(j.r, 0)
	for j.dec.More() {
		k, kat, err := j.token()
		if err != nil {
			return nil, err
		}
		value, err := j.value(depth + 1)
		if err != nil {
			return nil, err
		}
		b.set(field{key: k.(string), at: kat, value: value}) // the decoder lets no other key pass
	}
	_, err := j.dec.Token()
	return &node{kind: object, at: at, fields: b.fields}, err
}

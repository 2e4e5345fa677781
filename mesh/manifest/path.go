package manifest

import "strings"

// join is the path of a field: dotted where the key is a plain word, else
// with the key in brackets and quotes, `metadata.annotations["a.b/c"]`.
func join(path, key string) string {
	switch {
	case !plainKey(key):
		return path + `["` + key + `"]`
	case path == "":
		return key
	default:
		return path + "." + key
	}
}

// plainKey tells whether a key needs no quotes in a path.
func plainKey(key string) bool {
	for i := range len(key) {
		switch c := key[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '-'):
		default:
			return false
		}
	}
	return key != ""
}

// canonical gives the spelling of join: `a["b"].c` is a.b.c.
func canonical(path string) string {
	if !strings.Contains(path, `["`) {
		return path
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(path, `["`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		key, after, ok := strings.Cut(rest, `"]`)
		if !ok {
			b.WriteString(`["` + rest)
			return b.String()
		}
		if plainKey(key) {
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(key)
		} else {
			b.WriteString(`["` + key + `"]`)
		}
		path = after
	}
}

// parentPath drops the last step: "a.b[2]" -> "a.b" -> "a" -> "".
func parentPath(path string) string {
	if strings.HasSuffix(path, `"]`) {
		if i := strings.LastIndex(path, `["`); i >= 0 {
			return path[:i]
		}
	}
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

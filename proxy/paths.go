package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The values of EnvoyOptions.PathNormalization that differ from BASE.
const (
	normalizeNone                  = "NONE"
	normalizeMergeSlashes          = "MERGE_SLASHES"
	normalizeDecodeAndMergeSlashes = "DECODE_AND_MERGE_SLASHES"
)

var errNoPath = errors.New("the path cannot be normalised")

// normalPath normalises a request target as MeshConfig.pathNormalization says.
// The fragment is dropped, the query stays as it is. With an error Envoy
// answers 400.
// istiod: pilot/pkg/networking/core/listener_builder.go
// Envoy: source/common/http/conn_manager_utility.cc maybeNormalizePath
func normalPath(target, normalization string) (string, error) {
	if i := strings.IndexByte(target, '#'); i >= 0 {
		target = target[:i]
	}
	path, query := cutQuery(target)
	if normalization == normalizeNone {
		return target, nil
	}
	if normalization == normalizeDecodeAndMergeSlashes {
		path = escapedSlashes.Replace(path)
	}
	path, err := canonicalPath(withoutDotParameters(path))
	if err != nil {
		return target, err
	}
	if normalization == normalizeMergeSlashes || normalization == normalizeDecodeAndMergeSlashes {
		path = mergeSlashes(path)
	}
	return path + query, nil
}

// PathUtil::unescapeSlashes; canonicalPath makes slashes of the backslashes.
var escapedSlashes = strings.NewReplacer("%2F", "/", "%2f", "/", "%5C", `\`, "%5c", `\`)

// withoutDotParameters makes "..;x=y" a dot segment.
// Envoy: source/common/http/path_utility.cc stripParametersFromDotSegments
func withoutDotParameters(path string) string {
	if !strings.Contains(path, ".;") {
		return path
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		switch {
		case strings.HasPrefix(s, "..;"):
			segments[i] = ".."
		case strings.HasPrefix(s, ".;"):
			segments[i] = "."
		}
	}
	return strings.Join(segments, "/")
}

// mergeSlashes is PathUtil::mergeSlashes.
func mergeSlashes(path string) string {
	if !strings.Contains(path, "//") {
		return path
	}
	merged := "/" + strings.Join(slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" }), "/")
	if strings.HasSuffix(path, "/") {
		merged += "/"
	}
	return merged
}

// canonicalPath resolves dot segments, makes slashes of backslashes, unescapes
// what needs no escape and escapes what does; slashes are not merged. It is
// Chromium's, which Envoy uses.
// Envoy: source/common/http/path_utility.cc; Chromium: url/url_canon_path.cc DoPartialPath
func canonicalPath(path string) (string, error) {
	if isCanonical(path) {
		return path, nil
	}
	out := make([]byte, 0, len(path)+1)
	if path == "" || path[0] != '/' && path[0] != '\\' {
		out = append(out, '/')
	}
	invalid := -1 // where in out a percent sign stands that begins no escape
	for i := 0; i < len(path); {
		if n := dot(path[i:]); n > 0 {
			rest, up, special := afterDot(path[i+n:])
			if special && len(out) > 0 && out[len(out)-1] == '/' {
				if up {
					out = out[:parent(out)]
				}
				i = len(path) - len(rest)
				continue
			}
			out = append(out, '.')
			i += n
			continue
		}
		c := path[i]
		i++
		switch {
		case c == 0:
			return "", errNoPath
		case c == '\\':
			out = append(out, '/')
		case c == '%' && i+1 < len(path) && unhex(path[i]) >= 0 && unhex(path[i+1]) >= 0:
			value := byte(unhex(path[i])<<4 | unhex(path[i+1]))
			switch {
			case value == 0:
				return "", errNoPath
			case isUnreserved(value):
				out = append(out, value)
				if invalid >= 0 && len(out)-invalid <= 3 {
					out = unnest(out, invalid, path[i+2:])
				}
			default:
				out = append(out, path[i-1:i+2]...)
			}
			i += 2
		case c == '%':
			invalid = len(out)
			out = append(out, c)
		case needsEscape(c):
			out = fmt.Appendf(out, "%%%02X", c)
		default:
			out = append(out, c)
		}
	}
	return string(out), nil
}

// unnest keeps an unescaped character from making an escape of a percent sign
// that was none: "%%30" followed by "0" is not NUL.
// Chromium: url/url_canon_path.cc CheckForNestedEscapes
func unnest(out []byte, percent int, next string) []byte {
	behind := string(out[percent+1:])
	if digits := behind + next; len(digits) >= 2 && unhex(digits[0]) >= 0 && unhex(digits[1]) >= 0 {
		return append(append(out[:percent], "%25"...), behind...)
	}
	return out
}

// isCanonical is true of most paths, which need no work.
func isCanonical(path string) bool {
	if path == "" || path[0] != '/' || strings.Contains(path, "/.") {
		return false
	}
	for i := range len(path) {
		if c := path[i]; c == '%' || c == '\\' || needsEscape(c) {
			return false
		}
	}
	return true
}

// dot is the length of a dot at the beginning, escaped or not; 0: none.
func dot(s string) int {
	switch {
	case strings.HasPrefix(s, "."):
		return 1
	case len(s) >= 3 && s[0] == '%' && s[1] == '2' && (s[2] == 'e' || s[2] == 'E'):
		return 3
	}
	return 0
}

// afterDot tells, by what follows a dot at the beginning of a segment, whether
// the segment is "." or "..", and what is left behind it and its slash.
func afterDot(s string) (rest string, up, special bool) {
	if rest, end := segmentEnd(s); end {
		return rest, false, true
	}
	if n := dot(s); n > 0 {
		if rest, end := segmentEnd(s[n:]); end {
			return rest, true, true
		}
	}
	return s, false, false
}

func segmentEnd(s string) (rest string, end bool) {
	switch {
	case s == "":
		return s, true
	case s[0] == '/' || s[0] == '\\':
		return s[1:], true
	}
	return s, false
}

// parent is the length of a path without its last segment; both end in a slash.
func parent(path []byte) int {
	i := len(path) - 1
	for i > 0 {
		if i--; path[i] == '/' {
			break
		}
	}
	return i + 1
}

func isUnreserved(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("-._~", c) >= 0
}

func needsEscape(c byte) bool {
	return c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>?^`{|}", c) >= 0
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

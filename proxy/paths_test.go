package proxy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"hoplab.dev/plan"
)

// The tables of istio.io/istio tests/integration/security/normalization_test.go.
func TestPathNormalization(t *testing.T) {
	type paths map[string]string
	for normalization, table := range map[string]paths{
		"NONE": {
			"/": "/", "/app#foo": "/app", "/app/": "/app/", "/app/../admin": "/app/../admin", "/app//": "/app//", "/app/%2f": "/app/%2f",
			"/xyz%30..//abc": "/xyz%30..//abc", "/app/%2E./admin": "/app/%2E./admin", `/app\admin`: `/app\admin`, `/app/\/\/\admin`: `/app/\/\/\admin`,
			`/%2Fapp%5cadmin%5Cabc`: `/%2Fapp%5cadmin%5Cabc`, `/app//../../admin`: `/app//../../admin`,
		},
		"": {
			"/": "/", "/app#foo": "/app", "/app/": "/app/", "/app/../admin": "/admin", "/app//": "/app//", "/app/%2f": "/app/%2f", "/app%2f/": "/app%2f/",
			"/xyz%30..//abc": "/xyz0..//abc", "/app/%2E./admin": "/admin", `/app\admin`: "/app/admin", `/app/\/\/\admin`: "/app//////admin",
			`/%2Fapp%5cadmin%5Cabc`: `/%2Fapp%5cadmin%5Cabc`, `/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\abc`: `/%5Capp%2f%5c%2F..%2fadmin%5c/abc`,
			"/app//../admin": "/app/admin", "/app//../../admin": "/admin",
			// of Chromium's canonicalisation
			"/..": "/", "/a/..": "/", "/a/.": "/a/", "//": "//", "/a?x=/../y": "/a?x=/../y", "*": "/*", "": "/", "?q": "/?q", "/.hidden": "/.hidden", "/a.": "/a.",
			`/a<b>"|`: "/a%3Cb%3E%22%7C", "/é": "/%C3%A9", "/%zz%4": "/%zz%4", "/a/%2e%2E/b": "/b", "/...": "/...", `\a`: "/a", "/%%300": "/%2500", "/%3%30": "/%2530", "/%a%62": "/%25ab", "/%x%30": "/%x0",
		},
		"MERGE_SLASHES": {
			"/app//": "/app/", "/xyz%30..//abc": "/xyz0../abc", `/app/\/\/\admin`: "/app/admin", "/app/%2f": "/app/%2f", "/app//../admin": "/app/admin",
			"/app//../../admin": "/admin", `/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\abc`: `/%5Capp%2f%5c%2F..%2fadmin%5c/abc`, "//a//b?c//d": "/a/b?c//d",
		},
		"DECODE_AND_MERGE_SLASHES": {
			"/app//": "/app/", "/app/%2f": "/app/", "/app%2f/": "/app/", `/%2Fapp%5cadmin%5Cabc`: "/app/admin/abc",
			`/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\abc`: "/app/admin/abc", `/%c0%2e%c0%2e/admin`: `/%c0.%c0./admin`, `/%c0%2fadmin`: `/%c0/admin`,
			`/0x2e0x2e/admin`: `/0x2e0x2e/admin`, `/%25c0%25ae`: `/%25c0%25ae`, `/%252e%252e%252fadmin`: `/%252e%252e%252fadmin`, `/%c1%9cadmin`: `/%c1%9cadmin`,
			"/.../admin": "/.../admin", "/..;/admin": "/admin", "/;/admin": "/;/admin", "/admin;a=b/xyz": "/admin;a=b/xyz", "/ADMIN": "/ADMIN", "/admin%5c": "/admin/",
			"/a/.;x/b": "/a/b",
		},
	} {
		for in, want := range table {
			got, err := normalPath(in, normalization)
			assert.NoError(t, err, in)
			assert.Equal(t, want, got, "%s %s", normalization, in)
		}
	}
	for i := 1; i <= 0xff; i++ {
		in, c := fmt.Sprintf("/admin%%%.2x", i), byte(i)
		want := in
		if isUnreserved(c) || c == '/' || c == '\\' {
			want = "/admin" + strings.Replace(string(rune(c)), `\`, "/", 1)
		}
		got, err := normalPath(in, normalizeDecodeAndMergeSlashes)
		assert.NoError(t, err, in)
		assert.Equal(t, want, got, in)
	}
}

func TestPathThatCannotBeNormalised(t *testing.T) {
	for normalization, status := range map[string]int{"BASE": 400, "NONE": 200} {
		l, w := acting(t, plan.Route{}, &plan.EnvoyOptions{PathNormalization: normalization})
		res, body := w.get("/admin%00")
		assert.Equal(t, status, res.StatusCode)
		if status == 400 {
			assert.Empty(t, body)
			assert.Equal(t, "path_normalization_failed", envoyFields(t, l.request("gateway/ns/gw", 1).Log)["response_code_details"])
		}
	}
}

func FuzzCanonicalPath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", `/%2e./\x%zz`, "*", "/%00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got, err := canonicalPath(path)
		if err != nil {
			return
		}
		assert.True(t, strings.HasPrefix(got, "/"))
		assert.NotContains(t, got, `\`)
		assert.NotContains(t, got+"/", "/../")
		again, err := canonicalPath(got)
		assert.NoError(t, err)
		assert.Equal(t, got, again)
	})
}

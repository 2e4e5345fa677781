package aws

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every code is documented, given once and used.
func TestCodes(t *testing.T) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "codes.go", nil, 0)
	require.NoError(t, err)
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	var source strings.Builder
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".go") && !strings.HasSuffix(e.Name(), "_test.go") && e.Name() != "codes.go" {
			data, err := os.ReadFile(e.Name())
			require.NoError(t, err)
			source.Write(data)
		}
	}
	seen := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		name := spec.Names[0].Name
		code, err := strconv.Unquote(literal.Value)
		require.NoError(t, err)
		assert.Regexp(t, `^HOP2\d{3}$`, code)
		assert.Empty(t, seen[code], "%s is given twice", code)
		seen[code] = name
		assert.NotEmpty(t, Codes[code].Title, name)
		assert.NotEmpty(t, Codes[code].Explanation, name)
		assert.Contains(t, source.String(), name, "%s is never used", name)
		return true
	})
	assert.NotEmpty(t, seen)
	assert.Len(t, Codes, len(seen))
}

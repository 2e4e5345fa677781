package runs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// CurlHome is the folder of the run's .curlrc.
func (r *Run) CurlHome() string { return r.File("curl") }

// CA is the file of the root that clients of the edge trust.
func (r *Run) CA() string { return r.File("ca.pem") }

// WriteCurl writes the .curlrc with which plain curl goes to the published
// ports (cluster port -> host:port on loopback), whatever the URL's host is.
// Ports 80 and 443 are always there: an absent one leads to refused, where
// nothing listens. The addresses of nodes (host:port) lead to themselves, so
// that a node can still be asked behind the edge.
func (r *Run) WriteCurl(published map[int]string, refused string, nodes []string) error {
	ports := map[int]string{80: refused, 443: refused}
	for port, addr := range published {
		ports[port] = addr
	}
	var b strings.Builder
	// curl's own escapes, not Go's (curl: src/tool_parsecfg.c, unslashquote)
	ca := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(r.CA())
	fmt.Fprintf(&b, "cacert = \"%s\"\n", ca)
	for _, addr := range nodes { // the first line that fits counts
		fmt.Fprintf(&b, "connect-to = \"%s:%s\"\n", addr, addr)
	}
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		fmt.Fprintf(&b, "connect-to = \":%d:%s\"\n", port, ports[port])
	}
	if err := os.MkdirAll(r.CurlHome(), 0o700); err != nil {
		return err
	}
	for _, name := range []string{".curlrc", "_curlrc"} { // the second is Windows'
		path := filepath.Join(r.CurlHome(), name) // a curl may be reading it
		if err := os.WriteFile(path+".new", []byte(b.String()), 0o600); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

package apps

import (
	"bufio"
	"context"
	"fmt"
)

// maxEchoedLine bounds a line without an end, in bytes.
const maxEchoedLine = 64 << 10

// newTCPEcho answers each line with the line behind a word: that of the
// container's second arg, else "hello" (istio: samples/tcp-echo/src/main.go,
// whose first arg are the ports).
func newTCPEcho(s *Server) stream {
	prefix := "hello"
	if args := s.node.App.Args; len(args) > 1 {
		prefix = args[1]
	}
	return func(_ context.Context, c *conn) {
		r := bufio.NewReaderSize(c, maxEchoedLine)
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if _, err := fmt.Fprintf(c, "%s %s", prefix, line); err != nil {
				return
			}
		}
	}
}

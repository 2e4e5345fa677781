package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// get ADDRESS URL [CA]
//
// Sends a GET to an address, as plain curl does that trusts a CA file: it
// verifies the name, and takes h2 where that is offered. Prints protocol,
// status and body, or why there is none: reset, refused, or the error.
func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("get prints its errors")
	}
	fmt.Fprint(ts.Stdout(), answer(ts, args))
}

func answer(ts *testscript.TestScript, args []string) string {
	client := judge(ts, args)
	defer client.CloseIdleConnections()
	res, err := client.Get(args[1])
	if err != nil {
		return inWords(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return inWords(err)
	}
	return fmt.Sprintf("%s %s\n%s\n", res.Proto, res.Status, body)
}

// drip ADDRESS URL [CA]
//
// Sends a GET as get does, and reads no more than the beginning of the body:
// the request is under way to the end of the script.
func cmdDrip(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: drip ADDRESS URL [CA]")
	}
	client := judge(ts, args)
	client.Timeout = 0
	res, err := client.Get(args[1])
	ts.Check(err)
	ts.Defer(func() { _ = res.Body.Close(); client.CloseIdleConnections() })
	_, err = io.ReadFull(res.Body, make([]byte, 1))
	ts.Check(err)
}

// judge is a client that goes to an address, whatever the URL's host is.
func judge(ts *testscript.TestScript, args []string) *http.Client {
	if len(args) < 2 {
		ts.Fatalf("usage: get ADDRESS URL [CA]")
	}
	roots := x509.NewCertPool()
	if len(args) > 2 && !roots.AppendCertsFromPEM([]byte(ts.ReadFile(args[2]))) {
		ts.Fatalf("%s holds no certificate", args[2])
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, args[0])
		},
	}
	return &http.Client{Transport: transport, Timeout: patient, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

func inWords(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		return "reset\n"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused\n"
	}
	return "error: " + err.Error() + "\n"
}

// plain ADDRESS [SNI]
//
// Sends plaintext HTTP, or with SNI a ClientHello of that name ("" for none),
// and prints what comes: a status, the subject of a certificate, or reset and
// how many bytes came before it.
func cmdPlain(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: plain ADDRESS [SNI]")
	}
	c, err := net.DialTimeout("tcp", args[0], patient)
	ts.Check(err)
	defer c.Close()
	ts.Check(c.SetDeadline(time.Now().Add(patient)))
	if len(args) > 1 {
		counted := &counted{Conn: c}
		t := tls.Client(counted, &tls.Config{ServerName: args[1], InsecureSkipVerify: true})
		if err := t.Handshake(); err != nil {
			fmt.Fprintf(ts.Stdout(), "%s%d bytes\n", inWords(err), counted.read)
			return
		}
		fmt.Fprintln(ts.Stdout(), t.ConnectionState().PeerCertificates[0].Subject)
		return
	}
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: netbox.netbox\r\nConnection: close\r\n\r\n")
	ts.Check(err)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		fmt.Fprint(ts.Stdout(), inWords(err))
		return
	}
	fmt.Fprintln(ts.Stdout(), res.Status)
}

type counted struct {
	net.Conn
	read int
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read += n
	return n, err
}

// refused ADDRESS
//
// Nobody listens there.
func cmdRefused(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] refused ADDRESS")
	}
	c, err := net.DialTimeout("tcp", args[0], patient)
	if err == nil {
		_ = c.Close()
	}
	if neg == (err != nil) {
		ts.Fatalf("dial %s: %v", args[0], err)
	}
}

// hold VARIABLE
//
// Listens on a free port, whose number is put into the variable, to the end of
// the script or to release.
func cmdHold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hold VARIABLE")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	*ts.Value(heldKey{}).(*net.Listener) = l
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	ts.Setenv("holder_pid", strconv.Itoa(os.Getpid()))
}

// release
//
// Gives the port of the last hold free.
func cmdRelease(ts *testscript.TestScript, neg bool, args []string) {
	held := *ts.Value(heldKey{}).(*net.Listener)
	if neg || len(args) > 0 || held == nil {
		ts.Fatalf("usage: release, after hold")
	}
	ts.Check(held.Close())
}

type heldKey struct{}

// json FILE PATH REGEXP, or json FILE PATH -> VARIABLE
//
// Looks into the first JSON value of a file (stdout is the last command's) by a
// path such as hops.0.lock; hops.len is a length. An object or a list is compared
// as compact JSON, what is absent as nothing.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: [!] json FILE PATH REGEXP | json FILE PATH -> VARIABLE")
	}
	var v any
	if err := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0]))).Decode(&v); err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
	text := lookup(v, strings.Split(args[1], "."))
	if args[2] == "->" {
		ts.Setenv(args[3], text)
		return
	}
	if regexp.MustCompile(`(?s)^(?:`+args[2]+`)$`).MatchString(text) == neg {
		ts.Fatalf("%s is %q", args[1], text)
	}
}

func lookup(v any, path []string) string {
	for _, name := range path {
		if name == "" {
			continue
		}
		switch of := v.(type) {
		case map[string]any:
			v = of[name]
		case []any:
			if name == "len" {
				v = float64(len(of))
				continue
			}
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(of) {
				return ""
			}
			v = of[i]
		default:
			return ""
		}
	}
	switch of := v.(type) {
	case nil:
		return ""
	case string:
		return of
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// edit FILE OLD NEW
//
// Changes a file in place.
func cmdEdit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit FILE OLD NEW")
	}
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY|os.O_TRUNC, 0)
	ts.Check(err)
	_, err = f.WriteString(strings.ReplaceAll(text, args[1], args[2]))
	ts.Check(errors.Join(err, f.Close()))
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	urlpkg "net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"hoplab.dev/passport"
	"hoplab.dev/testbed/control"
)

type traceOptions struct {
	scenario, from, via, method, cert, key, tlsMax, output, id string
	headers                                                    []string
	data, sni, caCert                                          string
	alpn                                                       []string
	fresh, fail, follow, insecure                              bool
	last                                                       int
	flags                                                      *pflag.FlagSet
}

func traceCommand() *command {
	o := &traceOptions{}
	f := newFlags("trace")
	o.flags = f
	f.StringVarP(&o.scenario, "scenario", "s", "", "SCENARIO to ask: a running one, else it is started for this request")
	f.StringVar(&o.from, "from", "client", "who asks: client, or a pod as NAMESPACE/POD")
	f.StringVar(&o.via, "via", "", "ask this NODE's address instead of where DNS leads")
	f.BoolVar(&o.fresh, "fresh", false, "let no node reuse an upstream connection (always so when the scenario is started for this)")
	f.StringVarP(&o.method, "request", "X", "", "method (default GET, with -d POST)")
	f.StringArrayVarP(&o.headers, "header", "H", nil, "header `NAME: VALUE`; may be given again")
	f.StringVarP(&o.data, "data", "d", "", "body; @FILE reads a file, @- standard input")
	f.StringVar(&o.cert, "cert", "", "client certificate chain, a PEM `FILE`")
	f.StringVar(&o.key, "key", "", "its key, a PEM `FILE`")
	f.BoolVarP(&o.insecure, "insecure", "k", false, "take whatever certificate the server presents")
	f.StringVar(&o.caCert, "cacert", "", "trust the authorities of this PEM `FILE` instead of ACM's")
	f.StringVar(&o.sni, "sni", "", "server `NAME` to send instead of the URL's host; '' sends none")
	f.StringSliceVar(&o.alpn, "alpn", nil, "ALPN protocols to offer, a `LIST` such as istio-http/1.1,istio; '' offers none")
	f.StringVar(&o.tlsMax, "tls-max", "", "highest TLS `VERSION` to offer: 1.0, 1.1, 1.2, 1.3")
	f.BoolVarP(&o.fail, "fail", "f", false, "exit 1 for a status of 400 and above, and for a hop that ended")
	f.IntVar(&o.last, "last", 0, "show the passports of the last N requests that others sent")
	f.Lookup("last").NoOptDefVal = "1"
	f.StringVar(&o.id, "id", "", "show one passport by its ID")
	f.BoolVar(&o.follow, "follow", false, "show each passport as it is finished")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	return &command{
		name: "trace", args: "[flags] URL", short: "send one request and show its passport, hop by hop", maxArgs: 1, flags: f,
		long: `
Without -s the only running scenario is asked; where none is up, tinfoil is started for this one request.

  hoplab trace https://netbox.cluster.tinfoil.private/
  hoplab trace -s sni-trap https://netbox.cluster.tinfoil.private/
  hoplab trace --from netbox/netbox-0 http://minio:9000/
                               as the app in that pod would, through its sidecar
  hoplab trace --via gateway/istio-system/istio-ingressgateway --sni x https://netbox.cluster.tinfoil.private/
  hoplab trace --from netbox/netbox-0 -d 'PING\r\n' tcp://redis:6379
                               raw bytes (tls:// for the same over TLS), and what comes back
  hoplab trace --last          the passport of the request that your curl just sent`,
		run: o.run,
	}
}

func (o *traceOptions) run(ctx context.Context, c *cli, args []string) error {
	if err := oneOf("trace", "output form", o.output, "text", "json"); err != nil {
		return err
	}
	if looking := o.looking(); len(looking) > 0 {
		if err := o.checkLook(looking, args); err != nil {
			return err
		}
		client, done, _, err := c.reach(ctx, o.scenario, false)
		if err != nil {
			return err
		}
		defer done()
		return o.look(ctx, c, client)
	}
	if len(args) == 0 {
		return usage("hoplab trace https://netbox.cluster.tinfoil.private/", "trace: no URL")
	}
	if u, err := urlpkg.Parse(args[0]); err != nil || u.Host == "" {
		return usage("https://HOST/PATH", "%q is no absolute URL", args[0])
	}
	if o.scenario == "-" && o.data == "@-" {
		return usage("put one of the two into a file", "trace: -s - and -d @- both read standard input")
	}
	r, err := o.request(c, args[0])
	if err != nil {
		return err
	}
	client, done, inProcess, err := c.reach(ctx, o.scenario, true)
	if err != nil {
		return err
	}
	defer done()
	r.Fresh = o.fresh || inProcess
	res, err := client.Trace(ctx, r)
	if err != nil {
		return ofAPI(err)
	}
	if err := o.show(c, res.Passport); err != nil || o.output != "text" || !isRaw(args[0]) {
		return err
	}
	if len(res.Body) > 0 {
		fmt.Fprintln(c.stdout)
		_, err = c.stdout.Write(res.Body)
	}
	return err
}

// isRaw tells of a URL whose answer has no form of its own: it is printed.
func isRaw(url string) bool {
	return strings.HasPrefix(url, "tcp://") || strings.HasPrefix(url, "tls://")
}

// looking lists the flags given that show what others sent.
func (o *traceOptions) looking() []string {
	var given []string
	for _, name := range []string{"last", "id", "follow"} {
		if o.flags.Changed(name) {
			given = append(given, "--"+name)
		}
	}
	return given
}

// checkLook refuses what has no meaning for requests that others sent.
func (o *traceOptions) checkLook(looking, args []string) error {
	if len(looking) > 1 {
		return usage("give one of them", "trace: %s together", strings.Join(looking, " and "))
	}
	for _, name := range []string{"from", "via", "fresh", "request", "header", "data", "cert", "key", "tls-max", "insecure", "cacert", "sni", "alpn"} {
		if o.flags.Changed(name) {
			return usage("leave out one of the two", "trace: %s shows what others sent, and --%s is for a request of its own", looking[0], name)
		}
	}
	if o.follow && o.fail {
		return usage("leave out one of the two", "trace: --follow has no end that --fail could be about")
	}
	if o.flags.Changed("last") && len(args) == 1 && !strings.Contains(args[0], "://") {
		// `--last 5`: pflag leaves the number of an optional value behind.
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return usage("--last=5", "trace: --last %q is no number", args[0])
		}
		o.last, args = n, nil
	}
	if len(args) > 0 {
		return usage("leave out the URL, or "+looking[0], "trace: %s shows requests that others sent, not %s", looking[0], args[0])
	}
	if o.flags.Changed("last") && o.last < 1 {
		return usage("--last=5", "trace: --last %d: want a number from 1", o.last)
	}
	return nil
}

func (o *traceOptions) request(c *cli, url string) (control.TraceRequest, error) {
	r := control.TraceRequest{URL: url, Method: o.method, From: o.from, Via: o.via, TLSMax: o.tlsMax, Insecure: o.insecure}
	if o.flags.Changed("sni") {
		r.SNI = &o.sni
	}
	if o.flags.Changed("alpn") {
		r.ALPN = append([]string{}, o.alpn...)
	}
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return r, usage(`-H "NAME: VALUE"`, "trace: header %q", h)
		}
		r.Headers = append(r.Headers, [2]string{strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	if o.flags.Changed("data") {
		file, isFile := strings.CutPrefix(o.data, "@")
		var err error
		switch {
		case !isFile:
			r.Body = []byte(o.data)
		case file == "-":
			r.Body, err = io.ReadAll(c.stdin)
		default:
			r.Body, err = os.ReadFile(file)
		}
		if err != nil {
			return r, &exitError{exitUsage, err, ""}
		}
		if r.Method == "" && !isRaw(url) {
			r.Method = http.MethodPost // an empty body too
		}
	}
	if (o.cert == "") != (o.key == "") {
		return r, usage("give both --cert and --key", "trace: a client certificate needs its key")
	}
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{o.cert, &r.CertPEM}, {o.key, &r.KeyPEM}, {o.caCert, &r.CAPEM}} {
		if f.name == "" {
			continue
		}
		data, err := os.ReadFile(f.name)
		if err != nil {
			return r, &exitError{exitUsage, err, ""}
		}
		*f.to = data
	}
	return r, nil
}

// look shows passports of requests that others sent.
func (o *traceOptions) look(ctx context.Context, c *cli, client *control.Client) error {
	switch {
	case o.follow:
		err := client.FollowPassports(ctx, func(p passport.Passport) error { return o.show(c, p) })
		if ctx.Err() != nil {
			return nil
		}
		return err
	case o.flags.Changed("id"):
		p, err := client.Passport(ctx, o.id)
		var unknown *control.Error
		switch {
		case errors.As(err, &unknown) && unknown.Status == http.StatusNotFound:
			return failed("", err)
		case err != nil:
			return err
		}
		return o.show(c, p)
	}
	ps, err := client.Passports(ctx, o.last)
	if err != nil {
		return err
	}
	if len(ps) == 0 {
		return failed(`send one: eval "$(hoplab env)"; curl https://...`, errors.New("no request was finished yet"))
	}
	for i, p := range ps {
		if i > 0 && o.output == "text" {
			fmt.Fprintln(c.stdout)
		}
		// The last one says what --fail is about.
		if err = o.show(c, p); err != nil && !errors.As(err, new(*exitError)) {
			return err
		}
	}
	return err
}

// show prints a passport. Only with --fail is what it says an error.
func (o *traceOptions) show(c *cli, p passport.Passport) error {
	var err error
	switch {
	case o.output == "text":
		err = passport.Draw(c.stdout, p, passport.Options{Color: c.colour(c.stdout), Now: time.Now()})
	case o.follow:
		err = writeLine(c.stdout, p)
	default:
		err = writeJSON(c.stdout, p)
	}
	if err == nil && o.fail && p.Failed() {
		return &exitError{exitFound, nil, ""}
	}
	return err
}

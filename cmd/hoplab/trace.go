package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"hoplab.dev/passport"
	"hoplab.dev/testbed/control"
)

type traceOptions struct {
	scenario, from, via, method, cert, key, tlsMax, output, id string
	headers                                                    []string
	data                                                       string
	fresh, fail, follow                                        bool
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
  hoplab trace --last          the passport of the request that your curl just sent`,
		run: o.run,
	}
}

func (o *traceOptions) run(ctx context.Context, c *cli, args []string) error {
	if o.output != "text" && o.output != "json" {
		return usage("text or json", "trace: no output form %q", o.output)
	}
	looking := o.flags.Changed("last") || o.id != "" || o.follow
	switch {
	case looking && len(args) == 1 && o.flags.Changed("last") && !strings.Contains(args[0], "://"):
		// `--last 5`: pflag leaves the number of an optional value behind.
		if _, err := fmt.Sscanf(args[0], "%d", &o.last); err != nil || o.last < 1 {
			return usage("--last=5", "trace: --last %q is no number", args[0])
		}
	case looking && len(args) > 0:
		return usage("leave out the URL, or --last, --id and --follow", "trace: %s shows requests that others sent", args[0])
	case !looking && len(args) == 0:
		return usage("hoplab trace https://netbox.cluster.tinfoil.private/", "trace: no URL")
	}
	client, done, inProcess, err := c.reach(ctx, o.scenario, !looking)
	if err != nil {
		return err
	}
	defer done()
	if looking {
		return o.look(ctx, c, client)
	}
	r, err := o.request(c, args[0])
	if err != nil {
		return err
	}
	r.Fresh = o.fresh || inProcess
	res, err := client.Trace(ctx, r)
	if err != nil {
		var refused *control.Error
		if errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
			return &exitError{exitUsage, err, ""}
		}
		return err
	}
	if err := o.show(c, res.Passport); err != nil {
		return err
	}
	if o.fail && (res.Status >= 400 || res.Passport.Verdict.Ended != nil) {
		return &exitError{exitFound, nil, ""}
	}
	return nil
}

func (o *traceOptions) request(c *cli, url string) (control.TraceRequest, error) {
	r := control.TraceRequest{URL: url, Method: o.method, From: o.from, Via: o.via, TLSMax: o.tlsMax}
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
		if r.Body == nil {
			r.Body = []byte{}
		}
	}
	if (o.cert == "") != (o.key == "") {
		return r, usage("give both --cert and --key", "trace: a client certificate needs its key")
	}
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{o.cert, &r.CertPEM}, {o.key, &r.KeyPEM}} {
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
	case o.id != "":
		p, err := client.Passport(ctx, o.id)
		if err != nil {
			return failed("hoplab trace --last=10 shows the IDs", err)
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
	for _, p := range ps {
		if err := o.show(c, p); err != nil {
			return err
		}
	}
	return nil
}

func (o *traceOptions) show(c *cli, p passport.Passport) error {
	if o.output == "json" {
		e := json.NewEncoder(c.stdout)
		e.SetEscapeHTML(false)
		if !o.follow {
			e.SetIndent("", "  ")
		}
		return e.Encode(p)
	}
	return passport.Draw(c.stdout, p, passport.Options{Color: c.colour(c.stdout), Now: time.Now()})
}

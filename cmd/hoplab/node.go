package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"hoplab.dev/plan"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
	"hoplab.dev/testbed/podnet"
	"hoplab.dev/testbed/runs"
)

// nodeKinds are the words after `hoplab node` that are nodes of a plan.
var nodeKinds = []string{string(plan.Edge), string(plan.Gateway), string(plan.Sidecar), string(plan.AppKind), string(plan.Client)}

// The words after `hoplab node` besides: control, and what a pod has beside its
// nodes.
const (
	nodeControl = "control"
	nodePause   = "pause"
	nodeInit    = "init"
	nodeReady   = "ready"
)

type nodeOptions struct {
	name, control, credentials string
	admin                      string
	podNetwork                 bool
	endWithStdin               bool

	listen, seed string // of control alone
	up           upOptions

	flags *pflag.FlagSet
}

// flagsOf are those that a word after `hoplab node` has.
func flagsOf(word string) []string {
	switch word {
	case nodeControl:
		return []string{"credentials", "listen", "seed", "run-name", "publish", "output", "otlp", "pod-network", "end-with-stdin"}
	case nodePause, nodeInit:
		return nil
	case nodeReady:
		return []string{"admin"}
	}
	return []string{"name", "control", "credentials", "pod-network", "admin", "end-with-stdin"}
}

// runControl is `hoplab up` whose nodes are started by somebody else.
func (o *nodeOptions) runControl(ctx context.Context, c *cli, args []string) error {
	if o.credentials == "" {
		return usage("hoplab help node", "node control: --credentials is missing")
	}
	if err := oneOf("node control", "output form", o.up.output, "text", "json"); err != nil {
		return err
	}
	publish, err := o.up.publications()
	if err != nil {
		return err
	}
	if err := o.up.checkTraces(); err != nil {
		return err
	}
	if o.podNetwork {
		if len(o.up.publish) > 0 {
			return usage("the container engine publishes ports", "node control: --publish and --pod-network")
		}
		publish = nil
	}
	if o.seed != "" {
		state, _, err := c.state()
		if err != nil {
			return err
		}
		if err := state.Seed(o.seed); err != nil {
			return usage("a folder with keys/*.pem and certificates/*.pem", "node control: %v", err)
		}
	}
	l, err := net.Listen("tcp4", o.listen)
	if err != nil {
		return usage("--listen HOST:PORT of this machine that is free", "node control: %v", err)
	}
	o.up.fleet = func(*runs.Run) (*testbed.Fleet, func(), error) {
		return &testbed.Fleet{Listener: l, Credentials: o.credentials, Everybody: true, Pods: o.podNetwork}, func() {}, nil
	}
	return o.up.claim(ctx, c, argument(args), publish)
}

func nodeCommand() *command {
	o := &nodeOptions{}
	f := newFlags("node")
	o.flags = f
	f.StringVar(&o.name, "name", "", "the node, as the plan names it: alb/NAMESPACE/INGRESS, sidecar/NAMESPACE/POD ...")
	f.StringVar(&o.control, "control", "", "where control is, `HOST:PORT` (default: $"+envControl+")")
	f.StringVar(&o.credentials, "credentials", "", "`DIR` with the node's token and control's CA (default: $"+envCredentials+"); of control: where it puts those of all nodes")
	f.StringVar(&o.listen, "listen", "127.0.0.1:15012", "of control: where nodes call it, `HOST:PORT`")
	f.StringVar(&o.seed, "seed", "", "of control: `DIR` with keys and certificates that its state begins with")
	f.StringVar(&o.up.name, "run-name", "", "of control: name of the run (default: the scenario's)")
	f.StringArrayVar(&o.up.publish, "publish", nil, "of control: as of hoplab up")
	f.StringVarP(&o.up.output, "output", "o", "text", "of control: text or json")
	f.StringVar(&o.up.otlp, "otlp", "", "of control: "+otlpUsage)
	f.BoolVar(&o.podNetwork, "pod-network", false, "each pod has a network of its own, as containers have: ports are bound as they are")
	f.StringVar(&o.admin, "admin", "", "where the node tells of itself, `HOST:PORT` on loopback: GET /ready, /config_dump, /stats/prometheus; POST /quitquitquit")
	f.BoolVar(&o.endWithStdin, "end-with-stdin", false, "end when standard input does")
	return &command{
		name: "node", args: "control [flags] [SCENARIO] | edge|gateway|sidecar|app|client|ready [flags] | pause|init", short: "be one node of a scenario, in a process of its own", maxArgs: 2, flags: f,
		long: `
Control has the scenario, the certificates and the passports; each other node asks it what to do, by the token that it
finds in its folder of --credentials, and goes on with that when control is away. hoplab up --processes starts them all.
Of a pod of containers pause holds the network, init has the kernel bring all to the sidecar as istio-init does, and
ready asks a node's --admin whether it has a plan.

  hoplab node control --credentials /tmp/nodes tinfoil
  hoplab node gateway --name gateway/istio-system/istio-ingressgateway --control 127.0.0.1:15012 \
      --credentials /tmp/nodes/gateway/istio-system/istio-ingressgateway`,
		run: o.run,
	}
}

func (o *nodeOptions) run(ctx context.Context, c *cli, args []string) error {
	words := append([]string{nodeControl, nodePause, nodeInit, nodeReady}, nodeKinds...)
	if len(args) == 0 {
		return usage("hoplab node "+strings.Join(words, "|"), "node: which kind?")
	}
	kind := args[0]
	if err := oneOf("node", "kind", kind, words...); err != nil {
		return err
	}
	var strange error
	o.flags.Visit(func(f *pflag.Flag) {
		if !slices.Contains(flagsOf(kind), f.Name) {
			strange = usage("hoplab help node", "node %s: it has no --%s", kind, f.Name)
		}
	})
	if strange != nil {
		return strange
	}
	if kind != nodeControl && len(args) > 1 {
		return usage("hoplab help node", "node %s: unexpected argument %q", kind, args[1])
	}
	if o.endWithStdin {
		var end context.CancelFunc
		ctx, end = context.WithCancel(ctx)
		go func() { _, _ = io.Copy(io.Discard, c.stdin); end() }()
	}
	switch kind {
	case nodeControl:
		return o.runControl(ctx, c, args[1:])
	case nodePause:
		<-ctx.Done()
		return nil
	case nodeInit:
		if err := podnet.Redirect(); err != nil {
			return failed("run it as root with NET_ADMIN, in the network of the pod", err)
		}
		return nil
	case nodeReady:
		return o.askReady(ctx)
	}
	if kind == string(plan.Client) && o.name == "" {
		o.name = control.ClientNode
	}
	o.control = cmp.Or(o.control, c.getenv(envControl))
	o.credentials = cmp.Or(o.credentials, c.getenv(envCredentials))
	for _, missing := range []struct{ flag, value string }{{"--name", o.name}, {"--control", o.control}, {"--credentials", o.credentials}} {
		if missing.value == "" {
			return usage("hoplab help node", "node %s: %s is missing", kind, missing.flag)
		}
	}
	credentials, err := o.wait(ctx, c)
	if err != nil {
		return err
	}
	keyLog, err := c.keyLog()
	if err != nil {
		return err
	}
	profiled, err := o.profile(c)
	if err != nil {
		return err
	}
	defer profiled()
	if c.getenv("GOGC") == "" {
		debug.SetGCPercent(nodeGCPercent)
	}
	drain := testbed.DrainTimeout
	if o.endWithStdin {
		drain = closeTimeout // as in one process: all is over within a second of a Ctrl-C
	}
	return testbed.RunNode(ctx, testbed.NodeOptions{
		Name: o.name, Kind: plan.Kind(kind), Control: o.control, Credentials: credentials,
		Pod: o.podNetwork, Admin: o.admin, KeyLog: keyLog, Drain: drain,
		Say: func(format string, args ...any) { c.say(o.name+": "+format, args...) },
	})
}

// nodeGCPercent is GOGC of a node that is a process of its own, unless the
// environment has one. Of a few MB that live it collects at five times as much:
// some MB more save a twentieth of the CPU of handshakes.
const nodeGCPercent = 400

// envProfiles is a folder in which each node writes a CPU profile of its whole
// life, for go tool pprof.
const envProfiles = "HOPLAB_CPU_PROFILES"

// profile begins the node's profile, where one is asked for. The function that
// it returns ends it.
func (o *nodeOptions) profile(c *cli) (end func(), err error) {
	dir := c.getenv(envProfiles)
	if dir == "" {
		return func() {}, nil
	}
	f, err := os.Create(filepath.Join(dir, strings.ReplaceAll(o.name, "/", "-")+".pprof"))
	if err != nil {
		return nil, usage(envProfiles+": a folder", "%v", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); _ = f.Close() }, nil
}

// wait reads the node's credentials, which control may not have written yet.
func (o *nodeOptions) wait(ctx context.Context, c *cli) (control.Credentials, error) {
	for said := false; ; said = true {
		credentials, err := control.ReadCredentials(o.credentials)
		if !errors.Is(err, fs.ErrNotExist) {
			return credentials, err
		}
		if !said {
			c.say("%s: waiting for control to write %s", o.name, o.credentials)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return credentials, ctx.Err()
		}
	}
}

// readyTimeout is how long a node may take to tell whether it is ready.
const readyTimeout = 2 * time.Second

// askReady is for health checks: it fails unless the node is ready.
func (o *nodeOptions) askReady(ctx context.Context) error {
	if o.admin == "" {
		return usage("hoplab help node", "node ready: --admin is missing")
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.admin+"/ready", nil)
	if err != nil {
		return usage("--admin HOST:PORT", "node ready: %v", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return failed("is the node running?", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return failed("its log tells what it waits for", errors.New("not ready: "+res.Status))
	}
	return nil
}

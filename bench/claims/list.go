package main

import "hoplab.dev/bench"

const (
	gatewayScenario = "bench/claims/scenarios/gateway"
	sidecarScenario = "bench/claims/scenarios/sidecar"
)

// measuring is what all runs have in common: nothing that no claim asks for.
func measuring(scenario, url string, more ...string) []string {
	args := []string{scenario, "--repetitions", "5", "--duration", "250ms", "--overhead=false", "--baseline=false"}
	if url != "" {
		args = append(args, "--url", url)
	}
	return append(args, more...)
}

// termination asks one gateway, which terminates TLS or does not.
func termination(host string) []string {
	return measuring(gatewayScenario, host, "--key", "P-256", "--handshake", "full", "--ablation=false")
}

func edge(more ...string) []string {
	return measuring(gatewayScenario, "https://edge.example.com/", append([]string{"--connections", "new"}, more...)...)
}

// runs are hoplab bench's arguments, by the names that figures call them by.
var runs = map[string][]string{
	"none":        termination("http://none.example.com/"),
	"passthrough": termination("https://passthrough.example.com/"),
	"edge":        termination("https://edge.example.com/"),
	"reencrypt":   termination("https://reencrypt.example.com/"),
	"relay":       termination("http://relay.example.com:9000/"),
	"keys":        edge("--key", "RSA-2048,P-256", "--tls", "1.2,1.3"),
	"auth":        edge("--key", "RSA-2048,P-256", "--tls", "1.3", "--auth", "server,mutual", "--handshake", "full", "--ablation=false"),
	"groups":      edge("--key", "P-256", "--tls", "1.3", "--group", "X25519,X25519MLKEM768", "--ablation=false"),
	"chain":       measuring("tinfoil", "", "--chain", "0,1,2,4,6,8,10", "--connections", "new", "--handshake", "full", "--ablation=false"),
	"lockstep":    measuring(gatewayScenario, "http://none.example.com/", "--connections", "reuse", "--ablation=false", "--concurrency", "8"),
	"jitter":      measuring(gatewayScenario, "http://none.example.com/", "--connections", "reuse", "--ablation=false", "--concurrency", "8", "--jitter", "20ms"),
	"http":        measuring(sidecarScenario, "http://http/", "--connections", "reuse", "--ablation=false"),
	"tcp":         measuring(sidecarScenario, "http://tcp:9000/", "--connections", "reuse", "--ablation=false"),
}

// peersRun is the run beside other programs.
var peersRun = []string{"tinfoil", "--peer", "nginx,haproxy,caddy", "--ablation=false", "--baseline=false", "--overhead=false"}

const (
	gateway = "gateway/"
	client  = "client"

	newNone  = "connections new, key P-256"
	keptNone = "connections reuse, key P-256"
	newTLS   = "full handshakes, connections new, key P-256"
	keptTLS  = keptNone
)

// over is the ratio of two figures.
func over(a, b func(reports) float64) func(reports) float64 {
	return func(r reports) float64 { return a(r) / b(r) }
}

// more is the difference of two figures.
func more(a, b func(reports) float64) func(reports) float64 {
	return func(r reports) float64 { return a(r) - b(r) }
}

func nodes(run, cell string) func(reports) float64 {
	return func(r reports) float64 { return r.nodes(run, cell) }
}

func latency(run, cell string) func(reports) float64 {
	return func(r reports) float64 { return r.latency(run, cell) }
}

func cpu(run, cell, node string) func(reports) float64 {
	return func(r reports) float64 { return r.cpu(run, cell, node) }
}

// served is the gateway's CPU for one handshake.
func served(handshake, tls, key string) func(reports) float64 {
	return func(r reports) float64 {
		return r.handshake("keys", handshake+" handshakes, connections new, TLS "+tls+", key "+key, gateway)
	}
}

// mutual is by how much more CPU a node needs where the client has a certificate.
func mutual(key, node string) func(reports) float64 {
	cell := func(auth string) func(reports) float64 {
		return cpu("auth", "full handshakes, connections new, TLS 1.3, key "+key+", auth "+auth, node)
	}
	return more(cell("mutual"), cell("server"))
}

func grouped(handshake, group string) string {
	return handshake + " handshakes, connections new, TLS 1.3, key P-256, group " + group
}

// postQuantum is by how much more X25519MLKEM768 takes than X25519.
func postQuantum(handshake string, what func(cell string) func(reports) float64) func(reports) float64 {
	return more(what(grouped(handshake, "X25519MLKEM768")), what(grouped(handshake, "X25519")))
}

func groupCPU(node string) func(cell string) func(reports) float64 {
	return func(cell string) func(reports) float64 { return cpu("groups", cell, node) }
}

func groupBytes(cell string) func(reports) float64 {
	return func(r reports) float64 { return r.bytes("groups", cell) }
}

func p90(run, cell string) func(reports) float64 {
	return func(r reports) float64 { return r.cell(run, cell).Latency.P90 }
}

func fit(of func(*bench.Fit) float64) func(reports) float64 {
	return func(r reports) float64 {
		if len(r["chain"].Fits) != 1 {
			panic(missingCell("run chain has no line"))
		}
		return of(&r["chain"].Fits[0])
	}
}

// claims are those of others.
var claims = []Claim{
	{
		Name:   "termination",
		Says:   "With a new connection for each request, a proxy does most without TLS, then with TLS that it passes through, then with TLS that it terminates, and least where it encrypts anew.",
		Source: "OpenShift's documentation of its HAProxy router (4 vCPU, 100 routes, 1 kB): 8,273, 5,344, 4,069 and 2,941 requests/s",
		How:    "one gateway, a client and an app; the gateway's CPU per request, which is what a saturated router has no more of. Clients speak HTTP/2 where ALPN offers it: not to none, and to the app behind passthrough",
		Runs:   []string{"none", "passthrough", "edge", "reencrypt"},
		Figures: []Figure{
			{Name: "gateway's CPU, passthrough to none (theirs: 1.55)", Of: over(nodes("passthrough", newTLS), nodes("none", newNone)), Must: above(1)},
			{Name: "gateway's CPU, edge to passthrough (theirs: 1.31)", Of: over(nodes("edge", newTLS), nodes("passthrough", newTLS)), Must: above(1)},
			{Name: "gateway's CPU, re-encrypt to edge (theirs: 1.38)", Of: over(nodes("reencrypt", newTLS), nodes("edge", newTLS)), Must: above(1)},
			{Name: "median latency, passthrough to none", Of: over(latency("passthrough", newTLS), latency("none", newNone))},
			{Name: "median latency, edge to passthrough", Of: over(latency("edge", newTLS), latency("passthrough", newTLS))},
			{Name: "median latency, re-encrypt to edge", Of: over(latency("reencrypt", newTLS), latency("edge", newTLS))},
		},
	},
	{
		Name:   "keep-alive",
		Says:   "On kept connections passing TLS through is cheapest, since no HTTP is read; no TLS is cheaper than TLS that the proxy terminates.",
		Source: "OpenShift's documentation (53,295, 29,622 and 22,913 requests/s), openshift/router 832, haproxy 1914. Of edge and re-encrypt they say different things",
		How:    "as above, with kept connections",
		Runs:   []string{"none", "passthrough", "edge", "reencrypt"},
		Figures: []Figure{
			{Name: "gateway's CPU, none to passthrough (theirs: 1.8)", Of: over(nodes("none", keptNone), nodes("passthrough", keptTLS)), Must: above(1)},
			{Name: "gateway's CPU, edge to none (theirs: 1.3)", Of: over(nodes("edge", keptTLS), nodes("none", keptNone)), Must: above(1)},
			{Name: "gateway's CPU, re-encrypt to edge", Of: over(nodes("reencrypt", keptTLS), nodes("edge", keptTLS))},
		},
	},
	{
		Name:   "resumption",
		Says:   "A server resumes at least five times as many sessions of TLS 1.2 as it begins, with RSA-2048, and two to six times as many of TLS 1.3, which exchanges keys again.",
		Source: "rustls-bench-results 2023-12 (OpenSSL 3.2: 10.9 and 9.5 on 1.2, 2.5 on 1.3; rustls: 24.6 and 5.4); jbp.io 2019",
		How:    "the gateway's CPU of a full handshake over that of a resumed one, each as the difference to the same way in plaintext: with the system calls of the handshake",
		Runs:   []string{"keys"},
		Figures: []Figure{
			{Name: "TLS 1.2, RSA-2048", Of: over(served("full", "1.2", "RSA-2048"), served("resumed", "1.2", "RSA-2048")), Must: above(5)},
			{Name: "TLS 1.3, RSA-2048", Of: over(served("full", "1.3", "RSA-2048"), served("resumed", "1.3", "RSA-2048")), Must: between(2, 6)},
			{Name: "TLS 1.2, P-256", Of: over(served("full", "1.2", "P-256"), served("resumed", "1.2", "P-256"))},
			{Name: "TLS 1.3, P-256", Of: over(served("full", "1.3", "P-256"), served("resumed", "1.3", "P-256"))},
		},
	},
	{
		Name:   "keys",
		Says:   "A full handshake with RSA-2048 costs a server three to seven times what one with P-256 does.",
		Source: "F5 2016 (more than 2,000 P-256 handshakes/s per core beside 350 with RSA in 2014, about six times); openssl speed",
		How:    "the gateway's CPU, as above",
		Runs:   []string{"keys"},
		Figures: []Figure{
			{Name: "TLS 1.2", Of: over(served("full", "1.2", "RSA-2048"), served("full", "1.2", "P-256")), Must: between(3, 7)},
			{Name: "TLS 1.3", Of: over(served("full", "1.3", "RSA-2048"), served("full", "1.3", "P-256")), Must: between(3, 7)},
		},
	},
	{
		Name:   "mutual",
		Says:   "Of mutual TLS the client pays most where keys are RSA, as it signs, and the server where they are P-256, as it checks.",
		Source: "rustls 19 (RSA: server -15 %, client -68 % handshakes/s), rustls 2468 (P-256: server -58 %, client -12 %)",
		How:    "by how much more CPU client and gateway need for a full handshake of TLS 1.3 where the client has a certificate",
		Runs:   []string{"auth"},
		Figures: []Figure{
			{Name: "RSA-2048, client less gateway", Of: more(mutual("RSA-2048", client), mutual("RSA-2048", gateway)), Must: above(0), Unit: "µs"},
			{Name: "P-256, gateway less client", Of: more(mutual("P-256", gateway), mutual("P-256", client)), Must: above(0), Unit: "µs"},
			{Name: "RSA-2048, client", Of: mutual("RSA-2048", client), Unit: "µs"},
			{Name: "RSA-2048, gateway", Of: mutual("RSA-2048", gateway), Unit: "µs"},
			{Name: "P-256, client", Of: mutual("P-256", client), Unit: "µs"},
			{Name: "P-256, gateway", Of: mutual("P-256", gateway), Unit: "µs"},
		},
	},
	{
		Name:   "linear",
		Says:   "What a request costs is linear in the number of its TLS hops.",
		Source: "the OpenShift figures of one and of two sessions; MeshInsight (SoCC '23) predicts a call graph from its components",
		How:    "chains of 0, 1, 2, 4, 6, 8 and 10 gateways with P-256 and new connections, and a line through",
		Runs:   []string{"chain"},
		Figures: []Figure{
			{Name: "R² of the latency", Of: fit(func(f *bench.Fit) float64 { return f.Micros.R2 }), Must: above(0.99)},
			{Name: "R² of the CPU", Of: fit(func(f *bench.Fit) float64 { return f.CPU.R2 }), Must: above(0.99)},
			{Name: "latency of a further hop", Of: fit(func(f *bench.Fit) float64 { return f.Micros.Slope }), Unit: "µs"},
			{Name: "CPU of a further hop", Of: fit(func(f *bench.Fit) float64 { return f.CPU.Slope }), Unit: "µs"},
		},
	},
	{
		Name:   "lockstep",
		Says:   "A closed loop whose clients do not jitter overstates the tail: they wait for each other.",
		Source: "Istio 1.7's performance page: 2.76 ms added at p90 without jitter, 1.72 ms with it (1.6)",
		How:    "eight clients with kept connections, with and without a pause of up to 20 ms at random before each request",
		Runs:   []string{"lockstep", "jitter"},
		Figures: []Figure{
			{Name: "p90, without jitter to with it", Of: over(p90("lockstep", "connections reuse, closed loop, 8 at a time"), p90("jitter", "connections reuse, closed loop, 8 at a time, jitter 20ms")), Must: above(1)},
		},
	},
	{
		Name:   "parsing",
		Says:   "A hop that reads HTTP costs more than one that passes bytes on, with the same TLS.",
		Source: "MeshInsight (SoCC '23): protocol parsing dominates HTTP proxies; arXiv 2411.02267: HTTP parsing and not cryptography is what mTLS meshes cost",
		How:    "the same gateway as an HTTP and as a TCP server, no TLS, kept connections",
		Runs:   []string{"none", "relay"},
		Figures: []Figure{
			{Name: "gateway's CPU, HTTP to TCP", Of: over(nodes("none", keptNone), nodes("relay", keptNone)), Must: above(1)},
			{Name: "median latency, HTTP to TCP", Of: over(latency("none", keptNone), latency("relay", keptNone)), Must: above(1)},
		},
	},
	{
		Name:   "layer 4",
		Says:   "A pair of proxies that speaks mTLS and passes bytes on, as ztunnels do, is cheaper than a pair of sidecars that reads HTTP.",
		Source: "Istio 1.24's performance page (sidecar 0.20 vCPU, ztunnel 0.06); arXiv 2411.02267 (p99 +166 % with sidecars, +8 % ambient)",
		How:    "two sidecars with STRICT mTLS and kept connections, before a port that is named tcp and one that is named http; no ztunnel, no HBONE",
		Runs:   []string{"http", "tcp"},
		Figures: []Figure{
			{Name: "the sidecars' CPU, http to tcp", Of: over(nodes("http", "connections reuse"), nodes("tcp", "connections reuse")), Must: above(1)},
			{Name: "median latency, http to tcp", Of: over(latency("http", "connections reuse"), latency("tcp", "connections reuse")), Must: above(1)},
		},
	},
	{
		Name:   "post-quantum",
		Says:   "X25519MLKEM768 adds about 2.3 kB to a handshake and tens of microseconds to each side; a resumption of TLS 1.3 exchanges keys, and pays it again.",
		Source: "the sizes of draft-ietf-tls-ecdhe-mlkem (1,184 and 1,088 bytes more); openssl 26006 (key generation 34, encapsulation 19, decapsulation 30 µs beside 25 and 29 of X25519)",
		How:    "client and gateway with P-256 and TLS 1.3, either group alone",
		Runs:   []string{"groups"},
		Remark: "Go's crypto/mlkem alone takes 52 µs for a key, 64 to encapsulate and 60 to decapsulate on the machine of 2026-11-30 (go test -bench . crypto/mlkem): about twice the source's, and the client does two of the three.",
		Figures: []Figure{
			{Name: "bytes more, full", Of: postQuantum("full", groupBytes), Must: between(2200, 2400), Unit: "bytes"},
			{Name: "bytes more, resumed", Of: postQuantum("resumed", groupBytes), Must: between(2200, 2400), Unit: "bytes"},
			{Name: "CPU more, full, client", Of: postQuantum("full", groupCPU(client)), Must: between(10, 200), Unit: "µs"},
			{Name: "CPU more, full, gateway", Of: postQuantum("full", groupCPU(gateway)), Must: between(10, 200), Unit: "µs"},
			{Name: "CPU more, resumed, client", Of: postQuantum("resumed", groupCPU(client)), Must: between(10, 200), Unit: "µs"},
			{Name: "CPU more, resumed, gateway", Of: postQuantum("resumed", groupCPU(gateway)), Must: between(10, 200), Unit: "µs"},
		},
	},
}

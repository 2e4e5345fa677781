package aws

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "k8s.io/api/networking/v1"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

const (
	arnA = "arn:aws:acm:eu-west-1:111122223333:certificate/aaaaaaaa-0000-0000-0000-000000000000"
	arnB = "arn:aws:acm:eu-west-1:111122223333:certificate/bbbbbbbb-0000-0000-0000-000000000000"
)

// cluster makes a world: the documents of a manifest, and Services to forward
// to, each with two pods.
//
//	web    NodePort, 80 (http) -> 8080, 443 (https) -> 8443
//	inner  ClusterIP, 80 (http) -> the container port named web
//	empty  NodePort, 80, no pods
//	istio-ingressgateway  NodePort, in front of a gateway
func cluster(t *testing.T, manifests string) *world.World {
	t.Helper()
	w := &world.World{
		Name: "test",
		ACM: []plan.ACMRequest{
			{ARN: arnA, DomainName: "*.example.com", AltNames: []string{"example.com"}},
			{ARN: arnB, DomainName: "shop.example.com"},
		},
	}
	parsed := manifest.Parse([]manifest.File{{Name: "test.yaml", Data: []byte(manifests)}})
	require.Empty(t, parsed.Diagnostics)
	for _, o := range parsed.Objects {
		switch v := o.Value.(type) {
		case *networkingv1.Ingress:
			w.Ingresses = append(w.Ingresses, world.Typed[*networkingv1.Ingress]{Object: o, Spec: v})
		case *networkingv1.IngressClass:
			w.IngressClasses = append(w.IngressClasses, world.Typed[*networkingv1.IngressClass]{Object: o, Spec: v})
		case *networking.Gateway:
			w.Gateways = append(w.Gateways, world.Typed[*networking.Gateway]{Object: o, Spec: v})
		case *networking.VirtualService:
			w.VirtualServices = append(w.VirtualServices, world.Typed[*networking.VirtualService]{Object: o, Spec: v})
		default:
			t.Fatalf("the fixture takes no %T", v)
		}
	}
	addService(w, "default", "web", "NodePort",
		world.ServicePort{Name: "http", Port: 80, TargetPort: 8080, NodePort: 30080, Protocol: world.HTTP},
		world.ServicePort{Name: "https", Port: 443, TargetPort: 8443, NodePort: 30443, Protocol: world.HTTPS})
	addService(w, "default", "inner", "ClusterIP", world.ServicePort{Name: "http", Port: 80, TargetPortName: "web"})
	addService(w, "default", "empty", "NodePort", world.ServicePort{Port: 80, TargetPort: 80, NodePort: 30081})
	addService(w, "default", "istio-ingressgateway", "NodePort",
		world.ServicePort{Name: "status-port", Port: 15021, TargetPort: 15021, NodePort: 30021},
		world.ServicePort{Name: "http2", Port: 80, TargetPort: 8080, NodePort: 31080, Protocol: world.HTTP2},
		world.ServicePort{Name: "https", Port: 443, TargetPort: 8443, NodePort: 31443, Protocol: world.HTTPS})
	for _, name := range []string{"web", "inner", "istio-ingressgateway"} {
		for i := range 2 {
			w.Pods = append(w.Pods, &world.Pod{
				Namespace: "default", Name: fmt.Sprintf("%s-%d", name, i), Owner: name,
				Labels: map[string]string{"app": name}, Gateway: name == "istio-ingressgateway",
				Ports: []world.ContainerPort{{Name: "web", Port: 3000 + i}},
			})
		}
	}
	return w
}

func addService(w *world.World, namespace, name, kind string, ports ...world.ServicePort) {
	w.Services = append(w.Services, &world.Service{
		Namespace: namespace, Name: name, Type: kind, Ports: ports,
		Selector: map[string]string{"app": name}, Annotations: map[string]string{},
		Object: &manifest.Object{Kind: "Service", Namespace: namespace, Name: name, Source: plan.Source{File: name + ".yaml", Line: 1, Column: 1}},
	})
}

// ingress is a manifest: annotations are "suffix: value" lines under the
// controller's prefix, spec is YAML.
func ingress(name, annotations, spec string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: %s\n  annotations:\n    kubernetes.io/ingress.class: alb\n", name)
	for line := range strings.SplitSeq(strings.TrimSpace(annotations), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString("    " + prefix + line + "\n")
		}
	}
	b.WriteString("spec:\n")
	for line := range strings.SplitSeq(strings.Trim(spec, "\n"), "\n") {
		b.WriteString("  " + strings.ReplaceAll(line, "\t", "  ") + "\n")
	}
	b.WriteString("---\n")
	return b.String()
}

// toWeb is a spec with one rule that forwards everything of a host.
func toWeb(host string) string {
	return "rules: [{host: " + host + ", http: {paths: [" + path("/", "Prefix", "web", "80") + "]}}]"
}

// path is one path of a rule; a port that is no number is a name.
func path(path, kind, service, port string) string {
	key := "number"
	if strings.Trim(port, "0123456789") != "" {
		key = "name"
	}
	return fmt.Sprintf(`{path: "%s", pathType: %s, backend: {service: {name: %s, port: {%s: %s}}}}`, path, kind, service, key, port)
}

// compile compiles one world and expects one load balancer.
func compile(t *testing.T, manifests string) (Result, plan.Node) {
	t.Helper()
	r := Compile(cluster(t, manifests))
	require.Len(t, r.Nodes, 1, "diagnostics: %v", r.Diagnostics)
	return r, r.Nodes[0]
}

// failedBuild compiles a world of which no load balancer comes, and gives the
// messages of its errors.
func failedBuild(t *testing.T, manifests string) []string {
	t.Helper()
	r := Compile(cluster(t, manifests))
	require.Empty(t, r.Nodes)
	require.Empty(t, r.Pods)
	require.Empty(t, r.Hosts)
	return messages(r, plan.Error)
}

func messages(r Result, severity plan.Severity) []string {
	var out []string
	for _, d := range r.Diagnostics {
		if d.Severity == severity {
			out = append(out, d.Message)
		}
	}
	return out
}

func find(r Result, code string) []plan.Diagnostic {
	var out []plan.Diagnostic
	for _, d := range r.Diagnostics {
		if d.Code == code {
			out = append(out, d)
		}
	}
	return out
}

// rulesOf draws the rules of a listener, one per line: "1 CONDITIONS -> ACTION".
func rulesOf(t *testing.T, n plan.Node, listener string) []string {
	t.Helper()
	config := n.RouteConfig(listener)
	require.NotNil(t, config, "no listener %s", listener)
	require.Len(t, config.VirtualHosts, 1)
	require.Equal(t, []string{"*"}, config.VirtualHosts[0].Domains)
	var out []string
	for _, r := range config.VirtualHosts[0].Routes {
		line := r.Name
		if r.Name != "default" {
			line += " " + because(r.Match)
			require.Equal(t, because(r.Match), r.Because)
		}
		require.NotEmpty(t, r.Because)
		var actions []string
		for _, f := range r.Forward {
			require.NotNil(t, n.Cluster(f.Cluster), "rule %s forwards to a target group that the node does not have", r.Name)
			to := strings.TrimPrefix(f.Because, "Service default/")
			actions = append(actions, fmt.Sprintf("%s *%d", strings.Replace(to, " port ", ":", 1), f.Weight))
		}
		if d := r.Redirect; d != nil {
			actions = append(actions, fmt.Sprintf("%d %s://%s:%s%s?%s", d.Status, d.Protocol, d.Host, d.Port, d.Path, d.Query))
		}
		if f := r.Response; f != nil {
			actions = append(actions, strings.TrimSpace(fmt.Sprintf("%d %s %s", f.Status, f.ContentType, f.Body)))
		}
		out = append(out, line+" -> "+strings.Join(actions, ", "))
	}
	return out
}

const notFound = "default -> 404 text/plain"

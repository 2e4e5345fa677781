package deploy

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"strings"

	"gopkg.in/yaml.v3"

	"hoplab.dev/plan"
	"hoplab.dev/testbed/control"
	"hoplab.dev/testbed/podnet"
)

// ComposeOptions are what a Compose file may have besides.
type ComposeOptions struct {
	// Build is the folder of hoplab's Dockerfile, relative to the file's own;
	// empty: the image is there.
	Build string
}

// composeService is one service; what all have is merged into it.
type composeService struct {
	name        string
	Build       *composeBuild         `yaml:"build,omitempty"`
	Hostname    string                `yaml:"hostname,omitempty"`
	NetworkMode string                `yaml:"network_mode,omitempty"`
	User        string                `yaml:"user,omitempty"`
	CapAdd      []string              `yaml:"cap_add,omitempty,flow"`
	Restart     string                `yaml:"restart,omitempty"`
	Command     []string              `yaml:"command,flow"`
	Environment map[string]string     `yaml:"environment,omitempty"`
	Ports       []string              `yaml:"ports,omitempty,flow"`
	Networks    []string              `yaml:"networks,omitempty,flow"`
	Volumes     []any                 `yaml:"volumes,omitempty"` // text, or a bind
	DependsOn   map[string]dependency `yaml:"depends_on,omitempty"`
	Healthcheck *healthcheck          `yaml:"healthcheck,omitempty"`
}

// bind is a volume that is a path of the machine's.
type bind struct {
	Type     string `yaml:"type"`
	Source   string `yaml:"source"`
	Target   string `yaml:"target"`
	ReadOnly bool   `yaml:"read_only"`
}

type composeBuild struct {
	Context string            `yaml:"context"`
	Args    map[string]string `yaml:"args"`
}

type dependency struct {
	Condition string `yaml:"condition"`
}

// When a service may start that depends on another.
var (
	whenStarted   = dependency{"service_started"}
	whenHealthy   = dependency{"service_healthy"}
	whenCompleted = dependency{"service_completed_successfully"}
)

type healthcheck struct {
	Test     []string `yaml:"test,flow"`
	Interval string   `yaml:"interval"`
	Timeout  string   `yaml:"timeout"`
	Retries  int      `yaml:"retries"`
}

// composeCommon is what every service has. The sysctl is not among it: a
// service that has another's network cannot set it.
const composeCommon = `
image: ${HOPLAB_IMAGE:-hoplab}
pull_policy: missing
read_only: true
cap_drop: [ALL]
security_opt: ["no-new-privileges:true"]
restart: unless-stopped
stop_grace_period: 10s
environment: {HOPLAB_CONTROL: "control:15012", HOPLAB_CREDENTIALS: /credentials}
`

// composeCredentials is the volume of a node's credentials: control writes it,
// the node reads it, and nobody else has it. It is gone with the containers.
var composeCredentials = fmt.Sprintf(`
driver_opts: {type: tmpfs, device: tmpfs, o: "size=64k,mode=0755,uid=%d,gid=%[1]d"}
`, plainUser)

// The names of services that people type.
const (
	controlService = "control"
	clientService  = "client"
)

// composeFile is made up.
type composeFile struct {
	scenario *Scenario
	slugs    slugs
	services []*composeService // in the file's order
	volumes  []string          // of nodes' credentials
	control  *composeService
}

// Compose writes a scenario down as a Compose file.
func Compose(s *Scenario, o ComposeOptions) ([]byte, error) {
	if err := s.reachable(); err != nil {
		return nil, err
	}
	pods, err := s.pods()
	if err != nil {
		return nil, err
	}
	f := &composeFile{scenario: s, slugs: slugs{controlService: controlService, clientService: clientService}}
	f.control = f.add(controlService, composeService{
		Hostname: controlService, Command: s.controlArgs(),
		Environment: map[string]string{"HOPLAB_STATE": statePath},
		Networks:    []string{edgeNetwork, vpcNetwork, meshNetwork},
		Volumes:     append([]any{"state:" + statePath}, f.scenarioVolume()...),
		Healthcheck: health([]string{program, "status"}),
	})
	if o.Build != "" {
		f.control.Build = &composeBuild{o.Build, map[string]string{"GO_IMAGE": "${GO_IMAGE:-golang:1.26}"}}
	}
	for _, p := range pods {
		f.addPod(p)
	}
	f.addNode(&plan.Node{Name: control.ClientNode, Kind: plan.Client}, composeService{
		Hostname: clientService, Networks: []string{edgeNetwork, vpcNetwork, meshNetwork}, Volumes: f.scenarioVolume(),
	})
	return f.write()
}

// add is one service more.
func (f *composeFile) add(name string, s composeService) *composeService {
	s.name = name
	f.services = append(f.services, &s)
	return &s
}

// keep makes the volume of a node's credentials.
func (f *composeFile) keep(service, node string) string {
	volume := "credentials-" + service
	f.volumes = append(f.volumes, volume)
	f.control.Volumes = append(f.control.Volumes, volume+":"+path.Join(credentials, node))
	return volume + ":" + credentials + ":ro"
}

// scenarioVolume is what a container is given of a scenario that is a path.
func (f *composeFile) scenarioVolume() []any {
	if !f.scenario.Path {
		return nil
	}
	// A dollar sign would begin a variable.
	return []any{bind{"bind", strings.ReplaceAll(f.scenario.Ref, "$", "$$"), scenarioDir, true}}
}

// addPod makes the services of a pod: the one that it is, or those that share
// the network of pause.
func (f *composeFile) addPod(p *pod) {
	owner := composeService{Hostname: hostname(p), Networks: p.networks}
	for _, publication := range p.ports {
		owner.Ports = append(owner.Ports, fmt.Sprintf("%s:%d:%d", publication.Host, publication.Local, publication.Target))
	}
	if !p.meshed() {
		f.addNode(p.nodes[0], owner)
		return
	}
	pause, init := f.slugs.of("pause/"+p.name), f.slugs.of("init/"+p.name)
	owner.Restart, owner.Command = "no", []string{"node", "pause"} // its network would be another
	f.add(pause, owner)
	within := "service:" + pause
	f.add(init, composeService{
		NetworkMode: within, User: "0:0", CapAdd: []string{"NET_ADMIN"}, Restart: "no", Command: []string{"node", "init"},
		DependsOn: map[string]dependency{pause: whenStarted},
	})
	before := map[string]dependency{init: whenCompleted}
	for _, n := range p.nodes {
		s := composeService{NetworkMode: within, DependsOn: maps.Clone(before)}
		if n.Kind == plan.Sidecar {
			s.User = fmt.Sprintf("%d:%d", podnet.SidecarUser, podnet.SidecarUser)
		}
		f.addNode(n, s)
		before[f.slugs.of(n.Name)] = whenHealthy // as a native sidecar's app, which starts when that is ready
	}
}

// addNode makes the service of a node.
func (f *composeFile) addNode(n *plan.Node, s composeService) {
	name := f.slugs.of(n.Name)
	s.Command, s.Healthcheck = nodeArgs(n), health(readyArgs(n))
	s.Volumes = append([]any{f.keep(name, n.Name)}, s.Volumes...)
	if s.DependsOn == nil {
		s.DependsOn = map[string]dependency{}
	}
	s.DependsOn[controlService] = whenHealthy
	for _, target := range f.probed(n) {
		s.DependsOn[target] = whenHealthy // so that its first probe finds who answers
	}
	f.add(name, s)
}

// probed are the services of those whose health a load balancer looks after.
func (f *composeFile) probed(n *plan.Node) []string {
	var out []string
	for _, c := range n.Clusters {
		for _, e := range c.Endpoints {
			if n.Kind == plan.Edge && e.Node != "" {
				out = append(out, f.slugs.of(e.Node))
			}
		}
	}
	return out
}

func health(test []string) *healthcheck {
	return &healthcheck{Test: append([]string{"CMD"}, test...), Interval: "2s", Timeout: "3s", Retries: 30}
}

// write gives the file's text.
func (f *composeFile) write() ([]byte, error) {
	common, secret := anchored("node", composeCommon), anchored("credentials", composeCredentials)
	services, volumes := &yaml.Node{Kind: yaml.MappingNode}, &yaml.Node{Kind: yaml.MappingNode}
	for _, s := range f.services {
		value := new(yaml.Node)
		if err := value.Encode(s); err != nil {
			return nil, err
		}
		value.Content = append([]*yaml.Node{word("<<"), alias(common)}, value.Content...)
		services.Content = append(services.Content, word(s.name), value)
	}
	volumes.Content = append(volumes.Content, word("state"), &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle})
	for _, name := range f.volumes {
		volumes.Content = append(volumes.Content, word(name), alias(secret))
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `# %s, one container for each node. Made by: hoplab export compose %s
#   docker compose up -d --wait
#   docker compose exec control hoplab certs --pem acm > ca.pem
#   docker compose exec client hoplab trace URL
`, f.scenario.Plan.Scenario, oneLine(f.scenario.Ref))
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	err := e.Encode(struct {
		Common   *yaml.Node          `yaml:"x-node"`
		Secret   *yaml.Node          `yaml:"x-credentials"`
		Services *yaml.Node          `yaml:"services"`
		Networks map[string]struct{} `yaml:"networks"`
		Volumes  *yaml.Node          `yaml:"volumes"`
	}{common, secret, services, map[string]struct{}{edgeNetwork: {}, vpcNetwork: {}, meshNetwork: {}}, volumes})
	return out.Bytes(), err
}

func word(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

// anchored is what a file says once and refers to by a name.
func anchored(name, text string) *yaml.Node {
	n := new(yaml.Node)
	if err := yaml.Unmarshal([]byte(text), n); err != nil {
		panic(err) // it is ours
	}
	n.Content[0].Anchor = name
	return n.Content[0]
}

func alias(n *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.AliasNode, Value: n.Anchor, Alias: n}
}

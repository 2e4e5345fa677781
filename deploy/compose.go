package deploy

import (
	"bytes"
	"fmt"
	"path"
	"slices"

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
	Volumes     []string              `yaml:"volumes,omitempty"`
	DependsOn   map[string]dependency `yaml:"depends_on,omitempty"`
	Healthcheck *healthcheck          `yaml:"healthcheck,omitempty"`
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
	common   *yaml.Node // of services
	secret   *yaml.Node // of volumes
	services *yaml.Node // a mapping, in order
	volumes  *yaml.Node
	slugs    slugs
	control  composeService
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
	f := &composeFile{
		scenario: s, common: anchored("node", composeCommon), secret: anchored("credentials", composeCredentials),
		services: &yaml.Node{Kind: yaml.MappingNode}, volumes: &yaml.Node{Kind: yaml.MappingNode},
		slugs: slugs{controlService: controlService, clientService: clientService},
	}
	f.control = composeService{
		Hostname: controlService, Command: s.controlArgs(),
		Environment: map[string]string{"HOPLAB_STATE": statePath},
		Networks:    []string{edgeNetwork, vpcNetwork, meshNetwork},
		Volumes:     append([]string{"state:" + statePath}, f.scenarioVolume()...),
		Healthcheck: health([]string{program, "status"}),
	}
	if o.Build != "" {
		f.control.Build = &composeBuild{o.Build, map[string]string{"GO_IMAGE": "${GO_IMAGE:-golang:1.26}"}}
	}
	client := f.client()
	rest := f.services
	f.services = &yaml.Node{Kind: yaml.MappingNode}
	for _, p := range pods {
		if err := f.addPod(p); err != nil {
			return nil, err
		}
	}
	rest.Content = f.services.Content
	f.services = &yaml.Node{Kind: yaml.MappingNode}
	if err := f.add(controlService, f.control); err != nil {
		return nil, err
	}
	f.services.Content = append(f.services.Content, rest.Content...)
	if err := f.add(clientService, client); err != nil {
		return nil, err
	}
	return f.write()
}

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

// add is one service more.
func (f *composeFile) add(name string, s composeService) error {
	value := new(yaml.Node)
	if err := value.Encode(s); err != nil {
		return err
	}
	merge := &yaml.Node{Kind: yaml.ScalarNode, Value: "<<"}
	value.Content = append([]*yaml.Node{merge, alias(f.common)}, value.Content...)
	f.services.Content = append(f.services.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, value)
	return nil
}

// keep makes the volume of a node's credentials.
func (f *composeFile) keep(service, node string) string {
	volume := "credentials-" + service
	f.volumes.Content = append(f.volumes.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: volume}, alias(f.secret))
	f.control.Volumes = append(f.control.Volumes, volume+":"+path.Join(credentials, node))
	return volume + ":" + credentials + ":ro"
}

// scenarioVolume is what a container is given of a scenario that is a path.
func (f *composeFile) scenarioVolume() []string {
	if !f.scenario.Path {
		return nil
	}
	return []string{f.scenario.Ref + ":" + scenarioDir + ":ro"}
}

func (f *composeFile) client() composeService {
	n := &plan.Node{Name: control.ClientNode, Kind: plan.Client}
	return composeService{
		Hostname: clientService, Command: nodeArgs(n),
		Networks:    []string{edgeNetwork, vpcNetwork, meshNetwork},
		Volumes:     append([]string{f.keep(clientService, n.Name)}, f.scenarioVolume()...),
		DependsOn:   map[string]dependency{controlService: whenHealthy},
		Healthcheck: health(readyArgs(n)),
	}
}

// addPod makes the services of a pod: the one that it is, or those that share
// the network of pause.
func (f *composeFile) addPod(p *pod) error {
	owner := composeService{Networks: p.networks}
	for _, publication := range p.ports {
		owner.Ports = append(owner.Ports, fmt.Sprintf("%s:%d:%d", publication.Host, publication.Local, publication.Target))
	}
	if !p.meshed() {
		n := p.nodes[0]
		owner.Hostname = hostname(p)
		return f.addNode(n, owner)
	}
	pause := f.slugs.of("pause/" + p.name)
	init := f.slugs.of("init/" + p.name)
	owner.Hostname = hostname(p)
	owner.Restart, owner.Command = "no", []string{"node", "pause"} // its network would be another
	if err := f.add(pause, owner); err != nil {
		return err
	}
	within := "service:" + pause
	if err := f.add(init, composeService{
		NetworkMode: within, User: "0:0", CapAdd: []string{"NET_ADMIN"}, Restart: "no", Command: []string{"node", "init"},
		DependsOn: map[string]dependency{pause: whenStarted},
	}); err != nil {
		return err
	}
	before := map[string]dependency{init: whenCompleted}
	for _, n := range p.nodes {
		s := composeService{NetworkMode: within, DependsOn: before}
		if n.Kind == plan.Sidecar {
			s.User = fmt.Sprintf("%d:%d", podnet.SidecarUser, podnet.SidecarUser)
		}
		if err := f.addNode(n, s); err != nil {
			return err
		}
		// As a native sidecar does: the app starts when it is ready.
		before = map[string]dependency{init: whenCompleted, f.slugs.of(n.Name): whenHealthy}
	}
	return nil
}

// addNode makes the service of a node.
func (f *composeFile) addNode(n *plan.Node, s composeService) error {
	name := f.slugs.of(n.Name)
	s.Command = nodeArgs(n)
	s.Volumes = append(s.Volumes, f.keep(name, n.Name))
	s.Healthcheck = health(readyArgs(n))
	depends := map[string]dependency{}
	for on, when := range s.DependsOn {
		depends[on] = when
	}
	depends[controlService] = whenHealthy
	for _, target := range f.probed(n) {
		depends[target] = whenHealthy // so that its first probe finds who answers
	}
	s.DependsOn = depends
	return f.add(name, s)
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

// hostname is the pod's own name, without its namespace.
func hostname(p *pod) string { return path.Base(p.name) }

func health(test []string) *healthcheck {
	return &healthcheck{Test: append([]string{"CMD"}, test...), Interval: "2s", Timeout: "3s", Retries: 30}
}

// write gives the file's text.
func (f *composeFile) write() ([]byte, error) {
	networks := map[string]struct{}{edgeNetwork: {}, vpcNetwork: {}, meshNetwork: {}}
	state := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	volumes := &yaml.Node{Kind: yaml.MappingNode}
	volumes.Content = slices.Concat([]*yaml.Node{{Kind: yaml.ScalarNode, Value: "state"}, state}, f.volumes.Content)
	var out bytes.Buffer
	fmt.Fprintf(&out, `# %s, one container for each node. Made by: hoplab export compose %s
#   docker compose up -d --wait
#   docker compose exec control hoplab certs --pem acm > ca.pem
#   docker compose exec client hoplab trace URL
`, f.scenario.Plan.Scenario, f.scenario.Ref)
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	err := e.Encode(struct {
		Common   *yaml.Node          `yaml:"x-node"`
		Secret   *yaml.Node          `yaml:"x-credentials"`
		Services *yaml.Node          `yaml:"services"`
		Networks map[string]struct{} `yaml:"networks"`
		Volumes  *yaml.Node          `yaml:"volumes"`
	}{f.common, f.secret, f.services, networks, volumes})
	return out.Bytes(), err
}

package plan_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func TestParsePublish(t *testing.T) {
	for text, want := range map[string]plan.PublishPort{
		"443=9443":                {Port: 443, Local: 9443},
		"443=0":                   {Port: 443},
		"alb/a/b:443=9443":        {Node: "alb/a/b", Port: 443, Local: 9443},
		"alb/my.group:9000=65535": {Node: "alb/my.group", Port: 9000, Local: 65535},
	} {
		got, err := plan.ParsePublish(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
		assert.Equal(t, text, got.String())
	}
	for _, text := range []string{"", "443", "=", "443=", "=9443", "x=1", "443=x", "0=1", "65536=1", "443=65536", "443=-1", "-1=443", "a:=1", "443=9443=1", "443 = 9443"} {
		_, err := plan.ParsePublish(text)
		require.Error(t, err, text)
		assert.Contains(t, err.Error(), "want [NAME:]PORT=LOCALPORT or auto")
	}
}

func TestPublishWanted(t *testing.T) {
	edge := func(name string, ports ...int) plan.Node {
		n := plan.Node{Name: name, Kind: plan.Edge}
		for _, p := range ports {
			n.Listeners = append(n.Listeners, plan.Listener{Ports: []int{p}})
		}
		return n
	}
	gateway := plan.Node{Name: "gateway/g/g", Kind: plan.Gateway, Listeners: []plan.Listener{{Ports: []int{8080}}, {Ports: []int{8443}}, {Ports: []int{15021}}}}
	sidecar := plan.Node{Name: "sidecar/s/s-0", Kind: plan.Sidecar, Listeners: []plan.Listener{{Ports: []int{80}}}}
	for _, test := range []struct {
		name  string
		nodes []plan.Node
		o     plan.Publish
		want  []string
		err   string
	}{
		{"by rule", []plan.Node{edge("alb/a/a", 443, 80, 9443), gateway, sidecar}, plan.Publish{}, []string{"alb/a/a:443=8443", "alb/a/a:80=8080", "alb/a/a:9443=9443"}, ""},
		{"999 and 1000", []plan.Node{edge("alb/a/a", 999, 1000)}, plan.Publish{}, []string{"alb/a/a:999=8999", "alb/a/a:1000=1000"}, ""},
		{"a second edge", []plan.Node{edge("alb/a/a", 443), edge("alb/b/b", 443, 80), edge("alb/c/c", 443)}, plan.Publish{},
			[]string{"alb/a/a:443=8443", "alb/b/b:443=9443", "alb/b/b:80=8080", "alb/c/c:443=10443"}, ""},
		{"no edge", []plan.Node{gateway, sidecar}, plan.Publish{}, []string{"gateway/g/g:8080=8080", "gateway/g/g:8443=8443"}, ""},
		{"nothing", []plan.Node{sidecar}, plan.Publish{}, nil, ""},
		{"auto", []plan.Node{edge("alb/a/a", 443, 80)}, plan.Publish{Auto: true}, []string{"alb/a/a:443=0", "alb/a/a:80=0"}, ""},
		{"auto but for one", []plan.Node{edge("alb/a/a", 443, 80)}, plan.Publish{Auto: true, Ports: []plan.PublishPort{{"", 443, 9443}}}, []string{"alb/a/a:443=9443", "alb/a/a:80=0"}, ""},
		{"a wish for any", []plan.Node{edge("alb/a/a", 443), edge("alb/b/b", 443)}, plan.Publish{Ports: []plan.PublishPort{{"", 443, 7443}}},
			[]string{"alb/a/a:443=7443", "alb/b/b:443=8443"}, ""},
		{"a wish for one goes first, wherever it stands", []plan.Node{edge("alb/a/a", 443), edge("alb/b/b", 443)},
			plan.Publish{Ports: []plan.PublishPort{{"alb/b/b", 443, 1443}, {"", 443, 7443}}}, []string{"alb/a/a:443=7443", "alb/b/b:443=1443"}, ""},
		{"no such port", []plan.Node{edge("alb/a/a", 443)}, plan.Publish{Ports: []plan.PublishPort{{"", 80, 8080}}}, nil, "80=8080 cannot be published: there are alb/a/a:443"},
		{"no such node", []plan.Node{edge("alb/a/a", 443)}, plan.Publish{Ports: []plan.PublishPort{{"alb/a/b", 443, 8080}}}, nil, "alb/a/b:443=8080 cannot be published"},
		{"one port for two", []plan.Node{edge("alb/a/a", 443, 80)}, plan.Publish{Ports: []plan.PublishPort{{"", 443, 9000}, {"", 80, 9000}}}, nil,
			"127.0.0.1:9000 is to be port 443 of alb/a/a and port 80 of alb/a/a"},
		{"by rule there are not enough", []plan.Node{edge("alb/a/a", 65000), edge("alb/b/b", 65000)}, plan.Publish{}, nil, "port 65000 of alb/b/b would be 66000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.o.Wanted(&plan.Plan{Nodes: test.nodes})
			if test.err != "" {
				require.ErrorIs(t, err, plan.ErrPublish)
				assert.Contains(t, err.Error(), test.err)
				return
			}
			require.NoError(t, err)
			var lines []string
			for _, w := range got {
				lines = append(lines, fmt.Sprintf("%s:%d=%d", w.Node, w.Port, w.Local))
			}
			assert.Equal(t, test.want, lines)
		})
	}
}

package testbed

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"runtime/metrics"

	"hoplab.dev/bench/load"
	"hoplab.dev/certs"
	"hoplab.dev/plan"
	"hoplab.dev/proxy"
	"hoplab.dev/testbed/control"
)

// Question finds out whom a request would go to, and how: for a Load that
// changes it.
func (t *Testbed) Question(ctx context.Context, r control.TraceRequest) (*control.Question, error) {
	if r.ClientCert != "" {
		pem, err := t.CertPEM(ctx, r.ClientCert, true)
		if err != nil {
			return nil, fmt.Errorf("clientCert: %w", err)
		}
		r.CertPEM, r.KeyPEM = pem, pem // one file may hold both
	}
	return t.question(r)
}

// Load has the client that a Question is from ask it again and again. An error
// is that nothing could be asked; what became of the requests is in the samples.
func (t *Testbed) Load(ctx context.Context, l *control.Load) ([]load.Sample, error) {
	return t.crew.load(ctx, l)
}

// Collect has all nodes tell what they have not told yet. When it returns, the
// recorder has it, and Options.Tap.
func (t *Testbed) Collect(ctx context.Context) error { return t.crew.collect(ctx) }

// Allocated are the bytes of heap that the process of each node has allocated in
// its life. Nodes of this process have none of their own.
func (t *Testbed) Allocated(ctx context.Context) (map[string]uint64, error) {
	return t.crew.allocated(ctx)
}

// Bundle gives what goes by names of a plan's materials, with its keys, for
// another program that is to have the same.
func (t *Testbed) Bundle(names plan.MaterialNames) certs.Bundle { return t.vault.Bundle(names) }

// Address is the host:port that stands for one of a plan's.
func (t *Testbed) Address(a plan.Address) string { return t.crew.network().addresses.real(a) }

// loader is the client of a load.
type loader struct {
	load   control.Load // without its Spec
	client *proxy.Client
	errand *proxy.Errand
}

// load has this process' client do a load.
func (s *site) load(ctx context.Context, l *control.Load) ([]load.Sample, error) {
	s.loading.Lock()
	defer s.loading.Unlock()
	asked := *l
	asked.Spec = load.Spec{}
	if s.loader == nil || !reflect.DeepEqual(s.loader.load, asked) {
		s.closeLoader(ctx)
		next, err := s.newLoader(asked)
		if err != nil {
			return nil, err
		}
		s.loader = next
	}
	errand := s.loader.errand
	return load.Run(ctx, l.Spec, func(ctx context.Context) (int, error) {
		res, _, err := errand.Do(ctx, 0)
		if res == nil {
			return 0, err
		}
		return res.Status, err
	}), nil
}

func (s *site) newLoader(l control.Load) (*loader, error) {
	own, err := certificatesOf(&l.Question, s.certificates)
	if err != nil {
		return nil, err
	}
	env := s.env(l.Question.From, l.Question.Pod, own)
	told := &gate{sink: s.sink}
	told.shut.Store(l.Recording == plan.RecordNothing)
	env.Sink = told
	c, err := proxy.NewClient(l.Question.From, env)
	if err != nil {
		return nil, err
	}
	r := l.Question.Request
	if r.Header == nil {
		r.Header = http.Header{}
	}
	e, err := c.Errand(r, l.Limits, l.Recording)
	return &loader{l, c, e}, err
}

// endLoad closes the client of the last load.
func (s *site) endLoad(ctx context.Context) {
	s.loading.Lock()
	defer s.loading.Unlock()
	s.closeLoader(ctx)
}

func (s *site) closeLoader(ctx context.Context) {
	if s.loader != nil {
		_ = s.loader.client.Close(context.WithoutCancel(ctx))
		s.loader = nil
	}
}

func (s *site) allocated(context.Context) (map[string]uint64, error) { return nil, nil }

// allocated are the bytes of heap that this process has allocated in its life.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// collect is crew's: what nodes of this process see is told at once.
func (s *site) collect(context.Context) error { return nil }

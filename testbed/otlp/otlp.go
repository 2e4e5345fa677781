// Package otlp exports passports as OpenTelemetry traces: one span for each hop,
// with its TLS handshake as a child.
package otlp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"hoplab.dev/passport"
)

// Traces is a passport as OTLP has it. What it tells is over by now, so that
// there is no use for an SDK, which makes spans as they happen.
// opentelemetry.io: docs/specs/otlp, docs/specs/semconv
func Traces(p passport.Passport) *trace.TracesData {
	out := &trace.TracesData{}
	for i := range p.Hops {
		h := &p.Hops[i]
		spans := []*trace.Span{hopSpan(&p, i)}
		if shaken := handshakeSpan(&p, i); shaken != nil {
			spans = append(spans, shaken)
		}
		out.ResourceSpans = append(out.ResourceSpans, &trace.ResourceSpans{
			Resource:   &resource.Resource{Attributes: []*common.KeyValue{text("service.name", h.From.Name), text("service.namespace", "hoplab")}},
			ScopeSpans: []*trace.ScopeSpans{{Scope: &common.InstrumentationScope{Name: "hoplab.dev"}, Spans: spans}},
		})
	}
	return out
}

// identify makes an ID of what it names, always the same.
func identify(length int, parts ...any) []byte {
	sum := sha256.Sum256([]byte(fmt.Sprintln(parts...)))
	return sum[:length]
}

func spanID(p *passport.Passport, parts ...any) []byte {
	return identify(8, append([]any{p.ID}, parts...)...)
}

// hopSpan is a hop as the node sees it that dials.
func hopSpan(p *passport.Passport, i int) *trace.Span {
	h := &p.Hops[i]
	began, _, over := h.Times()
	s := &trace.Span{
		TraceId: identify(16, p.ID), SpanId: spanID(p, i),
		Name: h.From.Name + " to " + h.To.Name, Kind: trace.Span_SPAN_KIND_CLIENT,
		StartTimeUnixNano: nanos(began), EndTimeUnixNano: nanos(over),
		Attributes: []*common.KeyValue{text("hoplab.passport", p.ID), text("hoplab.to", h.To.Name), text("hoplab.scope", h.Scope)},
	}
	if h.Parent != nil {
		s.ParentSpanId = spanID(p, *h.Parent)
	}
	add := func(k *common.KeyValue) { s.Attributes = append(s.Attributes, k) }
	add(text("hoplab.lock", string(h.Lock)))
	add(text("network.peer.address", h.To.Addr))
	if h.Protocol != "" {
		name, version, _ := strings.Cut(strings.Replace(h.Protocol, "h2", "http/2", 1), "/")
		add(text("network.protocol.name", name))
		add(text("network.protocol.version", version))
	}
	if h.Status != 0 {
		add(text("http.request.method", p.Request.Method))
		add(text("url.full", p.Request.URL))
		add(number("http.response.status_code", int64(h.Status)))
	}
	switch {
	case h.Ended != nil:
		add(text("error.type", h.Ended.Flag))
		s.Status = &trace.Status{Code: trace.Status_STATUS_CODE_ERROR, Message: h.Ended.Message}
	case h.Status >= 500:
		s.Status = &trace.Status{Code: trace.Status_STATUS_CODE_ERROR}
	}
	return s
}

// handshakeSpan is the TLS handshake that a hop waited for; nil: for none.
func handshakeSpan(p *passport.Passport, i int) *trace.Span {
	h := &p.Hops[i]
	if h.Micros.Handshake == 0 || h.TLS == nil {
		return nil
	}
	_, connected, _ := h.Times()
	s := &trace.Span{
		TraceId: identify(16, p.ID), SpanId: spanID(p, i, "handshake"), ParentSpanId: spanID(p, i),
		Name: "TLS handshake", Kind: trace.Span_SPAN_KIND_INTERNAL,
		StartTimeUnixNano: nanos(connected), EndTimeUnixNano: nanos(connected.Add(time.Duration(h.Micros.Handshake) * time.Microsecond)),
		Attributes: []*common.KeyValue{
			text("tls.protocol.version", strings.TrimPrefix(h.TLS.Version, "TLS ")), text("tls.cipher", h.TLS.CipherSuite), text("tls.curve", h.TLS.Group),
			text("tls.next_protocol", h.TLS.ALPN), {Key: "tls.resumed", Value: &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: h.TLS.Handshake == "resumed"}}},
		},
	}
	if sni := h.TLS.SNI.Sent; sni != nil {
		s.Attributes = append(s.Attributes, text("tls.client.server_name", *sni))
	}
	if h.TLS.Handshake == "" {
		s.Status = &trace.Status{Code: trace.Status_STATUS_CODE_ERROR}
	}
	return s
}

func nanos(t time.Time) uint64 { return uint64(t.UnixNano()) }

func text(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}

func number(key string, value int64) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: value}}}
}

// How traces are sent.
const (
	sendTimeout = 5 * time.Second
	maxAnswer   = 64 << 10 // bytes that are read of one
)

// tracesPath is that of traces at a collector.
const tracesPath = "/v1/traces"

// Endpoint is where a collector takes traces over HTTP, by its base URL, as in
// OTEL_EXPORTER_OTLP_ENDPOINT: http://localhost:4318.
func Endpoint(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%q is no URL of http or https", base)
	}
	return strings.TrimSuffix(base, "/") + tracesPath, nil
}

// Export sends passports until there are no more. Say is told when the
// collector begins to refuse them, and when it takes them again; those between
// are lost.
func Export(ctx context.Context, endpoint string, passports <-chan passport.Passport, say func(format string, args ...any)) {
	client := &http.Client{Timeout: sendTimeout}
	defer client.CloseIdleConnections()
	refused := false
	for p := range passports {
		switch err := send(ctx, client, endpoint, p); {
		case ctx.Err() != nil:
		case err != nil && !refused:
			refused = true
			say("traces are lost: %v", err)
		case err == nil && refused:
			refused = false
			say("traces are taken again")
		}
	}
}

func send(ctx context.Context, client *http.Client, endpoint string, p passport.Passport) error {
	// TracesData is ExportTraceServiceRequest on the wire.
	body, err := proto.Marshal(Traces(p))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer)
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", endpoint, res.Status)
	}
	return nil
}

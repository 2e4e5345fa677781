// Package plan holds what every node of a scenario is to do.
//
// A plan is pure data: it opens no socket and holds no key. Certificates and
// trust bundles are names, resolved when a connection needs them, so that a
// rotation touches no plan; addresses are symbolic until they are bound. A
// plan goes to JSON and back unchanged, which is how it travels to a node in
// another process.
//
// The words are Envoy's, Istio's and AWS's own: listener, filter chain, route,
// cluster, endpoint. Each part carries the Source that caused it, so that a
// passport can say why a request went where it went.
package plan

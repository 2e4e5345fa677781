// Package certs makes, keeps and gives out the certificates, keys and trust
// bundles that a plan names.
//
// Who issues: an authority that stands in for ACM's, driven by certmagic; the
// mesh CA, which signs CSRs as istiod does; authorities of the user's own
// making; and, for a Secret, whoever made its PEM. A Vault holds what one plan
// needs and follows its changes; a Workload is the node's side of the mesh CA;
// a State is the directory that keeps keys and certificates between starts.
//
// Private keys leave this package only inside a tls.Certificate, in the PEM of
// a Secret that was asked for with its key, and in the state directory. No
// error and no String holds one.
package certs

package certs

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// TestCopy: what a Bundle brings through JSON is what the vault has, with its
// errors, and nothing that was not asked for; what stays the same stays so to
// the pointer.
func TestCopy(t *testing.T) {
	state := newState(t)
	m := &plan.Materials{
		Authorities: []plan.Authority{{Name: "corp", CommonName: "Corp", KeyAlgorithm: P256}},
		Secrets: []plan.SecretEntry{
			{Namespace: "a", Name: "b", Request: &plan.LeafRequest{Authority: "corp", CommonName: "b", KeyAlgorithm: P256, Validity: 1e15}, CAOf: "corp"},
			{Namespace: "a", Name: "other", Request: &plan.LeafRequest{CommonName: "other", KeyAlgorithm: P256, Validity: 1e15}},
			{Namespace: "a", Name: "broken", Cert: plan.PEM("x"), Key: plan.PEM("y")},
		},
	}
	v, err := Open(context.Background(), state, m)
	require.NoError(t, err)
	t.Cleanup(v.Close)
	good, missing, broken := plan.SecretCertificate("a", "b"), plan.SecretCertificate("a", "none"), plan.SecretCertificate("a", "broken")
	names := plan.MaterialNames{
		Certificates: []string{good, missing, broken},
		Trusts:       []string{plan.SecretTrust("a", "b"), plan.SecretTrust("a", "none"), plan.ACMTrust, plan.MeshTrust},
	}
	bundle := v.Bundle(names)
	assert.Equal(t, "<3 certificates and 4 bundles redacted>", fmt.Sprintf("%+v", bundle))
	text, err := json.Marshal(bundle)
	require.NoError(t, err)
	var got Bundle
	require.NoError(t, json.Unmarshal(text, &got))

	c := NewCopy()
	c.Update(got)
	want, err := v.Certificate(good)
	require.NoError(t, err)
	have, err := c.Certificate(good)
	require.NoError(t, err)
	assert.Equal(t, want.Certificate, have.Certificate)
	assert.Equal(t, want.PrivateKey, have.PrivateKey)
	assert.True(t, want.Leaf.Equal(have.Leaf))
	for _, name := range []string{missing, broken} {
		_, want := v.Certificate(name)
		_, have := c.Certificate(name)
		require.Error(t, want)
		assert.EqualError(t, have, want.Error())
	}
	_, err = c.Certificate(missing)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = c.Certificate(broken)
	require.NotErrorIs(t, err, ErrNotFound)
	_, err = c.Certificate(plan.SecretCertificate("a", "other"))
	require.ErrorIs(t, err, ErrNotFound, "it was not asked for")
	for _, name := range names.Trusts {
		want, wantErr := v.Trust(name)
		have, haveErr := c.Trust(name)
		if wantErr != nil {
			assert.EqualError(t, haveErr, wantErr.Error())
			continue
		}
		require.NoError(t, haveErr)
		assert.True(t, want.Equal(have), name)
		lists, err := c.CRL(name)
		require.NoError(t, err)
		assert.Empty(t, lists)
	}

	delete(bundle.Certificates, broken)
	text, err = json.Marshal(bundle)
	require.NoError(t, err)
	var again Bundle
	require.NoError(t, json.Unmarshal(text, &again))
	c.Update(again)
	same, err := c.Certificate(good)
	require.NoError(t, err)
	assert.Same(t, have, same)
	_, err = c.Certificate(broken)
	require.ErrorIs(t, err, ErrNotFound)
}

package testbed

import (
	"context"
	"errors"
	"sync"

	"hoplab.dev/certs"
	"hoplab.dev/testbed/control"
)

// link is a node's open stream.
type link struct {
	ctx       context.Context
	cut       context.CancelFunc
	told      chan control.Event
	view      uint64 // that the node knows
	applied   uint64 // version of orders that were told on this link
	materials certs.Bundle

	mu      sync.Mutex
	last    uint64
	replies map[uint64]chan control.Reply
}

// call tells a node something and waits for its reply, or until its link ends.
// What it is asked is called off when ctx ends.
func (l *link) call(ctx context.Context, e control.Event) (control.Reply, error) {
	reply := make(chan control.Reply, 1)
	l.mu.Lock()
	l.last++
	e.ID = l.last
	l.replies[e.ID] = reply
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.replies, e.ID)
	}()
	if err := l.tell(e); err != nil {
		return control.Reply{}, err
	}
	select {
	case r := <-reply:
		return r, nil
	case <-l.ctx.Done():
		return control.Reply{}, errLinkCut
	case <-ctx.Done():
	}
	if e.Question == nil && e.Load == nil || l.tell(control.Event{Cancel: e.ID}) != nil {
		return control.Reply{}, ctx.Err()
	}
	select {
	case r := <-reply:
		return r, nil
	case <-l.ctx.Done():
		return control.Reply{}, errLinkCut
	}
}

var errLinkCut = errors.New("the node went away")

// tell says something that no reply is waited for.
func (l *link) tell(e control.Event) error {
	select {
	case l.told <- e:
		return nil
	case <-l.ctx.Done():
		return errLinkCut
	}
}

package certs

import (
	"context"
	"crypto"
	"runtime"
	"slices"
	"sync"
)

// keys is the process's one queue: more RSA keys at once than cores would only
// make the first of them late.
var keys keyQueue

// keyQueue makes RSA keys, at most GOMAXPROCS at once. Those that somebody
// waits for come first, in the order in which they were needed; keys made in
// advance follow in the order in which they were asked for.
type keyQueue struct {
	mu      sync.Mutex
	workers int
	needed  []*keyJob
	early   []*keyJob
}

// keyJob is one key that is to be made. The fields below done are set before
// it is closed.
type keyJob struct {
	algorithm string
	done      chan struct{}
	key       crypto.Signer
	err       error
}

// submit asks for a key; needed says that somebody waits for it already.
func (q *keyQueue) submit(algorithm string, needed bool) *keyJob {
	j := &keyJob{algorithm: algorithm, done: make(chan struct{})}
	if !isRSA(algorithm) {
		// Some 20 microseconds: not worth a place in the queue behind an RSA
		// key of half a second. An unknown algorithm fails here.
		j.make()
		return j
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if needed {
		q.needed = append(q.needed, j)
	} else {
		q.early = append(q.early, j)
	}
	if q.workers < runtime.GOMAXPROCS(0) {
		q.workers++
		go q.work()
	}
	return j
}

// need moves a job that was asked for in advance to those that are waited for.
func (q *keyQueue) need(j *keyJob) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.early, j); i >= 0 {
		q.early = slices.Delete(q.early, i, i+1)
		q.needed = append(q.needed, j)
	}
}

// work makes keys until none is asked for.
func (q *keyQueue) work() {
	for {
		j := q.next()
		if j == nil {
			return
		}
		j.make()
	}
}

func (q *keyQueue) next() *keyJob {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, list := range []*[]*keyJob{&q.needed, &q.early} {
		if len(*list) > 0 {
			j := (*list)[0]
			*list = slices.Delete(*list, 0, 1)
			return j
		}
	}
	q.workers--
	return nil
}

func (j *keyJob) make() {
	j.key, j.err = makeKey(j.algorithm)
	close(j.done)
}

// wait gives the key, or ctx's error; the key is made all the same.
func (j *keyJob) wait(ctx context.Context) (crypto.Signer, error) {
	select {
	case <-j.done:
		return j.key, j.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

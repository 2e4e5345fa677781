package passport

import (
	"context"
	"math"
)

// Logs gives a node's last 10,000 log lines, oldest first.
func (r *Recorder) Logs(node string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if lines := r.logs[node]; lines != nil {
		return lines.since(0)
	}
	return nil
}

// FollowLogs gives each line that a node logs from now on, with kept those
// before too. The channel is
// closed when ctx ends or the Recorder is closed. Who reads so slowly that
// 10,000 lines pass loses the oldest.
func (r *Recorder) FollowLogs(ctx context.Context, node string, kept bool) <-chan string {
	out := make(chan string)
	seen := uint64(0)
	if !kept {
		_, seen = r.linesSince(node, math.MaxUint64)
	}
	r.follow(ctx, func(ctx context.Context, news <-chan struct{}) {
		defer close(out)
		for {
			var lines []string
			lines, seen = r.linesSince(node, seen)
			for _, line := range lines {
				select {
				case out <- line:
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-news:
			case <-ctx.Done():
				return
			}
		}
	}, func() { close(out) })
	return out
}

// linesSince gives the lines after the first seen ones, and how many there are.
func (r *Recorder) linesSince(node string, seen uint64) ([]string, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.logs[node]
	if lines == nil {
		return nil, 0
	}
	return lines.since(seen), lines.put
}

// follow runs f in a goroutine that ends with ctx or the Recorder, woken when
// ends come. On a Recorder that is closed already it runs closed instead.
func (r *Recorder) follow(ctx context.Context, f func(ctx context.Context, news <-chan struct{}), closed func()) {
	r.mu.Lock()
	if r.open.Err() != nil {
		r.mu.Unlock()
		closed()
		return
	}
	news := make(chan struct{}, 1)
	r.watch[news] = true
	r.followers.Add(1)
	r.mu.Unlock()

	ctx, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(r.open, cancel)
	go func() {
		defer r.followers.Done()
		defer cancel()
		defer unhook()
		defer func() {
			r.mu.Lock()
			delete(r.watch, news)
			r.mu.Unlock()
		}()
		f(ctx, news)
	}()
}

package scenarios

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"time"
)

// watchEvery is how often files are looked at. Looking is cheap, works on
// every file system (network and container mounts send no events), and is well
// within the 500 ms in which a change must be in force.
const watchEvery = 100 * time.Millisecond

// Watch tells, until ctx ends, each time that the files of a SCENARIO have
// changed and stayed the same for one look: written in place, renamed over,
// deleted and made anew, added. A scenario of the catalogue does not change.
func Watch(ctx context.Context, s *Source) <-chan struct{} {
	out := make(chan struct{})
	go func() {
		defer close(out)
		if len(s.Watch) == 0 {
			<-ctx.Done()
			return
		}
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		told := s.seen // what was changed since Read is told too
		last := told
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			now := fingerprint(s.Watch)
			if now != last { // still being written, perhaps
				last = now
				continue
			}
			if now == told {
				continue
			}
			told = now
			select {
			case out <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// fingerprint is of the contents: an editor that only touches a file changes
// nothing. Large files are told by size and time.
func fingerprint(paths []string) [sha256.Size]byte {
	h := sha256.New()
	for _, path := range paths {
		entries, err := os.ReadDir(path)
		if err != nil { // a file
			addFile(h, path)
			continue
		}
		for _, e := range entries {
			if !e.IsDir() {
				addFile(h, filepath.Join(path, e.Name()))
			}
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func addFile(h interface{ Write([]byte) (int, error) }, path string) {
	const large = 1 << 20
	_, _ = h.Write([]byte(path + "\x00"))
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	if info.Size() > large {
		_, _ = h.Write([]byte(info.ModTime().String()))
		return
	}
	data, _ := os.ReadFile(path)
	_, _ = h.Write(data)
}

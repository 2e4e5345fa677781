package scenarios

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

// watchEvery is how often files are looked at. Looking is a stat, works on
// every file system (network and container mounts send no events), and is well
// within the 500 ms in which a change must be in force.
const watchEvery = 50 * time.Millisecond

// settled is for how long the same must be seen, so that several files that are
// written one after the other make one change; watchAtMost is for how long
// changes that do not end are waited out, and a file that is empty: who writes
// one in place empties it first, and an empty manifest is no mistake that would
// be refused.
const (
	settled     = 2 * watchEvery
	watchAtMost = 250 * time.Millisecond
)

// Watch tells, until ctx ends, each time that the files of a SCENARIO have
// changed and settled: written in place, renamed over, deleted and made anew,
// added. A scenario of the catalogue does not change. Who reads the files again
// after that gives the new Source to again, so that files that it names for the
// first time are watched too.
func Watch(ctx context.Context, s *Source) (changed <-chan struct{}, again func(*Source)) {
	out := make(chan struct{})
	var source atomic.Pointer[Source]
	source.Store(s)
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
		var since, seen time.Time // when the first change was seen, and the last
		prints, of := fingerprints{}, s
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if other := source.Load(); other != of {
				// What was told stays what was seen before the files were read:
				// they may have changed meanwhile. Of other files nothing was
				// seen, and one more reading does no harm.
				if !slices.Equal(other.Watch, of.Watch) {
					told = [sha256.Size]byte{}
				}
				of = other
			}
			now, whole := prints.of(of.Watch)
			if now == told {
				last, since = told, time.Time{}
				continue
			}
			if since.IsZero() {
				since = time.Now()
			}
			if now != last {
				last, seen = now, time.Now()
			}
			if (!whole || time.Since(seen) < settled) && time.Since(since) < watchAtMost { // still being written, perhaps
				continue
			}
			told, last, since = now, now, time.Time{}
			select {
			case out <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, source.Store
}

// fingerprints remembers the contents of files by size and time, so that a file
// is read only when it may be another. An editor that only touches a file
// changes nothing.
type fingerprints map[string]fingerprint

type fingerprint struct {
	size     int64
	modified time.Time
	sum      [sha256.Size]byte
}

// of is the fingerprint of all manifests of folders, and of files. Whole: none
// of them is empty.
func (f fingerprints) of(paths []string) (sum [sha256.Size]byte, whole bool) {
	h := sha256.New()
	whole = true
	add := func(name, path string) {
		sum := f.file(path)
		whole = whole && sum != nothing
		fmt.Fprintf(h, "%s %x ", name, sum)
	}
	for _, path := range paths {
		entries, err := os.ReadDir(path)
		if err != nil { // a file
			add(path, path)
			continue
		}
		for _, e := range entries {
			if !e.IsDir() && isManifest(e.Name()) {
				add(e.Name(), filepath.Join(path, e.Name()))
			}
		}
	}
	return [sha256.Size]byte(h.Sum(nil)), whole
}

// nothing is the sum of an empty file.
var nothing = sha256.Sum256(nil)

// file is the sum of a regular file's contents; zero for anything else.
func (f fingerprints) file(path string) [sha256.Size]byte {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return [sha256.Size]byte{}
	}
	was, known := f[path]
	if known && was.size == info.Size() && was.modified.Equal(info.ModTime()) {
		return was.sum
	}
	h := sha256.New()
	if file, err := os.Open(path); err == nil {
		_, _ = io.Copy(h, io.LimitReader(file, maxFile+1))
		_ = file.Close()
	}
	now := fingerprint{info.Size(), info.ModTime(), [sha256.Size]byte(h.Sum(nil))}
	f[path] = now
	return now.sum
}

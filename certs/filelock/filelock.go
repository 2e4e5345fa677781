// Package filelock is a lock between processes, and between goroutines of one.
// The kernel gives it back when its process ends in whatever way, so that no
// lock of a killed process has to be waited out. The file had better stay: who
// removes it must make sure with Current that two processes do not lock two
// files of one name.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// lockPoll is how long to wait between two tries for a lock that another
// process holds; it is held for one small write.
const lockPoll = 5 * time.Millisecond

// Lock is a lock that is held.
type Lock struct{ file *os.File }

// Take waits for the lock of that name until ctx ends.
func Take(ctx context.Context, path string) (*Lock, error) {
	for {
		l, err := Try(path)
		if l != nil || err != nil {
			return l, err
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		}
	}
}

// Try takes the lock if nobody holds it; nil when somebody does.
func Try(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	got, err := tryLock(f)
	if err != nil || !got {
		f.Close()
		if err != nil {
			err = fmt.Errorf("lock %s: %w", path, err)
		}
		return nil, err
	}
	return &Lock{f}, nil
}

// Held tells whether somebody holds the lock of that name. It makes no file.
func Held(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close() // and with it the lock, where nobody held it
	got, err := tryLock(f)
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	return !got, nil
}

// Unlock gives the lock back.
func (l *Lock) Unlock() error { return l.file.Close() }

// Current tells whether the lock is on the file that has the name now.
func (l *Lock) Current(path string) bool {
	mine, err1 := l.file.Stat()
	there, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(mine, there)
}

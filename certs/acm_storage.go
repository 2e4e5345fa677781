package certs

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/caddyserver/certmagic"

	"hoplab.dev/certs/filelock"
)

// acmStorage is certmagic's own FileStorage below the state directory, but for
// the lock: its lock file outlives a killed process for ten seconds, is kept
// fresh by a goroutine that ends seconds after the lock, and is polled for once
// a second.
type acmStorage struct {
	files *certmagic.FileStorage
	locks string // directory

	mu   sync.Mutex
	held map[string]*filelock.Lock
}

func newACMStorage(s *State) *acmStorage {
	dir := filepath.Join(s.dir, acmDir)
	return &acmStorage{
		files: &certmagic.FileStorage{Path: dir},
		locks: filepath.Join(dir, "locks"),
		held:  map[string]*filelock.Lock{},
	}
}

// Lock waits for the lock of a name, between goroutines and processes.
func (s *acmStorage) Lock(ctx context.Context, name string) error {
	l, err := filelock.Take(ctx, filepath.Join(s.locks, certmagic.StorageKeys.Safe(name)+".lock"))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[name] = l
	return nil
}

// Unlock gives it back.
func (s *acmStorage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	l := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	if l == nil {
		return fmt.Errorf("lock %q is not held", name)
	}
	return l.Unlock()
}

// Store is part of certmagic.Storage; the file is replaced in one step.
func (s *acmStorage) Store(ctx context.Context, key string, value []byte) error {
	return s.files.Store(ctx, key, value)
}

// Load is part of certmagic.Storage.
func (s *acmStorage) Load(ctx context.Context, key string) ([]byte, error) {
	return s.files.Load(ctx, key)
}

// Delete is part of certmagic.Storage.
func (s *acmStorage) Delete(ctx context.Context, key string) error { return s.files.Delete(ctx, key) }

// Exists is part of certmagic.Storage.
func (s *acmStorage) Exists(ctx context.Context, key string) bool { return s.files.Exists(ctx, key) }

// List is part of certmagic.Storage.
func (s *acmStorage) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	return s.files.List(ctx, prefix, recursive)
}

// Stat is part of certmagic.Storage.
func (s *acmStorage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	return s.files.Stat(ctx, key)
}

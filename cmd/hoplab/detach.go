package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// runDetached starts the same command without -d and waits until it is ready.
// What the child has to say later, of files that changed, is in up.log beside
// its socket; the lines of requests are what trace --last and --follow show.
func (o *upOptions) runDetached(ctx context.Context, c *cli, ref string) error {
	if ref == "-" {
		return usage("write the manifests to a file", "up: -d cannot read standard input")
	}
	l, err := c.load(ref) // what is wrong is said here, where somebody reads it
	if err != nil {
		return err
	}
	_, dir, err := c.state()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := dir.Log()
	if err != nil {
		return err
	}
	defer log.Close()
	defer os.Remove(log.Name()) // by then it has another name, or was read
	name := o.runName(l)
	args := []string{"up", "--name", name}
	for _, p := range o.publish {
		args = append(args, "--publish", p)
	}
	if o.processes {
		args = append(args, "--processes")
	}
	if o.otlp != "" {
		args = append(args, "--otlp", o.otlp)
	}
	child := exec.Command(self, append(args, "--", ref)...)
	child.Stderr = log
	detach(child)
	if err := child.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	defer c.progress("starting " + name)()
	for {
		select {
		case <-ended:
			said, _ := os.ReadFile(log.Name())
			_, _ = c.stderr.Write(onlyErrors(said))
			if code := child.ProcessState.ExitCode(); code > 0 {
				return &exitError{code, nil, ""}
			}
			return &exitError{exitBroken, nil, ""} // a signal, or an end that somebody asked for
		case <-ctx.Done():
			if child.Process.Signal(os.Interrupt) != nil { // Windows has no such signal
				_ = child.Process.Kill()
			}
			<-ended
			return ctx.Err()
		case <-time.After(20 * time.Millisecond): // nobody tells when a socket is there
		}
		run, err := dir.Find(name)
		if err != nil || run == nil || run.PID != child.Process.Pid {
			continue
		}
		_ = os.Rename(log.Name(), run.File("up.log"))
		client := ask(run)
		defer client.Close()
		status, err := client.Status(ctx)
		if err != nil {
			return err
		}
		if o.output == "json" {
			return writeLine(c.stdout, status)
		}
		certificates, err := client.Certs(ctx)
		if err != nil {
			return err
		}
		writeStatus(c.stdout, status, certificates)
		c.say("it serves on; what it has to say is in %s", filepath.Join(filepath.Dir(run.Socket()), "up.log"))
		return nil
	}
}

// onlyErrors leaves out the diagnostics, which were said already.
func onlyErrors(said []byte) []byte {
	return said[max(0, bytes.LastIndex(said, []byte("hoplab: "))):]
}

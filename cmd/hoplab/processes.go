package main

import (
	"net"
	"os"
	"os/exec"

	"hoplab.dev/plan"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
	"hoplab.dev/testbed/processes"
)

// processes prepares a testbed whose nodes are children of this process. Their
// credentials are in a folder that is this user's own. Stop of the Supervisor
// ends them. Env is added to their environment.
func (c *cli) processes(credentials string, env ...string) (*testbed.Fleet, *processes.Supervisor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	folder := control.CredentialsFolder{Path: credentials}
	s := processes.New(func(n plan.Node) *exec.Cmd {
		child := exec.Command(self, "node", string(n.Kind), "--end-with-stdin",
			"--name", n.Name, "--control", l.Addr().String(), "--credentials", folder.Of(n.Name))
		child.Stderr = os.Stderr
		child.Env = append(os.Environ(), env...)
		detach(child) // a Ctrl-C is the parent's: it ends them in order
		return child
	}, c.say)
	return &testbed.Fleet{Listener: l, Credentials: credentials, Update: s.Update}, s, nil
}

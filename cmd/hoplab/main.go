// Command hoplab is the edge of an EKS cluster on one machine: ALB, Istio
// ingress gateway and sidecars that speak the real protocols, and a passport
// of every request, hop by hop.
package main

import (
	"context"
	"os"
)

// commands are in the order in which a newcomer meets them.
var commands = []func() *command{
	demoCommand, upCommand, envCommand, traceCommand, statusCommand, logCommand, downCommand,
	checkCommand, planCommand, testCommand, benchCommand, certsCommand, scenariosCommand, exportCommand, nodeCommand, versionCommand,
}

func main() {
	c := &cli{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(c.main(context.Background(), os.Args[1:]))
}

// Package passport tells what happened to a request, hop by hop.
//
// Every node writes down what it saw at its own sockets: a [ConnEnd] of each
// connection and a [RequestEnd] of each request. [Join] makes passports of them
// and sees nothing else, so that it is the same whether the nodes share a
// process or a continent. A [Recorder] is where a process collects its ends;
// [Draw] and [Line] write a passport for people, encoding/json for programs.
package passport

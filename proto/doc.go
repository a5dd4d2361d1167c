// Package proto is the wire API between caracald and its clients: caracal.proto
// and the code that `make proto` generates from it. The messages are also what
// `caracal -o json` prints, so their field names are an interface for scripts.
package proto

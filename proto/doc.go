// Package proto is the wire API between caracald and its clients: caracal.proto
// and the code generated from it. The messages are also what `caracal -o json`
// prints, so their field names are an interface for scripts.
package proto

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative caracal.proto

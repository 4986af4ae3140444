//go:build tools

// Package peers pins, by go.sum, what is built from gRPC's own module beside the programs here.
package peers

import (
	_ "google.golang.org/grpc/interop/client"
	_ "google.golang.org/grpc/interop/server"
)

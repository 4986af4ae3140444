// mixed: everything at once on grpc-go, as client and as server of echo.Echo (tests/peers/echo.proto), so that either end may be tests/peers/mixed.cc's or server.cc's as well.
//
//	mixed server --listen IP:PORT --id NAME [--max-age D] [--max-streams N] [--max-message N]     does what each request asks for; SIGTERM ends it
//	mixed client --target IP:PORT [--seconds S] [--rate N] [--threads K] [--channels C] [--seed N] [--server-limit N] [--no-retries]
//
// The client's lines are those of echo-client mixed: an outcome that a call did not ask for is a line with "unexpected"; the last is the summary.
// grpc-go sends calls once more by itself that no server has taken up (gRFC A6, "transparent retries"), and has no option against it: --no-retries counts such a call as a failure.
package main

import (
	"flag"
	"fmt"
	"os"
)

func fatal(words ...any) {
	fmt.Fprintln(os.Stderr, words...)
	os.Exit(1)
}

func main() {
	if len(os.Args) < 2 {
		fatal("usage: mixed server|client …")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	switch os.Args[1] {
	case "server":
		serve(flags)
	case "client":
		load(flags)
	default:
		fatal("usage: mixed server|client …")
	}
}

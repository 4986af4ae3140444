// ledger: each call carries a number; backends write down the numbers that they execute, the client how each call ended.
// Whoever compares the two sees what was lost and what ran twice.
//
//	ledger server --listen IP:PORT --book FILE [--max-age D]    SIGTERM: GracefulStop (GOAWAY, calls end, at most --grace), then it ends
//	ledger client --target IP:PORT --book FILE --seconds S [--rate N] [--channels K] [--first ID] [--unary-only]
//
// A book of a server is a row of 8-byte numbers, one a call that its handler has begun, written before anything else is done; a
// client's is a row of 8-byte numbers and a byte of status.  Both outlive kill -9: they are written call by call.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
)

const idKey = "ledger-id"

func fatal(words ...any) {
	fmt.Fprintln(os.Stderr, words...)
	os.Exit(1)
}

// raw messages are octets: no protocol buffers are needed.
type raw []byte

type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) {
	return *v.(*raw), nil
}
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*raw) = append(raw(nil), data...)
	return nil
}

type book struct{ file *os.File }

func bookOpen(path string) book {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		fatal(err)
	}
	return book{file}
}

// One write with O_APPEND is whole, whoever else writes.
func (b book) write(id uint64, more ...byte) {
	if _, err := b.file.Write(append(binary.BigEndian.AppendUint64(nil, id), more...)); err != nil {
		fatal(err)
	}
}

func main() {
	if len(os.Args) < 2 {
		fatal("usage: ledger server|client …")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	switch os.Args[1] {
	case "server":
		serve(flags)
	case "client":
		load(flags)
	default:
		fatal("usage: ledger server|client …")
	}
}

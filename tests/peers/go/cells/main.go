// cells: a client on grpc-go for the matrix of docs/GRPC.md (tests/interop/matrixcells.py drives it).
//
// A line of JSON on stdin starts a call ({"id", "target", "kind", "act", "deadline_ms"}) or cancels one ({"id", "cancel": true}); what the call sees comes
// out as lines: {"id", "event": "headers"}, {"event": "message", "n"}, {"event": "end", "code", "headers", "messages", "words", "trailer"}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type raw []byte

type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*raw), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*raw) = append(raw(nil), data...)
	return nil
}

type order struct {
	ID       string `json:"id"`
	Target   string `json:"target"`
	Kind     string `json:"kind"`
	Act      string `json:"act"`
	Deadline int    `json:"deadline_ms"`
	Cancel   bool   `json:"cancel"`
	Again    bool   `json:"again"` // a second call on the same channel, behind the first
}

var out = json.NewEncoder(os.Stdout)
var outLock sync.Mutex

func say(line map[string]any) {
	outLock.Lock()
	defer outLock.Unlock()
	out.Encode(line)
}

type seen struct {
	headers  bool
	messages int
	trailer  metadata.MD
	err      error
}

func call(ctx context.Context, channel *grpc.ClientConn, o order, tell bool) (s seen) {
	ctx = metadata.AppendToOutgoingContext(ctx, "cell-id", o.ID, "cell-act", o.Act)
	desc := grpc.StreamDesc{ClientStreams: o.Kind == "client" || o.Kind == "bidi", ServerStreams: o.Kind == "server" || o.Kind == "bidi"}
	stream, err := channel.NewStream(ctx, &desc, "/cell.Cell/"+o.Kind)
	if err != nil {
		return seen{err: err}
	}
	message := raw("question")
	if err := stream.SendMsg(&message); err == nil && !desc.ClientStreams {
		stream.CloseSend()
	}
	if header, err := stream.Header(); err == nil && len(header.Get("cell-header")) > 0 {
		s.headers = true
		if tell {
			say(map[string]any{"id": o.ID, "event": "headers"})
		}
	}
	for {
		var answer raw
		err := stream.RecvMsg(&answer)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.err = err
			}
			break
		}
		s.messages++
		if tell {
			say(map[string]any{"id": o.ID, "event": "message", "n": s.messages})
		}
		if !desc.ServerStreams {
			break // RecvMsg has looked at the status as well
		}
	}
	s.trailer = stream.Trailer()
	return s
}

func run(ctx context.Context, o order) {
	channel, err := grpc.NewClient("passthrough:///"+o.Target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	if err != nil {
		panic(err)
	}
	defer channel.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.Deadline)*time.Millisecond)
	defer cancel()
	s := call(ctx, channel, o, true)
	st, _ := status.FromError(s.err)
	line := map[string]any{"id": o.ID, "event": "end", "code": int(st.Code()), "headers": s.headers, "messages": s.messages, "words": st.Message(),
		"trailer": len(s.trailer.Get("cell-trailer")) > 0}
	if o.Again {
		time.Sleep(50 * time.Millisecond)
		again := call(ctx, channel, order{ID: o.ID + "-again", Kind: "unary", Act: "H,M,T"}, false)
		line["again"] = int(status.Code(again.err))
	}
	say(line)
}

func main() {
	cancels := map[string]context.CancelFunc{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			panic(err)
		}
		if o.Cancel {
			if cancel := cancels[o.ID]; cancel != nil {
				cancel()
			}
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancels[o.ID] = cancel
		go run(ctx, o)
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A call under way.
type call struct {
	plan    *plan
	cancel  context.CancelFunc
	channel *grpc.ClientConn
	given   atomic.Bool
	retried atomic.Int32 // attempts of grpc-go's own

	lock  sync.Mutex
	wrong []string
}

type callKey struct{}

func (c *call) giveUp(now bool) {
	if now {
		c.given.Store(true)
		c.cancel()
	}
}

func (c *call) says(condition bool, format string, values ...any) {
	if condition {
		return
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	c.wrong = append(c.wrong, fmt.Sprintf(format, values...))
}

func (c *call) options() (out []grpc.CallOption) {
	p := c.plan
	if p.gzip {
		out = append(out, grpc.UseCompressor("gzip"))
	}
	limit, sendLimit := math.MaxInt32, math.MaxInt32
	if p.limit > 0 {
		limit = p.limit
	}
	if p.sendLimit > 0 {
		sendLimit = p.sendLimit
	}
	return append(out, grpc.MaxCallRecvMsgSize(limit), grpc.MaxCallSendMsgSize(sendLimit))
}

func run(channel *grpc.ClientConn, p *plan, random *rand.Rand) *seen {
	deadline := 60 * time.Second
	if p.deadline > 0 {
		deadline = p.deadline
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c := &call{plan: p, cancel: cancel, channel: channel}
	ctx = context.WithValue(ctx, callKey{}, c)
	for _, m := range p.metadata {
		ctx = metadata.AppendToOutgoingContext(ctx, m.key, string(m.value))
	}
	c.giveUp(p.give == before)
	if p.give == timed {
		defer time.AfterFunc(p.giveAfter, func() { c.giveUp(true) }).Stop()
	}
	if p.give == closing {
		defer time.AfterFunc(p.giveAfter, func() {
			c.given.Store(true)
			channel.Close()
		}).Stop()
	}
	var err error
	if p.kind == "unary" && p.give != headers {
		err = c.invoke(ctx)
	} else {
		err = c.stream(ctx)
	}
	st, _ := status.FromError(err)
	s := &seen{code: st.Code(), words: st.Message(), took: time.Since(began), given: c.given.Load(), retried: int(c.retried.Load())}
	c.lock.Lock()
	defer c.lock.Unlock()
	s.wrong = c.wrong
	return s
}

var methods = map[string]string{"unary": "Unary", "client streaming": "ClientStream", "server streaming": "ServerStream", "bidi": "Bidi"}

func (c *call) invoke(ctx context.Context) error {
	var out response
	var header, trailer metadata.MD
	err := c.channel.Invoke(ctx, "/echo.Echo/Unary", &c.plan.request, &out, append(c.options(), grpc.Header(&header), grpc.Trailer(&trailer))...)
	if err == nil {
		c.lookAt(&out, 0)
	}
	c.ended(err, header, trailer)
	return err
}

// The n-th request of a stream: metadata is asked for once, in the first.
func (c *call) message(n int) *request {
	r := c.plan.request
	if n > 0 {
		r.initial, r.trailing = nil, nil
	}
	r.early = n == c.plan.earlyAt
	return &r
}

func (c *call) streams() (client, server bool) {
	kind := c.plan.kind
	return kind == "client streaming" || kind == "bidi", kind == "server streaming" || kind == "bidi"
}

func (c *call) stream(ctx context.Context) error {
	p := c.plan
	fromClient, fromServer := c.streams()
	desc := grpc.StreamDesc{ClientStreams: fromClient, ServerStreams: fromServer}
	stream, err := c.channel.NewStream(ctx, &desc, "/echo.Echo/"+methods[p.kind], c.options()...)
	if err != nil {
		return err
	}
	count := 1
	if fromClient {
		count = p.messages
	}
	if p.kind == "bidi" && !p.pipelined {
		err = c.inTurns(stream)
	} else if p.kind == "bidi" || p.pipelined {
		sent := make(chan error, 1)
		go func() { sent <- c.send(stream, count) }()
		err = c.receive(stream)
		c.cancel() // a sender that waits for room waits no longer
		if s := <-sent; s != nil && err == nil {
			err = s
		}
	} else {
		if err = c.send(stream, count); err == nil {
			err = c.receive(stream)
		}
	}
	header, _ := stream.Header()
	c.ended(err, header, stream.Trailer())
	return err
}

// Gives an error of this end's own; what the other end says comes to who receives.
func (c *call) send(stream grpc.ClientStream, count int) error {
	for n := 0; n < count; n++ {
		if err := stream.SendMsg(c.message(n)); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		c.giveUp(c.plan.give == sending && n == c.plan.giveAt)
	}
	stream.CloseSend()
	return nil
}

func (c *call) receive(stream grpc.ClientStream) error {
	if c.plan.give == headers {
		if _, err := stream.Header(); err == nil {
			c.giveUp(true)
		}
	}
	_, many := c.streams()
	for n := 0; ; n++ {
		done, err := c.receiveOne(stream, n)
		if err != nil {
			return err
		}
		if done {
			c.says(n == c.answers(), "%d answers, not %d", n, c.answers())
			return nil
		}
		if !many {
			return nil // RecvMsg has looked at the status as well
		}
	}
}

func (c *call) receiveOne(stream grpc.ClientStream, n int) (done bool, err error) {
	var out response
	if err = stream.RecvMsg(&out); errors.Is(err, io.EOF) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	c.lookAt(&out, n)
	c.giveUp(c.plan.give == answer && n == c.plan.giveAt)
	time.Sleep(c.plan.slow)
	return false, nil
}

// One request, one answer, and so on.
func (c *call) inTurns(stream grpc.ClientStream) error {
	n := 0
	for ; n < c.plan.messages; n++ {
		if err := stream.SendMsg(c.message(n)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		c.giveUp(c.plan.give == sending && n == c.plan.giveAt)
		if done, err := c.receiveOne(stream, n); err != nil {
			return err
		} else if done {
			c.says(n == c.answers(), "%d answers, not %d", n, c.answers())
			return nil
		}
	}
	stream.CloseSend()
	done, err := c.receiveOne(stream, n)
	if err == nil {
		c.says(done && n == c.answers(), "more than %d answers", n)
	}
	return err
}

// How many answers a call that ends well has.
func (c *call) answers() int {
	if c.plan.earlyAt >= 0 {
		return c.plan.earlyAt
	}
	return c.plan.messages
}

func (c *call) lookAt(out *response, n int) {
	p := c.plan
	if p.kind != "client streaming" {
		c.says(bytes.Equal(out.payload, p.request.payload), "payload of answer %d", n)
		c.says(out.sequence == uint64(n), "answer %d is number %d", n, out.sequence)
	} else {
		count := p.messages
		if p.earlyAt >= 0 {
			count = p.earlyAt + 1
		}
		hash := uint64(fnvStart)
		for i := 0; i < count; i++ {
			hash = fnv(hash, p.request.payload)
		}
		c.says(out.messages == uint64(count), "%d messages arrived, not %d", out.messages, count)
		c.says(out.bytes == uint64(count*len(p.request.payload)) && (out.hash == hash || out.hash == 0), "what arrived is not what was sent") // 0: a server that does not look
	}
	if !p.request.report {
		return
	}
	for _, m := range p.metadata {
		c.says(slices.ContainsFunc(out.metadata, func(have pair) bool { return have.key == m.key && bytes.Equal(have.value, m.value) }), "the server has not seen %s", m.key)
	}
}

// The call's end is the server's own: what was asked for stands in headers and trailers.
func (c *call) ended(err error, header, trailer metadata.MD) {
	p := c.plan
	st, _ := status.FromError(err)
	if uint64(st.Code()) != p.request.code || st.Message() != p.request.words || c.given.Load() || p.limit > 0 || p.sendLimit > 0 {
		return
	}
	carries := func(md metadata.MD, wanted []pair, name string) {
		for _, m := range wanted {
			c.says(slices.Contains(md.Get(m.key), string(m.value)), "%s without %s", name, m.key)
		}
		for key, values := range md {
			c.says(!strings.HasPrefix(key, "mixed-") || len(values) == 1, "%s: %s comes %d times", name, key, len(values))
		}
	}
	carries(header, p.request.initial, "headers")
	carries(trailer, p.request.trailing, "trailers")
}

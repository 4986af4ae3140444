package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type client struct {
	book     book
	channels []*grpc.ClientConn
	start    time.Time

	lock     sync.Mutex
	byStatus map[string]int
	byWords  map[string]int
	inFlight atomic.Int64
}

var bidi = grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
var payload = raw(make([]byte, 100))

// Sends n messages, `pause` apart, and reads everything; gives how many there were.
func stream(ctx context.Context, channel *grpc.ClientConn, method string, n int, pause time.Duration) (int, error) {
	s, err := channel.NewStream(ctx, &bidi, "/ledger.Ledger/"+method)
	if err != nil {
		return 0, err
	}
	go func() {
		for i := 0; i < n; i++ {
			if i > 0 {
				time.Sleep(pause)
			}
			if s.SendMsg(&payload) != nil {
				return
			}
		}
		s.CloseSend()
	}()
	for got := 0; ; got++ {
		var answer raw
		if err := s.RecvMsg(&answer); errors.Is(err, io.EOF) {
			return got, nil
		} else if err != nil {
			return got, err
		} else if len(answer) != len(payload) {
			return got, fmt.Errorf("an answer of %d octets", len(answer))
		}
	}
}

// Nine of ten are unary; the others last from no time to some seconds, longer than a connection may.
func (c *client) call(id uint64, channel *grpc.ClientConn, unaryOnly bool) {
	defer c.inFlight.Add(-1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, idKey, strconv.FormatUint(id, 10))
	began := time.Now()
	var err error
	got, want, method := 1, 1, "Unary"
	kind := id % 40
	if unaryOnly {
		kind = 39
	}
	switch kind {
	case 0:
		method = "ClientStream"
		got, err = stream(ctx, channel, method, 3, time.Duration(id%30)*time.Millisecond)
	case 1:
		method, want = "ServerStream", 5
		got, err = stream(ctx, channel, method, 1, 0)
	case 2:
		method, want = "Bidi", 4
		got, err = stream(ctx, channel, method, 4, time.Duration(id%1000)*time.Millisecond)
	case 3:
		method, want = "Bidi", 10
		got, err = stream(ctx, channel, method, 10, time.Millisecond)
	default:
		var answer raw
		err = channel.Invoke(ctx, "/ledger.Ledger/Unary", &payload, &answer)
		if err == nil && len(answer) != len(payload) {
			got = 0
		}
	}
	if err == nil && got != want {
		err = fmt.Errorf("%d answers, not %d", got, want)
	}
	c.ended(id, method, began, err)
}

func (c *client) ended(id uint64, method string, began time.Time, err error) {
	code := status.Code(err)
	c.book.write(id, byte(code))
	c.lock.Lock()
	defer c.lock.Unlock()
	c.byStatus[code.String()]++
	if err == nil {
		return
	}
	c.byWords[err.Error()]++
	if c.byWords[err.Error()] > 2000 || len(c.byWords) > 100 {
		return
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{"failure": code.String(), "message": err.Error(), "id": id, "method": method,
		"began": began.Sub(c.start).Seconds(), "ended": time.Since(c.start).Seconds(), "at": time.Now().Format("15:04:05.000000")})
}

func load(flags *flag.FlagSet) {
	target := flags.String("target", "", "IP:PORT")
	path := flags.String("book", "", "file of the calls that have ended, and how")
	seconds := flags.Float64("seconds", 10, "how long calls begin")
	rate := flags.Float64("rate", 1000, "calls a second, where the machine can")
	count := flags.Int("channels", 4, "connections")
	first := flags.Uint64("first", 1, "number of the first call")
	config := flags.String("service-config", "", "JSON of the channels")
	unaryOnly := flags.Bool("unary-only", false, "no streams")
	flags.Parse(os.Args[2:])

	c := &client{book: bookOpen(*path), byStatus: map[string]int{}, byWords: map[string]int{}}
	for i := 0; i < *count; i++ {
		options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}))}
		if *config != "" {
			options = append(options, grpc.WithDefaultServiceConfig(*config))
		}
		channel, err := grpc.NewClient("passthrough:///"+*target, options...)
		if err != nil {
			fatal(err)
		}
		c.channels = append(c.channels, channel)
	}
	ending := make(chan os.Signal, 1)
	signal.Notify(ending, syscall.SIGTERM)
	c.start = time.Now()
	var calls sync.WaitGroup
	most, id := int64(0), *first
	tick := time.NewTicker(2 * time.Millisecond)
	stop := false
	for !stop && time.Since(c.start).Seconds() < *seconds {
		select {
		case <-tick.C:
		case <-ending:
			stop = true
		}
		// What is due by now, but no more at once than the connections have streams for: those that wait for one inside grpc-go are not served in order, and
		// on a machine that never catches up some wait until their deadline.
		for due := *first + uint64(time.Since(c.start).Seconds()**rate); id < due && c.inFlight.Load() < int64(96**count); id++ {
			calls.Add(1)
			most = max(most, c.inFlight.Add(1))
			go func(id uint64) {
				defer calls.Done()
				c.call(id, c.channels[id%uint64(len(c.channels))], *unaryOnly)
			}(id)
		}
	}
	took := time.Since(c.start).Seconds()
	calls.Wait()
	json.NewEncoder(os.Stdout).Encode(map[string]any{"summary": true, "begun": id - *first, "status": c.byStatus, "words": c.byWords, "seconds": took, "rate": float64(id-*first) / took,
		"most_in_flight": most})
}

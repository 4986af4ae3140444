package main

import (
	"context"
	"encoding/json"
	"flag"
	"math/rand"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
)

// Says to a call that grpc-go has sent it once more.
type attempts struct{}

func (attempts) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (attempts) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (attempts) HandleConn(context.Context, stats.ConnStats)                       {}
func (attempts) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if begin, ok := s.(*stats.Begin); ok && begin.IsTransparentRetryAttempt {
		if c, ok := ctx.Value(callKey{}).(*call); ok {
			c.retried.Add(1)
		}
	}
}

// A connection, which closes when it has been replaced and its last call has ended.
type channel struct {
	*grpc.ClientConn
	users int
	old   bool
}

type client struct {
	target      string
	serverLimit int
	early       time.Duration
	strict      bool
	show        int

	lock     sync.Mutex
	channels []*channel
	outcomes map[string]int
	calls    int
	bad      int
	retried  int
}

func (c *client) open(random *rand.Rand) *channel {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{})), grpc.WithStatsHandler(attempts{}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.5, MaxDelay: time.Second}, MinConnectTimeout: 10 * time.Second})}
	switch random.Intn(4) { // otherwise its windows follow what it measures
	case 0:
		options = append(options, grpc.WithInitialWindowSize(65535), grpc.WithInitialConnWindowSize(65535))
	case 1:
		options = append(options, grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(1<<20), grpc.WithWriteBufferSize(0))
	}
	conn, err := grpc.NewClient("passthrough:///"+c.target, options...)
	if err != nil {
		fatal(err)
	}
	return &channel{ClientConn: conn}
}

func (c *client) take(random *rand.Rand) *channel {
	c.lock.Lock()
	defer c.lock.Unlock()
	slot := &c.channels[random.Intn(len(c.channels))]
	if one(random, 400) {
		(*slot).old = true
		if (*slot).users == 0 {
			go (*slot).Close()
		}
		*slot = c.open(random)
	}
	(*slot).users++
	return *slot
}

func (c *client) giveBack(ch *channel) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if ch.users--; ch.users == 0 && ch.old {
		go ch.Close()
	}
}

var outLock sync.Mutex

func say(line map[string]any) {
	outLock.Lock()
	defer outLock.Unlock()
	json.NewEncoder(os.Stdout).Encode(line)
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (c *client) oneCall(random *rand.Rand) {
	p := planMake(random)
	var s *seen
	began := time.Now()
	if p.fresh {
		ch := c.open(random)
		s = run(ch.ClientConn, p, random)
		ch.Close()
	} else {
		ch := c.take(random)
		s = run(ch.ClientConn, p, random)
		c.giveBack(ch)
	}
	why := p.unexpected(s, c.serverLimit, c.early, c.strict)
	c.lock.Lock()
	defer c.lock.Unlock()
	c.calls++
	c.retried += s.retried
	c.outcomes[p.kind+" "+s.code.String()]++
	if why == "" {
		return
	}
	c.bad++
	if c.bad > c.show {
		return
	}
	say(map[string]any{"unexpected": s.code.String(), "why": why, "kind": p.kind, "message": s.words, "wrong": s.wrong, "wanted": p.request.code, "wanted_message": p.request.words,
		"size": len(p.request.payload), "messages": p.messages, "delay_ms": p.request.delayMs, "deadline_ms": p.deadline.Milliseconds(), "give": p.give, "give_after_us": p.giveAfter.Microseconds(),
		"given": s.given, "fresh": p.fresh, "early_at": p.earlyAt, "pipelined": p.pipelined, "slow_us": p.slow.Microseconds(), "gzip": p.gzip, "limit": p.limit, "send_limit": p.sendLimit,
		"retried": s.retried, "began": seconds(began), "ended": seconds(time.Now())})
}

func (c *client) line(name string) map[string]any {
	c.lock.Lock()
	defer c.lock.Unlock()
	outcomes := map[string]int{}
	for outcome, n := range c.outcomes {
		outcomes[outcome] = n
	}
	return map[string]any{name: true, "calls": c.calls, "unexpected_calls": c.bad, "sent_again": c.retried, "outcomes": outcomes}
}

func load(flags *flag.FlagSet) {
	c := &client{outcomes: map[string]int{}}
	flags.StringVar(&c.target, "target", "", "IP:PORT")
	lasts := flags.Float64("seconds", 10, "how long calls begin")
	rate := flags.Float64("rate", 0, "calls a second; 0: as many as the threads make")
	threads := flags.Int("threads", 8, "calls at a time")
	count := flags.Int("channels", 3, "connections that stay")
	interval := flags.Duration("interval", 0, "a line of counts so often; 0: none")
	seed := flags.Int64("seed", time.Now().UnixNano()%1000000, "of everything random")
	flags.IntVar(&c.serverLimit, "server-limit", 0, "octets that the server takes in one message; 0: any")
	flags.DurationVar(&c.early, "early", 2*time.Millisecond, "a server may see a deadline pass so much before the client does")
	flags.BoolVar(&c.strict, "no-retries", false, "a call that grpc-go has sent again by itself has failed")
	flags.IntVar(&c.show, "show", 50, "failures to print")
	flags.Parse(os.Args[2:])
	say(map[string]any{"seed": *seed})
	random := rand.New(rand.NewSource(*seed))
	for i := 0; i < *count; i++ {
		c.channels = append(c.channels, c.open(random))
	}
	var stopping atomic.Bool
	ending := make(chan os.Signal, 1)
	signal.Notify(ending, syscall.SIGTERM)
	go func() {
		<-ending
		stopping.Store(true)
	}()
	if *interval > 0 {
		go func() {
			for range time.Tick(*interval) {
				say(c.line("interval"))
			}
		}()
	}
	until := time.Now().Add(time.Duration(*lasts * float64(time.Second)))
	var all sync.WaitGroup
	for i := 0; i < *threads; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			random, turn := rand.New(rand.NewSource(*seed*1000+int64(i))), time.Now()
			for time.Now().Before(until) && !stopping.Load() {
				if *rate > 0 { // each thread's share of it; time lost is not made up for
					turn = turn.Add(time.Duration(float64(*threads) / *rate * float64(time.Second)))
					if now := time.Now(); turn.Before(now) {
						turn = now
					}
					time.Sleep(time.Until(turn))
				}
				c.oneCall(random)
			}
		}()
	}
	all.Wait()
	for _, ch := range c.channels {
		ch.Close()
	}
	say(c.line("summary"))
	if c.bad > 0 {
		os.Exit(1)
	}
}

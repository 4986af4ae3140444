package main

import (
	"fmt"
	"math/rand"
	"time"

	"google.golang.org/grpc/codes"
)

type moment int // at which a call is given up

const (
	never   moment = iota
	before         // its context is over before it begins
	timed          // after a time, often that at which the answer is to come
	sending        // behind a message sent
	headers        // with the response's headers
	answer         // behind a message received
	closing        // with its channel, after a time
)

type plan struct {
	kind      string
	request   request
	messages  int
	deadline  time.Duration // 0: none that should be reached
	give      moment
	giveAfter time.Duration
	giveAt    int // sending, answer: which message
	fresh     bool
	pipelined bool // bidi: sends without waiting for answers
	earlyAt   int  // the server answers at this message, whatever else comes; -1: at the end
	slow      time.Duration
	gzip      bool
	limit     int // octets that an answer may have; 0: any
	sendLimit int
	metadata  []pair
}

var kinds = []string{"unary", "unary", "client streaming", "server streaming", "bidi"}
var sizes = []int{0, 1, 5, 100, 1000, 10000, 16384, 65535, 100000, 1 << 20}
var words = []string{"asked for: %d", "100%% sure: %d", "gefragt wäre: %d", "", "two\nlines, %d", "%d ends with a blank "}

const most = 2 << 20 // octets of a stream

var block = func() []byte { // payloads are parts of it
	out := make([]byte, 2<<20)
	rand.New(rand.NewSource(1)).Read(out)
	for i := 0; i < len(out); i += 8192 { // half of it can be compressed
		clear(out[i : i+4096])
	}
	return out
}()

func payload(random *rand.Rand, size int) []byte {
	at := random.Intn(len(block) - size + 1)
	return block[at : at+size]
}

func binary(random *rand.Rand, size int) []byte {
	out := make([]byte, size)
	random.Read(out)
	return out
}

func letters(random *rand.Rand, size int) []byte {
	out := make([]byte, size)
	for i := range out {
		out[i] = byte('!' + random.Intn(94)) // no blank: those at its ends are not a value's
	}
	return out
}

func one(random *rand.Rand, in int) bool { return random.Intn(in) == 0 }

func extras(random *rand.Rand, name string) (out []pair) {
	for i := random.Intn(4); i > 0; i-- {
		if one(random, 2) {
			out = append(out, pair{fmt.Sprintf("%s-%d-bin", name, i), binary(random, random.Intn(200))})
		} else {
			out = append(out, pair{fmt.Sprintf("%s-%d", name, i), letters(random, 1+random.Intn(300))})
		}
	}
	return
}

func planMake(random *rand.Rand) *plan {
	p := &plan{kind: kinds[random.Intn(len(kinds))], earlyAt: -1}
	some := 6
	if one(random, 8) {
		some = len(sizes)
	}
	size := sizes[random.Intn(some)]
	p.messages = 1 + random.Intn(20)
	if size*p.messages > most {
		p.messages = max(most/size, 1)
	}
	r := &p.request
	r.payload, r.echo = payload(random, size), true
	if p.kind == "server streaming" {
		r.messages = uint64(p.messages)
	}
	p.times(random)
	if one(random, 5) {
		r.code = uint64(1 + random.Intn(16))
		r.words = words[random.Intn(len(words))]
		if r.words != "" {
			r.words = fmt.Sprintf(r.words, random.Intn(100))
		}
	}
	r.initial, r.trailing, p.metadata = extras(random, "mixed-initial"), extras(random, "mixed-trailing"), extras(random, "mixed-asked")
	p.metadata = append(p.metadata, pair{"number", []byte(fmt.Sprint(random.Intn(50)))}) // hits and misses of the dynamic table
	if one(random, 3) {
		p.metadata = append(p.metadata, pair{fmt.Sprintf("once-%d", random.Intn(1000)), letters(random, 1+random.Intn(500))})
	}
	r.report = one(random, 3)
	if one(random, 8) && (p.kind == "client streaming" || p.kind == "bidi") {
		p.earlyAt = random.Intn(p.messages)
	}
	p.pipelined, p.gzip, p.fresh = one(random, 2), one(random, 6), one(random, 25)
	p.limits(random, size)
	p.ends(random)
	return p
}

// Deadlines, delays, readers that are slow.
func (p *plan) times(random *rand.Rand) {
	r := &p.request
	if one(random, 12) {
		p.deadline = time.Duration(1000+random.Intn(59000)) * time.Microsecond
		r.delayMs = uint64(random.Intn(60))
	} else if one(random, 6) {
		r.delayMs = uint64(random.Intn(10))
	}
	if one(random, 20) {
		p.slow = time.Duration(random.Intn(20000)) * time.Microsecond
	}
	if one(random, 20) {
		r.intervalUs = uint64(random.Intn(10000))
	}
}

func (p *plan) limits(random *rand.Rand, size int) {
	if !one(random, 20) || size < 100 {
		return
	}
	if one(random, 2) {
		p.limit = size / 2
	} else {
		p.sendLimit = size / 2
	}
}

func (p *plan) ends(random *rand.Rand) {
	if !one(random, 6) && !p.fresh {
		return
	}
	p.give = moment(random.Intn(int(closing))) // never: of those on a channel of their own some end well
	if p.fresh && one(random, 4) {
		p.give = closing
	}
	p.giveAt = random.Intn(5)
	p.giveAfter = time.Duration(random.Intn(4000)) * time.Microsecond
	if one(random, 3) {
		p.giveAfter = time.Duration(p.request.delayMs)*time.Millisecond + time.Duration(random.Intn(2500))*time.Microsecond
	}
	if p.fresh && one(random, 2) {
		p.giveAfter = time.Duration(random.Intn(300)) * time.Microsecond
	}
}

// What the call saw.
type seen struct {
	code    codes.Code
	words   string
	took    time.Duration
	given   bool // up, at the moment that the plan says
	retried int
	wrong   []string
}

// Why the outcome is not one that the plan asked for; empty: it is.
func (p *plan) unexpected(s *seen, serverLimit int, early time.Duration, strict bool) string {
	switch {
	case strict && s.retried > 0 && !s.given:
		return "sent again by itself"
	case s.code == codes.Canceled && s.given:
		return ""
	case s.code == codes.Unavailable && s.given && p.give == closing:
		return ""
	case s.code == codes.Internal && s.words == "unexpected EOF" && (s.given || p.deadline > 0 && s.took >= p.deadline-early):
		return "" // what grpc-go says of a message that broke off, whatever ended the stream
	case s.code == codes.DeadlineExceeded && p.deadline > 0:
		if s.took < p.deadline-early && s.code != codes.Code(p.request.code) {
			return "before its deadline"
		}
		return ""
	case s.code == codes.ResourceExhausted && p.tooLarge(serverLimit):
		return ""
	case uint64(s.code) != p.request.code:
		return "status"
	case s.code != codes.OK && s.words != p.request.words:
		return "words"
	case len(s.wrong) > 0:
		return s.wrong[0]
	}
	return ""
}

func (p *plan) tooLarge(serverLimit int) bool {
	size := len(p.request.payload)
	return p.limit > 0 || p.sendLimit > 0 || serverLimit > 0 && size+2000 > serverLimit
}

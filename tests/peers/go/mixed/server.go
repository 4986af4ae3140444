package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type backend struct{ id string }

const fnvStart, fnvPrime = 14695981039346656037, 1099511628211

func fnv(hash uint64, data []byte) uint64 {
	for _, octet := range data {
		hash = (hash ^ uint64(octet)) * fnvPrime
	}
	return hash
}

// What the requests of one call have asked for, and what they carried.
type served struct {
	backend                         *backend
	ctx                             context.Context
	err                             error
	messages, bytes, hash, sequence uint64
}

func (b *backend) begin(ctx context.Context) *served {
	return &served{backend: b, ctx: ctx, hash: fnvStart}
}

func (s *served) take(r *request) {
	s.messages++
	s.bytes += uint64(len(r.payload))
	s.hash = fnv(s.hash, r.payload)
	if r.code != 0 {
		s.err = status.Error(codes.Code(r.code), r.words)
	}
	for _, p := range r.initial {
		grpc.SetHeader(s.ctx, metadata.Pairs(p.key, string(p.value))) // too late behind the first answer, as in server.cc
	}
	for _, p := range r.trailing {
		grpc.SetTrailer(s.ctx, metadata.Pairs(p.key, string(p.value)))
	}
}

func (s *served) answer(r *request) *response {
	out := &response{backend: s.backend.id, payload: r.payload, messages: s.messages, bytes: s.bytes, hash: s.hash, sequence: s.sequence}
	s.sequence++
	if !r.echo {
		out.payload = make([]byte, r.size)
	}
	if r.report {
		seen, _ := metadata.FromIncomingContext(s.ctx)
		for key, values := range seen {
			for _, value := range values {
				out.metadata = append(out.metadata, pair{key, []byte(value)})
			}
		}
	}
	return out
}

func (s *served) wait(d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

func (s *served) delay(r *request) error { return s.wait(time.Duration(r.delayMs) * time.Millisecond) }

func (s *served) pause(r *request) error {
	return s.wait(time.Duration(r.intervalUs) * time.Microsecond)
}

func unary(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	s, r := srv.(*backend).begin(ctx), &request{}
	if err := decode(r); err != nil {
		return nil, err
	}
	s.take(r)
	if err := s.delay(r); err != nil {
		return nil, err
	}
	return s.answer(r), s.err
}

func clientStream(srv any, stream grpc.ServerStream) error {
	s := srv.(*backend).begin(stream.Context())
	var first request
	for early := false; !early; {
		var r request
		if err := stream.RecvMsg(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		s.take(&r)
		if s.messages == 1 {
			first = r
		}
		if early = r.early; !early {
			if err := s.pause(&r); err != nil {
				return err
			}
		}
	}
	if !first.echo {
		first.payload = nil
	}
	if err := s.delay(&first); err != nil {
		return err
	}
	if s.err != nil {
		return s.err
	}
	answer := s.answer(&first)
	answer.payload = nil
	return stream.SendMsg(answer)
}

func serverStream(srv any, stream grpc.ServerStream) error {
	s, r := srv.(*backend).begin(stream.Context()), &request{}
	if err := stream.RecvMsg(r); err != nil {
		return err
	}
	s.take(r)
	if err := s.delay(r); err != nil {
		return err
	}
	for s.sequence < r.messages && !r.early {
		if err := stream.SendMsg(s.answer(r)); err != nil {
			return err
		}
		if err := s.pause(r); err != nil {
			return err
		}
	}
	return s.err
}

func bidi(srv any, stream grpc.ServerStream) error {
	s := srv.(*backend).begin(stream.Context())
	for {
		var r request
		if err := stream.RecvMsg(&r); errors.Is(err, io.EOF) {
			return s.err
		} else if err != nil {
			return err
		}
		s.take(&r)
		if err := s.delay(&r); err != nil {
			return err
		}
		if r.early {
			return s.err
		}
		if err := stream.SendMsg(s.answer(&r)); err != nil {
			return err
		}
	}
}

var service = grpc.ServiceDesc{
	ServiceName: "echo.Echo",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
	Streams: []grpc.StreamDesc{
		{StreamName: "ClientStream", Handler: clientStream, ClientStreams: true},
		{StreamName: "ServerStream", Handler: serverStream, ServerStreams: true},
		{StreamName: "Bidi", Handler: bidi, ClientStreams: true, ServerStreams: true},
	},
}

func serve(flags *flag.FlagSet) {
	listen := flags.String("listen", "", "IP:PORT")
	id := flags.String("id", "go", "its name")
	age := flags.Duration("max-age", 0, "MaxConnectionAge; 0: none")
	streams := flags.Uint("max-streams", 0, "MaxConcurrentStreams; 0: grpc-go's own")
	largest := flags.Int("max-message", 1<<30, "octets that a request may have")
	flags.Parse(os.Args[2:])
	options := []grpc.ServerOption{grpc.ForceServerCodec(codec{}), grpc.MaxRecvMsgSize(*largest), grpc.MaxSendMsgSize(1 << 30)}
	if *age > 0 {
		options = append(options, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: *age, MaxConnectionAgeGrace: 30 * time.Second}))
	}
	if *streams > 0 {
		options = append(options, grpc.MaxConcurrentStreams(uint32(*streams)))
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fatal(err)
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&service, &backend{*id})
	fmt.Println("listening", *listen)
	ending := make(chan os.Signal, 1)
	signal.Notify(ending, syscall.SIGTERM)
	go func() {
		<-ending
		server.Stop()
	}()
	server.Serve(listener)
}

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Answers of a call: as many as there are messages asked for, or one to each request.
func (b book) handle(_ any, stream grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if len(md.Get(idKey)) != 1 {
		return status.Error(codes.InvalidArgument, "no number")
	}
	id, err := strconv.ParseUint(md.Get(idKey)[0], 10, 64)
	if err != nil {
		return status.Error(codes.InvalidArgument, "no number")
	}
	b.write(id)
	method, _ := grpc.MethodFromServerStream(stream)
	method = method[strings.LastIndexByte(method, '/')+1:]
	var last raw
	for {
		var message raw
		err := stream.RecvMsg(&message)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		last = message
		if method == "Bidi" {
			if err := stream.SendMsg(&last); err != nil {
				return err
			}
		}
	}
	switch method {
	case "Unary", "ClientStream":
		if id%2 == 0 { // so that some are under way whenever something happens
			time.Sleep(time.Duration(id%100) * time.Millisecond)
		}
		return stream.SendMsg(&last)
	case "ServerStream":
		for i := 0; i < 5; i++ {
			if err := stream.SendMsg(&last); err != nil {
				return err
			}
			time.Sleep(time.Duration(id%20) * time.Millisecond)
		}
	}
	return nil
}

func serve(flags *flag.FlagSet) {
	listen := flags.String("listen", "", "IP:PORT")
	path := flags.String("book", "", "file of the calls that were begun")
	age := flags.Duration("max-age", 0, "of a connection")
	grace := flags.Duration("grace", 20*time.Second, "for calls to end")
	flags.Parse(os.Args[2:])

	b := bookOpen(*path)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fatal(err)
	}
	options := []grpc.ServerOption{grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(b.handle)}
	if *age > 0 {
		options = append(options, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: *age, MaxConnectionAgeGrace: *grace}))
	}
	server := grpc.NewServer(options...)
	ending := make(chan os.Signal, 1)
	signal.Notify(ending, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		<-ending
		timer := time.AfterFunc(*grace, server.Stop)
		server.GracefulStop()
		timer.Stop()
		close(done)
	}()
	fmt.Println("listening", *listen)
	if err := server.Serve(listener); err != nil {
		fatal(err)
	}
	<-done
}

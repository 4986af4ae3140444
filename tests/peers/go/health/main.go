// health: asks a gateway what gRPC's own health checking asks, a line of JSON an answer.
//
//	health check --target ADDRESS [--service NAME]   Check: {"status": "SERVING"}, or {"code": "NotFound"}
//	health watch --target ADDRESS [--service NAME]   Watch: {"status": ...} each time that one comes, {"code": ...} at its end
//	health channel --target ADDRESS --service NAME   a channel with healthCheckConfig and round_robin: {"state": "READY"} each time that it changes
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // what healthCheckConfig needs
	pb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func say(key, value string) {
	json.NewEncoder(os.Stdout).Encode(map[string]string{key: value})
}

func watch(client pb.HealthClient, service string) {
	stream, err := client.Watch(context.Background(), &pb.HealthCheckRequest{Service: service})
	for err == nil {
		var answer *pb.HealthCheckResponse
		if answer, err = stream.Recv(); err == nil {
			say("status", answer.Status.String())
		}
	}
	say("code", status.Code(err).String())
}

func states(channel *grpc.ClientConn) {
	for {
		channel.Connect()
		state := channel.GetState()
		say("state", state.String())
		channel.WaitForStateChange(context.Background(), state)
	}
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: health check|watch|channel --target ADDRESS [--service NAME]")
		os.Exit(2)
	}
	flags := flag.NewFlagSet("health", flag.ExitOnError)
	target := flags.String("target", "", "the gateway")
	service := flags.String("service", "", "a cluster's name; empty: the gateway")
	flags.Parse(os.Args[2:])
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if os.Args[1] == "channel" {
		options = append(options, grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": %q}}`, *service)))
	}
	channel, err := grpc.NewClient("passthrough:///"+*target, options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	client := pb.NewHealthClient(channel)
	switch os.Args[1] {
	case "check":
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		answer, err := client.Check(ctx, &pb.HealthCheckRequest{Service: *service})
		if err != nil {
			say("code", status.Code(err).String())
		} else {
			say("status", answer.Status.String())
		}
	case "watch":
		watch(client, *service)
	case "channel":
		states(channel)
	default:
		os.Exit(2)
	}
}

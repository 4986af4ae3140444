// interop-client: gRPC's interop test cases (grpc/doc/interop-test-descriptions.md) on libgrpc++, several in one run.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <stdexcept>

#include "common.h"
#include "interop.grpc.pb.h"

namespace {

using namespace grpc::testing;

const char initial_key[] = "x-grpc-test-echo-initial", trailing_key[] = "x-grpc-test-echo-trailing-bin";
const int request_sizes[] = {27182, 8, 1828, 45904}, response_sizes[] = {31415, 9, 2653, 58979};

struct Peer {
    std::string target;
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<TestService::Stub> stub;
    int iterations;
};

void must(bool held, const std::string &words)
{
    if (!held)
        throw std::runtime_error(words);
}

void must_be(const grpc::Status &status, grpc::StatusCode code, const std::string &where)
{
    must(status.error_code() == code, where + ": " + status_name(status.error_code()) + " (" + status.error_message() + "), not " + status_name(code));
}

std::string zeros(int size) { return std::string(size_t(size), '\0'); }

void large_unary_on(TestService::Stub &stub)
{
    grpc::ClientContext context;
    SimpleRequest request;
    SimpleResponse response;
    request.set_response_size(314159);
    request.mutable_payload()->set_body(zeros(271828));
    must_be(stub.UnaryCall(&context, request, &response), grpc::OK, "UnaryCall");
    must(response.payload().body() == zeros(314159), "the payload is another");
}

void empty_unary(Peer &peer)
{
    grpc::ClientContext context;
    Empty response;
    must_be(peer.stub->EmptyCall(&context, Empty(), &response), grpc::OK, "EmptyCall");
    must(response.ByteSizeLong() == 0, "an answer that is not empty");
}

void large_unary(Peer &peer) { large_unary_on(*peer.stub); }

void client_streaming(Peer &peer)
{
    grpc::ClientContext context;
    StreamingInputCallResponse response;
    auto stream = peer.stub->StreamingInputCall(&context, &response);
    for (int size : request_sizes) {
        StreamingInputCallRequest request;
        request.mutable_payload()->set_body(zeros(size));
        must(stream->Write(request), "the stream broke");
    }
    stream->WritesDone();
    must_be(stream->Finish(), grpc::OK, "StreamingInputCall");
    must(response.aggregated_payload_size() == 74922, "sum " + std::to_string(response.aggregated_payload_size()));
}

void server_streaming(Peer &peer)
{
    grpc::ClientContext context;
    StreamingOutputCallRequest request;
    StreamingOutputCallResponse response;
    for (int size : response_sizes)
        request.add_response_parameters()->set_size(size);
    auto stream = peer.stub->StreamingOutputCall(&context, request);
    size_t n = 0;
    for (; stream->Read(&response); n++)
        must(n < 4 && response.payload().body() == zeros(response_sizes[n]), "answer " + std::to_string(n) + " is another");
    must_be(stream->Finish(), grpc::OK, "StreamingOutputCall");
    must(n == 4, std::to_string(n) + " answers");
}

StreamingOutputCallRequest duplex_request(int size, int answer)
{
    StreamingOutputCallRequest request;
    request.mutable_payload()->set_body(zeros(size));
    if (answer >= 0)
        request.add_response_parameters()->set_size(answer);
    return request;
}

void ping_pong(Peer &peer)
{
    grpc::ClientContext context;
    StreamingOutputCallResponse response;
    auto stream = peer.stub->FullDuplexCall(&context);
    for (int i = 0; i < 4; i++) {
        must(stream->Write(duplex_request(request_sizes[i], response_sizes[i])), "the stream broke");
        must(stream->Read(&response) && response.payload().body() == zeros(response_sizes[i]), "answer " + std::to_string(i) + " is another");
    }
    stream->WritesDone();
    must(!stream->Read(&response), "an answer too many");
    must_be(stream->Finish(), grpc::OK, "FullDuplexCall");
}

void empty_stream(Peer &peer)
{
    grpc::ClientContext context;
    StreamingOutputCallResponse response;
    auto stream = peer.stub->FullDuplexCall(&context);
    stream->WritesDone();
    must(!stream->Read(&response), "an answer to nothing");
    must_be(stream->Finish(), grpc::OK, "FullDuplexCall");
}

void status_of_unary(Peer &peer, const std::string &message)
{
    grpc::ClientContext context;
    SimpleRequest request;
    SimpleResponse response;
    request.mutable_response_status()->set_code(2);
    request.mutable_response_status()->set_message(message);
    auto status = peer.stub->UnaryCall(&context, request, &response);
    must_be(status, grpc::UNKNOWN, "UnaryCall");
    must(status.error_message() == message, "message: " + status.error_message());
}

void status_code_and_message(Peer &peer)
{
    status_of_unary(peer, "test status message");
    grpc::ClientContext context;
    StreamingOutputCallRequest request;
    StreamingOutputCallResponse response;
    request.mutable_response_status()->set_code(2);
    request.mutable_response_status()->set_message("test status message");
    auto stream = peer.stub->FullDuplexCall(&context);
    stream->Write(request);
    stream->WritesDone();
    must(!stream->Read(&response), "an answer beside a status");
    auto status = stream->Finish();
    must_be(status, grpc::UNKNOWN, "FullDuplexCall");
    must(status.error_message() == "test status message", "message: " + status.error_message());
}

void special_status_message(Peer &peer)
{
    status_of_unary(peer, "\t\ntest with whitespace\r\nand Unicode BMP \xe2\x98\xba and non-BMP \xf0\x9f\x98\x88\t\n");
}

void unimplemented_method(Peer &peer)
{
    grpc::ClientContext context;
    Empty response;
    must_be(peer.stub->UnimplementedCall(&context, Empty(), &response), grpc::UNIMPLEMENTED, "UnimplementedCall");
}

void unimplemented_service(Peer &peer)
{
    grpc::ClientContext context;
    Empty response;
    must_be(UnimplementedService::NewStub(peer.channel)->UnimplementedCall(&context, Empty(), &response), grpc::UNIMPLEMENTED, "UnimplementedService");
}

void cancel_after_begin(Peer &peer)
{
    grpc::ClientContext context;
    StreamingInputCallResponse response;
    auto stream = peer.stub->StreamingInputCall(&context, &response);
    context.TryCancel();
    must_be(stream->Finish(), grpc::CANCELLED, "StreamingInputCall");
}

void cancel_after_first_response(Peer &peer)
{
    grpc::ClientContext context;
    StreamingOutputCallResponse response;
    auto stream = peer.stub->FullDuplexCall(&context);
    must(stream->Write(duplex_request(27182, 31415)), "the stream broke");
    must(stream->Read(&response) && response.payload().body() == zeros(31415), "the answer is another");
    context.TryCancel();
    must_be(stream->Finish(), grpc::CANCELLED, "FullDuplexCall");
}

void timeout_on_sleeping_server(Peer &peer)
{
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(1));
    StreamingOutputCallResponse response;
    auto stream = peer.stub->FullDuplexCall(&context);
    stream->Write(duplex_request(27182, -1));
    must(!stream->Read(&response), "an answer of one that sleeps");
    must_be(stream->Finish(), grpc::DEADLINE_EXCEEDED, "FullDuplexCall");
}

void metadata_came(const grpc::ClientContext &context)
{
    auto initial = context.GetServerInitialMetadata(), trailing = context.GetServerTrailingMetadata();
    must(initial.count(initial_key) == 1 && initial.find(initial_key)->second == "test_initial_metadata_value", "initial metadata");
    must(trailing.count(trailing_key) == 1 && trailing.find(trailing_key)->second == "\xab\xab\xab", "trailing metadata");
}

void custom_metadata(Peer &peer)
{
    {
        grpc::ClientContext context;
        context.AddMetadata(initial_key, "test_initial_metadata_value");
        context.AddMetadata(trailing_key, "\xab\xab\xab");
        SimpleRequest request;
        SimpleResponse response;
        request.set_response_size(314159);
        request.mutable_payload()->set_body(zeros(271828));
        must_be(peer.stub->UnaryCall(&context, request, &response), grpc::OK, "UnaryCall");
        metadata_came(context);
    }
    grpc::ClientContext context;
    context.AddMetadata(initial_key, "test_initial_metadata_value");
    context.AddMetadata(trailing_key, "\xab\xab\xab");
    StreamingOutputCallResponse response;
    auto stream = peer.stub->FullDuplexCall(&context);
    stream->Write(duplex_request(271828, 314159));
    stream->WritesDone();
    must(stream->Read(&response) && response.payload().body() == zeros(314159), "the answer is another");
    must_be(stream->Finish(), grpc::OK, "FullDuplexCall");
    metadata_came(context);
}

void rpc_soak(Peer &peer)
{
    for (int i = 0; i < peer.iterations; i++)
        large_unary_on(*peer.stub);
}

void channel_soak(Peer &peer)
{
    for (int i = 0; i < peer.iterations; i++)
        large_unary_on(*TestService::NewStub(channel_open(peer.target)));
}

#define CASE(name) {#name, name}
const struct {
    const char *name;
    void (*run)(Peer &);
} cases[] = {CASE(empty_unary), CASE(large_unary), CASE(client_streaming), CASE(server_streaming), CASE(ping_pong), CASE(empty_stream),
    CASE(status_code_and_message), CASE(special_status_message), CASE(unimplemented_method), CASE(unimplemented_service), CASE(cancel_after_begin),
    CASE(cancel_after_first_response), CASE(timeout_on_sleeping_server), CASE(custom_metadata), CASE(rpc_soak), CASE(channel_soak)};

} // namespace

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0)
        return puts("usage: interop-client --target IP:PORT --cases NAME[,NAME…] [--iterations N]     a line a case: \"ok NAME\" or \"wrong NAME: why\""), argc < 2 ? 2 : 0;
    Options options(argc, argv, 1);
    Peer peer;
    peer.target = options.required("target");
    std::string wanted = "," + options.required("cases") + ",";
    peer.iterations = int(options.number("iterations", 10));
    options.done();
    peer.channel = channel_open(peer.target);
    peer.stub = TestService::NewStub(peer.channel);
    setvbuf(stdout, nullptr, _IOLBF, 0);
    bool all = channel_wait_ready(*peer.channel, 10);
    for (auto &one : cases) {
        if (wanted.find(std::string(",") + one.name + ",") == std::string::npos)
            continue;
        try {
            one.run(peer);
            printf("ok %s\n", one.name);
        } catch (const std::runtime_error &error) {
            printf("wrong %s: %s\n", one.name, error.what());
            all = false;
        }
    }
    return !all;
}

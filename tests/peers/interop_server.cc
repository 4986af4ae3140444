// interop-server: gRPC's test service on libgrpc++, for the interop cases of any language's client.
#include <cstdio>
#include <cstring>
#include <thread>

#include "common.h"
#include "interop.grpc.pb.h"

namespace {

using namespace grpc::testing;

const char initial_key[] = "x-grpc-test-echo-initial", trailing_key[] = "x-grpc-test-echo-trailing-bin";

void echo_metadata(grpc::ServerContext &context)
{
    for (auto &entry : context.client_metadata()) {
        std::string key(entry.first.data(), entry.first.size()), value(entry.second.data(), entry.second.size());
        if (key == initial_key)
            context.AddInitialMetadata(key, value);
        else if (key == trailing_key)
            context.AddTrailingMetadata(key, value);
    }
}

grpc::Status asked(const EchoStatus &status) { return grpc::Status(grpc::StatusCode(status.code()), status.message()); }

struct Service final : TestService::Service {
    grpc::Status EmptyCall(grpc::ServerContext *, const Empty *, Empty *) override { return grpc::Status::OK; }

    grpc::Status UnaryCall(grpc::ServerContext *context, const SimpleRequest *request, SimpleResponse *response) override
    {
        echo_metadata(*context);
        if (request->response_status().code())
            return asked(request->response_status());
        response->mutable_payload()->set_body(std::string(size_t(request->response_size()), '\0'));
        return grpc::Status::OK;
    }

    template <typename Stream> static bool answer(const StreamingOutputCallRequest &request, Stream &stream)
    {
        for (auto &wanted : request.response_parameters()) {
            std::this_thread::sleep_for(std::chrono::microseconds(wanted.interval_us()));
            StreamingOutputCallResponse response;
            response.mutable_payload()->set_body(std::string(size_t(wanted.size()), '\0'));
            if (!stream.Write(response))
                return false;
        }
        return true;
    }

    grpc::Status StreamingOutputCall(grpc::ServerContext *, const StreamingOutputCallRequest *request,
        grpc::ServerWriter<StreamingOutputCallResponse> *stream) override
    {
        answer(*request, *stream);
        return grpc::Status::OK;
    }

    grpc::Status StreamingInputCall(grpc::ServerContext *, grpc::ServerReader<StreamingInputCallRequest> *stream, StreamingInputCallResponse *response) override
    {
        StreamingInputCallRequest request;
        size_t sum = 0;
        while (stream->Read(&request))
            sum += request.payload().body().size();
        response->set_aggregated_payload_size(int32_t(sum));
        return grpc::Status::OK;
    }

    grpc::Status FullDuplexCall(grpc::ServerContext *context,
        grpc::ServerReaderWriter<StreamingOutputCallResponse, StreamingOutputCallRequest> *stream) override
    {
        echo_metadata(*context);
        StreamingOutputCallRequest request;
        while (stream->Read(&request)) {
            if (request.response_status().code())
                return asked(request.response_status());
            if (!answer(request, *stream))
                break;
        }
        return grpc::Status::OK;
    }
};

} // namespace

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return puts("usage: interop-server --listen IP:PORT      prints \"listening\" once it does"), 0;
    Options options(argc, argv, 1);
    std::string listen = options.required("listen");
    options.done();
    Service service;
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    auto server = builder.BuildAndStart();
    if (!server || port == 0)
        return fprintf(stderr, "interop-server: cannot listen on %s\n", listen.c_str()), 1;
    printf("listening %s\n", listen.c_str());
    fflush(stdout);
    server->Wait();
}

// echo-server: a gRPC backend that does what each request asks for.  Callback API, so that thousands of
// delayed calls cost no threads.  Logs nothing per call; its counts come by the Stats call and at SIGTERM.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>

#include <grpcpp/alarm.h>

#include "common.h"
#include "echo.grpc.pb.h"

namespace {

struct Counts {
    std::atomic<uint64_t> begun{0}, finished{0}, cancelled{0};
};

struct Backend {
    std::string id;
    Counts counts;
};

// What the requests of one call have asked for, and what they carried.
struct Call {
    Backend &backend;
    grpc::CallbackServerContext &context;
    grpc::Status status;
    uint64_t messages = 0, bytes = 0, hash = fnv(""), sequence = 0;

    Call(Backend &b, grpc::CallbackServerContext &c) : backend(b), context(c) { backend.counts.begun++; }

    void take(const echo::Request &request)
    {
        messages++, bytes += request.payload().size(), hash = fnv(request.payload(), hash);
        if (request.status_code() || !request.status_message().empty())
            status = grpc::Status(grpc::StatusCode(request.status_code()), request.status_message(), request.status_details());
        for (auto &pair : request.initial_metadata())
            context.AddInitialMetadata(pair.key(), pair.value());
        for (auto &pair : request.trailing_metadata())
            context.AddTrailingMetadata(pair.key(), pair.value());
    }

    void answer(const echo::Request &request, echo::Response &response)
    {
        response.Clear();
        response.set_backend(backend.id);
        response.set_payload(request.echo_payload() ? request.payload() : payload_make(request.response_size(), 7));
        response.set_received_messages(messages);
        response.set_received_bytes(bytes);
        response.set_received_hash(hash);
        response.set_sequence(sequence++);
        if (!request.report_metadata())
            return;
        for (auto &entry : context.client_metadata()) {
            auto *pair = response.add_metadata();
            pair->set_key(std::string(entry.first.data(), entry.first.size()));
            pair->set_value(std::string(entry.second.data(), entry.second.size()));
        }
    }

    void end(bool cancelled)
    {
        backend.counts.finished++;
        if (cancelled)
            backend.counts.cancelled++;
    }
};

template <typename Action> void after(std::chrono::microseconds delay, Action action)
{
    if (delay.count() == 0)
        return action();
    auto *alarm = new grpc::Alarm;
    alarm->Set(std::chrono::system_clock::now() + delay, [alarm, action](bool) {
        action();
        delete alarm;
    });
}

struct UnaryCall final : grpc::ServerUnaryReactor {
    Call call;
    UnaryCall(Backend &backend, grpc::CallbackServerContext &context, const echo::Request &request, echo::Response &response)
        : call(backend, context)
    {
        call.take(request);
        after(std::chrono::milliseconds(request.delay_ms()), [this, &request, &response] {
            call.answer(request, response);
            Finish(call.status);
        });
    }
    void OnCancel() override { cancelled = true; }
    void OnDone() override
    {
        call.end(cancelled);
        delete this;
    }
    std::atomic<bool> cancelled{false};
};

struct ClientStreamCall final : grpc::ServerReadReactor<echo::Request> {
    Call call;
    echo::Request request, directions; // directions: the first request, without its payload
    echo::Response &response;
    std::atomic<bool> cancelled{false};

    ClientStreamCall(Backend &backend, grpc::CallbackServerContext &context, echo::Response &r) : call(backend, context), response(r)
    {
        StartRead(&request);
    }
    void OnReadDone(bool ok) override
    {
        if (ok) {
            call.take(request);
            bool early = request.finish_early();
            if (call.messages == 1)
                request.clear_payload(), directions = request;
            if (!early)
                return StartRead(&request);
        }
        after(std::chrono::milliseconds(directions.delay_ms()), [this] {
            call.answer(directions, response);
            Finish(call.status);
        });
    }
    void OnCancel() override { cancelled = true; }
    void OnDone() override
    {
        call.end(cancelled);
        delete this;
    }
};

struct ServerStreamCall final : grpc::ServerWriteReactor<echo::Response> {
    Call call;
    const echo::Request &request;
    echo::Response response;
    std::atomic<bool> cancelled{false};

    ServerStreamCall(Backend &backend, grpc::CallbackServerContext &context, const echo::Request &r) : call(backend, context), request(r)
    {
        call.take(request);
        call.answer(request, response);
        after(std::chrono::milliseconds(request.delay_ms()), [this] { next(); });
    }
    void next()
    {
        if (cancelled || request.finish_early() || (request.messages() && call.sequence > request.messages()))
            return Finish(cancelled ? grpc::Status::CANCELLED : call.status);
        StartWrite(&response);
    }
    void OnWriteDone(bool ok) override
    {
        if (!ok)
            return Finish(grpc::Status::CANCELLED);
        response.set_sequence(call.sequence++);
        after(std::chrono::microseconds(request.interval_us()), [this] { next(); });
    }
    void OnCancel() override { cancelled = true; }
    void OnDone() override
    {
        call.end(cancelled);
        delete this;
    }
};

struct BidiCall final : grpc::ServerBidiReactor<echo::Request, echo::Response> {
    Call call;
    echo::Request request;
    echo::Response response;
    std::atomic<bool> cancelled{false};

    BidiCall(Backend &backend, grpc::CallbackServerContext &context) : call(backend, context) { StartRead(&request); }
    void OnReadDone(bool ok) override
    {
        if (!ok)
            return Finish(call.status);
        call.take(request);
        after(std::chrono::milliseconds(request.delay_ms()), [this] {
            if (request.finish_early())
                return Finish(call.status);
            call.answer(request, response);
            StartWrite(&response);
        });
    }
    void OnWriteDone(bool ok) override
    {
        if (!ok)
            return Finish(grpc::Status::CANCELLED);
        StartRead(&request);
    }
    void OnCancel() override { cancelled = true; }
    void OnDone() override
    {
        call.end(cancelled);
        delete this;
    }
};

struct Service final : echo::Echo::CallbackService {
    Backend &backend;
    explicit Service(Backend &b) : backend(b) {}

    grpc::ServerUnaryReactor *Unary(grpc::CallbackServerContext *context, const echo::Request *request, echo::Response *response) override
    {
        return new UnaryCall(backend, *context, *request, *response);
    }
    grpc::ServerReadReactor<echo::Request> *ClientStream(grpc::CallbackServerContext *context, echo::Response *response) override
    {
        return new ClientStreamCall(backend, *context, *response);
    }
    grpc::ServerWriteReactor<echo::Response> *ServerStream(grpc::CallbackServerContext *context, const echo::Request *request) override
    {
        return new ServerStreamCall(backend, *context, *request);
    }
    grpc::ServerBidiReactor<echo::Request, echo::Response> *Bidi(grpc::CallbackServerContext *context) override
    {
        return new BidiCall(backend, *context);
    }
    grpc::ServerUnaryReactor *Stats(grpc::CallbackServerContext *context, const echo::StatsRequest *, echo::StatsResponse *response) override
    {
        response->set_backend(backend.id);
        response->set_begun(backend.counts.begun);
        response->set_finished(backend.counts.finished);
        response->set_cancelled(backend.counts.cancelled);
        auto *reactor = context->DefaultReactor();
        reactor->Finish(grpc::Status::OK);
        return reactor;
    }
};

void help()
{
    puts("usage: echo-server --listen IP:PORT[,IP:PORT…] --id NAME [--max-streams N]\n"
         "Serves echo.Echo.  Prints \"listening\" once it does; SIGTERM ends it after its calls have finished (5 s at most).");
}

} // namespace

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return help(), 0;
    Options options(argc, argv, 1);
    std::string listen = options.required("listen");
    Backend backend;
    backend.id = options.required("id");
    int max_streams = int(options.number("max-streams", 0));
    options.done();

    sigset_t ending; // blocked before any thread starts, so that only sigwait sees them
    sigemptyset(&ending), sigaddset(&ending, SIGTERM), sigaddset(&ending, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ending, nullptr);

    Service service(backend);
    grpc::ServerBuilder builder;
    std::vector<std::unique_ptr<int>> ports;
    for (size_t from = 0; from <= listen.size();) {
        size_t comma = std::min(listen.find(',', from), listen.size());
        ports.push_back(std::make_unique<int>(0));
        builder.AddListeningPort(listen.substr(from, comma - from), grpc::InsecureServerCredentials(), ports.back().get());
        from = comma + 1;
    }
    builder.RegisterService(&service);
    builder.SetMaxReceiveMessageSize(-1);
    builder.SetMaxSendMessageSize(-1);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    if (max_streams)
        builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, max_streams);
    auto server = builder.BuildAndStart();
    if (!server || *ports[0] == 0) {
        fprintf(stderr, "echo-server: cannot listen on %s (address in use, or not of this machine)\n", listen.c_str());
        return 1;
    }
    printf("listening %s\n", listen.c_str());
    fflush(stdout);

    int signal_number;
    sigwait(&ending, &signal_number);
    server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
    server->Wait();
    printf("{\"backend\":%s,\"begun\":%lu,\"finished\":%lu,\"cancelled\":%lu}\n", json_quote(backend.id).c_str(),
        (unsigned long)backend.counts.begun, (unsigned long)backend.counts.finished, (unsigned long)backend.counts.cancelled);
    return 0;
}

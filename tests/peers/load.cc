// Unary load at a rate or in a closed loop.  A call belongs to the window and interval in which it began, so
// that a window opened a second after a change holds no call from before it.
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <thread>

#include <unistd.h>

#include "client.h"
#include "echo.grpc.pb.h"

namespace {

sigset_t signals()
{
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGUSR1), sigaddset(&set, SIGTERM), sigaddset(&set, SIGINT);
    return set;
}

struct Tally {
    uint64_t begun = 0, ok = 0, failed = 0;
    std::map<std::string, uint64_t> backends, failures;
    Latencies latencies;

    std::string json()
    {
        return "\"begun\":" + std::to_string(begun) + ",\"ok\":" + std::to_string(ok) + ",\"failed\":" + std::to_string(failed) +
            ",\"failures\":" + json_counts(failures) + ",\"backends\":" + json_counts(backends) + "," + latencies.json();
    }
    uint64_t ended() const { return ok + failed; }
};

struct Call {
    grpc::ClientContext context;
    echo::Response response;
    Clock::time_point begun;
    unsigned window;
};

class Load {
public:
    explicit Load(Options &options);
    int run();

private:
    Call *take_turn_locked();
    void begin(Call *call, size_t channel);
    void ended(Call *call, size_t channel, const grpc::Status &status);
    void pace();
    void report_interval();
    void report_windows(bool all);
    void watch_signals();
    void watch_channel(grpc::Channel &channel);
    double since_start() const { return std::chrono::duration<double>(Clock::now() - start).count(); }

    std::string target;
    double rate, seconds;
    uint64_t count, in_flight_max;
    unsigned interval_ms, deadline_ms;
    echo::Request request;
    std::vector<std::shared_ptr<grpc::Channel>> channels;
    std::vector<std::unique_ptr<echo::Echo::Stub>> stubs;

    std::mutex lock;
    std::condition_variable changed;
    Tally interval;
    std::map<unsigned, Tally> windows;
    unsigned window = 0;
    uint64_t begun = 0, ok = 0, failed = 0, in_flight = 0, failures_printed = 0;
    std::atomic<uint64_t> reconnects{0};
    std::atomic<bool> stopping{false}, over{false};
    Clock::time_point start, stopped;
};

Load::Load(Options &options)
{
    target = options.required("target");
    rate = options.number("rate", 0);
    seconds = options.number("seconds", 0);
    count = uint64_t(options.number("count", 0));
    in_flight_max = uint64_t(options.number("in-flight", rate > 0 ? 2000 : 16));
    interval_ms = unsigned(options.number("interval-ms", 1000));
    deadline_ms = unsigned(options.number("deadline-ms", 0));
    size_t channel_count = size_t(options.number("channels", 1));
    request.set_payload(payload_make(size_t(options.number("size", 32)), 3));
    request.set_response_size(uint32_t(options.number("response-size", 32)));
    request.set_delay_ms(uint32_t(options.number("delay-ms", 0)));
    bool retries = options.flag("retries");
    options.done();
    for (size_t i = 0; i < channel_count; i++) {
        channels.push_back(channel_open(target, retries));
        stubs.push_back(echo::Echo::NewStub(channels.back()));
    }
}

Call *Load::take_turn_locked() // nullptr: no call may begin any more
{
    if (stopping || (count && begun >= count))
        return nullptr;
    begun++, in_flight++, interval.begun++, windows[window].begun++;
    auto *call = new Call;
    call->window = window;
    call->begun = Clock::now();
    return call;
}

void Load::begin(Call *call, size_t channel)
{
    if (deadline_ms)
        call->context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(deadline_ms));
    stubs[channel]->async()->Unary(&call->context, &request, &call->response,
        [this, call, channel](grpc::Status status) { ended(call, channel, status); });
}

void Load::ended(Call *call, size_t channel, const grpc::Status &status)
{
    Call *next = nullptr;
    {
        std::lock_guard<std::mutex> hold(lock);
        for (Tally *tally : {&interval, &windows[call->window]}) {
            status.ok() ? tally->ok++ : tally->failed++;
            if (status.ok())
                tally->backends[call->response.backend()]++, tally->latencies.add(Clock::now() - call->begun);
            else
                tally->failures[status_name(status.error_code())]++;
        }
        status.ok() ? ok++ : failed++;
        if (!status.ok() && failures_printed++ < 1000)
            printf("{\"failure\":%s,\"message\":%s,\"began\":%.6f,\"ended\":%.6f,\"window\":%u}\n", json_quote(status_name(status.error_code())).c_str(),
                json_quote(status.error_message()).c_str(), std::chrono::duration<double>(call->begun - start).count(), since_start(), call->window);
        in_flight--;
        if (rate <= 0)
            next = take_turn_locked();
        changed.notify_all();
    }
    delete call;
    if (next)
        begin(next, channel);
}

// At a rate: the n-th call begins n/rate after the start; time lost while too many were open is not made up for.
void Load::pace()
{
    auto step = std::chrono::nanoseconds(int64_t(1e9 / rate));
    auto next = Clock::now();
    for (size_t n = 0;; n++, next += step) {
        std::this_thread::sleep_until(next);
        Call *call;
        {
            std::unique_lock<std::mutex> hold(lock);
            changed.wait(hold, [this] { return in_flight < in_flight_max || stopping; });
            call = take_turn_locked();
        }
        if (!call)
            return;
        begin(call, n % channels.size());
        if (Clock::now() - next > std::chrono::milliseconds(100))
            next = Clock::now();
    }
}

void Load::report_interval()
{
    std::lock_guard<std::mutex> hold(lock);
    printf("{\"interval\":%.3f,\"window\":%u,%s,\"in_flight\":%lu,\"total_ok\":%lu,\"total_failed\":%lu,\"reconnects\":%lu}\n", since_start(), window,
        interval.json().c_str(), (unsigned long)in_flight, (unsigned long)ok, (unsigned long)failed, (unsigned long)reconnects);
    interval = Tally();
}

void Load::report_windows(bool all) // those that are over and whose calls have all ended
{
    std::lock_guard<std::mutex> hold(lock);
    for (auto it = windows.begin(); it != windows.end();) {
        if (!all && (it->first == window || it->second.ended() < it->second.begun)) {
            it++;
            continue;
        }
        printf("{\"window\":%u,\"over\":true,%s,\"reconnects\":%lu}\n", it->first, it->second.json().c_str(), (unsigned long)reconnects);
        it = windows.erase(it);
    }
}

void Load::watch_signals()
{
    sigset_t set = signals();
    struct timespec tenth = {0, 100000000};
    while (!over) {
        int number = sigtimedwait(&set, nullptr, &tenth);
        std::lock_guard<std::mutex> hold(lock);
        if (number == SIGUSR1)
            printf("{\"window_opened\":%u,\"at\":%.6f}\n", ++window, since_start());
        else if (number > 0)
            stopping = true, changed.notify_all();
    }
}

void Load::watch_channel(grpc::Channel &channel)
{
    for (auto state = channel.GetState(false); !over;) {
        if (!channel.WaitForStateChange(state, std::chrono::system_clock::now() + std::chrono::milliseconds(200)))
            continue;
        auto now = channel.GetState(!stopping);
        if (state == GRPC_CHANNEL_READY && now != GRPC_CHANNEL_READY)
            reconnects++;
        state = now;
    }
}

int Load::run()
{
    for (auto &channel : channels)
        if (!channel_wait_ready(*channel, 10))
            return 1;
    start = Clock::now();
    std::vector<std::thread> threads;
    threads.emplace_back(&Load::watch_signals, this);
    for (auto &channel : channels)
        threads.emplace_back(&Load::watch_channel, this, std::ref(*channel));
    if (rate > 0)
        threads.emplace_back(&Load::pace, this);
    for (uint64_t i = 0; rate <= 0 && i < in_flight_max; i++) {
        Call *call;
        {
            std::lock_guard<std::mutex> hold(lock);
            call = take_turn_locked();
        }
        if (call)
            begin(call, i % channels.size());
    }
    auto next_report = start + std::chrono::milliseconds(interval_ms);
    for (bool done = false; !done;) {
        {
            std::unique_lock<std::mutex> hold(lock);
            auto finished = [this] { return (stopping || (count && begun >= count)) && in_flight == 0; };
            done = changed.wait_until(hold, std::min(next_report, Clock::now() + std::chrono::milliseconds(20)), finished);
        }
        if (seconds > 0 && since_start() >= seconds && !stopping) {
            std::lock_guard<std::mutex> hold(lock);
            stopping = true, changed.notify_all();
        }
        if (stopping && stopped == Clock::time_point())
            stopped = Clock::now();
        if (stopping && !done && Clock::now() - stopped > std::chrono::seconds(30)) {
            printf("{\"hung\":%lu}\n", (unsigned long)in_flight); // calls that neither ended nor failed
            fflush(stdout);
            _exit(1);
        }
        report_windows(false);
        if (Clock::now() >= next_report)
            report_interval(), next_report += std::chrono::milliseconds(interval_ms);
    }
    double took = since_start();
    over = stopping = true;
    changed.notify_all();
    for (auto &thread : threads)
        thread.join();
    report_windows(true);
    printf("{\"summary\":true,\"seconds\":%.3f,\"ok\":%lu,\"failed\":%lu,\"rate\":%.1f,\"reconnects\":%lu}\n", took, (unsigned long)ok,
        (unsigned long)failed, double(ok + failed) / took, (unsigned long)reconnects);
    return failed ? 1 : 0;
}

} // namespace

int mode_load(Options &options)
{
    sigset_t set = signals(); // blocked before the library makes its threads, so that only watch_signals sees them
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    Load load(options);
    return load.run();
}

int mode_ping(Options &options)
{
    auto channel = channel_open(options.required("target"));
    auto stub = echo::Echo::NewStub(channel);
    int count = int(options.number("count", 3));
    auto pause = std::chrono::milliseconds(int(options.number("pause-ms", 1000)));
    options.done();
    if (!channel_wait_ready(*channel, 10))
        return 1;
    int failed = 0;
    for (int i = 0; i < count; i++) {
        std::this_thread::sleep_for(i ? pause : pause * 0);
        grpc::ClientContext context;
        echo::Request request;
        echo::Response response;
        auto begun = Clock::now();
        auto status = stub->Unary(&context, request, &response);
        failed += !status.ok();
        printf("{\"call\":%d,\"status\":%s,\"message\":%s,\"backend\":%s,\"us\":%ld}\n", i, json_quote(status_name(status.error_code())).c_str(),
            json_quote(status.error_message()).c_str(), json_quote(response.backend()).c_str(),
            long(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begun).count()));
    }
    return failed ? 1 : 0;
}

// What the echo server and the modes of the echo client share: options, channels, hashes, JSON, statistics.
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

using Clock = std::chrono::steady_clock;

// --name VALUE pairs, and --name alone for a flag.  An option that nobody asked for is a usage error.
class Options {
public:
    Options(int argc, char **argv, int first);
    std::string text(const std::string &name, const std::string &otherwise);
    std::string required(const std::string &name);
    double number(const std::string &name, double otherwise);
    bool flag(const std::string &name);
    void done(); // exits with 2 if an option was given that no call above has named

private:
    std::map<std::string, std::string> given;
    std::map<std::string, bool> asked;
};

[[noreturn]] void usage_error(const std::string &message);

// A channel with one TCP connection of its own, without limits on message sizes; without the library's transparent
// retries unless asked for: a failure shall be seen.
std::shared_ptr<grpc::Channel> channel_open(const std::string &target, bool retries = false);
bool channel_wait_ready(grpc::Channel &channel, double seconds); // with a word on stderr when it does not come up

const char *status_name(grpc::StatusCode code);
uint64_t fnv(const std::string &bytes, uint64_t hash = 14695981039346656037ull);
std::string payload_make(size_t size, uint64_t seed);
std::string json_quote(const std::string &text);
std::string json_counts(const std::map<std::string, uint64_t> &counts);

struct Latencies { // microseconds
    std::vector<uint32_t> values;
    void add(Clock::duration d);
    std::string json(); // "p50_us":…,"p99_us":…,"max_us":…; sorts
};

#include "common.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>

Options::Options(int argc, char **argv, int first)
{
    for (int i = first; i < argc; i++) {
        std::string name = argv[i];
        if (name.rfind("--", 0) != 0)
            usage_error("unexpected argument: " + name);
        bool has_value = i + 1 < argc && std::string(argv[i + 1]).rfind("--", 0) != 0;
        given[name.substr(2)] = has_value ? argv[++i] : "";
    }
}

std::string Options::text(const std::string &name, const std::string &otherwise)
{
    asked[name] = true;
    auto it = given.find(name);
    return it == given.end() ? otherwise : it->second;
}

std::string Options::required(const std::string &name)
{
    std::string value = text(name, "");
    if (value.empty())
        usage_error("--" + name + " is required");
    return value;
}

double Options::number(const std::string &name, double otherwise)
{
    std::string value = text(name, "");
    if (value.empty() && given.count(name) == 0)
        return otherwise;
    char *end = nullptr;
    double number = strtod(value.c_str(), &end);
    if (value.empty() || *end != '\0')
        usage_error("--" + name + " wants a number, not \"" + value + "\"");
    return number;
}

bool Options::flag(const std::string &name)
{
    asked[name] = true;
    return given.count(name) != 0;
}

void Options::done()
{
    for (auto &entry : given)
        if (!asked.count(entry.first))
            usage_error("unknown option --" + entry.first);
}

[[noreturn]] void usage_error(const std::string &message)
{
    fprintf(stderr, "%s (see --help)\n", message.c_str());
    exit(2);
}

std::shared_ptr<grpc::Channel> channel_open(const std::string &target, bool retries)
{
    static std::atomic<int> number{0};
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1); // a connection of its own
    args.SetInt("penstock.peer.channel", number++);
    args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    args.SetInt(GRPC_ARG_ENABLE_RETRIES, retries);
    args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 10000); // what an attempt may take: a busy machine is no fault of the gateway
    args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    args.SetMaxReceiveMessageSize(-1);
    args.SetMaxSendMessageSize(-1);
    return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), args);
}

bool channel_wait_ready(grpc::Channel &channel, double seconds)
{
    auto until = std::chrono::system_clock::now() + std::chrono::milliseconds(int64_t(seconds * 1e3));
    if (channel.WaitForConnected(until))
        return true;
    fprintf(stderr, "no connection within %g s\n", seconds);
    return false;
}

const char *status_name(grpc::StatusCode code)
{
    static const char *const names[] = {"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
        "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
        "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
    return code >= 0 && size_t(code) < sizeof names / sizeof *names ? names[code] : "NO_SUCH_STATUS";
}

uint64_t fnv(const std::string &bytes, uint64_t hash)
{
    for (unsigned char byte : bytes)
        hash = (hash ^ byte) * 1099511628211ull;
    return hash;
}

std::string payload_make(size_t size, uint64_t seed)
{
    std::string out(size, '\0');
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
    for (size_t i = 0; i < size; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        out[i] = char(state);
    }
    return out;
}

std::string json_quote(const std::string &text)
{
    std::string out = "\"";
    for (unsigned char c : text) {
        char escape[8];
        if (c == '"' || c == '\\')
            out += '\\', out += char(c);
        else if (c < 0x20 || c >= 0x7f)
            snprintf(escape, sizeof escape, "\\u%04x", c), out += escape;
        else
            out += char(c);
    }
    return out + "\"";
}

std::string json_counts(const std::map<std::string, uint64_t> &counts)
{
    std::string out = "{";
    for (auto &entry : counts)
        out += (out.size() > 1 ? "," : "") + json_quote(entry.first) + ":" + std::to_string(entry.second);
    return out + "}";
}

void Latencies::add(Clock::duration d)
{
    if (values.size() < (1u << 22))
        values.push_back(uint32_t(std::chrono::duration_cast<std::chrono::microseconds>(d).count()));
}

std::string Latencies::json()
{
    std::sort(values.begin(), values.end());
    auto at = [this](double share) { return values.empty() ? 0u : values[size_t(share * double(values.size() - 1))]; };
    return "\"p50_us\":" + std::to_string(at(0.5)) + ",\"p99_us\":" + std::to_string(at(0.99)) + ",\"max_us\":" + std::to_string(at(1));
}

// Conformance: every case runs once directly against a backend and once through the gateway.  Each run writes
// what it saw into a map of fields; the direct run must be what the case expects, and the two maps must be equal.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <mutex>
#include <thread>

#include "client.h"
#include "echo.grpc.pb.h"

namespace {

using Fields = std::map<std::string, std::string>;
using Stub = echo::Echo::Stub;

struct Case {
    std::string name;
    std::function<void(Stub &, Fields &)> run;
    Fields expected; // a subset of the fields
};

std::string shown(const std::string &value)
{
    return value.size() <= 200 ? json_quote(value) : std::to_string(value.size()) + " bytes, hash " + std::to_string(fnv(value));
}

std::string shown_bytes(const std::string &bytes) { return std::to_string(bytes.size()) + " bytes, hash " + std::to_string(fnv(bytes)); }

void note_metadata(Fields &fields, const std::string &prefix, const std::multimap<grpc::string_ref, grpc::string_ref> &metadata)
{
    std::map<std::string, int> number;
    for (auto &entry : metadata) {
        std::string key(entry.first.data(), entry.first.size());
        fields[prefix + key + "#" + std::to_string(number[key]++)] = shown(std::string(entry.second.data(), entry.second.size()));
    }
}

void note_end(Fields &fields, const grpc::ClientContext &context, const grpc::Status &status)
{
    fields["status"] = status_name(status.error_code());
    fields["details"] = shown(status.error_details());
    note_metadata(fields, "initial ", context.GetServerInitialMetadata());
    // Each hop keeps the deadline by a clock of its own, and whose timer is first says so in its own words.
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && context.deadline() < std::chrono::system_clock::now() + std::chrono::milliseconds(200))
        return;
    fields["message"] = shown(status.error_message());
    note_metadata(fields, "trailing ", context.GetServerTrailingMetadata());
}

void note_response(Fields &fields, const std::string &prefix, const echo::Response &response)
{
    fields[prefix + "payload"] = shown_bytes(response.payload());
    fields[prefix + "received"] = std::to_string(response.received_messages()) + " messages, " + std::to_string(response.received_bytes()) +
        " bytes, hash " + std::to_string(response.received_hash());
    fields[prefix + "sequence"] = std::to_string(response.sequence());
    std::map<std::string, int> number;
    for (auto &pair : response.metadata())
        if (pair.key() != "x-forwarded-for") // the one header that the gateway may add
            fields[prefix + "seen " + pair.key() + "#" + std::to_string(number[pair.key()]++)] = shown(pair.value());
}

struct Directions { // what a case varies
    size_t size = 10;
    int messages = 3;
    echo::Request request;                                       // status, metadata, delay to be asked for
    std::vector<std::pair<std::string, std::string>> metadata;   // to be sent
    int deadline_ms = 60000;
    int cancel_after = -1; // messages
};

void prepare(grpc::ClientContext &context, const Directions &d)
{
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(d.deadline_ms));
    for (auto &pair : d.metadata)
        context.AddMetadata(pair.first, pair.second);
}

echo::Request request_of(const Directions &d, int n)
{
    echo::Request request = n == 0 ? d.request : echo::Request();
    request.set_payload(payload_make(d.size, uint64_t(n) + 11));
    request.set_echo_payload(true);
    return request;
}

void run_unary(Stub &stub, Fields &fields, const Directions &d)
{
    grpc::ClientContext context;
    prepare(context, d);
    echo::Response response;
    auto status = stub.Unary(&context, request_of(d, 0), &response);
    note_end(fields, context, status);
    note_response(fields, "", response);
}

void run_client_stream(Stub &stub, Fields &fields, const Directions &d)
{
    grpc::ClientContext context;
    prepare(context, d);
    echo::Response response;
    auto stream = stub.ClientStream(&context, &response);
    for (int n = 0; n < d.messages && stream->Write(request_of(d, n)); n++)
        if (n + 1 == d.cancel_after)
            context.TryCancel();
    stream->WritesDone();
    auto status = stream->Finish();
    note_end(fields, context, status);
    note_response(fields, "", response);
}

void run_server_stream(Stub &stub, Fields &fields, const Directions &d)
{
    grpc::ClientContext context;
    prepare(context, d);
    auto request = request_of(d, 0);
    request.set_messages(d.cancel_after >= 0 ? 0 : uint32_t(d.messages));
    if (d.cancel_after >= 0)
        request.set_interval_us(1000);
    auto stream = stub.ServerStream(&context, request);
    echo::Response response;
    int n = 0;
    while (stream->Read(&response)) {
        if (n < (d.cancel_after < 0 ? d.messages : d.cancel_after)) // one more may have been read when it is cancelled
            note_response(fields, "answer " + std::to_string(n) + " ", response);
        if (++n == d.cancel_after)
            context.TryCancel();
    }
    auto status = stream->Finish();
    note_end(fields, context, status);
    if (d.cancel_after < 0)
        fields["answers"] = std::to_string(n);
}

void run_bidi(Stub &stub, Fields &fields, const Directions &d, bool in_step)
{
    grpc::ClientContext context;
    prepare(context, d);
    auto stream = stub.Bidi(&context);
    std::thread writer;
    if (!in_step)
        writer = std::thread([&] {
            for (int n = 0; n < d.messages && stream->Write(request_of(d, n)); n++) {
            }
            stream->WritesDone();
        });
    echo::Response response;
    int n = 0;
    while (true) {
        if (in_step && (n == d.messages || !stream->Write(request_of(d, n))))
            break;
        if (!stream->Read(&response))
            break;
        note_response(fields, "answer " + std::to_string(n) + " ", response);
        if (++n == d.cancel_after)
            context.TryCancel();
    }
    if (in_step)
        stream->WritesDone();
    else
        writer.join();
    while (stream->Read(&response))
        n++;
    auto status = stream->Finish();
    note_end(fields, context, status);
    fields["answers"] = std::to_string(n);
}

// Beginning at once, ending in any order: the fields say how many of each outcome there were.
void run_at_once(Stub &stub, Fields &fields, int calls)
{
    struct One {
        grpc::ClientContext context;
        echo::Request request;
        echo::Response response;
    };
    std::vector<One> all(static_cast<size_t>(calls));
    std::mutex lock;
    std::condition_variable changed;
    int ended = 0;
    std::map<std::string, uint64_t> outcomes;
    uint64_t n = 0;
    for (auto &one : all) {
        one.context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
        one.request.set_payload(payload_make(100 + n % 50, n));
        one.request.set_echo_payload(true);
        one.request.set_delay_ms(20);
        n++;
        stub.async()->Unary(&one.context, &one.request, &one.response, [&](grpc::Status status) {
            std::lock_guard<std::mutex> guard(lock);
            bool same = status.ok() && one.response.payload() == one.request.payload();
            outcomes[std::string(status_name(status.error_code())) + (status.ok() && !same ? ", wrong payload" : "")]++;
            ended++;
            changed.notify_all();
        });
    }
    std::unique_lock<std::mutex> hold(lock);
    changed.wait(hold, [&] { return ended == calls; });
    for (auto &outcome : outcomes)
        fields[outcome.first] = std::to_string(outcome.second);
}

uint64_t cancelled_count(Stub &backend)
{
    grpc::ClientContext context;
    echo::StatsResponse response;
    return backend.Stats(&context, echo::StatsRequest(), &response).ok() ? response.cancelled() : 0;
}

// 6 KiB of names and values as they stand on the wire, every byte value among them.
std::vector<std::pair<std::string, std::string>> big_metadata()
{
    std::vector<std::pair<std::string, std::string>> out;
    size_t bytes = 0;
    for (int i = 0; i < 6; i++) {
        std::string value;
        for (int b = 0; b < 256; b++)
            value += char((b * (2 * i + 1) + i) & 255); // odd factor: each byte value once
        out.push_back({"bytes-" + std::to_string(i) + "-bin", value});
        bytes += out.back().first.size() + 342;
    }
    for (int i = 0; bytes < 6144; i++) {
        out.push_back({"text-" + std::to_string(i), std::string(210, char('a' + i % 26)) + " ~!@#$^&*()_+{}|:<>?"});
        bytes += out.back().first.size() + out.back().second.size();
    }
    return out;
}

void add_pairs(google::protobuf::RepeatedPtrField<echo::Pair> *to, const std::vector<std::pair<std::string, std::string>> &from)
{
    for (auto &pair : from) {
        auto *added = to->Add();
        added->set_key(pair.first);
        added->set_value(pair.second);
    }
}

struct Kind {
    const char *name;
    std::function<void(Stub &, Fields &, const Directions &)> run;
};

const std::vector<Kind> &kinds()
{
    static const std::vector<Kind> all = {
        {"unary", run_unary},
        {"client streaming", run_client_stream},
        {"server streaming", run_server_stream},
        {"bidi streaming in step", [](Stub &s, Fields &f, const Directions &d) { run_bidi(s, f, d, true); }},
        {"bidi streaming at full speed", [](Stub &s, Fields &f, const Directions &d) { run_bidi(s, f, d, false); }},
    };
    return all;
}

void add_case(std::vector<Case> &cases, const Kind &kind, const std::string &name, const Directions &d, const Fields &expected)
{
    cases.push_back({std::string(kind.name) + ", " + name, [&kind, d](Stub &stub, Fields &fields) { kind.run(stub, fields, d); }, expected});
}

void add_sizes(std::vector<Case> &cases)
{
    static const struct { const char *name; size_t size; int messages; } sizes[] = {
        {"0 B", 0, 5}, {"1 B", 1, 5}, {"1 MiB", 1 << 20, 3}, {"16 MiB", 16 << 20, 1}, {"300 messages of 1000 B", 1000, 300}};
    for (auto &kind : kinds())
        for (auto &size : sizes) {
            if (&kind == &kinds()[0] && size.messages == 300)
                continue;
            Directions d;
            d.size = size.size, d.messages = size.messages;
            Fields expected = {{"status", "OK"}};
            if (&kind == &kinds()[0])
                expected["payload"] = shown_bytes(payload_make(size.size, 11));
            else if (&kind != &kinds()[1])
                expected["answers"] = std::to_string(size.messages), expected["answer 0 payload"] = shown_bytes(payload_make(size.size, 11));
            add_case(cases, kind, size.name, d, expected);
        }
}

void add_statuses(std::vector<Case> &cases)
{
    static const char *const messages[] = {"", "plain words", "100 % \xc3\xa4\xc3\xb6\xc3\xbc \xe2\x82\xac \xf0\x9f\x8c\x8d %41%zz", "line\nbreak\ttab\x01 \x7f", " spaces at both ends "};
    for (auto *kind : {&kinds()[0], &kinds()[2], &kinds()[3]})
        for (int code = 0; code <= 16; code++)
            for (bool trailers_only : {false, true}) {
                if (trailers_only && (code == 0 || kind == &kinds()[0]))
                    continue;
                Directions d;
                const char *message = code == 0 ? "" : messages[code % 5];
                d.request.set_status_code(code);
                d.request.set_status_message(message);
                if (code % 3 == 1)
                    d.request.set_status_details(payload_make(100, uint64_t(code)));
                d.request.set_finish_early(trailers_only);
                add_case(cases, *kind, std::string("status ") + status_name(grpc::StatusCode(code)) + (trailers_only ? " at once" : ""), d,
                    {{"status", status_name(grpc::StatusCode(code))}, {"message", shown(message)}});
            }
}

void add_metadata(std::vector<Case> &cases)
{
    auto big = big_metadata();
    for (auto &kind : kinds()) {
        Directions request, answer, both;
        request.metadata = big;
        request.request.set_report_metadata(true);
        add_case(cases, kind, "6 KiB of metadata sent", request, {{"status", "OK"}});
        add_pairs(answer.request.mutable_initial_metadata(), big);
        add_case(cases, kind, "6 KiB of initial metadata answered", answer, {{"status", "OK"}, {"initial bytes-0-bin#0", shown(big[0].second)}});
        add_pairs(both.request.mutable_trailing_metadata(), big);
        both.request.set_status_code(9);
        both.request.set_status_message("with trailers");
        add_case(cases, kind, "6 KiB of trailing metadata answered", both,
            {{"status", "FAILED_PRECONDITION"}, {"trailing bytes-5-bin#0", shown(big[5].second)}});
    }
    Directions twice;
    twice.metadata = {{"same", "one"}, {"same", "two"}, {"same-bin", std::string("\0a", 2)}, {"empty", ""}, {"empty-bin", ""}};
    twice.request.set_report_metadata(true);
    add_pairs(twice.request.mutable_initial_metadata(), {{"again", "1"}, {"again", "2"}, {"nothing", ""}, {"nothing-bin", ""}});
    add_pairs(twice.request.mutable_trailing_metadata(), {{"end", "1"}, {"end", "2"}});
    add_case(cases, kinds()[0], "repeated and empty metadata", twice, {{"status", "OK"}, {"initial again#1", shown("2")}});
}

void add_endings(std::vector<Case> &cases)
{
    Directions deadline;
    deadline.deadline_ms = 300;
    deadline.request.set_delay_ms(1500);
    for (auto &kind : kinds())
        add_case(cases, kind, "deadline passes", deadline, {{"status", "DEADLINE_EXCEEDED"}});
    Directions cancel;
    cancel.cancel_after = 2;
    for (auto *kind : {&kinds()[1], &kinds()[2], &kinds()[3]})
        add_case(cases, *kind, "cancelled by the client", cancel, {{"status", "CANCELLED"}});
    Directions early;
    early.messages = 1000;
    early.request.set_finish_early(true);
    early.request.set_status_code(10);
    early.request.set_status_message("enough");
    add_case(cases, kinds()[1], "answered before the client has finished", early, {{"status", "ABORTED"}});
    for (int calls : {10, 1000})
        cases.push_back({std::to_string(calls) + " calls at once on one connection",
            [calls](Stub &stub, Fields &fields) { run_at_once(stub, fields, calls); }, {{"OK", std::to_string(calls)}}});
}

std::vector<Case> all_cases()
{
    std::vector<Case> cases;
    add_sizes(cases);
    add_statuses(cases);
    add_metadata(cases);
    add_endings(cases);
    return cases;
}

std::string missing(const Fields &wanted, const Fields &got, const std::string &who)
{
    std::string out;
    for (auto &field : wanted) {
        auto it = got.find(field.first);
        if (it == got.end() || it->second != field.second)
            out += "; " + who + " " + field.first + ": wanted " + field.second + ", got " + (it == got.end() ? "nothing" : it->second);
    }
    return out;
}

std::string difference(const Fields &direct, const Fields &through)
{
    std::string out;
    for (auto &field : direct) {
        auto it = through.find(field.first);
        if (it == through.end() || it->second != field.second)
            out += "; " + field.first + ": direct " + field.second + ", through " + (it == through.end() ? "nothing" : it->second);
    }
    for (auto &field : through)
        if (!direct.count(field.first))
            out += "; " + field.first + ": only through: " + field.second;
    return out;
}

// The backend must have seen one cancel more; of a delayed call when its delay is over.
std::string cancel_awaited(Stub &backend, uint64_t before, const std::string &how)
{
    uint64_t seen = 0;
    for (int tries = 0; tries < 100; tries++) {
        seen = cancelled_count(backend) - before;
        if (seen == 1)
            return "";
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return "; the backend saw " + std::to_string(seen) + " cancels " + how + ", not one";
}

} // namespace

int mode_calls(Options &options)
{
    std::string direct_target = options.required("direct"), target = options.text("target", direct_target);
    std::string only = options.text("only", "");
    bool list = options.flag("list");
    options.done();
    auto direct_channel = channel_open(direct_target), channel = channel_open(target);
    auto direct = echo::Echo::NewStub(direct_channel), through = echo::Echo::NewStub(channel);
    if (!list && (!channel_wait_ready(*direct_channel, 10) || !channel_wait_ready(*channel, 10)))
        return 1;
    int passed = 0, failed = 0;
    for (auto &one : all_cases()) {
        if (one.name.find(only) == std::string::npos)
            continue;
        if (list) {
            puts(one.name.c_str());
            continue;
        }
        bool counts_cancels = one.name.find("deadline") != std::string::npos || one.name.find("cancelled") != std::string::npos;
        Fields direct_fields, through_fields;
        std::string cancels;
        uint64_t before = counts_cancels ? cancelled_count(*direct) : 0;
        one.run(*direct, direct_fields);
        if (counts_cancels)
            cancels = cancel_awaited(*direct, before, "directly");
        auto begun = Clock::now();
        one.run(*through, through_fields);
        double ms = std::chrono::duration<double, std::milli>(Clock::now() - begun).count();
        std::string wrong = missing(one.expected, direct_fields, "direct") + difference(direct_fields, through_fields);
        if (counts_cancels)
            wrong += cancels + cancel_awaited(*direct, before + 1, "through");
        wrong.empty() ? passed++ : failed++;
        printf("{\"case\":%s,\"ok\":%s,\"ms\":%.1f%s}\n", json_quote(one.name).c_str(), wrong.empty() ? "true" : "false", ms,
            wrong.empty() ? "" : (",\"why\":" + json_quote(wrong.substr(2, 2000))).c_str());
    }
    printf("{\"summary\":true,\"passed\":%d,\"failed\":%d}\n", passed, failed);
    return failed || (!list && passed == 0) ? 1 : 0;
}

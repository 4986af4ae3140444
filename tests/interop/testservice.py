#!/usr/bin/python3
"""gRPC's interop cases and their test service on Debian's Python gRPC.

usage: testservice.py server --listen IP:PORT                                              prints "listening" once it does
       testservice.py client --target IP:PORT --cases NAME[,NAME…] [--iterations N]        a line a case: "ok NAME" or "wrong NAME: why"
The messages are those of interop_pb2.py, in the directory that PYTHONPATH names (tests/peers in the build)."""
import argparse
import sys
import time
from concurrent import futures

import grpc
import interop_pb2 as pb

SERVICE = "grpc.testing.TestService"
INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
REQUESTS, RESPONSES = (27182, 8, 1828, 45904), (31415, 9, 2653, 58979)
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


def zeros(size):
    return pb.Payload(body=bytes(size))


# ---------------------------------------------------------------- the service

def echo_metadata(context):
    given = dict(context.invocation_metadata())
    if INITIAL in given:
        context.send_initial_metadata(((INITIAL, given[INITIAL]),))
    if TRAILING in given:
        context.set_trailing_metadata(((TRAILING, given[TRAILING]),))


def end_as_asked(status, context):
    if status.code:
        context.abort(next(code for code in grpc.StatusCode if code.value[0] == status.code), status.message)


def unary(request, context):
    echo_metadata(context)
    end_as_asked(request.response_status, context)
    return pb.SimpleResponse(payload=zeros(request.response_size))


def output(request, _context):
    for wanted in request.response_parameters:
        time.sleep(wanted.interval_us / 1e6)
        yield pb.StreamingOutputCallResponse(payload=zeros(wanted.size))


def sums(requests, _context):
    return pb.StreamingInputCallResponse(aggregated_payload_size=sum(len(r.payload.body) for r in requests))


def duplex(requests, context):
    echo_metadata(context)
    for request in requests:
        end_as_asked(request.response_status, context)
        yield from output(request, context)


def server(listen):
    handlers = {
        "EmptyCall": grpc.unary_unary_rpc_method_handler(lambda request, context: request, pb.Empty.FromString, pb.Empty.SerializeToString),
        "UnaryCall": grpc.unary_unary_rpc_method_handler(unary, pb.SimpleRequest.FromString, pb.SimpleResponse.SerializeToString),
        "StreamingOutputCall": grpc.unary_stream_rpc_method_handler(output, pb.StreamingOutputCallRequest.FromString,
                                                                    pb.StreamingOutputCallResponse.SerializeToString),
        "StreamingInputCall": grpc.stream_unary_rpc_method_handler(sums, pb.StreamingInputCallRequest.FromString, pb.StreamingInputCallResponse.SerializeToString),
        "FullDuplexCall": grpc.stream_stream_rpc_method_handler(duplex, pb.StreamingOutputCallRequest.FromString,
                                                                pb.StreamingOutputCallResponse.SerializeToString)}
    it = grpc.server(futures.ThreadPoolExecutor(32), options=OPTIONS)
    it.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    it.add_insecure_port(listen)
    it.start()
    print("listening", listen, flush=True)
    it.wait_for_termination()


# ---------------------------------------------------------------- the cases

class Wrong(Exception):
    pass


def must(held, words):
    if not held:
        raise Wrong(words)


def must_fail(code, call, message=None):
    """The call ends with this status, at its start or when it is read."""
    try:
        answer = call()
        if hasattr(answer, "__next__"):
            for one in answer:
                raise Wrong(f"an answer: {len(one.payload.body)} octets")
    except grpc.RpcError as error:
        must(error.code() == code, f"{error.code()} ({error.details()}), not {code}")
        must(message is None or error.details() == message, f"message: {error.details()!r}")
        return
    raise Wrong(f"it ended well, not with {code}")


class Cases:
    def __init__(self, target, iterations):
        self.target, self.iterations = target, iterations
        self.channel = self.open()
        grpc.channel_ready_future(self.channel).result(10)

    def open(self):
        return grpc.insecure_channel(self.target, OPTIONS)

    def unary(self, name, request, response, channel=None, **more):
        return (channel or self.channel).unary_unary(name, request.SerializeToString, response.FromString)(request(), **more)

    def simple(self, request, channel=None, **more):
        call = (channel or self.channel).unary_unary(f"/{SERVICE}/UnaryCall", pb.SimpleRequest.SerializeToString, pb.SimpleResponse.FromString)
        return call.with_call(request, **more)

    def duplex(self, requests, **more):
        return self.channel.stream_stream(f"/{SERVICE}/FullDuplexCall", pb.StreamingOutputCallRequest.SerializeToString,
                                          pb.StreamingOutputCallResponse.FromString)(requests, **more)

    def inputs(self, requests, **more):
        return self.channel.stream_unary(f"/{SERVICE}/StreamingInputCall", pb.StreamingInputCallRequest.SerializeToString,
                                         pb.StreamingInputCallResponse.FromString).future(requests, **more)

    @staticmethod
    def request(size, answer=None):
        return pb.StreamingOutputCallRequest(payload=zeros(size), response_parameters=[] if answer is None else [pb.ResponseParameters(size=answer)])

    def empty_unary(self):
        must(self.unary(f"/{SERVICE}/EmptyCall", pb.Empty, pb.Empty) == pb.Empty(), "an answer that is not empty")

    def large_unary(self, channel=None):
        answer, _ = self.simple(pb.SimpleRequest(response_size=314159, payload=zeros(271828)), channel)
        must(answer.payload.body == bytes(314159), "the payload is another")

    def client_streaming(self):
        answer = self.inputs(iter([pb.StreamingInputCallRequest(payload=zeros(n)) for n in REQUESTS])).result()
        must(answer.aggregated_payload_size == 74922, f"sum {answer.aggregated_payload_size}")

    def server_streaming(self):
        call = self.channel.unary_stream(f"/{SERVICE}/StreamingOutputCall", pb.StreamingOutputCallRequest.SerializeToString,
                                         pb.StreamingOutputCallResponse.FromString)
        request = pb.StreamingOutputCallRequest(response_parameters=[pb.ResponseParameters(size=n) for n in RESPONSES])
        sizes = [len(answer.payload.body) for answer in call(request)]
        must(sizes == list(RESPONSES), f"answers of {sizes} octets")

    def ping_pong(self):
        sizes = []

        def requests():
            for n, (size, answer) in enumerate(zip(REQUESTS, RESPONSES)):
                while len(sizes) < n:
                    time.sleep(0.001)
                yield self.request(size, answer)
        for answer in self.duplex(requests()):
            sizes.append(len(answer.payload.body))
        must(sizes == list(RESPONSES), f"answers of {sizes} octets")

    def empty_stream(self):
        must(not list(self.duplex(iter([]))), "an answer to nothing")

    def status_code_and_message(self):
        status = pb.EchoStatus(code=2, message="test status message")
        must_fail(grpc.StatusCode.UNKNOWN, lambda: self.simple(pb.SimpleRequest(response_status=status)), status.message)
        must_fail(grpc.StatusCode.UNKNOWN, lambda: self.duplex(iter([pb.StreamingOutputCallRequest(response_status=status)])), status.message)

    def special_status_message(self):
        must_fail(grpc.StatusCode.UNKNOWN, lambda: self.simple(pb.SimpleRequest(response_status=pb.EchoStatus(code=2, message=SPECIAL))), SPECIAL)

    def unimplemented_method(self):
        must_fail(grpc.StatusCode.UNIMPLEMENTED, lambda: self.unary(f"/{SERVICE}/UnimplementedCall", pb.Empty, pb.Empty))

    def unimplemented_service(self):
        must_fail(grpc.StatusCode.UNIMPLEMENTED, lambda: self.unary("/grpc.testing.UnimplementedService/UnimplementedCall", pb.Empty, pb.Empty))

    @staticmethod
    def silent(first=()):
        yield from first
        time.sleep(0.3)

    def cancel_after_begin(self):
        call = self.inputs(self.silent())
        call.cancel()
        must(call.code() == grpc.StatusCode.CANCELLED, f"{call.code()}")

    def cancel_after_first_response(self):
        call = self.duplex(self.silent([self.request(27182, 31415)]))
        must(len(next(call).payload.body) == 31415, "the answer is another")
        call.cancel()
        must_fail(grpc.StatusCode.CANCELLED, lambda: call)

    def timeout_on_sleeping_server(self):
        must_fail(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: self.duplex(self.silent([self.request(27182)]), timeout=0.001))

    def custom_metadata(self):
        given = ((INITIAL, "test_initial_metadata_value"), (TRAILING, b"\xab\xab\xab"))

        def came(call):
            must(dict(call.initial_metadata()).get(INITIAL) == given[0][1], f"initial metadata: {call.initial_metadata()}")
            must(dict(call.trailing_metadata()).get(TRAILING) == given[1][1], f"trailing metadata: {call.trailing_metadata()}")
        answer, call = self.simple(pb.SimpleRequest(response_size=314159, payload=zeros(271828)), metadata=given)
        must(len(answer.payload.body) == 314159, "the answer is another")
        came(call)
        call = self.duplex(iter([self.request(271828, 314159)]), metadata=given)
        must([len(one.payload.body) for one in call] == [314159], "the answer is another")
        came(call)

    def rpc_soak(self):
        for _ in range(self.iterations):
            self.large_unary()

    def channel_soak(self):
        for _ in range(self.iterations):
            with self.open() as channel:
                self.large_unary(channel)


def client(target, names, iterations):
    cases, bad = Cases(target, iterations), 0
    for name in names:
        try:
            getattr(cases, name)()
            print("ok", name, flush=True)
        except (Wrong, grpc.RpcError) as error:
            bad += 1
            print(f"wrong {name}: {str(error).splitlines()[:4]}", flush=True)
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("server", "client"))
    parser.add_argument("--listen")
    parser.add_argument("--target")
    parser.add_argument("--cases", default="")
    parser.add_argument("--iterations", type=int, default=10)
    given = parser.parse_args()
    if given.role == "server":
        server(given.listen)
    return client(given.target, given.cases.split(","), given.iterations)


if __name__ == "__main__":
    sys.exit(main())

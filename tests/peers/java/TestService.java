// gRPC's interop cases and their test service on grpc-java (netty).
//
// usage: TestService server --listen IP:PORT                                            prints "listening" once it does
//        TestService client --target IP:PORT --cases NAME[,NAME...] [--iterations N]    a line a case: "ok NAME" or "wrong NAME: why"
// The messages are protoc's of interop.proto.
import com.google.protobuf.ByteString;
import com.google.protobuf.Message;
import grpc.testing.Interop.*;
import io.grpc.*;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.util.*;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

public final class TestService {
    static final Metadata.Key<String> INITIAL = Metadata.Key.of("x-grpc-test-echo-initial", Metadata.ASCII_STRING_MARSHALLER);
    static final Metadata.Key<byte[]> TRAILING = Metadata.Key.of("x-grpc-test-echo-trailing-bin", Metadata.BINARY_BYTE_MARSHALLER);
    static final int[] REQUESTS = {27182, 8, 1828, 45904}, RESPONSES = {31415, 9, 2653, 58979};
    static final String SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \ud83d\ude08\t\n";

    static <A extends Message, B extends Message> MethodDescriptor<A, B> method(MethodType type, String service, String name, A request, B response) {
        return MethodDescriptor.newBuilder(ProtoUtils.marshaller(request), ProtoUtils.marshaller(response)).setType(type)
            .setFullMethodName("grpc.testing." + service + "/" + name).build();
    }
    static final MethodDescriptor<Empty, Empty> EMPTY = method(MethodType.UNARY, "TestService", "EmptyCall", Empty.getDefaultInstance(), Empty.getDefaultInstance());
    static final MethodDescriptor<Empty, Empty> UNKNOWN = method(MethodType.UNARY, "TestService", "UnimplementedCall", Empty.getDefaultInstance(), Empty.getDefaultInstance());
    static final MethodDescriptor<Empty, Empty> STRANGE = method(MethodType.UNARY, "UnimplementedService", "UnimplementedCall", Empty.getDefaultInstance(), Empty.getDefaultInstance());
    static final MethodDescriptor<SimpleRequest, SimpleResponse> UNARY =
        method(MethodType.UNARY, "TestService", "UnaryCall", SimpleRequest.getDefaultInstance(), SimpleResponse.getDefaultInstance());
    static final MethodDescriptor<StreamingOutputCallRequest, StreamingOutputCallResponse> OUTPUT =
        method(MethodType.SERVER_STREAMING, "TestService", "StreamingOutputCall", StreamingOutputCallRequest.getDefaultInstance(), StreamingOutputCallResponse.getDefaultInstance());
    static final MethodDescriptor<StreamingInputCallRequest, StreamingInputCallResponse> INPUT =
        method(MethodType.CLIENT_STREAMING, "TestService", "StreamingInputCall", StreamingInputCallRequest.getDefaultInstance(), StreamingInputCallResponse.getDefaultInstance());
    static final MethodDescriptor<StreamingOutputCallRequest, StreamingOutputCallResponse> DUPLEX =
        method(MethodType.BIDI_STREAMING, "TestService", "FullDuplexCall", StreamingOutputCallRequest.getDefaultInstance(), StreamingOutputCallResponse.getDefaultInstance());

    static Payload zeros(int size) {
        return Payload.newBuilder().setBody(ByteString.copyFrom(new byte[size])).build();
    }

    // ---------------------------------------------------------------- the service

    static final class Echo implements ServerInterceptor {
        @Override public <A, B> ServerCall.Listener<A> interceptCall(ServerCall<A, B> call, Metadata given, ServerCallHandler<A, B> next) {
            return next.startCall(new ForwardingServerCall.SimpleForwardingServerCall<A, B>(call) {
                @Override public void sendHeaders(Metadata m) {
                    if (given.get(INITIAL) != null) m.put(INITIAL, given.get(INITIAL));
                    super.sendHeaders(m);
                }
                @Override public void close(Status status, Metadata m) {
                    if (given.get(TRAILING) != null) m.put(TRAILING, given.get(TRAILING));
                    super.close(status, m);
                }
            }, given);
        }
    }

    static StatusRuntimeException failed(EchoStatus wanted) {
        return wanted.getCode() == 0 ? null : Status.fromCodeValue(wanted.getCode()).withDescription(wanted.getMessage()).asRuntimeException();
    }

    static void outputs(StreamingOutputCallRequest request, StreamObserver<StreamingOutputCallResponse> out) {
        for (ResponseParameters wanted : request.getResponseParametersList()) {
            sleep(wanted.getIntervalUs() / 1000);
            out.onNext(StreamingOutputCallResponse.newBuilder().setPayload(zeros(wanted.getSize())).build());
        }
    }

    abstract static class Sink<A> implements StreamObserver<A> {
        @Override public void onError(Throwable t) { }
    }

    static StreamObserver<StreamingInputCallRequest> sum(StreamObserver<StreamingInputCallResponse> out) {
        return new Sink<>() {
            int sum;
            @Override public void onNext(StreamingInputCallRequest r) { sum += r.getPayload().getBody().size(); }
            @Override public void onCompleted() {
                out.onNext(StreamingInputCallResponse.newBuilder().setAggregatedPayloadSize(sum).build());
                out.onCompleted();
            }
        };
    }

    static StreamObserver<StreamingOutputCallRequest> duplex(StreamObserver<StreamingOutputCallResponse> out) {
        return new Sink<>() {
            boolean over;
            @Override public void onNext(StreamingOutputCallRequest r) {
                StatusRuntimeException error = failed(r.getResponseStatus());
                if (over) return;
                if (error != null) { over = true; out.onError(error); } else outputs(r, out);
            }
            @Override public void onCompleted() { if (!over) out.onCompleted(); }
        };
    }

    static void unary(SimpleRequest r, StreamObserver<SimpleResponse> out) {
        StatusRuntimeException error = failed(r.getResponseStatus());
        if (error != null) { out.onError(error); return; }
        out.onNext(SimpleResponse.newBuilder().setPayload(zeros(r.getResponseSize())).build());
        out.onCompleted();
    }

    static InetSocketAddress address(String text) {
        int colon = text.lastIndexOf(':');
        return new InetSocketAddress(text.substring(0, colon), Integer.parseInt(text.substring(colon + 1)));
    }

    static void server(String listen) throws Exception {
        ServerServiceDefinition service = ServerServiceDefinition.builder("grpc.testing.TestService")
            .addMethod(EMPTY, ServerCalls.asyncUnaryCall((r, out) -> { out.onNext(r); out.onCompleted(); }))
            .addMethod(UNARY, ServerCalls.asyncUnaryCall(TestService::unary))
            .addMethod(OUTPUT, ServerCalls.asyncServerStreamingCall((r, out) -> { outputs(r, out); out.onCompleted(); }))
            .addMethod(INPUT, ServerCalls.asyncClientStreamingCall(TestService::sum))
            .addMethod(DUPLEX, ServerCalls.asyncBidiStreamingCall(TestService::duplex)).build();
        Server it = NettyServerBuilder.forAddress(address(listen)).addService(ServerInterceptors.intercept(service, new Echo())).build().start();
        System.out.println("listening " + listen);
        it.awaitTermination();
    }

    // ---------------------------------------------------------------- the cases

    interface Case { void run(Channel channel) throws Exception; }

    static void must(boolean held, String words) {
        if (!held) throw new IllegalStateException(words);
    }

    static void sleep(long ms) {
        try { if (ms > 0) Thread.sleep(ms); } catch (InterruptedException e) { throw new IllegalStateException(e); }
    }

    /** All that comes of a call of messages: their sizes, its status. */
    static final class Answers implements StreamObserver<StreamingOutputCallResponse> {
        final List<Integer> sizes = Collections.synchronizedList(new ArrayList<>());
        final CountDownLatch over = new CountDownLatch(1);
        volatile Status status;
        Runnable each = () -> { };
        @Override public void onNext(StreamingOutputCallResponse m) { sizes.add(m.getPayload().getBody().size()); each.run(); }
        @Override public void onError(Throwable t) { status = Status.fromThrowable(t); over.countDown(); }
        @Override public void onCompleted() { status = Status.OK; over.countDown(); }
        Answers ended() throws Exception {
            must(over.await(30, TimeUnit.SECONDS), "it does not end");
            return this;
        }
        void hold(Status.Code code, int... wanted) throws Exception {
            ended();
            must(status.getCode() == code, status + ", not " + code);
            must(Arrays.equals(sizes.stream().mapToInt(i -> i).toArray(), wanted), "answers of " + sizes + " octets");
        }
    }

    static void mustFail(Status.Code code, String message, Runnable call) {
        try {
            call.run();
        } catch (StatusRuntimeException e) {
            must(e.getStatus().getCode() == code, e.getStatus() + ", not " + code);
            must(message == null || message.equals(e.getStatus().getDescription()), "message: " + e.getStatus().getDescription());
            return;
        }
        throw new IllegalStateException("it ended well, not with " + code);
    }

    static StreamObserver<StreamingOutputCallRequest> open(Channel c, CallOptions options, Answers into) {
        return ClientCalls.asyncBidiStreamingCall(c.newCall(DUPLEX, options), into);
    }

    static StreamingOutputCallRequest asked(int size, int... answers) {
        StreamingOutputCallRequest.Builder b = StreamingOutputCallRequest.newBuilder().setPayload(zeros(size));
        for (int n : answers) b.addResponseParameters(ResponseParameters.newBuilder().setSize(n));
        return b.build();
    }

    static SimpleRequest simple(int size, int answer) {
        return SimpleRequest.newBuilder().setPayload(zeros(size)).setResponseSize(answer).build();
    }

    static <A, B> B call(Channel c, MethodDescriptor<A, B> m, A request) {
        return ClientCalls.blockingUnaryCall(c, m, CallOptions.DEFAULT.withDeadlineAfter(30, TimeUnit.SECONDS), request);
    }

    static void large(Channel c) {
        must(call(c, UNARY, simple(271828, 314159)).getPayload().equals(zeros(314159)), "the payload is another");
    }

    static void statusCodeAndMessage(Channel c) throws Exception {
        EchoStatus wanted = EchoStatus.newBuilder().setCode(2).setMessage("test status message").build();
        mustFail(Status.Code.UNKNOWN, wanted.getMessage(), () -> call(c, UNARY, SimpleRequest.newBuilder().setResponseStatus(wanted).build()));
        Answers answers = new Answers();
        StreamObserver<StreamingOutputCallRequest> out = open(c, CallOptions.DEFAULT, answers);
        out.onNext(StreamingOutputCallRequest.newBuilder().setResponseStatus(wanted).build());
        out.onCompleted();
        answers.hold(Status.Code.UNKNOWN);
        must(wanted.getMessage().equals(answers.status.getDescription()), "message: " + answers.status.getDescription());
    }

    static void clientStreaming(Channel c) throws Exception {
        AtomicReference<Object> result = new AtomicReference<>();
        CountDownLatch over = new CountDownLatch(1);
        StreamObserver<StreamingInputCallRequest> out = ClientCalls.asyncClientStreamingCall(c.newCall(INPUT, CallOptions.DEFAULT), new StreamObserver<>() {
            @Override public void onNext(StreamingInputCallResponse r) { result.set(r.getAggregatedPayloadSize()); }
            @Override public void onError(Throwable t) { result.set(t); over.countDown(); }
            @Override public void onCompleted() { over.countDown(); }
        });
        for (int n : REQUESTS) out.onNext(StreamingInputCallRequest.newBuilder().setPayload(zeros(n)).build());
        out.onCompleted();
        must(over.await(30, TimeUnit.SECONDS) && Integer.valueOf(74922).equals(result.get()), "sum " + result.get());
    }

    static void pingPong(Channel c) throws Exception {
        Answers answers = new Answers();
        AtomicReference<StreamObserver<StreamingOutputCallRequest>> out = new AtomicReference<>();
        answers.each = () -> {
            int n = answers.sizes.size();
            if (n < REQUESTS.length) out.get().onNext(asked(REQUESTS[n], RESPONSES[n]));
            else out.get().onCompleted();
        };
        out.set(open(c, CallOptions.DEFAULT, answers));
        out.get().onNext(asked(REQUESTS[0], RESPONSES[0]));
        answers.hold(Status.Code.OK, RESPONSES);
    }

    static void cancelAfterBegin(Channel c) throws Exception {
        AtomicReference<Status> result = new AtomicReference<>();
        CountDownLatch over = new CountDownLatch(1);
        ClientCall<StreamingInputCallRequest, StreamingInputCallResponse> it = c.newCall(INPUT, CallOptions.DEFAULT);
        it.start(new ClientCall.Listener<>() {
            @Override public void onClose(Status status, Metadata m) { result.set(status); over.countDown(); }
        }, new Metadata());
        it.cancel("as the case wants", null);
        must(over.await(30, TimeUnit.SECONDS) && result.get().getCode() == Status.Code.CANCELLED, result.get() + ", not CANCELLED");
    }

    static void cancelAfterFirstResponse(Channel c) throws Exception {
        Answers answers = new Answers();
        AtomicReference<StreamObserver<StreamingOutputCallRequest>> out = new AtomicReference<>();
        answers.each = () -> out.get().onError(Status.CANCELLED.asRuntimeException());
        out.set(open(c, CallOptions.DEFAULT, answers));
        out.get().onNext(asked(27182, 31415));
        answers.hold(Status.Code.CANCELLED, 31415);
    }

    static void customMetadata(Channel c) throws Exception {
        Metadata given = new Metadata();
        byte[] bytes = {(byte) 0xab, (byte) 0xab, (byte) 0xab};
        given.put(INITIAL, "test_initial_metadata_value");
        given.put(TRAILING, bytes);
        for (boolean stream : new boolean[] {false, true}) {
            AtomicReference<Metadata> initial = new AtomicReference<>(), trailing = new AtomicReference<>();
            Channel with = ClientInterceptors.intercept(c, MetadataUtils.newAttachHeadersInterceptor(given), MetadataUtils.newCaptureMetadataInterceptor(initial, trailing));
            if (stream) {
                Answers answers = new Answers();
                StreamObserver<StreamingOutputCallRequest> out = open(with, CallOptions.DEFAULT, answers);
                out.onNext(asked(271828, 314159));
                out.onCompleted();
                answers.hold(Status.Code.OK, 314159);
            } else {
                large(with);
            }
            must("test_initial_metadata_value".equals(initial.get().get(INITIAL)), "initial metadata: " + initial.get());
            must(Arrays.equals(bytes, trailing.get().get(TRAILING)), "trailing metadata: " + trailing.get());
        }
    }

    static Map<String, Case> cases(String target, int iterations) {
        Map<String, Case> all = new HashMap<>();
        all.put("empty_unary", c -> call(c, EMPTY, Empty.getDefaultInstance()));
        all.put("large_unary", TestService::large);
        all.put("client_streaming", TestService::clientStreaming);
        all.put("server_streaming", c -> {
            Answers answers = new Answers();
            ClientCalls.asyncServerStreamingCall(c.newCall(OUTPUT, CallOptions.DEFAULT), asked(0, RESPONSES), answers);
            answers.hold(Status.Code.OK, RESPONSES);
        });
        all.put("ping_pong", TestService::pingPong);
        all.put("empty_stream", c -> {
            Answers answers = new Answers();
            open(c, CallOptions.DEFAULT, answers).onCompleted();
            answers.hold(Status.Code.OK);
        });
        all.put("status_code_and_message", TestService::statusCodeAndMessage);
        all.put("special_status_message", c -> mustFail(Status.Code.UNKNOWN, SPECIAL, () -> call(c, UNARY,
            SimpleRequest.newBuilder().setResponseStatus(EchoStatus.newBuilder().setCode(2).setMessage(SPECIAL)).build())));
        all.put("unimplemented_method", c -> mustFail(Status.Code.UNIMPLEMENTED, null, () -> call(c, UNKNOWN, Empty.getDefaultInstance())));
        all.put("unimplemented_service", c -> mustFail(Status.Code.UNIMPLEMENTED, null, () -> call(c, STRANGE, Empty.getDefaultInstance())));
        all.put("cancel_after_begin", TestService::cancelAfterBegin);
        all.put("cancel_after_first_response", TestService::cancelAfterFirstResponse);
        all.put("timeout_on_sleeping_server", c -> {
            Answers answers = new Answers();
            StreamObserver<StreamingOutputCallRequest> out = open(c, CallOptions.DEFAULT.withDeadlineAfter(1, TimeUnit.MILLISECONDS), answers);
            try { out.onNext(asked(27182)); } catch (IllegalStateException e) { /* it has ended before */ }
            answers.hold(Status.Code.DEADLINE_EXCEEDED);
        });
        all.put("custom_metadata", TestService::customMetadata);
        all.put("rpc_soak", c -> { for (int i = 0; i < iterations; i++) large(c); });
        all.put("channel_soak", c -> {
            for (int i = 0; i < iterations; i++) {
                ManagedChannel own = connect(target);
                large(own);
                own.shutdown().awaitTermination(10, TimeUnit.SECONDS);
            }
        });
        return all;
    }

    static ManagedChannel connect(String target) {
        return NettyChannelBuilder.forAddress(address(target)).usePlaintext().maxInboundMessageSize(Integer.MAX_VALUE).build();
    }

    static int client(String target, String[] names, int iterations) throws Exception {
        ManagedChannel channel = connect(target);
        int bad = 0;
        for (String name : names) {
            try {
                cases(target, iterations).get(name).run(channel);
                System.out.println("ok " + name);
            } catch (Exception e) {
                bad++;
                System.out.println("wrong " + name + ": " + String.valueOf(e).split("\n")[0]);
            }
        }
        channel.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
        return bad == 0 ? 0 : 1;
    }

    public static void main(String[] words) throws Exception {
        Map<String, String> given = new HashMap<>(Map.of("iterations", "10"));
        for (int i = 1; i + 1 < words.length; i += 2) given.put(words[i].substring(2), words[i + 1]);
        String role = words.length > 0 ? words[0] : "";
        if (role.equals("server") && given.containsKey("listen")) {
            server(given.get("listen"));
        } else if (role.equals("client") && given.containsKey("target") && given.containsKey("cases")) {
            System.exit(client(given.get("target"), given.get("cases").split(","), Integer.parseInt(given.get("iterations"))));
        } else {
            System.err.println("usage: TestService server --listen IP:PORT | client --target IP:PORT --cases NAME,...");
            System.exit(2);
        }
    }
}

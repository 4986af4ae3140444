// gRPC's interop cases and their test service on tonic.
//
// usage: testservice server --listen IP:PORT                                            prints "listening" once it does
//        testservice client --target IP:PORT --cases NAME[,NAME...] [--iterations N]    a line a case: "ok NAME" or "wrong NAME: why"
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::Stream;
use tonic::body::BoxBody;
use tonic::codegen::{http, Body, Bytes, Service as Called};
use tonic::metadata::{AsciiMetadataValue, BinaryMetadataValue, MetadataMap};
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

mod pb {
    tonic::include_proto!("grpc.testing");
}
use pb::test_service_client::TestServiceClient;
use pb::test_service_server::{TestService, TestServiceServer};
use pb::unimplemented_service_client::UnimplementedServiceClient;
use pb::*;

const INITIAL: &str = "x-grpc-test-echo-initial";
const TRAILING: &str = "x-grpc-test-echo-trailing-bin";
const REQUESTS: [usize; 4] = [27182, 8, 1828, 45904];
const RESPONSES: [usize; 4] = [31415, 9, 2653, 58979];
const SPECIAL: &str = "\t\ntest with whitespace\r\nand Unicode BMP \u{263a} and non-BMP \u{1f608}\t\n";
const LARGEST: usize = 64 << 20;

fn zeros(size: usize) -> Option<Payload> {
    Some(Payload { r#type: 0, body: vec![0; size] })
}

// ---------------------------------------------------------------- the service

struct Service;

type Outputs = Pin<Box<dyn Stream<Item = Result<StreamingOutputCallResponse, Status>> + Send>>;

fn failed(status: &Option<EchoStatus>) -> Option<Status> {
    status.as_ref().filter(|s| s.code != 0).map(|s| Status::new(Code::from_i32(s.code), &s.message))
}

async fn outputs(request: &StreamingOutputCallRequest, to: &mpsc::Sender<Result<StreamingOutputCallResponse, Status>>) -> bool {
    for wanted in &request.response_parameters {
        if wanted.interval_us > 0 {
            tokio::time::sleep(Duration::from_micros(wanted.interval_us as u64)).await;
        }
        if to.send(Ok(StreamingOutputCallResponse { payload: zeros(wanted.size as usize) })).await.is_err() {
            return false;
        }
    }
    true
}

#[tonic::async_trait]
impl TestService for Service {
    async fn empty_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    async fn unary_call(&self, request: Request<SimpleRequest>) -> Result<Response<SimpleResponse>, Status> {
        let request = request.into_inner();
        match failed(&request.response_status) {
            Some(status) => Err(status),
            None => Ok(Response::new(SimpleResponse { payload: zeros(request.response_size as usize) })),
        }
    }

    type StreamingOutputCallStream = Outputs;
    async fn streaming_output_call(&self, request: Request<StreamingOutputCallRequest>) -> Result<Response<Outputs>, Status> {
        let (to, from) = mpsc::channel(4);
        tokio::spawn(async move { outputs(&request.into_inner(), &to).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(from))))
    }

    async fn streaming_input_call(&self, request: Request<Streaming<StreamingInputCallRequest>>) -> Result<Response<StreamingInputCallResponse>, Status> {
        let (mut stream, mut sum) = (request.into_inner(), 0);
        while let Some(message) = stream.message().await? {
            sum += message.payload.map_or(0, |p| p.body.len());
        }
        Ok(Response::new(StreamingInputCallResponse { aggregated_payload_size: sum as i32 }))
    }

    type FullDuplexCallStream = Outputs;
    async fn full_duplex_call(&self, request: Request<Streaming<StreamingOutputCallRequest>>) -> Result<Response<Outputs>, Status> {
        let (to, from) = mpsc::channel(4);
        let mut stream = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(request)) = stream.message().await {
                if let Some(status) = failed(&request.response_status) {
                    let _ = to.send(Err(status)).await;
                    return;
                }
                if !outputs(&request, &to).await {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(from))))
    }

    async fn unimplemented_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented("not implemented"))
    }
}

/// The metadata that a client asks to have back: trailing one is not a service's to write in tonic, so it is put into the body's trailers.
#[derive(Clone)]
struct Echo<S>(S);

impl<S: NamedService> NamedService for Echo<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Called<http::Request<BoxBody>> for Echo<S>
where
    S: Called<http::Request<BoxBody>, Response = http::Response<BoxBody>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<BoxBody>) -> Self::Future {
        let (initial, trailing) = (request.headers().get(INITIAL).cloned(), request.headers().get(TRAILING).cloned());
        let call = self.0.call(request);
        Box::pin(async move {
            let mut response = call.await?;
            if let Some(value) = initial {
                response.headers_mut().insert(INITIAL, value);
            }
            Ok(match trailing {
                Some(value) => response.map(|body| tonic::body::boxed(Trailed { body, value })),
                None => response,
            })
        })
    }
}

struct Trailed {
    body: BoxBody,
    value: http::HeaderValue,
}

impl Body for Trailed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(trailers) = frame.as_mut().and_then(|f| f.as_mut().ok()).and_then(|f| f.trailers_mut()) {
            trailers.insert(TRAILING, self.value.clone());
        }
        Poll::Ready(frame)
    }
}

async fn server(listen: &str) -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("listening {listen}");
    let service = TestServiceServer::new(Service).max_decoding_message_size(LARGEST).max_encoding_message_size(LARGEST);
    Server::builder().add_service(Echo(service)).serve_with_incoming(TcpListenerStream::new(listener)).await?;
    Ok(())
}

// ---------------------------------------------------------------- the cases

type Stub = TestServiceClient<Channel>;
type Held = Result<(), String>;

fn must(held: bool, words: impl Into<String>) -> Held {
    if held { Ok(()) } else { Err(words.into()) }
}

fn must_fail<T>(result: Result<T, Status>, code: Code, message: Option<&str>) -> Held {
    match result {
        Ok(_) => Err(format!("it ended well, not with {code:?}")),
        Err(status) => {
            must(status.code() == code, format!("{:?} ({}), not {code:?}", status.code(), status.message()))?;
            must(message.is_none_or(|m| m == status.message()), format!("message: {:?}", status.message()))
        }
    }
}

fn said(status: Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

async fn open(target: &str) -> Result<(Channel, Stub), String> {
    let channel = Endpoint::from_shared(format!("http://{target}")).map_err(|e| e.to_string())?.connect().await.map_err(|e| e.to_string())?;
    Ok((channel.clone(), TestServiceClient::new(channel).max_decoding_message_size(LARGEST).max_encoding_message_size(LARGEST)))
}

fn asked(size: usize, answer: Option<usize>) -> StreamingOutputCallRequest {
    let response_parameters = answer.iter().map(|&size| ResponseParameters { size: size as i32, interval_us: 0 }).collect();
    StreamingOutputCallRequest { payload: zeros(size), response_parameters, ..Default::default() }
}

fn large() -> SimpleRequest {
    SimpleRequest { response_size: 314159, payload: zeros(271828), ..Default::default() }
}

fn size_of(payload: &Option<Payload>) -> usize {
    payload.as_ref().filter(|p| p.body.iter().all(|&b| b == 0)).map_or(usize::MAX, |p| p.body.len())
}

async fn large_unary(stub: &mut Stub) -> Held {
    let answer = stub.unary_call(large()).await.map_err(said)?.into_inner();
    must(size_of(&answer.payload) == 314159, "the payload is another")
}

async fn client_streaming(stub: &mut Stub) -> Held {
    let messages = tokio_stream::iter(REQUESTS.map(|n| StreamingInputCallRequest { payload: zeros(n) }));
    let answer = stub.streaming_input_call(messages).await.map_err(said)?.into_inner();
    must(answer.aggregated_payload_size == 74922, format!("sum {}", answer.aggregated_payload_size))
}

async fn server_streaming(stub: &mut Stub) -> Held {
    let response_parameters = RESPONSES.map(|size| ResponseParameters { size: size as i32, interval_us: 0 }).to_vec();
    let request = StreamingOutputCallRequest { response_parameters, ..Default::default() };
    let mut stream = stub.streaming_output_call(request).await.map_err(said)?.into_inner();
    let mut sizes = Vec::new();
    while let Some(message) = stream.message().await.map_err(said)? {
        sizes.push(size_of(&message.payload));
    }
    must(sizes == RESPONSES, format!("answers of {sizes:?} octets"))
}

async fn ping_pong(stub: &mut Stub) -> Held {
    let (to, from) = mpsc::channel(1);
    to.send(asked(REQUESTS[0], Some(RESPONSES[0]))).await.map_err(|e| e.to_string())?;
    let mut stream = stub.full_duplex_call(ReceiverStream::new(from)).await.map_err(said)?.into_inner();
    for n in 0..4 {
        let message = stream.message().await.map_err(said)?.ok_or("an answer is missing")?;
        must(size_of(&message.payload) == RESPONSES[n], format!("answer {n} is another"))?;
        if n < 3 {
            to.send(asked(REQUESTS[n + 1], Some(RESPONSES[n + 1]))).await.map_err(|e| e.to_string())?;
        }
    }
    drop(to);
    must(stream.message().await.map_err(said)?.is_none(), "an answer too many")
}

async fn empty_stream(stub: &mut Stub) -> Held {
    let mut stream = stub.full_duplex_call(tokio_stream::empty()).await.map_err(said)?.into_inner();
    must(stream.message().await.map_err(said)?.is_none(), "an answer to nothing")
}

/// What a stream comes to that is to fail.
async fn end_of(result: Result<Response<Streaming<StreamingOutputCallResponse>>, Status>) -> Result<(), Status> {
    let mut stream = result?.into_inner();
    while stream.message().await?.is_some() {}
    Ok(())
}

async fn status_of_unary(stub: &mut Stub, message: &str) -> Held {
    let response_status = Some(EchoStatus { code: 2, message: message.into() });
    must_fail(stub.unary_call(SimpleRequest { response_status, ..Default::default() }).await, Code::Unknown, Some(message))
}

async fn status_code_and_message(stub: &mut Stub) -> Held {
    let message = "test status message";
    status_of_unary(stub, message).await?;
    let request = StreamingOutputCallRequest { response_status: Some(EchoStatus { code: 2, message: message.into() }), ..Default::default() };
    must_fail(end_of(stub.full_duplex_call(tokio_stream::once(request)).await).await, Code::Unknown, Some(message))
}

/// In tonic a call is cancelled by being let go of: that it was, the next call on the connection shows.
async fn cancel_after_begin(stub: &mut Stub) -> Held {
    let (_to, from) = mpsc::channel::<StreamingInputCallRequest>(1);
    let call = stub.streaming_input_call(ReceiverStream::new(from));
    must(tokio::time::timeout(Duration::from_millis(5), call).await.is_err(), "it ended before it was cancelled")?;
    stub.empty_call(Empty {}).await.map_err(said).map(|_| ())
}

async fn cancel_after_first_response(stub: &mut Stub) -> Held {
    let (to, from) = mpsc::channel(1);
    to.send(asked(27182, Some(31415))).await.map_err(|e| e.to_string())?;
    let mut stream = stub.full_duplex_call(ReceiverStream::new(from)).await.map_err(said)?.into_inner();
    let message = stream.message().await.map_err(said)?.ok_or("no answer")?;
    must(size_of(&message.payload) == 31415, "the answer is another")?;
    drop(stream);
    stub.empty_call(Empty {}).await.map_err(said).map(|_| ())
}

async fn timeout_on_sleeping_server(stub: &mut Stub) -> Held {
    let (to, from) = mpsc::channel(1);
    to.send(asked(27182, None)).await.map_err(|e| e.to_string())?;
    let mut request = Request::new(ReceiverStream::new(from));
    request.set_timeout(Duration::from_millis(1));
    match end_of(stub.full_duplex_call(request).await).await {
        Err(status) if status.code() == Code::Cancelled => must(status.message().contains("imeout"), format!("CANCELLED: {}", status.message())), // so tonic calls its own timer
        other => must_fail(other, Code::DeadlineExceeded, None),
    }
}

fn given<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(INITIAL, AsciiMetadataValue::from_static("test_initial_metadata_value"));
    request.metadata_mut().insert_bin(TRAILING, BinaryMetadataValue::from_bytes(&[0xab, 0xab, 0xab]));
    request
}

fn came(initial: &MetadataMap, trailing: &MetadataMap) -> Held {
    must(initial.get(INITIAL).is_some_and(|v| v == "test_initial_metadata_value"), "initial metadata did not come back")?;
    let bytes = trailing.get_bin(TRAILING).and_then(|v| v.to_bytes().ok());
    must(bytes.is_some_and(|b| b[..] == [0xab, 0xab, 0xab]), "trailing metadata did not come back")
}

async fn custom_metadata(stub: &mut Stub) -> Held {
    let response = stub.unary_call(given(large())).await.map_err(said)?;
    came(response.metadata(), response.metadata())?; // tonic gives trailers and headers of a unary call as one
    let response = stub.full_duplex_call(given(tokio_stream::once(asked(271828, Some(314159))))).await.map_err(said)?;
    let initial = response.metadata().clone();
    let mut stream = response.into_inner();
    let message = stream.message().await.map_err(said)?.ok_or("no answer")?;
    must(size_of(&message.payload) == 314159, "the answer is another")?;
    must(stream.message().await.map_err(said)?.is_none(), "an answer too many")?;
    let trailing = stream.trailers().await.map_err(said)?.ok_or("no trailers")?;
    came(&initial, &trailing)
}

async fn run(name: &str, target: &str, channel: &Channel, stub: &mut Stub, iterations: u32) -> Held {
    match name {
        "empty_unary" => stub.empty_call(Empty {}).await.map_err(said).map(|_| ()),
        "large_unary" => large_unary(stub).await,
        "client_streaming" => client_streaming(stub).await,
        "server_streaming" => server_streaming(stub).await,
        "ping_pong" => ping_pong(stub).await,
        "empty_stream" => empty_stream(stub).await,
        "status_code_and_message" => status_code_and_message(stub).await,
        "special_status_message" => status_of_unary(stub, SPECIAL).await,
        "unimplemented_method" => must_fail(stub.unimplemented_call(Empty {}).await, Code::Unimplemented, None),
        "unimplemented_service" => must_fail(UnimplementedServiceClient::new(channel.clone()).unimplemented_call(Empty {}).await, Code::Unimplemented, None),
        "cancel_after_begin" => cancel_after_begin(stub).await,
        "cancel_after_first_response" => cancel_after_first_response(stub).await,
        "timeout_on_sleeping_server" => timeout_on_sleeping_server(stub).await,
        "custom_metadata" => custom_metadata(stub).await,
        "rpc_soak" => {
            for _ in 0..iterations {
                large_unary(stub).await?;
            }
            Ok(())
        }
        "channel_soak" => {
            for _ in 0..iterations {
                large_unary(&mut open(target).await?.1).await?;
            }
            Ok(())
        }
        _ => Err("no such case".into()),
    }
}

async fn client(target: &str, names: &str, iterations: u32) -> Result<bool, String> {
    let (channel, mut stub) = open(target).await?;
    let mut all = true;
    for name in names.split(',') {
        match run(name, target, &channel, &mut stub, iterations).await {
            Ok(()) => println!("ok {name}"),
            Err(words) => {
                println!("wrong {name}: {words}");
                all = false;
            }
        }
    }
    Ok(all)
}

fn finish<F: Future<Output = bool>>(work: F) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    std::process::exit(if runtime.block_on(work) { 0 } else { 1 });
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let given: HashMap<&str, &str> = words.iter().skip(1).zip(words.iter().skip(2)).filter(|(name, _)| name.starts_with("--")).map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let mode = words.first().map(String::as_str);
    match (mode, given.get("--listen"), given.get("--target"), given.get("--cases")) {
        (Some("server"), Some(listen), _, _) => finish(async { server(listen).await.map_err(|e| eprintln!("{e}")).is_ok() }),
        (Some("client"), _, Some(target), Some(names)) => {
            let iterations = given.get("--iterations").and_then(|n| n.parse().ok()).unwrap_or(10);
            finish(async { client(target, names, iterations).await.unwrap_or_else(|words| { eprintln!("{words}"); false }) })
        }
        _ => {
            eprintln!("usage: testservice server --listen IP:PORT | client --target IP:PORT --cases NAME,... [--iterations N]");
            std::process::exit(2);
        }
    }
}

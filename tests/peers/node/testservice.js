// gRPC's interop cases and their test service on grpc-js.
//
// usage: testservice.js server --listen IP:PORT                                            prints "listening" once it does
//        testservice.js client --target IP:PORT --cases NAME[,NAME…] [--iterations N]      a line a case: "ok NAME" or "wrong NAME: why"
// NODE_PATH names the modules, PENSTOCK_PROTO the file interop.proto.
'use strict';
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const proto = grpc.loadPackageDefinition(loader.loadSync(process.env.PENSTOCK_PROTO, {keepCase: true, defaults: true})).grpc.testing;
const INITIAL = 'x-grpc-test-echo-initial', TRAILING = 'x-grpc-test-echo-trailing-bin';
const REQUESTS = [27182, 8, 1828, 45904], RESPONSES = [31415, 9, 2653, 58979];
const SPECIAL = '\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \u{1f608}\t\n';
const OPTIONS = {'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1, 'grpc.use_local_subchannel_pool': 1};
const zeros = size => ({body: Buffer.alloc(size)});
const sleep = ms => new Promise(done => setTimeout(done, ms));

// ---------------------------------------------------------------- the service

function echoed(call) {
  const trailing = new grpc.Metadata(), initial = new grpc.Metadata();
  for (const value of call.metadata.get(INITIAL)) initial.set(INITIAL, value);
  for (const value of call.metadata.get(TRAILING)) trailing.set(TRAILING, value);
  if (call.metadata.get(INITIAL).length) call.sendMetadata(initial);
  return trailing;
}

const failed = (status, metadata) => status && status.code ? {code: status.code, details: status.message, metadata} : null;

async function outputs(call, request) {
  for (const wanted of request.response_parameters) {
    if (wanted.interval_us) await sleep(wanted.interval_us / 1000);
    call.write({payload: zeros(wanted.size)});
  }
}

const service = {
  EmptyCall: (call, done) => done(null, {}),
  UnaryCall: (call, done) => {
    const trailing = echoed(call);
    done(failed(call.request.response_status, trailing), {payload: zeros(call.request.response_size)}, trailing);
  },
  StreamingOutputCall: async call => {
    await outputs(call, call.request);
    call.end();
  },
  StreamingInputCall: (call, done) => {
    let sum = 0;
    call.on('data', request => { sum += request.payload.body.length; });
    call.on('end', () => done(null, {aggregated_payload_size: sum}));
    call.on('error', () => {});
  },
  FullDuplexCall: call => {
    const trailing = echoed(call);
    let work = Promise.resolve(), over = false;
    call.on('data', request => {
      work = work.then(async () => {
        const error = failed(request.response_status, trailing);
        if (over) return;
        if (error) { over = true; call.emit('error', error); } else await outputs(call, request);
      });
    });
    call.on('end', () => work.then(() => over || call.end(trailing)));
    call.on('error', () => {});
  },
};

function server(listen) {
  const it = new grpc.Server(OPTIONS);
  it.addService(proto.TestService.service, service);
  it.bindAsync(listen, grpc.ServerCredentials.createInsecure(), error => {
    if (error) throw error;
    console.log('listening', listen);
  });
}

// ---------------------------------------------------------------- the cases

function must(held, words) {
  if (!held) throw new Error(words);
}

const unary = (stub, method, request, metadata) => new Promise((done, fail) => {
  let initial, answer;
  const call = stub[method](request, metadata || new grpc.Metadata(), (error, value) => { if (error) fail(error); else answer = value; });
  call.on('metadata', m => { initial = m; });
  call.on('status', status => { if (status.code === 0) setImmediate(() => done({answer, initial, trailing: status.metadata})); });
});

// All that comes of a stream: its messages, its status.
const read = (call, each) => new Promise(done => {
  const messages = [];
  let initial;
  call.on('metadata', m => { initial = m; });
  call.on('data', m => { messages.push(m); if (each) each(messages.length); });
  call.on('error', () => {});
  call.on('status', status => setImmediate(() => done({messages, status, initial})));
});

const sizes = result => result.messages.map(m => m.payload.body.length);
const same = (a, b) => a.length === b.length && a.every((x, i) => x === b[i]);
const asked = (size, answer) => ({payload: zeros(size), response_parameters: answer === undefined ? [] : [{size: answer}]});

async function mustFail(code, promise, details) {
  let status;
  try {
    const result = await promise;
    status = result.status;
    must(status && status.code !== 0, `it ended well, not with ${code}`);
    must(result.messages.length === 0, 'an answer');
  } catch (error) {
    if (error.code === undefined) throw error;
    status = error;
  }
  must(status.code === code, `${status.code} (${status.details}), not ${code}`);
  must(details === undefined || status.details === details, `message: ${JSON.stringify(status.details)}`);
}

const cases = {
  empty_unary: async s => { await unary(s, 'EmptyCall', {}); },
  large_unary: async s => {
    const {answer} = await unary(s, 'UnaryCall', {response_size: 314159, payload: zeros(271828)});
    must(answer.payload.body.equals(Buffer.alloc(314159)), 'the payload is another');
  },
  client_streaming: s => new Promise((done, fail) => {
    const call = s.StreamingInputCall((error, answer) => {
      if (error) fail(error);
      else if (answer.aggregated_payload_size !== 74922) fail(new Error(`sum ${answer.aggregated_payload_size}`));
      else done();
    });
    for (const n of REQUESTS) call.write({payload: zeros(n)});
    call.end();
  }),
  server_streaming: async s => {
    const result = await read(s.StreamingOutputCall({response_parameters: RESPONSES.map(size => ({size}))}));
    must(result.status.code === 0 && same(sizes(result), RESPONSES), `${result.status.details}, answers of ${sizes(result)} octets`);
  },
  ping_pong: async s => {
    const call = s.FullDuplexCall();
    const next = n => n < REQUESTS.length ? call.write(asked(REQUESTS[n], RESPONSES[n])) : call.end();
    const result = read(call, next);
    next(0);
    must(same(sizes(await result), RESPONSES), 'answers of other sizes');
  },
  empty_stream: async s => {
    const call = s.FullDuplexCall(), result = read(call);
    call.end();
    must((await result).messages.length === 0 && (await result).status.code === 0, 'an answer to nothing');
  },
  status_code_and_message: async s => {
    const response_status = {code: 2, message: 'test status message'};
    await mustFail(2, unary(s, 'UnaryCall', {response_status}), response_status.message);
    const call = s.FullDuplexCall(), result = read(call);
    call.write({response_status});
    call.end();
    await mustFail(2, result, response_status.message);
  },
  special_status_message: s => mustFail(2, unary(s, 'UnaryCall', {response_status: {code: 2, message: SPECIAL}}), SPECIAL),
  unimplemented_method: s => mustFail(12, unary(s, 'UnimplementedCall', {})),
  unimplemented_service: s => mustFail(12, unary(new proto.UnimplementedService(s.target, grpc.credentials.createInsecure(), OPTIONS), 'UnimplementedCall', {})),
  cancel_after_begin: s => new Promise((done, fail) => {
    const call = s.StreamingInputCall(error => error && error.code === 1 ? done() : fail(new Error(`${error && error.details}, not CANCELLED`)));
    call.cancel();
  }),
  cancel_after_first_response: async s => {
    const call = s.FullDuplexCall();
    const result = read(call, () => call.cancel());
    call.write(asked(27182, 31415));
    must(same(sizes(await result), [31415]) && (await result).status.code === 1, `${(await result).status.details}, not CANCELLED`);
  },
  timeout_on_sleeping_server: async s => {
    const call = s.FullDuplexCall({deadline: Date.now() + 1}), result = read(call);
    call.write(asked(27182));
    await mustFail(4, result);
  },
  custom_metadata: async s => {
    const given = new grpc.Metadata(), value = 'test_initial_metadata_value', bytes = Buffer.from([0xab, 0xab, 0xab]);
    given.set(INITIAL, value);
    given.set(TRAILING, bytes);
    const came = (initial, trailing) => must(initial.get(INITIAL)[0] === value && bytes.equals(trailing.get(TRAILING)[0]), 'metadata did not come back');
    const one = await unary(s, 'UnaryCall', {response_size: 314159, payload: zeros(271828)}, given);
    came(one.initial, one.trailing);
    const call = s.FullDuplexCall(given), result = read(call);
    call.write(asked(271828, 314159));
    call.end();
    must(same(sizes(await result), [314159]), 'the answer is another');
    came((await result).initial, (await result).status.metadata);
  },
  rpc_soak: async (s, n) => { for (let i = 0; i < n; i++) await cases.large_unary(s); },
  channel_soak: async (s, n) => {
    for (let i = 0; i < n; i++) {
      const channel = open(s.target);
      await cases.large_unary(channel);
      channel.close();
    }
  },
};

function open(target) {
  const stub = new proto.TestService(target, grpc.credentials.createInsecure(), OPTIONS);
  stub.target = target;
  return stub;
}

async function client(target, names, iterations) {
  const stub = open(target);
  let bad = 0;
  for (const name of names) {
    try {
      await cases[name](stub, iterations);
      console.log(`ok ${name}`);
    } catch (error) {
      bad++;
      console.log(`wrong ${name}: ${String(error.message).split('\n')[0]}`);
    }
  }
  process.exit(bad ? 1 : 0);
}

const given = {iterations: '10'};
for (let i = 3; i + 1 < process.argv.length; i += 2) given[process.argv[i].slice(2)] = process.argv[i + 1];
if (process.argv[2] === 'server' && given.listen) server(given.listen);
else if (process.argv[2] === 'client' && given.target && given.cases) client(given.target, given.cases.split(','), Number(given.iterations));
else { console.error('usage: testservice.js server --listen IP:PORT | client --target IP:PORT --cases NAME,…'); process.exit(2); }

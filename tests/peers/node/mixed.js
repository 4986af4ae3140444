// Everything at once on grpc-js, as client and as server of echo.Echo: what tests/peers/mixed.cc and server.cc do on gRPC's C core, tests/peers/go/mixed on grpc-go.
//
// usage: mixed.js server --listen IP:PORT --id NAME
//        mixed.js client --target IP:PORT [--seconds S] [--rate N] [--threads K] [--channels C] [--most OCTETS]
// NODE_PATH names the modules, PENSTOCK_PROTO the file echo.proto.  An outcome that a call did not ask for is a line with "unexpected"; the last is the summary.
'use strict';
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const proto = grpc.loadPackageDefinition(loader.loadSync(process.env.PENSTOCK_PROTO, {keepCase: true, defaults: true, longs: Number})).echo;
const OPTIONS = {'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1, 'grpc.use_local_subchannel_pool': 1, 'grpc.initial_reconnect_backoff_ms': 100};
const sleep = ms => new Promise(done => setTimeout(done, ms));

// ---------------------------------------------------------------- the service

// What the requests of one call have asked for.
class Served {
  constructor(id, call) {
    Object.assign(this, {id, call, messages: 0, bytes: 0, sequence: 0, failure: null, initial: new grpc.Metadata(), trailing: new grpc.Metadata()});
  }
  take(request) {
    this.messages++;
    this.bytes += request.payload.length;
    if (request.status_code) this.failure = {code: request.status_code, details: request.status_message};
    for (const [pairs, to] of [[request.initial_metadata, this.initial], [request.trailing_metadata, this.trailing]])
      for (const {key, value} of pairs) to.add(key, key.endsWith('-bin') ? value : value.toString());
    if (request.initial_metadata.length) this.call.sendMetadata(this.initial);
  }
  answer(request) {
    return {backend: this.id, payload: request.echo_payload ? request.payload : Buffer.alloc(request.response_size), received_messages: this.messages, received_bytes: this.bytes,
      sequence: this.sequence++, metadata: request.report_metadata ? this.seen() : []};
  }
  seen() {
    const names = Object.keys(this.call.metadata.getMap());
    return names.flatMap(key => this.call.metadata.get(key).map(value => ({key, value: Buffer.from(value)})));
  }
  error() { return this.failure && {...this.failure, metadata: this.trailing}; }
  end() { if (this.failure) this.call.emit('error', this.error()); else this.call.end(this.trailing); }
}

const write = (call, message) => new Promise(done => { // or until nobody reads any more
  if (call.cancelled || call.write(message)) return done();
  call.once('drain', done);
  call.once('cancelled', done);
});

const service = id => ({
  Unary: async (call, done) => {
    const s = new Served(id, call);
    s.take(call.request);
    await sleep(call.request.delay_ms);
    if (s.failure) done(s.error()); else done(null, s.answer(call.request), s.trailing);
  },
  ClientStream: (call, done) => {
    const s = new Served(id, call);
    let first = null, over = false;
    const finish = async () => {
      if (over) return;
      over = true;
      await sleep(first ? first.delay_ms : 0);
      if (s.failure) done(s.error()); else done(null, {...s.answer({echo_payload: true, payload: '', report_metadata: first && first.report_metadata})}, s.trailing);
    };
    call.on('data', request => {
      if (over) return;
      s.take(request);
      first = first || request;
      if (request.finish_early) finish();
    });
    call.on('end', finish);
    call.on('error', () => {});
  },
  ServerStream: async call => {
    const s = new Served(id, call), request = call.request;
    s.take(request);
    await sleep(request.delay_ms);
    while (!call.cancelled && s.sequence < request.messages) {
      await write(call, s.answer(request));
      if (request.interval_us) await sleep(request.interval_us / 1000);
    }
    s.end();
  },
  Bidi: call => {
    const s = new Served(id, call);
    let work = Promise.resolve(), over = false;
    call.on('data', request => {
      work = work.then(async () => {
        if (over || call.cancelled) return;
        s.take(request);
        await sleep(request.delay_ms);
        if (!request.finish_early) return write(call, s.answer(request));
        over = true;
        s.end();
      });
    });
    call.on('end', () => work.then(() => over || s.end()));
    call.on('error', () => {});
  },
});

function server(options) {
  const it = new grpc.Server(OPTIONS);
  it.addService(proto.Echo.service, service(options.id));
  it.bindAsync(options.listen, grpc.ServerCredentials.createInsecure(), error => {
    if (error) throw error;
    console.log('listening', options.listen);
  });
}

// ---------------------------------------------------------------- the client

const KINDS = ['Unary', 'Unary', 'ClientStream', 'ServerStream', 'Bidi'];
const SIZES = [0, 1, 5, 100, 1000, 10000, 16384, 65535, 100000, 1 << 20];
const WORDS = ['asked for', '100% sure', 'gefragt wäre', ''];
const GIVE = ['before', 'timed', 'sending', 'headers', 'answer'];
let most = 2 << 20; // octets of a stream
const below = n => Math.floor(Math.random() * n);
const one = n => below(n) === 0;
const pick = list => list[below(list.length)];
const block = Buffer.alloc(2 << 20).map(() => below(256));

const extras = name => Array.from({length: below(4)}, (_, i) => one(2) ? {key: `${name}-${i}-bin`, value: block.subarray(i, i + below(200))} : {key: `${name}-${i}`, value: Buffer.from('x'.repeat(1 + below(300)))});

function plan() {
  const size = Math.min(most, SIZES[below(one(8) ? 10 : 6)]), at = below(block.length - size), p = {kind: pick(KINDS), size, early: -1, give: null, slow: 0, deadline: 0};
  p.messages = Math.max(1, Math.min(1 + below(20), Math.floor(most / Math.max(size, 1))));
  p.request = {payload: block.subarray(at, at + size), echo_payload: true, initial_metadata: extras('mixed-initial'), trailing_metadata: extras('mixed-trailing'), messages: p.messages};
  if (one(12)) { p.deadline = 1 + below(59); p.request.delay_ms = below(60); }
  else if (one(6)) p.request.delay_ms = below(10);
  if (one(5)) Object.assign(p.request, {status_code: 1 + below(16), status_message: pick(WORDS)});
  if (one(20)) p.slow = below(20);
  if (one(20)) p.request.interval_us = below(10000);
  if (one(8) && (p.kind === 'ClientStream' || p.kind === 'Bidi')) p.early = below(p.messages);
  p.fresh = one(25);
  p.inTurns = one(2);
  if (one(6) || p.fresh) Object.assign(p, {give: pick(GIVE), giveAt: below(5), giveAfter: one(3) ? (p.request.delay_ms || 0) + below(3) : below(4)});
  return p;
}

function run(stub, p) {
  return new Promise(done => {
    const seen = {wrong: [], given: false, answers: 0}, metadata = new grpc.Metadata();
    metadata.set('number', String(below(50)));
    metadata.set('mixed-asked-bin', block.subarray(0, below(100)));
    const options = {deadline: Date.now() + (p.deadline || 60000)}, began = Date.now();
    const ended = (code, words, trailer) => done({...seen, code, words, trailer, began, took: Date.now() - began});
    const streams = p.kind === 'ServerStream' || p.kind === 'Bidi', sends = p.kind === 'ClientStream' || p.kind === 'Bidi';
    let answer = null, trailer = null, sent = 0, failure = null, open = 2;
    const part = () => { if (--open === 0) ended(failure ? failure.code : 0, failure ? failure.details : '', trailer); };
    const callback = (error, value) => { failure = error; answer = value; if (!error) look(value); part(); };
    const call = p.kind === 'Unary' ? stub.Unary(p.request, metadata, options, callback) : p.kind === 'ClientStream' ? stub.ClientStream(metadata, options, callback) :
      p.kind === 'ServerStream' ? stub.ServerStream(p.request, metadata, options) : stub.Bidi(metadata, options);
    const give = now => { if (now) { seen.given = true; call.cancel(); } };
    const look = value => {
      if (p.kind === 'ClientStream') {
        const count = p.early < 0 ? p.messages : p.early + 1;
        if (value.received_messages !== count || value.received_bytes !== count * p.size) seen.wrong.push(`${value.received_messages} messages, ${value.received_bytes} octets arrived`);
      } else if (!value.payload.equals(p.request.payload) || value.sequence !== seen.answers) seen.wrong.push(`answer ${seen.answers} is number ${value.sequence} of ${value.payload.length} octets`);
      seen.answers++;
    };
    const send = () => {
      const more = {...p.request, finish_early: sent === p.early};
      if (sent > 0) Object.assign(more, {initial_metadata: [], trailing_metadata: []});
      const room = call.write(more);
      give(p.give === 'sending' && sent === p.giveAt);
      if (++sent === p.messages) call.end();
      else if (!p.inTurns || p.kind !== 'Bidi') { if (room) setImmediate(send); else call.once('drain', send); }
    };
    call.on('metadata', headers => { seen.headers = headers; give(p.give === 'headers'); });
    call.on('status', status => { trailer = status.metadata; if (streams && status.code) failure = status; part(); });
    if (streams) {
      call.on('error', () => {});
      call.on('data', value => {
        look(value);
        give(p.give === 'answer' && seen.answers === p.giveAt + 1);
        if (p.slow) { call.pause(); setTimeout(() => call.resume(), p.slow); }
        if (p.kind === 'Bidi' && p.inTurns && sent < p.messages) send();
      });
      call.on('end', part);
      call.on('close', () => { if (open === 1 && trailer && failure) part(); });
    }
    if (sends) send();
    give(p.give === 'before');
    if (p.give === 'timed') setTimeout(() => give(true), p.giveAfter);
  });
}

// Why the outcome is not one that the plan asked for.
function unexpected(p, s) {
  if (s.code === 1 && s.given) return null;
  if (s.code === 4 && p.deadline) return s.took >= p.deadline - 2 || p.request.status_code === 4 ? null : 'before its deadline';
  // A message that is written when the server has ended the call and grpc-js has not told of it yet.
  if (s.code === 13 && p.early >= 0 && s.words === 'Write error: write after end') return null;
  if (s.code !== (p.request.status_code || 0)) return 'status';
  if (s.code && s.words !== p.request.status_message) return 'words';
  if (!s.code && p.kind !== 'Unary' && p.kind !== 'ClientStream' && s.answers !== (p.kind === 'Bidi' && p.early >= 0 ? p.early : p.messages)) return `${s.answers} answers`;
  if (s.wrong.length) return s.wrong[0];
  if (s.given) return null;
  for (const [where, pairs, have] of [['headers', p.request.initial_metadata, s.headers], ['trailers', p.request.trailing_metadata, s.trailer]])
    for (const {key, value} of pairs) if (!have || have.get(key).length !== 1 || !Buffer.from(have.get(key)[0]).equals(value)) return `${where} without ${key}`;
  return null;
}

async function client(options) {
  most = Number(options.most || most);
  const open = () => new proto.Echo(options.target, grpc.credentials.createInsecure(), {...OPTIONS, 'grpc.default_compression_algorithm': one(4) ? 2 : 0});
  const stubs = Array.from({length: Number(options.channels || 3)}, open), threads = Number(options.threads || 8), pause = 1000 * threads / Number(options.rate || 100);
  const until = Date.now() + 1000 * Number(options.seconds || 10), total = {summary: true, calls: 0, unexpected_calls: 0, outcomes: {}};
  const thread = async () => {
    for (let turn = Date.now(); Date.now() < until;) {
      turn = Math.max(turn + pause, Date.now());
      await sleep(turn - Date.now());
      const p = plan(), slot = below(stubs.length);
      if (one(400)) stubs[slot] = open();
      const stub = p.fresh ? open() : stubs[slot], s = await run(stub, p);
      if (p.fresh) stub.close();
      const why = unexpected(p, s), name = `${p.kind} ${grpc.status[s.code]}`;
      total.calls++;
      total.outcomes[name] = (total.outcomes[name] || 0) + 1;
      if (why === null) continue;
      total.unexpected_calls++;
      console.log(JSON.stringify({unexpected: grpc.status[s.code], why, message: s.words, kind: p.kind, wanted: p.request.status_code || 0, wanted_message: p.request.status_message, size: p.size,
        messages: p.messages, early: p.early, give: p.give, given: s.given, give_at: p.giveAt, give_after: p.giveAfter, deadline: p.deadline, delay: p.request.delay_ms, fresh: p.fresh, answers: s.answers,
        slow: p.slow, in_turns: p.inTurns, began: s.began / 1000, ended: (s.began + s.took) / 1000}));
    }
  };
  await Promise.all(Array.from({length: threads}, thread));
  console.log(JSON.stringify(total));
  process.exit(total.unexpected_calls ? 1 : 0);
}

const options = {};
for (let i = 3; i < process.argv.length; i += 2) options[process.argv[i].slice(2)] = process.argv[i + 1];
if (process.argv[2] === 'server') server(options);
else if (process.argv[2] === 'client') client(options);
else { console.error('usage: mixed.js server|client …'); process.exit(2); }

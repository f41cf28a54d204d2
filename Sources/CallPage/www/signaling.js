// The client of the signaling protocol: one WebSocket, numbered messages, acknowledgements, heartbeat and resumption.
// Losing the WebSocket loses nothing: messages wait until they are acknowledged, and the session is taken up again.

const subprotocol = 'floe.v1';
const version = 1;
const openTimeout = 10_000;
const answerTimeout = 8_000;
const probeTimeout = 3_000;
const acknowledgeAfter = 1_000;
const acknowledgeEvery = 16;
const longestBackoff = 15_000;
const settledAfter = 3_000;
const defaultLimits = { messagesPerSecond: 50, messageBurst: 500, replayMessages: 512 };

/** Close codes after which the session cannot be resumed and the page joins anew. */
const joinAnewCodes = new Set([1009, 4400, 4401, 4406]);
/** Close codes after which coming back would be wrong. */
const finalCodes = new Map([[4402, 'unsupportedVersion'], [4409, 'resumedElsewhere']]);
/** Errors that answer `join` and need a decision of the person. */
const joinErrors = new Set(['badRoom', 'badName', 'roomFull', 'tooManyRooms']);

/** The address of the signaling endpoint beside the page. */
export function signalingURL() {
  const url = new URL('signal', location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  url.search = '';
  url.hash = '';
  return url.href;
}

/**
 * A session with the signaling server.
 *
 * Events, each a CustomEvent whose `detail` is the server's message: `joined`, `resumed`, `peerJoined`, `peerLeft`,
 * `description`, `candidate`, `iceServers`; and of its own: `state`, `open`, `unreachable` ({attempts, opened}),
 * `refused` ({code, message}: the person must change something), `ended` ({code}: the session is over for good).
 */
export class Signaling extends EventTarget {
  state = 'closed';
  id = null;
  iceServers = [];
  counters = { resumes: 0, replayLost: 0, joins: 0, reconnects: 0 };

  #socket = null;
  #established = false;
  #wanted = false;
  #room = '';
  #name = '';
  #ready = Promise.resolve();
  #session = null;
  #limits = defaultLimits;

  #nextSequence = 1;
  #received = 0;
  #acknowledged = 0;
  #unacknowledged = [];
  #outbox = [];
  #tokens = 0;
  #tokensAt = 0;
  #slowdown = 1;

  #attempts = 0;
  #pingID = 0;
  #timers = {};

  constructor(url = signalingURL()) {
    super();
    this.url = url;
    this.goneOnline = () => this.probe();
    addEventListener('online', this.goneOnline);
  }

  get isConnected() {
    return this.#established;
  }

  /** Enters a room. The WebSocket opens at once; `join` is sent when `ready` is fulfilled. */
  join(room, name, ready = Promise.resolve()) {
    this.#room = room;
    this.#name = name;
    this.#ready = ready;
    this.#session = null;
    this.#attempts = 0;
    this.#wanted = true;
    this.#connect();
  }

  sendDescription(to, { type, sdp }) {
    this.#sendSequenced({ type: 'description', to, description: { type, sdp } });
  }

  /** Sends one candidate; `null` says that there are no more. */
  sendCandidate(to, candidate) {
    this.#sendSequenced({ type: 'candidate', to, candidate });
  }

  /** Asks for fresh ICE servers. */
  refresh() {
    if (this.#established) this.#transmit({ type: 'refresh' });
  }

  /** Ends the session. The object may join again afterwards. */
  leave() {
    this.#wanted = false;
    if (this.#established) this.#transmit({ type: 'leave' }, true);
    this.#session = null;
    this.#detach(1000);
    this.#setState('closed');
  }

  /** The network may have changed: finds out within seconds whether the WebSocket still lives. */
  probe() {
    if (!this.#wanted) return;
    if (this.#established) this.#ping(probeTimeout);
    else if (this.#timers.retry) this.#connect();
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #setState(state) {
    if (this.state === state) return;
    this.state = state;
    this.#emit('state', { state });
  }

  #after(name, time, action) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(() => {
      this.#timers[name] = undefined;
      action();
    }, time);
  }

  #clearTimers() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
  }

  // MARK: the WebSocket

  #connect() {
    this.#detach();
    this.#setState('connecting');
    let socket;
    try {
      socket = new WebSocket(this.url, subprotocol);
    } catch {
      this.#retry();
      return;
    }
    this.#socket = socket;
    let opened = false;
    this.#after('open', openTimeout, () => this.#lost(0, opened));
    socket.onopen = async () => {
      opened = true;
      this.#emit('open');
      await this.#ready;
      if (socket !== this.#socket) return;
      this.#greet();
    };
    socket.onmessage = (event) => {
      if (socket === this.#socket) this.#receive(event.data);
    };
    socket.onclose = (event) => {
      if (socket === this.#socket) this.#lost(event.code, opened);
    };
  }

  /** The first message: take the session up again, or join. */
  #greet() {
    this.#after('open', answerTimeout, () => this.#lost(0, true));
    if (this.#session) this.#transmit({ type: 'resume', version, session: this.#session, ack: this.#received }, true);
    else this.#transmit({ type: 'join', version, room: this.#room, name: this.#name }, true);
  }

  /** Lets go of the present WebSocket. A dead one may take minutes to close, so nobody waits for it. */
  #detach(code = 1000) {
    const socket = this.#socket;
    this.#socket = null;
    this.#established = false;
    this.#outbox = [];
    this.#clearTimers();
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try { socket.close(code); } catch { /* never opened */ }
  }

  #lost(code, opened) {
    this.#detach();
    if (!this.#wanted) return;
    if (code === 1000 || finalCodes.has(code)) {
      this.#wanted = false;
      this.#session = null;
      this.#setState('closed');
      this.#emit('ended', { code: finalCodes.get(code) ?? 'serverClosed' });
      return;
    }
    if (joinAnewCodes.has(code)) this.#session = null;
    if (code === 4429) this.#slowdown = Math.min(8, this.#slowdown * 2);
    this.#emit('unreachable', { attempts: this.#attempts, opened, code });
    this.#retry(code === 4429 ? 1000 : code === 4503 ? 5000 : 0);
  }

  /** Tries again after a growing, random time, so that a restarted server is not met by all clients at once. */
  #retry(least = 0) {
    this.#setState('connecting');
    const longest = Math.min(longestBackoff, 300 * 2 ** this.#attempts);
    this.#attempts += 1;
    this.counters.reconnects += 1;
    this.#after('retry', least + longest / 4 + Math.random() * longest * 0.75, () => this.#connect());
  }

  // MARK: sending

  #sendSequenced(message) {
    const numbered = { ...message, seq: this.#nextSequence };
    this.#nextSequence += 1;
    this.#unacknowledged.push(numbered);
    if (this.#unacknowledged.length > this.#limits.replayMessages) {
      // Too long away to catch up: a fresh session is cheaper than a history nobody needs.
      this.#session = null;
      this.#unacknowledged = [];
      if (this.#established) this.#lost(0, true);
      return;
    }
    if (this.#established) this.#transmit(numbered);
  }

  /** Sends within the server's rate limit; `urgent` messages go out at once. */
  #transmit(message, urgent = false) {
    if (urgent) {
      this.#write(message);
      return;
    }
    this.#outbox.push(message);
    this.#drain();
  }

  #drain() {
    const rate = this.#limits.messagesPerSecond * 0.8 / this.#slowdown;
    const burst = this.#limits.messageBurst * 0.5 / this.#slowdown;
    const time = performance.now();
    this.#tokens = Math.min(burst, this.#tokens + (time - this.#tokensAt) / 1000 * rate);
    this.#tokensAt = time;
    while (this.#outbox.length > 0 && this.#tokens >= 1) {
      this.#tokens -= 1;
      this.#write(this.#outbox.shift());
    }
    if (this.#outbox.length > 0) this.#after('drain', 1000 / rate, () => this.#drain());
  }

  #write(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    if (this.#established && this.#received > this.#acknowledged) {
      message = { ...message, ack: this.#received };
      this.#acknowledged = this.#received;
    }
    this.#socket.send(JSON.stringify(message));
  }

  #ping(timeout) {
    this.#pingID += 1;
    this.#write({ type: 'ping', id: this.#pingID });
    this.#after('pong', timeout, () => this.#lost(0, true));
  }

  #startHeartbeat(seconds) {
    const period = Math.max(1, seconds || 15) * 1000;
    const beat = () => {
      this.#ping(Math.min(answerTimeout, period));
      this.#after('heartbeat', period, beat);
    };
    this.#after('heartbeat', period, beat);
  }

  // MARK: receiving

  #receive(text) {
    let message;
    try { message = JSON.parse(text); } catch { return; }
    if (message === null || typeof message !== 'object') return;
    clearTimeout(this.#timers.pong);
    if (Number.isInteger(message.ack) && message.type !== 'resumed') this.#acknowledge(message.ack);
    if (Number.isInteger(message.seq) && message.type !== 'error' && !this.#inOrder(message.seq)) return;
    switch (message.type) {
      case 'joined': this.#joined(message); break;
      case 'resumed': this.#resumed(message); break;
      case 'error': this.#failed(message); break;
      case 'iceServers': this.iceServers = message.iceServers ?? []; this.#emit('iceServers', message); break;
      case 'peerJoined': case 'peerLeft': case 'description': case 'candidate': this.#emit(message.type, message); break;
      default: break;
    }
  }

  /** Whether a numbered message is the next one. A repeated one is ignored; behind a gap the session is worthless. */
  #inOrder(sequence) {
    if (sequence <= this.#received) return false;
    if (sequence > this.#received + 1) {
      this.#lost(4406, true);
      return false;
    }
    this.#received = sequence;
    if (this.#received - this.#acknowledged >= acknowledgeEvery) this.#write({ type: 'ack' });
    else if (!this.#timers.acknowledge) {
      this.#after('acknowledge', acknowledgeAfter / 2, () => {
        if (this.#received > this.#acknowledged) this.#write({ type: 'ack' });
      });
    }
    return true;
  }

  #acknowledge(upTo) {
    while (this.#unacknowledged.length > 0 && this.#unacknowledged[0].seq <= upTo) this.#unacknowledged.shift();
  }

  #renumber() {
    this.#nextSequence = 1;
    this.#received = 0;
    this.#acknowledged = 0;
    this.#unacknowledged = [];
  }

  #establish(message) {
    clearTimeout(this.#timers.open);
    this.#established = true;
    this.#after('settled', settledAfter, () => { this.#attempts = 0; });
    this.id = message.id;
    this.iceServers = message.iceServers ?? [];
    this.#limits = { ...defaultLimits, ...message.limits };
    this.#tokens = this.#limits.messageBurst * 0.5 / this.#slowdown;
    this.#tokensAt = performance.now();
    this.#startHeartbeat(message.heartbeatSeconds);
  }

  #joined(message) {
    this.counters.joins += 1;
    this.#renumber();
    this.#session = message.session;
    this.#establish(message);
    this.#setState('connected');
    this.#emit('joined', message);
  }

  #resumed(message) {
    this.counters.resumes += 1;
    const lost = message.replay !== 'complete';
    if (lost) {
      this.counters.replayLost += 1;
      this.#renumber();
    } else {
      this.#acknowledge(message.ack ?? 0);
      this.#acknowledged = this.#received;
    }
    const again = [...this.#unacknowledged];
    this.#establish(message);
    for (const pending of again) this.#transmit(pending);
    this.#setState('connected');
    this.#emit('resumed', { ...message, lost });
  }

  #failed({ code, message }) {
    if (code === 'sessionUnknown') {
      this.#session = null;
      this.#greet();
    } else if (joinErrors.has(code) && !this.#established) {
      // Someone who was in the room already waits for the place that the old session still holds.
      const waiting = this.counters.joins > 0 && (code === 'roomFull' || code === 'tooManyRooms');
      if (waiting) {
        this.#detach();
        this.#retry(3000);
      } else {
        this.leave();
      }
      this.#emit('refused', { code, message, waiting });
    }
  }
}

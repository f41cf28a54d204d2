// The client of the signaling protocol: one WebSocket, numbered messages, acknowledgements, heartbeat and resumption.
// Losing the WebSocket loses nothing: messages wait until they are acknowledged, and the session is taken up again.

import { Pace, Sequence } from './sequence.js';
import {
  backoff, defaultLimits, finalCodes, joinAnewCodes, joinErrors, signalingURL, subprotocol, version,
} from './protocol.js';
import { Timers } from './timers.js';

const openTimeout = 10_000;
const answerTimeout = 8_000;
const probeTimeout = 3_000;
const settledAfter = 3_000;
const acknowledgeAfter = 500;
const acknowledgeEvery = 16;

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

  #sequence = new Sequence();
  #pace = new Pace();
  #outbox = [];

  #attempts = 0;
  #pingID = 0;
  #timers = new Timers();

  constructor(url = signalingURL()) {
    super();
    this.url = url;
    addEventListener('online', () => this.probe());
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
    else if (this.#timers.runs('retry')) this.#connect();
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #setState(state) {
    if (this.state === state) return;
    this.state = state;
    this.#emit('state', { state });
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
    this.#timers.after('open', openTimeout, () => this.#lost(0, opened));
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
    this.#timers.after('open', answerTimeout, () => this.#lost(0, true));
    if (this.#session) this.#transmit({ type: 'resume', version, session: this.#session, ack: this.#sequence.received }, true);
    else this.#transmit({ type: 'join', version, room: this.#room, name: this.#name }, true);
  }

  /** Lets go of the present WebSocket. A dead one may take minutes to close, so nobody waits for it. */
  #detach(code = 1000) {
    const socket = this.#socket;
    this.#socket = null;
    this.#established = false;
    this.#outbox = [];
    this.#timers.clear();
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try { socket.close(code); } catch { /* never opened */ }
  }

  #lost(code, opened) {
    this.#detach();
    if (!this.#wanted) return;
    if (finalCodes.has(code)) {
      this.#wanted = false;
      this.#session = null;
      this.#setState('closed');
      this.#emit('ended', { code: finalCodes.get(code) });
      return;
    }
    if (joinAnewCodes.has(code)) this.#session = null;
    if (code === 4429) this.#pace.slowDown();
    this.#emit('unreachable', { attempts: this.#attempts, opened, code });
    this.#retry(code === 4429 ? 1000 : code === 4503 ? 5000 : 0);
  }

  #retry(least = 0) {
    this.#setState('connecting');
    this.#timers.after('retry', least + backoff(this.#attempts), () => this.#connect());
    this.#attempts += 1;
    this.counters.reconnects += 1;
  }

  // MARK: sending

  #sendSequenced(message) {
    const numbered = this.#sequence.number(message);
    if (this.#sequence.pending.length > this.#limits.replayMessages) {
      // Too long away to catch up: a fresh session is cheaper than a history nobody needs.
      this.#session = null;
      this.#sequence.restart();
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
    while (this.#outbox.length > 0 && this.#pace.take()) this.#write(this.#outbox.shift());
    if (this.#outbox.length > 0) this.#timers.after('drain', this.#pace.wait, () => this.#drain());
  }

  #write(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    if (this.#established && this.#sequence.owed > 0) {
      message = { ...message, ack: this.#sequence.received };
      this.#sequence.told = this.#sequence.received;
    }
    this.#socket.send(JSON.stringify(message));
  }

  #ping(timeout) {
    this.#pingID += 1;
    this.#write({ type: 'ping', id: this.#pingID });
    this.#timers.after('pong', timeout, () => this.#lost(0, true));
  }

  #startHeartbeat(seconds) {
    const period = Math.max(1, seconds || 15) * 1000;
    const beat = () => {
      this.#ping(Math.min(answerTimeout, period));
      this.#timers.after('heartbeat', period, beat);
    };
    this.#timers.after('heartbeat', period, beat);
  }

  // MARK: receiving

  #receive(text) {
    let message;
    try { message = JSON.parse(text); } catch { return; }
    if (message === null || typeof message !== 'object') return;
    this.#timers.cancel('pong');
    if (Number.isInteger(message.ack) && message.type !== 'resumed') this.#sequence.acknowledge(message.ack);
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
  #inOrder(number) {
    const place = this.#sequence.receive(number);
    if (place === 'gap') this.#lost(4406, true);
    if (place !== 'next') return false;
    const acknowledge = () => { if (this.#sequence.owed > 0) this.#write({ type: 'ack' }); };
    if (this.#sequence.owed >= acknowledgeEvery) acknowledge();
    else if (!this.#timers.runs('acknowledge')) this.#timers.after('acknowledge', acknowledgeAfter, acknowledge);
    return true;
  }

  #establish(message) {
    this.#timers.cancel('open');
    this.#established = true;
    this.#attempts = Math.min(this.#attempts, 2);
    this.#timers.after('settled', settledAfter, () => { this.#attempts = 0; });
    this.id = message.id;
    this.iceServers = message.iceServers ?? [];
    this.#limits = { ...defaultLimits, ...message.limits };
    this.#pace.use(this.#limits);
    this.#startHeartbeat(message.heartbeatSeconds);
  }

  #joined(message) {
    this.counters.joins += 1;
    this.#sequence.restart();
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
      this.#sequence.restart();
    } else {
      this.#sequence.acknowledge(message.ack ?? 0);
      this.#sequence.told = this.#sequence.received;
    }
    const again = [...this.#sequence.pending];
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

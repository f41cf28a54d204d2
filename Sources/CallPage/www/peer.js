// One other person: an RTCPeerConnection with perfect negotiation, trickle ICE and a data channel.

import { fingerprint, listCandidate, listCandidates } from './candidates.js';
import { Recovery } from './recovery.js';
import { Timeline, now } from './timeline.js';

const longestQueue = 256;
const answerTimeout = 5_000;
const mostOfferRepeats = 4;
const mostErrors = 60;

/**
 * The connection to one peer of the room.
 *
 * Events: `change` (any state), `track` ({track}), `channel` ({channel}), `candidate-error` ({code, url, text}),
 * `gathered`, `stalled` (recovery gave up or the first attempt takes long), `recovered`.
 */
export class Peer extends EventTarget {
  timeline = new Timeline();
  localCandidates = [];
  remoteCandidates = [];
  candidateErrors = [];
  iceRestarts = 0;
  gathered = false;
  closed = false;
  offersUnanswered = 0;
  pc = null;

  #options;
  #makingOffer = false;
  #ignoringOffer = false;
  #queue = [];
  #work = Promise.resolve();
  #answerTimer;

  /**
   * @param options `{id, name, selfID, configuration(), tracks(), signaling}`; `configuration` returns what a new
   *   RTCPeerConnection takes, `tracks` returns `{audio, video}`, either of which may be null.
   */
  constructor(options) {
    super();
    this.#options = options;
    this.id = options.id;
    this.name = options.name;
    this.polite = options.selfID > options.id;
    this.recovery = new Recovery(this, options.signaling);
    this.createdAt = now();
  }

  get isConnected() {
    return this.pc?.connectionState === 'connected';
  }

  /** Makes the connection and, as the newcomer, the first offer. */
  offer() {
    this.#build();
    this.#adopt(this.pc.createDataChannel('floe'));
    const tracks = this.#options.tracks();
    for (const kind of ['audio', 'video']) {
      // Both are there from the start, even without a device: switching on later needs no negotiation.
      this.pc.addTransceiver(tracks[kind] ?? kind, { direction: 'sendrecv' });
    }
    this.recovery.watch();
  }

  /** Makes the connection and waits for the newcomer's offer. */
  expectOffer() {
    this.#build();
    this.recovery.watch();
  }

  /** Starts again from nothing, where a restart of ICE alone does not help. */
  startOver() {
    this.timeline.mark('startedOver');
    this.offer();
  }

  #emit(type, detail = {}) {
    if (!this.closed) this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #build() {
    this.#discard();
    const pc = new RTCPeerConnection(this.#options.configuration());
    this.pc = pc;
    this.gathered = false;
    this.localCandidates = [];
    this.remoteCandidates = [];
    this.candidateErrors = [];
    this.#makingOffer = this.#ignoringOffer = false;
    this.#queue = [];
    const on = (type, action) => pc.addEventListener(type, (event) => {
      if (pc === this.pc && !this.closed) action(event);
    });
    on('negotiationneeded', () => this.#negotiate());
    on('icecandidate', ({ candidate }) => this.#foundLocal(candidate));
    on('icecandidateerror', (event) => this.#candidateFailed(event));
    on('track', ({ track }) => this.#emit('track', { track }));
    on('datachannel', ({ channel }) => { if (channel.label === 'floe') this.#adopt(channel); });
    on('iceconnectionstatechange', () => this.#iceChanged(pc.iceConnectionState));
    on('connectionstatechange', () => {
      if (pc.connectionState === 'connected') this.timeline.markOnce('connected');
      this.recovery.update();
      this.#emit('change');
    });
    on('signalingstatechange', () => { this.#watchAnswer(); this.#emit('change'); });
    on('icegatheringstatechange', () => {
      if (pc.iceGatheringState !== 'complete') return;
      this.gathered = true;
      this.timeline.markOnce('gatheringComplete');
      this.#emit('gathered');
    });
    return pc;
  }

  #discard() {
    clearTimeout(this.#answerTimer);
    const pc = this.pc;
    this.pc = null;
    pc?.close();
  }

  #adopt(channel) {
    channel.addEventListener('open', () => this.timeline.markOnce('dataChannelOpen'));
    this.#emit('channel', { channel });
  }

  #iceChanged(state) {
    if (state === 'checking') this.timeline.markOnce('iceChecking');
    else if (state === 'connected' && !this.timeline.has('iceConnected')) this.timeline.mark('iceConnected');
    else if (state === 'connected' || state === 'disconnected' || state === 'failed') {
      this.timeline.mark(`ice${state[0].toUpperCase()}${state.slice(1)}`);
    }
    this.recovery.update();
    this.#emit('change');
  }

  // MARK: candidates

  #foundLocal(candidate) {
    if (candidate?.candidate) {
      this.timeline.markOnce('firstLocalCandidate');
      listCandidate(this.localCandidates, candidate);
    }
    this.#options.signaling.sendCandidate(this.id, candidate ? candidate.toJSON() : null);
  }

  #candidateFailed({ errorCode, errorText, url, address, port }) {
    const known = this.candidateErrors.some((error) => error.code === errorCode && error.url === url);
    if (known || this.candidateErrors.length >= mostErrors) return;
    const error = { code: errorCode, text: errorText ?? '', url: url ?? '', address: address ?? '', port: port ?? 0, at: now() };
    this.candidateErrors.push(error);
    this.#emit('candidate-error', error);
  }

  /** A candidate of the other side, as it came over signaling. */
  receiveCandidate(candidate) {
    this.#work = this.#work.then(() => this.#addCandidate(candidate)).catch(() => {});
  }

  async #addCandidate(candidate) {
    if (this.closed || this.#ignoringOffer) return;
    if (!this.pc.remoteDescription) {
      if (this.#queue.length < longestQueue) this.#queue.push(candidate);
      return;
    }
    if (candidate?.candidate) {
      this.timeline.markOnce('firstRemoteCandidate');
      listCandidate(this.remoteCandidates, new RTCIceCandidate(candidate));
    }
    try {
      await this.pc.addIceCandidate(candidate ?? undefined);
    } catch {
      // Of an earlier generation, or of a kind this browser does not know: other candidates remain.
      this.timeline.markOnce('candidateRejected');
    }
  }

  // MARK: descriptions

  async #negotiate() {
    const pc = this.pc;
    try {
      this.#makingOffer = true;
      await pc.setLocalDescription();
      if (pc !== this.pc || pc.signalingState !== 'have-local-offer') return;
      this.offersUnanswered = 0;
      this.#sendLocal(pc.localDescription);
    } catch (error) {
      this.timeline.mark('negotiationFailed', String(error.message ?? error));
    } finally {
      if (pc === this.pc) this.#makingOffer = false;
    }
  }

  #sendLocal(description) {
    this.timeline.mark(`${description.type}Sent`);
    this.#options.signaling.sendDescription(this.id, description);
    this.#watchAnswer();
  }

  /** An offer may be lost with a restarted server; the same one again does no harm, and carries all candidates. */
  #watchAnswer() {
    clearTimeout(this.#answerTimer);
    if (this.pc?.signalingState !== 'have-local-offer' || this.offersUnanswered >= mostOfferRepeats) return;
    this.#answerTimer = setTimeout(() => this.repeatOffer(), answerTimeout * 2 ** this.offersUnanswered);
  }

  /** Sends the pending offer again, if there is one. */
  repeatOffer() {
    if (this.closed || this.pc?.signalingState !== 'have-local-offer') return;
    if (this.#options.signaling.isConnected) {
      this.offersUnanswered += 1;
      if (this.offersUnanswered > 1) this.#emit('stalled');
      this.#sendLocal(this.pc.localDescription);
    } else {
      this.#watchAnswer();
    }
  }

  /** A session description of the other side, as it came over signaling. */
  receiveDescription(description) {
    this.#work = this.#work.then(() => this.#apply(description)).catch((error) => {
      this.timeline.mark('descriptionRejected', String(error.message ?? error));
    });
  }

  async #apply(description) {
    if (this.closed) return;
    if (description.type === 'offer') await this.#answer(description);
    else if (description.type === 'rollback') {
      if (this.pc.signalingState === 'have-remote-offer') await this.pc.setRemoteDescription({ type: 'rollback' });
    } else await this.#accept(description);
  }

  async #accept(answer) {
    if (this.pc.signalingState !== 'have-local-offer' && this.pc.signalingState !== 'have-remote-pranswer') return;
    this.timeline.mark('answerReceived');
    await this.pc.setRemoteDescription(answer);
    this.offersUnanswered = 0;
    await this.#unqueue(answer);
  }

  async #answer(offer) {
    this.timeline.mark('offerReceived');
    const began = this.pc.remoteDescription;
    if (began && fingerprint(offer.sdp) !== fingerprint(began.sdp)) {
      this.timeline.mark('peerStartedOver');
      this.#rebuild();
    }
    const busy = this.#makingOffer || this.pc.signalingState !== 'stable';
    this.#ignoringOffer = busy && !this.polite;
    if (this.#ignoringOffer) return;
    // Both sides offered first: rolled back, our own m-lines would come on top of theirs. Begin again as answerer.
    if (busy && !this.pc.remoteDescription) this.#rebuild();
    const pc = this.pc;
    await pc.setRemoteDescription(offer);
    const tracks = this.#options.tracks();
    for (const transceiver of pc.getTransceivers()) {
      if (transceiver.direction === 'recvonly') transceiver.direction = 'sendrecv';
      await transceiver.sender.replaceTrack(tracks[transceiver.receiver.track.kind] ?? null);
    }
    await pc.setLocalDescription();
    if (pc !== this.pc) return;
    this.#sendLocal(pc.localDescription);
    await this.#unqueue(offer);
  }

  #rebuild() {
    const waiting = this.#queue;
    this.#build();
    this.#queue = waiting;
    this.#emit('change');
  }

  /** Takes the candidates that the description carried, and those that came before it. */
  async #unqueue({ sdp }) {
    listCandidates(this.remoteCandidates, sdp);
    if (this.remoteCandidates.length > 0) this.timeline.markOnce('firstRemoteCandidate');
    const waiting = this.#queue;
    this.#queue = [];
    for (const candidate of waiting) await this.#addCandidate(candidate);
  }

  // MARK: changes while the connection lives

  /** Takes over new ICE servers or another transport policy; they count from the next restart on. */
  reconfigure() {
    try {
      this.pc?.setConfiguration(this.#options.configuration());
    } catch (error) {
      this.timeline.mark('configurationRejected', String(error.message ?? error));
    }
  }

  /** Restarts ICE: new credentials, new candidates, while media goes on over the old path if it still works. */
  restartICE(reason) {
    if (this.closed || !this.pc) return;
    this.iceRestarts += 1;
    this.timeline.mark('iceRestart', reason);
    this.reconfigure();
    this.pc.restartIce();
  }

  close() {
    this.closed = true;
    this.recovery.stop();
    this.#discard();
  }

  /** Called by Recovery. */
  report(event) {
    this.#emit(event);
  }
}

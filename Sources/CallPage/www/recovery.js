// Brings a connection back: decides when ICE restarts, so that both sides do not do it at once and nobody forever.

const disconnectedPatience = 3_000;
const politePatience = 2_500;
const attemptTimeout = 12_000;
const firstConnectionPatience = 15_000;
const offerPatience = 10_000;
const settledAfter = 10_000;
const mostAttempts = 8;
const restartsBeforeStartingOver = 3;
const leastBetweenHints = 5_000;

/**
 * Watches one peer's connection and restarts ICE when it failed, stays disconnected, or the network changed.
 * The impolite side goes first; the polite one follows when that did not help.
 */
export class Recovery {
  attempts = 0;
  gaveUp = false;

  #peer;
  #signaling;
  #timer;
  #settled;
  #slow;
  #waitingForSignaling = false;
  #stopped = false;
  #hintAt = -Infinity;

  constructor(peer, signaling) {
    this.#peer = peer;
    this.#signaling = signaling;
  }

  /** Begins to watch a connection that was just made. */
  watch() {
    clearTimeout(this.#slow);
    this.#slow = setTimeout(() => {
      if (!this.#peer.isConnected) this.#peer.report('stalled');
    }, firstConnectionPatience);
    if (!this.#peer.pc.localDescription) this.#schedule(offerPatience, 'noOffer');
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#settled);
    clearTimeout(this.#slow);
    this.#timer = undefined;
  }

  /** The connection's state changed. */
  update() {
    const { pc } = this.#peer;
    if (!pc || this.#peer.closed || this.#stopped) return;
    if (pc.connectionState === 'connected') {
      this.#connected();
    } else if (pc.iceConnectionState === 'failed' || pc.connectionState === 'failed') {
      clearTimeout(this.#settled);
      this.#peer.report('stalled');
      this.#schedule(this.#backoff() + this.#turn(), 'failed');
    } else if (pc.iceConnectionState === 'disconnected') {
      clearTimeout(this.#settled);
      this.#schedule(disconnectedPatience + this.#turn(), 'disconnected');
    } else if (pc.signalingState !== 'stable' || pc.iceConnectionState === 'checking') {
      // Something is under way: its own failure or the attempt's timeout decides.
      if (this.attempts === 0) this.#cancel();
    }
  }

  /** The network may have changed. A connection that works is left alone unless the change is certain. */
  networkChanged(certain) {
    const time = performance.now();
    if (time - this.#hintAt < leastBetweenHints) return;
    if (this.#peer.isConnected && !certain) return;
    if (!this.#peer.pc?.remoteDescription) return;
    this.#hintAt = time;
    this.attempts = 0;
    this.gaveUp = false;
    this.#attempt('networkChange');
  }

  /** The person asked for another try. */
  tryAgain() {
    this.attempts = 0;
    this.gaveUp = false;
    this.#attempt('askedFor');
  }

  /** Signaling is back: what waited for it goes on; after a lost replay an exchange in flight is made again. */
  signalingResumed(lost) {
    const peer = this.#peer;
    if (lost && peer.pc?.signalingState === 'have-local-offer') {
      peer.offersUnanswered = 0;
      peer.repeatOffer();
    } else if (this.#waitingForSignaling || (lost && !peer.isConnected && peer.pc?.remoteDescription)) {
      this.#waitingForSignaling = false;
      this.#schedule(this.#turn(), 'signalingResumed');
    }
  }

  #connected() {
    const recovering = this.attempts > 0 || this.gaveUp;
    this.#cancel();
    clearTimeout(this.#slow);
    clearTimeout(this.#settled);
    this.gaveUp = false;
    this.#settled = setTimeout(() => { this.attempts = 0; }, settledAfter);
    this.#peer.report(recovering ? 'recovered' : 'change');
  }

  /** How much longer the polite side waits, so that restarts do not collide. */
  #turn() {
    return this.#peer.polite ? politePatience : 0;
  }

  #backoff() {
    return this.attempts === 0 ? 0 : Math.min(30_000, 1_000 * 2 ** (this.attempts - 1));
  }

  #schedule(time, reason) {
    this.#cancel();
    this.#timer = setTimeout(() => this.#attempt(reason), time);
  }

  #cancel() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #attempt(reason) {
    const peer = this.#peer;
    this.#cancel();
    if (peer.closed || this.#stopped || this.gaveUp) return;
    if (peer.isConnected && reason !== 'networkChange' && reason !== 'askedFor') return;
    if (!this.#signaling.isConnected) {
      this.#waitingForSignaling = true;
      return;
    }
    if (this.attempts >= mostAttempts) {
      this.gaveUp = true;
      peer.timeline.mark('gaveUp');
      peer.report('stalled');
      return;
    }
    this.attempts += 1;
    if (!peer.pc.remoteDescription) {
      // Nobody offered, or the offer is still unanswered.
      if (peer.pc.signalingState === 'have-local-offer') peer.repeatOffer();
      else peer.offer();
    } else if (this.attempts > restartsBeforeStartingOver && !peer.polite) {
      peer.startOver();
    } else {
      peer.restartICE(reason);
    }
    this.#schedule(attemptTimeout + this.#backoff() + this.#turn(), 'stillNotConnected');
  }
}

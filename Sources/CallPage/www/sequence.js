// The numbering of signaling messages in both directions, and the pace at which they may be sent.

/** Numbers what is sent, keeps it until it is acknowledged, and puts what is received in order. */
export class Sequence {
  received = 0;
  /** The highest number whose receipt the server was told of. */
  told = 0;
  pending = [];

  #next = 1;

  /** Both directions start again at 1; what waited is dropped. */
  restart() {
    this.received = 0;
    this.told = 0;
    this.pending = [];
    this.#next = 1;
  }

  number(message) {
    const numbered = { ...message, seq: this.#next };
    this.#next += 1;
    this.pending.push(numbered);
    return numbered;
  }

  acknowledge(upTo) {
    while (this.pending.length > 0 && this.pending[0].seq <= upTo) this.pending.shift();
  }

  /** Whether a received number is the `next` one, `repeated`, or lies behind a `gap`. */
  receive(number) {
    if (number <= this.received) return 'repeated';
    if (number > this.received + 1) return 'gap';
    this.received = number;
    return 'next';
  }

  get owed() {
    return this.received - this.told;
  }
}

/** A token bucket somewhat below the server's limit, and lower each time the server found us too fast. */
export class Pace {
  #rate = 40;
  #burst = 250;
  #tokens = 250;
  #at = performance.now();
  #slowdown = 1;

  use({ messagesPerSecond, messageBurst }) {
    this.#rate = messagesPerSecond * 0.8 / this.#slowdown;
    this.#burst = messageBurst * 0.5 / this.#slowdown;
    this.#tokens = this.#burst;
    this.#at = performance.now();
  }

  slowDown() {
    this.#slowdown = Math.min(8, this.#slowdown * 2);
  }

  /** Takes one token; false if there is none now. */
  take() {
    const time = performance.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + (time - this.#at) / 1000 * this.#rate);
    this.#at = time;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Milliseconds until there is a token again. */
  get wait() {
    return 1000 / this.#rate;
  }
}

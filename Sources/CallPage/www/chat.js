// What two pages say to each other over their data channel: chat, the state of their media, and files.
//
// Texts are JSON objects with a `type`; binary messages are the chunks of the one file that is under way.

import { FileReceiver, FileSender } from './files.js';

const longestText = 4_096;
const longestMessage = 65_536;
const mostWaiting = 100;

/**
 * The conversation with one peer. Outlives the data channel: a new connection to the same peer brings a new one.
 *
 * Events: `open`, `closed`, `text` ({text}), `state` ({microphone, camera, screen}), `bye`, and those of files:
 * `file-progress`, `file-received`, `file-sent`, `file-failed` (each with the transfer as detail).
 */
export class Conversation extends EventTarget {
  counts = { chatSent: 0, chatReceived: 0, filesSent: 0, filesReceived: 0 };

  #channel = null;
  #waiting = [];
  #files = new FileReceiver((type, detail) => this.#emit(type, detail));
  #sender = new FileSender((type, detail) => this.#emit(type, detail));

  get isOpen() {
    return this.#channel?.readyState === 'open';
  }

  /** Talks over this channel from now on. */
  use(channel) {
    this.#channel = channel;
    channel.binaryType = 'arraybuffer';
    channel.onopen = () => this.#opened(channel);
    channel.onmessage = ({ data }) => {
      if (channel === this.#channel) this.#receive(data);
    };
    channel.onclose = () => this.#closed(channel);
    if (channel.readyState === 'open') this.#opened(channel);
  }

  /** Sends a chat text. Before the channel is open it waits, so that nothing typed early is lost. */
  sendText(text) {
    this.#send({ type: 'chat', text: text.slice(0, longestText) }, true);
    this.counts.chatSent += 1;
  }

  /** Tells the other side whether microphone, camera and screen are on. */
  sendState(state) {
    this.#send({ type: 'state', ...state });
  }

  /** Says that this page hangs up, faster than signaling can. */
  sayBye() {
    this.#send({ type: 'bye' });
  }

  /** Queues a file. Returns its transfer, whose `cancel()` ends it. */
  sendFile(file) {
    const transfer = this.#sender.enqueue(file);
    if (this.isOpen) this.#sender.use(this.#channel);
    return transfer;
  }

  close() {
    this.#sender.fail('peerLeft');
    this.#files.fail('peerLeft');
    this.#channel = null;
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #send(message, keep = false) {
    if (this.isOpen) {
      try {
        this.#channel.send(JSON.stringify(message));
      } catch { /* its buffer is full or it is closing: the closing is told by its own event */ }
    } else if (keep && this.#waiting.length < mostWaiting) {
      this.#waiting.push(message);
    }
  }

  #opened(channel) {
    if (channel !== this.#channel) return;
    for (const message of this.#waiting.splice(0)) this.#send(message);
    this.#sender.use(channel);
    this.#emit('open');
  }

  #closed(channel) {
    if (channel !== this.#channel) return;
    this.#sender.fail('connectionLost');
    this.#files.fail('connectionLost');
    this.#emit('closed');
  }

  #receive(data) {
    if (typeof data !== 'string') {
      this.#files.receive(data);
      return;
    }
    if (data.length > longestMessage) return;
    let message;
    try { message = JSON.parse(data); } catch { return; }
    switch (message?.type) {
      case 'chat':
        if (typeof message.text !== 'string' || message.text === '') return;
        this.counts.chatReceived += 1;
        this.#emit('text', { text: message.text.slice(0, longestText) });
        break;
      case 'state': {
        const { microphone, camera, screen } = message;
        this.#emit('state', { microphone: microphone === true, camera: camera === true, screen: screen === true });
        break;
      }
      case 'bye': this.#emit('bye'); break;
      case 'file': this.#files.begin(message, (answer) => this.#send(answer)); break;
      case 'fileEnd': if (this.#files.end(message)) this.counts.filesReceived += 1; break;
      case 'fileCancel': this.#files.fail('cancelled'); break;
      case 'fileReceived': if (this.#sender.confirm(message.id)) this.counts.filesSent += 1; break;
      case 'fileRefused': this.#sender.refused(message.id, message.reason); break;
      default: break;
    }
  }
}

// Files over a data channel: chunks of 16 KiB, back-pressure by the channel's buffer, bounds on size and on memory.

/** The greatest file that is sent or accepted, in bytes. */
export const greatestFile = 100 * 1024 * 1024;

const chunkSize = 16 * 1024;
const slabSize = 16 * chunkSize;
const highWater = 1024 * 1024;
const lowWater = 256 * 1024;
const foldAfter = 1024 * 1024;
const greatestTotal = 512 * 1024 * 1024;
const mostQueued = 20;
const progressEvery = 150;

let lastTransfer = 0;
let totalReceived = 0;

/** A name that is safe to show and to save: no path, no control or direction characters, not hidden, not endless. */
export function sanitizedName(name) {
  const plain = String(name ?? '')
    .replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, '')
    .replace(/[/\\:*?"<>|]/g, '_')
    .replace(/^[.\s]+|[.\s]+$/g, '');
  const characters = [...plain];
  if (characters.length <= 120) return plain || 'file';
  const extension = /\.[A-Za-z0-9]{1,10}$/.exec(plain)?.[0] ?? '';
  return characters.slice(0, 120 - extension.length).join('') + extension;
}

/** Sends files one after the other. */
export class FileSender {
  #emit;
  #queue = [];
  #current = null;
  #channel = null;

  constructor(emit) {
    this.#emit = emit;
  }

  enqueue(file) {
    lastTransfer += 1;
    const transfer = {
      id: lastTransfer, direction: 'out', name: sanitizedName(file.name), size: file.size, done: 0, file, failure: null,
    };
    transfer.cancel = () => this.#cancel(transfer);
    if (file.size > greatestFile) this.#end(transfer, 'tooLarge');
    else if (this.#queue.length >= mostQueued) this.#end(transfer, 'tooMany');
    else this.#queue.push(transfer);
    return transfer;
  }

  /** The channel to send over; begins if something waits. */
  use(channel) {
    if (channel !== this.#channel) {
      this.#channel = channel;
      channel.bufferedAmountLowThreshold = lowWater;
    }
    this.#next();
  }

  confirm(id) {
    if (this.#current?.id !== id || this.#current.done < this.#current.size) return false;
    const transfer = this.#current;
    this.#current = null;
    transfer.file = null;
    this.#emit('file-sent', transfer);
    this.#next();
    return true;
  }

  refused(id, reason) {
    if (this.#current?.id === id) this.#end(this.#current, reason === 'tooLarge' ? 'tooLarge' : 'refused');
  }

  /** Ends all transfers. */
  fail(reason) {
    for (const transfer of [this.#current, ...this.#queue.splice(0)]) if (transfer) this.#end(transfer, reason, false);
    this.#channel = null;
  }

  #cancel(transfer) {
    if (transfer.failure) return;
    this.#queue = this.#queue.filter((queued) => queued !== transfer);
    if (this.#current === transfer) this.#tell({ type: 'fileCancel', id: transfer.id });
    this.#end(transfer, 'cancelled');
  }

  #end(transfer, reason, goOn = true) {
    transfer.failure = reason;
    transfer.file = null;
    if (this.#current === transfer) this.#current = null;
    this.#emit('file-failed', transfer);
    if (goOn) this.#next();
  }

  #tell(message) {
    if (this.#channel?.readyState === 'open') this.#channel.send(JSON.stringify(message));
  }

  #next() {
    if (this.#current || this.#queue.length === 0 || this.#channel?.readyState !== 'open') return;
    this.#current = this.#queue.shift();
    this.#send(this.#current, this.#channel).catch(() => {
      if (!this.#isUnderWay()) return;
      this.#tell({ type: 'fileCancel', id: this.#current.id });
      this.#end(this.#current, 'unreadable');
    });
  }

  #isUnderWay() {
    return this.#current !== null && this.#current.failure === null;
  }

  async #send(transfer, channel) {
    const { file, id, name, size } = transfer;
    this.#tell({ type: 'file', id, name, size, mime: file.type });
    let told = 0;
    for (let start = 0; start < size; start += slabSize) {
      const slab = await file.slice(start, start + slabSize).arrayBuffer();
      for (let offset = 0; offset < slab.byteLength; offset += chunkSize) {
        if (channel.bufferedAmount > highWater) await this.#drained(channel);
        if (this.#current !== transfer || channel.readyState !== 'open') return;
        channel.send(slab.slice(offset, offset + chunkSize));
        transfer.done += Math.min(chunkSize, slab.byteLength - offset);
      }
      if (performance.now() - told > progressEvery) {
        told = performance.now();
        this.#emit('file-progress', transfer);
      }
    }
    this.#tell({ type: 'fileEnd', id });
    this.#emit('file-progress', transfer);
  }

  #drained(channel) {
    return new Promise((resolve) => {
      channel.addEventListener('bufferedamountlow', resolve, { once: true });
      channel.addEventListener('close', resolve, { once: true });
    });
  }
}

/** Receives the one file that is under way. */
export class FileReceiver {
  #emit;
  #reply = () => {};
  #transfer = null;
  #parts = [];
  #recent = [];
  #recentBytes = 0;
  #told = 0;

  constructor(emit) {
    this.#emit = emit;
  }

  begin(message, reply) {
    if (this.#transfer) this.fail('replaced');
    this.#reply = reply;
    const { id, size } = message;
    if (!Number.isSafeInteger(id) || !Number.isSafeInteger(size) || size < 0) return;
    if (size > greatestFile || totalReceived + size > greatestTotal) {
      reply({ type: 'fileRefused', id, reason: size > greatestFile ? 'tooLarge' : 'full' });
      return;
    }
    totalReceived += size;
    this.#transfer = {
      id, direction: 'in', name: sanitizedName(message.name), mime: String(message.mime ?? '').slice(0, 100),
      size, done: 0, blob: null, failure: null,
    };
    this.#emit('file-progress', this.#transfer);
  }

  receive(chunk) {
    const transfer = this.#transfer;
    if (!transfer) return;
    if (transfer.done + chunk.byteLength > transfer.size) {
      this.#reply({ type: 'fileRefused', id: transfer.id, reason: 'tooLarge' });
      this.fail('tooLarge');
      return;
    }
    transfer.done += chunk.byteLength;
    this.#recent.push(chunk);
    this.#recentBytes += chunk.byteLength;
    // Folded into blobs, the browser may keep the bytes outside the page's memory.
    if (this.#recentBytes >= foldAfter) this.#fold();
    if (performance.now() - this.#told > progressEvery) {
      this.#told = performance.now();
      this.#emit('file-progress', transfer);
    }
  }

  end({ id }) {
    const transfer = this.#transfer;
    if (!transfer || transfer.id !== id) return false;
    if (transfer.done !== transfer.size) {
      this.fail('incomplete');
      return false;
    }
    this.#fold();
    // Never a type that the browser would open as a page of this origin.
    transfer.blob = new Blob(this.#parts, { type: 'application/octet-stream' });
    this.#reset();
    this.#reply({ type: 'fileReceived', id });
    this.#emit('file-received', transfer);
    return true;
  }

  fail(reason) {
    const transfer = this.#transfer;
    if (!transfer) return;
    totalReceived -= transfer.size;
    this.#reset();
    transfer.failure = reason;
    this.#emit('file-failed', transfer);
  }

  #fold() {
    this.#parts.push(new Blob(this.#recent));
    this.#recent = [];
    this.#recentBytes = 0;
  }

  #reset() {
    this.#transfer = null;
    this.#parts = [];
    this.#recent = [];
    this.#recentBytes = 0;
  }
}

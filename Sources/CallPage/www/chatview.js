// The chat panel: messages, files under way and files received.

import { $, byteCount, element, icon } from './dom.js';
import { sanitizedName } from './files.js';

const mostEntries = 500;
const previewTypes = /^image\/(png|jpeg|webp|gif)$/;
const greatestPreview = 8 * 1024 * 1024;

const failures = {
  tooLarge: 'larger than 100 MiB', tooMany: 'too many files at once', refused: 'not taken by the other side',
  cancelled: 'cancelled', peerLeft: 'the other side left', connectionLost: 'connection lost', unreadable: 'could not be read',
  incomplete: 'arrived incomplete', replaced: 'broken off', full: 'no room left', nobody: 'nobody is here to receive it',
};

/** Shows the conversation with everybody in the call. */
export class ChatView {
  #log = $('chat-log');
  #empty = $('chat-empty');
  #groups = new WeakMap();
  #unread = 0;
  #urls = [];

  /** Whether the panel is open, so that messages are seen. */
  isOpen = () => false;

  constructor(call) {
    this.call = call;
    call.addEventListener('text', ({ detail }) => this.#addText(detail.member.name, detail.text, false));
    call.addEventListener('file', ({ detail }) => this.#file(detail));
    $('chat-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    $('attach').addEventListener('click', () => $('file-input').click());
    $('file-input').addEventListener('change', () => {
      this.sendFiles([...$('file-input').files]);
      $('file-input').value = '';
    });
    this.#acceptDrops();
  }

  /** Sends files to everybody; what cannot go says so. */
  sendFiles(files) {
    for (const file of files) {
      const nobody = { name: sanitizedName(file.name), size: file.size, done: 0, direction: 'out', failure: 'nobody' };
      const transfers = this.call.sendFile(file);
      const group = { transfers: transfers.length > 0 ? transfers : [nobody] };
      for (const transfer of group.transfers) this.#groups.set(transfer, group);
      this.#showFile('You', group);
    }
  }

  /** A line about the call itself, such as who came. */
  addNotice(text) {
    this.#append(element('p', { className: 'notice', textContent: text }));
  }

  seen() {
    this.#unread = 0;
    this.#showCount();
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  clear() {
    for (const url of this.#urls.splice(0)) URL.revokeObjectURL(url);
    this.#log.replaceChildren(this.#empty);
    this.#empty.hidden = false;
    this.seen();
  }

  #submit() {
    const input = $('chat-input');
    const text = input.value.trim();
    if (!text) return;
    input.value = '';
    this.call.sendText(text);
    this.#addText('You', text, true);
  }

  #addText(name, text, own) {
    this.#append(this.#entry(name, own, element('p', { className: 'bubble', textContent: text })), !own);
  }

  #entry(name, own, ...content) {
    const time = new Date().toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    return element('div', { className: own ? 'entry own' : 'entry' },
      element('p', { className: 'entry-head' }, element('b', { textContent: name }), ` ${time}`), ...content);
  }

  #append(node, counts = false) {
    const atEnd = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 80;
    this.#empty.hidden = true;
    this.#log.append(node);
    while (this.#log.childElementCount > mostEntries) this.#log.children[1].remove();
    if (atEnd) this.#log.scrollTop = this.#log.scrollHeight;
    if (counts && !this.isOpen()) {
      this.#unread += 1;
      this.#showCount();
    }
  }

  #showCount() {
    const count = $('chat-count');
    count.hidden = this.#unread === 0;
    count.textContent = this.#unread > 9 ? '9+' : String(this.#unread);
    $('chat-toggle').setAttribute('aria-label', this.#unread === 0 ? 'Chat' : `Chat, ${this.#unread} unread`);
  }

  // MARK: files

  #file({ member, transfer }) {
    let group = this.#groups.get(transfer);
    // A file of ours tells of itself before `sendFiles` has put it into its group.
    if (!group && transfer.direction === 'out') return;
    if (!group) this.#groups.set(transfer, group = { transfers: [transfer] });
    this.#showFile(member.name, group);
  }

  /** Shows one file: received from one person, or sent to everybody, which is several transfers. */
  #showFile(name, group) {
    const { transfers } = group;
    const [first] = transfers;
    const own = first.direction === 'out';
    if (!group.row) {
      group.row = this.#makeRow(name, first, () => { for (const transfer of transfers) transfer.cancel?.(); });
      this.#append(group.row.entry, !own);
    }
    const { row } = group;
    const failed = transfers.filter(({ failure }) => failure);
    const finished = transfers.filter(({ blob, file, failure }) => blob || failure || (own && !file));
    const over = finished.length === transfers.length;
    const going = transfers.filter(({ failure }) => !failure);
    row.bar.max = Math.max(1, first.size * going.length);
    row.bar.value = going.reduce((sum, { done }) => sum + done, 0);
    row.bar.hidden = over;
    row.cancel?.toggleAttribute('hidden', over);
    const size = byteCount(first.size);
    if (!over) row.words.textContent = `${byteCount(row.bar.value / Math.max(1, going.length))} of ${size}`;
    else if (first.blob) this.#offer(row, first);
    else if (going.length > 0) row.words.textContent = `${size}, sent to ${going.length === 1 ? 'one person' : `${going.length} people`}`;
    if (failed.length > 0 && over) {
      const why = failures[failed[0].failure] ?? failed[0].failure;
      row.words.textContent += going.length > 0 ? `; not to ${failed.length}: ${why}` : `Not ${own ? 'sent' : 'received'}: ${why}`;
    }
  }

  #makeRow(name, transfer, cancelAll) {
    const own = transfer.direction === 'out';
    const title = element('span', { className: 'file-name', textContent: transfer.name });
    const words = element('span', { className: 'file-words' });
    const bar = element('progress', { max: 1, value: 0, 'aria-label': `Progress of ${transfer.name}` });
    const box = element('div', { className: 'file' }, icon('file'), element('div', { className: 'file-text' }, title, words, bar));
    let cancel = null;
    if (own) {
      cancel = element('button', { type: 'button', className: 'icon-button small', 'aria-label': `Cancel sending ${transfer.name}` }, icon('close'));
      cancel.addEventListener('click', cancelAll);
      box.append(cancel);
    }
    return { entry: this.#entry(name, own, box), box, title, words, bar, cancel };
  }

  #offer(row, transfer) {
    if (row.offered) return;
    row.offered = true;
    const url = URL.createObjectURL(transfer.blob);
    this.#urls.push(url);
    const link = element('a', { href: url, download: transfer.name, className: 'file-name', textContent: transfer.name });
    row.title.replaceWith(link);
    row.words.textContent = `${byteCount(transfer.size)}, click the name to save`;
    if (!previewTypes.test(transfer.mime) || transfer.size > greatestPreview) return;
    const picture = URL.createObjectURL(new Blob([transfer.blob], { type: transfer.mime }));
    this.#urls.push(picture);
    const image = element('img', { src: picture, alt: `Preview of ${transfer.name}`, className: 'file-preview' });
    image.addEventListener('error', () => image.remove());
    image.addEventListener('load', () => { this.#log.scrollTop = this.#log.scrollHeight; });
    row.box.after(image);
  }

  #acceptDrops() {
    const hint = $('drop');
    const carriesFiles = (event) => event.dataTransfer?.types.includes('Files') && this.call.active;
    addEventListener('dragover', (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      hint.hidden = false;
    });
    addEventListener('dragleave', (event) => { if (!event.relatedTarget) hint.hidden = true; });
    addEventListener('drop', (event) => {
      hint.hidden = true;
      if (!carriesFiles(event)) return;
      event.preventDefault();
      this.sendFiles([...event.dataTransfer.files]);
    });
  }
}

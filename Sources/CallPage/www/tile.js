// One person's tile.

import { element, icon } from './dom.js';

/** One or two letters that stand for a name. */
function initials(name) {
  const parts = name.trim().split(/\s+/);
  return ((parts[0]?.[0] ?? '?') + (parts.length > 1 ? parts.at(-1)[0] : '')).toUpperCase();
}

/** A number that is always the same for a name, to give it a colour. */
function hue(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 997;
  return sum % 6;
}

/** A person's tile: video or initials, the name, and badges. */
export class Tile {
  pinned = false;
  stream = null;

  constructor({ name, id, own, pin }) {
    this.own = own;
    this.video = element('video', { autoplay: true, playsInline: true, muted: own });
    this.video.setAttribute('aria-label', own ? 'Your own picture' : `Video of ${name}`);
    this.avatar = element('div', { className: `avatar avatar-${hue(name)}`, 'aria-hidden': 'true', textContent: initials(name) });
    this.muted = element('span', { className: 'badge muted', hidden: true, role: 'img', 'aria-label': 'Microphone is off' }, icon('microphone-off'));
    this.bars = element('span', { className: 'bars', hidden: true, role: 'img' }, element('i'), element('i'), element('i'));
    this.note = element('span', { className: 'tile-note' });
    this.label = element('span', { className: 'tile-name', textContent: own ? `${name} (you)` : name });
    this.pin = element('button', { type: 'button', className: 'icon-button pin', 'aria-pressed': 'false', 'aria-label': `Enlarge ${name}` }, icon('expand'));
    this.pin.addEventListener('click', pin);
    this.element = element('figure', { className: 'tile no-video' }, this.avatar, this.video, this.pin, this.note,
      element('figcaption', {}, this.muted, this.label, this.bars));
    if (id) this.element.dataset.peer = id;
    if (own) this.element.classList.add('own');
    this.video.addEventListener('loadedmetadata', () => this.video.play().catch(() => this.onblocked?.()));
  }

  show(stream) {
    if (this.stream === stream) return;
    this.stream = stream;
    this.video.srcObject = stream;
  }

  setMedia({ microphone, camera, screen }) {
    this.muted.hidden = microphone;
    this.element.classList.toggle('no-video', !camera && !screen);
    this.element.classList.toggle('screen', screen);
    if (this.own) this.video.classList.toggle('mirrored', !screen);
  }

  setNote(text) {
    if (this.note.textContent !== text) this.note.textContent = text;
    this.element.classList.toggle('connecting', text !== '');
  }

  /** 0 to 3, or null when nothing is known. */
  setQuality(value) {
    this.bars.hidden = value === null;
    if (value === null) return;
    this.bars.className = `bars quality-${value}`;
    this.bars.setAttribute('aria-label', `Connection ${['very poor', 'poor', 'fair', 'good'][value]}`);
  }
}

// The stage: one tile for each person, arranged so that faces are as large as the space allows.

import { $, setIcon } from './dom.js';
import { quality } from './statistics.js';
import { Tile } from './tile.js';

const gap = 10;
const watchPeriod = 500;
const speakingPeriod = 200;
const speakingLevel = 0.02;

/** The area of all tiles. */
export class Stage {
  #area = $('tiles');
  #own = null;
  #people = new Map();
  #pinned = null;
  #media;

  constructor(call, media) {
    this.#media = media;
    this.call = call;
    new ResizeObserver(() => this.arrange()).observe(this.#area);
    call.addEventListener('member-added', ({ detail }) => this.#add(detail.member));
    call.addEventListener('member-removed', ({ detail }) => this.#remove(detail.member));
    call.addEventListener('track', ({ detail }) => this.#track(detail));
    call.addEventListener('media', ({ detail }) => this.refresh(detail.member));
    media.addEventListener('change', () => this.#showOwn());
    setInterval(() => this.#watchFirstFrames(), watchPeriod);
    setInterval(() => this.#watchSpeaking(), speakingPeriod);
  }

  /** Called when the browser refuses to play sound without a click. */
  onblocked = () => {};

  open(name) {
    this.#own = new Tile({ name, own: true, pin: () => this.#pin(this.#own) });
    this.#area.append(this.#own.element);
    this.#showOwn();
    this.arrange();
  }

  close() {
    this.#people.clear();
    this.#pinned = null;
    this.#own = null;
    this.#area.replaceChildren();
  }

  /** Plays all that was refused before; a click of the person allows it. */
  playAll() {
    for (const { tile } of this.#people.values()) tile.video.play().catch(() => {});
  }

  /** Shows a member's state. Of two connections to one person, the newer one is shown once it works. */
  refresh(member) {
    const person = this.#people.get(member.id);
    if (!person) return;
    const shown = person.members.findLast(({ peer }) => peer.isConnected) ?? person.members.at(-1);
    const { tile } = person;
    tile.show(shown.stream);
    tile.setMedia(shown.peer.isConnected ? shown.media : { ...shown.media, camera: false });
    tile.element.classList.toggle('leaving', shown.left);
    tile.setNote(this.#note(shown));
    this.#arm(shown, tile);
    const screen = shown.media.screen && shown.peer.isConnected;
    if (screen !== person.screen) {
      person.screen = screen;
      this.arrange();
    }
  }

  setQuality(member) {
    const latest = member.peer.isConnected ? member.statistics.latest : null;
    this.#people.get(member.id)?.tile.setQuality(latest ? quality(latest) : null);
  }

  #note({ peer }) {
    if (peer.isConnected) return '';
    if (peer.recovery.gaveUp) return 'No connection';
    if (peer.timeline.has('connected')) return 'Reconnecting…';
    return peer.pc?.connectionState === 'failed' ? 'No connection yet, trying again…' : 'Connecting…';
  }

  #add(member) {
    member.stream = new MediaStream();
    const known = this.#people.get(member.id);
    if (known) {
      known.members.push(member);
      this.refresh(member);
      return;
    }
    const tile = new Tile({ name: member.name, id: member.id, own: false, pin: () => this.#pin(tile) });
    tile.onblocked = () => this.onblocked();
    this.#people.set(member.id, { tile, members: [member], screen: false });
    this.#area.append(tile.element);
    this.refresh(member);
    this.arrange();
  }

  #remove(member) {
    const person = this.#people.get(member.id);
    if (!person) return;
    person.members = person.members.filter((other) => other !== member);
    if (person.members.length > 0) {
      this.refresh(person.members.at(-1));
      return;
    }
    if (this.#pinned === person.tile) this.#pinned = null;
    person.tile.video.srcObject = null;
    person.tile.element.remove();
    this.#people.delete(member.id);
    this.arrange();
  }

  #track({ member, track }) {
    for (const old of member.stream.getTracks()) {
      if (old.kind === track.kind && old !== track) member.stream.removeTrack(old);
    }
    member.stream.addTrack(track);
    this.refresh(member);
  }

  #showOwn() {
    if (!this.#own) return;
    const track = this.#media.tracks.video;
    const shown = this.#own.stream?.getTracks()[0] ?? null;
    if (track !== shown) this.#own.show(track ? new MediaStream([track]) : null);
    this.#own.setMedia({
      microphone: this.#media.microphoneOn, camera: this.#media.cameraOn, screen: this.#media.screen !== null,
    });
  }

  #pin(tile) {
    this.#pinned = this.#pinned === tile ? null : tile;
    this.arrange();
  }

  // MARK: what is seen and heard

  #arm(member, tile) {
    if (member.armed || member.peer.timeline.has('firstFrame') || tile.stream !== member.stream) return;
    member.armed = true;
    tile.video.requestVideoFrameCallback?.(() => member.peer.timeline.markOnce('firstFrame'));
  }

  /** A tile out of sight draws no frames, so the decoder is asked as well. */
  async #watchFirstFrames() {
    for (const member of this.call.members.values()) {
      const { peer, media } = member;
      if (!peer.isConnected || peer.timeline.has('firstFrame') || !(media.camera || media.screen)) continue;
      const latest = await member.statistics.sample().catch(() => null);
      if (latest?.video.framesDecoded > 0) peer.timeline.markOnce('firstFrame');
    }
  }

  #watchSpeaking() {
    for (const { tile, members } of this.#people.values()) {
      const receivers = members.at(-1)?.peer.pc?.getReceivers() ?? [];
      const audio = receivers.find(({ track }) => track.kind === 'audio');
      const level = audio?.getSynchronizationSources?.()[0]?.audioLevel ?? 0;
      tile.element.classList.toggle('speaking', level > speakingLevel && tile.muted.hidden);
    }
  }

  // MARK: the arrangement

  arrange() {
    if (!this.#own) return;
    const { clientWidth: width, clientHeight: height } = this.#area;
    if (width === 0 || height === 0) return;
    const people = [...this.#people.values()];
    const others = people.map(({ tile }) => tile);
    const all = [...others, this.#own];
    const spotlight = this.#pinned ?? people.find(({ screen }) => screen)?.tile ?? null;
    for (const tile of all) {
      const pinned = tile === this.#pinned;
      tile.pin.setAttribute('aria-pressed', String(pinned));
      setIcon(tile.pin, pinned ? 'close' : 'expand');
      tile.pin.hidden = others.length === 0 || (others.length === 1 && tile === this.#own && !pinned);
      tile.element.classList.toggle('pip', false);
    }
    if (others.length === 0) this.#place(this.#own, 0, 0, width, height);
    else if (others.length === 1 && spotlight !== this.#own) this.#pair(others[0], width, height);
    else if (spotlight) this.#spotlight(spotlight, all, width, height);
    else this.#grid(all, 0, 0, width, height);
  }

  #place({ element: { style } }, left, top, width, height) {
    style.left = `${Math.round(left)}px`;
    style.top = `${Math.round(top)}px`;
    style.width = `${Math.round(width)}px`;
    style.height = `${Math.round(height)}px`;
  }

  /** Two people: the other one large, oneself in the corner. */
  #pair(other, width, height) {
    this.#place(other, 0, 0, width, height);
    const small = Math.max(96, Math.min(240, width * 0.26));
    const tall = width < height ? small * 4 / 3 : small * 9 / 16;
    this.#own.element.classList.add('pip');
    this.#place(this.#own, width - small - gap, height - tall - gap, small, tall);
  }

  /** The number of columns that makes the tiles largest, with shapes between 3:4 and 16:9. */
  #grid(tiles, left, top, width, height) {
    let best = { area: 0 };
    for (let columns = 1; columns <= tiles.length; columns += 1) {
      const rows = Math.ceil(tiles.length / columns);
      const cellWidth = (width - gap * (columns - 1)) / columns;
      const cellHeight = (height - gap * (rows - 1)) / rows;
      const tileWidth = Math.min(cellWidth, cellHeight * 16 / 9);
      const tileHeight = Math.min(cellHeight, tileWidth * 4 / 3);
      const area = tileWidth * tileHeight;
      if (area > best.area) best = { area, columns, rows, tileWidth, tileHeight };
    }
    const { columns, rows, tileWidth, tileHeight } = best;
    const startTop = top + (height - rows * tileHeight - (rows - 1) * gap) / 2;
    tiles.forEach((tile, index) => {
      const row = Math.floor(index / columns);
      const inRow = row === rows - 1 ? tiles.length - row * columns : columns;
      const startLeft = left + (width - inRow * tileWidth - (inRow - 1) * gap) / 2;
      this.#place(tile, startLeft + (index % columns) * (tileWidth + gap), startTop + row * (tileHeight + gap), tileWidth, tileHeight);
    });
  }

  /** One tile large, the others in a strip beside or below it. */
  #spotlight(tile, all, width, height) {
    const rest = all.filter((other) => other !== tile);
    if (width > height) {
      const strip = Math.min(220, width * 0.22);
      this.#place(tile, 0, 0, width - strip - gap, height);
      this.#grid(rest, width - strip, 0, strip, height);
    } else {
      const strip = Math.min(150, height * 0.22);
      this.#place(tile, 0, 0, width, height - strip - gap);
      this.#grid(rest, 0, height - strip, width, strip);
    }
  }
}

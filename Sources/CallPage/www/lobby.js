// The lobby: which room, which name, a look at oneself before going in.

import { $, element, remembered, setIcon } from './dom.js';

const adjectives = ['calm', 'bright', 'drifting', 'quiet', 'blue', 'northern', 'gentle', 'clear', 'silver', 'early', 'open', 'wide'];
const nouns = ['floe', 'fjord', 'harbour', 'bay', 'aurora', 'glacier', 'shore', 'tern', 'seal', 'current', 'island', 'snow'];
const letters = 'abcdefghjkmnpqrstuvwxyz23456789';

const pick = (list) => list[crypto.getRandomValues(new Uint32Array(1))[0] % list.length];

/** A room name that can be read aloud, and has a part that cannot be guessed. */
export function inventRoom() {
  const secret = Array.from({ length: 8 }, () => pick(letters)).join('');
  return `${pick(adjectives)}-${pick(nouns)}-${secret}`;
}

/** What a person typed, as a room name the server takes. */
export function roomName(text) {
  return text.trim().replace(/\s+/g, '-').normalize('NFKD').replace(/[^A-Za-z0-9\-_.~]/g, '').slice(0, 64);
}

/** The link that brings others into a room. */
export function roomLink(room) {
  const url = new URL('.', location.href);
  url.search = `?room=${encodeURIComponent(room)}`;
  url.hash = '';
  return url.href;
}

/** What the address of the page asks for. */
export function readAddress() {
  const query = new URLSearchParams(location.search);
  const flag = (name) => query.get(name) === '1';
  return {
    room: roomName(query.get('room') ?? ''),
    name: (query.get('name') ?? '').slice(0, 64),
    relayOnly: flag('relay'),
    joinAtOnce: flag('join'),
    video: query.get('video') !== '0',
    audio: query.get('audio') !== '0',
  };
}

/** The lobby's fields, preview and device lists. */
export class Lobby {
  #media;
  #meter = null;

  constructor(media, address) {
    this.#media = media;
    $('room').value = address.room || inventRoom();
    $('name').value = address.name || remembered.get('name');
    $('relay-only-lobby').checked = address.relayOnly;
    $('new-room').addEventListener('click', () => {
      $('room').value = inventRoom();
      $('room').focus();
    });
    $('room').addEventListener('change', () => { $('room').value = roomName($('room').value); });
    for (const kind of ['audio', 'video']) {
      $(`device-${kind}`).addEventListener('change', (event) => media.choose(kind, event.target.value));
    }
    media.addEventListener('change', () => this.show());
    this.show();
  }

  get room() {
    return roomName($('room').value);
  }

  get name() {
    return $('name').value.replace(/[\u0000-\u001f\u007f]/g, '').trim().slice(0, 64) || 'Guest';
  }

  /** Brings preview, lists and meter up to date. */
  show() {
    const { camera, wanted } = this.#media;
    const video = $('preview-video');
    const inLobby = !$('lobby').hidden;
    const shown = video.srcObject?.getTracks()[0] ?? null;
    const wantedTrack = inLobby ? camera : null;
    if (shown !== wantedTrack) video.srcObject = wantedTrack ? new MediaStream([wantedTrack]) : null;
    video.hidden = !camera;
    $('preview-empty').hidden = Boolean(camera);
    $('preview-words').textContent = wanted.video ? 'No picture from a camera yet' : 'Your camera is off';
    this.#listDevices('audio', 'microphone');
    this.#listDevices('video', 'camera');
    this.#measure(inLobby ? this.#media.microphone : null);
  }

  #listDevices(kind, word) {
    const select = $(`device-${kind}`);
    const devices = this.#media.devices[kind];
    const options = devices.length === 0
      ? [element('option', { value: '', textContent: `No ${word} available` })]
      : devices.map(({ deviceId, label }, index) => element('option', { value: deviceId, textContent: label || `${word} ${index + 1}` }));
    const before = [...select.options].map(({ value, text }) => value + text).join('\n');
    if (before !== options.map(({ value, text }) => value + text).join('\n')) select.replaceChildren(...options);
    select.disabled = devices.length === 0;
    const current = this.#media.deviceID(kind);
    if (devices.some(({ deviceId }) => deviceId === current)) select.value = current;
  }

  /** Shows that the microphone hears something. */
  #measure(track) {
    if (this.#meter?.track === track) return;
    clearInterval(this.#meter?.timer);
    this.#meter?.context.close();
    this.#meter = null;
    $('meter-frame').hidden = !track;
    if (!track || typeof AudioContext !== 'function') return;
    const context = new AudioContext();
    const analyser = new AnalyserNode(context, { fftSize: 512 });
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      $('meter').style.transform = `scaleX(${Math.min(1, Math.sqrt(power) * 6)})`;
    }, 100);
    this.#meter = { track, context, timer };
  }
}

/** Shows the two toggles as the media stand. */
export function showToggles(media) {
  const set = (button, on, name, word) => {
    button.setAttribute('aria-pressed', String(on));
    setIcon(button, on ? name : `${name}-off`);
    button.title = `${word} is ${on ? 'on' : 'off'}`;
  };
  set($('microphone'), media.microphoneOn, 'microphone', 'Microphone');
  set($('camera'), media.cameraOn, 'camera', 'Camera');
}

// The own camera, microphone and screen: which tracks there are, and why one is missing.

import { remembered } from './dom.js';

const video = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/** The problem code that says why a device could not be had. `kind` is `audio` or `video`. */
function problemCode(error, kind) {
  const device = kind === 'audio' ? 'microphone' : 'camera';
  switch (error.name) {
    case 'NotAllowedError': case 'SecurityError': return `${device}Denied`;
    case 'NotFoundError': case 'OverconstrainedError': return `${device}Missing`;
    case 'NotReadableError': case 'AbortError': return `${device}Busy`;
    default: return `${device}Failed`;
  }
}

/**
 * The person's own media.
 *
 * Events: `change` (tracks, states or devices changed), `track` ({kind, track}: send this instead, `null` for nothing),
 * `problem` ({code}), `solved` ({kind}).
 */
export class Media extends EventTarget {
  /** What the person wants, whether or not a device is there. */
  wanted = { audio: true, video: true };
  devices = { audio: [], video: [] };
  screen = null;

  #tracks = { audio: null, video: null };
  #pending = { audio: null, video: null };

  constructor() {
    super();
    navigator.mediaDevices?.addEventListener?.('devicechange', () => this.#listDevices());
  }

  /** The tracks to send. A muted microphone stays a track (it sends silence), a camera that is off does not. */
  get tracks() {
    return { audio: this.#tracks.audio, video: this.screen ?? this.#tracks.video };
  }

  get camera() {
    return this.#tracks.video;
  }

  get microphone() {
    return this.#tracks.audio;
  }

  get microphoneOn() {
    return this.wanted.audio && this.#tracks.audio !== null;
  }

  get cameraOn() {
    return this.#tracks.video !== null;
  }

  get canShareScreen() {
    return typeof navigator.mediaDevices?.getDisplayMedia === 'function';
  }

  /** Gets what is wanted and not there yet. Is fulfilled in every case; failures are `problem` events. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      if (this.wanted.audio || this.wanted.video) this.#emit('problem', { code: 'insecureContext' });
      this.#emit('change');
      return;
    }
    const missing = ['audio', 'video'].filter((kind) => this.wanted[kind] && !this.#tracks[kind] && !this.#pending[kind]);
    if (missing.length === 2) {
      // One question instead of two. If the pair cannot be had, each is tried alone, which tells what is wrong.
      const both = this.#get(missing).catch(() => null);
      this.#pending = { audio: both, video: both };
      const stream = await both;
      this.#pending = { audio: null, video: null };
      if (stream) this.#take(stream);
      else await this.#getEach(missing);
    } else {
      await Promise.all([this.#getEach(missing), this.#pending.audio, this.#pending.video]);
    }
    await this.#listDevices();
  }

  /** Turns the microphone on or off. */
  async setMicrophone(on) {
    this.wanted.audio = on;
    if (this.#tracks.audio) this.#tracks.audio.enabled = on;
    this.#emit('change');
    if (on && !this.#tracks.audio) await this.start();
  }

  /** Turns the camera on or off; off means off: the device is let go. */
  async setCamera(on) {
    this.wanted.video = on;
    if (on) await this.start();
    else this.#drop('video');
    this.#emit('change');
  }

  /** Uses another device from now on. */
  async choose(kind, deviceID) {
    remembered.set(`${kind}-device`, deviceID);
    if (!this.wanted[kind]) return;
    this.#drop(kind);
    await this.#getEach([kind]);
    await this.#listDevices();
  }

  /** The chosen device of a kind, or an empty string. */
  deviceID(kind) {
    return this.#tracks[kind]?.getSettings().deviceId ?? remembered.get(`${kind}-device`);
  }

  /** Shows a screen or window in place of the camera, until `stopScreen` or the browser's own button. */
  async shareScreen() {
    try {
      const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 15 } }, audio: false });
      const [track] = stream.getVideoTracks();
      track.contentHint = 'detail';
      track.addEventListener('ended', () => this.stopScreen());
      this.screen = track;
      this.#emit('track', { kind: 'video', track });
      this.#emit('change');
    } catch (error) {
      // Closing the browser's own question is a decision, not a problem.
      if (error.name !== 'NotAllowedError') this.#emit('problem', { code: 'screenFailed' });
    }
  }

  stopScreen() {
    if (!this.screen) return;
    this.screen.stop();
    this.screen = null;
    this.#emit('track', { kind: 'video', track: this.#tracks.video });
    this.#emit('change');
  }

  /** Lets go of all devices; `wanted` stays for the next call. */
  stop() {
    this.stopScreen();
    this.#drop('audio');
    this.#drop('video');
    this.#emit('change');
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #get(kinds) {
    const constraints = {};
    for (const kind of kinds) {
      const chosen = remembered.get(`${kind}-device`);
      const device = chosen ? { deviceId: { ideal: chosen } } : {};
      constraints[kind] = { ...(kind === 'audio' ? audio : video), ...device };
    }
    return navigator.mediaDevices.getUserMedia(constraints);
  }

  /** Gets each kind alone, and says which could not be had, in one sentence where one will do. */
  async #getEach(kinds) {
    const codes = (await Promise.all(kinds.map((kind) => this.#getOne(kind)))).filter(Boolean);
    const [both] = codes.map((code) => code.replace(/^(microphone|camera)/, 'devices'));
    const same = codes.length === 2 && (both === 'devicesDenied' || both === 'devicesMissing') && codes[1].endsWith(both.slice(7));
    for (const code of same ? [both] : codes) this.#emit('problem', { code });
    if (codes.length > 0) this.#emit('change');
  }

  async #getOne(kind) {
    try {
      const stream = this.#get([kind]);
      this.#pending[kind] = stream.catch(() => null);
      this.#take(await stream);
      return null;
    } catch (error) {
      return problemCode(error, kind);
    } finally {
      this.#pending[kind] = null;
    }
  }

  #take(stream) {
    for (const track of stream.getTracks()) {
      const { kind } = track;
      // Turned off while the browser asked for it.
      if (kind === 'video' && !this.wanted.video) {
        track.stop();
        continue;
      }
      this.#tracks[kind]?.stop();
      this.#tracks[kind] = track;
      if (kind === 'audio') track.enabled = this.wanted.audio;
      track.addEventListener('ended', () => {
        if (this.#tracks[kind] !== track) return;
        this.#drop(kind);
        this.#emit('problem', { code: kind === 'audio' ? 'microphoneEnded' : 'cameraEnded' });
        this.#emit('change');
      });
      this.#emit('solved', { kind });
      if (kind === 'audio' || !this.screen) this.#emit('track', { kind, track });
    }
    this.#emit('change');
  }

  #drop(kind) {
    const track = this.#tracks[kind];
    if (!track) return;
    this.#tracks[kind] = null;
    track.stop();
    if (kind === 'audio' || !this.screen) this.#emit('track', { kind, track: null });
  }

  async #listDevices() {
    try {
      const all = await navigator.mediaDevices.enumerateDevices();
      for (const kind of ['audio', 'video']) {
        this.devices[kind] = all.filter((device) => device.kind === `${kind}input` && device.deviceId);
      }
    } catch { /* no list: the default devices still work */ }
    this.#emit('change');
  }
}

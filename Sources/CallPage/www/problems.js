// What went wrong, in words that help: what it is, and what to do about it.

import { $, element, icon } from './dom.js';
import { now } from './timeline.js';

const words = {
  insecureContext: 'This page was opened over plain http, so the browser gives it no camera and no microphone. Open it '
    + 'with https:// (or on localhost). You can still join to watch, listen and chat.',
  unsupportedBrowser: 'This browser has no WebRTC, or it is switched off. Use a current Firefox, Chrome, Edge or Safari.',
  devicesDenied: 'The browser was told not to give camera and microphone to this page. To be seen and heard, allow them '
    + 'at the camera or lock symbol in the address bar, then switch them on here. You can join without them.',
  devicesMissing: 'No camera and no microphone were found. You can join without them, to watch, listen and chat.',
  cameraDenied: 'The browser was told not to give the camera to this page. Click the camera or lock symbol in the '
    + 'address bar, allow the camera, then switch it on here. You can join without it.',
  microphoneDenied: 'The browser was told not to give the microphone to this page. Click the microphone or lock symbol '
    + 'in the address bar, allow it, then switch it on here. You can join without it.',
  cameraMissing: 'No camera was found. Plug one in and switch the camera on, or join without it.',
  microphoneMissing: 'No microphone was found. Plug one in and switch the microphone on, or join without it.',
  cameraBusy: 'The camera could not be started: another program seems to use it. Close that program, then switch the '
    + 'camera on here.',
  microphoneBusy: 'The microphone could not be started: another program seems to use it. Close that program, then '
    + 'switch the microphone on here.',
  cameraFailed: 'The camera could not be started. Choose another one in the device list, or join without it.',
  microphoneFailed: 'The microphone could not be started. Choose another one in the device list, or join without it.',
  cameraEnded: 'The camera stopped: it was unplugged or taken away. Switch it on again to go on.',
  microphoneEnded: 'The microphone stopped: it was unplugged or taken away. Switch it on again to go on.',
  screenFailed: 'The screen could not be shared. Your system may have to allow the browser to record the screen.',
  noSignaling: 'The server does not answer. Check your network connection; the page keeps trying.',
  noWebSocket: 'The server answers, but not to WebSockets. A proxy or firewall between may block them, or the server '
    + 'does not accept pages from this address (its --origin option). The page keeps trying.',
  signalingLost: 'The connection to the server is lost and is being taken up again. Calls that are connected go on.',
  serverClosed: 'The server ended the session. Join again to go on.',
  resumedElsewhere: 'This session was taken up in another window or tab, so it ended here. Join again to be here too.',
  unsupportedVersion: 'The server speaks another version of the protocol than this page. Reload the page.',
  badRoom: 'This is no room name. Use 1 to 64 of the characters A-Z a-z 0-9 - _ . ~ without spaces.',
  badName: 'The server does not take this name. Use 1 to 64 characters.',
  roomFull: 'The room is full. Ask somebody to leave, or take another room.',
  tooManyRooms: 'The server has as many rooms as it allows. Try again later, or tell its operator.',
  autoplay: 'The browser does not play sound before you have clicked on the page.',
  noAnswer: 'No answer from {name} to the offer. Their page may be asleep or cut off from the server; it is asked again.',
  noOffer: '{name} is in the room, but their page has made no offer yet.',
  noCandidates: 'Your browser found no network address to offer to {name}. Is this device online? An extension or a '
    + 'policy that blocks WebRTC has the same effect.',
  noTurnServers: '"Relay only" is on, but the server gave no TURN server, so there is no way to {name}. Turn "relay '
    + 'only" off, or tell the operator to switch TURN on.',
  turnUnauthorized: 'The TURN server refused the credentials (401), so there is no relay to reach {name} over. They may '
    + 'have expired: join again. If that does not help, the operator\'s clocks or secrets do not agree.',
  turnForbidden: 'The TURN server forbids the relay (403) to {name}. The operator\'s rules do not allow it.',
  turnQuota: 'The TURN server gives you no further relay: the quota is used up (486). Close other calls, or wait a minute.',
  turnCapacity: 'The TURN server has no relay address left (508). Try again later, or tell the operator.',
  turnUnreachable: 'The TURN server cannot be reached (701: {urls}). A firewall here probably blocks it. Another '
    + 'network or a phone\'s hotspot would show; the operator can offer TURN over TLS on port 443.',
  noRemoteCandidates: '{name} has offered no network address. The trouble is on their side: a browser policy, or no network.',
  checksFailed: 'You and {name} both have addresses, but no packet came through between any two of them. {hint}',
  dtlsFailed: 'The path to {name} works, but the encryption could not be set up (DTLS). A middlebox may be interfering.',
  peerLost: 'The connection to {name} is interrupted. It is being restored.',
  tooLarge: 'Files of more than 100 MiB cannot be sent here.',
};

const plainErrors = {
  300: 'asked to try another server', 400: 'did not understand the request', 401: 'refused the credentials',
  403: 'forbids it', 437: 'no longer knows the allocation', 438: 'found the nonce too old',
  440: 'does not have this address family', 441: 'was given other credentials than before',
  442: 'does not relay over this transport', 486: 'says that the quota is used up',
  500: 'had an error of its own', 508: 'has no relay address left', 600: 'could not use the answer', 701: 'could not be reached',
};

/** An `icecandidateerror` in plain words. */
export function explainCandidateError({ code, url, text }) {
  const meaning = plainErrors[code] ?? 'answered with an error';
  return `${url || 'A STUN or TURN server'} ${meaning} (${code}${text ? `: ${text}` : ''})`;
}

/** The words for a problem code, with names and the like filled in. */
export function problemText(code, values = {}) {
  const text = words[code] ?? values.message ?? code;
  return text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? '').trim();
}

/** Where the relay or the address comes from, said when no check came through. */
function hintForChecks(peer) {
  const relayHere = peer.localCandidates.some(({ type }) => type === 'relay');
  const relayThere = peer.remoteCandidates.some(({ type }) => type === 'relay');
  if (relayHere || relayThere) {
    return 'Even a relay did not help, so the relay itself may be unable to reach the other side: the operator should '
      + 'look at the TURN server\'s address and its rules for peers.';
  }
  return 'Neither side has a relay address, and the networks between do not let you through directly: this call needs '
    + 'a TURN server that both can reach.';
}

/** Why there is no connection to this peer, as `{code, values}`. Asked when it stalls or fails. */
export function diagnose(peer, { signalingConnected, iceServers, relayOnly }) {
  const { pc, name } = peer;
  const values = { name: name || 'the other side' };
  const answer = (code, more = {}) => ({ code, values: { ...values, ...more } });
  const urls = iceServers.flatMap((server) => server.urls ?? []);
  const turn = urls.filter((url) => /^turns?:/.test(url));
  const errors = peer.candidateErrors;
  const turnErrors = errors.filter(({ url }) => /^turns?:/.test(url) || url === '');
  const hasRelay = peer.localCandidates.some(({ type }) => type === 'relay');

  if (!signalingConnected) return answer('noSignaling');
  if (relayOnly && turn.length === 0) return answer('noTurnServers');
  if (pc.iceConnectionState === 'connected' && pc.connectionState === 'failed') return answer('dtlsFailed');
  if ((relayOnly && !hasRelay) || (!hasRelay && turnErrors.length > 0 && pc.iceConnectionState === 'failed')) {
    const codes = new Set(turnErrors.map(({ code }) => code));
    if (codes.has(401) || codes.has(441)) return answer('turnUnauthorized');
    if (codes.has(486)) return answer('turnQuota');
    if (codes.has(508)) return answer('turnCapacity');
    if (codes.has(403)) return answer('turnForbidden');
    if (codes.has(701) || relayOnly) return answer('turnUnreachable', { urls: turn.slice(0, 3).join(', ') || 'no address' });
  }
  if (!pc.localDescription && !pc.remoteDescription) return answer('noOffer');
  if (!pc.remoteDescription) return answer('noAnswer');
  if (peer.localCandidates.length === 0) return answer('noCandidates');
  if (peer.remoteCandidates.length === 0) return answer('noRemoteCandidates');
  if (peer.timeline.has('connected') && pc.iceConnectionState !== 'failed') return answer('peerLost');
  return answer('checksFailed', { hint: hintForChecks(peer) });
}

/** Problems of this page, not of one peer: said once, however many people they concern. */
const common = /^(noSignaling|noTurnServers|noCandidates|turn.*)$/;

/** The subject under which problems that concern everybody are shown. */
export const everybody = 'everybody';

/** Whom a diagnosis is about: one peer's id, or everybody. */
export function subjectOf(code, id) {
  return common.test(code) ? everybody : id;
}

const mostPast = 30;

/** The error area of the page: one card for each problem that is there now. */
export class Problems {
  #active = new Map();
  #past = [];
  #area = $('problem');

  /**
   * Shows a problem. The same code for the same `subject` (a peer's id) is shown once.
   * `action` is `{label, perform}`, a button.
   */
  show(code, { subject = '', values = {}, action } = {}) {
    const key = `${code}/${subject}`;
    const text = problemText(code, values);
    const known = this.#active.get(key);
    if (known?.text === text) return;
    known?.card.remove();
    const card = element('div', { className: 'problem-card', 'data-code': code }, icon('alert'), element('p', { textContent: text }));
    if (action) {
      const button = element('button', { type: 'button', className: 'button small', textContent: action.label });
      button.addEventListener('click', () => { this.solve(code, subject); action.perform(); });
      card.append(button);
    }
    const dismiss = element('button', { type: 'button', className: 'icon-button small', 'aria-label': 'Dismiss this message' }, icon('close'));
    dismiss.addEventListener('click', () => { card.remove(); });
    card.append(dismiss);
    this.#active.set(key, { code, text, subject, at: now(), card });
    this.#area.append(card);
  }

  /** The problem is no more. */
  solve(code, subject = '') {
    this.#remove((problem) => problem.code === code && problem.subject === subject);
  }

  /** All problems of one peer are no more, but for the one with the code `but`. */
  solveSubject(subject, but) {
    this.#remove((problem) => problem.subject === subject && problem.code !== but);
  }

  /** All problems whose code begins so are no more. */
  solveKind(...prefixes) {
    this.#remove((problem) => prefixes.some((prefix) => problem.code.startsWith(prefix)));
  }

  get report() {
    return [...this.#active.values()].map(({ code, text, at }) => ({ code, text, at }));
  }

  get past() {
    return this.#past;
  }

  #remove(matches) {
    for (const [key, problem] of this.#active) {
      if (!matches(problem)) continue;
      problem.card.remove();
      this.#active.delete(key);
      if (this.#past.length < mostPast) this.#past.push({ code: problem.code, text: problem.text, at: problem.at, solvedAt: now() });
    }
  }
}

// The details panel: live, for each peer, what was found, what was tried, what was chosen, and when.

import { $, bitrate, element, milliseconds, percent } from './dom.js';
import { explainCandidateError } from './problems.js';

const period = 1_000;

const address = ({ address: host, port }) => (host ? `${host.includes(':') ? `[${host}]` : host}:${port}` : `(hidden):${port}`);
const kind = ({ type, protocol, relayProtocol }) => `${type}/${protocol}${relayProtocol ? ` over ${relayProtocol}` : ''}`;

const eventWords = {
  joinPressed: 'Join pressed', signalingOpen: 'Signaling open', mediaReady: 'Devices ready', joined: 'In the room',
  joinedAnew: 'Joined anew', resumed: 'Session resumed', resumedLost: 'Session resumed, messages lost', peerJoined: 'Somebody came',
  peerLeft: 'Somebody left', offerSent: 'Offer sent', offerReceived: 'Offer received', answerSent: 'Answer sent',
  answerReceived: 'Answer received', firstLocalCandidate: 'First own candidate', firstRemoteCandidate: 'First candidate of theirs',
  gatheringComplete: 'All own candidates found', iceChecking: 'Checks began', iceConnected: 'A path works', connected: 'Connected, encrypted',
  dataChannelOpen: 'Data channel open', firstFrame: 'First picture', iceDisconnected: 'Path interrupted', iceFailed: 'All paths failed',
  iceRestart: 'ICE restarted', networkChanged: 'Network changed', startedOver: 'Connection made anew', gaveUp: 'Gave up for now',
  candidateRejected: 'A candidate was rejected', peerStartedOver: 'They made the connection anew', ended: 'Session ended',
};

function table(caption, heads) {
  const body = element('tbody');
  const made = element('table', {}, element('caption', { className: 'visually-hidden', textContent: caption }),
    element('thead', {}, element('tr', {}, ...heads.map((head) => element('th', { scope: 'col', textContent: head })))), body);
  return { made: element('div', { className: 'table-frame' }, made), body };
}

const row = (cells, className) => element('tr', { className: className ?? '' }, ...cells.map((cell) => element('td', { textContent: cell })));

function fold(title, content, open = false) {
  const words = element('summary', { textContent: title });
  return { words, made: element('details', { open }, words, content) };
}

/** A timeline as a list with bars that show the gaps. */
function fillTimeline(list, entries) {
  if (list.childElementCount === entries.length && entries.length > 0) return;
  const last = Math.max(1, ...entries.slice(0, 24).map(({ at }) => at));
  list.replaceChildren(...entries.map(({ at, event, detail }) => {
    const bar = element('i', { 'aria-hidden': 'true' });
    bar.style.width = `${Math.min(100, at / last * 100)}%`;
    return element('li', {}, element('span', { className: 'time', textContent: milliseconds(at) }),
      element('span', { className: 'event', textContent: (eventWords[event] ?? event) + (detail ? `: ${detail}` : '') }), bar);
  }));
}

/** The details of one peer. */
class PeerDetails {
  #facts = element('dl', { className: 'facts' });
  #state = element('span', { className: 'pill' });
  #found = table('Candidates found', ['Side', 'Kind', 'Address', 'After']);
  #pairs = table('Candidate pairs', ['State', 'Own', 'Theirs', 'RTT']);
  #timeline = element('ol', { className: 'timeline' });
  #errors = element('ul', { className: 'errors' });

  constructor(member) {
    this.member = member;
    this.foundFold = fold('Candidates', this.#found.made, true);
    this.pairsFold = fold('Pairs', this.#pairs.made, true);
    this.element = element('section', { className: 'peer-details', 'aria-label': member.name },
      element('h3', {}, element('span', { textContent: member.name }), this.#state), this.#facts, this.#errors,
      this.foundFold.made, this.pairsFold.made, fold('Timeline', this.#timeline, true).made);
  }

  async update() {
    const { peer, statistics } = this.member;
    const latest = await statistics.sample().catch(() => null);
    const state = peer.pc?.connectionState ?? 'closed';
    this.#state.textContent = this.member.left ? 'leaving' : state;
    this.#state.className = `pill state-${state}`;
    fillTimeline(this.#timeline, peer.timeline.entries);
    this.#showErrors(peer);
    if (!latest) return;
    this.#showFacts(peer, latest);
    this.foundFold.words.textContent = `Candidates: ${latest.localCandidates.length} own, ${latest.remoteCandidates.length} theirs`;
    this.pairsFold.words.textContent = `Pairs: ${latest.pairs.length}`;
    const candidates = (side, all) => all.map((one) => row([side, kind(one), address(one), milliseconds(one.at)]));
    this.#found.body.replaceChildren(...candidates('own', latest.localCandidates), ...candidates('theirs', latest.remoteCandidates));
    const sorted = [...latest.pairs].sort((first, second) => second.selected - first.selected || second.nominated - first.nominated);
    this.#pairs.body.replaceChildren(...sorted.map((pair) => row([
      pair.selected ? 'selected' : pair.state, `${kind(pair.local)} ${address(pair.local)}`,
      `${kind(pair.remote)} ${address(pair.remote)}`, milliseconds(pair.rttMs ?? NaN),
    ], pair.selected ? 'selected' : `pair-${pair.state}`)));
  }

  #showFacts(peer, { selected, video, audio }) {
    const facts = [
      ['Path', selected ? `${selected.path === 'relay' ? 'relayed' : 'direct'}, ${selected.localType} to ${selected.remoteType}` : 'none yet'],
      ['Round trip', milliseconds(selected?.rttMs ?? NaN)],
      ['Protocol', selected ? `${selected.localProtocol}${selected.localRelayProtocol ? `, relay over ${selected.localRelayProtocol}` : ''}` : '–'],
      ['ICE restarts', String(peer.iceRestarts)],
      ['Video in', `${bitrate(video.bitrateIn)}, ${video.width}×${video.height}`], ['Video out', bitrate(video.bitrateOut)],
      ['Audio in', bitrate(audio.bitrateIn)], ['Audio out', bitrate(audio.bitrateOut)],
      ['Loss', `${percent(video.lossPercent ?? NaN)} video, ${percent(audio.lossPercent ?? NaN)} audio`],
      ['Jitter', milliseconds(audio.jitterMs ?? NaN)],
    ];
    this.#facts.replaceChildren(...facts.map(([term, value]) => element('div', {},
      element('dt', { textContent: term }), element('dd', { textContent: value }))));
  }

  #showErrors({ candidateErrors }) {
    if (this.#errors.childElementCount === candidateErrors.length) return;
    this.#errors.replaceChildren(...candidateErrors.map((error) => element('li', { textContent: explainCandidateError(error) })));
  }
}

/** The panel; it reads statistics only while it is open. */
export class DetailsView {
  #body = $('details-body');
  #peers = new Map();
  #timer;
  #page = element('section', { className: 'peer-details', 'aria-label': 'This page' });
  #pageFacts = element('dl', { className: 'facts' });
  #pageTimeline = element('ol', { className: 'timeline' });
  #none = element('p', { className: 'hint', textContent: 'Nobody else is here yet. As soon as somebody comes, every address found and every path tried shows here.' });

  constructor(call) {
    this.call = call;
    this.#page.append(element('h3', {}, element('span', { textContent: 'This page and the server' })), this.#pageFacts,
      fold('Timeline', this.#pageTimeline).made);
    this.#body.append(this.#none, this.#page);
  }

  open() {
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.update(), period);
    this.update();
  }

  close() {
    clearInterval(this.#timer);
  }

  async update() {
    const members = new Set(this.call.everyone);
    for (const [member, details] of this.#peers) {
      if (members.has(member)) continue;
      details.element.remove();
      this.#peers.delete(member);
    }
    for (const member of members) {
      if (this.#peers.has(member)) continue;
      const details = new PeerDetails(member);
      this.#peers.set(member, details);
      this.#page.before(details.element);
    }
    this.#none.hidden = members.size > 0;
    this.#showPage();
    await Promise.all([...this.#peers.values()].map((details) => details.update()));
  }

  #showPage() {
    const { signaling, timeline, iceServers } = this.call;
    const { counters } = signaling;
    const urls = iceServers.flatMap((server) => server.urls ?? []);
    const facts = [
      ['Signaling', signaling.state], ['Resumed', `${counters.resumes}, of which ${counters.replayLost} after a loss`],
      ['Own id', signaling.id ?? '–'], ['ICE servers', urls.length > 0 ? urls.join(' ') : 'none given'],
    ];
    this.#pageFacts.replaceChildren(...facts.map(([term, value]) => element('div', {},
      element('dt', { textContent: term }), element('dd', { textContent: value }))));
    fillTimeline(this.#pageTimeline, timeline.entries);
  }
}

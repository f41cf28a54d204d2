// The call: who is in the room, one Peer and one Conversation for each, and what happens when the server goes away.

import { Conversation } from './chat.js';
import { Peer } from './peer.js';
import { limitVideo, replaceTrack } from './senders.js';
import { Statistics } from './statistics.js';
import { Timeline, now, startClock } from './timeline.js';

const lingerAfterTimeout = 15_000;
const lingerAfterRejoin = 20_000;
const stateDelay = 50;

/** One other person, with everything that belongs to them. `left` is set when signaling says that they are gone. */
class Member {
  left = false;
  leftAt = 0;
  media = { microphone: true, camera: true, screen: false };

  constructor(peer) {
    this.peer = peer;
    this.id = peer.id;
    this.name = peer.name;
    this.statistics = new Statistics(peer);
    this.conversation = new Conversation();
  }
}

/** Whether a new member is the same person as one who lost their session: the same id, or the name come back. */
function replaces(member, old) {
  return member.id === old.id || (member.name === old.name && member.peer.createdAt >= old.leftAt);
}

/**
 * A call in one room.
 *
 * Events: `members` (somebody came, went or changed), `member-added`, `member-removed` ({member}), `track`
 * ({member, track}), `text` ({member, text}), `media` ({member}), `file` ({member, type, transfer}), `stalled`,
 * `recovered` ({member}), `signaling` ({state}), `unreachable`, `refused`, `ended`, `joined`.
 */
export class Call extends EventTarget {
  timeline = new Timeline();
  members = new Map();
  room = '';
  name = '';
  active = false;
  relayOnly = false;
  iceServers = [];

  /** Members whose place in the room is gone or taken by a new connection, but whose media may still flow. */
  #lingering = new Set();

  constructor(signaling, media) {
    super();
    this.signaling = signaling;
    this.media = media;
    const on = (type, action) => signaling.addEventListener(type, (event) => { if (this.active) action(event.detail); });
    on('open', () => this.timeline.mark('signalingOpen'));
    on('state', ({ state }) => this.#emit('signaling', { state }));
    on('joined', (message) => this.#joined(message));
    on('resumed', (message) => this.#resumed(message));
    on('peerJoined', ({ peer }) => this.#arrived(peer));
    on('peerLeft', (message) => this.#departed(message));
    on('description', ({ from, description }) => this.members.get(from)?.peer.receiveDescription(description));
    on('candidate', ({ from, candidate }) => this.members.get(from)?.peer.receiveCandidate(candidate));
    on('iceServers', ({ iceServers }) => this.#useServers(iceServers));
    for (const type of ['unreachable', 'refused']) on(type, (detail) => this.#emit(type, detail));
    on('ended', (detail) => { this.timeline.mark('ended', detail.code); this.#emit('ended', detail); });
    media.addEventListener('track', ({ detail }) => {
      for (const { peer } of this.everyone) replaceTrack(peer, detail.kind, detail.track);
      this.#boundVideo();
    });
    media.addEventListener('change', () => this.#tellState());
    this.#watchNetwork();
  }

  /** All members, those who linger included. */
  get everyone() {
    return [...this.members.values(), ...this.#lingering];
  }

  /** Enters a room; devices may still be asked for until `ready`. */
  join(room, name, ready) {
    startClock();
    this.timeline = new Timeline();
    this.timeline.mark('joinPressed');
    this.room = room;
    this.name = name;
    this.active = true;
    this.signaling.join(room, name, ready.then(() => this.timeline.mark('mediaReady')));
  }

  hangUp() {
    for (const { conversation } of this.everyone) conversation.sayBye();
    this.signaling.leave();
    for (const member of this.everyone) this.#remove(member);
    this.active = false;
  }

  /**
   * With relay only, no packet goes directly from browser to browser. A mere ICE restart would keep the direct path
   * until a relay is found, so running connections are made anew.
   */
  setRelayOnly(relayOnly) {
    if (this.relayOnly === relayOnly) return;
    this.relayOnly = relayOnly;
    for (const { peer } of this.members.values()) {
      if (!peer.pc?.remoteDescription) peer.reconfigure();
      else if (relayOnly) peer.startOver();
      else peer.restartICE('relayOnly');
    }
  }

  sendText(text) {
    for (const { conversation } of this.members.values()) conversation.sendText(text);
  }

  /** Offers a file to everybody; returns the transfers, one for each. */
  sendFile(file) {
    return [...this.members.values()].map(({ conversation }) => conversation.sendFile(file));
  }

  tryAgain() {
    this.signaling.refresh();
    for (const { peer } of this.members.values()) if (!peer.isConnected) peer.recovery.tryAgain();
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // MARK: the roster

  #joined(message) {
    const again = this.timeline.has('joined');
    this.timeline.mark(again ? 'joinedAnew' : 'joined');
    this.iceServers = message.iceServers ?? [];
    // Joined anew, everybody else sees a new person. Old connections stay until the new ones have replaced them.
    for (const member of [...this.members.values()]) this.#linger(member, lingerAfterRejoin);
    this.#emit('joined', message);
    for (const { id, name } of message.peers ?? []) this.#add(id, name).peer.offer();
    this.#emit('members');
  }

  #resumed({ peers = [], lost, iceServers }) {
    this.timeline.mark(lost ? 'resumedLost' : 'resumed');
    this.#useServers(iceServers ?? []);
    if (lost) {
      const present = new Set(peers.map(({ id }) => id));
      for (const member of [...this.members.values()]) {
        if (!present.has(member.id)) this.#departed({ id: member.id, reason: 'timeout' });
      }
      for (const peer of peers) this.#arrived(peer);
    }
    for (const { peer } of this.members.values()) peer.recovery.signalingResumed(lost);
    this.#emit('members');
  }

  #arrived({ id, name }) {
    if (this.members.has(id)) return;
    this.timeline.mark('peerJoined', name);
    this.#add(id, name).peer.expectOffer();
    this.#emit('members');
  }

  #departed({ id, reason }) {
    const member = this.members.get(id);
    if (!member) return;
    this.timeline.mark('peerLeft', `${member.name} (${reason})`);
    // Their way to the server broke, which says nothing about the way to us.
    if (reason === 'timeout' && member.peer.isConnected) this.#linger(member, lingerAfterTimeout);
    else this.#remove(member);
    this.#emit('members');
  }

  #add(id, name) {
    const peer = new Peer({
      id, name, selfID: this.signaling.id, signaling: this.signaling,
      configuration: () => ({
        iceServers: this.iceServers, iceTransportPolicy: this.relayOnly ? 'relay' : 'all',
        bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require',
      }),
      tracks: () => this.media.tracks,
    });
    const member = new Member(peer);
    this.members.set(id, member);
    this.#listen(member);
    this.#emit('member-added', { member });
    return member;
  }

  #listen(member) {
    const { peer, conversation } = member;
    peer.addEventListener('track', ({ detail }) => this.#emit('track', { member, track: detail.track }));
    peer.addEventListener('channel', ({ detail }) => conversation.use(detail.channel));
    peer.addEventListener('change', () => this.#changed(member));
    for (const type of ['stalled', 'gathered', 'candidate-error']) {
      peer.addEventListener(type, () => this.#emit('stalled', { member, reason: type }));
    }
    peer.addEventListener('recovered', () => this.#changed(member));
    conversation.addEventListener('open', () => conversation.sendState(this.#ownState()));
    conversation.addEventListener('text', ({ detail }) => this.#emit('text', { member, text: detail.text }));
    conversation.addEventListener('state', ({ detail }) => { member.media = detail; this.#emit('media', { member }); });
    conversation.addEventListener('bye', () => { this.#remove(member); this.#emit('members'); });
    for (const type of ['file-progress', 'file-received', 'file-sent', 'file-failed']) {
      conversation.addEventListener(type, ({ detail }) => this.#emit('file', { member, type, transfer: detail }));
    }
  }

  #changed(member) {
    if (member.peer.isConnected) {
      if (this.members.get(member.id) === member) {
        this.#emit('recovered', { member });
        for (const old of this.#lingering) if (replaces(member, old)) this.#remove(old);
        this.#boundVideo();
      }
    } else if (this.#lingering.has(member) && ['failed', 'closed'].includes(member.peer.pc?.connectionState)) {
      this.#remove(member);
    }
    this.#emit('members');
  }

  #linger(member, time) {
    this.members.delete(member.id);
    member.left = true;
    member.leftAt = now();
    member.peer.recovery.stop();
    if (!member.peer.isConnected) {
      this.#remove(member);
      return;
    }
    this.#lingering.add(member);
    setTimeout(() => { this.#remove(member); this.#emit('members'); }, time);
  }

  #remove(member) {
    if (this.members.get(member.id) === member) this.members.delete(member.id);
    this.#lingering.delete(member);
    if (member.peer.closed) return;
    member.conversation.close();
    member.peer.close();
    this.#emit('member-removed', { member });
  }

  // MARK: what everybody is told

  #useServers(iceServers) {
    this.iceServers = iceServers;
    for (const { peer } of this.members.values()) peer.reconfigure();
  }

  #ownState() {
    return { microphone: this.media.microphoneOn, camera: this.media.cameraOn, screen: this.media.screen !== null };
  }

  #stateTimer;

  #tellState() {
    clearTimeout(this.#stateTimer);
    this.#stateTimer = setTimeout(() => {
      for (const { conversation } of this.everyone) conversation.sendState(this.#ownState());
    }, stateDelay);
  }

  /** The uplink is shared by all: less for each, the more there are. */
  #boundVideo() {
    const count = Math.max(1, this.members.size);
    const each = this.media.screen ? 2_500_000 : [2_000_000, 1_200_000, 800_000, 600_000, 450_000][Math.min(count, 5) - 1];
    for (const { peer } of this.members.values()) if (peer.isConnected) limitVideo(peer, each);
  }

  #watchNetwork() {
    const hint = (certain) => {
      if (!this.active) return;
      this.timeline.mark('networkChanged');
      this.signaling.probe();
      for (const { peer } of this.members.values()) peer.recovery.networkChanged(certain);
    };
    addEventListener('online', () => hint(true));
    const connection = navigator.connection;
    let kind = connection?.type;
    // The event also tells of mere estimates of speed, which are no reason for anything.
    connection?.addEventListener?.('change', () => {
      const before = kind;
      kind = connection.type;
      if (kind !== before && kind !== 'none') hint(true);
    });
  }
}

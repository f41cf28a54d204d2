// Puts the parts of the page together: lobby, call, panels, problems.

import { Call } from './call.js';
import { ChatView } from './chatview.js';
import { DetailsView } from './details.js';
import { $, copyText, icon, remembered, sleep } from './dom.js';
import { Lobby, readAddress, roomLink, showToggles } from './lobby.js';
import { Media } from './media.js';
import { Panels } from './panels.js';
import { Problems, diagnose, everybody, subjectOf } from './problems.js';
import { makeReport } from './report.js';
import { Signaling } from './signaling.js';
import { Stage } from './tiles.js';

const longestWaitForDevices = 4_000;
const qualityPeriod = 4_000;
const quietReconnects = 2;
const namesShown = 3;

const address = readAddress();
const problems = new Problems();
const media = new Media();
media.wanted = { audio: address.audio, video: address.video };
const signaling = new Signaling();
const call = new Call(signaling, media);
const lobby = new Lobby(media, address);
const stage = new Stage(call, media);
const chat = new ChatView(call);
const details = new DetailsView(call);
const panels = new Panels({
  chat: { opened: () => chat.seen(), closed: () => {} },
  details: { opened: () => details.open(), closed: () => details.close() },
  settings: { opened: () => {}, closed: () => {} },
});
chat.isOpen = () => panels.current === 'chat';

/** What tests and curious people may ask for: the report, and an ICE restart towards everybody. */
window.floe = {
  report: () => makeReport(call, problems),
  restart: () => { for (const { peer } of call.members.values()) peer.restartICE('askedFor'); },
};

// MARK: words for the state of things

function list(names) {
  const shown = names.slice(0, namesShown);
  if (names.length > namesShown) shown.push(`${names.length - namesShown} more`);
  return shown.length < 2 ? shown.join('') : `${shown.slice(0, -1).join(', ')} and ${shown.at(-1)}`;
}

function say(text) {
  if ($('status').textContent !== text) $('status').textContent = text;
}

function showStatus() {
  if (!call.active) return;
  const members = [...call.members.values()];
  const connected = members.filter(({ peer }) => peer.isConnected);
  const open = members.filter(({ peer }) => !peer.isConnected);
  document.body.dataset.connection = open.length > 0 || signaling.state !== 'connected' ? 'working' : 'fine';
  $('invite').hidden = call.everyone.length > 0 || !call.timeline.has('joined');
  if (!call.timeline.has('joined')) say('Connecting to the server…');
  else if (signaling.state !== 'connected') say('Server connection lost, reconnecting…');
  else if (open.length > 0) say(`Connecting to ${list(open.map(({ name }) => name))}…`);
  else if (connected.length > 0) say(`In a call with ${list(connected.map(({ name }) => name))}`);
  else say('Waiting for others');
  for (const member of call.everyone) stage.refresh(member);
}

// MARK: entering and leaving

function enter() {
  const { room } = lobby;
  if (!room) {
    problems.show('badRoom');
    $('room').focus();
    return;
  }
  problems.solveKind('badRoom', 'badName', 'roomFull', 'tooMany', 'resumed', 'server', 'unsupportedV');
  if (typeof RTCPeerConnection !== 'function') {
    problems.show('unsupportedBrowser');
    return;
  }
  $('room').value = room;
  remembered.set('name', $('name').value.trim());
  history.replaceState(null, '', `${location.pathname}${queryFor(room)}`);
  setRelayOnly($('relay-only-lobby').checked);
  showCall(room);
  call.join(room, lobby.name, Promise.race([devices(), sleep(longestWaitForDevices)]));
  showStatus();
}

/** The address bar shows the link to the room, and keeps the switches that were in it. */
function queryFor(room) {
  const query = new URLSearchParams(location.search);
  query.set('room', room);
  return `?${query}`;
}

/** The devices that are wanted; asked for once at a time. */
let asking = null;
function devices() {
  asking ??= media.start().finally(() => { asking = null; });
  return asking;
}

function showCall(room) {
  $('lobby').hidden = true;
  $('call').hidden = false;
  document.body.className = 'in-call';
  $('toggle-slot-call').append($('toggles'));
  $('device-slot-call').append($('devices'));
  $('link-slot-call').append($('copy-link'));
  $('room-title').hidden = false;
  $('room-title').textContent = room;
  $('invite-link').textContent = roomLink(room);
  document.title = `${room} · Floe`;
  chat.clear();
  lobby.show();
  stage.open(lobby.name);
  $('room-title').focus({ preventScroll: true });
}

function showLobby(words) {
  panels.close();
  stage.close();
  $('call').hidden = true;
  $('lobby').hidden = false;
  document.body.className = 'in-lobby';
  $('toggle-slot-lobby').append($('toggles'));
  $('device-slot-lobby').append($('devices'));
  $('link-slot-lobby').append($('copy-link'));
  $('room-title').hidden = true;
  $('invite').hidden = true;
  document.title = 'Floe';
  lobby.show();
  say(words);
  $('join').focus({ preventScroll: true });
}

function leave(words) {
  call.hangUp();
  media.stop();
  problems.solveKind('noSignaling', 'noWebSocket', 'signalingLost', 'autoplay');
  showLobby(words);
}

// MARK: controls

function setRelayOnly(relayOnly) {
  $('relay-only').checked = relayOnly;
  $('relay-only-lobby').checked = relayOnly;
  problems.solveSubject(everybody);
  call.setRelayOnly(relayOnly);
}

async function copyLink(button) {
  const link = roomLink(call.active ? call.room : lobby.room);
  flash(button, (await copyText(link)) ? 'Link copied' : link);
}

async function copyReport() {
  const report = await makeReport(call, problems);
  flash($('copy-report'), (await copyText(JSON.stringify(report, null, 2))) ? 'Report copied' : 'The browser does not allow copying');
}

/** Says for a moment that something was done, to eyes and to screen readers. */
function flash(button, words) {
  const before = $('status').textContent;
  button.classList.add('done');
  say(words);
  setTimeout(() => {
    button.classList.remove('done');
    if ($('status').textContent === words) say(call.active ? '' : before);
    showStatus();
  }, 2_000);
}

$('join-form').addEventListener('submit', (event) => { event.preventDefault(); enter(); });
$('hang-up').addEventListener('click', () => leave('You left the call'));
$('microphone').addEventListener('click', () => media.setMicrophone(!media.microphoneOn));
$('camera').addEventListener('click', () => media.setCamera(!media.cameraOn));
$('share-screen').addEventListener('click', () => (media.screen ? media.stopScreen() : media.shareScreen()));
$('share-screen').hidden = !media.canShareScreen;
$('copy-link').addEventListener('click', () => copyLink($('copy-link')));
$('invite-copy').addEventListener('click', () => copyLink($('invite-copy')));
$('copy-report').addEventListener('click', copyReport);
for (const id of ['relay-only', 'relay-only-lobby']) $(id).addEventListener('change', (event) => setRelayOnly(event.target.checked));
addEventListener('pagehide', () => { if (call.active) call.hangUp(); });

// MARK: what happens

media.addEventListener('change', () => {
  showToggles(media);
  const sharing = media.screen !== null;
  $('share-screen').setAttribute('aria-pressed', String(sharing));
  $('share-screen').title = sharing ? 'Stop sharing' : 'Share screen';
});
media.addEventListener('problem', ({ detail }) => problems.show(detail.code));
media.addEventListener('solved', ({ detail }) => problems.solveKind('devices', detail.kind === 'audio' ? 'microphone' : 'camera'));

call.addEventListener('members', showStatus);
call.addEventListener('signaling', showStatus);
call.addEventListener('joined', () => problems.solveKind('noSignaling', 'noWebSocket', 'signalingLost', 'roomFull', 'tooManyRooms'));
call.addEventListener('signaling', ({ detail }) => {
  if (detail.state === 'connected') problems.solveKind('noSignaling', 'noWebSocket', 'signalingLost');
});
call.addEventListener('member-added', ({ detail }) => { if (call.active) chat.addNotice(`${detail.member.name} is here`); });
call.addEventListener('member-removed', ({ detail: { member } }) => {
  solved(member);
  if (call.active && !call.members.has(member.id)) chat.addNotice(`${member.name} left`);
});

call.addEventListener('unreachable', async ({ detail }) => {
  showStatus();
  if (call.timeline.has('joined')) {
    if (detail.attempts >= quietReconnects) problems.show('signalingLost');
    return;
  }
  if (detail.opened) return;
  // Is it the server that is gone, or do only WebSockets not pass?
  const answers = await fetch(location.pathname, { method: 'HEAD', cache: 'no-store' }).then(({ ok }) => ok, () => false);
  if (!call.active || signaling.state === 'connected') return;
  problems.solveKind('noSignaling', 'noWebSocket');
  problems.show(answers && detail.attempts >= quietReconnects ? 'noWebSocket' : 'noSignaling');
});
call.addEventListener('refused', ({ detail }) => {
  problems.show(detail.code, { values: { message: detail.message } });
  if (!detail.waiting) leave('Not in a call');
});
call.addEventListener('ended', ({ detail }) => {
  problems.show(detail.code);
  leave('The call ended');
});

/** A connection fails, stalls, or can already be seen to be hopeless. */
call.addEventListener('stalled', ({ detail: { member, reason } }) => {
  const { peer } = member;
  if (peer.isConnected || member.left) return;
  const early = reason !== 'stalled';
  if (early && !(peer.gathered && peer.localCandidates.length === 0)) return;
  const { code, values } = diagnose(peer, {
    signalingConnected: signaling.isConnected, iceServers: call.iceServers, relayOnly: call.relayOnly,
  });
  const subject = subjectOf(code, member.id);
  if (subject === everybody) values.name = list(waitedFor());
  problems.solveSubject(member.id, code);
  problems.show(code, { subject, values, action: { label: 'Try again', perform: () => call.tryAgain() } });
  showStatus();
});

/** The names of those who are in the room but not connected. */
function waitedFor() {
  return [...call.members.values()].filter(({ peer }) => !peer.isConnected).map(({ name }) => name);
}

function solved(member) {
  problems.solveSubject(member.id);
  if (waitedFor().length === 0) problems.solveSubject(everybody);
}
call.addEventListener('recovered', ({ detail: { member } }) => solved(member));
stage.onblocked = () => problems.show('autoplay', { action: { label: 'Play sound', perform: () => stage.playAll() } });

setInterval(async () => {
  if (!call.active || document.hidden) return;
  for (const member of call.members.values()) {
    if (panels.current !== 'details' && member.peer.isConnected) await member.statistics.sample().catch(() => null);
    stage.setQuality(member);
  }
}, qualityPeriod);

// MARK: the beginning

for (const holder of document.querySelectorAll('[data-icon]')) holder.prepend(icon(holder.dataset.icon));
showToggles(media);
if (address.relayOnly) setRelayOnly(true);
devices();
if (address.joinAtOnce) enter();
else $(address.room ? 'name' : 'room').focus({ preventScroll: true });

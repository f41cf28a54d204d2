// The report that "copy report" copies: everything one needs to see why a call connects as it does.

import { sleep } from './dom.js';

const stale = 3_000;
const between = 600;

async function describe(member) {
  const { peer, statistics, conversation } = member;
  // Bitrates need two readings.
  if (performance.now() - statistics.takenAt > stale) {
    await statistics.sample().catch(() => null);
    await sleep(between);
  }
  const latest = await statistics.sample().catch(() => statistics.latest);
  const { counts } = conversation;
  return {
    id: member.id,
    name: member.name,
    connectionState: peer.pc?.connectionState ?? 'closed',
    iceConnectionState: peer.pc?.iceConnectionState ?? 'closed',
    signalingState: peer.pc?.signalingState ?? 'closed',
    iceRestarts: peer.iceRestarts,
    polite: peer.polite,
    lingering: member.left,
    timeline: peer.timeline.entries,
    localCandidates: latest?.localCandidates ?? peer.localCandidates,
    remoteCandidates: latest?.remoteCandidates ?? peer.remoteCandidates,
    candidateErrors: peer.candidateErrors,
    pairs: latest?.pairs ?? [],
    selected: latest?.selected ?? null,
    video: latest?.video ?? null,
    audio: latest?.audio ?? null,
    media: member.media,
    chat: { sent: counts.chatSent, received: counts.chatReceived },
    files: { sent: counts.filesSent, received: counts.filesReceived },
  };
}

/** The report as a plain object, version 1. */
export async function makeReport(call, problems) {
  const { signaling } = call;
  return {
    version: 1,
    userAgent: navigator.userAgent,
    time: new Date().toISOString(),
    secureContext: isSecureContext,
    room: call.room,
    self: { id: signaling.id, name: call.name },
    relayOnly: call.relayOnly,
    signaling: { state: signaling.state, ...signaling.counters },
    // Addresses of servers, never the credentials for them.
    iceServers: call.iceServers.flatMap((server) => server.urls ?? []),
    timeline: call.timeline.entries,
    peers: await Promise.all(call.everyone.map(describe)),
    problems: problems.report,
    pastProblems: problems.past,
  };
}

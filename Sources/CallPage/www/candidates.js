// ICE candidates as the report and the details panel show them, and what else is read out of a description.

import { now } from './timeline.js';

const mostListed = 256;

/** The fingerprint of a description's certificate: another one means another connection. */
export function fingerprint(sdp) {
  return /^a=fingerprint:(.*)$/m.exec(sdp ?? '')?.[1]?.trim();
}

/** A candidate of an event or of the statistics as a plain object. */
export function describeCandidate(candidate) {
  return {
    type: candidate.candidateType ?? candidate.type ?? 'unknown',
    protocol: candidate.protocol ?? '',
    address: (candidate.address || candidate.ip || '').replace(/^\[|\]$/g, ''),
    port: candidate.port ?? 0,
    relayProtocol: candidate.relayProtocol || null,
    url: candidate.url || null,
  };
}

/** Adds a candidate to a list, with the time, unless the list has it or is full. */
export function listCandidate(list, candidate) {
  const described = describeCandidate(candidate);
  const same = (known) => known.type === described.type && known.protocol === described.protocol
    && known.address === described.address && known.port === described.port
    && known.relayProtocol === described.relayProtocol;
  if (list.length < mostListed && !list.some(same)) list.push({ ...described, at: now() });
}

/** Lists the candidates that a description carries. */
export function listCandidates(list, sdp) {
  for (const [, candidate] of sdp.matchAll(/^a=(candidate:.*)$/gm)) {
    try {
      listCandidate(list, new RTCIceCandidate({ candidate, sdpMid: '0' }));
    } catch { /* a kind this browser does not know */ }
  }
}

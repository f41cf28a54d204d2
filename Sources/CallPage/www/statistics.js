// Reads a connection's statistics and says them as the report and the details panel need them.

import { describeCandidate } from './candidates.js';
import { now } from './timeline.js';

const mostPairs = 400;
const mostCandidates = 200;

const endpoint = (candidate) => {
  const { type, protocol, address, port, relayProtocol } = describeCandidate(candidate ?? {});
  return { type, protocol, address, port, relayProtocol };
};

/** Bits per second between two readings of a byte counter. */
function rate(bytes, before, seconds) {
  return before === undefined || seconds <= 0 ? null : Math.max(0, Math.round((bytes - before) * 8 / seconds));
}

const milliseconds = (seconds) => (Number.isFinite(seconds) ? Math.round(seconds * 10_000) / 10 : null);

/** Lost packets in per cent since the last reading, or since the beginning when there is none. */
function loss(stream, before) {
  const lost = stream.packetsLost - (before?.packetsLost ?? 0);
  const received = stream.packetsReceived - (before?.packetsReceived ?? 0);
  return lost + received > 0 ? Math.max(0, Math.round(lost / (lost + received) * 1000) / 10) : 0;
}

/** Candidates heard of by events, then those that only the statistics know (peer-reflexive ones). */
function merged(known, reported) {
  const all = [...known];
  for (const candidate of reported) {
    const described = describeCandidate(candidate);
    const same = all.find((other) => other.type === described.type && other.protocol === described.protocol
      && other.port === described.port && (other.address === described.address || !described.address));
    if (same) same.relayProtocol ??= described.relayProtocol;
    else if (all.length < mostCandidates) all.push({ ...described, at: now() });
  }
  return all;
}

/** The statistics of one peer, read again and again; bitrates are between two readings. */
export class Statistics {
  latest = null;
  takenAt = -Infinity;

  #peer;
  #before = null;

  constructor(peer) {
    this.#peer = peer;
  }

  /** Reads the statistics once. */
  async sample() {
    const { pc } = this.#peer;
    if (!pc || pc.signalingState === 'closed') return this.latest;
    const stats = await pc.getStats();
    this.latest = this.#summarize(stats);
    this.takenAt = performance.now();
    return this.latest;
  }

  #summarize(stats) {
    const all = [...stats.values()];
    const of = (type, kind) => all.filter((entry) => entry.type === type && (!kind || entry.kind === kind));
    const transport = of('transport')[0];
    const pairs = of('candidate-pair').slice(0, mostPairs);
    const chosen = pairs.find(({ id }) => id === transport?.selectedCandidatePairId) ?? pairs.find(({ selected }) => selected);
    const reading = { at: performance.now(), streams: new Map() };
    const before = this.#before;
    const seconds = before ? (reading.at - before.at) / 1000 : 0;
    const keep = (entry, counter) => {
      reading.streams.set(entry.id, entry);
      return rate(entry[counter], before?.streams.get(entry.id)?.[counter], seconds);
    };
    const sum = (entries, counter) => entries.reduce((total, entry) => {
      const one = keep(entry, counter);
      return one === null ? total : (total ?? 0) + one;
    }, null);

    const media = (kind) => {
      const inbound = of('inbound-rtp', kind);
      const outbound = of('outbound-rtp', kind);
      const first = inbound[0];
      return {
        first,
        bitrateIn: sum(inbound, 'bytesReceived'),
        bitrateOut: sum(outbound, 'bytesSent'),
        lossPercent: first ? loss(first, before?.streams.get(first.id)) : null,
      };
    };
    const video = media('video');
    const audio = media('audio');
    this.#before = reading;

    return {
      localCandidates: merged(this.#peer.localCandidates, of('local-candidate')),
      remoteCandidates: merged(this.#peer.remoteCandidates, of('remote-candidate')),
      pairs: pairs.map((pair) => ({
        local: endpoint(stats.get(pair.localCandidateId)),
        remote: endpoint(stats.get(pair.remoteCandidateId)),
        state: pair.state,
        nominated: pair.nominated === true,
        selected: pair === chosen,
        rttMs: milliseconds(pair.currentRoundTripTime),
        bytesSent: pair.bytesSent ?? 0,
        bytesReceived: pair.bytesReceived ?? 0,
      })),
      selected: chosen ? this.#selected(chosen, stats) : null,
      video: {
        framesDecoded: video.first?.framesDecoded ?? 0,
        width: video.first?.frameWidth ?? 0,
        height: video.first?.frameHeight ?? 0,
        bitrateIn: video.bitrateIn,
        bitrateOut: video.bitrateOut,
        lossPercent: video.lossPercent,
      },
      audio: {
        bitrateIn: audio.bitrateIn,
        bitrateOut: audio.bitrateOut,
        lossPercent: audio.lossPercent,
        jitterMs: milliseconds(audio.first?.jitter),
      },
    };
  }

  #selected(pair, stats) {
    const local = endpoint(stats.get(pair.localCandidateId));
    const remote = endpoint(stats.get(pair.remoteCandidateId));
    return {
      localType: local.type, localProtocol: local.protocol, localRelayProtocol: local.relayProtocol,
      localAddress: local.address, localPort: local.port,
      remoteType: remote.type, remoteProtocol: remote.protocol, remoteAddress: remote.address, remotePort: remote.port,
      path: local.type === 'relay' || remote.type === 'relay' ? 'relay' : 'direct',
      rttMs: milliseconds(pair.currentRoundTripTime),
    };
  }
}

/** How good a connection is, 0 (unusable) to 3 (good), by round trip and loss (a rough scale after ITU-T G.114). */
export function quality({ selected, video, audio }) {
  const lossPercent = Math.max(video?.lossPercent ?? 0, audio?.lossPercent ?? 0);
  const rtt = selected?.rttMs ?? 0;
  if (lossPercent > 15 || rtt > 1000) return 0;
  if (lossPercent > 5 || rtt > 400) return 1;
  if (lossPercent > 2 || rtt > 200) return 2;
  return 3;
}

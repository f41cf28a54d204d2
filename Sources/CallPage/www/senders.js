// What is sent over a connection: which tracks, and how much of the uplink the video may take.

/** Sends another track of a kind, or nothing; needs no negotiation. */
export async function replaceTrack({ pc }, kind, track) {
  for (const transceiver of pc?.getTransceivers() ?? []) {
    if (transceiver.receiver.track.kind !== kind || transceiver.stopped) continue;
    try { await transceiver.sender.replaceTrack(track); } catch { /* closed meanwhile */ }
  }
}

/** Bounds the outgoing video, in bits per second, so that six people fit through one uplink. */
export async function limitVideo({ pc }, maxBitrate) {
  for (const sender of pc?.getSenders() ?? []) {
    if (sender.track?.kind !== 'video') continue;
    const parameters = sender.getParameters();
    if (!parameters.encodings?.length || parameters.encodings[0].maxBitrate === maxBitrate) continue;
    parameters.encodings[0].maxBitrate = maxBitrate;
    try { await sender.setParameters(parameters); } catch { /* negotiation under way: the next change sets it */ }
  }
}

// Constants of the signaling protocol, version 1 (Documentation/Signaling.md).

export const subprotocol = 'floe.v1';
export const version = 1;
export const defaultLimits = { messagesPerSecond: 50, messageBurst: 500, replayMessages: 512 };

/** Close codes after which the session cannot be resumed and the page joins anew. */
export const joinAnewCodes = new Set([1009, 4400, 4401, 4406]);

/** Close codes after which coming back would be wrong, with the problem to show. */
export const finalCodes = new Map([[1000, 'serverClosed'], [4402, 'unsupportedVersion'], [4409, 'resumedElsewhere']]);

/** Errors that answer `join` and need a decision of the person. */
export const joinErrors = new Set(['badRoom', 'badName', 'roomFull', 'tooManyRooms']);

const firstBackoff = 300;
const longestBackoff = 15_000;

/** Milliseconds to wait before another attempt: growing, and random, as a restarted server meets all clients at once. */
export function backoff(attempts) {
  const longest = Math.min(longestBackoff, firstBackoff * 2 ** attempts);
  return longest * (0.25 + Math.random() * 0.75);
}

/** The address of the signaling endpoint beside the page. */
export function signalingURL() {
  const url = new URL('signal', location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  url.search = '';
  url.hash = '';
  return url.href;
}

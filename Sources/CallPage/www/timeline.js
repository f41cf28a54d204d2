// When what happened, in milliseconds since "join" was pressed.

let zero = performance.now();

/** Starts the clock of all timelines: "join" was pressed now. */
export function startClock() {
  zero = performance.now();
}

/** Whole milliseconds since "join" was pressed. */
export function now() {
  return Math.round(performance.now() - zero);
}

const longest = 200;

/** A bounded list of events. The first entries are kept, as they tell how the connection was set up. */
export class Timeline {
  entries = [];
  dropped = 0;

  /** Notes an event, with a few words of detail if there is more to say. */
  mark(event, detail) {
    if (this.entries.length >= longest) {
      this.dropped += 1;
      return;
    }
    const entry = { at: now(), event };
    if (detail !== undefined) entry.detail = detail;
    this.entries.push(entry);
  }

  /** Notes an event only the first time it happens. */
  markOnce(event) {
    if (!this.has(event)) this.mark(event);
  }

  has(event) {
    return this.entries.some((entry) => entry.event === event);
  }

  /** When the event happened first, or undefined. */
  timeOf(event) {
    return this.entries.find((entry) => entry.event === event)?.at;
  }
}

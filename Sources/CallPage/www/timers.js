// Timers with names: setting one again replaces it.

export class Timers {
  #running = new Map();

  /** Performs the action after so many milliseconds, unless the timer is set again or cancelled before. */
  after(name, time, action) {
    this.cancel(name);
    this.#running.set(name, setTimeout(() => {
      this.#running.delete(name);
      action();
    }, time));
  }

  runs(name) {
    return this.#running.has(name);
  }

  cancel(name) {
    clearTimeout(this.#running.get(name));
    this.#running.delete(name);
  }

  clear() {
    for (const timer of this.#running.values()) clearTimeout(timer);
    this.#running.clear();
  }
}

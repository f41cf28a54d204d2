// The side panel (a sheet on narrow screens) with its pages: chat, details, devices. One is open at a time.

import { $ } from './dom.js';

const firstFocus = { chat: 'chat-input', details: 'details-title', settings: 'settings-title' };

/** Opens and closes the pages, and keeps the keyboard's focus where a person expects it. */
export class Panels {
  current = null;
  #pages;

  /** `pages` maps a name to what is called when that page was opened or closed. */
  constructor(pages) {
    this.#pages = pages;
    for (const name of Object.keys(pages)) {
      $(`${name}-toggle`).addEventListener('click', () => this.toggle(name));
    }
    for (const button of document.querySelectorAll('[data-close-panel]')) button.addEventListener('click', () => this.close(true));
    addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.current && !event.isComposing) this.close(true);
    });
  }

  toggle(name) {
    if (this.current === name) this.close(true);
    else this.open(name);
  }

  open(name) {
    this.close();
    this.current = name;
    $('panel').hidden = false;
    $(`${name}-panel`).hidden = false;
    $(`${name}-toggle`).setAttribute('aria-expanded', 'true');
    $('call').classList.add('with-panel');
    $(firstFocus[name]).focus({ preventScroll: true });
    this.#pages[name].opened();
  }

  /** Closes the open page; `giveBack` returns the focus to the button that opened it. */
  close(giveBack = false) {
    const name = this.current;
    if (!name) return;
    this.current = null;
    $('panel').hidden = true;
    $(`${name}-panel`).hidden = true;
    $(`${name}-toggle`).setAttribute('aria-expanded', 'false');
    $('call').classList.remove('with-panel');
    this.#pages[name].closed();
    if (giveBack) $(`${name}-toggle`).focus({ preventScroll: true });
  }
}

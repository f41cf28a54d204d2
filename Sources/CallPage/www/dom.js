// Small helpers around the document, and the way numbers are shown everywhere on the page.

/** The element with this id; every id asked for is in index.html. */
export const $ = (id) => document.getElementById(id);

/**
 * Makes an element. Text always becomes a text node, never markup, because much of it comes from other people.
 * `properties` are set as properties, except `data-*`, `aria-*` and `role`, which are attributes.
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name.includes('-') || name === 'role') made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const svgNamespace = 'http://www.w3.org/2000/svg';

/** An icon out of the sprite in index.html, hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(svgNamespace, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(svgNamespace, 'use');
  use.setAttribute('href', `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Shows another icon in a button that already has one. */
export function setIcon(button, name) {
  button.querySelector('use').setAttribute('href', `#icon-${name}`);
}

/** Bits per second in words, such as `1.2 Mbit/s`. */
export function bitrate(bitsPerSecond) {
  if (!Number.isFinite(bitsPerSecond)) return '–';
  if (bitsPerSecond >= 1e6) return `${(bitsPerSecond / 1e6).toFixed(1)} Mbit/s`;
  return `${Math.round(bitsPerSecond / 1e3)} kbit/s`;
}

/** Milliseconds in words; a second and more is shown in seconds. */
export function milliseconds(value) {
  if (!Number.isFinite(value)) return '–';
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${Math.round(value)} ms`;
}

/** A share in per cent, 0 to 100, with one digit behind the point below ten. */
export function percent(value) {
  if (!Number.isFinite(value)) return '–';
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

/** A size in bytes in words, such as `3.4 MiB`. */
export function byteCount(value) {
  if (value < 1024) return `${value} B`;
  if (value < 1024 * 1024) return `${(value / 1024).toFixed(0)} KiB`;
  return `${(value / 1024 / 1024).toFixed(1)} MiB`;
}

/** Puts text on the clipboard; falls back to a selection where the clipboard is not allowed. True if it worked. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element('textarea', { value: text, className: 'visually-hidden', readOnly: true });
    document.body.append(area);
    area.select();
    const copied = document.execCommand('copy');
    area.remove();
    return copied;
  }
}

/** A promise that is fulfilled after so many milliseconds. */
export const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));

/** A value kept for the next visit; a browser that keeps nothing is fine. */
export const remembered = {
  get(key) {
    try { return localStorage.getItem(`floe.${key}`) ?? ''; } catch { return ''; }
  },
  set(key, value) {
    try { localStorage.setItem(`floe.${key}`, value); } catch { /* private mode: forget it */ }
  },
};

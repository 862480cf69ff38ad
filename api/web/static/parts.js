// Parts of a page that the server renders again: the page is fetched, and what differs is put in place.
//
// An element with `data-part` is a part; its children with `data-key` keep their identity, so that focus, text
// selection, hovering and scrolling survive, and nothing jumps.

import { live } from './live.js';
import { showTimes } from './times.js';

const SHORTEST_INTERVAL_MS = 1_000;

/**
 * Renders the page's parts again after events, at most once a second.
 * @param {(events: import('./live.js').LiveEvent[]) => boolean} [concerns] whether a batch may change this page
 * @param {string} [address] of the page without what its own modules keep up to date
 */
export function keepFresh(concerns = () => true, address = location.href) {
  let isDue = false;
  let isBusy = false;
  const run = async () => {
    if (isBusy || !isDue) return;
    isBusy = true;
    isDue = false;
    await refresh(address);
    setTimeout(() => {
      isBusy = false;
      run();
    }, SHORTEST_INTERVAL_MS);
  };
  live.subscribe((events) => {
    if (!concerns(events)) return;
    isDue = true;
    run();
  });
}

/**
 * Fetches this page and puts its parts in place; without an answer they stay as they are.
 * @param {string} address of the page, with another query
 * @param {() => boolean} isWanted whether the answer is still wanted when it comes
 * @returns {Promise<boolean>} whether the page was fetched; a job that was deleted meanwhile is not
 */
export async function refresh(address = location.href, isWanted = () => true) {
  const fetched = await fetchPage(address);
  if (!fetched || !isWanted()) return false;
  for (const part of document.querySelectorAll('[data-part]')) {
    const newer = fetched.querySelector(`[data-part="${part.dataset.part}"]`);
    if (newer) morph(part, newer);
  }
  showTimes();
  return true;
}

/**
 * Fetches a page; null without an answer, of which the header tells: the next event comes when the API is back.
 * @param {string} address
 * @returns {Promise<Document | null>}
 */
export async function fetchPage(address) {
  try {
    const response = await fetch(address, { headers: { Accept: 'text/html' } });
    if (!response.ok || response.redirected) return null;
    return new DOMParser().parseFromString(await response.text(), 'text/html');
  } catch {
    return null;
  }
}

/**
 * Changes an element into another one, keeping those of its descendants that are equal or have equal keys.
 * @param {Element} old
 * @param {Element} newer
 */
export function morph(old, newer) {
  if (old.dataset?.static !== undefined) return; // a module's own, such as a chart
  for (const { name } of [...old.attributes]) {
    if (!newer.hasAttribute(name) && !isOfViewer(old, name)) old.removeAttribute(name);
  }
  for (const { name, value } of newer.attributes) {
    if (old.getAttribute(name) !== value && !isOfViewer(old, name)) old.setAttribute(name, value);
  }
  const keyed = new Map([...old.children].filter((child) => child.dataset.key).map((child) => [child.dataset.key, child]));
  let place = old.firstChild;
  for (const child of [...newer.childNodes]) {
    const known = child.dataset?.key ? keyed.get(child.dataset.key) : matching(place, child);
    if (!known) {
      old.insertBefore(document.importNode(child, true), place);
      continue;
    }
    if (known !== place) old.insertBefore(known, place);
    else place = place.nextSibling;
    if (known.nodeType === Node.TEXT_NODE) {
      if (known.data !== child.data) known.data = child.data;
    } else morph(known, child);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** The old node at this place if a new one can become of it. */
function matching(place, child) {
  const isAlike = place && place.nodeName === child.nodeName && !place.dataset?.key;
  return isAlike && [Node.TEXT_NODE, Node.ELEMENT_NODE].includes(place.nodeType) ? place : null;
}

/** Whether the viewer, not the server, decides an attribute. */
function isOfViewer(element, name) {
  return (name === 'open' && element.nodeName === 'DETAILS') || (element.nodeName === 'TIME' && (name === 'title' || name === 'data-exact'));
}

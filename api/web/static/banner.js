// Says in words what keeps the page from being live: the API is away, or the viewer is signed out.
// It lies over the end of the page, so that nothing jumps.

import { live } from './live.js';

const PATIENCE_MS = 2_000; // an API that restarts is back before
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });

const banner = document.createElement('div');
banner.className = 'banner';
banner.setAttribute('role', 'alert');
banner.hidden = true;
document.body.append(banner);

let timer = 0;

function showAway(since) {
  banner.textContent = `The API does not answer since ${clock.format(since)}. Jobs go on meanwhile. This page shows what was last known, `
    + 'tries again every few seconds and then catches up: nothing is lost.';
  banner.hidden = false;
}

function showSignedOut() {
  const link = document.createElement('a');
  link.href = `/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
  link.textContent = 'Sign in again';
  banner.replaceChildren('You are signed out: your key was revoked or has expired. ', link, ' to go on from here.');
  banner.hidden = false;
}

live.onState((state) => {
  if (state === 'reconnecting') {
    const since = Date.now();
    timer ||= setTimeout(() => showAway(since), PATIENCE_MS);
    return;
  }
  clearTimeout(timer);
  timer = 0;
  if (state === 'signed-out') showSignedOut();
  else banner.hidden = true;
});

// A job's page: its state, progress and actions as they change, and whether somebody deletes it meanwhile.

import { get } from './api.js';
import { live } from './live.js';
import { keepFresh } from './parts.js';

const CHECK_MS = 10_000; // of a finished job, which has no events; an unchanged one costs the API microseconds

keepFresh();

let timer = setInterval(check, CHECK_MS);
document.addEventListener('visibilitychange', check);
live.subscribe((events) => {
  if (events.some((event) => event.type === 'end')) check();
});

async function check() {
  if (document.hidden || !timer || !['off', 'ended'].includes(live.state)) return;
  try {
    await get(`/v1${location.pathname}`);
  } catch (error) {
    if (error.status !== 404) return;
    clearInterval(timer);
    timer = 0;
    document.querySelector('#deleted').hidden = false;
  }
}

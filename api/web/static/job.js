// A job's page: its state, progress and actions as they change, and whether somebody deletes it meanwhile.

import { get } from './api.js';
import { live } from './live.js';
import { keepFresh } from './parts.js';

const CHECK_MS = 10_000; // of a finished job, which has no events; an unchanged one costs the API microseconds

const jobId = location.pathname.split('/')[2];
const partial = new URL(location.href);
partial.searchParams.set('part', 'live');

// a page that follows all jobs, for the curves of several, is changed by the events of this one
keepFresh((events) => events.some(({ data }) => (data.job_id ?? jobId) === jobId), partial.href);

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

// The head of a job's page: its state, progress and actions, as they change.

import { live } from './live.js';
import { keepFresh } from './parts.js';

const jobId = location.pathname.split('/')[2];
const partial = new URL(location.href);
partial.searchParams.set('part', 'live');

// a page that follows all jobs, for the curves of several, is changed by the events of this one
keepFresh((events) => events.some(({ data }) => (data.job_id ?? jobId) === jobId), partial.href);

live.subscribe((events) => {
  const isDeleted = events.some((event) => event.type === 'end' && !event.data.state);
  const notice = document.querySelector('#deleted');
  if (isDeleted && notice) notice.hidden = false;
});

// The head of a job's page: its state, progress and actions, as they change.

import { live } from './live.js';
import { keepFresh } from './parts.js';

keepFresh();

live.subscribe((events) => {
  const isDeleted = events.some((event) => event.type === 'end' && !event.data.state);
  const notice = document.querySelector('#deleted');
  if (isDeleted && notice) notice.hidden = false;
});

// The workers and the queues, as they change. Heartbeats and drains are no events of jobs, so the page is also
// rendered again from time to time; not while it is hidden or paused.

import { live } from './live.js';
import { keepFresh, refresh } from './parts.js';

const INTERVAL_MS = 5_000;

keepFresh();
setInterval(() => document.hidden || live.state !== 'live' || refresh(), INTERVAL_MS);

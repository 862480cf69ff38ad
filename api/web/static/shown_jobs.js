// Pages about some jobs: they are rendered again when something happens to one of these.

import { keepFresh } from './parts.js';

keepFresh((events) => events.some(({ data }) => document.querySelector(`[data-key="${data.job_id}"]`)));

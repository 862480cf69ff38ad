// The overview follows all jobs.

import { keepFresh } from './parts.js';

keepFresh();

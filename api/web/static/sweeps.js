// The list of sweeps follows all jobs: which of them belong to a sweep, events do not say.

import { keepFresh } from './parts.js';

keepFresh();

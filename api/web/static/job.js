// The head of a job's page: its state, progress and actions, as they change.

import { keepFresh } from './parts.js';

keepFresh();

// The curves of one job: fetched once, and then only what is new.
//
// Epochs come with the job's events; the batches' values, which events do not have, by a request for their range.
// Within an epoch the job's stream says how many batches there are; that of all jobs does not.

import { get } from './api.js';
import { live } from './live.js';
import { Series } from './series.js';

const FIRST_POINTS = 4_000; // of a long history; more are not visible, and a zoom fetches its own range
const MAX_EPOCHS = 1_000; // of a job
const PAUSE_MS = 250; // as often as a worker writes
const RETRY_MS = 1_000;
const MAX_RETRY_MS = 10_000;
const REFUSED = [401, 403, 404]; // a repetition would not help

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Fetches the curves of jobs, and lets them grow with the page's events. */
export function follow(jobs) {
  live.subscribe((events) => {
    for (const { type, data } of events) {
      const job = jobs.find(({ id }) => id === data.job_id);
      if (type === 'progress') job?.add(data.data.epochs);
      if (type === 'steps') job?.addSteps(data);
    }
  });
  for (const job of jobs) job.load();
}

export class JobCurves {
  /** Series by resolution (`step`, `epoch`) and metric; `seriesOf` makes those that are not there yet. */
  series = { step: {}, epoch: {} };
  #last = { step: -1, epoch: -1 }; // a metric may have no value there
  #ends = new Float64Array(MAX_EPOCHS); // seconds of training until the end of each epoch
  #known = 0; // of these
  #wanted = { step: -1, epoch: -1 };
  #attempt = 0; // that trains the last steps
  #early = [];
  #isFetching = { step: false, epoch: false };
  #isLoaded = false;
  #onChange;
  #resolutions;

  /**
   * @param {{id: string, name: string, stepsPerEpoch: number, seconds: number[]}} job `seconds`: of each epoch
   * @param {() => void} onChange called after points were added
   * @param {('step' | 'epoch')[]} resolutions what is fetched
   */
  constructor({ id, name, stepsPerEpoch, seconds }, onChange, resolutions = ['step', 'epoch']) {
    Object.assign(this, { id, name, stepsPerEpoch });
    this.#resolutions = resolutions;
    this.#onChange = onChange;
    seconds.forEach((value, epoch) => this.#setSeconds(epoch, value));
  }

  /** The series of a metric, without points if the job has none of it. */
  seriesOf(resolution, name) {
    this.series[resolution][name] ??= new Series();
    return this.series[resolution][name];
  }

  /** Fetches what has been recorded so far. */
  async load() {
    await Promise.all(this.#resolutions.map((resolution) => this.#catchUp(resolution)));
    this.#isLoaded = true;
    for (const epochs of this.#early.splice(0)) this.add(epochs);
  }

  /**
   * Adds epochs of an event, and fetches their batches.
   * @param {{epoch: number, seconds: number, values: Record<string, number | null>}[]} epochs
   */
  add(epochs) {
    if (!epochs.length) return;
    if (!this.#isLoaded) {
      this.#early.push(epochs); // what is fetched meanwhile may not have them yet
      return;
    }
    for (const epoch of epochs) {
      this.#setSeconds(epoch.epoch, epoch.seconds);
      this.#wanted.epoch = Math.max(this.#wanted.epoch, epoch.epoch);
      this.#wanted.step = Math.max(this.#wanted.step, (epoch.epoch + 1) * this.stepsPerEpoch - 1);
      if (epoch.epoch !== this.last('epoch') + 1) continue;
      this.#last.epoch = epoch.epoch;
      for (const [name, value] of Object.entries(epoch.values)) {
        if (value !== null) this.seriesOf('epoch', name).push(epoch.epoch, value);
      }
    }
    for (const resolution of this.#resolutions) {
      if (this.last(resolution) < this.#wanted[resolution]) this.#catchUp(resolution);
    }
    this.#onChange();
  }

  /**
   * Fetches the batches of an epoch that goes on.
   * @param {{attempt: number, epoch: number, steps: number}} message `steps`: how many it has so far
   */
  addSteps({ attempt, epoch, steps }) {
    const first = epoch * this.stepsPerEpoch;
    if (this.#attempt && attempt !== this.#attempt) {
      // what another attempt has not completed is trained again
      for (const series of Object.values(this.series.step)) series.cut(first);
      this.#last.step = Math.min(this.#last.step, first - 1);
      this.#wanted.step = this.#last.step;
    }
    this.#attempt = attempt;
    this.#wanted.step = Math.max(this.#wanted.step, first + steps - 1);
    const isBehind = this.last('step') < this.#wanted.step;
    if (this.#isLoaded && isBehind && this.#resolutions.includes('step')) this.#catchUp('step');
  }

  /** The newest step or epoch of the curves, from 0; -1 before the first one. */
  last(resolution) {
    return this.#last[resolution];
  }

  /**
   * Fetches a range in full resolution, both ends included.
   * @returns {Promise<Record<string, Series>>} by metric
   */
  async range(resolution, from, to, signal) {
    const fetched = await this.#fetch(resolution, { from, to }, signal);
    return Object.fromEntries(fetched.map((points) => {
      const series = new Series();
      series.append(points);
      return [points.name, series];
    }));
  }

  /**
   * Where points lie on an axis; steps and epochs count from 1, as people do.
   * @param {'step' | 'epoch'} resolution of the points
   * @param {'step' | 'epoch' | 'time'} unit of the axis; time in seconds of training
   * @returns {(x: number) => number}
   */
  toAxis(resolution, unit) {
    const steps = this.stepsPerEpoch;
    if (resolution === unit) return (x) => x + 1;
    if (unit === 'step') return (epoch) => (epoch + 1) * steps;
    if (unit === 'epoch') return (step) => (step + 1) / steps;
    if (resolution === 'epoch') return (epoch) => this.#secondsAt(epoch + 1);
    return (step) => this.#secondsAt((step + 1) / steps);
  }

  /** Fetches what has been recorded after the last point; again and again while the API is away. */
  async #catchUp(resolution) {
    if (this.#isFetching[resolution]) return;
    this.#isFetching[resolution] = true;
    let retryMs = RETRY_MS;
    for (let isNew = true; isNew; isNew = this.last(resolution) < this.#wanted[resolution]) {
      const before = this.last(resolution);
      try {
        for (const points of await this.#fetch(resolution, { from: before + 1 })) {
          this.seriesOf(resolution, points.name).append(points);
          this.#last[resolution] = Math.max(this.#last[resolution], points.x.at(-1) ?? -1);
        }
        this.#onChange();
        if (this.last(resolution) === before) break;
        if (before >= 0) await wait(PAUSE_MS); // several epochs in one request
      } catch (error) {
        if (REFUSED.includes(error.status)) break;
        await wait(retryMs);
        retryMs = Math.min(2 * retryMs, MAX_RETRY_MS);
        this.#wanted[resolution] = Math.max(this.#wanted[resolution], before + 1); // try at least once more
      }
    }
    this.#isFetching[resolution] = false;
  }

  async #fetch(resolution, range, signal) {
    const query = new URLSearchParams({ resolution, max_points: FIRST_POINTS, ...range });
    const { series } = await get(`/v1/jobs/${this.id}/metrics?${query}`, { signal });
    return series;
  }

  #setSeconds(epoch, seconds) {
    if (epoch !== this.#known || epoch === MAX_EPOCHS) return;
    this.#ends[epoch] = this.#secondsAt(epoch) + seconds;
    this.#known += 1;
  }

  /** Seconds of training until a moment that is given in epochs; beyond the known ones at their mean pace. */
  #secondsAt(epochs) {
    const known = this.#known;
    const pace = known ? this.#ends[known - 1] / known : 1;
    const end = (count) => {
      if (count <= 0) return 0;
      return count <= known ? this.#ends[count - 1] : (known && this.#ends[known - 1]) + (count - known) * pace;
    };
    const whole = Math.floor(epochs);
    return end(whole) + (epochs - whole) * (end(whole + 1) - end(whole));
  }
}

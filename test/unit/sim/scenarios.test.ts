import { expect, it } from 'vitest';
import { type ScenarioSize, scenarios } from '../../../bench/sim/scenarios.js';
import { type SimOptions, type SimResult, simulate } from '../../../bench/sim/simulation.js';
import { summaryText } from '../../../bench/sim/summary.js';
import { systemClock } from '../../../core/clock.js';
import { freshSeed } from '../../../core/random.js';

/** Small, so that many seeds can be tried; `npm run sim` has the full sizes. */
const sizes: Readonly<Record<string, ScenarioSize>> = {
  calm: { workers: 3, models: 3, seconds: 3 },
  overload: { workers: 2, models: 2, seconds: 1 },
  mixed: { workers: 4, models: 3, seconds: 4 },
  faults: { workers: 4, models: 3, seconds: 15 },
  fair: { workers: 1, models: 1, seconds: 4 },
  scale: { workers: 40, models: 40, seconds: 3 },
};

const fixedSeeds = [1, 2, 3];
const freshMs = 5000;

function run(name: string, seed: number, options: SimOptions = {}): SimResult {
  const scenario = scenarios[name];
  const size = sizes[name];
  if (scenario === undefined || size === undefined) throw new Error(`${name} has no plan or no size`);
  return simulate(scenario.plan(seed, size), options);
}

/** What is shown when a run is not valid: everything that is needed to see it again. */
function mustBeValid(result: SimResult): void {
  const { scenario, seed, workers, models, durationMs } = result.plan;
  const size = `--workers ${workers.length} --models ${models.length} --seconds ${durationMs / 1000}`;
  const again = `npm run sim -- --scenario ${scenario} --seed ${seed} ${size}`;
  if (result.violation !== undefined) expect.fail(`${summaryText(result)}\nSee it again with: ${again}`);
}

it('every scenario has a size here', () => {
  expect(Object.keys(sizes)).toEqual(Object.keys(scenarios));
});

it.each(Object.keys(scenarios).flatMap((name) => fixedSeeds.map((seed) => [name, seed] as const)))(
  '%s keeps every promise with seed %i',
  (name, seed) => {
    const result = run(name, seed);
    mustBeValid(result);
    const { tally } = result;
    expect(tally.requests).toBeGreaterThan(300);
    expect(tally.answered).toBeGreaterThan(0);
    expect(tally.answered + tally.refused.reduce((sum, [, count]) => sum + count, 0)).toBe(tally.requests);
    // A fault-free fleet with room for everybody refuses nobody.
    if (name === 'calm') expect(tally.refused).toEqual([]);
    if (name === 'faults') expect(tally.retries).toBeGreaterThan(0);
    if (name === 'overload') expect(result.utilisation).toBeGreaterThan(0.5);
  },
);

it('fresh seeds keep every promise', () => {
  const endMs = systemClock.nowMs() + freshMs;
  const names = Object.keys(scenarios);
  for (let turn = 0; systemClock.nowMs() < endMs; turn++)
    mustBeValid(run(names[turn % names.length] ?? '', freshSeed()));
}, 20_000);

it.each(['mixed', 'faults'])('the same seed gives %s again, to the last byte of its trace', (name) => {
  const traced = (seed: number) => {
    const lines: string[] = [];
    const summary = summaryText(run(name, seed, { traceLine: (line) => lines.push(line) }));
    return { summary, trace: lines.join('\n') };
  };
  const first = traced(11);
  expect(traced(11)).toEqual(first);
  expect(first.trace.length).toBeGreaterThan(100_000);
  expect(traced(12).summary).not.toBe(first.summary);
});

it('a trace costs nothing of the run: without one the same things happen', () => {
  const { lastLines: kept, ...withTrace } = run('mixed', 5);
  const { lastLines: none, ...without } = run('mixed', 5, { journal: false });
  expect(JSON.stringify(without)).toBe(JSON.stringify(withTrace));
  expect(kept).toHaveLength(60);
  expect(none).toEqual([]);
});

it('a broken promise is told with its rule, its seed and what came before', () => {
  const { fair } = scenarios;
  if (fair === undefined || sizes.fair === undefined) throw new Error('fair is gone');
  // Equal shares are twice as much as this allows.
  const fairness = { callers: ['flood', 'steady-1', 'steady-2', 'steady-3'], maxRatio: 0.5 };
  const result = simulate({ ...fair.plan(9, sizes.fair), fairness });
  expect(result.violation?.rule).toBe('fairness');
  expect(result.lastLines).toHaveLength(60);
  const text = summaryText(result);
  expect(text).toMatch(/\n +\d+\.\d{3} ms {2}VIOLATION of fairness: Of callers with equal claims /);
  expect(text).toMatch(/\nINVALID: Of callers with equal claims .* got \d+ rows and .* \d+; at most 0.5 times/);
  expect(text).toMatch(/\nRule fairness, scenario fair, seed 9, at \d+\.\d{3} ms of virtual time\.\n$/);
  expect(text).not.toContain('\nVALID');
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readProfiles } from '../../../bench/sim/capacity/model-profiles.js';
import { areMet, latencyAt, type Outcome, parseObjectives } from '../../../bench/sim/capacity/objectives.js';
import { type CapacityQuestion, planCapacity, recoveredAfterMs } from '../../../bench/sim/capacity/planner.js';
import { parseTrace, poissonTraffic } from '../../../bench/sim/capacity/traffic.js';
import { planText } from '../../../ops/commands/plan.js';

const folder = mkdtempSync(join(tmpdir(), 'shoal-plan-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const outcome = (latencyMs: number, isInTime = Number.isFinite(latencyMs), sentMs = 0): Outcome => ({
  sentMs,
  latencyMs,
  isInTime,
});

describe('objectives', () => {
  it('are read as people write them', () => {
    expect(parseObjectives(['p99<100ms, goodput≥99.9%', 'p50 <= 0.2s'])).toEqual([
      { kind: 'latency', share: 0.99, limitMs: 100, text: 'p99 ≤ 100 ms' },
      { kind: 'goodput', share: 0.999, text: 'goodput ≥ 99.9 %' },
      { kind: 'latency', share: 0.5, limitMs: 200, text: 'p50 ≤ 200 ms' },
    ]);
  });

  it.each(['p99', 'p99<100', 'p0<1ms', 'goodput>=101%', 'goodput<5%', '', 'p99>100ms'])('refuses "%s"', (text) => {
    expect(() => parseObjectives([text])).toThrow('--slo wants objectives such as');
  });

  it('count a refused request as later than any limit', () => {
    const ninetyNine = Array.from({ length: 99 }, (_, index) => outcome(index + 1));
    expect(latencyAt([...ninetyNine, outcome(Number.POSITIVE_INFINITY)], 0.99)).toBe(99);
    expect(latencyAt([...ninetyNine.slice(1), ...Array(2).fill(outcome(Number.POSITIVE_INFINITY))], 0.99)).toBe(
      Number.POSITIVE_INFINITY,
    );
    const late = [outcome(5), outcome(500, false)];
    expect(areMet(parseObjectives(['p50<5ms', 'goodput>=50%']), late)).toBe(true);
    expect(areMet(parseObjectives(['goodput>=51%']), late)).toBe(false);
    expect(areMet(parseObjectives(['p51<400ms']), late)).toBe(false);
  });
});

describe('profiles', () => {
  it('are formulas or files', () => {
    const file = join(folder, 'profiles.json');
    writeFileSync(
      file,
      JSON.stringify([
        {
          model: 'b',
          max: 8,
          points: [
            { rows: 8, ms: 16 },
            { rows: 1, ms: 9 },
          ],
        },
        { model: 'c', max: 4, points: [{ rows: 4, ms: 2 }] },
      ]),
    );
    const models = readProfiles(['a=9 + 0.4*rows, max=32', file, 'd=3', 'e=2*rows']);
    expect(
      [...models.values()].map(({ index, spec, profile }) => [index, spec.model, spec.maxBatchSize, profile.msOf(5)]),
    ).toEqual([
      [0, 'a', 32, 11],
      [1, 'b', 8, 13],
      [2, 'c', 4, 2.5],
      [3, 'd', 64, 3],
      [4, 'e', 64, 10],
    ]);
  });

  it.each(['a=', 'a=rows', '=9', 'a=9-1*rows', 'a=9,max=0', 'a=0', 'a=9,least=3', 'a=9+'])('refuses "%s"', (text) => {
    expect(() => readProfiles([text])).toThrow(`and got "${text}"`);
  });

  it('refuses files that are none, and one model twice', () => {
    const file = join(folder, 'wrong.json');
    writeFileSync(file, '{"model": "a", "max": 8, "points": []}');
    expect(() => readProfiles([file])).toThrow('cannot be used: it wants {"model"');
    writeFileSync(file, '{"model": ');
    expect(() => readProfiles([file])).toThrow('cannot be used: it is not JSON');
    writeFileSync(file, '{"model": "a", "max": 8, "points": [{"rows": 1, "ms": 2}, {"rows": 1, "ms": 3}]}');
    expect(() => readProfiles([file])).toThrow('a has two points for the same rows');
    expect(() => readProfiles([join(folder, 'none.json')])).toThrow('none.json of --profile does not exist.');
    expect(() => readProfiles(['a=1', 'a=2'])).toThrow('--profile is given twice for model "a".');
  });
});

describe('traces', () => {
  const models = readProfiles(['a=9+0.4*rows']);
  const parse = (text: string) => parseTrace(text, 't.jsonl', models, 250);

  it('are lines of JSON, in any order', () => {
    const { requests, durationMs } = parse(
      '{"atMs": 20, "model": "a", "rows": 3, "deadlineMs": 50}\n\n{"atMs": 1.5, "model": "a"}\r\n',
    );
    expect(requests.map(({ atMs, rows, allowedMs }) => [atMs, rows, allowedMs])).toEqual([
      [1.5, 1, 250],
      [20, 3, 50],
    ]);
    expect(durationMs).toBe(20);
  });

  it.each([
    ['{"atMs": 1', /^Line 2 of t\.jsonl is not JSON: /],
    ['[]', /^Line 2 of t\.jsonl is not a request: the whole: /],
    ['{"atMs": -1, "model": "a"}', /^Line 2 of t\.jsonl is not a request: atMs: /],
    ['{"atMs": 1, "model": "a", "rows": 1.5}', /^Line 2 of t\.jsonl is not a request: rows: /],
    ['{"atMs": 1, "model": "a", "deadline": 5}', /^Line 2 of t\.jsonl is not a request: .*"deadline"/],
    ['{"atMs": 1, "model": "b"}', /^Line 2 of t\.jsonl asks for model "b", and there is no --profile of it\.$/],
  ])('with %s in line 2 are refused', (line, said) => {
    const failure = (): unknown => {
      try {
        return parse(`{"atMs": 0, "model": "a"}\n${line}`);
      } catch (thrown) {
        return thrown;
      }
    };
    expect(failure()).toMatchObject({ code: 'BAD_TRACE', message: expect.stringMatching(said) });
  });

  it('must hold something', () => {
    expect(() => parse('\n')).toThrow('The trace t.jsonl holds no request.');
  });
});

describe('recovery after a death', () => {
  const objectives = parseObjectives(['p90<10ms']);
  const sent = (bad: (sentMs: number) => boolean): Outcome[] =>
    Array.from({ length: 2000 }, (_, index) => outcome(bad(1000 + index) ? 50 : 5, true, 1000 + index));

  it('is the end of the last window in which the objectives did not hold', () => {
    const recovered = (bad: (sentMs: number) => boolean) => recoveredAfterMs(objectives, sent(bad), 1000, 3000);
    expect(recovered(() => false)).toBe(0);
    expect(recovered((ms) => ms < 1500)).toBe(600);
    expect(recovered((ms) => ms < 1100 || (ms >= 2000 && ms < 2100))).toBe(1200);
    expect(recovered((ms) => ms > 2900)).toBeNull();
  });
});

describe('a plan', () => {
  const question = (profile: string, slo: string, ratePerS: number, mostWorkers = 50): CapacityQuestion => {
    const models = readProfiles([profile]);
    const load = { ratePerS, rows: 1, allowedMs: 200, durationMs: 3000 };
    return {
      ...{ models: [...models.values()], traffic: poissonTraffic(load, [...models.values()], 1), seed: 1, mostWorkers },
      ...{ objectives: parseObjectives([slo]), pipelineDepth: 1, linkMs: 0.2, maxQueueRows: 4096 },
    };
  };

  it('finds the least number of workers: with one less the objectives are missed', () => {
    // One at a time, 10 ms each: 350 a second are the work of three and a half.
    const answer = planCapacity(question('a=10,max=1', 'p99<60ms', 350));
    expect(answer.workers).toBeGreaterThanOrEqual(4);
    expect(answer.workers).toBeLessThanOrEqual(6);
    const meets = new Map(answer.attempts.map((attempt) => [attempt.workers, attempt.meets]));
    const least = answer.workers ?? 0;
    expect(meets.get(least)).toBe(true);
    expect(meets.get(least - 1)).toBe(false);
    const [death, deathOfOneMore] = answer.deaths;
    expect(death?.workers).toBe(least);
    expect(deathOfOneMore?.workers).toBe(least + 1);
    expect(death?.inTime).toBeLessThan(1);
    expect(deathOfOneMore?.inTime).toBeGreaterThan(death?.inTime ?? 1);
    expect(planText(answer)).toContain(`\n${least} workers meet it. When one dies at half time`);
    expect(planCapacity(question('a=10,max=1', 'p99<60ms', 350))).toEqual(answer);
  });

  it('says so when no number of workers will do', () => {
    const tooSlow = planCapacity(question('a=80,max=1', 'p50<50ms', 20));
    expect(tooSlow.workers).toBeNull();
    expect(tooSlow.deaths).toEqual([]);
    expect(planText(tooSlow)).toContain('No number of workers that was tried meets it.');
    expect(planCapacity(question('a=10,max=1', 'p99<60ms', 350, 2)).attempts.map(({ workers }) => workers)).toEqual([
      2,
    ]);
  });

  it('needs no more than one where one is idle, and tells what its death means', () => {
    const answer = planCapacity(question('a=10,max=8', 'p99<100ms', 20));
    expect(answer.workers).toBe(1);
    expect(answer.deaths[0]).toMatchObject({ workers: 1, p99Ms: null, recoveredAfterMs: null, meets: false });
  });
});

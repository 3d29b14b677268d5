import { expect, it } from 'vitest';
import { VirtualClock } from '../../../core/clock.js';
import { LearnedProfiles, type ProfilesByClass } from '../../../worker/learned-profiles.js';

function setUp() {
  const clock = new VirtualClock();
  const saved: ProfilesByClass[] = [];
  let moves = 0;
  const profiles: LearnedProfiles = new LearnedProfiles({
    clock,
    timers: clock,
    // As the host does: telling others what moved.
    moved: () => {
      moves++;
      profiles.told();
    },
    save: async (points) => void saved.push(points),
  });
  const run = (ms: number, count = 9) => {
    for (let i = 0; i < count; i++) profiles.observe('cpu', 8, ms);
  };
  return { clock, profiles, saved, run, moves: () => moves };
}

it('tells again only what has moved by a quarter, and no more than once in ten seconds', () => {
  const { clock, profiles, run, moves } = setUp();
  profiles.seed('cpu', [{ rows: 8, ms: 10 }]);
  profiles.told();
  run(11);
  clock.advance(30_000);
  expect(moves()).toBe(0);
  run(20);
  clock.advance(9_000);
  expect(moves()).toBe(0);
  clock.advance(1_000);
  expect(moves()).toBe(1);
  run(21);
  clock.advance(60_000);
  expect(moves()).toBe(1);
  run(10);
  clock.advance(10_000);
  expect(moves()).toBe(2);
});

it('tells what was observed where nothing was known, each device class for itself', () => {
  const { clock, profiles, run, moves } = setUp();
  run(4);
  profiles.observe('cuda', 2, 1);
  clock.advance(10_000);
  expect(moves()).toBe(1);
  expect(profiles.points).toEqual({ cpu: [{ rows: 8, ms: 4 }], cuda: [{ rows: 2, ms: 1 }] });
});

it('saves about every minute while there is something new, and last of all at the end', async () => {
  const { clock, profiles, run, saved } = setUp();
  const minute = async () => {
    clock.advance(70_000);
    // The save is a promise away.
    await Promise.resolve();
    await Promise.resolve();
  };
  run(4);
  await minute();
  expect(saved).toEqual([{ cpu: [{ rows: 8, ms: 4 }] }]);
  await minute();
  expect(saved).toHaveLength(1);
  run(4);
  await minute();
  expect(saved).toHaveLength(1);
  run(6);
  await minute();
  expect(saved[1]).toEqual({ cpu: [{ rows: 8, ms: 6 }] });
  await profiles.close();
  expect(saved).toHaveLength(2);
});

it('saves at the end what the last minute has shown, and then looks no more', async () => {
  const { clock, profiles, run, saved, moves } = setUp();
  run(4);
  await profiles.close();
  expect(saved).toEqual([{ cpu: [{ rows: 8, ms: 4 }] }]);
  // A batch that was still under way.
  run(9);
  clock.advance(100_000);
  expect(moves()).toBe(0);
});

it('has nothing to save where nothing was executed', async () => {
  const { profiles, saved } = setUp();
  profiles.seed('cpu', [{ rows: 8, ms: 10 }]);
  await profiles.close();
  expect(saved).toEqual([]);
});

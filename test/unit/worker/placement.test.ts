import { describe, expect, it } from 'vitest';
import { type Device, deviceText, parseDevices } from '../../../worker/executor/device.js';
import { placeInstances } from '../../../worker/placement.js';
import type { InstanceGroup, SessionSettings } from '../../../worker/repository/version-plan.js';
import { takeTurns } from '../../../worker/turns.js';
import { warmUpRowCounts } from '../../../worker/warm-up-sizes.js';
import { planFor } from '../../contract/worker/plan-for.js';

const cpu: Device = { provider: 'cpu', ordinal: 0 };
const gpu = (ordinal: number): Device => ({ provider: 'cuda', ordinal });

const place = (groups: InstanceGroup[], devices: Device[], provider?: SessionSettings['provider']) => {
  const plan = planFor('/m.onnx', { instanceGroups: groups });
  return placeInstances({ ...plan, session: { ...plan.session, provider } }, devices).map(deviceText);
};
const group = (kind: InstanceGroup['kind'], count = 1, gpus: number[] = []): InstanceGroup => ({ kind, count, gpus });

describe('instances', () => {
  it.each([
    ['nothing said: one on each device', [], [cpu, gpu(0)], ['cpu', 'cuda:0']],
    ['auto: on each device', [group('auto', 2)], [gpu(0), gpu(1)], ['cuda:0', 'cuda:0', 'cuda:1', 'cuda:1']],
    ['cpu only on the cpu', [group('cpu', 2)], [cpu, gpu(0)], ['cpu', 'cpu']],
    ['cpu, even where only GPUs were given', [group('cpu')], [gpu(0)], ['cpu']],
    ['gpu only on GPUs', [group('gpu')], [cpu, gpu(0), gpu(1)], ['cuda:0', 'cuda:1']],
    ['gpu, the ones named', [group('gpu', 1, [1])], [cpu, gpu(0), gpu(1)], ['cuda:1']],
    ['several groups', [group('gpu', 1, [0]), group('cpu')], [cpu, gpu(0)], ['cuda:0', 'cpu']],
  ])('%s', (_, groups, devices, expected) => {
    expect(place(groups, devices)).toEqual(expected);
  });

  it('that cannot be placed say what was asked and what there is', () => {
    expect(() => place([group('gpu')], [cpu])).toThrow(/asks for a GPU \(KIND_GPU\); this worker has cpu\./);
    expect(() => place([group('gpu', 1, [3])], [gpu(0)])).toThrow(/asks for GPU 3 .*; this worker has cuda:0\./);
    expect(() => place([], [cpu], 'cuda')).toThrow(/asks for the execution provider cuda; this worker has cpu\./);
    expect(place([], [gpu(0)], 'cpu')).toEqual(['cpu']);
  });
});

describe('devices', () => {
  it.each([
    [['tpu:0'], /"tpu:0" is not known/],
    [['cpu:1'], /"cpu:1" is not known/],
    [[], /No device is given/],
    [['cpu', 'cpu'], /cpu is given twice/],
    [['webgpu:1'], /always takes the machine's first GPU/],
  ])('%j is refused', (entries, words) => {
    expect(() => parseDevices(entries)).toThrow(words);
  });

  it('are read', () => {
    expect(parseDevices(['cpu', ' webgpu:0 ']).map(deviceText)).toEqual(['cpu', 'webgpu:0']);
    expect(parseDevices(['webgpu']).map(deviceText)).toEqual(['webgpu:0']);
  });
});

it.each([
  [0, [], [], []],
  [1, [], [], [1]],
  [8, [], [], [8, 4, 2, 1]],
  [12, [6, 13], [], [12, 8, 6, 4, 2, 1]],
  [64, [16], [8, 64], [64, 8]],
])(
  'warm-up sizes of a most of %d with %j preferred and %j fixed are %j',
  (most, preferredRows, fixedRows, expected) => {
    expect(warmUpRowCounts(most, { preferredRows, fixedRows })).toEqual(expected);
  },
);

it('no more work runs at a time than there are turns, in the order it came, failures included', async () => {
  const inTurn = takeTurns(2);
  let running = 0;
  let most = 0;
  const order: number[] = [];
  const results = await Promise.allSettled(
    [0, 1, 2, 3, 4].map((n) =>
      inTurn(async () => {
        order.push(n);
        most = Math.max(most, ++running);
        await Promise.resolve();
        running--;
        if (n % 2 === 1) throw new Error('odd');
        return n;
      }),
    ),
  );
  expect(order).toEqual([0, 1, 2, 3, 4]);
  expect(most).toBe(2);
  expect(results.map(({ status }) => status[0])).toEqual(['f', 'r', 'f', 'r', 'f']);
});

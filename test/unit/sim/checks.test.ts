import { describe, expect, it } from 'vitest';
import { DispatchedRowsCheck } from '../../../bench/sim/checks/dispatched-rows.js';
import { FairnessCheck } from '../../../bench/sim/checks/fairness.js';
import { OneAnswerCheck } from '../../../bench/sim/checks/one-answer.js';
import { ProgressCheck } from '../../../bench/sim/checks/progress.js';
import { QueuesCheck } from '../../../bench/sim/checks/queues.js';
import { RecoveryCheck } from '../../../bench/sim/checks/recovery.js';
import { StandingCheck } from '../../../bench/sim/checks/standing.js';
import { linearProfile } from '../../../bench/sim/profile.js';
import { answerTensor, requestTensor, type SimModel, simSpec } from '../../../bench/sim/rows.js';
import type { SimRequest } from '../../../bench/sim/sim-request.js';
import { ShoalError } from '../../../core/errors.js';
import type { InferOutcome, TimingReceipt } from '../../../core/inference.js';
import type { Batch, ToCoordinator } from '../../../core/link.js';
import type { VersionStatus } from '../../../core/model.js';

/** Each checker is fed what must not happen: one that cannot fail proves nothing. */

const model = (index: number): SimModel => ({
  index,
  spec: simSpec(`m${index}`, 4),
  profile: linearProfile(1, 1),
  noise: 0,
});

const request = (id: number, more: Partial<SimRequest> = {}): SimRequest => ({
  ...{ id, model: model(0), caller: 'c', rows: 1, width: 2, priority: 0, sentMs: 0 },
  ...{ deadlineMs: Number.POSITIVE_INFINITY, state: 'waiting', isCancelled: false, timesSent: 0, rowsOut: 0 },
  ...more,
});

/** A batch of these requests' rows, as the coordinator would lay them end to end. */
function batchOf(requests: readonly SimRequest[], more: Partial<Batch> = {}): Batch {
  const tensors = requests.map(({ id, rows, width }) => requestTensor(id, rows, width));
  const rows = requests.reduce((sum, each) => sum + each.rows, 0);
  const byteLength = tensors.reduce((sum, { data }) => sum + data.length, 0);
  const shape = [rows, requests[0]?.width ?? 2];
  const inputs = [
    { name: 'x', datatype: 'UINT32' as const, shape, parts: tensors.map(({ data }) => data), byteLength },
  ];
  return {
    ...{ batchId: 1, model: 'm0', version: '1', rows, device: '', inputs, outputs: ['y'] },
    ...{ budgetUs: Number.POSITIVE_INFINITY, traceparent: '', attempt: 1 },
    ...more,
  };
}

function answerOf(to: SimRequest, computedBy = model(0)): InferOutcome {
  const { name, datatype, shape, data } = answerTensor(batchOf([to]), computedBy);
  const outputs = [{ name, datatype, shape, parts: [data], byteLength: data.length }];
  const receipt = { batchRows: 1, worker: 'w0', attempt: 1 } as TimingReceipt;
  return { ok: true, response: { model: 'm0', version: '1', id: '', outputs, receipt } };
}

/** Collects what a checker complains of as `rule: sentence`. */
function court(): { readonly blamed: string[]; readonly blame: (rule: string, sentence: string) => void } {
  const blamed: string[] = [];
  return { blamed, blame: (rule, sentence) => blamed.push(`${rule}: ${sentence}`) };
}

describe('one answer, its own rows', () => {
  const judge = (act: (check: OneAnswerCheck) => void): string[] => {
    const { blamed, blame } = court();
    act(new OneAnswerCheck(blame, 2));
    return blamed;
  };

  it('has nothing against the right answer', () => {
    const asked = request(7, { rows: 3 });
    const blamed = judge((check) => {
      check.asked(asked);
      check.answered(asked, answerOf(asked), 0);
      check.ended();
    });
    expect(blamed).toEqual([]);
    expect(asked.state).toBe('answered');
  });

  it('sees a second answer', () => {
    const asked = request(7);
    const blamed = judge((check) => {
      check.asked(asked);
      check.answered(asked, { ok: false, error: new ShoalError('QUEUE_FULL', 'Full.') }, 0);
      check.answered(asked, answerOf(asked), 0);
    });
    expect(blamed).toEqual(['one-answer: Request 7 was answered a second time (with rows).']);
  });

  it('sees a missing answer', () => {
    const blamed = judge((check) => {
      check.asked(request(7));
      check.asked(request(8));
      check.ended();
    });
    expect(blamed).toEqual(['one-answer: Request 7 of c was never answered, nor 1 more.']);
  });

  it('sees an answer before infer has returned', () => {
    const asked = request(7, { state: 'asking' });
    const blamed = judge((check) => {
      check.asked(asked);
      check.answered(asked, answerOf(asked), 0);
    });
    expect(blamed).toEqual(['one-answer: Request 7 was answered before `infer` had returned.']);
  });

  it.each([
    ["another's rows", answerOf(request(8)), 'its row 0 is one of request 8'],
    ['too few rows', answerOf(request(7)), 'it has 1 rows instead of 2'],
    ['another model', answerOf(request(7, { rows: 2 }), model(5)), 'its row 0 was computed by model number 5'],
  ])('sees %s', (_, outcome, said) => {
    const asked = request(7, { rows: 2 });
    const blamed = judge((check) => {
      check.asked(asked);
      check.answered(asked, outcome, 0);
    });
    expect(blamed).toEqual([`one-answer: Request 7 got an answer that is not its own: ${said}.`]);
  });

  it('sees answers out of order, of a model that promises order', () => {
    const inOrder = (isPromised: boolean): string[] => {
      const spec = simSpec('m0', 4, { preserveOrdering: isPromised });
      const [first, second] = [1, 2].map((id) => request(id, { model: { ...model(0), spec } })) as [
        SimRequest,
        SimRequest,
      ];
      return judge((check) => {
        for (const each of [first, second]) check.asked(each);
        for (const each of [second, first]) check.answered(each, answerOf(each), 0);
      });
    };
    expect(inOrder(false)).toEqual([]);
    expect(inOrder(true)).toEqual(['in-order: Request 1 of m0 was answered after request 2.']);
  });

  it.each<[string, Partial<SimRequest>, string[]]>([
    ['too few tries', { timesSent: 1 }, ['tries: Request 7 failed with WORKER_LOST, and was sent only 1 times of 2.']],
    ['enough tries', { timesSent: 2 }, []],
    ['no time for another', { timesSent: 1, deadlineMs: 10 }, []],
  ])('judges a failure after %s', (_, more, said) => {
    const asked = request(7, more);
    const blamed = judge((check) => {
      check.asked(asked);
      check.answered(asked, { ok: false, error: new ShoalError('WORKER_LOST', 'Lost.') }, 10);
    });
    expect(blamed).toEqual(said);
  });

  it('sees rows in another order', () => {
    const asked = request(7, { rows: 2 });
    const right = answerOf(asked);
    const parts = right.ok ? (right.response.outputs[0]?.parts ?? []) : [];
    const bytes = parts[0] ?? new Uint8Array();
    const outputs = right.ok
      ? right.response.outputs.map((output) => ({ ...output, parts: [bytes.subarray(12), bytes.subarray(0, 12)] }))
      : [];
    const blamed = judge((check) => {
      check.asked(asked);
      if (right.ok) check.answered(asked, { ok: true, response: { ...right.response, outputs } }, 0);
    });
    expect(blamed).toEqual([
      'one-answer: Request 7 got an answer that is not its own: its row 0 is the answer to its row 1.',
    ]);
  });
});

describe('what a batch holds when it is handed over', () => {
  const worker = { workerId: 'w0' };
  const judge = (requests: readonly SimRequest[], act: (check: DispatchedRowsCheck) => void): string[] => {
    const { blamed, blame } = court();
    const known = new Map(requests.map((each) => [each.id, each]));
    act(
      new DispatchedRowsCheck(
        blame,
        (id) => known.get(id),
        () => 2,
      ),
    );
    return blamed;
  };
  const failure = (batchId: number): ToCoordinator => ({
    kind: 'failure',
    failure: { batchId, error: { code: 'EXECUTOR_CRASHED', message: '' }, retryable: true },
  });

  it('lets a good batch pass, a second try after a failure, and rows that fill it up', () => {
    const asked = [request(1, { rows: 2 }), request(2)];
    const plain = batchOf(asked);
    const [input] = plain.inputs;
    const padded = {
      ...plain,
      ...{ batchId: 2, rows: 4 },
      inputs:
        input === undefined
          ? []
          : [{ ...input, shape: [4, 2], parts: [...input.parts, new Uint8Array(8)], byteLength: 32 }],
    };
    const blamed = judge(asked, (check) => {
      check.sent(worker, plain, 5);
      check.told(worker, failure(1));
      check.sent({ workerId: 'w1' }, padded, 6);
    });
    expect(blamed).toEqual([]);
  });

  it.each<[string, SimRequest[], Partial<Batch>, RegExp]>([
    ['too many rows', [request(1, { rows: 5 })], {}, /^batch-rows: Batch 1 of m0 has 5 rows; the model takes 4\.$/],
    [
      'an expired row',
      [request(1, { deadlineMs: 5 })],
      {},
      /^expired-rows: Batch 1 to w0 has row 0 of request 1, whose deadline passed 5\.000 ms ago\.$/,
    ],
    ['a row at the very instant of its deadline', [request(1, { deadlineMs: 10 })], {}, /^expired-rows: /],
    [
      "another model's row",
      [request(1, { model: model(3) })],
      {},
      /^batch-form: Batch 1 to w0 of m0 has a row of request 1, which is for m3\.$/,
    ],
    [
      'bytes that do not fit the rows',
      [request(1)],
      { rows: 2 },
      /^batch-form: Batch 1 of m0 says 2 rows and holds 8 bytes/,
    ],
  ])('sees %s', (_, requests, more, said) => {
    const blamed = judge(requests, (check) => check.sent(worker, batchOf(requests, more), 10));
    expect(blamed).toHaveLength(1);
    expect(blamed[0]).toMatch(said);
  });

  it('sees rows of a caller who hung up', () => {
    const blamed = judge([request(1, { isCancelled: true })], (check) => check.sent(worker, batchOf([request(1)]), 0));
    expect(blamed).toEqual(['cancelled-rows: Batch 1 to w0 has row 0 of request 1, whose caller hung up.']);
  });

  it('counts how often a request is sent, not its rows', () => {
    const asked = [request(1, { rows: 2 }), request(2)];
    judge(asked, (check) => {
      check.sent(worker, batchOf(asked), 0);
      check.told(worker, failure(1));
      check.sent(worker, batchOf([asked[0] as SimRequest], { batchId: 2 }), 1);
    });
    expect(asked.map(({ timesSent }) => timesSent)).toEqual([2, 1]);
  });

  it('sees rows of two widths in one batch', () => {
    const narrow = request(1);
    const wide = request(1, { width: 4 });
    const blamed = judge([wide], (check) => check.sent(worker, batchOf([narrow]), 0));
    expect(blamed).toEqual(['mixed-shapes: Batch 1 to w0 has rows of 2 words and one of request 1, which has 4.']);
  });

  it('sees rows of a request that has its answer', () => {
    const blamed = judge([], (check) => check.sent(worker, batchOf([request(1)]), 0));
    expect(blamed).toEqual(['answered-rows: Batch 1 to w0 has a row of request 1, which waits no more.']);
  });

  it('sees rows that are with another worker already', () => {
    const asked = [request(1)];
    const blamed = judge(asked, (check) => {
      check.sent(worker, batchOf(asked), 0);
      check.sent({ workerId: 'w1' }, batchOf(asked, { batchId: 2 }), 1);
    });
    expect(blamed).toEqual(['sent-twice: Batch 2 to w1 has row 0 of request 1, whose 1 rows are all with a worker.']);
  });

  it('sees more batches than a worker has granted, and forgets them when its session ends', () => {
    const asked = [1, 2, 3, 4, 5].map((id) => request(id));
    const send = (check: DispatchedRowsCheck, id: number): void =>
      check.sent(worker, batchOf([asked[id - 1] as SimRequest], { batchId: id }), 0);
    const blamed = judge(asked, (check) => {
      for (const id of [1, 2, 3]) send(check, id);
      check.ended(worker);
      for (const id of [4, 5]) send(check, id);
    });
    expect(blamed).toEqual(['credits: w0 was sent 3 batches of m0/1; it granted 2.']);
  });
});

describe('whom batches are sent to', () => {
  const worker = { workerId: 'w0' };
  const status = (slots: number, state: VersionStatus['state'] = 'ready'): VersionStatus => ({
    ...{ model: 'm0', version: '1', state, reason: '', spec: model(0).spec, slots, instances: [], profiles: {} },
  });
  const info = { workerId: 'w0', devices: [], softwareVersion: '', pid: 0, host: '', pipelineDepth: 0 };
  const hello: ToCoordinator = { kind: 'hello', worker: info, versions: [status(1)] };
  const judge = (...told: readonly (ToCoordinator | 'ended')[]): string[] => {
    const { blamed, blame } = court();
    const check = new StandingCheck(blame);
    for (const word of told) {
      if (word === 'ended') check.ended(worker);
      else check.told(worker, word);
    }
    check.sent(worker, { kind: 'cancel', batchId: 1 });
    check.sent(worker, { kind: 'execute', batch: batchOf([request(1)]) });
    return blamed;
  };
  const said = (what: string): string[] => [`gone-workers: Batch 1 of m0 was sent to w0, ${what}.`];

  it('lets batches pass to those who serve', () => {
    expect(judge(hello)).toEqual([]);
    expect(judge(hello, { kind: 'version', status: status(0) }, { kind: 'version', status: status(1) })).toEqual([]);
  });

  it('sees what is sent to those who do not', () => {
    const none = said('which has no instance of version 1 ready');
    expect(judge()).toEqual(said('which had not said hello'));
    expect(judge(hello, { kind: 'draining' })).toEqual(said('which had said that it drains'));
    expect(judge(hello, 'ended')).toEqual(said('whose session was over'));
    expect(judge(hello, { kind: 'gone', model: 'm0', version: '1' })).toEqual(none);
    expect(judge(hello, { kind: 'version', status: status(0) })).toEqual(none);
    expect(judge(hello, { kind: 'version', status: status(1, 'draining') })).toEqual(none);
  });
});

describe('queues', () => {
  const judge = (act: (check: QueuesCheck) => void): string[] => {
    const { blamed, blame } = court();
    act(new QueuesCheck(blame, () => 100));
    return blamed;
  };
  const queue = (queuedRows: number) => [{ model: 'm0', queuedRows }];

  it('may be as long as their bound and must be empty at the end', () => {
    const blamed = judge((check) => {
      check.looked(queue(100));
      expect(check.longest).toBe(100);
      check.ended(queue(0), [{ workerId: 'w0', batchesInFlight: 0 }], 0);
      check.shutDown(0);
    });
    expect(blamed).toEqual([]);
  });

  it('must not be longer, keep anything, nor leave a timer', () => {
    expect(judge((check) => check.looked(queue(101)))).toEqual([
      'bounded-queues: 101 rows wait for m0; at most 100 may.',
    ]);
    expect(judge((check) => check.ended(queue(3), [], 0))).toEqual([
      'empty-at-the-end: 3 rows still wait for m0 after the end.',
    ]);
    expect(judge((check) => check.ended(queue(0), [{ workerId: 'w0', batchesInFlight: 2 }], 0))).toEqual([
      'empty-at-the-end: 2 batches are still booked on w0, and all requests are answered.',
    ]);
    expect(judge((check) => check.shutDown(1))).toEqual(['no-timers-left: 1 timers are still set after the shutdown.']);
  });
});

it('fairness compares what equal callers got', () => {
  const judge = (flood: number, steady: number): string[] => {
    const { blamed, blame } = court();
    const check = new FairnessCheck(blame, { callers: ['flood', 'steady'], maxRatio: 1.5 });
    check.answered('flood', flood);
    check.answered('steady', steady);
    check.answered('a stranger', 1_000_000);
    check.ended();
    return blamed;
  };
  expect(judge(15_000, 10_000)).toEqual([]);
  expect(judge(16_000, 10_000)).toEqual([
    'fairness: Of callers with equal claims flood got 16000 rows and steady 10000; at most 1.5 times as many are fair.',
  ]);
  // Of so few it may be chance.
  expect(judge(16, 10)).toEqual([]);
  expect(judge(100, 0)).toHaveLength(1);
});

it('recovery compares what is answered after the faults with what was before', () => {
  const judge = (after: number): string[] => {
    const { blamed, blame } = court();
    const check = new RecoveryCheck(blame, { before: { fromMs: 0, toMs: 1000 }, after: { fromMs: 5000, toMs: 6000 } });
    for (let i = 0; i < 1000; i++) check.answered(i);
    for (let i = 0; i < after; i++) check.answered(5000 + i);
    // What is answered while the faults last says nothing.
    for (let i = 0; i < 500; i++) check.answered(2000 + i);
    check.ended();
    return blamed;
  };
  expect(judge(1000)).toEqual([]);
  expect(judge(800)).toEqual([]);
  expect(judge(700)).toEqual([
    'recovery: Before the faults 1000 requests a second were answered, after them only 700.',
  ]);
});

it('time must move on', () => {
  const { blamed, blame } = court();
  let nowMs = 0;
  const check = new ProgressCheck(blame, { nowMs: () => nowMs }, 3);
  for (nowMs = 1; nowMs < 10; nowMs++) for (let i = 0; i < 3; i++) expect(check.happens()).toBe(true);
  nowMs = 9;
  expect(check.happens()).toBe(false);
  expect(blamed).toEqual(['time-moves-on: More than 3 things happened at 9.000 ms, and there is no end of it.']);
});

import { queueTerms } from '../../coordinator/admission/queue-terms.js';
import type { LaneRule } from '../../coordinator/scheduling/lane-rule.js';
import { Piece } from '../../coordinator/scheduling/piece.js';
import { type Dispatch, Scheduler, type SchedulerOptions } from '../../coordinator/scheduling/scheduler.js';
import { naturalBatching, openQueue, type ProfilePoint, type QueuePolicy, type Resource } from '../../core/model.js';

class Actor extends Piece {
  readonly name: string;
  readonly rows: number;
  shapeKey: string;
  readonly deadlineMs: number;
  override readonly caller: string;
  override readonly level: number;
  override readonly patienceMs: number;
  override readonly yields: boolean;
  constructor(name: string, words: Words, rule: LaneRule, nowMs: number) {
    super();
    this.name = name;
    this.rows = words.number('rows', 1);
    this.shapeKey = words.text('shape', '');
    this.deadlineMs = words.ms('deadline', Number.POSITIVE_INFINITY);
    this.caller = words.text('caller', '');
    const priority = words.number('level', 0);
    const terms = queueTerms(rule.batching, { priority }, words.ms('timeout', Number.POSITIVE_INFINITY), nowMs);
    this.level = terms.level;
    this.patienceMs = terms.patienceMs;
    this.yields = terms.yields;
  }
}

/** `name=value` and bare words of one line. */
class Words {
  readonly bare: readonly string[];
  readonly #pairs: readonly (readonly [string, string])[];
  readonly #used = new Set<string>();

  constructor(words: readonly string[]) {
    this.bare = words.filter((word) => !word.includes('='));
    this.#pairs = words
      .filter((word) => word.includes('='))
      .map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)] as const);
  }

  all(name: string): string[] {
    this.#used.add(name);
    return this.#pairs.filter(([key]) => key === name).map(([, value]) => value);
  }

  text(name: string, otherwise: string): string {
    return this.all(name)[0] ?? otherwise;
  }

  number(name: string, otherwise: number): number {
    const text = this.text(name, '');
    return text === '' ? otherwise : finite(text);
  }

  ms(name: string, otherwise: number): number {
    const text = this.text(name, '');
    return text === '' ? otherwise : milliseconds(text);
  }

  numbers(name: string): number[] {
    return this.text(name, '').split(',').filter(Boolean).map(finite);
  }

  /** A word that nobody asked for is a slip of the pen, and the play would say something else than it means. */
  mustBeUsedUp(bare: number): void {
    const unknown = this.#pairs.map(([key]) => key).filter((key) => !this.#used.has(key));
    if (unknown.length > 0) throw new Error(`nobody knows what '${unknown[0]}=' means here`);
    if (this.bare.length > bare) throw new Error(`nobody knows what '${this.bare[bare]}' means here`);
  }
}

function finite(text: string): number {
  const value = Number(text);
  if (text === '' || !Number.isFinite(value)) throw new Error(`'${text}' is no number`);
  return value;
}

function milliseconds(text: string): number {
  if (!text.endsWith('ms')) throw new Error(`'${text}' is no time; write 5ms`);
  return finite(text.slice(0, -2));
}

const amounts = (text: string): Record<string, number> =>
  Object.fromEntries(
    text
      .split(',')
      .filter(Boolean)
      .map((pair) => [pair.slice(0, pair.indexOf(':')), finite(pair.slice(pair.indexOf(':') + 1))]),
  );

/** `10ms`, `10ms:delay`, `10ms:reject` */
function policy(text: string, overridable: boolean): QueuePolicy {
  if (text === '') return openQueue;
  const [time = '', action = 'reject'] = text.split(':');
  if (action !== 'reject' && action !== 'delay') throw new Error(`'${action}' is neither reject nor delay`);
  const timeoutUs = milliseconds(time) * 1000;
  return { timeoutUs, timeoutAction: action, allowTimeoutOverride: overridable, maxRequests: 0 };
}

/** `gpu:2` on its device, `licence:1:global` in the whole cluster. */
function resource(text: string): Resource {
  const [name = '', count = '', scope] = text.split(':');
  return { name, count: finite(count), global: scope === 'global' };
}

function laneRuleOf(words: Words): LaneRule {
  const levels = words.number('levels', 0);
  const byLevel = Array.from({ length: levels }, (_, i) => [i + 1, words.text(`timeout${i + 1}`, '')] as const);
  const overridable = words.bare.includes('overridable');
  return {
    model: words.text('model', ''),
    maxRows: words.number('max', 0),
    batching: {
      ...naturalBatching,
      maxQueueDelayUs: words.ms('delay', 0) * 1000,
      preferredRows: words.numbers('preferred'),
      priorityLevels: levels,
      defaultPriorityLevel: levels,
      priorityMode: words.bare.includes('strict') ? 'strict' : 'weighted',
      queuePolicy: policy(words.text('timeout', ''), overridable),
      queuePolicyByLevel: Object.fromEntries(
        byLevel.filter(([, text]) => text !== '').map(([level, text]) => [level, policy(text, overridable)]),
      ),
      fixedRows: words.numbers('fixed'),
    },
    resources: words.all('resource').map(resource),
    deviceWeight: words.number('weight', 1),
  };
}

/**
 * Plays a scenario: reads its lines in order, drives the real scheduler with them and writes under each `decide`
 * what was decided. What stood there before is left out, so that a file whose text comes back unchanged holds.
 *
 * - `cluster concurrency=1 resources=gpu:2 weights=alice:3` (first, if at all)
 * - `lane m max=8 delay=5ms preferred=4,8 levels=2 strict timeout=10ms:delay timeout1=5ms fixed=4,8 resource=gpu:1`
 * - `worker w1 slots=1 depth=1 device=cpu of=m`: what a worker offers, now or from now on
 * - `profile cpu 1:10 8:20 of=m`: ℓ(1) = 10 ms, ℓ(8) = 20 ms
 * - `at 3ms add a rows=2 shape=x deadline=50ms caller=c level=1 of=m`: deadlines are instants of the play
 * - `at 4ms answered w1 took=12ms link=1ms`, `failed w1`: the oldest batch there; what failed waits again
 * - `at 4ms drains w1` (`of=m`: of that version only), `lost w1`, `cancel a`, `decide`
 */
export function play(script: string): string {
  const stage = new Stage();
  const told: string[] = [];
  for (const [index, line] of script.split('\n').entries()) {
    if (line.startsWith('  ')) continue;
    told.push(line);
    const words = line.replace(/#.*/, '').split(/\s+/).filter(Boolean);
    if (words.length === 0) continue;
    try {
      for (const news of stage.act(words)) told.push(`  ${news}`);
    } catch (thrown) {
      throw new Error(`line ${index + 1}, '${line}': ${thrown instanceof Error ? thrown.message : String(thrown)}`, {
        cause: thrown,
      });
    }
  }
  return told.join('\n');
}

class Stage {
  #scheduler: Scheduler<Actor> | undefined;
  #options: SchedulerOptions = { deviceConcurrency: 0, resources: {}, callerWeight: () => 1, doorMs: () => 0 };
  readonly #rules = new Map<string, LaneRule>();
  readonly #actors = new Map<string, { readonly actor: Actor; readonly lane: string }>();
  readonly #running: Dispatch<Actor>[] = [];
  #nowMs = 0;

  act(line: readonly string[]): string[] {
    let rest = line;
    if (rest[0] === 'at') {
      const atMs = milliseconds(rest[1] ?? '');
      if (atMs < this.#nowMs) throw new Error('time does not run backwards');
      this.#nowMs = atMs;
      rest = rest.slice(2);
    }
    const verb = rest[0] ?? '';
    const words = new Words(rest.slice(1));
    switch (verb) {
      case 'cluster':
        this.#cluster(words);
        break;
      case 'lane':
        this.#lane(words);
        break;
      case 'worker':
        this.#worker(words);
        break;
      case 'profile':
        this.#profile(words);
        break;
      case 'add':
        this.#add(words);
        break;
      case 'cancel':
        this.#cancel(words);
        break;
      case 'answered':
      case 'failed':
        this.#ended(words, verb);
        break;
      case 'drains':
      case 'lost':
        this.#leaves(words, verb);
        break;
      case 'decide':
        words.mustBeUsedUp(0);
        return this.#decide();
      default:
        throw new Error(`'${verb}' is not a thing that happens`);
    }
    return [];
  }

  get #play(): Scheduler<Actor> {
    this.#scheduler ??= new Scheduler<Actor>(this.#options);
    return this.#scheduler;
  }

  #cluster(words: Words): void {
    if (this.#scheduler !== undefined) throw new Error('the cluster is made before anything else');
    const weights = amounts(words.text('weights', ''));
    this.#options = {
      deviceConcurrency: words.number('concurrency', 0),
      resources: amounts(words.text('resources', '')),
      callerWeight: (caller) => weights[caller] ?? 1,
      doorMs: () => 0,
    };
    words.mustBeUsedUp(0);
  }

  #lane(words: Words): void {
    const name = words.bare[0] ?? '';
    const rule = laneRuleOf(words);
    words.mustBeUsedUp(1 + words.bare.filter((word) => word === 'strict' || word === 'overridable').length);
    this.#rules.set(name, rule);
    this.#play.setLane(name, rule);
  }

  #laneOf(words: Words): string {
    const name = words.text('of', [...this.#rules.keys()][0] ?? '');
    if (!this.#rules.has(name)) throw new Error(`there is no lane '${name}'`);
    return name;
  }

  #worker(words: Words): void {
    const device = words.text('device', 'cpu');
    const [deviceClass = device] = device.split(':');
    const offer = {
      workerId: words.bare[0] ?? '',
      device,
      deviceClass,
      slots: words.number('slots', 1),
      depth: words.number('depth', 0),
    };
    this.#play.offer(this.#laneOf(words), offer, this.#nowMs);
    words.mustBeUsedUp(1);
  }

  #profile(words: Words): void {
    const points: ProfilePoint[] = words.bare.slice(1).map((pair) => {
      const [rows = '', ms = ''] = pair.split(':');
      return { rows: finite(rows), ms: finite(ms) };
    });
    this.#play.seedProfile(this.#laneOf(words), words.bare[0] ?? '', points);
    words.mustBeUsedUp(words.bare.length);
  }

  #add(words: Words): void {
    const lane = this.#laneOf(words);
    const name = words.bare[0] ?? '';
    if (this.#actors.has(name)) throw new Error(`'${name}' has been here before`);
    const actor = new Actor(name, words, this.#rules.get(lane) as LaneRule, this.#nowMs);
    words.mustBeUsedUp(1);
    this.#actors.set(name, { actor, lane });
    this.#play.enqueue(lane, actor, this.#nowMs);
  }

  #cancel(words: Words): void {
    const known = this.#actors.get(words.bare[0] ?? '');
    if (known === undefined || !this.#play.cancel(known.lane, known.actor))
      throw new Error('nobody by that name waits');
    words.mustBeUsedUp(1);
  }

  #ended(words: Words, how: 'answered' | 'failed'): void {
    const worker = words.bare[0];
    const lane = words.text('of', '');
    const at = this.#running.findIndex(
      ({ workerId, laneKey }) => workerId === worker && (lane === '' || lane === laneKey),
    );
    const [batch] = at < 0 ? [] : this.#running.splice(at, 1);
    if (batch === undefined) throw new Error(`nothing runs on '${worker}'`);
    if (how === 'answered') {
      this.#play.answered(batch.run, words.ms('took', 1), words.ms('link', 0), this.#nowMs);
    }
    words.mustBeUsedUp(1);
    this.#play.completed(batch.run, this.#nowMs);
    if (how === 'failed') this.#again(batch);
  }

  #again({ pieces, laneKey, workerId }: Dispatch<Actor>): void {
    for (const piece of pieces) {
      piece.attempt++;
      piece.avoidWorker = workerId;
    }
    this.#play.requeue(laneKey, pieces);
  }

  #leaves(words: Words, how: 'drains' | 'lost'): void {
    const worker = words.bare[0] ?? '';
    const lanes = words.all('of');
    words.mustBeUsedUp(1);
    const lost = how === 'lost' ? this.#running.filter(({ workerId }) => workerId === worker) : [];
    for (const batch of lost) {
      this.#running.splice(this.#running.indexOf(batch), 1);
      this.#play.completed(batch.run, this.#nowMs);
      this.#again(batch);
    }
    for (const lane of lanes.length > 0 ? lanes : this.#rules.keys()) this.#play.withdraw(lane, worker);
  }

  #decide(): string[] {
    const { dispatches, expired, timedOut, hopeless, wakeAtMs } = this.#play.decide(this.#nowMs);
    this.#running.push(...dispatches);
    const names = (pieces: readonly Actor[]): string => pieces.map(({ name }) => name).join(' ');
    const several = this.#rules.size > 1;
    const told = dispatches.map(({ laneKey, workerId, device, pieces, rows, reason }) => {
      const where = device === 'cpu' ? workerId : `${workerId} ${device}`;
      return `→ ${where}: ${names(pieces)} (${several ? `${laneKey}, ` : ''}${rows} ${rows === 1 ? 'row' : 'rows'}, ${reason})`;
    });
    if (expired.length > 0) told.push(`expired ${names(expired)}`);
    if (timedOut.length > 0) told.push(`timed out ${names(timedOut)}`);
    if (hopeless.length > 0) told.push(`hopeless ${names(hopeless)}`);
    if (Number.isFinite(wakeAtMs)) told.push(`wake at ${Number(wakeAtMs.toFixed(3))}ms`);
    return told.length === 0 ? ['nothing'] : told;
  }
}

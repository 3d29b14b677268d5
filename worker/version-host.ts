import type { Logger } from 'pino';
import type { Clock, Timers } from '../core/clock.js';
import { ShoalError } from '../core/errors.js';
import type { Batch } from '../core/link.js';
import { type ModelSpec, type VersionState, type VersionStatus, versionKey } from '../core/model.js';
import type { Random } from '../core/random.js';
import { type Device, deviceText } from './executor/device.js';
import { Executor, type ExecutorOptions } from './executor/executor.js';
import type { ObservedModel, PrepareReport } from './executor/protocol.js';
import { type BatchReply, type CancelBatch, InstancePool } from './instance-pool.js';
import type { ProfileStore } from './profile-store.js';
import type { VersionPlan } from './repository/version-plan.js';
import type { RestartSettings } from './restart-policy.js';
import { VersionProfiles } from './version-profiles.js';
import { warmUpRowCounts } from './warm-up-sizes.js';

/** @throws MODEL_UNLOADABLE when plan and model disagree. */
export type ResolveSpec = (
  plan: VersionPlan,
  observed: ObservedModel,
) => { readonly spec: ModelSpec; readonly batchingInferred: boolean; readonly warnings?: readonly string[] };

/** What every version on a worker shares. */
export interface HostContext {
  readonly workerId: string;
  readonly resolve: ResolveSpec;
  readonly executor: Omit<ExecutorOptions, 'name'>;
  readonly pipelineDepth: number;
  readonly warmUpBudgetMs: number;
  readonly intraOpThreads: (instances: number) => number;
  readonly restart: RestartSettings;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly logger: Logger;
  /** Where latency profiles outlive the worker; undefined: nowhere. */
  readonly profileStore: ProfileStore | undefined;
  /** Runs a load when its turn comes: only so many at a time. */
  readonly inTurn: <T>(load: () => Promise<T>) => Promise<T>;
}

/** One version on this worker, from the first executor's start to the last one's end. */
export class VersionHost {
  readonly plan: VersionPlan;
  readonly key: string;
  readonly #devices: readonly Device[];
  readonly #context: HostContext;
  readonly #logger: Logger;
  readonly #announce: (host: VersionHost) => void;
  readonly #pool: InstancePool;
  /** Processes that load or warm up: nobody waits for them when the version is given up. */
  readonly #starting = new Set<Executor>();
  readonly #profiles: VersionProfiles;
  #state: VersionState = 'loading';
  #reason = '';
  /** Told with every state, for good: why the version is not served the way one might expect. */
  #remark = '';
  #spec: ModelSpec | undefined;

  constructor(
    plan: VersionPlan,
    devices: readonly Device[],
    context: HostContext,
    announce: (host: VersionHost) => void,
  ) {
    this.plan = plan;
    this.key = versionKey(plan.model, plan.version);
    this.#devices = devices;
    this.#context = context;
    this.#logger = context.logger.child({ model: plan.model, version: plan.version });
    this.#announce = announce;
    const { restart, clock, timers, random } = context;
    const instances = devices.map((device, index) => ({
      id: `${context.workerId}:${this.key}#${index}`,
      device: deviceText(device),
    }));
    this.#profiles = new VersionProfiles({
      plan,
      instances,
      threads: plan.session.intraOpThreads ?? context.intraOpThreads(devices.length),
      store: context.profileStore,
      clock,
      timers,
      moved: () => this.#tell(),
    });
    this.#pool = new InstancePool({
      instances,
      launch: (instance) => context.inTurn(() => this.#launch(instance)),
      restart,
      clock,
      timers,
      random,
      changed: () => this.#onPoolChange(),
      crashed: (instance, error, what) => this.#logger.error({ instance, code: error.code, what }, error.message),
    });
  }

  get status(): VersionStatus {
    const { model, version } = this.plan;
    const reason = [this.#reason || this.#pool.reason, this.#remark].filter((text) => text !== '').join(' ');
    const slots = this.#state === 'ready' ? this.#pool.slots : 0;
    const instances = this.#pool.statuses();
    const { points: profiles } = this.#profiles;
    return { model, version, state: this.#state, reason, spec: this.#spec, slots, instances, profiles };
  }

  /** Batches that one coordinator may have here at a time for this device; in all, if it is empty. */
  batchLimit(device: string): number {
    return this.#pool.instancesOn(device) * (1 + this.#context.pipelineDepth);
  }

  /** Loads and warms all instances. Never throws: a failure is the version's state. */
  async load(): Promise<void> {
    const startMs = this.#context.clock.nowMs();
    this.#profiles.identify();
    try {
      await this.#pool.start();
      const { slots } = this.#pool;
      if (this.#state === 'ready') {
        this.#logger.info({ slots, loadMs: Math.round(this.#context.clock.nowMs() - startMs) }, 'version is ready');
      }
    } catch (thrown) {
      const error = ShoalError.from(thrown);
      // Given up while it loaded: then the state says so already.
      if (this.#state !== 'loading') return;
      this.#logger.error({ code: error.code }, error.message);
      await this.#pool.close(error);
      this.#setState('unavailable', error.message);
    }
  }

  /** Takes one batch; `reply` is called exactly once, never before `submit` has returned. */
  submit(batch: Batch, reply: (reply: BatchReply) => void): CancelBatch {
    if (this.#state === 'ready') return this.#pool.submit(batch, (answer) => reply(this.#checked(batch, answer)));
    const why = this.status.reason;
    const text = `The version ${this.key} is ${this.#state}${why === '' ? '.' : `: ${why}`}`;
    queueMicrotask(() => reply(failure(batch.batchId, new ShoalError('MODEL_NOT_READY', text))));
    return () => undefined;
  }

  /** Announces the end, finishes what it has, ends the processes. Resolves when they are gone. */
  async unload(reason: string): Promise<void> {
    this.#setState('draining', reason);
    for (const executor of this.#starting) executor.kill();
    await this.#pool.idle();
    await this.end();
  }

  /** Resolves when no batch waits or runs. */
  idle(): Promise<void> {
    return this.#pool.idle();
  }

  /** Kills the processes at once; what they had is answered as draining. */
  abandon(): void {
    this.#pool.kill(new ShoalError('DRAINING', 'The worker shut down before the batch was done.'));
  }

  /** Ends the processes; what waits is answered as draining. What was learned is stored. */
  async end(): Promise<void> {
    if (this.#state !== 'draining') this.#setState('draining', 'The worker is shutting down.');
    for (const executor of this.#starting) executor.kill();
    await this.#pool.close(new ShoalError('DRAINING', `The version ${this.key} is being unloaded.`));
    await this.#profiles.close();
  }

  async #launch(index: number): Promise<Executor> {
    const device = this.#devices[index];
    if (device === undefined || this.#state === 'draining') {
      throw new ShoalError('DRAINING', `The version ${this.key} is being unloaded.`);
    }
    const executor = await Executor.start({ ...this.#context.executor, name: `${this.key} #${index}` });
    this.#starting.add(executor);
    try {
      const { modelPath, session } = this.plan;
      const intraOpThreads = this.#context.intraOpThreads(this.#devices.length);
      const observed = await executor.load({ modelPath, device, session, intraOpThreads });
      await this.#prepare(executor, observed, deviceText(device));
      return executor;
    } catch (thrown) {
      await executor.close();
      throw thrown;
    } finally {
      this.#starting.delete(executor);
    }
  }

  /** The first instance decides the spec for all of them; each warms up. */
  async #prepare(executor: Executor, observed: ObservedModel, device: string): Promise<void> {
    const { plan } = this;
    const first = this.#spec === undefined;
    const resolved = first ? this.#context.resolve(plan, observed) : undefined;
    const spec = resolved?.spec ?? this.#spec;
    if (spec === undefined) return;
    const rowCounts = warmUpRowCounts(spec.maxBatchSize, spec.batching);
    const timeRuns = await this.#profiles.wantsTrials(device);
    const report = await executor.prepare({
      rowCounts,
      samples: plan.warmup,
      budgetMs: this.#context.warmUpBudgetMs,
      probeRows: first && spec.maxBatchSize > 1,
      probeBuckets: first ? spec.buckets : undefined,
      timeRuns,
    });
    if (resolved !== undefined) {
      for (const warning of [...(resolved.warnings ?? []), ...report.warnings]) this.#logger.warn(warning);
      const judged = this.#judge(spec, resolved.batchingInferred, report);
      if (judged.buckets !== undefined) this.#judgePadding(report);
      this.#spec = Object.freeze(judged);
    }
    if (timeRuns) {
      // Sizes were tried that a model whose rows are not independent will never be given.
      const batches = (this.#spec?.maxBatchSize ?? 0) > 0;
      this.#profiles.inform(device, batches ? report.timings : report.timings.filter(({ rows }) => rows === 1));
    }
  }

  /** Padding is the model's author's word: what the probe found is said, and the version served as declared. */
  #judgePadding({ padding }: PrepareReport): void {
    if (padding === undefined || padding.verdict === 'safe') return;
    if (padding.verdict === 'unknown') {
      this.#logger.warn(`Whether padding changes answers could not be tried: ${padding.detail}.`);
      return;
    }
    this.#remark = `Padding, which 'sequence_axes' declares harmless, changes answers: ${padding.detail}.`;
    this.#logger.warn(this.#remark);
  }

  /** @throws MODEL_UNLOADABLE when a declared batch size would mix rows up. */
  #judge(spec: ModelSpec, batchingInferred: boolean, { probe }: PrepareReport): ModelSpec {
    if (spec.maxBatchSize <= 1) return spec;
    if (probe.verdict === 'independent') return spec;
    if (probe.verdict === 'unknown') {
      this.#logger.warn(`Whether rows are independent of each other could not be tried: ${probe.detail}.`);
      return spec;
    }
    if (!batchingInferred) {
      throw new ShoalError(
        'MODEL_UNLOADABLE',
        `config.pbtxt declares max_batch_size ${spec.maxBatchSize}, but rows of one batch are not independent: ${probe.detail}.`,
      );
    }
    this.#remark = `Served without batching, because rows of one batch are not independent: ${probe.detail}.`;
    this.#logger.warn(this.#remark);
    const batching = { ...spec.batching, maxQueueDelayUs: 0, preferredRows: [], fixedRows: [] };
    return { ...spec, maxBatchSize: 0, batching, buckets: undefined };
  }

  /** A batch whose outputs have not a row for each of its rows cannot be divided among its requests. */
  #checked(batch: Batch, answer: BatchReply): BatchReply {
    if (answer.kind !== 'result' || this.#spec === undefined) return answer;
    const { outputs, instance, timing } = answer.result;
    for (const { name, shape } of outputs) {
      if (this.#spec.maxBatchSize > 0 && shape[0] !== batch.rows) {
        const text = `The model's output "${name}" has shape [${shape.join(',')}] for a batch of ${batch.rows} rows.`;
        return failure(batch.batchId, new ShoalError('EXECUTION_FAILED', text));
      }
    }
    this.#profiles.observe(instance, batch.rows, timing);
    return answer;
  }

  #onPoolChange(): void {
    if (this.#pool.quarantineReason !== '' && this.#state !== 'draining') {
      this.#setState('quarantined', this.#pool.quarantineReason);
    } else if (this.#state === 'loading' && this.#pool.slots > 0) {
      this.#setState('ready', '');
    } else {
      this.#tell();
    }
  }

  #setState(state: VersionState, reason: string): void {
    this.#state = state;
    this.#reason = reason;
    this.#tell();
  }

  #tell(): void {
    this.#profiles.told();
    this.#announce(this);
  }
}

const failure = (batchId: number, { code, message, kind }: ShoalError): BatchReply => ({
  kind: 'failure',
  failure: { batchId, error: { code, message }, retryable: kind.retryable },
});

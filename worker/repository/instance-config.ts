import type { Resource } from '../../core/model.js';
import type { ConfigReader } from './config-reader.js';
import type { InstanceGroup } from './version-plan.js';

/** Most instances of one group per device. */
const maxInstanceCount = 256;
const instanceKinds = ['KIND_AUTO', 'KIND_GPU', 'KIND_CPU', 'KIND_MODEL'] as const;

export interface DeclaredInstances {
  readonly instanceGroups: readonly InstanceGroup[];
  /** No name twice. */
  readonly resources: readonly Resource[];
  /** 1 / `rate_limiter.priority`. */
  readonly deviceWeight: number;
}

/**
 * `instance_group`, its `rate_limiter` included: a version has one set of resources and one priority, each that of
 * the first group that gives any.
 */
export function readInstances(config: ConfigReader): DeclaredInstances {
  const readers = config.messages('instance_group');
  const groups = readers.map(readGroup);
  const limits = readers.flatMap((reader) => readLimit(reader) ?? []);
  const resources = limits.find((limit) => limit.resources.length > 0)?.resources ?? [];
  const priority = limits.find((limit) => limit.priority !== undefined)?.priority ?? 1;
  for (const limit of limits) {
    const differs =
      (limit.resources.length > 0 && resourcesText(limit.resources) !== resourcesText(resources)) ||
      (limit.priority !== undefined && limit.priority !== priority);
    if (!differs) continue;
    const { reader } = limit;
    reader.warn(
      reader.at('rate_limiter'),
      "'instance_group.rate_limiter' differs from that of an earlier group, which holds for all of them.",
    );
  }
  return {
    instanceGroups: groups.length === 0 ? [{ kind: 'auto', count: 1, gpus: [] }] : groups,
    resources,
    deviceWeight: 1 / priority,
  };
}

function readGroup(reader: ConfigReader): InstanceGroup {
  const kind = reader.choice('kind', instanceKinds) ?? 'KIND_AUTO';
  const gpus = reader.integers('gpus', { least: 0 });
  if (kind === 'KIND_MODEL') reader.warn(reader.at('kind'), 'KIND_MODEL is read as KIND_AUTO.');
  if (gpus.length > 0 && (kind === 'KIND_CPU' || kind === 'KIND_MODEL')) {
    throw reader.fail(reader.at('gpus'), `'instance_group.gpus' cannot be given with ${kind}.`);
  }
  return {
    kind: kind === 'KIND_CPU' ? 'cpu' : kind === 'KIND_GPU' ? 'gpu' : 'auto',
    // protobuf cannot tell an absent count from 0; Triton reads both as 1.
    count: Math.max(1, reader.integer('count', { least: 0, most: maxInstanceCount }) ?? 1),
    gpus: [...new Set(gpus)],
  };
}

interface Limit {
  readonly reader: ConfigReader;
  readonly resources: readonly Resource[];
  /** Undefined when silent. */
  readonly priority: number | undefined;
}

function readLimit(reader: ConfigReader): Limit | undefined {
  const limiter = reader.message('rate_limiter');
  if (limiter === undefined) return undefined;
  const resources: Resource[] = [];
  const names = new Set<string>();
  for (const resource of limiter.messages('resources')) {
    const name = resource.string('name') ?? '';
    const count = resource.integer('count', { least: 0 }) ?? 0;
    const global = resource.boolean('global') ?? false;
    const path = 'instance_group.rate_limiter.resources';
    if (name === '') throw resource.fail(resource.at('name'), `every '${path}' needs a name.`);
    if (names.has(name)) throw resource.fail(resource.at('name'), `'${path}' has the name '${name}' twice.`);
    names.add(name);
    if (count > 0) resources.push({ name, count, global });
    else resource.warn(resource.at('name'), `the resource '${name}' has no effect because its count is 0.`);
  }
  // protobuf cannot tell an absent priority from 0; Triton reads both as 1.
  const priority = limiter.integer('priority', { least: 0 }) ?? 0;
  return { reader, resources, priority: priority === 0 ? undefined : priority };
}

const resourcesText = (resources: readonly Resource[]): string =>
  JSON.stringify([...resources].sort((a, b) => (a.name < b.name ? -1 : 1)));

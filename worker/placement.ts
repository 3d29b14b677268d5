import { ShoalError } from '../core/errors.js';
import { cpuDevice, type Device, deviceText, isGpu } from './executor/device.js';
import type { InstanceGroup, VersionPlan } from './repository/version-plan.js';

const oneEverywhere: InstanceGroup = { kind: 'auto', count: 1, gpus: [] };

/**
 * The device of every instance of a version on a worker with these devices, in the order of its instance groups.
 * A group of kind `cpu` runs on the CPU even where the worker was given GPUs only.
 * @throws MODEL_UNLOADABLE when a group asks for a GPU the worker has not, PROVIDER_MISSING when the model insists
 * on an execution provider that none of the devices has.
 */
export function placeInstances(plan: VersionPlan, devices: readonly Device[]): Device[] {
  const usable = devicesFor(plan, devices);
  const groups = plan.instanceGroups.length === 0 ? [oneEverywhere] : plan.instanceGroups;
  return groups.flatMap((group) => {
    const chosen = groupDevices(plan, group, usable);
    return chosen.flatMap((device) => Array.from({ length: Math.max(1, group.count) }, () => device));
  });
}

function devicesFor(plan: VersionPlan, devices: readonly Device[]): readonly Device[] {
  const { provider } = plan.session;
  if (provider === undefined) return devices;
  if (provider === 'cpu') return [cpuDevice];
  const matching = devices.filter((device) => device.provider === provider);
  if (matching.length > 0) return matching;
  throw new ShoalError(
    'PROVIDER_MISSING',
    `The model ${plan.model} asks for the execution provider ${provider}; this worker has ${listText(devices)}.`,
  );
}

function groupDevices(plan: VersionPlan, group: InstanceGroup, devices: readonly Device[]): readonly Device[] {
  if (group.kind === 'auto') return devices;
  if (group.kind === 'cpu') return [cpuDevice];
  const gpus = devices.filter(
    (device) => isGpu(device) && (group.gpus.length === 0 || group.gpus.includes(device.ordinal)),
  );
  if (gpus.length > 0) return gpus;
  const which = group.gpus.length === 0 ? 'a GPU' : `GPU ${group.gpus.join(' or ')}`;
  throw new ShoalError(
    'MODEL_UNLOADABLE',
    `An instance_group of the model ${plan.model} asks for ${which} (KIND_GPU); this worker has ${listText(devices)}.`,
  );
}

const listText = (devices: readonly Device[]): string => devices.map(deviceText).join(', ');

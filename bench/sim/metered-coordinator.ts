import type { CoordinatorOptions } from '../../coordinator/coordinator.js';
import type { LinkEvents, LinkSession, WorkerEndpoint } from '../../core/link.js';
import type { CoordinatorMeter } from './meter.js';

type Shell = Pick<CoordinatorOptions, 'timers' | 'defer'>;

/** The ways into the coordinator that lead through its timers and what it deferred, with a meter at each door. */
export const meteredShell = ({ timers, defer }: Shell, meter: CoordinatorMeter): Shell => ({
  timers: { after: (delayMs, fire) => meter.outside(() => timers.after(delayMs, () => meter.inside(fire))) },
  defer: (run) => defer(() => meter.inside(run)),
});

/** A link with a meter at the coordinator's end. */
export const meteredEndpoint = (endpoint: WorkerEndpoint, meter: CoordinatorMeter): WorkerEndpoint => ({
  open(events: LinkEvents): LinkSession {
    const session = meter.outside(() =>
      endpoint.open({
        message: (message) => meter.inside(() => events.message(message)),
        closed: (reason) => meter.inside(() => events.closed(reason)),
      }),
    );
    return {
      send: (message) => meter.outside(() => session.send(message)),
      close: () => meter.outside(() => session.close()),
    };
  },
});

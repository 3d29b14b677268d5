// A process of its own, from the compiled product: writes one model's profiles again and again until it is killed.
import { pino } from 'pino';
import { ProfileStore } from '../../../dist/worker/profile-store.js';

const [folder, sha256, deviceClass] = process.argv.slice(2);
const store = new ProfileStore({ folder, workerId: deviceClass, logger: pino({ level: 'silent' }) });
for (let round = 1; ; round++) {
  const points = Array.from({ length: 60 }, (_, i) => ({ rows: i + 1, ms: round }));
  await store.write({ sha256, model: 'm', version: '1' }, [{ deviceClass, threads: 1, points }]);
  process.stdout.write('.');
}

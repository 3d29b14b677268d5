import { join } from 'node:path';
import { type ServerUnderTest, startServer } from '../server-under-test.js';
import type { BarContext } from './bar.js';

export const modelFileOf = (context: BarContext, model: string): string =>
  join(context.folder, 'models', model, '1', 'model.onnx');

/** Every repetition has a `shoal up` of its own, that serves one model on the server's cores. */
export async function eachRepetition(
  context: BarContext,
  bar: string,
  model: string,
  measure: (server: ServerUnderTest) => Promise<void>,
): Promise<void> {
  for (let repetition = 1; repetition <= context.repetitions; repetition++) {
    context.say(`${bar}, repetition ${repetition} of ${context.repetitions}`);
    const server = await startServer({
      repository: join(context.folder, 'models'),
      models: [model],
      cpus: context.serverCpus,
      dataFolder: join(context.folder, `data-${bar}-${repetition}`),
      flags: context.serverFlags,
    });
    try {
      await measure(server);
    } finally {
      await server.stop();
    }
  }
}

import { ExitCode, outcomeOf } from './failure.js';
import { buildProgram, type Services } from './program.js';

/** Commands that stay until told to stop; they handle signals themselves. */
const ownSignals = new Set(['up', 'coordinator', 'worker', 'bench']);

/** Commands after whose end nothing may keep the process. */
const serving = new Set(['up', 'coordinator', 'worker']);

/** The services are loaded only where they run: they double the time that other commands take to start. */
async function composition(): Promise<typeof import('./composition.js')> {
  const { logVerbosity, setLogVerbosity } = await import('@grpc/grpc-js');
  // grpc-js writes to stderr by itself what we say in our own words; GRPC_VERBOSITY still asks for it.
  if (process.env.GRPC_VERBOSITY === undefined) setLogVerbosity(logVerbosity.NONE);
  return import('./composition.js');
}

const services: Services = {
  startCluster: async (settings) => (await composition()).startCluster(settings),
  startCoordinatorAlone: async (settings) => (await composition()).startCoordinatorAlone(settings),
  startWorkerAlone: async (settings) => (await composition()).startWorkerAlone(settings),
};

// A reader that has seen enough (`shoal models | head -1`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(ExitCode.OK);
  throw error;
});

if (!ownSignals.has(process.argv[2] ?? '')) process.once('SIGINT', () => process.exit(ExitCode.INTERRUPTED));

try {
  await buildProgram(services).parseAsync();
} catch (thrown) {
  const { exitCode, text } = outcomeOf(thrown, process.env.SHOAL_DEBUG === '1');
  if (text !== undefined) process.stderr.write(`${text}\n`);
  process.exitCode = exitCode;
}

// A caller that never reads its answers keeps its socket, and the socket the process, however thoroughly it has drained.
if (serving.has(process.argv[2] ?? '')) process.exit();

import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js';
import { startCluster, startCoordinatorAlone, startWorkerAlone } from './composition.js';
import { ExitCode, outcomeOf } from './failure.js';
import { buildProgram } from './program.js';

/** Commands that stay until told to stop; they handle signals themselves. */
const services = new Set(['up', 'coordinator', 'worker', 'bench']);

// grpc-js writes to stderr by itself what we say in our own words; GRPC_VERBOSITY still asks for it.
if (process.env.GRPC_VERBOSITY === undefined) setLogVerbosity(logVerbosity.NONE);

// A reader that has seen enough (`shoal models | head -1`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(ExitCode.OK);
  throw error;
});

if (!services.has(process.argv[2] ?? '')) process.once('SIGINT', () => process.exit(ExitCode.INTERRUPTED));

try {
  await buildProgram({ startCluster, startCoordinatorAlone, startWorkerAlone }).parseAsync();
} catch (thrown) {
  const { exitCode, text } = outcomeOf(thrown, process.env.SHOAL_DEBUG === '1');
  if (text !== undefined) process.stderr.write(`${text}\n`);
  process.exitCode = exitCode;
}

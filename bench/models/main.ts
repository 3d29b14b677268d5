import { ShoalError } from '../../core/errors.js';
import { type BenchModel, benchModels, generateBenchModels, type ProbeModel, probeModels } from './generate.js';

// node dist/bench/models/main.js DIR [NAME...]: writes the benchmark models as a repository.
const [dir, ...names] = process.argv.slice(2);
const known: readonly (BenchModel | ProbeModel)[] = [...benchModels, ...probeModels];
const chosen = known.filter((name) => names.includes(name));
if (dir === undefined || chosen.length < new Set(names).size) {
  process.stderr.write(`usage: main.js DIR [${known.join('|')}...]\n`);
  process.exitCode = 2;
} else {
  try {
    await generateBenchModels(dir, names.length === 0 ? benchModels : chosen);
  } catch (thrown) {
    process.stderr.write(`${ShoalError.from(thrown).message}\n`);
    process.exitCode = 1;
  }
}

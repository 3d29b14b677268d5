import { defineConfig } from 'vitest/config';

// Three projects: `unit` is pure and quick; `service` starts real processes and ONNX Runtime;
// `faults` kills and starves them, one file at a time so that they do not disturb one another.
export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', sequence: { groupOrder: 0 }, include: ['test/unit/**/*.test.ts'], testTimeout: 10_000 } },
      {
        test: {
          name: 'service',
          sequence: { groupOrder: 1 },
          include: ['test/{contract,cluster,conformance}/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
          pool: 'forks',
        },
      },
      {
        test: {
          name: 'faults',
          sequence: { groupOrder: 2 },
          include: ['test/faults/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 60_000,
          fileParallelism: false,
          pool: 'forks',
        },
      },
    ],
  },
});

// The arrows of the house: core ← loadbalancer, platform ← coordinator, worker ← composition roots.
const rooms = '^(core|platform|coordinator|worker|loadbalancer|ops|bench|test)/';
const only = (name, from, allowed, comment) => ({
  name,
  comment,
  severity: 'error',
  from: { path: from },
  to: { path: rooms, pathNot: `^(${allowed.join('|')})/` },
});
module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    // Two test programs run compiled code, which a fresh clone does not have yet.
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true, pathNot: '(^|/)dist/' } },
    only('core-is-alone', '^core/', ['core'], 'core is the shared kernel; it knows nothing else'),
    { name: 'core-is-pure', severity: 'error', from: { path: '^core/' }, to: { dependencyTypes: ['core', 'npm'] } },
    only('loadbalancer-on-core', '^loadbalancer/', ['core', 'loadbalancer'], 'policies are pure'),
    only('platform-on-core', '^platform/', ['core', 'platform'], 'adapters implement ports of core'),
    only(
      'coordinator-arrows',
      '^coordinator/',
      ['core', 'platform', 'loadbalancer', 'coordinator'],
      'a coordinator never imports a worker',
    ),
    only('worker-arrows', '^worker/', ['core', 'platform', 'worker'], 'a worker never imports a coordinator'),
    {
      name: 'onnxruntime-only-in-executor',
      severity: 'error',
      from: { pathNot: '^(worker/executor|bench|test)/' },
      to: { path: 'onnxruntime' },
    },
    only(
      'bench-is-a-stranger',
      '^bench/(?!sim/)',
      ['core', 'platform', 'bench'],
      'the harness drives any server from outside',
    ),
    {
      name: 'harness-without-simulator',
      comment: 'through it the harness would know the coordinator after all',
      severity: 'error',
      from: { path: '^bench/(?!sim/)' },
      to: { path: '^bench/sim/' },
    },
    only(
      'simulator-arrows',
      '^bench/sim/',
      ['core', 'platform', 'loadbalancer', 'coordinator', 'bench'],
      'the simulator runs the real coordinator over workers of its own',
    ),
    only(
      'ops-speaks-admin',
      '^ops/(?!composition\\.ts)',
      ['core', 'platform', 'bench', 'ops'],
      'only the composition root may import the services',
    ),
    { name: 'products-do-not-import-tests', severity: 'error', from: { pathNot: '^test/' }, to: { path: '^test/' } },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};

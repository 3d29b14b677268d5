import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { naturalBatching } from '../../../core/model.js';
import { scanRepository } from '../../../worker/repository/scan.js';

let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'shoal-scan-'));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

/** Writes files below the repository: path → content. */
async function put(files: Record<string, string>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
}

const scanned = async (dir = root) => {
  const { plans, problems, warnings } = await scanRepository(dir);
  return {
    plans: plans.map((plan) => `${plan.model}/${plan.version}`),
    problems: problems.map(({ model, version, error }) => `${model}/${version} ${error.code}: ${error.message}`),
    warnings,
  };
};

describe('what serves', () => {
  test('the newest version of each model, without any configuration', async () => {
    await put({ 'b/1/model.onnx': 'x', 'b/9/model.onnx': 'x', 'b/10/model.onnx': 'x', 'a/3/model.onnx': 'x' });
    expect(await scanned()).toEqual({ plans: ['a/3', 'b/10'], problems: [], warnings: [] });
    const plan = (await scanRepository(root)).plans[0];
    expect(plan).toEqual({
      model: 'a',
      version: '3',
      modelPath: join(root, 'a/3/model.onnx'),
      platform: 'onnxruntime_onnx',
      maxBatchSize: undefined,
      inputs: [],
      outputs: [],
      batching: naturalBatching,
      buckets: undefined,
      instanceGroups: [{ kind: 'auto', count: 1, gpus: [] }],
      resources: [],
      deviceWeight: 1,
      session: {
        intraOpThreads: undefined,
        interOpThreads: undefined,
        graphOptimization: undefined,
        provider: undefined,
      },
      labels: {},
      warmup: [],
    });
  });

  test.each([
    ['latest { num_versions: 2 }', ['m/2', 'm/10']],
    ['latest { num_versions: 9 }', ['m/1', 'm/2', 'm/10']],
    ['all { }', ['m/1', 'm/2', 'm/10']],
    ['specific { versions: [ 10, 1 ] }', ['m/1', 'm/10']],
  ])('version_policy { %s }, oldest first', async (policy, expected) => {
    await put({
      'm/config.pbtxt': `version_policy { ${policy} }`,
      'm/1/model.onnx': 'x',
      'm/2/model.onnx': 'x',
      'm/10/model.onnx': 'x',
    });
    expect(await scanned()).toEqual({ plans: expected, problems: [], warnings: [] });
  });

  test('hidden entries, plain files and folders that are no version are passed over', async () => {
    await put({
      'README.md': 'x',
      '.git/1/model.onnx': 'x',
      'm/1/model.onnx': 'x',
      'm/.2/model.onnx': 'x',
      'm/0/model.onnx': 'x',
      'm/03/model.onnx': 'x',
      'm/4a/model.onnx': 'x',
      'm/backup/model.onnx': 'x',
      'm/5': 'a file, not a folder',
    });
    expect(await scanned()).toEqual({ plans: ['m/1'], problems: [], warnings: [] });
  });

  test('symbolic links are followed, and the repository may be given relative to here', async () => {
    await put({ 'away/w/1/model.onnx': 'x', 'repository/keep/1/model.onnx': 'x' });
    await symlink(join(root, 'away/w'), join(root, 'repository/linked'));
    await symlink(join(root, 'repository'), join(root, 'link'));
    expect((await scanned(join(root, 'link'))).plans).toEqual(['keep/1', 'linked/1']);
    const here = relative(process.cwd(), join(root, 'repository'));
    expect((await scanned(here)).plans).toEqual(['keep/1', 'linked/1']);
  });

  test('labels, warm-up files and the model file are found where Triton looks for them', async () => {
    await put({
      'm/config.pbtxt': `
        max_batch_size: 0
        default_model_filename: "net.onnx"
        output { name: "y" label_filename: "labels.txt" }
        model_warmup { name: "w" batch_size: 1
          inputs { key: "x" value { data_type: TYPE_FP32 dims: 1 input_data_file: "x.bin" } } }`,
      'm/labels.txt': 'cat\r\ndog\r\n\r\nüber\n',
      'm/warmup/x.bin': '\0\0\0\0',
      'm/1/net.onnx/model.onnx': 'x',
    });
    const { plans, problems } = await scanRepository(root);
    expect(problems).toEqual([]);
    expect(plans[0]?.labels).toEqual({ y: ['cat', 'dog', '', 'über'] });
    expect(plans[0]?.warmup[0]?.inputs[0]?.fill).toEqual({ file: join(root, 'm/warmup/x.bin') });
    expect(plans[0]?.modelPath).toBe(join(root, 'm/1/net.onnx/model.onnx'));
  });
});

describe('what does not, while the good model beside it does', () => {
  beforeEach(async () => put({ 'good/1/model.onnx': 'x' }));

  test.each<[string, Record<string, string>, string]>([
    [
      'no version folder',
      { 'm/notes.txt': 'x' },
      'm/ MODEL_UNLOADABLE: The model folder ROOT/m holds no version: expected a folder named 1, 2 or another number.',
    ],
    [
      'no model file',
      { 'm/1/other.onnx': 'x' },
      'm/1 MODEL_UNLOADABLE: The model file ROOT/m/1/model.onnx cannot be read: it does not exist.',
    ],
    [
      'an empty model file',
      { 'm/1/model.onnx': '' },
      'm/1 MODEL_UNLOADABLE: The model file ROOT/m/1/model.onnx is empty.',
    ],
    [
      'a broken configuration',
      { 'm/1/model.onnx': 'x', 'm/2/model.onnx': 'x', 'm/config.pbtxt': 'name: "m"\ninput {' },
      "m/2 MODEL_UNLOADABLE: m/config.pbtxt:2:8: expected '}' to close the message opened at line 2, but the file ends.",
    ],
    [
      'a folder named config.pbtxt',
      { 'm/1/model.onnx': 'x', 'm/config.pbtxt/x': '' },
      'm/1 MODEL_UNLOADABLE: ROOT/m/config.pbtxt is not a file.',
    ],
    [
      'a huge configuration',
      { 'm/1/model.onnx': 'x', 'm/config.pbtxt': ' '.repeat(1048577) },
      'm/1 MODEL_UNLOADABLE: The file ROOT/m/config.pbtxt has 1048577 bytes; at most 1048576 are read.',
    ],
    [
      'missing labels',
      { 'm/1/model.onnx': 'x', 'm/config.pbtxt': 'output { name: "y" label_filename: "l.txt" }' },
      'm/1 MODEL_UNLOADABLE: The file ROOT/m/l.txt cannot be read: it does not exist.',
    ],
    [
      'a missing warm-up file',
      {
        'm/1/model.onnx': 'x',
        'm/config.pbtxt':
          'max_batch_size: 0 model_warmup { batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: 1 input_data_file: "w" } } }',
      },
      'm/1 MODEL_UNLOADABLE: The warm-up file ROOT/m/warmup/w cannot be read: it does not exist.',
    ],
  ])('%s', async (_, files, expected) => {
    await put(files);
    expect(await scanned()).toEqual({ plans: ['good/1'], problems: [expected.replaceAll('ROOT', root)], warnings: [] });
  });

  test('one broken version leaves the others of its model', async () => {
    await put({
      'm/config.pbtxt': 'version_policy { all {} }',
      'm/1/model.onnx': 'x',
      'm/2/x': '',
      'm/3/model.onnx': 'x',
    });
    const { plans, problems } = await scanned();
    expect(plans).toEqual(['good/1', 'm/1', 'm/3']);
    expect(problems).toEqual([expect.stringContaining('m/2 MODEL_UNLOADABLE: The model file')]);
  });

  test('a version that the policy names and the folder lacks', async () => {
    await put({
      'm/config.pbtxt': 'version_policy { specific { versions: [ 1, 7 ] } }',
      'm/1/model.onnx': 'x',
      'm/2/model.onnx': 'x',
    });
    expect(await scanned()).toEqual({
      plans: ['good/1', 'm/1'],
      problems: ["m/7 MODEL_UNLOADABLE: version_policy names version 7 of model 'm', but the folder holds only 2, 1."],
      warnings: [],
    });
  });

  test('text that is not UTF-8', async () => {
    await put({ 'm/1/model.onnx': 'x' });
    await writeFile(join(root, 'm/config.pbtxt'), Buffer.of(0x6e, 0xff));
    expect((await scanned()).problems).toEqual([
      `m/1 MODEL_UNLOADABLE: The file ${root}/m/config.pbtxt cannot be read: it is not UTF-8 text.`,
    ]);
  });

  test('links that lead nowhere or in a circle', async () => {
    await put({ 'm/2/model.onnx': 'x' });
    await symlink('nowhere', join(root, 'dangling'));
    await symlink('ring', join(root, 'ring'));
    await symlink('3', join(root, 'm/3'));
    const { plans, problems } = await scanned();
    expect(plans).toEqual(['good/1']);
    expect(problems).toEqual([
      `dangling/ MODEL_UNLOADABLE: The model folder ${root}/dangling cannot be read: it does not exist.`,
      `m/3 MODEL_UNLOADABLE: The model file ${root}/m/3/model.onnx cannot be read: its symbolic links run in a circle.`,
      `ring/ MODEL_UNLOADABLE: The model folder ${root}/ring cannot be read: its symbolic links run in a circle.`,
    ]);
  });

  test('folders and files that this user may not read', async () => {
    await put({ 'closed/1/model.onnx': 'x', 'm/1/model.onnx': 'x' });
    await chmod(root, 0o755);
    await chmod(join(root, 'closed'), 0o000);
    await chmod(join(root, 'm/1/model.onnx'), 0o000);
    const { plans, problems } = await asOrdinaryUser(() => scanned());
    await chmod(join(root, 'closed'), 0o755);
    expect(plans).toEqual(['good/1']);
    expect(problems).toEqual([
      `closed/ MODEL_UNLOADABLE: The model folder ${root}/closed cannot be read: permission is denied.`,
      `m/1 MODEL_UNLOADABLE: The model file ${root}/m/1/model.onnx cannot be read: permission is denied.`,
    ]);
  });

  test('warnings carry model and line, and do not stop the model', async () => {
    await put({ 'm/1/model.onnx': 'x', 'm/config.pbtxt': '\nmetric_tags { key: "a" value: "b" }' });
    expect(await scanned()).toEqual({
      plans: ['good/1', 'm/1'],
      problems: [],
      warnings: ["m/config.pbtxt:2:1: 'metric_tags' has no effect in Shoal."],
    });
  });

  test('a version number beyond exact integers', async () => {
    await put({ 'm/1/model.onnx': 'x', 'm/99999999999999999999/model.onnx': 'x' });
    expect(await scanned()).toMatchObject({
      plans: ['good/1', 'm/1'],
      warnings: ['m: the version folder 99999999999999999999 is passed over because its number is too large.'],
    });
  });
});

describe('a repository that cannot be used at all', () => {
  test('does not exist', async () => {
    await expect(scanRepository(join(root, 'none'))).rejects.toMatchObject({
      code: 'BAD_SETTING',
      message: `The model repository ${root}/none cannot be used: it does not exist.`,
    });
  });

  test('is a file', async () => {
    await put({ file: 'x' });
    await expect(scanRepository(join(root, 'file'))).rejects.toMatchObject({
      code: 'BAD_SETTING',
      message: `The model repository ${root}/file cannot be used: it is not a folder.`,
    });
  });

  test('may not be read', async () => {
    await chmod(root, 0o000);
    const failure = await asOrdinaryUser(() => scanRepository(root).then(() => 'no failure', String));
    await chmod(root, 0o755);
    expect(failure).toBe(`ShoalError: The model repository ${root} cannot be used: permission is denied.`);
  });
});

/** Runs as an ordinary user: root may read everything, so permissions would not be put to the test. */
async function asOrdinaryUser<Result>(run: () => Promise<Result>): Promise<Result> {
  if (process.geteuid?.() !== 0) return run();
  process.seteuid?.(65534);
  try {
    return await run();
  } finally {
    process.seteuid?.(0);
  }
}

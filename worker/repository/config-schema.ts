/**
 * What Shoal makes of each field of Triton's `inference.ModelConfig`:
 * - `honoured`: read and obeyed
 * - `ignored`: known, has no effect here; a warning says so
 * - `refused`: known, and serving without it would give wrong answers
 */
export type FieldUse = 'honoured' | 'ignored' | 'refused';

export interface FieldRule {
  readonly use: FieldUse;
  readonly repeated: boolean;
  /** The fields inside, when this is a message that is read. */
  readonly message?: MessageRules;
}
export type MessageRules = Readonly<Record<string, FieldRule>>;

const one: FieldRule = { use: 'honoured', repeated: false };
const many: FieldRule = { use: 'honoured', repeated: true };
const ignored: FieldRule = { use: 'ignored', repeated: true };
const refused: FieldRule = { use: 'refused', repeated: true };
const message = (fields: MessageRules): FieldRule => ({ use: 'honoured', repeated: false, message: fields });
const messages = (fields: MessageRules): FieldRule => ({ use: 'honoured', repeated: true, message: fields });
/** A map is written as messages of one key and one value each. */
const map = (value: FieldRule): FieldRule => messages({ key: one, value });

const queuePolicy: MessageRules = {
  timeout_action: one,
  default_timeout_microseconds: one,
  allow_timeout_override: one,
  max_queue_size: one,
};
const accelerator = messages({ name: one, parameters: ignored });

/** Every field that Triton's published model_config.proto has. `docs/CONFIG-PBTXT.md` lists the same; a test compares. */
export const modelConfigRules: MessageRules = {
  name: one,
  platform: one,
  backend: one,
  runtime: ignored,
  max_batch_size: one,
  version_policy: message({
    latest: message({ num_versions: one }),
    all: message({}),
    specific: message({ versions: many }),
  }),
  input: messages({
    name: one,
    data_type: one,
    dims: many,
    optional: one,
    reshape: refused,
    format: ignored,
    is_shape_tensor: ignored,
    allow_ragged_batch: ignored,
    is_non_linear_format_io: ignored,
  }),
  output: messages({
    name: one,
    data_type: one,
    dims: many,
    label_filename: one,
    reshape: refused,
    is_shape_tensor: ignored,
    is_non_linear_format_io: ignored,
  }),
  batch_input: ignored,
  batch_output: ignored,
  optimization: message({
    graph: message({ level: one }),
    execution_accelerators: message({
      gpu_execution_accelerator: accelerator,
      cpu_execution_accelerator: accelerator,
    }),
    priority: ignored,
    cuda: ignored,
    input_pinned_memory: ignored,
    output_pinned_memory: ignored,
    gather_kernel_buffer_threshold: ignored,
    eager_batching: ignored,
  }),
  dynamic_batching: message({
    preferred_batch_size: many,
    max_queue_delay_microseconds: one,
    preserve_ordering: one,
    priority_levels: one,
    default_priority_level: one,
    default_queue_policy: message(queuePolicy),
    priority_queue_policy: map(message(queuePolicy)),
  }),
  sequence_batching: ignored,
  ensemble_scheduling: ignored,
  instance_group: messages({
    kind: one,
    count: one,
    gpus: many,
    name: ignored,
    rate_limiter: message({ resources: messages({ name: one, global: one, count: one }), priority: one }),
    secondary_devices: ignored,
    profile: ignored,
    passive: ignored,
    host_policy: ignored,
  }),
  default_model_filename: one,
  cc_model_filenames: ignored,
  metric_tags: ignored,
  parameters: map(message({ string_value: one })),
  model_warmup: messages({
    name: one,
    batch_size: one,
    count: one,
    inputs: map(message({ data_type: one, dims: many, zero_data: one, random_data: one, input_data_file: one })),
  }),
  model_operations: ignored,
  model_transaction_policy: ignored,
  model_repository_agents: ignored,
  response_cache: ignored,
  model_metrics: ignored,
};

/** Keys of `parameters` that are obeyed. From `execution_provider` on they are Shoal's own. */
export const honouredParameters = [
  'intra_op_thread_count',
  'inter_op_thread_count',
  'execution_provider',
  'priority_mode',
  'fixed_batch_sizes',
  'sequence_buckets',
  'sequence_axes',
] as const;

/** Keys of `parameters` that Triton's onnxruntime backend knows and Shoal does not obey (yet). */
export const ignoredParameters = [
  'execution_mode',
  'enable_mem_arena',
  'enable_mem_pattern',
  'memory.enable_memory_arena_shrinkage',
  'arena_extend_strategy',
  'cudnn_conv_algo_search',
  'cudnn_conv_use_max_workspace',
  'do_copy_in_default_stream',
  'gpu_mem_limit',
] as const;

/** Dotted paths of all leaf and message fields with the given use, in the table's order. */
export function fieldPaths(use: FieldUse, rules: MessageRules = modelConfigRules, prefix = ''): string[] {
  const paths: string[] = [];
  for (const [name, rule] of Object.entries(rules)) {
    if (rule.use === use && (rule.message === undefined || Object.keys(rule.message).length === 0)) {
      paths.push(prefix + name);
    }
    if (rule.message !== undefined) paths.push(...fieldPaths(use, rule.message, `${prefix}${name}.`));
  }
  return paths;
}

/** The candidate that differs from `word` by the fewest edits, when it is near enough to have been meant. */
export function closestName(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  // A third of the letters wrong is a guess too far.
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase(), bestDistance);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein distance; anything of `limit` or more is reported as `limit`. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return Math.min(limit, previous[b.length] ?? limit);
}

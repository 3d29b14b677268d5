import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { systemClock } from '../../core/clock.js';
import { isDatatype } from '../../core/datatype.js';
import { ShoalError } from '../../core/errors.js';
import { noParameters } from '../../core/inference.js';
import type { Tensor, TensorSpec } from '../../core/tensor.js';
import { AdminClient } from '../../platform/admin/client.js';
import { OipClient } from '../../platform/oip/client.js';
import { elementsText } from '../../platform/oip/json-elements.js';
import type { DecodedResponse } from '../../platform/oip/response.js';
import type { ModelMetadataResponse, TensorMetadata } from '../../platform/oip/service.js';
import { classificationText, type ReceiptText, readReceipt, tensorText, timingLine } from '../infer/answer-text.js';
import { type Classification, classify } from '../infer/classification.js';
import { type PlannedRequest, planRequests, splitArgument } from '../infer/plan-requests.js';
import { parseFactor, parseWhole } from '../option-values.js';
import { addSettingOptions, settingsOf } from '../setting-options.js';
import { labelOf, readInputFile } from '../tensor-files/read-file.js';

interface InferOptions {
  readonly input?: readonly string[];
  readonly version?: string;
  readonly top?: number;
  readonly scale?: number;
  readonly invert?: boolean;
  readonly timeout: number;
  readonly output: 'table' | 'json';
  readonly printRequest?: boolean;
}

interface Answer {
  readonly request: PlannedRequest;
  readonly response: DecodedResponse;
  readonly roundTripUs: number;
  readonly receipt: ReceiptText | undefined;
  readonly classes: readonly Classification[];
}

/** Without --top. */
const defaultTop = 5;

const notes = `
Several files for a model of one input are sent at once, each as a request of its own.
A .png becomes what the input takes: gray or colour, resized if it must be, 0–255 as 0–1 for floating point.
Datatypes are converted when no value changes; leading axes of one are added.

Examples:
  shoal infer mnist --input examples/inputs/mnist/five.png
  shoal infer magika --input examples/inputs/magika/*.npy --top 1
  shoal infer magika --version 1 --input bytes=examples/inputs/magika/pdf.npy --output json
  echo '[[1, 2, 3]]' | shoal infer my-model --input -
  shoal infer mnist --input examples/inputs/mnist/five.png --print-request | curl -s --json @- http://127.0.0.1:8000/v2/models/mnist/infer`;

export function registerInfer(program: Command): void {
  const command = program
    .command('infer')
    .summary('send files to a model and print its answer')
    .description('Sends .png, .npy, .pb (ONNX TensorProto) or .json files to a model and prints its answer.')
    .argument('<MODEL>', 'name of the model')
    .option('-i, --input <[NAME=]FILE...>', 'file for an input of the model; - is JSON from standard input')
    .option('--version <VERSION>', 'version of the model; left out, the server chooses')
    .option('--top <K>', `classes to print for each row (default: ${defaultTop})`, parseWhole('--top', 1, 100_000))
    .option('--scale <FACTOR>', 'what pixel values 0–255 are multiplied by, like 1 or 1/255', parseFactor('--scale'))
    .option('--invert', 'swap black and white of images')
    .option(
      '--timeout <MS>',
      'milliseconds until the request is given up',
      parseWhole('--timeout', 1, 86_400_000),
      30_000,
    )
    .addOption(new Option('--output <FORMAT>', 'how to print the answer').choices(['table', 'json']).default('table'))
    .option('--print-request', 'print the request as JSON for HTTP instead of sending it');
  addSettingOptions(command, 'client');
  command.addHelpText('after', notes).action(async (model: string, options: InferOptions) => {
    await infer(settingsOf(command, 'client').server, model, options);
  });
}

async function infer(server: string, model: string, options: InferOptions): Promise<void> {
  const client = new OipClient(server);
  try {
    const [labels, metadata] = await signature(client, server, model, options);
    const inputs = metadata.inputs.map(tensorSpec);
    const pieces = await Promise.all(
      (options.input ?? []).map(async (written) => {
        const argument = splitArgument(written, inputs, existsSync);
        const content = await readInputFile(argument.file);
        return { argument: { ...argument, file: labelOf(argument.file) }, content };
      }),
    );
    const image = { scale: options.scale, invert: options.invert ?? false };
    const requests = planRequests(inputs, pieces, image);
    if (options.printRequest) {
      for (const request of requests) process.stdout.write(`${requestJson(request)}\n`);
      return;
    }
    const answers = await Promise.all(requests.map((request) => ask(client, model, request, labels, options)));
    process.stdout.write(options.output === 'json' ? answersJson(answers) : answersText(answers));
  } finally {
    client.close();
  }
}

type Labels = ReadonlyMap<string, readonly string[]>;

/** What the model takes and gives, from the protocol, and its labels, from the Admin service where there is one. */
async function signature(
  client: OipClient,
  server: string,
  model: string,
  { version = '', timeout }: InferOptions,
): Promise<[Labels, ModelMetadataResponse]> {
  const admin = new AdminClient(server, { timeoutMs: timeout });
  try {
    const listed = await admin.listModels().catch((thrown: unknown) => {
      // Any server of the protocol will do; only the labels are ours.
      if (thrown instanceof ShoalError && thrown.code === 'UNSUPPORTED') return [];
      throw thrown;
    });
    const metadata = await client.modelMetadata(model, version, { timeoutMs: timeout });
    const wanted = version !== '' ? version : (metadata.versions.at(-1) ?? '');
    const found = listed.find((entry) => entry.model === model && entry.version === wanted);
    return [new Map(found?.spec?.labels.map((entry) => [entry.output, entry.labels])), metadata];
  } finally {
    admin.close();
  }
}

function tensorSpec({ name, datatype, shape }: TensorMetadata): TensorSpec {
  if (!isDatatype(datatype))
    throw new ShoalError('UNSUPPORTED', `Input ${name} has datatype ${datatype}, which is not known here.`);
  return { name, datatype, shape };
}

async function ask(
  client: OipClient,
  model: string,
  request: PlannedRequest,
  labels: Labels,
  options: InferOptions,
): Promise<Answer> {
  const startedMs = systemClock.nowMs();
  const response = await client.infer(
    {
      model,
      version: options.version ?? '',
      id: '',
      parameters: { ...noParameters, shoal_timing: true },
      inputs: request.tensors,
      outputs: [],
    },
    { timeoutMs: options.timeout },
  );
  const roundTripUs = (systemClock.nowMs() - startedMs) * 1000;
  const classes = response.outputs.flatMap((output) => {
    const found = classify(output, labels.get(output.name), options.top ?? defaultTop, options.top !== undefined);
    return found === undefined ? [] : [found];
  });
  return { request, response, roundTripUs, receipt: readReceipt(response.parameters), classes };
}

function answersText(answers: readonly Answer[]): string {
  const blocks = answers.map(({ request, response, roundTripUs, receipt, classes }) => {
    const lines = [
      `${request.label} → ${response.model}${response.version === '' ? '' : ` version ${response.version}`}`,
    ];
    if (request.notes.length > 0) lines.push(`  (${request.notes.join('; ')})`);
    lines.push('');
    for (const output of response.outputs) {
      const found = classes.find((entry) => entry.output === output.name);
      lines.push(
        ...(found === undefined ? tensorText(output) : classificationText(found))
          .split('\n')
          .map((line) => `  ${line}`.trimEnd()),
      );
    }
    return `${lines.join('\n')}\n\n  ${timingLine(roundTripUs, receipt)}\n`;
  });
  return blocks.join('\n');
}

const tensorJson = ({ name, datatype, shape, data }: Tensor): string =>
  `{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":${JSON.stringify(shape)},"data":${elementsText(datatype, data) ?? 'null'}}`;

const requestJson = (request: PlannedRequest): string => `{"inputs":[${request.tensors.map(tensorJson).join(',')}]}`;

/** One JSON object a line for each request, whole outputs included. */
function answersJson(answers: readonly Answer[]): string {
  const lines = answers.map(({ request, response, roundTripUs, receipt, classes }) => {
    const head = {
      input: request.label,
      notes: request.notes,
      model: response.model,
      version: response.version,
      classes,
      roundTripUs: Math.round(roundTripUs),
      timing: receipt ?? null,
    };
    const outputs = response.outputs.map(tensorJson).join(',');
    return `${JSON.stringify(head).slice(0, -1)},"outputs":[${outputs}]}`;
  });
  return `${lines.join('\n')}\n`;
}

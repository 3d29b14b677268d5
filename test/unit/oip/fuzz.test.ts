// Mutated, cut and spliced messages: each is either read or refused with INVALID_REQUEST, quickly.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../core/clock.js';
import { ShoalError } from '../../../core/errors.js';
import { freshSeed, type Random, seededRandom } from '../../../core/random.js';
import { decodeInferRequest, encodeInferRequest } from '../../../platform/oip/request.js';
import { allDatatypes, contentsOf, fieldsOf, rawBytes, serialise, tensorOf, typedDatatypes } from './generated.js';

const rounds = 4000;
/** Generous for a loaded machine; a decoder that is quadratic or hangs is far beyond it. */
const slowestMs = 500;

/** Real messages: raw and typed, packed and not, with parameters, one of 64 KB. */
function seedsOf(seed: number): Buffer[] {
  const sample = { seed, numRuns: 6 };
  const parameters = { timeout: { int64_param: 5 }, ünï: { string_param: 'x' }, d: { double_param: 0.5 } };
  const head = {
    model_name: 'mnist',
    model_version: '3',
    id: 'id-1',
    parameters,
    outputs: [{ name: 'y', parameters }],
  };
  const raw = fc.sample(fc.array(tensorOf(allDatatypes), { minLength: 1, maxLength: 3 }), sample).map((tensors) =>
    serialise('ModelInferRequest', {
      ...head,
      inputs: tensors.map(({ name, datatype, shape }) => ({ name, datatype, shape, parameters })),
      raw_input_contents: tensors.map(rawBytes),
    }),
  );
  const typed = fc
    .sample(fc.array(tensorOf(typedDatatypes), { minLength: 1, maxLength: 3 }), sample)
    .map((tensors, i) =>
      serialise(
        'ModelInferRequest',
        {
          ...head,
          inputs: tensors.map((tensor) => ({
            name: tensor.name,
            datatype: tensor.datatype,
            shape: tensor.shape,
            contents: contentsOf(tensor),
          })),
        },
        i % 2 === 0,
      ),
    );
  const contents = { int64_contents: Array.from({ length: 8192 }, (_, i) => i - 4096) };
  const large = serialise('ModelInferRequest', {
    ...head,
    inputs: [{ name: 'x', datatype: 'INT64', shape: [8192], contents }],
  });
  return [...raw, ...typed, large];
}

/** Bytes that mean something to a parser: lengths and varints at their edges. */
const nasty = [
  '00',
  'ff',
  '7f',
  '80',
  'ffffffff07',
  'ffffffff0f',
  'ffffffffffffffffff01',
  '8080808000',
  '2a00',
  '03',
  '04',
].map((hex) => Buffer.from(hex, 'hex'));

function mutated(messages: readonly Buffer[], random: Random): Buffer {
  const pick = <T>(list: readonly T[], otherwise: T): T => list[random.int(list.length)] ?? otherwise;
  let bytes = Buffer.from(pick(messages, Buffer.alloc(0)));
  for (let i = random.int(4); i >= 0; i--) {
    // Mostly near the start, where the structure is.
    const at = random.next() < 0.5 ? random.int(Math.min(bytes.length, 80) + 1) : random.int(bytes.length + 1);
    switch (random.int(6)) {
      case 0:
        if (at < bytes.length) bytes[at] = random.int(256);
        break;
      case 1:
        if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.int(8));
        break;
      case 2:
        bytes = bytes.subarray(0, at);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), pick(nasty, Buffer.alloc(0)), bytes.subarray(at)]);
        break;
      case 4: {
        const other = pick(messages, Buffer.alloc(0));
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(random.int(other.length + 1))]);
        break;
      }
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random.int(12))]);
    }
  }
  return bytes;
}

/** Also spliced at field boundaries, which keeps most messages readable for longer. */
function spliced(messages: readonly Buffer[], random: Random): Buffer {
  const fields = [...messages, ...messages].flatMap((message) => (message.length > 5000 ? [] : fieldsOf(message)));
  return Buffer.concat(
    Array.from({ length: 1 + random.int(8) }, () => fields[random.int(fields.length)]?.bytes ?? Buffer.alloc(0)),
  );
}

const fresh = freshSeed();

describe('mutated messages', () => {
  it.each([
    ['1', 1],
    ['2', 2],
    ['3', 3],
    [`${fresh} (fresh)`, fresh],
  ])('seed %s: read, or refused with INVALID_REQUEST', (label, seed) => {
    console.log(`oip fuzz: seed ${label}`);
    const messages = seedsOf(seed | 0);
    for (const message of messages) decodeInferRequest(message);
    const random = seededRandom(seed);
    let refused = 0;
    for (let round = 0; round < rounds; round++) {
      const bytes = random.next() < 0.2 ? spliced(messages, random) : mutated(messages, random);
      const startMs = systemClock.nowMs();
      try {
        const request = decodeInferRequest(bytes);
        // What was accepted is a whole request: it can be written again and reads the same.
        const again = decodeInferRequest(encodeInferRequest(request));
        expect(again.inputs.length).toBe(request.inputs.length);
        request.inputs.forEach((input, i) => {
          const other = again.inputs[i];
          const isSame = other?.name === input.name && Buffer.compare(other.data, input.data) === 0;
          if (!isSame) throw new Error(`input ${i} did not come back the same`);
        });
      } catch (thrown) {
        refused++;
        if (!(thrown instanceof ShoalError) || thrown.code !== 'INVALID_REQUEST') {
          throw new Error(`round ${round}, message ${bytes.toString('base64').slice(0, 2000)}`, { cause: thrown });
        }
        expect(thrown.message.length).toBeLessThan(2000);
      }
      expect(systemClock.nowMs() - startMs, `milliseconds for round ${round}`).toBeLessThan(slowestMs);
    }
    // A fuzzer whose messages are all refused, or all read, looks at one half of the code only.
    expect(refused).toBeGreaterThan(rounds / 10);
    expect(refused).toBeLessThan(rounds * 0.95);
  });

  it('cut at every byte', () => {
    for (const message of seedsOf(7).filter(({ length }) => length < 2000)) {
      for (let end = 0; end < message.length; end++) {
        try {
          decodeInferRequest(message.subarray(0, end));
        } catch (thrown) {
          expect(thrown).toMatchObject({ name: 'ShoalError', code: 'INVALID_REQUEST' });
        }
      }
    }
  });
});

describe('hostile sizes', () => {
  const bytesAllocatedBy = (call: () => void): number => {
    const before = process.memoryUsage();
    call();
    const after = process.memoryUsage();
    return after.arrayBuffers - before.arrayBuffers + Math.max(0, after.heapUsed - before.heapUsed);
  };

  it.each([
    ['string', '0affffffff07'],
    ['input', '2affffffff07'],
    ['raw contents', '3affffffff07'],
    ['raw contents of 2^63 bytes', '3affffffffffffffffff7f'],
    ['packed shape', '2a071affffffff0701'],
    ['typed contents', '2a072affffffff0701'],
    ['unknown field', 'a206ffffffff07'],
  ])('a %s that announces more than there is costs nothing', (_what, hex) => {
    const allocated = bytesAllocatedBy(() => {
      for (let i = 0; i < 100; i++) {
        expect(() => decodeInferRequest(Buffer.from(hex, 'hex'))).toThrow(/where \d+ bytes are left at byte/);
      }
    });
    expect(allocated).toBeLessThan(64 * 1024 * 1024);
  });

  it('a shape far larger than its typed contents is refused before anything is allocated for it', () => {
    const message = serialise('ModelInferRequest', {
      inputs: [{ name: 'x', datatype: 'INT64', shape: [1 << 30], contents: { int64_contents: [1] } }],
    });
    const allocated = bytesAllocatedBy(() => {
      expect(() => decodeInferRequest(message)).toThrow("Input 'x' has shape [1073741824], 1073741824 elements");
    });
    expect(allocated).toBeLessThan(64 * 1024 * 1024);
  });

  it('groups nested a million deep end at the limit, not on the stack', () => {
    const open = Buffer.alloc(2_000_000, Buffer.from('a306', 'hex'));
    expect(() => decodeInferRequest(open)).toThrow('groups nested deeper than 100');
  });
});

import { type Datatype, isDatatype } from '../../core/datatype.js';
import { ShoalError } from '../../core/errors.js';

/** A 64-bit integer as protobufjs gives it. */
export type Whole = number | { toNumber(): number };

export const whole = (value: Whole): number => (typeof value === 'number' ? value : value.toNumber());

export const malformed = (what: string): ShoalError =>
  new ShoalError('INTERNAL', `The other end of a link sent ${what}.`);

export function readDatatype(text: string): Datatype {
  if (!isDatatype(text)) throw malformed(`the unknown datatype '${text}'`);
  return text;
}

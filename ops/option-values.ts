import { ShoalError } from '../core/errors.js';

const bad = (flag: string, written: string, expected: string): ShoalError =>
  new ShoalError('BAD_SETTING', `The flag ${flag} is "${written}"; expected ${expected}.`);

/** A parser for commander: a whole number between two bounds, both allowed. @throws BAD_SETTING */
export const parseWhole =
  (flag: string, min: number, max: number) =>
  (written: string): number => {
    const value = /^\d{1,15}$/.test(written) ? Number(written) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw bad(flag, written, `a whole number from ${min} to ${max}`);
  };

/** A parser for commander: a number other than zero, or a fraction like 1/255. @throws BAD_SETTING */
export const parseFactor =
  (flag: string) =>
  (written: string): number => {
    const [, top = '', bottom = '1'] = /^(-?[\d.]+(?:e-?\d+)?)(?:\/([\d.]+))?$/i.exec(written) ?? [];
    const value = top === '' ? Number.NaN : Number(top) / Number(bottom);
    if (Number.isFinite(value) && value !== 0) return value;
    throw bad(flag, written, 'a number or a fraction, like 1 or 1/255');
  };

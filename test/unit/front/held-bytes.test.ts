import { expect, it } from 'vitest';
import { HeldBytes } from '../../../coordinator/front/held-bytes.js';

it('refuses a connection that holds too much, and no other', () => {
  const held = new HeldBytes(100);
  held.admit('a', 60);
  held.add('a', 30);
  expect(() => held.admit('a', 11)).toThrow(/has 90 bytes of requests under way .*; at most 100 may be/);
  held.admit('a', 10);
  held.admit('b', 100);
  held.release('a', 90);
  held.admit('a', 90);
  expect(held.connections).toBe(2);
  held.release('a', 100);
  held.release('b', 100);
  expect(held.connections).toBe(0);
});

it('takes one request of any size from a connection that holds nothing', () => {
  const held = new HeldBytes(100);
  held.admit('a', 1000);
  expect(() => held.admit('a', 1)).toThrow(/1000 bytes/);
});

/** Tensor datatypes of the Open Inference Protocol V2, with the element size in bytes (0: varies). */
export const elementBytes = {
  BOOL: 1,
  UINT8: 1,
  UINT16: 2,
  UINT32: 4,
  UINT64: 8,
  INT8: 1,
  INT16: 2,
  INT32: 4,
  INT64: 8,
  FP16: 2,
  BF16: 2,
  FP32: 4,
  FP64: 8,
  BYTES: 0,
} as const;

export type Datatype = keyof typeof elementBytes;

export const isDatatype = (text: string): text is Datatype => Object.hasOwn(elementBytes, text);

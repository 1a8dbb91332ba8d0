/** What TLS begins with, for the tests of names. */

/** A hello for a name, in records of these sizes and one for the rest, each of this `version`. */
export const hello = (
  name: string | undefined,
  records: readonly number[] = [],
  version: readonly [number, number] = [3, 1],
): Uint8Array<ArrayBuffer> => {
  const text = [...new TextEncoder().encode(name ?? "")];
  const two = (value: number) => [value >> 8, value & 255];
  const extension = name === undefined
    ? []
    : [0, 0, ...two(text.length + 5), ...two(text.length + 3), 0, ...two(text.length), ...text];
  const extensions = [0, 43, 0, 3, 2, 3, 4, ...extension];
  const body = [
    3,
    3,
    ...new Array<number>(32).fill(7),
    0,
    0,
    2,
    0x13,
    1,
    1,
    0,
    ...two(extensions.length),
    ...extensions,
  ];
  const message = [1, 0, ...two(body.length), ...body];
  const pieces: number[] = [];
  for (const at of [...records, message.length]) {
    const piece = message.splice(0, at);
    pieces.push(22, ...version, ...two(piece.length), ...piece);
  }
  return Uint8Array.from(pieces);
};

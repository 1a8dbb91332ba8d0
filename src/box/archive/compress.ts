/**
 * The archive's compression: zstd, a frame for each few MiB, so that all processors have work.
 *
 * @module
 */
import { ZstdCoder } from "../../../ffi/zstd.ts";
import { badArchive } from "./format.ts";
import { zstdFrames } from "./zstd_frames.ts";

/** Plain bytes of a frame, at most. */
const FRAME = 4 * 2 ** 20;
/** Frames that are worked on at once, at most: each takes some 12 MiB of memory. */
const MOST_PARALLEL = 8;

/** Compresses bytes. */
export async function* compressed(
  plain: AsyncIterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const options = { roomBytes: ZstdCoder.room(FRAME), waits: true };
  const packed = inOrder(
    frames(plain),
    options,
    (frame, { coder, room }) => coder.pack(frame, room),
  );
  // Whoever gets it may keep it.
  for await (const frame of packed) yield frame.slice();
}

/** Bytes in frames; one stays as it is until so many others were asked for as are worked on at once. */
async function* frames(
  plain: AsyncIterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const rooms = Array.from({ length: parallel() + 1 }, () => new Uint8Array(FRAME));
  const room = (number: number) => rooms[number % rooms.length] ?? new Uint8Array(FRAME);
  let count = 0;
  let frame = room(count);
  let used = 0;
  for await (const chunk of plain) {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + FRAME - used);
      frame.set(part, used);
      used += part.length;
      at += part.length;
      if (used < FRAME) continue;
      yield frame;
      frame = room(++count);
      used = 0;
    }
  }
  if (used > 0) yield frame.subarray(0, used);
}

/**
 * The plain bytes of an archive, frame by frame; each stays as it is until the next one is asked for.
 *
 * @throws {HutchError} `invalid_archive`, and what the source throws.
 */
export async function* decompressed(
  source: AsyncIterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const options = { roomBytes: FRAME, waits: false };
  yield* inOrder(zstdFrames(source), options, async (frame, { coder, room }) => {
    const plain = await coder.unpack(frame, room);
    if (plain === undefined) throw badArchive("it is damaged");
    return plain;
  });
}

/** One of those that work. */
interface Worker {
  readonly coder: ZstdCoder;
  /** What it writes to. */
  readonly room: Uint8Array<ArrayBuffer>;
}

/** What one of them works on. */
interface Job {
  readonly worker: Worker;
  readonly made: Promise<Uint8Array<ArrayBuffer>>;
}

/**
 * Has several work at once, and gives what they make in its order as soon as it is there, each until the
 * next is asked for.
 *
 * @param source When nothing more is wanted it is told so, and `waits` says whether until it has ended: one
 * whose bytes somebody sends may never do so.
 */
async function* inOrder(
  source: AsyncIterable<Uint8Array<ArrayBuffer>>,
  { roomBytes, waits }: { readonly roomBytes: number; readonly waits: boolean },
  work: (item: Uint8Array<ArrayBuffer>, by: Worker) => Promise<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  using coders = new DisposableStack();
  const free: Worker[] = Array.from({ length: parallel() }, () => ({
    coder: coders.use(new ZstdCoder()),
    room: new Uint8Array(roomBytes),
  }));
  const jobs: Job[] = [];
  const items = source[Symbol.asyncIterator]();
  let next: Promise<IteratorResult<Uint8Array<ArrayBuffer>>> | undefined;
  let ended = false;
  try {
    while (!ended || jobs.length > 0) {
      if (!ended && free.length > 0) next ??= items.next();
      const oldest = jobs[0];
      const came = await Promise.race([
        ...next ? [next.then((item) => ({ item }))] : [],
        ...oldest ? [oldest.made.then((bytes) => ({ bytes }))] : [],
      ]);
      if ("item" in came) {
        next = undefined;
        ended = came.item.done === true;
        if (came.item.done) continue;
        const worker = free.pop() ?? nobody();
        const made = work(came.item.value, worker);
        made.catch(() => {}); // seen when it is its turn
        jobs.push({ worker, made });
      } else {
        yield came.bytes;
        const done = jobs.shift();
        if (done) free.push(done.worker);
      }
    }
  } finally {
    next?.catch(() => {}); // told of in vain
    const over = items.return?.().catch(() => {});
    await Promise.allSettled([...waits ? [over] : [], ...jobs.map(({ made }) => made)]);
  }
}

function nobody(): never {
  throw new TypeError("there is work for those who are free alone");
}

/** Two more than there are processors: one waits to be worked on, one to be taken. */
function parallel(): number {
  return Math.min(navigator.hardwareConcurrency + 2, MOST_PARALLEL);
}

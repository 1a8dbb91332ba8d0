/**
 * Frame headers: writing, reading and judging them. Small and free of imports from outside, since
 * the box process loads it.
 *
 * @module
 */
import {
  ALONE,
  BACKGROUND,
  CHANNEL_MASK,
  END,
  FrameType,
  HEADER_SIZE,
  HELD,
  MAX_MESSAGE,
  MAX_PAYLOAD,
  WIDE,
} from "./protocol.ts";

/** What a header says; reused from frame to frame by whoever reads many. */
export interface FrameHeader {
  /** Bytes of payload. */
  length: number;
  stream: number;
  type: number;
  flags: number;
}

/** Who sent a frame. */
export type Side = "agent" | "host";

/** A header of zeros, to read into. */
export function emptyHeader(): FrameHeader {
  return { length: 0, stream: 0, type: 0, flags: 0 };
}

/** Reads the header at `at` into `header`; `view` must have 10 bytes there. */
export function readHeader(view: DataView, at: number, header: FrameHeader): void {
  header.length = view.getUint32(at);
  header.stream = view.getUint32(at + 4);
  header.type = view.getUint8(at + 8);
  header.flags = view.getUint8(at + 9);
}

/** Writes `header` at `at`; `view` must have 10 bytes there. */
export function writeHeader(view: DataView, at: number, header: Readonly<FrameHeader>): void {
  view.setUint32(at, header.length);
  view.setUint32(at + 4, header.stream);
  view.setUint8(at + 8, header.type);
  view.setUint8(at + 9, header.flags);
}

/** Puts another stream number into the header at `at`. */
export function rewriteStream(view: DataView, at: number, stream: number): void {
  view.setUint32(at + 4, stream);
}

/** Takes all flags off the header at `at`. */
export function clearFlags(view: DataView, at: number): void {
  view.setUint8(at + 9, 0);
}

/** A whole frame, copied into bytes of its own. */
export function makeFrame(
  type: number,
  stream: number,
  payload: Uint8Array = new Uint8Array(0),
  flags = 0,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_SIZE + payload.length);
  writeHeader(new DataView(bytes.buffer), 0, { length: payload.length, stream, type, flags });
  bytes.set(payload, HEADER_SIZE);
  return bytes;
}

/** A CREDIT frame that gives `count` bytes of `channel` back. */
export function makeCredit(
  stream: number,
  channel: number,
  count: number,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_SIZE + 4);
  const view = new DataView(bytes.buffer);
  writeHeader(view, 0, { length: 4, stream, type: FrameType.CREDIT, flags: channel });
  view.setUint32(HEADER_SIZE, count);
  return bytes;
}

/** What a type of frame may look like. */
interface Shape {
  readonly name: string;
  readonly from: readonly Side[];
  /** Whether it is about the connection (stream 0) and not about a stream. */
  readonly connection: boolean;
  readonly least: number;
  readonly most: number;
  /** Bits that `flags` may have besides the channel; undefined where there is no channel. */
  readonly flags?: number;
  /** Bits that `flags` may have where there is no channel. @default {0} */
  readonly plain?: number;
}

const agent: readonly Side[] = ["agent"];
const host: readonly Side[] = ["host"];
const both: readonly Side[] = ["agent", "host"];

function message(name: string, from: readonly Side[], connection = false): Shape {
  return { name, from, connection, least: 1, most: MAX_MESSAGE };
}

const shapes: ReadonlyMap<number, Shape> = new Map<number, Shape>([
  [FrameType.HELLO, message("HELLO", agent, true)],
  [FrameType.OPEN, { ...message("OPEN", host), plain: BACKGROUND | HELD | WIDE }],
  [FrameType.REPLY, message("REPLY", agent)],
  [FrameType.ERROR, message("ERROR", agent)],
  [FrameType.DATA, {
    name: "DATA",
    from: both,
    connection: false,
    least: 0,
    most: MAX_PAYLOAD,
    flags: END,
  }],
  [FrameType.CREDIT, {
    name: "CREDIT",
    from: both,
    connection: false,
    least: 4,
    most: 4,
    flags: 0,
  }],
  [FrameType.CONTROL, message("CONTROL", host)],
  [FrameType.EXIT, message("EXIT", agent)],
  [FrameType.CLOSE, { name: "CLOSE", from: both, connection: false, least: 0, most: 0 }],
  [FrameType.GOODBYE, { ...message("GOODBYE", agent, true), plain: ALONE }],
]);

/** The name of a frame type, for messages. */
export function typeName(type: number): string {
  return shapes.get(type)?.name ?? `type ${type}`;
}

/**
 * What is wrong with a header that `side` sent, or undefined: unknown or misplaced types, lengths
 * out of bounds, stream 0 for what needs a stream and the reverse, flags that mean nothing.
 */
export function headerProblem(header: Readonly<FrameHeader>, side: Side): string | undefined {
  const shape = shapes.get(header.type);
  if (!shape) return `frame type ${header.type} is unknown`;
  if (!shape.from.includes(side)) return `${shape.name} isn't a frame that the ${side} sends`;
  if (header.length < shape.least || header.length > shape.most) {
    return `${shape.name} of ${header.length} bytes isn't within ${shape.least} to ${shape.most}`;
  }
  if (shape.connection !== (header.stream === 0)) {
    return `${shape.name} came on stream ${header.stream}`;
  }
  if (shape.flags === undefined) {
    const unknown = header.flags & ~(shape.plain ?? 0);
    return unknown === 0 ? undefined : `${shape.name} has flags ${header.flags}`;
  }
  const channel = header.flags & CHANNEL_MASK;
  if ((header.flags & ~(CHANNEL_MASK | shape.flags)) !== 0 || channel === CHANNEL_MASK) {
    return `${shape.name} has flags ${header.flags}`;
  }
  if (header.type === FrameType.DATA && header.length === 0 && header.flags === channel) {
    return "DATA is empty and doesn't end its channel";
  }
  return undefined;
}

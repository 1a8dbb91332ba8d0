/**
 * Adding and taking away the ports of a box that runs, from any program that shares its home.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import {
  orderNetwork,
  OrderRefused,
  publishedPort,
  publishOrder,
  publishRefusal,
} from "../network/control.ts";
import {
  formatPort,
  hostSide,
  parsePort,
  type PortPurpose,
  type PublishedPort,
} from "../network/ports.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxRecord } from "../state/boxes.ts";
import { changeState } from "./change.ts";
import type { BoxContext } from "./context.ts";
import { holdBox } from "./hold.ts";

/** Publishes ports of a box that runs; where one fails, none of them is. */
export async function publish(
  context: BoxContext,
  id: string,
  spec: string,
): Promise<readonly PublishedPort[]> {
  const asked = parsePort(spec);
  using held = await holdBox(context, id, "publish");
  const { record } = held;
  const path = networkOf(context, record, "publish");
  const made: PublishedPort[] = [];
  try {
    for (const port of asked) {
      made.push(publishedPort(port, await orderNetwork(path, publishOrder(port))));
    }
  } catch (error) {
    for (const port of made) await orderNetwork(path, unpublishOrder(port)).catch(() => {});
    const port = asked[made.length];
    if (!(error instanceof OrderRefused) || !port) throw error;
    throw new HutchError(
      "port_unavailable",
      publishRefusal(port, error.code, error.message),
      { hint: "take another port, or 0 for one that the system picks" },
    );
  }
  changeState(context, record, {
    ...record.state,
    ports: [...record.state.ports, ...made],
  });
  return made;
}

/** Takes away ports of a box that runs. Connections that are there already stay. */
export async function unpublish(context: BoxContext, id: string, spec: string): Promise<void> {
  const asked = parsePort(spec, "unpublish");
  using held = await holdBox(context, id, "publish");
  const { record } = held;
  const path = networkOf(context, record, "unpublish");
  let { ports } = record.state;
  const going = asked.map((port) => {
    const found = ports.find((each) => isMeant(each, port));
    if (!found) throw notPublished(record, spec, port);
    ports = ports.filter((each) => each !== found);
    return found;
  });
  for (const port of going) {
    try {
      await orderNetwork(path, unpublishOrder(port));
    } catch (error) {
      if (!(error instanceof OrderRefused) || error.code !== "ENOENT") throw error;
    }
  }
  changeState(context, record, { ...record.state, ports });
}

/** Without a host port, the first one that leads to that port of the box. */
function isMeant(port: PublishedPort, asked: PublishedPort): boolean {
  return port.protocol === asked.protocol && port.hostIp === asked.hostIp &&
    port.guestPort === asked.guestPort &&
    (asked.hostPort === 0 || port.hostPort === asked.hostPort);
}

function unpublishOrder({ protocol, hostIp, hostPort }: PublishedPort): string {
  return `unpublish ${protocol} ${hostIp} ${hostPort}`;
}

function networkOf(
  context: BoxContext,
  { config }: BoxRecord,
  purpose: PortPurpose,
): string {
  if (config.network.mode !== "none") return boxPaths(context.paths, config.id).networkControlPath;
  throw new HutchError(
    "box_state",
    `Cannot ${purpose} ports of box "${config.name}": it has no network`,
    { hint: "its ports can be reached by box.connect and box.fetch" },
  );
}

/** Names what was asked for as it was written: a port of this machine that wasn't is 0 in `port`. */
function notPublished(
  { config, state }: BoxRecord,
  spec: string,
  port: PublishedPort,
): HutchError {
  const { protocol, guestPort } = port;
  const at = port.hostPort === 0 ? port.hostIp : hostSide(port).replace(`/${protocol}`, "");
  const there = state.ports.map(formatPort).join(", ");
  const known = there === "" ? "no port is" : `these are: ${there}`;
  const form = /^\d+(\/|$)/.test(spec) ? "; a lone number is the box's port" : "";
  return new HutchError(
    "invalid_option",
    `Cannot unpublish ${JSON.stringify(spec)} of box "${config.name}": ` +
      `its port ${guestPort}/${protocol} isn't published at ${at}`,
    { hint: known + form },
  );
}

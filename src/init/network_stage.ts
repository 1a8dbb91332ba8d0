/**
 * The stage `network`, and what of it starts with the machine.
 *
 * @module
 */
import { missingPart, netPath } from "../../ffi/library.ts";
import { exists } from "../atomic_file.ts";
import { HutchError } from "../errors.ts";
import { ownLock } from "../own_process.ts";
import { requirePermissions } from "../permissions.ts";
import type { LayoutOutput, NetworkOutput } from "../plugin/contract.ts";
import { GATEWAYS, HOST_ALIAS, macAddressOf, MTU } from "../network/addresses.ts";
import {
  checkAnswer,
  OrderRefused,
  publishedPort,
  publishOrder,
  publishRefusal,
} from "../network/control.ts";
import { INTERCEPTOR_MODULE, type InterceptorInput } from "../network/intercept/input.ts";
import { hostsLines, parseServer } from "../network/options.ts";
import type { PublishedPort } from "../network/ports.ts";
import { joinHooks } from "../network/hooks.ts";
import { checkValue, isIntercepted, type SecretConfig } from "../network/secrets.ts";
import type { MachineNetwork } from "../vmm/engine.ts";
import type { OrderFailed } from "../vmm/machine.ts";
import type { MachineNetworkProcess } from "../vmm/machine_file.ts";
import type { StartContext } from "./context.ts";

/** `network`: what the box asked for. */
export function network({ box, plugins }: StartContext): Promise<NetworkOutput> {
  const { mode, rules, secrets, logConnections, ports, dns, extraHosts, bandwidth } = box.network;
  if (mode === "none") return Promise.resolve({ mode });
  const hooks = joinHooks(box.network.hooks, plugins.network.config);
  return Promise.resolve({
    mode,
    // What is encrypted by QUIC can't be looked into: clients take TCP then.
    rules: isIntercepted({ secrets, hooks }) ? ["deny out udp any 443", ...rules] : rules,
    secrets,
    hooks,
    logConnections,
    ports,
    nameServers: dns.map(parseServer),
    hosts: [`${GATEWAYS[0]}\t${HOST_ALIAS}`, ...hostsLines(extraHosts)],
    bandwidth,
  });
}

/** The machine's network device; undefined for a box that has its loopback alone. */
export function deviceOf(
  id: string,
  network: NetworkOutput,
  own: LayoutOutput,
): MachineNetwork | undefined {
  if (network.mode === "none") return undefined;
  return { socketPath: own.networkSocketPath, macAddress: macAddressOf(id), mtu: MTU };
}

/** The program behind the device. */
export async function networkProcess(
  id: string,
  network: NetworkOutput,
  own: Pick<LayoutOutput, "networkSocketPath" | "networkControlPath" | "secretsSocketPath">,
): Promise<MachineNetworkProcess | undefined> {
  if (network.mode === "none") return undefined;
  const program = netPath();
  if (!await exists(program)) throw missingPart("net", "give a box a network");
  return {
    program,
    socketPath: own.networkSocketPath,
    controlPath: own.networkControlPath,
    macAddress: macAddressOf(id),
    interceptor: isIntercepted(network)
      ? {
        module: INTERCEPTOR_MODULE,
        lock: ownLock(),
        socketPath: own.secretsSocketPath,
        controlPath: own.networkControlPath,
      }
      : undefined,
  };
}

/** What a network is told before its machine starts: ports at the end, in their order. */
export function networkOrders(network: NetworkOutput, own: LayoutOutput): readonly string[] {
  if (network.mode === "none") return [];
  return [...firstOrders(network, own), ...network.ports.map(publishOrder)];
}

/** What it is told before its ports. */
function firstOrders(network: NetworkOutput, own: LayoutOutput): readonly string[] {
  if (network.mode === "none") return [];
  const { mode, rules, nameServers, bandwidth, secrets, hooks, logConnections } = network;
  const hosts = new Set([...hooks.hosts, ...secrets.flatMap((secret) => secret.hosts)]);
  return [
    `mode ${mode}`,
    `rules ${rules.join(";")}`,
    `dns ${nameServers.map(({ address, port }) => `${address} ${port}`).join(" ")}`,
    `limit up ${bandwidth.send ?? 0}`,
    `limit down ${bandwidth.receive ?? 0}`,
    ...hooks.kinds.length === 0 ? [] : [`hooks ${hooks.kinds.join(" ")}`],
    ...logConnections ? ["log on"] : [],
    ...isIntercepted(network) ? [["intercept", own.secretsSocketPath, ...hosts].join(" ")] : [],
  ];
}

/** What the interceptor is told: the one place where values of secrets are, beside its own memory. */
export async function secretLine(
  context: StartContext,
  network: NetworkOutput,
  own: LayoutOutput,
): Promise<string | undefined> {
  if (network.mode === "none" || !isIntercepted(network)) return undefined;
  requirePermissions("look into what a box says by TLS", [{ name: "env", variable: "DENO_CERT" }]);
  const extra = Deno.env.get("DENO_CERT");
  const input: InterceptorInput = {
    socketPath: own.secretsSocketPath,
    controlPath: own.networkControlPath,
    authority: await context.authority(),
    secrets: await Promise.all(network.secrets.map(async (secret) => {
      const { name, placeholder, hosts, places } = secret;
      return { name, placeholder, hosts, places, value: await valueOf(context, secret) };
    })),
    caCerts: extra ? [await Deno.readTextFile(extra)] : [],
  };
  return JSON.stringify(input);
}

async function valueOf(context: StartContext, { name, from }: SecretConfig): Promise<string> {
  const { box, handle, plugins, secretValue, signal } = context;
  const value = from === null
    ? secretValue(box.id, name)
    : await plugins.ask("secret", { box: box.id, name }, { signal, box: handle, plugin: from });
  if (value === undefined) {
    throw new HutchError(
      "invalid_option",
      from === null
        ? `Cannot get the value of the secret "${name}": only the program that made the box knows it`
        : `Cannot get the value of the secret "${name}": the plugin "${from}" doesn't know it`,
      {
        hint: from === "env"
          ? `set the variable ${name}`
          : "a plugin that knows it (from) makes a box independent of its creator",
      },
    );
  }
  checkValue(value, `the secret "${name}"`);
  return value;
}

/** The ports as they came to be, from what the network answered to its first orders. */
export function portsOf(
  network: NetworkOutput,
  answers: readonly string[],
): readonly PublishedPort[] {
  if (network.mode === "none") return [];
  const from = answers.length - network.ports.length;
  return network.ports.map((port, index) =>
    publishedPort(port, checkAnswer(answers[from + index] ?? "{}"))
  );
}

export function refusedOrder(
  network: NetworkOutput,
  own: LayoutOutput,
  { order, answer }: OrderFailed,
): HutchError {
  const ports = network.mode === "none" ? [] : network.ports;
  const port = ports[order - firstOrders(network, own).length];
  try {
    checkAnswer(answer);
  } catch (error) {
    if (error instanceof OrderRefused && port) {
      const message = publishRefusal(port, error.code, error.message);
      return new HutchError("port_unavailable", message, {
        hint: "take another port, or 0 for one that the system picks",
      });
    }
  }
  return new HutchError("boot_failed", `Cannot start the box's network: it answered ${answer}`);
}

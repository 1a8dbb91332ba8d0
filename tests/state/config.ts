/** Configurations for tests of records. */
import type { BoxConfig } from "../../src/box/options.ts";
import { NO_NETWORK } from "../../src/network/options.ts";

/** A box's configuration; `more` over what matters to no test. */
export function config(id: string, name: string, more: Partial<BoxConfig> = {}): BoxConfig {
  return {
    id,
    version: 1,
    name,
    createdAt: "2026-01-01T00:00:00.000Z",
    image: { reference: "builtin:busybox", digest: `sha256:${"0".repeat(64)}` },
    cpus: 1,
    memoryMiB: 64,
    diskMiB: 64,
    hostname: name,
    labels: {},
    engine: "auto",
    autoRemove: false,
    owned: false,
    volumes: [],
    network: NO_NETWORK,
    maxDurationMs: null,
    idleTimeoutMs: null,
    restart: "no",
    health: null,
    bootTimeoutMs: 1,
    exec: { env: {}, cwd: "/", user: "" },
    entrypoint: [],
    command: [],
    main: null,
    init: null,
    stopSignal: "",
    log: { maxBytes: 10 * 2 ** 20, files: 3 },
    ...more,
  };
}

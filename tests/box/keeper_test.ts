import assert from "node:assert/strict";
import type { CheckResult, HealthChange } from "../../src/box/health.ts";
import { Keeper, type KeeperPort, type KeptBox, type KeptGuest } from "../../src/box/keeper.ts";
import type { BoxStatus, HealthCheck, RestartPolicy } from "../../src/box/options.ts";
import { ClockDouble } from "../doubles/clock.ts";

const CHECK: Required<HealthCheck> = {
  command: [],
  intervalMs: 1000,
  timeoutMs: 100,
  retries: 2,
  startPeriodMs: 5000,
};
const MINUTE = 60_000;

/** A box without a machine: the test says what becomes of it. */
class KeptDouble implements KeeperPort {
  readonly clock = new ClockDouble();
  readonly said: string[] = [];
  /** When and as which of a row it was restarted. */
  readonly restarts: [number, number][] = [];
  readonly health: [number, string][] = [];
  box: KeptBox | undefined = {
    status: "running",
    exitCode: null,
    kept: true,
    policy: "no",
    row: 0,
    check: null,
    health: "starting",
    run: "1",
    revision: 0,
  };
  gaveUp: string | null | undefined;
  checks = 0;
  open = 0;
  /** What a check finds. */
  result: () => Promise<CheckResult> = () => Promise.resolve({ ok: true });
  /** What becomes of a restart, and so many `ms` later of the box. */
  next: () => "runs" | "fails" | { after: number; status: BoxStatus } = () => "runs";
  #closed: PromiseWithResolvers<void> = Promise.withResolvers();
  #ending = new AbortController();
  #done = false;
  #running: Promise<void> | undefined;

  constructor(box: Partial<KeptBox>) {
    this.set(box);
  }

  set(changes: Partial<KeptBox>): void {
    if (!this.box) return;
    const revision = this.box.revision + ("status" in changes ? 1 : 0);
    this.box = { ...this.box, ...changes, revision };
  }

  /** The box ends, its connections too. */
  end(status: BoxStatus, changes: Partial<KeptBox> = {}): void {
    this.set({ ...changes, status });
    this.#closed.resolve();
  }

  /** The connection to it ends, and it runs on. */
  lose(): void {
    this.#closed.resolve();
  }

  /** Lets time go on while the keeper works, to `ms` or until it is done. */
  async keep(ms: number): Promise<void> {
    this.#running ??= new Keeper(this, this.clock).run(this.#ending.signal)
      .then(() => void (this.#done = true));
    await this.clock.run(ms, () => this.#done);
  }

  get done(): boolean {
    return this.#done;
  }

  /** Nobody wants the keeper any more. */
  abort(): void {
    this.#ending.abort();
  }

  async stop(): Promise<void> {
    this.abort();
    await this.#running;
    assert.equal(this.open, 0, "connections are left open");
  }

  look(): Promise<KeptBox | undefined> {
    return Promise.resolve(this.box);
  }

  connect(): Promise<KeptGuest> {
    if (this.box?.status !== "running") return Promise.reject(new Error("nobody listens"));
    this.#closed = Promise.withResolvers();
    this.open++;
    return Promise.resolve({
      closed: this.#closed.promise,
      check: () => {
        this.checks++;
        return this.result();
      },
      [Symbol.asyncDispose]: () => {
        this.open--;
        return Promise.resolve();
      },
    });
  }

  restart(row: number): Promise<void> {
    this.restarts.push([this.clock.now(), row]);
    const next = this.next();
    if (next === "fails") {
      this.set({ row, status: "failed" });
      return Promise.reject(new Error("no machine"));
    }
    this.set({ row, status: "running", health: "starting" });
    if (next !== "runs") {
      this.clock.at(this.clock.now() + next.after, () => this.end(next.status));
    }
    return Promise.resolve();
  }

  healthChanged({ health, message }: HealthChange): void {
    this.health.push([this.clock.now(), message === "" ? health : `${health}: ${message}`]);
    this.set({ health });
  }

  giveUp(reason: string | null): void {
    this.gaveUp = reason;
    this.set({ kept: false });
  }

  log(line: string): void {
    this.said.push(line);
  }
}

async function keeping(
  box: Partial<KeptBox>,
  run: (double: KeptDouble) => Promise<void>,
): Promise<void> {
  const double = new KeptDouble(box);
  try {
    await run(double);
  } finally {
    await double.stop();
  }
}

const ENDS: [RestartPolicy, BoxStatus, boolean][] = [
  ["no", "stopped", false],
  ["no", "crashed", false],
  ["on-failure", "stopped", false],
  ["on-failure", "crashed", true],
  ["on-failure:1", "crashed", true],
  ["always", "stopped", true],
  ["always", "crashed", true],
];
for (const [policy, status, restarts] of ENDS) {
  Deno.test(`Keeper ${restarts ? "restarts" : "leaves"} a box with policy ${policy} that ${status}`, () =>
    keeping({ policy }, async (box) => {
      await box.keep(1000);
      box.end(status);
      await box.keep(2000);
      assert.equal(box.restarts.length, restarts ? 1 : 0);
      assert.equal(box.done, !restarts);
      if (!restarts) assert.equal(box.gaveUp, null, "nobody need keep it any more");
    }));
}

for (const policy of ["on-failure", "always"] as const) {
  Deno.test(`Keeper never restarts a box with policy ${policy} that was ended on purpose`, () =>
    keeping({ policy }, async (box) => {
      await box.keep(1000);
      box.end("crashed", { kept: false });
      await box.keep(MINUTE);
      assert.deepEqual([box.restarts, box.done, box.gaveUp], [[], true, undefined]);
    }));
}

Deno.test("Keeper waits twice as long before each restart in a row, a minute at most", () =>
  keeping({ policy: "always", status: "crashed" }, async (box) => {
    box.next = () => ({ after: 0, status: "crashed" });
    await box.keep(6 * MINUTE);
    const waits = box.restarts.map(([at], index) => at - (box.restarts[index - 1]?.[0] ?? 0));
    const delays = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, MINUTE, MINUTE];
    // From the second on, the end of the run before is found a look later.
    const expected = delays.map((delay, index) => index === 0 ? delay : delay + 200);
    assert.deepEqual(waits.slice(0, delays.length), expected);
    assert.deepEqual(box.restarts.map(([, row]) => row).slice(0, 5), [1, 2, 3, 4, 5]);
  }));

Deno.test("Keeper begins a new row after a run of 10 s", () =>
  keeping({ policy: "always", status: "crashed" }, async (box) => {
    const runs = [100, 9_000, 10_000, 100];
    box.next = () => ({ after: runs.shift() ?? 1_000_000, status: "crashed" });
    await box.keep(MINUTE);
    assert.deepEqual(box.restarts.map(([, row]) => row), [1, 2, 3, 1, 2]);
  }));

Deno.test("Keeper goes on with the row that an earlier keeper left", () =>
  keeping({ policy: "on-failure:3", status: "crashed", row: 2 }, async (box) => {
    box.next = () => ({ after: 10, status: "crashed" });
    await box.keep(MINUTE);
    assert.deepEqual(box.restarts, [[400, 3]]);
    assert.match(box.gaveUp ?? "", /3 times in a row/);
  }));

Deno.test("Keeper gives up after N restarts in a row, failed ones counted, and says why", () =>
  keeping({ policy: "on-failure:2" }, async (box) => {
    const outcomes = ["fails", { after: 5, status: "crashed" }] as const;
    box.next = () => outcomes[box.restarts.length - 1] ?? "runs";
    await box.keep(100);
    box.end("crashed");
    await box.keep(MINUTE);
    assert.deepEqual(box.restarts.map(([, row]) => row), [1, 2]);
    assert.equal(box.done, true);
    assert.equal(
      box.gaveUp,
      "restarted 2 times in a row, and its policy on-failure:2 allows no more",
    );
    assert.deepEqual(box.said, ["restarting the box: no machine"]);
  }));

Deno.test("Keeper leaves a box alone that somebody stops while it waits to restart it", () =>
  keeping({ policy: "always", status: "crashed", row: 9 }, async (box) => {
    box.clock.at(10_000, () => box.set({ kept: false }));
    await box.keep(5 * MINUTE);
    assert.deepEqual([box.restarts, box.done], [[], true]);
    assert.ok(box.clock.now() < 11_000, "at once, not when the wait would have ended");
  }));

Deno.test("Keeper keeps a box that somebody starts while it waits to restart it", () =>
  keeping({ policy: "always", status: "crashed", row: 9 }, async (box) => {
    box.clock.at(10_000, () => box.set({ status: "running", row: 0 }));
    await box.keep(MINUTE);
    assert.deepEqual([box.restarts, box.done, box.open], [[], false, 1]);
    box.end("crashed");
    await box.keep(MINUTE + 1000);
    assert.deepEqual(box.restarts.map(([, row]) => row), [1]);
  }));

Deno.test("Keeper ends when its box is removed, also while it waits", () =>
  keeping({ policy: "always", status: "crashed", row: 9 }, async (box) => {
    box.clock.at(10_000, () => box.box = undefined);
    await box.keep(5 * MINUTE);
    assert.deepEqual([box.restarts, box.done], [[], true]);
  }));

Deno.test("Keeper waits for whoever is at work on its box", () =>
  keeping({ policy: "always", status: "starting" }, async (box) => {
    box.clock.at(3000, () => box.set({ status: "running" }));
    box.clock.at(6000, () => box.end("stopping"));
    box.clock.at(9000, () => box.set({ status: "stopped", kept: false }));
    await box.keep(2900);
    assert.deepEqual([box.open, box.done], [0, false]);
    await box.keep(5000);
    assert.equal(box.open, 1);
    await box.keep(8900);
    assert.deepEqual([box.open, box.done], [0, false]);
    await box.keep(10_000);
    assert.deepEqual([box.restarts, box.done], [[], true]);
  }));

Deno.test("Keeper tries again when looking fails", () =>
  keeping({ policy: "always", status: "crashed" }, async (box) => {
    let failures = 2;
    const look = box.look.bind(box);
    box.look = () => failures-- > 0 ? Promise.reject(new Error("disk full")) : look();
    await box.keep(MINUTE);
    assert.deepEqual(box.restarts, [[10_100, 1]]);
    assert.equal(box.said[0], "looking after the box: disk full");
  }));

Deno.test("Keeper checks at once and every interval after, and tells changes alone", () =>
  keeping({ check: CHECK }, async (box) => {
    const bad = (): Promise<CheckResult> => Promise.resolve({ ok: false, message: "down" });
    await box.keep(2500);
    assert.deepEqual([box.health, box.checks], [[[0, "healthy"]], 3]);
    box.result = bad;
    await box.keep(5500);
    assert.deepEqual(box.health.slice(1), [[4000, "unhealthy: down"]]);
    box.result = () => Promise.resolve({ ok: true });
    await box.keep(10_000);
    assert.deepEqual(box.health.slice(2), [[6000, "healthy"]]);
    assert.equal(box.checks, 11, "it goes on");
  }));

Deno.test("Keeper counts no failure before the start period ends, from when it first saw the box run", () =>
  keeping({ check: CHECK }, async (box) => {
    box.result = () => Promise.resolve({ ok: false, message: "down" });
    await box.keep(1500);
    box.lose(); // its connection: the period doesn't begin anew
    await box.keep(MINUTE);
    assert.deepEqual(box.health, [[6700, "unhealthy: down"]]);
  }));

Deno.test("Keeper begins a start period with each run of the box, whoever started it", () =>
  keeping({ check: CHECK }, async (box) => {
    await box.keep(20_000);
    assert.deepEqual(box.health, [[0, "healthy"]]);
    box.result = () => Promise.resolve({ ok: false, message: "down" });
    box.set({ run: "2", health: "starting" });
    box.lose(); // it was stopped and started between two looks
    await box.keep(24_000);
    assert.equal(box.health.length, 1);
    await box.keep(MINUTE);
    assert.deepEqual(box.health.slice(1), [[26_200, "unhealthy: down"]]);
  }));

Deno.test("Keeper waits for a check's end before the interval begins", () =>
  keeping({ check: CHECK }, async (box) => {
    const never = new AbortController().signal;
    box.result = async () => {
      await box.clock.sleep(500, never);
      return { ok: true };
    };
    await box.keep(6600);
    assert.equal(box.checks, 5, "at 0, 1500, 3000, 4500 and 6000");
  }));

Deno.test("Keeper doesn't check a paused box, nor blame it for a check under which it was paused", () =>
  keeping({ check: { ...CHECK, retries: 1 }, health: "healthy" }, async (box) => {
    await box.keep(500);
    box.result = () => {
      box.set({ status: "paused" });
      return Promise.resolve({ ok: false, message: "no answer" });
    };
    await box.keep(30_000);
    assert.deepEqual([box.checks, box.health.length], [2, 0]);
    box.result = () => Promise.resolve({ ok: false, message: "down" });
    box.set({ status: "running" });
    await box.keep(32_000);
    assert.deepEqual(box.health.map(([, said]) => said), ["unhealthy: down"]);
  }));

Deno.test("Keeper ends its checks with the box, and begins anew after a restart", () =>
  keeping({ check: CHECK, policy: "always" }, async (box) => {
    await box.keep(2500);
    box.end("crashed");
    const before = box.checks;
    await box.keep(3000);
    assert.equal(box.restarts.length, 1);
    assert.ok(box.checks > before);
    assert.deepEqual(box.health.map(([, said]) => said), ["healthy", "healthy"]);
  }));

Deno.test("Keeper forgets a check that its box's end cut short", () =>
  keeping({ check: { ...CHECK, retries: 1 }, health: "healthy" }, async (box) => {
    box.result = () => {
      box.end("crashed");
      return Promise.resolve({ ok: false, message: "connection lost" });
    };
    await box.keep(MINUTE);
    assert.deepEqual([box.health, box.done, box.gaveUp], [[], true, null]);
  }));

Deno.test("Keeper forgets a check that its own end cut short", () =>
  keeping({ check: { ...CHECK, retries: 1 }, health: "healthy" }, async (box) => {
    box.result = () => {
      box.abort();
      return Promise.resolve({ ok: false, message: "cancelled" });
    };
    await box.keep(MINUTE);
    assert.deepEqual([box.health, box.done], [[], true]);
  }));

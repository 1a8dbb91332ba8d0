import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Box, type BoxOptions, Runtime } from "../../mod.ts";
import { BOX, processesOf, TEST_ENGINE, until, withHome } from "./support.ts";

const VICTIM = fileURLToPath(new URL("preboot_victim.ts", import.meta.url));
const ignore = TEST_ENGINE !== "qemu"; // with KVM machines boot
/** No other test has boxes of this size, and the homes of tests no boot of one. */
const SMALL = { ...BOX, memory: 96 } satisfies BoxOptions;

/** Whether a box went on from a boot that was kept: the kernel's command line is that one's. */
async function isPrebooted(box: Box): Promise<boolean> {
  return (await box.sh`cat /proc/cmdline`.text()).includes("HUTCH_KEPT");
}

/** What tells boxes from one another. */
async function identityOf(box: Box): Promise<readonly string[]> {
  const said = await box.sh`hostname; cat /etc/hostname; cat /sys/class/net/eth0/address
    cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | od -An -tx1`.text();
  return said.split("\n").map((line) => line.trim());
}

/** Names of the boots that are kept, and of what else is beside them. */
function kept(home: string): { boots: string[]; other: string[] } {
  const names = [...Deno.readDirSync(join(home, "system", "booted"))].map(({ name }) => name)
    .sort();
  const isBoot = (name: string) => /^[0-9a-f]{32}$/.test(name);
  return {
    boots: names.filter(isBoot),
    other: names.filter((name) => !isBoot(name) && !name.endsWith(".seen")),
  };
}

async function twice(home: string): Promise<void> {
  await using runtime = await Runtime.open({ home });
  for (const prebooted of [false, true]) {
    await using box = await runtime.create(SMALL);
    assert.equal(await isPrebooted(box), prebooted);
  }
}

Deno.test("a machine like one that has booted goes on from a kept boot, as a box of its own", {
  ignore,
}, () =>
  withHome(async (home) => {
    const { boots } = kept(home);
    await twice(home);
    assert.equal(kept(home).boots.length, boots.length + 1);
    assert.deepEqual(kept(home).other, []);
    await using server = Deno.serve({ port: 0, onListen() {} }, () => new Response("of the host"));
    const url = `http://host.hutch.internal:${server.addr.port}/`;
    await using runtime = await Runtime.open({ home });
    const boxes = await Promise.all(["one", "two"].map((name) => {
      return runtime.create({ ...SMALL, name, network: "open" });
    }));
    const [one, two] = boxes;
    assert.ok(one && two);
    const identities = await Promise.all(boxes.map(identityOf));
    for (const [index, mine] of (identities[0] ?? []).entries()) {
      assert.notEqual(mine, identities[1]?.[index]);
    }
    for (const [index, box] of boxes.entries()) {
      assert.ok(await isPrebooted(box));
      assert.deepEqual(identities[index]?.slice(0, 2), [box.name, box.name]);
      assert.equal(await box.sh`wget -q -O - ${url}`.text(), "of the host");
      const now = Number(await box.sh`date +%s`.text());
      assert.ok(Math.abs(now - Date.now() / 1000) < 30, `${now}`);
    }
    // Its disk is its own, and has its size.
    await one.sh`echo written > /note`;
    assert.equal(await two.sh`test ! -e /note && echo none`.text(), "none");
    await one.restart();
    assert.ok(await isPrebooted(one));
    assert.equal(await one.sh`cat /note`.text(), "written");
    // It can be kept in turn.
    await one.sh`echo here > /dev/shm/note`;
    await one.snapshots.create("warm", { memory: true });
    await using fork = await runtime.create({ from: "one/warm" });
    assert.equal(await fork.sh`cat /note /dev/shm/note`.text(), "written\nhere");
    for (const box of boxes) await box.remove({ force: true });
    // Others boot: another size, another disk, a folder of this machine, and where it isn't wanted.
    await using wanted = await Runtime.open({ home, preboot: false });
    for (
      const [from, more] of [
        [runtime, { disk: 300 }],
        [runtime, { network: "none" }],
        [runtime, { volumes: [`${home}:/mnt`] }],
        [wanted, {}],
      ] as const
    ) {
      await using box = await from.create({ ...SMALL, ...more });
      assert.equal(await isPrebooted(box), false, JSON.stringify(more));
    }
  }));

Deno.test(
  "a kept boot that is damaged, or whose making was killed, costs a boot and nothing else",
  {
    ignore,
  },
  () =>
    withHome(async (home) => {
      await twice(home);
      const booted = join(home, "system", "booted");
      const [name = ""] = [...Deno.readDirSync(booted)].map((entry) => entry.name)
        .filter((each) => /^[0-9a-f]{32}$/.test(each))
        .toSorted((a, b) => {
          const at = (of: string) =>
            Deno.statSync(join(booted, of, "memory.json")).mtime?.getTime();
          return (at(b) ?? 0) - (at(a) ?? 0);
        });
      const folder = join(booted, name);
      const damages = {
        "the state has other bytes": async () => {
          const state = await Deno.readFile(join(folder, "state"));
          await Deno.remove(join(folder, "state"));
          await Deno.writeFile(
            join(folder, "state"),
            state.map((byte, at) => at === 99 ? byte ^ 1 : byte),
          );
        },
        "it is another QEMU's": async () => {
          const record = JSON.parse(await Deno.readTextFile(join(folder, "memory.json")));
          record.marks.version = "0.0.1";
          await Deno.writeTextFile(join(folder, "memory.json"), JSON.stringify(record));
        },
      };
      for (const [what, damage] of Object.entries(damages)) {
        await damage();
        const log: string[] = [];
        await using runtime = await Runtime.open({ home, log: (line) => void log.push(line) });
        await using box = await runtime.create(SMALL);
        assert.equal(await isPrebooted(box), false, what);
        assert.match(log.join("\n"), /boot kept in .* can't be used: .*(damaged|0\.0\.1)/, what);
        assert.ok(!kept(home).boots.includes(name), what);
        await using next = await runtime.create(SMALL); // keeps it anew
        assert.ok(await isPrebooted(next), what);
      }
      await Deno.remove(folder, { recursive: true });
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--quiet", "--no-check", VICTIM],
        env: { HUTCH_HOME: home },
        stdin: "null",
      }).spawn();
      await until(
        () => Promise.resolve(kept(home).other.includes("making")),
        () => Promise.resolve("it keeps no boot"),
      );
      child.kill("SIGKILL");
      await child.status;
      await until(
        async () => (await processesOf(home)).length === 0,
        async () => `left: ${JSON.stringify(await processesOf(home))}`,
      );
      await using runtime = await Runtime.open({ home });
      await using box = await runtime.create(SMALL);
      assert.ok(await isPrebooted(box));
      assert.deepEqual(kept(home).other, []);
    }),
);

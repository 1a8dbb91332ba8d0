/**
 * For the tests of networks: a box that may reach everything, one that may reach what is usual, one without. All peers
 * are on this machine's loopback.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Box, definePlugin, type HutchEvent, type Plugin, Runtime } from "../../mod.ts";
import { TempFolder } from "../support/temp.ts";
import { runTool } from "../support/tools.ts";
import { reachesNamesAlone } from "./network_names.ts";
import { BOX, ENGINE, hutch, processesOf, ROOT, until, withHome } from "./support.ts";
import {
  askByDatagram,
  fakeResolver,
  HostServer,
  LONG,
  question,
  readAll,
  sendAll,
  sendPattern,
  sizeOfPattern,
} from "./network_peers.ts";

/** Within the emulated machine with KVM all takes ten times as long. */
const CONNECTIONS = ENGINE === "libkrun" ? 200 : 1000;
/** More than a box may have conversations. */
const FLOOD = ENGINE === "libkrun" ? 2_000 : 10_000;
const PORT = 7000;
const GATEWAY = { v4: "10.213.77.1", v6: "fd5a:7c1e:68b4::1" };

/** Boxes, and who is on this machine for them. */
export interface Stage {
  readonly runtime: Runtime;
  readonly home: string;
  readonly volumes: readonly string[];
  readonly open: Box;
  readonly nat: Box;
  readonly host: HostServer;
  readonly host6: HostServer;
  readonly events: HutchEvent[];
}

/** Makes the boxes and what they talk to, and does what is to be done there. */
export async function withNetworks(run: (stage: Stage) => Promise<void>): Promise<void> {
  await withHome(async (home) => {
    await using folder = new TempFolder();
    const guest = join(folder.path, "net_guest");
    await runTool(
      "cc",
      "-std=gnu11",
      "-O2",
      "-static",
      "-s",
      "-o",
      guest,
      join(ROOT, "tests/e2e/net_guest.c"),
    );
    using host = new HostServer("127.0.0.1");
    using host6 = new HostServer("::1");
    using resolver = await fakeResolver({ "names.test": "192.0.2.7" });
    const events: HutchEvent[] = [];
    await using runtime = await Runtime.open({ home, plugins: [rules(host, events)] });
    const volumes = [`${folder.path}:/guest:ro`];
    await using open = await runtime.create({
      ...{ ...BOX, name: "open", network: "open", volumes },
      ports: [`${PORT}`, `${PORT}/udp`, `[::1]::${PORT}`, `[::1]::${PORT}/udp`],
      dns: [`127.0.0.1:${resolver.port}`],
      extraHosts: { "db.test": "10.1.2.3", "me.test": "host-gateway" },
    });
    await using nat = await runtime.create({ ...BOX, name: "nat", volumes, ports: [`${PORT}`] });
    await Promise.all([open, nat].map((box) => box.exec("/guest/net_guest", ["serve", `${PORT}`])));
    const stage = { runtime, home, volumes, open, nat, host, host6, events };
    await run(stage);
  });
}

/** For the box `nat`: one rule more than is usual, and a memory for what is refused. */
function rules(host: HostServer, events: HutchEvent[]): Plugin {
  return definePlugin({
    name: "rules",
    stages: {
      network: {
        after: (output, { box }) =>
          output.mode === "none" || box?.name !== "nat" ? output : {
            ...output,
            rules: [`allow tcp host ${host.port}`, "deny any 198.51.100.0/24 any"],
          },
      },
    },
    on: { "network.denied": (event) => void events.push(event) },
  });
}

/** This machine's addresses beside its loopback, one of each kind, where it has them and may send echoes. */
function ownAddresses(): string[] {
  const all = Deno.uid() === 0 ? Deno.networkInterfaces() : [];
  const own = (family: string) =>
    all.find((each) => each.family === family && !/^(127\.|::1$|fe80:)/.test(each.address))
      ?.address;
  return [own("IPv4") ?? [], own("IPv6") ?? []].flat();
}

const text = async (box: Box, command: string, ...args: string[]) =>
  (await box.exec(command, args)).stdout.trim();
const net = (box: Box, ...words: (string | number)[]) =>
  text(box, "/guest/net_guest", ...words.map(String));
const portOf = (box: Box, hostIp = "127.0.0.1", protocol = "tcp") =>
  box.ports.find((port) => port.hostIp === hostIp && port.protocol === protocol)?.hostPort ?? 0;

const networksOf = async (home: string, { id }: Box) =>
  (await processesOf(home)).filter(({ command }) =>
    /^\S*hutch-net .*\.netctl/.test(command) && command.includes(id)
  );

/** What is to be so, by its name. */
export const NETWORK_CASES: readonly (readonly [string, (stage: Stage) => Promise<void>])[] = [
  ["A box has addresses, names and a name server", async ({ open }) => {
    const script = "ip -o addr show dev eth0; cat /etc/hosts /etc/resolv.conf";
    const said = await text(open, "sh", "-c", script);
    for (
      const part of [
        "10.213.77.2/24",
        "fd5a:7c1e:68b4::2/64",
        "10.213.77.1\thost.hutch.internal",
        "10.1.2.3\tdb.test",
        "10.213.77.1\tme.test",
        "nameserver 10.213.77.3",
      ]
    ) assert(said.includes(part), `${part} isn't in:\n${said}`);
    // Its gateway answers itself; this machine's own addresses are asked by echoes that go out.
    for (const address of [GATEWAY.v4, GATEWAY.v6, ...ownAddresses()]) {
      const ping = await open.exec("ping", ["-c", "1", "-W", "10", address]);
      assert.equal(ping.code, 0, `${address}: ${ping.stdout}${ping.stderr}`);
    }
  }],
  [
    "An open box gets much from this machine and sends much to it, by IPv4 and IPv6",
    async (stage) => {
      const { open, host, host6 } = stage;
      assert.equal(await net(open, "get", GATEWAY.v4, host.port), String(LONG));
      assert.equal(await net(open, "put", GATEWAY.v4, host.sink, LONG), String(LONG));
      assert.equal(await net(open, "get", GATEWAY.v6, host6.port), String(LONG));
    },
  ],
  ["A published port carries much both ways", async ({ open }) => {
    using down = await Deno.connect({ port: portOf(open) });
    await sendAll(down, new TextEncoder().encode(`s${LONG}\n`));
    assert.equal(await sizeOfPattern(down), LONG);
    using up = await Deno.connect({ port: portOf(open) });
    await sendAll(up, new TextEncoder().encode("r\n"));
    await sendPattern(up, LONG);
    await up.closeWrite();
    assert.equal(await readAll(up), `${LONG}\n`);
  }],
  ["A published port lets either side end first, by IPv4 and IPv6", async ({ open }) => {
    for (const hostname of ["127.0.0.1", "::1"]) {
      using connection = await Deno.connect({ hostname, port: portOf(open, hostname) });
      await sendAll(connection, new TextEncoder().encode("e\nhello, "));
      await connection.closeWrite();
      assert.equal(await readAll(connection), "hello, over");
    }
  }],
  ["A published UDP port answers, by IPv4 and IPv6", async ({ open }) => {
    for (const hostname of ["127.0.0.1", "::1"]) {
      const port = portOf(open, hostname, "udp");
      assert.equal(await askByDatagram(hostname, port, "by datagram"), "by datagram");
    }
  }],
  ["A box opens 1,000 connections, and takes 100 at once", async ({ open, host }) => {
    assert.equal(await net(open, "many", GATEWAY.v4, host.echo, CONNECTIONS), String(CONNECTIONS));
    const port = portOf(open);
    const said = await Promise.all(Array.from({ length: 100 }, async (_, index) => {
      using connection = await Deno.connect({ port });
      await sendAll(connection, new TextEncoder().encode(`e\n${index} `));
      await connection.closeWrite();
      return await readAll(connection);
    }));
    assert.deepEqual(said, said.map((_, index) => `${index} over`));
  }],
  ["A box asks for names by UDP and TCP", async ({ open }) => {
    assert.match(await text(open, "nslookup", "-type=a", "names.test"), /192\.0\.2\.7/);
    const unknown = await open.exec("nslookup", ["-type=a", "others.test"]);
    assert.match(unknown.stdout + unknown.stderr, /NXDOMAIN/);
    const query = question("names.test");
    const framed = [0, query.length, ...query].map((byte) =>
      `\\${byte.toString(8).padStart(3, "0")}`
    );
    const answer = await open.exec("sh", [
      "-c",
      `printf '${framed.join("")}' | nc 10.213.77.3 53 | od -An -tu1`,
    ]);
    assert.match(answer.stdout.replace(/\s+/g, " "), / 192 0 2 7 /);
  }],
  ["Box.publish and Box.unpublish change a running box's ports", async ({ open, home }) => {
    const [port] = await open.publish("7000");
    assert(port);
    assert.deepEqual(open.ports.at(-1), port);
    const { ports } = JSON.parse((await hutch(home, ["inspect", "open"])).stdout);
    assert.deepEqual(ports, open.ports);
    {
      using connection = await Deno.connect({ port: port.hostPort });
      await sendAll(connection, new TextEncoder().encode("e\n"));
      await connection.closeWrite();
      assert.equal(await readAll(connection), "over");
    }
    await open.unpublish(`${port.hostPort}:7000`);
    assert(!open.ports.includes(port));
    await assert.rejects(Deno.connect({ port: port.hostPort }), Deno.errors.ConnectionRefused);
    const line = (await hutch(home, ["publish", "open", "0:7000", "7000/udp"])).stdout;
    const [, made = ""] = /^127\.0\.0\.1:(\d+)->7000\/tcp\n127.*\/udp\n$/.exec(line) ?? [];
    {
      using connection = await Deno.connect({ port: Number(made) });
      await connection.write(new TextEncoder().encode("e\n"));
    }
    const gone = await hutch(home, ["unpublish", "open", `${made}:7000`, "7000/udp"]);
    assert.deepEqual([gone.code, gone.stdout, gone.stderr], [0, "", ""]);
    await assert.rejects(Deno.connect({ port: Number(made) }), Deno.errors.ConnectionRefused);
    await assert.rejects(open.unpublish("7000/udp").then(() => open.unpublish("7000/udp")), {
      code: "invalid_option",
      message: /isn't published/,
    });
  }],
  [
    "A port that is in use, another box's too, is refused by its name before the box boots",
    async ({ runtime, host, open }) => {
      for (const port of [host.port, portOf(open)]) {
        await using box = await runtime.create({ ...BOX, ports: [`${port}:80`] });
        await assert.rejects(box.start(), {
          code: "port_unavailable",
          message: new RegExp(`Cannot publish 127\\.0\\.0\\.1:${port}/tcp: it is in use`),
        });
        assert.equal((await box.info()).stages.connect, undefined);
      }
    },
  ],
  [
    "A box of the usual network is refused at once what isn't public",
    async ({ nat, host, events }) => {
      assert.equal(
        await net(nat, "get", GATEWAY.v4, host.port),
        String(LONG),
        "what a rule allows",
      );
      for (
        const [address, port, group, rule] of [
          [GATEWAY.v4, host.sink, "host", -1],
          [GATEWAY.v6, 80, "host", -1],
          ["10.0.0.1", 80, "private", -1],
          ["169.254.169.254", 80, "metadata", -1],
          ["169.254.1.1", 80, "link-local", -1],
          ["fd00::1", 80, "private", -1],
          ["198.51.100.7", 443, "private", 1],
        ] as const
      ) {
        const refused = await nat.exec("/guest/net_guest", ["get", address, `${port}`]);
        assert.match(refused.stdout, /^connect: Connection refused/, address);
        await until(
          () =>
            Promise.resolve(
              events.some((event) =>
                event.type === "network.denied" && event.address === address &&
                event.port === port &&
                event.group === group && event.rule === rule && event.protocol === "tcp" &&
                event.name === "nat"
              ),
            ),
          () => Promise.resolve(`there is no event for ${address}: ${JSON.stringify(events)}`),
        );
      }
    },
  ],
  ["A box with allowNet reaches names by those names alone", reachesNamesAlone],
  ["Two boxes have the same port, and don't see each other", async ({ open, nat }) => {
    assert.notEqual(portOf(open), portOf(nat));
    for (const box of [open, nat]) {
      using connection = await Deno.connect({ port: portOf(box) });
      await sendAll(connection, new TextEncoder().encode(`e\n${box.name} `));
      await connection.closeWrite();
      assert.equal(await readAll(connection), `${box.name} over`);
    }
  }],
  [
    "A box reaches another's published port where it may reach this machine, and not otherwise",
    async ({ open, nat }) => {
      const ask = `printf 'e\\nfrom a box, ' | nc ${GATEWAY.v4} ${portOf(nat)}`;
      assert.equal(await text(open, "sh", "-c", ask), "from a box, over");
      const refused = await nat.exec("/guest/net_guest", ["get", GATEWAY.v4, `${portOf(open)}`]);
      assert.match(refused.stdout, /^connect: Connection refused/);
    },
  ],
  [
    "A flood of SYNs, to who answers, who refuses and who says nothing, leaves room for the rest",
    async ({ open, nat, host, home }) => {
      const floods = [[GATEWAY.v4, host.echo, FLOOD / 5], [GATEWAY.v4, 0, FLOOD / 5], [
        "192.0.2.1",
        0,
        FLOOD,
      ]] as const;
      for (const [address, port, count] of floods) {
        assert.equal(await net(open, "flood", address, port, count), String(count));
        // Those that nobody answers are forgotten after some seconds.
        const others = () => net(open, "many", GATEWAY.v4, host.echo, 1);
        await until(async () => await others() === "1", others);
      }
      assert.equal(await net(nat, "get", GATEWAY.v4, host.port), String(LONG));
      const [process] = await networksOf(home, open);
      const status = await Deno.readTextFile(`/proc/${process?.pid}/status`);
      const mib = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
      // A fast guest has them all at once; no more than this for each.
      const most = 64 + 1.4 * FLOOD * 64 / 1024;
      assert(mib < most, `its network has ${mib} of ${most} MiB`);
    },
  ],
  ["Garbage is counted, and the rest goes on", async ({ nat, host }) => {
    await net(nat, "garbage", 3000);
    assert.equal(await net(nat, "get", GATEWAY.v4, host.port), String(LONG));
    const { network } = await nat.metrics();
    assert(network);
    assert(network.badFrames > 100, "bad frames");
    assert(network.spoofedFrames > 100, "frames in other names");
    assert(network.receivedBytes > 2 * LONG, "bytes");
    assert(network.denied >= 7 && network.flows >= 2);
  }],
  [
    "Box.connect and Box.fetch reach what isn't published, also without a network",
    async (stage) => {
      await using none = await stage.runtime.create({ ...BOX, network: "none" });
      assert.doesNotMatch(await text(none, "cat", "/proc/net/dev"), /eth0/);
      await assert.rejects(none.connect(81), { code: "port_refused", message: /nothing listens/ });
      await assert.rejects(none.fetch(81, "/"), { code: "port_refused" });
      await assert.rejects(none.publish("80"), { code: "box_state" });
      await none.fs.mkdir("/srv/cgi-bin", { recursive: true });
      const script = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'; cat";
      await none.fs.writeTextFile("/srv/cgi-bin/back", script, { mode: 0o755 });
      await none.sh`head -c 3000000 /dev/zero > /srv/zeros; httpd -p 127.0.0.1:80 -h /srv`;
      const zeros = await none.fetch(80, "/zeros");
      assert.equal(zeros.status, 200);
      assert.equal((await zeros.bytes()).length, 3_000_000);
      assert.equal((await none.fetch(80, "/missing")).status, 404);
      const body = "sent and given back";
      const back = await none.fetch(
        80,
        new Request("http://any.test/cgi-bin/back", { method: "POST", body }),
      );
      assert.equal(await back.text(), body);
      await stage.nat.exec("true");
      await using connection = await stage.nat.connect(PORT);
      const writer = connection.writable.getWriter();
      await writer.write(new TextEncoder().encode("e\nby the channel, "));
      await writer.close();
      assert.equal(await new Response(connection.readable).text(), "by the channel, over");
    },
  ],
  ["A box process that is killed takes its network along", async ({ nat, home }) => {
    const port = portOf(nat);
    const { pid } = await nat.info();
    assert(pid !== null);
    const networks = () => networksOf(home, nat);
    assert.equal((await networks()).length, 1);
    Deno.kill(pid, "SIGKILL");
    await until(async () => (await networks()).length === 0, () => Promise.resolve("it lives on"));
    await assert.rejects(Deno.connect({ port }), Deno.errors.ConnectionRefused);
    await nat.remove({ force: true });
  }],
];

/** Plugins that decide about a box's network: a real client in the box, real servers here. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Box, definePlugin, type HutchEvent, type Plugin, Runtime } from "../../mod.ts";
import { Issuer, makeAuthority } from "../../src/network/intercept/authority.ts";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";
import { BOX, processesOf, TEST_ENGINE, until, withHome } from "./support.ts";

const curl = needs("curl");
const GATEWAY = "10.213.77.1";
/** This machine's curl, with its own libraries. */
const CURL =
  "/host/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path /host/lib/x86_64-linux-gnu " +
  "/host/bin/curl -sS --max-time 60";

Deno.test(`Plugins decide about a box's network, on ${TEST_ENGINE}${curl.note}`, {
  ignore: curl.ignore || Deno.build.arch !== "x86_64",
}, (test) =>
  withHome(async (home) => {
    await using folder = new TempFolder();
    await using stack = new AsyncDisposableStack();
    const theirs = await makeAuthority();
    const { certificate, key } = await (await Issuer.of(theirs)).issue("api.test");
    const heard: string[] = [];
    const handler = async (request: Request) => {
      heard.push(`${new URL(request.url).pathname} ${request.headers.get("x-by")}`);
      return new Response(`got ${(await request.text()).length}`);
    };
    const options = { hostname: "127.0.0.1", port: 0, onListen() {} };
    const secure = Deno.serve({ ...options, cert: certificate, key }, handler);
    stack.defer(() => secure.shutdown());
    const plain = Deno.serve(options, handler);
    stack.defer(() => plain.shutdown());
    const trusted = join(folder.path, "ca.pem");
    await Deno.writeTextFile(trusted, theirs.certificate);
    Deno.env.set("DENO_CERT", trusted); // what whoever starts the box trusts beside the usual
    stack.defer(() => Deno.env.delete("DENO_CERT"));

    const events: HutchEvent[] = [];
    const seen: string[] = [];
    const hear = (event: HutchEvent) => void events.push(event);
    const listener: Plugin = {
      name: "listener",
      on: {
        "network.denied": hear,
        "network.connected": hear,
        "network.closed": hear,
        "plugin.failed": hear,
      },
    };
    const decider = definePlugin({
      name: "decider",
      network: {
        hosts: ["api.test"],
        onDns({ name }) {
          if (name === "never.test") return "deny";
          if (name.endsWith(".test")) return { addresses: [GATEWAY], ttlS: 5 };
        },
        onConnect({ address, port, names, protocol }) {
          seen.push(`${protocol} ${names.join()} ${port}`);
          if (port === 1) throw new Error("ports of one digit");
          if (port === 2) return "deny";
          if (address === "93.184.216.34") return { address: "127.0.0.1", port: plain.addr.port };
        },
        onRequest(request, { connection }) {
          seen.push(`${request.method} ${connection.name}`);
          if (request.url.endsWith("/own")) return new Response("by the plugin");
          const made = new Request(request);
          made.headers.set("x-by", "decider");
          return made;
        },
      },
    });
    const said = async (box: Box, script: string) => {
      const { stdout, stderr } = await box.exec("sh", ["-c", script]);
      return stdout || stderr;
    };
    const denials = () => events.filter((event) => event.type === "network.denied");
    const told = (what: string, found: () => boolean) =>
      until(() => Promise.resolve(found()), () =>
        Promise.resolve(`${what} wasn't told of: ${JSON.stringify(events)}`));

    {
      await using runtime = await Runtime.open({ home, plugins: [listener, decider] });
      const box = await runtime.create({
        ...{ ...BOX, name: "decided", network: "open", volumes: ["/usr:/host:ro"] },
        detached: true,
        logConnections: true,
      });
      await test.step("Hooks answer for names, and see what is connected and requested", async () => {
        const url = `https://api.test:${secure.addr.port}`;
        assert.equal(await said(box, `${CURL} -d 12345 ${url}/a`), "got 5");
        assert.equal(await said(box, `${CURL} ${url}/own`), "by the plugin");
        const http = `http://other.test:${plain.addr.port}`;
        assert.equal(await said(box, `${CURL} ${http}/1 ${http}/2`), "got 0got 0");
        assert.deepEqual(heard, ["/a decider", "/1 decider", "/2 decider"]);
        assert(seen.includes(`tcp api.test ${secure.addr.port}`), seen.join("; "));
        assert.deepEqual(
          seen.filter((line) =>
            line.startsWith("GET other")
          ).length,
          2,
        );
        assert.match(await said(box, `${CURL} http://never.test/`), /resolve host/);
      });
      await test.step("Hooks send connections elsewhere, refuse them, and fail closed", async () => {
        const moved = await said(box, `${CURL} http://93.184.216.34:8080/moved`);
        assert.equal(moved, "got 0", "a literal address is looked into by itself");
        for (const port of [1, 2]) {
          assert.match(await said(box, `${CURL} http://${GATEWAY}:${port}/`), /refused|connect/);
        }
        await told("a denial", () => denials().length >= 3);
        assert.deepEqual(
          denials().map(({ hook, plugin, port }) => [hook, plugin, port]).slice(-2),
          [["failed", "decider", 1], ["refused", "decider", 2]],
        );
        const failed = events.find((event) => event.type === "plugin.failed");
        assert.match(JSON.stringify(failed), /network.onConnect.*ports of one digit/);
      });
      await test.step("What began and ended is told", async () => {
        const closed = () =>
          events.find((event) => event.type === "network.closed" && event.port === plain.addr.port);
        await told("the end of a connection", () => closed() !== undefined);
        const event = closed();
        assert(event?.type === "network.closed");
        assert(event.sentBytes > 50 && event.receivedBytes > 50, JSON.stringify(event));
        assert(
          events.some((each) =>
            each.type === "network.connected" && each.boxPort === event.boxPort
          ),
        );
      });
    }
    const before = denials().length;
    const get = `${CURL} http://${GATEWAY}:${plain.addr.port}/`;
    await test.step("Without the program that decided, nothing begins, which the next one hears", async () => {
      // What happens while nobody is there: a loop that was left in the box.
      await using runtime = await Runtime.open({ home, plugins: [listener] });
      const box = await runtime.get("decided");
      assert.match(await said(box, get), /refused|connect/);
      await told("that it is gone", () => denials().length > before);
      assert.deepEqual(denials().slice(before).map(({ hook, plugin }) => [hook, plugin])[0], [
        "gone",
        null,
      ]);
    });
    await test.step("A program that has the hooks again decides again", async () => {
      await using runtime = await Runtime.open({ home, plugins: [decider] });
      const box = await runtime.get("decided");
      assert.equal(await said(box, get), "got 0");
      await box.remove({ force: true });
    });
  }));

Deno.test(`A keeper decides about a detached box's network once its program is gone, on ${TEST_ENGINE}`, () =>
  withHome(async (home) => {
    await using folder = new TempFolder();
    using server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    void (async () => {
      for await (const connection of server) {
        void connection.write(new TextEncoder().encode("hello\n")).then(() => connection.close());
      }
    })();
    const module = join(folder.path, "plugin.ts");
    await Deno.writeTextFile(
      module,
      `export default { name: "kept", network: { onConnect: ({ port }) => port === 2 ? "deny" : undefined } };`,
    );
    const { default: plugin } = await import(`file://${module}`);
    {
      await using runtime = await Runtime.open({
        home,
        plugins: [plugin],
        pluginSpecifiers: [`file://${module}`],
      });
      const box = await runtime.create({ ...BOX, name: "kept", network: "open", detached: true });
      await box.start();
    }
    await using runtime = await Runtime.open({ home });
    const box = await runtime.get("kept");
    const get = async (port: number) =>
      (await box.exec("sh", ["-c", `nc ${GATEWAY} ${port} </dev/null`])).stdout;
    assert.equal(await get(server.addr.port), "hello\n");
    assert.equal(await get(2), "");
    const denied = async () => {
      const found: unknown[] = [];
      for await (const event of runtime.events({ since: new Date(0), follow: false })) {
        if (event.type === "network.denied") found.push([event.hook, event.plugin]);
      }
      return found;
    };
    // The keeper writes down what it hears.
    await until(
      async () => (await denied()).length > 0,
      () => Promise.resolve("no denial is kept"),
    );
    assert.deepEqual(await denied(), [["refused", "kept"]]);
    const keepers = async () =>
      (await processesOf(home)).filter(({ command }) => command.includes("keeper_process"));
    assert.equal((await keepers()).length, 1);
    await box.remove({ force: true });
    await until(
      async () => (await keepers()).length === 0,
      () => Promise.resolve("the keeper outlives its box"),
    );
  }));

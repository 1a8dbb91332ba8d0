/** A box with a secret: a real client in it, a real server here, and nothing of the value in between. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type HutchEvent, Runtime } from "../../mod.ts";
import { Issuer, makeAuthority } from "../../src/network/intercept/authority.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { fakeResolver } from "./network_peers.ts";
import { BOX, processesOf, TEST_ENGINE, until, withHome } from "./support.ts";

const curl = needs("curl");
const GATEWAY = "10.213.77.1";
const VALUE = "the-value-that-nobody-sees";
/** This machine's curl, with its own libraries. */
const CURL =
  "/host/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path /host/lib/x86_64-linux-gnu " +
  "/host/bin/curl -sS --max-time 60";

Deno.test(`A secret gets to its host alone, on ${TEST_ENGINE}${curl.note}`, {
  ignore: curl.ignore || Deno.build.arch !== "x86_64",
}, () =>
  withHome(async (home) => {
    await using folder = new TempFolder();
    await using stack = new AsyncDisposableStack();
    const theirs = await makeAuthority();
    const issuer = await Issuer.of(theirs);
    const { certificate, key } = await issuer.issue("api.test");
    const heard: string[] = [];
    const server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, cert: certificate, key, onListen() {} },
      (request) => {
        heard.push(request.headers.get("authorization") ?? "");
        return new Response(request.body ?? "got it");
      },
    );
    stack.defer(() => server.shutdown());
    const plain = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
      heard.push(request.headers.get("authorization") ?? "");
      return new Response("plain");
    });
    stack.defer(() => plain.shutdown());
    const resolver = stack.use(await fakeResolver({ "api.test": GATEWAY, "other.test": GATEWAY }));
    const trusted = join(folder.path, "ca.pem");
    await Deno.writeTextFile(trusted, theirs.certificate);
    Deno.env.set("DENO_CERT", trusted); // what whoever starts the box trusts beside the usual
    stack.defer(() => Deno.env.delete("DENO_CERT"));
    const events: HutchEvent[] = [];
    await using runtime = await Runtime.open({
      home,
      plugins: [{ name: "watch", on: { "secret.blocked": (event) => void events.push(event) } }],
    });
    await using box = await runtime.create({
      ...{ ...BOX, name: "holder", network: "open", volumes: ["/usr:/host:ro"] },
      dns: [`127.0.0.1:${resolver.port}`],
      allowNet: [`*.test:${server.addr.port}`, `*.test:${plain.addr.port}`],
      secrets: { TOKEN: { value: VALUE, hosts: ["api.test"] } },
    });
    const said = async (script: string) => await box.exec("sh", ["-c", script]);
    const { stdout: placeholder } = await said("printf %s $TOKEN");
    assert.match(placeholder, /^hutch-secret-[0-9a-f]{32}$/);
    const url = `https://api.test:${server.addr.port}/`;
    const auth = '-H "authorization: Bearer $TOKEN"';
    const got = await said(`${CURL} ${auth} -d "back $TOKEN" ${url}`);
    assert.equal(got.stdout, `back ${placeholder}`, got.stderr);
    const large = await said(`head -c 3000000 /dev/zero | ${CURL} --data-binary @- ${url} | wc -c`);
    assert.equal(large.stdout.trim(), "3000000", large.stderr);
    const other = await said(`${CURL} ${auth} http://other.test:${plain.addr.port}/`);
    assert.match(other.stdout, /the secret TOKEN isn't for this host/);
    const fine = await said(`${CURL} http://other.test:${plain.addr.port}/`);
    assert.equal(fine.stdout, "plain", fine.stderr);
    assert.deepEqual(heard, [`Bearer ${VALUE}`, "", ""]);
    await until(() => Promise.resolve(events.length === 1), () =>
      Promise.resolve(`the blocked secret wasn't told of: ${JSON.stringify(events)}`));
    const [event] = events;
    assert(event?.type === "secret.blocked");
    assert.deepEqual([event.secret, event.domain, event.name], ["TOKEN", "other.test", "holder"]);
    // In no file of home's (records, logs, the console, disks) and none beside its sockets.
    for (const folder of [home, Deno.env.get("XDG_RUNTIME_DIR") ?? home]) {
      const files = await runTool("grep", "-rlaF", "--devices=skip", VALUE, folder)
        .catch((error: unknown) =>
          String(error)
        );
      assert.match(files, /failed with 1/, "the value is in a file");
    }
    // Nor in what other programs of this machine's see of ours.
    const own = await processesOf(home);
    assert(own.length > 1);
    for (const { pid, command } of own) {
      const seen = command + await Deno.readTextFile(`/proc/${pid}/environ`);
      assert(!seen.includes(VALUE), `the value is told to ${command}`);
    }
    const told = await Array.fromAsync(runtime.events({ since: new Date(0), follow: false }));
    assert(told.length > 2 && !JSON.stringify(told).includes(VALUE), "an event has the value");
    const info = await box.info();
    assert(!JSON.stringify(info).includes(VALUE));
    const interceptors = async () =>
      (await processesOf(home)).filter(({ command }) => /\/intercept\/main\.ts $/.test(command));
    assert.equal((await interceptors()).length, 1);
    Deno.kill(info.pid ?? 0, "SIGKILL");
    await until(
      async () => (await interceptors()).length === 0,
      () => Promise.resolve("the interceptor outlives its box process"),
    );
    await box.remove({ force: true });
  }));

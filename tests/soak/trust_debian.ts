/** That programs of a real Debian trust a box's interceptor: curl, Python, Java. Takes minutes. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Box, Runtime } from "../../mod.ts";
import { debian } from "../../plugins/debian.ts";
import { Issuer, makeAuthority } from "../../src/network/intercept/authority.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { BOX, TEST_ENGINE, withHome } from "../e2e/support.ts";

const mmdebstrap = needs("mmdebstrap", "apt-get");
const INCLUDE = ["ca-certificates", "curl", "python3", "default-jdk-headless"];
/** Without them a program has what its distribution gives it. */
const VARIABLES = ["SSL_CERT_FILE", "DENO_CERT", "NODE_EXTRA_CA_CERTS"];

const JAVA = `import java.net.*;
public class Ask {
  public static void main(String[] words) throws Exception {
    var connection = new URL(words[0]).openConnection();
    connection.setRequestProperty("x-token", System.getenv("TOKEN"));
    System.out.print(new String(connection.getInputStream().readAllBytes()));
  }
}
`;
const PYTHON = `import os, sys, urllib.request as r
print(r.urlopen(r.Request(sys.argv[1], headers={"x-token": os.environ["TOKEN"]})).read().decode())
`;

/** Whether this machine's mirror of Debian answers. */
async function mirrorAnswers(): Promise<boolean> {
  const uris = await runTool("apt-get", "indextargets", "--format", "$(REPO_URI)").catch(() => "");
  const [uri] = uris.split("\n").filter((each) => each.startsWith("http"));
  if (uri === undefined) return false;
  const answer = await fetch(new URL("dists/", uri), { signal: AbortSignal.timeout(10_000) })
    .catch(() => undefined);
  await answer?.body?.cancel();
  return answer !== undefined;
}

Deno.test(
  `Debian's curl, Python and Java trust a box's interceptor, on ${TEST_ENGINE}${mmdebstrap.note}`,
  {
    ignore: mmdebstrap.ignore,
  },
  () =>
    withHome(async (home) => {
      if (!await mirrorAnswers()) return console.log("skipped: no mirror of Debian answers");
      await using folder = new TempFolder();
      await using stack = new AsyncDisposableStack();
      const theirs = await makeAuthority();
      const { certificate, key } = await (await Issuer.of(theirs)).issue("api.test");
      const server = Deno.serve(
        { hostname: "127.0.0.1", port: 0, cert: certificate, key, onListen() {} },
        (request) => new Response(request.headers.get("x-token")),
      );
      stack.defer(() => server.shutdown());
      const trusted = join(folder.path, "ca.pem");
      await Deno.writeTextFile(trusted, theirs.certificate);
      Deno.env.set("DENO_CERT", trusted);
      stack.defer(() => Deno.env.delete("DENO_CERT"));
      await using runtime = await Runtime.open({ home, plugins: [debian({ include: INCLUDE })] });
      await using box = await runtime.create({
        ...{ ...BOX, image: "debian:bookworm", memory: "1g", network: "open" },
        extraHosts: { "api.test": "host-gateway" },
        secrets: { TOKEN: { value: "the value", hosts: ["api.test"] } },
      });
      const url = `https://api.test:${server.addr.port}/`;
      await box.fs.writeTextFile("/root/Ask.java", JAVA);
      await box.fs.writeTextFile("/root/ask.py", PYTHON);
      await box.sh`javac -d /root /root/Ask.java`;
      const asks: readonly (readonly string[])[] = [
        ["sh", "-c", 'exec curl -sS -H "x-token: $TOKEN" "$0"', url],
        ["python3", "/root/ask.py", url],
        ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", "/root", "Ask", url],
      ];
      for (const ask of asks) {
        assert.equal(await said(box, ask), "the value");
        assert.equal(
          await said(box, ["env", ...VARIABLES.flatMap((name) => ["-u", name]), ...ask]),
          "the value",
        );
      }
      // What the distribution's own program makes of its folders holds it too.
      await said(box, ["update-ca-certificates"]);
      for (const ask of asks) {
        assert.equal(await said(box, ["env", "-u", "SSL_CERT_FILE", ...ask]), "the value");
      }
      // Java looks: a box without an interceptor meets the server's own certificate.
      await using plain = await runtime.create({
        ...{ ...BOX, image: "debian:bookworm", memory: "512m", network: "open" },
        extraHosts: { "api.test": "host-gateway" },
      });
      await plain.fs.writeFile("/root/Ask.class", await box.fs.readFile("/root/Ask.class"));
      assert.match(await said(plain, asks[2] ?? []), /SSLHandshakeException/);
    }),
);

async function said(box: Box, [command = "", ...args]: readonly string[]): Promise<string> {
  const { stdout, stderr } = await box.exec(command, args);
  return stdout.trim() || stderr.trim();
}

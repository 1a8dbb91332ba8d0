import assert from "node:assert/strict";
import { NO_HOOKS } from "../../src/network/hooks.ts";
import { secretConfigs, type SecretOptions, secretVariables } from "../../src/network/secrets.ts";
import { type InterceptedSecret, Leak, Swapper } from "../../src/network/intercept/swap.ts";

Deno.test("secretConfigs gives each secret a placeholder, and keeps no value", () => {
  const configs = secretConfigs({
    TOKEN: { value: "precious", hosts: ["API.example.org.", "*.example.com"] },
    OTHER: { from: "vault", hosts: ["a.test"], places: ["query", "body"] },
  });
  assert(!JSON.stringify(configs).includes("precious"));
  const [token, other] = configs;
  assert.match(token?.placeholder ?? "", /^hutch-secret-[0-9a-f]{32}$/);
  assert.notEqual(token?.placeholder, other?.placeholder);
  assert.deepEqual({ ...token, placeholder: "" }, {
    name: "TOKEN",
    placeholder: "",
    hosts: ["api.example.org", "*.example.com"],
    places: ["header"],
    from: null,
  });
  assert.deepEqual([other?.places, other?.from], [["query", "body"], "vault"]);
  const variables = secretVariables({ secrets: configs, hooks: NO_HOOKS });
  assert.equal(variables.TOKEN, token?.placeholder);
  assert.equal(variables.NODE_EXTRA_CA_CERTS, "/etc/ssl/hutch.pem");
  assert.deepEqual(secretVariables({ secrets: [], hooks: NO_HOOKS }), {});
  const hooks = { kinds: ["request"], hosts: [] } as const;
  assert.equal(secretVariables({ secrets: [], hooks }).DENO_CERT, variables.DENO_CERT);
});

const hosts = ["a.test"];
const bad: readonly (readonly [Readonly<Record<string, SecretOptions>>, RegExp])[] = [
  [{ "A B": { value: "x", hosts } }, /can't be a variable's/],
  [{ HUTCH_X: { value: "x", hosts } }, /can't be a variable's/],
  [{ A: { hosts } }, /either a value or a plugin/],
  [{ A: { value: "x", from: "env", hosts } }, /either a value or a plugin/],
  [{ A: { value: "", hosts } }, /a header can have/],
  [{ A: { value: "hid\nden", hosts } }, /a header can have/],
  [{ A: { value: "x", hosts: [] } }, /no host/],
  [{ A: { value: "x", hosts: ["*"] } }, /no host's name/],
  [{ A: { value: "x", hosts: ["1.2.3.4"] } }, /no host's name/],
  [{ A: { value: "x", hosts: ["a.test:443"] } }, /no host's name/],
  [{ A: { value: "x", hosts, places: [] } }, /places/],
];

for (const [secrets, message] of bad) {
  Deno.test(`secretConfigs refuses ${JSON.stringify(secrets)}, and doesn't show a value`, () => {
    assert.throws(() => secretConfigs(secrets), (error: Error) => {
      assert.match(error.message, message);
      assert(!error.message.includes("hid"));
      return true;
    });
  });
}

const secret: InterceptedSecret = {
  name: "A",
  value: "longer than what stands for it, $& and all",
  placeholder: "aabaac",
  hosts: ["own.test"],
  places: ["body"],
};

Deno.test("BodySwapper finds placeholders however they are cut", () => {
  const whole = new TextEncoder().encode("aabaacaabaabaacaaXaabaacaabaa");
  const wanted = new TextDecoder().decode(whole).replaceAll(secret.placeholder, () => secret.value);
  for (let first = 0; first <= whole.length; first++) {
    for (let second = first; second <= whole.length; second++) {
      const swapper = new Swapper([secret], "own.test").body();
      assert(swapper);
      const parts = [whole.slice(0, first), whole.slice(first, second), whole.slice(second)];
      const made = [...parts.map((part) => swapper.piece(part)), swapper.end()];
      assert.equal(made.map((part) => new TextDecoder().decode(part)).join(""), wanted);
    }
  }
});

Deno.test("BodySwapper lets nothing of a placeholder go elsewhere, however it is cut", () => {
  const whole = new TextEncoder().encode("xaabaacx");
  for (let cut = 0; cut <= whole.length; cut++) {
    const swapper = new Swapper([secret], "other.test").body();
    assert.throws(() => {
      swapper?.piece(whole.slice(0, cut));
      swapper?.piece(whole.slice(cut));
    }, Leak);
  }
});

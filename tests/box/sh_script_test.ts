import assert from "node:assert/strict";
import { quoteShell, rawShell, shellScript, type ShellValue } from "../../src/box/sh_script.ts";
import { HutchError } from "../../src/errors.ts";
import { fc } from "../deps.ts";
import { TempFolder } from "../support/temp.ts";

/** The shells of this machine: what runs in a box's /bin/sh may be any of them. */
const shells = [["/bin/sh"], ["bash", "--posix"], ["bash"], ["busybox", "sh"]].filter(([name]) =>
  name !== undefined && works(name)
);

function works(program: string): boolean {
  try {
    return new Deno.Command(program, { args: ["-c", "true"], stdout: "null", stderr: "null" })
      .outputSync() !== undefined;
  } catch {
    return false;
  }
}

function runIn(shell: readonly string[], script: string, cwd = "/"): Uint8Array {
  const [program = "", ...args] = shell;
  return new Deno.Command(program, {
    args: [...args, "-c", script],
    ...{ cwd, stdin: "null", stderr: "null", clearEnv: true, env: { PATH: "/bin:/usr/bin" } },
  }).outputSync().stdout;
}

function script(pieces: TemplateStringsArray, ...values: ShellValue[]): string {
  return shellScript(pieces.raw, values);
}

/** Texts that can be arguments, rich in what shells read. */
const argument = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: fc.constantFrom(..."'\"\\$`!#~*?[]{}();&|<> \t\n\r-=%aé") }),
).filter((text) => !text.includes("\0"));

Deno.test("quoteShell makes a word of any text, for each shell", () => {
  const encoder = new TextEncoder();
  for (const shell of shells) {
    fc.assert(
      fc.property(fc.array(argument, { maxLength: 20 }), (words) => {
        const given = script`printf '%s\0' start ${words}`;
        const want = ["start", ...words].map((word) => `${word}\0`).join("");
        assert.deepEqual(runIn(shell, given), encoder.encode(want));
      }),
      { numRuns: 60 },
    );
  }
});

Deno.test("a value is one word wherever the shell reads words", () => {
  const value = `a  'b' "c" $HOME \`id\` $(id) \\ # x;\n`;
  const places: readonly (readonly [string, string])[] = [
    [script`printf %s ${value}`, value],
    [script`printf %s "$(printf %s ${value})"x`, `${value.trimEnd()}x`],
    [script`printf %s "$(printf "%s" ${value} | cat)"`, value.trimEnd()],
    [script`(printf %s ${value})`, value],
    [script`{ printf %s ${value}; }`, value],
    [script`v=${value}; printf %s "$v"`, value],
    [
      script`# it's "fine
      printf %s ${value}`,
      value,
    ],
    [script`case ${value} in ${value}) printf yes;; esac`, "yes"],
    [script`printf %s \' ${value}`, `'${value}`],
    [script`echo 'a"b' >/dev/null; printf %s ${value}`, value],
    [script`printf %s "\"$((1 + 2))" ${value}`, `"3${value}`],
    [script`printf %s $((2 * ${21}))`, "42"],
    [script`printf %s $((2 * (${1} << ${"3"})))`, "16"],
    [script`printf %s a${value}b`, `a${value}b`],
    [script`printf '%s,' ${[]} ${["x y", 7, 8n]} end`, "x y,7,8,end,"],
    [script`printf %s ${value} ${rawShell("| tr -d '\\n'; #")} gone`, value.trimEnd()],
    [script`x=1; printf %s $x${rawShell("${x}")} ${value}`, `11${value}`],
    [script`${"printf"} ${"%s"} if`, "if"],
    [script`{ printf %s >&2 ${value}; } 2>&1`, value],
    [script`{ printf %s ${value} >& 2; } 2>&1; true ${value}`, value],
  ];
  for (const shell of shells) {
    for (const [text, want] of places) {
      assert.equal(new TextDecoder().decode(runIn(shell, text)), want, `${shell}: ${text}`);
    }
  }
});

const refused: readonly (readonly [() => string, RegExp])[] = [
  [() => script`echo "${"a"}"`, /within quotes/],
  [() => script`echo '${"a"}'`, /within quotes/],
  [() => script`echo "$(echo "${"a"}")"`, /within quotes/],
  [() => script`echo "$(echo)${"a"}"`, /within quotes/],
  [() => script`echo x # ${"a"}`, /in a comment/],
  [() => script`echo ${rawShell("`")}${"a"}`, /within backquotes/],
  [() => script`echo "${rawShell("`")}${"a"}`, /within backquotes/],
  [() => script`cat <<EOF${"\n"}`, /here-document/],
  [() => script`echo >&${"a"}`, /after >&/],
  [() => script`echo >& 2${"a"}`, /after >&/],
  [() => script`echo $${"a"}`, /after a \$/],
  [() => script`echo ${rawShell("${x}#<<E\n")}${"a"}`, /here-document/],
  [() => script`(true)#'a' ${"a"}`, /in a comment/],
  [() => script`((1))#${"a"}`, /after arithmetic and a #/],
  [() => script`echo $'a' ${"a"}`, /after a \$'…'/],
  [() => script`echo ${rawShell("\\")}${"a"}`, /after a backslash/],
  [() => script`echo ${rawShell("${x:-")}${"a"}}`, /after a \$\{…\} with words/],
  [() => script`echo ${rawShell("${")}${"a"}}`, /within \$\{…\}/],
  [() => script`echo $((${"a[$(id)]"}))`, /in arithmetic/],
  [() => script`echo $((1 + (${"1 "})))`, /in arithmetic/],
  [() => script`echo ((${"a"}))`, /in arithmetic/],
  [() => script`echo "$(case x in x) echo ${"a"};; esac)"`, /after a `case`/],
  [() => script`echo ${"a\0b"}`, /has a NUL/],
  [() => script`echo ${rawShell("\0")}`, /has a NUL/],
  [() => script`echo ${"\ud800"}`, /well-formed/],
  [() => shellScript(["echo ", ""], JSON.parse("[null]")), /it is null/],
  [() => shellScript(["echo ", ""], JSON.parse("[true]")), /it is boolean/],
  [() => shellScript(["echo ", ""], JSON.parse('[{"text":"; id"}]')), /it is an object/],
  [() => shellScript(["echo ", ""], JSON.parse("[[[1]]]")), /an array in an array/],
];

Deno.test("a value that can't be quoted where it stands is refused", () => {
  for (const [make, message] of refused) {
    assert.throws(
      make,
      (error) =>
        error instanceof HutchError && error.code === "invalid_option" &&
        message.test(error.message),
      String(message),
    );
  }
  assert.throws(() => quoteShell("\0"), /NUL/);
});

/** Text around values: all that opens, closes or hides something. */
const piece = fc.array(
  fc.constantFrom(
    ...["'", '"', "`", "$", "(", ")", "((", "))", "$(", "$((", "${x}", "${x:-", "{", "}", "\\"],
    ...["#", " #", "\n", " ", ";", "<<", "<<E\n", "E\n", "$'", '$"', "a", "=", "|", "&", ">&2"],
    ...["case x in x)", ";; esac", "case", "echo ", "printf %s ", "[[ ", "]]", "!", "1", "+"],
  ),
  { maxLength: 8 },
).map((parts) => parts.join(""));

Deno.test("no text around a value makes any shell run what is in it", async () => {
  await using folder = new TempFolder();
  // Whatever it is read as, it would leave a file.
  const evil = "x$(>got)`>got`'$(>got)`>got`;>got;'\"$(>got);>got;\"\n>got\n)>got\n}>got #\\";
  const values = fc.constantFrom(evil, "';>got;'", '";>got;"', "a[$(>got)]", "$(>got)", "\n>got\n");
  let made = 0;
  fc.assert(
    fc.property(fc.array(piece, { minLength: 2, maxLength: 4 }), values, (pieces, value) => {
      let text: string;
      try {
        text = shellScript(pieces, pieces.slice(1).map(() => value));
      } catch (error) {
        assert(error instanceof HutchError);
        return;
      }
      made++;
      for (const shell of shells) {
        runIn(shell, text, folder.path);
        const left = [...Deno.readDirSync(folder.path)].map(({ name }) => name);
        for (const name of left) Deno.removeSync(`${folder.path}/${name}`);
        assert(!left.includes("got"), `${shell} ran a value in ${JSON.stringify(text)}`);
      }
    }),
    { numRuns: Number(Deno.env.get("SH_RUNS") ?? 300) },
  );
  assert(made > 20, `only ${made} scripts were made`);
});

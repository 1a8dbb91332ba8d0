/**
 * Adds up what the groups of `scripts/test` left behind, names what failed and what was skipped, and
 * ends with the line `N passed, N failed`.
 *
 *     deno run -R scripts/test_summary.ts RECORDS
 *     deno run -R scripts/test_summary.ts --failed REPORT
 *
 * RECORDS is a file of lines `KIND<tab>CODE<tab>NAME<tab>BASE`. KIND is `check` (one test: its exit
 * code), `suite` (a run of `deno test`: report in `BASE.xml`) or `skip` (one test; BASE is the
 * reason). What was printed is in `BASE.log`.
 *
 * `--failed` prints a pattern of the names of the tests that failed, nothing if none did or more than ten:
 * then something is broken, and the next try wouldn't tell more. Where they were run once more, what that gave is in `BASE.again.xml`, and who passed then is named.
 *
 * @module
 */

/** What came out of one record. */
export interface Tally {
  passed: number;
  readonly failed: Notice[];
  readonly skipped: Notice[];
  /** Passed when they were run once more. */
  readonly again: Notice[];
}

/** A test to name at the end, with what it said. */
export interface Notice {
  readonly name: string;
  readonly reason: string;
}

/** One line of the records. */
export interface Entry {
  readonly kind: "check" | "suite" | "skip";
  readonly code: number;
  readonly name: string;
  /** Text of the report; undefined when there is none. */
  readonly report?: string | undefined;
  /** That of the second run of those that failed. */
  readonly again?: string | undefined;
  /** What was printed, or the reason. */
  readonly log: string;
}

interface Case {
  readonly suite: string;
  readonly name: string;
  readonly result: "passed" | "failed" | "skipped";
  readonly text: string;
}

/** Adds up one entry. A suite that ended without saying how counts as one failure. */
export function tallyOf(entry: Entry): Tally {
  if (entry.kind === "skip") {
    const skipped = [{ name: entry.name, reason: entry.log }];
    return { passed: 0, failed: [], skipped, again: [] };
  }
  if (entry.kind === "check") {
    return entry.code === 0 ? { passed: 1, failed: [], skipped: [], again: [] } : failure(entry);
  }
  const cases = casesOf(entry.report ?? "");
  if (cases === undefined) return failure(entry);
  const tally: Tally = { passed: 0, failed: [], skipped: [], again: [] };
  const second = new Set(
    casesOf(entry.again ?? "")?.filter(({ result }) => result === "passed").map(keyOf),
  );
  const names = new Set(cases.map(keyOf));
  for (const each of cases) {
    const { suite, name, result, text } = each;
    const reason = result === "failed" ? reasonOf(each, cases) : text;
    const notice = { name: `${entry.name}: ${suite}: ${name}`, reason };
    // A step counts with its test, which fails with it; but nobody else tells of a skipped one.
    const isStep = isStepOf(keyOf(each), names);
    if (result === "skipped") tally.skipped.push(notice);
    else if (isStep) continue;
    else if (result === "failed" && !second.has(keyOf(each))) {
      tally.failed.push(notice);
    } else {
      tally.passed++;
      if (result === "failed") tally.again.push(notice);
    }
  }
  // Modules that fail outside of any test aren't in the report.
  for (const module of uncaughtIn(entry.log)) {
    tally.failed.push({ name: `${entry.name}: ${module}`, reason: "error outside of any test" });
  }
  const silent = entry.code !== 0 && tally.failed.length + tally.again.length === 0;
  if (silent || cases.length + tally.failed.length === 0) tally.failed.push(ended(entry));
  return tally;
}

/** What a test said when it failed, and what its steps said. */
function reasonOf(failed: Case, cases: readonly Case[]): string {
  const own = new Set([keyOf(failed)]);
  const steps = cases.filter((other) => isStepOf(keyOf(other), own));
  return [failed, ...steps].map(({ text }) => text).filter((text) => text !== "").join("\n");
}

function failure(entry: Entry): Tally {
  return { passed: 0, failed: [ended(entry)], skipped: [], again: [] };
}

function keyOf({ suite, name }: Case): string {
  return `${suite}\n${name}`;
}

/** How many failures a second run is for. */
const FEW = 10;

/** A pattern of the tests that failed; empty if none did, or many. */
export function failedNames(report: string): string {
  const cases = casesOf(report) ?? [];
  const names = new Set(cases.map(({ name }) => name));
  const failed = cases.filter(({ name, result }) => result === "failed" && !isStepOf(name, names));
  if (failed.length === 0 || failed.length > FEW) return "";
  const escaped = failed.map(({ name }) => name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  return `/^(?:${escaped.join("|")})$/`;
}

/** Whether a case is a step of a test that is among `names`. */
function isStepOf(name: string, names: ReadonlySet<string>): boolean {
  return [...name.matchAll(/ > /g)].some(({ index }) => names.has(name.slice(0, index)));
}

function ended({ name, code, log }: Entry): Notice {
  const last = plain(log).trimEnd().split("\n").slice(-8).join("\n");
  return { name, reason: `ended with code ${code}\n${last}`.trimEnd() };
}

/** The cases of a JUnit report as Deno writes it, or undefined if it isn't whole. */
function casesOf(report: string): Case[] | undefined {
  if (!report.trimEnd().endsWith("</testsuites>")) return undefined;
  const cases: Case[] = [];
  for (
    const [, attributes = "", body = ""] of report.matchAll(
      /<testsuite ([^>]*)>([\s\S]*?)<\/testsuite>/g,
    )
  ) {
    const suite = attribute(attributes, "name");
    const pattern = /<testcase ([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g;
    for (const [, of = "", inner = ""] of body.matchAll(pattern)) {
      const failure = /<(?:failure|error)\b[^>]*?(?:\/>|>([\s\S]*?)<\/(?:failure|error)>)/.exec(
        inner,
      );
      const result = failure ? "failed" : inner.includes("<skipped") ? "skipped" : "passed";
      const text = unescape(failure?.[1] ?? "").split("\n").slice(0, 6).join("\n");
      cases.push({ suite, name: attribute(of, "name"), result, text });
    }
  }
  return cases;
}

function attribute(attributes: string, name: string): string {
  return unescape(new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(attributes)?.[1] ?? "");
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

function unescape(text: string): string {
  return text.replace(/&(?:#(x?)([0-9a-f]+)|(\w+));/gi, (all, hex, number, name) => {
    if (name !== undefined) return ENTITIES[name] ?? all;
    const code = parseInt(number, hex ? 16 : 10);
    return code <= 0x10ffff ? String.fromCodePoint(code) : all;
  });
}

function uncaughtIn(log: string): Set<string> {
  return new Set(
    [...plain(log).matchAll(/^(\S.*) \(uncaught error\)$/gm)].map(([, name = ""]) => name),
  );
}

/** Without a terminal's colours. */
function plain(text: string): string {
  // deno-lint-ignore no-control-regex -- colours in logs are what is taken out
  return text.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, "").replaceAll("\r", "");
}

/** The text that ends a run, and whether nothing failed. */
export function summaryOf(tallies: readonly Tally[]): { text: string; ok: boolean } {
  const passed = tallies.reduce((sum, tally) => sum + tally.passed, 0);
  const failed = tallies.flatMap((tally) => tally.failed);
  const skipped = tallies.flatMap((tally) => tally.skipped);
  const lines = [
    ...listed("Passed at the second try", tallies.flatMap((tally) => tally.again)),
    ...listed("Failed", failed),
    ...listed("Skipped", skipped),
  ];
  const ok = failed.length === 0 && passed > 0;
  const failures = ok ? 0 : Math.max(failed.length, 1);
  const tail = skipped.length > 0 ? `, ${skipped.length} skipped` : "";
  return { text: [...lines, `${passed} passed, ${failures} failed${tail}`].join("\n"), ok };
}

function listed(title: string, notices: readonly Notice[]): string[] {
  if (notices.length === 0) return [];
  const texts = notices.map(({ name, reason }) =>
    [name, ...reason.split("\n").filter((line) => line !== "").map((line) => `    ${line}`)].join(
      "\n  ",
    )
  );
  return [`${title}:`, ...texts.map((text) => `  ${text}`), ""];
}

function readEntry(line: string): Entry {
  const [kind, code, name = "", base = ""] = line.split("\t");
  if (kind !== "check" && kind !== "suite" && kind !== "skip") {
    throw new Error(`Bad record: ${line}`);
  }
  const log = kind === "skip" ? base : read(`${base}.log`) ?? "";
  return {
    ...{ kind, code: Number(code), name, log },
    ...{ report: read(`${base}.xml`), again: read(`${base}.again.xml`) },
  };
}

function read(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

if (import.meta.main && Deno.args[0] === "--failed") {
  const names = failedNames(read(Deno.args[1] ?? "") ?? "");
  if (names !== "") console.log(names);
} else if (import.meta.main) {
  const lines = Deno.readTextFileSync(Deno.args[0] ?? "").split("\n").filter((line) => line !== "");
  const { text, ok } = summaryOf(lines.map((line) => tallyOf(readEntry(line))));
  console.log(text);
  if (!ok) Deno.exit(1);
}

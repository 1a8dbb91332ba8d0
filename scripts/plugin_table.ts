/**
 * Writes the table of hooks in plugins/README.md from src/plugin/contract.ts. `scripts/checks.ts`
 * compares the two.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Where the table is from. */
export const CONTRACT = "src/plugin/contract.ts";
/** Where the table is. */
export const GUIDE = "plugins/README.md";
const BEGIN = "<!-- The table of hooks: deno task plugin-table writes it. -->\n";
const END = "<!-- The end of the table of hooks. -->\n";

/** One member of an interface. */
export interface Member {
  readonly name: string;
  /** Its documentation as one line. */
  readonly doc: string;
  /** Its type as one line. */
  readonly type: string;
}

/** The interfaces in the table: title, and the fields of their members' types as columns. */
const PARTS = [
  ["Stages", "Stages (`stages`)", ["input", "output"]],
  ["Operations", "Operations (`operations`)", ["input", "output"]],
  ["Queries", "Queries (`resolve`)", ["question", "answer"]],
  ["NetworkDecisions", "Networks (`network`)", ["question", "answer"]],
  ["Events", "Events (`on`)", []],
] as const;

/** The whole table, as Markdown. */
export function pluginTable(contract: string): string {
  return PARTS.map(([name, title, columns]) => {
    const members = membersOf(contract, name);
    const heads = ["name", "what it is", ...(columns.length > 0 ? columns : ["payload"])];
    const rows = members.map((member) => [
      `\`${member.name}\``,
      member.doc,
      ...(columns.length > 0
        ? columns.map((column) => code(fieldOf(member, column)))
        : [code(member.type)]),
    ]);
    const lines = [heads, heads.map(() => "---"), ...rows].map((cells) =>
      `| ${cells.join(" | ")} |`
    );
    return `### ${title}\n\n${lines.join("\n")}\n`;
  }).join("\n");
}

/**
 * A guide with the table put in the place of the one that it has.
 *
 * @throws Error when the guide doesn't say where that is.
 */
export function withTable(guide: string, contract: string): string {
  const [from, to] = [guide.indexOf(BEGIN), guide.indexOf(END)];
  if (from < 0 || to < from) throw new Error(`${GUIDE} has no place for the table of hooks`);
  const table = `<!-- deno-fmt-ignore-start -->\n\n${
    pluginTable(contract)
  }\n<!-- deno-fmt-ignore-end -->`;
  return `${guide.slice(0, from)}${BEGIN}\n${table}\n\n${guide.slice(to)}`;
}

/**
 * The members of an exported interface, in their order.
 *
 * @throws Error for an interface that isn't there and a member without documentation.
 */
export function membersOf(source: string, name: string): Member[] {
  const start = new RegExp(`^export interface ${name} \\{$`, "m").exec(source);
  if (!start) throw new Error(`there is no interface ${name}`);
  const body = source.slice(start.index + start[0].length, source.indexOf("\n}\n", start.index));
  const found: Member[] = [];
  const member = /\s*(?:\/\*\*(?<doc>(?:[^*]|\*(?!\/))*)\*\/\s*)?(?<name>"[^"]+"|\w+): /y;
  for (let match = member.exec(body); match; match = member.exec(body)) {
    const { doc = "", name: key = "" } = match.groups ?? {};
    const end = endOf(body, member.lastIndex);
    const known = key.replaceAll('"', "");
    const told = doc.split("\n").map((line) => line.replace(/^\s*\*? ?/, "")).join(" ").trim();
    if (told === "") throw new Error(`${name}.${known} has no documentation`);
    found.push({ name: known, doc: told, type: oneLine(body.slice(member.lastIndex, end)) });
    member.lastIndex = end + 1;
  }
  return found;
}

/** Where the type that begins at `from` ends: at the first `;` outside of all brackets. */
function endOf(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === ";" && depth === 0) return at;
    if ("{[(<".includes(character)) depth++;
    if ("}])>".includes(character) && !text.endsWith("=>", at + 1)) depth--;
  }
  throw new Error(`a type has no end: ${text.slice(from, from + 60)}`);
}

/** The type of one field of an object type. */
function fieldOf({ name, type }: Member, field: string): string {
  const inside = /^\{(.*)\}$/s.exec(type)?.[1] ?? "";
  for (let at = 0; at < inside.length;) {
    const end = endOf(`${inside};`, at);
    const [, key, value] = /^\s*(\w+): (.*)$/s.exec(inside.slice(at, end)) ?? [];
    if (key === field && value !== undefined) return value.trim();
    at = end + 1;
  }
  throw new Error(`${name} has no ${field}`);
}

function oneLine(type: string): string {
  return type.replace(/\/\*\*.*?\*\//gs, "").replace(/\s+/g, " ").replace(/; \}/g, " }").trim();
}

/** Code in a cell of a table. */
function code(text: string): string {
  return `\`${text.replaceAll("|", "\\|")}\``;
}

if (import.meta.main) {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  const guide = join(root, GUIDE);
  const contract = Deno.readTextFileSync(join(root, CONTRACT));
  Deno.writeTextFileSync(guide, withTable(Deno.readTextFileSync(guide), contract));
}

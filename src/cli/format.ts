/**
 * Texts for people: tables, ages, sizes.
 *
 * @module
 */

/**
 * `text` with control characters shown instead of obeyed: names, reasons and console lines may
 * come from a guest or a registry, and a terminal does what they say.
 */
export function printable(text: string): string {
  return text.replace(
    // deno-lint-ignore no-control-regex -- they are what is looked for
    /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (char) => {
      const code = char.charCodeAt(0);
      return code < 0x100
        ? `\\x${code.toString(16).padStart(2, "0")}`
        : `\\u${code.toString(16).padStart(4, "0")}`;
    },
  );
}

/** Rows under a header, in columns as wide as their widest cell; each line ends with a newline. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const cells = [header, ...rows.map((row) => row.map(printable))];
  const widths = header.map(() => 0);
  for (const row of cells) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, widthOf(cell));
    });
  }
  return cells.map((row) => {
    const line = widths.map((width, column) => {
      const cell = row[column] ?? "";
      return cell + " ".repeat(width - widthOf(cell));
    });
    return line.join("   ").trimEnd() + "\n";
  }).join("");
}

/** In characters; those that take two units of UTF-16 are rare. */
function widthOf(text: string): number {
  return /[\ud800-\udbff]/.test(text) ? [...text].length : text.length;
}

const UNITS: readonly (readonly [name: string, seconds: number])[] = [
  ["year", 365 * 86_400],
  ["month", 30 * 86_400],
  ["week", 7 * 86_400],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

/** A length of time in its largest whole unit, such as `3 hours`; `under a second` when short. */
export function formatDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  for (const [name, length] of UNITS) {
    const count = Math.floor(seconds / length);
    if (count >= 1) return `${count} ${name}${count === 1 ? "" : "s"}`;
  }
  // Clocks step back: a start in the future is shown as just now.
  return "under a second";
}

/** `512 MiB`, `2 GiB`, `1.5 GiB`: at most one decimal. */
export function formatMiB(mib: number): string {
  return formatBytes(mib * 1024 * 1024);
}

/** Bytes in the largest binary unit, with at most one decimal. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  // Not beyond 1023.95: it would show as 1024 of the smaller unit.
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Math.round(value * 10) / 10} ${units[unit] ?? ""}`;
}

/** A reference as people write it: without what is understood. */
export function shortReference(reference: string): string {
  return reference.replace(/^registry:/, "").replace(/^docker\.io\/(library\/(?=[^/]+$))?/, "");
}

/** The beginning of a digest that people tell images apart by. */
export function short(digest: string): string {
  return printable(digest.replace(/^(sha256:[0-9a-f]{12})[0-9a-f]+$/, "$1"));
}

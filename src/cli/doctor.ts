/**
 * `hutch doctor`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { DoctorReport } from "../runtime/doctor.ts";
import type { RepairReport } from "../runtime/repair.ts";
import type { EnginePart } from "../vmm/engine.ts";
import type { Invocation } from "./command.ts";
import { printable } from "./format.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";

interface Flags {
  readonly json?: boolean;
  readonly repair?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command
    .option("--json", "the report as JSON")
    .option("--repair", "rebuild the home's database; keeps a copy of what is damaged");
}

/** Prints what was found; 1 when no engine can run here, or a repair couldn't restore all. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, io, open } = invocation;
  if (command.opts<Flags>().repair) return await runRepair(invocation);
  await using runtime = await open();
  const report = await runtime.doctor();
  if (command.opts<Flags>().json) await printJson(io.stdout, "doctor", report);
  else await print(io.stdout, formatReport(report));
  return report.ok ? 0 : 1;
}

async function runRepair({ command, io, globals }: Invocation): Promise<number> {
  const { repairHome } = await import("../runtime/repair.ts");
  const report = await repairHome(globals.home === undefined ? {} : { home: globals.home });
  if (command.opts<Flags>().json) await printJson(io.stdout, "doctor --repair", report);
  else await print(io.stdout, formatRepair(report));
  const { boxes, images, volumes, snapshots } = report;
  return [boxes, images, volumes, snapshots].every(({ lost }) => lost.length === 0) ? 0 : 1;
}

/** What a repair did, for people. */
export function formatRepair(
  { home, problems, copies, boxes, images, volumes, snapshots }: RepairReport,
): string {
  if (problems.length + copies.length === 0) {
    return `Nothing is wrong with ${
      printable(home)
    }: ${boxes.kept} boxes, ${images.kept} images.\n`;
  }
  const lines = [
    ...problems.map((problem) => `found     ${problem}`),
    ...copies.map((path) => `copy      ${path}`),
    `boxes     ${boxes.kept} kept, ${boxes.restored.length} restored, ${boxes.lost.length} lost`,
    ...boxes.restored.map(({ id, name, status }) => `  restored  ${id}  ${name}  ${status}`),
    ...boxes.lost.map(({ folder, problem }) => `  lost      ${folder ?? "no folder"}: ${problem}`),
    `images    ${images.kept} kept, ${images.restored.length} restored, ${images.lost.length} lost`,
    ...images.restored.map((reference) => `  restored  ${reference}`),
    ...images.lost.map(({ reference, problem }) => `  lost      ${reference}: ${problem}`),
    ...counts("volumes  ", volumes),
    ...volumes.restored.map((name) => `  restored  ${name}`),
    ...volumes.lost.map(({ folder, problem }) => `  lost      ${folder}: ${problem}`),
    ...counts("snapshots", snapshots),
    ...snapshots.restored.map((name) => `  restored  ${name}`),
    ...snapshots.lost.map(({ path, problem }) => `  lost      ${path}: ${problem}`),
  ];
  return lines.map((line) => `${printable(line)}\n`).join("");
}

/** A line of counts; none where there is nothing of the kind. */
function counts(
  what: string,
  { kept, restored, lost }: {
    readonly kept: number;
    readonly restored: readonly unknown[];
    readonly lost: readonly unknown[];
  },
): string[] {
  if (kept + restored.length + lost.length === 0) return [];
  return [`${what} ${kept} kept, ${restored.length} restored, ${lost.length} lost`];
}

/** The report for people: a line per engine and part, the remedies under what is missing. */
export function formatReport(report: DoctorReport): string {
  const { kvm } = report;
  const lines = [`home     ${printable(report.home)}`];
  if (report.config !== undefined) lines.push(`config   ${printable(report.config)}`);
  if (report.plugins.length > 0) lines.push(`plugins  ${printable(report.plugins.join(", "))}`);
  const time = kvm.ms === undefined ? "" : ` (probe: ${Math.round(kvm.ms * 10) / 10} ms)`;
  lines.push(
    `kvm      ${
      kvm.usable ? "works" : `can't be used: ${printable(kvm.problem ?? "unknown")}`
    }${time}`,
  );
  if (kvm.remedy !== undefined) lines.push(remedyLine(kvm.remedy));
  lines.push(`guarded  ${guardText(report.confinement)}`);
  for (const part of report.parts) lines.push(...partLines(part));
  for (const engine of report.engines) {
    const state = engine.usable ? "usable" : "not usable";
    const boundary = engine.isolated
      ? "hardware virtualisation"
      : "software emulation: not an isolation boundary";
    lines.push(
      "",
      `engine ${engine.name}: ${state}${engine.usable ? `, ${boundary}` : ""}${
        engine.chosen ? "  <- taken by auto" : ""
      }`,
    );
    for (const part of engine.found) lines.push(...partLines(part));
  }
  if (!report.ok) lines.push("", "Nothing can run here: mend what is marked with ! above.");
  return lines.join("\n") + "\n";
}

/** What keeps box processes to their boxes, beside Deno's permissions. */
function guardText(
  { landlock, landlockVersion, seccomp }: DoctorReport["confinement"],
): string {
  return [
    landlock
      ? `by Landlock (version ${landlockVersion})`
      : "not by Landlock, which the kernel lacks",
    seccomp ? "by seccomp" : "not by seccomp, which the kernel lacks",
  ].join(", ");
}

function partLines(part: EnginePart): string[] {
  const mark = part.problem === undefined ? "ok" : part.optional === true ? " -" : " !";
  const facts = [
    part.name,
    part.version ?? "",
    part.path ?? "",
    part.problem === undefined ? "" : `- ${part.problem}`,
  ].filter((fact) => fact !== "").map(printable);
  const lines = [`  ${mark} ${facts.join("  ")}`];
  if (part.remedy !== undefined) lines.push(remedyLine(part.remedy));
  return lines;
}

function remedyLine(remedy: string): string {
  return `       -> ${remedy.split("\n").map(printable).join("\n          ")}`;
}

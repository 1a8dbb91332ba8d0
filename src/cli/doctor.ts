/**
 * `hutch doctor`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { DoctorReport } from "../runtime/doctor.ts";
import type { EnginePart } from "../vmm/engine.ts";
import type { Invocation } from "./command.ts";
import { printable } from "./format.ts";
import { print, printJson } from "./io.ts";

interface Flags {
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.option("--json", "the report as JSON");
}

/** Prints what was found; 1 when no engine can run here. */
export async function run({ command, io, open }: Invocation): Promise<number> {
  await using runtime = await open();
  const report = await runtime.doctor();
  if (command.opts<Flags>().json) await printJson(io.stdout, report);
  else await print(io.stdout, formatReport(report));
  return report.ok ? 0 : 1;
}

/** The report for people: a line per engine and part, the remedies under what is missing. */
export function formatReport(report: DoctorReport): string {
  const { kvm } = report;
  const lines = [`home     ${printable(report.home)}`];
  const time = kvm.ms === undefined ? "" : ` (probe: ${Math.round(kvm.ms * 10) / 10} ms)`;
  lines.push(
    `kvm      ${
      kvm.usable ? "works" : `can't be used: ${printable(kvm.problem ?? "unknown")}`
    }${time}`,
  );
  if (kvm.remedy !== undefined) lines.push(remedyLine(kvm.remedy));
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

function partLines(part: EnginePart): string[] {
  const mark = part.problem === undefined ? "ok" : " !";
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

import assert from "node:assert/strict";
import { formatReport } from "../../src/cli/doctor.ts";
import type { DoctorReport } from "../../src/runtime/doctor.ts";

const REPORT: DoctorReport = {
  ok: true,
  home: "/home/me/.hutch",
  plugins: [],
  kvm: { usable: false, ms: 231.44, problem: "guests are emulated", remedy: "use a real machine" },
  confinement: { landlock: true, landlockVersion: 4, seccomp: false },
  parts: [{ name: "helper", path: "/h.so" }],
  engines: [
    {
      name: "qemu",
      usable: true,
      isolated: false,
      chosen: true,
      found: [{ name: "qemu-system-x86_64", path: "/usr/bin/q", version: "7.2.1" }],
    },
    {
      name: "libkrun",
      usable: false,
      isolated: true,
      chosen: false,
      found: [{ name: "libkrun", problem: "it is not\x1b installed", remedy: "one\ntwo" }],
    },
  ],
};

Deno.test("formatReport shows what was found, the probe's time and each remedy", () => {
  assert.equal(
    formatReport(REPORT),
    `home     /home/me/.hutch
kvm      can't be used: guests are emulated (probe: 231.4 ms)
       -> use a real machine
guarded  by Landlock (version 4), not by seccomp, which the kernel lacks
  ok helper  /h.so

engine qemu: usable, software emulation: not an isolation boundary  <- taken by auto
  ok qemu-system-x86_64  7.2.1  /usr/bin/q

engine libkrun: not usable
   ! libkrun  - it is not\\x1b installed
       -> one
          two
`,
  );
});

Deno.test("formatReport says when nothing can run here, and when KVM works", () => {
  const text = formatReport({ ...REPORT, ok: false, kvm: { usable: true, ms: 0.31 }, engines: [] });
  assert.match(text, /kvm {6}works \(probe: 0\.3 ms\)\n/);
  assert.match(text, /Nothing can run here/);
});

Deno.test("formatReport shows the configuration file and the plugins in use", () => {
  const text = formatReport({
    ...REPORT,
    config: "/w/hutch.config.ts",
    plugins: ["audit", "x\x1b"],
  });
  assert(text.includes("\nconfig   /w/hutch.config.ts\nplugins  audit, x\\x1b\nkvm "), text);
});

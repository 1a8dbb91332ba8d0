import assert from "node:assert/strict";
import { type BoxOptions, Runtime } from "../../mod.ts";
import { TempFolder } from "../support/temp.ts";
import "../support/native.ts";

const IMAGE = "builtin:busybox";

Deno.test("Runtime.create asks for an image as its policy says, or its defaults'", async () => {
  await using home = new TempFolder();
  {
    await using runtime = await Runtime.open({ home: home.path, defaults: { pull: "never" } });
    await assert.rejects(runtime.create({ image: IMAGE }), { code: "image_not_found" });
    assert.deepEqual(await runtime.images.list(), []);
    await runtime.create({ image: IMAGE, pull: "missing", name: "one" });
    await runtime.create({ image: IMAGE, name: "two" });
    const odd: BoxOptions = JSON.parse(`{"image":"${IMAGE}","pull":"sometimes"}`);
    await assert.rejects(runtime.create(odd), {
      code: "invalid_option",
      message: /policy/,
    });
    const boxes = await runtime.list({ all: true });
    assert.deepEqual(boxes.map(({ name }) => name), ["one", "two"]);
    const [image] = await runtime.images.list();
    assert.equal(image?.boxes, 2);
  }
});

Deno.test("Runtime.images tells of names that come and go, and counts them", async () => {
  await using home = new TempFolder();
  const heard: string[] = [];
  await using runtime = await Runtime.open({
    home: home.path,
    plugins: [{
      name: "ears",
      on: {
        "image.tagged": ({ reference }) => void heard.push(`+ ${reference}`),
        "image.removed": ({ reference }) => void heard.push(`- ${reference}`),
      },
    }],
  });
  const { digest } = await runtime.images.pull(IMAGE, { disk: false });
  await runtime.images.tag(IMAGE, "mine:1");
  await runtime.images.remove(digest, { force: true });
  const mine = "registry:docker.io/library/mine:1";
  assert.equal((await runtime.metrics()).images.removed, 2);
  const recorded: string[] = [];
  for await (const event of runtime.events({ since: 0, follow: false })) {
    if (event.type === "image.tagged" || event.type === "image.removed") {
      recorded.push(`${event.type === "image.tagged" ? "+" : "-"} ${event.reference}`);
    }
  }
  assert.deepEqual(recorded, [`+ ${mine}`, `- ${IMAGE}`, `- ${mine}`]);
  assert.deepEqual(heard, recorded);
});

Deno.test("Runtime.close ends a save and a load that nobody finishes", async () => {
  await using home = new TempFolder();
  const runtime = await Runtime.open({ home: home.path });
  await runtime.images.pull(IMAGE, { disk: false });
  const begun = Promise.withResolvers<void>();
  const saving = runtime.images.save([IMAGE], {
    to: new WritableStream({
      write() {
        begun.resolve();
        return new Promise(() => {}); // nobody takes it
      },
    }),
  });
  const loading = runtime.images.load(new ReadableStream({ pull: () => new Promise(() => {}) }));
  const ended = Promise.allSettled([saving, loading]);
  await begun.promise;
  await runtime.close();
  for (const result of await ended) {
    assert.ok(result.status === "rejected");
    assert.equal(result.reason.code, "cancelled", String(result.reason));
  }
  const left = await Array.fromAsync(Deno.readDir(`${home.path}/blobs/partial`));
  assert.deepEqual(left, []);
});

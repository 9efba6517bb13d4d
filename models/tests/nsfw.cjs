// What nsfwjs' MobileNetV2Mid says of pictures: `node nsfw.cjs NODE_MODULES`, a picture a line on
// standard input as `WIDTH HEIGHT PATH` of raw RGB; a JSON list of the classes' probabilities each.
const fs = require("node:fs");
const path = require("node:path");
const modules = path.resolve(process.argv[2]);
const load = (name) => require(path.join(modules, name));

const CLASSES = ["Drawing", "Hentai", "Neutral", "Porn", "Sexy"];

async function main() {
  console.info = console.warn = () => {};
  const tf = load("@tensorflow/tfjs");
  await tf.setBackend("cpu");
  const net = await load("nsfwjs").load("MobileNetV2Mid");
  for (const line of fs.readFileSync(0, "utf8").split("\n").filter(Boolean)) {
    const [, width, height, place] = line.match(/^(\d+) (\d+) (.*)$/);
    const bytes = new Uint8Array(fs.readFileSync(place));
    const image = tf.tensor3d(bytes, [Number(height), Number(width), 3], "int32");
    const found = await net.classify(image);
    image.dispose();
    const by = Object.fromEntries(found.map((entry) => [entry.className, entry.probability]));
    process.stdout.write(JSON.stringify(CLASSES.map((name) => by[name])) + "\n");
  }
}

main();

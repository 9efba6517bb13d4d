// Small pictures of what this browser sent, by the hash that the service gave them. Nobody else has
// them: the service keeps no pictures.

/** Longest side, in pixels. */
const SIDE = 192;
/** Most that are kept. */
const MOST = 400;

const memory = new Map();
let opened = null;

function database() {
  opened ??= new Promise((resolve) => {
    let asked;
    try {
      asked = indexedDB.open("omnizap", 1);
    } catch {
      return resolve(null);
    }
    asked.onupgradeneeded = () => {
      const store = asked.result.createObjectStore("thumbs", { keyPath: "hash" });
      store.createIndex("at", "at");
    };
    asked.onsuccess = () => resolve(asked.result);
    // A private window has none: the page's own memory has to do.
    asked.onerror = () => resolve(null);
    asked.onblocked = () => resolve(null);
  });
  return opened;
}

const done = (request) =>
  new Promise((resolve) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(null);
  });

/** A small picture of a file, or null where the browser cannot read it. */
export async function draw(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return null;
  }
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/webp", 0.85));
}

export async function remember(hash, blob, name) {
  memory.set(hash, { blob, name });
  if (memory.size > MOST) memory.delete(memory.keys().next().value);
  const open = await database();
  if (open === null) return;
  try {
    const store = open.transaction("thumbs", "readwrite").objectStore("thumbs");
    await done(store.put({ hash, blob, name, at: Date.now() }));
    const over = (await done(store.count())) - MOST;
    if (over <= 0) return;
    const oldest = (await done(store.index("at").getAllKeys(null, over))) ?? [];
    for (const old of oldest) store.delete(old);
  } catch {
    // A full disk: this page still has it.
  }
}

/** `{ blob, name }` of a picture that this browser sent, or null. */
export async function recall(hash) {
  const held = memory.get(hash);
  if (held !== undefined) return held;
  const open = await database();
  if (open === null) return null;
  try {
    return await done(open.transaction("thumbs").objectStore("thumbs").get(hash));
  } catch {
    return null;
  }
}

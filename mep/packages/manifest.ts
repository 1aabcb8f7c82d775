/**
 * What does a package say about its own files?
 *
 * A manifest as ETSI GS NFV-SOL 004 §4.3.2 has it, in a file `<name>.mf` at the root of the package: some metadata, then for
 * each file a block of three lines, blocks apart by an empty line:
 *
 *   Source: images/squid.tar
 *   Algorithm: SHA-256
 *   Hash: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
 *
 * Every file of the package but the manifest and its signature stands in it, and nothing else does.
 */
export interface Manifest {
  metadata: Record<string, string>;
  /** Hexadecimal, lower case, by path. */
  hashes: Map<string, { algorithm: "sha256" | "sha512"; hash: string }>;
}

const algorithms: Record<string, { name: "sha256" | "sha512"; digits: number }> = {
  "SHA-256": { name: "sha256", digits: 64 },
  SHA256: { name: "sha256", digits: 64 },
  "SHA-512": { name: "sha512", digits: 128 },
  SHA512: { name: "sha512", digits: 128 },
};

/** Lines of a block as pairs; undefined when one is no `Name: value`. */
function pairs(block: readonly string[]): [string, string][] | undefined {
  const found = block.map((line) => /^\s*([A-Za-z_][A-Za-z0-9_-]*)\s*:\s*(.*?)\s*$/.exec(line));
  return found.every((match) => match !== null)
    ? found.map((match) => [match?.[1] ?? "", match?.[2] ?? ""])
    : undefined;
}

/** Everything that is wrong goes to `problems`. */
export function parseManifest(text: string, problems: string[]): Manifest {
  const manifest: Manifest = { metadata: {}, hashes: new Map() };
  const blocks: { line: number; lines: string[] }[] = [];
  let open: { line: number; lines: string[] } | undefined;
  for (const [index, line] of text.replace(/\r\n?/g, "\n").split("\n").entries()) {
    if (line.trim() === "") open = undefined;
    else if (open) open.lines.push(line);
    else {
      open = { line: index + 1, lines: [line] };
      blocks.push(open);
    }
  }
  for (const { line, lines } of blocks) {
    const isMetadata = /^\s*metadata\s*:\s*$/i.test(lines[0] ?? "");
    const found = pairs(isMetadata ? lines.slice(1) : lines);
    const fail = (why: string) => problems.push(`manifest, line ${line}: ${why}`);
    if (!found) {
      fail('each line must be "Name: value"');
      continue;
    }
    if (isMetadata) {
      manifest.metadata = Object.assign(Object.create(null), manifest.metadata, Object.fromEntries(found));
      continue;
    }
    const members = new Map(found.map(([name, value]) => [name.toLowerCase(), value]));
    const [source, named, hash] = ["source", "algorithm", "hash"].map((name) => members.get(name) ?? "");
    const algorithm = Object.hasOwn(algorithms, (named ?? "").toUpperCase())
      ? algorithms[(named ?? "").toUpperCase()]
      : undefined;
    if (!source) fail("a block without Source");
    else if (!algorithm) fail(`${source}: Algorithm must be SHA-256 or SHA-512`);
    else if (!new RegExp(`^[0-9a-fA-F]{${algorithm.digits}}$`).test(hash ?? "")) {
      fail(`${source}: Hash must be ${algorithm.digits} hexadecimal digits`);
    } else if (manifest.hashes.has(source)) fail(`${source} is there twice`);
    else manifest.hashes.set(source, { algorithm: algorithm.name, hash: (hash ?? "").toLowerCase() });
  }
  return manifest;
}

/** The text of a manifest: files in the order of their names, so that the same files make the same text. */
export function formatManifest(metadata: Record<string, string>, hashes: ReadonlyMap<string, string>): string {
  const head = [
    "metadata:",
    ...Object.entries(metadata).map(([name, value]) => `  ${name}: ${value.replace(/\s+/g, " ")}`),
  ];
  const blocks = [...hashes]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([source, hash]) => [`Source: ${source}`, "Algorithm: SHA-256", `Hash: ${hash}`]);
  return `${[head, ...blocks].map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

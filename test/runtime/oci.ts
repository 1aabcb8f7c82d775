/**
 * What is an image, when no registry and no build tool is there?
 *
 * An OCI archive (OCI image layout in a tar file): `oci-layout`, `index.json`, and blobs named by their digests: one layer, its
 * configuration, the manifest. Written here octet by octet, from one statically linked program.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { repository } from "../lab/appliance.ts";

interface Entry {
  name: string;
  /** Absent: a directory. */
  content?: Uint8Array;
  mode?: number;
}

const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

/** POSIX ustar. */
export function tar(entries: readonly Entry[]): Buffer {
  const blocks = entries.flatMap(({ name, content, mode }) => {
    const header = Buffer.alloc(512);
    const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, "0")}\0`;
    header.write(name, 0, 100);
    header.write(octal(mode ?? (content ? 0o644 : 0o755), 8), 100);
    header.write(octal(0, 8), 108);
    header.write(octal(0, 8), 116);
    header.write(octal(content?.length ?? 0, 12), 124);
    header.write(octal(0, 12), 136);
    header.write("        ", 148);
    header.write(content ? "0" : "5", 156);
    header.write("ustar\0" + "00", 257);
    const sum = header.reduce((total, octet) => total + octet, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    const body = content
      ? Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)])
      : Buffer.alloc(0);
    return [header, body];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

export interface ImageOptions {
  /** OCI image configuration, `config`. */
  config?: { Entrypoint?: string[]; Cmd?: string[]; Env?: string[]; User?: string };
  files: readonly Entry[];
}

/** The octets of an OCI archive. */
export function ociArchive({ config = {}, files }: ImageOptions): Buffer {
  const layer = tar(files);
  const packed = gzipSync(layer);
  const configuration = Buffer.from(
    JSON.stringify({
      architecture: process.arch === "x64" ? "amd64" : process.arch,
      os: "linux",
      config,
      rootfs: { type: "layers", diff_ids: [`sha256:${sha256(layer)}`] },
      history: [{ created_by: "test" }],
    }),
  );
  const blob = (mediaType: string, data: Uint8Array) => ({
    mediaType,
    digest: `sha256:${sha256(data)}`,
    size: data.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: blob("application/vnd.oci.image.config.v1+json", configuration),
      layers: [blob("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
    }),
  );
  const index = { schemaVersion: 2, manifests: [blob("application/vnd.oci.image.manifest.v1+json", manifest)] };
  return tar([
    { name: "oci-layout", content: Buffer.from(JSON.stringify({ imageLayoutVersion: "1.0.0" })) },
    { name: "index.json", content: Buffer.from(JSON.stringify(index)) },
    ...[packed, configuration, manifest].map((data) => ({ name: `blobs/sha256/${sha256(data)}`, content: data })),
  ]);
}

/** Builds app.c into an image in `directory`. */
export function testImage(directory: string, config: ImageOptions["config"] = {}): { archive: string; digest: string } {
  const program = join(directory, "app");
  execFileSync("cc", ["-static", "-Os", "-Wall", "-Werror", "-o", program, join(repository, "test/runtime/app.c")]);
  const archive = join(directory, "image.tar");
  const data = ociArchive({
    config: { Entrypoint: ["/app"], ...config },
    files: [
      ...["etc/", "tmp/", "run/", "proc/", "sys/", "dev/"].map((name) => ({ name })),
      { name: "app", content: readFileSync(program), mode: 0o755 },
    ],
  });
  writeFileSync(archive, data);
  return { archive, digest: `sha256:${sha256(data)}` };
}

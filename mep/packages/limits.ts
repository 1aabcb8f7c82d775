/**
 * How large may a package be?
 *
 * A zip of a few kilobytes can claim to hold petabytes; what is beyond these is refused before it is unpacked.
 */
export interface PackageLimits {
  /** Bytes of the zip. */
  content: number;
  /** Bytes of all files together. */
  unpacked: number;
  files: number;
  /** Bytes of AppD and of manifest, each. */
  document: number;
  /** Unpacked bytes for each packed one, of files over `ratioFrom` bytes. */
  ratio: number;
  ratioFrom: number;
  /** Packages at once. */
  packages: number;
}

export const packageLimits: PackageLimits = {
  content: 2 * 2 ** 30,
  unpacked: 4 * 2 ** 30,
  files: 4096,
  document: 2 ** 20,
  ratio: 200,
  ratioFrom: 2 ** 20,
  packages: 1024,
};

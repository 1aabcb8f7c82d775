/**
 * How does an AppD become a VNFD, and a VNFD an AppD?
 *
 * Row by row (table.ts): what the table maps is carried unchanged, both ways, so that a way there and back gives the same. What it
 * does not map is named in `lost`, with the reason; what the result lacks to be whole is named in `missing`. Nothing is invented.
 *
 *   An AppD describes one virtual machine: it becomes one deployment unit (vdu), and of a VNFD with several the first is taken.
 */
import { plain, required, table as rows } from "./table.ts";

export type Fields = Record<string, unknown>;

export interface Lost {
  /** `vdu.1`, `appTrafficRule`. */
  path: string;
  why: string;
}

export interface Converted {
  result: Fields;
  lost: Lost[];
  /** Attributes that the result has to have, and that somebody has to add. */
  missing: string[];
}

const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [value]);
const missingOf = (result: Fields, names: readonly string[]) => names.filter((name) => result[name] === undefined);

const single = "an AppD describes one virtual machine";

/** Why an attribute of one side has no place on the other. */
function reason(side: "vnfd" | "appd", name: string): string {
  const known = rows.some((row) => row[side] === name);
  const other = side === "vnfd" ? "an AppD" : "a VNFD";
  return known ? `${other} has no such attribute (Table 3)` : `is not in Table 3`;
}

/** Which of the two it is; undefined when it is neither. */
export function kindOf(value: unknown): "appd" | "vnfd" | undefined {
  if (!isObject(value)) return undefined;
  if (Object.hasOwn(value, "appDId")) return "appd";
  return Object.hasOwn(value, "vnfdId") ? "vnfd" : undefined;
}

export function appdToVnfd(appd: Fields): Converted {
  const result: Fields = {};
  const lost: Lost[] = [];
  for (const [name, value] of Object.entries(appd)) {
    const row = plain.find((one) => one.appd === name);
    if (row) result[row.vnfd] = value;
    else if (name === "swImageDescriptor") {
      const id = typeof appd.appName === "string" ? appd.appName : "app";
      result.vdu = [{ vduId: id, name: id, swImageDescriptor: value }];
    } else if (name === "virtualComputeDescriptor") result.virtualComputeDesc = [value];
    else lost.push({ path: name, why: reason("appd", name) });
  }
  return { result, lost, missing: missingOf(result, required.vnfd) };
}

/** Its software images, as IFA 011 or as Table 3 names them. */
function imagesOf(vdu: Fields): unknown {
  return vdu.swImageDescriptor ?? vdu.swImageDesc;
}

function fromVdus(value: unknown, lost: Lost[]): unknown {
  const [first, ...more] = listOf(value);
  for (const index of more.keys()) lost.push({ path: `vdu.${index + 1}`, why: single });
  if (!isObject(first)) return undefined;
  for (const name of Object.keys(first)) {
    // Names of the unit, which an AppD does not need.
    if (["swImageDescriptor", "swImageDesc", "vduId", "name"].includes(name)) continue;
    lost.push({ path: `vdu.0.${name}`, why: reason("vnfd", "vdu") });
  }
  return imagesOf(first);
}

export function vnfdToAppd(vnfd: Fields): Converted {
  const result: Fields = {};
  const lost: Lost[] = [];
  for (const [name, value] of Object.entries(vnfd)) {
    const row = plain.find((one) => one.vnfd === name);
    if (row) result[row.appd] = value;
    else if (name === "vdu") {
      const images = fromVdus(value, lost);
      if (images !== undefined) result.swImageDescriptor = images;
    } else if (name === "virtualComputeDesc") {
      const [first, ...more] = listOf(value);
      if (first !== undefined) result.virtualComputeDescriptor = first;
      for (const index of more.keys()) lost.push({ path: `virtualComputeDesc.${index + 1}`, why: single });
    } else if (name === "deploymentFlavour") {
      lost.push({ path: name, why: reason("vnfd", name) });
      for (const [index, flavour] of listOf(value).entries()) {
        if (!isObject(flavour) || flavour.vnfLcmOperationsConfiguration === undefined) continue;
        const path = `deploymentFlavour.${index}.vnfLcmOperationsConfiguration`;
        lost.push({ path, why: reason("vnfd", "deploymentFlavour.vnfLcmOperationsConfiguration") });
      }
    } else lost.push({ path: name, why: reason("vnfd", name) });
  }
  return { result, lost, missing: missingOf(result, required.appd) };
}

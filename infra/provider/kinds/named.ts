/**
 * How is something asked for at a site that has a name there, and is whole in one document?
 *
 * Its id is its name. Services and DNS rules are such: POST makes one, PUT and DELETE of its own path change and remove it.
 */
import { isDeepStrictEqual } from "node:util";
import type { Site } from "../../site.ts";
import { type Kind, made, type Properties } from "../kind.ts";

/** All of a kind but its type and its check. @param path of the collection */
export function named(path: string): Omit<Kind, "type" | "check"> {
  const at = (name: string): string => `${path}/${encodeURIComponent(name)}`;
  /** An answer may have got lost: it is there exactly as it is wanted, then. */
  const same = (site: Site, wanted: Properties) => async (): Promise<Properties | undefined> => {
    const found = await site.get<Properties>(at(String(wanted.name)));
    return isDeepStrictEqual(found, wanted) ? found : undefined;
  };
  return {
    fixed: ["name"],

    async create(site, inputs) {
      const post = () => site.change("POST", path, inputs, same(site, inputs));
      return { id: String(inputs.name), ...(await made(post, same(site, inputs))) };
    },

    async read(site, id) {
      const inputs = await site.get<Properties>(at(id));
      return inputs && { inputs };
    },

    async update(site, id, inputs) {
      await site.change("PUT", at(id), inputs, same(site, inputs));
      return {};
    },

    async remove(site, id) {
      const gone = async () => ((await site.get(at(id))) === undefined ? true : undefined);
      if (await gone()) return;
      await site.change("DELETE", at(id), undefined, gone);
    },
  };
}

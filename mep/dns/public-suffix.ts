/**
 * Is a name everybody's, so that no app may have it?
 *
 * Top-level domains, and the names right below one under which registries sell names to anybody. Not the whole public suffix
 * list, which changes every week: the country registries that sort by kind of owner (`co.uk`, `com.au`), by pattern, and a
 * few that no pattern shows. What a package is granted is looked at by whoever onboards it; this stops what nobody means.
 */
const kinds = new Set("ac co com edu gob gouv gov govt gv ltd mil ne net nom or org plc sch school".split(" "));
const single = new Set(
  "me.uk id.au go.jp go.kr go.th go.id in-addr.arpa ip6.arpa e164.arpa home.arpa eu.org github.io".split(" "),
);

/** `name`: in lower case, without the dot at the end. */
export function isPublicSuffix(name: string): boolean {
  const labels = name.split(".");
  const [kind = "", country = ""] = labels;
  return labels.length < 2 || single.has(name) || (labels.length === 2 && country.length === 2 && kinds.has(kind));
}

/**
 * How is a page followed in the lab that `npm start` makes?
 *
 * Pages call the machines by the names that they have there; here a mount namespace gives the machines of a test's own lab these
 * names. Every difference of a section is told, not only the first.
 */
import { existsSync, mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { Scene } from "../acceptance/scene.ts";
import { repository } from "../lab/appliance.ts";
import { platform } from "../lab/cache.ts";
import { internet } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { matches, type Section, Shell } from "./tutorial.ts";

const machines = ["tof", "app", "ue0"];
/** Of resolvers of namespaces, which a page may give the phone. */
const resolvers = "/etc/netns";

export class PageInLab {
  readonly #scene: Scene;
  readonly #page: string;
  readonly #shell: Shell;
  readonly #madeResolvers: boolean;
  #broken: string | undefined;

  /** In a lab of its own, whose phone the Internet answers. */
  static async open(page: string): Promise<PageInLab> {
    const scene = await Scene.open({ egress: true, site: { extra: { mep: platform } } });
    try {
      const ue = await scene.lab.attach(0);
      await until(
        "the Internet to answer the phone",
        async () => (await scene.lab.phoneHttp(ue, `http://${internet.other}/`)).server === "internet",
      );
      return new PageInLab(scene, page);
    } catch (error) {
      scene.complain();
      await scene.close();
      throw error;
    }
  }

  private constructor(scene: Scene, page: string) {
    this.#scene = scene;
    this.#page = page;
    this.#madeResolvers = !existsSync(resolvers);
    mkdirSync(resolvers, { recursive: true });
    const { directory } = scene.lab.machines;
    const [home, names] = [join(directory, "home"), join(directory, "netns")];
    for (const one of [home, names]) mkdirSync(one);
    this.#shell = new Shell(directory, repository, { HOME: home }, this.#named(names));
  }

  /** `lab-…` is this lab's; what is written about the phone's resolver goes when the shell does. */
  #named(directory: string): string {
    const bind = machines.map((name) => {
      const own = `${directory}/lab-${name}`;
      return `touch ${own}; mount --bind /run/netns/${this.#scene.lab.ns(name)} ${own}`;
    });
    return [...bind, `mount --rbind ${directory} /run/netns`, `mount -t tmpfs tmpfs ${resolvers}`].join("\n");
  }

  /** Types a section's commands. @throws Error with every difference to what the page shows */
  async follow({ title, steps }: Section): Promise<void> {
    if (this.#broken) throw new Error(`not tried: "${this.#broken}" has failed before`);
    const different: string[] = [];
    for (const { line, code, output } of steps) {
      const at = `${this.#page}:${line}`;
      let printed: string;
      try {
        printed = await this.#shell.run(code);
      } catch (error) {
        this.#broken = title;
        this.#scene.complain();
        throw new Error(`${at}: ${(error as Error).message}`);
      }
      if (output && !matches(output, printed)) {
        different.push(`${at}: prints\n${printed}\nand not\n${output.text}`);
      } else if (!output && printed.trim() !== "") different.push(`${at}: prints, unsaid\n${printed}`);
    }
    if (different.length > 0) throw new Error(different.join("\n\n"));
  }

  async close(): Promise<void> {
    await this.#shell.close();
    if (this.#madeResolvers) rmdirSync(resolvers);
    await this.#scene.close();
  }
}

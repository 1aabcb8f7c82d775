/**
 * What does each acceptance test begin and end with?
 *
 * A lab, Offramp in it, and the certainty that both are gone afterwards. When a test fails, what Offramp and the peers
 * said goes to stderr, for those who have only the report.
 */
import { Appliance, type SiteOptions } from "../lab/appliance.ts";
import { FakeGateway, GtpPeer } from "../lab/gtp-peer.ts";
import { baseStationAddress, gatewayAddress, Lab, type LabOptions } from "../lab/lab.ts";

export interface SceneOptions extends LabOptions {
  site?: SiteOptions;
  /** False when the test starts Offramp itself. */
  start?: boolean;
}

export class Scene {
  readonly lab: Lab;
  readonly appliance: Appliance;
  private readonly closers: { close: () => unknown }[] = [];

  private constructor(lab: Lab, site: SiteOptions | undefined) {
    this.lab = lab;
    this.appliance = new Appliance(lab, site);
  }

  static async open(options: SceneOptions = {}): Promise<Scene> {
    const lab = await Lab.create(options);
    const scene = new Scene(lab, options.site);
    try {
      if (options.start !== false) await scene.appliance.start();
    } catch (error) {
      await scene.close();
      throw error;
    }
    return scene;
  }

  /** Closed with the scene. */
  own<T extends { close: () => unknown }>(thing: T): T {
    this.closers.push(thing);
    return thing;
  }

  /** Base station `b` by script. */
  station(b = 0, address = baseStationAddress(b)): GtpPeer {
    return this.own(new GtpPeer(this.lab.ns(`ran${b}`), address));
  }

  /** Gateway `g` by script; the lab must have been made with `realCore: false`. */
  gateway(g = 0, address = gatewayAddress(g)): FakeGateway {
    return this.own(new FakeGateway(this.lab.ns(`core${g}`), address));
  }

  /** Everything for `serviceIP` to the app. */
  service(name: string, serviceIP: string, applicationIP = this.lab.app.address, more: object = {}): Promise<unknown> {
    return this.appliance.addService({ name, serviceIP, applicationIP, ...more });
  }

  /** Removes all services and their flows. */
  async clear(): Promise<void> {
    const services = await this.appliance.api<{ name: string }[]>("GET", "/service");
    for (const { name } of services) {
      await this.appliance.api("DELETE", `/service/${encodeURIComponent(name)}?flush=true`);
    }
  }

  async close(): Promise<void> {
    for (const one of this.closers) await one.close();
    await this.appliance.destroy();
    await this.lab.destroy();
  }

  complain(): void {
    process.stderr.write(`--- offramp\n${this.appliance.log().slice(-3000)}\n${this.lab.logs()}\n`);
  }
}

/** A test body with a scene of its own. */
export const inScene =
  (options: SceneOptions, body: (scene: Scene) => Promise<void>): (() => Promise<void>) =>
  async () => {
    const scene = await Scene.open(options);
    try {
      await body(scene);
    } catch (error) {
      scene.complain();
      throw error;
    } finally {
      await scene.close();
    }
  };

/** A test in a scene: when it fails, the scene says what happened there. */
export const telling = (scene: () => Scene | undefined, body: () => Promise<void>) => async (): Promise<void> => {
  try {
    await body();
  } catch (error) {
    scene()?.complain();
    throw error;
  }
};

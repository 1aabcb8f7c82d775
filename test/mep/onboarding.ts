/**
 * How does a test get package and life-cycle management?
 *
 * The real agent on a data plane in memory, with the real management API, store and files; the parts that hang on an instance's
 * life are given by the test, and write down what is asked of them. Notifications are written down instead of sent.
 */
import type { Extension, Host } from "../../controlplane/extension.ts";
import { Onboarding, type OnboardingOptions, onboardingTables } from "../../mep/management/onboarding.ts";
import type { InstancePart, Notifier, Subscriber } from "../../mep/parts.ts";
import { MepStore } from "../../mep/store.ts";
import { type Answer, type Running, type StartOptions, start } from "../api/harness.ts";
import { goodPackage } from "./packages/zip.ts";

export interface Sent {
  subscriber: Subscriber;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever was sent
  body: any;
}

/** Remembers what it was asked to send. */
export class RecordingNotifier implements Notifier {
  readonly sent: Sent[] = [];
  readonly forgotten: string[] = [];
  send(subscriber: Subscriber, body: object): void {
    this.sent.push({ subscriber, body });
  }
  async refusal(_instance: string | undefined, callbackReference: string): Promise<string | undefined> {
    return callbackReference.includes("bad") ? "is no place for notifications" : undefined;
  }
  test(): void {}
  admit(): void {}
  forget(id: string): void {
    this.forgotten.push(id);
  }
}

/** Remembers what was asked of it, and fails where the test wants it to. */
export class RecordingPart implements InstancePart {
  readonly name: string;
  readonly calls: string[];
  /** `configure`, `ready`, `deactivate`, `remove`: throws once for each. */
  readonly fail = new Map<string, Error>();
  /** Work waits here. */
  gate: Promise<unknown> = Promise.resolve();

  constructor(name: string, calls: string[]) {
    this.name = name;
    this.calls = calls;
  }

  async #note(what: string): Promise<void> {
    await this.gate;
    this.calls.push(`${this.name}.${what}`);
    const error = this.fail.get(what);
    this.fail.delete(what);
    if (error) throw error;
  }

  configure = () => this.#note("configure");
  ready = () => this.#note("ready");
  deactivate = () => this.#note("deactivate");
  remove = () => this.#note("remove");
}

export interface Managed {
  running: Running;
  onboarding: Onboarding;
  notifier: RecordingNotifier;
  call: Running["call"];
  /** A package that is onboarded; its id. */
  onboard(zip?: Buffer): Promise<string>;
  /** An operation, when it has ended. */
  ended(location: string | null): Promise<Answer["body"]>;
  /** Asks for an operation, and waits for its end. */
  operate(id: string, task: string, body?: unknown): Promise<Answer["body"]>;
  restart(): Promise<Managed>;
  stop(): Promise<void>;
}

export type ManagedOptions = Partial<Omit<OnboardingOptions, "store" | "stateDir">> & Pick<StartOptions, "extra">;

export async function manage(options: ManagedOptions = {}, before?: Running): Promise<Managed> {
  const notifier = new RecordingNotifier();
  let onboarding: Onboarding | undefined;
  const make = (host: Host): Extension => {
    const store = new MepStore(host.config.stateDir, onboardingTables);
    const made = new Onboarding({
      store,
      stateDir: host.config.stateDir,
      notifier,
      parts: [],
      failed: () => undefined,
      ...options,
    });
    onboarding = made;
    return {
      routes: made.routes,
      prepare: () => made.prepare(),
      start: async () => made.start(),
      stop: async () => {
        await made.stop();
        store.close();
      },
    };
  };
  const { extra } = options;
  const settings = { extensions: [make], ...(extra !== undefined && { extra }) };
  const running = await start(before ? { ...settings, stateDir: before.stateDir } : settings);
  const { call } = running;

  const managed: Managed = {
    running,
    onboarding: onboarding as Onboarding,
    notifier,
    call,
    async onboard(zip = goodPackage()) {
      const created = await call("POST", "/app_pkgm/v1/app_packages", { appPkgName: "test", appPkgVersion: "1" });
      const path = `/app_pkgm/v1/app_packages/${created.body.id}`;
      const uploaded = await upload(running.url + path, zip);
      if (uploaded.status !== 202) throw new Error(`${uploaded.status}: ${await uploaded.text()}`);
      return created.body.id as string;
    },
    async ended(location) {
      const path = new URL(location ?? "", running.url).pathname;
      for (let i = 0; i < 2000; i += 1) {
        const { body } = await call("GET", path);
        if (!["STARTING", "PROCESSING"].includes(body.operationState)) return body;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      throw new Error(`${path} does not end`);
    },
    async operate(id, task, body = {}) {
      const answer = await call("POST", `/app_lcm/v1/app_instances/${id}/${task}`, body);
      if (answer.status !== 202) throw new Error(`${answer.status}: ${JSON.stringify(answer.body)}`);
      return managed.ended(answer.headers.get("location"));
    },
    async restart() {
      await running.agent.stop();
      return manage(options, running);
    },
    stop: () => running.stop(),
  };
  return managed;
}

export const upload = (url: string, zip: Buffer, type = "application/zip"): Promise<Response> =>
  fetch(`${url}/package_content`, {
    method: "PUT",
    body: new Uint8Array(zip),
    headers: { "content-type": type },
  });

/** Runs `body`, and ends it all whatever happens. */
export async function managing(body: (managed: Managed) => Promise<void>, options?: ManagedOptions): Promise<void> {
  const managed = await manage(options);
  try {
    await body(managed);
  } finally {
    await managed.stop();
  }
}

/**
 * How does a test ask the provider what Pulumi's engine would ask?
 *
 * The provider's real process, over its real protocol (pulumirpc.ResourceProvider).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import services from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import messages from "@pulumi/pulumi/proto/provider_pb.js";
import struct from "google-protobuf/google/protobuf/struct_pb.js";
import type { Properties } from "../../infra/provider/kind.ts";

const main = fileURLToPath(new URL("../../infra/provider/main.ts", import.meta.url));

type Struct = InstanceType<typeof struct.Struct>;
const packed = (value: Properties): Struct => struct.Struct.fromJavaScript(JSON.parse(JSON.stringify(value)));
const plain = (value: Struct | undefined) => (value?.toJavaScript() ?? {}) as Properties;

export const urnOf = (type: string, name: string): string => `urn:pulumi:paris::try::offramp:index:${type}::${name}`;

/** Why it was refused. */
export async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("it was not refused");
}

export interface Difference {
  changes: boolean;
  replaces: string[];
  paths: string[];
}

export class Engine {
  readonly #child: ChildProcess;
  readonly #client: InstanceType<typeof services.ResourceProviderClient>;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.#client = new services.ResourceProviderClient(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  }

  static async start(): Promise<Engine> {
    const child = spawn(process.execPath, ["--import", "tsx", main], { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = (await once(child.stdout as NodeJS.ReadableStream, "data")) as [Buffer];
    return new Engine(child, Number(line.toString().trim()));
  }

  async stop(): Promise<void> {
    this.#client.close();
    const ended = once(this.#child, "exit");
    this.#child.kill();
    await ended;
  }

  #ask<Request, Response>(
    method: (request: Request, callback: (error: grpc.ServiceError | null, response: Response) => void) => unknown,
    request: Request,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      method.call(this.#client, request, (error, response) =>
        error ? reject(new Error(error.details)) : resolve(response),
      );
    });
  }

  #failures(response: InstanceType<typeof messages.CheckResponse>) {
    return response.getFailuresList().map((one) => `${one.getProperty()}: ${one.getReason()}`);
  }

  async checkConfig(settings: Properties): Promise<string[]> {
    const request = new messages.CheckRequest();
    request.setNews(packed(settings));
    return this.#failures(await this.#ask(this.#client.checkConfig, request));
  }

  async configure(settings: Properties): Promise<void> {
    const request = new messages.ConfigureRequest();
    request.setArgs(packed(settings));
    await this.#ask(this.#client.configure, request);
  }

  async check(urn: string, inputs: Properties): Promise<{ inputs: Properties; failures: string[] }> {
    const request = new messages.CheckRequest();
    request.setUrn(urn);
    request.setNews(packed(inputs));
    const response: InstanceType<typeof messages.CheckResponse> = await this.#ask(this.#client.check, request);
    return { inputs: plain(response.getInputs()), failures: this.#failures(response) };
  }

  async diff(urn: string, had: Properties, wanted: Properties): Promise<Difference> {
    const request = new messages.DiffRequest();
    request.setUrn(urn);
    request.setOldInputs(packed(had));
    request.setNews(packed(wanted));
    const response: InstanceType<typeof messages.DiffResponse> = await this.#ask(this.#client.diff, request);
    return {
      changes: response.getChanges() === messages.DiffResponse.DiffChanges.DIFF_SOME,
      replaces: response.getReplacesList(),
      paths: [...response.getDetaileddiffMap().keys()] as string[],
    };
  }

  async create(urn: string, inputs: Properties, preview = false): Promise<{ id: string; state: Properties }> {
    const request = new messages.CreateRequest();
    request.setUrn(urn);
    request.setProperties(packed(inputs));
    request.setPreview(preview);
    const response: InstanceType<typeof messages.CreateResponse> = await this.#ask(this.#client.create, request);
    return { id: response.getId(), state: plain(response.getProperties()) };
  }

  /** Undefined: the resource is gone. */
  async read(
    urn: string,
    id: string,
    had: Properties = {},
    state: Properties = {},
  ): Promise<{ inputs: Properties; state: Properties } | undefined> {
    const request = new messages.ReadRequest();
    request.setUrn(urn);
    request.setId(id);
    request.setInputs(packed(had));
    request.setProperties(packed(state));
    const response: InstanceType<typeof messages.ReadResponse> = await this.#ask(this.#client.read, request);
    if (response.getId() === "") return undefined;
    return { inputs: plain(response.getInputs()), state: plain(response.getProperties()) };
  }

  async update(urn: string, id: string, had: Properties, wanted: Properties, state = had): Promise<Properties> {
    const request = new messages.UpdateRequest();
    request.setUrn(urn);
    request.setId(id);
    request.setOlds(packed(state));
    request.setOldInputs(packed(had));
    request.setNews(packed(wanted));
    const response: InstanceType<typeof messages.UpdateResponse> = await this.#ask(this.#client.update, request);
    return plain(response.getProperties());
  }

  async remove(urn: string, id: string): Promise<void> {
    const request = new messages.DeleteRequest();
    request.setUrn(urn);
    request.setId(id);
    await this.#ask(this.#client.delete, request);
  }
}

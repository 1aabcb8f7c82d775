/**
 * What does Pulumi's engine ask, and who answers?
 *
 *   engine ─gRPC (pulumirpc.ResourceProvider)─▶ here ─▶ kind ─HTTP─▶ appliance of the site
 *
 * Messages are those of `@pulumi/pulumi/proto`. The provider's own configuration says which site: `api`, `token`, `ca`,
 * `patience` (seconds). Secrets of resources arrive as they are; the engine itself keeps what was secret secret. Nothing is asked of a
 * site whose address is not known yet, as in the first preview of a site that is still to be made.
 */
import type { ServerUnaryCall, sendUnaryData, UntypedServiceImplementation } from "@grpc/grpc-js";
import * as grpc from "@grpc/grpc-js";
import plugin from "@pulumi/pulumi/proto/plugin_pb.js";
import services from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import messages from "@pulumi/pulumi/proto/provider_pb.js";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import struct from "google-protobuf/google/protobuf/struct_pb.js";
import { Site, type SiteAccess } from "../site.ts";
import { type Difference, differences } from "./difference.ts";
import { type CheckFailure, type Kind, type Properties, unknownProperties, unknownValue } from "./kind.ts";
import { packageSchema } from "./schema.ts";
import { memberFailures } from "./shape.ts";
import { resourceShapes } from "./shapes.ts";

export interface ProviderOptions {
  kinds: readonly Kind[];
  version: string;
}

type Struct = InstanceType<typeof struct.Struct>;
type Call<Message> = ServerUnaryCall<Message, unknown>;

const settings = ["api", "token", "ca", "serverName", "site", "patience"];
const { DIFF_NONE, DIFF_SOME } = messages.DiffResponse.DiffChanges;
const { Kind: change } = messages.PropertyDiff;

/** What marks a secret (Pulumi's protocol fixes both). */
const [mark, secretMark] = ["4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"];

/** Settings of the provider come with their secrets wrapped, whatever it accepts. */
function opened(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(opened);
  if (typeof value !== "object" || value === null) return value;
  const members = value as Record<string, unknown>;
  if (members[mark] === secretMark) return opened(members.value);
  return Object.fromEntries(Object.entries(members).map(([name, inner]) => [name, opened(inner)]));
}

const plain = (given: Struct | undefined): Record<string, unknown> =>
  opened(given?.toJavaScript() ?? {}) as Record<string, unknown>;
const packed = (properties: Properties): Struct =>
  // Undefined is no value of a Struct.
  struct.Struct.fromJavaScript(JSON.parse(JSON.stringify(properties)));

/** The property that a path is in. */
const topOf = (path: string): string => /^[^.[]*/.exec(path)?.[0] ?? "";

const isUnknown = (value: unknown): boolean => value === unknownValue;

/** What the engine adds to inputs for itself. */
function own(properties: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(properties).filter(([name]) => !name.startsWith("__")));
}

function checkSettings(given: Properties): CheckFailure[] {
  // The engine's own beside ours.
  const known = [...settings, "version", "pluginDownloadURL"];
  const failures = unknownProperties(given, known, `the provider has ${settings.join(", ")}`);
  const { api, patience } = given;
  // Without `api` it can make an appliance, and ask nothing of one.
  if (api !== undefined && !isUnknown(api) && !(typeof api === "string" && /^https?:/.test(api) && URL.canParse(api))) {
    failures.push({ property: "api", reason: "must be a URL such as https://edge-7.example.net:8090" });
  }
  if (patience !== undefined && !isUnknown(patience) && !(Number(patience) >= 0)) {
    failures.push({ property: "patience", reason: "must be a number of seconds" });
  }
  return failures;
}

/** For kinds that ask nothing of a site. */
const nowhere = new Site({ api: "https://site.invalid", patience: 0 });

class ResourceProvider {
  readonly #kinds: ReadonlyMap<string, Kind>;
  readonly #version: string;
  /** Absent: the engine has not said, or does not know yet. */
  #site: Site | undefined;
  /** Which resource is what: two of one program are never the same one. */
  readonly #created = new Map<string, string>();

  constructor({ kinds, version }: ProviderOptions) {
    this.#kinds = new Map(kinds.map((kind) => [kind.type, kind]));
    this.#version = version;
  }

  #kind(urn: string): Kind {
    const token = (urn.split("::")[2] ?? "").split("$").pop() ?? "";
    const kind = this.#kinds.get(token.split(":")[2] ?? "");
    if (kind) return kind;
    throw new Error(`offramp has no resource ${token}; it has ${[...this.#kinds.keys()].join(", ")}`);
  }

  #known({ makesSite }: Kind): Site {
    if (this.#site) return this.#site;
    if (makesSite) return nowhere;
    throw new Error("the provider has not been told which site: set offramp:api, or give it `api`");
  }

  #failures(failures: readonly CheckFailure[]) {
    return failures.map(({ property, reason }) => {
      const failure = new messages.CheckFailure();
      failure.setProperty(property);
      failure.setReason(reason);
      return failure;
    });
  }

  getPluginInfo() {
    const info = new plugin.PluginInfo();
    info.setVersion(this.#version);
    return info;
  }

  getSchema() {
    const schema = new messages.GetSchemaResponse();
    schema.setSchema(JSON.stringify(packageSchema(this.#version)));
    return schema;
  }

  checkConfig({ request }: Call<InstanceType<typeof messages.CheckRequest>>) {
    const given = plain(request.getNews());
    const response = new messages.CheckResponse();
    response.setInputs(request.getNews());
    response.setFailuresList(this.#failures(checkSettings(given)));
    return response;
  }

  /** Another address, token or authority is the same site: nothing has to be made anew. `site` says that it is another. */
  diffConfig({ request }: Call<InstanceType<typeof messages.DiffRequest>>) {
    return this.#difference(differences(plain(request.getOldInputs()), plain(request.getNews())), ["site"]);
  }

  async configure({ request }: Call<InstanceType<typeof messages.ConfigureRequest>>) {
    const given = plain(request.getArgs());
    await this.#site?.close();
    this.#site = undefined;
    const { api, token, ca, serverName, patience } = given;
    if (typeof api === "string" && ![api, token, ca, serverName].some(isUnknown)) {
      const access: SiteAccess = { api };
      if (typeof token === "string") access.token = token;
      if (typeof ca === "string") access.ca = ca;
      if (typeof serverName === "string") access.serverName = serverName;
      if (patience !== undefined) access.patience = Number(patience) * 1000;
      this.#site = new Site(access);
    }
    const response = new messages.ConfigureResponse();
    response.setSupportspreview(true);
    return response;
  }

  async check({ request }: Call<InstanceType<typeof messages.CheckRequest>>) {
    const urn = request.getUrn();
    const kind = this.#kind(urn);
    const given = own(plain(request.getNews()));
    const { inputs, failures } = await kind.check(given, urn.split("::")[3] ?? "");
    const named = new Set(failures.map(({ property }) => property));
    const shape = resourceShapes[kind.type]?.inputs ?? {};
    const others = memberFailures(shape, given).filter(({ property }) => !named.has(property));
    const response = new messages.CheckResponse();
    response.setInputs(packed(inputs));
    response.setFailuresList(this.#failures([...failures, ...others]));
    return response;
  }

  diff({ request }: Call<InstanceType<typeof messages.DiffRequest>>) {
    const { fixed, aside = [] } = this.#kind(request.getUrn());
    const found = differences(own(plain(request.getOldInputs())), own(plain(request.getNews())));
    return this.#difference(
      found.filter(({ path }) => !aside.includes(topOf(path))),
      fixed,
    );
  }

  #difference(found: readonly Difference[], fixed: readonly string[]) {
    const response = new messages.DiffResponse();
    response.setChanges(found.length > 0 ? DIFF_SOME : DIFF_NONE);
    response.setHasdetaileddiff(true);
    const kinds = {
      add: [change.ADD, change.ADD_REPLACE],
      delete: [change.DELETE, change.DELETE_REPLACE],
      update: [change.UPDATE, change.UPDATE_REPLACE],
    } as const;
    for (const one of found) {
      const top = topOf(one.path);
      const replaces = fixed.includes(top);
      if (replaces) response.addReplaces(top);
      response.addDiffs(top);
      const detail = new messages.PropertyDiff();
      detail.setKind(kinds[one.change][replaces ? 1 : 0]);
      detail.setInputdiff(true);
      response.getDetaileddiffMap().set(one.path, detail);
    }
    response.setDeletebeforereplace(true);
    return response;
  }

  async create({ request }: Call<InstanceType<typeof messages.CreateRequest>>) {
    const kind = this.#kind(request.getUrn());
    const inputs = own(plain(request.getProperties()));
    const response = new messages.CreateResponse();
    if (request.getPreview()) {
      response.setProperties(packed(inputs));
      return response;
    }
    const { id, outputs, found } = await kind.create(this.#known(kind), inputs);
    const [key, urn] = [`${kind.type} ${id}`, request.getUrn()];
    const owner = this.#created.get(key) ?? urn;
    if (found && owner !== urn) throw new Error(`${key} is there already, as ${owner}: give one of them another name`);
    this.#created.set(key, urn);
    response.setId(id);
    response.setProperties(packed({ ...inputs, ...outputs }));
    return response;
  }

  async read({ request }: Call<InstanceType<typeof messages.ReadRequest>>) {
    const id = request.getId();
    const kind = this.#kind(request.getUrn());
    const state = plain(request.getProperties());
    const kept = (kind.kept ?? []).filter((name) => name in state).map((name) => [name, state[name]]);
    const found = await kind.read(this.#known(kind), id, own(plain(request.getInputs())), state);
    const response = new messages.ReadResponse();
    if (!found) return response;
    response.setId(found.id ?? id);
    response.setInputs(packed(found.inputs));
    response.setProperties(packed({ ...Object.fromEntries(kept), ...found.inputs, ...found.outputs }));
    return response;
  }

  async update({ request }: Call<InstanceType<typeof messages.UpdateRequest>>) {
    const kind = this.#kind(request.getUrn());
    const inputs = own(plain(request.getNews()));
    const state = plain(request.getOlds());
    const response = new messages.UpdateResponse();
    const { outputs } = request.getPreview()
      ? {}
      : await kind.update(this.#known(kind), request.getId(), inputs, own(plain(request.getOldInputs())), state);
    response.setProperties(packed({ ...state, ...inputs, ...outputs }));
    return response;
  }

  async delete({ request }: Call<InstanceType<typeof messages.DeleteRequest>>) {
    const kind = this.#kind(request.getUrn());
    await kind.remove(this.#known(kind), request.getId(), own(plain(request.getOldInputs())));
    return new empty.Empty();
  }

  attach() {
    return new empty.Empty();
  }

  async cancel() {
    await this.#site?.close();
    return new empty.Empty();
  }
}

/** Answers errors as gRPC does: with their text, which the engine shows beside the resource. */
function implementation(provider: ResourceProvider): UntypedServiceImplementation {
  const methods = Object.getOwnPropertyNames(ResourceProvider.prototype).filter(
    (name) => name in services.ResourceProviderService,
  );
  return Object.fromEntries(
    methods.map((name) => {
      const method = provider[name as keyof ResourceProvider] as (call: unknown) => unknown;
      const handler = (call: unknown, callback: sendUnaryData<unknown>) =>
        void Promise.resolve()
          .then(() => method.call(provider, call))
          .then(
            (response) => callback(null, response),
            (error: Error) => callback({ code: grpc.status.UNKNOWN, details: error.message }),
          );
      return [name, handler];
    }),
  );
}

/** Listens on a port of the kernel's choice on loopback; returns it, and how to stop. */
export async function serve(options: ProviderOptions): Promise<{ port: number; close(): void }> {
  const server = new grpc.Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
  server.addService(services.ResourceProviderService, implementation(new ResourceProvider(options)));
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { port, close: () => server.forceShutdown() };
}

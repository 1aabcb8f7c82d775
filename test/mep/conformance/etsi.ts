/**
 * What do ETSI's own interface descriptions say, and where does the text of the standards win over them?
 *
 * Reads ../shared/etsi, where that folder is. The files of GS 3.x are generated from the text's tables and lost things on the
 * way (etsi/SOURCES.md); every place that is changed here says why, and is checked to be as it was when that was written.
 */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { Contract, type Json } from "./contract.ts";

export const folder = fileURLToPath(new URL("../../../../shared/etsi/", import.meta.url));
export const present = existsSync(folder);

export const problem = { $ref: "#/components/responses/400" };

/** A correction: at `at`, `was` becomes `is`. `was` undefined: there was nothing. */
export interface Correction {
  /** Members from the root, `components/schemas/X/required`. */
  at: string;
  was: Json;
  is: Json;
  why: string;
}

const text = { type: "string" };
const uint32 = { type: "integer", format: "uint32" };
const reference = { type: "string", format: "uri-reference" };
export const enumeration = (...values: string[]) => ({ type: "string", enum: values });
const noContent = { description: "No content" };

/** Of all files. */
export const ofProblems: Correction[] = ["type", "instance"].map((member) => ({
  at: `components/schemas/ProblemDetails/properties/${member}`,
  was: "uri",
  is: reference,
  why: "GS MEC 009 §6.15.2 and RFC 9457 §3.1: a URI reference, relative ones too",
}));

const onChange = "RFC 9110 §13.1.1: who sends If-Match is told when it does not match, whatever the resource";

const without = (schema: Json, ...members: string[]): Json => ({
  ...schema,
  required: (schema.required ?? []).filter((name: string) => !members.includes(name)),
});

/** What is the platform's own to say is ignored where an app says it. */
const ignoring = (schema: Json, ...members: string[]): Json => ({
  ...without(schema, ...members),
  properties: Object.fromEntries(Object.entries(schema.properties).filter(([name]) => !members.includes(name))),
});

const object = (required: string[], properties: Json): Json => ({ type: "object", required, properties });

const support: Correction[] = [
  ...ofProblems,
  {
    at: "paths/~1registrations~1{appInstanceId}/put/responses/412",
    was: undefined,
    is: problem,
    why: onChange,
  },
  ...(["confirm_ready", "confirm_termination"] as const).flatMap((task) => {
    const at = `paths/~1applications~1{appInstanceId}~1${task}/post/responses`;
    return [
      { at: `${at}/204`, was: undefined, is: noContent, why: "GS MEC 011 §7.2.11, §7.2.12: 204 on success" },
      { at: `${at}/409`, was: undefined, is: problem, why: "GS MEC 011 §7.2.11, §7.2.12: 409 in the wrong state" },
      { at: `${at}/400`, was: undefined, is: problem, why: "GS MEC 009 §6.5: a body that is not valid" },
    ];
  }),
  ...[
    ["TrafficRule/properties/filterType", enumeration("FLOW", "PACKET"), "§7.1.2.2"],
    ["TrafficRule/properties/state", enumeration("ACTIVE", "INACTIVE"), "§7.1.2.2"],
    [
      "TrafficRule/properties/action",
      enumeration(
        ...["DROP", "FORWARD_DECAPSULATED", "FORWARD_ENCAPSULATED", "PASSTHROUGH"],
        ...["DUPLICATE_DECAPSULATED", "DUPLICATE_ENCAPSULATED"],
      ),
      "§7.1.2.2: the enumeration is cut down to one value",
    ],
    [
      "TrafficRule/properties/dstInterface",
      { type: "array", maxItems: 2, items: { $ref: "#/components/schemas/DestinationInterface" } },
      "§7.1.2.2: cardinality 0..2",
    ],
    ["DnsRule/properties/ipAddressType", enumeration("IP_V6", "IP_V4"), "§7.1.2.3"],
    ["DnsRule/properties/state", enumeration("ACTIVE", "INACTIVE"), "§7.1.2.3"],
    ["DestinationInterface/properties/interfaceType", enumeration("TUNNEL", "MAC", "IP"), "§7.1.5.3"],
    ["TunnelInfo/properties/tunnelType", enumeration("GTP_U", "GRE"), "§7.1.5.4"],
    ["CurrentTime/properties/timeSourceStatus", enumeration("TRACEABLE", "NONTRACEABLE"), "§7.1.2.5"],
    ["TimeStamp", object(["seconds", "nanoSeconds"], { seconds: uint32, nanoSeconds: uint32 }), "§7.1.2.4"],
    [
      "TimingCaps",
      object([], {
        timeStamp: { $ref: "#/components/schemas/TimeStamp" },
        ntpServers: { type: "array", items: { $ref: "#/components/schemas/NtpServers" } },
        ptpMasters: { type: "array", items: { $ref: "#/components/schemas/PtpMasters" } },
      }),
      "§7.1.2.4: 0..1, 0..N and 0..N",
    ],
    [
      "NtpServers",
      object(
        [
          ...["ntpServerAddrType", "ntpServerAddr", "minPollingInterval", "maxPollingInterval", "localPriority"],
          ...["authenticationOption", "authenticationKeyNum"],
        ],
        {
          ntpServerAddrType: enumeration("IP_ADDRESS", "DNS_NAME"),
          ntpServerAddr: text,
          minPollingInterval: { ...uint32, minimum: 3, maximum: 17 },
          maxPollingInterval: { ...uint32, minimum: 3, maximum: 17 },
          localPriority: uint32,
          authenticationOption: enumeration("NONE", "SYMMETRIC_KEY", "AUTO_KEY"),
          authenticationKeyNum: uint32,
        },
      ),
      "§7.1.2.4: its members are no lists",
    ],
    [
      "AppTerminationNotification/properties/operationAction",
      enumeration("STOPPING", "TERMINATING"),
      "§7.1.4.2: the enumeration is cut down to one value",
    ],
    [
      "AppTerminationConfirmation/properties/operationAction",
      enumeration("STOPPING", "TERMINATING", "STOPPPING"),
      "§7.1.4.3 spells one value with three P",
    ],
    ["AppReadyConfirmation/properties/indication", enumeration("READY"), "§7.1.4.4"],
    [
      "OAuth2Info/properties/grantTypes",
      {
        type: "array",
        minItems: 1,
        maxItems: 4,
        items: enumeration(
          ...["OAUTH2_AUTHORIZATION_CODE", "OAUTH2_IMPLICIT_GRANT"],
          ...["OAUTH2_RESOURCE_OWNER", "OAUTH2_CLIENT_CREDENTIALS"],
        ),
      },
      "§8.1.5.4: 1..4 of these",
    ],
    [
      "AppTerminationNotificationSubscription/required",
      ["subscriptionType", "appInstanceId"],
      "GS MEC 009 §6.12a: who is notified over a WebSocket has no callbackReference",
    ],
  ].map(([at, is, why]) => ({ at: `components/schemas/${at}`, was: "anything", is, why: `GS MEC 011 ${why}` })),
];

const management: Correction[] = [
  ...ofProblems,
  {
    at: "components/schemas/OAuth2Info/properties/grantTypes",
    was: "anything",
    is: support.find(({ at }) => at.endsWith("grantTypes"))?.is,
    why: "GS MEC 011 §8.1.5.4: 1..4 of these, as in the other file",
  },
  {
    at: "components/schemas/ServiceReferences/properties/changeType",
    was: "anything",
    is: enumeration("ADDED", "REMOVED", "STATE_CHANGED", "ATTRIBUTES_CHANGED"),
    why: "GS MEC 011 §8.1.4.2",
  },
  {
    at: "components/schemas/SerAvailabilityNotificationSubscription/required",
    was: ["subscriptionType", "callbackReference"],
    is: ["subscriptionType"],
    why: "GS MEC 009 §6.12a: who is notified over a WebSocket has no callbackReference",
  },
  {
    at: "paths/~1resource_uri_allocated_by_MEC_platform/patch/responses/409",
    was: undefined,
    is: problem,
    why: "GS MEC 011 §8.2.10: 409 for a service that is INACTIVE",
  },
  {
    at: "paths/~1applications~1{appInstanceId}~1services~1{serviceId}/delete/responses/412",
    was: undefined,
    is: problem,
    why: onChange,
  },
];

/** Statuses that any operation may answer: GS MEC 009 §6.15, GS MEC 011 §7.2.2 and §8.2.2. */
const anywhere = [400, 401, 405, 406, 413, 414, 415, 429, 500, 503];

const unescaped = (member: string): string => member.replaceAll("~1", "/").replaceAll("~0", "~");

function correct(document: Json, { at, was, is, why }: Correction): void {
  const members = at.split("/").map(unescaped);
  const last = members.pop() ?? "";
  const parent = members.reduce((part, member) => part?.[member], document);
  assert.ok(parent, `${at}: not in the file any more (${why})`);
  const now = parent[last];
  if (was === undefined) assert.is(now, undefined, `${at}: the file has it now (${why})`);
  else if (was === "uri") assert.is(now?.format, "uri", `${at}: has changed (${why})`);
  else if (was !== "anything") assert.equal(now, was, `${at}: has changed (${why})`);
  assert.not.equal(now, is, `${at}: the file says so itself now (${why})`);
  parent[last] = is;
}

const read = (file: string): Json => parse(readFileSync(`${folder}${file}.yaml`, "utf8"));

/** `change` may do to the document what is no correction of one place, and returns schemas that hold for requests alone. */
export function contract(
  file: string,
  api: string,
  corrections: Correction[],
  change: (document: Json) => Json = () => ({}),
): Contract {
  const document = read(file);
  for (const one of corrections) correct(document, one);
  const requests = change(document);
  return new Contract({ name: file, document, roots: [`/${api}/v1`, `/${api}/v2`], requests, anywhere });
}

let known: Contract[] | undefined;

/** GS MEC 011, both APIs. Empty where ../shared is not. */
export function mec011(): readonly Contract[] {
  known ??= present
    ? [
        contract("mec011-app-support", "mec_app_support", support, ({ components: { schemas } }) => ({
          // The path says whose it is.
          AppTerminationNotificationSubscription: ignoring(
            schemas.AppTerminationNotificationSubscription,
            "appInstanceId",
            "_links",
          ),
        })),
        contract("mec011-service-mgmt", "mec_service_mgmt", management, ({ components: { schemas }, paths }) => {
          // §8.1.2.2: _links.liveness says where; ours is under the service.
          const liveness = "/applications/{appInstanceId}/services/{serviceId}/liveness";
          paths[liveness] = paths["/resource_uri_allocated_by_MEC_platform"];
          delete paths["/resource_uri_allocated_by_MEC_platform"];
          // §8.1.2.2: _links is absent in requests.
          const { ServiceInfo, SerAvailabilityNotificationSubscription } = schemas;
          return {
            ServiceInfo: ignoring(ServiceInfo, "_links"),
            SerAvailabilityNotificationSubscription: ignoring(SerAvailabilityNotificationSubscription, "_links"),
          };
        }),
      ]
    : [];
  return known;
}

/**
 * What can be asked of whatever runs app instances?
 *
 *   reserve ─▶ start ─▶ running ─▶ stop ─▶ exited ─▶ start … remove
 *
 * Types only; host-runtime.ts is the one that runs them on the appliance. An instance is a container of an image from its package, or
 * a unit: a program that the appliance has, in namespaces of its own. Either way it is on two networks: `tof0` leads to
 * the traffic offloading function (taken packets come in there, replies leave there), `mep0` to the platform (Mp1, DNS and,
 * where its package asks for it, the world).
 */

/** A file of the package, as the instance sees it: read-only. */
export interface FileMount {
  /** On the appliance, absolute. */
  source: string;
  /** In the instance, absolute. */
  target: string;
}

export interface Limits {
  /** Cores; may be a fraction. */
  cpu: number;
  /** Octets. */
  memory: number;
  /** Processes and threads. */
  pids: number;
}

/** What may change while instances run. IPv4 prefixes. */
export interface Surroundings {
  /** No instance may send there, by either network. */
  forbidden: readonly string[];
  /** Of UEs: reached by the TOF network alone. */
  uePools: readonly string[];
}

export interface InstanceSpec {
  /** appInstanceId */
  id: string;
  /** appProvider. */
  tenant: string;
  kind: "container" | "unit";
  /** Of a container: an OCI archive, and the digest of that file, `sha256:<64 hex digits>`. */
  image?: { archive: string; digest: string };
  /** Of a unit its program, with the path below /usr, and arguments; of a container what replaces the image's, or nothing. */
  command: string[];
  /** Beside these it gets OFFRAMP_MP1, OFFRAMP_TOKEN_ENDPOINT, OFFRAMP_CA, OFFRAMP_APP_INSTANCE_ID, OFFRAMP_TOF_ADDRESS, OFFRAMP_PLATFORM_ADDRESS. */
  environment: Record<string, string>;
  /** In a file that only the instance can read, named by OFFRAMP_CREDENTIALS: `{"clientId", "clientSecret"}`. */
  credentials?: { clientId: string; clientSecret: string };
  files: FileMount[];
  limits: Limits;
  /** Reaches the world through `mep.apps.egress`. */
  egress: boolean;
}

export interface Addresses {
  /** What rules send to: the instance's address toward the traffic offloading function. */
  tof: string;
  /** Where its requests to the platform come from. */
  platform: string;
}

export interface Started {
  addresses: Addresses;
}

export interface Exit {
  /** As shells have it: 128 + signal where a signal ended it; undefined where nobody saw the end. */
  code: number | undefined;
  /** In words. */
  reason: string;
  /** Milliseconds since the epoch. */
  time: number;
}

export interface InstanceStatus {
  id: string;
  tenant: string;
  state: "running" | "exited" | "absent";
  addresses: Addresses;
  /** Of the main process, where it runs. */
  pid?: number;
  exit?: Exit;
}

export interface LogLine {
  /** As the log has it, RFC 3339. */
  time: string;
  stream: "stdout" | "stderr";
  text: string;
}

export class RuntimeError extends Error {}

export interface Runtime {
  /** Adopts what an earlier agent left running, and clears away what it left half-done. */
  open(): Promise<void>;
  /** Holds from now on, for instances that run too. @throws Error what could not be done is done with the next change */
  surroundedBy(surroundings: Surroundings): Promise<void>;
  /** Ends watching; instances go on. */
  close(): Promise<void>;
  /** Gives the instance its addresses, which it keeps until `remove`. May be called again. @throws RuntimeError none is left */
  reserve(id: string): Promise<Addresses>;
  /**
   * Returns when the main process runs. One that runs already with the same spec is left alone. When it cannot be started,
   * nothing of it is left but its addresses.
   * @throws RuntimeError with every reason
   */
  start(spec: InstanceSpec): Promise<Started>;
  /** SIGTERM, and SIGKILL `graceMs` later. Addresses and log stay. Quiet when it does not run. */
  stop(id: string, graceMs: number): Promise<void>;
  /** Takes away everything of it, log and addresses too. Quiet when there is nothing. */
  remove(id: string): Promise<void>;
  /** Undefined: never heard of. */
  state(id: string): InstanceStatus | undefined;
  /** Its main process is there. Also before `open`, where it is the one that an earlier agent left. */
  alive(id: string): boolean;
  list(): InstanceStatus[];
  /** The last `tail` lines of what it printed; the log is bounded, the oldest lines go first. */
  logs(id: string, tail: number): Promise<LogLine[]>;
  /** New lines from now on, until the returned function is called. */
  follow(id: string, listener: (line: LogLine) => void): () => void;
  /**
   * The moment at which the main process of one is found gone without having been told to end: before it is known why, and
   * whatever else is being done. Returns how to stop listening.
   */
  onGone(listener: (id: string) => void): () => void;
  /** When one has ended without having been told to. Returns how to stop listening. */
  on(listener: (status: InstanceStatus) => void): () => void;
  /** The image of a package that is gone. Quiet when it is not there. @throws RuntimeError an instance uses it */
  removeImage(digest: string): Promise<void>;
  /** Ends all instances and takes away what the runtime has made in the kernel. Addresses, logs and images stay. */
  down(): Promise<void>;
}

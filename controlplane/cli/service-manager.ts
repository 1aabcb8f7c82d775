/**
 * How does the service manager know that the agent is up, and alive?
 *
 * By datagrams to the socket that it names in NOTIFY_SOCKET (sd_notify(3)): READY=1, RELOADING, STOPPING=1, and WATCHDOG=1 twice in
 * each WATCHDOG_USEC. The last comes from the event loop's own timer: an agent that hangs falls silent, and is started again. Node has
 * no datagram sockets of this kind; libc does. Outside a service manager all of this does nothing.
 */
import koffi from "koffi";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_NOSIGNAL_DONTWAIT = 0x4000 | 0x40;

/** sockaddr_un as the kernel reads it; `@name` is an abstract one. */
function socketAddress(path: string): Buffer {
  const name = Buffer.from(path.startsWith("@") ? `\0${path.slice(1)}` : `${path}\0`);
  const family = Buffer.alloc(2);
  family.writeUInt16LE(AF_UNIX);
  return Buffer.concat([family, name]);
}

export interface ServiceManager {
  /** Lines such as `READY=1`. A manager that is gone is no reason to fail. */
  tell(...lines: string[]): void;
  /** From now on the manager expects a sign of life, if it was configured to. */
  alive(): void;
  /** Nothing more is said. Who begins again as this process finds the manager as this one did, and has time until it is alive. */
  end(): void;
}

/** What a process that begins again may take until it gives signs of life. */
const beginningAgain = 600_000_000;

const nobody: ServiceManager = { tell: () => undefined, alive: () => undefined, end: () => undefined };

export function serviceManager(environment: NodeJS.ProcessEnv): ServiceManager {
  const { NOTIFY_SOCKET: path, WATCHDOG_USEC: watchdog, WATCHDOG_PID: pid } = environment;
  // Children would speak in our name, and podman would give it to containers.
  const ours = { NOTIFY_SOCKET: path, WATCHDOG_USEC: watchdog, WATCHDOG_PID: pid };
  for (const name of Object.keys(ours)) delete environment[name];
  if (!path || !/^[/@]/.test(path)) return nobody;
  const libc = koffi.load("libc.so.6");
  const socket = libc.func("int socket(int domain, int type, int protocol)");
  const sendto = libc.func(
    "int64_t sendto(int fd, const void *data, size_t size, int flags, const void *to, uint32_t length)",
  );
  const close = libc.func("int close(int fd)");
  const address = socketAddress(path);
  const fd = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0) as number;
  if (fd < 0) return nobody;
  const tell = (...lines: string[]) => {
    const text = Buffer.from(lines.join("\n"));
    sendto(fd, text, text.length, MSG_NOSIGNAL_DONTWAIT, address, address.length);
  };
  let timer: NodeJS.Timeout | undefined;
  return {
    tell,
    alive: () => {
      const interval = Number(watchdog) / 1000 / 2;
      if (!(interval > 0) || (pid !== undefined && Number(pid) !== process.pid)) return;
      tell(`WATCHDOG_USEC=${watchdog}`, "WATCHDOG=1");
      timer ??= setInterval(() => tell("WATCHDOG=1"), interval).unref();
    },
    end: () => {
      clearInterval(timer);
      if (timer) tell(`WATCHDOG_USEC=${beginningAgain}`, "WATCHDOG=1");
      for (const [name, value] of Object.entries(ours)) if (value !== undefined) environment[name] = value;
      close(fd);
    },
  };
}

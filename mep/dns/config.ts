/**
 * How is Unbound configured (unbound.conf(5))?
 *
 * Pure. Who is not on the apps' network (UEs, whose queries the data plane has taken) is answered what rules say, and refused
 * everything else. Apps may also ask for names of others, where there is an upstream. No root servers, no cache files, no
 * Debian defaults: this file is all there is.
 */
export interface DnsSettings {
  /** Of Unbound's own: configuration, control socket. Absolute. */
  directory: string;
  listen: { address: string; port: number }[];
  /** Resolvers for names of others. None: those are refused. */
  upstream: string[];
  /** Prefixes of the apps' network. */
  apps: string[];
  /** System user that it becomes; absent: it stays who we are. */
  user?: string;
}

export const controlPath = (directory: string): string => `${directory}/control`;
export const recordsPath = (directory: string): string => `${directory}/records.conf`;

export function renderConfig({ directory, listen, upstream, apps, user = "" }: DnsSettings): string {
  const everybody = ["0.0.0.0/0", "::/0", "127.0.0.0/8", "::1/128", "::ffff:127.0.0.0/104"];
  const recursion = upstream.length > 0 ? apps : [];
  const server = [
    `directory: "${directory}"`,
    'chroot: ""',
    `username: "${user}"`,
    'pidfile: ""',
    "do-daemonize: no",
    "use-syslog: no",
    'logfile: ""',
    "verbosity: 1",
    "num-threads: 1",
    'module-config: "iterator"',
    ...listen.map(({ address, port }) => `interface: ${address}@${port}`),
    "so-reuseport: no",
    "ip-freebind: yes",
    "do-not-query-localhost: no",
    "max-udp-size: 1232",
    "msg-cache-size: 2m",
    "rrset-cache-size: 4m",
    "hide-identity: yes",
    "hide-version: yes",
    ...everybody.map((prefix) => `access-control: ${prefix} refuse_non_local`),
    ...recursion.map((prefix) => `access-control: ${prefix} allow`),
  ];
  const lines = (list: string[]): string => list.map((line) => `  ${line}\n`).join("");
  const forward = upstream.length > 0 ? ['name: "."', ...upstream.map((address) => `forward-addr: ${address}`)] : [];
  return [
    `server:\n${lines(server)}`,
    `remote-control:\n${lines(["control-enable: yes", `control-interface: "${controlPath(directory)}"`])}`,
    forward.length > 0 ? `forward-zone:\n${lines(forward)}` : "",
    `include: "${recordsPath(directory)}"\n`,
  ].join("");
}

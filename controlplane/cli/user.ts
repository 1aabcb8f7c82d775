/**
 * `offramp user add|ls|rm|token`: who may use the management API.
 *
 * Over the API; with --config in the store itself while no agent runs, which is the way in when there is no other: for the first
 * admin, and after the last token was lost. Either way it is in the audit log.
 */
import { type Command, Option } from "commander";
import { AuditTable, emptyContent } from "../access/audit-table.ts";
import { type Role, roles } from "../access/roles.ts";
import { type Users, userNamePattern } from "../access/users.ts";
import { userBody } from "../api/user-routes.ts";
import { loadSite } from "../config/load.ts";
import { lock } from "../store/lock.ts";
import { Store } from "../store/store.ts";
import { CliError, Client, type ClientOptions } from "./client.ts";
import { print, type Show, table } from "./output.ts";

type Common = ClientOptions & Show & { config?: string };

interface UserView {
  name: string;
  role: Role;
  created: string;
  rotated: string;
  token?: string;
}

const userLines = (users: readonly UserView[]): string[] =>
  users.length === 0
    ? ["no users"]
    : table(
        ["NAME", "ROLE", "ADDED", "TOKEN MADE"],
        users.map(({ name, role, created, rotated }) => [name, role, created, rotated]),
      );

/** The token stands alone on a line, to be copied. */
const tokenLines = ({ name, role, token }: UserView): string[] => [
  `${name}, ${role}; the token, which is shown this once:`,
  token ?? "",
];

/** Works on the store of an appliance whose agent does not run, and writes that down. @throws CliError */
function inStore<T>(config: string, what: string, work: (users: Users) => T): T {
  const { stateDir } = loadSite(config);
  const release = lock(stateDir);
  try {
    const audit = new AuditTable(stateDir);
    try {
      const deed = {
        ...emptyContent,
        api: "command line",
        who: `uid ${process.getuid?.() ?? "unknown"}`,
        object: what,
      };
      const [of = 0] = audit.append([{ kind: "attempt", content: deed }], { durable: true });
      const store = new Store(stateDir);
      try {
        const done = work(store.users);
        audit.append([{ kind: "outcome", content: { ...deed, of, status: 200 } }], { durable: true });
        return done;
      } finally {
        store.close();
      }
    } finally {
      audit.close();
    }
  } finally {
    release();
  }
}

const path = (name: string, rest = "") => `/api/v1/users/${encodeURIComponent(name)}${rest}`;
const stateToo = (command: Command) =>
  command.option("-c, --config <file>", "site.yaml: change the store itself, while no agent runs");

export function userVerb(command: Command, api: (command: Command) => Command): void {
  command.description("who may use this API: viewer, operator, admin");
  stateToo(api(command.command("ls")))
    .description("list all users")
    .action(async ({ config, ...options }: Common) => {
      const users =
        config === undefined
          ? await new Client(options).get<UserView[]>("/api/v1/users")
          : inStore(config, "users listed", (all) => all.list().map(userBody));
      print(users, userLines, options);
    });
  stateToo(api(command.command("add")))
    .argument("<name>", "also the common name of its certificate, where it has one")
    .addOption(new Option("--role <role>", "what it may do").choices([...roles]).default("operator"))
    .description("add a user, and show its token once")
    .action(async (name: string, { config, role, ...options }: Common & { role: Role }) => {
      if (!new RegExp(userNamePattern).test(name)) {
        throw new CliError(`"${name}" is no name of a user: letters, digits, . _ @ - and at most 64 of them`, 2);
      }
      const added =
        config === undefined
          ? await new Client(options).json<UserView>("POST", "/api/v1/users", { name, role })
          : inStore(config, `user ${name} added, ${role}`, (users) => {
              const { user, token } = users.add(name, role);
              return { ...userBody(user), token };
            });
      print(added, tokenLines, options);
    });
  stateToo(api(command.command("token")))
    .argument("<name>")
    .description("give a user a new token; the old one is worth nothing from then on")
    .action(async (name: string, { config, ...options }: Common) => {
      const made =
        config === undefined
          ? await new Client(options).json<UserView>("POST", path(name, "/token"))
          : inStore(config, `user ${name}: new token`, (users) => {
              const { user, token } = users.rotate(name);
              return { ...userBody(user), token };
            });
      print(made, tokenLines, options);
    });
  stateToo(api(command.command("rm")))
    .argument("<name>")
    .description("remove a user")
    .action(async (name: string, { config, ...options }: Common) => {
      const removed =
        config === undefined
          ? await new Client(options).json<UserView>("DELETE", path(name))
          : inStore(config, `user ${name} removed`, (users) => userBody(users.remove(name)));
      print(removed, () => [`removed ${removed.name}`], options);
    });
}

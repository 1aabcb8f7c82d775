/**
 * Who may use this API: users, their roles and tokens.
 *
 * A token is in exactly one answer. Nobody can take away the last way in: what would leave the site without anybody who may
 * change it is refused.
 */

import type { Role } from "../access/roles.ts";
import type { User } from "../access/users.ts";
import { Problem } from "../errors.ts";
import * as bodies from "./access-schemas.ts";
import type { RouteContext, Server } from "./context.ts";
import * as schemas from "./schemas.ts";

const tags = ["Access"];

export const userBody = ({ name, role, created, rotated }: User) => ({
  name,
  role,
  created: new Date(created).toISOString(),
  rotated: new Date(rotated).toISOString(),
});

interface ByName {
  Params: { name: string };
}

/** `elsewhere`: there is an admin who is no user (the token of site.yaml, loopback). */
export function userRoutes(app: Server, { users, log }: RouteContext, elsewhere: boolean): void {
  const refuseLastAdmin = (name: string) => {
    if (elsewhere || users.hasAdminBeside(name)) return;
    throw new Problem("conflict", `nobody but "${name}" could be admin: add another admin first`);
  };

  app.get(
    "/api/v1/whoami",
    {
      config: { role: "viewer" },
      schema: {
        tags,
        summary: "Who you are to this API, and your role",
        querystring: schemas.nothing,
        response: { 200: bodies.whoami, ...schemas.commonProblems },
      },
    },
    ({ actor }) => actor,
  );

  app.get(
    "/api/v1/users",
    {
      config: { role: "admin" },
      schema: {
        tags,
        summary: "All users",
        querystring: schemas.nothing,
        response: { 200: bodies.users, ...schemas.commonProblems },
      },
    },
    () => users.list().map(userBody),
  );

  app.post<{ Body: { name: string; role: Role } }>(
    "/api/v1/users",
    {
      config: { role: "admin", secretAnswer: true },
      schema: {
        tags,
        summary: "Add a user; the answer has its token, which is shown this once",
        querystring: schemas.nothing,
        body: bodies.userBody,
        response: { 201: bodies.userWithToken, ...schemas.commonProblems, ...schemas.conflict, ...schemas.refused },
      },
    },
    (request, reply) => {
      const { name, role } = request.body;
      request.audited.object = `user ${name}, ${role}`;
      // With the first user, certificates that name none are refused.
      if (role !== "admin") refuseLastAdmin(name);
      const { user, token } = users.add(name, role);
      log.info({ user: name, role, request: request.id }, "user-added");
      const location = `/api/v1/users/${encodeURIComponent(name)}`;
      return reply
        .code(201)
        .headers({ location, "cache-control": "no-store" })
        .send({ ...userBody(user), token });
    },
  );

  app.get<ByName>(
    "/api/v1/users/:name",
    {
      config: { role: "admin" },
      schema: {
        tags,
        summary: "One user",
        params: bodies.userParams,
        querystring: schemas.nothing,
        response: { 200: bodies.user, ...schemas.commonProblems, ...schemas.notFound },
      },
    },
    ({ params: { name } }) => {
      const user = users.get(name);
      if (!user) throw new Problem("not-found", `there is no user "${name}"`);
      return userBody(user);
    },
  );

  app.delete<ByName>(
    "/api/v1/users/:name",
    {
      config: { role: "admin" },
      schema: {
        tags,
        summary: "Remove a user; its token is worth nothing from then on",
        params: bodies.userParams,
        querystring: schemas.nothing,
        response: {
          200: bodies.user,
          ...schemas.commonProblems,
          ...schemas.notFound,
          ...schemas.conflict,
          ...schemas.refused,
        },
      },
    },
    (request) => {
      const { name } = request.params;
      if (users.get(name)?.role === "admin") refuseLastAdmin(name);
      const removed = users.remove(name);
      log.info({ user: name, request: request.id }, "user-removed");
      return userBody(removed);
    },
  );

  app.post<ByName>(
    "/api/v1/users/:name/token",
    {
      config: { role: "admin", secretAnswer: true },
      schema: {
        tags,
        summary: "Give a user a new token; the old one is worth nothing from then on",
        params: bodies.userParams,
        querystring: schemas.nothing,
        response: { 200: bodies.userWithToken, ...schemas.commonProblems, ...schemas.notFound, ...schemas.refused },
      },
    },
    (request, reply) => {
      const { name } = request.params;
      const { user, token } = users.rotate(name);
      log.info({ user: name, request: request.id }, "user-token-made");
      return reply.header("cache-control", "no-store").send({ ...userBody(user), token });
    },
  );
}

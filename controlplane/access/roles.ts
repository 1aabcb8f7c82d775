/**
 * What may a management user do?
 *
 *   viewer     looks: every GET that shows no packets of users
 *   operator   changes what the site does for traffic: services, endpoints, modes, apps; looks into packets
 *   admin      changes who may do what and what the site is: users, audit log, data planes, reload
 *
 * Each role may do what those above it in this list may. A route says which it needs in its config; one that says nothing
 * needs viewer for GET and HEAD, and operator for everything else.
 */
export const roles = ["viewer", "operator", "admin"] as const;

export type Role = (typeof roles)[number];

declare module "fastify" {
  interface FastifyContextConfig {
    /** Of the management API: who may call it. */
    role?: Role;
  }
}

export const mayAct = (has: Role, needs: Role): boolean => roles.indexOf(has) >= roles.indexOf(needs);

/** What a request with this method needs where the route says nothing. */
export const roleForMethod = (method: string): Role =>
  method === "GET" || method === "HEAD" || method === "OPTIONS" ? "viewer" : "operator";

/**
 * What does /openapi.json say of the token endpoint?
 *
 * Errors of RFC 6749 §5.2 are no problem documents; bodies are forms. They are read by token-request.ts, not by these.
 */
import Type from "typebox";
import { answer, nothing } from "../../controlplane/api/schemas.ts";
import { scopeNames } from "./scopes.ts";

export const form = "application/x-www-form-urlencoded";
const tags = ["OAuth 2.0"];

/** RFC 6749 §4.4.2, §2.3.1. */
export const tokenBody = Type.Object({
  grant_type: Type.Enum(["client_credentials"]),
  scope: Type.Optional(
    Type.String({ description: `of ${scopeNames.join(", ")}, with blanks between; absent: all that the client has` }),
  ),
  client_id: Type.Optional(Type.String({ description: "where the header Authorization does not name the client" })),
  client_secret: Type.Optional(Type.String()),
});

const token = Type.Object(
  {
    access_token: Type.String(),
    token_type: Type.Enum(["Bearer"]),
    expires_in: Type.Integer({ description: "seconds" }),
    scope: Type.String(),
  },
  { title: "Token" },
);
const error = Type.Object(
  {
    error: Type.Enum([
      "invalid_request",
      "invalid_client",
      "unauthorized_client",
      "unsupported_grant_type",
      "invalid_scope",
    ]),
    error_description: Type.String(),
  },
  { title: "OAuthError" },
);
const refusal = (description: string) => ({ description, content: { "application/json": { schema: error } } });

export const tokenSchema = {
  tags,
  summary: "A token for a client's credentials (RFC 6749 §4.4)",
  security: [{ client: [] }, {}] as Record<string, string[]>[],
  consumes: [form],
  response: {
    200: { ...token, "x-response-description": "The token" },
    400: refusal("RFC 6749 §5.2"),
    401: {
      ...refusal("invalid_client: there is no such client with such a secret or certificate"),
      headers: { "WWW-Authenticate": Type.String() },
    },
    429: {
      ...answer("Too many requests, or wrong secrets, from this address"),
      headers: { "Retry-After": Type.Integer({ minimum: 1, description: "seconds to wait" }) },
    },
    500: answer("Internal error"),
    503: answer("The store refused"),
  },
};

const keySet = Type.Object(
  { keys: Type.Array(Type.Record(Type.String(), Type.Unknown())) },
  { title: "JSON Web Key Set" },
);

export const keysSchema = {
  tags,
  summary: "Keys that check tokens (RFC 7517)",
  querystring: nothing,
  security: [],
  response: {
    200: { ...keySet, "x-response-description": "The public halves" },
    400: answer("The request is not valid"),
  },
};
